/** Tar (POSIX pax) as a stream. Names are the bytes that they are; times are exact to the nanosecond. */
import { encodeName } from "#model/path.ts";
import type { ArchiveItem } from "#gateway/archive/archive.ts";

const BLOCK_BYTES = 512;
const NAME_BYTES = 100;
/** What eleven octal digits hold. */
const OCTAL_MAX = 8 ** 11 - 1;
const TYPES = { file: "0", dir: "5", symlink: "2" } as const;

const encoder = new TextEncoder();

/** @param content the bytes of a file, in pieces */
export async function* tarOf(
  items: () => AsyncIterable<ArchiveItem>,
  content: (item: ArchiveItem) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  for await (const item of items()) {
    yield header(item);
    if (item.kind !== "file") continue;
    let left = item.size;
    for await (const piece of content(item)) {
      left -= piece.length;
      yield piece;
    }
    if (left !== 0) throw new Error("the content is not as long as it was");
    const rest = item.size % BLOCK_BYTES;
    if (rest > 0) yield new Uint8Array(BLOCK_BYTES - rest);
  }
  yield new Uint8Array(2 * BLOCK_BYTES);
}

function header(item: ArchiveItem): Uint8Array {
  const name = encodeName(item.kind === "dir" ? `${item.name}/` : item.name);
  const target = item.kind === "symlink" ? encodeName(item.target) : new Uint8Array(0);
  const size = item.kind === "file" ? item.size : 0;
  const mtimeNs = item.mtimeNs ?? 0n;
  const records: Uint8Array[] = [];
  const isText = item.name.isWellFormed() && (item.kind !== "symlink" || item.target.isWellFormed());
  if (!fits(name)) records.push(record("path", name));
  if (!fits(target)) records.push(record("linkpath", target));
  if (records.length > 0 && !isText) records.unshift(record("hdrcharset", encoder.encode("BINARY")));
  if (size > OCTAL_MAX) records.push(record("size", encoder.encode(String(size))));
  const seconds = mtimeNs / 1_000_000_000n;
  const isPlain = mtimeNs >= 0n && mtimeNs % 1_000_000_000n === 0n && seconds <= BigInt(OCTAL_MAX);
  if (!isPlain) records.push(record("mtime", encoder.encode(timeText(mtimeNs))));
  const own = block({ name, target, size, mode: item.mode & 0o7777, seconds, type: TYPES[item.kind] });
  if (records.length === 0) return own;
  const extra = Buffer.concat(records);
  const head = block({ name: encoder.encode("pax"), target: new Uint8Array(0), size: extra.length, mode: 0o644, seconds: 0n, type: "x" });
  return Buffer.concat([head, extra, new Uint8Array((BLOCK_BYTES - (extra.length % BLOCK_BYTES)) % BLOCK_BYTES), own]);
}

/** ASCII needs no charset, and what is short needs no record. */
const fits = (bytes: Uint8Array): boolean => bytes.length <= NAME_BYTES && bytes.every((byte) => byte < 0x80);

function timeText(ns: bigint): string {
  const sign = ns < 0n ? "-" : "";
  const positive = ns < 0n ? -ns : ns;
  const fraction = (positive % 1_000_000_000n).toString().padStart(9, "0").replace(/0+$/, "");
  return `${sign}${positive / 1_000_000_000n}${fraction === "" ? "" : `.${fraction}`}`;
}

/** A record says its own length, its own digits included. */
function record(key: string, value: Uint8Array): Uint8Array {
  const bare = key.length + value.length + 3;
  let length = bare + String(bare).length;
  if (bare + String(length).length !== length) length = bare + String(length).length;
  return Buffer.concat([encoder.encode(`${length} ${key}=`), value, encoder.encode("\n")]);
}

type Block = {
  readonly name: Uint8Array;
  readonly target: Uint8Array;
  readonly size: number;
  readonly mode: number;
  readonly seconds: bigint;
  readonly type: string;
};

function block({ name, target, size, mode, seconds, type }: Block): Uint8Array {
  const out = new Uint8Array(BLOCK_BYTES);
  const text = (at: number, value: string): void => out.set(encoder.encode(value), at);
  const octal = (value: number, digits: number): string => `${value.toString(8).padStart(digits, "0")}\0`;
  const time = seconds < 0n ? 0 : Math.min(OCTAL_MAX, Number(seconds));
  out.set(name.subarray(0, NAME_BYTES), 0);
  text(100, octal(mode, 7));
  text(108, octal(0, 7));
  text(116, octal(0, 7));
  text(124, octal(size > OCTAL_MAX ? 0 : size, 11));
  text(136, octal(time, 11));
  text(148, " ".repeat(8));
  text(156, type);
  out.set(target.subarray(0, NAME_BYTES), 157);
  text(257, "ustar\x0000");
  text(329, octal(0, 7));
  text(337, octal(0, 7));
  text(148, `${out.reduce((sum, byte) => sum + byte, 0).toString(8).padStart(6, "0")}\0 `);
  return out;
}
