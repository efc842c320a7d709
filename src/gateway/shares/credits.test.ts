import { expect, test } from "bun:test";
import fc from "fast-check";
import { CREDITS_MAX, CREDIT_MS, Credits, SLACK_BYTES } from "#gateway/shares/credits.ts";

class HandClock {
  ms = 0;
  nowMs = (): number => this.ms;
  monotonicMs = (): number => this.ms;
  sleep = (): Promise<void> => Promise.resolve();
}

test("[SHARE-11] one download is sent as parts in any order, and again what did not arrive, but never twice as a whole", () => {
  const size = 100_000_000;
  const part = fc.record({ bytes: fc.nat(size), isBroken: fc.boolean() });
  fc.assert(
    fc.property(fc.array(part, { maxLength: 40 }), (parts) => {
      const credits = new Credits(new HandClock());
      credits.begin("s", "10.0.0.1", "c", size, 0).sent(0);
      let sent = 0;
      for (const { bytes, isBroken } of parts) {
        const taken = credits.continue("s", "10.0.0.1", "c", bytes);
        const real = isBroken ? Math.floor(bytes / 3) : bytes;
        taken?.sent(real);
        if (taken !== undefined) sent += real;
        else expect(sent + bytes).toBeGreaterThan(size);
      }
      expect(sent).toBeLessThanOrEqual(size + SLACK_BYTES);
    }),
  );
});

test("[SHARE-11] what one client has begun is nothing to another, to another file, to another share, or to the day after", () => {
  const clock = new HandClock();
  const credits = new Credits(clock);
  const begin = (): void => credits.begin("s", "10.0.0.1", "c", 100, 0).sent(0);
  begin();
  expect(credits.continue("s", "10.0.0.2", "c", 1)).toBeUndefined();
  expect(credits.continue("s", "10.0.0.1", "d", 1)).toBeUndefined();
  expect(credits.continue("t", "10.0.0.1", "c", 1)).toBeUndefined();
  clock.ms = CREDIT_MS;
  expect(credits.continue("s", "10.0.0.1", "c", 1)).toBeUndefined();
  begin();
  for (let at = 0; at < CREDITS_MAX; at++) credits.begin("s", `2001:db8:${at.toString(16)}::1`, "c", 1, 0);
  expect(credits.continue("s", "10.0.0.1", "c", 1)).toBeUndefined();
});
