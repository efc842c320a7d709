/**
 * A session: the loop connect → scan → plan → transfer → apply → watch over one pair of endpoints. It is the only room
 * that knows all the others; each step is in a file of its own.
 */
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import type { Host } from "#platform/host.ts";
import type { Endpoint, SumSeeds } from "#sync/endpoint/endpoint.ts";
import type { Store } from "#sync/index/store.ts";
import { otherSide } from "#sync/plan/rows.ts";
import { Ahead } from "#sync/session/ahead.ts";
import { Bandwidth } from "#sync/session/bandwidth.ts";
import { type CycleContext, type CycleOutcome, type Extents, runCycle } from "#sync/session/cycle.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";
import { openSides } from "#sync/session/open-sides.ts";
import { RecentLosses } from "#sync/session/recent-losses.ts";
import { Resting } from "#sync/session/resting.ts";
import { SIDES, SessionState } from "#sync/session/state.ts";
import { Tally } from "#sync/session/tally.ts";
import { DirtySignal } from "#sync/session/dirty-signal.ts";
import { Scrubber } from "#sync/session/scrubber.ts";

/** Cycles that follow at once because the disk changed under the plan; a writer that never stops must not hold us. */
const ROUNDS_MAX = 4;
/** Pause before such a cycle, so that a writer in the middle of something can finish. */
const ROUND_PAUSE_MS = 50;
/** After those rounds, what may pass by itself (a busy file, a full disk) is tried again this often. */
const TRANSIENT_RETRY_MS = 5000;
/** Reconnecting: doubles from the first to the longest delay, each drawn between half and all of it. */
const RETRY_FIRST_MS = 500;
const RETRY_LONGEST_MS = 60_000;
/** Doublings that are kept after a connection came about and broke again. */
const CONNECTED_STEP = 1;
/** A single run (without watch) gives up after this many attempts in a row. */
const RETRIES_MAX = 8;

export type SessionInput = {
  /** Identifies the pair: 32 hex digits. */
  readonly sessionId: string;
  /** Called again for each reconnection. */
  readonly alpha: () => Endpoint;
  readonly beta: () => Endpoint;
  readonly options: SessionOptions;
  /** The pair's own state; stays open and belongs to the caller. */
  readonly store: Store;
  /** By which a side that is not ours alone names content; undefined: the session draws its own. */
  readonly seeds?: SumSeeds | undefined;
  readonly host: Host;
  readonly onEvent: (event: SessionEvent) => void;
  /** Text to a short hex digest; names plans and runs. */
  readonly hash: (text: string) => string;
  readonly signal: AbortSignal;
  /** Told when a pause before the next connection begins; `wake` ends it. For who hears that the other side is back. */
  readonly onPause?: ((wake: () => void) => void) | undefined;
};

/**
 * Runs until the sides are the same as far as they can be, or, with `watch`, until aborted.
 * @returns the last cycle's summary; `interrupted` when aborted
 * @throws {SynclineError} when it cannot start or must halt; retryable ones were retried before
 */
export async function runSession(input: SessionInput): Promise<Summary> {
  const state = new SessionState(input.store, input.host.random, input.seeds);
  const tally = new Tally(input.host.clock);
  let last: Summary | undefined;
  let failures = 0;
  /** Sets the delay; a connection that came about shortens it again, because the other side is there. */
  let step = 0;
  for (;;) {
    try {
      const onSummary = (summary: Summary): void => {
        last = summary;
        failures = 0;
      };
      await connectAndRun(input, state, tally, onSummary, () => {
        step = Math.min(step, CONNECTED_STEP);
      });
      return tally.total(last, last!.result);
    } catch (error) {
      if (input.signal.aborted) return tally.total(last, "interrupted");
      const canRetry = error instanceof SynclineError && error.retryable;
      failures++;
      if (!canRetry || (!input.options.watch && failures >= RETRIES_MAX)) {
        input.onEvent({ type: "failed", summary: tally.total(last, "failed") });
        throw error;
      }
      await backOff(input, failures, ++step, error);
      if (input.signal.aborted) return tally.total(last, "interrupted");
    }
  }
}

async function backOff(input: SessionInput, failures: number, step: number, error: SynclineError): Promise<void> {
  const longest = Math.min(RETRY_LONGEST_MS, RETRY_FIRST_MS * 2 ** Math.min(step - 1, 16));
  const [draw] = input.host.random.bytes(1);
  const delayMs = Math.round(longest / 2 + (longest / 2) * (draw! / 255));
  input.onEvent({ type: "retry", attempt: failures, delayMs, reason: error.message });
  const wake = new AbortController();
  input.onPause?.(() => wake.abort());
  await input.host.clock.sleep(delayMs, AbortSignal.any([input.signal, wake.signal])).catch(() => undefined);
}

async function connectAndRun(
  input: SessionInput,
  state: SessionState,
  tally: Tally,
  onSummary: (summary: Summary) => void,
  onConnected: () => void,
): Promise<void> {
  const { host, onEvent, hash, signal } = input;
  onEvent({ type: "phase", phase: "connecting" });
  state.inFlight.expect();
  const alpha = input.alpha();
  const beta = input.beta();
  tally.connect([alpha, beta]);
  try {
    const { sides, preserve } = await openSides(input, state, alpha, beta);
    const options = { ...input.options, preserve };
    onConnected();
    for (const side of SIDES) for (const text of sides[side].reply.notes ?? []) onEvent({ type: "note", side, text });
    const { bytesPerSecond } = options;
    const bandwidth = bytesPerSecond === undefined ? undefined : new Bandwidth(host.clock, bytesPerSecond);
    const losses = new RecentLosses(host.clock);
    const resting = options.watch ? new Resting(host.clock) : undefined;
    const ahead = { alpha: undefined, beta: undefined };
    const context: CycleContext = {
      host, state, sides, options, onEvent, hash, signal, tally, bandwidth, resting, losses, ahead,
    };
    if (options.watch) await watchLoop(input, context, onSummary);
    else await settleRounds(input, context, { alpha: "full", beta: "full" }, onSummary);
  } finally {
    await Promise.allSettled([alpha.close(), beta.close()]);
    tally.disconnect();
  }
}

/** Cycles until nothing moves under the plan any more, a few times at most. */
async function settleRounds(
  input: SessionInput,
  context: CycleContext,
  first: Extents,
  onSummary: (summary: Summary) => void,
): Promise<CycleOutcome> {
  const { host, signal } = input;
  const runId = newRunId(host);
  let extents = first;
  let merged: Summary | undefined;
  for (let round = 1; ; round++) {
    signal.throwIfAborted();
    const outcome = await runCycle(context, extents, runId, (part) => {
      const done = merged === undefined ? part : addSummaries(merged, part);
      context.tally.add(done);
      if (done.changes > 0) input.onEvent({ type: "cycle", summary: done });
    });
    merged = merged === undefined ? outcome.summary : addSummaries(merged, outcome.summary);
    if (round >= ROUNDS_MAX || !outcome.again || input.options.dryRun || merged.result === "held") {
      context.tally.add(merged);
      onSummary(merged);
      // What an earlier round could not do and a later one did is nothing to report.
      for (const conflict of outcome.conflicts) input.onEvent({ type: "conflict", conflict });
      for (const problem of outcome.problems) input.onEvent({ type: "problem", problem });
      input.onEvent({ type: "cycle", summary: merged });
      return { ...outcome, summary: merged };
    }
    extents = { alpha: "dirty", beta: "dirty" };
    await host.clock.sleep(ROUND_PAUSE_MS, signal);
  }
}

function newRunId(host: Host): string {
  return Buffer.from(host.random.bytes(6)).toString("hex");
}

/** Counts add up; what is still open is what the last cycle says. */
function addSummaries(a: Summary, b: Summary): Summary {
  const bytes = { ...b.bytes };
  for (const key of ["scanned", "literal", "reused", "sent", "received"] as const) bytes[key] += a.bytes[key];
  return {
    ...b,
    bytes,
    runId: a.runId === "" ? b.runId : a.runId,
    changes: a.changes + b.changes,
    healed: a.healed + b.healed,
    seconds: Math.round((a.seconds + b.seconds) * 1000) / 1000,
  };
}

const SETTLE_MS = { immediate: 0, throttle: 100, debounce: 300 } as const;

async function watchLoop(
  input: SessionInput,
  given: CycleContext,
  onSummary: (summary: Summary) => void,
): Promise<void> {
  const { host, options, onEvent } = input;
  const stop = new AbortController();
  const signal = AbortSignal.any([input.signal, stop.signal]);
  const dirty = new DirtySignal(host.clock, options.settle, SETTLE_MS[options.settle]);
  const ahead = aheadOf(given, signal);
  const context: CycleContext = { ...given, ahead };
  const watches = SIDES.map((side: Side) =>
    context.sides[side].endpoint.watch(() => dirty.mark(side), signal).catch((error: unknown) => dirty.fail(error)),
  );
  try {
    // Watching started before the first scan, so nothing that happens from here on can be missed.
    let nextFullMs = 0;
    let again = false;
    const scrubber = scrubberFor(context, signal);
    for (;;) {
      const full = host.clock.monotonicMs() >= nextFullMs;
      if (full) nextFullMs = host.clock.monotonicMs() + options.rescanMs;
      const marked = dirty.take();
      const extent = (side: Side): "full" | "dirty" | undefined =>
        full ? "full" : marked[side] || again ? "dirty" : undefined;
      const outcome = await settleRounds(input, context, { alpha: extent("alpha"), beta: extent("beta") }, onSummary);
      const blind = SIDES.some((side) => !context.sides[side].reply.canWatch);
      for (const side of SIDES) ahead[side]?.cycled();
      if (outcome.degraded || blind) nextFullMs = Math.min(nextFullMs, host.clock.monotonicMs() + degradedMs(options));
      onEvent({ type: "phase", phase: "watching" });
      again = outcome.again || outcome.later;
      const restMs = Math.min(TRANSIENT_RETRY_MS, context.resting?.waitMs() ?? TRANSIENT_RETRY_MS);
      const retryMs = again ? restMs : Number.POSITIVE_INFINITY;
      const now = host.clock.monotonicMs();
      await waitOrScrub(dirty, scrubber, Math.min(nextFullMs, now + retryMs), host.clock, signal);
    }
  } finally {
    stop.abort();
    await Promise.allSettled([...watches, ...SIDES.map((side) => ahead[side]?.end())]);
  }
}

/** Where one side tells of files that are on their way into it, and the other gets what is there. */
function aheadOf({ sides, state, options, bandwidth }: CycleContext, signal: AbortSignal): CycleContext["ahead"] {
  const isOneWay = options.mode.startsWith("one-way");
  const of = (to: Side): Ahead | undefined => {
    const { coming } = sides[otherSide(to)].endpoint;
    const { early } = sides[to].endpoint;
    if (coming === undefined || early === undefined || options.dryRun || (isOneWay && to === "alpha")) return undefined;
    const isFree = (path: RelPath): boolean => state.held(to, path).state === "absent" && state.ancestor.get(path) === undefined;
    return new Ahead({ coming, early, isFree, bandwidth }, signal);
  };
  return { alpha: of("alpha"), beta: of("beta") };
}

function scrubberFor({ sides, options, host, onEvent }: CycleContext, signal: AbortSignal): Scrubber | undefined {
  if (options.scrub === undefined) return undefined;
  const endpoints = { alpha: sides.alpha.endpoint, beta: sides.beta.endpoint };
  return new Scrubber({ endpoints, options: options.scrub, clock: host.clock, onEvent, signal });
}

/** Returns when a side is dirty and settled, also by what a scrub has found, or at `endMs`. */
async function waitOrScrub(
  dirty: DirtySignal,
  scrubber: Scrubber | undefined,
  endMs: number,
  clock: Host["clock"],
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const leftMs = endMs - clock.monotonicMs();
    const scrubMs = scrubber?.waitMs() ?? Number.POSITIVE_INFINITY;
    await dirty.wait(Math.min(leftMs, scrubMs), signal);
    if (dirty.isDirty || scrubber === undefined || scrubMs >= leftMs) return;
    for (const side of await scrubber.step()) dirty.mark(side);
  }
}

/** How often to rescan while watching cannot be trusted. */
function degradedMs(options: SessionOptions): number {
  return Math.min(options.rescanMs, 10_000);
}
