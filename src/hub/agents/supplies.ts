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
/** Channels on which one agent sends at a time: it is asked for one part after the other, and the next may overlap. */
const SENDING_MAX = 4;

type Waiting = { readonly host: string; readonly length: number; readonly done: (bytes: Uint8Array | undefined) => void };

export class Supplies {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #waiting = new Map<string, Waiting>();
  readonly #sending = new Map<string, number>();

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

  /**
   * An agent sends.
   * @throws {SynclineError} PROTOCOL for what nobody asked this host for, or more of it, or on too many channels
   */
  async take(host: string, channel: MuxChannel): Promise<void> {
    const sending = this.#sending.get(host) ?? 0;
    if (sending >= SENDING_MAX) throw unasked();
    this.#sending.set(host, sending + 1);
    try {
      await this.#take(host, channel);
    } finally {
      const left = this.#sending.get(host)! - 1;
      if (left > 0) this.#sending.set(host, left);
      else this.#sending.delete(host);
    }
  }

  async #take(host: string, channel: MuxChannel): Promise<void> {
    const head = await channel.receive();
    const request = head === undefined ? "" : Buffer.from(head).toString("latin1");
    const waiting = this.#waiting.get(request);
    if (waiting === undefined || waiting.host !== host) throw unasked();
    // Answered once: a second channel for the same would take as much memory again.
    this.#waiting.delete(request);
    try {
      waiting.done(await partOf(waiting.length, channel));
    } catch (error) {
      waiting.done(undefined);
      throw error;
    }
    channel.end();
  }
}

/** Undefined: it has ended early. */
async function partOf(length: number, channel: MuxChannel): Promise<Uint8Array | undefined> {
  const bytes = new Uint8Array(length);
  let at = 0;
  for (let piece = await channel.receive(); piece !== undefined; piece = await channel.receive()) {
    if (at + piece.length > bytes.length) throw unasked();
    bytes.set(piece, at);
    at += piece.length;
  }
  return at === bytes.length ? bytes : undefined;
}

function unasked(): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op: "supply", message: "bytes that nobody asked for" });
}
