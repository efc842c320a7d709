/**
 * The program of the thread that copies large pieces into sockets. Each socket has its orders in a row; those that take
 * something get a stretch each in turn, and all others are waited for together, with what wakes this thread for an order.
 */
import { type Pointer, ptr } from "bun:ffi";
import { type Libc, openLibc } from "#platform/linux/libc.ts";

/** What the thread works with, told once and first. */
export type SendSetup = {
  /** An eventfd that is written behind each order. */
  readonly wake: number;
  /** Its first number: orders that were posted ever. */
  readonly posted: Int32Array<SharedArrayBuffer>;
};
/** Bytes at an address, which stay as they are until the answer; or nothing more of a socket, which settles what waits. */
export type SendOrder = { readonly socket: number; readonly piece: { readonly address: Pointer; readonly length: number } | "drop" };
/** Of one order that was no drop, in their order for each socket. Error 0: all was taken, else an errno. */
export type SendAnswer = { readonly socket: number; readonly error: number };

declare const self: {
  onmessage: (event: { data: SendSetup | SendOrder }) => void;
  postMessage: (answer: SendAnswer) => void;
};

/** Into one socket before the next has its turn. */
const STRETCH_BYTES = 1 << 20;
/** Sockets are looked at again after this long in any case. */
const WAIT_MS_MAX = 1_000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const POLLIN = 1;
const POLLOUT = 4;
const EAGAIN = 11;
const ECANCELED = 125;
/** struct pollfd: the descriptor, what is asked, what is so. */
const POLL_WORDS = 2;

type Piece = { readonly address: number; readonly length: number; done: number };

class SendLoop {
  readonly #libc: Libc;
  readonly #setup: SendSetup;
  readonly #taking = new Map<number, Piece[]>();
  /** Sockets that take nothing now. */
  readonly #full = new Map<number, Piece[]>();
  readonly #count = new BigUint64Array(1);
  #received = 0;
  #isDue = false;
  #polled = new Int32Array(64 * POLL_WORDS);

  constructor(libc: Libc, setup: SendSetup) {
    this.#libc = libc;
    this.#setup = setup;
  }

  take({ socket, piece }: SendOrder): void {
    this.#received = (this.#received + 1) | 0;
    if (piece === "drop") this.#settleAll(socket, ECANCELED);
    else {
      const known = this.#taking.get(socket) ?? this.#full.get(socket);
      const one: Piece = { address: piece.address, length: piece.length, done: 0 };
      if (known === undefined) this.#taking.set(socket, [one]);
      else known.push(one);
    }
    this.#comeBack();
  }

  #comeBack(): void {
    if (this.#isDue || this.#taking.size + this.#full.size === 0) return;
    this.#isDue = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#isDue = false;
    for (const [socket, pieces] of [...this.#taking]) this.#send(socket, pieces);
    if (this.#full.size > 0) this.#wait();
    this.#comeBack();
  }

  #send(socket: number, pieces: Piece[]): void {
    const piece = pieces[0]!;
    const wanted = Math.min(STRETCH_BYTES, piece.length - piece.done);
    const sent = this.#libc.send(socket, (piece.address + piece.done) as Pointer, wanted, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0) {
      if (this.#libc.interrupted(sent)) return;
      const error = this.#libc.errno();
      if (error !== EAGAIN) return this.#settleAll(socket, error);
    }
    piece.done += Math.max(0, sent);
    if (sent < wanted) {
      this.#taking.delete(socket);
      this.#full.set(socket, pieces);
    }
    if (piece.done < piece.length) return;
    pieces.shift();
    if (pieces.length === 0) this.#forget(socket);
    self.postMessage({ socket, error: 0 });
  }

  #settleAll(socket: number, error: number): void {
    const pieces = this.#taking.get(socket) ?? this.#full.get(socket) ?? [];
    this.#forget(socket);
    for (const _one of pieces) self.postMessage({ socket, error });
  }

  #forget(socket: number): void {
    this.#taking.delete(socket);
    this.#full.delete(socket);
  }

  /** Until a full socket takes something or has broken, or an order has come; not at all while there is other work. */
  #wait(): void {
    const sockets = [...this.#full.keys()];
    const words = (sockets.length + 1) * POLL_WORDS;
    if (this.#polled.length < words) this.#polled = new Int32Array(2 * words);
    const polled = this.#polled;
    for (const [at, socket] of sockets.entries()) {
      polled[at * POLL_WORDS] = socket;
      polled[at * POLL_WORDS + 1] = POLLOUT;
    }
    polled[words - 2] = this.#setup.wake;
    polled[words - 1] = POLLIN;
    // An order that was posted is waked for once: it may be on its way here while the wake is long read.
    const isIdle = this.#taking.size === 0 && Atomics.load(this.#setup.posted, 0) === this.#received;
    if (this.#libc.poll(ptr(polled), sockets.length + 1, isIdle ? WAIT_MS_MAX : 0) <= 0) return;
    for (const [at, socket] of sockets.entries()) {
      if (polled[at * POLL_WORDS + 1]! >>> 16 === 0) continue;
      this.#taking.set(socket, this.#full.get(socket)!);
      this.#full.delete(socket);
    }
    if (polled[words - 1]! >>> 16 !== 0) this.#libc.read(this.#setup.wake, ptr(this.#count), 8);
  }
}

let loop: SendLoop | undefined;

self.onmessage = ({ data }) => {
  if ("socket" in data) loop!.take(data);
  else loop = new SendLoop(openLibc()!, data);
};
