/**
 * A two-way stream of messages with back-pressure: what every conversation in the engine runs over, in one process
 * or across a network. Messages arrive whole, once and in order.
 */
export interface Channel {
  /**
   * Queues a message. Resolves when the channel wants more (await it to respect back-pressure). The channel owns the
   * bytes until then, and for good when they are given to it: then they need not be copied, and a pooled buffer goes back
   * to the pool when nobody needs it any more. Throws LIMIT above MESSAGE_BYTES_MAX, LINK_LOST when the other side is gone.
   */
  send(message: Uint8Array, isGiven?: boolean): Promise<void> | void;
  /** The next message, or undefined after the other side's end(). Rejects with the reason it failed. */
  receive(): Promise<Uint8Array | undefined>;
  /** No more messages from this side; what is queued is still delivered. Never throws; after fail() it is nothing. */
  end(): void;
  /** Ends both directions at once; the other side's calls reject with the error. */
  fail(error: Error): void;
}

/** Largest message: a megabyte of file bytes and its headers. Bounds the memory one peer can claim. */
export const MESSAGE_BYTES_MAX = 1 << 20 | 1 << 16;
/** Messages in flight per direction are bounded by these bytes; enough for 1 Gbit/s at 60 ms. */
export const CHANNEL_WINDOW_BYTES = 8 << 20;
