/**
 * The sessions of one link, one after the other: opens both sides, runs the engine, and turns what it tells into the
 * link's state, held plans and releases. What outlives a session is here: the state, an approval, projects.
 */
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { TurnEndpoint } from "#sync/endpoint/turns.ts";
import { entryCodec } from "#sync/index/record-codecs.ts";
import type { Store } from "#sync/index/store.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";
import { runSession } from "#sync/session/session.ts";
import { savedMark } from "#sync/session/side-mark.ts";
import type { HeldPlan, LinkState } from "#hub/agents/control.ts";
import type { Dependency } from "#hub/agents/dependencies.ts";
import { settingsFault } from "#hub/agents/link.ts";
import { Projects } from "#agent/deps/projects.ts";
import { heldPlan } from "#agent/held-plan.ts";
import { AfterBatch } from "#agent/after-batch.ts";
import { HookedEndpoint } from "#agent/hooks.ts";
import { KeptRoot } from "#agent/kept-root.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";
import { LinkTraces } from "#agent/link-traces.ts";
import { LinkConflicts } from "#agent/link-conflicts.ts";
import { type LinkParts, RESCAN_MS } from "#agent/link-context.ts";
import { type DigestSource, LinkDigestKeeper } from "#agent/link-digest.ts";
import { LinkProblems } from "#agent/link-problems.ts";
import { type LinkPauses, PAUSE_LOOK_MS } from "#agent/link-pauses.ts";
import type { LinkWatch } from "#agent/link-watch.ts";
import { ReleasedEndpoint, Shown } from "#agent/released-endpoint.ts";
import type { Releases } from "#agent/releases.ts";
import { forgetIfRestored, keepStamping } from "#agent/root-stamp.ts";
import { isOpen } from "#agent/schedule.ts";

/** How often a clock is looked at for the windows. */
export const WINDOW_LOOK_MS = 10_000;
/** Digits of a plan's hash. */
const PLAN_HASH_DIGITS = 12;

/** A session that ends so has not failed. */
const WINDOW_ENDED = new SynclineError({ code: "INTERRUPTED", op: "link", message: "its window has ended" });

type LocalSide = {
  /** What the session changes. */
  readonly root: string;
  readonly local: () => Endpoint;
  /** Of a link that makes releases. */
  readonly shown: Shown | undefined;
};

export type SessionsOptions = {
  readonly parts: LinkParts;
  readonly watch: LinkWatch;
  readonly pauses: LinkPauses;
  /** Everything below the root was looked at, by a session that goes on. */
  readonly onLookedAt: () => void;
  /** Ends the session at hand and begins another one. */
  readonly again: (why: string) => void;
};

export class LinkSessions {
  readonly conflicts: LinkConflicts;
  readonly #options: SessionsOptions;
  readonly #digest: LinkDigestKeeper;
  readonly #problems: LinkProblems;
  #approved: string | undefined;
  #lastPlan: HeldPlan | undefined;
  /** Of the root and the list that it was made for; what failed, and how often, outlives a session. */
  #projects: Projects | undefined;
  #projectsOf = "";
  /** Ends the pause of a session that waits for the hub. */
  #wake: (() => void) | undefined;
  #traces: LinkTraces | undefined;
  /** Files that are encrypted in the space, of the cycle whose problems are being told. */
  #encrypted = 0;
  /** While a session runs. */
  #makeDurable: (() => void) | undefined;
  /** The same. */
  #atWork: Omit<DigestSource, "sequence"> | undefined;

  constructor(options: SessionsOptions) {
    this.#options = options;
    const { host, log, onChange, stateFile } = options.parts.context;
    const decisions = stateFile(`decisions/${options.parts.link.id}.json`);
    this.conflicts = new LinkConflicts({ read: () => readPrivateFile(decisions), write: (text) => writePrivateFile(decisions, text) });
    this.#digest = new LinkDigestKeeper(host.clock, onChange);
    this.#problems = new LinkProblems(options.parts.link.id, log);
  }

  /** Is this a file that the link, while it runs, agrees on with its space? Nothing else of its root is the hub's. */
  agreesOnFile(path: RelPath): boolean {
    return this.#atWork?.store.tree("ancestor", entryCodec).get(path)?.kind === "file";
  }

  /** What heartbeats say. What the session has consumed is made durable first, so that the hub may rely on it. */
  report(): LinkState {
    this.#makeDurable?.();
    const { parts, watch } = this.#options;
    const { sequence, isAtRest } = watch;
    if (isAtRest && this.#atWork !== undefined) this.#digest.rest({ ...this.#atWork, sequence });
    const now = parts.context.host.clock.monotonicMs();
    return watch.state(parts.link.id, parts.link.generation, now, this.#digest.at(sequence));
  }

  /** The plan that is held now. */
  get held(): HeldPlan | undefined {
    return this.#options.watch.holdHash === undefined ? undefined : this.#lastPlan;
  }

  /** False: no such plan is held, or it is approved already. */
  approve(hash: string): boolean {
    if (this.#options.watch.holdHash !== hash || this.#approved === hash) return false;
    this.#approved = hash;
    return true;
  }

  /** Those of one of its projects. @throws {SynclineError} NOT_FOUND, STATE, LIMIT */
  dependencies(project: string): readonly Dependency[] {
    if (this.#projects !== undefined) return this.#projects.list(project);
    throw new SynclineError({ code: "NOT_FOUND", op: "list dependencies", message: "the link watches no projects" });
  }

  /** The hub can be reached again. False: no session waits for it. */
  wake(): boolean {
    this.#wake?.();
    return this.#wake !== undefined;
  }

  /** One session, until it ends. Throws what ends it early. */
  async run(signal: AbortSignal): Promise<void> {
    const { context, link, sessionId } = this.#options.parts;
    const fault = settingsFault(link.settings);
    if (fault !== undefined) throw new SynclineError({ code: "USAGE", op: "link", message: fault });
    const store = context.openState(`sessions/${sessionId}.db`);
    try {
      await this.#run(store, signal);
    } finally {
      store.close();
    }
  }

  async #run(store: Store, signal: AbortSignal): Promise<void> {
    const { parts, watch } = this.#options;
    const { context, link, sessionId, seeds } = parts;
    const { host, log } = context;
    const { settings } = link;
    const isHostAlpha = settings.from === "host";
    const spaceSide: Side = isHostAlpha ? "beta" : "alpha";
    const window = new AbortController();
    const ended = AbortSignal.any([signal, window.signal]);
    const { local: unturned, root, shown } = this.#localSide(store, window, ended);
    // What goes on beside the session, and fails, ends it.
    const failed = (error: unknown): void => window.abort(error);
    const closing = Promise.all([this.#closeAtEnd(window, ended), this.#endWhenPaused(window, ended, shown)]).catch(failed);
    const kept = new KeptRoot(unturned, host.clock, RESCAN_MS);
    const traces = (this.#traces = this.#tracesOf());
    const traced = (endpoint: Endpoint, place: "host" | "space"): Endpoint => traces?.traced(endpoint, place) ?? endpoint;
    const local = (): Endpoint => traced(new TurnEndpoint(kept.connect(), context.turns, settings.priority), "host");
    const remote = (): Endpoint => traced(context.openSpace(link.id), "space");
    const stamp = { fs: host.fs, clock: host.clock, random: host.random, root, store, sessionId };
    let stamping: Promise<void> | undefined;
    let installing: Promise<void> | undefined;
    try {
      installing = this.#watchedProjects()?.run(ended).catch(failed);
      if (forgetIfRestored(stamp, seeds, isHostAlpha ? "alpha" : "beta")) {
        log("root or state was restored from a backup: everything is compared", { link: link.id, root });
      }
      stamping = keepStamping(stamp, ended);
      watch.stored = null;
      this.#makeDurable = () => this.#storeMark(store, sessionId, spaceSide);
      this.#digest.changed();
      this.#atWork = { store, signal: ended };
      this.conflicts.begin();
      await runSession({
        sessionId,
        alpha: isHostAlpha ? local : remote,
        beta: isHostAlpha ? remote : local,
        options: this.#sessionOptions(),
        store,
        seeds,
        host,
        onEvent: (event) => this.#onEvent(event, store, spaceSide, shown, signal),
        hash: (text) => context.hash(text, PLAN_HASH_DIGITS),
        signal: ended,
        onPause: (wake) => (this.#wake = wake),
      });
      const { reason } = window.signal as { reason: unknown };
      if (window.signal.aborted && reason !== WINDOW_ENDED) throw reason;
    } finally {
      window.abort(WINDOW_ENDED);
      this.#wake = undefined;
      await Promise.all([closing, stamping, installing, shown?.idle()]);
      await kept.end();
      watch.isPublishing = false;
      this.#atWork = undefined;
      this.#makeDurable?.();
      this.#makeDurable = undefined;
    }
  }

  #tracesOf(): LinkTraces | undefined {
    const { context, link } = this.#options.parts;
    const { spans: sink, host } = context;
    if (sink === undefined) return undefined;
    const attributes = { "syncline.link": link.id, "syncline.space": link.space, "syncline.prefix": link.prefix };
    return new LinkTraces({ sink, clock: host.clock, random: host.random, attributes });
  }

  /** Read by each cycle: an approval, or a decision about conflicts, is good for one. */
  #sessionOptions(): SessionOptions {
    const approved = (): string | undefined => this.#approved;
    const decided = (): LinkConflicts["policy"] => this.conflicts.policy;
    const { options } = this.#options.parts;
    return {
      ...options,
      get approve() {
        return approved();
      },
      get conflict() {
        return decided()?.conflict ?? options.conflict;
      },
      get conflictPaths() {
        return decided()?.paths;
      },
    };
  }

  #watchedProjects(): Projects | undefined {
    const { parts, watch } = this.#options;
    const { host, configured, stateFile, onChange, log } = parts.context;
    const { mayInstall } = configured();
    const { id, root, settings } = parts.link;
    const key = JSON.stringify([root, settings.install, mayInstall]);
    if (key !== this.#projectsOf) {
      this.#projectsOf = key;
      const file = stateFile(`installed/${id}.json`);
      const cache = stateFile("npm-cache");
      const options = { host, root, projects: settings.install, mayInstall, file, cache, link: id, onChange, log };
      this.#projects = settings.install.length === 0 ? undefined : new Projects(options);
      watch.projects = () => this.#projects?.states() ?? [];
    }
    this.#projects?.notice();
    return this.#projects;
  }

  /** The host's side: its root changed in place, or the link's own copy, of which releases are made. */
  #localSide(store: Store, end: AbortController, signal: AbortSignal): LocalSide {
    const { parts, pauses } = this.#options;
    const { link, hooks, releases } = parts;
    const { openRoot } = parts.context;
    const { root } = link;
    if (releases === undefined) {
      const isHooked = hooks.hooks.before !== undefined || hooks.hooks.after !== undefined;
      const takeBack = (runId: string, fault: string): void => pauses.pauseAfter(runId, fault);
      const after = new AfterBatch({ context: hooks, store, takeBack });
      return { root, shown: undefined, local: () => (isHooked ? new HookedEndpoint(openRoot(root), hooks, after) : openRoot(root)) };
    }
    releases.prepare();
    pauses.look();
    const shown = new Shown(parts.publisher(releases, store), signal, (error) => end.abort(error));
    return { root: releases.work, shown, local: () => new ReleasedEndpoint(openRoot(releases.work), shown) };
  }

  /**
   * The host's own command line pauses a link by its file. It may have been let go on before we looked: then the root
   * shows another release than ours, and a new session shows the newest one again.
   */
  async #endWhenPaused(window: AbortController, signal: AbortSignal, shown: Shown | undefined): Promise<void> {
    const { parts, pauses } = this.#options;
    const { releases } = parts;
    if (releases === undefined || shown === undefined) return;
    while (!signal.aborted && !pauses.isPaused && !isFlipped(releases, shown)) {
      await parts.context.host.clock.sleep(PAUSE_LOOK_MS, signal).catch(() => undefined);
    }
    window.abort(WINDOW_ENDED);
  }

  /** Ends the session when the last of its windows closes. */
  async #closeAtEnd(window: AbortController, signal: AbortSignal): Promise<void> {
    const { context, link } = this.#options.parts;
    const { clock } = context.host;
    const { windows } = link.settings;
    if (windows.length === 0) return;
    while (!signal.aborted && isOpen(windows, new Date(clock.nowMs()))) {
      await clock.sleep(WINDOW_LOOK_MS, signal).catch(() => undefined);
    }
    window.abort(WINDOW_ENDED);
  }

  #storeMark(store: Store, session: string, side: Side): void {
    const { parts, watch } = this.#options;
    const mark = savedMark(store, side);
    const { stored } = watch;
    if (mark === undefined || (stored?.epoch === mark.epoch && stored.sequence >= mark.seq)) return;
    try {
      // A durable transaction takes with it what was written before.
      store.transaction({ durable: true }, () => store.table("stored").set("sequence", Buffer.from(String(mark.seq))));
      watch.stored = { session, epoch: mark.epoch, sequence: mark.seq };
    } catch (error) {
      parts.context.log("state cannot be written", { link: parts.link.id, reason: String(error).slice(0, 500) });
    }
  }

  #onEvent(event: SessionEvent, store: Store, spaceSide: Side, shown: Shown | undefined, round: AbortSignal): void {
    // The problems of a cycle come before it. A space holds nothing else that cannot be carried.
    if (event.type === "problem" && event.problem.side === spaceSide && event.problem.code === "UNSUPPORTED") this.#encrypted++;
    if (event.type === "cycle") {
      const { result, problems, changes } = event.summary;
      // What nobody could bring leaves nothing undone, and is told by itself.
      const isComplete = result === "same" || (result === "problems" && problems === this.#encrypted);
      this.#encrypted = 0;
      if (changes > 0) shown?.changed();
      if (isComplete && shown !== undefined) return this.#show(event, store, spaceSide, shown, round);
    }
    this.#happened(event, store, spaceSide, round);
  }

  /** What is carried over counts when it is shown. */
  #show(event: SessionEvent & { type: "cycle" }, store: Store, spaceSide: Side, shown: Shown, round: AbortSignal): void {
    const { parts, watch, pauses } = this.#options;
    const { onChange, host } = parts.context;
    const sequence = savedMark(store, spaceSide)?.seq ?? 0;
    if (!shown.isBehind) {
      // What is complete is still being made a release of.
      if (!watch.isPublishing) this.#happened(event, store, spaceSide, round);
      return;
    }
    watch.publishing(host.clock.monotonicMs());
    shown.show(sequence, (isLast) => {
      pauses.look();
      this.#happened(event, store, spaceSide, round);
      watch.sequence = sequence;
      watch.isPublishing = false;
      if (!isLast) watch.publishing(host.clock.monotonicMs());
      onChange();
    });
  }

  #happened(event: SessionEvent, store: Store, spaceSide: Side, round: AbortSignal): void {
    const { parts, watch, onLookedAt, again } = this.#options;
    const { host, onChange, log } = parts.context;
    const { id } = parts.link;
    const before = watch.phase;
    watch.event(event, host.clock.monotonicMs());
    this.#traces?.event(event);
    this.#problems.event(event, spaceSide);
    for (const path of this.conflicts.event(event, parts.link, parts.context.hash)) {
      log("a decision about a conflict was dropped: it is not the conflict any more that was decided", { link: id, path });
    }
    if (event.type === "hold") this.#hold(event, spaceSide);
    // A session that begins looks at everything first. What one that was given up says is no answer.
    const isLookedAt = event.type === "phase" && event.phase === "watching" && !round.aborted;
    if (isLookedAt) onLookedAt();
    if (event.type === "cycle") {
      const { result, changes } = event.summary;
      if (changes > 0) this.#digest.changed();
      if (result !== "held") this.#approved = undefined;
      watch.sequence = savedMark(store, spaceSide)?.seq ?? 0;
      if (changes > 0) this.#projects?.notice();
      if (changes > 0) log("changes carried over", { link: id, ...cycleFields(event.summary) });
    }
    if (event.type === "scrub") {
      const { files, bytes, damaged } = event;
      log("files were read again", { link: id, files, bytes, damaged });
    }
    if (event.type === "retry") log("link will be tried again", { link: id, reason: event.reason, delayMs: event.delayMs });
    const isNews = event.type === "cycle" || event.type === "hold" || event.type === "retry";
    if (isNews || (event.type === "phase" && (watch.phase === "held" || before === "retrying"))) onChange();
    if (event.type === "cycle" && this.conflicts.waits) again("more was decided about its conflicts");
  }

  #hold({ hash, reason, plan }: SessionEvent & { type: "hold" }, spaceSide: Side): void {
    const { context, link } = this.#options.parts;
    // Another plan by now: nobody approved that one.
    if (hash !== this.#approved) this.#approved = undefined;
    this.#lastPlan = heldPlan(link.id, hash, reason, plan, spaceSide);
    context.log("plan held", { link: link.id, hash, reason });
    context.onHold(this.#lastPlan);
  }
}

function cycleFields(summary: Summary): Record<string, string | number> {
  const { runId, result, changes, healed, conflicts, problems, bytes, seconds } = summary;
  const told = { runId, result, changes, conflicts, problems, bytes: bytes.literal, seconds };
  return healed > 0 ? { ...told, healed } : told;
}

/** Has somebody else flipped the root since we did? */
function isFlipped(releases: Releases, { settled }: Shown): boolean {
  try {
    return settled !== undefined && releases.shown() !== settled;
  } catch {
    return false;
  }
}
