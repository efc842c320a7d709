/**
 * The hub's own certificate authority. Its key and certificate are made at the first start and never again, because
 * every agent trusts them. Certificates of agents are checked here without asking anybody; which ones were revoked is
 * known to hosts.ts.
 */
import { type KeyObject, X509Certificate, createHash, createPrivateKey } from "node:crypto";
import { isIP } from "node:net";
import { SynclineError, messageOf } from "#model/error.ts";
import type { Clock, Random } from "#platform/host.ts";
import {
  CLIENT_AUTH,
  SERIAL_BYTES,
  issueCertificate,
  makeKeyPair,
  plainKey,
} from "#platform/net/certificate.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";
import type { Identity } from "#platform/net/tls-socket.ts";
import { unusable } from "#access/access-store.ts";

const AUTHORITY_FILE = "authority.pem";
const SERVER_FILE = "server.pem";
const CERTIFICATES = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?/g;
const KEY = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n?/;

const DAY_MS = 86_400_000;
export const AUTHORITY_DAYS = 20 * 365;
/** Browsers refuse server certificates that are valid for more than 398 days. */
export const SERVER_DAYS = 365;
export const HOST_DAYS = 90;
/** Certificates are valid from a day before they were made, for clocks that run late. */
const EARLIER_MS = DAY_MS;
/** Names and addresses of one server certificate at most. */
export const CERTIFICATE_NAMES_MAX = 100;
/** A certificate that a client shows is no larger. */
export const CERTIFICATE_BYTES_MAX = 16 << 10;
/** Which hosts there may be: also DNS names, in lower case. */
export const HOST_NAME = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/;
/** Marks a certificate as a host's, in its subject. */
const HOST_UNIT = "syncline host";

export type HostCertificate = {
  readonly host: string;
  /** Hex digits in upper case. */
  readonly serial: string;
  /** Whole seconds, rounded down. */
  readonly issuedMs: number;
  readonly untilMs: number;
  /** SHA-256 of the SPKI. */
  readonly keyHash: Uint8Array;
};

export class Authority {
  /** PEM; what agents and browsers are told to trust. */
  readonly certificate: string;
  readonly #parsed: X509Certificate;
  readonly #key: KeyObject;
  readonly #publicKey: Uint8Array;
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #random: Random;

  /**
   * Reads the authority kept in `directory` (file mode 0600), or makes one when there is none.
   * @throws {SynclineError} STATE when it cannot be used: it is never replaced by itself
   */
  static open(directory: string, clock: Clock, random: Random): Authority {
    const path = `${directory}/${AUTHORITY_FILE}`;
    try {
      const kept = readPrivateFile(path);
      if (kept !== undefined) return new Authority(directory, kept, clock, random);
      const made = makeAuthority(clock.nowMs(), random);
      const authority = new Authority(directory, made, clock, random);
      writePrivateFile(path, made);
      return authority;
    } catch (cause) {
      throw new SynclineError({
        code: "STATE",
        op: "read certificate authority",
        path,
        message: `the hub's certificate authority cannot be used: ${messageOf(cause)}`,
        hint: `restore ${path} from the hub's backup; with a new one every agent would have to join again`,
        cause,
      });
    }
  }

  private constructor(directory: string, text: string, clock: Clock, random: Random) {
    const certificate = text.match(CERTIFICATES)?.[0];
    const key = KEY.exec(text)?.[0];
    if (certificate === undefined || key === undefined) throw new Error("the file does not hold a certificate and a key");
    this.certificate = certificate;
    this.#parsed = new X509Certificate(certificate);
    this.#key = createPrivateKey(key);
    if (!this.#parsed.checkPrivateKey(this.#key)) throw new Error("its key belongs to another certificate");
    this.#publicKey = spkiOf(this.#parsed);
    this.#directory = directory;
    this.#clock = clock;
    this.#random = random;
  }

  /** "SHA256:" and 64 hex digits, of the certificate's DER: what a person compares and an agent pins. */
  get fingerprint(): string {
    return `SHA256:${createHash("sha256").update(this.#parsed.raw).digest("hex")}`;
  }

  /**
   * The certificate of the hub's listeners for these names and addresses, with its authority behind it, from a file; a
   * new one with a new key when there is none, when it is for others, not valid yet, or when a third of its life is left.
   * Ask daily.
   * @throws {SynclineError} USAGE for names that no certificate can have, STATE when the file cannot be read or written
   */
  serverIdentity(names: readonly string[]): { identity: Identity; isNew: boolean; untilMs: number } {
    const wanted = [...new Set(names.map((name) => (isIP(name) === 0 ? name.toLowerCase() : name)))];
    const path = `${this.#directory}/${SERVER_FILE}`;
    const wrong = wanted.find((name) => !fitsCertificate(name));
    if (wanted.length === 0 || wanted.length > CERTIFICATE_NAMES_MAX)
      throw unusable("issue certificate", `a certificate is for 1 to ${CERTIFICATE_NAMES_MAX} names`);
    if (wrong !== undefined)
      throw unusable("issue certificate", `"${wrong.slice(0, 255)}" is no host name or address`);
    try {
      const kept = this.#keptServer(path, wanted);
      if (kept !== undefined) return { ...kept, isNew: false };
      const pair = makeKeyPair();
      const untilMs = wholeSeconds(this.#clock.nowMs() + SERVER_DAYS * DAY_MS);
      const made = this.#issue({ commonName: wanted[0]! }, "server", wanted, pair.publicKey, untilMs);
      const identity = { certificate: made + this.certificate, key: pair.pem };
      writePrivateFile(path, identity.certificate + identity.key);
      return { identity, isNew: true, untilMs };
    } catch (cause) {
      throw new SynclineError({
        code: "STATE",
        op: "issue certificate",
        path,
        message: `the hub's own certificate cannot be read or written: ${messageOf(cause)}`,
        hint: `check the permissions and the free space of ${this.#directory}`,
        cause,
      });
    }
  }

  /** What the file holds, when it is good for these names and for longer; anything that is wrong with it means a new one. */
  #keptServer(path: string, names: readonly string[]): { identity: Identity; untilMs: number } | undefined {
    const text = readPrivateFile(path);
    const certificate = text?.match(CERTIFICATES)?.[0];
    const key = text === undefined ? undefined : KEY.exec(text)?.[0];
    if (certificate === undefined || key === undefined) return undefined;
    try {
      const parsed = new X509Certificate(certificate);
      const untilMs = parsed.validToDate.getTime();
      const count = (parsed.subjectAltName ?? "").split(", ").length;
      const isForNames = count === names.length && names.every((name) => isFor(parsed, name));
      const isOurs = parsed.checkIssued(this.#parsed) && parsed.verify(this.#parsed.publicKey);
      const nowMs = this.#clock.nowMs();
      const isDue = needsRenewal(parsed.validFromDate.getTime(), untilMs, nowMs);
      // A clock was ahead when it was made. Before the authority's own time it is the present one that is wrong.
      const isEarly = nowMs < parsed.validFromDate.getTime() && nowMs >= this.#parsed.validFromDate.getTime();
      if (!isForNames || !isOurs || isDue || isEarly || !parsed.checkPrivateKey(createPrivateKey(key))) return undefined;
      return { identity: { certificate: certificate + this.certificate, key }, untilMs };
    } catch {
      return undefined;
    }
  }

  /**
   * A certificate for a host's key, valid for HOST_DAYS.
   * @param publicKey what plainKey returned
   */
  issueForHost(host: string, publicKey: Uint8Array): { certificate: string; facts: HostCertificate } {
    const untilMs = wholeSeconds(this.#clock.nowMs() + HOST_DAYS * DAY_MS);
    const certificate = this.#issue({ commonName: host, unit: HOST_UNIT }, "client", [host], publicKey, untilMs);
    return { certificate, facts: factsOf(new X509Certificate(certificate), host) };
  }

  #issue(
    subject: { commonName: string; unit?: string },
    use: "server" | "client",
    names: readonly string[],
    publicKey: Uint8Array,
    untilMs: number,
  ): string {
    return issueCertificate(
      {
        subject,
        issuer: { commonName: commonNameOf(this.#parsed) },
        publicKey,
        issuerKey: this.#publicKey,
        use,
        names,
        fromMs: this.#clock.nowMs() - EARLIER_MS,
        untilMs,
        serial: this.#random.bytes(SERIAL_BYTES),
      },
      this.#key,
    );
  }

  /**
   * Whose certificate it is. Signature, issuer, validity and purpose are checked; whether it was revoked is not.
   * @param certificate PEM or DER
   * @returns why not, in words for a log, never for the peer
   */
  check(certificate: string | Uint8Array): HostCertificate | { readonly fault: string } {
    if (certificate.length > CERTIFICATE_BYTES_MAX) return { fault: "too large" };
    let parsed: X509Certificate;
    try {
      parsed = new X509Certificate(typeof certificate === "string" ? certificate : Buffer.from(certificate));
      if (!parsed.checkIssued(this.#parsed) || !parsed.verify(this.#parsed.publicKey))
        return { fault: "not of this hub's authority" };
    } catch {
      return { fault: "no certificate" };
    }
    const now = this.#clock.nowMs();
    const isTimely = (one: X509Certificate): boolean => one.validFromDate.getTime() <= now && now < one.validToDate.getTime();
    if (!isTimely(parsed)) return { fault: "expired, or not valid yet" };
    if (!isTimely(this.#parsed)) return { fault: "the authority itself has expired" };
    // Only certificates that were made for a host pass: the authority signs its servers' as well.
    const [unit, commonName, ...rest] = parsed.subject.split("\n");
    const host = commonName?.startsWith("CN=") ? commonName.slice(3) : "";
    const isHost = unit === `OU=${HOST_UNIT}` && rest.length === 0 && HOST_NAME.test(host);
    if (!isHost || parsed.ca || !parsed.keyUsage.includes(CLIENT_AUTH)) return { fault: "not a host's certificate" };
    return factsOf(parsed, host);
  }
}

/** Whether a third of its life, or less, is left. Also what an agent asks about its own certificate. */
export function needsRenewal(fromMs: number, untilMs: number, nowMs: number): boolean {
  return untilMs - nowMs <= (untilMs - fromMs) / 3;
}

function makeAuthority(nowMs: number, random: Random): string {
  const pair = makeKeyPair();
  // Two hubs have different names, so a client that trusts both finds the right one.
  const name = { commonName: `syncline hub ${Buffer.from(random.bytes(4)).toString("hex")}` };
  const certificate = issueCertificate(
    {
      subject: name,
      issuer: name,
      publicKey: pair.publicKey,
      issuerKey: pair.publicKey,
      use: "authority",
      names: [],
      fromMs: nowMs - EARLIER_MS,
      untilMs: nowMs + AUTHORITY_DAYS * DAY_MS,
      serial: random.bytes(SERIAL_BYTES),
    },
    pair.privateKey,
  );
  return certificate + pair.pem;
}

function factsOf(parsed: X509Certificate, host: string): HostCertificate {
  return {
    host,
    serial: parsed.serialNumber,
    issuedMs: parsed.validFromDate.getTime() + EARLIER_MS,
    untilMs: parsed.validToDate.getTime(),
    keyHash: keyHashOf(spkiOf(parsed)),
  };
}

export function keyHashOf(publicKey: Uint8Array): Uint8Array {
  return new Uint8Array(createHash("sha256").update(publicKey).digest());
}

function spkiOf(parsed: X509Certificate): Uint8Array {
  const spki = plainKey(parsed.publicKey.export({ type: "spki", format: "der" }));
  if (spki === undefined) throw new Error("its key is none of P-256");
  return spki;
}

function commonNameOf(parsed: X509Certificate): string {
  return parsed.subject.replace(/^CN=/, "");
}

function isFor(parsed: X509Certificate, name: string): boolean {
  return (isIP(name) === 0 ? parsed.checkHost(name) : parsed.checkIP(name)) !== undefined;
}

/** Certificates know no smaller unit. */
function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1_000) * 1_000;
}

/** Host names that DNS allows, and addresses in their plain forms. */
function fitsCertificate(name: string): boolean {
  if (isIP(name) === 4) return true;
  if (isIP(name) === 6) return !name.includes(".") && !name.includes("%") && name !== "::";
  return /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(name);
}
