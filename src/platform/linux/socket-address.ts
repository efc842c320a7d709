/** Where a socket is bound, and where its other end is. */
import { ptr } from "bun:ffi";
import { F_DUPFD_CLOEXEC, type Libc } from "#platform/linux/libc.ts";

const AF_INET = 2;
const AF_INET6 = 10;
/** Of the larger of both families. */
const ADDRESS_BYTES = 28;

export type SocketAddress = {
  readonly port: number;
  /** Of what was asked about last; see addressBy(). */
  text(): string;
};

/** Thousands are asked about at a time. */
const address = new DataView(new ArrayBuffer(ADDRESS_BYTES));
const length = new Uint32Array(1);

/**
 * Undefined for what is no socket of IPv4 or IPv6, or has no such end. Its text is read before the next is asked for.
 * @param call getsockname or getpeername
 */
export function addressBy(call: Libc["getsockname"], fd: number): SocketAddress | undefined {
  length[0] = ADDRESS_BYTES;
  if (call(fd, ptr(address), ptr(length)) !== 0) return undefined;
  const family = address.getUint16(0, true);
  if (family !== AF_INET && family !== AF_INET6) return undefined;
  return { port: address.getUint16(2), text: () => (family === AF_INET ? dotted(address, 4) : textOfV6(address, 8)) };
}

/**
 * A descriptor of its own for a socket of the runtime's, to be closed by the caller. Undefined for what is no descriptor of a
 * socket with this port at its other side: the runtime promises none.
 */
export function duplicateOf(libc: Libc, fd: unknown, remotePort: number): number | undefined {
  if (typeof fd !== "number" || fd < 0) return undefined;
  const socket = libc.fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (socket < 0) return undefined;
  if (addressBy(libc.getpeername, socket)?.port === remotePort) return socket;
  libc.close(socket);
  return undefined;
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
