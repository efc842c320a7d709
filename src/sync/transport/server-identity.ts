/** The server's certificate: made when there is none yet, and then kept, because clients pin it. */
import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import { SynclineError, messageOf } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { makeCertificate } from "#platform/net/certificate.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";
import { type Identity, fingerprintOf } from "#platform/net/tls-socket.ts";

const FILE_NAME = "server.pem";
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/;
const KEY = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n?/;

export type ServerIdentity = Identity & { readonly fingerprint: string };

/** Adds the fingerprint to a certificate and key that were given. Throws USAGE when they cannot be read. */
export function givenIdentity(identity: Identity): ServerIdentity {
  try {
    return { ...identity, fingerprint: fingerprintOf(new X509Certificate(identity.certificate)) };
  } catch (cause) {
    const message = "the certificate cannot be read; it must be PEM";
    throw new SynclineError({ code: "USAGE", op: "read certificate", message, cause });
  }
}

/**
 * The certificate and key kept in `stateDir` (one file, mode 0600), made at the first call: ECDSA P-256, for the host
 * name, "localhost" and the listening address, valid for ten years.
 */
export function ownIdentity(stateDir: string, hostName: string, address: string, clock: Clock): ServerIdentity {
  const path = `${stateDir}/${FILE_NAME}`;
  try {
    const kept = readPrivateFile(path);
    if (kept === undefined) {
      const names = [hostName, "localhost", "127.0.0.1", "::1", address];
      const made = makeCertificate([...new Set(names)].filter(fitsCertificate), clock.nowMs());
      writePrivateFile(path, made.certificate + made.key);
      return givenIdentity(made);
    }
    const certificate = CERTIFICATE.exec(kept)?.[0];
    const key = KEY.exec(kept)?.[0];
    if (certificate === undefined || key === undefined) throw new Error("it does not hold a certificate and a key");
    return givenIdentity({ certificate, key });
  } catch (cause) {
    throw new SynclineError({
      code: "STATE",
      op: "read certificate",
      path,
      message: `the server's certificate cannot be used: ${messageOf(cause)}`,
      hint: `remove ${path} to have a new one made; clients will then ask to trust it again`,
      cause,
    });
  }
}

/** Host names that DNS allows, and addresses in their plain forms. */
function fitsCertificate(name: string): boolean {
  if (isIP(name) === 4) return true;
  if (isIP(name) === 6) return !name.includes(".") && !name.includes("%") && name !== "::";
  return /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/.test(name);
}
