/** Sends a stream as an object: in one request when it is small, else in parts, several at a time in bounded memory. */
import { SynclineError } from "#model/error.ts";
import type { Condition, S3Objects } from "#sync/foreign/s3/s3-objects.ts";

/** Smaller files go in one request; also the size of a part, until a file has too many of them. */
export const PART_BYTES = 8 << 20;
/** S3 takes 10,000. */
const PARTS_MAX = 9_000;
/** Bytes of all uploads of a connection that are in memory at once; a single part may be larger. */
export const BUFFERED_BYTES_MAX = 64 << 20;

/** Hands out room for bytes; who comes first is served first. */
export class ByteRoom {
  #free: number;
  readonly #max: number;
  readonly #waiting: { readonly bytes: number; readonly go: () => void }[] = [];

  constructor(max: number) {
    this.#max = max;
    this.#free = max;
  }

  /** Resolves when there is room. Whoever asks for more than all gets all. */
  async take(bytes: number): Promise<number> {
    const asked = Math.min(bytes, this.#max);
    if (this.#waiting.length > 0 || asked > this.#free) {
      await new Promise<void>((resolve) => this.#waiting.push({ bytes: asked, go: resolve }));
    } else this.#free -= asked;
    return asked;
  }

  give(bytes: number): void {
    this.#free += bytes;
    for (let [next] = this.#waiting; next !== undefined && next.bytes <= this.#free; [next] = this.#waiting) {
      this.#waiting.shift();
      this.#free -= next.bytes;
      next.go();
    }
  }
}

export type Upload = {
  readonly key: string;
  readonly size: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
  readonly condition: Condition;
  /** Called when all bytes are there, before they become visible; what it throws ends the upload. */
  readonly beforeVisible: () => Promise<void>;
  readonly signal: AbortSignal;
};

/** @returns the object's tag */
export async function upload(objects: S3Objects, room: ByteRoom, bytes: AsyncIterable<Uint8Array>, to: Upload): Promise<string> {
  const partBytes = Math.max(PART_BYTES, Math.ceil((to.size ?? 0) / PARTS_MAX));
  const parts = new Parts(bytes, Math.min(partBytes, to.size ?? partBytes), room, to);
  try {
    const first = await parts.next();
    if (parts.isOver) {
      await to.beforeVisible();
      try {
        return await objects.put(to.key, first, to.headers, to.condition, to.signal);
      } finally {
        parts.release();
      }
    }
    return await inParts(objects, parts, first, to);
  } finally {
    await parts.close();
  }
}

async function inParts(objects: S3Objects, parts: Parts, first: Uint8Array, to: Upload): Promise<string> {
  const { key, headers, condition, signal } = to;
  const uploadId = await objects.begin(key, headers, signal).catch((error: unknown) => {
    parts.release();
    throw error;
  });
  const tags: string[] = [];
  const running = new Set<Promise<void>>();
  let failure: { error: unknown } | undefined;
  const send = (body: Uint8Array, number: number, release: () => void): void => {
    const work: Promise<void> = objects
      .part(key, uploadId, number, body, signal)
      .then(
        (tag) => {
          tags[number - 1] = tag;
        },
        (error: unknown) => {
          failure ??= { error };
        },
      )
      .finally(() => {
        release();
        running.delete(work);
      });
    running.add(work);
  };
  try {
    send(first, 1, parts.handOver());
    for (let number = 2; !parts.isOver && failure === undefined; number++) {
      const body = await parts.next();
      if (number > PARTS_MAX + 1) throw tooLarge(key);
      if (body.length > 0) send(body, number, parts.handOver());
      else parts.release();
    }
    while (running.size > 0) await Promise.race(running);
    if (failure !== undefined) throw failure.error;
    await to.beforeVisible();
    return await objects.complete(key, uploadId, tags, condition, signal);
  } catch (error) {
    await Promise.allSettled(running);
    await objects.abort(key, uploadId);
    throw error;
  }
}

/** A stream cut into parts. */
class Parts {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #partBytes: number;
  readonly #room: ByteRoom;
  readonly #to: Upload;
  #rest: Uint8Array = new Uint8Array(0);
  #taken = 0;
  #held = 0;
  isOver = false;

  constructor(bytes: AsyncIterable<Uint8Array>, partBytes: number, room: ByteRoom, to: Upload) {
    this.#source = bytes[Symbol.asyncIterator]();
    this.#partBytes = Math.max(1, partBytes);
    this.#room = room;
    this.#to = to;
  }

  /** The next part, whole unless it is the last; it holds room until release(), or what handOver() gave, is called. */
  async next(): Promise<Uint8Array> {
    this.#held = await this.#room.take(this.#partBytes);
    const part = new Uint8Array(this.#partBytes);
    let filled = 0;
    try {
      while (filled < part.length) {
        const piece = await this.#piece();
        if (piece === undefined) break;
        const count = Math.min(piece.length, part.length - filled);
        part.set(piece.subarray(0, count), filled);
        filled += count;
        this.#rest = piece.subarray(count);
      }
      // A stream of just this many bytes ends here, and that has to be known.
      if (!this.isOver && this.#rest.length === 0) this.#rest = (await this.#piece()) ?? this.#rest;
      this.#check();
      return part.subarray(0, filled);
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Undefined at the end. */
  async #piece(): Promise<Uint8Array | undefined> {
    if (this.#rest.length > 0) return this.#rest;
    for (;;) {
      if (this.isOver) return undefined;
      this.#to.signal.throwIfAborted();
      const { done, value } = await this.#source.next();
      if (done === true) {
        this.isOver = true;
        return undefined;
      }
      this.#taken += value.length;
      if (value.length > 0) return value;
    }
  }

  #check(): void {
    const { size, key } = this.#to;
    if (size === undefined || (this.#taken <= size && (!this.isOver || this.#taken === size))) return;
    const message = `${this.#taken} bytes came where ${size} were expected`;
    throw new SynclineError({ code: "STALE", op: "put an object", path: key, message, retryable: true });
  }

  release(): void {
    this.#room.give(this.#held);
    this.#held = 0;
  }

  handOver(): () => void {
    const held = this.#held;
    this.#held = 0;
    return () => this.#room.give(held);
  }

  async close(): Promise<void> {
    this.release();
    if (!this.isOver) await this.#source.return?.();
  }
}

function tooLarge(path: string): SynclineError {
  const message = `it has more than ${PARTS_MAX} parts of ${PART_BYTES} bytes`;
  return new SynclineError({ code: "UNSUPPORTED", op: "put an object", path, message });
}
