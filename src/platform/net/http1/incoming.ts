/** Finds the end of a request's body in the bytes of a connection, and the body in its transfer coding. Pure. */

/** Bytes of a chunk's own line, and of all trailer fields together. */
const LINE_BYTES_MAX = 1024;
const TRAILER_BYTES_MAX = 8192;

const CR = 13;
const LF = 10;

/** What one call has found: pieces of the body (views of what was given), and where the body ended in it. */
export interface Framing {
  /**
   * @param onPiece gets pieces of the body in order; they are views of `bytes`
   * @returns how many bytes belong to this request; fewer than all of them when it is complete
   * @throws {Error} when it is not well formed: nothing can be made of the connection any more
   */
  push(bytes: Uint8Array, onPiece: (piece: Uint8Array) => void): number;
  readonly done: boolean;
}

export function framingOf(framing: number | "chunked"): Framing {
  return framing === "chunked" ? new Chunked() : new Counted(framing);
}

class Counted implements Framing {
  #left: number;

  constructor(length: number) {
    this.#left = length;
  }

  get done(): boolean {
    return this.#left === 0;
  }

  push(bytes: Uint8Array, onPiece: (piece: Uint8Array) => void): number {
    const count = Math.min(this.#left, bytes.length);
    if (count > 0) onPiece(count === bytes.length ? bytes : bytes.subarray(0, count));
    this.#left -= count;
    return count;
  }
}

type State = "size" | "data" | "data end" | "trailer" | "done";

/** RFC 9112 §7.1. Extensions and trailer fields are passed over. */
class Chunked implements Framing {
  #state: State = "size";
  #line = "";
  #left = 0;
  #trailerBytes = 0;

  get done(): boolean {
    return this.#state === "done";
  }

  push(bytes: Uint8Array, onPiece: (piece: Uint8Array) => void): number {
    let at = 0;
    while (at < bytes.length && this.#state !== "done") {
      if (this.#state === "data") {
        const end = Math.min(bytes.length, at + this.#left);
        onPiece(bytes.subarray(at, end));
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#state = "data end";
        continue;
      }
      const end = bytes.indexOf(LF, at);
      const stop = end < 0 ? bytes.length : end + 1;
      this.#line += Buffer.from(bytes.buffer, bytes.byteOffset + at, stop - at).toString("latin1");
      if (this.#line.length > LINE_BYTES_MAX) throw new Error("a line of the chunked body is too long");
      at = stop;
      if (end >= 0) this.#take();
    }
    return at;
  }

  #take(): void {
    const line = this.#line;
    this.#line = "";
    if (line.charCodeAt(line.length - 2) !== CR) throw new Error("a line of the chunked body does not end with CRLF");
    const text = line.slice(0, -2);
    if (this.#state === "size") {
      const size = /^([0-9A-Fa-f]{1,12})[ \t]*(;.*)?$/.exec(text);
      if (size === null) throw new Error("a chunk has no size");
      this.#left = Number.parseInt(size[1]!, 16);
      this.#state = this.#left === 0 ? "trailer" : "data";
    } else if (this.#state === "data end") {
      if (text !== "") throw new Error("a chunk is longer than it says");
      this.#state = "size";
    } else {
      this.#trailerBytes += line.length;
      if (this.#trailerBytes > TRAILER_BYTES_MAX) throw new Error("too many trailer fields");
      if (text === "") this.#state = "done";
    }
  }
}
