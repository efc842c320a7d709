/**
 * A first copy, which begins while its source is still being scanned: nothing was ever agreed, so as soon as one side is
 * known to hold nothing, whatever the other one tells of goes there, in the order in which it is told. Only what needs no
 * decision comes this way; as soon as anything is unknown it stops, and what is left is for the next plan.
 */
import type { Observation, Problem } from "#model/observation.ts";
import type { Mode, Side } from "#model/plan.ts";
import { carriesFrom, firstCopyOf } from "#sync/plan/first-copy.ts";
import type { Step } from "#sync/plan/order.ts";
import { otherSide } from "#sync/plan/rows.ts";
import type { Observed } from "#sync/session/observe.ts";
import { type StepGroup, firstCopyCuts, mayOverlap } from "#sync/session/step-groups.ts";

export class FirstCopy {
  readonly #mode: Mode;
  readonly #copy: (to: Side, parts: AsyncIterable<StepGroup>) => Promise<void>;
  /** The side that told of something. */
  #from: Side | undefined;
  readonly #ended = new Set<Side>();
  /** Told and not handed out yet. */
  #waiting: Step[] = [];
  #isOver = false;
  #failure: { readonly error: unknown } | undefined;
  #more = Promise.withResolvers<void>();
  #copying: Promise<void> | undefined;
  #changes = 0;
  #bytes = 0;

  /** @param copy begins to copy to a side what it is handed, and settles when it has handed all of it over */
  constructor(mode: Mode, copy: (to: Side, parts: AsyncIterable<StepGroup>) => Promise<void>) {
    this.#mode = mode;
    this.#copy = copy;
  }

  get hasBegun(): boolean {
    return this.#copying !== undefined;
  }

  /** What there is to copy as far as it was told, and the bytes of its files. */
  get known(): { readonly changes: number; readonly bytes: number } {
    return { changes: this.#changes, bytes: this.#bytes };
  }

  /** Is that all? */
  get isComplete(): boolean {
    return !this.#isOver && this.#from !== undefined && this.#ended.has(this.#from);
  }

  /** A scan told of this, and the session has taken it. */
  told(side: Side, batch: readonly Observation[], problems: readonly Problem[]): void {
    if (this.#isOver) return;
    this.#from ??= side;
    if (side !== this.#from || problems.length > 0 || !carriesFrom(side, this.#mode)) return this.#leave();
    const to = otherSide(side);
    for (const one of batch) {
      if (one.state !== "present") return this.#leave();
      const change = firstCopyOf(to, one.path, one.entry);
      if (change === undefined) continue;
      this.#waiting.push({ type: "change", change });
      this.#changes++;
      if (one.entry.kind === "file") this.#bytes += one.entry.size;
    }
    this.#goOn();
  }

  /** The scan of a side has ended, and all it told of was taken. */
  ended({ side, entries, problems }: Observed): void {
    if (this.#isOver) return;
    if (problems.length > 0 || (entries > 0 && side !== this.#from)) return this.#leave();
    this.#ended.add(side);
    this.#goOn();
  }

  /** A scan has failed: what was handed out is brought to its end, and no more comes. */
  fail(error: unknown): void {
    this.#failure ??= { error };
    this.#leave();
  }

  /** Settles when all that was begun has come to its end. Call when both scans have ended, or failed. */
  async settled(): Promise<void> {
    await this.#copying;
  }

  #leave(): void {
    this.#isOver = true;
    this.#waiting = [];
    this.#more.resolve();
  }

  #goOn(): void {
    if (this.#from === undefined) return;
    const to = otherSide(this.#from);
    if (this.#copying === undefined && this.#ended.has(to)) {
      this.#copying = this.#copy(to, this.#parts());
      // Waited for in settled().
      this.#copying.catch(() => undefined);
    }
    this.#more.resolve();
  }

  /** Everything that waits, up to where a group ends. The last group ends when nothing can follow any more. */
  async *#parts(): AsyncGenerator<StepGroup> {
    const cuts = firstCopyCuts(() => (this.isComplete ? this.#changes : undefined));
    let part: Step[] = [];
    let isNewGroup = true;
    let dependsOnLast = false;
    const cut = (isEnd: boolean, isLast: boolean): StepGroup => {
      const overlaps = !(isNewGroup && dependsOnLast) && part.every(mayOverlap);
      const group = { steps: part, mayOverlap: overlaps, isEnd, isLast };
      part = [];
      isNewGroup = isEnd;
      return group;
    };
    for (;;) {
      const steps = this.#waiting;
      this.#waiting = [];
      for (const step of steps) {
        if (this.#failure !== undefined) throw this.#failure.error;
        if (cuts.isBefore(step)) {
          yield cut(true, false);
          dependsOnLast = cuts.isInTree;
        }
        part.push(step);
      }
      if (this.#failure !== undefined) throw this.#failure.error;
      if (this.#waiting.length > 0) continue;
      const isEnd = this.#isOver || this.isComplete;
      if (isEnd || part.length > 0) yield cut(isEnd, this.isComplete);
      if (isEnd) return;
      if (this.#waiting.length > 0 || this.#isOver || this.isComplete) continue;
      this.#more = Promise.withResolvers();
      await this.#more.promise;
    }
  }
}
