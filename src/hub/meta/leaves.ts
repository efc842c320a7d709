/**
 * What digests are made of: one number for each entry of a tree, of its path, sequence, entry, version vector and
 * attributes, where it has some. The
 * same version has the same number on every hub. Content is in it by the sum of the file: retention may have dropped the
 * bytes of a version that was current at an earlier sequence, and the tree of then is still the same.
 */
import type { SpaceId } from "#hub/space.ts";
import type { Sql, SqlRow } from "#platform/sql/database.ts";
import { ByteWriter } from "#sync/wire/bytes.ts";

export type Leaf = { readonly path: Uint8Array; readonly sequence: number; readonly hash: bigint };
/** A change of one path, for a tree that is one change behind. */
export type LeafChange = {
  readonly sequence: number;
  readonly path: Uint8Array;
  readonly was: bigint | undefined;
  readonly now: bigint | undefined;
};

type LeafRow = SqlRow & { path: Uint8Array; seq: number; entry: Uint8Array; vector: string | null; attributes: Uint8Array | null };
type ChangeRow = LeafRow & {
  present: number;
  was_seq: number | null;
  was_present: number | null;
  was_entry: Uint8Array | null;
  was_vector: string | null;
  was_attributes: Uint8Array | null;
};

const LEAVES = `SELECT path, seq, entry, vector, attributes FROM versions INDEXED BY versions_history
  WHERE space_id = ? AND path >= ? AND path < ? AND seq <= ? AND (replaced IS NULL OR replaced > ?) AND present = 1
  ORDER BY path LIMIT ?`;
const CHANGES = `SELECT v.path, v.seq, v.present, v.entry, v.vector, v.attributes,
    p.seq AS was_seq, p.present AS was_present, p.entry AS was_entry, p.vector AS was_vector, p.attributes AS was_attributes
  FROM versions v LEFT JOIN versions p ON p.space_id = v.space_id AND p.seq = v.previous
  WHERE v.space_id = ? AND v.seq > ? AND v.seq <= ? ORDER BY v.seq LIMIT ?`;

const writer = new ByteWriter();

function hashOf({ path, seq, entry, vector, attributes }: LeafRow, hubId: string): bigint {
  writer.reset();
  writer.bytes(path);
  writer.varint(seq);
  writer.bytes(entry);
  writer.string(vector ?? `{"${hubId}":${seq}}`);
  if (attributes !== null) writer.bytes(attributes);
  return BigInt(Bun.hash.xxHash3(writer.view()));
}

/** Entries of a range of paths (from `from` on, before `to`) as they were at a sequence, in byte order. */
export async function leavesAt(
  sql: Sql,
  hubId: string,
  space: SpaceId,
  range: { readonly from: Uint8Array; readonly to: Uint8Array },
  sequence: number,
  limit: number,
): Promise<Leaf[]> {
  const rows = await sql.all<LeafRow>(LEAVES, [space, range.from, range.to, sequence, sequence, limit]);
  return rows.map((row) => ({ path: row.path, sequence: row.seq, hash: hashOf(row, hubId) }));
}

/** Changes after `after` and up to `until`, in order. */
export async function leafChanges(
  sql: Sql,
  hubId: string,
  space: SpaceId,
  after: number,
  until: number,
  limit: number,
): Promise<LeafChange[]> {
  const rows = await sql.all<ChangeRow>(CHANGES, [space, after, until, limit]);
  return rows.map((row) => ({
    sequence: row.seq,
    path: row.path,
    was: row.was_present === 1 ? hashOf(before(row), hubId) : undefined,
    now: row.present === 1 ? hashOf(row, hubId) : undefined,
  }));
}

function before({ path, was_seq, was_entry, was_vector, was_attributes }: ChangeRow): LeafRow {
  return { path, seq: was_seq!, entry: was_entry!, vector: was_vector, attributes: was_attributes };
}
