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
import { BASE_BYTES_MIN, blockBytesFor } from "#sync/transfer/limits.ts";
import { DATA_HEADER_BYTES, type DataHeader, type Failure, type Request, ZSTD } from "#sync/transfer/messages.ts";
import { sendSignature } from "#sync/transfer/signature.ts";
import type { StageArea } from "#sync/transfer/stage-area.ts";

/** The destination's own file at a path, opened for reading; whoever asked closes it. */
export type BaseFile = { readonly fd: Fd; readonly size: number };

export type ReceiveFileParts = {
  readonly fs: FileSystem;
  readonly seeds: SumSeeds;
  readonly stage: StageArea;
  readonly sparse: boolean;
  readonly base: (path: RelPath) => BaseFile | undefined;
};

/** A file without the base and the partial: the second try after a sum that did not fit. */
export type How = "delta" | "whole";

export class ReceiveFile {
  readonly item: TransferItem;
  readonly how: How;
  readonly id: number;
  /** Set when the file cannot be finished; its messages are ignored until the source has said END or FAIL. */
  problem: Problem | undefined;
  /** With a problem: what is here could not be read, so the file is asked for once more, whole. */
  isToRetry = false;
  readonly #parts: ReceiveFileParts;
  readonly #fd: Fd;
  readonly #partialSize: number;
  readonly #base: BaseFile | undefined;
  #assembly: Assembly | undefined;
  #signing: Promise<void> | undefined;
  /** No more hashes are wanted: the source has finished, or the file is given up. */
  #isOver = false;

  /** Opens the partial and the base. Throws FsError. */
  constructor(parts: ReceiveFileParts, item: TransferItem, id: number, how: How) {
    this.item = item;
    this.id = id;
    this.how = how;
    this.#parts = parts;
    const { fs, stage } = parts;
    const partial = stage.openPartial(item.path);
    this.#fd = partial.fd;
    try {
      if (how === "whole" && partial.size > 0) fs.truncate(partial.fd, 0);
      this.#partialSize = how === "whole" ? 0 : usedBytes(fs, partial.fd, partial.size);
      this.#base = how === "whole" ? undefined : this.#openBase();
    } catch (error) {
      stage.drop(item.path);
      throw error;
    }
  }

  get path(): RelPath {
    return this.item.path;
  }

  #openBase(): BaseFile | undefined {
    const base = this.#parts.base(this.item.path);
    if (base === undefined || base.size >= BASE_BYTES_MIN) return base;
    this.#parts.fs.close(base.fd);
    return undefined;
  }

  /**
   * What to ask the source for. The partial's blocks lie on the base's grid, so that one hash serves both.
   */
  request(): Request {
    const base = this.#base;
    const blockBytes = blockBytesFor(base?.size ?? this.#partialSize);
    const { id, path } = this;
    const partial = this.#partialSize === 0 ? undefined : { size: this.#partialSize, blockBytes };
    return { id, path, base: base === undefined ? undefined : { size: base.size, blockBytes }, partial };
  }

  /** Sends the hashes of what is here. Once, unless the file is over already; settle() ends it early. */
  sign(send: (message: Uint8Array) => Promise<void> | void): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    const signing = this.#sign(send);
    // Whoever settles only needs to know that it is over.
    this.#signing = signing.catch(() => {});
    return signing;
  }

  async #sign(send: (message: Uint8Array) => Promise<void> | void): Promise<void> {
    const { base, partial } = this.request();
    const { fs, seeds } = this.#parts;
    const held = [
      { fd: this.#base?.fd, what: base },
      { fd: this.#fd, what: partial },
    ];
    for (const [which, { fd, what }] of held.entries()) {
      if (fd === undefined || what === undefined) continue;
      const sparse = fs.fstat(fd).allocatedBytes < what.size;
      await sendSignature({ fs, fd, ...what, sparse, seeds }, this.id, which, send, () => !this.#isOver);
    }
  }

  async begin(size: number, attempt: number): Promise<void> {
    const { fs, seeds, sparse } = this.#parts;
    if ((this.#assembly === undefined) !== (attempt === 1)) throw malformed("an attempt out of order");
    // A second attempt starts over in the same file, so the first must have left it alone.
    await this.#assembly?.settle();
    const parts = { fs, seeds, fd: this.#fd, partialSize: this.#partialSize, base: this.#base, sparse };
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

  ops(reader: ByteReader): void {
    this.assembly.ops(reader);
  }

  /** The base for answering questions about it. */
  get base(): BaseFile | undefined {
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
    this.#closeBase();
    this.#parts.stage.done(this.path, entry);
    return { path: this.path, entry, ...this.#counts() };
  }

  /** Ends without a file. `keep`: what was written may serve a later run. */
  abandon(problem: Problem | undefined, keep: boolean): TransferResult {
    this.#closeBase();
    const { stage } = this.#parts;
    if (keep && (this.#partialSize > 0 || (this.#assembly?.literalBytes ?? 0) > 0)) stage.keep(this.path);
    else stage.drop(this.path);
    return { path: this.path, problem, ...this.#counts() };
  }

  #closeBase(): void {
    if (this.#base !== undefined) this.#parts.fs.close(this.#base.fd);
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
