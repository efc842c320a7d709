/**
 * How hosts and links are, from what they last said and by the hub's own clock: a state that is old says nothing any
 * more, however good it was. Nothing here is shown healthy that is behind, halted, held, diverged or silent.
 */
import type { LinkState } from "#hub/agents/control.ts";
import { HEARTBEAT_MS } from "#hub/agents/control.ts";

/** Without a heartbeat for so long a host counts as silent; three may get lost. */
export const SILENT_MS = 3 * HEARTBEAT_MS + 1000;
/** A link that has had something to carry over for longer is behind. */
export const BEHIND_MS = 10_000;

/**
 * `starting`: nothing complete yet, or not by the link's present settings · `diverged`: conflicts or problems are open,
 * or its digest is another one than the space's · `waiting`: outside of its windows · `paused`: something was taken back,
 * and it stands still until a person lets it go on.
 */
export type LinkStatus =
  | "healthy"
  | "waiting"
  | "disabled"
  | "starting"
  | "behind"
  | "retrying"
  | "held"
  | "paused"
  | "diverged"
  | "halted"
  | "silent";

/** Worst last; a host is as its worst link. */
const ORDER: readonly LinkStatus[] = [
  "disabled", "waiting", "healthy", "starting", "behind", "retrying", "held", "paused", "diverged", "halted", "silent",
];

export type LinkFacts = {
  readonly enabled: boolean;
  readonly generation: number;
  /** What its agent said last, and how long ago; undefined: nothing since the hub began. */
  readonly heard: { readonly state: LinkState; readonly agoMs: number } | undefined;
  /** Since the last heartbeat of its host; undefined: none since the hub began. */
  readonly hostAgoMs: number | undefined;
  /** For how long the space has had something that the link has not asked for. */
  readonly unaskedMs: number;
  /** The space's own digest at the sequence of the link's, where it is known. */
  readonly digest?: string | undefined;
};

export function linkStatus({ enabled, generation, heard, hostAgoMs, unaskedMs, digest }: LinkFacts): LinkStatus {
  if (!enabled) return "disabled";
  if (heard === undefined) {
    // Its agent speaks, and has not come to a link that is so new.
    return hostAgoMs !== undefined && hostAgoMs <= SILENT_MS ? "starting" : "silent";
  }
  if (heard.agoMs > SILENT_MS) return "silent";
  const { state } = heard;
  if (state.phase === "halted") return "halted";
  if (state.holdHash !== null || state.phase === "held") return "held";
  if (state.pause !== null || state.phase === "paused") return "paused";
  if (state.generation !== generation) return "starting";
  if (state.phase === "retrying") return "retrying";
  if (state.conflicts > 0 || state.problems > 0) return "diverged";
  if (digest !== undefined && state.digest !== null && digest !== state.digest) return "diverged";
  if (state.phase === "disabled") return "starting";
  if (state.phase === "waiting") return "waiting";
  if (state.syncedAgoMs === null) return "starting";
  return lagMs(state, heard.agoMs, unaskedMs) > BEHIND_MS ? "behind" : "healthy";
}

/** What the agent knows of its lag goes on while it says nothing; what the hub knows is its own. */
export function lagMs(state: LinkState, agoMs: number, unaskedMs: number): number {
  return Math.max(state.lagMs === 0 ? 0 : state.lagMs + agoMs, unaskedMs);
}

/** @param heardAgoMs since the last heartbeat; undefined: none since the hub began */
export function hostStatus(heardAgoMs: number | undefined, links: readonly LinkStatus[]): LinkStatus {
  if (heardAgoMs === undefined || heardAgoMs > SILENT_MS) return "silent";
  let worst: LinkStatus = "healthy";
  for (const status of links) if (ORDER.indexOf(status) > ORDER.indexOf(worst)) worst = status;
  return worst;
}

type Heard = { readonly state: LinkState; readonly heardMono: number };
type HostPresence = {
  heardMono: number;
  heardWallMs: number;
  /** Agent's wall clock minus the hub's at its last heartbeat. */
  skewMs: number;
  links: Map<string, Heard>;
};

/** The live half of the registry. Times given and returned are monotonic milliseconds of the hub. */
export class PresenceTable {
  readonly #hosts = new Map<string, HostPresence>();
  /** "host link" → since when the space has had something that the link has not asked for. */
  readonly #unaskedSince = new Map<string, number>();
  readonly #dirty = new Set<string>();

  heartbeat(host: string, links: readonly LinkState[], sentMs: number, nowMono: number, nowWallMs: number): void {
    const heard = new Map(links.map((state): [string, Heard] => [state.id, { state, heardMono: nowMono }]));
    this.#hosts.set(host, { heardMono: nowMono, heardWallMs: nowWallMs, skewMs: sentMs - nowWallMs, links: heard });
    this.#dirty.add(host);
  }

  forget(host: string): void {
    this.#hosts.delete(host);
    this.#dirty.delete(host);
    for (const key of this.#unaskedSince.keys()) if (key.startsWith(`${host} `)) this.#unaskedSince.delete(key);
  }

  /** The space has something new for a link. */
  told(host: string, link: string, nowMono: number): void {
    const key = `${host} ${link}`;
    if (!this.#unaskedSince.has(key)) this.#unaskedSince.set(key, nowMono);
  }

  /** The link asks for what is new, or its connection has ended: then its own state says how it is. */
  asked(host: string, link: string): void {
    this.#unaskedSince.delete(`${host} ${link}`);
  }

  heardAgoMs(host: string, nowMono: number): number | undefined {
    const one = this.#hosts.get(host);
    return one === undefined ? undefined : nowMono - one.heardMono;
  }

  skewMs(host: string): number | undefined {
    return this.#hosts.get(host)?.skewMs;
  }

  heard(host: string, link: string, nowMono: number): { state: LinkState; agoMs: number } | undefined {
    const one = this.#hosts.get(host)?.links.get(link);
    return one === undefined ? undefined : { state: one.state, agoMs: nowMono - one.heardMono };
  }

  unaskedMs(host: string, link: string, nowMono: number): number {
    const since = this.#unaskedSince.get(`${host} ${link}`);
    return since === undefined ? 0 : nowMono - since;
  }

  /** What was heard since the last call, for the registry. */
  takeDirty(): { host: string; heardWallMs: number; states: LinkState[] }[] {
    const taken = [...this.#dirty].flatMap((host) => {
      const one = this.#hosts.get(host);
      if (one === undefined) return [];
      return [{ host, heardWallMs: one.heardWallMs, states: [...one.links.values()].map(({ state }) => state) }];
    });
    this.#dirty.clear();
    return taken;
  }
}
