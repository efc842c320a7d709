/** Encrypted content as what was encrypted, from any position on. */
import type { DataKey } from "#gateway/s3/sse-c/data-key.ts";
import { STORED_FRAME_BYTES, damaged, openFrame, partKey } from "#gateway/s3/sse-c/frames.ts";
import {
  type EncryptedPart, FRAME_BYTES, FRAME_TAG_BYTES, PART_SALT_BYTES, storedPartBytes,
} from "#hub/encrypted-content.ts";
import type { ContentSource } from "#hub/space-service.ts";

/** A part with where it begins: as it was, and in the store. */
type Placed = EncryptedPart & { readonly start: number; readonly storedAt: number };

export class DecryptedContent implements Pick<ContentSource, "size" | "stream"> {
  readonly size: number;
  readonly #stored: ContentSource;
  readonly #dataKey: DataKey;
  readonly #parts: readonly Placed[];

  /** @throws {SynclineError} CHUNK_DAMAGED when the parts are not all that is stored */
  constructor(stored: ContentSource, dataKey: DataKey, parts: readonly EncryptedPart[]) {
    this.#stored = stored;
    this.#dataKey = dataKey;
    let [start, storedAt] = [0, 0];
    this.#parts = parts.map((part) => {
      const placed = { ...part, start, storedAt };
      start += part.size;
      storedAt += storedPartBytes(part.size);
      return placed;
    });
    if (storedAt !== stored.size) throw damaged();
    this.size = start;
  }

  /** The bytes [start, end), in pieces: the caller's own. @throws {SynclineError} CHUNK_DAMAGED, and what the store throws */
  async *stream(start: number, end: number): AsyncGenerator<Uint8Array, void> {
    for (const part of this.#parts) {
      const from = Math.max(0, start - part.start);
      const to = Math.min(part.size, end - part.start);
      if (from < to) yield* this.#ofPart(part, from, to);
    }
  }

  async *#ofPart({ number, size, storedAt }: Placed, from: number, to: number): AsyncGenerator<Uint8Array, void> {
    const first = Math.floor(from / FRAME_BYTES);
    const last = Math.ceil(to / FRAME_BYTES) - 1;
    const isLastOf = (index: number): boolean => (index + 1) * FRAME_BYTES >= size;
    const frames = storedAt + PART_SALT_BYTES;
    const storedEnd = Math.min(frames + (last + 1) * STORED_FRAME_BYTES, storedAt + storedPartBytes(size));
    const salt = new Uint8Array(PART_SALT_BYTES);
    if ((await this.#stored.read(salt, storedAt)) !== salt.length) throw damaged();
    const key = partKey(this.#dataKey, salt, number);
    const opener = new FrameOpener(key, first, isLastOf, size);
    let at = first * FRAME_BYTES;
    for await (const piece of this.#stored.stream(frames + first * STORED_FRAME_BYTES, storedEnd)) {
      const bytes = opener.push(piece);
      if (bytes.length === 0) continue;
      const begin = Math.max(0, from - at);
      const until = Math.min(bytes.length, to - at);
      at += bytes.length;
      yield begin === 0 && until === bytes.length ? bytes : bytes.subarray(begin, until);
    }
    if (!opener.isDone(last)) throw damaged();
  }
}

/** Puts frames together from pieces that end anywhere, and opens them in order. */
class FrameOpener {
  readonly #key: Uint8Array;
  readonly #isLastOf: (index: number) => boolean;
  readonly #size: number;
  readonly #frame = new Uint8Array(STORED_FRAME_BYTES);
  #filled = 0;
  #index: number;

  /** @param size of the part, as it was */
  constructor(key: Uint8Array, first: number, isLastOf: (index: number) => boolean, size: number) {
    this.#key = key;
    this.#index = first;
    this.#isLastOf = isLastOf;
    this.#size = size;
  }

  isDone(last: number): boolean {
    return this.#index === last + 1 && this.#filled === 0;
  }

  push(piece: Uint8Array): Uint8Array {
    const out = new Uint8Array(Math.ceil((this.#filled + piece.length) / STORED_FRAME_BYTES) * FRAME_BYTES);
    let made = 0;
    for (let at = 0; at < piece.length; ) {
      const length = this.#frameBytes();
      if (length <= FRAME_TAG_BYTES) throw damaged();
      if (this.#filled === 0 && piece.length - at >= length) {
        made += this.#open(piece.subarray(at, at + length), out, made);
        at += length;
        continue;
      }
      const part = piece.subarray(at, at + length - this.#filled);
      this.#frame.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled < length) break;
      this.#filled = 0;
      made += this.#open(this.#frame.subarray(0, length), out, made);
    }
    return out.subarray(0, made);
  }

  #frameBytes(): number {
    return Math.min(FRAME_BYTES, this.#size - this.#index * FRAME_BYTES) + FRAME_TAG_BYTES;
  }

  #open(stored: Uint8Array, out: Uint8Array, at: number): number {
    const length = stored.length - FRAME_TAG_BYTES;
    openFrame(this.#key, this.#index, this.#isLastOf(this.#index), stored, out.subarray(at, at + length));
    this.#index++;
    return length;
  }
}
