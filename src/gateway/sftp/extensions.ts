/** What OpenSSH added to version 3 of the protocol (its PROTOCOL file, §4). */
import type { ContentReader } from "#hub/space-service.ts";
import { SynclineError } from "#model/error.ts";
import { NAME_BYTES_MAX } from "#model/path.ts";
import { HANDLES_MAX } from "#gateway/sftp/handles.ts";
import {
  ANSWER,
  DATA_BYTES_MAX,
  type Fields,
  PACKET_BYTES_MAX,
  PacketWriter,
  STATUS,
} from "#platform/net/sftp-wire.ts";
import type { SftpSession } from "#gateway/sftp/sftp-session.ts";
import { failed, unsupported } from "#gateway/sftp/status.ts";
import { type Node, canonicalPath } from "#gateway/sftp/tree.ts";

/** What is told at the greeting. Hard links are not among them: a space has none. */
export const EXTENSIONS = {
  "posix-rename@openssh.com": "1",
  "statvfs@openssh.com": "2",
  "fstatvfs@openssh.com": "2",
  "fsync@openssh.com": "1",
  "lsetstat@openssh.com": "1",
  "limits@openssh.com": "1",
  "expand-path@openssh.com": "1",
  "copy-data": "1",
  "check-file": "1",
} as const;
/** Some ask for check-file by the name that it is told by, the draft has two others. */
export type ExtensionName = keyof typeof EXTENSIONS | "check-file-name" | "check-file-handle";

export const isExtension = (name: string): name is ExtensionName =>
  name === "check-file-name" || name === "check-file-handle" || Object.hasOwn(EXTENSIONS, name);

const BLOCK_BYTES = 4096;
const ENTRIES_UNLIMITED = 2 ** 40;
const NOSUID = 2;
/** In the order of preference. */
const SUMS = ["sha256", "sha1", "md5"] as const;
/** Of the list of sums that a client knows. */
const NAMES_BYTES_MAX = 1024;
/** Read and written at once when data is copied. */
const COPY_BYTES = 1 << 20;

export async function answerExtension(session: SftpSession, id: number, name: ExtensionName, body: Fields): Promise<void> {
  switch (name) {
    case "posix-rename@openssh.com":
      await session.rename(body.path(), body.path(), true);
      return session.status(id, STATUS.ok);
    case "lsetstat@openssh.com":
      await session.set(body.path(), body.attrs(), false);
      return session.status(id, STATUS.ok);
    case "fsync@openssh.com":
      await session.handles.writer(body.handle()).handle.flush();
      return session.status(id, STATUS.ok);
    case "expand-path@openssh.com":
      return expandPath(session, id, body.path());
    case "limits@openssh.com":
      return tellLimits(session, id);
    case "statvfs@openssh.com":
      return tellRoom(session, id, (await session.find(body.path(), true)).place?.space);
    case "fstatvfs@openssh.com":
      return tellRoom(session, id, session.handles.node(body.handle()).place?.space);
    case "copy-data":
      await copyData(session, body);
      return session.status(id, STATUS.ok);
    case "check-file-name":
      return tellSum(session, id, await session.parts.tree.find(body.path(), true), body);
    case "check-file":
    case "check-file-handle":
      return tellSum(session, id, session.handles.node(body.handle()), body);
  }
}

/** Sums of a whole file, which the hub keeps once they are known; of parts of one there are none. */
async function tellSum(session: SftpSession, id: number, { place, version }: Node, body: Fields): Promise<void> {
  const asked = Buffer.from(body.string(NAMES_BYTES_MAX)).toString("latin1").split(",");
  const [from, length, blockBytes] = [body.position64(), body.position64(), body.uint32()];
  const name = SUMS.find((one) => asked.includes(one));
  if (place === undefined || version?.entry?.kind !== "file") throw failed("only files that are there have sums");
  if (name === undefined) throw unsupported(`sums are ${SUMS.join(", ")}`);
  const isWhole = from === 0 && blockBytes === 0 && (length === 0 || length === version.entry.size);
  if (!isWhole) throw unsupported("sums are those of whole files");
  const { spaces, who } = session.parts;
  const sums = await spaces.sums(who(), place.space, version, [name]);
  const packet = new PacketWriter(ANSWER.extended, id).text("check-file").text(name);
  session.send(packet.raw(Buffer.from(sums[name]!, "hex")).finish());
}

/** "~" is where a session begins. */
function expandPath(session: SftpSession, id: number, path: string): void {
  if (/^~[^/]/.test(path)) throw failed("there are no homes of others");
  const name = canonicalPath(path.replace(/^~/, ""));
  session.send(new PacketWriter(ANSWER.name, id).uint32(1).name(name).name(name).uint32(0).finish());
}

function tellLimits(session: SftpSession, id: number): void {
  const packet = new PacketWriter(ANSWER.extended, id);
  for (const limit of [PACKET_BYTES_MAX, DATA_BYTES_MAX, DATA_BYTES_MAX, HANDLES_MAX]) packet.uint64(limit);
  session.send(packet.finish());
}

/** The quota of a space where it has one, the disk of the hub otherwise. */
async function tellRoom(session: SftpSession, id: number, name: string | undefined): Promise<void> {
  const { spaces, who, disk } = session.parts;
  const space = name === undefined ? undefined : await spaces.space(who(), name);
  const { freeBytes, totalBytes } = disk();
  const quota = space?.settings.quotaBytes;
  const total = quota ?? totalBytes;
  const free = quota === undefined ? freeBytes : Math.max(0, Math.min(freeBytes, quota - space!.usage.bytes));
  const entries = space?.settings.quotaEntries ?? ENTRIES_UNLIMITED;
  const entriesLeft = Math.max(0, entries - (space?.usage.entries ?? 0));
  const blocks = (bytes: number): number => Math.floor(bytes / BLOCK_BYTES);
  const packet = new PacketWriter(ANSWER.extended, id).uint64(BLOCK_BYTES).uint64(BLOCK_BYTES);
  packet.uint64(blocks(total)).uint64(blocks(free)).uint64(blocks(free));
  packet.uint64(entries).uint64(entriesLeft).uint64(entriesLeft);
  session.send(packet.uint64(0).uint64(NOSUID).uint64(NAME_BYTES_MAX).finish());
}

/** A whole file into an empty one of the same space moves no bytes. */
async function copyData(session: SftpSession, body: Fields): Promise<void> {
  const [from, fromAt, told, to, toAt] = [body.handle(), body.position64(), body.position64(), body.handle(), body.position64()];
  const source = session.handles.readable(from);
  const { handle } = session.handles.writer(to);
  if (source.type === "write") throw failed("a file that is being written is not copied from");
  const { reader, node } = source;
  const length = Math.min(told === 0 ? Infinity : told, Math.max(0, reader.size - fromAt));
  const isWhole = fromAt === 0 && toAt === 0 && length === reader.size && node.place?.space === handle.place.space;
  if (isWhole && (await handle.adopt(node.version))) return;
  await copyBytes(session, reader, fromAt, length, (position, bytes) => handle.write(toAt + position, bytes));
}

async function copyBytes(
  session: SftpSession,
  reader: ContentReader,
  from: number,
  length: number,
  write: (position: number, bytes: Uint8Array) => Promise<void>,
): Promise<void> {
  const piece = new Uint8Array(Math.min(COPY_BYTES, length));
  for (let done = 0; done < length; ) {
    const part = piece.subarray(0, Math.min(piece.length, length - done));
    const count = await reader.read(part, from + done);
    if (count === 0) throw new SynclineError({ code: "CHUNK_MISSING", op: "copy", message: "the content is shorter than it was" });
    await write(done, part.subarray(0, count));
    session.parts.touch();
    done += count;
  }
}
