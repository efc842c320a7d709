/** Public keys of SSH, as authorized_keys has them (RFC 4253 §6.6). */
import { createHash } from "node:crypto";
import type { Principal } from "#access/access.ts";
import { type AccessStore, notFound, taken, unusable } from "#access/access-store.ts";
import type { Actor } from "#access/audit.ts";
import { type Users, requireUser } from "#access/users.ts";

export const SSH_KEYS_PER_USER_MAX = 100;
/** An RSA key of 16384 bits takes some 2 KiB. */
export const SSH_KEY_BYTES_MAX = 4_096;
export const RSA_BITS_MIN = 2_048;
const TYPES = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "ssh-rsa",
  "sk-ssh-ed25519@openssh.com",
  "sk-ecdsa-sha2-nistp256@openssh.com",
];

export type SshKey = {
  /** As ssh-keygen -l prints it: "SHA256:" and base64 without padding. */
  readonly fingerprint: string;
  /** Type, base64 and comment. */
  readonly line: string;
  readonly createdMs: number;
};

type KeyRow = { user_name: string; fingerprint: string; line: string; created_ms: number };

const SELECT_KEY = "SELECT * FROM access_ssh_keys WHERE user_name = ? AND fingerprint = ?";

export class SshKeys {
  readonly #store: AccessStore;
  readonly #users: Users;

  constructor(store: AccessStore, users: Users) {
    this.#store = store;
    this.#users = users;
  }

  /**
   * @param line "ssh-ed25519 AAAA… comment"; options before the type are refused, because nothing would heed them
   * @returns the fingerprint
   * @throws {SynclineError} NOT_FOUND (the user), EXISTS, USAGE
   */
  async create(by: Actor, user: string, line: string): Promise<string> {
    const op = "add SSH key";
    const key = readSshKey(line);
    if (typeof key === "string") throw unusable(op, key);
    const { fingerprint } = key;
    await this.#store.change(by, async (sql) => {
      await requireUser(sql, op, user);
      if ((await sql.get(SELECT_KEY, [user, fingerprint])) !== undefined) throw taken(op, `key ${fingerprint}`);
      const held = await sql.get<{ n: number }>("SELECT COUNT(*) AS n FROM access_ssh_keys WHERE user_name = ?", [user]);
      if (held!.n >= SSH_KEYS_PER_USER_MAX) throw unusable(op, `a user has up to ${SSH_KEYS_PER_USER_MAX} SSH keys`);
      await sql.run("INSERT INTO access_ssh_keys (user_name, fingerprint, line, created_ms) VALUES (?, ?, ?, ?)", [
        user,
        fingerprint,
        key.line,
        this.#store.clock.nowMs(),
      ]);
      const details = { comment: key.comment };
      return { value: undefined, event: { action: "ssh-key.create", resource: `ssh-key:${user}/${fingerprint}`, details } };
    });
    return fingerprint;
  }

  /** It is refused from when this resolves. @throws {SynclineError} NOT_FOUND */
  async revoke(by: Actor, user: string, fingerprint: string): Promise<void> {
    await this.#store.change(by, async (sql) => {
      const gone = await sql.run("DELETE FROM access_ssh_keys WHERE user_name = ? AND fingerprint = ?", [user, fingerprint]);
      if (gone === 0) throw notFound("remove SSH key", `key ${fingerprint} of "${user}"`);
      return { value: undefined, event: { action: "ssh-key.revoke", resource: `ssh-key:${user}/${fingerprint}` } };
    });
  }

  async list(user: string): Promise<SshKey[]> {
    const rows = await this.#store.database.all<KeyRow>("SELECT * FROM access_ssh_keys WHERE user_name = ? ORDER BY fingerprint", [user]);
    return rows.map(({ fingerprint, line, created_ms: createdMs }) => ({ fingerprint, line, createdMs }));
  }

  /** Whether the key is the user's: a door may ask before the client proves that it holds it. */
  async find(user: string, key: Uint8Array): Promise<Principal | undefined> {
    if (key.length > SSH_KEY_BYTES_MAX) return undefined;
    const row = await this.#store.database.get<KeyRow>(SELECT_KEY, [user, fingerprintOf(key)]);
    return row === undefined ? undefined : (await this.#users.forSignIn(user))?.principal;
  }
}

function fingerprintOf(key: Uint8Array): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;
}

/** The parts of a line of authorized_keys, or what is wrong with it. */
export function readSshKey(line: string): { fingerprint: string; line: string; comment: string } | string {
  const [type = "", base64 = "", ...comment] = line.trim().split(/[ \t]+/);
  if (line.length > 2 * SSH_KEY_BYTES_MAX || /[\r\n\0]/.test(line.trim())) return "an SSH key is one line";
  if (!TYPES.includes(type)) return `a key begins with its type: ${TYPES.join(", ")}`;
  const key = Buffer.from(base64, "base64");
  if (key.toString("base64") !== base64 || key.length > SSH_KEY_BYTES_MAX) return "the key is not whole: its base64 ends early";
  const fields = wireStrings(key);
  if (fields === undefined || fields[0]?.toString("latin1") !== type) return "the key is not of the type that it names";
  if (type === "ssh-rsa" && (fields.length !== 3 || rsaBits(fields[2]!) < RSA_BITS_MIN))
    return `an RSA key has at least ${RSA_BITS_MIN} bits`;
  if (type === "ssh-ed25519" && (fields.length !== 2 || fields[1]!.length !== 32)) return "an Ed25519 key has 32 bytes";
  const text = comment.join(" ").slice(0, 255);
  return { fingerprint: fingerprintOf(key), line: `${type} ${base64}${text === "" ? "" : ` ${text}`}`, comment: text };
}

/** All length-prefixed strings of a blob; undefined when it is no sequence of them. */
function wireStrings(blob: Buffer): Buffer[] | undefined {
  const fields: Buffer[] = [];
  for (let at = 0; at < blob.length; ) {
    if (at + 4 > blob.length) return undefined;
    const end = at + 4 + blob.readUInt32BE(at);
    if (end > blob.length) return undefined;
    fields.push(blob.subarray(at + 4, end));
    at = end;
  }
  return fields;
}

function rsaBits(modulus: Buffer): number {
  const start = modulus.findIndex((byte) => byte !== 0);
  if (start < 0) return 0;
  return (modulus.length - start) * 8 - (Math.clz32(modulus[start]!) - 24);
}
