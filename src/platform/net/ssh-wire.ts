/** The data types that SSH and what is spoken over it are made of (RFC 4251 §5). */

/** Reads fields one after the other. Running over the end throws RangeError. */
export class WireReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#at = at;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  get position(): number {
    return this.#at;
  }

  byte(): number {
    return this.#view.getUint8(this.#at++);
  }

  uint32(): number {
    const value = this.#view.getUint32(this.#at);
    this.#at += 4;
    return value;
  }

  uint64(): bigint {
    const value = this.#view.getBigUint64(this.#at);
    this.#at += 8;
    return value;
  }

  /** A view of the bytes that were given. @param max bytes; a longer one throws RangeError, too */
  string(max = Number.POSITIVE_INFINITY): Uint8Array {
    const length = this.uint32();
    const start = this.#at;
    if (length > max || start + length > this.#bytes.length) throw new RangeError("a field is too long");
    this.#at = start + length;
    return this.#bytes.subarray(start, this.#at);
  }

  text(): string {
    return Buffer.from(this.string()).toString("utf8");
  }
}
