/** Sums of contents, as far as they were computed. They go with the last version that refers to their content. */
import { damagedRow, hash48 } from "#hub/meta/rows.ts";
import { ListText } from "#hub/meta/texts.ts";
import { NO_SUMS, type Sums, decodeSums, encodeSums } from "#hub/sums/sums.ts";
import type { Database, Sql, SqlRow } from "#platform/sql/database.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";

export type SumsRow = SqlRow & { readonly content: Uint8Array; readonly sums: Uint8Array; readonly sum: number };

const SOME = new ListText("SELECT content, sums, sum FROM content_sums WHERE content IN (%)");
const SAVE = `INSERT INTO content_sums (content, sums, sum) VALUES (?, ?, ?)
  ON CONFLICT (content) DO UPDATE SET sums = excluded.sums, sum = excluded.sum`;
const REFERRED = "SELECT 1 AS one FROM versions INDEXED BY versions_content WHERE content = ? LIMIT 1";

/** @throws {SynclineError} STATE when the row is not what was written */
export function sumsOfRow({ content, sums, sum }: SumsRow): Sums {
  let cause: unknown;
  try {
    if (hash48(content, sums) === sum) return decodeSums(sums);
  } catch (error) {
    cause = error;
  }
  throw damagedRow(`the sums of content ${content.toHex()}`, cause);
}

export async function sumsOf(sql: Sql, ids: readonly ContentId[]): Promise<Map<ContentId, Sums>> {
  const found = new Map<ContentId, Sums>();
  for (const { text, values } of SOME.pieces([], ids.map((id) => Uint8Array.fromHex(id)))) {
    for (const row of await sql.all<SumsRow>(text, values)) found.set(row.content.toHex() as ContentId, sumsOfRow(row));
  }
  return found;
}

/** Adds to what is known of contents that some version refers to. */
export async function saveSums(sql: Sql, given: ReadonlyMap<ContentId, Sums>): Promise<void> {
  if (given.size === 0) return;
  const known = await sumsOf(sql, [...given.keys()]);
  for (const [id, more] of given) {
    const content = Uint8Array.fromHex(id);
    const sums = encodeSums({ ...(known.get(id) ?? NO_SUMS), ...more });
    await sql.run(SAVE, [content, sums, hash48(content, sums)]);
  }
}

/** For sums that were computed of what is at rest: the last version may have gone meanwhile. */
export function addSums(db: Database, id: ContentId, sums: Sums): Promise<void> {
  return db.transaction(async (sql) => {
    if ((await sql.get(REFERRED, [Uint8Array.fromHex(id)])) !== undefined) await saveSums(sql, new Map([[id, sums]]));
  });
}
