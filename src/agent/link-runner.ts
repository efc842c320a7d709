/**
 * Keeps one link going: runs its session, begins it again when it ends, waits outside of its windows, and lets an
 * approved plan through. The session itself retries a lost connection; what it gives up is tried again here, because a
 * disk that was not mounted may be, an hour later.
 */
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import type { Host } from "#platform/host.ts";
import type { Endpoint, SumSeeds } from "#sync/endpoint/endpoint.ts";
import { entryCodec } from "#sync/index/record-codecs.ts";
import type { Store } from "#sync/index/store.ts";
import type { SessionEvent, SessionOptions } from "#sync/session/events.ts";
import { runSession } from "#sync/session/session.ts";
import { savedMark } from "#sync/session/state.ts";
import type { HeldPlan, LinkState } from "#hub/agents/control.ts";
import type { AssignedLink } from "#hub/agents/link.ts";
import { heldPlan } from "#agent/held-plan.ts";
import { HookedEndpoint, type Hooks } from "#agent/hooks.ts";
import { type DigestSource, LinkDigestKeeper } from "#agent/link-digest.ts";
import { LinkWatch } from "#agent/link-watch.ts";
import { forgetIfRestored, keepStamping } from "#agent/root-stamp.ts";
import { isOpen } from "#agent/schedule.ts";

/** After a session gave up: doubles from the first to the longest. */
const AGAIN_FIRST_MS = 2000;
const AGAIN_LONGEST_MS = 5 * 60_000;
/** How often a clock is looked at for the windows. */
const WINDOW_LOOK_MS = 10_000;
const RESCAN_MS = 5 * 60_000;
/** Digits of a plan's hash. */
const PLAN_HASH_DIGITS = 12;

export type AgentLog = (message: string, fields: Readonly<Record<string, string | number>>) => void;

export type LinkContext = {
  readonly host: Host;
  /** The local root. */
  readonly openRoot: (path: string) => Endpoint;
  /** The space behind a link, at the hub. */
  readonly openSpace: (linkId: string) => Endpoint;
  /** Opens a database of ours below the data directory; a damaged one is begun anew. */
  readonly openState: (name: string) => Store;
  /** Text to hex digits (SHA-256). */
  readonly hash: (text: string, digits: number) => string;
  /** Keeps this agent's sessions apart from those of any other. */
  readonly installation: string;
  /** Of the host's own configuration; after those of space and link. */
  readonly ignore: readonly string[];
  readonly hooks: Hooks;
  readonly onChange: () => void;
  readonly onHold: (plan: HeldPlan) => void;
  readonly log: AgentLog;
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

  /** A person has approved exactly the plan of that hash. One that is not held any more is not carried out. */
  approve(hash: string): void {
    if (this.#watch.holdHash !== hash || this.#approved === hash) return;
    this.#context.log("plan approved", { link: this.id, hash });
    this.#approved = hash;
    this.#again("its plan was approved");
  }

  /** The hub can be reached again: do not wait for the end of a long pause. */
  hubIsBack(): void {
    if (this.#watch.phase === "retrying") this.#again("the hub is back");
  }

  async stop(): Promise<void> {
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
      if (!(await this.#mayRun(signal))) continue;
      try {
        await this.#session(signal);
        failures = 0;
      } catch (error) {
        if (signal.aborted) continue;
        const delayMs = Math.min(AGAIN_LONGEST_MS, AGAIN_FIRST_MS * 2 ** Math.min(failures++, 16));
        this.#failed(error);
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
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener("abort", () => resolve(), { once: true });
      });
      return false;
    }
    while (!isOpen(settings.windows, new Date(clock.nowMs()))) {
      this.#rest("waiting", undefined);
      await clock.sleep(WINDOW_LOOK_MS, signal).catch(() => undefined);
      if (signal.aborted) return false;
    }
    return !signal.aborted;
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

  async #session(signal: AbortSignal): Promise<void> {
    const { host, openRoot, openSpace, openState, hash, log } = this.#context;
    const link = this.#link;
    const { root, space, prefix, settings, seeds } = link;
    // Another root, space or direction is another pair, which begins with nothing remembered.
    const words = [this.#context.installation, this.id, root, space, prefix, settings.from];
    const sessionId = hash(JSON.stringify(words), 32);
    const store = openState(`sessions/${sessionId}.db`);
    const { hooks } = this.#context;
    const isHooked = hooks.before !== undefined || hooks.after !== undefined;
    const hookContext = { hooks, link: this.id, root, space, random: host.random, log };
    const local = (): Endpoint => (isHooked ? new HookedEndpoint(openRoot(root), hookContext) : openRoot(root));
    const remote = (): Endpoint => openSpace(this.id);
    const isHostAlpha = settings.from === "host";
    const spaceSide: Side = isHostAlpha ? "beta" : "alpha";
    const window = new AbortController();
    const ended = AbortSignal.any([signal, window.signal]);
    const closing = this.#closeAtEnd(window, ended);
    const stamp = { fs: host.fs, clock: host.clock, random: host.random, root, store, sessionId };
    let stamping: Promise<void> | undefined;
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
        onEvent: (event) => this.#onEvent(event, store, spaceSide),
        hash: (text) => hash(text, PLAN_HASH_DIGITS),
        signal: ended,
      });
    } finally {
      window.abort();
      await Promise.all([closing, stamping]);
      this.#atWork = undefined;
      this.#makeDurable?.();
      this.#makeDurable = undefined;
      store.close();
    }
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
    window.abort(new SynclineError({ code: "INTERRUPTED", op: "link", message: "its window has ended" }));
  }

  #options({ settings, spaceIgnore }: AssignedLink): SessionOptions {
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
      ignore: [...spaceIgnore, ...settings.ignore, ...this.#context.ignore],
      include: [],
      preserve: PRESERVE_DEFAULT,
      durable: "batch",
      verifyReadBack: false,
      compress: "auto",
      bytesPerSecond: settings.bytesPerSecond ?? undefined,
      verbose: false,
      createAlpha: settings.from === "host" && !settings.mode.startsWith("one-way"),
    };
  }

  #onEvent(event: SessionEvent, store: Store, spaceSide: Side): void {
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
    if (event.type === "cycle") {
      const { result, changes } = event.summary;
      if (changes > 0) this.#digest.changed();
      if (result !== "held") this.#approved = undefined;
      this.#watch.sequence = savedMark(store, spaceSide)?.seq ?? 0;
      if (changes > 0) log("changes carried over", { link: this.id, ...cycleFields(event.summary) });
    }
    if (event.type === "retry") log("link will be tried again", { link: this.id, reason: event.reason, delayMs: event.delayMs });
    const isNews = event.type === "cycle" || event.type === "hold" || event.type === "retry";
    if (isNews || (event.type === "phase" && (this.#watch.phase === "held" || before === "retrying"))) onChange();
  }
}

function cycleFields({ runId, result, changes, conflicts, problems, bytes, seconds }: (SessionEvent & { type: "cycle" })["summary"]) {
  return { runId, result, changes, conflicts, problems, bytes: bytes.literal, seconds };
}

function seedsOf(hex: string): SumSeeds {
  const bytes = Buffer.from(hex, "hex");
  return { a: bytes.readBigUInt64BE(0), b: bytes.readBigUInt64BE(8) };
}
