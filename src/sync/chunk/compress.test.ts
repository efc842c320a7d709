import { createHash } from "node:crypto";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import { Compressor, unpack } from "#sync/chunk/compress.ts";

const text = Buffer.from("the same words again and again, with a number: ".repeat(4000));
/** The same each time: of other bytes some look by chance as if they were worth a try. */
const random = Buffer.concat(Array.from({ length: 1_875 }, (_, at) => createHash("sha256").update(`${at}`).digest()));

describe("compress", () => {
  test("[PACK-1] what was packed unpacks to the same bytes", () => {
    const compressor = new Compressor("zstd", () => 0);
    for (const length of [256, 257, 5000, 70_000, text.length]) {
      const packed = compressor.pack(text.subarray(0, length));
      expect(packed).toBeDefined();
      expect(packed!.length).toBeLessThan(length);
      expect(Buffer.compare(unpack(packed!, length), text.subarray(0, length))).toBe(0);
    }
  });

  test("[PACK-2] what does not get smaller is left as it is", () => {
    const compressor = new Compressor("zstd", () => 0);
    expect(compressor.pack(random)).toBeUndefined();
    expect(compressor.pack(text.subarray(0, 100))).toBeUndefined();
    expect(new Compressor("none", () => 0).pack(text)).toBeUndefined();
  });

  test("[PACK-5] a small piece is compressed wherever that gains something: text, repeated noise, counted numbers", () => {
    const compressor = new Compressor("zstd", () => 0);
    const noise = random.subarray(0, 4096);
    for (let from = 0; from + 4096 <= random.length; from += 4096) {
      expect(compressor.pack(random.subarray(from, from + 4096))).toBeUndefined();
    }
    const pieces = [
      text.subarray(0, 4096),
      Buffer.concat([noise, text.subarray(0, 4096)]),
      Buffer.concat([noise, noise]),
      Uint8Array.from({ length: 4096 }, (_, at) => at),
      Uint8Array.from({ length: 4096 }, (_, at) => random[at]! & 0x3f),
    ];
    for (const piece of pieces) expect(unpack(compressor.pack(piece)!, piece.length)).toEqual(new Uint8Array(piece));
  });

  test("[PACK-3] auto stops on a line that nobody waits for, and starts again when it is slow", () => {
    let now = 0;
    const compressor = new Compressor("auto", () => now);
    expect(compressor.pack(text)).toBeDefined();
    for (let sent = 0; sent < 8 << 20; sent += text.length) {
      now += 2;
      compressor.pack(text);
    }
    expect(compressor.pack(text)).toBeUndefined();
    for (let sent = 0; sent < 8 << 20; sent += text.length) {
      compressor.pack(text);
      compressor.blocked();
      now += 10;
      compressor.unblocked();
    }
    expect(compressor.pack(text)).toBeDefined();
  });

  test("[PACK-4] a frame of another size, or a damaged one, is refused before memory is taken", () => {
    const bomb = Bun.zstdCompressSync(new Uint8Array(64 << 20));
    expect(() => unpack(bomb, 1000)).toThrow(SynclineError);
    const packed = new Compressor("zstd", () => 0).pack(text)!;
    expect(() => unpack(packed, text.length - 1)).toThrow(SynclineError);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(() => unpack(bytes, 1000)).toThrow(SynclineError);
      }),
    );
  });
});
