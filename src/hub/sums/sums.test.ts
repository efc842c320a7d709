import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { combineCrc } from "#hub/sums/crc.ts";
import { SUM_NAMES, SumsHasher, decodeSums, encodeSums } from "#hub/sums/sums.ts";
import { openSums } from "#hub/sums/sums-thread.ts";

const all = (...parts: readonly Uint8Array[]) => {
  const hasher = new SumsHasher(SUM_NAMES);
  for (const part of parts) hasher.update(part);
  return hasher.digest();
};
const base64 = (hex: string): string => Buffer.from(hex, "hex").toString("base64");

describe("sums of contents", () => {
  test("[SUMS-1] are what everybody else computes", () => {
    const nine = all(Buffer.from("123456789"));
    expect([nine.crc32, nine.crc32c, nine.crc64nvme]).toEqual(["cbf43926", "e3069283", "ae8b14860a799888"]);
    const letters = all(new Uint8Array(1024).fill(65));
    expect(base64(letters.crc64nvme!)).toBe("Qeh8oXvGiSo=");
    expect(base64(letters.sha256!)).toBe("arcu6553sHVAiX4MjW0j7I7vD4w6R+Gz9Ok0Q9lTa+0=");
    for (const name of ["md5", "sha1", "sha256", "sha512"] as const) {
      expect(nine[name]).toBe(createHash(name).update("123456789").digest("hex"));
    }
  });

  test("[SUMS-1] do not depend on how the bytes come", () => {
    const parts = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 6 });
    fc.assert(fc.property(parts, (pieces) => expect(all(...pieces)).toEqual(all(new Uint8Array(Buffer.concat(pieces))))));
  });

  test("[SUMS-1] are the same on a thread of their own, side by side and one given up in between", async () => {
    const bytes = new Uint8Array(9_000_000).map((_, at) => at * 7 + (at >> 9));
    const streams = Array.from({ length: 5 }, () => openSums(SUM_NAMES));
    for (let at = 0; at < bytes.length; at += 700_001) {
      await Promise.all(streams.map((stream) => stream.update(bytes.subarray(at, at + 700_001))));
    }
    const digests = await Promise.all(streams.slice(1).map((stream) => stream.digest()));
    for (const digest of digests) expect(digest).toEqual(all(bytes));
    const other = openSums(["md5"]);
    await other.update(bytes);
    expect((await other.digest()).md5).toBe(all(bytes).md5!);
  });

  test("[SUMS-6] of bytes in shared memory are read where they lie, in order with others, and only until it was said", async () => {
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    const shared = new Uint8Array(new SharedArrayBuffer(6_000_000));
    const copy = new Uint8Array(shared.length + bytes.length);
    for (let at = 0; at < shared.length; at += bytes.length) shared.set(bytes, at);
    copy.set(shared);
    copy.set(bytes, shared.length);
    const stream = openSums(SUM_NAMES);
    const read = [shared.subarray(0, 2_000_001), shared.subarray(2_000_001)].map((part) => stream.update(part));
    await stream.update(bytes);
    await Promise.all(read);
    shared.fill(0);
    expect(await stream.digest()).toEqual(all(copy));
  });

  test("[SUMS-2] CRCs of two stretches make the one of both", () => {
    const large = ["A", "B", "C"].map((letter) => new Uint8Array(5 << 20).fill(letter.charCodeAt(0)));
    const golden = { crc32: "WgDhBQ==", crc32c: "xU+Krw==", crc64nvme: "i+6LR0y3eFo=" };
    for (const name of ["crc32", "crc32c", "crc64nvme"] as const) {
      const [a, b, c] = large.map((bytes) => all(bytes)[name]!);
      const both = combineCrc(name, a!, b!, 5 << 20);
      expect(base64(combineCrc(name, both, c!, 5 << 20))).toBe(golden[name]);
    }
    const some = fc.uint8Array({ maxLength: 100 });
    fc.assert(fc.property(some, some, fc.constantFrom("crc32", "crc32c", "crc64nvme"), (one, two, name) => {
      expect(combineCrc(name, all(one)[name]!, all(two)[name]!, two.length)).toBe(all(one, two)[name]!);
    }));
  });

  test("[SUMS-3] come back from their row", () => {
    const sums = all(Buffer.from("x"));
    expect(decodeSums(encodeSums(sums))).toEqual(sums);
    expect(decodeSums(encodeSums({ crc32: sums.crc32! }))).toEqual({ crc32: sums.crc32! });
    for (const bad of [[9], [0, 1, 2], [255]]) expect(() => decodeSums(Uint8Array.from(bad))).toThrow();
  });
});
