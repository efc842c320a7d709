/**
 * What trees hold: entries alone (the ancestor) or entries with what only this disk knows (an endpoint's
 * index).
 *
 * The codecs reuse one writer and one reader: synchronous calls, one after another. What they return is the
 * caller's.
 */
import type { Entry, Sum } from "#model/entry.ts";
import type { Stat } from "#platform/file-system.ts";
import type { Codec } from "#sync/index/store.ts";
import { ByteReader, ByteWriter, malformed } from "#sync/wire/bytes.ts";
import { packedFileHasSum, packedFileSize, packedFileTime, readEntry, writeEntry } from "#sync/wire/entry-codec.ts";

/** An entry as last observed, with what tells cheaply whether it may have changed since. */
export type IndexRecord = {
  readonly entry: Entry;
  readonly ino: bigint;
  readonly ctimeNs: bigint;
  /**
   * The file was changed so shortly before it was read that another change could leave the same times behind:
   * the next scan reads it again (racy entries, as in git's index).
   */
  readonly racy: boolean;
  /** What the disk made of the entry's mtime, where its timestamps are coarser than that; else undefined. */
  readonly diskMtimeNs?: bigint | undefined;
  /**
   * Other bytes than the sum's were found, and the ctime has moved since: a rename explained that and the record has the new
   * one, or it could not be looked at. Only this says what was found, also to a process that starts later: every scan reads
   * the file again.
   */
  readonly damaged?: boolean | undefined;
};

const RACY = 1;
const DISK_MTIME = 2;
const DAMAGED = 4;

const writer = new ByteWriter();
const reader = new ByteReader(new Uint8Array(0));

/** Plain entries. @throws {SynclineError} PROTOCOL from decode */
export const entryCodec: Codec<Entry> = {
  encode(entry) {
    writer.reset();
    writeEntry(writer, entry);
    return writer.finish();
  },
  decode(bytes) {
    reader.reset(bytes);
    const entry = presentEntry();
    if (!reader.atEnd) throw malformed("a record is too long");
    return entry;
  },
};

/** Index records. @throws {SynclineError} PROTOCOL from decode */
export const indexCodec: Codec<IndexRecord> = {
  encode(record) {
    const { diskMtimeNs, damaged } = record;
    writer.reset();
    writer.u8((record.racy ? RACY : 0) | (diskMtimeNs === undefined ? 0 : DISK_MTIME) | (damaged === true ? DAMAGED : 0));
    // Inodes are unsigned 64-bit numbers; i64 keeps their bits and decode reads them back unsigned.
    writer.i64(record.ino);
    writer.i64(record.ctimeNs);
    if (diskMtimeNs !== undefined) writer.i64(diskMtimeNs);
    writeEntry(writer, record.entry);
    return writer.finish();
  },
  decode(bytes) {
    reader.reset(bytes);
    const flags = reader.u8();
    if (flags > (RACY | DISK_MTIME | DAMAGED)) throw malformed("a record has unknown flags");
    const ino = BigInt.asUintN(64, reader.i64());
    const ctimeNs = reader.i64();
    const diskMtimeNs = (flags & DISK_MTIME) === 0 ? undefined : reader.i64();
    const entry = presentEntry();
    if (!reader.atEnd) throw malformed("a record is too long");
    const racy = (flags & RACY) !== 0;
    const record = diskMtimeNs === undefined ? { entry, ino, ctimeNs, racy } : { entry, ino, ctimeNs, racy, diskMtimeNs };
    return (flags & DAMAGED) === 0 ? record : { ...record, damaged: true };
  },
};

/**
 * Is what the record tells still what lies on the disk, as far as a stat can tell? True only when nothing
 * needs to be read again. A file's or symlink's inode, size, times and mode must all be the same; ctime moves
 * with every change of content or metadata and cannot be set, so owners and attributes need no look of their
 * own. A directory's times change with its contents, so only its inode and mode count, its owner where the
 * record has one, and its ctime where the record has attributes. Makes no objects.
 */
export function matchesStat(record: IndexRecord, stat: Stat): boolean {
  const { entry } = record;
  if (record.racy || record.ino !== stat.ino) return false;
  switch (entry.kind) {
    case "file":
      return (
        stat.kind === "file" &&
        entry.size === stat.size &&
        entry.mode === stat.mode &&
        // Compared as the 64 bits that a record keeps: a disk may hold times outside of them.
        sameTime(record.ctimeNs, stat.ctimeNs) &&
        sameTime(record.diskMtimeNs ?? entry.mtimeNs, stat.mtimeNs)
      );
    case "symlink":
      return stat.kind === "symlink" && sameTime(record.ctimeNs, stat.ctimeNs);
    case "dir":
      return (
        stat.kind === "dir" &&
        entry.mode === stat.mode &&
        sameOwner(entry.owner, stat) &&
        (entry.xattrs === undefined || sameTime(record.ctimeNs, stat.ctimeNs))
      );
    case "other":
      return stat.kind === entry.what;
  }
}

/**
 * A file was read whole while `stat` was true of it: are other bytes than the record knows damage? So they are where
 * nothing says that anybody wrote them: inode, size and mtime are the same, and so is ctime, or a change of mode or owner
 * tells what moved it. (A ctime that moved for no visible reason is how an edit looks whose mtime was put back; of a file that
 * was found damaged before, nobody can tell.)
 */
export function isDamage(record: IndexRecord, stat: Stat, sum: Sum): boolean {
  const { entry, racy, ino, ctimeNs, diskMtimeNs, damaged } = record;
  if (racy || entry.kind !== "file" || entry.sum === undefined || entry.sum === sum) return false;
  if (ino !== stat.ino || entry.size !== stat.size || !sameTime(diskMtimeNs ?? entry.mtimeNs, stat.mtimeNs)) return false;
  return damaged === true || sameTime(ctimeNs, stat.ctimeNs) || entry.mode !== stat.mode || !sameOwner(entry.owner, stat);
}

/** A file's entry has no more before its mtime than these: kind, size, mode. */
const timeFields = new Uint8Array(24);
const timeView = new DataView(timeFields.buffer);

/**
 * As matchesStat, for a plain file's record as indexCodec wrote it, from `start` on, and a file's stat. True only when
 * that is certain from the bytes; false says nothing, and the record must be decoded.
 */
export function packedMatchesStat(bytes: Uint8Array, start: number, stat: Stat): boolean {
  // Neither racy nor damaged nor with a time of the disk's own.
  if (bytes[start] !== 0) return false;
  timeView.setBigUint64(0, stat.ino, true);
  timeView.setBigInt64(8, stat.ctimeNs, true);
  timeView.setBigInt64(16, stat.mtimeNs, true);
  for (let at = 0; at < 16; at++) if (bytes[start + 1 + at] !== timeFields[at]) return false;
  const mtimeAt = packedFileTime(bytes, start + ENTRY_AT, stat.size, stat.mode);
  if (mtimeAt < 0) return false;
  for (let at = 0; at < 8; at++) if (bytes[mtimeAt + at] !== timeFields[16 + at]) return false;
  return true;
}

/** Where the entry begins in a record without a time of the disk's own: behind flags, inode and ctime. */
const ENTRY_AT = 17;

/**
 * Size of the plain file (no owner, attributes or link) whose record indexCodec wrote from `start` on, where that is
 * beyond doubt: not racy, and without a time of the disk's own; else -1.
 */
export function packedPlainSize(bytes: Uint8Array, start: number): number {
  return bytes[start] === 0 ? packedFileSize(bytes, start + ENTRY_AT) : -1;
}

/** Does the record of a plain file, as packedPlainSize knows it, have a sum? */
export function packedHasSum(bytes: Uint8Array, start: number): boolean {
  return packedFileHasSum(bytes, start + ENTRY_AT);
}

/** Equal, or equal in the low 64 bits when the disk's time has more. */
function sameTime(recorded: bigint, found: bigint): boolean {
  return recorded === found || recorded === BigInt.asIntN(64, found);
}

function sameOwner(owner: { uid: number; gid: number } | undefined, stat: Stat): boolean {
  return owner === undefined || (owner.uid === stat.uid && owner.gid === stat.gid);
}

function presentEntry(): Entry {
  const entry = readEntry(reader);
  if (entry === undefined) throw malformed("a record holds no entry");
  return entry;
}
