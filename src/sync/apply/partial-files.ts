/**
 * The stage's half of a transfer: one partial file per path, found again after an interruption because its name is
 * derived from the path. What is done waits in `received` until its change is applied.
 */
import type { FileEntry } from "#model/entry.ts";
import { type RelPath, encodeName } from "#model/path.ts";
import { type Fd, FsError, isCode } from "#platform/file-system.ts";
import type { ApplyContext } from "#sync/apply/apply-context.ts";
import { Turns, copyInTurns } from "#sync/apply/in-turns.ts";
import { PARTIAL_PREFIX, SET_ASIDE } from "#sync/apply/recover.ts";
import { type SumSeeds, sumOf } from "#sync/chunk/sum.ts";
import type { PartialFile, StageArea } from "#sync/transfer/stage-area.ts";

/** The part of what applying knows that is needed here; a hub's stage has it without a root. */
export type PartialContext = Pick<ApplyContext, "stage" | "received" | "seeds"> & {
  readonly host: Pick<ApplyContext["host"], "fs">;
};

/** Of the partial file of a path. */
export function partialName(path: RelPath, seeds: SumSeeds): string {
  return PARTIAL_PREFIX + sumOf(encodeName(path), seeds);
}

export class PartialFiles implements StageArea {
  readonly #context: PartialContext;
  readonly #open = new Map<RelPath, Fd>();

  constructor(context: PartialContext) {
    this.#context = context;
  }

  #name(path: RelPath): string {
    return partialName(path, this.#context.seeds);
  }

  openPartial(path: RelPath, turn: () => Promise<void>): PartialFile | Promise<PartialFile> {
    const fresh = this.#create(path);
    return fresh ?? this.#reopen(path, turn);
  }

  /** Where there is no partial, or none that is wanted. Throws FsError. */
  openFresh(path: RelPath): PartialFile {
    const fresh = this.#create(path);
    if (fresh !== undefined) return fresh;
    const { host, stage } = this.#context;
    host.fs.unlink(stage.root, this.#name(path));
    return this.#opened(path, { fd: host.fs.create(stage.root, this.#name(path), 0o600), size: 0 });
  }

  /** Undefined: there is one. */
  #create(path: RelPath): PartialFile | undefined {
    const { host, stage, received } = this.#context;
    received.delete(path);
    try {
      return this.#opened(path, { fd: host.fs.create(stage.root, this.#name(path), 0o600), size: 0 });
    } catch (error) {
      if (!isCode(error, "EEXIST")) throw error;
      return undefined;
    }
  }

  #opened(path: RelPath, file: PartialFile): PartialFile {
    this.#open.set(path, file.fd);
    return file;
  }

  /**
   * The interface opens for writing only what it creates, so that no path of someone else is ever written through.
   * The old bytes are therefore copied, sharing blocks where the disk can. Whoever gives that up finds them all again;
   * where the disk refuses, what was copied stays, as it may have no room for both.
   */
  async #reopen(path: RelPath, turn: () => Promise<void>): Promise<PartialFile> {
    const { host, stage } = this.#context;
    const name = this.#name(path);
    const old = name + SET_ASIDE;
    host.fs.rename(stage.root, name, stage.root, old, { replace: true });
    let fd: Fd | undefined;
    try {
      const source = host.fs.openRead(stage.root, old);
      try {
        const { size } = host.fs.fstat(source);
        fd = host.fs.create(stage.root, name, 0o600);
        const done = await copyInTurns(host.fs, source, fd, size, new Turns(turn));
        host.fs.unlink(stage.root, old);
        return this.#opened(path, { fd, size: done });
      } finally {
        host.fs.close(source);
      }
    } catch (error) {
      if (fd !== undefined) host.fs.close(fd);
      if (error instanceof FsError) host.fs.unlink(stage.root, old);
      else host.fs.rename(stage.root, old, stage.root, name, { replace: true });
      throw error;
    }
  }

  #take(path: RelPath): Fd {
    const fd = this.#open.get(path);
    if (fd === undefined) throw new Error(`no open partial: ${path}`);
    this.#open.delete(path);
    return fd;
  }

  done(path: RelPath, entry: FileEntry): void {
    const { host, received } = this.#context;
    host.fs.close(this.#take(path));
    if (entry.sum === undefined) throw new Error(`staged without a sum: ${path}`);
    received.set(path, { name: this.#name(path), sum: entry.sum, size: entry.size });
  }

  keep(path: RelPath): void {
    this.#context.host.fs.close(this.#take(path));
  }

  drop(path: RelPath): void {
    const { host, stage } = this.#context;
    host.fs.close(this.#take(path));
    try {
      host.fs.unlink(stage.root, this.#name(path));
    } catch (error) {
      if (!isCode(error, "ENOENT")) throw error;
    }
  }
}
