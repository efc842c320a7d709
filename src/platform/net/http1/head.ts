/**
 * The head of an HTTP/1.1 request (RFC 9112), strictly: whatever two programs could read in two ways is refused, so that
 * nobody smuggles a second request behind a proxy. Bytes are kept as latin1 text, as they came: who signs requests signs
 * bytes. Pure.
 */

/** Bytes of a head at most; also bounds what a URL can hold. */
export const HEAD_BYTES_MAX = 32 << 10;
export const HEADERS_MAX = 200;

export type RequestHead = {
  readonly method: string;
  /** The origin form as it was sent: path and query, never decoded. */
  readonly target: string;
  /** By lower-case name, trimmed; a name that comes again is joined with ",". */
  readonly headers: ReadonlyMap<string, string>;
  /** How the body is framed: its length, "chunked", or 0 for none. */
  readonly framing: number | "chunked";
  readonly keepAlive: boolean;
  /** The client waits for leave before it sends the body, also where that is empty. */
  readonly waitsForLeave: boolean;
};

/** A head that is refused: the connection cannot be used any more. */
export type HeadFault = { readonly status: number; readonly why: string };

/** A target may have any byte that is no blank or control: which of them are good is for the door to say. */
const REQUEST_LINE = /^([A-Z]{1,16}) ([!-~\u0080-\u00ff]+) HTTP\/1\.([01])$/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const LENGTH = /^\d{1,15}$/;
/** Not in a line: a bare CR, a bare LF, NUL and other controls; a tab may be. */
const BAD_CHAR = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/;
/** Those of which a second one changes what the request is. */
const SINGLE = new Set(["host", "content-length", "transfer-encoding", "authorization", "expect", "content-md5"]);

const fault = (status: number, why: string): HeadFault => ({ status, why });

/** Names that were seen, with their lower case: clients send the same ones again and again. */
const known = new Map<string, string>();
const KNOWN_MAX = 1000;

/** Undefined: no name of a header field. */
function keyOf(name: string): string | undefined {
  const key = known.get(name);
  if (key !== undefined) return key;
  if (!TOKEN.test(name)) return undefined;
  const lower = name.toLowerCase();
  if (known.size < KNOWN_MAX && name.length < 100) known.set(name, lower);
  return lower;
}

/** @param text the head in latin1, without the empty line that ends it */
export function parseHead(text: string): RequestHead | HeadFault {
  if (BAD_CHAR.test(text)) return fault(400, "the head holds a control character");
  const lines = text.split("\r\n");
  const first = REQUEST_LINE.exec(lines[0]!);
  if (first === null) return fault(400, "the request line is not well formed");
  if (lines.length - 1 > HEADERS_MAX) return fault(431, `more than ${HEADERS_MAX} header fields`);
  const headers = new Map<string, string>();
  for (let at = 1; at < lines.length; at++) {
    const line = lines[at]!;
    const colon = line.indexOf(":");
    const name = colon < 0 ? "" : line.slice(0, colon);
    const key = keyOf(name);
    if (key === undefined) return fault(400, "a header field is not well formed");
    const value = withoutBlanks(line, colon + 1);
    if (value.includes("\r") || value.includes("\n")) return fault(400, "a line ends with half of a line end");
    const before = headers.get(key);
    if (before !== undefined && SINGLE.has(key)) return fault(400, `the header field ${name} is given twice`);
    headers.set(key, before === undefined ? value : `${before},${value}`);
  }
  const target = originForm(first[2]!);
  if (target === undefined) return fault(400, "the request target is not well formed");
  return framed(first[1]!, target, first[3] === "1", headers);
}

/** What is left behind a position without the blanks around it. Only those of ASCII: bytes of UTF-8 look like others. */
function withoutBlanks(line: string, from: number): string {
  let start = from;
  let end = line.length;
  while (start < end && isBlank(line.charCodeAt(start))) start++;
  while (end > start && isBlank(line.charCodeAt(end - 1))) end--;
  return line.slice(start, end);
}

const isBlank = (code: number): boolean => code === 32 || code === 9;

function framed(
  method: string,
  target: string,
  isModern: boolean,
  headers: ReadonlyMap<string, string>,
): RequestHead | HeadFault {
  if (isModern && !headers.has("host")) return fault(400, "there is no Host");
  const length = headers.get("content-length");
  const encoding = headers.get("transfer-encoding");
  if (encoding !== undefined && (length !== undefined || !isModern)) return fault(400, "the length of the body is in doubt");
  if (encoding !== undefined && encoding.toLowerCase() !== "chunked") return fault(501, "only chunked is known as a transfer coding");
  if (length !== undefined && !LENGTH.test(length)) return fault(400, "Content-Length is no number");
  const expect = headers.get("expect");
  if (expect !== undefined && expect.toLowerCase() !== "100-continue") return fault(417, "only 100-continue can be expected");
  const connection = headers.get("connection")?.toLowerCase().split(/[\s,]+/);
  const keepAlive = isModern ? connection?.includes("close") !== true : connection?.includes("keep-alive") === true;
  const framing = encoding === undefined ? Number(length ?? 0) : "chunked";
  return { method, target, headers, framing, keepAlive, waitsForLeave: expect !== undefined && isModern };
}

/** Path and query; of the absolute form, which proxies use, what is behind the authority. */
function originForm(target: string): string | undefined {
  if (target.startsWith("/") || target === "*") return target.includes("#") ? undefined : target;
  const absolute = /^https?:\/\/[^/?#]+(.*)$/i.exec(target);
  if (absolute === null || absolute[1]!.includes("#")) return undefined;
  return absolute[1]!.startsWith("/") ? absolute[1] : `/${absolute[1]}`;
}
