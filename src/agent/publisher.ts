/**
 * Shows what a link's own copy holds, once it is complete: makes a release of it, and flips the root to it, with the
 * host's commands around the flip. Each step finds out by itself how far an earlier one came, so that a crash anywhere
 * leaves the old release or the new one, and the next call goes on from there.
 */
import { newTraceId } from "#platform/trace-id.ts";
import { SynclineError } from "#model/error.ts";
import type { Sum } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Confined } from "#platform/confined.ts";
import type { Clock } from "#platform/host.ts";
import type { Store } from "#sync/index/store.ts";
import type { SumSeeds } from "#sync/endpoint/endpoint.ts";
import { type TwinContext, isTwin, makeTwin, treeChanges, twinMarkCodec } from "#sync/apply/twin-tree.ts";
import { HOOK_CHANGES_MAX, type HookContext, type Told, runHook, stopped } from "#agent/hooks.ts";
import type { Releases } from "#agent/releases.ts";

/** Which release the marks belong to, and after which one the command after a batch has run. */
const TABLE = "release";
const MARKED = "marked";
const HOOKED = "hooked";

export type PublisherOptions = {
  readonly releases: Releases;
  /** Of the link's session; holds what releases were made from. */
  readonly store: Store;
  readonly seeds: SumSeeds;
  readonly keep: number;
  readonly hooks: HookContext;
  readonly clock: Clock;
};

export type PublishRequest = {
  /** Of the space: what the copy holds. */
  readonly sequence: number;
  /** What the copy's files certainly are. */
  readonly sums: (paths: readonly RelPath[]) => Promise<(Sum | Problem)[]>;
};

export class Publisher {
  readonly #options: PublisherOptions;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /**
   * Nobody of ours changes the copy until it resolves, with what the root shows.
   * @throws {SynclineError} HALT when the command before the flip fails, STALE when the copy is changed by somebody,
   *   ROOT_IDENTITY; FsError of the disk
   */
  async publish(request: PublishRequest, signal: AbortSignal): Promise<string | undefined> {
    const { releases, keep, hooks } = this.#options;
    releases.prepare();
    const newest = await this.#newest(request, signal);
    const shown = releases.shown();
    if (shown !== newest) await this.#flip(shown, newest, signal);
    else if (this.#note(HOOKED) !== newest) await this.#after(undefined, newest, signal);
    const settled = releases.shown();
    const removed = releases.prune(keep, newest);
    if (removed > 0) hooks.log("old releases removed", { link: hooks.link, removed });
    return settled;
  }

  /** A person has gone back to a release: the command after a flip is told once, also when a crash came between. */
  async wentBack(release: string, signal: AbortSignal): Promise<void> {
    const { releases, hooks } = this.#options;
    if (this.#note(HOOKED) === release || hooks.hooks.after === undefined) return;
    const from = releases.names().at(-1);
    const fault = await this.#run("after", from, release, signal);
    if (fault !== undefined) hooks.log("hook failed after a release was shown", { link: hooks.link, release, reason: fault });
    this.#setHooked(release);
  }

  #setHooked(release: string): void {
    const { store } = this.#options;
    store.transaction({ durable: true }, () => store.table(TABLE).set(HOOKED, Buffer.from(release)));
  }

  /** The release that shows what the copy holds; made when there is none. */
  async #newest(request: PublishRequest, signal: AbortSignal): Promise<string> {
    const { releases, store, seeds, clock, hooks } = this.#options;
    const marks = store.tree("release-marks", twinMarkCodec);
    const last = releases.names().at(-1);
    // Marks of another release say nothing: then everything is copied.
    const known = last !== undefined && this.#note(MARKED) === last ? last : undefined;
    if (known === undefined) store.transaction({ durable: false }, () => marks.deleteSubtree(""));
    using source = releases.openWork();
    using previous = known === undefined ? undefined : releases.open(known);
    const context: TwinContext = { clock, source, previous, marks, seeds, sums: request.sums, signal };
    if (known !== undefined && (await isTwin(context))) return known;
    let linked = 0;
    let copied = 0;
    const name = await releases.make(
      { madeMs: clock.nowMs(), sequence: request.sequence },
      (target) => makeTwin(context, target),
      (made, news) => {
        linked = news.linked;
        copied = news.set.size;
        store.transaction({ durable: true }, () => {
          for (const path of news.gone) marks.deleteSubtree(path);
          for (const [path, mark] of news.set) marks.set(path, mark);
          store.table(TABLE).set(MARKED, Buffer.from(made));
        });
      },
    );
    hooks.log("release made", { link: hooks.link, release: name, copied, linked });
    return name;
  }

  #note(key: string): string | undefined {
    const value = this.#options.store.table(TABLE).get(key);
    return value === undefined ? undefined : Buffer.from(value).toString();
  }

  async #flip(shown: string | undefined, newest: string, signal: AbortSignal): Promise<void> {
    const { releases, hooks } = this.#options;
    if (hooks.hooks.before !== undefined) {
      const fault = await this.#run("before", shown, newest, signal);
      if (fault !== undefined) throw stopped(fault);
    }
    signal.throwIfAborted();
    if (releases.pauses.read() !== undefined) return;
    await releases.flip(newest);
    // A person may have flipped back at this very moment, with a program of their own.
    const pause = releases.pauses.read();
    if (pause !== undefined) return this.#show(pause.release);
    hooks.log("release shown", { link: hooks.link, release: newest, before: shown ?? "nothing" });
    await this.#after(shown, newest, signal);
  }

  async #show(name: string | null): Promise<void> {
    const { releases } = this.#options;
    if (name !== null && releases.shown() !== name) await releases.flip(name);
  }

  /** After a flip that nobody was told of yet; also when a crash came between the two, or before the one of an earlier flip. */
  async #after(shown: string | undefined, newest: string, signal: AbortSignal): Promise<void> {
    const { releases, hooks, clock } = this.#options;
    if (hooks.hooks.after !== undefined) {
      const told = this.#note(HOOKED);
      const from = told !== undefined && releases.names().includes(told) ? told : shown;
      const fault = await this.#run("after", from, newest, signal);
      if (fault !== undefined) {
        hooks.log("hook failed after a release was shown", { link: hooks.link, release: newest, reason: fault });
        const others = releases.names().filter((name) => name !== newest);
        // The older of both: a later one that is shown may be no better, because the command was cut off after its flip, too;
        // an earlier one a person has gone back to.
        const back = others.find((name) => name === told || name === shown) ?? others.at(-1);
        if (hooks.hooks.onAfterFailure === "rollback" && back !== undefined) {
          const reason = `the command after ${newest} failed: ${fault}`;
          const pause = releases.pauses.read();
          // What a person wants stands.
          if (pause === undefined) releases.pauses.write({ reason, by: "hook", sinceMs: clock.nowMs(), release: back, undo: null });
          await this.#show(pause === undefined ? back : pause.release);
          throw new SynclineError({ code: "HALT", op: "hook", message: reason });
        }
      }
    }
    this.#setHooked(newest);
  }

  #run(when: "before" | "after", from: string | undefined, to: string, signal: AbortSignal): Promise<string | undefined> {
    const { hooks } = this.#options;
    const batch = { SYNCLINE_RELEASE: to };
    return runHook(hooks, { when, ...this.#changes(from, to), traceId: newTraceId(hooks.random), batch }, signal);
  }

  /** What differs between two releases, as commands are told it. */
  #changes(from: string | undefined, to: string): { told: Told[]; count: number } {
    const { releases } = this.#options;
    const told: Told[] = [];
    let count = 0;
    using before: Confined | undefined = from === undefined ? undefined : releases.open(from);
    using after = releases.open(to);
    for (const change of treeChanges(before, after)) {
      count++;
      if (told.length < HOOK_CHANGES_MAX) told.push(change);
    }
    return { told, count };
  }
}
