/**
 * Rows of fresh chunks: they come with the commit that refers to them, and may have other chunks when the store of chunks
 * has theirs.
 */
import type { NumberedChunk } from "#hub/meta/meta-store.ts";
import { ListText } from "#hub/meta/texts.ts";
import type { Database, Sql, SqlRow } from "#platform/sql/database.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

type FreshRow = SqlRow & { readonly number: number; readonly id: Uint8Array; readonly bytes: Uint8Array };

const INSERT = "INSERT INTO fresh_chunks (number, id, bytes) VALUES (?, ?, ?)";
/** Bytes of the same length are written where the old ones are: no page is given back and taken again. */
const REPLACE = "UPDATE fresh_chunks SET id = ?, bytes = ? WHERE number = ?";
const DROP = new ListText("DELETE FROM fresh_chunks WHERE number IN (%)");

export async function saveFresh(sql: Sql, chunks: readonly NumberedChunk[]): Promise<void> {
  for (const { number, id, bytes } of chunks) {
    const key = Uint8Array.fromHex(id);
    if ((await sql.run(REPLACE, [key, bytes, number])) === 0) await sql.run(INSERT, [number, key, bytes]);
  }
}

export async function freshChunks(db: Database): Promise<NumberedChunk[]> {
  const rows = await db.all<FreshRow>("SELECT number, id, bytes FROM fresh_chunks ORDER BY number");
  return rows.map(({ number, id, bytes }) => ({ number, id: id.toHex() as ChunkId, bytes }));
}

export async function dropFresh(db: Database, numbers: readonly number[]): Promise<void> {
  await db.transaction(async (sql) => {
    for (const { text, values } of DROP.pieces([], numbers)) await sql.run(text, values);
  });
}
