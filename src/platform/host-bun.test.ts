import { expect, test } from "bun:test";
import { openHost, systemClock, systemRandom } from "#platform/host-bun.ts";

test("the host suits the system", () => {
  const host = openHost();
  expect(host.fs.platform).toBe(process.platform);
  expect(host.hostName).not.toBe("");
});

test("[HOST-1] a sleep ends at its time, or rejects with the reason of its signal", async () => {
  const before = systemClock.monotonicMs();
  await systemClock.sleep(5, new AbortController().signal);
  expect(systemClock.monotonicMs() - before).toBeGreaterThanOrEqual(4);
  const controller = new AbortController();
  const long = systemClock.sleep(2 ** 40, controller.signal);
  const reason = new Error("stop");
  controller.abort(reason);
  expect(await long.catch((error: unknown) => error)).toBe(reason);
  expect(await systemClock.sleep(0, controller.signal).catch((error: unknown) => error)).toBe(reason);
});

test("random bytes have the length asked and differ", () => {
  expect(systemRandom.bytes(100_000).length).toBe(100_000);
  expect(systemRandom.bytes(16)).not.toEqual(systemRandom.bytes(16));
});
