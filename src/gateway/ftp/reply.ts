/** Replies of FTP (RFC 959 §4.2), and what becomes of errors. */
import { SynclineError } from "#model/error.ts";
import { encodeName } from "#model/path.ts";
import type { RefusalCode } from "#hub/space.ts";

/** A command that is not done, with the reply that says so. */
export class FtpRefusal extends Error {
  readonly code: number;

  constructor(code: number, text: string) {
    super(text);
    this.name = "FtpRefusal";
    this.code = code;
  }
}

/** One line. What a client has sent may be in the text: it must not be able to make lines of its own. */
export function replyLine(code: number, text: string): string {
  return `${code} ${printable(text)}\r\n`;
}

/** Several lines (RFC 2389): those in the middle begin with a space, so that none looks like the last. */
export function replyLines(code: number, first: string, middle: readonly string[], last: string): string {
  const body = middle.map((line) => ` ${printable(line)}\r\n`).join("");
  return `${code}-${printable(first)}\r\n${body}${code} ${printable(last)}\r\n`;
}

const printable = (text: string): string => text.replaceAll(/[\0-\x1f\x7f]/g, "?");

/** The bytes of replies: names in them are as they are on disk. */
export function replyBytes(text: string): Uint8Array {
  return encodeName(text);
}

const CODES: Partial<Record<SynclineError["code"], readonly [number, string | undefined]>> = {
  DENIED: [550, "Permission denied"],
  AUTH: [530, "Sign in again"],
  SPACE_UNKNOWN: [550, "No such file or directory"],
  NOT_FOUND: [550, "No such file or directory"],
  EXISTS: [550, "It exists already"],
  STALE: [450, "It has changed meanwhile; try again"],
  QUOTA: [552, "The quota of the space is used up"],
  DISK: [452, "The hub's disk refuses: full or failing"],
  USAGE: [553, undefined],
  LIMIT: [451, undefined],
  CHUNK_MISSING: [550, "The bytes of this file are not in the store any more"],
  ENCRYPTED: [550, "This file is encrypted with a key of its client (SSE-C): read it over S3 with its key"],
  CHUNK_DAMAGED: [551, "The bytes of this file are damaged in the store"],
  UNSUPPORTED: [502, undefined],
  INTERRUPTED: [426, "Another upload has taken the place of this one"],
};

/** The reply to a command that failed; undefined: nobody foresaw it, which belongs into the log. */
export function refusalOf(error: unknown): FtpRefusal | undefined {
  if (error instanceof FtpRefusal) return error;
  if (!(error instanceof SynclineError)) return undefined;
  const known = CODES[error.code];
  return known === undefined ? undefined : new FtpRefusal(known[0], known[1] ?? error.message);
}

const REFUSALS: Record<RefusalCode, readonly [number, string]> = {
  NOT_A_DIRECTORY: [550, "Not a directory"],
  NO_PARENT: [550, "No such directory"],
  NOT_EMPTY: [550, "Directory not empty"],
  IS_A_DIRECTORY: [550, "Is a directory"],
  QUOTA: [552, "The quota of the space is used up"],
  NAME: [553, "This name cannot be used"],
  CONTENT: [451, "The content is not in the store any more; send it again"],
  ATOMIC: [451, "Not done"],
};

export function refusedChange(code: RefusalCode): FtpRefusal {
  return new FtpRefusal(...REFUSALS[code]);
}
