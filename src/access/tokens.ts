/** Tokens of the API: shown once, kept as SHA-256. Looked up by that hash, so no comparison of secrets takes time. */
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
import { type Users, requireUser } from "#access/users.ts";

/** Begins every token that the hub draws, for people and for secret scanners. */
export const TOKEN_PREFIX = "syncline_";

export const TOKENS_PER_USER_MAX = 1_000;
/** Rules of one token at most. */
export const SCOPES_MAX = 100;
/** The last use is known to this, so that not every request writes. */
export const USED_MS_STEP = 60_000;

export type Token = {
  /** Names it in lists and for revocation; it is no secret. */
  readonly id: string;
  readonly user: string;
  readonly name: string;
  readonly scopes: readonly Rule[] | undefined;
  readonly createdMs: number;
  readonly expiresMs: number | undefined;
  /** To the minute. */
  readonly usedMs: number | undefined;
};

export type TokenSpec = {
  readonly user: string;
  /** Unique for the user. */
  readonly name: string;
  readonly scopes?: readonly Rule[] | undefined;
  readonly expiresMs?: number | undefined;
  /** Given (a bootstrap file) instead of drawn: at least 32 characters. */
  readonly value?: string | undefined;
};

type TokenRow = {
  id: string;
  user_name: string;
  name: string;
  scopes: string | null;
  created_ms: number;
  expires_ms: number | null;
  used_ms: number | null;
};

const SELECT_BY_HASH = "SELECT * FROM access_tokens WHERE hash = ?";
const SELECT_PAGE = "SELECT * FROM access_tokens WHERE id > ? AND (? = '' OR user_name = ?) ORDER BY id LIMIT ?";

type Shown = { readonly row: TokenRow; readonly principal: Principal; usedMs: number | null };

export class Tokens {
  readonly #store: AccessStore;
  readonly #users: Users;
  readonly #remembered: Remembered<Shown | undefined>;

  constructor(store: AccessStore, users: Users) {
    this.#store = store;
    this.#users = users;
    this.#remembered = new Remembered(store);
  }

  /**
   * `value` is the token itself, told this once.
   * @throws {SynclineError} NOT_FOUND (the user), EXISTS (name or value), LIMIT, USAGE
   */
  async create(by: Actor, spec: TokenSpec): Promise<{ token: Token; value: string }> {
    const op = "create token";
    if (spec.name === "" || spec.name.length > 64) throw unusable(op, "the name of a token has 1 to 64 characters");
    if ((spec.scopes?.length ?? 0) > SCOPES_MAX) throw unusable(op, `a token has up to ${SCOPES_MAX} rules`);
    if (spec.value !== undefined) checkGivenSecret(op, spec.value);
    const value = spec.value ?? this.#store.newSecret(TOKEN_PREFIX);
    const row: TokenRow = {
      id: this.#store.newId(),
      user_name: spec.user,
      name: spec.name,
      scopes: spec.scopes === undefined ? null : JSON.stringify(spec.scopes),
      created_ms: this.#store.clock.nowMs(),
      expires_ms: spec.expiresMs ?? null,
      used_ms: null,
    };
    await this.#store.change(by, async (sql) => {
      await requireUser(sql, op, spec.user);
      const same = await sql.get("SELECT id FROM access_tokens WHERE user_name = ? AND name = ?", [spec.user, spec.name]);
      if (same !== undefined) throw taken(op, `token "${spec.name}"`);
      // Not whose: that it is somebody's is what the caller, who has it, may know.
      if ((await sql.get(SELECT_BY_HASH, [hashOf(value)])) !== undefined) throw taken(op, "a token of this value");
      const held = await sql.get<{ n: number }>("SELECT COUNT(*) AS n FROM access_tokens WHERE user_name = ?", [spec.user]);
      if (held!.n >= TOKENS_PER_USER_MAX) throw unusable(op, `a user has up to ${TOKENS_PER_USER_MAX} tokens`);
      await sql.run(
        `INSERT INTO access_tokens (id, hash, user_name, name, scopes, created_ms, expires_ms, used_ms)
          VALUES (?, ?, ?, ?, ?, ?, ?, NULL)`,
        [row.id, hashOf(value), row.user_name, row.name, row.scopes, row.created_ms, row.expires_ms],
      );
      const details = { name: spec.name, scopes: spec.scopes, expiresMs: spec.expiresMs };
      return { value: undefined, event: { action: "token.create", resource: `token:${spec.user}/${row.id}`, details } };
    });
    return { token: tokenOf(row), value };
  }

  /** It is refused from when this resolves. @throws {SynclineError} NOT_FOUND */
  async revoke(by: Actor, id: string): Promise<void> {
    await this.#store.change(by, async (sql) => {
      const row = await sql.get<TokenRow>("SELECT * FROM access_tokens WHERE id = ?", [id]);
      if (row === undefined) throw notFound("revoke token", `token "${id}"`);
      await sql.run("DELETE FROM access_tokens WHERE id = ?", [id]);
      const details = { name: row.name };
      return { value: undefined, event: { action: "token.revoke", resource: `token:${row.user_name}/${id}`, details } };
    });
  }

  async get(id: string): Promise<Token | undefined> {
    const row = await this.#store.database.get<TokenRow>("SELECT * FROM access_tokens WHERE id = ?", [id]);
    return row === undefined ? undefined : tokenOf(row);
  }

  /** The token that has this value; for a bootstrap file that is read again. */
  async byValue(value: string): Promise<Token | undefined> {
    const row = await this.#store.database.get<TokenRow>(SELECT_BY_HASH, [hashOf(value)]);
    return row === undefined ? undefined : tokenOf(row);
  }

  /** By id, after one (exclusive); of one user or of all. */
  async page(user: string | undefined, after: string, limit: number): Promise<Token[]> {
    const values = [after, user ?? "", user ?? "", Math.min(limit, PAGE_ROWS_MAX)];
    return (await this.#store.database.all<TokenRow>(SELECT_PAGE, values)).map(tokenOf);
  }

  /** Undefined: unknown, expired, or of a user that may not sign in. */
  async authenticate(value: string): Promise<Principal | undefined> {
    if (value.length > 1_024) return undefined;
    const hash = hashOf(value);
    const known = await this.#remembered.get(Buffer.from(hash).toString("latin1"), () => this.#read(hash));
    if (known === undefined) return undefined;
    const now = this.#store.clock.nowMs();
    if (known.row.expires_ms !== null && known.row.expires_ms <= now) return undefined;
    if (known.usedMs === null || Math.abs(now - known.usedMs) >= USED_MS_STEP) {
      known.usedMs = now;
      await this.#noteUse(known.row.id, now);
    }
    return known.principal;
  }

  async #read(hash: Uint8Array): Promise<Shown | undefined> {
    const row = await this.#store.database.get<TokenRow>(SELECT_BY_HASH, [hash]);
    if (row === undefined) return undefined;
    const user = await this.#users.forSignIn(row.user_name);
    if (user === undefined) return undefined;
    const scopes = row.scopes === null ? undefined : (JSON.parse(row.scopes) as Rule[]);
    return { row, principal: { ...user.principal, scopes }, usedMs: row.used_ms };
  }

  async #noteUse(id: string, now: number): Promise<void> {
    try {
      await this.#store.database.run("UPDATE access_tokens SET used_ms = ? WHERE id = ?", [now, id]);
    } catch {
      // A full disk must not keep out who comes to make room; the next use tries again in a minute.
    }
  }
}

function tokenOf(row: TokenRow): Token {
  return {
    id: row.id,
    user: row.user_name,
    name: row.name,
    scopes: row.scopes === null ? undefined : (JSON.parse(row.scopes) as Rule[]),
    createdMs: row.created_ms,
    expiresMs: row.expires_ms ?? undefined,
    usedMs: row.used_ms ?? undefined,
  };
}
