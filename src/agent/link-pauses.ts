/**
 * A link that stands still, and its releases: a person goes back to one, or a command after a batch takes the batch back;
 * until somebody lets the link go on it shows that. Whoever finds the pause, after any crash, makes it so.
 */
import { SynclineError, messageOf } from "#model/error.ts";
import type { OpenRequest } from "#sync/endpoint/endpoint.ts";
import type { LinkParts } from "#agent/link-context.ts";
import type { LinkWatch } from "#agent/link-watch.ts";
import { type Pause, shownPause } from "#agent/pause.ts";
import { type Releases, noRelease } from "#agent/releases.ts";

/** How often it is looked whether somebody has paused the link, or lets it go on. */
export const PAUSE_LOOK_MS = 1000;

export class LinkPauses {
  readonly #parts: LinkParts;
  readonly #watch: LinkWatch;
  /** That could not be written when its batch had failed. Nothing goes on before it is. */
  #owed: Pause | undefined;

  constructor(parts: LinkParts, watch: LinkWatch) {
    this.#parts = parts;
    this.#watch = watch;
  }

  get isPaused(): boolean {
    try {
      return this.#owed !== undefined || this.#parts.pauses.read() !== undefined;
    } catch {
      return false;
    }
  }

  /** A person lets the link go on. False: it was not paused. */
  clear(): boolean {
    return this.#parts.pauses.clear();
  }

  /**
   * A person wants an earlier release to be shown. Returns its name.
   * @throws {SynclineError} NOT_FOUND
   */
  async goBack(wanted: string | null, by: string): Promise<string> {
    const { releases, link, context } = this.#parts;
    const release = wanted ?? releases?.before();
    if (releases === undefined || release === undefined || !releases.names().includes(release)) {
      throw noRelease(link.root, release ?? "before that");
    }
    const reason = `${by} went back to this release`;
    await releases.goBack({ reason, by, sinceMs: context.host.clock.nowMs(), release, undo: null });
    this.look();
    return release;
  }

  /** The command after a batch failed: the batch is to be taken back. */
  pauseAfter(runId: string, fault: string): void {
    const { host, log } = this.#parts.context;
    const reason = `the command after a batch failed: ${fault}`;
    this.#owed = { reason, by: "hook", sinceMs: host.clock.nowMs(), release: null, undo: runId };
    log("link paused", { link: this.#parts.link.id, runId, reason });
    this.#payOff();
  }

  /** @throws {SynclineError} DISK */
  #payOff(): void {
    if (this.#owed === undefined) return;
    try {
      this.#parts.pauses.write(this.#owed);
    } catch (cause) {
      const message = `a batch is to be taken back, and that cannot be written down: ${messageOf(cause)}`;
      const hint = "is there room, and may we write there?";
      throw new SynclineError({ code: "DISK", op: "pause link", message, hint, cause });
    }
    this.#owed = undefined;
  }

  /**
   * While somebody, or a command after a batch, has paused the link. What is still to be taken back is, first.
   * @param rest shows it, again and again
   */
  async standStill(rest: (error: { code: string; message: string; hint: string }) => void, signal: AbortSignal): Promise<void> {
    const { pauses, link, context } = this.#parts;
    this.#payOff();
    let pause = pauses.read();
    if (pause !== undefined) pause = await this.#takeBack(pause, signal);
    for (; pause !== undefined && !signal.aborted; pause = pauses.read()) {
      this.look();
      this.#watch.pause = shownPause(pause);
      rest({ code: "PAUSED", message: pause.reason, hint: `syncline link resume ${link.id}` });
      await context.host.clock.sleep(PAUSE_LOOK_MS, signal).catch(() => undefined);
    }
    if (pause === undefined) this.#watch.pause = null;
  }

  /** Undefined: somebody has let the link go on meanwhile. */
  async #takeBack(pause: Pause, signal: AbortSignal): Promise<Pause | undefined> {
    const { releases, link, context } = this.#parts;
    if (pause.release !== null && releases !== undefined) {
      if (!releases.names().includes(pause.release)) return this.#missing(pause);
      if (releases.shown() !== pause.release) await releases.flip(pause.release);
      // A command that has taken back a release knows.
      if (pause.by !== "hook") await this.#tellOfRollback(releases, pause.release, signal);
    }
    if (pause.undo === null) return pause;
    const endpoint = context.openRoot(link.root);
    try {
      await endpoint.open(this.#undoRequest(), signal);
      const { restored, problems } = await endpoint.undo(pause.undo, signal);
      const left = problems.length === 0 ? "" : `; ${problems.length} paths had been changed since and were left`;
      const done: Pause = { ...pause, reason: `${pause.reason}; the batch was taken back${left}`, undo: null };
      context.log("batch taken back", { link: link.id, runId: pause.undo, restored, left: problems.length });
      // It may have taken long: who has let the link go on, or paused it for something else, must not find it paused for this.
      const now = this.#parts.pauses.read();
      if (now?.undo !== pause.undo) return now;
      this.#parts.pauses.write(done);
      return done;
    } finally {
      await endpoint.close();
    }
  }

  /** Somebody has removed the release that they, or another, wanted to be shown: the link still stands still. */
  #missing(pause: Pause): Pause {
    const still: Pause = { ...pause, reason: `${pause.reason}; ${pause.release} is not there any more`, release: null };
    this.#parts.pauses.write(still);
    this.#parts.context.log("release is missing", { link: this.#parts.link.id, release: pause.release ?? "" });
    return still;
  }

  async #tellOfRollback(releases: Releases, release: string, signal: AbortSignal): Promise<void> {
    const store = this.#parts.context.openState(`sessions/${this.#parts.sessionId}.db`);
    try {
      await this.#parts.publisher(releases, store).wentBack(release, signal);
    } finally {
      store.close();
    }
  }

  #undoRequest(): OpenRequest {
    const { sessionId, seeds, options } = this.#parts;
    const { ignore, include, preserve, durable, verifyReadBack, compress } = options;
    return {
      sessionId, seeds, writable: true,
      ignore, include, preserve, durable, verifyReadBack, compress, createRoot: false, expectRootId: undefined,
    };
  }

  /** What releases there are, for heartbeats. */
  look(): void {
    const { releases } = this.#parts;
    this.#watch.releases = releases === undefined ? null : { names: releases.names(), shown: releases.shown() ?? null };
  }
}
