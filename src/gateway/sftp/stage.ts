/**
 * Where bytes wait that cannot go into the store as they come, because they came out of order or change a file in
 * place: one file for each handle, in a directory of the door's own. It holds nothing that has to survive: whatever is
 * in it when the door opens is removed.
 */
import { SynclineError } from "#model/error.ts";
import type { Fd, FileSystem } from "#platform/file-system.ts";
import { isCode } from "#platform/file-system.ts";
import type { Random } from "#platform/host.ts";

/** Of all files together. */
export const STAGE_BYTES_MAX = 16 * 2 ** 30;
const NAME_BYTES = 16;
const MODE = 0o600;

/** A file of staged bytes, by position. */
export interface Staged {
  write(bytes: Uint8Array, position: number): Promise<void>;
  read(into: Uint8Array, position: number): Promise<void>;
  /** Bytes of it that count, from now on. */
  holds(bytes: number): void;
  close(): void;
}

export class Stage {
  readonly #fs: FileSystem;
  readonly #random: Random;
  readonly #dir: Fd;
  #bytes = 0;

  /** @param directory exists; nobody else uses it */
  constructor(fs: FileSystem, random: Random, directory: string) {
    this.#fs = fs;
    this.#random = random;
    this.#dir = fs.openRoot(directory);
    for (const { name } of fs.list(this.#dir)) fs.unlink(this.#dir, name);
  }

  /** Of all files that are open. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Of the disk that it is on. */
  space(): { readonly freeBytes: number; readonly totalBytes: number } {
    return this.#fs.space(this.#dir);
  }

  open(): Staged {
    const fs = this.#fs;
    const name = this.#random.bytes(NAME_BYTES).toHex();
    const fd = fs.create(this.#dir, name, MODE);
    let held = 0;
    let isClosed = false;
    const holds = (bytes: number): void => {
      this.#bytes += bytes - held;
      held = bytes;
    };
    return {
      write: async (bytes, position) => {
        if (this.#bytes + bytes.length > STAGE_BYTES_MAX) throw stageFull();
        await fs.writeAsync(fd, bytes, position).catch((error: unknown) => {
          throw isCode(error, "ENOSPC", "EDQUOT") ? stageFull(error) : error;
        });
      },
      read: async (into, position) => {
        const count = await fs.readAsync(fd, into, position);
        into.fill(0, count);
      },
      holds,
      close: () => {
        if (isClosed) return;
        isClosed = true;
        holds(0);
        fs.close(fd);
        fs.unlink(this.#dir, name);
      },
    };
  }

  close(): void {
    this.#fs.close(this.#dir);
  }
}

function stageFull(cause?: unknown): SynclineError {
  return new SynclineError({
    code: "DISK",
    op: "stage upload",
    message: "there is no room for more bytes that were written out of order",
    hint: "write files from the beginning to the end",
    cause,
  });
}
