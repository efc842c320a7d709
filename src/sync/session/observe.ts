/** Takes one side's scan into the session's state. */
import type { Observation, Problem } from "#model/observation.ts";
import { type RelPath, comparePaths, nameOf, parentOf } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import type { Entry, Preserve } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Endpoint, OnObserved, ScanRequest, ScanSummary } from "#sync/endpoint/endpoint.ts";
import { IGNORE_FILE, type IgnoreRules } from "#sync/scan/ignore.ts";
import { type SessionState, otherSide } from "#sync/session/state.ts";
import { ListedRules, type Unlisted } from "#sync/session/unlisted.ts";

export type Observed = ScanSummary & { readonly side: Side };

/**
 * Scans and records. With `since` 0 the observations are a complete listing in path order, and whatever the ancestor
 * has beside it is absent, unless it lies where the scan could not look, or is ignored by the rules that are listed.
 *
 * @param rules makes those of the session, without those of ignore files; asked only for a listing that needs them
 * @param onTaken gets each batch when it has been recorded, and the number of entries seen so far
 */
export async function observeSide(
  side: Side,
  endpoint: Endpoint,
  request: ScanRequest,
  state: SessionState,
  preserve: Preserve,
  rules: () => IgnoreRules,
  onTaken: (entries: number, ...told: Parameters<OnObserved>) => void,
  signal: AbortSignal,
): Promise<Observed> {
  const complete = request.since === 0;
  const listed = complete && (state.unsettled.length > 0 || state.ancestor.count() > 0) ? new ListedRules(rules()) : undefined;
  if (complete) state.pending[side].clear();
  const ancestor = complete ? state.ancestor.walk("")[Symbol.iterator]() : undefined;
  let expected = ancestor?.next();
  let last: RelPath = "";
  let seen = 0;
  const missing: Unlisted[] = [];
  const miss = ([path, { kind }]: [RelPath, Entry]): number => missing.push({ path, isDir: kind === "dir" });
  const take = (one: Observation): void => {
    if (complete) {
      if (seen > 0 && comparePaths(last, one.path) >= 0) throw outOfOrder(endpoint.label);
      while (expected !== undefined && !expected.done && comparePaths(expected.value[0], one.path) < 0) {
        miss(expected.value);
        expected = ancestor!.next();
      }
      if (expected !== undefined && !expected.done && expected.value[0] === one.path) expected = ancestor!.next();
    }
    last = one.path;
    seen++;
    if (one.path.endsWith(IGNORE_FILE) && nameOf(one.path) === IGNORE_FILE) state.rulesChanged(side, parentOf(one.path));
    if (one.state === "present") state.kindReported(side, one.path, one.entry);
    if (one.state === "present" && one.entry.kind === "file") listed?.listed(one.path);
    state.observe(side, one.path, one.state === "present" ? one : { state: one.state }, preserve);
  };
  const summary = await endpoint.scan(
    request,
    (batch, problems) => {
      for (const one of batch) take(one);
      onTaken(seen, batch, problems);
    },
    signal,
  );
  while (expected !== undefined && !expected.done) {
    miss(expected.value);
    expected = ancestor!.next();
  }
  const unknown = new UnknownPaths(summary.problems);
  const isLookedAt = ({ path }: Unlisted): boolean => unknown.covering(path) === undefined;
  const gone = missing.filter(isLookedAt);
  const ignored = (await listed?.ignored(withComing(gone, side, state).filter(isLookedAt), endpoint, signal)) ?? [];
  for (const path of ignored) state.observe(side, path, { state: "ignored" }, preserve);
  const hidden = new Set(ignored);
  for (const { path } of gone) if (!isAtOrBelow(path, hidden)) state.observe(side, path, { state: "absent" }, preserve);
  const problems = summary.problems.map((one): Problem => ({ ...one, side }));
  return { ...summary, problems, side };
}

/** With what was on its way from `side`, was not agreed, and is not listed there, in path order. */
function withComing(gone: readonly Unlisted[], side: Side, state: SessionState): readonly Unlisted[] {
  const coming: Unlisted[] = [];
  for (const { path, entry } of state.sentTo(otherSide(side))) {
    const isListed = state.pending[side].has(path) || state.ancestorOf(path) !== undefined;
    if (entry !== undefined && !isListed) coming.push({ path, isDir: entry.kind === "dir" });
  }
  return coming.length === 0 ? gone : [...gone, ...coming].sort((a, b) => comparePaths(a.path, b.path));
}

function isAtOrBelow(path: RelPath, dirs: ReadonlySet<RelPath>): boolean {
  if (dirs.size === 0) return false;
  for (let at = path; at !== ""; at = parentOf(at)) if (dirs.has(at)) return true;
  return false;
}

function outOfOrder(label: string): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op: "scan", message: `${label} sent a listing out of order` });
}

/** Paths whose state is unknown in this cycle, with everything below them. */
export class UnknownPaths {
  readonly #problems = new Map<RelPath, Problem>();
  /** Directories above an unknown path. */
  readonly #above = new Set<RelPath>();

  constructor(problems: readonly Problem[]) {
    for (const one of problems) {
      this.#problems.set(one.path, one);
      for (let cut = one.path.lastIndexOf("/"); cut > 0; cut = one.path.lastIndexOf("/", cut - 1)) {
        this.#above.add(one.path.slice(0, cut));
      }
    }
  }

  /** The problem at `path` or at a directory above it. */
  covering(path: RelPath): Problem | undefined {
    if (this.#problems.size === 0) return undefined;
    const own = this.#problems.get(path) ?? this.#problems.get("");
    if (own !== undefined) return own;
    for (let cut = path.lastIndexOf("/"); cut > 0; cut = path.lastIndexOf("/", cut - 1)) {
      const found = this.#problems.get(path.slice(0, cut));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Is something below `path` unknown? */
  below(path: RelPath): boolean {
    return this.#above.has(path);
  }
}
