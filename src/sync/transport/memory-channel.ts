/**
 * Two channel ends in one process: what a transfer runs over when both sides of a session are local, and its way to a
 * connection when one is not. Messages that are not given are copied, because the sender may reuse its buffer as soon as
 * send() is done.
 */
import { SynclineError, assert } from "#model/error.ts";
import { takeBuffer } from "#sync/wire/buffer-pool.ts";
import { CHANNEL_WINDOW_BYTES, type Channel, MESSAGE_BYTES_MAX } from "#sync/wire/channel.ts";

/** How far senders that do not wait may go beyond the window before that counts as a broken channel. */
const EXCESS_BYTES_MAX = CHANNEL_WINDOW_BYTES;

/** The error both sides of a cut channel see. */
export function linkLost(message: string): SynclineError {
  return new SynclineError({ code: "LINK_LOST", op: "channel", message, retryable: true });
}

type Waiter<T> = { readonly resolve: (value: T) => void; readonly reject: (error: Error) => void };

/**
 * One direction: a bounded queue of messages with one reader. Several senders may wait at once; they go on together
 * when less than half of the window is taken.
 */
export class MemoryPipe {
  readonly #windowBytes: number;
  /** Called with what makes a message, or the end, arrive: at once here, later in a simulation. In order. */
  readonly #carry: (arrive: () => void) => void;
  #arrived: Uint8Array[] = [];
  #head = 0;
  /** Bytes sent and not yet received. */
  #bytes = 0;
  #senders: Waiter<void>[] = [];
  #reader: Waiter<Uint8Array | undefined> | undefined;
  #isEnding = false;
  #hasEnded = false;
  #failure: Error | undefined;

  constructor(windowBytes = CHANNEL_WINDOW_BYTES, carry: (arrive: () => void) => void = (arrive) => arrive()) {
    this.#windowBytes = windowBytes;
    this.#carry = carry;
  }

  send(message: Uint8Array, isGiven = false): Promise<void> | void {
    if (this.#failure !== undefined) throw this.#failure;
    assert(!this.#isEnding, "send after end");
    if (message.length > MESSAGE_BYTES_MAX || this.#bytes > this.#windowBytes + EXCESS_BYTES_MAX) {
      const what = `${message.length} bytes with ${this.#bytes} waiting`;
      throw new SynclineError({ code: "LIMIT", op: "channel", message: `too much for a channel: ${what}` });
    }
    const sent = isGiven ? message : copyOf(message);
    this.#bytes += sent.length;
    this.#carry(() => this.#arrive(sent));
    if (this.#bytes < this.#windowBytes || this.#failure !== undefined) return undefined;
    return new Promise((resolve, reject) => this.#senders.push({ resolve, reject }));
  }

  receive(): Promise<Uint8Array | undefined> {
    const message = this.#arrived[this.#head];
    if (message !== undefined) {
      this.#head++;
      if (this.#head === this.#arrived.length) {
        this.#arrived = [];
        this.#head = 0;
      }
      this.#took(message);
      return Promise.resolve(message);
    }
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#hasEnded) return Promise.resolve(undefined);
    assert(this.#reader === undefined, "one receive at a time");
    return new Promise((resolve, reject) => {
      this.#reader = { resolve, reject };
    });
  }

  end(): void {
    if (this.#isEnding || this.#failure !== undefined) return;
    this.#isEnding = true;
    this.#carry(() => {
      this.#hasEnded = true;
      this.#reader?.resolve(undefined);
      this.#reader = undefined;
    });
  }

  /** Drops what is under way; whoever waits learns why. Only the first reason counts. */
  fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#arrived = [];
    this.#head = 0;
    this.#reader?.reject(error);
    this.#reader = undefined;
    for (const sender of this.#senders.splice(0)) sender.reject(error);
  }

  #arrive(message: Uint8Array): void {
    if (this.#failure !== undefined) return;
    const reader = this.#reader;
    if (reader === undefined) {
      this.#arrived.push(message);
      return;
    }
    this.#reader = undefined;
    this.#took(message);
    reader.resolve(message);
  }

  #took(message: Uint8Array): void {
    this.#bytes -= message.length;
    if (this.#senders.length > 0 && this.#bytes < this.#windowBytes / 2) {
      for (const sender of this.#senders.splice(0)) sender.resolve();
    }
  }
}

function copyOf(message: Uint8Array): Uint8Array {
  const copy = takeBuffer(message.length);
  copy.set(message);
  return copy;
}

/** Joins two pipes to one end of a channel. */
export class MemoryChannel implements Channel {
  readonly #out: MemoryPipe;
  readonly #in: MemoryPipe;

  constructor(out: MemoryPipe, into: MemoryPipe) {
    this.#out = out;
    this.#in = into;
  }

  send(message: Uint8Array, isGiven?: boolean): Promise<void> | void {
    return this.#out.send(message, isGiven);
  }

  receive(): Promise<Uint8Array | undefined> {
    return this.#in.receive();
  }

  end(): void {
    this.#out.end();
  }

  fail(error: Error): void {
    this.#out.fail(error);
    this.#in.fail(error);
  }
}

/** Two ends; what one sends the other receives. Both must live in one process and thread. */
export function memoryChannelPair(): [Channel, Channel] {
  const forth = new MemoryPipe();
  const back = new MemoryPipe();
  return [new MemoryChannel(forth, back), new MemoryChannel(back, forth)];
}
