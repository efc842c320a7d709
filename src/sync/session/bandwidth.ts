/**
 * Keeps what a session moves below a rate: a token bucket that may go into debt. Whoever takes pays for its own bytes
 * before they leave, so N bytes take N / rate seconds however they are cut; only what was saved up while nothing
 * moved leaves at once, and that is bounded.
 */
import { asError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import type { Channel } from "#sync/wire/channel.ts";

/** What may be saved up while nothing moves: this many bytes, or what passes in this time if that is less. */
const SAVED_BYTES_MAX = 1 << 20;
const SAVED_SECONDS_MAX = 0.1;

/** A rate that is asked for may change: whoever waits looks again after this long. */
const LOOK_MS = 5000;

export class Bandwidth {
  readonly #clock: Clock;
  readonly #rate: () => number | undefined;
  /** Bytes that may have left by now, and that were promised to takers, since the beginning. */
  #earned = 0;
  #promised = 0;
  #countedMs: number;

  /** @param bytesPerSecond at least 1, or a function that is asked while takers come and wait; undefined: no limit now */
  constructor(clock: Clock, bytesPerSecond: number | (() => number | undefined)) {
    this.#clock = clock;
    this.#rate = typeof bytesPerSecond === "number" ? () => bytesPerSecond : bytesPerSecond;
    this.#countedMs = clock.monotonicMs();
  }

  /** Resolves when `bytes` may leave; takers are served in the order of their calls. Rejects with the signal's reason. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    let bytesPerMs = this.#earn();
    this.#promised += bytes;
    const mine = this.#promised;
    while (bytesPerMs !== undefined && this.#earned < mine) {
      const waitMs = (mine - this.#earned) / bytesPerMs;
      await this.#clock.sleep(Math.min(waitMs, LOOK_MS), signal);
      if (waitMs <= LOOK_MS) return;
      bytesPerMs = this.#earn();
    }
  }

  /** Returns the rate that holds now, in bytes a millisecond. */
  #earn(): number | undefined {
    const rate = this.#rate();
    const nowMs = this.#clock.monotonicMs();
    const sinceMs = nowMs - this.#countedMs;
    this.#countedMs = nowMs;
    if (rate === undefined) {
      this.#earned = Math.max(this.#earned, this.#promised);
      return undefined;
    }
    const saved = Math.min(SAVED_BYTES_MAX, rate * SAVED_SECONDS_MAX);
    this.#earned = Math.min(this.#promised + saved, this.#earned + (sinceMs * rate) / 1000);
    return rate / 1000;
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
  /** Messages leave in the order in which they were given, and the end behind them. Nothing follows one that was lost. */
  #last: Promise<void> = Promise.resolve();

  constructor(inner: Channel, bandwidth: Bandwidth, signal: AbortSignal) {
    this.#inner = inner;
    this.#bandwidth = bandwidth;
    this.#signal = AbortSignal.any([signal, this.#failed.signal]);
  }

  send(message: Uint8Array, isGiven?: boolean): Promise<void> {
    const sent = this.#last.then(async () => {
      await this.#bandwidth.take(message.length, this.#signal);
      await this.#inner.send(message, isGiven);
    });
    this.#last = sent;
    // Told to the sender, to all who send behind it, and at the end to the other side.
    sent.catch(() => undefined);
    return sent;
  }

  receive(): Promise<Uint8Array | undefined> {
    return this.#inner.receive();
  }

  end(): void {
    this.#last.then(
      () => this.#inner.end(),
      (error: unknown) => this.#inner.fail(asError(error)),
    );
  }

  fail(error: Error): void {
    this.#failed.abort(error);
    this.#inner.fail(error);
  }
}
