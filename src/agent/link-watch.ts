/** Turns the events of a link's session into the state that heartbeats report. Times are monotonic milliseconds. */
import type { SessionEvent, Summary } from "#sync/session/events.ts";
import type { LinkPause, LinkPhase, LinkState, ProjectState } from "#hub/agents/control.ts";

export type LinkTrouble = NonNullable<LinkState["error"]>;

const TEXT_CHARS_MAX = 2000;

export class LinkWatch {
  phase: LinkPhase = "connecting";
  #busySince: number | undefined;
  #syncedMono: number | undefined;
  #trouble: LinkTrouble | undefined;
  #degraded: LinkTrouble | undefined;
  #holdHash: string | undefined;
  #backlog = 0;
  #files = 0;
  #conflicts = 0;
  #problems = 0;
  #changes = 0;
  sequence = 0;
  stored: LinkState["stored"] = null;
  pause: LinkPause | null = null;
  releases: LinkState["releases"] = null;
  /** Asked for each heartbeat. */
  projects: () => readonly ProjectState[] = () => [];
  /** What the session has carried over is not shown yet: a release of it is being made. */
  isPublishing = false;

  /** Set by the supervisor, between sessions. */
  rest(phase: LinkPhase, trouble: LinkTrouble | undefined): void {
    this.phase = phase;
    this.#trouble = trouble;
    this.#degraded = undefined;
    if (phase === "disabled" || phase === "waiting") this.#busySince = undefined;
  }

  /** From now on something is carried over that is not shown yet. */
  publishing(now: number): void {
    this.isPublishing = true;
    this.#busySince ??= now;
  }

  get holdHash(): string | undefined {
    return this.#holdHash;
  }

  event(event: SessionEvent, now: number): void {
    switch (event.type) {
      case "phase":
        if (event.phase === "scanning") this.#busySince ??= now;
        this.phase = event.phase === "watching" && this.#holdHash !== undefined ? "held" : event.phase;
        if (event.phase !== "connecting") this.#trouble = undefined;
        return;
      case "progress":
        // While scanning there is no total, and what is counted are entries.
        if (event.total !== undefined) this.#backlog = Math.max(0, event.total - event.done);
        return;
      case "hold":
        this.#holdHash = event.hash;
        this.#backlog = event.plan.changes.length + event.plan.moves.length;
        return;
      case "retry":
        this.phase = "retrying";
        this.#trouble = { code: "LINK_LOST", message: event.reason.slice(0, TEXT_CHARS_MAX), hint: null };
        this.#busySince ??= now;
        return;
      case "degraded": {
        const message = `${event.side}: ${event.reason}`.slice(0, TEXT_CHARS_MAX);
        this.#degraded = { code: "DEGRADED", message, hint: null };
        return;
      }
      case "cycle":
        return this.#cycle(event.summary, now);
      default:
    }
  }

  /** One that breaks off comes as a cycle, too, and is none that is complete. */
  #cycle(summary: Summary, now: number): void {
    this.#changes += summary.changes;
    if (summary.result === "interrupted" || summary.result === "failed") return;
    this.#conflicts = summary.conflicts;
    this.#problems = summary.problems;
    this.#files = summary.files;
    if (summary.result === "held") return;
    this.#holdHash = undefined;
    this.#backlog = 0;
    this.#busySince = undefined;
    this.#syncedMono = now;
  }

  /** Both sides agree on everything that is known of them. */
  get isAtRest(): boolean {
    const isDone = this.phase === "watching" && this.#syncedMono !== undefined && this.#busySince === undefined;
    return isDone && this.#conflicts === 0 && this.#problems === 0;
  }

  /** @param digest of what is agreed at its sequence, where it is known */
  state(id: string, generation: number, now: number, digest: string | null): LinkState {
    return {
      id,
      generation,
      phase: this.isPublishing && this.phase === "watching" ? "applying" : this.phase,
      sequence: this.sequence,
      stored: this.stored,
      backlog: this.#backlog,
      lagMs: this.#busySince === undefined ? 0 : Math.max(1, Math.round(now - this.#busySince)),
      files: Math.max(0, this.#files),
      conflicts: this.#conflicts,
      problems: this.#problems,
      changes: this.#changes,
      syncedAgoMs: this.#syncedMono === undefined ? null : Math.max(0, Math.round(now - this.#syncedMono)),
      digest: this.isAtRest ? digest : null,
      holdHash: this.#holdHash ?? null,
      error: this.#trouble ?? this.#degraded ?? null,
      pause: this.pause,
      releases: this.releases,
      projects: [...this.projects()],
    };
  }
}
