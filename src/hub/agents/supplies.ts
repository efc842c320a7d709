/**
 * Parts of files that the hub asks agents for, to repair its own chunks: it says which on the control channel, and the
 * agent opens a channel of method "supply" that begins with the number of the request and goes on with the bytes. What
 * comes is checked by whoever asked.
 */
import { SynclineError } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import { CHUNK_BYTES_MAX } from "#store/chunk-store.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";

/** An agent that has not sent everything by then is not waited for. */
const PATIENCE_MS = 30_000;
/** Requests under way over all agents. */
const UNDER_WAY_MAX = 64;
const REQUEST_BYTES = 16;

type Waiting = { readonly host: string; readonly length: number; readonly done: (bytes: Uint8Array | undefined) => void };

export class Supplies {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #waiting = new Map<string, Waiting>();

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  /**
   * @param send tells the agent the number of the request; false: it is not there
   * @returns undefined when the agent does not have it, or does not answer
   */
  async ask(
    host: string,
    length: number,
    send: (request: string) => boolean,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    if (length > CHUNK_BYTES_MAX || this.#waiting.size >= UNDER_WAY_MAX) return undefined;
    const request = this.#random.bytes(REQUEST_BYTES).toHex();
    const { promise, resolve } = Promise.withResolvers<Uint8Array | undefined>();
    this.#waiting.set(request, { host, length, done: resolve });
    const over = new AbortController();
    try {
      if (!send(request)) return undefined;
      const late = this.#clock.sleep(PATIENCE_MS, AbortSignal.any([signal, over.signal])).then(() => undefined, () => undefined);
      return await Promise.race([promise, late]);
    } finally {
      over.abort();
      this.#waiting.delete(request);
    }
  }

  /** An agent sends. @throws {SynclineError} PROTOCOL for what nobody asked this host for, or more of it */
  async take(host: string, channel: MuxChannel): Promise<void> {
    const head = await channel.receive();
    const waiting = this.#waiting.get(head === undefined ? "" : Buffer.from(head).toString("latin1"));
    if (waiting === undefined || waiting.host !== host) throw unasked();
    const bytes = new Uint8Array(waiting.length);
    let at = 0;
    for (let piece = await channel.receive(); piece !== undefined; piece = await channel.receive()) {
      if (at + piece.length > bytes.length) throw unasked();
      bytes.set(piece, at);
      at += piece.length;
    }
    waiting.done(at === bytes.length ? bytes : undefined);
    channel.end();
  }
}

function unasked(): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op: "supply", message: "bytes that nobody asked for" });
}
