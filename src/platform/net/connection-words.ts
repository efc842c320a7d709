/** Why a server gives no answer, in words for an operator, and what to try. Pure. */
import { messageOf } from "#model/error.ts";

/** The runtime's own sentences speak to programmers. */
const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "the connection was closed",
  EPROTO: "the TLS handshake failed",
  ENOTFOUND: "no such host",
  ETIMEDOUT: "no answer in time",
  EHOSTUNREACH: "no way to that host",
};

/** @param cause what a client of HTTP has thrown */
export function reasonOf(cause: unknown): string {
  const message = messageOf(cause);
  const [code = ""] = /^E[A-Z]{3,}/.exec(message) ?? [];
  const words = WORDS[code];
  return words === undefined ? message : `${words} (${code})`;
}

/**
 * One that speaks the other kind of HTTP closes the connection.
 * @param where a URL, or an address that is none
 * @returns undefined where it looks like something else
 */
export function otherScheme(where: string, cause: unknown): string | undefined {
  const reason = reasonOf(cause);
  const [, scheme, host] = /^(https?):\/\/([^/]+)/.exec(where) ?? [];
  if (scheme === "https" && reason.includes("EPROTO")) return `it may speak plain HTTP: http://${host}`;
  if (scheme === "http" && reason.includes("ECONNRESET")) return `it may speak TLS: https://${host}`;
  return undefined;
}
