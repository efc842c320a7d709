/** Open sockets by /proc/self/fd and the socket calls of Linux. */
import { ptr } from "bun:ffi";
import { readdirSync } from "node:fs";
import type { Libc } from "#platform/linux/libc.ts";
import { type AcceptedSocket, type OpenSockets, peerText } from "#platform/open-sockets.ts";

const FILES = "/proc/self/fd";
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const SHUT_RDWR = 2;
const RLIMIT_NOFILE = 7;
/** In struct tcp_info: milliseconds since data was sent, and since data came. */
const LAST_SENT_AT = 44;
const LAST_CAME_AT = 52;
const INFO_BYTES = 104;
const ADDRESS_BYTES = 28;

export class LinuxOpenSockets implements OpenSockets {
  readonly filesMax: number;
  readonly #libc: Libc;
  readonly #address = new DataView(new ArrayBuffer(ADDRESS_BYTES));
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
      if (this.#addressBy(this.#libc.getsockname, fd)?.port !== port) continue;
      // The listener itself has no other end.
      const peer = this.#addressBy(this.#libc.getpeername, fd);
      if (peer !== undefined) found.push({ fd, peer: peerText(peer.text(), peer.port), idleMs: this.#idleMs(fd) });
    }
    return found;
  }

  cut({ fd }: AcceptedSocket): void {
    this.#libc.shutdown(fd, SHUT_RDWR);
  }

  #addressBy(call: Libc["getsockname"], fd: number): { readonly port: number; text(): string } | undefined {
    const view = this.#address;
    this.#length[0] = ADDRESS_BYTES;
    if (call(fd, ptr(view), ptr(this.#length)) !== 0) return undefined;
    const family = view.getUint16(0, true);
    if (family !== AF_INET && family !== AF_INET6) return undefined;
    return { port: view.getUint16(2), text: () => (family === AF_INET ? dotted(view, 4) : textOfV6(view, 8)) };
  }

  #idleMs(fd: number): number {
    const view = this.#info;
    this.#length[0] = INFO_BYTES;
    if (this.#libc.getsockopt(fd, IPPROTO_TCP, TCP_INFO, ptr(view), ptr(this.#length)) !== 0) return 0;
    return Math.min(view.getUint32(LAST_SENT_AT, true), view.getUint32(LAST_CAME_AT, true));
  }
}

const dotted = (view: DataView, at: number): string =>
  [0, 1, 2, 3].map((part) => view.getUint8(at + part)).join(".");

/** As the runtime writes addresses of requests: RFC 5952, and an IPv4 address in IPv6 with its prefix. */
function textOfV6(view: DataView, at: number): string {
  const groups = Array.from({ length: 8 }, (_, group) => view.getUint16(at + 2 * group));
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) return `::ffff:${dotted(view, at + 12)}`;
  const text = groups.map((group) => group.toString(16)).join(":");
  const runs = text.match(/(?:^|:)0(?::0)+(?::|$)/g) ?? [];
  const longest = runs.toSorted((a, b) => b.length - a.length)[0];
  return longest === undefined ? text : text.replace(longest, "::");
}
