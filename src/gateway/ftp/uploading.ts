/** Files on their way in: STOR, STOU, APPE. What comes is visible when all of it has come and is durable, and not before. */
import type { ContentReader, Intake, NamedContent } from "#hub/space-service.ts";
import type { Expect } from "#hub/space.ts";
import type { TcpConnection } from "#platform/net/tcp-server.ts";
import { AsciiDecoder } from "#gateway/ftp/ascii.ts";
import { FILE_MODE, type FoundFile } from "#gateway/ftp/files.ts";
import { type FtpPath, type Place, ftpPathText } from "#gateway/ftp/ftp-path.ts";
import { FtpRefusal, replyLine } from "#gateway/ftp/reply.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";
import { type Moved, receive, runTransfer } from "#gateway/ftp/transfer.ts";

/** What comes in this much or less is held in memory and stored at once, which is what most files are. */
const SMALL_BYTES_MAX = 256 << 10;
/** Read at once of what an upload goes on from. */
const PIECE_BYTES = 512 << 10;

export type UploadKind = "store" | "append" | "unique";

type Plan = {
  readonly place: Place;
  readonly name: string;
  readonly mode: number;
  readonly expect: Expect;
  /** The bytes before those that come: of the file that is there. */
  readonly base: { readonly reader: ContentReader; readonly size: number } | undefined;
  /** Bytes that the client has announced in all. */
  readonly announced: number | undefined;
};

export async function upload(session: FtpSession, path: FtpPath, kind: UploadKind): Promise<string> {
  const offset = session.restart;
  const announced = session.type === "binary" ? session.allocated : undefined;
  session.restart = 0;
  session.allocated = undefined;
  const { files } = session;
  const { place, current } = await files.requireRoom(path);
  await using intake = files.spaces.intake(files.who, place.space);
  const plan: Plan = {
    place,
    name: ftpPathText(path),
    mode: current?.entry.mode ?? FILE_MODE,
    expect: kind === "unique" ? { kind: "absent" } : { kind: "any" },
    base: await baseOf(session, current, kind === "append" ? "all" : offset),
    announced,
  };
  const text = kind === "unique" ? `FILE: ${path.at(-1)}` : `Send ${session.type === "ascii" ? "text" : "bytes"} for ${plan.name}`;
  return runTransfer(session, { name: plan.name, direction: "in", text }, (connection, moved) =>
    take(session, plan, intake, connection, moved),
  );
}

async function baseOf(session: FtpSession, current: FoundFile | undefined, until: number | "all"): Promise<Plan["base"]> {
  if (until === 0) return undefined;
  if (current === undefined) {
    if (until === "all") return undefined;
    throw new FtpRefusal(554, "There is nothing to go on from; send it from the beginning");
  }
  const { size } = current.entry;
  if (until !== "all" && until > size) throw new FtpRefusal(554, `There are ${size} bytes to go on from`);
  const { files } = session;
  const reader = await files.spaces.open(files.who, current.place.space, current.version);
  return { reader, size: until === "all" ? size : until };
}

async function take(session: FtpSession, plan: Plan, intake: Intake, connection: TcpConnection, moved: Moved): Promise<string> {
  const { base, announced } = plan;
  const decoder = session.type === "ascii" ? new AsciiDecoder() : undefined;
  const content = new Arriving(intake, announced);
  let received = 0;
  if (base !== undefined) await content.begin(base.reader, base.size, moved);
  const isWhole = await receive(connection, (bytes) => {
    received += bytes.length;
    const rate = moved.by(bytes.length);
    const full = content.write(decoder === undefined ? bytes : decoder.push(bytes));
    return rate === undefined ? full : both(rate, full);
  });
  moved.signal.throwIfAborted();
  if (!isWhole) throw new FtpRefusal(426, "The TLS stream was cut: it does not end in order");
  if (announced !== undefined && received + (base?.size ?? 0) < announced) {
    throw new FtpRefusal(426, `Only ${received} of the ${announced} bytes that ALLO announced have come`);
  }
  moved.committing(true);
  if (decoder !== undefined) await content.write(decoder.end());
  const named = await content.end();
  const { files, shared } = session;
  const mtimeNs = BigInt(shared.clock.nowMs()) * 1_000_000n;
  // An abort that comes now comes too late: it is answered behind what became of the upload.
  await files.put(plan.place, named, intake, { mode: plan.mode, mtimeNs, expect: plan.expect });
  connection.end();
  return replyLine(226, `Stored: ${named.content.size} bytes`);
}

async function both(rate: Promise<void>, full: Promise<void> | undefined): Promise<void> {
  await full;
  await rate;
}

/** The bytes of a file as they come: few are kept until the end, more go into the store at once. */
class Arriving {
  readonly #intake: Intake;
  readonly #sizeHint: number | undefined;
  #small: Uint8Array[] = [];
  #size = 0;
  #sink: ReturnType<Intake["sink"]> | undefined;

  constructor(intake: Intake, sizeHint: number | undefined) {
    this.#intake = intake;
    this.#sizeHint = sizeHint;
  }

  /** The bytes that it begins with. */
  async begin(reader: ContentReader, size: number, moved: Moved): Promise<void> {
    moved.committing(true);
    for (let at = 0; at < size; ) {
      moved.signal.throwIfAborted();
      const piece = new Uint8Array(Math.min(PIECE_BYTES, size - at));
      const count = await reader.read(piece, at);
      if (count === 0) throw new FtpRefusal(451, "The file that it goes on from is shorter than it was");
      await this.write(piece.subarray(0, count));
      at += count;
    }
    moved.committing(false);
  }

  write(bytes: Uint8Array): Promise<void> | undefined {
    this.#size += bytes.length;
    if (this.#sink !== undefined) return this.#sink.write(bytes) ?? undefined;
    this.#small.push(bytes);
    return this.#size <= SMALL_BYTES_MAX ? undefined : this.#grow();
  }

  async #grow(): Promise<void> {
    const small = this.#small.splice(0);
    this.#sink = this.#intake.sink(this.#sizeHint);
    for (const bytes of small) await this.#sink.write(bytes);
  }

  async end(): Promise<NamedContent> {
    if (this.#sink !== undefined) return this.#sink.end();
    const [first = new Uint8Array(0), ...more] = this.#small;
    return this.#intake.store(more.length === 0 ? first : Buffer.concat(this.#small));
  }
}

/** What of an upload has come that was broken off; undefined where there is none. */
export async function partialSize(_session: FtpSession, _path: FtpPath): Promise<number | undefined> {
  return undefined;
}
