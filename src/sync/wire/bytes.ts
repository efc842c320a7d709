/**
 * Binary fields in and out of byte arrays: the one notation of wire messages, index records and pages.
 *
 * Integers are little-endian or LEB128 varints in their shortest form; `bytes` and `string` carry a varint
 * length. Both classes are for one owner and are meant to be kept and reset rather than made per record.
 */
import { decodeName, encodeName } from "#model/path.ts";
import { SynclineError } from "#model/error.ts";

/** First size of a writer; enough for an entry with a long name, so that small messages never grow. */
const INITIAL_BYTES = 256;

/** Bytes of the longest varint: 2^53-1 needs 53 bits in groups of seven. */
const VARINT_BYTES_MAX = 8;

/** Native and much faster than TextDecoder for the short ASCII strings that names are. */
const latin1Slice = Buffer.prototype.latin1Slice;

export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #fields: DataView<ArrayBuffer>;
  #length = 0;

  constructor(capacity: number = INITIAL_BYTES) {
    this.#bytes = new Uint8Array(Math.max(capacity, 16));
    this.#fields = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  /** An own copy of what was written. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** What was written, without a copy; valid until the next write or reset. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Forgets what was written and keeps the memory. */
  reset(): void {
    this.#length = 0;
  }

  u8(value: number): void {
    if (this.#length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.#length++] = value;
  }

  bool(value: boolean): void {
    this.u8(value ? 1 : 0);
  }

  u32(value: number): void {
    const at = this.#claim(4);
    this.#fields.setUint32(at, value, true);
  }

  /** An integer 0..2^53-1. Anything else is a programmer's error and throws RangeError. */
  varint(value: number): void {
    if (this.#length + VARINT_BYTES_MAX > this.#bytes.length) this.#grow(VARINT_BYTES_MAX);
    const bytes = this.#bytes;
    let at = this.#length;
    let rest = value;
    if (rest < 0 || !Number.isSafeInteger(rest)) throw new RangeError(`not a varint: ${value}`);
    // Bit operators see 32 bits only, so the upper groups of large numbers are split off by division.
    while (rest >= 0x8000_0000) {
      bytes[at++] = (rest % 128) | 0x80;
      rest = Math.floor(rest / 128);
    }
    while (rest >= 0x80) {
      bytes[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    bytes[at++] = rest;
    this.#length = at;
  }

  /** A signed 64-bit integer; wider values keep their low 64 bits. */
  i64(value: bigint): void {
    const at = this.#claim(8);
    this.#fields.setBigInt64(at, value, true);
  }

  f64(value: number): void {
    const at = this.#claim(8);
    this.#fields.setFloat64(at, value, true);
  }

  /** Length and bytes. */
  bytes(value: Uint8Array): void {
    this.varint(value.length);
    this.raw(value);
  }

  /** Bytes alone: the reader must know how many. */
  raw(value: Uint8Array): void {
    const at = this.#claim(value.length);
    this.#bytes.set(value, at);
  }

  /** A name, path or text: length and encodeName bytes. */
  string(value: string): void {
    const start = this.#length;
    this.varint(value.length);
    const at = this.#claim(value.length);
    const bytes = this.#bytes;
    for (let index = 0; index < value.length; index++) {
      const code = value.charCodeAt(index);
      if (code >= 0x80) {
        this.#length = start;
        this.bytes(encodeName(value));
        return;
      }
      bytes[at + index] = code;
    }
  }

  /** Sixteen bytes from 32 lower-case hex digits: a Sum or an id. Anything else throws RangeError. */
  hex16(value: string): void {
    if (value.length !== 32) throw new RangeError("not 32 hex digits");
    const at = this.#claim(16);
    const bytes = this.#bytes;
    let seen = 0;
    for (let index = 0; index < 16; index++) {
      const high = HEX_VALUES[value.charCodeAt(2 * index)] ?? 0xff;
      const low = HEX_VALUES[value.charCodeAt(2 * index + 1)] ?? 0xff;
      seen |= high | low;
      bytes[at + index] = (high << 4) | low;
    }
    if (seen > 0xf) {
      this.#length = at;
      throw new RangeError("not 32 hex digits");
    }
  }

  /** Reserves bytes and returns where they begin. */
  #claim(count: number): number {
    const at = this.#length;
    if (at + count > this.#bytes.length) this.#grow(count);
    this.#length = at + count;
    return at;
  }

  #grow(count: number): void {
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
    this.#fields = new DataView(larger.buffer);
  }
}

/** Values of the characters "0".."9" and "a".."f"; 0xff for all others below 128. */
const HEX_VALUES = new Uint8Array(128).fill(0xff);
for (let value = 0; value < 16; value++) HEX_VALUES[value.toString(16).charCodeAt(0)] = value;

const hexSlice = Buffer.prototype.hexSlice;

/**
 * Reads fields in the order they were written. Whatever does not fit the bytes — an overrun, a length beyond
 * the end, a varint that is too long or not in its shortest form — throws SynclineError PROTOCOL.
 */
export class ByteReader {
  #bytes: Uint8Array;
  #position = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Starts over on other bytes, without making a new reader. */
  reset(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#position = 0;
  }

  get position(): number {
    return this.#position;
  }

  get remaining(): number {
    return this.#bytes.length - this.#position;
  }

  get atEnd(): boolean {
    return this.#position === this.#bytes.length;
  }

  skip(count: number): void {
    this.#take(count);
  }

  u8(): number {
    const value = this.#bytes[this.#position];
    if (value === undefined) throw malformed("it ends too early");
    this.#position++;
    return value;
  }

  bool(): boolean {
    const value = this.u8();
    if (value > 1) throw malformed("a truth value is neither 0 nor 1");
    return value === 1;
  }

  u32(): number {
    const at = this.#take(4);
    const bytes = this.#bytes;
    return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
  }

  varint(): number {
    let byte = this.u8();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    let scale = 128;
    for (let count = 1; count < VARINT_BYTES_MAX; count++) {
      byte = this.u8();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (byte === 0 || value > Number.MAX_SAFE_INTEGER) throw malformed("a number is not in its only form");
        return value;
      }
      scale *= 128;
    }
    throw malformed("a number is too long");
  }

  i64(): bigint {
    this.#loadWord(this.#take(8));
    return wordFields.getBigInt64(0, true);
  }

  f64(): number {
    this.#loadWord(this.#take(8));
    return wordFields.getFloat64(0, true);
  }

  /** A view of the bytes, not a copy: it lives and changes with the buffer that is read. */
  bytes(): Uint8Array {
    return this.raw(this.varint());
  }

  /** A view of the next `count` bytes. */
  raw(count: number): Uint8Array {
    const at = this.#take(count);
    return this.#bytes.subarray(at, at + count);
  }

  /** Decoded as by decodeName: any bytes are accepted. */
  string(): string {
    const length = this.varint();
    const at = this.#take(length);
    const bytes = this.#bytes;
    const end = at + length;
    for (let index = at; index < end; index++) {
      if (bytes[index]! >= 0x80) return decodeName(bytes.subarray(at, end));
    }
    return latin1Slice.call(bytes, at, end);
  }

  /** Sixteen bytes as 32 lower-case hex digits. */
  hex16(): string {
    const at = this.#take(16);
    return hexSlice.call(this.#bytes, at, at + 16);
  }

  #take(count: number): number {
    const at = this.#position;
    if (count > this.#bytes.length - at) throw malformed("it ends too early");
    this.#position = at + count;
    return at;
  }

  /**
   * Copied, because a DataView over the bytes themselves would cost more than everything else about a record.
   */
  #loadWord(at: number): void {
    const bytes = this.#bytes;
    word[0] = bytes[at]!;
    word[1] = bytes[at + 1]!;
    word[2] = bytes[at + 2]!;
    word[3] = bytes[at + 3]!;
    word[4] = bytes[at + 4]!;
    word[5] = bytes[at + 5]!;
    word[6] = bytes[at + 6]!;
    word[7] = bytes[at + 7]!;
  }
}

const word = new Uint8Array(8);
const wordFields = new DataView(word.buffer);

/** The error of every decoder: the bytes do not say what they should. */
export function malformed(why: string): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op: "decode", message: `malformed data: ${why}` });
}
