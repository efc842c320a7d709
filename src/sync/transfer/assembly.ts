/**
 * One file being put together at the destination, from ops in any order. Counts what is covered so that no
 * byte is missing or written twice, hashes every piece as soon as it is complete, and in the end knows the
 * file's sum from its own reading.
 */
import type { Sum } from "#model/entry.ts";
import { PIECE_BYTES, PieceSums, type SumSeeds, piecesIn } from "#sync/chunk/sum.ts";
import { type ByteReader, malformed } from "#sync/wire/bytes.ts";
import type { Fd, FileSystem } from "#platform/file-system.ts";
import type { Base } from "#sync/transfer/base.ts";
import {
  BYTES_BETWEEN_TURNS,
  COPY_BYTES_MAX,
  FILE_BYTES_MAX,
  UNCACHED_BYTES_MIN,
  WRITEBACK_BYTES,
} from "#sync/transfer/limits.ts";
import { OP_COPY, OP_KEEP, OP_LITERAL, OP_ZERO, readSize } from "#sync/transfer/messages.ts";
import { WriteQueue } from "#sync/transfer/write-queue.ts";

export type AssemblyParts = {
  readonly fs: FileSystem;
  readonly seeds: SumSeeds;
  /** The file being put together. */
  readonly fd: Fd;
  /** Bytes of an earlier run in it, at their places. */
  readonly partialSize: number;
  readonly base: Base | undefined;
  /** Leave zeros as holes. */
  readonly sparse: boolean;
  /** See ReceiveContext. */
  readonly durable: boolean;
  /** Lets everything else in the process have its turn; rejects when the transfer was given up. */
  readonly turn: () => Promise<void>;
};

/** Zeros written at once where holes are not wanted or stale bytes must go. */
const ZEROS = new Uint8Array(256 << 10);

export class Assembly {
  readonly size: number;
  literalBytes = 0;
  reusedBytes = 0;
  readonly #parts: AssemblyParts;
  readonly #attempt: number;
  readonly #sums: PieceSums;
  readonly #queue: WriteQueue;
  /** Per piece: bytes that ops claim, and bytes that are in the file. */
  readonly #claimed: Int32Array;
  readonly #written: Int32Array;
  /** Pieces complete in the file and to be hashed from there. */
  #toHash: number[] = [];
  #hashing: Promise<void> | undefined;
  #writes = 0;
  #idle: (() => void) | undefined;
  #failure: unknown;
  /** Are bytes at the end not written, or perhaps not? */
  #mayBeShort = false;
  /** Bytes copied or made zero on this thread since others had their turn. */
  #sinceTurn = 0;
  /** What the kernel was not yet asked to write back: bytes, and where they begin and end. */
  #dirtyBytes = 0;
  #dirtyFrom = Infinity;
  #dirtyTo = 0;

  /**
   * Cuts the file to its size at most. Throws FsError, and PROTOCOL for sizes and attempts that cannot be.
   */
  constructor(parts: AssemblyParts, size: number, attempt: number) {
    if (size > FILE_BYTES_MAX || attempt < 1 || attempt > 2) throw malformed("a file that cannot be");
    this.#parts = parts;
    this.size = size;
    this.#attempt = attempt;
    this.#sums = new PieceSums(parts.seeds, size);
    this.#queue = new WriteQueue(parts.fs, parts.fd, parts.durable && size >= UNCACHED_BYTES_MIN);
    this.#claimed = new Int32Array(piecesIn(size));
    this.#written = new Int32Array(piecesIn(size));
    // A second attempt starts over. Never longer on the way than what has arrived, so that an interrupted transfer
    // leaves a short partial.
    if (attempt > 1) parts.fs.truncate(parts.fd, 0);
    else if (parts.fs.fstat(parts.fd).size > size) parts.fs.truncate(parts.fd, size);
    if (size === 0) this.#sums.add(0, ZEROS.subarray(0, 0));
  }

  /** Pieces waiting to be hashed: the caller holds back when there are many. */
  get backlog(): number {
    return this.#toHash.length;
  }

  /**
   * Performs the ops of one OPS message. Throws FsError, PROTOCOL for ops outside the file or the base, or what turn()
   * throws.
   */
  async ops(reader: ByteReader): Promise<void> {
    while (!reader.atEnd) {
      const kind = reader.u8();
      const target = readSize(reader);
      if (kind === OP_COPY) {
        const base = readSize(reader);
        await this.#copy(target, base, readSize(reader));
      } else if (kind === OP_KEEP) {
        this.#keep(target, readSize(reader));
      } else if (kind === OP_ZERO) {
        await this.#zero(target, readSize(reader));
      } else if (kind === OP_LITERAL) {
        this.#literal(target, reader.bytes());
      } else {
        throw malformed("an unknown op");
      }
    }
  }

  /** Writes the bytes of one DATA message; `settled` is called once when that is over. */
  data(target: number, bytes: Uint8Array, settled: () => void): void {
    this.#claim(target, bytes.length);
    this.literalBytes += bytes.length;
    const piece = Math.floor(target / PIECE_BYTES);
    const isWhole = bytes.length === this.#sums.lengthOf(piece);
    if (isWhole) this.#sums.add(piece, bytes);
    this.#writes++;
    this.#queue.write(bytes, target)
      .then(() => {
        if (isWhole) this.#noteDirty(target, bytes.length);
        else this.#wrote(target, bytes.length);
      })
      .catch((error: unknown) => this.#fail(error))
      .finally(() => {
        this.#writes--;
        this.#wakeIfIdle();
        settled();
      });
  }

  /** Waits until nothing is under way any more, whatever came of it: then the descriptor may be closed. */
  async settle(): Promise<void> {
    while (this.#writes > 0 || this.#hashing !== undefined) {
      const idle = Promise.withResolvers<void>();
      this.#idle = idle.resolve;
      await idle.promise;
    }
  }

  /** Closes what was opened here; after settle(). */
  close(): void {
    this.#queue.close();
  }

  /** Waits until at most `count` pieces are to be hashed. */
  async catchUp(count: number): Promise<void> {
    while (this.#toHash.length > count && this.#hashing !== undefined) await this.#hashing;
  }

  /**
   * Gives the file its size and returns its sum; undefined when bytes are missing. Throws what any step
   * threw.
   */
  async finish(): Promise<Sum | undefined> {
    await this.settle();
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#sums.missing > 0) return undefined;
    // Zeros at the end were never written, so the file is too short still.
    if (this.#mayBeShort) this.#parts.fs.truncate(this.#parts.fd, this.size);
    return this.#sums.digest();
  }

  /** The first failure of work that was not awaited. */
  get failure(): unknown {
    return this.#failure;
  }

  #fail(error: unknown): void {
    this.#failure ??= error;
  }

  #wakeIfIdle(): void {
    if (this.#writes > 0 || this.#hashing !== undefined) return;
    this.#idle?.();
    this.#idle = undefined;
  }

  /** Books [target, target + length) for one op. */
  #claim(target: number, length: number): void {
    if (length === 0 || target + length > this.size) throw malformed("bytes outside the file");
    for (let at = target; at < target + length; ) {
      const piece = Math.floor(at / PIECE_BYTES);
      const count = Math.min(target + length, (piece + 1) * PIECE_BYTES) - at;
      const claimed = this.#claimed[piece]! + count;
      if (claimed > this.#sums.lengthOf(piece)) throw malformed("the same bytes twice");
      this.#claimed[piece] = claimed;
      at += count;
    }
  }

  /** [target, target + length) is in the file: pieces that are complete now are hashed from there. */
  #wrote(target: number, length: number): void {
    for (let at = target; at < target + length; ) {
      const piece = Math.floor(at / PIECE_BYTES);
      const count = Math.min(target + length, (piece + 1) * PIECE_BYTES) - at;
      const written = this.#written[piece]! + count;
      this.#written[piece] = written;
      if (written === this.#sums.lengthOf(piece)) this.#toHash.push(piece);
      at += count;
    }
    this.#noteDirty(target, length);
    if (this.#toHash.length > 0) this.#hashing ??= this.#hashPieces();
  }

  #noteDirty(target: number, length: number): void {
    if (!this.#parts.durable) return;
    this.#dirtyBytes += length;
    this.#dirtyFrom = Math.min(this.#dirtyFrom, target);
    this.#dirtyTo = Math.max(this.#dirtyTo, target + length);
    if (this.#dirtyBytes < WRITEBACK_BYTES) return;
    this.#parts.fs.startWriteback(this.#parts.fd, this.#dirtyFrom, this.#dirtyTo - this.#dirtyFrom);
    this.#dirtyBytes = 0;
    this.#dirtyFrom = Infinity;
    this.#dirtyTo = 0;
  }

  async #hashPieces(): Promise<void> {
    const { fs, fd } = this.#parts;
    const buffer = new Uint8Array(Math.min(PIECE_BYTES, this.size));
    // The caller notes this promise before the end forgets it, even should the first read throw at once.
    await undefined;
    try {
      for (let piece = this.#toHash.shift(); piece !== undefined; piece = this.#toHash.shift()) {
        const bytes = buffer.subarray(0, this.#sums.lengthOf(piece));
        // Behind the end of the file are zeros that are not written: the file gets its full size at last.
        bytes.fill(0, await fs.readAsync(fd, bytes, piece * PIECE_BYTES));
        this.#sums.add(piece, bytes);
      }
    } catch (error) {
      this.#fail(error);
      this.#toHash = [];
    } finally {
      this.#hashing = undefined;
      this.#wakeIfIdle();
    }
  }

  /** A few bytes can ask for as much work as the file is long. */
  async #worked(bytes: number): Promise<void> {
    this.#sinceTurn += bytes;
    if (this.#sinceTurn < BYTES_BETWEEN_TURNS) return;
    this.#sinceTurn = 0;
    await this.#parts.turn();
  }

  async #copy(target: number, from: number, length: number): Promise<void> {
    const { fd, base } = this.#parts;
    if (base === undefined || from + length > base.size) throw malformed("a copy from outside the base");
    this.#claim(target, length);
    for (let done = 0; done < length; ) {
      const count = await base.copySome(from + done, fd, target + done, Math.min(length - done, COPY_BYTES_MAX));
      // The base became shorter. What is missing stays zero, and unless it was, the sum will not fit, and the file is sent
      // as a whole.
      if (count === 0) {
        this.#mayBeShort = true;
        break;
      }
      done += count;
      await this.#worked(count);
    }
    this.reusedBytes += length;
    this.#wrote(target, length);
  }

  #keep(target: number, length: number): void {
    if (this.#attempt !== 1 || target + length > this.#parts.partialSize) throw malformed("bytes that are not there");
    this.#claim(target, length);
    this.reusedBytes += length;
    this.#wrote(target, length);
  }

  #literal(target: number, bytes: Uint8Array): void {
    this.#claim(target, bytes.length);
    this.literalBytes += bytes.length;
    this.#parts.fs.write(this.#parts.fd, bytes, target);
    this.#wrote(target, bytes.length);
  }

  async #zero(target: number, length: number): Promise<void> {
    this.#claim(target, length);
    const end = target + length;
    if (end === this.size) this.#mayBeShort = true;
    await this.#makeZero(target, end);
    const firstWhole = Math.ceil(target / PIECE_BYTES);
    const endWhole = Math.max(firstWhole, Math.floor(end / PIECE_BYTES));
    if (endWhole === firstWhole) return this.#wrote(target, length);
    this.#sums.addZeros(firstWhole, endWhole);
    if (target < firstWhole * PIECE_BYTES) this.#wrote(target, firstWhole * PIECE_BYTES - target);
    if (end > endWhole * PIECE_BYTES) this.#wrote(endWhole * PIECE_BYTES, end - endWhole * PIECE_BYTES);
  }

  /**
   * In a fresh file there is nothing to do: what is never written is a hole, and lies behind the end until
   * then.
   */
  async #makeZero(start: number, end: number): Promise<void> {
    const { fs, fd, partialSize, sparse } = this.#parts;
    const stale = partialSize > 0 && this.#attempt === 1;
    if (sparse && !stale) return;
    for (let at = start; at < end; ) {
      const range = sparse ? fs.dataRange(fd, at, end) : { start, end };
      if (range === undefined) return;
      const stop = Math.min(end, range.end);
      for (at = Math.max(at, range.start); at < stop; at += ZEROS.length) {
        fs.write(fd, ZEROS.subarray(0, Math.min(ZEROS.length, stop - at)), at);
        await this.#worked(ZEROS.length);
      }
      at = stop;
    }
  }
}
