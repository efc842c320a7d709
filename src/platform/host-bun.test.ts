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

test("[HOST-3] a start of the system has one name, and time since then goes on", () => {
  if (process.platform !== "linux") return expect(openHost().uptime()).toBeUndefined();
  const [first, second] = [openHost().uptime()!, openHost().uptime()!];
  expect(first.start).toMatch(/^[0-9a-f-]{36}$/);
  expect(second.start).toBe(first.start);
  expect(second.ms).toBeGreaterThanOrEqual(first.ms);
  expect(first.ms).toBeGreaterThan(systemClock.monotonicMs() - 1000);
});

test("[HOST-2] SHA-256 is right of few bytes and of many, many asked for at a time", async () => {
  const { sha256 } = openHost();
  const all = new Uint8Array(3 << 20).map((_, at) => at * 31 + (at >> 11));
  const stretches = Array.from({ length: 40 }, (_, at) => [at * 1001, at * 1001 + (at % 5) * 200_003 + at] as const);
  for (let round = 0; round < 3; round++) {
    const hashes = await Promise.all(stretches.map(([from, to]) => sha256(all.subarray(from, to))));
    for (const [at, [from, to]] of stretches.entries()) {
      const right = new Bun.CryptoHasher("sha256").update(all.subarray(from, to)).digest("hex");
      expect(hashes[at]!.toHex()).toBe(right);
    }
  }
});

test("random bytes have the length asked and differ", () => {
  expect(systemRandom.bytes(100_000).length).toBe(100_000);
  expect(systemRandom.bytes(16)).not.toEqual(systemRandom.bytes(16));
});
