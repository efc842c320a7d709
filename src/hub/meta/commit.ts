/**
 * Commits, in one transaction. The row of the space is locked first, so that its sequences are given one after the
 * other; a PostgreSQL transaction that came second begins again with what the first one left.
 */
import { applyChange, pathsOf } from "#hub/meta/apply-change.ts";
import { saveSums } from "#hub/meta/content-sums.ts";
import { saveFresh } from "#hub/meta/fresh-rows.ts";
import { dropUnreferred, droppedOf, saveManifests } from "#hub/meta/manifests.ts";
import type { Commit, CommitOutcome, NumberedChunk } from "#hub/meta/meta-store.ts";
import { SPACE_COLUMNS, type SpaceRow, plainText, spaceOf } from "#hub/meta/rows.ts";
import { RowsText } from "#hub/meta/texts.ts";
import { type Lately, WorkingSet } from "#hub/meta/working-set.ts";
import type { ChangeResult, SpaceChange, SpaceId } from "#hub/space.ts";
import type { Sums } from "#hub/sums/sums.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Database, Sql, SqlValue } from "#platform/sql/database.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

/** Changes whose paths are read at once. */
const LOOK_AHEAD = 1000;

export type LockedSpaceRow = SpaceRow & { readonly follows_url: string | null; readonly follows_source: string | null };
export type WrittenSpaceRow = LockedSpaceRow & {
  /** The greatest order of its commits. */
  readonly latest: number | null;
};

/** SQLite has one writer at a time and knows no locks of rows. */
function locked(more: string): Readonly<Record<Database["engine"], string>> {
  const text = `SELECT ${SPACE_COLUMNS},
    (SELECT f.url FROM follows f WHERE f.space_id = spaces.id) AS follows_url,
    (SELECT f.source FROM follows f WHERE f.space_id = spaces.id) AS follows_source${more}
  FROM spaces WHERE id = ? AND deleted_ms IS NULL`;
  return { sqlite: text, postgres: `${text} FOR UPDATE` };
}
export const SPACE_LOCKED = locked("");
/** For one that gets a commit. */
export const SPACE_WRITTEN = locked(", (SELECT max(c.order_ms) FROM commits c WHERE c.space_id = spaces.id) AS latest");
export const SAVE_SPACE = "UPDATE spaces SET sequence = ?, bytes = ?, entries = ? WHERE id = ?";
export const LATEST_ORDER = "SELECT max(order_ms) AS latest FROM commits WHERE space_id = ?";
export const LOWER_ORDER = "UPDATE commits SET order_ms = ? WHERE space_id = ? AND order_ms > ?";
export const INSERT_COMMITS = new RowsText(
  "INSERT INTO commits (space_id, seq, last_seq, time_ms, order_ms, actor, host, trace_id, cause, run_id, message) VALUES",
  11,
);

/** Commits that go together, with what is new to the metadata of their contents. */
export type CommitGroup = {
  readonly commits: readonly Commit[];
  readonly manifests: ReadonlyMap<ContentId, Manifest>;
  readonly sums: ReadonlyMap<ContentId, Sums>;
  readonly fresh: readonly NumberedChunk[];
};

/**
 * @param durable what they refer to survives a power loss when it resolves
 * @param lately asked inside of the transaction, for what was read before it
 * @throws {SynclineError} SPACE_UNKNOWN, also for a deleted space; DENIED for one that follows; nothing is committed then
 */
export function commitAll(
  db: Database,
  hubId: string,
  { commits, manifests, sums, fresh }: CommitGroup,
  durable: () => Promise<void>,
  lately: Lately,
): Promise<CommitOutcome[]> {
  return db.transaction(async (sql) => {
    const outcomes = await new CommitRun(sql, { engine: db.engine, hubId, lately }, commits, manifests).run();
    await saveFresh(sql, fresh);
    if (sums.size > 0) await saveSums(sql, sumsOfPut(commits, outcomes, sums));
    // Last: the rows are made while the disk is at work on what they refer to.
    await durable();
    return outcomes;
  });
}

/** Of content that is in the space now. */
function sumsOfPut(
  commits: readonly Commit[],
  outcomes: readonly CommitOutcome[],
  sums: ReadonlyMap<ContentId, Sums>,
): Map<ContentId, Sums> {
  const found = new Map<ContentId, Sums>();
  for (const [at, { changes }] of commits.entries()) {
    for (const [index, change] of changes.entries()) {
      const id = change.type === "put" && outcomes[at]!.results[index]!.status === "done" ? change.content?.id : undefined;
      const given = id === undefined ? undefined : sums.get(id);
      if (given !== undefined) found.set(id!, given);
    }
  }
  return found;
}

type RunParts = { readonly engine: Database["engine"]; readonly hubId: string; readonly lately: Lately };

class CommitRun {
  readonly #sql: Sql;
  readonly #parts: RunParts;
  readonly #commits: readonly Commit[];
  readonly #manifests: ReadonlyMap<ContentId, Manifest>;
  readonly #sets = new Map<SpaceId, WorkingSet>();
  /** The greatest order of a space's commits. */
  readonly #latest = new Map<SpaceId, number>();
  #dropped = new Set<ContentId>();
  /** Rows of commits that wait to be written. */
  #made: SqlValue[][] = [];
  /** Changes of all commits that are still to be made but have been looked at. */
  #ahead = 0;

  constructor(
    sql: Sql,
    parts: RunParts,
    commits: readonly Commit[],
    manifests: ReadonlyMap<ContentId, Manifest>,
  ) {
    this.#sql = sql;
    this.#parts = parts;
    this.#commits = commits;
    this.#manifests = manifests;
  }

  async run(): Promise<CommitOutcome[]> {
    // In one order for everybody, so that two transactions never wait for each other.
    const spaces = [...new Set(this.#commits.map(({ space }) => space))].sort((a, b) => a - b);
    for (const space of spaces) await this.#open(space);
    await saveManifests(this.#sql, this.#manifests);
    const outcomes: CommitOutcome[] = [];
    for (const at of this.#commits.keys()) outcomes.push(await this.#commit(at));
    await this.#insertCommits();
    for (const set of this.#sets.values()) {
      await set.flush();
      if (set.sequence === set.space.sequence) continue;
      await this.#sql.run(SAVE_SPACE, [set.sequence, set.bytes, set.entries, set.space.id]);
    }
    await dropUnreferred(this.#sql, this.#refusedContents(outcomes));
    return outcomes;
  }

  /** Of several chunks, and for changes that were not made: nobody would ask for their manifests. */
  #refusedContents(outcomes: readonly CommitOutcome[]): Set<ContentId> {
    const refused = new Set<ContentId>();
    if (this.#manifests.size === 0) return refused;
    for (const [at, { results }] of outcomes.entries()) {
      for (const [index, { status }] of results.entries()) {
        const change = this.#commits[at]!.changes[index]!;
        const id = change.type === "put" && status !== "done" ? change.content?.id : undefined;
        if (id !== undefined && this.#manifests.has(id)) refused.add(id);
      }
    }
    return refused;
  }

  async #open(id: SpaceId): Promise<void> {
    const row = await this.#sql.get<WrittenSpaceRow>(SPACE_WRITTEN[this.#parts.engine], [id]);
    if (row === undefined) throw unknownSpace(id);
    const { follows_url: url, follows_source: source } = row;
    if (url !== null) throw followedSpace(row.name, { url, source: source! });
    this.#sets.set(id, new WorkingSet(this.#sql, spaceOf(row), this.#parts.hubId, this.#parts.lately));
    this.#latest.set(id, row.latest ?? -Infinity);
  }

  async #commit(at: number): Promise<CommitOutcome> {
    const commit = this.#commits[at]!;
    const set = this.#sets.get(commit.space)!;
    const before = set.sequence;
    set.beginCommit(commit.timeMs);
    // One change is all or nothing by itself.
    const isMarked = commit.atomic && commit.changes.length > 1;
    const takeBack = isMarked ? await set.mark() : undefined;
    const results: ChangeResult[] = [];
    let failed = false;
    for (const [index, change] of commit.changes.entries()) {
      if (this.#ahead === 0) await this.#lookAhead(at, index);
      this.#ahead--;
      if (failed && takeBack !== undefined) {
        results.push(notAlone(change));
        continue;
      }
      const result = await applyChange(set, change, this.#dropped);
      results.push(result);
      failed = result.status !== "done";
      if (failed && takeBack !== undefined) {
        await takeBack();
        // What it saw there may have been one of the changes that were taken back.
        if (result.status === "stale") results[index] = { ...result, version: await set.current(result.path) };
        for (let done = 0; done < index; done++) results[done] = notAlone(commit.changes[done]!);
      }
    }
    if (isMarked) await set.release();
    if (set.sequence > before) await this.#saveCommit(commit, before + 1, set.sequence);
    return { results, before, after: set.sequence };
  }

  /** Reads the paths of the next changes, of this commit and those after it, at once. */
  async #lookAhead(at: number, index: number): Promise<void> {
    const paths = new Map<SpaceId, RelPath[]>();
    const contents = new Set<ContentId>();
    for (let next = at; next < this.#commits.length && this.#ahead < LOOK_AHEAD; next++) {
      const { space, changes } = this.#commits[next]!;
      let list = paths.get(space);
      if (list === undefined) paths.set(space, (list = []));
      const from = next === at ? index : 0;
      for (const change of changes.slice(from, from + LOOK_AHEAD - this.#ahead)) {
        this.#ahead++;
        for (const path of pathsOf(change)) if (path !== "") list.push(path);
        const id = change.type === "put" ? change.content?.id : undefined;
        if (id !== undefined && /^[0-9a-f]{64}$/.test(id) && !this.#manifests.has(id)) contents.add(id);
      }
    }
    for (const [space, list] of paths) await this.#sets.get(space)!.load(list);
    this.#dropped = await droppedOf(this.#sql, [...contents]);
  }

  async #saveCommit(commit: Commit, first: number, last: number): Promise<void> {
    const { space, timeMs } = commit;
    if (timeMs < this.#latest.get(space)!) {
      await this.#insertCommits();
      await this.#sql.run(LOWER_ORDER, [timeMs, space, timeMs]);
    }
    this.#latest.set(space, timeMs);
    this.#made.push(rowOfCommit(commit, first, last));
  }

  async #insertCommits(): Promise<void> {
    for (const { text, values } of INSERT_COMMITS.pieces(this.#made)) await this.#sql.run(text, values);
    this.#made = [];
  }
}

type MadeCommit = Pick<Commit, "space" | "timeMs" | "origin">;

function rowOfCommit({ space, timeMs, origin }: MadeCommit, first: number, last: number): SqlValue[] {
  const texts = [origin.actor, origin.host, origin.traceId, origin.cause, origin.runId, origin.message];
  return [space, first, last, timeMs, timeMs, ...texts.map((text) => (text === undefined ? null : plainText(text)))];
}

/** Of a commit that is made alone. @param latest the greatest order of the space's commits so far */
export async function saveCommit(
  sql: Sql,
  commit: MadeCommit,
  { first, last, latest }: { readonly first: number; readonly last: number; readonly latest: number },
): Promise<void> {
  const { space, timeMs } = commit;
  if (timeMs < latest) await sql.run(LOWER_ORDER, [timeMs, space, timeMs]);
  for (const { text, values } of INSERT_COMMITS.pieces([rowOfCommit(commit, first, last)])) await sql.run(text, values);
}

function notAlone(change: SpaceChange): ChangeResult {
  const path = change.type === "move" ? change.to : change.path;
  const message = "another change of the same commit could not be made";
  return { status: "refused", path, code: "ATOMIC", message };
}

export function unknownSpace(id: SpaceId): SynclineError {
  return new SynclineError({
    code: "SPACE_UNKNOWN",
    op: "use space",
    message: `there is no space ${id}`,
    hint: "list the spaces: it may have been deleted",
  });
}

/** A space that follows another hub takes no changes but those of its source. */
export function followedSpace(name: string, from: { readonly url: string; readonly source: string }): SynclineError {
  return new SynclineError({
    code: "DENIED",
    op: "change space",
    message: `the space "${name}" follows "${from.source}" of ${from.url} and takes no changes of its own`,
    hint: `write there; or, where that hub is lost, make this copy the one that is written to: syncline space promote ${name}`,
  });
}
