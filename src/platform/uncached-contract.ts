/** The part of the contract of a FileSystem that is about reading and writing past the page cache. */
import { expect, test } from "bun:test";
import { PAGE_BYTES, alignedBytes } from "#platform/aligned-bytes.ts";
import type { Bench } from "#platform/file-system-contract.ts";

const encoder = new TextEncoder();

export function uncached(bench: () => Bench): void {
  test("[FS-42] writes past the page cache put every byte in its place, and leave what they cannot take", async () => {
    const { fs, root } = bench();
    const fd = fs.create(root, "f", 0o600);
    const around = encoder.encode("around");
    fs.write(fd, around, PAGE_BYTES - 3);
    fs.write(fd, around, 9 * PAGE_BYTES - 3);
    const [one, two] = [1, 2].map((byte) => alignedBytes(byte * PAGE_BYTES, 0).fill(byte)) as [Uint8Array, Uint8Array];
    const uncached = fs.openUncached(fd);
    const taken = uncached === undefined ? 0 : await fs.writeUncached(uncached, [one, two], 4 * PAGE_BYTES);
    expect(taken).toBe(uncached === undefined ? 0 : 3 * PAGE_BYTES);
    const expected = new Uint8Array(9 * PAGE_BYTES + 3);
    for (const at of [PAGE_BYTES - 3, 9 * PAGE_BYTES - 3]) expected.set(around, at);
    if (taken > 0) expected.set(Buffer.concat([one, two]), 4 * PAGE_BYTES);
    const back = new Uint8Array(10 * PAGE_BYTES);
    const same = (): boolean => Buffer.compare(back.subarray(0, fs.read(fd, back, 0)), expected) === 0;
    expect(same()).toBe(true);
    if (uncached === undefined) return fs.close(fd);
    // Neither a position nor a length inside a page, and nothing of those beside it.
    expect(await fs.writeUncached(uncached, [one], 10)).toBe(0);
    expect(await fs.writeUncached(uncached, [one, two.subarray(0, 100)], 0)).toBe(0);
    expect(same()).toBe(true);
    // Over what is cached, and past the end.
    expect(await fs.writeUncached(uncached, [two, one], PAGE_BYTES)).toBe(3 * PAGE_BYTES);
    expect(await fs.writeUncached(uncached, [one], 9 * PAGE_BYTES)).toBe(PAGE_BYTES);
    fs.close(uncached);
    const after = new Uint8Array(10 * PAGE_BYTES);
    after.set(expected);
    after.fill(2, PAGE_BYTES, 3 * PAGE_BYTES).fill(1, 3 * PAGE_BYTES, 4 * PAGE_BYTES).fill(1, 9 * PAGE_BYTES);
    expect(fs.read(fd, back, 0)).toBe(back.length);
    expect(Buffer.compare(back, after)).toBe(0);
    fs.close(fd);
  });

  test("[FS-44] reads past the page cache see what was written either way, and nothing where they cannot be had", async () => {
    const { fs, root } = bench();
    const fd = fs.create(root, "f", 0o600);
    const text = encoder.encode("through the cache");
    const page = alignedBytes(PAGE_BYTES, 0).fill(1);
    for (const [at, bytes] of [page, text].entries()) fs.write(fd, bytes, at * PAGE_BYTES);
    const uncached = fs.openUncached(fd);
    if (uncached === undefined) return fs.close(fd);
    const back = alignedBytes(3 * PAGE_BYTES, 0);
    expect(await fs.readUncached(uncached, back, 0)).toBe(PAGE_BYTES + text.length);
    expect(Buffer.concat([page, text]).equals(back.subarray(0, PAGE_BYTES + text.length))).toBe(true);
    for (const at of [1, 2 * PAGE_BYTES]) expect(await fs.readUncached(uncached, back, at)).toBe(0);
    expect(await fs.readUncached(uncached, back.subarray(0, 100), 0)).toBe(0);
    for (const open of [uncached, fd]) fs.close(open);
  });

  test("[FS-45] what the page cache takes is in its place, and what is read from it alone is what was written", async () => {
    const { fs, root } = bench();
    const fd = fs.create(root, "f", 0o600);
    const bytes = new Uint8Array(5 * PAGE_BYTES + 123).map((_, at) => at % 251);
    for (const position of [0, 16, 32, PAGE_BYTES]) {
      const taken = fs.writeCached(fd, bytes, position);
      fs.write(fd, bytes.subarray(taken), position + taken);
      for (const length of [bytes.length, 100]) {
        const whole = new Uint8Array(length);
        expect(fs.read(fd, whole, position)).toBe(length);
        expect(Buffer.compare(whole, bytes.subarray(0, length))).toBe(0);
        const cached = new Uint8Array(length);
        const count = await fs.readCached(fd, cached, position);
        expect(Buffer.compare(cached.subarray(0, count), bytes.subarray(0, count))).toBe(0);
      }
    }
    // Nothing there, or not all of it.
    expect(await fs.readCached(fd, new Uint8Array(2 * PAGE_BYTES), 8 * PAGE_BYTES)).toBeLessThan(2 * PAGE_BYTES);
    fs.close(fd);
  });
}
