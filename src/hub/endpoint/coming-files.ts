/**
 * Large files that are on their way into spaces. Links that will want one are told when it begins, and can have its bytes
 * while it comes: a piece goes from the memory that it arrived in to whoever waits for it, is kept for whoever is a
 * little late, and comes out of the store for all others. Nobody waits for a reader. Nothing of it is visible: what
 * becomes of it is told by its commit alone.
 */
import type { ContentReader, Intake } from "#hub/space-service.ts";
import type { SpaceId } from "#hub/space.ts";
import type { FileEntry, Sum } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { FsError } from "#platform/file-system.ts";
import { giveBackBuffer, shareMessage, takeBuffer } from "#sync/wire/buffer-pool.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";
import { DATA_HEADER_BYTES } from "#sync/transfer/messages.ts";

/** A smaller file is there sooner than its coming pays. */
export const COMING_BYTES_MIN = 16 << 20;
/** Files of all spaces that are told of at a time; more come as if nobody were interested. */
const FILES_MAX = 256;
/** Links that are given coming files at a time, each through buffers of some megabytes; the others wait for the commit. */
const SUPPLIES_MAX = 8;
/** Pieces, of all files, that are kept in memory for readers who are a little late. */
const HELD_MAX = 32;
/** Chunks that a late reader protects and looks up together. */
const PART_CHUNKS = 16;

export type ComingEvent =
  | { readonly type: "begun" }
  | { readonly type: "whole"; readonly sum: Sum }
  | { readonly type: "over"; readonly isThere: boolean };

type Listener = (file: ComingFile, event: ComingEvent) => void;

type Waiting = {
  readonly length: number;
  readonly position: number;
  readonly wake: () => void;
  /** Whoever waits was there when the bytes came. */
  message: Uint8Array | undefined;
};

/** A piece that came before everybody who reads the file was there. */
type Held = { readonly message: Uint8Array; readonly wantedBy: Set<ComingReader> };

/** What the one who brings a file knows of it. */
export type ComingSource = {
  readonly space: SpaceId;
  /** In the space. */
  readonly path: RelPath;
  readonly size: number;
  /** Who brings it, and need not be told. */
  readonly by: object;
  /** The chunks that the store has so far, in order. */
  readonly stored: () => readonly ManifestChunk[];
  /** For who reads it from the store. */
  readonly intake: () => Intake;
};

export class ComingFile {
  readonly source: ComingSource;
  readonly id: bigint;
  /** Once it is whole. */
  sum: Sum | undefined;
  readonly #tell: (event: ComingEvent) => void;
  /** Over all files. */
  readonly #holding: { pieces: number };
  readonly #readers = new Set<ComingReader>();
  readonly #held = new Map<number, Held>();
  /** Where each stored chunk ends. */
  readonly #ends: number[] = [];
  readonly #whole = Promise.withResolvers<Sum>();
  #isLost = false;
  #isOver = false;

  constructor(source: ComingSource, id: bigint, holding: { pieces: number }, tell: (event: ComingEvent) => void) {
    this.source = source;
    this.id = id;
    this.#holding = holding;
    this.#tell = tell;
    this.#whole.promise.catch(() => undefined);
  }

  /** Resolves with the sum of all its bytes; rejects with FsError when it will not come. */
  get whole(): Promise<Sum> {
    return this.#whole.promise;
  }

  get isLost(): boolean {
    return this.#isLost;
  }

  // ---------------------------------------------------------------- for who brings it

  /** These bytes have come; they are looked at now and not later. */
  arrived(bytes: Uint8Array, position: number): void {
    // Who gets it may write a header before it: the first has the message in which it came, the others have copies.
    let came = shareMessage(bytes, DATA_HEADER_BYTES);
    const message = (): Uint8Array => {
      const own = came ?? messageOf(bytes);
      came = undefined;
      return own;
    };
    const wantedBy = new Set<ComingReader>();
    for (const reader of this.#readers) if (reader.offer(bytes.length, position, message)) wantedBy.add(reader);
    if (wantedBy.size > 0 && this.#holding.pieces < HELD_MAX) {
      this.#holding.pieces++;
      this.#held.set(position, { message: message(), wantedBy });
    }
    if (came !== undefined) giveBackBuffer(came);
  }

  /** More of it may be in the store. */
  stored(): void {
    const chunks = this.source.stored();
    for (let at = this.#ends.length; at < chunks.length; at++) this.#ends.push((this.#ends.at(-1) ?? 0) + chunks[at]!.length);
    for (const reader of this.#readers) reader.look();
  }

  /** All of it has come, proved by the sum. */
  isWhole(sum: Sum): void {
    if (this.#isOver) return;
    this.sum = sum;
    this.#whole.resolve(sum);
    this.#tell({ type: "whole", sum });
  }

  /** It is committed, and can be read on; or it never will be. */
  over(isThere: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    if (!isThere) {
      this.#isLost = true;
      this.#whole.reject(gone());
      for (const reader of this.#readers) reader.look();
    }
    this.#tell({ type: "over", isThere });
  }

  // ---------------------------------------------------------------- for who wants it

  /** @param intake of this reader alone, as long as it reads */
  reader(intake: Intake, signal: AbortSignal): ComingReader {
    const reader: ComingReader = new ComingReader(this, intake, signal, () => {
      this.#readers.delete(reader);
      for (const position of [...this.#held.keys()]) this.#dropHeld(reader, position);
    });
    this.#readers.add(reader);
    return reader;
  }

  /** Bytes that the store has. */
  get storedBytes(): number {
    return this.#ends.at(-1) ?? 0;
  }

  /** Indexes of the chunks in which bytes [from, to) are, the last one included, and where the first begins. */
  chunksAt(from: number, to: number): { first: number; last: number; start: number } {
    const first = firstAbove(this.#ends, from);
    return { first, last: firstAbove(this.#ends, to - 1), start: first === 0 ? 0 : this.#ends[first - 1]! };
  }

  /** A message with a piece that was kept for the reader, who gives it back. */
  takeHeld(reader: ComingReader, length: number, position: number): Uint8Array | undefined {
    const held = this.#held.get(position);
    if (held === undefined) return undefined;
    const isIt = held.message.length === DATA_HEADER_BYTES + length;
    const isLast = this.#leave(held, reader, position);
    if (isIt && !isLast) return messageOf(held.message.subarray(DATA_HEADER_BYTES));
    if (isIt) return held.message;
    if (isLast) giveBackBuffer(held.message);
    return undefined;
  }

  #dropHeld(reader: ComingReader, position: number): void {
    const held = this.#held.get(position)!;
    if (this.#leave(held, reader, position)) giveBackBuffer(held.message);
  }

  /** True: nobody else wants it, and it is kept no longer. */
  #leave({ wantedBy }: Held, reader: ComingReader, position: number): boolean {
    if (!wantedBy.delete(reader) || wantedBy.size > 0) return false;
    this.#held.delete(position);
    this.#holding.pieces--;
    return true;
  }
}

/** A copy, with room for the header of a message. */
function messageOf(bytes: Uint8Array): Uint8Array {
  const message = takeBuffer(DATA_HEADER_BYTES + bytes.length);
  message.set(bytes, DATA_HEADER_BYTES);
  return message;
}

/**
 * Reads wait for what has not come. They reject with FsError when it never will, or nobody wants it any more. Bytes are
 * asked for once, in the order of the file.
 */
export class ComingReader implements ContentReader, Disposable {
  readonly size: number;
  readonly #file: ComingFile;
  readonly #intake: Intake;
  readonly #signal: AbortSignal;
  readonly #close: () => void;
  readonly #waiting = new Set<Waiting>();
  readonly #abort = (): void => this.look();
  /** End of what was asked for. */
  #asked = 0;
  /** Stored chunks that were read last, and where they lie. */
  #part: { readonly reader: ContentReader; readonly start: number; readonly end: number } | undefined;

  constructor(file: ComingFile, intake: Intake, signal: AbortSignal, close: () => void) {
    this.size = file.source.size;
    this.#file = file;
    this.#intake = intake;
    this.#signal = signal;
    this.#close = close;
    signal.addEventListener("abort", this.#abort, { once: true });
  }

  /** Bytes have just come. True: they will be asked for later. @param message has them, and is then the reader's */
  offer(length: number, position: number, message: () => Uint8Array): boolean {
    for (const one of this.#waiting) {
      if (one.position !== position || one.length !== length || one.message !== undefined) continue;
      one.message = message();
      one.wake();
      return false;
    }
    return position >= this.#asked;
  }

  /** Something has changed: is it what anybody waits for? */
  look(): void {
    const { isLost, storedBytes } = this.#file;
    for (const { position, length, wake } of this.#waiting) {
      if (isLost || this.#signal.aborted || position + length <= storedBytes) wake();
    }
  }

  async read(room: Uint8Array, position: number): Promise<number> {
    const into = room.subarray(0, Math.max(0, this.size - position));
    const message = await this.take(position, into.length);
    if (message === undefined) return this.#readStored(into, position);
    into.set(message.subarray(DATA_HEADER_BYTES));
    giveBackBuffer(message);
    return into.length;
  }

  /**
   * In place of read(), for who sends the bytes: a message that has them behind DATA_HEADER_BYTES, and is the caller's.
   * Undefined: they are in the store, where read() has them from.
   */
  async take(position: number, length: number): Promise<Uint8Array | undefined> {
    this.#asked = Math.max(this.#asked, position + length);
    let message = this.#file.takeHeld(this, length, position);
    while (message === undefined) {
      if (this.#file.isLost || this.#signal.aborted) throw gone();
      if (position + length <= this.#file.storedBytes) return undefined;
      message = await this.#comes(length, position);
    }
    return message;
  }

  async #comes(length: number, position: number): Promise<Uint8Array | undefined> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const one: Waiting = { length, position, wake: resolve, message: undefined };
    this.#waiting.add(one);
    await promise;
    this.#waiting.delete(one);
    return one.message;
  }

  async #readStored(into: Uint8Array, position: number): Promise<number> {
    const to = position + into.length;
    try {
      const part = this.#part;
      const isIn = part !== undefined && part.start <= position && to <= part.end;
      const { reader, start } = isIn ? part : this.#openPart(position, to);
      if ((await reader.read(into, position - start)) === into.length) return into.length;
    } catch (error) {
      if (!(error instanceof SynclineError)) throw error;
    }
    throw gone();
  }

  #openPart(position: number, to: number): { reader: ContentReader; start: number } {
    const { first, last, start } = this.#file.chunksAt(position, to);
    const chunks = this.#file.source.stored().slice(first, Math.max(last + 1, first + PART_CHUNKS));
    const reader = this.#intake.part(chunks, false);
    this.#part = { reader, start, end: start + reader.size };
    return this.#part;
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#abort);
    this.#close();
  }
}

/** Index of the first of ascending numbers that is above `value`. */
function firstAbove(ascending: readonly number[], value: number): number {
  let [low, high] = [0, ascending.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ascending[middle]! > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Of one hub. */
export class ComingFiles {
  readonly #bytesMin: number;
  readonly #files = new Map<string, ComingFile>();
  readonly #listeners = new Map<SpaceId, Set<Listener>>();
  readonly #holding = { pieces: 0 };
  #supplies = 0;
  #begun = 0n;

  /** @param bytesMin of a file that is told of */
  constructor(bytesMin = COMING_BYTES_MIN) {
    this.#bytesMin = bytesMin;
  }

  /** Undefined: nobody will be told of it. Otherwise over() must follow. */
  begin(source: ComingSource): ComingFile | undefined {
    const key = keyOf(source.space, source.path);
    if (source.size < this.#bytesMin || this.#files.size >= FILES_MAX || this.#files.has(key)) return undefined;
    const file: ComingFile = new ComingFile(source, ++this.#begun, this.#holding, (event) => {
      if (event.type === "over") this.#files.delete(key);
      this.#tell(file, event);
    });
    this.#files.set(key, file);
    this.#tell(file, { type: "begun" });
    return file;
  }

  #tell(file: ComingFile, event: ComingEvent): void {
    for (const listener of this.#listeners.get(file.source.space) ?? []) listener(file, event);
  }

  /** Tells of those that are coming, and of what becomes of them, until aborted. @param listener must not throw */
  watch(space: SpaceId, listener: Listener, signal: AbortSignal): void {
    if (signal.aborted) return;
    const listeners = this.#listeners.get(space) ?? new Set();
    this.#listeners.set(space, listeners.add(listener));
    signal.addEventListener("abort", () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(space) === listeners) this.#listeners.delete(space);
    }, { once: true });
    for (const file of this.#files.values()) {
      if (file.source.space !== space) continue;
      listener(file, { type: "begun" });
      if (file.sum !== undefined) listener(file, { type: "whole", sum: file.sum });
    }
  }

  find(space: SpaceId, path: RelPath): ComingFile | undefined {
    return this.#files.get(keyOf(space, path));
  }

  /** A place among those that are given files; undefined when there is none. Dispose it afterwards. */
  place(): Disposable | undefined {
    if (this.#supplies >= SUPPLIES_MAX) return undefined;
    this.#supplies++;
    return { [Symbol.dispose]: () => void this.#supplies-- };
  }
}

function keyOf(space: SpaceId, path: RelPath): string {
  return `${space}/${path}`;
}

/** The file as the transfer sees it, whose metadata come with its change. */
export function comingEntry(size: number): FileEntry {
  return { kind: "file", size, mode: 0o600, mtimeNs: 0n, sum: undefined };
}

function gone(): FsError {
  return new FsError("ESTALE", "read");
}
