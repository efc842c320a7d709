/**
 * Listings of FTP servers: the facts of MLSD and MLST (RFC 3659 §7), and the lines of LIST as Unix and DOS have them.
 * What cannot be understood is an error and never left out: an entry that is missing would look like one that was removed.
 */
import { SynclineError } from "#model/error.ts";
import { decodeName, printablePath } from "#model/path.ts";
import { parseFtpTime } from "#platform/net/ftp-time.ts";

/** Bytes of one line of a listing: a name of 255 bytes, a target of 4 KiB, and facts. */
export const LISTED_BYTES_MAX = 16 << 10;
const SHOWN_CHARS_MAX = 200;

export type Listed = {
  readonly name: string;
  readonly kind: "file" | "dir" | "symlink" | "other";
  /** Of a file. */
  readonly size: number;
  /** Undefined: not told, or not exactly. */
  readonly mtimeNs: bigint | undefined;
  readonly target: string | undefined;
};

const LF = 10;
const CR = 13;

/** Cuts the bytes of a listing into lines. */
export class ListingLines {
  #rest: Uint8Array = new Uint8Array(0);

  /** @throws {SynclineError} PROTOCOL for a line that no entry has */
  push(bytes: Uint8Array): string[] {
    const all = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const lines: string[] = [];
    let start = 0;
    for (let end = all.indexOf(LF); end >= 0; end = all.indexOf(LF, start)) {
      lines.push(lineOf(all.subarray(start, end)));
      start = end + 1;
    }
    this.#rest = all.slice(start);
    if (this.#rest.length > LISTED_BYTES_MAX) throw unreadable(lineOf(this.#rest.subarray(0, SHOWN_CHARS_MAX)));
    return lines;
  }

  /** What stands behind the last line end: a last line without one. */
  end(): string[] {
    const rest = this.#rest;
    this.#rest = new Uint8Array(0);
    return rest.length === 0 ? [] : [lineOf(rest)];
  }
}

function lineOf(bytes: Uint8Array): string {
  if (bytes.length > LISTED_BYTES_MAX) throw unreadable(decodeName(bytes.subarray(0, SHOWN_CHARS_MAX)));
  return decodeName(bytes.at(-1) === CR ? bytes.subarray(0, -1) : bytes);
}

function unreadable(line: string): SynclineError {
  return new SynclineError({
    code: "PROTOCOL",
    op: "read FTP listing",
    message: `a line of the server's listing cannot be understood: ${printablePath(line.slice(0, SHOWN_CHARS_MAX))}`,
    hint: "a server that knows MLSD (RFC 3659) can be listed whatever it is",
  });
}

/** A number of bytes that there can be; undefined for all else. */
function sizeOf(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,19}$/.test(text)) return undefined;
  const size = Number(text);
  return Number.isSafeInteger(size) ? size : undefined;
}

const KINDS: Readonly<Record<string, Listed["kind"]>> = {
  file: "file",
  dir: "dir",
  "os.unix=symlink": "symlink",
  "os.unix=slink": "symlink",
};

/**
 * One line of facts, of MLSD or MLST; the name of MLST is what the server likes to say there. Undefined for the listed
 * directory itself and the one above it.
 * @throws {SynclineError} PROTOCOL
 */
export function readFacts(line: string): Listed | undefined {
  const space = line.indexOf(" ");
  if (space < 0 || space === line.length - 1) throw unreadable(line);
  const facts = new Map<string, string>();
  for (const fact of line.slice(0, space).split(";")) {
    if (fact === "") continue;
    const equals = fact.indexOf("=");
    if (equals < 1) throw unreadable(line);
    facts.set(fact.slice(0, equals).toLowerCase(), fact.slice(equals + 1));
  }
  const name = line.slice(space + 1);
  const type = facts.get("type");
  if (type === undefined) throw unreadable(line);
  const lower = type.toLowerCase();
  if (lower === "cdir" || lower === "pdir") return undefined;
  const slink = /^os\.unix=s(?:ym)?link:/.exec(lower);
  const kind = slink === null ? (KINDS[lower] ?? "other") : "symlink";
  const target = slink === null ? undefined : type.slice(slink[0].length);
  const size = kind === "file" ? sizeOf(facts.get("size")) : 0;
  const modify = facts.get("modify");
  const mtimeNs = modify === undefined ? undefined : parseFtpTime(modify);
  if (size === undefined || (modify !== undefined && mtimeNs === undefined)) throw unreadable(line);
  return { name, kind, size, mtimeNs: kind === "file" ? mtimeNs : undefined, target: target === "" ? undefined : target };
}

const MONTH = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)";
/** Kind and permissions, links, owner and group (one may be missing, or have spaces), size or device numbers, time, name. */
const UNIX = new RegExp(
  "^([a-zA-Z-])[r-][w-][xsS-][r-][w-][xsS-][r-][w-][xtT-][+.@]?\\s+\\d+\\s+" +
    "(?:\\S+\\s+){1,6}?(?:(\\d+)|\\d+,\\s*\\d+)\\s+" +
    `(?:${MONTH}\\s+\\d{1,2}\\s+(?:\\d{4}|\\d{1,2}:\\d\\d)|\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d) ` +
    "(.+)$",
);
const DOS = /^\d\d-\d\d-\d\d(?:\d\d)?\s+\d\d:\d\d(?:[AP]M)?\s+(?:(<DIR>)|(<JUNCTION>|<SYMLINKD?>)|(\d+)) +(.+)$/i;
const TOTAL = /^total \d+$/;
const ARROW = " -> ";

/**
 * One line of LIST. Its times are in a zone that nobody tells, to the minute or to the day, and are not used. Undefined for
 * the line of a sum, and for "." and "..", which `onDot` is told of.
 * @throws {SynclineError} PROTOCOL
 */
export function readListLine(line: string, onDot: () => void): Listed | undefined {
  if (TOTAL.test(line)) return undefined;
  const unix = UNIX.exec(line);
  const listed = unix === null ? dosEntry(line) : unixEntry(line, unix[1]!, sizeOf(unix[2]), unix[3]!);
  if (listed.name !== "." && listed.name !== "..") return listed;
  onDot();
  return undefined;
}

function unixEntry(line: string, mark: string, size: number | undefined, named: string): Listed {
  const base = { size: 0, mtimeNs: undefined, target: undefined };
  if (mark === "d") return { ...base, kind: "dir", name: named };
  if (mark === "l") {
    const arrow = named.indexOf(ARROW);
    // A name with an arrow in it and a target with one cannot be told apart.
    if (arrow < 1 || named.includes(ARROW, arrow + 1)) throw unreadable(line);
    return { ...base, kind: "symlink", name: named.slice(0, arrow), target: named.slice(arrow + ARROW.length) };
  }
  if (mark !== "-") return { ...base, kind: "other", name: named };
  if (size === undefined) throw unreadable(line);
  return { ...base, kind: "file", size, name: named };
}

function dosEntry(line: string): Listed {
  const match = DOS.exec(line);
  if (match === null) throw unreadable(line);
  const name = match[4]!;
  if (match[1] !== undefined) return { name, kind: "dir", size: 0, mtimeNs: undefined, target: undefined };
  if (match[2] !== undefined) return { name, kind: "other", size: 0, mtimeNs: undefined, target: undefined };
  const size = sizeOf(match[3]);
  if (size === undefined) throw unreadable(line);
  return { name, kind: "file", size, mtimeNs: undefined, target: undefined };
}
