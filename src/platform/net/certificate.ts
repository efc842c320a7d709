/**
 * Makes X.509 certificates (RFC 5280) with ECDSA P-256: self-signed ones that clients pin by fingerprint, and those of
 * an authority of ours. What they mean is decided by who makes them.
 */
import { type KeyObject, createHash, createPublicKey, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import {
  BIT_STRING,
  BOOLEAN,
  EXPLICIT_0,
  EXPLICIT_3,
  INTEGER,
  OCTET_STRING,
  SEQUENCE,
  SET,
  UTF8_STRING,
  der,
  generalName,
  oid,
  pem,
  time,
} from "#platform/net/der.ts";
import type { Identity } from "#platform/net/tls-socket.ts";

const YEARS_VALID = 10;
/** X.520 ub-common-name. */
export const COMMON_NAME_CHARS_MAX = 64;
/** A serial of 16 bytes cannot be guessed and never meets another. */
export const SERIAL_BYTES = 16;

const ECDSA_WITH_SHA256 = oid(1, 2, 840, 10045, 4, 3, 2);
const COMMON_NAME = oid(2, 5, 4, 3);
const ORGANIZATIONAL_UNIT = oid(2, 5, 4, 11);
const SUBJECT_KEY_ID = oid(2, 5, 29, 14);
const KEY_USAGE = oid(2, 5, 29, 15);
const SUBJECT_ALT_NAME = oid(2, 5, 29, 17);
const BASIC_CONSTRAINTS = oid(2, 5, 29, 19);
const AUTHORITY_KEY_ID = oid(2, 5, 29, 35);
const EXTENDED_KEY_USAGE = oid(2, 5, 29, 37);
export const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
export const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const TRUE = der(BOOLEAN, Uint8Array.of(0xff));
/** KeyUsage bits with the count of unused ones before them: digitalSignature; keyCertSign and cRLSign. */
const MAY_SIGN = der(BIT_STRING, Uint8Array.of(7, 0x80));
const MAY_CERTIFY = der(BIT_STRING, Uint8Array.of(1, 0x06));

export type DistinguishedName = { readonly commonName: string; readonly unit?: string | undefined };

export type CertificateSpec = {
  readonly subject: DistinguishedName;
  readonly issuer: DistinguishedName;
  /** SPKI in DER, as plainKey returns it. */
  readonly publicKey: Uint8Array;
  /** SPKI of the key that signs. */
  readonly issuerKey: Uint8Array;
  /** An authority that signs end entities only; an end entity for one end of TLS. */
  readonly use: "authority" | "server" | "client";
  /** Host names and IP addresses; none for an authority. */
  readonly names: readonly string[];
  readonly fromMs: number;
  readonly untilMs: number;
  /** SERIAL_BYTES random bytes. */
  readonly serial: Uint8Array;
};

/** Makes a P-256 key pair; `publicKey` is SPKI in DER, `privateKey` PKCS #8 in PEM. */
export function makeKeyPair(): { publicKey: Uint8Array; privateKey: KeyObject; pem: string } {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    publicKey: new Uint8Array(publicKey.export({ type: "spki", format: "der" })),
    privateKey,
    pem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

/**
 * A stranger's SPKI in the form that we would have written; undefined when it is no P-256 key. Certifying these bytes
 * and not the given ones keeps out what a lenient reader would have skipped.
 */
export function plainKey(spki: Uint8Array): Uint8Array | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
    if (key.asymmetricKeyType !== "ec" || key.asymmetricKeyDetails?.namedCurve !== "prime256v1") return undefined;
    return new Uint8Array(key.export({ type: "spki", format: "der" }));
  } catch {
    return undefined;
  }
}

function distinguishedName(name: DistinguishedName): Uint8Array {
  const part = (type: Uint8Array, text: string): Uint8Array =>
    der(SET, der(SEQUENCE, type, der(UTF8_STRING, Buffer.from(text.slice(0, COMMON_NAME_CHARS_MAX)))));
  const unit = name.unit === undefined ? [] : [part(ORGANIZATIONAL_UNIT, name.unit)];
  return der(SEQUENCE, ...unit, part(COMMON_NAME, name.commonName));
}

function extension(id: Uint8Array, isCritical: boolean, value: Uint8Array): Uint8Array {
  return der(SEQUENCE, id, ...(isCritical ? [TRUE] : []), der(OCTET_STRING, value));
}

/** RFC 7093 §2, method 4: cut from a SHA-256 of the whole SPKI. */
function keyId(spki: Uint8Array): Uint8Array {
  return createHash("sha256").update(spki).digest().subarray(0, 20);
}

function extensionsOf(spec: CertificateSpec): Uint8Array[] {
  const own = extension(SUBJECT_KEY_ID, false, der(OCTET_STRING, keyId(spec.publicKey)));
  const parent = extension(AUTHORITY_KEY_ID, false, der(SEQUENCE, der(0x80, keyId(spec.issuerKey))));
  if (spec.use === "authority") {
    const noneBelow = der(INTEGER, Uint8Array.of(0));
    return [
      extension(BASIC_CONSTRAINTS, true, der(SEQUENCE, TRUE, noneBelow)),
      extension(KEY_USAGE, true, MAY_CERTIFY),
      own,
    ];
  }
  const purpose = spec.use === "server" ? SERVER_AUTH : CLIENT_AUTH;
  const [first, second, ...rest] = purpose.split(".").map(Number);
  return [
    extension(BASIC_CONSTRAINTS, true, der(SEQUENCE)),
    extension(KEY_USAGE, true, MAY_SIGN),
    extension(EXTENDED_KEY_USAGE, false, der(SEQUENCE, oid(first!, second!, ...rest))),
    extension(SUBJECT_ALT_NAME, false, der(SEQUENCE, ...spec.names.map(generalName))),
    own,
    parent,
  ];
}

/** Signs a certificate; PEM. */
export function issueCertificate(spec: CertificateSpec, issuerPrivateKey: KeyObject): string {
  return signed(
    {
      serial: spec.serial,
      issuer: distinguishedName(spec.issuer),
      subject: distinguishedName(spec.subject),
      publicKey: spec.publicKey,
      fromMs: spec.fromMs,
      untilMs: spec.untilMs,
      extensions: extensionsOf(spec),
    },
    issuerPrivateKey,
  );
}

type Body = {
  readonly serial: Uint8Array;
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly publicKey: Uint8Array;
  readonly fromMs: number;
  readonly untilMs: number;
  readonly extensions: readonly Uint8Array[];
};

function signed(body: Body, key: KeyObject): string {
  const algorithm = der(SEQUENCE, ECDSA_WITH_SHA256);
  const serial = body.serial.slice();
  // Positive and without leading zeros, as DER wants integers.
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  const toSign = der(
    SEQUENCE,
    der(EXPLICIT_0, der(INTEGER, Uint8Array.of(2))),
    der(INTEGER, serial),
    algorithm,
    body.issuer,
    der(SEQUENCE, time(body.fromMs), time(body.untilMs)),
    body.subject,
    body.publicKey,
    der(EXPLICIT_3, der(SEQUENCE, ...body.extensions)),
  );
  const signature = sign("sha256", toSign, key);
  return pem("CERTIFICATE", der(SEQUENCE, toSign, algorithm, der(BIT_STRING, Uint8Array.of(0), signature)));
}

/**
 * A certificate that vouches for nothing but itself.
 *
 * @param names host names and IP addresses it is for, at least one; the first is the common name (cut to 64)
 * @param nowMs wall clock; the certificate is valid from a day before it, for clocks that run late, for ten years
 */
export function makeCertificate(names: readonly string[], nowMs: number): Identity {
  const pair = makeKeyPair();
  const subject = distinguishedName({ commonName: names[0]! });
  const end = new Date(nowMs);
  end.setUTCFullYear(end.getUTCFullYear() + YEARS_VALID);
  const body: Body = {
    serial: randomBytes(SERIAL_BYTES),
    issuer: subject,
    subject,
    publicKey: pair.publicKey,
    fromMs: nowMs - 86_400_000,
    untilMs: end.getTime(),
    extensions: [
      extension(SUBJECT_ALT_NAME, false, der(SEQUENCE, ...names.map(generalName))),
      // An end-entity that is its own authority: with cA the file works as `--ca` for OpenSSL-based clients, too.
      extension(BASIC_CONSTRAINTS, true, der(SEQUENCE, TRUE)),
    ],
  };
  return { certificate: signed(body, pair.privateKey), key: pair.pem };
}
