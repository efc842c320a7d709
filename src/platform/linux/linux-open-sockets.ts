/** Open sockets by /proc/self/fd and the socket calls of Linux. */
import { ptr } from "bun:ffi";
import { readdirSync } from "node:fs";
import type { Libc } from "#platform/linux/libc.ts";
import { addressBy } from "#platform/linux/socket-address.ts";
import { type AcceptedSocket, type OpenSockets, peerText } from "#platform/open-sockets.ts";

const FILES = "/proc/self/fd";
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const SHUT_RDWR = 2;
const RLIMIT_NOFILE = 7;
/** In struct tcp_info: milliseconds since data was sent, and since data came. */
const LAST_SENT_AT = 44;
const LAST_CAME_AT = 52;
const INFO_BYTES = 104;

export class LinuxOpenSockets implements OpenSockets {
  readonly filesMax: number;
  readonly #libc: Libc;
  readonly #info = new DataView(new ArrayBuffer(INFO_BYTES));
  readonly #length = new Uint32Array(1);

  constructor(libc: Libc) {
    this.#libc = libc;
    const limits = new BigUint64Array(2);
    const isKnown = libc.getrlimit(RLIMIT_NOFILE, ptr(limits)) === 0;
    this.filesMax = isKnown ? Number(limits[0]) : Number.MAX_SAFE_INTEGER;
  }

  files(): number {
    return readdirSync(FILES).length;
  }

  acceptedAt(port: number): AcceptedSocket[] {
    const found: AcceptedSocket[] = [];
    for (const name of readdirSync(FILES)) {
      const fd = Number(name);
      if (addressBy(this.#libc.getsockname, fd)?.port !== port) continue;
      // The listener itself has no other end.
      const peer = addressBy(this.#libc.getpeername, fd);
      if (peer !== undefined) found.push({ fd, peer: peerText(peer.text(), peer.port), idleMs: this.#idleMs(fd) });
    }
    return found;
  }

  cut({ fd }: AcceptedSocket): void {
    this.#libc.shutdown(fd, SHUT_RDWR);
  }

  #idleMs(fd: number): number {
    const view = this.#info;
    this.#length[0] = INFO_BYTES;
    if (this.#libc.getsockopt(fd, IPPROTO_TCP, TCP_INFO, ptr(view), ptr(this.#length)) !== 0) return 0;
    return Math.min(view.getUint32(LAST_SENT_AT, true), view.getUint32(LAST_CAME_AT, true));
  }
}
