/**
 * What a download is, where downloads are counted: leave for one client to be sent a file's bytes once. A request for the
 * whole file is a new one. A request for a range goes on with one that this client has begun, as long as what it asks for
 * has not been sent already; so a download that broke off, or comes in parts, is one.
 */
import { networkOf } from "#access/throttle.ts";
import type { Clock } from "#platform/host.ts";

/** Downloads that are remembered; the ones that moved longest ago go first. */
export const CREDITS_MAX = 10_000;
/** How long one may be gone on with. */
export const CREDIT_MS = 24 * 3_600_000;
/**
 * Bytes that may be sent twice, and no more than the file has: what was on its way when a connection broke off. The
 * client's system alone may hold 32 MiB that nobody has read (tcp_rmem of Linux), ours 4, and 2 are with the sending thread.
 */
export const SLACK_BYTES = 40 << 20;

type Credit = {
  left: number;
  untilMs: number;
  /** Answers that were made of it. */
  answers: number;
};

/** One answer's part of a download. */
export type Taken = {
  /** The bytes that were sent of those that were asked for; the others can be asked for again. */
  readonly sent: (bytes: number) => void;
  /** There was no answer. True: nobody else has had one of this download, and nobody can go on with it any more. */
  readonly forget: () => boolean;
};

export class Credits {
  readonly #clock: Clock;
  readonly #all = new Map<string, Credit>();
  /** New ones that are being counted, by what they are for. */
  readonly #counting = new Map<string, Promise<unknown>>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * A new download, as soon as it was counted.
   * @throws what `count` throws
   */
  async count(share: string, address: string, content: string, size: number, bytes: number, count: () => Promise<void>): Promise<Taken> {
    const key = keyOf(share, address, content);
    const begun = count().then(() => this.begin(share, address, content, size, bytes));
    const ended = begun.catch(() => undefined);
    this.#counting.set(key, ended);
    try {
      return await begun;
    } finally {
      if (this.#counting.get(key) === ended) this.#counting.delete(key);
    }
  }

  /** Until it is known whether a download that this client begins in this moment can be gone on with. */
  async counted(share: string, address: string, content: string): Promise<void> {
    const key = keyOf(share, address, content);
    for (let one = this.#counting.get(key); one !== undefined; one = this.#counting.get(key)) await one;
  }

  /** Bytes of a download that was begun; undefined: they are a new one. */
  continue(share: string, address: string, content: string, bytes: number): Taken | undefined {
    const key = keyOf(share, address, content);
    const credit = this.#all.get(key);
    if (credit === undefined || credit.untilMs <= this.#clock.monotonicMs() || credit.left < bytes) return undefined;
    return this.#take(key, credit, bytes);
  }

  /** A new download, which was counted, of a file of `size`. */
  begin(share: string, address: string, content: string, size: number, bytes: number): Taken {
    const key = keyOf(share, address, content);
    const credit = { left: size + Math.min(size, SLACK_BYTES), untilMs: this.#clock.monotonicMs() + CREDIT_MS, answers: 0 };
    return this.#take(key, credit, bytes);
  }

  #take(key: string, credit: Credit, bytes: number): Taken {
    credit.left -= bytes;
    credit.answers++;
    this.#all.delete(key);
    this.#all.set(key, credit);
    if (this.#all.size > CREDITS_MAX) this.#all.delete(this.#all.keys().next().value!);
    return {
      sent: (sent) => {
        credit.left += Math.max(0, bytes - sent);
      },
      forget: () => credit.answers === 1 && this.#all.get(key) === credit && this.#all.delete(key),
    };
  }
}

/** None of them holds a space. */
const keyOf = (share: string, address: string, content: string): string => `${share} ${networkOf(address)} ${content}`;
