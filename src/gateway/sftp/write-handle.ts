/**
 * A file that is being written. Nothing of it is in the space before close(), which commits all of it or nothing.
 *
 * What comes from the beginning to the end goes straight into the store, with a little patience for packets that
 * overtake each other. What comes otherwise (a file that is changed in place, one that is read while it is written) is
 * staged: bytes in a file beside the store, over the content that was there. close() then reads both in order.
 */
import type { Principal } from "#access/access.ts";
import type { ContentReader, ContentSink, Intake, NamedContent, SpaceService } from "#hub/space-service.ts";
import type { ChangeResult, Expect, Version } from "#hub/space.ts";
import type { FileEntry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { EXTENTS_MAX, Extents } from "#gateway/sftp/extents.ts";
import type { WantedAttrs } from "#gateway/sftp/packets.ts";
import type { Stage, Staged } from "#gateway/sftp/stage.ts";
import type { Place } from "#gateway/sftp/tree.ts";

/** Up to here a file is kept in memory: most are closed before they need more. */
const SMALL_BYTES = 128 << 10;
/** Bytes that came before their turn and wait for what belongs before them. */
const AHEAD_BYTES_MAX = 4 << 20;
const AHEAD_PIECES_MAX = 256;
/** Read at once when a file is put together. */
const PIECE_BYTES = 1 << 20;
/** Bytes that a file may grow without anything having been written there. */
export const HOLE_BYTES_MAX = 16 * 2 ** 30;
const FILE_MODE = 0o644;
const NS = 1_000_000_000n;

export type WriteParts = {
  readonly spaces: SpaceService;
  readonly who: () => Principal;
  readonly clock: Clock;
  readonly stage: Stage;
  readonly traceId: () => string;
};

export type WriteTarget = {
  readonly place: NonNullable<Place>;
  /** What is there now; undefined: nothing, or it is not for this user to know. */
  readonly version: Version | undefined;
  /** The content goes on from what is there. */
  readonly isKept: boolean;
  readonly expect: Expect;
  readonly mode: number | undefined;
  /** Bytes that the space's quota leaves for this file. */
  readonly roomBytes: number;
  /** It will be read as well. */
  readonly isRead: boolean;
  readonly makeParents: boolean;
};

/** Content that staged bytes lie over; what it is called in the store, where that is known. */
type Base = { readonly reader: ContentReader; readonly named: NamedContent | undefined };

const NOTHING: Base = { reader: { size: 0, read: () => Promise.resolve(0) }, named: undefined };

/** Content in order, as far as it came. */
type Stream = {
  /** Until it is too much for memory. */
  small: Uint8Array[];
  sink: ContentSink | undefined;
  readonly ahead: Map<number, Uint8Array>;
  aheadBytes: number;
};

/** Bytes anywhere. */
type Patch = { readonly staged: Staged; readonly extents: Extents };

export class WriteHandle {
  readonly #parts: WriteParts;
  #target: WriteTarget;
  readonly #intake: Intake;
  #base: Base;
  /** Where the base counts: it may have been cut and have grown again since. */
  #baseBytes: number;
  #stream: Stream | undefined;
  #patch: Patch | undefined;
  #size: number;
  #mode: number | undefined;
  #mtimeNs: bigint | undefined;
  #isChanged: boolean;
  /** It was removed meanwhile: what is written goes nowhere, as on a disk. */
  #isRemoved = false;
  #isOver = false;
  /** A write that failed: the rest of the file is missing, whatever is closed then. */
  #fault: unknown;

  private constructor(parts: WriteParts, target: WriteTarget, intake: Intake, base: Base) {
    this.#parts = parts;
    this.#target = target;
    this.#intake = intake;
    this.#base = base;
    this.#size = base.reader.size;
    this.#baseBytes = base.reader.size;
    this.#mode = undefined;
    // An empty file is a change where none was, or where there was more.
    this.#isChanged = !target.isKept || target.version === undefined;
    const isStreamed = base === NOTHING && !target.isRead;
    if (isStreamed) this.#stream = { small: [], sink: undefined, ahead: new Map(), aheadBytes: 0 };
  }

  /** @throws {SynclineError} as SpaceService: no right, a space that follows another, content that retention dropped */
  static async open(parts: WriteParts, target: WriteTarget): Promise<WriteHandle> {
    const { spaces, who } = parts;
    const { space } = target.place;
    const intake = spaces.intake(who(), space);
    try {
      let base = NOTHING;
      const { version } = target;
      if (target.isKept && version?.entry?.kind === "file" && version.entry.size > 0) {
        const { content } = version;
        if (content !== undefined && !(await intake.hold(content))) throw contentGone();
        base = { reader: await spaces.open(who(), space, version), named: namedOf(version) };
      }
      return new WriteHandle(parts, target, intake, base);
    } catch (error) {
      await intake[Symbol.asyncDispose]();
      throw error;
    }
  }

  get place(): NonNullable<Place> {
    return this.#target.place;
  }

  /** Whether it has a name still. */
  get isNamed(): boolean {
    return !this.#isRemoved;
  }

  /** The entry as it would be if it were closed now. */
  get entry(): FileEntry {
    const old = this.#target.version?.entry;
    const kept = old?.kind === "file" ? old : undefined;
    const { owner, xattrs } = kept ?? {};
    const isSame = !this.#isChanged && kept !== undefined;
    return {
      kind: "file",
      size: this.#shownSize,
      mode: this.#mode ?? kept?.mode ?? this.#target.mode ?? FILE_MODE,
      mtimeNs: this.#mtimeNs ?? (isSame ? kept.mtimeNs : BigInt(this.#parts.clock.nowMs()) * 1_000_000n),
      sum: isSame ? kept.sum : undefined,
      ...(owner === undefined ? {} : { owner }),
      ...(xattrs === undefined ? {} : { xattrs }),
    };
  }

  /** With what came before its turn. */
  get #shownSize(): number {
    let size = this.#size;
    for (const [position, { length }] of this.#stream?.ahead ?? []) size = Math.max(size, position + length);
    return size;
  }

  /** @throws {SynclineError} QUOTA, DISK, LIMIT; the handle can only be given up then */
  async write(position: number, bytes: Uint8Array): Promise<void> {
    if (this.#fault !== undefined) throw this.#fault;
    try {
      const end = position + bytes.length;
      if (bytes.length === 0) return;
      this.#requireRoom(end);
      if (this.#stream !== undefined && !this.#fits(this.#stream, position, bytes.length)) await this.#unstream();
      if (this.#stream !== undefined) await this.#take(this.#stream, position, bytes);
      else await this.#put(position, bytes);
      this.#isChanged = true;
    } catch (error) {
      this.#fault = error;
      throw error;
    }
  }

  #requireRoom(end: number): void {
    if (end > this.#target.roomBytes) throw quotaFull();
    if (end - this.#size > HOLE_BYTES_MAX) throw holeTooLarge();
  }

  /** How much of the file is in the store or before it, in order. */
  #fits(stream: Stream, position: number, length: number): boolean {
    if (position < this.#size) return false;
    if (position === this.#size) return true;
    return stream.aheadBytes + length <= AHEAD_BYTES_MAX && stream.ahead.size < AHEAD_PIECES_MAX && !stream.ahead.has(position);
  }

  async #take(stream: Stream, position: number, bytes: Uint8Array): Promise<void> {
    if (position > this.#size) {
      stream.ahead.set(position, bytes.slice());
      stream.aheadBytes += bytes.length;
      return;
    }
    await this.#feed(stream, bytes);
    for (let next = stream.ahead.get(this.#size); next !== undefined; next = stream.ahead.get(this.#size)) {
      stream.ahead.delete(this.#size);
      stream.aheadBytes -= next.length;
      await this.#feed(stream, next);
    }
  }

  async #feed(stream: Stream, bytes: Uint8Array): Promise<void> {
    const size = this.#size + bytes.length;
    if (stream.sink === undefined && size <= SMALL_BYTES) stream.small.push(bytes.slice());
    else {
      if (stream.sink === undefined) {
        stream.sink = this.#intake.sink();
        for (const earlier of stream.small.splice(0)) await stream.sink.write(earlier);
      }
      await stream.sink.write(bytes);
    }
    this.#size = size;
  }

  /** What came in order becomes the base of what comes now. */
  async #unstream(): Promise<void> {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#stream = undefined;
    const early: [number, Uint8Array][] = [...stream.ahead];
    if (stream.sink !== undefined) {
      const named = await stream.sink.end();
      this.#base = { reader: this.#intake.part(stream.sink.stored), named };
      if (this.#base.reader.size !== this.#size) throw contentGone();
      this.#baseBytes = this.#size;
    } else {
      this.#base = NOTHING;
      this.#baseBytes = 0;
      early.unshift([0, Buffer.concat(stream.small)]);
    }
    for (const [position, bytes] of early) await this.#put(position, bytes);
  }

  async #put(position: number, bytes: Uint8Array): Promise<void> {
    this.#patch ??= { staged: this.#parts.stage.open(), extents: new Extents() };
    const { staged, extents } = this.#patch;
    if (extents.count >= EXTENTS_MAX) throw tooScattered();
    await staged.write(bytes, position);
    extents.add(position, position + bytes.length);
    staged.holds(extents.bytes);
    this.#size = Math.max(this.#size, position + bytes.length);
  }

  /** Fills from a position; returns the bytes read, fewer only at the end. */
  async read(into: Uint8Array, position: number): Promise<number> {
    if (this.#stream !== undefined) await this.#unstream();
    return this.#read(into, position);
  }

  async #read(into: Uint8Array, position: number): Promise<number> {
    const end = Math.min(this.#size, position + into.length);
    if (position >= end) return 0;
    const part = into.subarray(0, end - position);
    const ofBase = Math.min(part.length, Math.max(0, this.#baseBytes - position));
    if (ofBase > 0) await this.#base.reader.read(part.subarray(0, ofBase), position);
    part.fill(0, ofBase);
    for (const { start, end: stop } of this.#patch?.extents.within(position, end) ?? []) {
      await this.#patch!.staged.read(part.subarray(start - position, stop - position), start);
    }
    return part.length;
  }

  /** @throws {SynclineError} as write */
  async set({ size, mode, mtimeSeconds }: WantedAttrs): Promise<void> {
    if (size !== undefined && size !== this.#shownSize) await this.#cut(size);
    if (mode !== undefined) this.#mode = mode;
    if (mtimeSeconds !== undefined) this.#mtimeNs = BigInt(mtimeSeconds) * NS;
  }

  async #cut(size: number): Promise<void> {
    this.#requireRoom(size);
    if (size === 0 && this.#base === NOTHING && this.#stream?.sink === undefined && this.#stream?.ahead.size === 0) {
      this.#stream.small.length = 0;
    } else {
      await this.#unstream();
      this.#baseBytes = Math.min(this.#baseBytes, size);
      this.#patch?.extents.cut(size);
      this.#patch?.staged.holds(this.#patch.extents.bytes);
    }
    this.#size = size;
    this.#isChanged = true;
  }

  /**
   * Makes the content that of a version of the same space, without moving bytes.
   * @returns false: something was written already, or the content is gone
   */
  async adopt(version: Version): Promise<boolean> {
    const { spaces, who } = this.#parts;
    const { content } = version;
    if (this.#size !== 0 || content === undefined || (this.#stream?.ahead.size ?? 0) > 0) return false;
    this.#requireRoom(content.size);
    if (!(await this.#intake.hold(content))) return false;
    this.#base = { reader: await spaces.open(who(), this.place.space, version), named: namedOf(version) };
    this.#stream = undefined;
    this.#patch?.extents.cut(0);
    this.#size = content.size;
    this.#baseBytes = content.size;
    this.#isChanged = true;
    return true;
  }

  /** All that was written so far survives a power loss, as far as it is in the store. */
  async flush(): Promise<void> {
    if (this.#fault !== undefined) throw this.#fault;
    await this.#intake.flush();
  }

  /** It has another name now. */
  move(place: NonNullable<Place>, version: Version | undefined): void {
    const { expect } = this.#target;
    const isTied = expect.kind === "sequence" && version !== undefined;
    const now: Expect = isTied ? { kind: "sequence", sequence: version.sequence } : { kind: "any" };
    this.#target = { ...this.#target, place, version, expect: now };
  }

  remove(): void {
    this.#isRemoved = true;
  }

  /** Commits what was written; nothing where nothing was. The handle is given up either way. */
  async close(): Promise<void> {
    try {
      if (this.#fault !== undefined) throw this.#fault;
      const isTouched = this.#isChanged || this.#mode !== undefined || this.#mtimeNs !== undefined;
      if (isTouched && !this.#isRemoved) await this.#commit();
    } finally {
      await this.discard();
    }
  }

  async #commit(): Promise<void> {
    const { spaces, who, traceId } = this.#parts;
    const { place, expect, makeParents } = this.#target;
    const { content, sum } = await this.#name();
    const entry = { ...this.entry, size: content.size, sum };
    const outcome = await spaces.commit(who(), place.space, {
      changes: [{ type: "put", path: place.path, expect, entry, content, makeParents }],
      intake: this.#intake,
      atomic: true,
      cause: "upload",
      traceId: traceId(),
    });
    requireDone(outcome.results);
  }

  /** The content as it is now. */
  async #name(): Promise<NamedContent> {
    const stream = this.#stream;
    if (stream !== undefined && stream.ahead.size === 0) {
      return stream.sink === undefined ? this.#intake.store(Buffer.concat(stream.small)) : stream.sink.end();
    }
    // What lies beyond a gap that nobody filled: zeros are between.
    await this.#unstream();
    const { named } = this.#base;
    const isPatched = (this.#patch?.extents.count ?? 0) > 0 || this.#baseBytes !== this.#size;
    if (named !== undefined && !isPatched && named.content.size === this.#size) return named;
    const sink = this.#intake.sink(this.#size);
    const piece = new Uint8Array(Math.min(PIECE_BYTES, this.#size));
    for (let at = 0; at < this.#size; ) {
      const count = await this.#read(piece, at);
      await sink.write(piece.subarray(0, count));
      at += count;
    }
    return sink.end();
  }

  /** Gives up all that was written. Idempotent. */
  async discard(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#patch?.staged.close();
    this.#patch = undefined;
    this.#stream = undefined;
    await this.#intake[Symbol.asyncDispose]();
  }
}

function namedOf({ content, entry }: Version): NamedContent | undefined {
  const sum = entry?.kind === "file" ? entry.sum : undefined;
  return content === undefined || sum === undefined ? undefined : { content, sum, sums: {} };
}

/** @throws {SynclineError} what became of the first change that was not done */
export function requireDone(results: readonly ChangeResult[]): Version {
  let version: Version | undefined;
  for (const result of results) {
    if (result.status === "done") {
      version = result.version;
      continue;
    }
    if (result.status === "stale") throw stale();
    const code = result.code === "NO_PARENT" ? "NOT_FOUND" : result.code === "QUOTA" ? "QUOTA" : "USAGE";
    // Whatever comes with an atomic commit fails because of another.
    if (result.code === "ATOMIC" && results.some((other) => other !== result && other.status !== "done" && isReason(other))) continue;
    throw new SynclineError({ code, op: "commit", path: result.path, message: result.message });
  }
  if (version === undefined) throw new Error("a commit without an outcome");
  return version;
}

const isReason = (result: ChangeResult): boolean => result.status === "stale" || (result.status === "refused" && result.code !== "ATOMIC");

function stale(): SynclineError {
  return new SynclineError({
    code: "STALE",
    op: "commit",
    message: "somebody else changed it meanwhile; nothing was written",
    hint: "read it again, then write",
  });
}

function contentGone(): SynclineError {
  return new SynclineError({ code: "CHUNK_MISSING", op: "write", message: "the bytes that were there are gone" });
}

function quotaFull(): SynclineError {
  return new SynclineError({ code: "QUOTA", op: "write", message: "the space would have more bytes than its quota allows" });
}

function holeTooLarge(): SynclineError {
  const message = `a file grows by ${HOLE_BYTES_MAX / 2 ** 30} GiB without content at most`;
  return new SynclineError({ code: "LIMIT", op: "write", message });
}

function tooScattered(): SynclineError {
  return new SynclineError({ code: "LIMIT", op: "write", message: "the file is written in too many places at once" });
}
