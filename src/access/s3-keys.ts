/**
 * Keys of S3. A signature can only be checked with the secret key itself, so it is kept, sealed with a key that is not in
 * the database.
 */
import type { Principal, Rule } from "#access/access.ts";
import {
  type AccessStore,
  PAGE_ROWS_MAX,
  Remembered,
  checkGivenSecret,
  hashOf,
  notFound,
  taken,
  unusable,
} from "#access/access-store.ts";
import type { Actor } from "#access/audit.ts";
import { sameBytes } from "#access/seal-key.ts";
import { SCOPES_MAX } from "#access/tokens.ts";
import { type Users, requireUser } from "#access/users.ts";

export const S3_KEYS_PER_USER_MAX = 100;
const ACCESS_KEY = /^[A-Za-z0-9_.-]{3,128}$/;

export type S3Key = {
  readonly accessKey: string;
  readonly user: string;
  /** It may do no more than these rules and its user may; undefined: all that its user may. */
  readonly scopes: readonly Rule[] | undefined;
  readonly createdMs: number;
};

export type S3KeySpec = {
  /** For a bootstrap file; the secret key has at least 32 characters. Undefined: drawn. */
  readonly accessKey?: string | undefined;
  readonly secretKey?: string | undefined;
  readonly scopes?: readonly Rule[] | undefined;
};

type KeyRow = { access_key: string; user_name: string; sealed: Uint8Array; scopes: string | null; created_ms: number };

const SELECT_KEY = "SELECT * FROM access_s3_keys WHERE access_key = ?";

export class S3Keys {
  readonly #store: AccessStore;
  readonly #users: Users;
  readonly #remembered: Remembered<{ principal: Principal; secretKey: string } | undefined>;

  constructor(store: AccessStore, users: Users) {
    this.#store = store;
    this.#users = users;
    this.#remembered = new Remembered(store);
  }

  /**
   * @returns the secret key, told this once
   * @throws {SynclineError} NOT_FOUND (the user), EXISTS, USAGE
   */
  async create(by: Actor, user: string, spec: S3KeySpec = {}): Promise<{ accessKey: string; secretKey: string }> {
    const op = "create S3 key";
    const { scopes } = spec;
    const accessKey = spec.accessKey ?? this.#store.newId().toUpperCase() + this.#store.newId().toUpperCase();
    const secretKey = spec.secretKey ?? this.#store.newSecret("");
    if ((scopes?.length ?? 0) > SCOPES_MAX) throw unusable(op, `an S3 key has up to ${SCOPES_MAX} rules`);
    if (!ACCESS_KEY.test(accessKey)) throw unusable(op, 'an access key has 3 to 128 of A-Z, a-z, 0-9, "_", "." and "-"');
    checkGivenSecret(op, secretKey);
    const sealed = this.#store.seal.seal(secretKey, purposeOf(accessKey, user));
    await this.#store.change(by, async (sql) => {
      await requireUser(sql, op, user);
      if ((await sql.get(SELECT_KEY, [accessKey])) !== undefined) throw taken(op, `access key "${accessKey}"`);
      const held = await sql.get<{ n: number }>("SELECT COUNT(*) AS n FROM access_s3_keys WHERE user_name = ?", [user]);
      if (held!.n >= S3_KEYS_PER_USER_MAX) throw unusable(op, `a user has up to ${S3_KEYS_PER_USER_MAX} S3 keys`);
      await sql.run("INSERT INTO access_s3_keys (access_key, user_name, sealed, scopes, created_ms) VALUES (?, ?, ?, ?, ?)", [
        accessKey,
        user,
        sealed,
        scopes === undefined ? null : JSON.stringify(scopes),
        this.#store.clock.nowMs(),
      ]);
      const details = scopes === undefined ? undefined : { scopes };
      return { value: undefined, event: { action: "s3-key.create", resource: `s3-key:${user}/${accessKey}`, details } };
    });
    return { accessKey, secretKey };
  }

  /** It is refused from when this resolves. @param user whose it must be; undefined: anybody's @throws {SynclineError} NOT_FOUND */
  async revoke(by: Actor, accessKey: string, user?: string): Promise<void> {
    await this.#store.change(by, async (sql) => {
      const row = await sql.get<KeyRow>(SELECT_KEY, [accessKey]);
      if (row === undefined || row.user_name !== (user ?? row.user_name)) throw notFound("revoke S3 key", `access key "${accessKey}"`);
      await sql.run("DELETE FROM access_s3_keys WHERE access_key = ?", [accessKey]);
      return { value: undefined, event: { action: "s3-key.revoke", resource: `s3-key:${row.user_name}/${accessKey}` } };
    });
  }

  /** What a bootstrap file asks: whether this is there, also of a disabled user; undefined: no such key. */
  async compare(given: S3KeySpec & { accessKey: string; secretKey: string }): Promise<{ user: string; isSame: boolean } | undefined> {
    const row = await this.#store.database.get<KeyRow>(SELECT_KEY, [given.accessKey]);
    if (row === undefined) return undefined;
    const held = this.#store.seal.open(row.sealed, purposeOf(given.accessKey, row.user_name));
    const scopes = given.scopes === undefined ? null : JSON.stringify(given.scopes);
    return { user: row.user_name, isSame: sameBytes(hashOf(held), hashOf(given.secretKey)) && scopes === row.scopes };
  }

  /** By access key, after one (exclusive); of one user or of all. */
  async page(user: string | undefined, after: string, limit: number): Promise<S3Key[]> {
    const rows = await this.#store.database.all<KeyRow>(
      "SELECT * FROM access_s3_keys WHERE access_key > ? AND (? = '' OR user_name = ?) ORDER BY access_key LIMIT ?",
      [after, user ?? "", user ?? "", Math.min(limit, PAGE_ROWS_MAX)],
    );
    return rows.map((row) => {
      return { accessKey: row.access_key, user: row.user_name, scopes: scopesOf(row), createdMs: row.created_ms };
    });
  }

  /**
   * Undefined: no such key, or of a user that may not sign in.
   * @throws {SynclineError} STATE when the seal key is not the one that sealed it
   */
  find(accessKey: string): Promise<{ principal: Principal; secretKey: string } | undefined> {
    if (!ACCESS_KEY.test(accessKey)) return Promise.resolve(undefined);
    return this.#remembered.get(accessKey, async () => {
      const row = await this.#store.database.get<KeyRow>(SELECT_KEY, [accessKey]);
      const user = row === undefined ? undefined : await this.#users.forSignIn(row.user_name);
      if (row === undefined || user === undefined) return undefined;
      const secretKey = this.#store.seal.open(row.sealed, purposeOf(accessKey, row.user_name));
      return { principal: { ...user.principal, scopes: scopesOf(row) }, secretKey };
    });
  }
}

const scopesOf = ({ scopes }: KeyRow): readonly Rule[] | undefined => (scopes === null ? undefined : (JSON.parse(scopes) as Rule[]));

/** A sealed key copied into another row opens for nobody. */
function purposeOf(accessKey: string, user: string): string {
  return `s3-key\0${accessKey}\0${user}`;
}
