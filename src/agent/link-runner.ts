/**
 * Keeps one link going: runs its session, begins it again when it ends, waits outside of its windows, and lets an
 * approved plan through. The session itself retries a lost connection; what it gives up is tried again here, because a
 * disk that was not mounted may be, an hour later.
 */
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import { FsError } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import { diskError } from "#sync/endpoint/disk-error.ts";
import type { Endpoint, OpenRequest, SumSeeds } from "#sync/endpoint/endpoint.ts";
import { TurnEndpoint, type Turns } from "#sync/endpoint/turns.ts";
import { entryCodec } from "#sync/index/record-codecs.ts";
import type { Store } from "#sync/index/store.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";
import { runSession } from "#sync/session/session.ts";
import { savedMark } from "#sync/session/state.ts";
import type { HeldPlan, LinkState } from "#hub/agents/control.ts";
import { type AssignedLink, settingsFault } from "#hub/agents/link.ts";
import type { Dependency } from "#hub/agents/dependencies.ts";
import { Projects, installedLines } from "#agent/deps/projects.ts";
import { heldPlan } from "#agent/held-plan.ts";
import { type HookContext, HookedEndpoint, type Hooks } from "#agent/hooks.ts";
import { type DigestSource, LinkDigestKeeper } from "#agent/link-digest.ts";
import { KeptRoot } from "#agent/kept-root.ts";
import { LinkWatch } from "#agent/link-watch.ts";
import { type Pause, PauseFile, shownPause } from "#agent/pause.ts";
import { Publisher } from "#agent/publisher.ts";
import { ReleasedEndpoint, Shown } from "#agent/released-endpoint.ts";
import { Releases, noRelease } from "#agent/releases.ts";
import { forgetIfRestored, keepStamping } from "#agent/root-stamp.ts";
import { isOpen, rateAt } from "#agent/schedule.ts";

/** After a session gave up: doubles from the first to the longest. */
const AGAIN_FIRST_MS = 2000;
const AGAIN_LONGEST_MS = 5 * 60_000;
/** How often a clock is looked at for the windows. */
const WINDOW_LOOK_MS = 10_000;
const RESCAN_MS = 5 * 60_000;
/** How often it is looked whether somebody has paused the link, or lets it go on. */
const PAUSE_LOOK_MS = 1000;
/** Digits of a plan's hash. */
const PLAN_HASH_DIGITS = 12;

export type AgentLog = (message: string, fields: Readonly<Record<string, string | number>>) => void;

export type Configured = {
  /** After the lines of space and link. */
  readonly ignore: readonly string[];
  readonly hooks: Hooks;
  readonly mayInstall: boolean;
};

export type LinkContext = {
  readonly host: Host;
  /** The local root. */
  readonly openRoot: (path: string) => Endpoint;
  /** The space behind a link, at the hub. */
  readonly openSpace: (linkId: string) => Endpoint;
  /** Opens a database of ours below the data directory; a damaged one is begun anew. */
  readonly openState: (name: string) => Store;
  /** Absolute path of a small file of ours in the data directory. */
  readonly stateFile: (name: string) => string;
  /** Text to hex digits (SHA-256). */
  readonly hash: (text: string, digits: number) => string;
  /** Keeps this agent's sessions apart from those of any other. */
  readonly installation: string;
  /** What the host's own configuration says now. */
  readonly configured: () => Configured;
  /** Of all links of the host. */
  readonly turns: Turns;
  readonly onChange: () => void;
  readonly onHold: (plan: HeldPlan) => void;
  readonly log: AgentLog;
};

/** A session that ends so has not failed. */
const WINDOW_ENDED = new SynclineError({ code: "INTERRUPTED", op: "link", message: "its window has ended" });

type LocalSide = {
  /** What the session changes. */
  readonly root: string;
  readonly local: () => Endpoint;
  /** Of a link that makes releases. */
  readonly shown: Shown | undefined;
};

export class LinkRunner {
  readonly id: string;
  #link: AssignedLink;
  readonly #context: LinkContext;
  readonly #watch = new LinkWatch();
  readonly #stop = new AbortController();
  /** Ends the session at hand, or the wait between two, and begins anew with what is assigned now. */
  #round = new AbortController();
  #approved: string | undefined;
  readonly #done: Promise<void>;
  #lastPlan: HeldPlan | undefined;
  /** Asked for since the session at hand began. */
  readonly #rescans: PromiseWithResolvers<string | undefined>[] = [];
  /** Of the root and the list that it was made for; what failed, and how often, outlives a session. */
  #projects: Projects | undefined;
  #projectsOf = "";
  /** Ends the pause of a session that waits for the hub. */
  #wake: (() => void) | undefined;
  /** While a session runs. */
  #makeDurable: (() => void) | undefined;
  /** The same. */
  #atWork: Omit<DigestSource, "sequence"> | undefined;
  readonly #digest: LinkDigestKeeper;

  constructor(link: AssignedLink, context: LinkContext) {
    this.id = link.id;
    this.#link = link;
    this.#context = context;
    this.#digest = new LinkDigestKeeper(context.host.clock, context.onChange);
    this.#done = this.#supervise();
  }

  get root(): string {
    return this.#link.root;
  }

  /** Is this a file that the link, while it runs, agrees on with its space? Nothing else of its root is the hub's. */
  agreesOnFile(path: RelPath): boolean {
    return this.#atWork?.store.tree("ancestor", entryCodec).get(path)?.kind === "file";
  }

  /** What heartbeats say. What the session has consumed is made durable first, so that the hub may rely on it. */
  report(): LinkState {
    this.#makeDurable?.();
    const { sequence, isAtRest } = this.#watch;
    if (isAtRest && this.#atWork !== undefined) this.#digest.rest({ ...this.#atWork, sequence });
    const now = this.#context.host.clock.monotonicMs();
    return this.#watch.state(this.id, this.#link.generation, now, this.#digest.at(sequence));
  }

  /** The plan that is held now. */
  get held(): HeldPlan | undefined {
    return this.#watch.holdHash === undefined ? undefined : this.#lastPlan;
  }

  /** The hub has changed the link. */
  update(link: AssignedLink): void {
    if (JSON.stringify(link) === JSON.stringify(this.#link)) return;
    this.#link = link;
    this.#again("the link was changed");
  }

  /** The host's own configuration has changed. */
  reconfigured(): void {
    this.#again("the configuration was changed");
  }

  /** A person has approved exactly the plan of that hash. One that is not held any more is not carried out. */
  approve(hash: string): void {
    if (this.#watch.holdHash !== hash || this.#approved === hash) return;
    this.#context.log("plan approved", { link: this.id, hash });
    this.#approved = hash;
    this.#again("its plan was approved");
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
    if (this.#projects !== undefined) return this.#projects.list(project);
    throw new SynclineError({ code: "NOT_FOUND", op: "list dependencies", message: "the link watches no projects" });
  }

  /** A person wants the link to show an earlier release, and to stay there. */
  async rollback(wanted: string | null, by: string): Promise<void> {
    const { log } = this.#context;
    try {
      const release = await this.#rollback(wanted, by);
      log("went back to a release", { link: this.id, release, by });
    } catch (error) {
      log("cannot go back to a release", { link: this.id, release: wanted ?? "before", by, reason: String(error).slice(0, 500) });
    }
  }

  async #rollback(wanted: string | null, by: string): Promise<string> {
    const releases = this.#releases;
    const release = wanted ?? releases?.before();
    if (releases === undefined || release === undefined || !releases.names().includes(release)) {
      throw noRelease(this.#link.root, release ?? "before that");
    }
    const reason = `${by} went back to this release`;
    await releases.goBack({ reason, by, sinceMs: this.#context.host.clock.nowMs(), release, undo: null });
    this.#look();
    this.#again("it was paused");
    return release;
  }

  /** A person lets a paused link go on. */
  resume(by: string): void {
    if (!this.#pauses.clear()) return;
    this.#context.log("link goes on", { link: this.id, by });
    this.#again("it was resumed");
  }

  get #releases(): Releases | undefined {
    const { root, settings } = this.#link;
    return settings.apply === "release" ? new Releases(this.#context.host.fs, root) : undefined;
  }

  get #pauses(): PauseFile {
    return this.#releases?.pauses ?? new PauseFile(this.#context.stateFile(`pauses/${this.id}.json`));
  }

  /** The hub can be reached again: do not wait for the end of a long pause. */
  hubIsBack(): void {
    if (this.#watch.phase !== "retrying") return;
    // A session that waits knows what happened on this host meanwhile; a new one would look at everything.
    if (this.#wake === undefined) this.#again("the hub is back");
    else this.#wake();
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
      const { host, log } = this.#context;
      let isRunning = false;
      try {
        if (!(await this.#mayRun(signal))) continue;
        isRunning = true;
        await this.#session(signal);
        failures = 0;
      } catch (caught) {
        const error = caught instanceof FsError ? diskError("make a release", this.#link.root, caught) : caught;
        // What fails while it stands still fails again at once.
        if (signal.aborted || (isRunning && this.#isPaused())) continue;
        const delayMs = Math.min(AGAIN_LONGEST_MS, AGAIN_FIRST_MS * 2 ** Math.min(failures++, 16));
        this.#failed(error);
        this.#rescanned(`the link failed: ${error instanceof Error ? error.message : String(error)}`);
        log("link failed", { link: this.id, root: this.#link.root, reason: String(error).slice(0, 500), againMs: delayMs });
        await host.clock.sleep(delayMs, signal).catch(() => undefined);
      }
    }
  }

  /** Waits, in the state that says why, while there is no session to run. True: now there is. */
  async #mayRun(signal: AbortSignal): Promise<boolean> {
    const { enabled, trouble, seeds, settings } = this.#link;
    const { clock } = this.#context.host;
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
    await this.#standStill(signal);
    while (!isOpen(settings.windows, new Date(clock.nowMs()))) {
      this.#rest("waiting", undefined);
      this.#rescanned("the link waits for its window");
      await clock.sleep(WINDOW_LOOK_MS, signal).catch(() => undefined);
      if (signal.aborted) return false;
    }
    return !signal.aborted;
  }

  #isPaused(): boolean {
    try {
      return this.#pauses.read() !== undefined;
    } catch {
      return false;
    }
  }

  /** While somebody, or a command after a batch, has paused the link. What is still to be taken back is, first. */
  async #standStill(signal: AbortSignal): Promise<void> {
    const pauses = this.#pauses;
    let pause = pauses.read();
    if (pause !== undefined) pause = await this.#takeBack(pause, signal);
    for (; pause !== undefined && !signal.aborted; pause = pauses.read()) {
      this.#look();
      this.#watch.pause = shownPause(pause);
      const error = { code: "PAUSED", message: pause.reason, hint: `syncline link resume ${this.id}` };
      this.#rest("paused", error);
      await this.#context.host.clock.sleep(PAUSE_LOOK_MS, signal).catch(() => undefined);
    }
    if (pause === undefined) this.#watch.pause = null;
  }

  async #takeBack(pause: Pause, signal: AbortSignal): Promise<Pause> {
    const { log } = this.#context;
    const releases = this.#releases;
    if (pause.release !== null && releases !== undefined) {
      if (!releases.names().includes(pause.release)) return this.#missing(pause);
      if (releases.shown() !== pause.release) await releases.flip(pause.release);
      // A command that has taken back a release knows.
      if (pause.by !== "hook") await this.#tellOfRollback(releases, pause.release, signal);
    }
    if (pause.undo === null) return pause;
    const endpoint = this.#context.openRoot(this.#link.root);
    try {
      await endpoint.open(this.#undoRequest(), signal);
      const { restored, problems } = await endpoint.undo(pause.undo, signal);
      const left = problems.length === 0 ? "" : `; ${problems.length} paths had been changed since and were left`;
      const done: Pause = { ...pause, reason: `${pause.reason}; the batch was taken back${left}`, undo: null };
      this.#pauses.write(done);
      log("batch taken back", { link: this.id, runId: pause.undo, restored, left: problems.length });
      return done;
    } finally {
      await endpoint.close();
    }
  }

  /** Somebody has removed the release that they, or another, wanted to be shown: the link still stands still. */
  #missing(pause: Pause): Pause {
    const still: Pause = { ...pause, reason: `${pause.reason}; ${pause.release} is not there any more`, release: null };
    this.#pauses.write(still);
    this.#context.log("release is missing", { link: this.id, release: pause.release ?? "" });
    return still;
  }

  async #tellOfRollback(releases: Releases, release: string, signal: AbortSignal): Promise<void> {
    const store = this.#context.openState(`sessions/${this.#sessionId()}.db`);
    try {
      await this.#publisher(releases, store).wentBack(release, signal);
    } finally {
      store.close();
    }
  }

  #publisher(releases: Releases, store: Store): Publisher {
    const { host } = this.#context;
    const { settings, seeds } = this.#link;
    return new Publisher({
      releases, store, seeds: seedsOf(seeds!), keep: settings.keepReleases, hooks: this.#hookContext, clock: host.clock,
    });
  }

  get #hookContext(): HookContext {
    const { host, configured, log } = this.#context;
    const { hooks } = configured();
    const { root, space } = this.#link;
    return { hooks, link: this.id, root, space, random: host.random, log };
  }

  #undoRequest(): OpenRequest {
    const { ignore, include, preserve, durable, verifyReadBack, compress } = this.#options(this.#link);
    return {
      sessionId: this.#sessionId(), seeds: seedsOf(this.#link.seeds!), writable: true,
      ignore, include, preserve, durable, verifyReadBack, compress, createRoot: false, expectRootId: undefined,
    };
  }

  /** What releases there are, for heartbeats. */
  #look(): void {
    const releases = this.#releases;
    this.#watch.releases = releases === undefined ? null : { names: releases.names(), shown: releases.shown() ?? null };
  }

  #rest(...args: Parameters<LinkWatch["rest"]>): void {
    const before = this.#watch.phase;
    this.#watch.rest(...args);
    if (before !== this.#watch.phase) this.#context.onChange();
  }

  #failed(error: unknown): void {
    const known = error instanceof SynclineError ? error : undefined;
    const message = (known?.message ?? String(error)).slice(0, 2000);
    const trouble = { code: known?.code ?? "INTERNAL", message, hint: known?.hint?.slice(0, 2000) ?? null };
    this.#rest("halted", trouble);
  }

  /** Another root, space or direction is another pair, which begins with nothing remembered. */
  #sessionId(): string {
    const { root, seeds, prefix, settings } = this.#link;
    // Seeds are a space's own for life; its name may change.
    const words = [this.#context.installation, this.id, root, seeds, prefix, settings.from];
    // Its files are others, too: those of the link's own copy.
    if (settings.apply === "release") words.push("release");
    return this.#context.hash(JSON.stringify(words), 32);
  }

  async #session(signal: AbortSignal): Promise<void> {
    const { host, openSpace, openState, hash, log } = this.#context;
    const link = this.#link;
    const { settings, seeds } = link;
    const fault = settingsFault(settings);
    if (fault !== undefined) throw new SynclineError({ code: "USAGE", op: "link", message: fault });
    const sessionId = this.#sessionId();
    const store = openState(`sessions/${sessionId}.db`);
    const isHostAlpha = settings.from === "host";
    const spaceSide: Side = isHostAlpha ? "beta" : "alpha";
    const window = new AbortController();
    const ended = AbortSignal.any([signal, window.signal]);
    const { local: unturned, root, shown } = this.#localSide(link, store, window, ended);
    const closing = Promise.all([this.#closeAtEnd(window, ended), this.#endWhenPaused(window, ended, shown)]);
    const kept = new KeptRoot(unturned, host.clock, RESCAN_MS);
    const local = (): Endpoint => new TurnEndpoint(kept.connect(), this.#context.turns, settings.priority);
    const remote = (): Endpoint => openSpace(this.id);
    const stamp = { fs: host.fs, clock: host.clock, random: host.random, root, store, sessionId };
    let stamping: Promise<void> | undefined;
    const installing = this.#watchedProjects()?.run(ended);
    try {
      if (forgetIfRestored(stamp, seedsOf(seeds!))) {
        log("root or state was restored from a backup: everything is compared", { link: this.id, root });
      }
      stamping = keepStamping(stamp, ended);
      this.#watch.stored = null;
      this.#makeDurable = () => this.#storeMark(store, sessionId, spaceSide);
      this.#digest.changed();
      this.#atWork = { store, signal: ended };
      await runSession({
        sessionId,
        alpha: isHostAlpha ? local : remote,
        beta: isHostAlpha ? remote : local,
        options: this.#options(link),
        store,
        seeds: seedsOf(seeds!),
        host,
        onEvent: (event) => this.#onEvent(event, store, spaceSide, shown),
        hash: (text) => hash(text, PLAN_HASH_DIGITS),
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
      this.#watch.isPublishing = false;
      this.#atWork = undefined;
      this.#makeDurable?.();
      this.#makeDurable = undefined;
      store.close();
    }
  }

  #watchedProjects(): Projects | undefined {
    const { host, configured, stateFile, onChange, log } = this.#context;
    const { mayInstall } = configured();
    const { root, settings } = this.#link;
    const key = JSON.stringify([root, settings.install, mayInstall]);
    if (key !== this.#projectsOf) {
      this.#projectsOf = key;
      const file = stateFile(`installed/${this.id}.json`);
      const options = { host, root, projects: settings.install, mayInstall, file, link: this.id, onChange, log };
      this.#projects = settings.install.length === 0 ? undefined : new Projects(options);
      this.#watch.projects = () => this.#projects?.states() ?? [];
    }
    this.#projects?.notice();
    return this.#projects;
  }

  /** The host's side: its root changed in place, or the link's own copy, of which releases are made. */
  #localSide(link: AssignedLink, store: Store, end: AbortController, signal: AbortSignal): LocalSide {
    const { openRoot, configured } = this.#context;
    const { hooks } = configured();
    const { root } = link;
    const context = this.#hookContext;
    const releases = this.#releases;
    if (releases === undefined) {
      const isHooked = hooks.before !== undefined || hooks.after !== undefined;
      const takeBack = (runId: string, fault: string): void => this.#pauseAfter(runId, fault);
      return { root, shown: undefined, local: () => (isHooked ? new HookedEndpoint(openRoot(root), context, takeBack) : openRoot(root)) };
    }
    releases.prepare();
    this.#look();
    const shown = new Shown(this.#publisher(releases, store), signal, (error) => end.abort(error));
    return { root: releases.work, shown, local: () => new ReleasedEndpoint(openRoot(releases.work), shown) };
  }

  #pauseAfter(runId: string, fault: string): void {
    const { host, log } = this.#context;
    const reason = `the command after a batch failed: ${fault}`;
    this.#pauses.write({ reason, by: "hook", sinceMs: host.clock.nowMs(), release: null, undo: runId });
    log("link paused", { link: this.id, runId, reason });
  }

  /**
   * The host's own command line pauses a link by its file. It may have been let go on before we looked: then the root
   * shows another release than ours, and a new session shows the newest one again.
   */
  async #endWhenPaused(window: AbortController, signal: AbortSignal, shown: Shown | undefined): Promise<void> {
    const { clock } = this.#context.host;
    const releases = this.#releases;
    if (releases === undefined || shown === undefined) return;
    while (!signal.aborted && !this.#isPaused() && !isFlipped(releases, shown)) {
      await clock.sleep(PAUSE_LOOK_MS, signal).catch(() => undefined);
    }
    window.abort(WINDOW_ENDED);
  }

  #storeMark(store: Store, session: string, side: Side): void {
    const mark = savedMark(store, side);
    const { stored } = this.#watch;
    if (mark === undefined || (stored?.epoch === mark.epoch && stored.sequence >= mark.seq)) return;
    try {
      // A durable transaction takes with it what was written before.
      store.transaction({ durable: true }, () => store.table("stored").set("sequence", Buffer.from(String(mark.seq))));
      this.#watch.stored = { session, epoch: mark.epoch, sequence: mark.seq };
    } catch (error) {
      this.#context.log("state cannot be written", { link: this.id, reason: String(error).slice(0, 500) });
    }
  }

  /** Ends the session when the last of its windows closes. */
  async #closeAtEnd(window: AbortController, signal: AbortSignal): Promise<void> {
    const { clock } = this.#context.host;
    const { windows } = this.#link.settings;
    if (windows.length === 0) return;
    while (!signal.aborted && isOpen(windows, new Date(clock.nowMs()))) {
      await clock.sleep(WINDOW_LOOK_MS, signal).catch(() => undefined);
    }
    window.abort(WINDOW_ENDED);
  }

  #options({ settings, spaceIgnore }: AssignedLink): SessionOptions {
    const rateNow = (): number | undefined => rateAt(settings, new Date(this.#context.host.clock.nowMs()));
    const approved = (): string | undefined => this.#approved;
    return {
      mode: settings.mode,
      conflict: settings.conflict,
      delete: settings.mode.startsWith("one-way"),
      brake: undefined,
      // Read by each cycle: an approval is good for one plan, once.
      get approve() {
        return approved();
      },
      dryRun: false,
      watch: true,
      settle: settings.settle,
      rescanMs: RESCAN_MS,
      deep: false,
      scrub: settings.scrubEveryMs === null ? undefined : { everyMs: settings.scrubEveryMs },
      ignore: [...spaceIgnore, ...settings.ignore, ...this.#context.configured().ignore, ...installedLines(settings.install)],
      include: [],
      preserve: PRESERVE_DEFAULT,
      durable: "batch",
      verifyReadBack: false,
      compress: "auto",
      bytesPerSecond: settings.rates.length === 0 ? (settings.bytesPerSecond ?? undefined) : rateNow,
      verbose: false,
      createAlpha: settings.from === "host" && !settings.mode.startsWith("one-way"),
    };
  }

  #onEvent(event: SessionEvent, store: Store, spaceSide: Side, shown: Shown | undefined): void {
    if (event.type === "cycle" && shown !== undefined) {
      if (event.summary.changes > 0) shown.changed();
      if (event.summary.result === "same") return this.#show(event, store, spaceSide, shown);
    }
    this.#happened(event, store, spaceSide);
  }

  /** What is carried over counts when it is shown. */
  #show(event: SessionEvent & { type: "cycle" }, store: Store, spaceSide: Side, shown: Shown): void {
    const { onChange, host } = this.#context;
    const sequence = savedMark(store, spaceSide)?.seq ?? 0;
    if (!shown.isBehind) {
      // What is complete is still being made a release of.
      if (!this.#watch.isPublishing) this.#happened(event, store, spaceSide);
      return;
    }
    this.#watch.publishing(host.clock.monotonicMs());
    shown.show(sequence, (isLast) => {
      this.#look();
      this.#happened(event, store, spaceSide);
      this.#watch.sequence = sequence;
      this.#watch.isPublishing = false;
      if (!isLast) this.#watch.publishing(host.clock.monotonicMs());
      onChange();
    });
  }

  #happened(event: SessionEvent, store: Store, spaceSide: Side): void {
    const { host, onChange, onHold, log } = this.#context;
    const before = this.#watch.phase;
    this.#watch.event(event, host.clock.monotonicMs());
    if (event.type === "hold") {
      // Another plan by now: nobody approved that one.
      if (event.hash !== this.#approved) this.#approved = undefined;
      this.#lastPlan = heldPlan(this.id, event.hash, event.reason, event.plan, spaceSide);
      log("plan held", { link: this.id, hash: event.hash, reason: event.reason });
      onHold(this.#lastPlan);
    }
    // A session that begins looks at everything first. What one that was given up says is no answer.
    const isLookedAt = event.type === "phase" && event.phase === "watching" && !this.#round.signal.aborted;
    if (isLookedAt) this.#rescanned(undefined);
    if (event.type === "cycle") {
      const { result, changes } = event.summary;
      if (changes > 0) this.#digest.changed();
      if (result !== "held") this.#approved = undefined;
      this.#watch.sequence = savedMark(store, spaceSide)?.seq ?? 0;
      if (changes > 0) this.#projects?.notice();
      if (changes > 0) log("changes carried over", { link: this.id, ...cycleFields(event.summary) });
    }
    if (event.type === "scrub") {
      const { files, bytes, damaged } = event;
      log("files were read again", { link: this.id, files, bytes, damaged });
    }
    if (event.type === "retry") log("link will be tried again", { link: this.id, reason: event.reason, delayMs: event.delayMs });
    const isNews = event.type === "cycle" || event.type === "hold" || event.type === "retry";
    if (isNews || (event.type === "phase" && (this.#watch.phase === "held" || before === "retrying"))) onChange();
  }
}

function cycleFields(summary: Summary): Record<string, unknown> {
  const { runId, result, changes, healed, conflicts, problems, bytes, seconds } = summary;
  const told = { runId, result, changes, conflicts, problems, bytes: bytes.literal, seconds };
  return healed > 0 ? { ...told, healed } : told;
}

function seedsOf(hex: string): SumSeeds {
  const bytes = Buffer.from(hex, "hex");
  return { a: bytes.readBigUInt64BE(0), b: bytes.readBigUInt64BE(8) };
}

/** Has somebody else flipped the root since we did? */
function isFlipped(releases: Releases, { settled }: Shown): boolean {
  try {
    return settled !== undefined && releases.shown() !== settled;
  } catch {
    return false;
  }
}
