/** The source's way out: limited, counted, with a bounded set of message buffers. One per supply. */
import type { SumSeeds } from "#sync/chunk/sum.ts";
import { PIECE_BYTES } from "#sync/chunk/sum.ts";
import type { Compressor } from "#sync/chunk/compress.ts";
import { giveBackBuffer, takeBuffer } from "#sync/wire/buffer-pool.ts";
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
  /** Buffers that are being filled, or wait for the channel. */
  #taken = 0;
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

  /**
   * A buffer for one DATA message: header and a piece. It goes to sendData(), or back with release(). Undefined when all
   * are in use.
   */
  tryAcquire(): Uint8Array | undefined {
    if (this.#taken === SUPPLY_BUFFERS_MAX) return undefined;
    this.#taken++;
    return newBuffer();
  }

  /** As tryAcquire(), but waits for one. Only for who holds none: those who hold some would wait for each other. */
  acquire(): Uint8Array | Promise<Uint8Array> {
    return this.tryAcquire() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  release(buffer: Uint8Array): void {
    giveBackBuffer(buffer);
    this.#left();
  }

  /** One that was taken is not any more: the place is for who has waited longest. */
  #left(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#taken--;
    else next(newBuffer());
  }

  /** Sends `length` bytes that lie behind the header room of `buffer`, which it takes, packed where that pays. */
  async sendData(buffer: Uint8Array, id: number, target: number, length: number): Promise<void> {
    try {
      let out = buffer.subarray(0, DATA_HEADER_BYTES + length);
      const packed = this.#compressor.pack(out.subarray(DATA_HEADER_BYTES));
      if (packed !== undefined) {
        giveBackBuffer(buffer);
        out = new Uint8Array(DATA_HEADER_BYTES + packed.length);
        out.set(packed, DATA_HEADER_BYTES);
      }
      writeDataHeader(out, { id, target, length, packing: packed === undefined ? PLAIN : ZSTD });
      const sent = this.#give(out);
      if (sent === undefined) return;
      this.#compressor.blocked();
      await sent;
      this.#compressor.unblocked();
    } finally {
      this.#left();
    }
  }

  #give(message: Uint8Array): Promise<void> | void {
    const wait = this.#limit(message.length);
    if (wait === undefined) return this.#channel.send(message, true);
    return wait.then(() => this.#channel.send(message, true));
  }
}

function newBuffer(): Uint8Array {
  return takeBuffer(DATA_HEADER_BYTES + PIECE_BYTES);
}
