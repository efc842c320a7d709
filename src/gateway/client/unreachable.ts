/** What it is when a hub gives no answer, for the clients of hubs. */
import { SynclineError } from "#model/error.ts";
import { otherScheme, reasonOf, untimely } from "#platform/net/connection-words.ts";

/** A certificate that is not trusted is TRUST, and no trying again helps; everything else is LINK_LOST. */
export function unreachable(
  url: string,
  op: string,
  cause: unknown,
  hints: { readonly certificate: string; readonly otherwise: string },
): SynclineError {
  const reason = reasonOf(cause);
  const isCertificate = /certificate|self.signed/i.test(reason);
  return new SynclineError({
    code: isCertificate ? "TRUST" : "LINK_LOST",
    op,
    message: `the hub at ${url} cannot be reached: ${reason}`,
    hint: isCertificate ? (untimely(reason) ?? hints.certificate) : (otherScheme(url, cause) ?? hints.otherwise),
    retryable: !isCertificate,
    cause,
  });
}
