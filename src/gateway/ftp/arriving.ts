/**
 * The bytes of one file on their way in. Few are held in memory and stored at once, which is what most files are; of
 * more an upload is begun, so that what has come outlives the connection and the hub's process.
 */
import type { Principal } from "#access/access.ts";
import type { ContentReader, Intake, NamedContent } from "#hub/space-service.ts";
import type { AppendSink, UploadId } from "#hub/uploads/upload.ts";
import { SynclineError } from "#model/error.ts";
import type { FoundFile, FtpFiles } from "#gateway/ftp/files.ts";
import type { Place } from "#gateway/ftp/ftp-path.ts";
import { letGo } from "#platform/net/received.ts";
import type { Partials } from "#gateway/partials.ts";
import { FtpRefusal } from "#gateway/ftp/reply.ts";

/** What comes in this much or less needs no upload of its own. */
export const SMALL_BYTES_MAX = 1 << 20;
/** Of a file that is gone on from, read at once. */
const COPIED_BYTES = 1 << 20;

export type ArrivingParts = {
  readonly files: FtpFiles;
  readonly partials: Partials;
  readonly place: Place;
  /** Takes in what needs no upload; outlives this. */
  readonly intake: Intake;
  readonly current: FoundFile | undefined;
  /** Nothing may be at the path when it is done. */
  readonly isNew: boolean;
  /** Whether it is the only upload at work. */
  readonly isAlone: () => boolean;
};

/** An upload that is written to. */
type Growing = { readonly id: UploadId; readonly sink: AppendSink; readonly held: Disposable };

export class Arriving implements AsyncDisposable {
  readonly #parts: ArrivingParts;
  readonly #who: Principal;
  #small: Uint8Array[] = [];
  #size = 0;
  #growing: Growing | undefined;
  /** An upload is being begun. */
  #beginning: Promise<void> | undefined;
  #stored: Promise<NamedContent> | undefined;
  #isDone = false;
  #isDiscarded = false;
  #isAlone = false;

  constructor(parts: ArrivingParts) {
    this.#parts = parts;
    this.#who = parts.files.who;
  }

  /** Bytes of the file so far. */
  get size(): number {
    return this.#size;
  }

  /** Goes on with an upload that was broken off. @throws {FtpRefusal} 450 when more has come for it meanwhile */
  async resume(id: UploadId, received: number): Promise<void> {
    try {
      this.#growing = await this.#open(id, received);
      this.#size = received;
    } catch (error) {
      if (!(error instanceof SynclineError) || error.code !== "CHUNK_MISSING") throw error;
      await this.#parts.partials.drop(this.#who, id);
      throw new FtpRefusal(554, "What had come was lost; send it from the beginning");
    }
  }

  /** Begins with the first bytes of a file that is there. */
  async copy(reader: ContentReader, size: number, signal: AbortSignal): Promise<void> {
    for (let at = 0; at < size; ) {
      signal.throwIfAborted();
      const piece = new Uint8Array(Math.min(COPIED_BYTES, size - at));
      const count = await reader.read(piece, at);
      if (count === 0) throw new FtpRefusal(451, "The file that it goes on from is shorter than it was");
      await this.write(piece.subarray(0, count));
      at += count;
    }
  }

  /** Takes bytes that nobody else looks at any more. A promise where the store cannot keep up: wait before the next. */
  write(bytes: Uint8Array): Promise<void> | undefined {
    this.#size += bytes.length;
    if (this.#growing !== undefined) return writeAndLetGo(this.#growing.sink, bytes);
    this.#small.push(bytes);
    return this.#size <= SMALL_BYTES_MAX ? undefined : this.#grow();
  }

  /** As write(), of what `read` puts where it belongs; 0 where it cannot be put there now: write() then. */
  fill(read: (into: Uint8Array) => number): number {
    const count = this.#growing?.sink.fill(read) ?? 0;
    this.#size += count;
    return count;
  }

  #grow(): Promise<void> {
    this.#beginning ??= this.#begin();
    return this.#beginning;
  }

  async #begin(): Promise<void> {
    const { partials, place, current } = this.#parts;
    const id = await partials.begin(this.#who, place, current);
    const growing = await this.#open(id, 0);
    this.#growing = growing;
    // They are few; and what was foreseen may still be read.
    for (const bytes of this.#small.splice(0)) await growing.sink.write(bytes);
  }

  async #open(id: UploadId, offset: number): Promise<Growing> {
    const { partials } = this.#parts;
    const held = partials.hold(id);
    try {
      return { id, held, sink: await partials.append(this.#who, id, offset) };
    } catch (error) {
      held[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * All seems to have come, and nothing comes after it. The disk begins with few bytes while it is found out whether they
   * count.
   */
  foresee(): void {
    if (this.#growing !== undefined || this.#beginning !== undefined) return;
    this.#stored = this.#store();
    this.#isAlone = this.#parts.isAlone();
    const begin = async (): Promise<void> => {
      const { intake } = this.#parts;
      await this.#stored;
      // So little goes with the rows of its commit.
      if (!this.#isAlone || intake.fresh() === undefined) await intake.flush();
    };
    // Whoever finishes hears of it.
    begin().catch(() => undefined);
  }

  #store(): Promise<NamedContent> {
    const [first = new Uint8Array(0), ...more] = this.#small;
    return this.#parts.intake.store(more.length === 0 ? first : Buffer.concat(this.#small));
  }

  /** All has come: makes it visible, and durable before it resolves. */
  async finish(nowMs: number): Promise<void> {
    const { files, partials, place, isNew, intake } = this.#parts;
    if (this.#growing === undefined) {
      const named = await (this.#stored ?? this.#store());
      await files.put(place, intake, named, { mtimeNs: BigInt(nowMs) * 1_000_000n, isNew, isAlone: this.#isAlone });
    } else {
      const { sink, id } = this.#growing;
      await sink.end();
      await sink.commit();
      files.requireDone(await partials.complete(this.#who, id, { traceId: files.newTraceId(), keepsMode: true }));
    }
    this.#isDone = true;
  }

  /** It broke off: keeps the few bytes that are in memory as well. */
  async keep(): Promise<void> {
    if (this.#growing === undefined && this.#size > 0 && !this.#parts.isNew) await this.#grow();
    else await this.#beginning;
  }

  /** What has come is not what was sent: none of it is kept. */
  async discard(): Promise<void> {
    this.#isDiscarded = true;
    await this.#beginning?.catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#beginning?.catch(() => undefined);
    if (this.#growing === undefined) return;
    // What has come becomes durable with it.
    await this.#growing.sink[Symbol.asyncDispose]();
    this.#growing.held[Symbol.dispose]();
    if (!this.#isDone && (this.#parts.isNew || this.#isDiscarded)) await this.#parts.partials.drop(this.#who, this.#growing.id);
  }
}

function writeAndLetGo(sink: AppendSink, bytes: Uint8Array): Promise<void> | undefined {
  const full = sink.write(bytes);
  if (full !== undefined) return full.then(() => letGo(bytes));
  letGo(bytes);
  return undefined;
}
