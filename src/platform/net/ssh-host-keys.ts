/** The keys by which clients know an SSH server: made once, kept in files that nobody else can read. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import ssh2 from "ssh2";
import { SynclineError } from "#model/error.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";

/** Clients that have no Ed25519 know one of the others. */
const KINDS = [
  { name: "ed25519", type: "ed25519", options: undefined },
  { name: "ecdsa", type: "ecdsa", options: { bits: 256 } },
  { name: "rsa", type: "rsa", options: { bits: 3072 } },
] as const;

/** About one of 270 Ed25519 pairs that the library makes is malformed: it leaves out a leading zero. */
const TRIES_MAX = 20;

export type SshKeyPair = { readonly private: string; readonly public: string };

export type HostKeys = {
  /** Private keys, in OpenSSH's format. */
  readonly keys: readonly string[];
  /** What ssh-keygen -l prints of each. */
  readonly fingerprints: readonly { readonly kind: string; readonly fingerprint: string }[];
};

/** A new pair of which both halves can be read. @param make for tests */
export function makeSshKeyPair(type: string, options?: { readonly bits: number }, make = ssh2.utils.generateKeyPairSync): SshKeyPair {
  for (let tries = 1; ; tries++) {
    const pair = make(type, options);
    const fault = faultOf(pair.private) ?? faultOf(pair.public);
    if (fault === undefined) return pair;
    if (tries === TRIES_MAX) throw fault;
  }
}

function faultOf(text: string): Error | undefined {
  const key = ssh2.utils.parseKey(text);
  return key instanceof Error ? key : undefined;
}

/**
 * Reads `ssh_host_<kind>_key` in a directory, or makes them; the public halves lie beside them.
 * @throws {SynclineError} STATE when one is half there, or cannot be read
 */
export function openHostKeys(directory: string): HostKeys {
  const keys: string[] = [];
  const fingerprints: { kind: string; fingerprint: string }[] = [];
  for (const { name, type, options } of KINDS) {
    const file = join(directory, `ssh_host_${name}_key`);
    let key = readPrivateFile(file);
    let line = readPrivateFile(`${file}.pub`);
    if (key === undefined) {
      const made = makeSshKeyPair(type, options);
      key = made.private;
      line = made.public;
      // The private half last: where it is, its public half is.
      writePrivateFile(`${file}.pub`, `${line}\n`);
      writePrivateFile(file, `${key}\n`);
    }
    const [, base64] = line?.split(" ") ?? [];
    if (base64 === undefined) throw halfThere(file);
    const fault = faultOf(key);
    if (fault !== undefined) throw unreadable(file, fault);
    const hash = createHash("sha256").update(Buffer.from(base64, "base64")).digest("base64");
    keys.push(key);
    fingerprints.push({ kind: name, fingerprint: `SHA256:${hash.replace(/=+$/, "")}` });
  }
  return { keys, fingerprints };
}

function halfThere(file: string): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "open host keys",
    message: `there is ${file}, but not its public half ${file}.pub`,
    hint: `ssh-keygen -y -f ${file} > ${file}.pub`,
  });
}

function unreadable(file: string, cause: Error): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "open host keys",
    message: `${file} is no private key without a passphrase: ${cause.message}`,
    hint: `put the right one there; or remove it and ${file}.pub for a new one, of which clients are warned that it has changed`,
    cause,
  });
}
