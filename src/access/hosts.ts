/**
 * The hosts that joined: their labels, the certificates that they were given, and which of those were revoked. A name
 * belongs to the key that joined with it first, until the host is removed: a join token alone takes over nobody's place.
 */
import type { Sql } from "#platform/sql/database.ts";
import { plainKey } from "#platform/net/certificate.ts";
import type { Principal } from "#access/access.ts";
import { type AccessStore, PAGE_ROWS_MAX, notFound, refused, taken, unusable } from "#access/access-store.ts";
import type { Actor } from "#access/audit.ts";
import { type Authority, HOST_NAME, type HostCertificate } from "#access/authority.ts";
import { type JoinToken, type JoinTokens, checkLabels } from "#access/join-tokens.ts";
import { isPossessed } from "#access/possession.ts";
import { sameBytes } from "#access/seal-key.ts";

export type Host = {
  readonly name: string;
  /** Sorted. */
  readonly labels: readonly string[];
  readonly enrolledMs: number;
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

type HostRow = { name: string; key_hash: Uint8Array; join_token: string; labels: string; enrolled_ms: number };

const SELECT_HOST = "SELECT * FROM access_hosts WHERE name = ?";

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
   * @throws {SynclineError} AUTH for the token or the proof, USAGE for the request, EXISTS when the name is another key's
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
    const known = await sql.get<HostRow>(SELECT_HOST, [host]);
    const isAgain = known?.join_token === token.id && sameBytes(known.key_hash, keyHash);
    if (!isAgain && !(await this.#joinTokens.spend(sql, token))) throw refused("join");
    if (known !== undefined) {
      if (!sameBytes(known.key_hash, keyHash)) throw taken("join", `a host "${host}" with another key`);
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
    const principal = await this.authenticate(oldCertificate);
    if (principal === undefined || principal.name !== request.host) throw refused(op);
    const publicKey = this.#checkRequest(op, request);
    const { certificate, facts } = this.#authority.issueForHost(request.host, publicKey);
    const labels = await this.#store.change({ ...from, id: principal.id }, async (sql) => {
      const host = await sql.get<HostRow>(SELECT_HOST, [request.host]);
      if (host === undefined) throw refused(op);
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
   * Whose certificate it is; undefined: not one of ours, not valid now, or revoked. A serial that is not known passes:
   * the hub's database may have been put back to a day before it was issued.
   */
  async authenticate(certificate: string | Uint8Array): Promise<Principal | undefined> {
    const checked = this.#authority.check(certificate);
    if ("fault" in checked) return undefined;
    const row = await this.#store.database.get<{ revoked_ms: number | null }>(
      "SELECT revoked_ms FROM access_certificates WHERE serial = ?",
      [checked.serial],
    );
    if (row !== undefined && row.revoked_ms !== null) return undefined;
    const { host } = checked;
    return { id: `agent:${host}`, kind: "agent", name: host, roles: ["agent"], scopes: undefined };
  }

  /** Revokes every certificate of a host and frees its name. @throws {SynclineError} NOT_FOUND */
  async remove(by: Actor, host: string): Promise<void> {
    await this.#store.change(by, async (sql) => {
      if ((await sql.run("DELETE FROM access_hosts WHERE name = ?", [host])) === 0) throw notFound("remove host", `host "${host}"`);
      const revoked = await sql.run("UPDATE access_certificates SET revoked_ms = ? WHERE host = ? AND revoked_ms IS NULL", [
        this.#store.clock.nowMs(),
        host,
      ]);
      return { value: undefined, event: { action: "host.remove", resource: `host:${host}`, details: { revoked } } };
    });
  }

  /**
   * Revokes one certificate, also one that is not known here, by what it says of itself.
   * @throws {SynclineError} USAGE when it is none of this hub's
   */
  async revokeCertificate(by: Actor, certificate: string | Uint8Array): Promise<void> {
    const facts = this.#authority.check(certificate);
    if ("fault" in facts) throw unusable("revoke certificate", `there is nothing to revoke: ${facts.fault}`);
    await this.#store.change(by, async (sql) => {
      const now = this.#store.clock.nowMs();
      await sql.run(
        `INSERT INTO access_certificates (serial, host, issued_ms, until_ms, revoked_ms) VALUES (?, ?, ?, ?, ?)
          ON CONFLICT (serial) DO UPDATE SET revoked_ms = excluded.revoked_ms`,
        [facts.serial, facts.host, facts.fromMs, facts.untilMs, now],
      );
      const details = { serial: facts.serial };
      return { value: undefined, event: { action: "certificate.revoke", resource: `host:${facts.host}`, details } };
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

  /** By name, after one (exclusive). */
  async page(after: string, limit: number): Promise<Host[]> {
    const rows = await this.#store.database.all<HostRow>("SELECT * FROM access_hosts WHERE name > ? ORDER BY name LIMIT ?", [
      after,
      Math.min(limit, PAGE_ROWS_MAX),
    ]);
    return rows.map(hostOf);
  }
}

function hostOf({ name, labels, enrolled_ms: enrolledMs }: HostRow): Host {
  return { name, labels: JSON.parse(labels) as string[], enrolledMs };
}
