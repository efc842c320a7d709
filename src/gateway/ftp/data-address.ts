/** Addresses of data connections as commands and replies write them (RFC 959 §4.1.2, RFC 2428). */
import { isIP } from "node:net";
import { plainAddress } from "#platform/net/tcp-server.ts";

export type DataAddress = { readonly address: string; readonly port: number };

/** "h1,h2,h3,h4,p1,p2"; undefined when it is none. */
export function parsePort(text: string): DataAddress | undefined {
  if (!/^\d{1,3}(,\d{1,3}){5}$/.test(text.trim())) return undefined;
  const parts = text.trim().split(",").map(Number);
  if (parts.some((part) => part > 255)) return undefined;
  return { address: parts.slice(0, 4).join("."), port: parts[4]! * 256 + parts[5]! };
}

/** "|1|address|port|" for IPv4, "|2|…|" for IPv6, with any delimiter; a family that is another is told apart. */
export function parseExtendedPort(text: string): DataAddress | "family" | undefined {
  const delimiter = text[0];
  if (delimiter === undefined || delimiter < "!" || delimiter > "~" || text.length > 100) return undefined;
  const parts = text.split(delimiter);
  const [, family = "", address = "", port = ""] = parts;
  if (parts.length !== 5 || parts[4] !== "" || !/^\d{1,5}$/.test(port) || Number(port) > 65_535) return undefined;
  if (!/^\d{1,5}$/.test(family)) return undefined;
  if (family !== "1" && family !== "2") return "family";
  if (isIP(address) !== (family === "1" ? 4 : 6)) return undefined;
  return { address: plainAddress(address), port: Number(port) };
}

/** What PASV answers. @param address of IPv4 */
export function passiveText({ address, port }: DataAddress): string {
  return `${address.replaceAll(".", ",")},${port >> 8},${port & 255}`;
}

export function isVersion4(address: string): boolean {
  return isIP(address) === 4;
}

/** One text for an address, however it was written. @param address that isIP knows */
export function canonicalAddress(address: string): string {
  const plain = plainAddress(address).replace(/%.*$/, "").toLowerCase();
  if (isIP(plain) !== 6) return plain;
  // The last two groups may be written as IPv4.
  const hex = plain.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...parts: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = parts.slice(0, 4).map(Number);
    return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  });
  const [front = [], back = []] = hex.split("::").map((half) => (half === "" ? [] : half.split(":")));
  const zeros = Array<string>(8 - front.length - back.length).fill("0");
  return plainAddress(dotted([...front, ...zeros, ...back].map((group) => group.replace(/^0+(?=.)/, ""))));
}

/** An address of IPv4 in the clothes of IPv6 is written so that plainAddress knows it. */
function dotted(groups: readonly string[]): string {
  if (!groups.slice(0, 5).every((group) => group === "0") || groups[5] !== "ffff") return groups.join(":");
  const [high = 0, low = 0] = groups.slice(6).map((group) => Number.parseInt(group, 16));
  return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}
