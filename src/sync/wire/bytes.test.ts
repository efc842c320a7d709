import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeName } from "#model/path.ts";
import { SynclineError } from "#model/error.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";

function written(body: (w: ByteWriter) => void): Uint8Array {
  const w = new ByteWriter();
  body(w);
  return w.finish();
}

function faultOf(bytes: readonly number[], read: (r: ByteReader) => unknown): string | undefined {
  try {
    read(new ByteReader(Uint8Array.from(bytes)));
    return undefined;
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    throw error;
  }
}

/** Names as they come from a disk: any bytes. */
const anyName = fc.oneof(fc.string(), fc.string({ unit: "binary" }), fc.uint8Array({ maxLength: 300 }).map(decodeName));

describe("bytes", () => {
  test("[WIRE-1] what is written is read again, field by field, to the last byte", () =>
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            fc.record({ type: fc.constant("varint" as const), value: fc.maxSafeNat() }),
            fc.record({ type: fc.constant("varint" as const), value: fc.nat({ max: 300 }) }),
            fc.record({ type: fc.constant("u8" as const), value: fc.nat({ max: 255 }) }),
            fc.record({ type: fc.constant("u32" as const), value: fc.nat({ max: 0xffff_ffff }) }),
            fc.record({ type: fc.constant("f64" as const), value: fc.double() }),
            fc.record({ type: fc.constant("i64" as const), value: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) }),
            fc.record({ type: fc.constant("bool" as const), value: fc.boolean() }),
            fc.record({ type: fc.constant("string" as const), value: anyName.filter((name) => name === roundTrip(name)) }),
            fc.record({ type: fc.constant("bytes" as const), value: fc.uint8Array({ maxLength: 600 }) }),
          ),
        ),
        (fields) => {
          const w = new ByteWriter(1);
          for (const field of fields) {
            if (field.type === "varint") w.varint(field.value);
            else if (field.type === "u8") w.u8(field.value);
            else if (field.type === "u32") w.u32(field.value);
            else if (field.type === "f64") w.f64(field.value);
            else if (field.type === "i64") w.i64(field.value);
            else if (field.type === "bool") w.bool(field.value);
            else if (field.type === "string") w.string(field.value);
            else w.bytes(field.value);
          }
          expect(w.view()).toEqual(w.finish());
          // Not at the start of its buffer, as pages and messages are not.
          const r = new ByteReader(Uint8Array.of(9, 9, 9, ...w.finish()).subarray(3));
          for (const { type, value } of fields) expect<unknown>(r[type]()).toEqual(value);
          expect(r.atEnd).toBe(true);
          expect(r.remaining).toBe(0);
        },
      ),
      { numRuns: 150 },
    ));

  test("[WIRE-1] numbers have one form, at the edges of every length", () => {
    for (let bits = 0; bits <= 53; bits++) {
      for (const value of [2 ** bits - 1, 2 ** bits].filter(Number.isSafeInteger)) {
        const bytes = written((w) => w.varint(value));
        expect(new ByteReader(bytes).varint()).toBe(value);
        expect(bytes.length).toBe(Math.max(1, Math.ceil(value.toString(2).length / 7)));
      }
    }
    for (const value of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => new ByteWriter().varint(value)).toThrow(RangeError);
    }
  });

  test("[WIRE-2] data that ends too early is refused", () => {
    expect(faultOf([], (r) => r.u8())).toBe("PROTOCOL");
    expect(faultOf([1, 2, 3], (r) => r.u32())).toBe("PROTOCOL");
    expect(faultOf([1, 2, 3, 4, 5, 6, 7], (r) => r.i64())).toBe("PROTOCOL");
    expect(faultOf([0x80], (r) => r.varint())).toBe("PROTOCOL");
    expect(faultOf([3, 1, 2], (r) => r.bytes())).toBe("PROTOCOL");
    expect(faultOf([3, 65, 66], (r) => r.string())).toBe("PROTOCOL");
    expect(faultOf([1, 2], (r) => r.skip(3))).toBe("PROTOCOL");
    expect(faultOf(Array.from({ length: 15 }, () => 0), (r) => r.hex16())).toBe("PROTOCOL");
    expect(faultOf([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f], (r) => r.bytes())).toBe("PROTOCOL");
  });

  test("[WIRE-2] numbers that are too long, too large or padded are refused, and so are strange truth values", () => {
    expect(faultOf([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f], (r) => r.varint())).toBeUndefined();
    expect(faultOf([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x10], (r) => r.varint())).toBe("PROTOCOL");
    expect(faultOf([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], (r) => r.varint())).toBe("PROTOCOL");
    expect(faultOf([0x81, 0x00], (r) => r.varint())).toBe("PROTOCOL");
    expect(faultOf([2], (r) => r.bool())).toBe("PROTOCOL");
  });

  test("[WIRE-1] finish() copies, view() does not, reset() starts over", () => {
    const w = new ByteWriter();
    w.string("first");
    const kept = w.finish();
    const lent = w.view();
    w.reset();
    expect(w.length).toBe(0);
    w.string("other");
    expect(new ByteReader(kept).string()).toBe("first");
    expect(new ByteReader(lent).string()).toBe("other");
  });

  test("[WIRE-1] thirty-two hex digits take sixteen bytes; anything else is a programmer's error", () => {
    const hex = "00ff10a9b8c7d6e5f40123456789abcd";
    const bytes = written((w) => w.hex16(hex));
    expect(bytes.length).toBe(16);
    expect(new ByteReader(bytes).hex16()).toBe(hex);
    for (const wrong of ["", hex.slice(1), `${hex}0`, hex.replace("a", "A"), hex.replace("f", "g"), hex.replace("f", "é")]) {
      const w = new ByteWriter();
      expect(() => w.hex16(wrong)).toThrow(RangeError);
      expect(w.length).toBe(0);
    }
  });
});

/** A string that is no decoded name (an unpaired surrogate other than our escapes) need not survive. */
function roundTrip(name: string): string {
  return new ByteReader(written((w) => w.string(name))).string();
}
