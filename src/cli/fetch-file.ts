/**
 * Brings a file out of a space. It is written beside its place and renamed when it is whole; of a large one what has come
 * stays when the command or the hub dies, and the next one goes on from what was on the disk for certain.
 */
import { createHash, randomUUID } from "node:crypto";
import {
  closeSync, constants, fchmodSync, fstatSync, fsyncSync, ftruncateSync, lstatSync, openSync, readFileSync, renameSync, rmSync,
  statSync, utimesSync, writeFileSync, writeSync,
} from "node:fs";
import { basename, join } from "node:path";
import { SynclineError } from "#model/error.ts";
import type { VersionJson } from "#gateway/api/shapes.ts";
import type { Fd } from "#platform/file-system.ts";
import { openHost } from "#platform/host-bun.ts";
import { formatCount } from "#cli/format.ts";
import type { Persistence } from "#cli/persistence.ts";

/** Smaller files are fetched anew. */
const RESUMED_FROM_BYTES = 32 << 20;
/** What may have to come again after a power loss. */
const SYNC_EVERY_BYTES = 64 << 20;
const NAME_CHARS = 200;
/** While it comes its owner may go on with it, whatever the file's own permissions are. */
const OWN_BITS = 0o600;

/** Pieces of the file from a position on. */
export type Pieces = (from: number) => AsyncIterable<Uint8Array>;

export async function fetchFile(
  pieces: Pieces,
  target: string,
  version: VersionJson,
  keep: Persistence,
  onBytes: (done: number) => void,
): Promise<void> {
  const size = version.size ?? 0;
  requireFile(target);
  const partial = new Partial(target, version);
  try {
    onBytes(partial.length);
    await keep.of(async () => {
      if (partial.length === size) return;
      for await (const piece of pieces(partial.length)) {
        partial.add(piece);
        keep.well();
        onBytes(partial.length);
      }
      if (partial.length !== size) throw brokenOff(target, partial.length, size);
    });
    partial.finish();
  } catch (error) {
    partial.giveUp();
    throw error;
  } finally {
    partial.close();
  }
}

/** Writes what comes beside its place, and names it when it is whole and durable. @returns its bytes */
export async function writeWhole(pieces: AsyncIterable<Uint8Array>, target: string, onBytes: (done: number) => void): Promise<number> {
  requireFile(target);
  const aside = asideOf(target, randomUUID());
  const fd = openSync(aside, "wx");
  let size = 0;
  try {
    for await (const piece of pieces) {
      for (let at = 0; at < piece.length; ) at += writeSync(fd, piece, at, piece.length - at, size + at);
      size += piece.length;
      onBytes(size);
    }
    fsyncSync(fd);
    renameSync(aside, target);
    return size;
  } catch (error) {
    rmSync(aside, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** What is named over a device or a pipe takes its place, with the rights of whoever may do that. @throws {SynclineError} USAGE */
function requireFile(target: string): void {
  const there = statSync(target, { throwIfNoEntry: false });
  if (there === undefined || there.isFile() || there.isDirectory()) return;
  throw new SynclineError({
    code: "USAGE",
    op: "get",
    path: target,
    message: `${target} is no file`,
    hint: 'name a file; "-" is standard output',
  });
}

class Partial {
  readonly #target: string;
  readonly #version: VersionJson;
  readonly #file: string;
  /** Says how much of it is on the disk, and who writes it. */
  readonly #note: string;
  readonly #fd: number;
  readonly #isKept: boolean;
  /** That it has in the end. */
  readonly #mode: number;
  length = 0;
  #synced = 0;

  constructor(target: string, version: VersionJson) {
    this.#target = target;
    this.#version = version;
    const size = version.size ?? 0;
    const kept = asideOf(target, `${version.etag ?? version.sequence} ${size}`);
    const mode = version.mode === undefined ? 0o644 : Number.parseInt(version.mode, 8) & 0o777;
    this.#mode = mode & ~process.umask();
    const claimed = size >= RESUMED_FROM_BYTES ? claim(kept, mode | OWN_BITS) : undefined;
    this.#isKept = claimed !== undefined;
    this.#file = this.#isKept ? kept : asideOf(target, randomUUID());
    this.#note = noteOf(this.#file);
    this.#fd = claimed ?? openSync(this.#file, "wx", mode | OWN_BITS);
    if (this.#isKept) {
      // It may have been begun for a version of the same bytes that others might read.
      fchmodSync(this.#fd, this.#mode | OWN_BITS);
      // The note may be that of an earlier file, which had got its name already when its command was killed.
      this.length = Math.min(readNote(this.#note)?.bytes ?? 0, size, fstatSync(this.#fd).size);
      ftruncateSync(this.#fd, this.length);
      this.#synced = this.length;
    }
    this.#write();
  }

  add(piece: Uint8Array): void {
    for (let at = 0; at < piece.length; ) at += writeSync(this.#fd, piece, at, piece.length - at, this.length + at);
    this.length += piece.length;
    if (!this.#isKept || this.length - this.#synced < SYNC_EVERY_BYTES) return;
    this.#sync();
  }

  #sync(): void {
    fsyncSync(this.#fd);
    this.#synced = this.length;
    this.#write();
  }

  #write(): void {
    if (this.#isKept) writeNote(this.#note, { pid: process.pid, bytes: this.#synced });
  }

  finish(): void {
    fsyncSync(this.#fd);
    const mtimeSeconds = Date.parse(this.#version.mtime ?? "") / 1000;
    if (!Number.isNaN(mtimeSeconds)) utimesSync(this.#file, mtimeSeconds, mtimeSeconds);
    fchmodSync(this.#fd, this.#mode);
    renameSync(this.#file, this.#target);
    if (this.#isKept) rmSync(this.#note, { force: true });
  }

  /** What has come of a large file is there for the next command. */
  giveUp(): void {
    if (!this.#isKept) return rmSync(this.#file, { force: true });
    try {
      this.#sync();
    } catch {
      // The disk refuses: what was synced before stays.
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function asideOf(target: string, what: string): string {
  const mark = createHash("sha256").update(`${what} ${target}`).digest("hex").slice(0, 12);
  return join(target, "..", `.${basename(target).slice(0, NAME_CHARS)}.${mark}.part`);
}

/**
 * The file that an earlier command of ours left, or a new one in its place. Undefined where somebody else is at it, or it is not
 * ours: what begins it would become a part of the file.
 */
function claim(file: string, mode: number): number | undefined {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, mode);
  } catch {
    // Where nothing can be made at all, whoever makes a file of his own is told.
    return undefined;
  }
  if (isFree(fd, file) && isOurs(fd, file)) return fd;
  closeSync(fd);
  return undefined;
}

/** Held until it is closed: of two commands, in two containers too, only one goes on with a file. */
function isFree(fd: number, file: string): boolean {
  try {
    return openHost().fs.tryLock(fd as Fd);
  } catch {
    // There are no locks here.
    const writer = readNote(noteOf(file))?.pid;
    return writer === undefined || !isAlive(writer);
  }
}

/** Whoever had it a moment ago may have given it its name. */
function isOurs(fd: number, file: string): boolean {
  const { dev, ino, uid } = fstatSync(fd);
  const there = lstatSync(file, { throwIfNoEntry: false });
  return there?.dev === dev && there.ino === ino && uid === process.geteuid?.();
}

const noteOf = (file: string): string => `${file}.json`;

type Note = { readonly pid: number; readonly bytes: number };

function writeNote(file: string, note: Note): void {
  const { O_WRONLY, O_CREAT, O_TRUNC, O_NOFOLLOW } = constants;
  const fd = openSync(file, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0o600);
  try {
    writeFileSync(fd, JSON.stringify(note));
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function readNote(file: string): Note | undefined {
  try {
    const note = JSON.parse(readFileSync(file, "utf8")) as { pid?: unknown; bytes?: unknown };
    if (!Number.isSafeInteger(note.pid) || !Number.isSafeInteger(note.bytes) || (note.bytes as number) < 0) return undefined;
    return { pid: note.pid as number, bytes: note.bytes as number };
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  // It was another process of that number: in a container they are given again and again.
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

const brokenOff = (path: string, total: number, size: number): SynclineError =>
  new SynclineError({
    code: "LINK_LOST",
    op: "get",
    path,
    message: `${formatCount(total)} of ${formatCount(size)} bytes came`,
    hint: "run it again: it goes on from there",
    retryable: true,
  });
