/**
 * Type A (RFC 959 §3.1.1.1): lines end with CR LF on the wire and with LF in a file. Pieces may be cut anywhere. A CR
 * that no LF follows is content, in both directions.
 */

const LF = 10;
const CR = 13;

export class AsciiDecoder {
  /** The last piece ended with a CR. */
  #hasCr = false;

  /** Bytes of the file. */
  push(bytes: Uint8Array): Uint8Array {
    const out = new Uint8Array(bytes.length + 1);
    let length = 0;
    for (const byte of bytes) {
      if (this.#hasCr && byte !== LF) out[length++] = CR;
      this.#hasCr = byte === CR;
      if (byte !== CR) out[length++] = byte;
    }
    return out.subarray(0, length);
  }

  end(): Uint8Array {
    const last = this.#hasCr ? Uint8Array.of(CR) : new Uint8Array(0);
    this.#hasCr = false;
    return last;
  }
}

export class AsciiEncoder {
  /** The last piece ended with a CR: an LF after it has its CR already. */
  #hasCr = false;

  /** Bytes for the wire. */
  push(bytes: Uint8Array): Uint8Array {
    const out = new Uint8Array(bytes.length * 2);
    let length = 0;
    for (const byte of bytes) {
      if (byte === LF && !this.#hasCr) out[length++] = CR;
      out[length++] = byte;
      this.#hasCr = byte === CR;
    }
    return out.subarray(0, length);
  }
}
