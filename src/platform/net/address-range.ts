/** Ranges of addresses, as configurations write them: "10.0.0.0/8", "2001:db8::/32", or one address. */
import { BlockList, isIP } from "node:net";

export type AddressRange = (address: string) => boolean;

/** Whether an address is in the range; undefined: the text is none. */
export function addressRange(text: string): AddressRange | undefined {
  const [start = "", bits, ...more] = text.split("/");
  const version = isIP(start);
  if (version === 0 || more.length > 0 || start.includes("%")) return undefined;
  const most = version === 4 ? 32 : 128;
  const count = bits === undefined ? most : /^\d{1,3}$/.test(bits) ? Number(bits) : most + 1;
  if (count > most) return undefined;
  const family = version === 4 ? "ipv4" : "ipv6";
  const list = new BlockList();
  list.addSubnet(start, count, family);
  return (given) => {
    // A socket for both kinds of addresses tells those of the older kind inside the newer.
    const address = /^::ffff:\d+\.\d+\.\d+\.\d+$/i.test(given) ? given.slice("::ffff:".length) : given;
    return isIP(address) === version && list.check(address, family);
  };
}
