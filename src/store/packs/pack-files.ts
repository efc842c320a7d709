/** The directory of the packs: names, descriptors, sidecars, and the lock that keeps a second process out. */
import { SynclineError } from "#model/error.ts";
import { PAGE_BYTES } from "#platform/aligned-bytes.ts";
import { type Fd, type FileSystem, FsError, describeErrno, unlinkIfThere } from "#platform/file-system.ts";
import { takeLockFile } from "#platform/lock-file.ts";
import type { MakeRoom } from "#store/packs/lent-chunks.ts";
import { UsedOnce } from "#store/packs/used-once.ts";
import { type Sidecar, decodeSidecar, encodeSidecar } from "#store/packs/pack-format.ts";

/** Packs held open for reading. */
const OPEN_MAX = 64;
const NUMBER_DIGITS = 10;
const LOCK = "lock";
const MODE = 0o600;
const PACK_NAME = /^(\d{10})\.(pack|index|unreadable)$/;

const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "free some space on the disk of the chunks, then try again: what was acknowledged is safe",
  EDQUOT: "free some of the quota, then try again: what was acknowledged is safe",
  EIO: "check the disk of the chunks (dmesg, smartctl)",
  EROFS: "the file system of the chunks is mounted read-only; check the disk, then remount it",
  EACCES: "check the permissions of the directory of the chunks",
  EMFILE: "raise the limit of open files (ulimit -n)",
};

/** FsError becomes SynclineError DISK; anything else comes back as it is. */
export function chunkDiskError(op: string, error: unknown): unknown {
  if (!(error instanceof FsError)) return error;
  const message = `chunks: cannot ${op}: ${describeErrno(error.code)} (${error.code} in ${error.call})`;
  return new SynclineError({ code: "DISK", op, message, hint: HINTS[error.code], retryable: true, cause: error });
}

/** A scrub wants to know what is on the disk. What is moved is not wanted by anybody. */
export type ReadPurpose = "use" | "scrub" | "move";

type Reader = {
  readonly fd: Fd;
  /** The file once more, to read past the page cache; null where that cannot be. */
  uncached: Fd | null | undefined;
  users: number;
  closing: boolean;
};

export type PackNames = {
  readonly packs: readonly number[];
  readonly indexes: readonly number[];
  /** Set aside by an earlier open. */
  readonly unreadable: readonly number[];
};

export class PackFiles {
  readonly fs: FileSystem;
  readonly dir: Fd;
  /** False where the system cannot lock: then nothing keeps a second process out. */
  readonly isLocked: boolean;
  readonly #lock: Fd;
  #namesFailure: FsError | undefined;
  readonly #usedOnce = new UsedOnce();
  /** By pack number, the one used last at the end. */
  readonly #readers = new Map<number, Reader>();

  /**
   * @param directory an absolute path; must exist
   * @throws {SynclineError} ROOT_BUSY when another process holds it
   */
  constructor(fs: FileSystem, directory: string) {
    this.fs = fs;
    this.dir = fs.openRoot(directory);
    try {
      const lock = takeLockFile(fs, this.dir, LOCK);
      if (lock === undefined) throw busy(directory);
      this.#lock = lock.fd;
      this.isLocked = lock.isLocked;
    } catch (error) {
      fs.close(this.dir);
      throw error;
    }
  }

  names(): PackNames {
    const found = { pack: [] as number[], index: [] as number[], unreadable: [] as number[] };
    for (const { name } of this.fs.list(this.dir)) {
      const match = PACK_NAME.exec(name);
      if (match !== null) found[match[2] as keyof typeof found].push(Number(match[1]));
      // A sidecar that was being written.
      else if (name.endsWith(".index.new")) this.fs.unlink(this.dir, name);
    }
    const sorted = found.pack.sort((a, b) => a - b);
    return { packs: sorted, indexes: found.index, unreadable: found.unreadable };
  }

  create(number: number): Fd {
    return this.fs.create(this.dir, packName(number), MODE);
  }

  openToAppend(number: number): Fd {
    return this.fs.openWrite(this.dir, packName(number));
  }

  /** Gives a pack that nobody can read another name, under which it is never looked at again. */
  async setAside(number: number): Promise<void> {
    const name = packName(number);
    this.fs.rename(this.dir, name, this.dir, name.replace("pack", "unreadable"), { replace: true });
    await this.syncNames();
  }

  /** Removes a pack with its sidecar; durable after syncNames(). */
  remove(number: number): void {
    this.#forget(number);
    unlinkIfThere(this.fs, this.dir, packName(number));
    this.removeIndex(number);
  }

  removeIndex(number: number): void {
    unlinkIfThere(this.fs, this.dir, indexName(number));
  }

  /** Once it has failed it fails until the next open: nobody knows any more which names are durable. */
  async syncNames(): Promise<void> {
    if (this.#namesFailure !== undefined) throw this.#namesFailure;
    try {
      await this.fs.sync(this.dir);
    } catch (error) {
      if (error instanceof FsError) this.#namesFailure = error;
      throw error;
    }
  }

  /** Reads at `position` of a pack until `into` is full or the pack ends; returns the bytes read. */
  read(number: number, into: Uint8Array, position: number): Promise<number> {
    return this.#use(number, ({ fd }) => this.fs.readAsync(fd, into, position));
  }

  /**
   * The bytes of a pack from `position` on, fewer where it ends: out of the page cache where it holds all of them; else past
   * it, where that can be, or into it, where they were used before.
   * @param makeRoom for the memory that they are to lie in
   */
  readLarge(number: number, position: number, length: number, purpose: ReadPurpose, makeRoom: MakeRoom): Promise<Uint8Array> {
    return this.#use(number, async (reader) => {
      const skipped = position % PAGE_BYTES;
      const pages = Math.ceil((skipped + length) / PAGE_BYTES) * PAGE_BYTES;
      const room = makeRoom(pages).subarray(0, pages);
      const bytes = room.subarray(skipped, skipped + length);
      const isCached = purpose !== "scrub" && (await this.fs.readCached(reader.fd, bytes, position)) === length;
      if (isCached) return bytes;
      if (purpose === "use" && this.#usedOnce.isAgain(number, position)) {
        return bytes.subarray(0, await this.fs.readAsync(reader.fd, bytes, position));
      }
      const first = position - skipped;
      if (reader.uncached === undefined) reader.uncached = this.fs.openUncached(reader.fd) ?? null;
      let count = reader.uncached === null ? 0 : await this.fs.readUncached(reader.uncached, room, first);
      if (count < skipped + length) count += await this.fs.readAsync(reader.fd, room.subarray(count), first + count);
      return bytes.subarray(0, Math.max(0, count - skipped));
    });
  }

  async #use<T>(number: number, work: (reader: Reader) => Promise<T>): Promise<T> {
    const reader = this.#reader(number);
    reader.users++;
    try {
      return await work(reader);
    } finally {
      reader.users--;
      if (reader.closing && reader.users === 0) this.#closeReader(reader);
    }
  }

  #closeReader({ fd, uncached }: Reader): void {
    if (typeof uncached === "number") this.fs.close(uncached);
    this.fs.close(fd);
  }

  size(number: number): number {
    return this.fs.stat(this.dir, packName(number)).size;
  }

  /** Makes durable what an earlier process wrote into a pack and may not have synced. */
  async syncPack(number: number): Promise<void> {
    await this.fs.sync(this.#reader(number).fd);
  }

  /** Undefined when there is none that can be used. */
  async readSidecar(number: number): Promise<Sidecar | undefined> {
    let fd: Fd;
    try {
      fd = this.fs.openRead(this.dir, indexName(number));
    } catch (error) {
      if (error instanceof FsError) return undefined;
      throw error;
    }
    try {
      const bytes = new Uint8Array(this.fs.fstat(fd).size);
      const count = await this.fs.readAsync(fd, bytes, 0);
      const sidecar = decodeSidecar(bytes.subarray(0, count));
      return sidecar?.header.number === number ? sidecar : undefined;
    } catch (error) {
      if (error instanceof FsError) return undefined;
      throw error;
    } finally {
      this.fs.close(fd);
    }
  }

  /**
   * Replaces a pack's sidecar. False when the disk refused: it is only a cache, and nothing depends on it but the time
   * of the next open.
   */
  async writeSidecar(sidecar: Sidecar): Promise<boolean> {
    const name = indexName(sidecar.header.number);
    const temporary = `${name}.new`;
    try {
      unlinkIfThere(this.fs, this.dir, temporary);
      const fd = this.fs.create(this.dir, temporary, MODE);
      try {
        await this.fs.writeAsync(fd, encodeSidecar(sidecar), 0);
        await this.fs.sync(fd);
      } finally {
        this.fs.close(fd);
      }
      this.fs.rename(this.dir, temporary, this.dir, name, { replace: true });
      return true;
    } catch (error) {
      if (error instanceof FsError) return false;
      throw error;
    }
  }

  close(): void {
    for (const number of [...this.#readers.keys()]) this.#forget(number);
    this.fs.close(this.#lock);
    this.fs.close(this.dir);
  }

  #reader(number: number): Reader {
    const known = this.#readers.get(number);
    if (known !== undefined) {
      this.#readers.delete(number);
      this.#readers.set(number, known);
      return known;
    }
    if (this.#readers.size >= OPEN_MAX) this.#forget(this.#readers.keys().next().value!);
    const fd = this.fs.openRead(this.dir, packName(number));
    const reader: Reader = { fd, uncached: undefined, users: 0, closing: false };
    this.#readers.set(number, reader);
    return reader;
  }

  #forget(number: number): void {
    const reader = this.#readers.get(number);
    if (reader === undefined) return;
    this.#readers.delete(number);
    reader.closing = true;
    if (reader.users === 0) this.#closeReader(reader);
  }
}

export const packName = (number: number): string => `${String(number).padStart(NUMBER_DIGITS, "0")}.pack`;
const indexName = (number: number): string => `${String(number).padStart(NUMBER_DIGITS, "0")}.index`;

function busy(directory: string): SynclineError {
  return new SynclineError({
    code: "ROOT_BUSY",
    op: "open chunks",
    path: directory,
    message: `${directory}: another process keeps its chunks there`,
    hint: "end the other hub, or give this one a directory of its own (--data)",
  });
}
