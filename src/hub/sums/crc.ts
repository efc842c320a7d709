/**
 * Checksums that the runtime does not have: CRC-32C and CRC-64/NVME, eight bytes at a step; and the CRC of two stretches
 * of bytes from those of each, without their bytes.
 */

/** Reflected polynomials and widths. All begin and end with all bits set. */
const CRCS = {
  crc32: { polynomial: 0xedb88320n, bits: 32 },
  crc32c: { polynomial: 0x82f63b78n, bits: 32 },
  crc64nvme: { polynomial: 0x9a6c9329ac4bc9b5n, bits: 64 },
} as const;
export type CrcName = keyof typeof CRCS;

const STEP = 8;

/** For each of eight places and each byte: low and high half of what it makes. */
type Tables = { readonly low: Int32Array; readonly high: Int32Array };

const made = new Map<CrcName, Tables>();

function tablesOf(name: CrcName): Tables {
  const known = made.get(name);
  if (known !== undefined) return known;
  const { polynomial } = CRCS[name];
  const low = new Int32Array(STEP * 256);
  const high = new Int32Array(STEP * 256);
  const whole: bigint[] = [];
  for (let byte = 0; byte < 256; byte++) {
    let value = BigInt(byte);
    for (let bit = 0; bit < 8; bit++) value = (value & 1n) === 1n ? (value >> 1n) ^ polynomial : value >> 1n;
    whole.push(value);
  }
  let row = whole;
  for (let place = 0; place < STEP; place++) {
    for (const [byte, value] of row.entries()) {
      low[place * 256 + byte] = Number(BigInt.asIntN(32, value));
      high[place * 256 + byte] = Number(BigInt.asIntN(32, value >> 32n));
    }
    row = row.map((value) => (value >> 8n) ^ whole[Number(value & 0xffn)]!);
  }
  const tables = { low, high };
  made.set(name, tables);
  return tables;
}

export class Crc {
  readonly #tables: Tables;
  readonly #isWide: boolean;
  #low = -1;
  #high: number;

  constructor(name: "crc32c" | "crc64nvme") {
    this.#tables = tablesOf(name);
    this.#isWide = name === "crc64nvme";
    this.#high = this.#isWide ? -1 : 0;
  }

  update(bytes: Uint8Array): void {
    const end = bytes.length - (bytes.length % STEP);
    if (this.#isWide) this.#updateWide(bytes, end);
    else this.#updateNarrow(bytes, end);
    for (let at = end; at < bytes.length; at++) this.#byte(bytes[at]!);
  }

  #byte(byte: number): void {
    const { low, high } = this.#tables;
    const index = (this.#low ^ byte) & 0xff;
    const shifted = (this.#low >>> 8) | (this.#high << 24);
    this.#low = shifted ^ low[index]!;
    this.#high = (this.#high >>> 8) ^ high[index]!;
  }

  #updateNarrow(bytes: Uint8Array, end: number): void {
    const { low } = this.#tables;
    let crc = this.#low;
    for (let at = 0; at < end; at += STEP) {
      crc ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
      crc =
        low[1792 + (crc & 0xff)]! ^ low[1536 + ((crc >>> 8) & 0xff)]! ^
        low[1280 + ((crc >>> 16) & 0xff)]! ^ low[1024 + (crc >>> 24)]! ^
        low[768 + bytes[at + 4]!]! ^ low[512 + bytes[at + 5]!]! ^
        low[256 + bytes[at + 6]!]! ^ low[bytes[at + 7]!]!;
    }
    this.#low = crc;
  }

  #updateWide(bytes: Uint8Array, end: number): void {
    const { low, high } = this.#tables;
    let a = this.#low;
    let b = this.#high;
    for (let at = 0; at < end; at += STEP) {
      a ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
      b ^= bytes[at + 4]! | (bytes[at + 5]! << 8) | (bytes[at + 6]! << 16) | (bytes[at + 7]! << 24);
      const i0 = 1792 + (a & 0xff);
      const i1 = 1536 + ((a >>> 8) & 0xff);
      const i2 = 1280 + ((a >>> 16) & 0xff);
      const i3 = 1024 + (a >>> 24);
      const i4 = 768 + (b & 0xff);
      const i5 = 512 + ((b >>> 8) & 0xff);
      const i6 = 256 + ((b >>> 16) & 0xff);
      const i7 = b >>> 24;
      a = low[i0]! ^ low[i1]! ^ low[i2]! ^ low[i3]! ^ low[i4]! ^ low[i5]! ^ low[i6]! ^ low[i7]!;
      b = high[i0]! ^ high[i1]! ^ high[i2]! ^ high[i3]! ^ high[i4]! ^ high[i5]! ^ high[i6]! ^ high[i7]!;
    }
    this.#low = a;
    this.#high = b;
  }

  /** Lower-case hex, most significant digit first. */
  digest(): string {
    const low = (~this.#low >>> 0).toString(16).padStart(8, "0");
    return this.#isWide ? (~this.#high >>> 0).toString(16).padStart(8, "0") + low : low;
  }
}

/** The CRC of bytes with this CRC, followed by `lengthB` bytes with that one; hex. */
export function combineCrc(name: CrcName, a: string, b: string, lengthB: number): string {
  const { polynomial, bits } = CRCS[name];
  // What `lengthB` zero bytes behind a do to its CRC is a multiplication by x^(8 × lengthB), done by squaring; x itself
  // has its bit next to the highest, which stands for 1.
  let power = 1n << BigInt(bits - 2);
  for (let doubled = 0; doubled < 3; doubled++) power = multiply(power, power, polynomial, bits);
  let shifted = BigInt(`0x${a}`);
  for (let rest = lengthB; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) shifted = multiply(shifted, power, polynomial, bits);
    power = multiply(power, power, polynomial, bits);
  }
  return (shifted ^ BigInt(`0x${b}`)).toString(16).padStart(bits / 4, "0");
}


/** Product of two polynomials modulo the CRC's, all reflected. */
function multiply(a: bigint, b: bigint, polynomial: bigint, bits: number): bigint {
  let product = 0n;
  let factor = b;
  for (let bit = 1n << BigInt(bits - 1); bit > 0n; bit >>= 1n) {
    if ((a & bit) !== 0n) product ^= factor;
    factor = (factor & 1n) === 1n ? (factor >> 1n) ^ polynomial : factor >> 1n;
  }
  return product;
}
