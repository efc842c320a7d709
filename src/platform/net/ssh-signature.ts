/** Public keys of SSH in their wire form (RFC 4253 §6.6, 5656, 8332, 8709), and signatures by them. */
import { type KeyObject, createHash, createPublicKey, verify } from "node:crypto";
import { WireReader } from "#platform/net/ssh-wire.ts";

const CURVES: Record<string, { readonly name: string; readonly hash: string; readonly bytes: number }> = {
  "ecdsa-sha2-nistp256": { name: "P-256", hash: "sha256", bytes: 32 },
  "ecdsa-sha2-nistp384": { name: "P-384", hash: "sha384", bytes: 48 },
  "ecdsa-sha2-nistp521": { name: "P-521", hash: "sha512", bytes: 66 },
};
const RSA_HASHES: Record<string, string> = { "rsa-sha2-256": "sha256", "rsa-sha2-512": "sha512" };
const CERTIFICATE_SUFFIX = "-cert-v01@openssh.com";

const url = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url");

/** Fields of a key after its type, as they also stand in a certificate after its nonce. */
function readKey(type: string, reader: WireReader): { key: KeyObject; application: Uint8Array | undefined } {
  if (type === "ssh-ed25519" || type === "sk-ssh-ed25519@openssh.com") {
    const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: url(reader.string()) }, format: "jwk" });
    return { key, application: type === "ssh-ed25519" ? undefined : reader.string() };
  }
  if (type === "ssh-rsa") {
    const e = reader.string();
    const n = reader.string();
    return { key: createPublicKey({ key: { kty: "RSA", e: url(e), n: url(n) }, format: "jwk" }), application: undefined };
  }
  const isToken = type === "sk-ecdsa-sha2-nistp256@openssh.com";
  const curve = CURVES[isToken ? "ecdsa-sha2-nistp256" : type];
  if (curve === undefined) throw new RangeError("no such type of key");
  reader.string();
  const point = reader.string();
  if (point.length !== 1 + 2 * curve.bytes || point[0] !== 4) throw new RangeError("no uncompressed point");
  const [x, y] = [point.subarray(1, 1 + curve.bytes), point.subarray(1 + curve.bytes)];
  const key = createPublicKey({ key: { kty: "EC", crv: curve.name, x: url(x), y: url(y) }, format: "jwk" });
  return { key, application: isToken ? reader.string() : undefined };
}

export type SshKeyParts = {
  /** Without the suffix that certificates add. */
  readonly type: string;
  readonly isCertificate: boolean;
  readonly key: KeyObject;
  /** Of a key that a security token holds. */
  readonly application: Uint8Array | undefined;
  /** Behind the key. */
  readonly rest: WireReader;
};

/** Undefined: no key, or of a type that is not spoken here. */
export function readSshPublicKey(blob: Uint8Array): SshKeyParts | undefined {
  try {
    const rest = new WireReader(blob);
    const told = rest.text();
    const isCertificate = told.endsWith(CERTIFICATE_SUFFIX);
    const bare = isCertificate ? told.slice(0, -CERTIFICATE_SUFFIX.length) : told;
    // "sk-ssh-ed25519-cert-v01@openssh.com" is of the type "sk-ssh-ed25519@openssh.com".
    const type = isCertificate && bare.startsWith("sk-") ? `${bare}@openssh.com` : bare;
    if (isCertificate) rest.string();
    const { key, application } = readKey(type, rest);
    if (!isCertificate && !rest.isAtEnd) return undefined;
    return { type, isCertificate, key, application, rest };
  } catch {
    return undefined;
  }
}

/**
 * Whether the holder of a key, or of a certified key, has signed `data`.
 * @param algorithm the one that was named for the signature, or the key's type
 * @param hash of RSA; undefined where `algorithm` tells it
 * @param signature as the SSH library hands it on: without its name, ECDSA in DER. With its name where the library does
 *   not know the algorithm, as for certificates
 */
export function isSignedBy(
  blob: Uint8Array,
  algorithm: string,
  hash: string | undefined,
  data: Uint8Array,
  signature: Uint8Array,
): boolean {
  const parts = readSshPublicKey(blob);
  if (parts === undefined) return false;
  try {
    if (parts.isCertificate) return isWireSignature(parts, data, signature);
    if (parts.application !== undefined) return isWireSignature(parts, data, named(algorithm, signature));
    if (parts.type === "ssh-ed25519") return verify(null, data, parts.key, signature);
    if (parts.type === "ssh-rsa") return hash !== undefined && verify(hash, data, parts.key, signature);
    return verify(CURVES[parts.type]!.hash, data, parts.key, signature);
  } catch {
    return false;
  }
}

/** What a security token signed, with its name and its length again; flags and a counter are behind it. */
function named(algorithm: string, signature: Uint8Array): Uint8Array {
  const TAIL_BYTES = 5;
  const end = Math.max(0, signature.length - TAIL_BYTES);
  return Buffer.concat([lengthed(Buffer.from(algorithm)), lengthed(signature.subarray(0, end)), signature.subarray(end)]);
}

function lengthed(bytes: Uint8Array): Uint8Array {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(bytes.length);
  return Buffer.concat([head, bytes]);
}

/** A signature in the form that SSH itself gives it: its algorithm's name, then its bytes. */
export function isWireSignature(parts: SshKeyParts, data: Uint8Array, signature: Uint8Array): boolean {
  const reader = new WireReader(signature);
  const algorithm = reader.text();
  const bytes = reader.string();
  const { type, key, application } = parts;
  if (type === "ssh-rsa") {
    const hash = RSA_HASHES[algorithm];
    return hash !== undefined && reader.isAtEnd && verify(hash, data, key, bytes);
  }
  if (algorithm !== type) return false;
  if (application === undefined) {
    if (!reader.isAtEnd) return false;
    return type === "ssh-ed25519" ? verify(null, data, key, bytes) : isEcdsa(type, key, data, bytes);
  }
  // A security token signs a hash of the message, between what it is for and its own counter.
  const flags = reader.byte();
  const counter = reader.uint32();
  const USER_PRESENT = 1;
  if (!reader.isAtEnd || (flags & USER_PRESENT) === 0) return false;
  const tail = Buffer.alloc(5);
  tail.writeUInt8(flags, 0);
  tail.writeUInt32BE(counter, 1);
  const sha256 = (part: Uint8Array): Buffer => createHash("sha256").update(part).digest();
  const signed = Buffer.concat([sha256(application), tail, sha256(data)]);
  if (type === "sk-ssh-ed25519@openssh.com") return verify(null, signed, key, bytes);
  return isEcdsa("ecdsa-sha2-nistp256", key, signed, bytes);
}

function isEcdsa(type: string, key: KeyObject, data: Uint8Array, bytes: Uint8Array): boolean {
  const { hash, bytes: length } = CURVES[type]!;
  const reader = new WireReader(bytes);
  const numbers = [reader.string(), reader.string()].map((mpint) => fixed(mpint, length));
  if (!reader.isAtEnd) return false;
  return verify(hash, data, { key, dsaEncoding: "ieee-p1363" }, Buffer.concat(numbers));
}

/** A multiple-precision integer in as many bytes as the curve has. */
function fixed(mpint: Uint8Array, length: number): Uint8Array {
  const start = mpint.findIndex((byte) => byte !== 0);
  const bare = start < 0 ? mpint.subarray(0, 0) : mpint.subarray(start);
  if (bare.length > length) throw new RangeError("the number is too long");
  const out = new Uint8Array(length);
  out.set(bare, length - bare.length);
  return out;
}
