/** What is below a directory, as a range of path bytes. */
import { type RelPath, NAME_BYTES_MAX, compareBytes, decodeName, encodeName } from "#model/path.ts";

/**
 * Is this the one spelling of its bytes? Others must find nothing: rights are asked by the spelling, and rows found by
 * the bytes.
 */
export function isCanonical(path: RelPath): boolean {
  return path.isWellFormed() || decodeName(encodeName(path)) === path;
}

/** From `from` (with it) to `to` (without it), by memcmp. */
export type Range = { readonly from: Uint8Array; readonly to: Uint8Array };

const SLASH = 47;
/** Behind every path: no name is that long. */
const END = new Uint8Array(NAME_BYTES_MAX + 1).fill(255);

/** Everything below a directory, itself not. */
export function rangeBelow(dir: RelPath): Range {
  if (dir === "") return { from: new Uint8Array(0), to: END };
  const bytes = encodeName(dir);
  return { from: withByte(bytes, SLASH), to: behind(bytes) };
}

/** The first bytes that are behind all that is below a directory. */
export function behind(dir: Uint8Array): Uint8Array {
  return withByte(dir, SLASH + 1);
}

/** The first bytes that a path after this one may have: no path holds a zero byte. */
export function next(path: Uint8Array): Uint8Array {
  return withByte(path, 0);
}

/** The same range, beginning after a path of it. */
export function afterPath(range: Range, path: RelPath): Range {
  const from = next(encodeName(path));
  return compareBytes(from, range.from) > 0 ? { from, to: range.to } : range;
}

/** Bytes of the direct child of the directory of `length` bytes ("a/" has 2, the root 0) in which a path lies. */
export function childOf(path: Uint8Array, length: number): Uint8Array {
  const end = path.indexOf(SLASH, length);
  return end < 0 ? path : path.subarray(0, end);
}

function withByte(bytes: Uint8Array, last: number): Uint8Array {
  const made = new Uint8Array(bytes.length + 1);
  made.set(bytes);
  made[bytes.length] = last;
  return made;
}
