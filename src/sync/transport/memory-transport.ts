/** Two ends of a byte stream in one process, for tests: asynchronous and with back-pressure, as a socket. */
import { assert } from "#model/error.ts";
import { EventGate } from "#platform/net/event-gate.ts";
import type { Transport, TransportHandlers } from "#platform/net/transport.ts";

/** Bytes in flight in one direction before write() says wait. */
const FLIGHT_BYTES = 64 << 10;
/** Pieces in which bytes arrive, as from a socket: not those in which they were written. */
const PIECE_BYTES = 16 << 10;

class MemoryEnd implements Transport {
  readonly label: string;
  readonly #gate = new EventGate();
  #other: MemoryEnd | undefined;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #full = false;
  #moving = false;

  constructor(label: string) {
    this.label = label;
  }

  join(other: MemoryEnd): void {
    this.#other = other;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#gate.closed) return true;
    this.#queue.push(Uint8Array.from(bytes));
    this.#queuedBytes += bytes.length;
    this.#full = this.#queuedBytes > FLIGHT_BYTES;
    this.#move();
    return !this.#full;
  }

  listen(handlers: TransportHandlers): void {
    this.#gate.listen(handlers);
  }

  close(): void {
    this.cut(undefined);
  }

  /** Ends both directions as a broken network does: what is in flight is delivered, then both sides learn of it. */
  cut(error: Error | undefined): void {
    if (this.#gate.closed) return;
    this.#gate.close(error);
    queueMicrotask(() => this.#finish(error));
  }

  #finish(error: Error | undefined): void {
    this.#deliver();
    this.#other!.#gate.close(error);
  }

  #move(): void {
    if (this.#moving) return;
    this.#moving = true;
    queueMicrotask(() => {
      this.#moving = false;
      this.#deliver();
      if (!this.#full) return;
      this.#full = false;
      this.#gate.drained();
    });
  }

  #deliver(): void {
    const other = this.#other;
    assert(other !== undefined, "a memory transport has two ends");
    for (const bytes of this.#queue.splice(0)) {
      for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
        const piece = bytes.subarray(at, at + PIECE_BYTES);
        if (!other.#gate.closed && !other.#gate.data(piece)) this.cut(new Error("sent too much, too early"));
      }
    }
    this.#queuedBytes = 0;
  }
}

export type MemoryPair = { readonly client: Transport; readonly server: Transport; readonly cut: () => void };

export function memoryTransports(label = "memory"): MemoryPair {
  const client = new MemoryEnd(`${label} server`);
  const server = new MemoryEnd(`${label} client`);
  client.join(server);
  server.join(client);
  return { client, server, cut: () => client.cut(new Error("cut")) };
}
