/**
 * Makes names durable, directory by directory, until the disk refuses once: whatever a system reports only once it may
 * have forgotten, and a second sync of the same directory would succeed without having written it. From then on
 * everything is synced each time, and nothing is told of this side before it was.
 */
import type { Fd, FileSystem } from "#platform/file-system.ts";

export class NameSync {
  readonly #fs: FileSystem;
  readonly #root: Fd;
  #isDoubtful = false;

  constructor(fs: FileSystem, root: Fd) {
    this.#fs = fs;
    this.#root = root;
  }

  /** Has a sync failed, so that what was placed may still be lost? */
  get isDoubtful(): boolean {
    return this.#isDoubtful;
  }

  /** A directory with the names in it, or a file. @throws {FsError} */
  one(fd: Fd): Promise<void> {
    return this.#isDoubtful ? this.everything() : this.#noting(this.#fs.sync(fd));
  }

  /** @throws {FsError} */
  everything(): Promise<void> {
    return this.#noting(this.#fs.syncAll(this.#root));
  }

  async #noting(sync: Promise<void>): Promise<void> {
    try {
      await sync;
    } catch (error) {
      this.#isDoubtful = true;
      throw error;
    }
  }
}
