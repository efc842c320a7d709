/** Which bytes of a file the next command is about: REST (RFC 3659) and RANG (draft-bryan-ftp-range). */
import { FtpRefusal, replyLine } from "#gateway/ftp/reply.ts";
import type { FtpSession } from "#gateway/ftp/session.ts";

/** `end` is behind the last byte; undefined: to the end of the file. */
export type Range = { readonly start: number; readonly end: number | undefined };

/** Where it starts and its last byte; a start behind that takes back what was said. */
const RANGE = /^(\d{1,15})\s+(\d{1,15})$/;

export function restart(session: FtpSession, argument: string): string {
  if (!/^\d{1,15}$/.test(argument.trim())) throw new FtpRefusal(501, "REST takes a number of bytes");
  const offset = Number(argument);
  if (offset > 0) requireBinary(session, "A restart");
  session.restart = offset;
  session.rangeEnd = undefined;
  return replyLine(350, `Restarting at ${offset}; send RETR, STOR or APPE`);
}

export function range(session: FtpSession, argument: string): string {
  const match = RANGE.exec(argument.trim());
  if (match === null) throw new FtpRefusal(501, "RANG takes the first and the last byte, counted from 0");
  const [start, last] = [Number(match[1]), Number(match[2])];
  if (start > last) {
    session.restart = 0;
    session.rangeEnd = undefined;
    return replyLine(350, "The range is taken back");
  }
  requireBinary(session, "A range");
  session.restart = start;
  session.rangeEnd = last + 1;
  return replyLine(350, `Bytes ${start} to ${last}; send RETR or HASH`);
}

/** What a line has on the wire is not what it has in the file. */
function requireBinary({ type }: FtpSession, what: string): void {
  if (type === "ascii") throw new FtpRefusal(504, `${what} needs TYPE I`);
}

/** For one command: it is forgotten with that. */
export function takeRange(session: FtpSession): Range {
  const { restart: start, rangeEnd: end } = session;
  session.restart = 0;
  session.rangeEnd = undefined;
  return { start, end };
}
