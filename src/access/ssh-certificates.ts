/**
 * User certificates of OpenSSH (its PROTOCOL.certkeys): a key that an authority has signed for some names and some time.
 * That the client holds the key is proved by its connection; what the certificate says is judged here.
 */
import { isWireSignature, readSshPublicKey } from "#platform/net/ssh-signature.ts";
import { WireReader } from "#platform/net/ssh-wire.ts";

const USER = 1;
/** OpenSSH's own limit. */
const PRINCIPALS_MAX = 256;
const CERTIFICATE_BYTES_MAX = 64 << 10;
const AUTHORITIES_MAX = 64;

/** Public keys (their wire form) whose certificates are taken. */
export type SshAuthorities = readonly Uint8Array[];

/** Lines of a file of authorities, as OpenSSH's TrustedUserCAKeys has them; or what is wrong with one. */
export function readSshAuthorities(text: string): SshAuthorities | string {
  const authorities: Uint8Array[] = [];
  for (const [at, line] of text.split("\n").entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const blob = Buffer.from(line.trim().split(/[ \t]+/)[1] ?? "", "base64");
    const key = readSshPublicKey(blob);
    if (key === undefined || key.isCertificate) return `line ${at + 1} is no public key`;
    authorities.push(blob);
  }
  if (authorities.length > AUTHORITIES_MAX) return `there are more than ${AUTHORITIES_MAX} keys`;
  return authorities;
}

export type Presented = {
  readonly certificate: Uint8Array;
  readonly user: string;
  readonly address: string;
  readonly nowMs: number;
};

/** Why a certificate does not let this user in; undefined: it does. */
export function certificateFault(presented: Presented, authorities: SshAuthorities): string | undefined {
  if (presented.certificate.length > CERTIFICATE_BYTES_MAX) return "it is too large";
  try {
    return faultOf(presented, authorities);
  } catch (error) {
    if (error instanceof RangeError) return "it is cut off";
    throw error;
  }
}

function faultOf({ certificate, user, address, nowMs }: Presented, authorities: SshAuthorities): string | undefined {
  const parts = readSshPublicKey(certificate);
  if (parts === undefined || !parts.isCertificate) return "it is no certificate";
  const { rest } = parts;
  rest.uint64();
  const kind = rest.uint32();
  rest.string();
  const principals = textsOf(rest.string());
  const [afterS, beforeS] = [rest.uint64(), rest.uint64()];
  const critical = pairsOf(rest.string());
  rest.string();
  rest.string();
  const authority = rest.string();
  const signed = certificate.subarray(0, rest.position);
  const signature = rest.string();
  if (!rest.isAtEnd) return "there is more behind it";
  if (!authorities.some((known) => Buffer.compare(known, authority) === 0)) return "its authority is not known here";
  const signer = readSshPublicKey(authority);
  if (signer === undefined || signer.isCertificate || !isWireSignature(signer, signed, signature)) return "its signature is wrong";
  // Only what the authority has said counts from here on.
  if (kind !== USER) return "it is for a host";
  if (!principals.includes(user)) return "it is not for this user";
  const nowS = BigInt(Math.floor(nowMs / 1000));
  if (nowS < afterS || nowS >= beforeS) return "its time is over, or has not begun";
  return criticalFault(critical, address);
}

function criticalFault(critical: ReadonlyMap<string, Uint8Array>, address: string): string | undefined {
  for (const [name, value] of critical) {
    const text = new WireReader(value).text();
    if (name === "source-address" && isAmong(address, text)) continue;
    if (name === "force-command" && text === "internal-sftp") continue;
    return `its condition ${name} is not met`;
  }
  return undefined;
}

function textsOf(packed: Uint8Array): string[] {
  const reader = new WireReader(packed);
  const texts: string[] = [];
  while (!reader.isAtEnd) {
    if (texts.length === PRINCIPALS_MAX) throw new RangeError("too many names");
    texts.push(reader.text());
  }
  return texts;
}

function pairsOf(packed: Uint8Array): ReadonlyMap<string, Uint8Array> {
  const reader = new WireReader(packed);
  const pairs = new Map<string, Uint8Array>();
  while (!reader.isAtEnd) {
    if (pairs.size === PRINCIPALS_MAX) throw new RangeError("too many options");
    pairs.set(reader.text(), reader.string());
  }
  return pairs;
}

/** Whether an address is one of a list of addresses and networks, like "192.0.2.0/24,2001:db8::1". */
function isAmong(address: string, list: string): boolean {
  const bits = bitsOf(address);
  if (bits === undefined) return false;
  return list.split(",").some((item) => {
    const [network = "", length] = item.trim().split("/");
    const wanted = bitsOf(network);
    if (wanted === undefined || wanted.length !== bits.length) return false;
    const prefix = length === undefined ? wanted.length : /^\d{1,3}$/.test(length) ? Number(length) : Infinity;
    return prefix <= wanted.length && bits.startsWith(wanted.slice(0, prefix));
  });
}

/** An address as binary digits; IPv4 also where it comes dressed as IPv6. */
function bitsOf(address: string): string | undefined {
  const bare = address.replace(/^::ffff:(?=\d+\.)/i, "").replace(/%.*$/, "");
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(bare)) {
    const bytes = bare.split(".").map(Number);
    return bytes.every((byte) => byte < 256) ? bytes.map((byte) => byte.toString(2).padStart(8, "0")).join("") : undefined;
  }
  if (!/^[0-9a-f:]+$/i.test(bare)) return undefined;
  const [head = "", tail, ...more] = bare.split("::");
  const front = head === "" ? [] : head.split(":");
  const back = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - front.length - back.length;
  const groups = [...front, ...Array<string>(Math.max(0, zeros)).fill("0"), ...back];
  if (more.length > 0 || groups.length !== 8 || !groups.every((group) => /^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  return groups.map((group) => Number.parseInt(group, 16).toString(2).padStart(16, "0")).join("");
}
