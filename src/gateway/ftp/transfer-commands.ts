/** Bytes of files: RETR, STOR, STOU, APPE. */
import type { ContentReader } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import type { TcpConnection } from "#platform/net/tcp-server.ts";
import { Summer } from "#sync/chunk/sum.ts";
import { AsciiEncoder } from "#gateway/ftp/ascii.ts";
import type { CommandTable } from "#gateway/ftp/commands.ts";
import type { FtpFiles } from "#gateway/ftp/files.ts";
import { type Place, ftpPathText, pathOf, resolveFtpPath } from "#gateway/ftp/ftp-path.ts";
import { FtpRefusal, replyLine } from "#gateway/ftp/reply.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";
import { type Moved, delivered, runTransfer } from "#gateway/ftp/transfer.ts";
import { upload } from "#gateway/ftp/uploading.ts";

/** Read and sent at once; the next is read while one is sent. Whole pieces of a sum are not copied for it. */
const PIECE_BYTES = 1 << 20;

export const TRANSFER_COMMANDS: CommandTable = {
  RETR: { needs: "user", run: retrieve },
  STOR: { needs: "user", run: (session, argument) => upload(session, pathOf(session, argument), "store") },
  APPE: { needs: "user", run: (session, argument) => upload(session, pathOf(session, argument), "append") },
  STOU: { needs: "user", run: storeUnique },
};

async function retrieve(session: FtpSession, argument: string): Promise<string> {
  const path = pathOf(session, argument);
  const offset = session.restart;
  session.restart = 0;
  const { files } = session;
  const { place, version, entry } = await files.requireFile(path);
  if (offset > entry.size) throw new FtpRefusal(554, `The file has ${entry.size} bytes`);
  // A file that goes out whole is compared with its sum, which costs a fraction of proving chunk by chunk.
  const summer = offset === 0 && entry.sum !== undefined ? new Summer(await files.seeds(place)) : undefined;
  const reader = await files.spaces.open(files.who, place.space, version, summer === undefined);
  const name = ftpPathText(path);
  // Some clients read the size out of this line.
  const text = `Here comes ${name} (${entry.size - offset} bytes)`;
  return runTransfer(session, { name, direction: "out", text }, async (connection, moved) => {
    connection.listen({ onData: () => undefined, onEnd: () => undefined, onClose: moved.broken });
    const encoder = session.type === "ascii" ? new AsciiEncoder() : undefined;
    await sendContent(reader, offset, { summer, encoder }, connection, moved);
    if (summer !== undefined && summer.digest() !== entry.sum) throw await damaged(files, place, version);
    connection.end();
    return replyLine(226, "Sent");
  });
}

/** Reads all of it once more, chunk by chunk, so that the store learns which one is damaged and has it repaired. */
async function damaged(files: FtpFiles, { space }: Place, version: Version): Promise<FtpRefusal> {
  const reader = await files.spaces.open(files.who, space, version);
  const piece = new Uint8Array(Math.min(PIECE_BYTES, reader.size));
  try {
    for (let at = 0; at < reader.size; at += piece.length) await reader.read(piece, at);
  } catch (error) {
    if (!(error instanceof SynclineError)) throw error;
  }
  return new FtpRefusal(551, "The bytes of this file are damaged in the store; what was sent is not what it was");
}

type Passing = { readonly summer: Summer | undefined; readonly encoder: AsciiEncoder | undefined };

/** Two pieces take turns: one is on its way while the other is read. */
async function sendContent(
  reader: ContentReader,
  offset: number,
  { summer, encoder }: Passing,
  connection: TcpConnection,
  moved: Moved,
): Promise<void> {
  const { size } = reader;
  const room = Math.min(PIECE_BYTES, size - offset);
  const pieces = [new Uint8Array(room), new Uint8Array(offset + room < size ? room : 0)] as const;
  const read = async (at: number, turn: number): Promise<Uint8Array> => {
    const piece = pieces[turn & 1]!;
    const count = await reader.read(piece, at);
    if (count === 0 && at < size) throw new FtpRefusal(451, "The content is shorter than it was");
    return piece.subarray(0, count);
  };
  let next = read(offset, 0);
  for (let at = offset, turn = 1; at < size; turn++) {
    const bytes = await next;
    moved.signal.throwIfAborted();
    at += bytes.length;
    summer?.update(bytes);
    const out = encoder === undefined ? bytes : encoder.push(bytes);
    const written = connection.write(out);
    next = at < size ? read(at, turn) : Promise.resolve(bytes);
    // Heard of below, unless the connection breaks first.
    next.catch(() => undefined);
    await delivered(written);
    const wait = moved.by(out.length);
    if (wait !== undefined) await wait;
  }
}

/** A name that nobody has: the commit holds it to that. */
function storeUnique(session: FtpSession, argument: string): Promise<string> {
  const base = argument === "" ? "file" : argument;
  const tail = Buffer.from(session.shared.random.bytes(6)).toString("hex");
  return upload(session, resolveFtpPath(session.cwd, `${base}.${tail}`), "unique");
}
