/** One turn of the loop: scan → plan → (hold) → transfer and apply → remember. */
import type { Sum } from "#model/entry.ts";
import type { Observation, Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Conflict, Plan, Side } from "#model/plan.ts";
import type { Endpoint, OpenReply } from "#sync/endpoint/endpoint.ts";
import { judge, planHash } from "#sync/plan/brake.ts";
import { withoutCaseCollisions } from "#sync/plan/case-collisions.ts";
import { countPlan } from "#sync/plan/counts.ts";
import { detectMoves } from "#sync/plan/moves.ts";
import { executionOrder } from "#sync/plan/order.ts";
import { reconcile } from "#sync/plan/reconcile.ts";
import { type Row, otherSide } from "#sync/plan/rows.ts";
import type { Ahead } from "#sync/session/ahead.ts";
import type { Bandwidth } from "#sync/session/bandwidth.ts";
import type { Result, SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";
import { CopyFinder } from "#sync/session/copy-finder.ts";
import { CycleRows } from "#sync/session/cycle-rows.ts";
import { type ExecutionContext, type ExecutionTotals, executeGroups, executeSide } from "#sync/session/executor.ts";
import { FirstCopy } from "#sync/session/first-copy.ts";
import { type Healing, planHealing, toldProblems, withHealing } from "#sync/session/healing.ts";
import { type Observed, UnknownPaths, observeSide } from "#sync/session/observe.ts";
import { NamesOfSide } from "#sync/session/names-of-side.ts";
import { GROUP_OPS_MIN, type StepGroup, bytesOfStep } from "#sync/session/step-groups.ts";
import type { Tally } from "#sync/session/tally.ts";
import { toldOnce } from "#sync/session/refused-places.ts";
import type { RecentLosses } from "#sync/session/recent-losses.ts";
import type { Resting } from "#sync/session/resting.ts";
import { settleInFlight } from "#sync/session/settle-in-flight.ts";
import { SideSums } from "#sync/session/side-sums.ts";
import { SIDES, type SessionState } from "#sync/session/state.ts";
import type { Host } from "#platform/host.ts";

export type SideSession = { readonly endpoint: Endpoint; readonly reply: OpenReply };

export type CycleContext = {
  readonly host: Host;
  readonly state: SessionState;
  readonly sides: Record<Side, SideSession>;
  readonly options: SessionOptions;
  readonly onEvent: (event: SessionEvent) => void;
  readonly hash: (text: string) => string;
  readonly signal: AbortSignal;
  readonly tally: Tally;
  readonly bandwidth: Bandwidth | undefined;
  /** While watching: files that are left alone for a while. */
  readonly resting: Resting | undefined;
  readonly losses: RecentLosses;
  /** While watching: by the side that gets the files. */
  readonly ahead: Record<Side, Ahead | undefined>;
};

/** What to scan on each side; undefined: nothing changed there since the last cycle. */
export type Extents = Record<Side, "full" | "dirty" | undefined>;

export type CycleOutcome = {
  readonly summary: Summary;
  /** The disk changed under the plan: another cycle right now has something to do. */
  readonly again: boolean;
  /** What failed may pass by itself: a cycle some time later has something to try. */
  readonly later: boolean;
  readonly degraded: boolean;
  /** What is open after this cycle. */
  readonly conflicts: readonly Conflict[];
  readonly problems: readonly Problem[];
};

/** Changes to be made, and bytes of content; undefined as long as it is not known. */
type Totals = { readonly changes: number | undefined; readonly bytes: number | undefined };

const EMPTY_PLAN: Plan = { changes: [], moves: [], conflicts: [], agreements: [], blocked: [], counts: countPlan([], []) };

/** @param onBroken gets what was done until then when the cycle ends with an error */
export async function runCycle(
  context: CycleContext,
  extents: Extents,
  runId: string,
  onBroken: (summary: Summary) => void,
): Promise<CycleOutcome> {
  const cycle = new Cycle(context, extents, runId);
  try {
    return await cycle.run();
  } catch (error) {
    onBroken(cycle.brokenOff());
    throw error;
  }
}

class Cycle {
  readonly #context: CycleContext;
  readonly #extents: Extents;
  readonly #runId: string;
  readonly #startMs: number;
  readonly #totals: ExecutionTotals = { changes: 0, healed: 0, literal: 0, reused: 0, problems: [], stale: 0, asides: 0 };
  readonly #endpoints: Readonly<Record<Side, Endpoint>>;
  readonly #sums: SideSums;
  readonly #copies: CopyFinder;
  #firstCopy: FirstCopy | undefined;
  #isApproved = false;
  #hasBegun = false;
  #scannedBytes = 0;

  constructor(context: CycleContext, extents: Extents, runId: string) {
    this.#context = context;
    this.#extents = extents;
    this.#runId = runId;
    const { state, sides, options, signal } = context;
    this.#endpoints = { alpha: sides.alpha.endpoint, beta: sides.beta.endpoint };
    this.#sums = new SideSums({ state, endpoints: this.#endpoints, preserve: options.preserve, signal });
    this.#copies = new CopyFinder(state);
    this.#startMs = context.host.clock.monotonicMs();
  }

  async run(): Promise<CycleOutcome> {
    const { onEvent, options, state } = this.#context;
    const observed = await this.#observe();
    if (this.#firstCopy?.hasBegun === true) return this.#endFirstCopy(observed);
    onEvent({ type: "phase", phase: "planning" });
    // A side that was not scanned now is still unknown where its last scan could not look.
    const unknown = { alpha: new UnknownPaths(state.unknown.alpha), beta: new UnknownPaths(state.unknown.beta) };
    const { plan, blockedBy, healing } = await this.#decide(unknown);
    this.#totals.problems.push(...toldProblems(observed.flatMap((one) => one.problems), healing.problems), ...blockedBy.values());
    for (const one of plan.blocked) if (!this.#totals.problems.includes(one)) this.#totals.problems.push(one);
    if (options.dryRun) onEvent({ type: "plan", plan, hash: planHash(plan, this.#context.hash) });
    const held = this.#brake(plan);
    if (!options.dryRun && !held) {
      const before = { ...state.entries };
      await this.#execute(plan);
      // What a person has approved counts for nothing that comes after it.
      if (!this.#isApproved) for (const side of SIDES) this.#context.losses.note(side, before[side] - state.entries[side]);
    }
    state.lastConflicts = plan.conflicts;
    this.#totals.problems = toldOnce(this.#totals.problems);
    const { problems } = this.#totals;
    const { resting } = this.#context;
    resting?.learn(problems);
    const passing = problems.filter((one) => one.transient);
    const soon = passing.some((one) => resting?.problemAt(one.path) === undefined);
    // What people did to a file beside its damage was not planned for together with the heal, which only a scan confirms.
    const again = this.#totals.stale + this.#totals.asides + this.#totals.healed > 0 || soon;
    if (!options.dryRun && !held && !again) state.restored = undefined;
    const degraded = observed.some((one) => one.degraded !== undefined);
    const summary = this.#summary(plan, held);
    return { summary, again, later: passing.length > 0, degraded, conflicts: plan.conflicts, problems };
  }

  /** The rows of a large plan take as much memory as the plan itself: they are gone when this returns. */
  async #decide(
    unknown: Record<Side, UnknownPaths>,
  ): Promise<{ plan: Plan; blockedBy: Map<RelPath, Problem>; healing: Healing }> {
    const { state, options, resting, signal } = this.#context;
    const endpoints = this.#endpoints;
    const toDecide = new CycleRows({ state, endpoints, options, unknown, sums: this.#sums, copies: this.#copies, resting, signal });
    const rows = toDecide.all();
    const blockedBy = await toDecide.learnSums(rows);
    const healing = await planHealing({ state, endpoints, mode: options.mode, unknown, signal });
    return { plan: withHealing(this.#plan(rows, unknown, toDecide.mayCopy), healing), blockedBy, healing };
  }

  /**
   * Undefined where a plan is needed in any case: something was agreed or is on its way, or both sides are looked at
   * otherwise than from the start; a person is to see the plan; names may collide; names of one file belong together; or
   * groups are to be small.
   */
  #mayBeFirstCopy(stop: AbortController): FirstCopy | undefined {
    const { state, options, sides, resting } = this.#context;
    const isFull = SIDES.every((side) => this.#extents[side] === "full" && sides[side].reply.caseSensitive);
    // After a lost link a side tells only what is new since, and the rest is known already.
    const isAsked = state.comparesAll && SIDES.every((side) => (state.marks[side]?.seq ?? 0) === 0);
    const isNew = isAsked && state.ancestor.count() === 0 && state.inFlight.unsettled.length === 0;
    const isPlain = !options.dryRun && options.durable !== "always" && !options.preserve.hardlinks;
    const isResting = resting !== undefined && Number.isFinite(resting.waitMs());
    if (!isFull || !isNew || !isPlain || isResting) return undefined;
    return new FirstCopy(options.mode, async (to, groups) => {
      try {
        await this.#copyFirst(to, groups);
      } catch (error) {
        stop.abort(error);
        throw error;
      }
    });
  }

  async #copyFirst(to: Side, groups: AsyncIterable<StepGroup>): Promise<void> {
    const { state, sides, onEvent } = this.#context;
    state.tellsWhileScanned(otherSide(to), sides[otherSide(to)].reply);
    onEvent({ type: "phase", phase: "transferring" });
    const copy = this.#firstCopy!;
    const isLarge = (): boolean => copy.known.changes > GROUP_OPS_MIN;
    const total = (): Totals => (copy.isComplete ? copy.known : { changes: undefined, bytes: undefined });
    await executeGroups(to, groups, { isLarge, similar: undefined }, this.#execution(total));
  }

  /** What failed, or could not be copied without a decision, is for a plan, which the next round makes. */
  #endFirstCopy(observed: readonly Observed[]): CycleOutcome {
    const { state, resting } = this.#context;
    const { problems, stale } = this.#totals;
    problems.push(...observed.flatMap((one) => one.problems));
    if (state.unsaved()) state.store.transaction({ durable: false }, () => state.save(false));
    resting?.learn(problems);
    state.lastConflicts = [];
    const again = stale > 0 || SIDES.some((side) => state.pending[side].size > 0 || state.unknown[side].length > 0);
    if (!again) state.restored = undefined;
    const later = problems.some((one) => one.transient);
    const degraded = observed.some((one) => one.degraded !== undefined);
    const summary = this.#summary(EMPTY_PLAN, false);
    return { summary, again, later, degraded, conflicts: [], problems };
  }

  async #observe(): Promise<Observed[]> {
    const { state, sides, options, onEvent, signal } = this.#context;
    onEvent({ type: "phase", phase: "scanning" });
    const stop = new AbortController();
    const copy = (this.#firstCopy = this.#mayBeFirstCopy(stop));
    const anySignal = AbortSignal.any([signal, stop.signal]);
    const seen: Record<Side, number> = { alpha: 0, beta: 0 };
    const scans = SIDES.flatMap((side) => {
      const extent = this.#extents[side];
      if (extent === undefined) return [];
      const acknowledged = state.savedSeq[side];
      const request = { since: state.marks[side]?.seq ?? 0, acknowledged, extent, deep: options.deep && extent === "full" };
      const onTaken = (entries: number, batch: readonly Observation[], problems: readonly Problem[]): void => {
        seen[side] = entries;
        copy?.told(side, batch, problems);
        if (copy?.hasBegun === true) return;
        onEvent({ type: "progress", done: seen.alpha + seen.beta, total: undefined, bytes: 0, bytesTotal: undefined });
      };
      const scan = observeSide(side, sides[side].endpoint, request, state, options.preserve, onTaken, anySignal);
      return [this.#whenObserved(scan)];
    });
    const settled = await Promise.allSettled(scans);
    // Whatever became of the scans, what is under way is recorded; and an error of its own is the one that stopped them.
    await copy?.settled();
    for (const one of settled) if (one.status === "rejected") throw one.reason;
    const observed = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    state.forgetOutdated(options.preserve);
    // What this very cycle has sent is not for scans to settle that may have ended before.
    if (copy?.hasBegun !== true && state.inFlight.unsettled.length > 0) {
      const grainNs = { alpha: sides.alpha.reply.timestampNs, beta: sides.beta.reply.timestampNs };
      const context = { state, endpoints: this.#endpoints, preserve: options.preserve, grainNs, signal };
      await settleInFlight(context, this.#sums, observed);
    }
    state.forgetIgnoredOfGone();
    return observed;
  }

  async #whenObserved(scan: Promise<Observed>): Promise<Observed> {
    try {
      const observed = await scan;
      this.#noteObserved(observed);
      this.#firstCopy?.ended(observed);
      return observed;
    } catch (error) {
      this.#firstCopy?.fail(error);
      throw error;
    }
  }

  #noteObserved({ side, epoch, seq, entries, problems, hashedBytes, degraded }: Observed): void {
    const { state, sides, onEvent } = this.#context;
    const { rootId, filterHash } = sides[side].reply;
    state.marks[side] = { rootId, filterHash, epoch, seq };
    state.entries[side] = entries;
    state.unknown[side] = problems;
    this.#scannedBytes += hashedBytes;
    if (degraded !== undefined) onEvent({ type: "degraded", side, reason: degraded });
  }

  #plan(rows: readonly Row[], unknown: Record<Side, UnknownPaths>, mayCopy: boolean): Plan {
    const { state, options } = this.#context;
    const plan = reconcile({
      mode: options.mode,
      conflict: options.conflict,
      restored: state.restored,
      conflictPaths: options.conflictPaths,
      delete: options.delete,
      preserve: options.preserve,
      rows,
      lookup: {
        hides: (side, dir) => unknown[side].below(dir),
        refuses: (side, path) => state.refused.has(side, path),
        has: (side, path) => state.held(side, path).state !== "absent",
      },
    });
    const find = (side: Side, sum: Sum, size: number): RelPath | undefined => this.#copies.find(side, sum, size);
    const hints = { preserve: options.preserve, sumLocation: mayCopy ? find : undefined, apart: state.apart };
    return this.#withoutCollisions(detectMoves(plan, hints));
  }

  #withoutCollisions(plan: Plan): Plan {
    const { state, sides } = this.#context;
    const folding = SIDES.filter((side) => !sides[side].reply.caseSensitive);
    return folding.reduce((left, side) => {
      const names = new NamesOfSide(state, side, left);
      return withoutCaseCollisions(left, side, (dir) => names.in(dir));
    }, plan);
  }

  #brake(plan: Plan): boolean {
    const { options, state, onEvent } = this.#context;
    const { losses } = this.#context;
    const verdict = judge(plan, options.brake, state.entries, losses.recent());
    if (verdict === undefined) return false;
    const hash = planHash(plan, this.#context.hash);
    if (options.approve === hash) {
      this.#isApproved = true;
      losses.clear();
      return false;
    }
    losses.hold();
    onEvent({ type: "hold", hash, reason: verdict.reason, plan });
    return true;
  }

  async #execute(plan: Plan): Promise<void> {
    const { state, onEvent } = this.#context;
    if (plan.agreements.length > 0) {
      state.store.transaction({ durable: false }, () => {
        for (const { path, entry } of plan.agreements) this.#agree(path, entry);
        // Where nothing is agreed any more, what a side holds is only in what is pending, and nobody reports it again.
        state.save(false);
      });
    }
    state.apart = { alpha: new Set(), beta: new Set() };
    const steps = SIDES.map((side) => {
      const all = executionOrder(plan, side);
      return { side, steps: state.comparesAll ? all : state.refused.worthTrying(side, all) };
    });
    const changes = steps.reduce((sum, one) => sum + one.steps.length, 0);
    // What waits below a place that was refused is not tried, and not waited for.
    const bytes = steps.reduce((sum, { steps: mine }) => mine.reduce((more, step) => more + bytesOfStep(step), sum), 0);
    const total = { changes, bytes };
    if (changes > 0) onEvent({ type: "phase", phase: "transferring" });
    const execution = this.#execution(() => total);
    for (const { side, steps: mine } of steps) await executeSide(side, mine, execution);
    if (state.unsaved() || state.refused.isChanged) {
      state.store.transaction({ durable: false }, () => {
        state.refused.settle();
        state.save(false);
      });
    } else state.refused.settle();
  }

  /** @param total of what is to be done, as far as it is known when it is asked for */
  #execution(total: () => Totals): ExecutionContext {
    const { state, options, ahead, onEvent, bandwidth, signal, host } = this.#context;
    let done = 0;
    let bytes = 0;
    const progress = (): void => {
      const all = total();
      onEvent({ type: "progress", done, total: all.changes, bytes, bytesTotal: all.bytes });
    };
    return {
      state,
      endpoints: this.#endpoints,
      ahead,
      runId: this.#runId,
      verbose: options.verbose,
      preserve: options.preserve,
      durable: options.durable,
      onEvent,
      onBegin: () => {
        if (!this.#hasBegun) onEvent({ type: "begin", runId: this.#runId });
        this.#hasBegun = true;
      },
      onBytes: (more) => {
        bytes += more;
        progress();
      },
      onDone: (ops) => {
        done += ops;
        progress();
      },
      totals: this.#totals,
      collectGarbage: () => host.collectGarbage(),
      bandwidth,
      signal,
    };
  }

  #agree(path: RelPath, entry: Plan["agreements"][number]["entry"]): void {
    const { state, options } = this.#context;
    if (entry !== undefined) state.rebase(path, entry, options.preserve);
    else state.forget(path, options.preserve);
  }

  #summary(plan: Plan, held: boolean): Summary {
    const { state, options } = this.#context;
    const { problems } = this.#totals;
    const result: Result = options.dryRun
      ? "dry-run"
      : held
        ? "held"
        : plan.conflicts.length > 0
          ? "conflicts"
          : problems.length > 0
            ? "problems"
            : "same";
    const planned = options.dryRun || held ? plan.changes.length + plan.moves.length : 0;
    return this.#counted({ result, files: state.sameFiles(), planned, held, conflicts: plan.conflicts.length });
  }

  /** Of a cycle that ends with an error: it says nothing of how the sides compare. */
  brokenOff(): Summary {
    const { state, signal } = this.#context;
    const result = signal.aborted ? "interrupted" : "failed";
    return this.#counted({ result, files: state.files, planned: 0, held: false, conflicts: 0 });
  }

  #counted(found: Pick<Summary, "result" | "files" | "planned" | "held" | "conflicts">): Summary {
    const { host, tally } = this.#context;
    const { changes, healed, literal, reused, problems } = this.#totals;
    return {
      type: "summary",
      ...found,
      runId: changes > 0 ? this.#runId : "",
      changes,
      healed,
      problems: problems.length,
      bytes: { scanned: this.#scannedBytes + this.#sums.hashedBytes, literal, reused, ...tally.takeWire() },
      seconds: Math.round(host.clock.monotonicMs() - this.#startMs) / 1000,
    };
  }
}
