/**
 * Large pieces into sockets on a thread of its own: the copy into the kernel is most of what sending costs, and the
 * thread that does everything else has no part in it. It waits for each socket itself, so nobody has to be told that one
 * takes more.
 */
import { ptr } from "bun:ffi";
import { heldAddress } from "#platform/held-address.ts";
import { type Libc, errnoName, openLibc } from "#platform/linux/libc.ts";
import { duplicateOf } from "#platform/linux/socket-address.ts";
import type { SendAnswer, SendOrder, SendSetup } from "#platform/net/send-worker.ts";
import { processors, startWorker } from "#platform/worker-thread.ts";

/** What is shorter is copied in less time than it takes to hand it over. */
export const ELSEWHERE_BYTES_MIN = 128 << 10;

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;

/** The bytes are kept here until the thread has done with them, whatever else becomes of their owner. */
type Sending = PromiseWithResolvers<void> & { readonly bytes: Uint8Array };

class SendThread {
  readonly libc: Libc;
  readonly #worker: Worker;
  readonly #wake: number;
  readonly #posted = new Int32Array(new SharedArrayBuffer(4));
  readonly #one = BigUint64Array.of(1n);
  readonly #outlets = new Map<number, SocketOutlet>();
  isBroken = false;

  constructor(libc: Libc, wake: number) {
    this.libc = libc;
    this.#wake = wake;
    const answered = ({ socket, error }: SendAnswer): void => this.#outlets.get(socket)?.answered(error);
    this.#worker = startWorker("platform/net/send-worker.ts", answered, () => this.#fail());
    this.#worker.postMessage({ wake, posted: this.#posted } satisfies SendSetup);
  }

  add(socket: number, outlet: SocketOutlet): void {
    this.#outlets.set(socket, outlet);
  }

  /** Closes the socket: the thread has nothing of it any more. */
  remove(socket: number): void {
    this.#outlets.delete(socket);
    this.libc.close(socket);
  }

  post(order: SendOrder): void {
    Atomics.add(this.#posted, 0, 1);
    this.#worker.postMessage(order);
    this.libc.write(this.#wake, ptr(this.#one), 8);
  }

  /** How much of what it had went out nobody can say. */
  #fail(): void {
    this.isBroken = true;
    for (const outlet of [...this.#outlets.values()]) outlet.failed();
  }
}

/** Undefined until somebody has asked, null where there can be none. */
let thread: SendThread | null | undefined;

function sendThread(): SendThread | undefined {
  if (thread === undefined) {
    const libc = processors() < 2 ? undefined : openLibc();
    const wake = libc?.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) ?? -1;
    thread = libc === undefined || wake < 0 ? null : new SendThread(libc, wake);
  }
  return thread?.isBroken === false ? thread : undefined;
}

/** The way of one connected socket through the thread. Whoever writes to the socket otherwise waits until it is idle. */
export class SocketOutlet {
  readonly #thread: SendThread;
  readonly #socket: number;
  readonly #sending: Sending[] = [];
  #isClosed = false;

  private constructor(thread: SendThread, socket: number) {
    this.#thread = thread;
    this.#socket = socket;
    thread.add(socket, this);
  }

  /** Undefined where that cannot be. @param fd and remotePort as duplicateOf() has them */
  static of(fd: unknown, remotePort: number): SocketOutlet | undefined {
    const thread = sendThread();
    const socket = thread === undefined ? undefined : duplicateOf(thread.libc, fd, remotePort);
    return socket === undefined ? undefined : new SocketOutlet(thread!, socket);
  }

  get isIdle(): boolean {
    return this.#sending.length === 0;
  }

  /**
   * Resolves when the socket has taken all; the bytes must stay as they are until then. Calls are done in their order.
   * There is at least one. Rejects when the socket has broken, or the outlet is closed first.
   */
  write(bytes: Uint8Array): Promise<void> {
    if (this.#isClosed || this.#thread.isBroken) return Promise.reject(new Error("the connection is closed"));
    const sending = { bytes, ...Promise.withResolvers<void>() };
    this.#sending.push(sending);
    this.#thread.post({ socket: this.#socket, piece: { address: heldAddress(bytes), length: bytes.length } });
    return sending.promise;
  }

  /** What was given so far; settles as its last write does. */
  settled(): Promise<void> {
    return this.#sending.at(-1)?.promise ?? Promise.resolve();
  }

  answered(error: number): void {
    const first = this.#sending.shift();
    if (error === 0) first?.resolve();
    else first?.reject(new Error(`the connection broke: ${errnoName(error)}`));
    if (this.#isClosed && this.isIdle) this.#thread.remove(this.#socket);
  }

  failed(): void {
    for (const { reject } of this.#sending.splice(0)) reject(new Error("the thread that sends has ended"));
    if (this.#isClosed) this.#thread.remove(this.#socket);
  }

  /** What waits is given up. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    if (this.isIdle) this.#thread.remove(this.#socket);
    else this.#thread.post({ socket: this.#socket, piece: "drop" });
  }
}
