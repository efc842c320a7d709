/**
 * Keeps what a session moves below a rate: a token bucket that may go into debt. Whoever takes pays for its own bytes
 * before they leave, so N bytes take N / rate seconds however they are cut; only what was saved up while nothing
 * moved leaves at once, and that is bounded.
 */
import type { Clock } from "#platform/host.ts";
import type { Channel } from "#sync/wire/channel.ts";

/** What may be saved up while nothing moves: this many bytes, or what passes in this time if that is less. */
const SAVED_BYTES_MAX = 1 << 20;
const SAVED_SECONDS_MAX = 0.1;

export class Bandwidth {
  readonly #clock: Clock;
  readonly #bytesPerMs: number;
  readonly #savedMax: number;
  /** Bytes that may leave now; below zero while takers wait. */
  #balance = 0;
  #countedMs: number;

  /** @param bytesPerSecond at least 1 */
  constructor(clock: Clock, bytesPerSecond: number) {
    this.#clock = clock;
    this.#bytesPerMs = bytesPerSecond / 1000;
    this.#savedMax = Math.min(SAVED_BYTES_MAX, bytesPerSecond * SAVED_SECONDS_MAX);
    this.#countedMs = clock.monotonicMs();
  }

  /** Resolves when `bytes` may leave; takers are served in the order of their calls. Rejects with the signal's reason. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const earned = (nowMs - this.#countedMs) * this.#bytesPerMs;
    this.#countedMs = nowMs;
    this.#balance = Math.min(this.#savedMax, this.#balance + earned) - bytes;
    if (this.#balance < 0) await this.#clock.sleep(-this.#balance / this.#bytesPerMs, signal);
  }

  /** The channel with every message that is sent into it paid for first. Receiving costs nothing. */
  limit(channel: Channel, signal: AbortSignal): LimitedChannel {
    return new LimitedChannel(channel, this, signal);
  }
}

class LimitedChannel implements Channel {
  readonly #inner: Channel;
  readonly #bandwidth: Bandwidth;
  readonly #signal: AbortSignal;
  readonly #failed = new AbortController();
  /** Messages leave in the order in which they were given, and the end behind them. */
  #last: Promise<void> = Promise.resolve();

  constructor(inner: Channel, bandwidth: Bandwidth, signal: AbortSignal) {
    this.#inner = inner;
    this.#bandwidth = bandwidth;
    this.#signal = AbortSignal.any([signal, this.#failed.signal]);
  }

  send(message: Uint8Array): Promise<void> {
    const sent = this.#last.then(async () => {
      await this.#bandwidth.take(message.length, this.#signal);
      await this.#inner.send(message);
    });
    this.#last = sent.catch(() => undefined);
    return sent;
  }

  receive(): Promise<Uint8Array | undefined> {
    return this.#inner.receive();
  }

  end(): void {
    void this.#last.then(() => this.#inner.end());
  }

  fail(error: Error): void {
    this.#failed.abort(error);
    this.#inner.fail(error);
  }
}
