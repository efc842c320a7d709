/**
 * Makes a consistent copy of a hub while it works.
 *
 * 1. No prune removes anything from here on.
 * 2. The database is copied as it is at one moment, then the keys.
 * 3. The packs are copied as far as they are durable, and they only grow. What a row refers to was in them before the row
 *    was committed, or lies in a row beside it until it is in them: so it is in the copy of one or of the other.
 * 4. The list of all that takes the place of the one before.
 *
 * Packs that the last backup has already, of the same id and length, are not copied again.
 *
 * What the disk of the hub does not give any more of a pack (EIO) keeps nothing else out of the backup. It ends with an error
 * then, when it is made: somebody has to look at that disk.
 */
import type { Database } from "#platform/sql/database.ts";
import type { Clock } from "#platform/host.ts";
import { type Fd, type FileSystem, FsError, describeErrno, isCode, unlinkIfThere } from "#platform/file-system.ts";
import { takeLockFile } from "#platform/lock-file.ts";
import { SynclineError } from "#model/error.ts";
import { isWithin } from "#model/path.ts";
import {
  type BackupFile, type BackupManifest, type BackupPack, CHUNKS_DIR, COPIED_FILE, LOCK_FILE, MANIFEST_FILE, STATE_DIR,
  newManifest, packFileName, readCopied, readManifest, writeList,
} from "#hub/backup/manifest.ts";
import { type Source, UNFINISHED, openOrMake, openSource, pipe, removeTree, sumOf } from "#hub/backup/pipe.ts";
import { type EarlierCopy, ReadAround } from "#hub/backup/read-around.ts";
import type { PackPart, PackSource } from "#store/packs/pack-source.ts";

export type BackupParts = {
  readonly fs: FileSystem;
  readonly clock: Clock;
  readonly database: Database;
  /** What is wrong with a copy of it; undefined: nothing. */
  readonly faultIn: (file: string) => Promise<string | undefined>;
  readonly packs: PackSource;
  readonly hubId: string;
  /** Absolute. */
  readonly dataDir: string;
  /** "syncline 0.1.0", for the list. */
  readonly program: string;
};

export type BackupProgress = {
  readonly phase: "wait" | "database" | "chunks";
  /** Of the packs that have to be copied. */
  readonly doneBytes: number;
  readonly totalBytes: number;
};

export type BackupResult = {
  readonly packs: number;
  readonly copiedPacks: number;
  readonly copiedBytes: number;
  /** Of all that the backup consists of. */
  readonly totalBytes: number;
};

/**
 * @param directory absolute; made when it is missing in a directory that exists
 * @throws {SynclineError} USAGE, EXISTS when something else is in the directory, ROOT_BUSY while another backup is made
 *   there, UNSUPPORTED for a database with tools of its own, STATE for one that is damaged, DISK; CHUNK_DAMAGED when it is
 *   made, and something of a pack could not be read
 */
export async function makeBackup(
  parts: BackupParts,
  directory: string,
  onProgress: (progress: BackupProgress) => void,
  signal: AbortSignal,
): Promise<BackupResult> {
  requireApart(directory, parts.dataDir);
  const open: Fd[] = [];
  try {
    const root = openTarget(parts.fs, directory);
    open.push(root);
    requireOurs(parts.fs, root, directory);
    open.push(lock(parts.fs, root, directory));
    const parent = parts.fs.openRoot(parentOf(directory));
    open.push(parent);
    // A backup is no more durable than the name of its directory, whoever made that.
    await parts.fs.sync(parent);
    return await new Backup(parts, directory, root, onProgress, signal).run();
  } catch (error) {
    throw backupError(directory, error);
  } finally {
    for (const fd of open.reverse()) parts.fs.close(fd);
  }
}

class Backup {
  readonly #parts: BackupParts;
  readonly #directory: string;
  readonly #root: Fd;
  readonly #onProgress: (progress: BackupProgress) => void;
  readonly #signal: AbortSignal;

  constructor(
    parts: BackupParts,
    directory: string,
    root: Fd,
    onProgress: (progress: BackupProgress) => void,
    signal: AbortSignal,
  ) {
    this.#parts = parts;
    this.#directory = directory;
    this.#root = root;
    this.#onProgress = onProgress;
    this.#signal = signal;
  }

  async run(): Promise<BackupResult> {
    const { fs, packs, hubId, program, clock } = this.#parts;
    const before = await readManifest(fs, this.#root);
    if (before !== undefined && before.hubId !== hubId) throw otherHub(this.#directory);
    this.#onProgress({ phase: "wait", doneBytes: 0, totalBytes: 0 });
    using _hold = await packs.hold();
    this.#signal.throwIfAborted();
    this.#onProgress({ phase: "database", doneBytes: 0, totalBytes: 0 });
    // Each has a whole database: one that fails every night would fill the disk with them, until none can succeed.
    // The list that was read may be one whose name is not durable yet.
    await fs.sync(this.#root);
    this.#dropStates(before?.state);
    const time = new Date(clock.nowMs()).toISOString();
    const state = this.#nextState();
    const files = await this.#copyState(state);
    const { all, copied } = await this.#copyPacks(before);
    const manifest = newManifest({ program, hubId, time, state, files, packs: all });
    await writeList(fs, this.#root, MANIFEST_FILE, manifest);
    await this.#sweep(manifest);
    requireNoHoles(all);
    const bytesOf = (list: readonly { readonly bytes: number }[]): number => list.reduce((sum, one) => sum + one.bytes, 0);
    return {
      packs: all.length,
      copiedPacks: copied.length,
      copiedBytes: bytesOf(copied),
      totalBytes: bytesOf(files) + bytesOf(all),
    };
  }

  #nextState(): string {
    let last = 0;
    for (const { name } of this.#parts.fs.list(this.#root)) last = Math.max(last, Number(STATE_DIR.exec(name)?.[1] ?? 0));
    return `state-${last + 1}`;
  }

  /** All but one: those of earlier backups, and of backups that did not end. */
  #dropStates(kept: string | undefined): void {
    const { fs } = this.#parts;
    for (const { name } of fs.list(this.#root)) if (STATE_DIR.test(name) && name !== kept) removeTree(fs, this.#root, name);
  }

  async #copyState(state: string): Promise<BackupFile[]> {
    const { fs, database, faultIn } = this.#parts;
    const dir = openOrMake(fs, this.#root, state);
    const files: BackupFile[] = [];
    try {
      const file = `${this.#directory}/${state}/hub.db`;
      await database.copyTo(file, this.#signal);
      const fault = await faultIn(file);
      if (fault !== undefined) throw damagedDatabase(fault);
      using copy = openSource(fs, dir, "hub.db");
      files.push({ name: "hub.db", ...(await sumOf(copy, this.#signal)) });
      files.push(...(await this.#copyKeys(dir)));
      await fs.sync(dir);
      await fs.sync(this.#root);
      return files;
    } finally {
      fs.close(dir);
    }
  }

  /** Without its keys a hub cannot prove who it is, nor read what it sealed. */
  async #copyKeys(state: Fd): Promise<BackupFile[]> {
    const { fs, dataDir } = this.#parts;
    const from = fs.openRoot(`${dataDir}/keys`);
    const to = openOrMake(fs, state, "keys");
    const files: BackupFile[] = [];
    try {
      for (const { name, kind } of fs.list(from)) {
        if (kind === "symlink") throw linkedKey(`${dataDir}/keys/${name}`);
        if (kind !== "file" || name.endsWith(UNFINISHED)) continue;
        using source = openSource(fs, from, name);
        files.push({ name: `keys/${name}`, ...(await pipe(fs, source, { dir: to, name }, this.#signal)) });
      }
      await fs.sync(to);
      return files;
    } finally {
      fs.close(from);
      fs.close(to);
    }
  }

  async #copyPacks(before: BackupManifest | undefined): Promise<{ all: BackupPack[]; copied: BackupPack[] }> {
    const { fs, packs, hubId } = this.#parts;
    const dir = openOrMake(fs, this.#root, CHUNKS_DIR);
    try {
      const there = new Map<string, BackupPack>();
      for (const pack of [...(before?.packs ?? []), ...(await readCopied(fs, this.#root, hubId))]) {
        there.set(`${pack.id} ${pack.bytes}`, pack);
      }
      const kept: BackupPack[] = [];
      const missing: PackPart[] = [];
      for (const part of packs.parts()) {
        const known = there.get(`${part.id} ${part.bytes}`);
        if (known !== undefined && known.holes === undefined && isThere(fs, dir, known)) kept.push(known);
        else missing.push(part);
      }
      const copied = await this.#copyMissing(dir, missing, kept, [...there.values()]);
      await fs.sync(dir);
      const all = [...kept, ...copied].sort((a, b) => a.number - b.number);
      return { all, copied };
    } finally {
      fs.close(dir);
    }
  }

  async #copyMissing(
    dir: Fd,
    missing: readonly PackPart[],
    kept: readonly BackupPack[],
    there: readonly BackupPack[],
  ): Promise<BackupPack[]> {
    const { fs, packs, hubId } = this.#parts;
    const totalBytes = missing.reduce((sum, { bytes }) => sum + bytes, 0);
    const copied: BackupPack[] = [];
    let doneBytes = 0;
    this.#onProgress({ phase: "chunks", doneBytes, totalBytes });
    for (const part of missing) {
      using earlier = earlierOf(fs, dir, there.filter(({ id }) => id === part.id));
      const disk = { bytes: part.bytes, read: (into: Uint8Array, at: number) => packs.read(part, into, at) };
      const around = new ReadAround(disk, earlier, this.#signal);
      // What the earlier copy has was right when it was made; on the disk of the hub it may have rotted since.
      const isGoodStill = earlier !== undefined && earlier.holes.length === 0 && (await isWhole(earlier, this.#signal));
      const source = isGoodStill ? continued(earlier, around) : around;
      const { sum, bytes } = await pipe(fs, source, { dir, name: packFileName(part) }, this.#signal, (count) => {
        doneBytes += count;
        this.#onProgress({ phase: "chunks", doneBytes, totalBytes });
      });
      if (bytes < part.bytes) throw shorter(part.number);
      const holes = around.holes.map(([from, to]): [number, number] => [from, to]);
      copied.push({ number: part.number, id: part.id, bytes, sum, ...(holes.length === 0 ? {} : { holes }) });
      // Whoever is killed goes on from here.
      await fs.sync(dir);
      await writeList(fs, this.#root, COPIED_FILE, { hubId, packs: [...kept, ...copied] });
    }
    return copied;
  }

  /** Removes what the list does not name: earlier states, packs that the hub has no more, what was cut off. */
  async #sweep({ state, packs }: BackupManifest): Promise<void> {
    const { fs } = this.#parts;
    const wanted = new Set(packs.map(packFileName));
    const chunks = fs.openDir(this.#root, CHUNKS_DIR);
    try {
      for (const { name } of fs.list(chunks)) if (!wanted.has(name)) fs.unlink(chunks, name);
    } finally {
      fs.close(chunks);
    }
    this.#dropStates(state);
    unlinkIfThere(fs, this.#root, COPIED_FILE);
    await fs.sync(this.#root);
  }
}

function isThere(fs: FileSystem, dir: Fd, pack: BackupPack): boolean {
  try {
    return fs.stat(dir, packFileName(pack)).size >= pack.bytes;
  } catch (error) {
    if (isCode(error, "ENOENT")) return false;
    throw error;
  }
}

/** The longest that there is. */
function earlierOf(fs: FileSystem, dir: Fd, known: readonly BackupPack[]): (EarlierCopy & Disposable) | undefined {
  const pack = known.toSorted((a, b) => b.bytes - a.bytes).find((one) => isThere(fs, dir, one));
  if (pack === undefined) return undefined;
  const file = openSource(fs, dir, packFileName(pack));
  const { bytes, sum, holes = [] } = pack;
  return { bytes, sum, holes, read: file.read, [Symbol.dispose]: () => file[Symbol.dispose]() };
}

/** Is it what was copied then? */
async function isWhole(copy: EarlierCopy, signal: AbortSignal): Promise<boolean> {
  try {
    return (await sumOf(copy, signal)).sum === copy.sum;
  } catch (error) {
    if (isCode(error, "EIO")) return false;
    throw error;
  }
}

/** The beginning from one, and what comes behind it from the other. */
function continued(beginning: Source, whole: Source): Source {
  const read = async (into: Uint8Array, at: number): Promise<number> => {
    const first = Math.max(0, Math.min(into.length, beginning.bytes - at));
    const count = first === 0 ? 0 : await beginning.read(into.subarray(0, first), at);
    return count < first || first === into.length ? count : count + (await whole.read(into.subarray(first), at + first));
  };
  return { bytes: whole.bytes, read };
}

/** @throws {SynclineError} CHUNK_DAMAGED */
function requireNoHoles(packs: readonly BackupPack[]): void {
  const holed = packs.filter(({ holes }) => holes !== undefined);
  if (holed.length === 0) return;
  const bytes = holed.flatMap(({ holes }) => holes!).reduce((sum, [from, to]) => sum + to - from, 0);
  const numbers = holed.map(({ number }) => number).slice(0, 10).join(", ");
  throw new SynclineError({
    code: "CHUNK_DAMAGED",
    op: "back up",
    message: `the backup is made, but for ${bytes} bytes of ${holed.length} packs (${numbers}) that the disk of the hub does not give`,
    hint: "save what else is on that disk; syncline hub check --deep names the files whose bytes are lost",
  });
}

function requireApart(directory: string, dataDir: string): void {
  const [backup, data] = [directory, dataDir].map((path) => path.replace(/\/+$/, ""));
  const isPlain = directory.startsWith("/") && !/\0|(^|\/)\.\.?(\/|$)/.test(directory) && backup !== "";
  if (isPlain && !isWithin(backup!, data!) && !isWithin(data!, backup!)) return;
  throw new SynclineError({
    code: "USAGE",
    op: "back up",
    path: directory,
    message: isPlain ? "a backup cannot lie in the data directory, nor around it" : "not an absolute path of a directory",
    hint: "name a directory on another disk of the hub's host, like /backup/hub",
  });
}

/** Of the absolute path of a directory, which may end in slashes. */
function parentOf(directory: string): string {
  const path = directory.replace(/\/+$/, "");
  return path.slice(0, Math.max(1, path.lastIndexOf("/")));
}

function openTarget(fs: FileSystem, directory: string): Fd {
  const path = directory.replace(/\/+$/, "");
  const parent = fs.openRoot(parentOf(directory));
  try {
    return openOrMake(fs, parent, path.slice(path.lastIndexOf("/") + 1));
  } catch (error) {
    // A symbolic link to a directory is how operators point to another disk.
    if (isCode(error, "ELOOP", "ENOTDIR")) return fs.openRoot(path);
    throw error;
  } finally {
    fs.close(parent);
  }
}

const OURS = new RegExp(`^(${MANIFEST_FILE}|${COPIED_FILE})(\\${UNFINISHED})?$|^${LOCK_FILE}$|^${CHUNKS_DIR}$|${STATE_DIR.source}`);

/** What is swept away must be nobody else's. */
function requireOurs(fs: FileSystem, root: Fd, directory: string): void {
  const other = fs.list(root).find(({ name }) => !OURS.test(name) && name !== "lost+found");
  const names = new Set(fs.list(root).map(({ name }) => name));
  const hasMark = names.has(LOCK_FILE) || [...names].every((name) => name === "lost+found");
  if (other === undefined && hasMark) return;
  throw new SynclineError({
    code: "EXISTS",
    op: "back up",
    path: directory,
    message: "the directory is not empty and holds no backup",
    hint: "name a directory that is empty, or one that holds a backup of this hub",
  });
}

function lock(fs: FileSystem, root: Fd, directory: string): Fd {
  const held = takeLockFile(fs, root, LOCK_FILE);
  if (held !== undefined) return held.fd;
  throw new SynclineError({
    code: "ROOT_BUSY",
    op: "back up",
    path: directory,
    message: "another backup is being made in this directory",
    hint: "wait until it has ended",
    retryable: true,
  });
}

function otherHub(directory: string): SynclineError {
  return new SynclineError({
    code: "EXISTS",
    op: "back up",
    path: directory,
    message: "the directory holds the backup of another hub",
    hint: "give each hub a directory of its own",
  });
}

/** It would take the place of the last one that was not. */
function damagedDatabase(fault: string): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "back up",
    message: `the hub's database is damaged (${fault}): no backup was made of it, and an earlier one in the directory is still whole`,
    hint: "stop the hub, keep its database as it is, and put back that backup",
  });
}

/** A hub that is restored without one of its keys makes itself another. */
function linkedKey(path: string): SynclineError {
  return new SynclineError({
    code: "UNSUPPORTED",
    op: "back up",
    path,
    message: "it is a symbolic link, and what it leads to would be missing in the backup",
    hint: "put the file itself there",
  });
}

function shorter(pack: number): SynclineError {
  return new SynclineError({
    code: "DISK",
    op: "back up",
    message: `pack ${pack} is shorter on the disk than it was when it was written`,
    hint: "check the disk of the hub, then: syncline hub check --deep",
  });
}

/** FsError becomes SynclineError DISK; anything else comes back as it is. */
export function backupError(directory: string, error: unknown): unknown {
  if (!(error instanceof FsError)) return error;
  const isMissing = error.code === "ENOENT" || error.code === "ENOTDIR";
  return new SynclineError({
    code: isMissing ? "NOT_FOUND" : "DISK",
    op: "use backup",
    path: directory,
    message: `${describeErrno(error.code)} (${error.code} in ${error.call})`,
    hint: isMissing
      ? "check the path: it is one of the hub's host"
      : "check free space, permissions and health of the disk of the backup; the backup that was there is still whole",
    cause: error,
  });
}
