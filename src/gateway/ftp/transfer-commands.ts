/** Bytes of files: RETR, STOR, STOU, APPE. */
import type { ContentSource } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { Summer } from "#sync/chunk/sum.ts";
import { AsciiEncoder } from "#gateway/ftp/ascii.ts";
import type { CommandTable } from "#gateway/ftp/commands.ts";
import type { FtpFiles } from "#gateway/ftp/files.ts";
import { type Place, ftpPathText, pathOf, resolveFtpPath } from "#gateway/ftp/ftp-path.ts";
import { FtpRefusal, replyLine } from "#gateway/ftp/reply.ts";
import { takeRange } from "#gateway/ftp/ranges.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";
import { type DataOut, type Moved, dataOut, runTransfer } from "#gateway/ftp/transfer.ts";
import { upload } from "#gateway/ftp/uploading.ts";

/** Sent at once; whole pieces of a sum are not copied for it. A client that takes less in the time of a stall is one. */
const PIECE_BYTES = 1 << 20;

export const TRANSFER_COMMANDS: CommandTable = {
  RETR: { needs: "user", run: retrieve },
  STOR: { needs: "user", run: (session, argument) => upload(session, pathOf(session, argument), "store") },
  APPE: { needs: "user", run: (session, argument) => upload(session, pathOf(session, argument), "append") },
  STOU: { needs: "user", run: storeUnique },
};

async function retrieve(session: FtpSession, argument: string): Promise<string> {
  const path = pathOf(session, argument);
  const { start: offset, end: wantedEnd } = takeRange(session);
  const { files } = session;
  const { place, version, entry } = await files.requireFile(path);
  if (offset > entry.size) throw new FtpRefusal(554, `The file has ${entry.size} bytes`);
  const end = Math.min(wantedEnd ?? entry.size, entry.size);
  const isPart = offset > 0 || end < entry.size;
  const reader = await files.spaces.open(files.who, place.space, version, isPart || entry.sum === undefined);
  // Chunks of a file that goes out whole are not proved: its sum is compared, which costs a fraction of that.
  const summer = reader.isProved ? undefined : new Summer(await files.seeds(place));
  const name = ftpPathText(path);
  // Some clients read the size out of this line.
  const text = `Here comes ${name} (${end - offset} bytes)`;
  return runTransfer(session, { name, direction: "out", text }, async (connection, moved) => {
    connection.listen({ onData: () => undefined, onEnd: () => undefined, onClose: moved.broken });
    const encoder = session.type === "ascii" ? new AsciiEncoder() : undefined;
    using out = dataOut(session, connection, moved);
    await sendContent(reader, { start: offset, end }, { summer, encoder, out }, moved);
    if (summer !== undefined && summer.digest() !== entry.sum) throw await damaged(files, place, version);
    await out.end();
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

type Passing = { readonly summer: Summer | undefined; readonly encoder: AsciiEncoder | undefined; readonly out: DataOut };

/** While one piece is on its way the next is read. */
async function sendContent(
  reader: ContentSource,
  { start, end }: { readonly start: number; readonly end: number },
  { summer, encoder, out }: Passing,
  moved: Moved,
): Promise<void> {
  let before = Promise.resolve();
  for await (const piece of reader.stream(start, end)) {
    for (let at = 0; at < piece.length; at += PIECE_BYTES) {
      moved.signal.throwIfAborted();
      const bytes = piece.subarray(at, at + PIECE_BYTES);
      summer?.update(bytes);
      const sent = out.write(encoder === undefined ? bytes : encoder.push(bytes));
      // Heard of below, unless the one before it fails.
      sent.catch(() => undefined);
      await before;
      before = sent;
    }
  }
  await before;
}

/** A name that nobody has: the commit holds it to that. */
function storeUnique(session: FtpSession, argument: string): Promise<string> {
  const base = argument === "" ? "file" : argument;
  const tail = Buffer.from(session.shared.random.bytes(6)).toString("hex");
  return upload(session, resolveFtpPath(session.cwd, `${base}.${tail}`), "unique");
}
