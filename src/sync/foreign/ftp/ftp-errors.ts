/** What becomes of replies that say no, and of connections that break. */
import { type ErrorCode, SynclineError, messageOf } from "#model/error.ts";
import { type RelPath, printablePath } from "#model/path.ts";
import { type Reply, replyText } from "#sync/foreign/ftp/replies.ts";

/** A command that was not done; who knows what it was about makes a SynclineError of it. */
export class FtpRefusal extends Error {
  readonly reply: Reply;

  constructor(reply: Reply) {
    super(replyText(reply));
    this.name = "FtpRefusal";
    this.reply = reply;
  }
}

export function lostConnection(label: string, cause: unknown): SynclineError {
  return new SynclineError({
    code: "LINK_LOST",
    op: "talk FTP",
    message: `the connection with ${label} failed: ${messageOf(cause)}`,
    hint: "check host name, port and network",
    retryable: true,
    cause,
  });
}

/** A handshake that did not come about. What answers in clear will do so again. */
export function noTls(label: string, cause: unknown): SynclineError {
  const text = messageOf(cause);
  if (!/WRONG_VERSION_NUMBER/.test(text)) return lostConnection(label, cause);
  return new SynclineError({
    code: "PROTOCOL",
    op: "connect",
    message: `${label} does not answer in TLS`,
    hint: "ftps:// is for servers where TLS begins at once; ftp://…?tls=explicit asks for it",
    cause,
  });
}

/** Codes that mean the same whatever was asked for. */
const CODES: Readonly<Record<number, ErrorCode>> = {
  452: "DISK",
  552: "DISK",
  530: "AUTH",
  532: "AUTH",
  522: "AUTH",
  521: "AUTH",
  533: "AUTH",
  534: "AUTH",
  536: "AUTH",
  500: "UNSUPPORTED",
  501: "UNSUPPORTED",
  502: "UNSUPPORTED",
  504: "UNSUPPORTED",
  503: "PROTOCOL",
};
const FULL = /no space|disk (is )?full|quota|local (file|error)|exceeded/i;
const MISSING = /no such|not found|(does not|doesn't) exist|cannot find/i;
const FORBIDDEN = /permission|denied|forbidden|not allowed|privilege|read.?only/i;
const THERE = /exists|not empty/i;

/** What a reply says by itself; undefined for a 550 and its like that may mean anything. */
function codeOf(reply: Reply): ErrorCode | undefined {
  const text = reply.lines.join(" ");
  const known = CODES[reply.code];
  if (known !== undefined) return known;
  if (FULL.test(text)) return "DISK";
  if (reply.code < 500) return reply.code >= 400 ? "LINK_LOST" : "PROTOCOL";
  if (MISSING.test(text)) return "NOT_FOUND";
  if (FORBIDDEN.test(text)) return "DENIED";
  return THERE.test(text) ? "EXISTS" : undefined;
}

/** Does the reply leave open whether nothing is there, or it is not allowed? */
export const isVague = (reply: Reply): boolean => codeOf(reply) === undefined;

const HINTS: Partial<Record<ErrorCode, string>> = {
  DISK: "make room on the server, or raise the quota there",
  AUTH: "check user and password, and whether the server wants TLS (ftps:// or ?tls=explicit)",
  DENIED: "check what the user may do there",
};

/** @param code what was found out about a vague reply */
export function notDone(reply: Reply, op: string, path: RelPath | undefined, code?: ErrorCode): SynclineError {
  const known = code ?? codeOf(reply) ?? "DENIED";
  return new SynclineError({
    code: known,
    op,
    message: `the FTP server refuses to ${op}${path === undefined ? "" : ` "${printablePath(path)}"`}: ${replyText(reply)}`,
    path,
    hint: HINTS[known],
    retryable: known === "LINK_LOST",
  });
}
