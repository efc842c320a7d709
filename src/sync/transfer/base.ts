/**
 * What the destination has already, as one address space: one file, several one behind the other (so that the
 * concatenation of two is taken from both), or samples of files.
 */
import { type Fd, type FileSystem, isCode } from "#platform/file-system.ts";
import { SAMPLE_BYTES, samplesIn, sampleStride } from "#sync/transfer/limits.ts";

/** The destination's own file, opened for reading; whoever asked closes it. */
export type BaseFile = { readonly fd: Fd; readonly size: number };

/** Bytes [from, from + length) of a file, which begin at `at` in the base. */
type Part = { readonly fd: Fd; readonly from: number; readonly length: number; readonly at: number; readonly sparse: boolean };

/** A copy where the kernel cannot do it goes through a buffer of this size. */
const COPY_BUFFER_BYTES = 256 << 10;

export class Base {
  readonly size: number;
  readonly #fs: FileSystem;
  readonly #parts: readonly Part[];

  private constructor(fs: FileSystem, parts: readonly Part[]) {
    const last = parts.at(-1);
    this.#fs = fs;
    this.#parts = parts;
    this.size = last === undefined ? 0 : last.at + last.length;
  }

  /** The files one behind the other. Throws FsError. */
  static of(fs: FileSystem, files: readonly BaseFile[]): Base {
    let at = 0;
    const parts = files.map(({ fd, size }) => {
      const part = { fd, from: 0, length: size, at, sparse: fs.fstat(fd).allocatedBytes < size };
      at += size;
      return part;
    });
    return new Base(fs, parts);
  }

  /** A sample of SAMPLE_BYTES at every stride of each file, one behind the other. */
  static samples(fs: FileSystem, files: readonly BaseFile[]): Base {
    const parts: Part[] = [];
    for (const { fd, size } of files) {
      const count = samplesIn(size);
      for (let sample = 0; sample < count; sample++) {
        const from = sample * sampleStride(size);
        parts.push({ fd, from, length: SAMPLE_BYTES, at: parts.length * SAMPLE_BYTES, sparse: false });
      }
    }
    return new Base(fs, parts);
  }

  /** Fills `into` from `at` on, off the main thread. What a file has lost since it was opened stays as it was. */
  async read(into: Uint8Array, at: number): Promise<void> {
    const reads: Promise<number>[] = [];
    for (const { fd, from, start, length } of this.#slices(at, into.length)) {
      reads.push(this.#fs.readAsync(fd, into.subarray(start, start + length), from));
    }
    // All of them have to end before the files may be closed.
    for (const one of await Promise.allSettled(reads)) if (one.status === "rejected") throw one.reason;
  }

  /**
   * Copies [at, at + length) to `to`, or the beginning of it; 0 when a file has lost these bytes. A promise where the
   * kernel cannot do it.
   */
  copySome(at: number, to: Fd, toAt: number, length: number): number | Promise<number> {
    for (const slice of this.#slices(at, length)) return copySome(this.#fs, slice.fd, slice.from, to, toAt, slice.length);
    return 0;
  }

  /** Tells for stretches asked in rising order whether they lie wholly in holes, so that holes are never read. */
  holeFinder(): (at: number, length: number) => boolean {
    if (!this.#parts.some((part) => part.sparse)) return () => false;
    const finders = new Map(this.#parts.map((part) => [part, this.#holesOf(part)]));
    return (at, length) => {
      for (const slice of this.#slices(at, length)) {
        if (!finders.get(slice.part)!(slice.from, slice.length)) return false;
      }
      return true;
    };
  }

  #holesOf({ fd, length: size, sparse }: Part): (at: number, length: number) => boolean {
    if (!sparse) return () => false;
    let data: { start: number; end: number } | undefined = { start: 0, end: 0 };
    return (at, length) => {
      while (data !== undefined && data.end <= at) data = this.#fs.dataRange(fd, Math.max(at, data.end), size);
      return data === undefined || data.start >= at + length;
    };
  }

  /** The pieces of parts that make up [at, at + length); `start` counts from `at`. */
  *#slices(at: number, length: number): Generator<{ part: Part; fd: Fd; from: number; start: number; length: number }> {
    const end = Math.min(this.size, at + length);
    let next = at;
    for (let index = this.#partAt(at); next < end; index++) {
      const part = this.#parts[index]!;
      const count = Math.min(end, part.at + part.length) - next;
      yield { part, fd: part.fd, from: part.from + next - part.at, start: next - at, length: count };
      next += count;
    }
  }

  /** Index of the part that holds position `at`. */
  #partAt(at: number): number {
    let low = 0;
    let high = this.#parts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.#parts[middle]!.at <= at) low = middle;
      else high = middle;
    }
    return low;
  }
}

function copySome(
  fs: FileSystem,
  from: Fd,
  fromAt: number,
  to: Fd,
  toAt: number,
  length: number,
): number | Promise<number> {
  try {
    return fs.copyRange(from, fromAt, to, toAt, length);
  } catch (error) {
    if (!isCode(error, "EXDEV", "ENOSYS", "EINVAL", "EOPNOTSUPP", "ENOTSUP")) throw error;
    return copyThrough(fs, from, fromAt, to, toAt, length);
  }
}

async function copyThrough(
  fs: FileSystem,
  from: Fd,
  fromAt: number,
  to: Fd,
  toAt: number,
  length: number,
): Promise<number> {
  const buffer = new Uint8Array(Math.min(COPY_BUFFER_BYTES, length));
  const count = await fs.readAsync(from, buffer, fromAt);
  await fs.writeAsync(to, buffer.subarray(0, count), toAt);
  return count;
}
