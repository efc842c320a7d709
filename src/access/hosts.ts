/**
 * The hosts that joined: their labels, the certificates that they were given, and which of those were revoked. A name
 * belongs to the key that joined with it first, until the host is removed or that key revoked: a join token alone takes
 * over nobody's place. The place of a host whose key was revoked waits for one with another key and a token that was made
 * since, because older tokens may be in anybody's hands.
 */
import { SynclineError } from "#model/error.ts";
import type { Sql } from "#platform/sql/database.ts";
import { plainKey } from "#platform/net/certificate.ts";
import type { Principal } from "#access/access.ts";
import { type AccessStore, PAGE_ROWS_MAX, notFound, refused, taken, unusable } from "#access/access-store.ts";
import type { Actor } from "#access/audit.ts";
import { type Authority, HOST_NAME, type HostCertificate } from "#access/authority.ts";
import { type JoinToken, type JoinTokens, checkLabels } from "#access/join-tokens.ts";
import { KEY_REVOKED, isPossessed } from "#access/possession.ts";
import { sameBytes } from "#access/seal-key.ts";

export type Host = {
  readonly name: string;
  /** Sorted. */
  readonly labels: readonly string[];
  readonly enrolledMs: number;
  /** Undefined: its key is good. */
  readonly revokedMs: number | undefined;
};

/** What a host asks for, and how it shows that the key is its own (possession.ts). */
export type CertificateRequest = {
  readonly host: string;
  /** SPKI in DER, of P-256. */
  readonly publicKey: Uint8Array;
  readonly proof: Uint8Array;
};

export type Enrolment = {
  /** PEM. */
  readonly certificate: string;
  /** PEM of what the hub's own certificates are signed with. */
  readonly authority: string;
  readonly untilMs: number;
  readonly labels: readonly string[];
};

type HostRow = {
  name: string;
  key_hash: Uint8Array;
  join_token: string;
  labels: string;
  enrolled_ms: number;
  /** When its key was; NULL: it was not. */
  revoked_ms: number | null;
};

const SELECT_HOSTS = `SELECT h.*, r.revoked_ms FROM access_hosts h
  LEFT JOIN access_revoked_keys r ON r.host = h.name AND r.key_hash = h.key_hash`;
const SELECT_REVOKED = `SELECT h.name, r.revoked_ms FROM access_revoked_keys r
  JOIN access_hosts h ON h.name = r.host AND h.key_hash = r.key_hash`;
const SELECT_HOST = `${SELECT_HOSTS} WHERE h.name = ?`;
/** A key that was revoked stays so. */
const REVOKE_KEY = `INSERT INTO access_revoked_keys (host, key_hash, revoked_ms) VALUES (?, ?, ?)
  ON CONFLICT (host, key_hash) DO UPDATE SET revoked_ms = excluded.revoked_ms`;

export class Hosts {
  readonly #store: AccessStore;
  readonly #authority: Authority;
  readonly #joinTokens: JoinTokens;

  constructor(store: AccessStore, authority: Authority, joinTokens: JoinTokens) {
    this.#store = store;
    this.#authority = authority;
    this.#joinTokens = joinTokens;
  }

  /**
   * Takes a new host in. Asked again with the same key and token (the answer was lost) it answers again, and the token
   * is not used once more.
   * @throws {SynclineError} AUTH for the token or the proof, USAGE for the request, EXISTS when the name is another key's,
   * DENIED when this key was revoked, or the one before it after the token was made
   */
  async enrol(joinToken: string, request: CertificateRequest, from: Omit<Actor, "id">): Promise<Enrolment> {
    const op = "join";
    // Before anything is signed or written for a stranger.
    if ((await this.#joinTokens.find(this.#store.database, joinToken)) === undefined) throw refused(op);
    const publicKey = this.#checkRequest(op, request);
    const { certificate, facts } = this.#authority.issueForHost(request.host, publicKey);
    const labels = await this.#store.change({ ...from, id: `agent:${request.host}` }, async (sql) => {
      const token = await this.#joinTokens.find(sql, joinToken);
      if (token === undefined) throw refused(op);
      const value = await this.#admit(sql, token, request.host, facts.keyHash);
      await this.#record(sql, facts);
      const details = { joinToken: token.id, serial: facts.serial };
      return { value, event: { action: "host.join", resource: `host:${request.host}`, details } };
    });
    return { certificate, authority: this.#authority.certificate, untilMs: facts.untilMs, labels };
  }

  /** The labels of the host, which is there afterwards. */
  async #admit(sql: Sql, token: JoinToken, host: string, keyHash: Uint8Array): Promise<readonly string[]> {
    if (await isKeyRevoked(sql, host, keyHash)) throw keyRevoked(host);
    const known = await sql.get<HostRow>(SELECT_HOST, [host]);
    const waitsSinceMs = known?.revoked_ms ?? undefined;
    if (waitsSinceMs !== undefined && token.createdMs < waitsSinceMs) throw tokenTooOld(host);
    const isAgain = known?.join_token === token.id && sameBytes(known.key_hash, keyHash);
    if (!isAgain && !(await this.#joinTokens.spend(sql, token))) throw refused("join");
    if (known !== undefined) {
      if (waitsSinceMs !== undefined) {
        await sql.run("UPDATE access_hosts SET key_hash = ?, join_token = ? WHERE name = ?", [keyHash, token.id, host]);
      } else if (!sameBytes(known.key_hash, keyHash)) throw taken("join", `a host "${host}" with another key`);
      return JSON.parse(known.labels) as string[];
    }
    const values = [host, keyHash, token.id, JSON.stringify(token.labels), this.#store.clock.nowMs()];
    await sql.run(
      "INSERT INTO access_hosts (name, key_hash, join_token, labels, enrolled_ms) VALUES (?, ?, ?, ?, ?)",
      values,
    );
    return token.labels;
  }

  /**
   * A new certificate, for the same or a new key, for the host that shows its old one. The old one stays valid until its
   * end, so that an answer that is lost does no harm.
   * @throws {SynclineError} AUTH, USAGE
   */
  async renew(oldCertificate: string | Uint8Array, request: CertificateRequest, from: Omit<Actor, "id">): Promise<Enrolment> {
    const op = "renew certificate";
    const old = this.#authority.check(oldCertificate);
    if ("fault" in old || old.host !== request.host) throw refused(op);
    const publicKey = this.#checkRequest(op, request);
    const { certificate, facts } = this.#authority.issueForHost(request.host, publicKey);
    const labels = await this.#store.change({ ...from, id: `agent:${old.host}` }, async (sql) => {
      const host = await sql.get<HostRow>(SELECT_HOST, [request.host]);
      if (host === undefined || (await isRevoked(sql, old)) || (await isKeyRevoked(sql, old.host, facts.keyHash))) throw refused(op);
      await sql.run("UPDATE access_hosts SET key_hash = ? WHERE name = ?", [facts.keyHash, request.host]);
      await this.#record(sql, facts);
      const value = JSON.parse(host.labels) as string[];
      return { value, event: { action: "host.renew", resource: `host:${request.host}`, details: { serial: facts.serial } } };
    });
    return { certificate, authority: this.#authority.certificate, untilMs: facts.untilMs, labels };
  }

  #checkRequest(op: string, { host, publicKey, proof }: CertificateRequest): Uint8Array {
    if (!HOST_NAME.test(host)) throw unusable(op, 'a host\'s name has 1 to 63 of a-z, 0-9, "." and "-"');
    const plain = plainKey(publicKey);
    if (plain === undefined) throw unusable(op, "the public key is no P-256 key in SPKI form");
    if (!isPossessed(host, plain, proof)) throw refused(op);
    return plain;
  }

  async #record(sql: Sql, facts: HostCertificate): Promise<void> {
    const now = this.#store.clock.nowMs();
    // What has expired is refused for that; its serial need not be known any more.
    await sql.run("DELETE FROM access_certificates WHERE host = ? AND until_ms < ?", [facts.host, now]);
    await sql.run(
      "INSERT INTO access_certificates (serial, host, issued_ms, until_ms, revoked_ms) VALUES (?, ?, ?, ?, NULL)",
      [facts.serial, facts.host, now, facts.untilMs],
    );
  }

  /**
   * Whose certificate it is; undefined: not one of ours, not valid now, or revoked. A serial that is not known passes,
   * unless it is of a time before a revocation: the hub's database may have been put back to a day before it was issued.
   * @throws {SynclineError} AUTH when the key was revoked: who holds it is told, because only another one helps
   */
  async authenticate(certificate: string | Uint8Array): Promise<Principal | undefined> {
    const checked = this.#authority.check(certificate);
    if ("fault" in checked) return undefined;
    const { host, keyHash } = checked;
    const { database } = this.#store;
    if (await isKeyRevoked(database, host, keyHash)) {
      const hint = "let the host join anew, with a new key and a new join token";
      throw new SynclineError({ code: "AUTH", op: "authenticate", message: KEY_REVOKED, hint });
    }
    if (await isRevoked(database, checked)) return undefined;
    return { id: `agent:${host}`, kind: "agent", name: host, roles: ["agent"], scopes: undefined };
  }

  /**
   * Revokes every certificate of a host, and its key. The host keeps its name, its labels and its place. One that is not
   * known here (the database was put back) is refused what was issued to it until now.
   */
  async revoke(by: Actor, host: string): Promise<void> {
    await this.#store.change(by, async (sql) => {
      const known = await sql.get<HostRow>(SELECT_HOST, [host]);
      const revoked = await this.#revokeIssued(sql, host);
      if (known !== undefined) await sql.run(REVOKE_KEY, [host, known.key_hash, this.#store.clock.nowMs()]);
      return { value: undefined, event: { action: "host.revoke", resource: `host:${host}`, details: { revoked } } };
    });
  }

  /** Returns how many certificates that are known here were good until now. */
  async #revokeIssued(sql: Sql, host: string): Promise<number> {
    const now = this.#store.clock.nowMs();
    await sql.run(
      `INSERT INTO access_revocations (host, revoked_ms) VALUES (?, ?)
        ON CONFLICT (host) DO UPDATE SET revoked_ms = excluded.revoked_ms`,
      [host, now],
    );
    return sql.run("UPDATE access_certificates SET revoked_ms = ? WHERE host = ? AND revoked_ms IS NULL", [now, host]);
  }

  /** Revokes every certificate of a host and frees its name. @throws {SynclineError} NOT_FOUND */
  async remove(by: Actor, host: string): Promise<void> {
    await this.#store.change(by, async (sql) => {
      if ((await sql.run("DELETE FROM access_hosts WHERE name = ?", [host])) === 0) throw notFound("remove host", `host "${host}"`);
      const revoked = await this.#revokeIssued(sql, host);
      return { value: undefined, event: { action: "host.remove", resource: `host:${host}`, details: { revoked } } };
    });
  }

  /** @throws {SynclineError} NOT_FOUND, USAGE */
  async setLabels(by: Actor, host: string, labels: readonly string[]): Promise<void> {
    const checked = checkLabels("set labels", labels);
    await this.#store.change(by, async (sql) => {
      const changed = await sql.run("UPDATE access_hosts SET labels = ? WHERE name = ?", [JSON.stringify(checked), host]);
      if (changed === 0) throw notFound("set labels", `host "${host}"`);
      return { value: undefined, event: { action: "host.label", resource: `host:${host}`, details: { labels: checked } } };
    });
  }

  async get(host: string): Promise<Host | undefined> {
    const row = await this.#store.database.get<HostRow>(SELECT_HOST, [host]);
    return row === undefined ? undefined : hostOf(row);
  }

  /** Those that have not joined anew since their keys were revoked, and when that was. */
  async revoked(): Promise<ReadonlyMap<string, number>> {
    const rows = await this.#store.database.all<Pick<HostRow, "name"> & { revoked_ms: number }>(SELECT_REVOKED);
    return new Map(rows.map(({ name, revoked_ms: revokedMs }) => [name, revokedMs]));
  }

  /** By name, after one (exclusive). */
  async page(after: string, limit: number): Promise<Host[]> {
    const rows = await this.#store.database.all<HostRow>(`${SELECT_HOSTS} WHERE h.name > ? ORDER BY h.name LIMIT ?`, [
      after,
      Math.min(limit, PAGE_ROWS_MAX),
    ]);
    return rows.map(hostOf);
  }
}

function hostOf({ name, labels, enrolled_ms: enrolledMs, revoked_ms: revokedMs }: HostRow): Host {
  return { name, labels: JSON.parse(labels) as string[], enrolledMs, revokedMs: revokedMs ?? undefined };
}

async function isRevoked(sql: Sql, { serial, host, issuedMs }: HostCertificate): Promise<boolean> {
  const known = await sql.get<{ revoked_ms: number | null }>("SELECT revoked_ms FROM access_certificates WHERE serial = ?", [serial]);
  if (known !== undefined) return known.revoked_ms !== null;
  const since = "SELECT host FROM access_revocations WHERE host = ? AND revoked_ms >= ?";
  return (await sql.get(since, [host, issuedMs])) !== undefined;
}

async function isKeyRevoked(sql: Sql, host: string, keyHash: Uint8Array): Promise<boolean> {
  return (await sql.get("SELECT host FROM access_revoked_keys WHERE host = ? AND key_hash = ?", [host, keyHash])) !== undefined;
}

function keyRevoked(host: string): SynclineError {
  return new SynclineError({
    code: "DENIED",
    op: "join",
    message: `the key with which "${host}" is to join was revoked`,
    hint: "remove key.pem from the agent's --data directory, and begin it again: it makes itself another one",
  });
}

function tokenTooOld(host: string): SynclineError {
  return new SynclineError({
    code: "DENIED",
    op: "join",
    message: `the key of "${host}" was revoked after this join token was made`,
    hint: "an administrator makes a new one: syncline join-token create",
  });
}
