/** A Transport over two byte streams: the pipes of a child process, or our own standard input and output. */
import { read } from "node:fs";
import type { Readable, Writable } from "node:stream";
import { EventGate } from "#platform/net/event-gate.ts";
import { CLOSE_GRACE_MS, type Transport, type TransportHandlers } from "#platform/net/transport.ts";

/** Where bytes come from. Views are valid only during the call; nothing comes after the end or after stop(). */
type Source = {
  start(onData: (bytes: Uint8Array) => void, onEnd: (error: Error | undefined) => void): void;
  stop(): void;
};

export class StreamTransport implements Transport {
  readonly label: string;
  readonly #gate = new EventGate();
  readonly #source: Source;
  readonly #output: Writable;
  #closing: ReturnType<typeof setTimeout> | undefined;

  /** Owns both from here. */
  constructor(label: string, source: Source, output: Writable) {
    this.label = label;
    this.#source = source;
    this.#output = output;
    const onData = (bytes: Uint8Array): void => {
      if (this.#closing === undefined && !this.#gate.data(bytes)) this.cut(new Error("sent too much, too early"));
    };
    source.start(onData, (error) => this.cut(error));
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
    this.#source.stop();
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

/** Standard input through one buffer: several times as fast as process.stdin. */
class OwnInput implements Source {
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #isStopped = false;

  start(onData: (bytes: Uint8Array) => void, onEnd: (error: Error | undefined) => void): void {
    read(0, this.#buffer, 0, READ_BYTES, null, (error, count) => {
      if (this.#isStopped) return;
      if (error !== null) return onEnd(error);
      if (count === 0) return onEnd(undefined);
      onData(this.#buffer.subarray(0, count));
      if (!this.#isStopped) this.start(onData, onEnd);
    });
  }

  stop(): void {
    this.#isStopped = true;
  }
}

/** The pipe from a child process. */
export function childOutput(stream: Readable): Source {
  return {
    start(onData, onEnd) {
      stream.on("data", onData);
      stream.on("end", () => onEnd(undefined));
      stream.on("error", onEnd);
    },
    stop: () => stream.destroy(),
  };
}

/** Our own standard input and output. Nothing else may write to standard output from here on. */
export function ownStdio(): Transport {
  return new StreamTransport("standard input and output", new OwnInput(), process.stdout);
}
