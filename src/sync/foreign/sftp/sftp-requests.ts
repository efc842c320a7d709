/** What a client asks an SFTP server for, one function a request or a stream of them; paths are absolute there. */
import { SynclineError } from "#model/error.ts";
import { ANSWER, type Fields, OPEN, type PacketWriter, STATUS, type WantedAttrs } from "#platform/net/sftp-wire.ts";
import { type SftpChannel, SftpRefusal } from "#sync/foreign/sftp/sftp-channel.ts";
import type { SftpLink } from "#sync/foreign/sftp/sftp-connection.ts";

/** Requests for parts of a listing that are on their way at once. */
const READDIRS_AHEAD = 8;
/** Entries of one directory; they are in memory until the listing is known to be whole. */
export const LISTED_MAX = 1_000_000;
/** Bytes of one file on their way at once, and requests for them. */
const AHEAD_BYTES_MAX = 4 << 20;
const AHEAD_REQUESTS_MAX = 32;
/** Bytes of a request beside its data: number, handle, position, lengths. */
const WRITE_HEAD_BYTES = 320;

export type Attrs = WantedAttrs;
export type Listed = { readonly name: string; readonly longName: string; readonly attrs: Attrs };

export const NO_ATTRS: WantedAttrs = { size: undefined, owner: undefined, mode: undefined, mtimeSeconds: undefined };

type Fill = (packet: PacketWriter) => PacketWriter;
type Named = Parameters<SftpChannel["ask"]>[0];

/** A request that is answered with a status alone. @throws {SftpRefusal} */
export async function done(channel: SftpChannel, name: Named, fill: Fill): Promise<void> {
  await channel.expect(ANSWER.status, name, fill);
}

/** One of the requests that servers name in their greeting. @throws {SftpRefusal} also where it did not */
export async function extended(channel: SftpChannel, name: string, fill: Fill): Promise<void> {
  if (!channel.extensions.has(name)) throw new SftpRefusal(STATUS.unsupported, "not supported");
  await done(channel, "extended", (packet) => fill(packet.text(name)));
}

export async function attrsOf(channel: SftpChannel, name: "lstat" | "stat", path: string): Promise<Attrs> {
  const fields = await channel.expect(ANSWER.attrs, name, (packet) => packet.name(path));
  return channel.read(fields, (all) => all.toldAttrs());
}

export async function handleAttrs(channel: SftpChannel, handle: string): Promise<Attrs> {
  const fields = await channel.expect(ANSWER.attrs, "fstat", (packet) => handleOf(packet, handle));
  return channel.read(fields, (all) => all.toldAttrs());
}

export async function open(channel: SftpChannel, path: string, flags: number, attrs = NO_ATTRS): Promise<string> {
  const fields = await channel.expect(ANSWER.handle, "open", (packet) => packet.name(path).uint32(flags).wantedAttrs(attrs));
  return channel.read(fields, (all) => all.handle());
}

/** Handles are bytes that mean something to the server alone. */
export function handleOf(packet: PacketWriter, handle: string): PacketWriter {
  return packet.bytes(Buffer.from(handle, "latin1"));
}

/** The only name of an answer: of a symlink, or the true one of a path. */
export async function nameOf(channel: SftpChannel, request: "readlink" | "realpath", path: string): Promise<string> {
  const fields = await channel.expect(ANSWER.name, request, (packet) => packet.name(path));
  return channel.read(fields, (all) => {
    if (all.uint32() !== 1) throw new RangeError("not one name");
    return all.path();
  });
}

/** All of a directory, "." and ".." too, or a rejection. @throws {SftpRefusal} {SynclineError} LIMIT and what ends a channel */
export async function listDirectory(channel: SftpChannel, path: string): Promise<Listed[]> {
  const opened = await channel.expect(ANSWER.handle, "opendir", (packet) => packet.name(path));
  const handle = channel.read(opened, (all) => all.handle());
  const listed: Listed[] = [];
  try {
    for (let isOver = false; !isOver; ) {
      const asked = Array.from({ length: READDIRS_AHEAD }, () => readSome(channel, handle));
      // All of them are waited for: what comes behind the end of one is no less part of the listing.
      for (const some of await Promise.all(asked)) {
        if (some === undefined) isOver = true;
        else for (const one of some) listed.push(one);
      }
      if (listed.length > LISTED_MAX) throw tooMany();
    }
  } finally {
    await closeQuietly(channel, handle);
  }
  return listed;
}

/** Undefined: that was all. */
async function readSome(channel: SftpChannel, handle: string): Promise<Listed[] | undefined> {
  try {
    const fields = await channel.expect(ANSWER.name, "readdir", (packet) => handleOf(packet, handle));
    return channel.read(fields, (all) => {
      const some: Listed[] = [];
      for (let left = all.uint32(); left > 0; left--) some.push(listedOf(all));
      return some;
    });
  } catch (error) {
    if (error instanceof SftpRefusal && error.status === STATUS.eof) return undefined;
    throw error;
  }
}

function listedOf(fields: Fields): Listed {
  return { name: fields.path(), longName: Buffer.from(fields.string()).toString("latin1"), attrs: fields.toldAttrs() };
}

/** An error of what came before says more than one of closing. Never rejects. */
export async function closeQuietly(channel: SftpChannel, handle: string): Promise<void> {
  await done(channel, "close", (packet) => handleOf(packet, handle)).catch(() => undefined);
}

/** What a file has from `offset` on, up to `end`, many requests at once. @throws {SftpRefusal} EOF where it ends before */
export async function* readRange(link: SftpLink, handle: string, offset: number, end: number): AsyncGenerator<Uint8Array> {
  const { channel, readBytes } = link;
  const most = Math.max(1, Math.min(AHEAD_REQUESTS_MAX, Math.floor(AHEAD_BYTES_MAX / readBytes)));
  const asked: { at: number; length: number; data: Promise<Uint8Array> }[] = [];
  let next = offset;
  for (;;) {
    while (next < end && asked.length < most) {
      const length = Math.min(readBytes, end - next);
      const data = readOnce(channel, handle, next, length);
      // Who waits for an earlier one is told of that first.
      data.catch(() => undefined);
      asked.push({ at: next, length, data });
      next += length;
    }
    const first = asked.shift();
    if (first === undefined) return;
    let data = await first.data;
    yield data;
    // A server may give less than was asked for, and is asked again.
    for (let have = data.length; have < first.length; have += data.length) {
      data = await readOnce(channel, handle, first.at + have, first.length - have);
      yield data;
    }
  }
}

async function readOnce(channel: SftpChannel, handle: string, at: number, length: number): Promise<Uint8Array> {
  const fields = await channel.expect(ANSWER.data, "read", (packet) => handleOf(packet, handle).uint64(at).uint32(length));
  return channel.read(fields, (all) => {
    const data = all.string(length);
    if (data.length === 0) throw new RangeError("no data and no end");
    return data;
  });
}

/** Writes all bytes from the beginning on, many requests at once. @returns how many; errors of `bytes` are thrown as they are */
export async function writeAll(link: SftpLink, handle: string, bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<number> {
  const { channel, writeBytes } = link;
  const sent: { length: number; done: Promise<void> }[] = [];
  let ahead = 0;
  let at = 0;
  const settle = async (): Promise<void> => {
    const first = sent.shift()!;
    await first.done;
    ahead -= first.length;
  };
  for await (const piece of bytes) {
    for (let from = 0; from < piece.length; from += writeBytes) {
      signal.throwIfAborted();
      const data = piece.subarray(from, from + writeBytes);
      while (sent.length > 0 && (ahead + data.length > AHEAD_BYTES_MAX || sent.length >= AHEAD_REQUESTS_MAX)) await settle();
      const position = at;
      const fill: Fill = (packet) => handleOf(packet, handle).uint64(position).bytes(data);
      const written = channel.expect(ANSWER.status, "write", fill, data.length + WRITE_HEAD_BYTES).then(() => undefined);
      written.catch(() => undefined);
      sent.push({ length: data.length, done: written });
      ahead += data.length;
      at += data.length;
    }
  }
  while (sent.length > 0) await settle();
  return at;
}

export const WRITE_NEW = OPEN.write | OPEN.create | OPEN.exclusive;

function tooMany(): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "list",
    message: `a directory of the server has more than ${LISTED_MAX} entries`,
    hint: "divide it, or leave it out with --ignore",
  });
}
