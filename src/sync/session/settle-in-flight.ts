/**
 * What became of changes that were on their way when the controller or the link stopped, or that failed somewhere on it:
 * where the side now holds exactly what was sent, both sides held it at one time, so it is the ancestor. Otherwise a later
 * edit would look like a conflict with our own. What cannot be seen now is settled by a later cycle.
 */
import type { FileEntry } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import { type Row, otherSide } from "#sync/plan/rows.ts";
import { type Observed, UnknownPaths } from "#sync/session/observe.ts";
import type { SideSums, SumsContext } from "#sync/session/side-sums.ts";
import type { InFlight } from "#sync/session/state-records.ts";
import { vouched } from "#sync/session/vouched.ts";

export type SettleContext = SumsContext & {
  /** Of the times that each side keeps: what was sent to it may have come back rounded. */
  readonly grainNs: Readonly<Record<Side, bigint>>;
};

/** After scans of the sides, and before anything is planned. */
export async function settleInFlight(context: SettleContext, sums: SideSums, observed: readonly Observed[]): Promise<void> {
  await new Settling(context, sums).settle(observed);
}

class Settling {
  readonly #context: SettleContext;
  readonly #sums: SideSums;

  constructor(context: SettleContext, sums: SideSums) {
    this.#context = context;
    this.#sums = sums;
  }

  async settle(observed: readonly Observed[]): Promise<void> {
    const { state } = this.#context;
    const seen = new Map<Side, UnknownPaths>();
    for (const { side, problems } of observed) {
      const lost = await this.#learnArrived(side, problems);
      seen.set(side, new UnknownPaths([...problems, ...lost]));
    }
    state.store.transaction({ durable: false }, () => {
      // Settled once, each of them: were a side to return to such a content later, of its own accord, that would be
      // its edit.
      const hidden: InFlight[] = [];
      for (const change of state.inFlight.unsettled) {
        const unknown = seen.get(change.side);
        if (unknown !== undefined && !hides(unknown, change)) this.#settleOne(change);
        else for (const one of this.#stillInFlight(change)) hidden.push(one);
      }
      state.inFlight.keep(hidden);
      state.save(false);
    });
  }

  /**
   * Hashes what looks like something that was sent, for an edit may look so too. What cannot be read is still told by
   * size and mtime: left in flight, its removal later on would pass for nothing having arrived, and it would come back.
   * And makes durable what has arrived: it may have been the side's own people who made the same, a moment ago.
   *
   * @returns what may still be lost in a power loss
   */
  async #learnArrived(side: Side, problems: readonly Problem[]): Promise<Problem[]> {
    const { state, endpoints, signal } = this.#context;
    const unknown = new UnknownPaths(problems);
    const wanted: RelPath[] = [];
    const others: RelPath[] = [];
    for (const change of state.inFlight.unsettled) {
      if (change.side !== side || hides(unknown, change)) continue;
      for (const { path, entry } of state.sent(change)) {
        const held = state.held(side, path);
        const there = held.state === "present" ? held.entry : undefined;
        if (held.state === "ignored") continue;
        const isLike = there?.kind === "file" && there.sum === undefined && entry?.kind === "file" && entry.sum !== undefined;
        if (isLike && this.#isAlike(side, entry, there)) wanted.push(path);
        else if (arrived(entry, there)) others.push(path);
      }
    }
    await this.#sums.learn(side, wanted, new Map());
    return others.length === 0 ? [] : vouched(endpoints[side], others, signal);
  }

  /** May it be what was sent, as far as size and time tell? Where times are rounded, or not carried, they tell less. */
  #isAlike(side: Side, sent: FileEntry, there: FileEntry): boolean {
    const { preserve, grainNs } = this.#context;
    if (sent.size !== there.size) return false;
    const apart = sent.mtimeNs - there.mtimeNs;
    return !preserve.mtime || (apart < grainNs[side] && -apart < grainNs[side]);
  }

  /**
   * What stays in flight of a change that cannot be seen yet. Where a move has left its old place, nothing is agreed
   * there any more: it was not the side that removed it, and the other side may have it there again. What it took along
   * is then looked for path by path.
   */
  #stillInFlight(change: InFlight): InFlight[] {
    const { side, from } = change;
    const { state, preserve } = this.#context;
    if (from === undefined || state.held(side, from).state !== "absent") return [change];
    const sent = state.sent(change);
    for (const [path] of [...state.ancestor.walk(from)]) state.rebase(path, undefined, preserve);
    return sent;
  }

  #settleOne({ side, path, entry, from }: InFlight): void {
    const { state } = this.#context;
    if (from !== undefined) return this.#settleMove(side, from, path);
    const held = state.held(side, path);
    const there = held.state === "present" ? held.entry : undefined;
    if (held.state !== "ignored" && arrived(entry, there)) this.#agreeArrived(side, path, there, entry);
    else if (entry !== undefined) state.judgedAs(otherSide(side), path, entry);
  }

  /** Its content is the one that was sent, sum and all: without the sum it would look edited to a deletion. */
  #agreeArrived(side: Side, path: RelPath, there: Row["ancestor"], sent: Row["ancestor"]): void {
    const { state, preserve } = this.#context;
    const knows = there?.kind === "file" && there.sum === undefined && sent?.kind === "file";
    const entry = knows ? { ...there, sum: sent.sum } : there;
    state.rebase(path, entry, preserve);
    if (knows) state.observe(side, path, { state: "present", entry: { ...there, sum: sent.sum } }, preserve);
  }

  #settleMove(side: Side, from: RelPath, to: RelPath): void {
    const { state, preserve } = this.#context;
    for (const [path, entry] of [...state.ancestor.walk(from)]) {
      const now = to + path.slice(from.length);
      const held = state.held(side, now);
      const there = held.state === "present" ? held.entry : undefined;
      if (state.held(side, path).state !== "absent") continue;
      if (there !== undefined && arrived(entry, there)) this.#agreeArrived(side, now, there, entry);
      else state.judgedAs(otherSide(side), now, entry);
      // Whatever became of it there, it was we who took it away from here.
      state.rebase(path, undefined, preserve);
    }
  }
}

/** Can it not be seen what became of the change? */
function hides(unknown: UnknownPaths, { path, from }: InFlight): boolean {
  const paths = from === undefined ? [path] : [path, from];
  return paths.some((one) => unknown.covering(one) !== undefined || (from !== undefined && unknown.below(one)));
}

/** Does the side hold what was sent to it? Where a sum is missing a file looks so by its size and exact mtime. */
function arrived(sent: Row["ancestor"], there: Row["ancestor"]): boolean {
  if (sent === undefined || there === undefined) return sent === there;
  if (sent.kind === "file" && there.kind === "file") {
    if (sent.size !== there.size) return false;
    if (sent.sum !== undefined && there.sum !== undefined) return sent.sum === there.sum;
    return sent.mtimeNs === there.mtimeNs;
  }
  if (sent.kind === "symlink" && there.kind === "symlink") return sent.target === there.target;
  return sent.kind === there.kind;
}
