/**
 * An accepted connection as the SSH library wants it: the part of a Node socket that it uses, over one of the runtime's.
 * The library writes each packet in three pieces; they leave together here.
 */
import { EventEmitter } from "node:events";
import type { Socket } from "bun";

/** What is gathered before it is handed to the system. */
const GATHER_BYTES = 128 << 10;
/** A client that leaves this much unread is cut off: what it asks for is held back long before. */
export const UNREAD_BYTES_MAX = 16 << 20;
/** Buffers that nobody gathers in at the moment. */
const BUFFERS: Uint8Array[] = [];
const BUFFERS_MAX = 8;

export class SshSocket extends EventEmitter {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly remoteFamily: string;
  /** The library asks both before it writes. */
  writable = true;
  readonly _readableState = { ended: false };
  /** What the system did not take yet, without what is gathered. */
  readonly #unsent: Uint8Array[] = [];
  #unsentOffset = 0;
  #unsentBytes = 0;
  /** Only while something is gathered: idle connections hold no buffer. */
  #gathered: Uint8Array | undefined;
  #gatheredBytes = 0;
  #isFlushing = false;
  #isPaused = true;
  #early: Buffer[] = [];
  #isEnding = false;
  #isClosed = false;
  readonly #socket: Socket<SshSocket | undefined>;
  readonly #drained: () => void;

  /** @param drained called when all that was written has left */
  constructor(socket: Socket<SshSocket | undefined>, drained: () => void) {
    super();
    this.#socket = socket;
    this.#drained = drained;
    this.remoteAddress = socket.remoteAddress;
    this.remotePort = socket.remotePort;
    this.remoteFamily = this.remoteAddress.includes(":") ? "IPv6" : "IPv4";
  }

  /** Bytes that were written and have not left. */
  get unsentBytes(): number {
    return this.#unsentBytes + this.#gatheredBytes;
  }

  write(bytes: Uint8Array): boolean {
    if (!this.writable) return false;
    for (let at = 0; at < bytes.length; ) {
      const count = Math.min(bytes.length - at, GATHER_BYTES - this.#gatheredBytes);
      this.#gathered ??= BUFFERS.pop() ?? new Uint8Array(GATHER_BYTES);
      this.#gathered.set(count === bytes.length ? bytes : bytes.subarray(at, at + count), this.#gatheredBytes);
      this.#gatheredBytes += count;
      at += count;
      if (this.#gatheredBytes === GATHER_BYTES) this.#flush();
    }
    if (!this.#isFlushing && this.#gatheredBytes > 0) {
      this.#isFlushing = true;
      queueMicrotask(() => {
        this.#isFlushing = false;
        this.#flush();
        if (this.#isEnding) this.#finish();
      });
    }
    if (this.unsentBytes > UNREAD_BYTES_MAX) this.destroy();
    return true;
  }

  #flush(): void {
    const buffer = this.#gathered;
    if (buffer === undefined || this.#isClosed) return;
    const gathered = buffer.subarray(0, this.#gatheredBytes);
    this.#gathered = undefined;
    this.#gatheredBytes = 0;
    const taken = this.#unsent.length > 0 ? 0 : Math.max(0, this.#socket.write(gathered));
    if (taken < gathered.length) {
      this.#unsent.push(gathered.slice(taken));
      this.#unsentBytes += gathered.length - taken;
    }
    if (BUFFERS.length < BUFFERS_MAX) BUFFERS.push(buffer);
  }

  /** The system takes more. */
  drain(): void {
    while (this.#unsent.length > 0) {
      const head = this.#unsent[0]!;
      const taken = Math.max(0, this.#socket.write(head, this.#unsentOffset, head.length - this.#unsentOffset));
      this.#unsentOffset += taken;
      this.#unsentBytes -= taken;
      if (this.#unsentOffset < head.length) return;
      this.#unsent.shift();
      this.#unsentOffset = 0;
    }
    if (this.#isEnding) this.#finish();
    else this.#drained();
  }

  /** Bytes came. What came before the library listens is kept: one read of the system at most. */
  data(bytes: Buffer): void {
    if (this._readableState.ended) return;
    if (this.#isPaused) this.#early.push(bytes);
    else this.emit("data", bytes);
  }

  pause(): this {
    this.#isPaused = true;
    if (!this.#isClosed) this.#socket.pause();
    return this;
  }

  resume(): this {
    this.#isPaused = false;
    for (const bytes of this.#early.splice(0)) this.emit("data", bytes);
    if (!this.#isClosed && !this.#isPaused) this.#socket.resume();
    return this;
  }

  setNoDelay(on: boolean): this {
    this.#socket.setNoDelay(on);
    return this;
  }

  /** Sends what was written, then ends. */
  end(): this {
    this.writable = false;
    this.#isEnding = true;
    if (!this.#isFlushing) {
      this.#flush();
      this.#finish();
    }
    return this;
  }

  destroy(): this {
    this.writable = false;
    if (!this.#isClosed) this.#socket.terminate();
    return this;
  }

  #finish(): void {
    if (this.#unsent.length === 0 && this.#gatheredBytes === 0 && !this.#isClosed) this.#socket.end();
  }

  /** The connection is over. */
  closed(error: Error | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.writable = false;
    this.#unsent.length = 0;
    this.#unsentBytes = 0;
    this.#gatheredBytes = 0;
    if (error !== undefined) this.emit("error", error);
    if (!this._readableState.ended) {
      this._readableState.ended = true;
      this.emit("end");
    }
    this.emit("close");
  }
}
