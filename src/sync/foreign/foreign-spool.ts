/**
 * Large files of a foreign system as the source of a transfer: each is brought into the stage first, whole and checked,
 * and supplied from there like any file. A transfer may ask for the bytes in any order, which a stream cannot give.
 */
import type { FileEntry } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import { boundFileSystem } from "#platform/bound-file-system.ts";
import type { Confined } from "#platform/confined.ts";
import { type Fd, type FileSystem, FsError, type Stat } from "#platform/file-system.ts";
import type { OpenRequest } from "#sync/endpoint/endpoint.ts";
import { type ForeignContext, isError } from "#sync/foreign/foreign-context.ts";
import { learnSum, readForeign } from "#sync/foreign/foreign-content.ts";
import type { ForeignEntry } from "#sync/foreign/foreign-files.ts";
import { type FileRecord, expectedOf, isFile } from "#sync/foreign/foreign-record.ts";
import { supplyFiles } from "#sync/transfer/supply.ts";
import type { Channel } from "#sync/wire/channel.ts";

type Spooled = { readonly record: FileRecord; readonly stat: Stat; readonly readMs: number };

export class ForeignSpool {
  readonly #context: ForeignContext;
  readonly #stage: Confined;
  readonly #fs: FileSystem;
  readonly #open = new Map<Fd, Spooled>();
  readonly #read = new Map<RelPath, Spooled>();
  #names = 0;

  constructor(context: ForeignContext, stage: Confined) {
    this.#context = context;
    this.#stage = stage;
    const real = context.host.fs;
    this.#fs = {
      ...boundFileSystem(real),
      fstat: (fd) => this.#open.get(fd)?.stat ?? real.fstat(fd),
      close: (fd) => {
        this.#open.delete(fd);
        real.close(fd);
      },
    };
  }

  async supply(channel: Channel, compress: OpenRequest["compress"], signal: AbortSignal): Promise<void> {
    const { host, seeds } = this.#context;
    const context = {
      host: { ...host, fs: this.#fs },
      seeds,
      compress,
      limit: (): undefined => undefined,
      open: (path: RelPath) => this.#spool(path, signal),
      look: (path: RelPath) => this.#look(path, signal),
      entryOf: (path: RelPath, stat: Stat) => this.#entryOf(path, stat),
      learn: (path: RelPath, entry: FileEntry) => this.#learn(path, entry),
      // What the foreign system does with its disks is its own affair.
      makeDurable: () => Promise.resolve(),
    };
    try {
      await supplyFiles(context, channel, signal);
    } finally {
      this.#read.clear();
    }
  }

  async #spool(path: RelPath, signal: AbortSignal): Promise<Fd> {
    const record = this.#context.index.get(path);
    if (!isFile(record)) throw new FsError("ENOENT", "read", path);
    const readMs = this.#context.host.clock.nowMs();
    const name = `spool-${(this.#names++).toString(36)}`;
    const fd = this.#fs.create(this.#stage.root, name, 0o600);
    try {
      this.#fs.unlink(this.#stage.root, name);
      let at = 0;
      for await (const part of readForeign(this.#context, path, record, signal)) {
        await this.#fs.writeAsync(fd, part, at);
        at += part.length;
      }
    } catch (error) {
      this.#fs.close(fd);
      throw this.#asRefusal(path, error);
    }
    const spooled = { record, stat: statOf(expectedOf(path, record)), readMs };
    this.#open.set(fd, spooled);
    this.#read.set(path, spooled);
    return fd;
  }

  async #look(path: RelPath, signal: AbortSignal): Promise<Stat> {
    let found: ForeignEntry | undefined;
    try {
      found = await this.#context.files.stat(path, signal);
    } catch (error) {
      throw this.#asRefusal(path, error);
    }
    if (found === undefined) throw new FsError("ENOENT", "read", path);
    return statOf(found);
  }

  /** What concerns this file alone, as the transfer knows it from disks. */
  #asRefusal(path: RelPath, error: unknown): unknown {
    if (isError(error, "STALE", "NOT_FOUND")) {
      this.#context.mark(path);
      return new FsError("ESTALE", "read", path);
    }
    return isError(error, "DENIED") ? new FsError("EACCES", "read", path) : error;
  }

  #entryOf(path: RelPath, { size, mode, mtimeNs }: Stat): FileEntry {
    return this.#read.get(path)?.record.entry ?? { kind: "file", size, mode, mtimeNs, sum: undefined };
  }

  #learn(path: RelPath, { sum }: FileEntry): Problem | undefined {
    const spooled = this.#read.get(path);
    if (spooled !== undefined && sum !== undefined) learnSum(this.#context, path, spooled.record, sum, spooled.readMs);
    return undefined;
  }
}

/** Equal where the system says the same of the file. */
function statOf({ kind, size, mtimeNs = 0n, tag = "" }: ForeignEntry): Stat {
  return {
    kind: kind === "other" ? "char" : kind,
    mode: 0o600,
    nlink: 1,
    uid: 0,
    gid: 0,
    size,
    allocatedBytes: size,
    mtimeNs,
    ctimeNs: 0n,
    ino: BigInt.asUintN(64, Bun.hash.xxHash3(tag)),
    dev: 0,
  };
}
