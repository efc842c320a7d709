/**
 * Who asks, as of now. The bytes of a file may come for hours, and what counts are the rights at their end: a door looks at
 * the credential again before it commits. That costs nothing while nothing of who exists has changed.
 */
import type { Principal } from "#access/access.ts";
import type { HubAccess } from "#access/hub-access.ts";

/** @throws {SynclineError} AUTH when the credential is none any more */
export type Renew = () => Promise<Principal>;

export type SignedIn = { readonly who: Principal; readonly renew: Renew };

/** @param authenticate looks at the credential; called now, and again where something has changed */
export async function signedIn(access: Pick<HubAccess, "generation">, authenticate: () => Promise<Principal>): Promise<SignedIn> {
  // From before it was looked at: what changes meanwhile counts.
  let { generation } = access;
  let who = await authenticate();
  const renew = async (): Promise<Principal> => {
    while (generation !== access.generation) {
      const now = access.generation;
      who = await authenticate();
      generation = now;
    }
    return who;
  };
  return { who, renew };
}
