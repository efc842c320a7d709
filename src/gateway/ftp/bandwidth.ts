/**
 * Rates of users: a bucket of tokens for each user and direction, shared by all their transfers. A transfer takes what it
 * has moved, and waits when the bucket is in debt; so pieces of any size pass, and the average holds.
 */
import type { Clock } from "#platform/host.ts";

/** A bucket holds this much time's worth, for what comes in bursts. */
const BURST_MS = 250;
/** Idle buckets beyond this many are forgotten, the oldest first: they are full again by then. */
const BUCKETS_MAX = 4_096;
/** A wait is cut into such steps, so that an end is noticed. */
const WAIT_MS_MAX = 1_000;

type Bucket = { tokens: number; atMs: number };

export class Bandwidth {
  readonly #rates: ReadonlyMap<string, number>;
  readonly #clock: Clock;
  readonly #buckets = new Map<string, Bucket>();

  /** @param rates bytes a second by user; "*" is for everybody else */
  constructor(rates: ReadonlyMap<string, number>, clock: Clock) {
    this.#rates = rates;
    this.#clock = clock;
  }

  /** Undefined where the user has no limit. The promise resolves when more may be moved. */
  take(user: string, direction: "in" | "out", bytes: number, signal: AbortSignal): Promise<void> | undefined {
    const rate = this.#rates.get(user) ?? this.#rates.get("*");
    if (rate === undefined) return undefined;
    const bucket = this.#bucket(`${direction}\0${user}`, rate);
    bucket.tokens -= bytes;
    return bucket.tokens >= 0 ? undefined : this.#wait(bucket, rate, signal);
  }

  #bucket(key: string, rate: number): Bucket {
    const bucket = this.#buckets.get(key) ?? { tokens: (rate * BURST_MS) / 1_000, atMs: this.#clock.monotonicMs() };
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > BUCKETS_MAX) this.#buckets.delete(this.#buckets.keys().next().value!);
    this.#fill(bucket, rate);
    return bucket;
  }

  #fill(bucket: Bucket, rate: number): void {
    const nowMs = this.#clock.monotonicMs();
    bucket.tokens = Math.min((rate * BURST_MS) / 1_000, bucket.tokens + ((nowMs - bucket.atMs) * rate) / 1_000);
    bucket.atMs = nowMs;
  }

  async #wait(bucket: Bucket, rate: number, signal: AbortSignal): Promise<void> {
    while (bucket.tokens < 0) {
      await this.#clock.sleep(Math.min(WAIT_MS_MAX, Math.ceil((-bucket.tokens * 1_000) / rate)), signal);
      this.#fill(bucket, rate);
    }
  }
}
