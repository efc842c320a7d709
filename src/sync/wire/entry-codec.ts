/**
 * Entries as bytes, the same on the wire and in the index. Decoding trusts nothing: what does not keep the
 * limits throws SynclineError PROTOCOL, so an Entry that came out of here may be used without further checks
 * (whether a path may be used at all is pathFault's question).
 *
 * Layout: one byte with the kind in its low three bits and flags above, then the fields in the order of the
 * type.
 */
import type { DirEntry, Entry, FileEntry, Owner, Xattrs } from "#model/entry.ts";
import { encodeName, pathFault } from "#model/path.ts";
import { type ByteReader, type ByteWriter, malformed } from "#sync/wire/bytes.ts";

/** Attributes of one entry; Linux file systems hold far fewer. */
export const XATTR_COUNT_MAX = 256;
/** Bytes of one attribute's value: the kernel's own limit (XATTR_SIZE_MAX). */
export const XATTR_VALUE_BYTES_MAX = 64 << 10;
/** Names and values of one entry together, so that an entry fits a message many times. */
export const XATTR_TOTAL_BYTES_MAX = 128 << 10;
/** Bytes of an attribute's name: the kernel's own limit (XATTR_NAME_MAX). */
export const XATTR_NAME_BYTES_MAX = 255;
/** Bytes of a symlink's target: PATH_MAX without its final NUL. */
export const TARGET_BYTES_MAX = 4095;
/** Bytes of a user's or group's name. */
export const OWNER_NAME_BYTES_MAX = 255;
/** Bytes of what names a special file ("socket"). */
const WHAT_BYTES_MAX = 32;

const MODE_MAX = 0o7777;
const U32_MAX = 0xffff_ffff;

const KIND_MASK = 0x07;
const ABSENT = 0;
const FILE = 1;
const DIR = 2;
const SYMLINK = 3;
const OTHER = 4;

const HAS_SUM = 0x08;
const HAS_OWNER = 0x10;
const HAS_XATTRS = 0x20;
const HAS_LINK = 0x40;
/** The mtime needs more than 64 bits of nanoseconds: before 1677 or after 2262, which disks can hold. */
const WIDE_TIME = 0x80;
const FLAGS_OF_KIND: readonly number[] = [
  0,
  HAS_SUM | HAS_OWNER | HAS_XATTRS | HAS_LINK | WIDE_TIME,
  HAS_OWNER | HAS_XATTRS,
  HAS_OWNER,
  0,
];

const HAS_USER = 1;
const HAS_GROUP = 2;

/** Safely inside ±2^63, where the rounding of a double does not matter. */
const NARROW_TIME_NS = 9.2e18;

/** Writes an entry; undefined (absence) is one byte. */
export function writeEntry(w: ByteWriter, entry: Entry | undefined): void {
  if (entry === undefined) {
    w.u8(ABSENT);
    return;
  }
  switch (entry.kind) {
    case "file":
      return writeFile(w, entry);
    case "dir":
      w.u8(DIR | (entry.owner === undefined ? 0 : HAS_OWNER) | (entry.xattrs === undefined ? 0 : HAS_XATTRS));
      w.varint(entry.mode);
      if (entry.owner !== undefined) writeOwner(w, entry.owner);
      if (entry.xattrs !== undefined) writeXattrs(w, entry.xattrs);
      return;
    case "symlink":
      w.u8(SYMLINK | (entry.owner === undefined ? 0 : HAS_OWNER));
      w.string(entry.target);
      if (entry.owner !== undefined) writeOwner(w, entry.owner);
      return;
    case "other":
      w.u8(OTHER);
      w.string(entry.what);
  }
}

/** @throws {SynclineError} PROTOCOL when the bytes are no valid entry */
export function readEntry(r: ByteReader): Entry | undefined {
  const head = r.u8();
  const kind = head & KIND_MASK;
  if (kind > OTHER) throw malformed("an entry has an unknown kind");
  if ((head & ~KIND_MASK & ~FLAGS_OF_KIND[kind]!) !== 0) throw malformed("an entry has unknown flags");
  switch (kind) {
    case FILE:
      return readFile(r, head);
    case DIR:
      return readDir(r, head);
    case SYMLINK: {
      const target = readText(r, "symlink target", TARGET_BYTES_MAX);
      if (target.includes("\0")) throw malformed("a symlink target holds NUL");
      return (head & HAS_OWNER) === 0
        ? { kind: "symlink", target }
        : { kind: "symlink", target, owner: readOwner(r) };
    }
    case OTHER:
      return { kind: "other", what: readText(r, "special kind", WHAT_BYTES_MAX) };
    default:
      return undefined;
  }
}

function writeFile(w: ByteWriter, entry: FileEntry): void {
  const time = Number(entry.mtimeNs);
  const wide = time > NARROW_TIME_NS || time < -NARROW_TIME_NS;
  let head = FILE;
  if (entry.sum !== undefined) head |= HAS_SUM;
  if (entry.owner !== undefined) head |= HAS_OWNER;
  if (entry.xattrs !== undefined) head |= HAS_XATTRS;
  if (entry.linkTo !== undefined) head |= HAS_LINK;
  if (wide) head |= WIDE_TIME;
  w.u8(head);
  w.varint(entry.size);
  w.varint(entry.mode);
  w.i64(entry.mtimeNs);
  if (wide) w.i64(entry.mtimeNs >> 64n);
  if (entry.sum !== undefined) w.hex16(entry.sum);
  if (entry.owner !== undefined) writeOwner(w, entry.owner);
  if (entry.xattrs !== undefined) writeXattrs(w, entry.xattrs);
  if (entry.linkTo !== undefined) w.string(entry.linkTo);
}

/**
 * Where the mtime (eight bytes, little-endian) lies in the entry that writeEntry wrote at `at`, if that is a file of
 * this size and mode with a time of 64 bits; else -1. For who compares without decoding.
 */
export function packedFileTime(bytes: Uint8Array, at: number, size: number, mode: number): number {
  const head = bytes[at]!;
  if ((head & KIND_MASK) !== FILE || (head & WIDE_TIME) !== 0) return -1;
  const modeAt = afterVarint(bytes, at + 1, size);
  return modeAt < 0 ? -1 : afterVarint(bytes, modeAt, mode);
}

/** Size of the file that writeEntry wrote at `at`, if it has neither owner, attributes, link nor a wide time; else -1. */
export function packedFileSize(bytes: Uint8Array, at: number): number {
  if ((bytes[at]! & ~HAS_SUM) !== FILE) return -1;
  let size = 0;
  let scale = 1;
  for (let next = at + 1; ; next++, scale *= 128) {
    const byte = bytes[next]!;
    size += (byte & 0x7f) * scale;
    if (byte < 0x80) return size;
  }
}

/** Has the file that writeEntry wrote at `at` a sum? */
export function packedFileHasSum(bytes: Uint8Array, at: number): boolean {
  return (bytes[at]! & HAS_SUM) !== 0;
}

/** Where the varint at `at` ends if it is `value`; else -1. */
function afterVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = value;
  let next = at;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) if (bytes[next++] !== ((rest % 128) | 0x80)) return -1;
  return bytes[next] === rest ? next + 1 : -1;
}

function readFile(r: ByteReader, head: number): FileEntry {
  const size = r.varint();
  const mode = readMode(r);
  let mtimeNs = r.i64();
  if ((head & WIDE_TIME) !== 0) mtimeNs = BigInt.asUintN(64, mtimeNs) | (r.i64() << 64n);
  const sum = (head & HAS_SUM) === 0 ? undefined : r.hex16();
  // One shape of object for the millions of plain files; the rarer fields are added only where they exist.
  if ((head & (HAS_OWNER | HAS_XATTRS | HAS_LINK)) === 0) return { kind: "file", size, mode, mtimeNs, sum };
  const owner = (head & HAS_OWNER) === 0 ? undefined : readOwner(r);
  const xattrs = (head & HAS_XATTRS) === 0 ? undefined : readXattrs(r);
  const linkTo = (head & HAS_LINK) === 0 ? undefined : readLink(r);
  return {
    kind: "file",
    size,
    mode,
    mtimeNs,
    sum,
    ...(owner === undefined ? undefined : { owner }),
    ...(xattrs === undefined ? undefined : { xattrs }),
    ...(linkTo === undefined ? undefined : { linkTo }),
  };
}

function readDir(r: ByteReader, head: number): DirEntry {
  const mode = readMode(r);
  if ((head & (HAS_OWNER | HAS_XATTRS)) === 0) return { kind: "dir", mode };
  const owner = (head & HAS_OWNER) === 0 ? undefined : readOwner(r);
  const xattrs = (head & HAS_XATTRS) === 0 ? undefined : readXattrs(r);
  return {
    kind: "dir",
    mode,
    ...(owner === undefined ? undefined : { owner }),
    ...(xattrs === undefined ? undefined : { xattrs }),
  };
}

function readMode(r: ByteReader): number {
  const mode = r.varint();
  if (mode > MODE_MAX) throw malformed("a mode is out of range");
  return mode;
}

function readLink(r: ByteReader): string {
  const linkTo = r.string();
  const fault = pathFault(linkTo);
  if (fault !== undefined) throw malformed(`a hard link leads nowhere good: ${fault}`);
  return linkTo;
}

/** A non-empty string of at most `bytesMax` bytes. */
function readText(r: ByteReader, what: string, bytesMax: number): string {
  const before = r.remaining;
  const text = r.string();
  if (text === "") throw malformed(`a ${what} is empty`);
  // What was consumed includes the length field, so only a text near the limit needs exact counting.
  if (before - r.remaining > bytesMax && encodeName(text).length > bytesMax) {
    throw malformed(`a ${what} is too long`);
  }
  return text;
}

function writeOwner(w: ByteWriter, owner: Owner): void {
  w.u8((owner.user === undefined ? 0 : HAS_USER) | (owner.group === undefined ? 0 : HAS_GROUP));
  w.varint(owner.uid);
  w.varint(owner.gid);
  if (owner.user !== undefined) w.string(owner.user);
  if (owner.group !== undefined) w.string(owner.group);
}

function readOwner(r: ByteReader): Owner {
  const flags = r.u8();
  if (flags > (HAS_USER | HAS_GROUP)) throw malformed("an owner has unknown flags");
  const uid = r.varint();
  const gid = r.varint();
  if (uid > U32_MAX || gid > U32_MAX) throw malformed("an owner is out of range");
  const owner: Owner = { uid, gid };
  if ((flags & HAS_USER) !== 0) owner.user = readText(r, "user", OWNER_NAME_BYTES_MAX);
  if ((flags & HAS_GROUP) !== 0) owner.group = readText(r, "group", OWNER_NAME_BYTES_MAX);
  return owner;
}

function writeXattrs(w: ByteWriter, xattrs: Xattrs): void {
  w.varint(xattrs.length);
  for (const [name, value] of xattrs) {
    w.string(name);
    w.bytes(Buffer.from(value, "latin1"));
  }
}

function readXattrs(r: ByteReader): Xattrs {
  const count = r.varint();
  if (count > XATTR_COUNT_MAX) throw malformed("an entry has too many attributes");
  const start = r.remaining;
  const xattrs: (readonly [string, string])[] = [];
  const names = new Set<string>();
  for (let at = 0; at < count; at++) {
    const name = readText(r, "attribute name", XATTR_NAME_BYTES_MAX);
    if (names.has(name)) throw malformed("an attribute comes twice");
    if (name.includes("\0")) throw malformed("an attribute name holds NUL");
    const value = r.bytes();
    if (value.length > XATTR_VALUE_BYTES_MAX) throw malformed("an attribute is too long");
    if (start - r.remaining > XATTR_TOTAL_BYTES_MAX) throw malformed("the attributes of an entry are too long");
    xattrs.push([name, Buffer.prototype.latin1Slice.call(value, 0, value.length)]);
    names.add(name);
  }
  return xattrs;
}
