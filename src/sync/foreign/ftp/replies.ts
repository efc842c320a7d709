/** What an FTP server answers (RFC 959 §4.2), cut out of the bytes of the control connection. */
import { SynclineError } from "#model/error.ts";
import { decodeName, printablePath } from "#model/path.ts";

/** Bytes of one line of a reply. Long enough for a path of 4 KiB whose every byte is doubled. */
export const LINE_BYTES_MAX = 16 << 10;
/** Lines and bytes of one reply: features and help of the longest servers have a tenth of it. */
export const REPLY_LINES_MAX = 1_000;
export const REPLY_BYTES_MAX = 128 << 10;
/** Replies that came and were not asked for yet. Commands that go out together are fewer. */
export const REPLIES_WAITING_MAX = 64;
const SHOWN_CHARS_MAX = 300;

export type Reply = {
  readonly code: number;
  /** Without code and line ends; names in them are read as names are (decodeName). */
  readonly lines: readonly string[];
};

/** The reply as a person may see it: "550 No such file". */
export function replyText({ code, lines }: Reply): string {
  const text = lines.length > 1 ? `${lines[0]} … ${lines.at(-1)}` : (lines[0] ?? "");
  return printablePath(`${code} ${text}`.trim().slice(0, SHOWN_CHARS_MAX));
}

const FIRST = /^([1-5]\d\d)([ -]|$)/;
const LF = 10;
const CR = 13;

/** Makes replies of bytes, wherever these are cut. */
export class ReplyReader {
  #rest: Uint8Array = new Uint8Array(0);
  #code: string | undefined;
  #lines: string[] = [];
  #bytes = 0;
  readonly #ready: Reply[] = [];

  /** Nothing of a reply is here. */
  get isEmpty(): boolean {
    return this.#rest.length === 0 && this.#code === undefined && this.#ready.length === 0;
  }

  /** The next whole reply. */
  next(): Reply | undefined {
    return this.#ready.shift();
  }

  /** @throws {SynclineError} PROTOCOL for what is no reply, LIMIT for what does not end; the reader is of no use then */
  push(bytes: Uint8Array): void {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    let start = 0;
    for (let end = all.indexOf(LF); end >= 0; end = all.indexOf(LF, start)) {
      this.#line(all.subarray(start, end > start && all[end - 1] === CR ? end - 1 : end));
      start = end + 1;
    }
    this.#rest = all.slice(start);
    if (this.#rest.length > LINE_BYTES_MAX) throw tooMuch(`a line of more than ${LINE_BYTES_MAX} bytes`);
  }

  #line(bytes: Uint8Array): void {
    if (bytes.length > LINE_BYTES_MAX) throw tooMuch(`a line of more than ${LINE_BYTES_MAX} bytes`);
    this.#bytes += bytes.length;
    if (this.#bytes > REPLY_BYTES_MAX) throw tooMuch(`a reply of more than ${REPLY_BYTES_MAX} bytes`);
    const line = decodeName(bytes);
    if (this.#code === undefined) {
      const match = FIRST.exec(line);
      if (match === null) throw notFtp(line);
      this.#lines.push(line.slice(4));
      if (match[2] !== "-") return this.#finish(match[1]!);
      this.#code = match[1]!;
      return;
    }
    if (this.#lines.length === REPLY_LINES_MAX) throw tooMuch(`a reply of more than ${REPLY_LINES_MAX} lines`);
    const isLast = line.startsWith(this.#code) && (line.length === 3 || line[3] === " ");
    // Many servers begin the lines in the middle with the code, too.
    this.#lines.push(isLast || line.startsWith(`${this.#code}-`) ? line.slice(4) : line);
    if (isLast) this.#finish(this.#code);
  }

  #finish(code: string): void {
    if (this.#ready.length === REPLIES_WAITING_MAX) throw tooMuch(`more than ${REPLIES_WAITING_MAX} replies nobody asked for`);
    this.#ready.push({ code: Number(code), lines: this.#lines });
    this.#lines = [];
    this.#code = undefined;
    this.#bytes = 0;
  }
}

function tooMuch(what: string): SynclineError {
  return new SynclineError({ code: "LIMIT", op: "read FTP reply", message: `the FTP server sends ${what}` });
}

function notFtp(line: string): SynclineError {
  return new SynclineError({
    code: "PROTOCOL",
    op: "read FTP reply",
    message: `what the server says is no reply of FTP: ${printablePath(line.slice(0, SHOWN_CHARS_MAX))}`,
    hint: "check the port, and whether TLS begins at once there (ftps://) or on request (ftp://…?tls=explicit)",
  });
}

/** Port of a 229 reply (RFC 2428), "(|||6446|)" with any separator. Undefined: it makes no sense. */
export function extendedPort({ lines }: Reply): number | undefined {
  const match = /\(([!-~])\1\1(\d{1,5})\1\)/.exec(lines.at(-1) ?? "");
  return portOf(Number(match?.[2]));
}

/** Port of a 227 reply. The address in it is never used: it may be that of another host, or of none. */
export function passivePort({ lines }: Reply): number | undefined {
  const match = /(?:^|\D)((?:\d{1,3},){5}\d{1,3})(?!\d)/.exec(lines.at(-1) ?? "");
  const numbers = match?.[1]!.split(",").map(Number);
  if (numbers === undefined || numbers.some((one) => one > 255)) return undefined;
  return portOf(numbers[4]! * 256 + numbers[5]!);
}

const portOf = (port: number): number | undefined => (port >= 1 && port <= 65_535 ? port : undefined);

/** The path of a 257 reply, whose quotes are doubled. */
export function quotedPath({ lines }: Reply): string | undefined {
  return /"((?:[^"]|"")*)"/.exec(lines[0] ?? "")?.[1]?.replaceAll('""', '"');
}

/** What FEAT says (RFC 2389): names in upper case, with what stands behind them. */
export function featuresOf({ lines }: Reply): ReadonlyMap<string, string> {
  const features = new Map<string, string>();
  for (const line of lines.slice(1, -1)) {
    const [, name, more = ""] = /^\s*(\S+)\s*(.*)$/.exec(line) ?? [];
    if (name !== undefined) features.set(name.toUpperCase(), more.trim());
  }
  return features;
}
