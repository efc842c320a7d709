/**
 * The writes of one file that nobody awaits one by one. One is made at a time: the kernel locks a file for each, and a
 * second one would only wait for that lock. What waits meanwhile goes together where it can pass by the page cache.
 */
import type { Fd, FileSystem } from "#platform/file-system.ts";
import { PIECE_BYTES } from "#sync/chunk/sum.ts";
import { UNCACHED_PIECES_MAX } from "#sync/transfer/limits.ts";

type Write = {
  readonly bytes: Uint8Array;
  readonly position: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
};

/** Only whole pieces: others are read back to be hashed, and edges of a page may be written twice. */
function isWholePiece({ bytes, position }: Write): boolean {
  return bytes.length === PIECE_BYTES && position % PIECE_BYTES === 0;
}

export class WriteQueue {
  readonly #fs: FileSystem;
  readonly #fd: Fd;
  #mayPassCache: boolean;
  #uncached: Fd | undefined;
  readonly #waiting: Write[] = [];
  #isWriting = false;
  #failure: { readonly error: unknown } | undefined;

  /** @param mayPassCache whole pieces are written past the page cache where the file system can */
  constructor(fs: FileSystem, fd: Fd, mayPassCache: boolean) {
    this.#fs = fs;
    this.#fd = fd;
    this.#mayPassCache = mayPassCache;
  }

  /**
   * Resolves when the bytes are in the file; they are the queue's until it settles. Rejects with FsError; those behind
   * one that failed are not made any more and reject alike.
   */
  write(bytes: Uint8Array, position: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ bytes, position, resolve, reject });
      if (!this.#isWriting) void this.#run();
    });
  }

  /** Once everything has settled; `fd` stays open. */
  close(): void {
    if (this.#uncached !== undefined) this.#fs.close(this.#uncached);
    this.#uncached = undefined;
  }

  /** Never rejects: each write is told by its own promise. */
  async #run(): Promise<void> {
    this.#isWriting = true;
    while (this.#waiting.length > 0) {
      const writes = this.#takeNext();
      try {
        if (this.#failure !== undefined) throw this.#failure.error;
        await this.#make(writes);
        for (const { resolve } of writes) resolve();
      } catch (error) {
        this.#failure ??= { error };
        for (const { reject } of writes) reject(error);
      }
    }
    this.#isWriting = false;
  }

  /** The first of what waits, with the pieces that lie behind it. */
  #takeNext(): Write[] {
    const [first] = this.#waiting as [Write];
    let count = 1;
    if (this.#mayPassCache && isWholePiece(first)) {
      while (count < UNCACHED_PIECES_MAX) {
        const next = this.#waiting[count];
        if (next === undefined || !isWholePiece(next)) break;
        if (next.position !== first.position + count * PIECE_BYTES) break;
        count++;
      }
    }
    return this.#waiting.splice(0, count);
  }

  async #make(writes: readonly Write[]): Promise<void> {
    const [first] = writes as [Write];
    let done = 0;
    const uncached = isWholePiece(first) ? this.#openUncached() : undefined;
    if (uncached !== undefined) {
      done = await this.#fs.writeUncached(uncached, writes.map(({ bytes }) => bytes), first.position);
    }
    for (const { bytes, position } of writes) {
      const written = Math.min(done, bytes.length);
      done -= written;
      if (written < bytes.length) await this.#fs.writeAsync(this.#fd, bytes.subarray(written), position + written);
    }
  }

  #openUncached(): Fd | undefined {
    if (this.#mayPassCache && this.#uncached === undefined) {
      this.#uncached = this.#fs.openUncached(this.#fd);
      // It would not be had the next time either.
      this.#mayPassCache = this.#uncached !== undefined;
    }
    return this.#uncached;
  }
}
