/**
 * One POST to an address that somebody else chose. The name is resolved once, every address of it must be one that may be
 * reached, and the connection goes to exactly that address: a name that resolves to something else a moment later gains
 * nothing. Redirects are not followed, and of the answer only the status and its beginning are read.
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { isPublicAddress } from "#platform/net/public-address.ts";

/** Bytes of an answer that are read for its words. */
const ANSWER_BYTES_MAX = 4096;

export type PostRequest = {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly timeoutMs: number;
  /** Whether addresses of this host and of private networks may be reached, and plain HTTP used. */
  readonly mayBePrivate: boolean;
  readonly signal: AbortSignal;
};

export type PostAnswer = {
  readonly status: number;
  /** Seconds that the answer asks to wait. */
  readonly retryAfterSeconds: number | undefined;
  /** The beginning of the answer. */
  readonly text: string;
};

/** Rejects with words for a person when it cannot be reached, or may not. */
export async function guardedPost(request: PostRequest): Promise<PostAnswer> {
  const url = new URL(request.url);
  const signal = AbortSignal.any([request.signal, AbortSignal.timeout(request.timeoutMs)]);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && request.mayBePrivate)) {
    throw new Error("only https is allowed");
  }
  const name = url.hostname.replace(/^\[|\]$/g, "");
  const address = await reachable(name, request.mayBePrivate, signal);
  const host = url.host;
  url.hostname = isIP(address) === 6 ? `[${address}]` : address;
  const response = await fetch(url.href, {
    method: "POST",
    headers: { ...request.headers, host },
    body: request.body,
    redirect: "manual",
    // A connection of the pool might have been made for another name at this address.
    keepalive: false,
    tls: { serverName: name },
    signal,
  });
  const after = Number(response.headers.get("retry-after") ?? Number.NaN);
  return {
    status: response.status,
    retryAfterSeconds: Number.isFinite(after) && after >= 0 ? after : undefined,
    text: await beginning(response),
  };
}

async function reachable(name: string, mayBePrivate: boolean, signal: AbortSignal): Promise<string> {
  const late = Promise.withResolvers<never>();
  const onAbort = (): void => late.reject(new Error(`${name} could not be resolved in time`));
  signal.addEventListener("abort", onAbort, { once: true });
  const found = isIP(name) !== 0 ? [{ address: name }] : await Promise.race([lookup(name, { all: true }), late.promise]);
  signal.removeEventListener("abort", onAbort);
  if (found.length === 0) throw new Error(`${name} has no address`);
  const hidden = mayBePrivate ? undefined : found.find(({ address }) => !isPublicAddress(address));
  if (hidden !== undefined) throw new Error(`${name} leads to ${hidden.address}, which is no public address`);
  return found[0]!.address;
}

async function beginning(response: Response): Promise<string> {
  const reader = response.body?.getReader();
  if (reader === undefined) return "";
  const pieces: Uint8Array[] = [];
  let total = 0;
  try {
    while (total < ANSWER_BYTES_MAX) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      total += value.length;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
  return new TextDecoder().decode(Buffer.concat(pieces).subarray(0, ANSWER_BYTES_MAX));
}
