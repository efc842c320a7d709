/**
 * Idempotency keys (draft-ietf-httpapi-idempotency-key-header): a POST that is sent again with the same key gets the
 * first one's answer instead of being done again.
 *
 * The key is written before the work begins and its answer after, so that a hub that died in between knows of a key
 * whose outcome it does not: it says so instead of doing the work twice.
 */
import type { Database, Migration } from "#platform/sql/database.ts";
import type { Clock } from "#platform/host.ts";
import { ApiProblem } from "#gateway/api/problem.ts";

export const KEY_CHARS_MAX = 255;
/** How long an answer is kept. */
const KEPT_MS = 24 * 3_600_000;
/** Keys of all callers together; beyond it the oldest are forgotten. */
const KEYS_MAX = 100_000;
/** Looked at after this many keys. */
const SWEEP_EVERY = 1000;
/** A longer answer is not kept: the same question then gets that its work was done. */
const ANSWER_CHARS_MAX = 1 << 16;

export const IDEMPOTENCY_MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      `CREATE TABLE idempotency_keys (
        actor TEXT NOT NULL, key TEXT NOT NULL, request TEXT NOT NULL, created_ms BIGINT NOT NULL,
        status BIGINT, answer TEXT, PRIMARY KEY (actor, key))`,
      `CREATE INDEX idempotency_age ON idempotency_keys (created_ms)`,
    ],
  },
];

type KeyRow = { request: string; created_ms: number; status: number | null; answer: string | null };

export class IdempotencyKeys {
  readonly #db: Database;
  readonly #clock: Clock;
  /** Actor and key of what is being done now. */
  readonly #running = new Set<string>();
  #sinceSweep = 0;

  constructor(db: Database, clock: Clock) {
    this.#db = db;
    this.#clock = clock;
  }

  /**
   * Does `work` unless this key's work was done already; then its answer again. Answers of 5xx are not kept: they may
   * be tried again.
   *
   * @param request what was asked, as a digest; the same key with another request is refused
   */
  async once(actor: string, key: string, request: string, work: () => Promise<Response>): Promise<Response> {
    const own = `${actor}\n${key}`;
    if (this.#running.has(own)) throw inDoubt("is being done right now", "ask again in a moment");
    this.#running.add(own);
    try {
      const known = await this.#claim(actor, key, request);
      if (known !== undefined) return again(known, request);
      let response: Response;
      try {
        response = await work();
      } catch (error) {
        // What was refused was not done: the key is free again.
        await this.#forget(actor, key);
        throw error;
      }
      await this.#keep(actor, key, response);
      return response;
    } finally {
      this.#running.delete(own);
    }
  }

  async #forget(actor: string, key: string): Promise<void> {
    await this.#db.run("DELETE FROM idempotency_keys WHERE actor = ? AND key = ?", [actor, key]);
  }

  async #claim(actor: string, key: string, request: string): Promise<KeyRow | undefined> {
    const nowMs = this.#clock.nowMs();
    if (this.#sinceSweep++ % SWEEP_EVERY === 0) await this.#sweep(nowMs);
    return this.#db.transaction(async (sql) => {
      const known = await sql.get<KeyRow>(
        "SELECT request, created_ms, status, answer FROM idempotency_keys WHERE actor = ? AND key = ?",
        [actor, key],
      );
      if (known !== undefined && known.created_ms > nowMs - KEPT_MS) return known;
      await sql.run(
        `INSERT INTO idempotency_keys (actor, key, request, created_ms) VALUES (?, ?, ?, ?)
         ON CONFLICT (actor, key) DO UPDATE
         SET request = excluded.request, created_ms = excluded.created_ms, status = NULL, answer = NULL`,
        [actor, key, request, nowMs],
      );
      return undefined;
    });
  }

  async #keep(actor: string, key: string, response: Response): Promise<void> {
    if (response.status >= 500) return this.#forget(actor, key);
    // Secrets are told once: who asks again is told only that it was done.
    const isSecret = response.headers.get("cache-control") === "no-store";
    const text = isSecret ? "" : await response.clone().text();
    await this.#db.run("UPDATE idempotency_keys SET status = ?, answer = ? WHERE actor = ? AND key = ?", [
      response.status,
      text.length > ANSWER_CHARS_MAX ? null : text,
      actor,
      key,
    ]);
  }

  async #sweep(nowMs: number): Promise<void> {
    await this.#db.run("DELETE FROM idempotency_keys WHERE created_ms <= ?", [nowMs - KEPT_MS]);
    const oldest = await this.#db.get<{ created_ms: number }>(
      `SELECT created_ms FROM idempotency_keys ORDER BY created_ms DESC LIMIT 1 OFFSET ${KEYS_MAX}`,
    );
    if (oldest === undefined) return;
    await this.#db.run("DELETE FROM idempotency_keys WHERE created_ms <= ?", [oldest.created_ms]);
  }
}

function again(known: KeyRow, request: string): Response {
  if (known.request !== request) {
    throw new ApiProblem(
      "REPEATED",
      "this Idempotency-Key was sent with another request before",
      "use a new key for each thing that is to be done",
    );
  }
  if (known.status === null) {
    throw inDoubt(
      "was begun and the hub ended before it could say how it went",
      "look at the journal; send it with a new key if it was not done",
    );
  }
  const headers = { "content-type": "application/json", "idempotency-replayed": "true" };
  const hasBody = known.answer !== null && known.answer !== "";
  return new Response(hasBody ? known.answer : null, { status: known.status, headers });
}

const inDoubt = (what: string, hint: string): ApiProblem =>
  new ApiProblem("EXISTS", `the request with this Idempotency-Key ${what}`, hint);
