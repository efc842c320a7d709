/**
 * Keeps one link going: runs its session, begins it again when it ends, waits outside of its windows and while it is
 * paused, and lets through what a person has approved or decided. The session itself retries a lost connection; what it
 * gives up is tried again here, because a disk that was not mounted may be, an hour later.
 */
import { SynclineError, messageOf } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { FsError } from "#platform/file-system.ts";
import { diskError } from "#sync/endpoint/disk-error.ts";
import type { HeldPlan, LinkState } from "#hub/agents/control.ts";
import type { Dependency } from "#hub/agents/dependencies.ts";
import type { Keep, LeftConflicts } from "#hub/agents/left-conflicts.ts";
import type { AssignedLink } from "#hub/agents/link.ts";
import { type LinkContext, LinkParts, rootsOf } from "#agent/link-context.ts";
import { LinkPauses } from "#agent/link-pauses.ts";
import { LinkSessions, WINDOW_LOOK_MS } from "#agent/link-sessions.ts";
import { LinkWatch } from "#agent/link-watch.ts";
import { isOpen } from "#agent/schedule.ts";

/** After a session gave up: doubles from the first to the longest. */
const AGAIN_FIRST_MS = 2000;
const AGAIN_LONGEST_MS = 5 * 60_000;
/** A session that was well for so long begins that anew: what failed before it says nothing of what fails after it. */
const WELL_MS = AGAIN_LONGEST_MS;
const REASON_CHARS_MAX = 500;

export class LinkRunner {
  readonly id: string;
  readonly #parts: LinkParts;
  readonly #watch = new LinkWatch();
  readonly #pauses: LinkPauses;
  readonly #sessions: LinkSessions;
  readonly #stop = new AbortController();
  /** Ends the session at hand, or the wait between two, and begins anew with what is assigned now. */
  #round = new AbortController();
  readonly #done: Promise<void>;
  /** Asked for since the session at hand began. */
  readonly #rescans: PromiseWithResolvers<string | undefined>[] = [];
  /** Monotonic: when the session at hand had looked at everything. */
  #wellSinceMs: number | undefined;

  constructor(link: AssignedLink, context: LinkContext) {
    this.id = link.id;
    this.#parts = new LinkParts(link, context);
    this.#pauses = new LinkPauses(this.#parts, this.#watch);
    this.#sessions = new LinkSessions({
      parts: this.#parts,
      watch: this.#watch,
      pauses: this.#pauses,
      onLookedAt: () => {
        this.#wellSinceMs ??= context.host.clock.monotonicMs();
        this.#rescanned(undefined);
      },
      again: (why) => this.#again(why),
    });
    this.#done = this.#supervise();
  }

  get root(): string {
    return this.#parts.link.root;
  }

  /** Where it is at work. */
  get roots(): readonly string[] {
    return rootsOf(this.#parts.link);
  }

  /** Is this a file that the link, while it runs, agrees on with its space? Nothing else of its root is the hub's. */
  agreesOnFile(path: RelPath): boolean {
    return this.#sessions.agreesOnFile(path);
  }

  /** What heartbeats say. */
  report(): LinkState {
    return this.#sessions.report();
  }

  /** The plan that is held now. */
  get held(): HeldPlan | undefined {
    return this.#sessions.held;
  }

  /** The hub has changed the link. */
  update(link: AssignedLink): void {
    if (JSON.stringify(link) === JSON.stringify(this.#parts.link)) return;
    this.#parts.link = link;
    this.#again("the link was changed");
  }

  /** The host's own configuration has changed. */
  reconfigured(): void {
    this.#again("the configuration was changed");
  }

  /** A person has approved exactly the plan of that hash. One that is not held any more is not carried out. */
  approve(hash: string): void {
    if (!this.#sessions.approve(hash)) return;
    this.#parts.context.log("plan approved", { link: this.id, hash });
    this.#again("its plan was approved");
  }

  /** Conflicts that the last complete cycle has left. */
  conflicts(): LeftConflicts {
    return this.#sessions.conflicts.list(this.#parts.link, this.#parts.context.hash);
  }

  /** A person has decided about one of them. @throws {SynclineError} as LinkConflicts.decide() */
  resolve(decision: { path: RelPath; tag: string; keep: Keep }, by: string): void {
    this.#sessions.conflicts.decide(this.#parts.link, decision, this.#parts.context.hash);
    this.#parts.context.log("conflict decided", { link: this.id, path: decision.path, keep: decision.keep, by });
    this.#again("a conflict was decided");
  }

  /**
   * Looks at everything below the root: a session that begins does. Resolves when it has, with what is in its way, if
   * anything.
   */
  rescan(): Promise<string | undefined> {
    this.#rescans.push(Promise.withResolvers());
    this.#again("the hub asks for a rescan");
    return this.#rescans.at(-1)!.promise;
  }

  #rescanned(trouble: string | undefined): void {
    for (const asked of this.#rescans.splice(0)) asked.resolve(trouble);
  }

  /** Those of one of its projects. @throws {SynclineError} NOT_FOUND, STATE, LIMIT */
  dependencies(project: string): readonly Dependency[] {
    return this.#sessions.dependencies(project);
  }

  /** A person wants the link to show an earlier release, and to stay there. */
  async rollback(wanted: string | null, by: string): Promise<void> {
    const { log } = this.#parts.context;
    try {
      const release = await this.#pauses.goBack(wanted, by);
      this.#again("it was paused");
      log("went back to a release", { link: this.id, release, by });
    } catch (error) {
      log("cannot go back to a release", { link: this.id, release: wanted ?? "before", by, reason: String(error).slice(0, 500) });
    }
  }

  /** A person lets a paused link go on. */
  resume(by: string): void {
    if (!this.#pauses.clear()) return;
    this.#parts.context.log("link goes on", { link: this.id, by });
    this.#again("it was resumed");
  }

  /** The hub can be reached again: do not wait for the end of a long pause. */
  hubIsBack(): void {
    if (this.#watch.phase !== "retrying") return;
    // A session that waits knows what happened on this host meanwhile; a new one would look at everything.
    if (!this.#sessions.wake()) this.#again("the hub is back");
  }

  async stop(): Promise<void> {
    this.#rescanned("the link ends");
    this.#stop.abort(new SynclineError({ code: "INTERRUPTED", op: "link", message: "the agent stops" }));
    await this.#done;
  }

  #again(why: string): void {
    this.#round.abort(new SynclineError({ code: "INTERRUPTED", op: "link", message: why }));
  }

  async #supervise(): Promise<void> {
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      this.#round = new AbortController();
      const signal = AbortSignal.any([this.#stop.signal, this.#round.signal]);
      const { host, log } = this.#parts.context;
      let isRunning = false;
      try {
        if (!(await this.#mayRun(signal))) continue;
        isRunning = true;
        this.#wellSinceMs = undefined;
        await this.#sessions.run(signal);
        failures = 0;
      } catch (caught) {
        const error = caught instanceof FsError ? diskError("make a release", this.root, caught) : caught;
        // What fails while it stands still fails again at once.
        if (signal.aborted || (isRunning && this.#pauses.isPaused)) continue;
        if (isRunning && host.clock.monotonicMs() - (this.#wellSinceMs ?? Infinity) >= WELL_MS) failures = 0;
        const delayMs = Math.min(AGAIN_LONGEST_MS, AGAIN_FIRST_MS * 2 ** Math.min(failures++, 16));
        this.#failed(error);
        this.#rescanned(`the link failed: ${messageOf(error)}`);
        log("link failed", { link: this.id, root: this.root, ...wordsOf(error), againMs: delayMs });
        await host.clock.sleep(delayMs, signal).catch(() => undefined);
      }
    }
  }

  /** Waits, in the state that says why, while there is no session to run. True: now there is. */
  async #mayRun(signal: AbortSignal): Promise<boolean> {
    const { enabled, trouble, seeds, settings } = this.#parts.link;
    const { clock } = this.#parts.context.host;
    if (!enabled || seeds === null) {
      const error = trouble === null ? undefined : { code: "SPACE_UNKNOWN", message: trouble, hint: null };
      this.#rest(enabled ? "retrying" : "disabled", error);
      this.#rescanned(trouble ?? "the link is disabled");
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
      return false;
    }
    const rest = (error: { code: string; message: string; hint: string }): void => {
      this.#rest("paused", error);
      this.#rescanned(`the link is paused: ${error.message}`);
    };
    await this.#pauses.standStill(rest, signal);
    while (!isOpen(settings.windows, new Date(clock.nowMs()))) {
      this.#rest("waiting", undefined);
      this.#rescanned("the link waits for its window");
      await clock.sleep(WINDOW_LOOK_MS, signal).catch(() => undefined);
      if (signal.aborted) return false;
    }
    return !signal.aborted;
  }

  #rest(...args: Parameters<LinkWatch["rest"]>): void {
    const before = this.#watch.phase;
    this.#sessions.conflicts.doubt();
    this.#watch.rest(...args);
    if (before !== this.#watch.phase) this.#parts.context.onChange();
  }

  #failed(error: unknown): void {
    const known = error instanceof SynclineError ? error : undefined;
    const message = (known?.message ?? String(error)).slice(0, 2000);
    const trouble = { code: known?.code ?? "INTERNAL", message, hint: known?.hint?.slice(0, 2000) ?? null };
    this.#rest("halted", trouble);
  }
}

/** What the operator can mend, with how; of a fault of the program also what kind it is. */
function wordsOf(error: unknown): Record<string, string> {
  if (!(error instanceof SynclineError)) return { reason: String(error).slice(0, REASON_CHARS_MAX) };
  const { message, hint } = error;
  return { reason: message.slice(0, REASON_CHARS_MAX), ...(hint === undefined ? {} : { hint }) };
}
