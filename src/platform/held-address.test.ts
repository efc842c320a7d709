import { describe, expect, test } from "bun:test";
import { ptr, toArrayBuffer } from "bun:ffi";
import { heldAddress } from "#platform/held-address.ts";

/** Where the optimizing compiler asks for the buffer of a constant view by itself, unless there is one already. */
const constant = new Uint32Array(64);
const constantAddress = heldAddress(constant);
const hot = (at: number): number => constant[at & 1]! + constant[5]!;

describe("addresses that are kept", () => {
  test("[FS-48] an address that is kept stays that of the bytes: when the buffer is asked for, and in code that is compiled", () => {
    const small = new Uint8Array(16);
    const address = heldAddress(small);
    expect(small.buffer.byteLength).toBe(16);
    expect(ptr(small)).toBe(address);
    let sum = 0;
    for (let round = 0; round < 200_000; round++) sum += hot(round);
    expect(sum).toBe(0);
    expect(ptr(constant)).toBe(constantAddress);
  });

  test("[FS-49] a view of a part, and a byte within it, have their own address", () => {
    const bytes = Uint8Array.from({ length: 64 }, (_, at) => at);
    const part = bytes.subarray(8, 24);
    expect(new Uint8Array(toArrayBuffer(heldAddress(part, 2), 0, 3))).toEqual(new Uint8Array([10, 11, 12]));
    expect(heldAddress(new BigInt64Array(bytes.buffer), 8)).toBe(ptr(bytes, 8));
  });
});
