/**
 * The bytes of a file that come from its beginning to its end, with a little patience for packets that overtake each
 * other. Few are kept in memory, which is what most files are; more go into the store at once, as an upload that
 * outlives the connection and the hub's process where it may be gone on with.
 */
import type { Principal } from "#access/access.ts";
import type { Partials } from "#gateway/partials.ts";
import type { ContentReader, ContentSink, Intake, NamedContent } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";
import type { AppendSink, Upload, UploadId } from "#hub/uploads/upload.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import type { Place } from "#gateway/sftp/tree.ts";

/** Up to here a file is kept in memory: most are closed before they need more. */
const SMALL_BYTES = 1 << 20;
/** Bytes that came before their turn and wait for what belongs before them. */
const AHEAD_BYTES_MAX = 4 << 20;
const AHEAD_PIECES_MAX = 256;
/** Who finds all places of uploads taken for so long goes on without one: a session must not stand still for others. */
const PLACE_MS_MAX = 2_000;

export type InOrderParts = {
  readonly intake: Intake;
  readonly partials: Partials;
  readonly who: () => Principal;
  readonly clock: Clock;
  readonly place: NonNullable<Place>;
  /** What it is to replace. */
  readonly version: Version | undefined;
  /** What has come is kept when it breaks off. */
  readonly isKept: boolean;
};

/** An upload that is written to. */
type Growing = { readonly id: UploadId; readonly sink: AppendSink; readonly held: Disposable };
type Sink = { readonly plain: ContentSink } | { readonly growing: Growing };

/** What all of it is called: content of the intake, or an upload that is whole. */
export type InOrderResult = { readonly named: NamedContent } | { readonly upload: UploadId };

export class InOrder {
  readonly #parts: InOrderParts;
  /** Undefined: it has begun here. */
  readonly #resumed: Upload | undefined;
  #small: Uint8Array[] = [];
  #sink: Sink | undefined;
  readonly #ahead = new Map<number, Uint8Array>();
  #aheadBytes = 0;
  #at: number;

  /** @param resumed an upload that was broken off, which this goes on with */
  constructor(parts: InOrderParts, resumed: Upload | undefined) {
    this.#parts = parts;
    this.#resumed = resumed;
    this.#at = resumed?.received ?? 0;
  }

  /** Where the next byte belongs. */
  get at(): number {
    return this.#at;
  }

  get hasAhead(): boolean {
    return this.#ahead.size > 0;
  }

  /** Behind everything that came. */
  get end(): number {
    let end = this.#at;
    for (const [position, { length }] of this.#ahead) end = Math.max(end, position + length);
    return end;
  }

  /**
   * Whether bytes can be taken: the next ones, or some that come a little early. Not where they meet others that came
   * early: the later word counts, and here it would be the one that belongs further behind.
   */
  fits(position: number, length: number): boolean {
    if (position < this.#at || this.#meetsAhead(position, position + length)) return false;
    return position === this.#at || (this.#aheadBytes + length <= AHEAD_BYTES_MAX && this.#ahead.size < AHEAD_PIECES_MAX);
  }

  #meetsAhead(from: number, to: number): boolean {
    for (const [start, { length }] of this.#ahead) if (start < to && from < start + length) return true;
    return false;
  }

  /** Takes bytes that fit. */
  async take(position: number, bytes: Uint8Array): Promise<void> {
    if (position > this.#at) {
      this.#ahead.set(position, bytes.slice());
      this.#aheadBytes += bytes.length;
      return;
    }
    await this.#feed(bytes);
    for (let next = this.#ahead.get(this.#at); next !== undefined; next = this.#ahead.get(this.#at)) {
      this.#ahead.delete(this.#at);
      this.#aheadBytes -= next.length;
      await this.#feed(next);
    }
  }

  async #feed(bytes: Uint8Array): Promise<void> {
    const isSmall = this.#sink === undefined && this.#resumed === undefined && this.#at + bytes.length <= SMALL_BYTES;
    if (isSmall) this.#small.push(bytes.slice());
    else {
      const sink = this.#sink ?? (await this.#begin());
      await ("plain" in sink ? sink.plain : sink.growing.sink).write(bytes);
    }
    this.#at += bytes.length;
  }

  async #begin(): Promise<Sink> {
    const growing = this.#resumed !== undefined || this.#parts.isKept ? await this.#grow() : undefined;
    const sink = growing === undefined ? { plain: this.#parts.intake.sink() } : { growing };
    this.#sink = sink;
    for (const earlier of this.#small.splice(0)) await ("plain" in sink ? sink.plain : sink.growing.sink).write(earlier);
    return sink;
  }

  /** Undefined: there was no place for it. @throws {SynclineError} where it is one that has to be gone on with */
  async #grow(): Promise<Growing | undefined> {
    const { partials, who, place, version, clock } = this.#parts;
    const current = version === undefined ? undefined : { version };
    const id = this.#resumed?.id ?? (await partials.begin(who(), place, current));
    const held = partials.hold(id);
    const opening = partials.append(who(), id, this.#resumed?.received ?? 0);
    opening.catch(() => held[Symbol.dispose]());
    const waited = new AbortController();
    const late = clock.sleep(PLACE_MS_MAX, waited.signal).catch(() => undefined);
    const sink = await Promise.race([opening, late]).finally(() => waited.abort());
    if (sink !== undefined) return { id, sink, held };
    void opening.then((tooLate) => tooLate[Symbol.asyncDispose](), () => undefined).finally(() => held[Symbol.dispose]());
    if (this.#resumed === undefined) return undefined;
    const message = "too many uploads are at work; this one can be gone on with later";
    throw new SynclineError({ code: "LIMIT", op: "go on with an upload", message, retryable: true });
  }

  /** All has come. Nothing comes after it. */
  async finish(): Promise<InOrderResult> {
    const sink = this.#sink;
    if (sink === undefined && this.#resumed !== undefined) return { upload: this.#resumed.id };
    if (sink === undefined) return { named: await this.#parts.intake.store(Buffer.concat(this.#small)) };
    if ("plain" in sink) return { named: await sink.plain.end() };
    const { id, sink: append } = sink.growing;
    await append.end();
    await append.commit();
    return { upload: id };
  }

  /**
   * What came in order, to be read, and what came early. The intake protects it; an upload that had it is dropped.
   * Nothing comes after it.
   */
  async stop(): Promise<{ reader: ContentReader; named: NamedContent | undefined; early: readonly (readonly [number, Uint8Array])[] }> {
    const early = [...this.#ahead];
    const { intake, partials, who } = this.#parts;
    const sink = this.#sink;
    if (sink !== undefined && "plain" in sink) {
      const named = await sink.plain.end();
      return { reader: intake.part(sink.plain.stored), named, early };
    }
    const id = sink?.growing.id ?? this.#resumed?.id;
    if (id === undefined) return { reader: inMemory(Buffer.concat(this.#small)), named: undefined, early };
    await sink?.growing.sink.commit();
    await this.close();
    const reader = await partials.read(who(), id, intake);
    await partials.drop(who(), id);
    return { reader, named: undefined, early };
  }

  /** What came survives a power loss and can be gone on with. False: it is not kept so. */
  async flush(): Promise<boolean> {
    if (this.#sink === undefined || "plain" in this.#sink) return false;
    await this.#sink.growing.sink.commit();
    return true;
  }

  /** It broke off: what came in order is kept for who goes on with it, as far as it may be. */
  async breakOff(): Promise<void> {
    try {
      if (this.#sink === undefined && this.#at > 0 && this.#resumed === undefined && this.#parts.isKept) await this.#begin();
    } finally {
      await this.close();
    }
  }

  /** Nobody shall go on with it. */
  async giveUp(): Promise<void> {
    await this.close();
    const id = this.#sink !== undefined && "growing" in this.#sink ? this.#sink.growing.id : this.#resumed?.id;
    if (id !== undefined) await this.#parts.partials.drop(this.#parts.who(), id);
  }

  /** Lets go of what it holds. Idempotent. */
  async close(): Promise<void> {
    if (this.#sink === undefined || "plain" in this.#sink) return;
    const { sink, held } = this.#sink.growing;
    // What has come becomes durable with it.
    await sink[Symbol.asyncDispose]();
    held[Symbol.dispose]();
  }
}

function inMemory(bytes: Uint8Array): ContentReader {
  return {
    size: bytes.length,
    read(into, position) {
      const part = bytes.subarray(position, position + into.length);
      into.set(part);
      return Promise.resolve(part.length);
    },
  };
}
