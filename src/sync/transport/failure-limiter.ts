/** Who failed too often is refused for a while. One table of bounded size, oldest addresses forgotten first. */

/** Failures within WINDOW_MS after which an address is refused. */
export const FAILURES_MAX = 10;
export const WINDOW_MS = 60_000;
/** How long it is refused. */
export const REFUSE_MS = 60_000;
/** Addresses remembered; an attacker with more of them is a matter for a firewall. */
export const ADDRESSES_MAX = 4096;

type Record = { since: number; failures: number; refusedUntil: number };

export class FailureLimiter {
  readonly #records = new Map<string, Record>();

  /** Milliseconds for which the address is still refused; 0 when it may try. `now` is monotonic. */
  refusedMs(address: string, now: number): number {
    return Math.max(0, (this.#records.get(keyOf(address))?.refusedUntil ?? 0) - now);
  }

  failed(address: string, now: number): void {
    const key = keyOf(address);
    const known = this.#records.get(key);
    const isCurrent = known !== undefined && now - known.since < WINDOW_MS;
    const record = isCurrent ? known : { since: now, failures: 0, refusedUntil: 0 };
    record.failures++;
    if (record.failures >= FAILURES_MAX) {
      record.refusedUntil = now + REFUSE_MS;
      record.since = now;
      record.failures = 0;
    }
    this.#records.delete(key);
    this.#records.set(key, record);
    if (this.#records.size > ADDRESSES_MAX) this.#records.delete(this.#records.keys().next().value!);
  }

  get size(): number {
    return this.#records.size;
  }
}

/** One customer usually has a whole /64 of IPv6. */
function keyOf(address: string): string {
  if (!address.includes(":") || address.includes(".")) return address;
  const [head = "", tail] = address.split("::");
  const front = head === "" ? [] : head.split(":");
  const missing = tail === undefined ? 0 : 8 - front.length - (tail === "" ? 0 : tail.split(":").length);
  const groups = [...front, ...Array<string>(Math.max(0, missing)).fill("0"), ...(tail ? tail.split(":") : [])];
  return groups.slice(0, 4).join(":");
}
