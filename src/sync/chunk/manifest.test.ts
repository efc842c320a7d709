import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";
import { type ChunkId, chunkIdOf, contentIdOf, isChunkId } from "#sync/chunk/chunk-id.ts";
import { CHUNK_LIMITS } from "#sync/chunk/fastcdc.ts";
import { type Manifest, readManifest, writeManifest } from "#sync/chunk/manifest.ts";

const SHA256_EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

function manifestOf(lengths: readonly number[]): Manifest {
  const chunks = lengths.map((length, index) => ({ id: chunkIdOf(Uint8Array.of(index)), length }));
  const size = lengths.reduce((sum, length) => sum + length, 0);
  return { algorithm: "sha256", limits: CHUNK_LIMITS, size, chunks };
}

function encode(manifest: Manifest): Uint8Array {
  const writer = new ByteWriter();
  writeManifest(writer, manifest);
  return writer.finish();
}

describe("chunk ids and manifests", () => {
  test("[CHUNK-1] ids are SHA-256, a content id is its only chunk's or that of the list", () => {
    const a = chunkIdOf(Buffer.from("a"));
    const b = chunkIdOf(Buffer.from("b"));
    expect(a).toBe("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" as ChunkId);
    expect<string>(contentIdOf([])).toBe(SHA256_EMPTY);
    expect<string>(contentIdOf([a])).toBe(a);
    const list = new Bun.CryptoHasher("sha256").update("syncline content 1\n").update(Buffer.from(a + b, "hex"));
    expect<string>(contentIdOf([a, b])).toBe(list.digest("hex"));
    expect<string>(contentIdOf([a, b])).not.toBe(contentIdOf([b, a]));
    expect(isChunkId(a)).toBe(true);
    expect(isChunkId(a.toUpperCase())).toBe(false);
  });

  test("[CHUNK-2] a manifest round-trips", () => {
    const { minBytes, maxBytes } = CHUNK_LIMITS;
    const lengths = fc.array(fc.integer({ min: minBytes, max: maxBytes }), { maxLength: 20 });
    fc.assert(
      fc.property(lengths, fc.integer({ min: 1, max: maxBytes }), (whole, last) => {
        const manifest = manifestOf([...whole, last]);
        expect(readManifest(new ByteReader(encode(manifest)))).toEqual(manifest);
      }),
    );
  });

  test("[CHUNK-3] a manifest that does not add up or keeps no limits is refused", () => {
    const bad = [
      { ...manifestOf([50_000, 10]), size: 50_011 },
      manifestOf([10, 50_000]),
      manifestOf([300 << 10]),
      manifestOf([0]),
      { ...manifestOf([]), limits: { minBytes: 5, averageBytes: 7, maxBytes: 9 } },
    ];
    for (const manifest of bad) expect(() => readManifest(new ByteReader(encode(manifest)))).toThrow(SynclineError);
    const good = encode(manifestOf([50_000, 60_000, 10]));
    for (let length = 0; length < good.length; length++) {
      expect(() => readManifest(new ByteReader(good.subarray(0, length)))).toThrow(SynclineError);
    }
  });
});
