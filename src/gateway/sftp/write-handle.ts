/**
 * A file that is being written. Nothing of it is in the space before close(), which commits all of it or nothing.
 *
 * What comes from the beginning to the end goes straight into the store (in-order.ts). What comes otherwise (a file that
 * is changed in place, one that is read while it is written) is staged: bytes in a file beside the store, over the
 * content that was there. close() then reads both in order.
 */
import type { Principal } from "#access/access.ts";
import type { Partials } from "#gateway/partials.ts";
import type { ContentReader, Intake, NamedContent, SpaceService } from "#hub/space-service.ts";
import type { ChangeResult, Version } from "#hub/space.ts";
import type { Upload, UploadExpect } from "#hub/uploads/upload.ts";
import { FILE_MODE, type FileEntry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { EXTENTS_MAX, Extents } from "#gateway/sftp/extents.ts";
import { InOrder } from "#gateway/sftp/in-order.ts";
import type { WantedAttrs } from "#platform/net/sftp-wire.ts";
import type { Stage, Staged } from "#gateway/sftp/stage.ts";
import type { Place } from "#gateway/sftp/tree.ts";

/** Read at once when a file is put together. */
const PIECE_BYTES = 1 << 20;
/** Bytes that a file may grow without anything having been written there. */
export const HOLE_BYTES_MAX = 16 * 2 ** 30;
const NS = 1_000_000_000n;

export type WriteParts = {
  readonly spaces: SpaceService;
  readonly partials: Partials;
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
  /** The content goes on from an upload that was broken off. */
  readonly partial: Upload | undefined;
  readonly expect: UploadExpect;
  readonly mode: number | undefined;
  /** Bytes that the space's quota leaves for this file. */
  readonly roomBytes: number;
  /** It will be read as well. */
  readonly isRead: boolean;
  readonly makeParents: boolean;
};

/** Content that what is written lies over; what it is called in the store, where that is known. */
type Base = { readonly reader: ContentReader; readonly named: NamedContent | undefined };

const NOTHING: Base = { reader: { size: 0, read: () => Promise.resolve(0) }, named: undefined };

/** Bytes anywhere. */
type Patch = { readonly staged: Staged; readonly extents: Extents };

export class WriteHandle {
  readonly #parts: WriteParts;
  readonly #intake: Intake;
  #target: WriteTarget;
  #base: Base;
  /** Where the base counts: it may have been cut and have grown again since. */
  #baseBytes: number;
  #stream: InOrder | undefined;
  #patch: Patch | undefined;
  /** Without what came to the stream. */
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
    const { place, version, isKept, partial, isRead } = target;
    // An empty file is a change where none was, or where there was more.
    this.#isChanged = partial === undefined && (!isKept || version === undefined);
    const { partials, who, clock } = parts;
    const mayBreak = base === NOTHING && target.expect.kind !== "absent";
    const stream = new InOrder({ intake, partials, who, clock, place, version, isKept: mayBreak }, partial);
    if (!isRead) this.#stream = stream;
  }

  /** @throws {SynclineError} as SpaceService: no right, a space that follows another, content that retention dropped */
  static async open(parts: WriteParts, target: WriteTarget): Promise<WriteHandle> {
    const { spaces, who } = parts;
    const { space } = target.place;
    const intake = spaces.intake(who(), space);
    try {
      let base = NOTHING;
      const { version } = target;
      const isBased = target.isKept && target.partial === undefined;
      if (isBased && version?.entry?.kind === "file" && version.entry.size > 0) base = await baseOf(parts, intake, space, version);
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

  #modeNow(): number {
    const old = this.#target.version?.entry;
    return this.#mode ?? (old?.kind === "file" ? old.mode : undefined) ?? this.#target.mode ?? FILE_MODE;
  }

  /** The entry as it would be if it were closed now. */
  get entry(): FileEntry {
    const old = this.#target.version?.entry;
    // What is written anew has lost whatever else was kept with the old content.
    const kept = old?.kind === "file" && this.#target.isKept ? old : undefined;
    const { owner, xattrs } = kept ?? {};
    const isSame = !this.#isChanged && kept !== undefined;
    return {
      kind: "file",
      size: this.size,
      mode: this.#modeNow(),
      mtimeNs: this.#mtimeNs ?? (isSame ? kept.mtimeNs : BigInt(this.#parts.clock.nowMs()) * 1_000_000n),
      sum: isSame ? kept.sum : undefined,
      ...(owner === undefined ? {} : { owner }),
      ...(xattrs === undefined ? {} : { xattrs }),
    };
  }

  get size(): number {
    return Math.max(this.#size, this.#stream?.end ?? 0);
  }

  /** @throws {SynclineError} QUOTA, DISK, LIMIT; the handle can only be given up then */
  async write(position: number, bytes: Uint8Array): Promise<void> {
    if (this.#fault !== undefined) throw this.#fault;
    if (bytes.length === 0) return;
    try {
      this.#requireRoom(position + bytes.length);
      if (this.#stream?.fits(position, bytes.length) === false) await this.#unstream();
      if (this.#stream !== undefined) await this.#stream.take(position, bytes);
      else await this.#put(position, bytes);
      this.#isChanged = true;
    } catch (error) {
      this.#fault = error;
      throw error;
    }
  }

  #requireRoom(end: number): void {
    if (end > this.#target.roomBytes) throw quotaFull();
    if (end - this.size > HOLE_BYTES_MAX) throw holeTooLarge();
  }

  /** What came in order becomes part of the base of what comes now. */
  async #unstream(): Promise<void> {
    const stream = this.#stream;
    if (stream === undefined) return;
    const size = Math.max(this.#size, stream.at);
    const { reader, named, early } = await stream.stop();
    this.#stream = undefined;
    if (reader.size !== stream.at) throw contentGone();
    if (stream.at > 0) {
      const isAll = stream.at >= this.#baseBytes;
      this.#base = isAll ? { reader, named } : { reader: joined(reader, this.#base.reader), named: undefined };
      this.#baseBytes = Math.max(this.#baseBytes, stream.at);
    }
    this.#size = size;
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
    await this.#unstream();
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
    if (size !== undefined && size !== this.size) await this.#cut(size);
    if (mode !== undefined) this.#mode = mode;
    if (mtimeSeconds !== undefined) this.#mtimeNs = BigInt(mtimeSeconds) * NS;
  }

  async #cut(size: number): Promise<void> {
    this.#requireRoom(size);
    const stream = this.#stream;
    // scp writes over what was there, and cuts off the rest.
    const isRestOnly = stream !== undefined && !stream.hasAhead && stream.at <= size && size <= this.#baseBytes;
    if (!isRestOnly) await this.#unstream();
    this.#baseBytes = Math.min(this.#baseBytes, size);
    this.#patch?.extents.cut(size);
    this.#patch?.staged.holds(this.#patch.extents.bytes);
    this.#size = size;
    this.#isChanged = true;
  }

  /**
   * Makes the content that of a version of the same space, without moving bytes.
   * @returns false: something was written already, or the content is gone
   */
  async adopt(version: Version): Promise<boolean> {
    const { content } = version;
    if (this.size !== 0 || content === undefined) return false;
    this.#requireRoom(content.size);
    if (!(await this.#intake.hold(content))) return false;
    await this.#unstream();
    this.#base = await baseOf(this.#parts, this.#intake, this.place.space, version);
    this.#patch?.extents.cut(0);
    this.#size = content.size;
    this.#baseBytes = content.size;
    this.#isChanged = true;
    return true;
  }

  /**
   * All that was written so far survives a power loss: as an upload that can be gone on with, or else in the space, where
   * it is visible from now on.
   */
  async flush(): Promise<void> {
    if (this.#fault !== undefined) throw this.#fault;
    if (this.#stream !== undefined && (await this.#stream.flush())) return;
    if (!this.#isTouched || this.#isRemoved) return;
    const version = await this.#commit();
    this.#patch?.staged.close();
    this.#patch = undefined;
    this.#stream = undefined;
    this.#base = version.content?.size === 0 ? NOTHING : await baseOf(this.#parts, this.#intake, this.place.space, version);
    this.#size = this.#base.reader.size;
    this.#baseBytes = this.#size;
    this.#target = { ...this.#target, version, isKept: true, partial: undefined, expect: at(version) };
    this.#isChanged = false;
    this.#mode = undefined;
    this.#mtimeNs = undefined;
  }

  /** It has another name now. */
  move(place: NonNullable<Place>, version: Version | undefined): void {
    const { expect } = this.#target;
    const isTied = expect.kind === "sequence" && version !== undefined;
    this.#target = { ...this.#target, place, version, expect: isTied ? at(version) : { kind: "any" } };
  }

  remove(): void {
    this.#isRemoved = true;
  }

  get #isTouched(): boolean {
    return this.#isChanged || this.#mode !== undefined || this.#mtimeNs !== undefined;
  }

  /** Commits what was written; nothing where nothing was. The handle is given up either way. */
  async close(): Promise<void> {
    let isDone = false;
    try {
      if (this.#fault !== undefined) throw this.#fault;
      if (this.#isTouched && !this.#isRemoved) await this.#commit();
      isDone = !this.#isRemoved;
    } finally {
      await this.#end((stream) => (isDone ? stream.close() : stream.giveUp()));
    }
  }

  async #commit(): Promise<Version> {
    const { spaces, partials, who, traceId } = this.#parts;
    const { place, makeParents } = this.#target;
    const expect = this.#expectNow();
    const result = await this.#name();
    // The bytes may have come for long: of what is replaced, whatever it is, the permissions stay that it has now.
    const keepsMode = this.#mode === undefined;
    if ("upload" in result) return this.#complete(result.upload, expect, keepsMode);
    const { content, sum } = result.named;
    const entry = { ...this.entry, size: content.size, sum };
    const outcome = await spaces.commit(who(), place.space, {
      changes: [{ type: "put", path: place.path, expect, entry, content, makeParents, keepsMode }],
      intake: this.#intake,
      atomic: true,
      cause: "upload",
      traceId: traceId(),
    });
    const version = requireDone(outcome.results);
    // What had come of an earlier try has been overtaken.
    await partials.forget(who(), place);
    return version;
  }

  /** Makes the upload the file; the space may refuse it, and then it is of no use. */
  async #complete(id: string, expect: UploadExpect, keepsMode: boolean): Promise<Version> {
    const { partials, who, traceId } = this.#parts;
    const { mode } = this.entry;
    const result = await partials.complete(who(), id, { traceId: traceId(), expect, mode, keepsMode, mtimeNs: this.#mtimeNs });
    if (result.status !== "done") await partials.drop(who(), id);
    return requireDone([result]);
  }

  /** Who has written all of a file replaces whatever is there. */
  #expectNow(): UploadExpect {
    const { expect } = this.#target;
    const isAll = this.#stream !== undefined && this.#stream.at > 0 && this.#stream.at >= this.#size;
    return expect.kind === "sequence" && isAll ? { kind: "any" } : expect;
  }

  /** The content as it is now. */
  async #name() {
    const stream = this.#stream;
    if (stream !== undefined && (stream.at > 0 || this.#size === 0) && !stream.hasAhead) {
      await this.#pass(stream.at, (position, bytes) => stream.take(position, bytes));
      return stream.finish();
    }
    // Also where a gap was left that nobody filled: zeros are between.
    await this.#unstream();
    const { named } = this.#base;
    const isPatched = (this.#patch?.extents.count ?? 0) > 0 || this.#baseBytes !== this.#size;
    if (named !== undefined && !isPatched && named.content.size === this.#size) return { named };
    const sink = this.#intake.sink(this.#size);
    await this.#pass(0, (_position, bytes) => sink.write(bytes));
    return { named: await sink.end() };
  }

  /** Hands on what is there from a position on, piece by piece. */
  async #pass(from: number, take: (position: number, bytes: Uint8Array) => Promise<void> | void): Promise<void> {
    const end = this.#size;
    const piece = new Uint8Array(Math.min(PIECE_BYTES, Math.max(0, end - from)));
    for (let position = from; position < end; ) {
      const count = await this.#read(piece, position);
      if (count === 0) throw contentGone();
      await take(position, piece.subarray(0, count));
      position += count;
    }
  }

  /**
   * Gives up what was not closed. What came in order of a new file is kept as an upload that can be gone on with.
   * Idempotent.
   */
  async discard(): Promise<void> {
    await this.#end((stream) => (this.#isRemoved ? stream.giveUp() : stream.breakOff()));
  }

  async #end(endStream: (stream: InOrder) => Promise<void>): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#patch?.staged.close();
    this.#patch = undefined;
    try {
      if (this.#stream !== undefined) await endStream(this.#stream);
    } finally {
      this.#stream = undefined;
      await this.#intake[Symbol.asyncDispose]();
    }
  }
}

const at = ({ sequence }: Version): UploadExpect => ({ kind: "sequence", sequence });

async function baseOf(parts: WriteParts, intake: Intake, space: string, version: Version): Promise<Base> {
  const { content, entry } = version;
  if (content !== undefined && !(await intake.hold(content))) throw contentGone();
  const reader = await parts.spaces.open(parts.who(), space, version);
  const sum = entry?.kind === "file" ? entry.sum : undefined;
  return { reader, named: content === undefined || sum === undefined ? undefined : { content, sum, sums: {} } };
}

/** The first one, and behind it what the second has there. */
function joined(first: ContentReader, second: ContentReader): ContentReader {
  return {
    size: Math.max(first.size, second.size),
    async read(into, position) {
      const count = position < first.size ? await first.read(into, position) : 0;
      if (count === into.length) return count;
      return count + (await second.read(into.subarray(count), position + count));
    },
  };
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
