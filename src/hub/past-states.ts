/**
 * Brings a tree of a space back to a state that it had, or takes a run back: what differs is one new commit, in which each
 * change expects the version that was looked at. Who may is asked before (hub-spaces.ts).
 */
import type { Principal } from "#access/access.ts";
import type { CommitOutcome, MetaStore } from "#hub/meta/meta-store.ts";
import { type Difference, changesFor, differ, differences } from "#hub/restore.ts";
import { runDifferences } from "#hub/run-differences.ts";
import { cannotRestore, tooManyChanges } from "#hub/space-errors.ts";
import type { CommitRequest, Intake } from "#hub/space-service.ts";
import type { ChangeResult, JournalRecord, Point, SpaceChange, SpaceId, Version } from "#hub/space.ts";
import type { RelPath } from "#model/path.ts";

/** Rows asked for at once where all of them are wanted. */
const PAGE_ROWS = 5000;
/** Paths that a restore or an undo may change at once; more is done directory by directory. */
const RESTORE_CHANGES_MAX = 2_000_000;
/** How often a restore looks anew when somebody edits under it. */
const RESTORE_TRIES_MAX = 3;

/** A space, and who changes it. */
export type SpaceOf = { readonly who: Principal; readonly name: string; readonly id: SpaceId };

export type PastParts = {
  readonly meta: MetaStore;
  readonly intake: (who: Principal, name: string) => Intake;
  readonly commit: (of: SpaceOf, request: CommitRequest) => Promise<CommitOutcome>;
};

export class PastStates {
  readonly #parts: PastParts;

  constructor(parts: PastParts) {
    this.#parts = parts;
  }

  async restore(
    of: SpaceOf,
    below: RelPath,
    to: Point,
    request: Omit<CommitRequest, "changes" | "atomic" | "intake">,
  ): Promise<CommitOutcome> {
    for (let attempt = 1; ; attempt++) {
      const found = await this.#differencesTo(of.id, below, to);
      await using intake = this.#parts.intake(of.who, of.name);
      const changes = await changesHeld(found, intake);
      const outcome = await this.#parts.commit(of, { ...request, changes, intake, atomic: true });
      const isDone = outcome.results.every((result) => result.status === "done");
      if (isDone || attempt === RESTORE_TRIES_MAX) return outcome;
    }
  }

  async #differencesTo(id: SpaceId, below: RelPath, to: Point) {
    const found = [];
    const { meta } = this.#parts;
    if (below !== "") {
      const now = await meta.version(id, below);
      const wanted = await meta.versionAt(id, below, to);
      if (differ(now, wanted)) found.push({ path: below, now, wanted });
    }
    const states = differences(this.#walk(id, below, undefined), this.#walk(id, below, to));
    for await (const difference of states) {
      found.push(difference);
      if (found.length > RESTORE_CHANGES_MAX) throw tooManyChanges(found.length);
    }
    return found;
  }

  async *#walk(id: SpaceId, below: RelPath, at: Point | undefined): AsyncGenerator<Version> {
    let after: RelPath | undefined;
    for (;;) {
      const page = await this.#parts.meta.list(id, { below, after, shallow: false, limit: PAGE_ROWS, at });
      yield* page;
      if (page.length < PAGE_ROWS) return;
      after = page.at(-1)!.path;
    }
  }

  async undo(
    of: SpaceOf,
    runId: string,
    records: readonly JournalRecord[],
    traceId: string,
  ): Promise<ChangeResult[]> {
    const { found, stale } = await runDifferences(this.#parts.meta, of.id, records);
    await using intake = this.#parts.intake(of.who, of.name);
    const changes = await changesHeld(found, intake);
    const undoId = `undo-${runId}`.slice(0, 64);
    const request = { changes, intake, atomic: false, cause: "undo", traceId, runId: undoId } as const;
    const outcome = await this.#parts.commit(of, request);
    return [...outcome.results, ...stale];
  }
}

/**
 * The changes that a restore makes, with their old content protected until they are committed.
 * @throws {SynclineError} CHUNK_MISSING when some of it is gone; then nothing may be changed
 */
async function changesHeld(found: readonly Difference[], intake: Intake): Promise<SpaceChange[]> {
  const { changes, lost } = changesFor(found);
  for (const change of changes) {
    if (change.type !== "put" || change.content === undefined) continue;
    if (!(await intake.hold(change.content))) lost.push(change.path);
  }
  if (lost.length > 0) throw cannotRestore(lost);
  return changes;
}
