/**
 * Slows guessing down, over all doors together. A failure counts for the address it came from and for the user it named;
 * after some that are free, each doubles the time in which further attempts are refused unseen.
 *
 * Nobody locks somebody else out for ever: the block of a user is short; attempts that are refused do not prolong it;
 * and an address from which the user has signed in before is counted for itself alone, whatever others do.
 */
import type { Clock } from "#platform/host.ts";

/** Failures that cost nothing yet. */
export const FREE_FAILURES = 10;
/** The first block; each further failure doubles it. */
export const BLOCK_MS_FIRST = 1_000;
/** The longest block of an address, and of a user or of a user at an address that it knows. */
export const ADDRESS_BLOCK_MS_MAX = 15 * 60_000;
export const USER_BLOCK_MS_MAX = 30_000;
/** Failures are forgotten when none came for this long. */
export const FORGET_MS = 60 * 60_000;
/** An address stays known to a user for this long after it signed in. */
export const KNOWN_MS = 30 * 86_400_000;
/** Addresses, users and known pairs remembered, each; the ones that moved longest ago go first. */
export const THROTTLE_ENTRIES_MAX = 10_000;

type Count = {
  failures: number;
  /** Attempts that run right now. */
  running: number;
  lastMs: number;
  blockedUntilMs: number;
};

/** An attempt that runs. Exactly one of these is called, once. */
export type Attempt = {
  readonly failed: () => void;
  readonly succeeded: () => void;
  /** It came to no answer. */
  readonly withdrawn: () => void;
};

type Gate = { readonly count: Count; readonly blockMsMax: number };

export class Throttle {
  readonly #clock: Clock;
  readonly #addresses = new Map<string, Count>();
  readonly #users = new Map<string, Count>();
  readonly #known = new Map<string, Count & { signedInMs: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Begins an attempt, or says for how many milliseconds it is refused. Attempts that run at the same time count as if
   * they would fail, because a thousand of them are a thousand guesses.
   * @param user undefined: what was shown names nobody (a token)
   */
  begin(address: string, user: string | undefined): Attempt | { readonly refusedMs: number } {
    const now = this.#clock.monotonicMs();
    const gates = this.#gatesOf(networkOf(address), user, now);
    const refusedMs = Math.max(...gates.map(({ count }) => refusedMsOf(count, now)));
    if (refusedMs > 0) return { refusedMs };
    for (const { count } of gates) count.running++;
    const withdrawn = (): void => {
      for (const { count } of gates) count.running--;
    };
    return {
      withdrawn,
      failed: () => {
        withdrawn();
        for (const gate of gates) fail(gate, this.#clock.monotonicMs());
      },
      succeeded: () => {
        withdrawn();
        if (user !== undefined) this.#remember(networkOf(address), user);
      },
    };
  }

  /** Entries remembered, of all kinds. */
  get size(): number {
    return this.#addresses.size + this.#users.size + this.#known.size;
  }

  #gatesOf(network: string, user: string | undefined, now: number): Gate[] {
    const known = user === undefined ? undefined : this.#known.get(pairOf(network, user));
    if (known !== undefined && now - known.signedInMs < KNOWN_MS) {
      forgetOld(known, now);
      return [{ count: known, blockMsMax: USER_BLOCK_MS_MAX }];
    }
    const gates = [{ count: countOf(this.#addresses, network, now), blockMsMax: ADDRESS_BLOCK_MS_MAX }];
    if (user !== undefined) gates.push({ count: countOf(this.#users, user, now), blockMsMax: USER_BLOCK_MS_MAX });
    return gates;
  }

  #remember(network: string, user: string): void {
    const key = pairOf(network, user);
    const now = this.#clock.monotonicMs();
    const known = this.#known.get(key) ?? { failures: 0, running: 0, lastMs: now, blockedUntilMs: now, signedInMs: now };
    // Nobody else gets here: only who has the password clears what was counted.
    known.failures = 0;
    known.blockedUntilMs = now;
    known.signedInMs = now;
    this.#known.delete(key);
    this.#known.set(key, known);
    trim(this.#known);
  }
}

function refusedMsOf(count: Count, now: number): number {
  if (count.blockedUntilMs > now) return count.blockedUntilMs - now;
  const isCrowded = count.running > 0 && count.failures + count.running >= FREE_FAILURES;
  return isCrowded ? BLOCK_MS_FIRST : 0;
}

function fail({ count, blockMsMax }: Gate, now: number): void {
  count.failures++;
  count.lastMs = now;
  if (count.failures < FREE_FAILURES) return;
  // Doubling ends long before the number does.
  const doublings = Math.min(30, count.failures - FREE_FAILURES);
  count.blockedUntilMs = Math.max(count.blockedUntilMs, now + Math.min(blockMsMax, BLOCK_MS_FIRST * 2 ** doublings));
}

function forgetOld(count: Count, now: number): void {
  if (now - count.lastMs >= FORGET_MS) count.failures = 0;
}

function countOf(counts: Map<string, Count>, key: string, now: number): Count {
  const count = counts.get(key) ?? { failures: 0, running: 0, lastMs: now, blockedUntilMs: now };
  forgetOld(count, now);
  counts.delete(key);
  counts.set(key, count);
  trim(counts);
  return count;
}

function trim(counts: Map<string, unknown>): void {
  if (counts.size > THROTTLE_ENTRIES_MAX) counts.delete(counts.keys().next().value!);
}

/** No address has a NUL. */
function pairOf(network: string, user: string): string {
  return `${network}\0${user}`;
}

/** One customer usually has a whole /64 of IPv6; an IPv4 address may come dressed as IPv6. */
export function networkOf(address: string): string {
  const bare = address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
  if (!bare.includes(":")) return bare;
  const [head = "", tail] = bare.toLowerCase().split("::");
  const front = head === "" ? [] : head.split(":");
  const back = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = Array<string>(Math.max(0, tail === undefined ? 0 : 8 - front.length - back.length)).fill("0");
  return [...front, ...zeros, ...back]
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":");
}
