/** The hub's certificate over the months: a new one is taken into use before the old one ends. */
import { messageOf } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import type { Identity } from "#platform/net/tls-socket.ts";

/** How often it is looked at. */
const LOOK_MS = 24 * 3_600_000;
/** A listener has to leave its address for a new one; one that did not get it back is away until then. Twice as long each time. */
const AGAIN_MS = 5_000;
const AGAIN_MS_MAX = 300_000;

export type CertificateParts = {
  readonly clock: Pick<Clock, "sleep">;
  readonly log: {
    info(message: string, facts: Record<string, unknown>): void;
    error(message: string, facts: Record<string, unknown>): void;
  };
  /** The certificate for now. */
  readonly current: () => Identity;
  /** What the listeners have. */
  readonly used: Identity;
  readonly listeners: readonly Listener[];
};

/** @throws where it could not be done; it may be away then, until it is done. */
type Listener = { useIdentity(identity: Identity): void };

export async function watchCertificate({ clock, log, current, used, listeners }: CertificateParts, closing: AbortSignal): Promise<void> {
  let identity = used;
  /** Those that do not have it yet. */
  let waiting: Listener[] = [];
  let againMs = AGAIN_MS;
  for (;;) {
    await clock.sleep(waiting.length === 0 ? LOOK_MS : againMs, closing).catch(() => undefined);
    if (closing.aborted) return;
    againMs = waiting.length === 0 ? AGAIN_MS : Math.min(2 * againMs, AGAIN_MS_MAX);
    try {
      if (waiting.length === 0) {
        const now = current();
        // Whoever else asked for it may have had it made.
        if (now.certificate === identity.certificate) continue;
        identity = now;
        waiting = [...listeners];
      }
      // One that fails keeps it from none of the others.
      const failed = failures(waiting, identity);
      waiting = [...failed.keys()];
      for (const error of failed.values()) log.error("certificate could not be taken into use", { error: messageOf(error) });
      if (waiting.length === 0) log.info("certificate renewed", {});
    } catch (error) {
      log.error("certificate could not be renewed", { error: messageOf(error) });
    }
  }
}

function failures(listeners: readonly Listener[], identity: Identity): Map<Listener, unknown> {
  const failed = new Map<Listener, unknown>();
  for (const listener of listeners) {
    try {
      listener.useIdentity(identity);
    } catch (error) {
      failed.set(listener, error);
    }
  }
  return failed;
}
