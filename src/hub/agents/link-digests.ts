/**
 * Compares what links agree on with what their spaces hold. A link says its digest at a sequence; where nothing of what it
 * sees has changed since, the space must have the same one. Asked one after the other, and once for each answer.
 */
import type { LinkState } from "#hub/agents/control.ts";
import type { Link } from "#hub/agents/registry-rows.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";

/** Comparisons that wait; a heartbeat later they are asked for again. */
const WAITING_MAX = 10_000;

/** The space's side of a link that can say its digest. */
export type DigestEndpoint = Endpoint & {
  /** At a sequence of the space; undefined where what the link sees has changed since, or it cannot be known. */
  digestSince(sequence: number): Promise<string | undefined>;
};

/** In a one-way-safe link the space, or the host, may have more than the other side: there is nothing to compare. */
export const isComparable = ({ settings }: Pick<Link, "settings">): boolean => settings.mode !== "one-way-safe";

export class LinkDigests {
  readonly #live = new Map<string, DigestEndpoint>();
  /** By host and link: what the space's digest was, at the sequence of the link. */
  readonly #known = new Map<string, Map<string, { readonly sequence: number; readonly digest: string }>>();
  readonly #waiting = new Map<string, LinkState>();
  readonly #onDiffers: (host: string, link: string, sequence: number) => void;
  #running: Promise<void> | undefined;

  constructor(onDiffers: (host: string, link: string, sequence: number) => void) {
    this.#onDiffers = onDiffers;
  }

  opened(host: string, link: string, endpoint: DigestEndpoint): void {
    this.#live.set(`${host} ${link}`, endpoint);
  }

  closed(host: string, link: string, endpoint: DigestEndpoint): void {
    const key = `${host} ${link}`;
    if (this.#live.get(key) === endpoint) this.#live.delete(key);
  }

  forget(host: string): void {
    this.#known.delete(host);
  }

  /** What the space's digest was at that sequence of the link, where it is known. */
  at(host: string, link: string, sequence: number): string | undefined {
    const known = this.#known.get(host)?.get(link);
    return known?.sequence === sequence ? known.digest : undefined;
  }

  heard(host: string, links: readonly Link[], states: readonly LinkState[]): void {
    this.#forgetOthers(host, links);
    const comparable = new Set(links.filter(isComparable).map(({ id }) => id));
    for (const state of states) {
      const isNew = state.digest !== null && this.at(host, state.id, state.sequence) === undefined;
      if (!isNew || !comparable.has(state.id) || this.#waiting.size >= WAITING_MAX) continue;
      this.#waiting.set(`${host} ${state.id}`, state);
    }
    this.#running ??= this.#work().finally(() => (this.#running = undefined));
  }

  /** Nobody tells of a link that was removed: what was known of it would stay as long as the hub lives. */
  #forgetOthers(host: string, links: readonly Link[]): void {
    const known = this.#known.get(host);
    if (known === undefined) return;
    const own = new Set(links.map(({ id }) => id));
    for (const id of known.keys()) if (!own.has(id)) known.delete(id);
    if (known.size === 0) this.#known.delete(host);
  }

  /** Resolves when nothing waits. */
  async idle(): Promise<void> {
    await this.#running;
  }

  async #work(): Promise<void> {
    for (const [key, state] of this.#waiting) {
      this.#waiting.delete(key);
      // A space that went, or a right: the link itself says so.
      const digest = await this.#live.get(key)?.digestSince(state.sequence).catch(() => undefined);
      if (digest === undefined) continue;
      const host = key.slice(0, key.indexOf(" "));
      const known = this.#known.get(host) ?? new Map();
      this.#known.set(host, known.set(state.id, { sequence: state.sequence, digest }));
      if (digest !== state.digest) this.#onDiffers(host, state.id, state.sequence);
    }
  }
}
