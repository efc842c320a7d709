/** Who is there, and how the connection is secured: USER, PASS, AUTH and what belongs to them (RFC 959, 2228, 4217). */
import { SynclineError, messageOf } from "#model/error.ts";
import type { CommandTable } from "#gateway/ftp/commands.ts";
import { FtpRefusal, replyLine } from "#gateway/ftp/reply.ts";
import { type FtpSession, LOGIN_FAILURES_MAX } from "#gateway/ftp/session.ts";
import { type SignedIn, signedIn } from "#gateway/renewing.ts";

/** Before a wrong password is answered. Access slows guessing down over all doors; this one makes it dull. */
const FAILURE_MS = 1_000;
const LOOPBACK = /^(127\.|::1$)/;

export const ACCOUNT_COMMANDS: CommandTable = {
  USER: { needs: "nobody", run: user },
  PASS: { needs: "nobody", run: pass },
  ACCT: { needs: "nobody", run: () => replyLine(502, "There are no accounts beside users") },
  AUTH: { needs: "nobody", run: auth },
  PBSZ: { needs: "nobody", run: pbsz },
  PROT: { needs: "nobody", run: prot },
  CCC: { needs: "nobody", run: () => replyLine(534, "The control connection stays protected") },
  REIN: { needs: "nobody", run: reinitialize },
  QUIT: { needs: "nobody", isBetween: true, run: quit },
  HOST: { needs: "nobody", run: (session) => replyLine(session.signedIn === undefined ? 220 : 503, "This hub has one name for all") },
};

/** Whether passwords and files of this client must be under TLS. */
export function mustBeSecure({ shared, clientAddress }: FtpSession): boolean {
  const { tls } = shared.settings;
  return tls === "always" || (tls === "auto" && !LOOPBACK.test(clientAddress));
}

function requireSecure(session: FtpSession): void {
  if (session.connection.isSecure || !mustBeSecure(session)) return;
  throw new FtpRefusal(530, "TLS is required here: send AUTH TLS first");
}

async function user(session: FtpSession, argument: string): Promise<string> {
  requireSecure(session);
  if (argument === "") throw new FtpRefusal(501, "USER takes a name");
  session.signOut();
  session.user = argument;
  const byCertificate = await byItsCertificate(session);
  if (byCertificate === undefined || byCertificate.who.name !== argument) return replyLine(331, "Password, please");
  return welcome(session, byCertificate, 232);
}

async function byItsCertificate({ shared: { access }, clientCertificate: certificate }: FtpSession): Promise<SignedIn | undefined> {
  if (certificate === undefined) return undefined;
  try {
    return await signedIn(access, () => access.authenticate({ type: "certificate", certificate }));
  } catch (error) {
    // Revoked, or of a host that was removed: a password may still be right.
    if (error instanceof SynclineError && error.code === "AUTH") return undefined;
    throw error;
  }
}

async function pass(session: FtpSession, argument: string): Promise<string> {
  requireSecure(session);
  const { user: name, shared, client, gone } = session;
  const { access } = shared;
  if (name === undefined) throw new FtpRefusal(503, "Send USER first");
  const credential = { type: "password", user: name, password: argument, address: client.address } as const;
  try {
    return welcome(session, await signedIn(access, () => access.authenticate(credential)), 230);
  } catch (error) {
    if (!(error instanceof SynclineError) || (error.code !== "AUTH" && error.code !== "LIMIT")) throw error;
    session.user = undefined;
    shared.traffic.signIn(false);
    if (error.code === "LIMIT") return ended(session, "Too many are signing in; try again in a moment");
    session.loginFailures++;
    await shared.clock.sleep(FAILURE_MS, gone);
    if (session.loginFailures >= LOGIN_FAILURES_MAX) return ended(session, "Too many wrong passwords; the connection is closed");
    return replyLine(530, error.retryable ? `Too many failed attempts: ${error.hint ?? ""}` : "Wrong user or password");
  }
}

function ended(session: FtpSession, text: string): string {
  session.isLeaving = true;
  return replyLine(421, text);
}

function welcome(session: FtpSession, proved: SignedIn, code: 230 | 232): string {
  const { who } = proved;
  const { traffic, log } = session.shared;
  if (!traffic.hasRoomForUser(who.name)) return ended(session, "This user has too many sessions; try again later");
  session.signedIn = proved;
  traffic.signIn(true);
  log.info("ftp sign-in", { user: who.id, address: session.client.address, tls: session.connection.isSecure });
  return replyLine(code, code === 230 ? `Welcome, ${who.name}` : `Welcome, ${who.name}: known by certificate`);
}

async function auth(session: FtpSession, argument: string): Promise<string | undefined> {
  const mechanism = argument.toUpperCase();
  if (!/^(TLS|TLS-C|TLS-P|SSL)$/.test(mechanism)) throw new FtpRefusal(504, "AUTH TLS is what there is");
  if (session.connection.isSecure) throw new FtpRefusal(503, "The connection is secured already");
  await session.send(replyLine(234, "Begin TLS"));
  // Whatever came in clear behind AUTH was not said under TLS: it is forgotten.
  session.forgetUnread();
  if (await secure(session)) session.isDataPrivate = mechanism === "TLS-P";
  return undefined;
}

/** Makes the control connection speak TLS, and forgets who was signed in. False: the handshake failed, and it is closed. */
export async function secure(session: FtpSession): Promise<boolean> {
  const { access, identity, log } = session.shared;
  session.signOut();
  // The same for its data connections: what is another context has other ticket keys.
  const tls = { identity: identity(), clientAuthorities: access.authority.certificate, ticketGroup: session.ticketGroup };
  session.tls = tls;
  try {
    const facts = await session.connection.startTls(tls);
    session.clientCertificate = facts.clientCertificate;
    return true;
  } catch (error) {
    const reason = messageOf(error);
    log.info("ftp handshake failed", { address: session.client.address, reason });
    session.connection.destroy();
    return false;
  }
}

function pbsz(session: FtpSession, argument: string): string {
  if (!session.connection.isSecure) throw new FtpRefusal(503, "Send AUTH TLS first");
  if (!/^\d{1,10}$/.test(argument)) throw new FtpRefusal(501, "PBSZ takes a number");
  session.isSizeAgreed = true;
  return replyLine(200, "PBSZ=0");
}

function prot(session: FtpSession, argument: string): string {
  if (!session.connection.isSecure || !session.isSizeAgreed) throw new FtpRefusal(503, "Send AUTH TLS and PBSZ first");
  switch (argument.toUpperCase()) {
    case "P":
      session.isDataPrivate = true;
      return replyLine(200, "Data connections are private");
    case "C":
      if (mustBeSecure(session)) throw new FtpRefusal(534, "Data connections must be private here");
      session.isDataPrivate = false;
      return replyLine(200, "Data connections are in clear");
    case "S":
    case "E":
      throw new FtpRefusal(536, "TLS knows only P and C");
    default:
      throw new FtpRefusal(504, "PROT takes P or C");
  }
}

function reinitialize(session: FtpSession): string {
  session.signOut();
  return replyLine(220, "As at the beginning; send USER");
}

function quit(session: FtpSession): string {
  session.isLeaving = true;
  return replyLine(221, "Goodbye");
}
