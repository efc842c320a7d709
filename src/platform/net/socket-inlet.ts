/**
 * Bytes that a socket has already, into memory of whoever wants them. The runtime hands out what it receives in memory of its
 * own, from which it is copied to where it is wanted: for who takes much, two copies and a page fault for each 4 KiB.
 */
import { ptr } from "bun:ffi";
import { type Libc, openLibc } from "#platform/linux/libc.ts";
import { duplicateOf } from "#platform/linux/socket-address.ts";

const MSG_DONTWAIT = 0x40;

/** Undefined until somebody has asked, null where there is none. */
let library: Libc | null | undefined;

export class SocketInlet {
  readonly #libc: Libc;
  readonly #socket: number;
  #isClosed = false;

  private constructor(libc: Libc, socket: number) {
    this.#libc = libc;
    this.#socket = socket;
  }

  /** Undefined where that cannot be. @param fd and remotePort as duplicateOf() has them */
  static of(fd: unknown, remotePort: number): SocketInlet | undefined {
    library ??= openLibc() ?? null;
    const socket = library === null ? undefined : duplicateOf(library, fd, remotePort);
    return socket === undefined ? undefined : new SocketInlet(library!, socket);
  }

  /**
   * Takes what is there now, as much as there is room for.
   * @returns how many bytes; 0 where none are there, and at the end or when it has broken, which the runtime tells
   */
  take(into: Uint8Array): number {
    if (this.#isClosed || into.length === 0) return 0;
    return Math.max(0, this.#libc.recv(this.#socket, ptr(into), into.length, MSG_DONTWAIT));
  }

  close(): void {
    if (!this.#isClosed) this.#libc.close(this.#socket);
    this.#isClosed = true;
  }
}
