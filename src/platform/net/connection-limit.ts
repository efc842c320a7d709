/**
 * Holds the connections of an HTTP listener below a limit. The runtime's server accepts whoever comes, and a process that
 * has no file left to open cannot write to its store either. So above the limit connections are cut, those first that have
 * not asked for anything yet, then those that have rested for longest; never one whose request is at work. Whoever comes is
 * accepted, so that people and probes are still answered while somebody holds thousands of connections open.
 */
import type { Clock } from "#platform/host.ts";
import { type AcceptedSocket, type OpenSockets, peerText } from "#platform/open-sockets.ts";

/** Between two looks. */
const LOOK_MS = 250;
/** The part of all files of the process that connections may have at most, whatever the limit says. */
const FILES_SHARE = 0.5;
/** What is cut goes this far below the limit, so that not every connection that comes costs a look at all. */
const SPARE_SHARE = 1 / 16;

export type ConnectionLimitOptions = {
  readonly sockets: OpenSockets;
  readonly clock: Clock;
  /** Connections at a time, as they are wished for now. */
  readonly max: () => number;
  /** Of a look that has cut some. */
  readonly onCut: (cut: number, open: number) => void;
  /** Of a look that the system has refused, as it does where no more files may be open. */
  readonly onTrouble: (error: unknown) => void;
};

export class ConnectionLimit {
  readonly #options: ConnectionLimitOptions;
  /** By the other end: requests that are at work; 0 where one was answered. */
  readonly #known = new Map<string, number>();
  #cut = 0;
  #open = 0;

  constructor(options: ConnectionLimitOptions) {
    this.#options = options;
  }

  /** What the limit really is. */
  get max(): number {
    const { sockets, max } = this.#options;
    return Math.min(max(), Math.floor(sockets.filesMax * FILES_SHARE));
  }

  /** Connections that were cut so far. */
  get cut(): number {
    return this.#cut;
  }

  /** Connections as they were counted last; not counted while there are few open files. */
  get open(): number {
    return this.#open;
  }

  began(address: string, port: number): void {
    const peer = peerText(address, port);
    this.#known.set(peer, (this.#known.get(peer) ?? 0) + 1);
  }

  ended(address: string, port: number): void {
    const peer = peerText(address, port);
    this.#known.set(peer, Math.max(0, (this.#known.get(peer) ?? 1) - 1));
  }

  /** Until the signal. */
  async run(port: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      await clock.sleep(LOOK_MS, signal).catch(() => undefined);
      if (signal.aborted) return;
      try {
        this.look(port);
      } catch (error) {
        this.#options.onTrouble(error);
      }
    }
  }

  /** Counts, and cuts what is too much. Throws the system's error. */
  look(port: number): void {
    const { sockets, onCut } = this.#options;
    const { max } = this;
    const mustForget = this.#known.size > 2 * max;
    // All open files together are fewer: nothing has to be looked at.
    if (!mustForget && sockets.files() <= max) {
      this.#open = 0;
      return;
    }
    const all = sockets.acceptedAt(port);
    this.#open = all.length;
    this.#forget(all);
    if (all.length <= max) return;
    const wanted = all.length - Math.floor(max * (1 - SPARE_SHARE));
    const victims = this.#inTurn(all).slice(0, wanted);
    for (const one of victims) sockets.cut(one);
    this.#cut += victims.length;
    if (victims.length > 0) onCut(victims.length, all.length);
  }

  #inTurn(all: readonly AcceptedSocket[]): AcceptedSocket[] {
    const resting = all.filter(({ peer }) => (this.#known.get(peer) ?? 0) === 0);
    const strangers = resting.filter(({ peer }) => !this.#known.has(peer));
    const others = resting.filter(({ peer }) => this.#known.has(peer));
    const longestFirst = (a: AcceptedSocket, b: AcceptedSocket): number => b.idleMs - a.idleMs;
    return [...strangers.sort(longestFirst), ...others.sort(longestFirst)];
  }

  #forget(all: readonly AcceptedSocket[]): void {
    const open = new Set(all.map(({ peer }) => peer));
    for (const peer of this.#known.keys()) if (!open.has(peer)) this.#known.delete(peer);
  }
}
