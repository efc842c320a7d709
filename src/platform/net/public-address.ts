/** Which addresses belong to the public internet. Pure. */
import { BlockList, isIP } from "node:net";

/** RFC 6890 and what came after: this host, private networks, links, documentation, multicast, reserved. */
const V4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
];
/** Of IPv6 only 2000::/3 is public at all; of that, not these. */
const V6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

const listOf = (ranges: readonly string[], family: "ipv4" | "ipv6"): BlockList => {
  const list = new BlockList();
  for (const range of ranges) {
    const [net, bits] = range.split("/");
    list.addSubnet(net!, Number(bits), family);
  }
  return list;
};

const PRIVATE_V4 = listOf(V4, "ipv4");
const PRIVATE_V6 = listOf(V6, "ipv6");
const GLOBAL_V6 = listOf(["2000::/3"], "ipv6");

/** False also for what is no address. IPv4 within IPv6 is never public: it has its own address. */
export function isPublicAddress(address: string): boolean {
  const kind = isIP(address);
  if (kind === 4) return !PRIVATE_V4.check(address, "ipv4");
  return kind === 6 && GLOBAL_V6.check(address, "ipv6") && !PRIVATE_V6.check(address, "ipv6");
}
