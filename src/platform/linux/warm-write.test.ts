/** Where the next bytes of a large file go: into the page cache, or another way. */
import { expect, test } from "bun:test";
import type { Fd } from "#platform/file-system.ts";
import { openLibc } from "#platform/linux/libc.ts";
import { WarmWrites, threadTime } from "#platform/linux/warm-write.ts";

const MIB = 1 << 20;
const FD = 3 as Fd;

/** A disk whose writes take what `costs` says of each position: processor time, and time. */
function disk(costs: (position: number) => readonly [processorMs: number, ms: number]) {
  let [processorMs, ms] = [0, 0];
  const file = new Uint8Array(128 * MIB);
  let end = 0;
  const writes = new WarmWrites(
    (_fd, bytes, position) => {
      const [processor, time] = costs(position);
      processorMs += processor;
      ms += time;
      file.set(bytes, position);
      end = Math.max(end, position + bytes.length);
    },
    { processorMs: () => processorMs, nowMs: () => ms },
  );
  return { writes, file, end: () => end };
}

test("[FS-46] what is slow sends the next bytes another way for a while, longer each time, and not for ever", () => {
  const quick = [0.1, 0.1] as const;
  for (const slow of [[0.7, 0.7], [0.1, 6]] as const) {
    let cost: readonly [number, number] = quick;
    const { writes, end } = disk((position) => (position >= 3 * MIB && position < 4 * MIB ? slow : cost));
    const batch = new Uint8Array(8 * MIB);
    // The stretch that was slow has been written, nothing behind it, which is more than has to go another way.
    expect([writes.write(FD, batch, 0), end()]).toEqual([4 * MIB, 4 * MIB]);
    const one = new Uint8Array(MIB);
    const passed = (): number => {
      let count = 0;
      while (writes.write(FD, one, 64 * MIB) === 0) count++;
      return count;
    };
    expect(passed()).toBe(0);
    cost = slow;
    expect([0, 2, 4, 8, 16, 32, 32].map(() => passed())).toEqual([0, 2, 4, 8, 16, 32, 32]);
    cost = quick;
    expect([passed(), passed()]).toEqual([32, 0]);
    cost = slow;
    expect([passed(), passed()]).toEqual([0, 2]);
  }
});

test("[FS-46] who else wants the processor does not count, and every byte of a part is written in its place", () => {
  const { writes, file } = disk(() => [0.4, 4]);
  const bytes = crypto.getRandomValues(new Uint8Array(65_536));
  const whole = new Uint8Array(3 * MIB + 77);
  for (let at = 0; at < whole.length; at += bytes.length) whole.set(bytes.subarray(0, whole.length - at), at);
  expect(writes.write(FD, whole, 5)).toBe(whole.length);
  expect(Buffer.compare(file.subarray(5, 5 + whole.length), whole)).toBe(0);
});

test.skipIf(process.platform !== "linux")("[FS-46] the processor time of a thread grows with what it does", () => {
  const { processorMs } = threadTime(openLibc()!);
  const before = processorMs();
  for (let round = 0; round < 50; round++) Bun.SHA256.hash(new Uint8Array(MIB));
  expect(processorMs()).toBeGreaterThan(before);
});
