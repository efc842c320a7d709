import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { StillClock } from "#access/access-fixture.ts";
import { ADDRESS_BLOCK_MS_MAX, type Attempt, BLOCK_MS_FIRST, FORGET_MS, FREE_FAILURES, THROTTLE_ENTRIES_MAX, Throttle, USER_BLOCK_MS_MAX, networkOf } from "#access/throttle.ts";

const world = (): { clock: StillClock; throttle: Throttle } => {
  const clock = new StillClock();
  return { clock, throttle: new Throttle(clock) };
};
const isAttempt = (begun: ReturnType<Throttle["begin"]>): begun is Attempt => !("refusedMs" in begun);
/** How long the attempt is refused; 0 when it was made, and then it fails or succeeds. */
const attempt = (throttle: Throttle, address: string, user: string | undefined, isRight: boolean): number => {
  const begun = throttle.begin(address, user);
  if (!isAttempt(begun)) return begun.refusedMs;
  if (isRight) begun.succeeded();
  else begun.failed();
  return 0;
};

describe("throttling", () => {
  test("[ACCESS-20] some failures are free, then each doubles the wait, up to a limit, and time forgets them", () => {
    const { clock, throttle } = world();
    for (let n = 0; n < FREE_FAILURES; n++) expect(attempt(throttle, "192.0.2.1", undefined, false)).toBe(0);
    for (let waitMs = BLOCK_MS_FIRST; waitMs <= ADDRESS_BLOCK_MS_MAX; waitMs *= 2) {
      expect(attempt(throttle, "192.0.2.1", undefined, true)).toBe(waitMs);
      clock.pass(waitMs);
      expect(attempt(throttle, "192.0.2.1", undefined, false)).toBe(0);
    }
    expect(attempt(throttle, "192.0.2.1", "ann", true)).toBe(ADDRESS_BLOCK_MS_MAX);
    expect(attempt(throttle, "192.0.2.2", undefined, false)).toBe(0);
    clock.pass(FORGET_MS);
    for (let n = 0; n < FREE_FAILURES; n++) expect(attempt(throttle, "192.0.2.1", undefined, false)).toBe(0);
    expect(attempt(throttle, "192.0.2.1", undefined, false)).toBe(BLOCK_MS_FIRST);
  });

  test("[ACCESS-21] attempts at the same time are no way around the count", () => {
    const { clock, throttle } = world();
    const running: Attempt[] = [];
    for (let n = 0; n < 1_000; n++) {
      const begun = throttle.begin("192.0.2.1", "ann");
      if (isAttempt(begun)) running.push(begun);
    }
    expect(running).toHaveLength(FREE_FAILURES);
    for (const one of running) one.failed();
    expect(attempt(throttle, "192.0.2.1", "ann", true)).toBe(BLOCK_MS_FIRST);
    clock.pass(BLOCK_MS_FIRST);
    const next = throttle.begin("192.0.2.1", "ann");
    expect(isAttempt(next)).toBe(true);
    expect(isAttempt(throttle.begin("192.0.2.1", "ann"))).toBe(false);
    if (isAttempt(next)) next.withdrawn();
    expect(attempt(throttle, "192.0.2.1", "ann", true)).toBe(0);
  });

  const steps = fc.array(
    fc.record({
      address: fc.constantFrom("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"),
      user: fc.constantFrom("ann", "bob", "nobody"),
      passMs: fc.oneof(fc.constant(0), fc.nat({ max: 2_000 }), fc.nat({ max: 2 * FORGET_MS })),
    }),
    { maxLength: 120 },
  );

  test("[ACCESS-22] whatever others fail at, a user signs in at once from an address it knows, and elsewhere after a short wait", () => {
    fc.assert(
      fc.property(steps, (history) => {
        const { clock, throttle } = world();
        expect(attempt(throttle, "198.51.100.7", "ann", true)).toBe(0);
        for (const { address, user, passMs } of history) {
          attempt(throttle, address, user, false);
          clock.pass(passMs);
        }
        expect(attempt(throttle, "198.51.100.7", "ann", true)).toBe(0);
        const waitMs = attempt(throttle, "203.0.113.9", "ann", true);
        expect(waitMs).toBeLessThanOrEqual(USER_BLOCK_MS_MAX);
        if (waitMs > 0) {
          clock.pass(waitMs);
          expect(attempt(throttle, "203.0.113.9", "ann", true)).toBe(0);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("[ACCESS-23] whatever the history, guesses in a time are few: by address, and by user over all addresses", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 100, max: 30_000 }), (addresses, everyMs) => {
        const { clock, throttle } = world();
        let made = 0;
        const made1 = new Map<string, number>();
        for (let at = 0, n = 0; at < 1_800_000 && n < 20_000; at += everyMs, n++) {
          const address = `192.0.2.${n % addresses}`;
          if (attempt(throttle, address, "ann", false) === 0) {
            made++;
            made1.set(address, (made1.get(address) ?? 0) + 1);
          }
          clock.pass(everyMs);
        }
        // Half an hour: the free ones, the doublings, then one for each longest block.
        expect(made).toBeLessThanOrEqual(FREE_FAILURES + 5 + 1_800_000 / USER_BLOCK_MS_MAX + 1);
        for (const count of made1.values()) expect(count).toBeLessThanOrEqual(FREE_FAILURES + 10 + 2);
      }),
      { numRuns: 50 },
    );
  });

  test("[ACCESS-24] an attempt that is refused prolongs nothing", () => {
    const { clock, throttle } = world();
    for (let n = 0; n < FREE_FAILURES; n++) attempt(throttle, "192.0.2.1", "ann", false);
    for (let ms = 0; ms < BLOCK_MS_FIRST; ms += 100) {
      expect(attempt(throttle, "192.0.2.1", "ann", false)).toBe(BLOCK_MS_FIRST - ms);
      clock.pass(100);
    }
    expect(attempt(throttle, "192.0.2.1", "ann", true)).toBe(0);
  });

  test("[ACCESS-25] a user at an address that it knows is still slowed down for itself, and for nobody else", () => {
    const { clock, throttle } = world();
    attempt(throttle, "192.0.2.1", "ann", true);
    for (let n = 0; n < 40; n++) {
      const waitMs = attempt(throttle, "192.0.2.1", "ann", false);
      expect(waitMs).toBeLessThanOrEqual(USER_BLOCK_MS_MAX);
      clock.pass(waitMs);
    }
    expect(attempt(throttle, "192.0.2.1", "ann", true)).toBeGreaterThan(0);
    expect(attempt(throttle, "192.0.2.1", "bob", true)).toBe(0);
  });

  test("[ACCESS-26] memory is bounded, and one customer is one address", () => {
    const { throttle } = world();
    for (let n = 0; n < 3 * THROTTLE_ENTRIES_MAX; n++) attempt(throttle, `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, `user${n}`, n % 2 === 0);
    expect(throttle.size).toBeLessThanOrEqual(3 * THROTTLE_ENTRIES_MAX);
    expect(networkOf("2001:db8:0:1::5")).toBe(networkOf("2001:0db8:0000:0001:ffff::1"));
    expect(networkOf("2001:db8:0:1::5")).not.toBe(networkOf("2001:db8:0:2::5"));
    expect(networkOf("2001:DB8::1")).toBe("2001:db8:0:0");
    expect(networkOf("::ffff:192.0.2.1")).toBe("192.0.2.1");
    expect(networkOf("fe80::1%eth0")).toBe(networkOf("fe80::2%eth1"));
  });
});
