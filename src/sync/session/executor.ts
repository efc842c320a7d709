/**
 * Brings one side's part of a plan about: content from the other side, small files inline and large ones through a
 * transfer, then apply, group by group. After each group the outcome is in the session's state, durably.
 */
import { type FileEntry, type Preserve, compareContent } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import { type Change, type Side, nameOfChange } from "#model/plan.ts";
import type { Step } from "#sync/plan/order.ts";
import { Batch } from "#sync/endpoint/batch.ts";
import {
  type Application,
  type ApplyOp,
  type Durable,
  type Endpoint,
  INLINE_BYTES_MAX,
  type OpResult,
  type ReadItem,
  type TransferItem,
  type TransferResult,
} from "#sync/endpoint/endpoint.ts";
import { otherSide } from "#sync/plan/rows.ts";
import type { Bandwidth } from "#sync/session/bandwidth.ts";
import type { Ahead } from "#sync/session/ahead.ts";
import { countedChannel } from "#sync/session/counted-channel.ts";
import type { SessionEvent } from "#sync/session/events.ts";
import { IGNORE_FILE } from "#sync/scan/ignore.ts";
import { joinTransfer } from "#sync/session/join-transfer.ts";
import { isHeldPlace } from "#sync/session/refused-places.ts";
import { SimilarFiles } from "#sync/session/similar-files.ts";
import type { SessionState } from "#sync/session/state.ts";
import type { InFlight } from "#sync/session/state-records.ts";
import { GROUP_OPS_MIN, type StepGroup, bytesOfStep, stepGroups, wantedContent } from "#sync/session/step-groups.ts";
import { vouched } from "#sync/session/vouched.ts";
import { memoryChannelPair } from "#sync/transport/memory-channel.ts";

/** Refusals that only the side that is written to can have met, whoever reports them. */
const TARGET_CODES = new Set(["ENOSPC", "EDQUOT", "EROFS", "EEXIST", "ENOTEMPTY"]);

export type ExecutionTotals = {
  changes: number;
  /** Those of them that gave a damaged file its bytes back. */
  healed: number;
  literal: number;
  reused: number;
  problems: Problem[];
  stale: number;
  /**
   * What the next cycle goes on with: losers of conflicts put aside, rules that changed, moves that were refused, places
   * that were refused and are taken now.
   */
  asides: number;
};

export type ExecutionContext = {
  readonly state: SessionState;
  readonly endpoints: Record<Side, Endpoint>;
  /** What brings files to a side before they are at the other. */
  readonly ahead: Record<Side, Ahead | undefined>;
  readonly runId: string;
  readonly verbose: boolean;
  readonly preserve: Preserve;
  readonly durable: Durable;
  readonly onEvent: (event: SessionEvent) => void;
  /** Called before each group of changes. */
  readonly onBegin: () => void;
  /** Content bytes of steps that need not be waited for any more, since the last call: brought over, copied there, or given up. */
  readonly onBytes: (bytes: number) => void;
  /** As onBytes, of steps. */
  readonly onDone: (steps: number) => void;
  readonly totals: ExecutionTotals;
  readonly collectGarbage: () => void;
  /** Undefined: no limit. */
  readonly bandwidth: Bandwidth | undefined;
  readonly signal: AbortSignal;
};

/** All that is to be done on a side. */
export async function executeSide(side: Side, steps: readonly Step[], context: ExecutionContext): Promise<void> {
  if (steps.length === 0) return;
  const similar = new SimilarFiles(context.state, side, steps);
  const groups = stepGroups(steps, context.durable === "always", context.state.comparesAll);
  await executeGroups(side, groups, { isLarge: () => steps.length > GROUP_OPS_MIN, similar }, context);
}

/** Groups that come as a whole or in parts, perhaps while more becomes known. */
export async function executeGroups(
  side: Side,
  groups: Iterable<StepGroup> | AsyncIterable<StepGroup>,
  shared: Omit<SharedByGroups, "application">,
  context: ExecutionContext,
): Promise<void> {
  const application = context.endpoints[side].apply(context.runId, context.signal);
  /** The group that is being staged, and the commit that is under way. */
  let execution: GroupExecution | undefined;
  let committed: Promise<void> | undefined;
  try {
    for await (const { steps, mayOverlap, isEnd, isLast } of groups) {
      context.signal.throwIfAborted();
      if (!mayOverlap) await committed;
      context.onBegin();
      execution ??= new GroupExecution(side, { ...shared, application }, context);
      await execution.push(steps);
      if (!isEnd) continue;
      await committed;
      committed = execution.commit(isLast);
      execution = undefined;
      // Waited for below, or by the next group, which may fail before it comes to that.
      committed.catch(() => undefined);
    }
  } finally {
    // Whatever broke off: what is under way is recorded before anybody closes the state.
    await committed;
  }
}

/** Ops of a group from which on the garbage it leaves is worth a collection. */
const COLLECTED_OPS_MIN = 32_000;

type SharedByGroups = {
  /** Is so much to be done that a collection of garbage, about 0.2 s, is little beside it? */
  readonly isLarge: () => boolean;
  readonly application: Application;
  /** Undefined where the side holds nothing that this run has not brought. */
  readonly similar: SimilarFiles | undefined;
};

/** One group of steps on one side. */
class GroupExecution {
  readonly #side: Side;
  readonly #shared: SharedByGroups;
  readonly #context: ExecutionContext;
  readonly #removedDirs = new Set<RelPath>();
  readonly #ops: ApplyOp[] = [];
  readonly #inFlight: InFlight[] = [];
  /** Where the outcome is not known to be what was asked for. */
  readonly #failed = new Set<RelPath>();
  /** Files that the side ignores, and refused before their bytes came. */
  readonly #refused: RelPath[] = [];
  /** Directories whose ignore file this group wrote, brought or took away. */
  readonly #rulesChanged: RelPath[] = [];
  /** Under way: what of this group the other side cannot answer for. */
  readonly #vouching: Promise<Problem[]>[] = [];
  #unvouched: ReadonlyMap<RelPath, Problem> = new Map();

  constructor(side: Side, shared: SharedByGroups, context: ExecutionContext) {
    this.#side = side;
    this.#shared = shared;
    this.#context = context;
  }

  /** Has them staged; may be called again with more. */
  async push(steps: readonly Step[]): Promise<void> {
    const { endpoints, signal } = this.#context;
    const told = steps.flatMap((step) => this.#toldUnread(step) ?? []);
    const vouching = vouched(endpoints[otherSide(this.#side)], told, signal);
    // Waited for before the commit.
    vouching.catch(() => undefined);
    this.#vouching.push(vouching);
    const large = await this.#transferLarge(steps);
    this.#collect(steps.length);
    await this.#pushAll(steps, large);
  }

  /** Has all of it placed, and records the outcome. */
  async commit(isLast: boolean): Promise<void> {
    this.#collect(this.#ops.length);
    const { state } = this.#context;
    const durable = this.#context.durable !== "none";
    await this.#awaitVouched();
    state.store.transaction({ durable }, () => state.inFlight.add(this.#inFlight));
    const results: OpResult[] = [];
    const reply = await this.#shared.application.commit((more) => {
      for (const result of more) results.push(result);
    });
    if (results.length !== this.#ops.length) throw incomplete(this.#context.endpoints[this.#side].label);
    state.store.transaction({ durable }, () => {
      state.inBatch(() => results.forEach((result, at) => this.#record(this.#ops[at]!, result)));
      for (const { path, status } of results) {
        if (status === "done" && this.#unvouched.has(path)) state.disagree(path, this.#context.preserve);
      }
      state.removedDirs(this.#side, this.#removedDirs, this.#context.preserve);
      for (const path of this.#refused) this.#isIgnored(path);
      // Only now: what this group was refused as ignored was judged by the rules before it.
      for (const dir of this.#rulesChanged) state.rulesChanged(this.#side, dir);
      this.#context.totals.asides += this.#rulesChanged.length;
      // Nothing else was logged on that side in between: its echo of our own writes need not be read, unless it comes with
      // what the side sees under other rules than before.
      const mark = state.marks[this.#side];
      if (mark !== undefined && mark.seq === reply.seqBefore && this.#rulesChanged.length === 0) {
        state.marks[this.#side] = { ...mark, seq: reply.seqAfter };
      }
      // What failed may have failed after it was placed; and what an earlier end left unsettled stays so.
      const doubtful = this.#inFlight.filter(({ path }) => this.#failed.has(path));
      state.inFlight.keep([...state.inFlight.unsettled, ...doubtful]);
      if (state.comparesAll && !isLast) state.saveProgress();
      else state.save(durable);
    });
  }

  /** What the other side holds there and is not asked to read; whoever reads a file makes it durable. */
  #toldUnread(step: Step): RelPath | undefined {
    if (step.type === "move") return step.move.aside === true ? undefined : step.move.to;
    const { path, action, heals, new: entry } = step.change;
    if (entry === undefined || action !== "content" || heals === true || wantedContent(step) !== undefined) return undefined;
    return this.#context.state.held(otherSide(this.#side), path).state === "present" ? path : undefined;
  }

  /** What the source cannot answer for is brought over all the same, but nothing is agreed about it: the next plan asks again. */
  async #awaitVouched(): Promise<void> {
    const failed = (await Promise.all(this.#vouching)).flat();
    if (failed.length === 0) return;
    this.#unvouched = new Map(failed.map((one) => [one.path, one]));
    const certain = this.#inFlight.filter(({ path }) => !this.#unvouched.has(path));
    this.#inFlight.splice(0, this.#inFlight.length, ...certain);
    for (const one of failed) this.#context.totals.problems.push({ ...one, side: otherSide(this.#side) });
  }

  /** The runtime would let the garbage of a large plan grow to as much as lives. */
  #collect(ops: number): void {
    if (ops >= COLLECTED_OPS_MIN && this.#shared.isLarge()) this.#context.collectGarbage();
  }

  /** Large files first: what arrives is staged and named by its path. */
  async #transferLarge(steps: readonly Step[]): Promise<Map<RelPath, TransferResult>> {
    const results = new Map<RelPath, TransferResult>();
    const items: TransferItem[] = [];
    for (const step of steps) {
      const entry = wantedContent(step);
      if (entry === undefined || step.type === "move" || !this.#isTransferred(step.change.path, entry)) continue;
      const { path } = step.change;
      const early = await this.#context.ahead[this.#side]?.take(path, entry);
      if (early === undefined) items.push({ path, entry, candidates: this.#shared.similar?.of(step.change) });
      else results.set(path, this.#broughtBefore(path, early));
    }
    if (items.length === 0) return results;
    const bytesTotal = items.reduce((sum, { entry }) => sum + entry.size, 0);
    const { endpoints, signal, totals, onBytes, bandwidth } = this.#context;
    let [supplyEnd, receiveEnd] = memoryChannelPair();
    if (bandwidth !== undefined) {
      [supplyEnd, receiveEnd] = [bandwidth.limit(supplyEnd, signal), bandwidth.limit(receiveEnd, signal)];
    }
    let shown = 0;
    let sent = 0;
    let settled = 0;
    // A large file has no result for a long time: until then what is sent of it is the best that is known.
    const show = (): void => {
      const now = Math.min(Math.max(settled, sent), bytesTotal);
      if (now > shown) onBytes(now - shown);
      shown = Math.max(shown, now);
    };
    supplyEnd = countedChannel(supplyEnd, (bytes) => {
      sent += bytes;
      show();
    });
    const supply = endpoints[otherSide(this.#side)].supply(supplyEnd, signal);
    const receive = endpoints[this.#side].receive(
      receiveEnd,
      items,
      (result) => {
        results.set(result.path, result);
        totals.literal += result.literalBytes;
        totals.reused += result.reusedBytes;
        settled += result.literalBytes + result.reusedBytes;
        show();
      },
      signal,
    );
    await joinTransfer(receive, supply, receiveEnd, supplyEnd);
    // Files that were refused or could not be read have no bytes, and nobody waits for them either.
    settled = bytesTotal;
    show();
    return results;
  }

  #broughtBefore(path: RelPath, entry: FileEntry): TransferResult {
    const { totals, onBytes } = this.#context;
    totals.literal += entry.size;
    onBytes(entry.size);
    return { path, entry, literalBytes: entry.size, reusedBytes: 0 };
  }

  async #pushAll(steps: readonly Step[], large: ReadonlyMap<RelPath, TransferResult>): Promise<void> {
    const small = steps.flatMap((step) => {
      const entry = wantedContent(step);
      if (entry === undefined || step.type === "move" || this.#isTransferred(step.change.path, entry)) return [];
      return [step.change.path];
    });
    const source = this.#context.endpoints[otherSide(this.#side)];
    await using reader = new SmallReader(small, source, this.#context.signal);
    const batch = new Batch<ApplyOp>();
    let passed = { steps: 0, bytes: 0 };
    const tell = (): void => {
      this.#context.onBytes(passed.bytes);
      this.#context.onDone(passed.steps);
      passed = { steps: 0, bytes: 0 };
    };
    for (const step of steps) {
      const next = this.#opFor(step, large, reader);
      // Mostly the bytes are here already, and a promise for each file would cost more than the rest.
      const op = next instanceof Promise ? await next : next;
      passed.steps++;
      if (!this.#isCounted(step)) passed.bytes += bytesOfStep(step);
      if (op === undefined) continue;
      const full = batch.add(op, op.type === "change" ? (op.bytes?.length ?? 0) : 0);
      if (full === undefined) continue;
      await this.#push(full);
      tell();
    }
    const rest = batch.take();
    if (rest !== undefined) await this.#push(rest);
    if (passed.steps > 0) tell();
  }

  /** Was it shown while it was transferred? */
  #isCounted(step: Step): boolean {
    const wanted = wantedContent(step);
    return wanted !== undefined && step.type === "change" && this.#isTransferred(step.change.path, wanted);
  }

  async #push(batch: ApplyOp[]): Promise<void> {
    const { bandwidth, signal } = this.#context;
    let bytes = 0;
    for (const op of batch) {
      if (op.type === "change") bytes += op.bytes?.length ?? 0;
      // The executor answers for each op once; the bytes are not needed again.
      this.#ops.push(op.type === "move" ? op : { type: "change", change: op.change });
      if (op.type === "move") {
        const { from, to, aside } = op.move;
        if (aside !== true) this.#inFlight.push({ side: this.#side, path: to, entry: undefined, from });
      } else if (op.change.heals !== true && this.#isHeldThere(op.change)) {
        // A heal brings back what is agreed on already; its outcome needs nobody to recognise it.
        this.#inFlight.push({ side: this.#side, path: op.change.path, entry: op.change.new });
      }
    }
    await bandwidth?.take(bytes, signal);
    await this.#shared.application.push(batch);
  }

  /**
   * Does the other side hold what this side is to hold? Not where a merge gives this side, which has the newer content,
   * no more than a mode: finding that content here says nothing about what both ever had.
   */
  #isHeldThere({ path, new: entry }: Change): boolean {
    const other = this.#context.state.held(otherSide(this.#side), path);
    if (other.state !== "present" || entry === undefined) return other.state !== "present" && entry === undefined;
    return compareContent(other.entry, entry) !== "differs";
  }

  /** The op for a step, with content as it was really read; undefined when the source could not give it. */
  #opFor(
    step: Step,
    large: ReadonlyMap<RelPath, TransferResult>,
    reader: SmallReader,
  ): ApplyOp | undefined | Promise<ApplyOp | undefined> {
    const wanted = wantedContent(step);
    if (step.type === "move") return step;
    if (wanted === undefined) return { type: "change", change: this.#withLeadersSum(step.change) };
    const { change } = step;
    if (this.#isTransferred(change.path, wanted)) {
      const result = large.get(change.path);
      if (result?.entry !== undefined) return { type: "change", change: this.#asRead(change, wanted, result.entry) };
      if (result?.problem?.code === "IGNORED") this.#refused.push(change.path);
      else this.#sourceProblem(result?.problem ?? lost(change.path));
      return undefined;
    }
    const item = reader.next(change.path);
    if (item instanceof Promise) return item.then((later) => this.#opOf(change, wanted, later));
    return this.#opOf(change, wanted, item);
  }

  #opOf(change: Change, wanted: FileEntry, item: ReadItem): ApplyOp | undefined {
    if ("problem" in item) {
      this.#sourceProblem(item.problem);
      return undefined;
    }
    this.#context.totals.literal += item.bytes.length;
    return { type: "change", change: this.#asRead(change, wanted, item.entry), bytes: item.bytes };
  }

  /**
   * A link's bytes do not travel, so nobody hashes them; but its leader's were read before, and they are the same. Only
   * with a sum can both sides agree on it.
   */
  #withLeadersSum(change: Change): Change {
    const entry = change.new;
    if (entry?.kind !== "file" || entry.linkTo === undefined || change.action !== "content") return change;
    const leader = this.#context.state.held(otherSide(this.#side), entry.linkTo);
    if (leader.state !== "present" || leader.entry.kind !== "file" || leader.entry.sum === undefined) return change;
    const isSame = leader.entry.size === entry.size && leader.entry.mtimeNs === entry.mtimeNs;
    return entry.sum === undefined && isSame ? this.#asRead(change, entry, leader.entry) : change;
  }

  /** The change with the content that was really read, which is also what the source holds now. */
  #asRead(change: Change, wanted: FileEntry, read: FileEntry): Change {
    // Nothing but the content that was agreed on heals; the side that gets it compares.
    if (change.heals === true) return change;
    const { state, preserve } = this.#context;
    const source = otherSide(this.#side);
    const entry = merged(wanted, read);
    const held = state.held(source, change.path);
    if (held.state === "present" && held.entry.kind === "file") {
      // Mostly the very entry that is passed on; then one value serves both sides.
      const there = held.entry === wanted ? entry : merged(held.entry, read);
      state.learned(source, change.path, there, preserve);
    }
    const { side, path, old, action } = change;
    return { side, path, old, new: entry, action };
  }

  /** What is small goes along with its change, but for what the side would probably refuse: that is offered first. */
  #isTransferred(path: RelPath, { size }: FileEntry): boolean {
    const { state } = this.#context;
    return size > INLINE_BYTES_MAX || (!state.comparesAll && state.refused.has(this.#side, path));
  }

  #sourceProblem(found: Problem): void {
    if (isHeldPlace(found)) this.#context.state.refused.note(this.#side, found.path);
    const problem = { ...found, side: TARGET_CODES.has(found.code) ? this.#side : otherSide(this.#side) };
    this.#context.totals.problems.push(problem);
  }

  /**
   * What one side filters out is not a failure: the path simply is not shared. Where the side has something else there,
   * or had until now, that stays known.
   */
  #isIgnored(path: RelPath): void {
    const { state, preserve } = this.#context;
    const isFree = state.held(this.#side, path).state === "absent" && state.ancestor.get(path) === undefined;
    if (isFree) state.observe(this.#side, path, { state: "ignored" }, preserve);
    else state.refused.note(this.#side, path);
  }

  /** What is renamed to where a side ignores it is no move there: it goes as the next plan has it, part by part. */
  #ignored(op: ApplyOp, path: RelPath): void {
    const { state, totals } = this.#context;
    if (op.type === "change") return this.#isIgnored(path);
    state.apart[this.#side].add(path);
    totals.asides++;
  }

  #record(op: ApplyOp, result: OpResult): void {
    if (result.path !== (op.type === "move" ? op.move.to : op.change.path)) {
      throw incomplete(this.#context.endpoints[this.#side].label);
    }
    const { state, totals, verbose, preserve, onEvent } = this.#context;
    if (result.status !== "done") {
      if (result.status === "stale") totals.stale++;
      this.#failed.add(result.path);
      if (result.problem?.code === "IGNORED") this.#ignored(op, result.path);
      else if (result.problem !== undefined) {
        if (isHeldPlace(result.problem)) state.refused.note(this.#side, result.path);
        totals.problems.push({ ...result.problem, side: this.#side });
      }
      return;
    }
    totals.changes++;
    const side = this.#side;
    if (op.type === "move") {
      const { from, to, aside } = op.move;
      if (aside === true) {
        state.movedAside(side, from, to, preserve);
        totals.asides++;
      } else state.moved(side, from, to, preserve);
      for (const path of [from, to]) if (nameOf(path) === IGNORE_FILE) this.#rulesChanged.push(parentOf(path));
    } else {
      if (op.change.from !== undefined && op.change.new?.kind === "file") totals.reused += op.change.new.size;
      const there = op.change.new === undefined ? undefined : (result.entry ?? op.change.new);
      state.entries[side] += (there === undefined ? 0 : 1) - (op.change.old === undefined ? 0 : 1);
      if (state.achieved(side, result.path, there, preserve)) this.#removedDirs.add(result.path);
      if (op.change.heals === true) totals.healed++;
      if (state.refused.isAwaited(side, result.path)) totals.asides++;
      if (nameOf(result.path) === IGNORE_FILE) this.#rulesChanged.push(parentOf(result.path));
    }
    if (verbose) onEvent(changeEvent(this.#side, op));
  }
}

/** An entry with the content facts of what was really read. */
function merged(wanted: FileEntry, read: FileEntry): FileEntry {
  // Mostly there is nothing to add to what was read, and no need of another object.
  if (isPlain(wanted) && isPlain(read) && wanted.mode === read.mode) return read;
  return { ...wanted, size: read.size, sum: read.sum, mtimeNs: read.mtimeNs };
}

function isPlain({ owner, xattrs, linkTo }: FileEntry): boolean {
  return owner === undefined && xattrs === undefined && linkTo === undefined;
}

function changeEvent(side: Side, op: ApplyOp): SessionEvent {
  if (op.type === "move") {
    return { type: "change", side, path: op.move.to, action: "move", from: op.move.from, bytes: 0 };
  }
  const { change } = op;
  const action = nameOfChange(change);
  const bytes = change.new?.kind === "file" && action !== "metadata" ? change.new.size : 0;
  return { type: "change", side, path: change.path, action, bytes };
}

function incomplete(label: string): SynclineError {
  const message = `${label} did not answer for every change it was given`;
  return new SynclineError({ code: "PROTOCOL", op: "apply", message, retryable: true });
}

function lost(path: RelPath): Problem {
  return { path, side: "alpha", code: "STALE", message: "its content did not arrive", transient: true };
}

/** Reads small files in the order in which they are wanted. */
class SmallReader implements AsyncDisposable {
  readonly #batches: AsyncIterator<ReadItem[]> | undefined;
  #batch: ReadItem[] = [];
  #at = 0;

  constructor(paths: RelPath[], source: Endpoint, signal: AbortSignal) {
    this.#batches = paths.length === 0 ? undefined : source.read(paths, signal)[Symbol.asyncIterator]();
  }

  next(path: RelPath): ReadItem | Promise<ReadItem> {
    return this.#at < this.#batch.length ? this.#take(path) : this.#nextBatch(path);
  }

  async #nextBatch(path: RelPath): Promise<ReadItem> {
    while (this.#at >= this.#batch.length) {
      const result = await this.#batches?.next();
      if (result === undefined || result.done === true) return { path, problem: lost(path) };
      this.#batch = result.value;
      this.#at = 0;
    }
    return this.#take(path);
  }

  #take(path: RelPath): ReadItem {
    const item = this.#batch[this.#at++]!;
    if (item.path !== path) throw incomplete("the source");
    return item;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#batches?.return?.();
  }
}
