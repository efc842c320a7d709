/**
 * Manifests in the format of GNU sha256sum: one line a file, `<64 hex digits>  <path>`.
 *
 * A path holding a newline, carriage return or backslash is escaped as `\n`, `\r` and `\\`, and such a line begins with
 * a backslash. Paths are bytes: a manifest need not be valid UTF-8. On reading, the binary mark (`*`) and a leading
 * `./` are accepted; what could lead outside the directory is not.
 *
 * Format: coreutils manual, "md5sum invocation".
 */
import { type RelPath, PATH_BYTES_MAX, decodeName, encodeName, pathFault } from "#model/path.ts";

export type ManifestEntry = {
  readonly path: RelPath;
  /** 64 lower-case hex digits. */
  readonly sha256: string;
};

/** A line of a manifest: an entry, or why it is none. Numbered from 1. */
export type ManifestLine =
  | { readonly number: number; readonly entry: ManifestEntry }
  | { readonly number: number; readonly fault: string };

/** A path of PATH_BYTES_MAX with every byte escaped, the sum and the marks. */
export const LINE_BYTES_MAX = 2 * PATH_BYTES_MAX + 80;

const BACKSLASH = 0x5c;
const NEWLINE = 0x0a;
const RETURN = 0x0d;

/** One line with its newline. */
export function formatManifestLine(entry: ManifestEntry): Uint8Array {
  const name = encodeName(entry.path);
  const escaped = escapeName(name);
  const head = `${escaped.length === name.length ? "" : "\\"}${entry.sha256}  `;
  const line = new Uint8Array(head.length + escaped.length + 1);
  for (let at = 0; at < head.length; at++) line[at] = head.charCodeAt(at);
  line.set(escaped, head.length);
  line[line.length - 1] = NEWLINE;
  return line;
}

/** Escaping makes a name longer, so equal length means that nothing was escaped. */
function escapeName(name: Uint8Array): Uint8Array {
  if (!name.includes(BACKSLASH) && !name.includes(NEWLINE) && !name.includes(RETURN)) return name;
  const out: number[] = [];
  for (const byte of name) {
    if (byte === BACKSLASH) out.push(BACKSLASH, BACKSLASH);
    else if (byte === NEWLINE) out.push(BACKSLASH, 0x6e);
    else if (byte === RETURN) out.push(BACKSLASH, 0x72);
    else out.push(byte);
  }
  return Uint8Array.from(out);
}

/** Undefined when an escape is unknown or unfinished. */
function unescapeName(name: Uint8Array): Uint8Array | undefined {
  const out: number[] = [];
  for (let at = 0; at < name.length; at++) {
    if (name[at] !== BACKSLASH) {
      out.push(name[at]!);
      continue;
    }
    const next = name[++at];
    if (next === BACKSLASH) out.push(BACKSLASH);
    else if (next === 0x6e) out.push(NEWLINE);
    else if (next === 0x72) out.push(RETURN);
    else return undefined;
  }
  return Uint8Array.from(out);
}

/** @param bytes one line without its newline */
export function parseManifestLine(bytes: Uint8Array, number: number): ManifestLine {
  const escaped = bytes[0] === BACKSLASH;
  const line = escaped ? bytes.subarray(1) : bytes;
  const sum = String.fromCharCode(...line.subarray(0, 64));
  const mark = line[65];
  if (!/^[0-9a-fA-F]{64}$/.test(sum) || line[64] !== 0x20 || (mark !== 0x20 && mark !== 0x2a)) {
    return { number, fault: "no sha256sum line" };
  }
  const name = escaped ? unescapeName(line.subarray(66)) : line.subarray(66);
  if (name === undefined) return { number, fault: "unknown escape in the name" };
  const path = decodeName(name).replace(/^(\.\/+)+/, "");
  const fault = pathFault(path);
  return fault === undefined ? { number, entry: { path, sha256: sum.toLowerCase() } } : { number, fault };
}

/**
 * The lines of a manifest that arrives in pieces of any size. Empty lines and lines beginning with "#" are skipped.
 * A line above LINE_BYTES_MAX is one fault, however long it is: memory stays bounded.
 */
export async function* readManifest(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<ManifestLine> {
  let held = new Uint8Array(0);
  let tooLong = false;
  let number = 0;
  for await (const piece of pieces) {
    let start = 0;
    for (let end = piece.indexOf(NEWLINE, start); end >= 0; end = piece.indexOf(NEWLINE, start)) {
      number++;
      const line = joined(held, piece.subarray(start, end));
      if (tooLong || line.length > LINE_BYTES_MAX) yield { number, fault: "the line is too long" };
      else if (isContent(line)) yield parseManifestLine(line, number);
      held = new Uint8Array(0);
      tooLong = false;
      start = end + 1;
    }
    held = joined(held, piece.subarray(start));
    if (held.length > LINE_BYTES_MAX) {
      held = new Uint8Array(0);
      tooLong = true;
    }
  }
  if (tooLong) yield { number: number + 1, fault: "the line is too long" };
  else if (isContent(held)) yield parseManifestLine(held, number + 1);
}

function isContent(line: Uint8Array): boolean {
  return line.length > 0 && line[0] !== 0x23;
}

/** Always a copy: the piece may be a buffer that is filled again. */
function joined(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
