/**
 * Relative paths and names.
 *
 * A name on a POSIX disk is bytes. Here it is a string: UTF-8 decoded, and a byte that is not valid UTF-8
 * becomes the lone surrogate U+DC80..U+DCFF (Python's "surrogateescape", PEP 383), so every name round-trips
 * exactly and can be a Map key. `RelPath` joins names with "/"; the root itself is "".
 *
 * Order: depth-first, component by component, by the bytes of the names. A directory comes directly before
 * everything below it, and "a/b" comes before "a.txt".
 */
export type RelPath = string;

/** Longest path in bytes that is accepted from anyone; Linux PATH_MAX. */
export const PATH_BYTES_MAX = 4096;
/** Longest name in bytes; ext4, xfs, btrfs, APFS (which counts characters) all stop here or earlier. */
export const NAME_BYTES_MAX = 255;
/** The directory in a root that belongs to us: marker, stage and trash. Never synchronised, at any depth. */
export const PRIVATE_DIR = ".syncline";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();

/** Decodes the bytes of one name (or path); any bytes are accepted and round-trip through encodeName. */
export function decodeName(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch {
    return decodeEscaped(bytes);
  }
}

/** Encodes a name (or path) to the bytes it has on disk. */
export function encodeName(name: string): Uint8Array {
  return name.isWellFormed() ? encoder.encode(name) : encodeEscaped(name);
}

/** Length of a valid UTF-8 sequence at `at`, or 0. */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const lead = bytes[at]!;
  const length = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3 : 4;
  if (lead >= 0xf5 || (lead >= 0x80 && lead < 0xc2) || at + length > bytes.length) return 0;
  try {
    decoder.decode(bytes.subarray(at, at + length));
    return length;
  } catch {
    return 0;
  }
}

function decodeEscaped(bytes: Uint8Array): string {
  let out = "";
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    if (length === 0) {
      out += String.fromCharCode(0xdc00 + bytes[at]!);
      at++;
    } else {
      out += decoder.decode(bytes.subarray(at, at + length));
      at += length;
    }
  }
  return out;
}

function encodeEscaped(name: string): Uint8Array {
  const out: number[] = [];
  for (const char of name) {
    const code = char.codePointAt(0)!;
    if (code >= 0xdc80 && code <= 0xdcff) out.push(code - 0xdc00);
    else for (const byte of encoder.encode(char)) out.push(byte);
  }
  return Uint8Array.from(out);
}

/** As much of the beginning of a name as so many bytes hold; no character is cut. */
export function shorten(text: string, bytesMax: number): string {
  let out = "";
  let bytes = 0;
  for (const char of text) {
    bytes += encodeName(char).length;
    if (bytes > bytesMax) break;
    out += char;
  }
  return out;
}

export function joinPath(dir: RelPath, name: string): RelPath {
  return dir === "" ? name : `${dir}/${name}`;
}

/** The directory of a path; "" for a top-level entry. The root has no parent: do not ask. */
export function parentOf(path: RelPath): RelPath {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "" : path.slice(0, slash);
}

export function nameOf(path: RelPath): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** Is `path` equal to `dir` or below it? Everything is within "". */
export function isWithin(path: RelPath, dir: RelPath): boolean {
  return dir === "" || path === dir || (path.startsWith(dir) && path.charCodeAt(dir.length) === 47);
}

/** Depth-first byte order; see the head of this file. */
export function comparePaths(a: RelPath, b: RelPath): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const x = a.charCodeAt(at);
    const y = b.charCodeAt(at);
    if (x === y) continue;
    if (x === 47) return -1;
    if (y === 47) return 1;
    // UTF-16 order differs from byte order only where surrogates (also our escapes) are involved.
    if (x >= 0xd800 || y >= 0xd800) return compareBytes(pathKey(a), pathKey(b));
    return x - y;
  }
  return a.length - b.length;
}

/** Order of two names in one directory: by their bytes. */
export const compareNames: (a: string, b: string) => number = comparePaths;

/** Bytes whose memcmp order is comparePaths order: "/" becomes NUL, which no name contains. */
export function pathKey(path: RelPath): Uint8Array {
  const bytes = encodeName(path).slice();
  for (let at = 0; at < bytes.length; at++) if (bytes[at] === 47) bytes[at] = 0;
  return bytes;
}

export function compareBytes(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const difference = a[at]! - b[at]!;
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/**
 * Why a path from a peer cannot be used, or undefined when it can. Rejects what could leave the root or touch
 * our own files: empty and dot components, NUL, absolute paths, the private directory, and what is too long.
 * "" (the root) is refused too, unless allowed.
 */
export function pathFault(path: RelPath, allowRoot = false): string | undefined {
  if (path === "") return allowRoot ? undefined : "empty path";
  if (path.includes("\0")) return "NUL in path";
  if (path.length > PATH_BYTES_MAX || encodeName(path).length > PATH_BYTES_MAX) return "path too long";
  for (const name of path.split("/")) {
    if (name === "") return path.startsWith("/") ? "absolute path" : "empty path component";
    if (name === "." || name === "..") return `"${name}" in path`;
    if (name.length > NAME_BYTES_MAX || encodeName(name).length > NAME_BYTES_MAX) return "name too long";
    if (name === PRIVATE_DIR) return "reserved name";
  }
  return undefined;
}

/** The path as a person may safely see it: control characters, escapes and invalid bytes made visible. */
export function printablePath(path: RelPath): string {
  return path.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\udc80-\udcff]/g, (char) => {
    const code = char.charCodeAt(0);
    if (code === 10) return "\\n";
    if (code === 9) return "\\t";
    if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`;
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
  });
}

/** The name as a file system compares it that folds case and Unicode normalisation: composed and without case. */
export function foldName(name: string): string {
  return name.normalize("NFC").toUpperCase().toLowerCase().normalize("NFC");
}
