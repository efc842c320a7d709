/**
 * Who this agent is: its private key, made once, and in a second file its name, its certificate, and the authority of
 * the hub that it belongs to, pinned when it joined. Both are readable by their owner alone and replaced whole. The key
 * is there before it joins, so that an answer of the hub that is lost can be asked for again.
 */
import { X509Certificate, createPrivateKey, createPublicKey } from "node:crypto";
import { z } from "zod";
import { needsRenewal } from "#access/authority.ts";
import { provePossession } from "#access/possession.ts";
import { SynclineError } from "#model/error.ts";
import { makeKeyPair } from "#platform/net/certificate.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";

const FILE_NAME = "identity.json";
const KEY_FILE = "key.pem";

const IDENTITY = z.strictObject({
  version: z.literal(1),
  name: z.string(),
  hub: z.string(),
  /** PEM. */
  ca: z.string(),
  certificate: z.string(),
});

export type AgentIdentity = z.infer<typeof IDENTITY>;

const fileOf = (dataDir: string): string => `${dataDir}/${FILE_NAME}`;

/** Undefined before the first enrolment. @throws {SynclineError} STATE when it is there and cannot be used */
export function readIdentity(dataDir: string): AgentIdentity | undefined {
  const path = fileOf(dataDir);
  try {
    const text = readPrivateFile(path);
    return text === undefined ? undefined : IDENTITY.parse(JSON.parse(text));
  } catch (cause) {
    throw new SynclineError({
      code: "STATE",
      op: "read identity",
      path,
      message: "this agent's key and certificate cannot be read",
      hint: `to join the hub anew, remove ${path} and give --join-token-file`,
      cause,
    });
  }
}

/** @throws {SynclineError} DISK */
export function writeIdentity(dataDir: string, identity: AgentIdentity): void {
  keep(fileOf(dataDir), `${JSON.stringify(identity, undefined, 2)}\n`);
}

function keep(path: string, text: string): void {
  try {
    writePrivateFile(path, text);
  } catch (cause) {
    const message = "this agent's key or certificate cannot be kept";
    const hint = "is there room, and may we write there?";
    throw new SynclineError({ code: "DISK", op: "write identity", path, message, hint, cause });
  }
}

/** PEM of the private key (ECDSA P-256), made at the first call. @throws {SynclineError} STATE, DISK */
export function ownKey(dataDir: string): string {
  const path = `${dataDir}/${KEY_FILE}`;
  let key: string;
  try {
    const kept = readPrivateFile(path);
    if (kept !== undefined) {
      createPrivateKey(kept);
      return kept;
    }
    key = makeKeyPair().pem;
  } catch (cause) {
    const message = "this agent's key cannot be read";
    const hint = `restore ${path}, or remove it together with ${FILE_NAME} and let the host join under another name`;
    throw new SynclineError({ code: "STATE", op: "read key", path, message, hint, cause });
  }
  keep(path, key);
  return key;
}

/** What the hub issues a certificate for: the public key, and that it is ours; base64. */
export function certificateRequest(key: string, host: string): { publicKey: string; proof: string } {
  const privateKey = createPrivateKey(key);
  const publicKey = createPublicKey(privateKey).export({ type: "spki", format: "der" });
  const proof = Buffer.from(provePossession(host, publicKey, privateKey));
  return { publicKey: publicKey.toString("base64"), proof: proof.toString("base64") };
}

/** @throws {SynclineError} TRUST when it is not for this key, or not of this authority */
export function requireFits(certificate: string, key: string, ca: string): void {
  const issued = new X509Certificate(certificate);
  const fits = issued.checkPrivateKey(createPrivateKey(key)) && issued.verify(new X509Certificate(ca).publicKey);
  if (fits) return;
  throw new SynclineError({ code: "TRUST", op: "enrol", message: "the hub issued a certificate that does not fit our key" });
}

export type CertificateAge = "valid" | "due" | "over";

export function ageOf(certificate: string, nowMs: number): CertificateAge {
  const { validFrom, validTo } = new X509Certificate(certificate);
  const from = Date.parse(validFrom);
  const to = Date.parse(validTo);
  if (nowMs > to) return "over";
  return needsRenewal(from, to, nowMs) ? "due" : "valid";
}
