/**
 * Shows that who asks for a certificate holds the key that it is for. Bound to the host's name; which connection asks
 * is shown by the join token or the old certificate.
 */
import { type KeyObject, createPublicKey, sign, verify } from "node:crypto";

/** What a host is told that shows a certificate of a revoked key. Its agent knows it by this, since only a new key helps. */
export const KEY_REVOKED = "the key of this host was revoked";

function textOf(host: string, publicKey: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`syncline host key 1\0${host}\0`), publicKey]);
}

/** @param publicKey SPKI in DER of the same pair */
export function provePossession(host: string, publicKey: Uint8Array, privateKey: KeyObject): Uint8Array {
  return new Uint8Array(sign("sha256", textOf(host, publicKey), privateKey));
}

/** @param publicKey SPKI in DER of a key that plainKey accepts */
export function isPossessed(host: string, publicKey: Uint8Array, proof: Uint8Array): boolean {
  try {
    const key = createPublicKey({ key: Buffer.from(publicKey), format: "der", type: "spki" });
    return verify("sha256", textOf(host, publicKey), key, proof);
  } catch {
    return false;
  }
}
