/**
 * Who asks, as of now. The bytes of a file may come for hours, a session stays open for days, and what counts are the rights
 * of the moment: a door looks at the credential again before it does what was asked. That costs nothing while nothing of
 * who exists has changed.
 */
import type { Principal } from "#access/access.ts";
import type { HubAccess } from "#access/hub-access.ts";
import { SynclineError } from "#model/error.ts";

/** Looks at one credential, each after a change of some user in the time of the one before. */
const LOOKS_MAX = 10;

/** @throws {SynclineError} AUTH when the credential is none any more, LIMIT where people change all the time */
export type Renew = () => Promise<Principal>;

export type SignedIn = { readonly who: Principal; readonly renew: Renew };

/**
 * @param authenticate looks at the credential; called now, and again where something has changed
 * @returns also `again`, which looks at it whatever has changed: it may have an end of its own
 */
export async function signedIn(
  access: Pick<HubAccess, "generation">,
  authenticate: () => Promise<Principal>,
): Promise<SignedIn & { readonly again: Renew }> {
  // From before it was looked at: what changes meanwhile counts.
  let { generation } = access;
  let who = await authenticate();
  const again = async (): Promise<Principal> => {
    const now = access.generation;
    who = await authenticate();
    generation = now;
    return who;
  };
  const renew = async (): Promise<Principal> => {
    for (let look = 0; generation !== access.generation; look++) {
      if (look === LOOKS_MAX) throw changing();
      await again();
    }
    return who;
  };
  return { who, renew, again };
}

function changing(): SynclineError {
  const hint = "try again when fewer users are being changed";
  return new SynclineError({ code: "LIMIT", op: "sign in", message: "users change faster than one can sign in", hint, retryable: true });
}
