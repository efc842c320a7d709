/** What the endpoint of a foreign system remembers of each path: the entry, and what the system said when it was seen. */
import type { Entry, FileEntry } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type { ForeignEntry } from "#sync/foreign/foreign-files.ts";
import type { Codec } from "#sync/index/store.ts";
import { ByteReader, ByteWriter, malformed } from "#sync/wire/bytes.ts";
import { readEntry, writeEntry } from "#sync/wire/entry-codec.ts";

export type ForeignRecord = {
  /** As the session knows it: with the mtime and mode that were set, also where the system keeps less of them. */
  readonly entry: Entry;
  /** As the system told it. */
  readonly tag?: string | undefined;
  readonly mtimeNs?: bigint | undefined;
  /**
   * Only where there are no tags: when this size and mtime were first seen, wall clock. Until the grain of the system's
   * times has passed since, another content may hide behind them, and what was read counts for nothing. Undefined: settled.
   */
  readonly doubtMs?: number | undefined;
};

const TAG = 1;
const MTIME = 2;
const DOUBT = 4;

export const foreignCodec: Codec<ForeignRecord> = {
  encode({ entry, tag, mtimeNs, doubtMs }) {
    const w = new ByteWriter();
    w.u8((tag === undefined ? 0 : TAG) | (mtimeNs === undefined ? 0 : MTIME) | (doubtMs === undefined ? 0 : DOUBT));
    if (tag !== undefined) w.string(tag);
    if (mtimeNs !== undefined) w.i64(mtimeNs);
    if (doubtMs !== undefined) w.varint(doubtMs);
    writeEntry(w, entry);
    return w.finish();
  },
  decode(bytes) {
    const r = new ByteReader(bytes);
    const flags = r.u8();
    if (flags > (TAG | MTIME | DOUBT)) throw malformed("a record has unknown flags");
    const tag = (flags & TAG) === 0 ? undefined : r.string();
    const mtimeNs = (flags & MTIME) === 0 ? undefined : r.i64();
    const doubtMs = (flags & DOUBT) === 0 ? undefined : r.varint();
    const entry = readEntry(r);
    if (entry === undefined) throw malformed("a record holds no entry");
    return { entry, tag, mtimeNs, doubtMs };
  },
};

/** What must be found at the path for the record still to be true. */
export function expectedOf(path: RelPath, { entry, tag, mtimeNs }: ForeignRecord): ForeignEntry {
  const size = entry.kind === "file" ? entry.size : 0;
  const target = entry.kind === "symlink" ? entry.target : undefined;
  return { path, kind: entry.kind, size, mtimeNs, tag, target };
}

export type FileRecord = ForeignRecord & { readonly entry: FileEntry };

export function isFile(record: ForeignRecord | undefined): record is FileRecord {
  return record?.entry.kind === "file";
}
