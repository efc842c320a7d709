/** Tokens with which new hosts join: random or given, for a while, for a number of hosts, kept as SHA-256. */
import type { Sql } from "#platform/sql/database.ts";
import { type AccessStore, PAGE_ROWS_MAX, checkGivenSecret, hashOf, notFound, taken, unusable } from "#access/access-store.ts";
import type { Actor } from "#access/audit.ts";

/** Labels of one host, and characters of one. */
export const LABELS_MAX = 100;
const LABEL = /^[A-Za-z0-9][A-Za-z0-9._/=:-]{0,62}$/;

export type JoinToken = {
  readonly id: string;
  /** Given to every host that joins with it. */
  readonly labels: readonly string[];
  /** Undefined: any number. */
  readonly usesLeft: number | undefined;
  readonly expiresMs: number | undefined;
  readonly createdMs: number;
};

type TokenRow = { id: string; labels: string; uses_left: number | null; expires_ms: number | null; created_ms: number };

const SELECT_BY_HASH = "SELECT * FROM access_join_tokens WHERE hash = ?";

export class JoinTokens {
  readonly #store: AccessStore;

  constructor(store: AccessStore) {
    this.#store = store;
  }

  /**
   * `value` is the token itself, told this once. One that is given has at least 32 characters.
   * @throws {SynclineError} EXISTS (the value), USAGE
   */
  async create(
    by: Actor,
    spec: {
      readonly value?: string | undefined;
      readonly labels?: readonly string[] | undefined;
      readonly uses?: number | undefined;
      readonly expiresMs?: number | undefined;
    },
  ): Promise<{ token: JoinToken; value: string }> {
    const op = "create join token";
    if (spec.value !== undefined) checkGivenSecret(op, spec.value);
    if (spec.uses !== undefined && !(Number.isSafeInteger(spec.uses) && spec.uses > 0))
      throw unusable(op, "uses is a whole number from 1 on");
    const labels = checkLabels(op, spec.labels ?? []);
    const value = spec.value ?? this.#store.newSecret("syncline_join_");
    const token: JoinToken = {
      id: this.#store.newId(),
      labels,
      usesLeft: spec.uses,
      expiresMs: spec.expiresMs,
      createdMs: this.#store.clock.nowMs(),
    };
    await this.#store.change(by, async (sql) => {
      if ((await sql.get(SELECT_BY_HASH, [hashOf(value)])) !== undefined) throw taken(op, "a join token of this value");
      await sql.run(
        "INSERT INTO access_join_tokens (id, hash, labels, uses_left, expires_ms, created_ms) VALUES (?, ?, ?, ?, ?, ?)",
        [token.id, hashOf(value), JSON.stringify(labels), spec.uses ?? null, spec.expiresMs ?? null, token.createdMs],
      );
      const details = { labels, uses: spec.uses, expiresMs: spec.expiresMs };
      return { value: undefined, event: { action: "join-token.create", resource: `join-token:${token.id}`, details } };
    });
    return { token, value };
  }

  /** It is refused from when this resolves; hosts that joined with it stay. @throws {SynclineError} NOT_FOUND */
  async revoke(by: Actor, id: string): Promise<void> {
    await this.#store.change(by, async (sql) => {
      if ((await sql.run("DELETE FROM access_join_tokens WHERE id = ?", [id])) === 0)
        throw notFound("revoke join token", `join token "${id}"`);
      return { value: undefined, event: { action: "join-token.revoke", resource: `join-token:${id}` } };
    });
  }

  /** The token that has this value, also when it is used up; for a bootstrap file that is read again. */
  async byValue(value: string): Promise<JoinToken | undefined> {
    const row = await this.#store.database.get<TokenRow>(SELECT_BY_HASH, [hashOf(value)]);
    return row === undefined ? undefined : tokenOf(row);
  }

  /** By id, after one (exclusive). */
  async page(after: string, limit: number): Promise<JoinToken[]> {
    const rows = await this.#store.database.all<TokenRow>("SELECT * FROM access_join_tokens WHERE id > ? ORDER BY id LIMIT ?", [
      after,
      Math.min(limit, PAGE_ROWS_MAX),
    ]);
    return rows.map(tokenOf);
  }

  /** The token, unless it has expired; one that is used up, too. */
  async find(sql: Sql, value: string): Promise<JoinToken | undefined> {
    const row = await sql.get<TokenRow>(SELECT_BY_HASH, [hashOf(value)]);
    const isOver = row === undefined || (row.expires_ms !== null && row.expires_ms <= this.#store.clock.nowMs());
    return isOver ? undefined : tokenOf(row);
  }

  /** Uses it once, in the transaction of what it is used for; false when it is used up. */
  async spend(sql: Sql, token: JoinToken): Promise<boolean> {
    if (token.usesLeft === undefined) return true;
    const text = "UPDATE access_join_tokens SET uses_left = uses_left - 1 WHERE id = ? AND uses_left > 0";
    return (await sql.run(text, [token.id])) === 1;
  }
}

function tokenOf(row: TokenRow): JoinToken {
  return {
    id: row.id,
    labels: JSON.parse(row.labels) as string[],
    usesLeft: row.uses_left ?? undefined,
    expiresMs: row.expires_ms ?? undefined,
    createdMs: row.created_ms,
  };
}

/** Sorted, each once. @throws {SynclineError} USAGE */
export function checkLabels(op: string, labels: readonly string[]): string[] {
  if (labels.length > LABELS_MAX || !labels.every((label) => LABEL.test(label)))
    throw unusable(op, `up to ${LABELS_MAX} labels of 1 to 63 letters, digits, ".", "_", "/", "=", ":" and "-"`);
  return [...new Set(labels)].sort();
}
