/** The body of a request on its way from the socket to who reads it: bounded, and the sender is stopped meanwhile. */
import { Pace } from "#platform/net/pace.ts";

/** Bytes that wait for a reader; then the socket is not read from. */
export const WAITING_BYTES_MAX = 2 << 20;

/** What has come is given at once; a promise where it is waited for. Undefined: the end. */
export type Piece = Uint8Array | undefined;

export interface RequestBody {
  /** Undefined: nobody knows before its end. */
  readonly length: number | undefined;
  /**
   * The next bytes, which are the caller's. One call at a time.
   * @throws {Error} when the client has gone, or what it sent cannot be understood
   */
  read(): Promise<Piece> | Piece;
}

/** What a body asks of its connection. */
export type BodySource = { readonly onFirstRead: () => void; readonly pause: () => void; readonly resume: () => void };

export class IncomingBody implements RequestBody {
  readonly length: number | undefined;
  readonly #source: BodySource;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #isPaused = false;
  #wasRead = false;
  #ended = false;
  #failure: Error | undefined;
  #reader: PromiseWithResolvers<Piece> | undefined;
  #isUnwanted = false;
  readonly #nowMs: () => number;
  readonly #pace = new Pace();
  #askedMs = 0;

  constructor(length: number | undefined, source: BodySource, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.length = length;
    this.#source = source;
    this.#ended = length === 0;
  }

  /** Everything has come, whether it was read or not. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Somebody waits for the client to send more. */
  get isAwaited(): boolean {
    return this.#reader !== undefined;
  }

  get wasRead(): boolean {
    return this.#wasRead;
  }

  read(): Promise<Piece> | Piece {
    if (!this.#wasRead) {
      this.#wasRead = true;
      this.#source.onFirstRead();
    }
    const piece = this.#waiting.shift();
    if (piece !== undefined) {
      this.#waitingBytes -= piece.length;
      if (this.#isPaused && this.#waitingBytes < WAITING_BYTES_MAX / 2) this.#flow();
      return piece;
    }
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#ended) return undefined;
    this.#reader = Promise.withResolvers();
    this.#askedMs = this.#nowMs();
    return this.#reader.promise;
  }

  /** Nobody will read any more: what still comes is thrown away. */
  discard(): void {
    this.#isUnwanted = true;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (this.#isPaused) this.#flow();
  }

  #flow(): void {
    this.#isPaused = false;
    this.#source.resume();
  }

  push(piece: Uint8Array): void {
    if (this.#isUnwanted) return;
    const reader = this.#reader;
    if (reader !== undefined) return this.#hand(reader, piece);
    this.#waiting.push(piece);
    this.#waitingBytes += piece.length;
    if (this.#isPaused || this.#waitingBytes < WAITING_BYTES_MAX) return;
    this.#isPaused = true;
    this.#source.pause();
  }

  #hand(reader: PromiseWithResolvers<Piece>, piece: Uint8Array): void {
    try {
      this.#pace.came(piece.length, this.#nowMs() - this.#askedMs);
    } catch (error) {
      return this.fail(error as Error);
    }
    this.#reader = undefined;
    reader.resolve(piece);
  }

  end(): void {
    this.#ended = true;
    this.#reader?.resolve(undefined);
    this.#reader = undefined;
  }

  fail(error: Error): void {
    if (this.#ended) return;
    this.#failure = error;
    this.#reader?.reject(error);
    this.#reader = undefined;
  }
}
