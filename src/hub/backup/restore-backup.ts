/**
 * Makes a data directory of a backup, beside where it shall be, and gives it its name when it is whole: a hub never
 * starts on the half of one.
 *
 * A pack that is damaged or missing in the backup stops nothing: each of its chunks has sums of its own, and what is
 * lost of them can come again from an agent. A damaged database or key does.
 */
import { SynclineError } from "#model/error.ts";
import { type Fd, type FileSystem, FsError, isCode } from "#platform/file-system.ts";
import { backupError } from "#hub/backup/make-backup.ts";
import { type BackupManifest, type BackupPack, CHUNKS_DIR, packFileName, readManifest } from "#hub/backup/manifest.ts";
import { openOrMake, openSource, pipe, removeTree } from "#hub/backup/pipe.ts";
import { packName } from "#store/packs/pack-files.ts";

export type RestoreOptions = {
  readonly fs: FileSystem;
  /** Absolute. */
  readonly backup: string;
  /** Absolute; must not exist, or be empty. */
  readonly target: string;
  /** Hex, for the name that the directory has until it is whole. */
  readonly token: string;
  /** Makes a hub's directory of the files; called with its absolute path before it gets its name. */
  readonly finish: (directory: string, manifest: BackupManifest) => Promise<void>;
  readonly onProgress: (doneBytes: number, totalBytes: number) => void;
};

export type RestoreResult = {
  readonly manifest: BackupManifest;
  readonly totalBytes: number;
  /** Packs that are not what was backed up, or were not whole then; of them what is sound was taken. */
  readonly damagedPacks: readonly number[];
};

/** @throws {SynclineError} NOT_FOUND without a backup, EXISTS, STATE when it is damaged, VERSION, DISK */
export async function restoreBackup(options: RestoreOptions, signal: AbortSignal): Promise<RestoreResult> {
  const { fs, backup, finish } = options;
  const target = options.target.replace(/\/+$/, "");
  const slash = target.lastIndexOf("/");
  const name = target.slice(slash + 1);
  const open: Fd[] = [];
  try {
    const parent = fs.openRoot(slash <= 0 ? "/" : target.slice(0, slash));
    open.push(parent);
    requireFree(fs, parent, name, target);
    const root = fs.openRoot(backup);
    open.push(root);
    const manifest = await readManifest(fs, root);
    if (manifest === undefined) throw noBackup(backup);
    const temporary = `${name}.restoring-${options.token}`;
    fs.mkdir(parent, temporary, 0o700);
    try {
      const made = fs.openDir(parent, temporary);
      open.push(made);
      const restore = new Restore(options, root, made, manifest, signal);
      const result = await unlessReplaced(fs, root, backup, manifest, () => restore.run());
      await finish(`${target}.restoring-${options.token}`, manifest);
      await fs.syncAll(made);
      // An empty directory may be there already.
      if (exists(fs, parent, name)) fs.rmdir(parent, name);
      fs.rename(parent, temporary, parent, name, { replace: false });
      await fs.sync(parent);
      return result;
    } catch (error) {
      // Whoever is killed leaves it; its name says what it is.
      if (exists(fs, parent, temporary)) removeTree(fs, parent, temporary);
      throw error;
    }
  } catch (error) {
    throw backupError(backup, error);
  } finally {
    for (const fd of open.reverse()) fs.close(fd);
  }
}

/**
 * What another backup has put in the place of this one takes states and packs away that this one names: what was read is
 * then a part of each, or looks damaged.
 * @throws {SynclineError} STALE (retryable)
 */
async function unlessReplaced<T>(
  fs: FileSystem,
  root: Fd,
  backup: string,
  { state, time }: BackupManifest,
  work: () => Promise<T>,
): Promise<T> {
  let result: { readonly value: T } | { readonly error: unknown };
  try {
    result = { value: await work() };
  } catch (error) {
    result = { error };
  }
  // One that cannot be read now is another one, too.
  const now = await readManifest(fs, root).catch(() => undefined);
  if (now?.state !== state || now.time !== time) throw replaced(backup);
  if ("error" in result) throw result.error;
  return result.value;
}

class Restore {
  readonly #options: RestoreOptions;
  readonly #root: Fd;
  readonly #made: Fd;
  readonly #manifest: BackupManifest;
  readonly #signal: AbortSignal;
  readonly #totalBytes: number;
  #doneBytes = 0;

  constructor(options: RestoreOptions, root: Fd, made: Fd, manifest: BackupManifest, signal: AbortSignal) {
    this.#options = options;
    this.#root = root;
    this.#made = made;
    this.#manifest = manifest;
    this.#signal = signal;
    this.#totalBytes = [...manifest.files, ...manifest.packs].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  async run(): Promise<RestoreResult> {
    await this.#restoreState();
    const damagedPacks = await this.#restorePacks();
    return { manifest: this.#manifest, totalBytes: this.#totalBytes, damagedPacks };
  }

  async #restoreState(): Promise<void> {
    const { fs } = this.#options;
    const { state, files } = this.#manifest;
    const dir = fs.openDir(this.#root, state);
    const open = [dir];
    try {
      open.push(fs.openDir(dir, "keys"), openOrMake(fs, this.#made, "keys"));
      for (const { name, bytes, sum } of files) {
        const isKey = name.startsWith("keys/");
        const plain = isKey ? name.slice(5) : name;
        using source = openSource(fs, isKey ? open[1]! : dir, plain);
        const to = { dir: isKey ? open[2]! : this.#made, name: plain };
        const copy = await pipe(fs, source, to, this.#signal, (count) => this.#came(count));
        if (copy.sum !== sum || copy.bytes !== bytes) throw damagedFile(name);
      }
    } finally {
      for (const fd of open) fs.close(fd);
    }
  }

  async #restorePacks(): Promise<number[]> {
    const { fs } = this.#options;
    const open = [fs.openDir(this.#root, CHUNKS_DIR)];
    const damaged: number[] = [];
    try {
      open.push(openOrMake(fs, this.#made, CHUNKS_DIR));
      for (const pack of this.#manifest.packs) {
        if (!(await this.#restorePack(open[0]!, open[1]!, pack))) damaged.push(pack.number);
      }
      return damaged;
    } finally {
      for (const fd of open) fs.close(fd);
    }
  }

  /** True when it is all that was to be backed up. */
  async #restorePack(from: Fd, dir: Fd, pack: BackupPack): Promise<boolean> {
    const { fs } = this.#options;
    try {
      using source = openSource(fs, from, packFileName(pack));
      // A later backup that was cut off may have left it longer.
      const bytes = Math.min(source.bytes, pack.bytes);
      const part = { bytes, read: source.read };
      const target = { dir, name: packName(pack.number) };
      const copy = await pipe(fs, part, target, this.#signal, (count) => this.#came(count));
      return copy.bytes === pack.bytes && copy.sum === pack.sum && pack.holes === undefined;
    } catch (error) {
      if (isCode(error, "ENOENT")) return false;
      if (isCode(error, "EIO")) throw unreadable(pack, error);
      throw error;
    }
  }

  #came(count: number): void {
    this.#doneBytes += count;
    this.#options.onProgress(this.#doneBytes, this.#totalBytes);
  }
}

function exists(fs: FileSystem, dir: Fd, name: string): boolean {
  try {
    fs.stat(dir, name);
    return true;
  } catch (error) {
    if (isCode(error, "ENOENT")) return false;
    throw error;
  }
}

function requireFree(fs: FileSystem, parent: Fd, name: string, target: string): void {
  if (!exists(fs, parent, name)) return;
  try {
    const dir = fs.openDir(parent, name);
    const isEmpty = fs.list(dir).length === 0;
    fs.close(dir);
    if (isEmpty) return;
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
  }
  throw new SynclineError({
    code: "EXISTS",
    op: "restore backup",
    path: target,
    message: "something is there already: nothing is ever restored over it",
    hint: "name a directory that does not exist yet",
  });
}

function noBackup(backup: string): SynclineError {
  return new SynclineError({
    code: "NOT_FOUND",
    op: "restore backup",
    path: backup,
    message: "there is no whole backup in this directory",
    hint: "backup.json is written when a backup has ended; look for another one",
  });
}

function replaced(backup: string): SynclineError {
  return new SynclineError({
    code: "STALE",
    op: "restore backup",
    path: backup,
    message: "another backup was made in this directory meanwhile; nothing was restored",
    hint: "restore it once more, while no backup is being made there",
    retryable: true,
  });
}

function damagedFile(name: string): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "restore backup",
    message: `${name} of the backup is not what was backed up; nothing was restored`,
    hint: "use another backup, and check the disk of this one",
  });
}

function unreadable({ number }: BackupPack, cause: unknown): SynclineError {
  return new SynclineError({
    code: "DISK",
    op: "restore backup",
    message: `pack ${number} of the backup cannot be read`,
    hint: "copy the backup to another disk with a tool that goes on behind bad sectors (ddrescue), and restore that",
    cause,
  });
}
