/**
 * An ordered stream of bytes in both directions: a TLS socket, the pipes of a child process, our own standard input
 * and output, or two ends in one process. What runs over it (wire/mux.ts) does not know which.
 */
export type TransportHandlers = {
  /** Bytes in the order they were written. The view is valid only during the call. */
  onData(bytes: Uint8Array): void;
  /** After write() returned false: everything was taken, and the bytes of those writes are free again. */
  onDrain(): void;
  /** Once, and nothing comes after it. `error` is undefined when the other side ended in order. */
  onClose(error: Error | undefined): void;
};

export interface Transport {
  /** Who is at the other end, for messages: "203.0.113.7:4711", "ssh host". */
  readonly label: string;
  /**
   * Takes all bytes. True: they went out and the buffer is free again. False: they wait, the buffer belongs to the
   * transport, and the caller writes no more until onDrain. Writing to a closed transport does nothing.
   */
  write(bytes: Uint8Array): boolean;
  /** Says who gets the events; may be said again to hand over. What arrived before the first call is kept. */
  listen(handlers: TransportHandlers): void;
  /** Sends what waits for at most CLOSE_GRACE_MS, then ends both directions. Idempotent. */
  close(): void;
}

/** How long a closing transport may try to send what it still holds to a side that does not read. */
export const CLOSE_GRACE_MS = 2000;
/** Bytes kept for a transport that nobody listens to yet. A side that sends more that early is cut off. */
export const EARLY_BYTES_MAX = 64 << 10;
