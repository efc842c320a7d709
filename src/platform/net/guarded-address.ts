/**
 * Where a connection may go whose address somebody else chose. The name is resolved once, every address of it must be one
 * that may be reached, and the connection goes to exactly that address: a name that resolves to something else a moment
 * later gains nothing.
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { isPublicAddress } from "#platform/net/public-address.ts";

/**
 * `public`: HTTPS to public addresses · `private`: HTTPS to any address, plain HTTP to this host alone · `any`: both to any.
 */
export const REACHES = ["public", "private", "any"] as const;
export type Reach = (typeof REACHES)[number];

/** What a request needs so that it goes there and nowhere else. */
export type GuardedAddress = {
  /** The URL with the address in place of the name. */
  readonly href: string;
  /** For the header. */
  readonly host: string;
  /** That the certificate must be for. */
  readonly serverName: string;
};

/** Rejects with words for a person when it may not be reached, or its name cannot be resolved. */
export async function guardedAddress(address: string, reach: Reach, signal: AbortSignal): Promise<GuardedAddress> {
  const url = new URL(address);
  const isSecure = url.protocol === "https:";
  if (!isSecure && (url.protocol !== "http:" || reach === "public")) throw new Error("only https is allowed");
  const name = url.hostname.replace(/^\[|\]$/g, "");
  const found = await addressesOf(name, signal);
  const [first] = found;
  if (first === undefined) throw new Error(`${name} has no address`);
  if (reach === "public") requirePublic(name, found);
  const open = reach === "private" && !isSecure ? found.find((one) => !isLoopback(one)) : undefined;
  if (open !== undefined) throw new Error(`${name} leads to ${open}, and plain http would show it to the network`);
  const { host } = url;
  url.hostname = isIP(first) === 6 ? `[${first}]` : first;
  return { href: url.href, host, serverName: name };
}

/** The address of a host to connect to. Rejects as guardedAddress does, unless every address of the name is public. */
export async function guardedHost(name: string, signal: AbortSignal): Promise<string> {
  const found = await addressesOf(name, signal);
  const [first] = found;
  if (first === undefined) throw new Error(`${name} has no address`);
  requirePublic(name, found);
  return first;
}

/** Thrown where a name can be resolved, and leads where it must not. */
export class NotPublic extends Error {
  override readonly name = "NotPublic";
}

function requirePublic(name: string, found: readonly string[]): void {
  const hidden = found.find((one) => !isPublicAddress(one));
  if (hidden !== undefined) throw new NotPublic(`${name} leads to ${hidden}, which is no public address`);
}

/** Of this host: what is sent there leaves it by no wire. */
function isLoopback(address: string): boolean {
  return address === "::1" || (isIP(address) === 4 && address.startsWith("127."));
}

async function addressesOf(name: string, signal: AbortSignal): Promise<string[]> {
  if (isIP(name) !== 0) return [name];
  const late = Promise.withResolvers<never>();
  const onAbort = (): void => late.reject(new Error(`${name} could not be resolved in time`));
  if (signal.aborted) onAbort();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return (await Promise.race([lookup(name, { all: true }), late.promise])).map(({ address }) => address);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
