/** Signing in with the Authorization header, where a protocol knows no session: Basic and Bearer (RFC 7617, RFC 6750). */
import type { Principal } from "#access/access.ts";
import type { HubAccess } from "#access/hub-access.ts";
import { GIVEN_SECRET_CHARS_MIN } from "#access/access-store.ts";
import { SESSION_PREFIX } from "#access/sessions.ts";
import { TOKEN_PREFIX } from "#access/tokens.ts";
import { SynclineError } from "#model/error.ts";

const BEARER = /^Bearer +([\x21-\x7e]{1,512})$/i;
const BASIC = /^Basic +([A-Za-z0-9+/=_-]{1,4096})$/i;

/**
 * A user with its password, or with a token of its own in the place of the password; or a token alone.
 * @throws {SynclineError} AUTH
 */
export async function signIn(access: HubAccess, header: string | null, address: string): Promise<Principal> {
  const token = BEARER.exec(header ?? "")?.[1];
  if (token?.startsWith(SESSION_PREFIX) === true) return access.authenticate({ type: "session", cookie: token, address });
  if (token !== undefined) return access.authenticate({ type: "token", token, address });
  const pair = BASIC.exec(header ?? "")?.[1];
  const text = pair === undefined ? undefined : Buffer.from(pair, "base64").toString("utf8");
  const colon = text?.indexOf(":") ?? -1;
  if (colon < 0) throw nobody(header === null ? "nobody has signed in" : "the Authorization header cannot be read");
  return withPassword(access, text!.slice(0, colon), text!.slice(colon + 1), address);
}

/**
 * As doors do that know users and passwords alone.
 * @param user "" where a token says whose it is
 * @throws {SynclineError} AUTH
 */
export async function withPassword(access: HubAccess, user: string, password: string, address: string): Promise<Principal> {
  if (!(await isToken(access, password))) return access.authenticate({ type: "password", user, password, address });
  const who = await access.authenticate({ type: "token", token: password, address });
  // Whoever says to be somebody else has mixed something up; what is done would be written down under a name not given.
  if (user !== "" && user !== who.name) throw nobody(`this token is not one of "${user.slice(0, 64)}"`);
  return who;
}

/** Those that were given may look like anything, but they are as long as no password that people type. */
async function isToken(access: HubAccess, secret: string): Promise<boolean> {
  if (secret.startsWith(TOKEN_PREFIX)) return true;
  return secret.length >= GIVEN_SECRET_CHARS_MIN && (await access.tokens.byValue(secret)) !== undefined;
}

function nobody(message: string): SynclineError {
  const hint = "sign in with your user name and password, or with a token in the place of the password";
  return new SynclineError({ code: "AUTH", op: "authenticate", message, hint });
}
