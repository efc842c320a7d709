/**
 * Calls of a connection that wait until the connections before it have ended. A commit of an earlier one may be under way
 * still: a session that looked at the space before it would take what it has put for somebody else's, and bring back what
 * its host has deleted meanwhile.
 */
import type { MuxChannel } from "#sync/wire/mux-channel.ts";

export class LateCalls {
  readonly #handle: (channel: MuxChannel) => void;
  /** Undefined: whoever comes is answered at once. */
  #waiting: MuxChannel[] | undefined = [];

  constructor(handle: (channel: MuxChannel) => void) {
    this.#handle = handle;
  }

  /** As many wait as the connection may have open: one that its caller has given up waits no more. */
  take(channel: MuxChannel): void {
    if (this.#waiting === undefined) return this.#handle(channel);
    this.#waiting = this.#waiting.filter(({ failure }) => failure === undefined);
    this.#waiting.push(channel);
  }

  /** Answers those that wait, in the order in which they came, and from now on everybody. */
  begin(): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const channel of waiting) if (channel.failure === undefined) this.#handle(channel);
  }
}
