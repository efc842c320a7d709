/**
 * Paths in URLs. A segment is a name, its bytes percent-encoded, so that names that are no UTF-8 round-trip; in JSON the
 * same names are strings in which such a byte is an escaped lone surrogate (`\udcff`, model/path.ts).
 *
 * Nothing here uses decodeURIComponent or URLSearchParams: both refuse or replace bytes that are no UTF-8.
 */
import { SynclineError } from "#model/error.ts";
import { type RelPath, decodeName, encodeName, pathFault } from "#model/path.ts";

const encoder = new TextEncoder();
const HEX = /^[0-9a-fA-F]{2}$/;

/** Percent-decodes to a string of ours. @throws {SynclineError} USAGE on a "%" without two hex digits */
export function percentDecode(text: string): string {
  if (!text.includes("%")) return text;
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "%") {
      const hex = text.slice(at + 1, at + 3);
      if (!HEX.test(hex)) throw badUrl(`"%" without two hex digits in ${JSON.stringify(text)}`);
      bytes.push(Number.parseInt(hex, 16));
      at += 2;
    } else {
      const code = text.codePointAt(at)!;
      if (code > 0xffff) at++;
      for (const byte of encoder.encode(String.fromCodePoint(code))) bytes.push(byte);
    }
  }
  return decodeName(Uint8Array.from(bytes));
}

const UNRESERVED = /[A-Za-z0-9\-._~]/;

/** One name, or any other text, for a URL. */
export function percentEncode(text: string): string {
  let out = "";
  for (const byte of encodeName(text)) {
    const char = String.fromCharCode(byte);
    out += UNRESERVED.test(char) ? char : `%${byte.toString(16).padStart(2, "0").toUpperCase()}`;
  }
  return out;
}

/** A path for a URL: its names encoded, "/" between them. */
export function encodeUrlPath(path: RelPath): string {
  return path.split("/").map(percentEncode).join("/");
}

/**
 * The path that a URL names behind its prefix.
 * @throws {SynclineError} USAGE when it cannot be a path, also where a segment holds an encoded "/"
 */
export function decodeUrlPath(raw: string): RelPath {
  const names = raw.split("/").map((segment) => {
    const name = percentDecode(segment);
    if (name.includes("/")) throw badUrl('a name cannot hold "/"');
    return name;
  });
  const path = names.join("/");
  const fault = pathFault(path);
  if (fault !== undefined) throw badUrl(`the path cannot be used: ${fault}`);
  return path;
}

/** Values of the query by name; a name that is given twice is an error. "+" is a plus sign, as in paths. */
export function parseQuery(search: string): Record<string, string> {
  const values: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const part of search.replace(/^\?/, "").split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = percentDecode(equals < 0 ? part : part.slice(0, equals));
    if (name in values) throw badUrl(`"${name}" is given twice`);
    values[name] = equals < 0 ? "" : percentDecode(part.slice(equals + 1));
  }
  return values;
}

/** Where the path of an absolute URL begins and what its query is, as they were sent. */
export function splitUrl(url: string): { path: string; search: string } {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  const hash = url.indexOf("#", start);
  const end = hash < 0 ? url.length : hash;
  const mark = url.indexOf("?", start);
  if (start < 0) return { path: "/", search: "" };
  return mark < 0 || mark > end
    ? { path: url.slice(start, end), search: "" }
    : { path: url.slice(start, mark), search: url.slice(mark + 1, end) };
}

function badUrl(message: string): SynclineError {
  return new SynclineError({
    code: "USAGE",
    op: "read request",
    message,
    hint: "write each name of a path percent-encoded, with / between names",
  });
}
