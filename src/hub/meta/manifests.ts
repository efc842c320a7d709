/**
 * Manifests of content of several chunks. One goes with the last version that refers to its content; an empty row stays
 * then, so that a commit which believes the manifest to be there is refused: taken for a single chunk, the content could
 * never be read again.
 */
import { damagedRow } from "#hub/meta/rows.ts";
import { ListText, RowsText } from "#hub/meta/texts.ts";
import type { Sql } from "#platform/sql/database.ts";
import { type ContentId, contentIdOf } from "#sync/chunk/chunk-id.ts";
import { type Manifest, readManifest, writeManifest } from "#sync/chunk/manifest.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";

/** A conflict is a write too, so that on PostgreSQL it collides with one that drops the same manifest. */
const SAVE = new RowsText(
  "INSERT INTO manifests (id, manifest) VALUES",
  2,
  "ON CONFLICT (id) DO UPDATE SET manifest = excluded.manifest",
);
const DROPPED = new ListText("SELECT id FROM manifests WHERE length(manifest) = 0 AND id IN (%)");
const REFERRED = "SELECT 1 AS one FROM versions INDEXED BY versions_content WHERE content = ? LIMIT 1";
const DROP_SUMS = "DELETE FROM content_sums WHERE content = ?";
const DROP = "UPDATE manifests SET manifest = ? WHERE id = ?";

export async function saveManifests(sql: Sql, manifests: ReadonlyMap<ContentId, Manifest>): Promise<void> {
  const rows: [Uint8Array, Uint8Array][] = [];
  for (const [id, manifest] of manifests) {
    const writer = new ByteWriter();
    writeManifest(writer, manifest);
    rows.push([Uint8Array.fromHex(id), writer.view()]);
  }
  for (const { text, values } of SAVE.pieces(rows)) await sql.run(text, values);
}

/** Which of these were dropped. */
export async function droppedOf(sql: Sql, ids: readonly ContentId[]): Promise<Set<ContentId>> {
  const dropped = new Set<ContentId>();
  const list = ids.map((id) => Uint8Array.fromHex(id));
  for (const { text, values } of DROPPED.pieces([], list)) {
    for (const row of await sql.all<{ id: Uint8Array }>(text, values)) dropped.add(row.id.toHex() as ContentId);
  }
  return dropped;
}

/** Drops those of content that no version refers to any more, with its sums. */
export async function dropUnreferred(sql: Sql, ids: Iterable<ContentId>): Promise<void> {
  for (const id of ids) {
    const bytes = Uint8Array.fromHex(id);
    if ((await sql.get(REFERRED, [bytes])) !== undefined) continue;
    await sql.run(DROP, [new Uint8Array(0), bytes]);
    await sql.run(DROP_SUMS, [bytes]);
  }
}

/** Undefined for an empty row. @throws {SynclineError} STATE when it is not the manifest of that content */
export function decodeManifest(id: ContentId, bytes: Uint8Array): Manifest | undefined {
  if (bytes.length === 0) return undefined;
  let cause: unknown;
  try {
    const reader = new ByteReader(bytes);
    const manifest = readManifest(reader);
    if (reader.atEnd && contentIdOf(manifest.chunks.map((chunk) => chunk.id)) === id) return manifest;
  } catch (error) {
    cause = error;
  }
  throw damagedRow(`the manifest of content ${id}`, cause);
}
