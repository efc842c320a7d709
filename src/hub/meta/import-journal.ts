/**
 * The journal of another hub's space, written down here as it is there: the same sequences, versions, vectors, commits
 * and times. A page is one transaction and begins where the space ends, so that a crash leaves a shorter journal and
 * never one with gaps.
 */
import {
  INSERT_COMMITS,
  LOWER_ORDER,
  type WrittenSpaceRow,
  SAVE_SPACE,
  SPACE_WRITTEN,
  unknownSpace,
} from "#hub/meta/commit.ts";
import { type Attributes, NO_ATTRIBUTES, decodeAttributes } from "#hub/attributes.ts";
import { storedBytes } from "#hub/encrypted-content.ts";
import { requireTree, requireTreeAt } from "#hub/meta/imported-tree.ts";
import { lockedOf } from "#hub/meta/lock-rows.ts";
import { dropUnreferred, saveManifests } from "#hub/meta/manifests.ts";
import {
  type SpaceRow,
  VERSION_COLUMNS,
  NEW_VERSION_COLUMNS,
  NEW_VERSION_WIDTH,
  type NewVersionRow,
  type VersionRow,
  decodeEntry,
  plainText,
  rowOf,
  spaceOf,
  valuesOf,
} from "#hub/meta/rows.ts";
import { ListText, RowsText } from "#hub/meta/texts.ts";
import type { JournalRecord, Space, SpaceId } from "#hub/space.ts";
import type { Entry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, decodeName, encodeName, printablePath } from "#model/path.ts";
import type { Database, Sql } from "#platform/sql/database.ts";
import { type ContentId, ID_BYTES } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

export type JournalPage = {
  /** Of the space at its source when the page was read. */
  readonly lineage: string;
  /** The sequence before the first record. */
  readonly after: number;
  readonly records: readonly JournalRecord[];
  /** Of all content of several chunks that the records have. */
  readonly manifests: ReadonlyMap<ContentId, Manifest>;
  /** The last record is the end of its commit, as far as the source said. */
  readonly isWhole?: boolean;
  /** Bytes that the current files may have; undefined: no limit. */
  readonly quotaBytes?: number | undefined;
};

const CURRENT = new ListText(
  `SELECT ${VERSION_COLUMNS} FROM versions INDEXED BY versions_current
    WHERE space_id = ? AND replaced IS NULL AND present IN (0, 1) AND path IN (%)`,
);
const INSERT = new RowsText(`INSERT INTO versions (${NEW_VERSION_COLUMNS}) VALUES`, NEW_VERSION_WIDTH);
const REPLACE = "UPDATE versions SET replaced = ? WHERE space_id = ? AND seq = ?";
const FORGET_RECEIVED = "DELETE FROM follow_received WHERE space_id = ?";
const GROW_COMMIT = "UPDATE commits SET last_seq = ? WHERE space_id = ? AND seq = ?";
const OF_PATHS = new ListText(`SELECT ${VERSION_COLUMNS} FROM versions INDEXED BY versions_history WHERE space_id = ? AND path IN (%)`);
const DELETE_SEQS = new ListText("DELETE FROM versions WHERE space_id = ? AND seq IN (%)");
const BY_SEQS = new ListText(`SELECT ${VERSION_COLUMNS} FROM versions WHERE space_id = ? AND seq IN (%)`);

/** What was purged is so still when its row is written anew: the copy has been told of it, and is not told again. */
const PURGED = new ListText(
  `UPDATE versions SET purged = (SELECT max(p.number) FROM purges p
      WHERE p.space_id = versions.space_id AND p.seq = COALESCE(versions.again, versions.seq))
    WHERE space_id = ? AND content IS NULL AND seq IN (%)`,
);

const NO_BYTES = new Uint8Array(0);

type Known = { readonly seq: number; readonly entry: Entry | undefined; readonly attributes: Attributes };

/**
 * @throws {SynclineError} SPACE_UNKNOWN, also of a deleted space; STALE when the page does not begin where the space ends,
 * or is of another lineage, or the space follows nobody; HALT when a record does not fit what is here: it has diverged;
 * LIMIT when it would be larger than it may; PROTOCOL when what it would be is no tree. Nothing is written then.
 */
export function importJournal(db: Database, hubId: string, space: SpaceId, page: JournalPage): Promise<Space> {
  return db.transaction(async (sql) => {
    const row = await lockedFollower(db, sql, space);
    if (row.lineage !== page.lineage || row.sequence !== page.after) throw notNext(row, page);
    await saveManifests(sql, page.manifests);
    const known = await currentOf(sql, space, page.records);
    const rows = new Map<number, NewVersionRow>();
    const replaced: [was: number, now: number][] = [];
    let { bytes, entries, sequence } = row;
    for (const record of page.records) {
      const before = known.get(record.path);
      if (record.sequence !== sequence + 1 || record.previous !== (before?.seq ?? 0)) throw diverged(row, record);
      sequence = record.sequence;
      const waiting = rows.get(record.previous);
      if (waiting !== undefined) rows.set(record.previous, { ...waiting, replaced: sequence });
      else if (before !== undefined) replaced.push([before.seq, sequence]);
      rows.set(sequence, rowOf(space, hubId, record, record, record));
      const { entry, attributes } = record;
      known.set(record.path, { seq: sequence, entry, attributes });
      bytes += storedBytes(entry, attributes) - storedBytes(before?.entry, before?.attributes ?? NO_ATTRIBUTES);
      entries += (record.entry === undefined ? 0 : 1) - (before?.entry === undefined ? 0 : 1);
    }
    const { quotaBytes } = page;
    if (quotaBytes !== undefined && bytes > quotaBytes && bytes > row.bytes) throw overQuota(row, bytes, quotaBytes);
    for (const [was, now] of replaced) await sql.run(REPLACE, [now, space, was]);
    for (const { text, values } of INSERT.pieces([...rows.values()].map(valuesOf))) await sql.run(text, values);
    await saveCommits(sql, row, page.records);
    await requireTree(sql, row, page);
    await sql.run(SAVE_SPACE, [sequence, bytes, entries, space]);
    // Records refer to what came for this page now.
    await sql.run(FORGET_RECEIVED, [space]);
    return spaceOf({ ...row, sequence, bytes, entries });
  });
}

async function lockedFollower(db: Database, sql: Sql, space: SpaceId): Promise<WrittenSpaceRow> {
  const row = await sql.get<WrittenSpaceRow>(SPACE_WRITTEN[db.engine], [space]);
  if (row === undefined) throw unknownSpace(space);
  if (row.follows_url !== null) return row;
  throw new SynclineError({ code: "STALE", op: "follow", message: `the space "${row.name}" follows nobody any more` });
}

async function currentOf(sql: Sql, space: SpaceId, records: readonly JournalRecord[]): Promise<Map<RelPath, Known>> {
  const known = new Map<RelPath, Known>();
  const paths = [...new Set(records.map(({ path }) => path))].map(encodeName);
  for (const { text, values } of CURRENT.pieces([space], paths)) {
    for (const { path, seq, entry, attributes } of await sql.all<VersionRow>(text, values)) {
      known.set(decodeName(path), { seq, entry: decodeEntry(entry), attributes: decodeAttributes(attributes) });
    }
  }
  return known;
}

/** A commit that comes in several pages grows with each. */
async function saveCommits(sql: Sql, row: WrittenSpaceRow, records: readonly JournalRecord[]): Promise<void> {
  const space = row.id as SpaceId;
  let latest = row.latest ?? -Infinity;
  for (const [at, { commit, sequence, timeMs, origin }] of records.entries()) {
    if (records[at + 1]?.commit === commit) continue;
    if (commit <= records[0]!.sequence - 1) {
      await sql.run(GROW_COMMIT, [sequence, space, commit]);
      continue;
    }
    if (timeMs < latest) await sql.run(LOWER_ORDER, [timeMs, space, timeMs]);
    latest = timeMs;
    const texts = [origin.actor, origin.host, origin.traceId, origin.cause, origin.runId, origin.message];
    const plain = texts.map((text) => (text === undefined ? null : plainText(text)));
    const [row] = INSERT_COMMITS.pieces([[space, commit, sequence, timeMs, timeMs, ...plain]]);
    await sql.run(row!.text, row!.values);
  }
}

/** The versions of some paths as a source has them: all up to the sequence that the space has here, by path and sequence. */
export type GivenHistory = {
  readonly lineage: string;
  readonly paths: readonly RelPath[];
  readonly records: readonly JournalRecord[];
};

/** Ends the transaction of a trial. */
class TrialOver extends Error {
  override readonly name = "TrialOver";
}

/**
 * Puts the source's versions of some paths in the place of those that are here, whatever those are; rows that stand at
 * the same sequences go too. All of it or nothing: what it would make is a tree, and no version that is locked here is
 * taken away or becomes another one.
 * @param nowMs by the hub's clock: what is locked then
 * @param isTrial nothing is changed; what would be refused is thrown all the same
 * @throws {SynclineError} SPACE_UNKNOWN, STALE as importJournal; HALT for a locked version; PROTOCOL when it makes no tree
 */
export async function replaceHistory(
  db: Database,
  hubId: string,
  space: SpaceId,
  given: GivenHistory,
  manifests: ReadonlyMap<ContentId, Manifest>,
  nowMs: number,
  isTrial: boolean,
): Promise<void> {
  try {
    await db.transaction(async (sql) => {
      const row = await lockedFollower(db, sql, space);
      if (row.lineage !== given.lineage) throw notNext(row, { ...given, after: row.sequence });
      await saveManifests(sql, manifests);
      await replaceRows(sql, hubId, row, given, nowMs);
      if (isTrial) throw new TrialOver();
    });
  } catch (error) {
    if (!(error instanceof TrialOver)) throw error;
  }
}

async function replaceRows(sql: Sql, hubId: string, row: SpaceRow, given: GivenHistory, nowMs: number): Promise<void> {
  const space = row.id as SpaceId;
  const gone = new Map<number, VersionRow>();
  const take = async (list: ListText, keys: readonly (number | Uint8Array)[]): Promise<void> => {
    for (const { text, values } of list.pieces([space], keys)) {
      for (const one of await sql.all<VersionRow>(text, values)) gone.set(one.seq, one);
    }
  };
  const records = given.records.filter(({ sequence }) => sequence <= row.sequence);
  await take(OF_PATHS, given.paths.map(encodeName));
  await take(BY_SEQS, records.map(({ sequence }) => sequence));
  const rows = new Map(records.map((record) => [record.sequence, rowOf(space, hubId, record, record, record)]));
  for (const { sequence, previous } of records) {
    const before = rows.get(previous);
    if (before !== undefined) rows.set(previous, { ...before, replaced: sequence });
  }
  for (const sequence of await lockedOf(sql, space, [...gone.keys()], nowMs)) {
    const was = gone.get(sequence)!;
    if (!isSameVersion(was, rows.get(sequence))) throw lockedHere(row, was);
  }
  for (const { text, values } of DELETE_SEQS.pieces([space], [...gone.keys()])) await sql.run(text, values);
  for (const { text, values } of INSERT.pieces([...rows.values()].map(valuesOf))) await sql.run(text, values);
  for (const { text, values } of PURGED.pieces([space], [...rows.keys()])) await sql.run(text, values);
  await dropUnreferred(sql, contentsOf([...gone.values()]));
  const { bytes, entries } = usageAfter(row, [...gone.values()], [...rows.values()]);
  await sql.run(SAVE_SPACE, [row.sequence, bytes, entries, space]);
  const changed = new Set([...given.paths, ...[...gone.values()].map(({ path }) => decodeName(path))]);
  await requireTreeAt(sql, row, [...changed]);
}

/** Of the same path, with the same bytes. */
function isSameVersion(was: VersionRow, next: NewVersionRow | undefined): boolean {
  if (next === undefined || was.present !== next.present || Buffer.compare(was.path, next.path) !== 0) return false;
  return Buffer.compare(was.content ?? NO_BYTES, next.content ?? NO_BYTES) === 0;
}

/** As far as they are ids at all: a row may be damaged. */
function contentsOf(rows: readonly VersionRow[]): Set<ContentId> {
  const ids = rows.flatMap(({ content }) => (content?.length === ID_BYTES ? [content.toHex() as ContentId] : []));
  return new Set(ids);
}

/** What was read of a damaged row may be anything: its share of the usage cannot be known. */
function usageAfter(row: SpaceRow, gone: readonly VersionRow[], rows: readonly VersionRow[]) {
  let { bytes, entries } = row;
  const count = (one: VersionRow, sign: number): void => {
    if (one.replaced !== null || one.present !== 1) return;
    entries += sign;
    try {
      bytes += sign * storedBytes(decodeEntry(one.entry), decodeAttributes(one.attributes));
    } catch {
      // Left to the check, which counts anew.
    }
  };
  for (const one of gone) count(one, -1);
  for (const one of rows) count(one, 1);
  return { bytes, entries };
}

function notNext(row: SpaceRow, { lineage, after }: { lineage: string; after: number }): SynclineError {
  const message =
    row.lineage === lineage
      ? `"${row.name}" is at ${row.sequence} here, and what came goes on after ${after}`
      : `"${row.name}" has the lineage ${row.lineage} here, and what came is of ${lineage}`;
  return new SynclineError({ code: "STALE", op: "follow", message });
}

function lockedHere({ name }: SpaceRow, { path, seq }: VersionRow): SynclineError {
  const at = decodeName(path);
  return new SynclineError({
    code: "HALT",
    op: "follow",
    path: at,
    message: `"${name}" differs from its source, which would take away the version ${seq} of "${printablePath(at)}" that is locked here`,
    hint:
      `nothing was changed: find out which of the two hubs is right (syncline hub check on both); then promote this copy ` +
      `(syncline space promote ${name}), or end the lock where that is allowed`,
  });
}

function overQuota({ name }: SpaceRow, bytes: number, quotaBytes: number): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "follow",
    message: `the copy "${name}" would have ${bytes} bytes of the ${quotaBytes} that it may`,
    hint: `let it have more: syncline space follow ${name} --from URL --quota SIZE`,
  });
}

function diverged(row: SpaceRow, { sequence, path }: JournalRecord): SynclineError {
  return new SynclineError({
    code: "HALT",
    op: "follow",
    path,
    message: `the change ${sequence} of "${printablePath(path)}" in "${row.name}" does not fit what is here`,
    hint: "it is compared with its source and repaired by itself",
  });
}
