/**
 * The tables. The journal is the only truth about entries: a row of `versions` is one change of one path, never
 * changed afterwards but for `replaced` (the next version of the path; null while it is the current one) and for
 * content that retention drops. What is current, what is there, and what is a tombstone are partial indexes of it, so
 * that they cannot disagree with the journal.
 *
 * Paths are encodeName bytes, ordered by memcmp on both engines: below the directory `d` is the range ["d/", "d0").
 */
import type { Migration } from "#platform/sql/database.ts";

export const MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      // hub_id; next_space, because the id of an erased space must never mean another one.
      "CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
      `CREATE TABLE spaces (
        id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, created_ms BIGINT NOT NULL, deleted_ms BIGINT,
        settings TEXT NOT NULL, lineage TEXT NOT NULL, seeds blob NOT NULL,
        sequence BIGINT NOT NULL, bytes BIGINT NOT NULL, entries BIGINT NOT NULL) WITHOUT ROWID`,
      // Spaces of which rows are still being removed.
      "CREATE TABLE erasing (space_id BIGINT PRIMARY KEY) WITHOUT ROWID",
      // present: 0 for a tombstone. vector: null when this hub alone has changed the path, last with this sequence.
      // sum: of all that never changes, and of content.
      `CREATE TABLE versions (
        space_id BIGINT NOT NULL, seq BIGINT NOT NULL, path blob NOT NULL, present BIGINT NOT NULL,
        action BIGINT NOT NULL, from_path blob, previous BIGINT NOT NULL, replaced BIGINT, commit_seq BIGINT NOT NULL,
        entry blob NOT NULL, content blob, vector TEXT, sum BIGINT NOT NULL,
        PRIMARY KEY (space_id, seq)) WITHOUT ROWID`,
      // What is there is one range of it and tombstones another, so that no listing wades through those.
      "CREATE UNIQUE INDEX versions_current ON versions (space_id, present, path) WHERE replaced IS NULL",
      "CREATE INDEX versions_since ON versions (space_id, seq) WHERE replaced IS NULL",
      "CREATE INDEX versions_history ON versions (space_id, path, seq)",
      "CREATE INDEX versions_content ON versions (content) WHERE content IS NOT NULL",
      "CREATE INDEX versions_old ON versions (space_id, path, seq) WHERE replaced IS NOT NULL AND content IS NOT NULL",
      // order_ms: the smallest time of this commit and all later ones, so that a clock that jumps back leaves an order.
      `CREATE TABLE commits (
        space_id BIGINT NOT NULL, seq BIGINT NOT NULL, last_seq BIGINT NOT NULL, time_ms BIGINT NOT NULL,
        order_ms BIGINT NOT NULL, actor TEXT NOT NULL, host TEXT, trace_id TEXT NOT NULL, cause TEXT NOT NULL,
        run_id TEXT, message TEXT, PRIMARY KEY (space_id, seq)) WITHOUT ROWID`,
      "CREATE INDEX commits_order ON commits (space_id, order_ms, seq)",
      "CREATE INDEX commits_run ON commits (space_id, run_id, seq) WHERE run_id IS NOT NULL",
      // Of content of several chunks. Empty: it was dropped with the last version that had it; see manifests.ts.
      "CREATE TABLE manifests (id blob PRIMARY KEY, manifest blob NOT NULL) WITHOUT ROWID",
      `CREATE TABLE restore_points (
        space_id BIGINT NOT NULL, name TEXT NOT NULL, seq BIGINT NOT NULL, time_ms BIGINT NOT NULL,
        actor TEXT NOT NULL, PRIMARY KEY (space_id, name)) WITHOUT ROWID`,
    ],
  },
  {
    // What goes on between hubs: which spaces follow another hub, which lives a space has had, and which chunks are gone
    // and wait for somebody who still has them.
    id: 2,
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
  {
    // attributes: null where there are none. They are in `sum` where there are some, so that older rows keep theirs.
    id: 3,
    statements: [
      "ALTER TABLE versions ADD COLUMN attributes blob",
      // Sums of contents, as far as somebody has computed them.
      "CREATE TABLE content_sums (content blob PRIMARY KEY, sums blob NOT NULL, sum BIGINT NOT NULL) WITHOUT ROWID",
    ],
  },
  {
    // What is there and has the mark of a conflict copy in its path, or in that of a directory above (conflict-copy.ts
    // reads the name exactly): so the list of them costs what there are of them, and cannot disagree with the journal.
    id: 4,
    statements: [
      `CREATE INDEX versions_copies ON versions (space_id, path)
        WHERE replaced IS NULL AND present = 1 AND path LIKE '%.conflict-%'`,
    ],
  },
  {
    // quota_bytes: of the copy alone, whatever its source allows itself. shares: the space beside it whose content the copy
    // may have without that the source shows it once more.
    id: 5,
    statements: ["ALTER TABLE follows ADD COLUMN quota_bytes BIGINT", "ALTER TABLE follows ADD COLUMN shares BIGINT"],
  },
  {
    // What the source of a copy has sent of the page that is not imported yet.
    id: 6,
    statements: [
      "CREATE TABLE follow_received (space_id BIGINT NOT NULL, id blob NOT NULL, PRIMARY KEY (space_id, id)) WITHOUT ROWID",
    ],
  },
  {
    // Manifests lie by a number, with their ids in an index: in a table that lies by the id, whoever looks for one reads
    // all of the others that it is compared with, half a megabyte each for files of a gigabyte, with every commit.
    id: 7,
    statements: [
      "CREATE TABLE manifests_by_number (id blob PRIMARY KEY, manifest blob NOT NULL)",
      "INSERT INTO manifests_by_number (id, manifest) SELECT id, manifest FROM manifests",
      "DROP TABLE manifests",
      "ALTER TABLE manifests_by_number RENAME TO manifests",
    ],
  },
  {
    // again: derived from the attribute of that name, to find who shows a version. purged: set when somebody took it away.
    id: 8,
    statements: [
      "ALTER TABLE versions ADD COLUMN again BIGINT",
      "ALTER TABLE versions ADD COLUMN purged BIGINT",
      "CREATE INDEX versions_again ON versions (space_id, again) WHERE again IS NOT NULL",
      // By the sequence of the version that is known by it, also where later ones show it again. Rows stay when they have
      // ended. number: rises with every change of this table and of purges, for hubs that follow.
      `CREATE TABLE locks (
        space_id BIGINT NOT NULL, seq BIGINT NOT NULL, mode TEXT, until_ms BIGINT, held BIGINT NOT NULL, number BIGINT NOT NULL,
        PRIMARY KEY (space_id, seq)) WITHOUT ROWID`,
      "CREATE INDEX locks_number ON locks (space_id, number)",
      "CREATE INDEX locks_until ON locks (space_id, until_ms)",
      "CREATE INDEX locks_held ON locks (space_id, seq) WHERE held = 1",
      // Who took which version away, and why.
      `CREATE TABLE purges (
        space_id BIGINT NOT NULL, number BIGINT NOT NULL, seq BIGINT NOT NULL, time_ms BIGINT NOT NULL, actor TEXT NOT NULL,
        trace_id TEXT NOT NULL, cause TEXT NOT NULL, PRIMARY KEY (space_id, number)) WITHOUT ROWID`,
    ],
  },
  {
    // How far each part of a space's rules has gone through the journal, and versions that are to be looked at again later.
    id: 9,
    statements: [
      `CREATE TABLE lifecycle_places (
        space_id BIGINT NOT NULL, rule TEXT NOT NULL, place BIGINT NOT NULL, PRIMARY KEY (space_id, rule)) WITHOUT ROWID`,
      `CREATE TABLE lifecycle_later (
        space_id BIGINT NOT NULL, seq BIGINT NOT NULL, due_ms BIGINT NOT NULL, PRIMARY KEY (space_id, seq)) WITHOUT ROWID`,
      "CREATE INDEX lifecycle_due ON lifecycle_later (space_id, due_ms)",
    ],
  },
  {
    // Commits behind which a clock went back: few, and what they say of their time counts for retention.
    id: 10,
    statements: ["CREATE INDEX commits_ahead ON commits (space_id, seq) WHERE order_ms < time_ms"],
  },
  {
    // What was said of an old version when it was old: all its attributes as they are since. at: the space's sequence then; a
    // change that shows the version again later says it anew. number: as that of locks.
    id: 11,
    statements: [
      `CREATE TABLE later_attributes (
        space_id BIGINT NOT NULL, seq BIGINT NOT NULL, attributes blob, at BIGINT NOT NULL, number BIGINT NOT NULL,
        sum BIGINT NOT NULL, PRIMARY KEY (space_id, seq)) WITHOUT ROWID`,
      "CREATE INDEX later_attributes_number ON later_attributes (space_id, number)",
    ],
  },
  {
    // Bytes of small contents that were committed a moment ago, until the store of chunks has made them durable.
    id: 12,
    statements: ["CREATE TABLE fresh_chunks (number INTEGER PRIMARY KEY, id blob NOT NULL, bytes blob NOT NULL)"],
  },
];
