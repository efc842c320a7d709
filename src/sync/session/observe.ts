/** Takes one side's scan into the session's state. */
import type { Observation, Problem } from "#model/observation.ts";
import { type RelPath, comparePaths, isWithin, nameOf, parentOf } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import { type Entry, type Preserve, compareContent } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Endpoint, OnObserved, ScanRequest, ScanSummary } from "#sync/endpoint/endpoint.ts";
import { IGNORE_FILE } from "#sync/scan/ignore.ts";
import { otherSide } from "#sync/plan/rows.ts";
import type { SessionState } from "#sync/session/state.ts";
import { vouched } from "#sync/session/vouched.ts";

export type Observed = ScanSummary & { readonly side: Side };

/** Paths asked about in one call. */
const ASKED_PER_CALL = 1000;

/**
 * Scans and records. With `since` 0 the observations are a complete listing in path order, and whatever the ancestor
 * has beside it is absent, unless it lies where the scan could not look, or is ignored, which only the side knows.
 *
 * @param onTaken gets each batch when it has been recorded, and the number of entries seen so far
 */
export async function observeSide(
  side: Side,
  endpoint: Endpoint,
  request: ScanRequest,
  state: SessionState,
  preserve: Preserve,
  onTaken: (entries: number, ...told: Parameters<OnObserved>) => void,
  signal: AbortSignal,
): Promise<Observed> {
  const complete = request.since === 0;
  if (complete) state.pending[side].clear();
  const ancestor = complete ? state.ancestor.walk("")[Symbol.iterator]() : undefined;
  let expected = ancestor?.next();
  let last: RelPath = "";
  let seen = 0;
  const missing: RelPath[] = [];
  const anew: RelPath[] = [];
  const take = (one: Observation): void => {
    if (complete) {
      if (seen > 0 && comparePaths(last, one.path) >= 0) throw outOfOrder(endpoint.label);
      while (expected !== undefined && !expected.done && comparePaths(expected.value[0], one.path) < 0) {
        missing.push(expected.value[0]);
        expected = ancestor!.next();
      }
      if (expected !== undefined && !expected.done && expected.value[0] === one.path) expected = ancestor!.next();
    }
    last = one.path;
    seen++;
    if (one.path.endsWith(IGNORE_FILE) && nameOf(one.path) === IGNORE_FILE) state.rulesChanged(side, parentOf(one.path));
    if (one.state === "present") state.kindReported(side, one.path, one.entry);
    state.observe(side, one.path, one.state === "present" ? one : { state: one.state }, preserve);
    if (!complete && one.state === "present" && isAnew(side, one.path, one.entry, state)) anew.push(one.path);
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
    missing.push(expected.value[0]);
    expected = ancestor!.next();
  }
  const unknown = new UnknownPaths(summary.problems);
  const isLookedAt = (path: RelPath): boolean => unknown.covering(path) === undefined;
  const gone = missing.filter(isLookedAt);
  const asked = complete ? withComing(gone, side, state).filter(isLookedAt) : [];
  const hidden = await observeHidden(side, endpoint, asked, state, preserve, signal);
  for (const path of gone) if (!hidden.has(path)) state.observe(side, path, { state: "absent" }, preserve);
  const lost = await vouched(endpoint, anew, signal);
  if (lost.length > 0) {
    // Before a power loss shows what it has taken.
    state.store.transaction({ durable: true }, () => {
      for (const { path } of lost) state.disagree(path, preserve);
      state.save(true);
    });
  }
  const problems = [...summary.problems, ...lost].map((one): Problem => ({ ...one, side }));
  return { ...summary, problems, side };
}

/**
 * Is it told of although it is as it was agreed, but for a file's time? Then it has gone and come again, or was written
 * again: nobody will ask for it, and what a power loss did to it would look like what a person does. Where the side cannot
 * answer for it, it is agreed no longer. (Other permissions or owners need no answer.)
 */
function isAnew(side: Side, path: RelPath, entry: Entry, state: SessionState): boolean {
  const agreed = state.ancestorOf(path);
  if (agreed === undefined || compareContent(agreed, entry) !== "same") return false;
  if (!state.pending[side].has(path)) return true;
  return agreed.kind === "file" && entry.kind === "file" && agreed.mtimeNs !== entry.mtimeNs;
}

/**
 * Asks which of some paths, in path order, `side` ignores, and records it: a complete listing has them as little as what
 * has gone, and to take them for that would be a deletion. Returns those that are, with those below them.
 */
async function observeHidden(
  side: Side,
  endpoint: Endpoint,
  paths: readonly RelPath[],
  state: SessionState,
  preserve: Preserve,
  signal: AbortSignal,
): Promise<ReadonlySet<RelPath>> {
  const tops: RelPath[] = [];
  for (const path of paths) if (tops.length === 0 || !isWithin(path, tops.at(-1)!)) tops.push(path);
  const ignored = new Set<RelPath>();
  for (let at = 0; at < tops.length; at += ASKED_PER_CALL) {
    const part = tops.slice(at, at + ASKED_PER_CALL);
    const answers = await endpoint.sums(part, signal);
    for (const [one, path] of part.entries()) {
      const answer = answers[one];
      if (typeof answer === "object" && answer.code === "IGNORED") ignored.add(path);
    }
  }
  const hidden = new Set<RelPath>();
  let top: RelPath | undefined;
  for (const path of paths) {
    if (ignored.has(path)) state.observe(side, (top = path), { state: "ignored" }, preserve);
    if (top !== undefined && isWithin(path, top)) hidden.add(path);
  }
  return hidden;
}

/** With what was on its way from `side`, was not agreed, and is not listed there, in path order. */
function withComing(gone: readonly RelPath[], side: Side, state: SessionState): readonly RelPath[] {
  const coming = state.sentTo(otherSide(side)).flatMap(({ path, entry }) => {
    const isListed = state.pending[side].has(path) || state.ancestorOf(path) !== undefined;
    return entry === undefined || isListed ? [] : [path];
  });
  return coming.length === 0 ? gone : [...new Set([...gone, ...coming])].sort(comparePaths);
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
