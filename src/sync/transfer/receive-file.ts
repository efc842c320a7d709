/** The destination's side of one file: what it has, what comes in, and what becomes of it. */
import type { FileEntry } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { TransferItem, TransferResult } from "#sync/endpoint/endpoint.ts";
import { unpack } from "#sync/chunk/compress.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";
import { type ByteReader, malformed } from "#sync/wire/bytes.ts";
import { type Fd, type FileSystem, FsError, describeErrno } from "#platform/file-system.ts";
import { Assembly } from "#sync/transfer/assembly.ts";
import { Base, type BaseFile } from "#sync/transfer/base.ts";
import { BASE_BYTES_MIN, CANDIDATES_MAX, FILE_BYTES_MAX, SAMPLE_BYTES, blockBytesFor } from "#sync/transfer/limits.ts";
import {
  DATA_HEADER_BYTES,
  type DataHeader,
  type Failure,
  OF_BASE,
  OF_PARTIAL,
  OF_SAMPLES,
  type Request,
  ZSTD,
  readChoose,
} from "#sync/transfer/messages.ts";
import { sendSignature } from "#sync/transfer/signature.ts";
import type { PartialFile, StageArea } from "#sync/transfer/stage-area.ts";

export type ReceiveFileParts = {
  readonly fs: FileSystem;
  readonly seeds: SumSeeds;
  readonly stage: StageArea;
  readonly sparse: boolean;
  readonly durable: boolean;
  readonly base: (path: RelPath) => BaseFile | undefined;
  readonly turn: () => Promise<void>;
};

/** A file without the base and the partial: the second try after a sum that did not fit. */
export type How = "delta" | "whole";

export class ReceiveFile {
  readonly item: TransferItem;
  readonly how: How;
  readonly id: number;
  /** What the source is asked for. */
  readonly request: Request;
  /** Set when the file cannot be finished; its messages are ignored until the source has said END or FAIL. */
  problem: Problem | undefined;
  /** With a problem: what is here could not be read, so the file is asked for once more, whole. */
  isToRetry = false;
  readonly #parts: ReceiveFileParts;
  readonly #fd: Fd;
  readonly #partialSize: number;
  /** Open until the end: the base, or the candidates for it. */
  readonly #files: BaseFile[] = [];
  #base: Base | undefined;
  #assembly: Assembly | undefined;
  #signing: Promise<void> | undefined;
  /** No more hashes are wanted: the source has finished, or the file is given up. */
  #isOver = false;

  /** Opens the partial, and the base or the candidates for it. Throws FsError, and what `parts.turn` rejects with. */
  static async open(parts: ReceiveFileParts, item: TransferItem, id: number, how: How): Promise<ReceiveFile> {
    return new ReceiveFile(parts, item, id, how, await parts.stage.openPartial(item.path, parts.turn));
  }

  /** Takes the partial. Throws FsError. */
  private constructor(parts: ReceiveFileParts, item: TransferItem, id: number, how: How, partial: PartialFile) {
    this.item = item;
    this.id = id;
    this.how = how;
    this.#parts = parts;
    const { fs, stage } = parts;
    this.#fd = partial.fd;
    try {
      if (how === "whole" && partial.size > 0) fs.truncate(partial.fd, 0);
      this.#partialSize = how === "whole" ? 0 : usedBytes(fs, partial.fd, partial.size);
      if (how === "delta") this.#openFiles();
      this.request = this.#ask();
    } catch (error) {
      this.#closeFiles();
      stage.drop(item.path);
      throw error;
    }
  }

  get path(): RelPath {
    return this.item.path;
  }

  /** What the side has: its old file at the path first, then the item's candidates. */
  #openFiles(): void {
    let total = 0;
    for (const from of new Set([this.path, ...(this.item.candidates ?? [])])) {
      if (this.#files.length === CANDIDATES_MAX) break;
      const file = this.#baseAt(from);
      if (file === undefined) continue;
      if (file.size < BASE_BYTES_MIN || total + file.size > FILE_BYTES_MAX) {
        this.#parts.fs.close(file.fd);
        continue;
      }
      this.#files.push(file);
      total += file.size;
      if (from === this.path) this.#base = Base.of(this.#parts.fs, [file]);
    }
    // Beside others it is one of the candidates.
    if (this.#files.length > 1) this.#base = undefined;
  }

  /** Trouble with a file that would only have been of use is no trouble with this one, which can be sent whole. */
  #baseAt(path: RelPath): BaseFile | undefined {
    try {
      return this.#parts.base(path);
    } catch (error) {
      if (error instanceof FsError) return undefined;
      throw error;
    }
  }

  /** The partial's blocks lie on the base's grid, so that one hash serves both. */
  #ask(): Request {
    const { id, path } = this;
    const base = this.#base;
    const sizes = this.#files.map((file) => file.size);
    const blockBytes = blockBytesFor(sizes.length === 0 ? this.#partialSize : Math.max(...sizes));
    const partial = this.#partialSize === 0 ? undefined : { size: this.#partialSize, blockBytes };
    if (base !== undefined) return { id, path, base: { size: base.size, blockBytes }, partial, candidates: undefined };
    return { id, path, base: undefined, partial, candidates: sizes.length === 0 ? undefined : { sizes, blockBytes } };
  }

  /**
   * Sends the hashes of what is here: of the base or of samples of the candidates, and of the partial. Once, unless the
   * file is over already; settle() ends it early.
   */
  sign(send: (message: Uint8Array) => Promise<void> | void): Promise<void> {
    const { base, partial, candidates } = this.request;
    return this.#unlessOver(async () => {
      const { fs } = this.#parts;
      if (candidates !== undefined) await this.#signOne(Base.samples(fs, this.#files), SAMPLE_BYTES, OF_SAMPLES, send);
      if (base !== undefined) await this.#signOne(this.#base!, base.blockBytes, OF_BASE, send);
      if (partial === undefined) return;
      const own = Base.of(fs, [{ fd: this.#fd, size: partial.size }]);
      await this.#signOne(own, partial.blockBytes, OF_PARTIAL, send);
    });
  }

  /** Were candidates offered, and none chosen? */
  get isUndecided(): boolean {
    return this.request.candidates !== undefined && this.#base === undefined;
  }

  /** Makes the candidates that the source chose the base; PROTOCOL when there is nothing to choose any more. */
  choose(reader: ByteReader): void {
    const { candidates } = this.request;
    if (candidates === undefined || !this.isUndecided || this.#assembly !== undefined) {
      throw malformed("a choice without candidates");
    }
    // The others stay open: the samples may still be read.
    const chosen = readChoose(reader, candidates.sizes.length);
    this.#base = Base.of(this.#parts.fs, chosen.map((index) => this.#files[index]!));
  }

  /** Sends the hashes of the base that was chosen. As sign(), after it. */
  signChosen(send: (message: Uint8Array) => Promise<void> | void): Promise<void> {
    const blockBytes = this.request.candidates!.blockBytes;
    return this.#unlessOver(() => this.#signOne(this.#base!, blockBytes, OF_BASE, send));
  }

  #unlessOver(sign: () => Promise<void>): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    const signing = sign();
    // Whoever settles only needs to know that it is over.
    this.#signing = signing.catch(() => {});
    return signing;
  }

  #signOne(
    base: Base,
    blockBytes: number,
    which: number,
    send: (message: Uint8Array) => Promise<void> | void,
  ): Promise<void> {
    const { seeds } = this.#parts;
    return sendSignature({ base, blockBytes, seeds }, this.id, which, send, () => !this.#isOver);
  }

  async begin(size: number, attempt: number): Promise<void> {
    const { fs, seeds, sparse, durable, turn } = this.#parts;
    if ((this.#assembly === undefined) !== (attempt === 1)) throw malformed("an attempt out of order");
    // A second attempt starts over in the same file, so the first must have left it alone.
    await this.#assembly?.settle();
    this.#assembly?.close();
    const parts = { fs, seeds, fd: this.#fd, partialSize: this.#partialSize, base: this.#base, sparse, durable, turn };
    this.#assembly = new Assembly(parts, size, attempt);
  }

  /** The file as far as it is put together; PROTOCOL before BEGIN. */
  get assembly(): Assembly {
    if (this.#assembly === undefined) throw malformed("content before its beginning");
    return this.#assembly;
  }

  data(header: DataHeader, message: Uint8Array, settled: () => void): void {
    const body = message.subarray(DATA_HEADER_BYTES);
    const bytes = header.packing === ZSTD ? unpack(body, header.length) : body;
    this.assembly.data(header.target, bytes, settled);
  }

  ops(reader: ByteReader): Promise<void> {
    return this.assembly.ops(reader);
  }

  /** The base for answering questions about it. */
  get base(): Base | undefined {
    return this.#base;
  }

  /** The file is over: waits until no read or write of it is under way, so that it can be closed. */
  async settle(): Promise<void> {
    this.#isOver = true;
    await this.#signing;
    await this.#assembly?.settle();
  }

  /** Does the file that was put together have the bytes that the source read? */
  async verify(entry: FileEntry): Promise<boolean> {
    const sum = await this.assembly.finish();
    return sum !== undefined && sum === entry.sum && entry.size === this.assembly.size;
  }

  done(entry: FileEntry): TransferResult {
    this.#closeFiles();
    this.#parts.stage.done(this.path, entry);
    return { path: this.path, entry, ...this.#counts() };
  }

  /** Ends without a file. `keep`: what was written may serve a later run. */
  abandon(problem: Problem | undefined, keep: boolean): TransferResult {
    this.#closeFiles();
    const { stage } = this.#parts;
    if (keep && (this.#partialSize > 0 || (this.#assembly?.literalBytes ?? 0) > 0)) stage.keep(this.path);
    else stage.drop(this.path);
    return { path: this.path, problem, ...this.#counts() };
  }

  #closeFiles(): void {
    for (const { fd } of this.#files) this.#parts.fs.close(fd);
    this.#assembly?.close();
  }

  #counts(): { literalBytes: number; reusedBytes: number } {
    return { literalBytes: this.#assembly?.literalBytes ?? 0, reusedBytes: this.#assembly?.reusedBytes ?? 0 };
  }
}

/** End of the last data; what lies behind it is a hole that nobody has to compare. */
function usedBytes(fs: FileSystem, fd: Fd, size: number): number {
  let used = 0;
  for (let at = 0; at < size; ) {
    const range = fs.dataRange(fd, at, size);
    if (range === undefined) break;
    used = Math.min(size, range.end);
    at = Math.max(used, at + 1);
  }
  return used;
}

/** The side is put in by the session, which knows which one this is. */
export function problemAt(path: RelPath, failure: Failure): Problem {
  return { path, side: "alpha", ...failure };
}

/** A problem from what was thrown for one file; anything but a refusal of the system passes on. */
export function problemFrom(path: RelPath, error: unknown): Problem {
  if (!(error instanceof FsError)) throw error;
  const transient = error.code !== "EACCES" && error.code !== "EPERM" && error.code !== "EROFS";
  const message = `cannot ${error.call}: ${describeErrno(error.code)}`;
  return problemAt(path, { code: error.code, message, transient });
}
