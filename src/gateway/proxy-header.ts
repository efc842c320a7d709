/**
 * The PROXY protocol (haproxy.org, versions 1 and 2): what a load balancer says of the connection that it hands on. A
 * door believes it only from addresses that it was told of, and waits for it there before anything else.
 */
import { isIP } from "node:net";

export type ProxyHeader = {
  /** Bytes of the header. */
  readonly length: number;
  /** Undefined: the balancer speaks for itself (a health check), or of a family that is not TCP over IP. */
  readonly source: { readonly address: string; readonly port: number } | undefined;
  readonly destination: { readonly address: string; readonly port: number } | undefined;
};

/** Version 1 is a line of this length at most; version 2 says its length, and more than this is refused. */
export const PROXY_LINE_BYTES_MAX = 107;
export const PROXY_HEADER_BYTES_MAX = 1_024;

const SIGNATURE = Uint8Array.of(0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a);
const HEAD_BYTES = 16;

/** The header at the beginning of what came; "more": it is not complete; undefined: there is none. */
export function readProxyHeader(bytes: Uint8Array): ProxyHeader | "more" | undefined {
  if (bytes.length === 0) return "more";
  return bytes[0] === SIGNATURE[0] ? readBinary(bytes) : readLine(bytes);
}

function readLine(bytes: Uint8Array): ProxyHeader | "more" | undefined {
  const text = Buffer.from(bytes.subarray(0, PROXY_LINE_BYTES_MAX)).toString("latin1");
  if (!text.startsWith("PROXY ".slice(0, text.length))) return undefined;
  const end = text.indexOf("\r\n");
  if (end === -1) return text.length < PROXY_LINE_BYTES_MAX ? "more" : undefined;
  const length = end + 2;
  const words = text.slice(0, end).split(" ");
  if (words[1] === "UNKNOWN") return { length, source: undefined, destination: undefined };
  const [, family, from = "", to = "", fromPort = "", toPort = ""] = words;
  const version = family === "TCP4" ? 4 : family === "TCP6" ? 6 : undefined;
  if (version === undefined || words.length !== 6 || isIP(from) !== version || isIP(to) !== version) return undefined;
  if (!isPort(fromPort) || !isPort(toPort)) return undefined;
  return {
    length,
    source: { address: from, port: Number(fromPort) },
    destination: { address: to, port: Number(toPort) },
  };
}

const isPort = (text: string): boolean => /^\d{1,5}$/.test(text) && Number(text) <= 65_535;

function readBinary(bytes: Uint8Array): ProxyHeader | "more" | undefined {
  const known = Math.min(bytes.length, SIGNATURE.length);
  for (let at = 0; at < known; at++) if (bytes[at] !== SIGNATURE[at]) return undefined;
  if (bytes.length < HEAD_BYTES) return "more";
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const command = bytes[12]!;
  const family = bytes[13]!;
  const length = HEAD_BYTES + view.getUint16(14);
  if (command >> 4 !== 2 || length > PROXY_HEADER_BYTES_MAX) return undefined;
  if (bytes.length < length) return "more";
  const isLocal = (command & 15) === 0;
  const nobody = { length, source: undefined, destination: undefined };
  if (!isLocal && (command & 15) !== 1) return undefined;
  // TCP over IPv4 and over IPv6; of other families nothing can be used.
  const size = family === 0x11 ? 4 : family === 0x21 ? 16 : 0;
  if (isLocal || size === 0) return nobody;
  if (length < HEAD_BYTES + 2 * size + 4) return undefined;
  const ports = HEAD_BYTES + 2 * size;
  return {
    length,
    source: { address: addressText(bytes.subarray(HEAD_BYTES, HEAD_BYTES + size)), port: view.getUint16(ports) },
    destination: { address: addressText(bytes.subarray(HEAD_BYTES + size, ports)), port: view.getUint16(ports + 2) },
  };
}

function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, at) => (bytes[at * 2]! * 256 + bytes[at * 2 + 1]!).toString(16));
  return new URL(`http://[${groups.join(":")}]`).hostname.slice(1, -1);
}
