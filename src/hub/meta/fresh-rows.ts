/** Rows of fresh chunks: they come with the commit that refers to them, and go when the store of chunks has them. */
import type { NumberedChunk } from "#hub/meta/meta-store.ts";
import { RowsText } from "#hub/meta/texts.ts";
import type { Database, Sql, SqlRow } from "#platform/sql/database.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

type FreshRow = SqlRow & { readonly number: number; readonly id: Uint8Array; readonly bytes: Uint8Array };

const INSERT = new RowsText("INSERT INTO fresh_chunks (number, id, bytes) VALUES", 3);

export async function saveFresh(sql: Sql, chunks: readonly NumberedChunk[]): Promise<void> {
  const rows = chunks.map(({ number, id, bytes }) => [number, Uint8Array.fromHex(id), bytes]);
  for (const { text, values } of INSERT.pieces(rows)) await sql.run(text, values);
}

export async function freshChunks(db: Database): Promise<NumberedChunk[]> {
  const rows = await db.all<FreshRow>("SELECT number, id, bytes FROM fresh_chunks ORDER BY number");
  return rows.map(({ number, id, bytes }) => ({ number, id: id.toHex() as ChunkId, bytes }));
}

export async function dropFresh(db: Database, upTo: number): Promise<void> {
  await db.run("DELETE FROM fresh_chunks WHERE number <= ?", [upTo]);
}
