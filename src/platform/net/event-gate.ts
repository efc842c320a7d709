/** The listening half of a Transport: keeps what happens before anyone listens, and reports the end once. */
import { EARLY_BYTES_MAX, type TransportHandlers } from "#platform/net/transport.ts";

export class EventGate {
  #handlers: TransportHandlers | undefined;
  #early: Uint8Array[] = [];
  #earlyBytes = 0;
  #end: { error: Error | undefined } | undefined;

  /** False when the other side sent more than is kept before anyone listened; the caller then cuts it off. */
  data(bytes: Uint8Array): boolean {
    if (this.#end !== undefined) return true;
    if (this.#handlers !== undefined) {
      this.#handlers.onData(bytes);
      return true;
    }
    this.#earlyBytes += bytes.length;
    if (this.#earlyBytes > EARLY_BYTES_MAX) return false;
    this.#early.push(Uint8Array.from(bytes));
    return true;
  }

  drained(): void {
    if (this.#end === undefined) this.#handlers?.onDrain();
  }

  close(error: Error | undefined): void {
    if (this.#end !== undefined) return;
    this.#end = { error };
    this.#handlers?.onClose(error);
  }

  get closed(): boolean {
    return this.#end !== undefined;
  }

  listen(handlers: TransportHandlers): void {
    const first = this.#handlers === undefined;
    this.#handlers = handlers;
    if (!first) return;
    const early = this.#early;
    this.#early = [];
    for (const bytes of early) handlers.onData(bytes);
    // A handler that was replaced while it got the early bytes has handed the end over as well.
    if (this.#end !== undefined) this.#handlers.onClose(this.#end.error);
  }
}
