/** Conditional requests (RFC 9110 §13) and byte ranges (§14), as values. Pure. */
import type { Version } from "#hub/space.ts";
import { etagOf } from "#gateway/api/shapes.ts";
import { httpDateMs, passedSeconds } from "#platform/net/http-date.ts";

/** Ranges of one request at most; more of them, and the whole content is sent. */
export const RANGES_MAX = 16;

export type Range = { readonly start: number; /** Exclusive. */ readonly end: number };

/** Does one of the tags in an If-Match or If-None-Match name this content? Weak tags match where `weak` says so. */
export function tagMatches(header: string, etag: string | undefined, weak: boolean): boolean {
  if (header.trim() === "*") return true;
  if (etag === undefined) return false;
  for (const [, prefix, tag] of header.matchAll(/(W\/)?("[^"]*")/g)) {
    if (tag === etag && (weak || prefix === undefined)) return true;
  }
  return false;
}

/** HTTP dates have whole seconds. */
const httpSeconds = (header: string): number => httpDateMs(header) / 1000;

const mtimeSeconds = (version: Version): number | undefined =>
  version.entry?.kind === "file" ? passedSeconds(version.entry.mtimeNs) : undefined;

/** What a reading request's conditions say of a version: send it, 304 or 412 (RFC 9110 §13.2.2). */
export function readCondition(headers: Headers, version: Version): "send" | "not-modified" | "failed" {
  const etag = etagOf(version);
  const match = headers.get("if-match");
  const mtime = mtimeSeconds(version);
  if (match !== null) {
    if (!tagMatches(match, etag, false)) return "failed";
  } else {
    const unmodified = httpSeconds(headers.get("if-unmodified-since") ?? "");
    if (mtime !== undefined && mtime > unmodified) return "failed";
  }
  const none = headers.get("if-none-match");
  if (none !== null) return tagMatches(none, etag, true) ? "not-modified" : "send";
  const since = httpSeconds(headers.get("if-modified-since") ?? "");
  return mtime !== undefined && mtime <= since ? "not-modified" : "send";
}

/** Is a Range to be looked at? Not when If-Range names other content. */
export function rangeApplies(headers: Headers, version: Version): boolean {
  const ifRange = headers.get("if-range");
  if (ifRange === null) return true;
  if (ifRange.trim().startsWith('"')) return ifRange.trim() === etagOf(version);
  return mtimeSeconds(version) === httpSeconds(ifRange);
}

/**
 * The ranges of a Range header within `size` bytes, in the order asked for; undefined: send everything (no such
 * header, another unit, not well formed, too many, or together more than everything); empty: none can be satisfied (416).
 */
export function parseRanges(header: string | null, size: number): Range[] | undefined {
  const list = header === null ? null : /^\s*bytes\s*=(.*)$/i.exec(header);
  if (list === null) return undefined;
  const parts = list[1]!.split(",").map((part) => part.trim());
  if (parts.length > RANGES_MAX) return undefined;
  const ranges: Range[] = [];
  for (const part of parts) {
    const match = /^(\d{0,16})\s*-\s*(\d{0,16})$/.exec(part);
    if (match === null || (match[1] === "" && match[2] === "")) return undefined;
    const first = match[1] === "" ? undefined : Number(match[1]);
    const last = match[2] === "" ? undefined : Number(match[2]);
    if (first !== undefined && last !== undefined && last < first) return undefined;
    const start = first ?? Math.max(0, size - last!);
    const end = first === undefined ? size : Math.min(size, (last ?? size - 1) + 1);
    if (start < end) ranges.push({ start, end });
  }
  // Overlapping ranges would send the same bytes again and again for one small request.
  if (ranges.length > 1 && ranges.reduce((sum, { start, end }) => sum + end - start, 0) > size) return undefined;
  return ranges;
}

/** What a client expects of the sha-256 of the body, in hex; undefined: nothing. "invalid" when it cannot be read. */
export function expectedSha256(headers: Headers): string | "invalid" | undefined {
  // RFC 9530: Content-Digest: sha-256=:BASE64:   RFC 3230: Digest: sha-256=BASE64
  const modern = /(?:^|,)\s*sha-256\s*=\s*:([^:]*):/i.exec(headers.get("content-digest") ?? "");
  const old = /(?:^|,)\s*sha-256\s*=\s*([^,]*)/i.exec(headers.get("digest") ?? "");
  const base64 = modern?.[1] ?? old?.[1];
  if (base64 === undefined) return undefined;
  try {
    const bytes = Uint8Array.fromBase64(base64.trim());
    return bytes.length === 32 ? bytes.toHex() : "invalid";
  } catch {
    return "invalid";
  }
}
