/**
 * Tables of what goes on between hubs, with steps of their own: which spaces follow another hub, which lives a space has
 * had, and which chunks are gone and wait for somebody who still has them.
 */
import type { Migration } from "#platform/sql/database.ts";

export const FOLLOW_MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      // token: sealed. stopped: 1 while nobody asks the source. tag: of the settings and restore points that are here.
      `CREATE TABLE follows (
        space_id BIGINT PRIMARY KEY, url TEXT NOT NULL, source TEXT NOT NULL, token blob NOT NULL, ca TEXT,
        since_ms BIGINT NOT NULL, stopped BIGINT NOT NULL, tag TEXT NOT NULL) WITHOUT ROWID`,
      // Earlier lineages of a space, each with the last sequence that it shares with the life after it.
      `CREATE TABLE lineages (
        space_id BIGINT NOT NULL, lineage TEXT NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (space_id, lineage)
      ) WITHOUT ROWID`,
      "CREATE TABLE lost_chunks (id blob PRIMARY KEY, content blob NOT NULL, since_ms BIGINT NOT NULL) WITHOUT ROWID",
    ],
  },
];
