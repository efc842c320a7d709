/** The source's way out: limited, counted, with a bounded set of message buffers. One per supply. */
import type { SumSeeds } from "#sync/chunk/sum.ts";
import { PIECE_BYTES } from "#sync/chunk/sum.ts";
import type { Compressor } from "#sync/chunk/compress.ts";
import type { Channel } from "#sync/wire/channel.ts";
import { SUPPLY_BUFFERS_MAX } from "#sync/transfer/limits.ts";
import { DATA_HEADER_BYTES, PLAIN, ZSTD, writeDataHeader } from "#sync/transfer/messages.ts";

/** Waits when the configured bandwidth is used up; undefined: go on at once. */
export type Limit = (bytes: number) => Promise<void> | undefined;

export class Line {
  readonly seeds: SumSeeds;
  readonly #channel: Channel;
  readonly #limit: Limit;
  readonly #compressor: Compressor;
  readonly #free: Uint8Array[] = [];
  #made = 0;
  readonly #waiting: ((buffer: Uint8Array) => void)[] = [];

  constructor(channel: Channel, limit: Limit, compressor: Compressor, seeds: SumSeeds) {
    this.#channel = channel;
    this.#limit = limit;
    this.#compressor = compressor;
    this.seeds = seeds;
  }

  /** Sends a message; await what it returns before the next. The bytes are the line's until then. */
  send(message: Uint8Array): Promise<void> | void {
    const wait = this.#limit(message.length);
    if (wait === undefined) return this.#channel.send(message);
    return wait.then(() => this.#channel.send(message));
  }

  /** A buffer for one DATA message: header and a piece. Give it back with release(). Undefined when all are in use. */
  tryAcquire(): Uint8Array | undefined {
    const buffer = this.#free.pop();
    if (buffer !== undefined || this.#made === SUPPLY_BUFFERS_MAX) return buffer;
    this.#made++;
    return new Uint8Array(DATA_HEADER_BYTES + PIECE_BYTES);
  }

  /** As tryAcquire(), but waits for one. Only for who holds none: those who hold some would wait for each other. */
  acquire(): Uint8Array | Promise<Uint8Array> {
    const buffer = this.tryAcquire();
    if (buffer !== undefined) return buffer;
    const { promise, resolve } = Promise.withResolvers<Uint8Array>();
    this.#waiting.push(resolve);
    return promise;
  }

  release(buffer: Uint8Array): void {
    const next = this.#waiting.shift();
    if (next !== undefined) next(buffer);
    else this.#free.push(buffer);
  }

  /** Sends `length` bytes that lie behind the header room of `buffer`, packed where that pays. */
  async sendData(buffer: Uint8Array, id: number, target: number, length: number): Promise<void> {
    const message = buffer.subarray(0, DATA_HEADER_BYTES + length);
    const packed = this.#compressor.pack(message.subarray(DATA_HEADER_BYTES));
    const packing = packed === undefined ? PLAIN : ZSTD;
    let out = message;
    if (packed !== undefined) {
      out = new Uint8Array(DATA_HEADER_BYTES + packed.length);
      out.set(packed, DATA_HEADER_BYTES);
    }
    writeDataHeader(out, { id, target, length, packing });
    const sent = this.send(out);
    if (sent === undefined) return;
    this.#compressor.blocked();
    await sent;
    this.#compressor.unblocked();
  }
}
