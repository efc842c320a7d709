/** A Transport over two byte streams: the pipes of a child process, or our own standard input and output. */
import { read } from "node:fs";
import { Readable, type Writable } from "node:stream";
import { EventGate } from "#platform/net/event-gate.ts";
import { CLOSE_GRACE_MS, type Transport, type TransportHandlers } from "#platform/net/transport.ts";

export class StreamTransport implements Transport {
  readonly label: string;
  readonly #gate = new EventGate();
  readonly #input: Readable;
  readonly #output: Writable;
  #closing: ReturnType<typeof setTimeout> | undefined;

  /** Owns both streams from here. */
  constructor(label: string, input: Readable, output: Writable) {
    this.label = label;
    this.#input = input;
    this.#output = output;
    input.on("data", (bytes: Uint8Array) => {
      if (this.#closing === undefined && !this.#gate.data(bytes)) this.cut(new Error("sent too much, too early"));
    });
    input.on("end", () => this.cut(undefined));
    input.on("error", (error) => this.cut(error));
    output.on("drain", () => this.#gate.drained());
    output.on("error", (error) => this.cut(error));
  }

  write(bytes: Uint8Array): boolean {
    if (this.#gate.closed || this.#closing !== undefined) return true;
    const hasRoom = this.#output.write(bytes);
    // A stream queues what the pipe does not take at once and may say so only beyond its own mark.
    return hasRoom && this.#output.writableLength === 0 ? true : this.#wait(hasRoom);
  }

  listen(handlers: TransportHandlers): void {
    this.#gate.listen(handlers);
  }

  close(): void {
    if (this.#gate.closed || this.#closing !== undefined) return;
    this.#closing = setTimeout(() => this.cut(undefined), CLOSE_GRACE_MS);
    this.#output.end(() => this.cut(undefined));
  }

  /** Ends both directions at once. */
  cut(error: Error | undefined): void {
    if (this.#gate.closed) return;
    clearTimeout(this.#closing);
    this.#input.destroy();
    this.#output.destroy();
    this.#gate.close(error);
  }

  /** The stream holds the bytes and will not say "drain", because it is below its mark: an empty write will tell. */
  #wait(hasRoom: boolean): boolean {
    if (hasRoom) this.#output.write(NOTHING, () => this.#gate.drained());
    return false;
  }
}

const NOTHING = new Uint8Array(0);

/** Bytes asked of standard input at once; a pipe gives 64 KiB at most. */
const READ_BYTES = 256 << 10;

/**
 * Standard input as a stream of views into one buffer: several times as fast as process.stdin. The stream must be in
 * flowing mode, because each view is gone with the next read.
 */
function ownInput(): Readable {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  return new Readable({
    highWaterMark: 0,
    read() {
      read(0, buffer, 0, READ_BYTES, null, (error, count) => {
        if (error !== null) this.destroy(error);
        else this.push(count === 0 ? null : buffer.subarray(0, count));
      });
    },
  });
}

/** Our own standard input and output. Nothing else may write to standard output from here on. */
export function ownStdio(): Transport {
  return new StreamTransport("standard input and output", ownInput(), process.stdout);
}
