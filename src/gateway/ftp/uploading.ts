/** Files on their way in: STOR, STOU, APPE. What comes is visible when all of it has come and is durable, and not before. */
import type { ContentReader, Intake } from "#hub/space-service.ts";
import type { Upload } from "#hub/uploads/upload.ts";
import type { TcpConnection } from "#platform/net/tcp-server.ts";
import { Arriving } from "#gateway/ftp/arriving.ts";
import { AsciiDecoder } from "#gateway/ftp/ascii.ts";
import { Inflating, NotDeflated } from "#gateway/ftp/deflate.ts";
import type { FoundFile } from "#gateway/ftp/files.ts";
import { type FtpPath, type Place, ftpPathText, placeOf } from "#gateway/ftp/ftp-path.ts";
import { takeRange } from "#gateway/ftp/ranges.ts";
import { FtpRefusal, replyLine } from "#gateway/ftp/reply.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";
import { type Moved, receive, runTransfer } from "#gateway/ftp/transfer.ts";

/** Taken in one turn of the event loop behind what it has handed out: about a millisecond's copying. */
const FILLED_BYTES_MAX = 4 << 20;

export type UploadKind = "store" | "append" | "unique";

/** The bytes before those that come: of an upload that was broken off, or of the file that is there. */
type Base = { readonly partial: Upload } | { readonly reader: ContentReader; readonly size: number } | undefined;

type Plan = {
  readonly place: Place;
  readonly intake: Intake;
  readonly current: FoundFile | undefined;
  readonly base: Base;
  readonly isNew: boolean;
  /** Bytes that the client has announced in all. */
  readonly announced: number | undefined;
};

export async function upload(session: FtpSession, path: FtpPath, kind: UploadKind): Promise<string> {
  const { files, type, allocated } = session;
  const { start: restart, end } = takeRange(session);
  session.allocated = undefined;
  if (end !== undefined) throw new FtpRefusal(551, "Ranges are read, and not written; REST says where an upload goes on");
  const { place, current } = await files.requireRoom(path, session.cwd);
  // A space that takes no changes at all refuses here. What it holds outlives the upload that it is taken from.
  await using intake = files.spaces.intake(files.who, place.space);
  const from = kind === "append" ? "end" : restart;
  const base = from === 0 ? undefined : await baseOf(session, { place, current, intake }, from);
  const announced = type === "binary" ? allocated : undefined;
  const plan: Plan = { place, intake, current, base, isNew: kind === "unique", announced };
  const name = ftpPathText(path);
  const text = kind === "unique" ? `FILE: ${path.at(-1)}` : `Send ${type === "ascii" ? "text" : "bytes"} for ${name}`;
  return runTransfer(session, { name, direction: "in", text }, (connection, moved) => take(session, plan, connection, moved));
}

type Ground = { readonly place: Place; readonly current: FoundFile | undefined; readonly intake: Intake };

async function baseOf(session: FtpSession, { place, current, intake }: Ground, from: number | "end"): Promise<Base> {
  const { files, shared } = session;
  const partial = session.type === "binary" ? await shared.partials.find(files.who, place, current) : undefined;
  if (partial !== undefined && (from === "end" || from === partial.received)) return { partial };
  if (partial !== undefined && from !== "end") {
    if (from > partial.received) throw new FtpRefusal(554, `The upload goes on at ${partial.received}`);
    return { reader: await shared.partials.read(files.who, partial.id, intake), size: from };
  }
  if (current === undefined) {
    // Who may not read cannot add to what is there: the file would be what is sent, and nothing of what it was.
    if (!files.mayRead(place)) throw new FtpRefusal(550, "Permission denied");
    if (from === "end") return undefined;
    throw new FtpRefusal(554, "There is nothing to go on from; send it from the beginning");
  }
  const { size } = current.entry;
  if (from !== "end" && from > size) throw new FtpRefusal(554, `There are ${size} bytes to go on from`);
  const reader = await files.spaces.open(files.who, place.space, current.version);
  return { reader, size: from === "end" ? size : from };
}

async function take(session: FtpSession, plan: Plan, connection: TcpConnection, moved: Moved): Promise<string> {
  const { files, shared, type } = session;
  const { place, intake, current, isNew } = plan;
  const isAlone = (): boolean => shared.traffic.isAlone;
  await using arriving = new Arriving({ files, partials: shared.partials, place, intake, current, isNew, isAlone });
  try {
    await begin(arriving, plan.base, moved);
    await takeBytes(arriving, session, plan.announced, connection, moved);
  } catch (error) {
    // What was damaged on its way cannot be gone on with, nor can text: what it has on the wire is not what it has in the file.
    if (error instanceof NotDeflated) await arriving.discard();
    else if (type === "binary") await arriving.keep();
    throw error;
  }
  moved.committing(true);
  // An abort that comes now comes too late: it is answered behind what became of the upload.
  await session.renew();
  // Bytes may come for hours: what counts are the rights at their end.
  session.files.requireWrite(place);
  await arriving.finish(shared.clock.nowMs());
  return replyLine(226, `Stored: ${arriving.size} bytes`);
}

async function begin(arriving: Arriving, base: Base, moved: Moved): Promise<void> {
  if (base === undefined) return;
  moved.committing(true);
  if ("partial" in base) await arriving.resume(base.partial.id, base.partial.received);
  else await arriving.copy(base.reader, base.size, moved.signal);
  moved.committing(false);
}

/** @throws {FtpRefusal} 426 when it is not all that the client has meant to send */
async function takeBytes(
  arriving: Arriving,
  { type, deflateLevel }: FtpSession,
  announced: number | undefined,
  connection: TcpConnection,
  moved: Moved,
): Promise<void> {
  const decoder = type === "ascii" ? new AsciiDecoder() : undefined;
  const write = (bytes: Uint8Array): Promise<void> | undefined => {
    moved.signal.throwIfAborted();
    return arriving.write(decoder === undefined ? bytes : decoder.push(bytes));
  };
  using inflating = deflateLevel === undefined ? undefined : new Inflating(write);
  const take = (bytes: Uint8Array): Promise<void> | undefined => {
    const rate = moved.by(bytes.length);
    const full = inflating === undefined ? write(bytes) : inflating.write(bytes);
    return rate === undefined ? full : both(rate, full);
  };
  const isAsItComes = decoder === undefined && inflating === undefined;
  const isWhole = await receive(connection, isAsItComes ? { take, more: () => fill(arriving, connection, moved) } : { take });
  if (isWhole) await inflating?.end();
  if (isWhole && decoder === undefined && arriving.size >= (announced ?? 0)) arriving.foresee();
  // Nothing more goes over it, whatever comes of the upload: a reset would hide the reply from the client. Closing takes
  // the system as long as the reply does, and the client waits for that.
  connection.endLater();
  // A client that dies in clear ends both of its connections, mostly at once: with the other one gone, this was no end
  // of a file.
  await new Promise<void>((resolve) => void setImmediate(resolve));
  moved.signal.throwIfAborted();
  if (!isWhole) throw new FtpRefusal(426, "The TLS stream was cut: it does not end in order");
  if (announced !== undefined && arriving.size < announced) {
    throw new FtpRefusal(426, `Only ${arriving.size} of the ${announced} bytes that ALLO announced have come`);
  }
  if (decoder !== undefined) await arriving.write(decoder.end());
}

/** What has come meanwhile goes where it belongs, with others served between. */
function fill(arriving: Arriving, connection: TcpConnection, moved: Moved): Promise<void> | undefined {
  for (let left = FILLED_BYTES_MAX; left > 0; ) {
    moved.signal.throwIfAborted();
    const count = arriving.fill((into) => connection.takeInto(into.subarray(0, left)));
    if (count === 0) return undefined;
    left -= count;
    const rate = moved.by(count);
    if (rate !== undefined) return rate;
  }
  return undefined;
}

async function both(rate: Promise<void>, full: Promise<void> | undefined): Promise<void> {
  await full;
  await rate;
}

/** What of an upload has come that was broken off; undefined where there is none. */
export async function partialSize({ files, shared }: FtpSession, path: FtpPath): Promise<number | undefined> {
  const place = placeOf(path);
  if (place === undefined || place.path === "") return undefined;
  const found = await files.find(path);
  if (found !== undefined && found.entry.kind !== "file") return undefined;
  return (await shared.partials.find(files.who, place, found as FoundFile | undefined))?.received;
}
