/**
 * Makes a self-signed X.509 certificate (RFC 5280) with an ECDSA P-256 key. Clients pin it by fingerprint, so it
 * vouches for nothing but itself. The little DER that this takes is written here: X.690 §§8, 10.
 */
import { generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";
import type { Identity } from "#platform/net/tls-socket.ts";

const YEARS_VALID = 10;

const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const OCTET_STRING = 0x04;
const UTF8_STRING = 0x0c;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const EXPLICIT_0 = 0xa0;
const EXPLICIT_3 = 0xa3;

const ECDSA_WITH_SHA256 = oid(1, 2, 840, 10045, 4, 3, 2);
const COMMON_NAME = oid(2, 5, 4, 3);
const SUBJECT_ALT_NAME = oid(2, 5, 29, 17);
const BASIC_CONSTRAINTS = oid(2, 5, 29, 19);
const TRUE = der(0x01, Uint8Array.of(0xff));

function der(tag: number, ...parts: Uint8Array[]): Uint8Array {
  const content = Buffer.concat(parts);
  const length = content.length;
  const head = length < 128 ? [length] : length < 256 ? [0x81, length] : [0x82, length >> 8, length & 255];
  return Buffer.concat([Uint8Array.of(tag, ...head), content]);
}

function oid(first: number, second: number, ...rest: number[]): Uint8Array {
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 127];
    for (let left = arc >>> 7; left > 0; left >>>= 7) groups.unshift((left & 127) | 128);
    bytes.push(...groups);
  }
  return der(0x06, Uint8Array.from(bytes));
}

/** RFC 5280 §4.1.2.5: two-digit years through 2049, four digits from 2050. */
function time(ms: number): Uint8Array {
  const digits = new Date(ms).toISOString().replace(/[-:T]/g, "").slice(0, 14);
  const utc = Number(digits.slice(0, 4)) < 2050;
  return der(utc ? UTC_TIME : GENERALIZED_TIME, Buffer.from(`${utc ? digits.slice(2) : digits}Z`));
}

function addressBytes(ip: string): Uint8Array {
  if (isIP(ip) === 4) return Uint8Array.from(ip.split(".").map(Number));
  const [head = "", tail] = ip.split("::");
  const words = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16));
  const front = words(head);
  const back = tail === undefined ? [] : words(tail);
  const all = [...front, ...Array<number>(8 - front.length - back.length).fill(0), ...back];
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 255]));
}

/** GeneralName: [2] DNS name or [7] IP address. */
function generalName(name: string): Uint8Array {
  return isIP(name) === 0 ? der(0x82, Buffer.from(name, "latin1")) : der(0x87, addressBytes(name));
}

/**
 * @param names host names and IP addresses it is for, at least one; the first is the common name (cut to 64)
 * @param nowMs wall clock; the certificate is valid from a day before it, for clocks that run late, for ten years
 */
export function makeCertificate(names: readonly string[], nowMs: number): Identity {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const algorithm = der(SEQUENCE, ECDSA_WITH_SHA256);
  const commonName = der(UTF8_STRING, Buffer.from(names[0]!.slice(0, 64)));
  const subject = der(SEQUENCE, der(SET, der(SEQUENCE, COMMON_NAME, commonName)));
  const serial = randomBytes(16);
  // Positive and without leading zeros, as DER wants integers.
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  const end = new Date(nowMs);
  end.setUTCFullYear(end.getUTCFullYear() + YEARS_VALID);
  const extensions = der(
    SEQUENCE,
    der(SEQUENCE, SUBJECT_ALT_NAME, der(OCTET_STRING, der(SEQUENCE, ...names.map(generalName)))),
    // An end-entity that is its own authority: with cA the file works as `--ca` for OpenSSL-based clients, too.
    der(SEQUENCE, BASIC_CONSTRAINTS, TRUE, der(OCTET_STRING, der(SEQUENCE, TRUE))),
  );
  const body = der(
    SEQUENCE,
    der(EXPLICIT_0, der(INTEGER, Uint8Array.of(2))),
    der(INTEGER, serial),
    algorithm,
    subject,
    der(SEQUENCE, time(nowMs - 86_400_000), time(end.getTime())),
    subject,
    publicKey.export({ type: "spki", format: "der" }),
    der(EXPLICIT_3, extensions),
  );
  const signature = sign("sha256", body, privateKey);
  const certificate = der(SEQUENCE, body, algorithm, der(BIT_STRING, Uint8Array.of(0), signature));
  return {
    certificate: pem("CERTIFICATE", certificate),
    key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

function pem(label: string, bytes: Uint8Array): string {
  const lines = Buffer.from(bytes).toString("base64").match(/.{1,64}/g)!;
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
