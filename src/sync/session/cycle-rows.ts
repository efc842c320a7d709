/**
 * The rows that a cycle decides: what either side holds where it differs from the ancestor, and what has to be known of it
 * before: sums where two contents cannot be told apart without, and that what both came to by themselves is durable. A row
 * says "unknown" where a side could not be seen or read, so that nothing is concluded from its absence.
 */
import { COPY_MARK, conflictCopyOf } from "#model/conflict-copy.ts";
import { compareContent } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { type Row, type SideState, needsSums } from "#sync/plan/rows.ts";
import type { CopyFinder } from "#sync/session/copy-finder.ts";
import type { SessionOptions } from "#sync/session/events.ts";
import type { UnknownPaths } from "#sync/session/observe.ts";
import type { Resting } from "#sync/session/resting.ts";
import type { SideSums } from "#sync/session/side-sums.ts";
import { SIDES, type SessionState } from "#sync/session/state.ts";
import type { Held } from "#sync/session/state-records.ts";
import { vouched } from "#sync/session/vouched.ts";

export type RowsContext = {
  readonly state: SessionState;
  readonly endpoints: Readonly<Record<Side, Endpoint>>;
  readonly options: Pick<SessionOptions, "conflict" | "dryRun">;
  readonly unknown: Readonly<Record<Side, UnknownPaths>>;
  readonly sums: SideSums;
  readonly copies: CopyFinder;
  /** While watching: files that are left alone for a while. */
  readonly resting: Resting | undefined;
  readonly signal: AbortSignal;
};

export class CycleRows {
  readonly #context: RowsContext;
  #mayCopy = false;

  constructor(context: RowsContext) {
    this.#context = context;
  }

  /** A new file was hashed because it may be a copy. */
  get mayCopy(): boolean {
    return this.#mayCopy;
  }

  /** What there is to decide, in path order. */
  all(): Row[] {
    const { state } = this.#context;
    let paths = state.touched();
    // An unknown path has no observation of its own, but its directories must not be removed.
    const more = SIDES.flatMap((side) => state.unknown[side].map((one) => one.path));
    if (more.length > 0) paths = state.sortPaths([...new Set([...paths, ...more])]);
    const unread = new Map<RelPath, Problem>();
    return paths.map((path) => this.#row(path, unread));
  }

  #row(path: RelPath, unread: ReadonlyMap<RelPath, Problem>): Row {
    const { state, unknown } = this.#context;
    const ancestor = state.ancestorOf(path);
    const sideState = (side: Side): SideState => {
      const problem = unknown[side].covering(path);
      if (problem !== undefined) return { state: "unknown", problem };
      const failed = unread.get(path);
      if (failed?.side === side) return { state: "unknown", problem: failed };
      return toSideState(state.pending[side].get(path), ancestor);
    };
    return { path, ancestor, alpha: sideState("alpha"), beta: sideState("beta") };
  }

  /** Hashes, on both sides, the files that cannot be told apart without. Returns those that could not be read. */
  async learnSums(rows: Row[]): Promise<Map<RelPath, Problem>> {
    const { options, resting, sums, copies } = this.#context;
    const unread = new Map<RelPath, Problem>();
    const wanted: Record<Side, RelPath[]> = { alpha: [], beta: [] };
    const doubtful: number[] = [];
    for (const [at, row] of rows.entries()) {
      const rest = resting?.problemAt(row.path);
      if (rest !== undefined) {
        unread.set(row.path, rest);
        rows[at] = this.#row(row.path, unread);
        continue;
      }
      let sides = SIDES;
      if (!needsSums(row, options.conflict)) {
        const inDoubt = this.#isCopyInDoubt(row);
        if (!inDoubt) sides = [...copies.wanted(row)];
        if (sides.length === 0) continue;
        this.#mayCopy ||= !inDoubt;
      }
      doubtful.push(at);
      for (const side of sides) {
        const one = row[side];
        if (one.state !== "present" || one.entry.kind !== "file") continue;
        if (one.entry.sum === undefined) wanted[side].push(row.path);
      }
    }
    await Promise.all(SIDES.map((side) => sums.learn(side, wanted[side], unread)));
    for (const at of doubtful) rows[at] = this.#row(rows[at]!.path, unread);
    if (!options.dryRun) await this.#settleAlike(rows, unread, wanted);
    return unread;
  }

  /**
   * Where both sides have come to the same by themselves, nobody has asked either for it, and so neither has made it
   * durable: what a power loss brings back would look like an edit, or take it away like a person.
   *
   * @param asked whose sums the sides were asked for just now: who gives the sum of a file makes it durable
   */
  async #settleAlike(rows: Row[], unread: Map<RelPath, Problem>, asked: Record<Side, readonly RelPath[]>): Promise<void> {
    const { endpoints, signal } = this.#context;
    const alike = rows.filter(isNewlyAlike).map(({ path }) => path);
    if (alike.length === 0) return;
    const vouch = async (side: Side): Promise<void> => {
      const known = new Set(asked[side]);
      const paths = alike.filter((path) => !known.has(path));
      for (const problem of await vouched(endpoints[side], paths, signal)) unread.set(problem.path, { ...problem, side });
    };
    await Promise.all(SIDES.map(vouch));
    for (const [at, { path }] of rows.entries()) if (unread.has(path)) rows[at] = this.#row(path, unread);
  }

  /** May it be the loser of a conflict that is about to be decided here again? */
  #isCopyInDoubt({ path }: Row): boolean {
    const { state, options } = this.#context;
    if (options.conflict !== "copy" || !path.includes(COPY_MARK)) return false;
    const of = conflictCopyOf(path)?.of;
    return of !== undefined && SIDES.every((side) => state.pending[side].has(of));
  }
}

/** Do both sides hold a content that was not agreed on? */
function isNewlyAlike({ path, ancestor, alpha, beta }: Row): boolean {
  if (alpha.state !== "present" || beta.state !== "present" || alpha.entry.kind === "other" || path === "") return false;
  if (ancestor !== undefined && compareContent(ancestor, alpha.entry) === "same") return false;
  return compareContent(alpha.entry, beta.entry) === "same";
}

function toSideState(held: Held | undefined, ancestor: Row["ancestor"]): SideState {
  if (held === undefined) return ancestor === undefined ? { state: "absent" } : { state: "present", entry: ancestor };
  return held.state === "present" ? held : { state: held.state };
}
