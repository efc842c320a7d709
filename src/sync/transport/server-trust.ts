/** Whom to believe that a TLS server is who it should be: authorities, a fingerprint, or what was pinned at first sight. */
import { SynclineError } from "#model/error.ts";
import { untimely } from "#platform/net/connection-words.ts";
import type { PeerCertificate } from "#platform/net/tls-socket.ts";
import type { KnownServers } from "#sync/transport/known-servers.ts";

export type TlsTrust = {
  /** PEM of authorities: the certificate must be theirs and for this host. Excludes pinning. */
  readonly ca: string | undefined;
  /** "SHA256:hex" as by parseFingerprint(): exactly this certificate. Goes before pinning. */
  readonly fingerprint: string | undefined;
  /** Pin an unknown server without a question. */
  readonly acceptNew: boolean;
  /** Asked about an unknown server when acceptNew is false; undefined: refuse it. */
  readonly askTrust: ((server: string, fingerprint: string) => Promise<boolean>) | undefined;
  /** Where the pins are kept. */
  readonly stateDir: string;
};

/**
 * True for a server that was never met; its certificate is then no authority's that the system trusts.
 * @throws {SynclineError} TRUST for one that is not who it should be
 */
export function isNewServer(peer: PeerCertificate, trust: TlsTrust, server: string, known: KnownServers): boolean {
  if (trust.fingerprint !== undefined) {
    if (peer.fingerprint !== trust.fingerprint) throw changed(server, trust.fingerprint, peer.fingerprint, undefined);
    return false;
  }
  if (trust.ca !== undefined) {
    if (peer.fault === undefined) return false;
    throw new SynclineError({
      code: "TRUST",
      op: "check server",
      message: `the certificate of ${server} is not accepted: ${peer.fault}`,
      hint: untimely(peer.fault) ?? "check --ca and the host name, or pin the certificate with --fingerprint",
    });
  }
  const pinned = known.find(server);
  if (pinned !== undefined && pinned !== peer.fingerprint) {
    throw changed(server, pinned, peer.fingerprint, known.path);
  }
  // A certificate of an authority that the system trusts needs no pin; one that was pinned is held to it all the same.
  return pinned === undefined && peer.fault !== undefined;
}

/**
 * Settles what is to become of a server that was never met: it is pinned.
 * @throws {SynclineError} TRUST when nobody wants that
 */
export async function trustNew(peer: PeerCertificate, trust: TlsTrust, server: string, known: KnownServers): Promise<void> {
  if (!trust.acceptNew && !(await (trust.askTrust?.(server, peer.fingerprint) ?? false))) {
    throw notTrusted(server, peer.fingerprint);
  }
  known.add(server, peer.fingerprint);
}

function changed(server: string, wanted: string, got: string, file: string | undefined): SynclineError {
  return new SynclineError({
    code: "TRUST",
    op: "check server",
    message: `the certificate of ${server} is not the expected one: wanted ${wanted}, got ${got}`,
    hint:
      file === undefined
        ? "ask the server's operator for its fingerprint; someone may be in between"
        : `if it was renewed on purpose, remove its line from ${file}; otherwise someone may be in between`,
  });
}

function notTrusted(server: string, fingerprint: string): SynclineError {
  return new SynclineError({
    code: "TRUST",
    op: "check server",
    message: `${server} is not known; its certificate is ${fingerprint}`,
    hint: `compare it with what the server prints, then add --fingerprint ${fingerprint} or --accept-new`,
  });
}
