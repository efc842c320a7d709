/**
 * One POST to an address that somebody else chose (guarded-address.ts). Redirects are not followed, and of the answer only
 * the status and its beginning are read.
 */
import { guardedAddress } from "#platform/net/guarded-address.ts";
import { retryAfterMs } from "#platform/net/http-date.ts";

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
  /** How long the answer asks to wait. */
  readonly retryAfterMs: number | undefined;
  /** The beginning of the answer. */
  readonly text: string;
};

/** Rejects with words for a person when it cannot be reached, or may not. */
export async function guardedPost(request: PostRequest): Promise<PostAnswer> {
  const signal = AbortSignal.any([request.signal, AbortSignal.timeout(request.timeoutMs)]);
  const { href, host, serverName } = await guardedAddress(request.url, request.mayBePrivate ? "any" : "public", signal);
  const response = await fetch(href, {
    method: "POST",
    headers: { ...request.headers, host },
    body: request.body,
    redirect: "manual",
    // A connection of the pool might have been made for another name at this address.
    keepalive: false,
    tls: { serverName },
    signal,
  });
  return {
    status: response.status,
    retryAfterMs: retryAfterMs(response.headers.get("retry-after"), Date.now()),
    text: await beginning(response),
  };
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
