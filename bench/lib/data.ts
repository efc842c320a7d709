/** The data of the workloads. A seed is fixed for each, so that every run and every machine sees the same bytes. */
import { createCipheriv } from "node:crypto";
import { closeSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { SimRandom } from "#testing/sim-random.ts";

export const GIB = 2 ** 30;

const PIECE_BYTES = 8 * 2 ** 20;
/** Small files are cut from random bytes of this size; no two cuts of a tree are likely to be alike. */
const POOL_BYTES = 16 * 2 ** 20;

/** Incompressible bytes from a seed: an AES-CTR key stream, about as fast as memory can be filled. */
export class RandomBytes {
  readonly #stream: ReturnType<typeof createCipheriv>;
  readonly #zeros = Buffer.alloc(PIECE_BYTES);

  constructor(seed: number) {
    const key = Buffer.alloc(16);
    key.writeUInt32LE(seed);
    this.#stream = createCipheriv("aes-128-ctr", key, Buffer.alloc(16));
  }

  /** @param size at most PIECE_BYTES */
  next(size: number): Buffer {
    return this.#stream.update(this.#zeros.subarray(0, size));
  }

  many(size: number): Buffer {
    const pieces: Buffer[] = [];
    for (let left = size; left > 0; left -= PIECE_BYTES) pieces.push(this.next(Math.min(left, PIECE_BYTES)));
    return Buffer.concat(pieces);
  }
}

export function writeRandomFile(file: string, sizeBytes: number, seed: number): void {
  const bytes = new RandomBytes(seed);
  const fd = openSync(file, "w");
  try {
    for (let left = sizeBytes; left > 0; left -= PIECE_BYTES) writeSync(fd, bytes.next(Math.min(left, PIECE_BYTES)));
  } finally {
    closeSync(fd);
  }
}

/** Overwrites `count` places of `editBytes` each, in place, at random offsets. */
export function scatterEdits(file: string, sizeBytes: number, count: number, editBytes: number, seed: number): void {
  const random = new SimRandom(seed);
  const bytes = new RandomBytes(seed);
  const fd = openSync(file, "r+");
  try {
    for (let edit = 0; edit < count; edit++) {
      writeSync(fd, bytes.next(editBytes), 0, editBytes, random.int(sizeBytes - editBytes));
    }
  } finally {
    closeSync(fd);
  }
}

/** Puts `count` bytes before the first, as an editor does: a new file takes the place of the old one. */
export function insertInFront(file: string, scratch: string, count: number, seed: number): void {
  const content = readFileSync(file);
  const fd = openSync(scratch, "w");
  try {
    writeSync(fd, new RandomBytes(seed).next(count));
    for (let at = 0; at < content.length; at += PIECE_BYTES) writeSync(fd, content.subarray(at, at + PIECE_BYTES));
  } finally {
    closeSync(fd);
  }
  renameSync(scratch, file);
}

export type SmallTree = { readonly dir: string; readonly folders: readonly string[]; readonly files: number };

const SMALL_BYTES_MIN = 20;
const SMALL_BYTES_MAX = 4000;
/** Each folder at the top holds this many more. */
const FOLDERS_BELOW = 20;

/** `files` random files of 20 to 4,000 bytes in 1,050 directories of two levels, or fewer where there are few files. */
export function makeSmallTree(dir: string, files: number, seed: number): SmallTree {
  const random = new SimRandom(seed);
  const pool = new RandomBytes(seed).many(POOL_BYTES);
  const tops = Math.min(50, Math.max(1, Math.round(files / 2000)));
  const folders: string[] = [];
  for (let top = 0; top < tops; top++) {
    folders.push(`top-${top}`);
    for (let below = 0; below < FOLDERS_BELOW; below++) folders.push(`top-${top}/folder-${below}`);
  }
  for (const folder of folders) mkdirSync(join(dir, folder), { recursive: true });
  for (let file = 0; file < files; file++) {
    const size = SMALL_BYTES_MIN + random.int(SMALL_BYTES_MAX - SMALL_BYTES_MIN + 1);
    const from = random.int(POOL_BYTES - size);
    writeFileSync(join(dir, folders[file % folders.length]!, `file-${file}.bin`), pool.subarray(from, from + size));
  }
  return { dir, folders, files };
}

const TINY_PER_FOLDER = 100;

/** `files` files of a few bytes, a hundred in each directory: what counts is their number. */
export function makeTinyTree(dir: string, files: number): SmallTree {
  const folders: string[] = [];
  for (let folder = 0; folder < Math.ceil(files / TINY_PER_FOLDER); folder++) {
    const name = `group-${folder % 100}/folder-${folder}`;
    folders.push(name);
    mkdirSync(join(dir, name), { recursive: true });
    const end = Math.min(files, (folder + 1) * TINY_PER_FOLDER);
    for (let file = folder * TINY_PER_FOLDER; file < end; file++) {
      writeFileSync(join(dir, name, `file-${file}.txt`), `${file}\n`);
    }
  }
  return { dir, folders, files };
}
