/** Copies bytes into a file that appears only when it is whole and durable, and sums them on the way. */
import { type Fd, type FileSystem, isCode, unlinkIfThere } from "#platform/file-system.ts";

const PIECE_BYTES = 4 << 20;
const MODE = 0o600;
/** What a file is called while it is written. */
export const UNFINISHED = ".new";

/** Where bytes come from; fewer than asked for only at the end. */
export type Source = {
  readonly bytes: number;
  read(into: Uint8Array, position: number): Promise<number>;
};

/**
 * @param onBytes hears how many came, piece by piece
 * @returns the SHA-256 of what was copied, in hex, and how much it was: less than `source.bytes` when the source ended
 *   early, and then there is no file
 * @throws {FsError} and what the source throws; nothing is left behind
 */
export async function pipe(
  fs: FileSystem,
  source: Source,
  target: { readonly dir: Fd; readonly name: string },
  signal: AbortSignal,
  onBytes: (bytes: number) => void = () => undefined,
): Promise<{ sum: string; bytes: number }> {
  const temporary = `${target.name}${UNFINISHED}`;
  unlinkIfThere(fs, target.dir, temporary);
  const fd = fs.create(target.dir, temporary, MODE);
  let result: { sum: string; bytes: number };
  try {
    result = await sumOf(source, signal, async (piece, position) => {
      await fs.writeAsync(fd, piece, position);
      fs.startWriteback(fd, position, piece.length);
      onBytes(piece.length);
    });
    await fs.sync(fd);
  } catch (error) {
    fs.close(fd);
    unlinkIfThere(fs, target.dir, temporary);
    throw error;
  }
  fs.close(fd);
  if (result.bytes === source.bytes) fs.rename(target.dir, temporary, target.dir, target.name, { replace: true });
  else unlinkIfThere(fs, target.dir, temporary);
  return result;
}

/** Reads all of it. @returns the SHA-256 in hex, and how much came */
export async function sumOf(
  source: Source,
  signal: AbortSignal,
  onPiece: (piece: Uint8Array, position: number) => Promise<void> = () => Promise.resolve(),
): Promise<{ sum: string; bytes: number }> {
  const hasher = new Bun.CryptoHasher("sha256");
  const buffer = new Uint8Array(Math.max(1, Math.min(PIECE_BYTES, source.bytes)));
  let at = 0;
  while (at < source.bytes) {
    signal.throwIfAborted();
    const count = await source.read(buffer.subarray(0, Math.min(buffer.length, source.bytes - at)), at);
    if (count === 0) break;
    const piece = buffer.subarray(0, count);
    hasher.update(piece);
    await onPiece(piece, at);
    at += count;
  }
  return { sum: hasher.digest("hex"), bytes: at };
}

/** A file as a source; close it. */
export function openSource(fs: FileSystem, dir: Fd, name: string): Source & Disposable {
  const fd = fs.openRead(dir, name);
  return {
    bytes: fs.fstat(fd).size,
    read: (into, position) => fs.readAsync(fd, into, position),
    [Symbol.dispose]: () => fs.close(fd),
  };
}

/** Removes a directory that we made, with all in it. */
export function removeTree(fs: FileSystem, parent: Fd, name: string): void {
  const dir = fs.openDir(parent, name);
  try {
    for (const item of fs.list(dir)) {
      if (item.kind === "dir") removeTree(fs, dir, item.name);
      else fs.unlink(dir, item.name);
    }
  } finally {
    fs.close(dir);
  }
  fs.rmdir(parent, name);
}

/** Opens a directory, which is made with mode 0700 when it is missing. */
export function openOrMake(fs: FileSystem, dir: Fd, name: string): Fd {
  try {
    fs.mkdir(dir, name, 0o700);
  } catch (error) {
    if (!isCode(error, "EEXIST")) throw error;
  }
  return fs.openDir(dir, name);
}
