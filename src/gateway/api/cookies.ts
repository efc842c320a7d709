/**
 * Sessions of browsers. The cookie is out of reach of scripts, goes to no other site, and on HTTPS to this host alone;
 * what a browser sends by itself is still no proof that a page of ours asked, so changes need a second value that only
 * such a page can read.
 */
import { SESSION_MS_MAX, SESSION_PREFIX, csrfTokenOf } from "#access/sessions.ts";
import { ApiProblem } from "#gateway/api/problem.ts";

export const CSRF_HEADER = "x-csrf-token";
/** Bytes of a Cookie header that are looked at: browsers send some 4 KiB for each cookie. */
const COOKIE_CHARS_MAX = 16 << 10;

/** A browser takes a cookie of such a name only over HTTPS, for one host and all of its paths. */
const nameOf = (base: string, isSecure: boolean): string => `${isSecure ? "__Host-" : ""}syncline-${base}`;

/** @param isSecure whether browsers reach the hub over HTTPS */
export function readCookie(headers: Headers, base: string, isSecure: boolean): string | undefined {
  const header = headers.get("cookie");
  if (header === null || header.length > COOKIE_CHARS_MAX) return undefined;
  const head = `${nameOf(base, isSecure)}=`;
  const found = header.split(";").map((one) => one.trim());
  return found.find((one) => one.startsWith(head))?.slice(head.length);
}

/** The value of Set-Cookie; an age of 0 takes the cookie away. */
export function cookieText(base: string, value: string, ageSeconds: number, isSecure: boolean): string {
  const parts = [`${nameOf(base, isSecure)}=${value}`, "Path=/", "HttpOnly", "SameSite=Lax", `Max-Age=${ageSeconds}`];
  return [...parts, ...(isSecure ? ["Secure"] : [])].join("; ");
}

export const sessionCookie = (value: string, isSecure: boolean): string =>
  cookieText("session", value, value === "" ? 0 : SESSION_MS_MAX / 1000, isSecure);

/** The session of a browser; undefined: there is none. */
export function sessionOf(headers: Headers, isSecure: boolean): string | undefined {
  const value = readCookie(headers, "session", isSecure);
  return value?.startsWith(SESSION_PREFIX) === true ? value : undefined;
}

/** @throws {ApiProblem} DENIED when a browser may have been made to send this by somebody else's page */
export function requireOwnPage(request: Request, cookie: string): void {
  requireSameSite(request.headers);
  if (request.method === "GET" || request.method === "HEAD") return;
  if (request.headers.get(CSRF_HEADER) === csrfTokenOf(cookie)) return;
  const hint = `send the csrf value of GET /v1/whoami in the header ${CSRF_HEADER}`;
  throw new ApiProblem("DENIED", "a change with a cookie needs the session's csrf token", hint);
}

/** @throws {ApiProblem} DENIED when the browser says that another site asks */
export function requireSameSite(headers: Headers): void {
  const site = headers.get("sec-fetch-site");
  if (site === null || site === "same-origin" || site === "none") return;
  throw new ApiProblem("DENIED", "another site may not ask with this hub's cookie", "open the hub's own address");
}
