import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { DecryptedContent } from "#gateway/s3/sse-c/decrypted-content.ts";
import { newDataKey, openDataKey, masked } from "#gateway/s3/sse-c/data-key.ts";
import { PartEncrypter, STORED_FRAME_BYTES, encryptPart } from "#gateway/s3/sse-c/frames.ts";
import { type EncryptedPart, FRAME_BYTES, PART_SALT_BYTES, partBytes, storedPartBytes } from "#hub/encrypted-content.ts";
import type { ContentSource } from "#hub/space-service.ts";
import { SynclineError } from "#model/error.ts";
import { SimRandom } from "#testing/sim-random.ts";

const random = new SimRandom(7);
const DATA_KEY = random.bytes(32);
/** Making it costs more than encrypting it, so stretches of one are used. */
const NOISE = random.bytes(1 << 20);
let noiseAt = 0;
function noise(size: number): Uint8Array {
  noiseAt = (noiseAt + 4099) % (NOISE.length - size);
  return NOISE.subarray(noiseAt, noiseAt + size);
}
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

/** What the store gives: in pieces that end anywhere, in memory that is used again. */
function stored(bytes: Uint8Array, pieceBytes = 50_000): ContentSource {
  return {
    size: bytes.length,
    isProved: true,
    read: (into, position) => {
      const part = bytes.subarray(position, position + into.length);
      into.set(part);
      return Promise.resolve(part.length);
    },
    async *stream(start, end) {
      const room = new Uint8Array(pieceBytes);
      for (let at = start; at < end; at += pieceBytes) {
        const piece = bytes.subarray(at, Math.min(end, at + pieceBytes));
        room.set(piece);
        yield room.subarray(0, piece.length);
        room.fill(0);
      }
    },
  };
}

async function bytesOf(content: Pick<ContentSource, "stream">, start: number, end: number): Promise<Uint8Array> {
  return Buffer.concat(await Array.fromAsync(content.stream(start, end)));
}

async function codeOf(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
    return "none";
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    throw error;
  }
}

type Object = { readonly bytes: Uint8Array; readonly parts: EncryptedPart[]; readonly laid: Uint8Array[] };

function objectOf(sizes: readonly (readonly [number: number, size: number])[]): Object {
  const plain = sizes.map(([, size]) => noise(size));
  const laid = sizes.map(([number], at) => encryptPart(DATA_KEY, number, random.bytes(PART_SALT_BYTES), plain[at]!));
  return { bytes: Buffer.concat(plain), laid, parts: sizes.map(([number, size]) => ({ number, size })) };
}

const open = ({ parts }: Pick<Object, "parts">, laid: readonly Uint8Array[], pieceBytes?: number): DecryptedContent =>
  new DecryptedContent(stored(Buffer.concat(laid), pieceBytes), DATA_KEY, parts);

const F = FRAME_BYTES;
const sizeArb = fc.oneof(fc.constantFrom(0, 1, F - 1, F, F + 1, 2 * F, 2 * F + 1), fc.nat(3 * F));
const sizesArb = fc
  .array(sizeArb, { minLength: 1, maxLength: 4 })
  .map((sizes) => sizes.map((size, at): [number, number] => [at * 2 + 1, size]));

describe("the cipher of encrypted objects", () => {
  test("[SSEC-1] every range gives back what was encrypted, however the bytes came and however the store gives them", async () => {
    const partArb = fc.double({ min: 0, max: 1, noNaN: true });
    const pieceArb = fc.integer({ min: 100, max: 200_000 });
    await fc.assert(
      fc.asyncProperty(sizesArb, partArb, partArb, pieceArb, async (sizes, from, to, pieceBytes) => {
        const object = objectOf(sizes);
        const content = open(object, object.laid, pieceBytes);
        expect(content.size).toBe(object.bytes.length);
        const [start, end] = [from, to].map((part) => Math.round(part * content.size)).sort((a, b) => a - b) as [number, number];
        expect(same(await bytesOf(content, start, end), object.bytes.subarray(start, end))).toBe(true);
        expect(same(await bytesOf(content, 0, content.size), object.bytes)).toBe(true);
      }),
      { numRuns: 60 },
    );
    const edges = objectOf([[1, 2 * F + 3], [2, F]]);
    const content = open(edges, edges.laid);
    const marks = [0, 1, F - 1, F, F + 1, 2 * F, 2 * F + 2, 2 * F + 3, 2 * F + 4, 3 * F + 2, 3 * F + 3];
    for (const start of marks) for (const end of marks) {
      if (start < end) expect(same(await bytesOf(content, start, end), edges.bytes.subarray(start, end))).toBe(true);
    }
  });

  test("[SSEC-2] a part is the same however its bytes were cut", () => {
    const bytes = noise(3 * F + 5);
    const salt = random.bytes(PART_SALT_BYTES);
    const whole = encryptPart(DATA_KEY, 3, salt, bytes);
    expect(whole.length).toBe(storedPartBytes(bytes.length));
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 9 }), (cuts) => {
        const encrypter = new PartEncrypter(DATA_KEY, 3, salt);
        const places = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
        const out = places.slice(1).map((end, at) => encrypter.push(bytes.subarray(places[at], end)));
        expect(same(Buffer.concat([...out, encrypter.end()]), whole)).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  test("[SSEC-3] whatever is flipped, cut off, put elsewhere or taken from elsewhere is refused, never given out", async () => {
    const object = objectOf([[1, 2 * F + 100], [2, 2 * F + 100], [5, 40]]);
    const [first, second, third] = object.laid as [Uint8Array, Uint8Array, Uint8Array];
    const readAll = (laid: readonly Uint8Array[], parts = object.parts) => async () => {
      const content = open({ parts }, laid);
      return bytesOf(content, 0, content.size);
    };
    expect(await codeOf(readAll(object.laid))).toBe("none");
    await fc.assert(
      fc.asyncProperty(fc.nat(first.length - 1), fc.integer({ min: 1, max: 255 }), async (at, bits) => {
        const changed = first.slice();
        changed[at]! ^= bits;
        expect(await codeOf(readAll([changed, second, third]))).toBe("CHUNK_DAMAGED");
      }),
      { numRuns: 60 },
    );
    const frame = (part: Uint8Array, index: number): Uint8Array =>
      part.subarray(PART_SALT_BYTES + index * STORED_FRAME_BYTES, PART_SALT_BYTES + (index + 1) * STORED_FRAME_BYTES);
    const salt = (part: Uint8Array): Uint8Array => part.subarray(0, PART_SALT_BYTES);
    const swapped = Buffer.concat([salt(first), frame(first, 1), frame(first, 0), frame(first, 2)]);
    const twice = Buffer.concat([salt(first), frame(first, 0), frame(first, 0), frame(first, 2)]);
    const foreign = Buffer.concat([salt(first), frame(first, 0), frame(second, 1), frame(first, 2)]);
    for (const part of [swapped, twice, foreign]) expect(await codeOf(readAll([part, second, third]))).toBe("CHUNK_DAMAGED");
    // Two parts of one size in each other's place, and one as another part.
    expect(await codeOf(readAll([second, first, third]))).toBe("CHUNK_DAMAGED");
    expect(await codeOf(readAll([first, first, third]))).toBe("CHUNK_DAMAGED");
    // Cut off: as it is, and with a list that says so.
    const cut = first.subarray(0, PART_SALT_BYTES + 2 * STORED_FRAME_BYTES);
    expect(await codeOf(readAll([cut, second, third]))).toBe("CHUNK_DAMAGED");
    const shorter = [{ number: 1, size: 2 * F }, ...object.parts.slice(1)];
    expect(await codeOf(readAll([cut, second, third], shorter))).toBe("CHUNK_DAMAGED");
    expect(await codeOf(readAll([first, second]))).toBe("CHUNK_DAMAGED");
    // A part of the same number that was replaced.
    const again = encryptPart(DATA_KEY, 1, random.bytes(PART_SALT_BYTES), object.bytes.subarray(0, 2 * F + 100));
    const mixed = Buffer.concat([salt(first), frame(again, 0), frame(first, 1), frame(first, 2)]);
    expect(await codeOf(readAll([mixed, second, third]))).toBe("CHUNK_DAMAGED");
  });

  test("[SSEC-4] the bytes that a part takes tell how many it had", () => {
    fc.assert(fc.property(fc.nat(5 * F), (size) => expect(partBytes(storedPartBytes(size))).toBe(size)));
    for (const size of [0, 1, F - 1, F, F + 1, 5 * 2 ** 30]) expect(partBytes(storedPartBytes(size))).toBe(size);
  });
});

describe("keys of clients", () => {
  const key = (fill: number) => ({ key: new Uint8Array(32).fill(fill), md5: "" });

  test("[SSEC-5] what is kept opens with the client's key alone, and is another each time", () => {
    const { dataKey, opener } = newDataKey(key(1), random);
    expect(same(openDataKey(key(1), opener)!, dataKey)).toBe(true);
    expect(openDataKey(key(2), opener)).toBeUndefined();
    const other = newDataKey(key(1), random);
    expect(same(other.dataKey, dataKey) || same(other.opener.subarray(0, 32), opener.subarray(0, 32))).toBe(false);
    expect(Buffer.from(opener).includes(Buffer.from(key(1).key)) || Buffer.from(opener).includes(Buffer.from(dataKey))).toBe(false);
    for (let at = 0; at < opener.length; at++) {
      const changed = opener.slice();
      changed[at]! ^= 1;
      expect(openDataKey(key(1), changed)).toBeUndefined();
    }
  });

  test("[SSEC-6] a checksum is kept as something else, which the key alone makes it again", () => {
    const hex = "0123456789abcdef";
    const kept = masked(DATA_KEY, "etag", "crc64nvme", hex);
    expect(kept).not.toBe(hex);
    expect(masked(DATA_KEY, "etag", "crc64nvme", kept)).toBe(hex);
    expect(masked(DATA_KEY, "other", "crc64nvme", hex)).not.toBe(kept);
    expect(masked(random.bytes(32), "etag", "crc64nvme", kept)).not.toBe(hex);
  });
});
