/**
 * The source's work on one file: reads it once, sends what the destination lacks, and vouches for what it
 * read.
 */
import type { FileEntry, Sum } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import { malformed } from "#sync/wire/bytes.ts";
import type { ByteReader } from "#sync/wire/bytes.ts";
import { giveBackBuffer } from "#sync/wire/buffer-pool.ts";
import { PIECE_BYTES, type PieceNotes, PieceSums, ZeroPieces } from "#sync/chunk/sum.ts";
import { type Fd, type FileSystem, FsError, type Stat, describeErrno } from "#platform/file-system.ts";
import { BlockTable } from "#sync/transfer/block-table.ts";
import { DeltaWalk } from "#sync/transfer/delta-walk.ts";
import { FileOutput } from "#sync/transfer/file-output.ts";
import { FILE_BYTES_MAX } from "#sync/transfer/limits.ts";
import type { Line } from "#sync/transfer/line.ts";
import {
  DATA_HEADER_BYTES,
  type Failure,
  type Request,
  encodeBegin,
  encodeChoose,
  encodeEnd,
  encodeFail,
} from "#sync/transfer/messages.ts";
import { Probe } from "#sync/transfer/probe.ts";
import { Regions } from "#sync/transfer/regions.ts";
import { SourceChanged, SourceWindow } from "#sync/transfer/source-window.ts";

/**
 * A file that is being written is tried again at once this often in all; then the next cycle may have more
 * luck.
 */
const ATTEMPTS_MAX = 2;
/** Reads under way for one file that is sent as a whole. */
const READS_AHEAD = 6;

export type SupplyFileParts = {
  readonly fs: FileSystem;
  readonly open: (path: RelPath) => Fd | Promise<Fd>;
  readonly look: (path: RelPath) => Stat | Promise<Stat>;
  readonly take: ((fd: Fd, position: number, length: number) => Promise<Uint8Array | undefined>) | undefined;
  readonly line: Line;
  readonly entryOf: (path: RelPath, stat: Stat) => FileEntry;
  readonly learn: (path: RelPath, entry: FileEntry & { sum: Sum }, stat: Stat) => Problem | undefined;
  readonly makeDurable: (path: RelPath, stat: Stat) => Promise<void>;
  readonly knownSum: ((path: RelPath) => Sum) | undefined;
};

class Cancelled extends Error {}

/** A piece on its way into the buffer that it is sent from. */
type Ahead = { buffer: Uint8Array; count: Promise<number> };

function sameFile(a: Stat, b: Stat): boolean {
  if (a.ino !== b.ino || a.dev !== b.dev || a.size !== b.size) return false;
  return a.mtimeNs === b.mtimeNs && a.ctimeNs === b.ctimeNs;
}

export class SupplyFile {
  readonly #parts: SupplyFileParts;
  readonly #request: Request;
  #base: BlockTable | undefined;
  readonly #probe: Probe | undefined;
  readonly #partial: BlockTable | undefined;
  readonly #regions: Regions;
  #failure: Error | undefined;

  constructor(parts: SupplyFileParts, request: Request) {
    this.#parts = parts;
    this.#request = request;
    const { base, partial, candidates } = request;
    this.#probe = candidates === undefined ? undefined : new Probe(candidates.sizes, parts.line.seeds);
    this.#base = base === undefined ? undefined : new BlockTable(base.size, base.blockBytes);
    this.#partial = partial === undefined ? undefined : new BlockTable(partial.size, partial.blockBytes);
    this.#regions = new Regions(parts.fs, parts.line, request.id);
  }

  get id(): number {
    return this.#request.id;
  }

  receiveBlocks(reader: ByteReader): void {
    const which = reader.u8();
    const table = [this.#base, this.#partial, this.#probe][which];
    if (table === undefined) throw malformed("blocks of nothing");
    table.receive(reader);
  }

  receiveSums(reader: ByteReader): void {
    this.#regions.receive(reader);
  }

  /** The destination has lost interest: run() ends soon, with FAIL. */
  cancel(): void {
    this.stop(new Cancelled());
  }

  /** Ends run() soon; what was thrown in is what it ends with. */
  stop(error: Error): void {
    this.#failure = error;
    this.#base?.fail(error);
    this.#probe?.fail(error);
    this.#partial?.fail(error);
    this.#regions.fail(error);
  }

  /**
   * Sends the file. Trouble with the file itself is sent as FAIL; rejects only when the transfer cannot go
   * on.
   */
  async run(): Promise<void> {
    const failure = await this.#attempts();
    if (failure !== undefined) await this.#parts.line.send(encodeFail(this.id, failure));
  }

  async #attempts(): Promise<Failure | undefined> {
    try {
      for (let attempt = 1; attempt <= ATTEMPTS_MAX; attempt++) {
        this.#check();
        const outcome = await this.#attempt(attempt);
        if (outcome === undefined) continue;
        if ("code" in outcome) return outcome;
        await this.#parts.line.send(encodeEnd(this.id, outcome));
        return undefined;
      }
      return { code: "CHANGED", message: "the file kept changing while it was read", transient: true };
    } catch (error) {
      if (error instanceof Cancelled) return { code: "CANCELLED", message: "cancelled", transient: true };
      if (!(error instanceof FsError)) throw error;
      const message = `cannot ${error.call}: ${describeErrno(error.code)}`;
      return { code: error.code, message, transient: error.code !== "EACCES" && error.code !== "EPERM" };
    }
  }

  /** Undefined when the file changed meanwhile. */
  async #attempt(attempt: number): Promise<FileEntry | Failure | undefined> {
    const { fs, open, look, line } = this.#parts;
    const { path } = this.#request;
    const fd = await open(path);
    try {
      const before = fs.fstat(fd);
      if (before.size > FILE_BYTES_MAX) throw new FsError("EFBIG", "read");
      if (attempt === 1) await this.#choose(fd, before.size);
      await line.send(encodeBegin(this.id, before.size, attempt));
      const { knownSum } = this.#parts;
      const sums = knownSum === undefined ? new PieceSums(line.seeds, before.size) : new ZeroPieces(before.size);
      // Beside the reading: both wait for the disk.
      const durable = this.#parts.makeDurable(path, before);
      durable.catch(() => undefined);
      await this.#send(fd, before, sums, attempt);
      // The descriptor shows writes in place; the path shows that another file was renamed over it (sync.md
      // §8.1).
      if (!sameFile(before, fs.fstat(fd))) return undefined;
      if (!sameFile(before, await look(path))) return undefined;
      await durable;
      const sum = sums instanceof PieceSums ? sums.digest() : knownSum!(path);
      const entry = { ...this.#parts.entryOf(path, before), size: before.size, sum };
      return this.#parts.learn(path, entry, before) ?? entry;
    } catch (error) {
      if (error instanceof SourceChanged) return undefined;
      throw error;
    } finally {
      fs.close(fd);
    }
  }

  /** Chooses the base among the candidates, and has its hashes sent. */
  async #choose(fd: Fd, size: number): Promise<void> {
    const { fs, line } = this.#parts;
    const { candidates } = this.#request;
    if (this.#probe === undefined || candidates === undefined) return;
    const chosen = await this.#probe.choose(fs, fd, size, () => this.#check());
    if (chosen.length === 0) return;
    const total = chosen.reduce((sum, index) => sum + candidates.sizes[index]!, 0);
    this.#base = new BlockTable(total, candidates.blockBytes);
    await line.send(encodeChoose(this.id, chosen));
  }

  async #send(fd: Fd, stat: Stat, sums: PieceNotes, attempt: number): Promise<void> {
    const { fs, line } = this.#parts;
    const output = new FileOutput(line, this.id);
    // What the first attempt wrote went into the partial, so its hashes no longer hold.
    const partial = attempt === 1 ? this.#partial : undefined;
    const plain = this.#base === undefined && partial === undefined;
    this.#regions.begin(fd);
    const window = plain ? undefined : new SourceWindow(fs, fd, stat.size, sums);
    const walk =
      window === undefined
        ? undefined
        : new DeltaWalk({
            window,
            base: this.#base,
            partial,
            regions: this.#regions,
            output,
            line,
            check: () => this.#check(),
          });
    let done = 0;
    try {
      for (const { start, end } of dataStretches(fs, fd, stat)) {
        await this.#hole(done, start, sums, output);
        if (walk === undefined) await this.#whole(fd, start, end, sums, output);
        else await walk.segment(start, end);
        done = end;
      }
      await this.#hole(done, stat.size, sums, output);
      await this.#regions.drain(output);
      await output.flush();
    } finally {
      await window?.close();
    }
    if (stat.size === 0) sums.add(0, new Uint8Array(0));
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  async #hole(from: number, to: number, sums: PieceNotes, output: FileOutput): Promise<void> {
    if (from >= to) return;
    sums.addZeros(from / PIECE_BYTES, to / PIECE_BYTES);
    await output.zero(from, to - from);
  }

  /** Sends [start, end) as it is, piece by piece, reading ahead into the very buffers that are sent. */
  async #whole(fd: Fd, start: number, end: number, sums: PieceNotes, output: FileOutput): Promise<void> {
    const { line } = this.#parts;
    const ahead: Ahead[] = [];
    let next = start;
    try {
      for (let at = start; at < end; at += PIECE_BYTES) {
        while (next < end && ahead.length < READS_AHEAD) {
          const buffer = ahead.length === 0 ? await line.acquire() : line.tryAcquire();
          if (buffer === undefined) break;
          ahead.push(this.#read(fd, buffer, next, Math.min(PIECE_BYTES, end - next)));
          next += PIECE_BYTES;
        }
        const length = Math.min(PIECE_BYTES, end - at);
        if ((await ahead[0]!.count) !== length) throw new SourceChanged();
        const { buffer } = ahead[0]!;
        this.#check();
        const zero = sums.add(at / PIECE_BYTES, buffer.subarray(DATA_HEADER_BYTES, DATA_HEADER_BYTES + length));
        ahead.shift();
        if (!zero) await line.sendData(buffer, this.id, at, length);
        else {
          line.release(buffer);
          await output.zero(at, length);
        }
      }
    } finally {
      for (const one of ahead) {
        await one.count.catch(() => {});
        line.release(one.buffer);
      }
    }
  }

  #read(fd: Fd, buffer: Uint8Array, position: number, length: number): Ahead {
    const { fs, take } = this.#parts;
    const read = (): Promise<number> =>
      fs.readAsync(fd, buffer.subarray(DATA_HEADER_BYTES, DATA_HEADER_BYTES + length), position);
    const taken = async (): Promise<number> => {
      const message = await take!(fd, position, length);
      if (message === undefined) return read();
      giveBackBuffer(buffer);
      one.buffer = message;
      return length;
    };
    const one: Ahead = { buffer, count: take === undefined ? read() : taken() };
    // It may fail while nobody waits for it.
    one.count.catch(() => {});
    return one;
  }
}

/**
 * The stretches of a file that hold data, in order, widened to whole pieces. What lies between reads as
 * zeros. A file without holes is one stretch.
 */
function* dataStretches(fs: FileSystem, fd: Fd, stat: Stat): Iterable<{ start: number; end: number }> {
  const { size } = stat;
  if (stat.allocatedBytes >= size || size <= PIECE_BYTES) {
    if (size > 0) yield { start: 0, end: size };
    return;
  }
  let open: { start: number; end: number } | undefined;
  for (let at = 0; at < size; ) {
    const range = fs.dataRange(fd, at, size);
    // A last piece that is not whole always counts as data: only whole pieces can be summed without reading.
    const lastWhole = Math.floor(size / PIECE_BYTES) * PIECE_BYTES;
    const found = range ?? (lastWhole < size ? { start: Math.max(at, lastWhole), end: size } : undefined);
    if (found === undefined) break;
    const start = Math.floor(found.start / PIECE_BYTES) * PIECE_BYTES;
    const end = Math.min(size, Math.ceil(found.end / PIECE_BYTES) * PIECE_BYTES);
    if (open !== undefined && start <= open.end) {
      open.end = Math.max(open.end, end);
    } else {
      if (open !== undefined) yield open;
      open = { start, end };
    }
    at = end;
  }
  if (open !== undefined) yield open;
}
