/**
 * New files of staged directories, many of which are made by one call that may go on beside everything else: the next
 * ones are received and checked meanwhile. What becomes of them is told when the call is over.
 */
import { type RelPath, nameOf } from "#model/path.ts";
import { type Fd, FsError, type MadeFile, type NewFile } from "#platform/file-system.ts";
import type { ApplyContext } from "#sync/apply/apply-context.ts";

/** Calls under way at most: one that is worked on, and one that waits. */
const CALLS_MAX = 2;
/** Directories of one call, each with a descriptor of its own until the call is over. */
const DIRS_MAX = 32;

type Told = (made: MadeFile | FsError) => void;

export class MadeTogether {
  readonly #context: Pick<ApplyContext, "host" | "stage">;
  #files: NewFile[] = [];
  #told: Told[] = [];
  #dirs: Fd[] = [];
  /** The directory at hand: the last of #dirs. */
  #dir: RelPath | undefined;
  readonly #calls: Promise<void>[] = [];
  /** Why a call has told nothing: no refusal of the disk, which is told of each file. */
  #broken: { readonly error: unknown } | undefined;

  constructor(context: Pick<ApplyContext, "host" | "stage">) {
    this.#context = context;
  }

  /** @param dir path in the stage. False, and nothing done, where it cannot be opened, or the next call is full. */
  add(dir: RelPath, file: Omit<NewFile, "dir">, told: Told): boolean {
    const fd = dir === this.#dir ? this.#dirs.at(-1) : this.#open(dir);
    if (fd === undefined) return false;
    const { name, mode, bytes, mtimeNs } = file;
    this.#files.push({ dir: fd, name, mode, bytes, mtimeNs });
    this.#told.push(told);
    return true;
  }

  /** Of our own: those of the stage are closed when others are asked for. */
  #open(dir: RelPath): Fd | undefined {
    if (this.#dirs.length === DIRS_MAX) return undefined;
    const { host, stage } = this.#context;
    try {
      const fd = host.fs.openDir(stage.parent(dir), nameOf(dir));
      this.#dirs.push(fd);
      this.#dir = dir;
      return fd;
    } catch (error) {
      if (error instanceof FsError) return undefined;
      throw error;
    }
  }

  /** Waits until another call may begin. Throws what an earlier one has broken off with. */
  async room(): Promise<void> {
    while (this.#calls.length >= CALLS_MAX) await this.#calls[0];
    this.#mustBeWhole();
  }

  /** Has made what was added. The bytes are free again. */
  begin(): void {
    if (this.#files.length === 0) return;
    const call = this.#make(this.#files, this.#told, this.#dirs).then(() => {
      this.#calls.splice(this.#calls.indexOf(call), 1);
    });
    this.#calls.push(call);
    this.#files = [];
    this.#told = [];
    this.#dirs = [];
    this.#dir = undefined;
  }

  /** Never rejects. */
  async #make(files: readonly NewFile[], told: readonly Told[], dirs: readonly Fd[]): Promise<void> {
    const { fs } = this.#context.host;
    try {
      const made = await fs.createFiles(files);
      made.forEach((one, at) => told[at]!(one));
    } catch (error) {
      this.#broken ??= { error };
    }
    try {
      for (const fd of dirs) fs.close(fd);
    } catch (error) {
      this.#broken ??= { error };
    }
  }

  /** Waits for all that was begun. Throws what some of it has broken off with. */
  async settled(): Promise<void> {
    while (this.#calls.length > 0) await this.#calls[0];
    this.#mustBeWhole();
  }

  #mustBeWhole(): void {
    if (this.#broken !== undefined) throw this.#broken.error;
  }
}
