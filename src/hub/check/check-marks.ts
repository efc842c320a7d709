/** Whether what was said of versions fits them: locks, purges, attributes of old ones. */
import type { Findings } from "#hub/check/findings.ts";
import type { Database } from "#platform/sql/database.ts";

/** Told of each kind at most. */
const TOLD_MAX = 100;

const OF_SPACE = "FROM locks l JOIN spaces s ON s.id = l.space_id";
const LOST = `SELECT s.name, l.seq ${OF_SPACE}
  WHERE NOT EXISTS (SELECT 1 FROM versions v WHERE v.space_id = l.space_id AND v.seq = l.seq) ORDER BY l.space_id, l.seq LIMIT ?`;
const BARE = `SELECT s.name, l.seq ${OF_SPACE} JOIN versions v ON v.space_id = l.space_id AND v.seq = l.seq
  WHERE l.held = 1 AND v.content IS NULL AND NOT EXISTS (
    SELECT 1 FROM versions a WHERE a.space_id = l.space_id AND a.again = l.seq AND a.content IS NOT NULL)
  ORDER BY l.space_id, l.seq LIMIT ?`;
const KEPT = `SELECT s.name, v.seq FROM versions v JOIN spaces s ON s.id = v.space_id
  WHERE v.purged IS NOT NULL AND v.content IS NOT NULL ORDER BY v.space_id, v.seq LIMIT ?`;

const LATER_LOST = `SELECT s.name, l.seq FROM later_attributes l JOIN spaces s ON s.id = l.space_id
  WHERE NOT EXISTS (SELECT 1 FROM versions v WHERE v.space_id = l.space_id AND v.seq = l.seq) ORDER BY l.space_id, l.seq LIMIT ?`;

export async function checkMarks(db: Database, findings: Findings, signal: AbortSignal): Promise<void> {
  const kinds = [
    [LOST, "it is locked, and not there"],
    [BARE, "it is under a legal hold, and its content is gone"],
    [KEPT, "it was purged, and still has its content"],
    [LATER_LOST, "it was given attributes, and is not there"],
  ] as const;
  for (const [text, what] of kinds) {
    signal.throwIfAborted();
    for (const { name, seq } of await db.all<{ name: string; seq: number }>(text, [TOLD_MAX])) {
      findings.add("row", `${name} #${seq}`, what);
    }
  }
}
