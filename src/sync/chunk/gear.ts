/**
 * The gear table: a random 32-bit number for each byte value. The gear hash h' = (h << 1) + GEAR[byte] of a
 * stream depends on the last 32 bytes only, and its high bits on all of them, so one shift, one addition and
 * one look-up make a rolling hash. Number i is the first four bytes, little-endian, of SHA-256("syncline gear
 * 1" and the byte i); changing it would move every chunk boundary, so it is fixed for good.
 * Source: Xia et al., FastCDC, USENIX ATC 2016.
 */
export const GEAR: Int32Array = makeGear();

/** Bytes that a gear hash depends on. */
export const GEAR_WINDOW_BYTES = 32;

function makeGear(): Int32Array {
  const table = new Int32Array(256);
  const seed = new Uint8Array([...Buffer.from("syncline gear 1"), 0]);
  const digest = new Uint8Array(32);
  const first = new DataView(digest.buffer);
  for (let byte = 0; byte < 256; byte++) {
    seed[seed.length - 1] = byte;
    Bun.SHA256.hash(seed, digest);
    table[byte] = first.getInt32(0, true);
  }
  return table;
}
