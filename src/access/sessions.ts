/**
 * Sessions of people: a random value, in a browser's cookie or in a file of the command line, kept as its hash. They end
 * by themselves and can be ended.
 */
import { createHash } from "node:crypto";
import type { Principal } from "#access/access.ts";
import type { Sql } from "#platform/sql/database.ts";
import { type AccessStore, PAGE_ROWS_MAX, hashOf, notFound, refused } from "#access/access-store.ts";
import type { Actor } from "#access/audit.ts";
import { type Users, requireUser } from "#access/users.ts";

/** Without a request for this long a session is over; and after this long in any case. */
export const SESSION_IDLE_MS = 8 * 3_600_000;
export const SESSION_MS_MAX = 7 * 86_400_000;
/** The last request is known to this, so that not every one writes. */
export const SEEN_MS_STEP = 60_000;
/** Of one user; the one that was idle longest makes room. */
export const SESSIONS_PER_USER_MAX = 50;

/** Tells people, secret scanners and the door what it is. */
export const SESSION_PREFIX = "syncline_session_";

export type Session = {
  /** Names it in lists and for revocation; it is no secret. */
  readonly id: string;
  readonly user: string;
  readonly createdMs: number;
  /** To the minute. */
  readonly seenMs: number;
  readonly address: string;
  /** What the browser called itself. */
  readonly client: string;
};

type SessionRow = {
  hash: Uint8Array;
  id: string;
  user_name: string;
  created_ms: number;
  seen_ms: number;
  address: string;
  client: string;
};

export class Sessions {
  readonly #store: AccessStore;
  readonly #users: Users;

  constructor(store: AccessStore, users: Users) {
    this.#store = store;
    this.#users = users;
  }

  /**
   * For a user that has just authenticated. The value is told this once.
   * @param isStill whether what was shown to authenticate is good still: it was looked at before, which takes a while
   * @throws {SynclineError} NOT_FOUND; AUTH when it is not
   */
  async open(
    by: Actor,
    user: string,
    client: string,
    isStill: (sql: Sql) => Promise<boolean> = () => Promise.resolve(true),
  ): Promise<{ id: string; cookie: string }> {
    const cookie = this.#store.newSecret(SESSION_PREFIX);
    const id = this.#store.newId();
    await this.#store.change(by, async (sql) => {
      await requireUser(sql, "open session", user);
      // A new password ends all sessions: one of the old password must not come after that.
      if (!(await isStill(sql))) throw refused("open session");
      const now = this.#store.clock.nowMs();
      await sql.run("DELETE FROM access_sessions WHERE seen_ms <= ? OR created_ms <= ?", [now - SESSION_IDLE_MS, now - SESSION_MS_MAX]);
      await sql.run(
        `DELETE FROM access_sessions WHERE id IN
          (SELECT id FROM access_sessions WHERE user_name = ? ORDER BY seen_ms DESC, id LIMIT 1000 OFFSET ?)`,
        [user, SESSIONS_PER_USER_MAX - 1],
      );
      await sql.run(
        `INSERT INTO access_sessions (hash, id, user_name, created_ms, seen_ms, address, client)
          VALUES (?, ?, ?, ?, ?, ?, ?)`,
        [hashOf(cookie), id, user, now, now, by.address ?? "", client.slice(0, 255)],
      );
      return { value: undefined, event: { action: "session.open", resource: `session:${user}/${id}` } };
    });
    return { id, cookie };
  }

  /** Undefined: unknown, ended, idle for too long, or of a user that may not sign in. */
  async authenticate(cookie: string): Promise<{ session: Session; principal: Principal } | undefined> {
    const { database, clock } = this.#store;
    const row = await database.get<SessionRow>("SELECT * FROM access_sessions WHERE hash = ?", [hashOf(cookie)]);
    const now = clock.nowMs();
    if (row === undefined || !isAlive(row, now)) return undefined;
    const user = await this.#users.forSignIn(row.user_name);
    if (user === undefined) return undefined;
    // A clock that was ahead and is right again is followed: nothing is idle, or a week old, later because of it.
    if (Math.abs(now - row.seen_ms) >= SEEN_MS_STEP) await this.#noteUse(row.hash, now);
    return { session: sessionOf(row), principal: user.principal };
  }

  async #noteUse(hash: Uint8Array, now: number): Promise<void> {
    try {
      const text = `UPDATE access_sessions SET seen_ms = ?, created_ms = CASE WHEN created_ms > ? THEN ? ELSE created_ms END
        WHERE hash = ?`;
      await this.#store.database.run(text, [now, now, now, hash]);
    } catch {
      // A full disk must not keep out who comes to make room.
    }
  }

  /** It is refused from when this resolves. @param user whose it must be; undefined: anybody's @throws {SynclineError} NOT_FOUND */
  async revoke(by: Actor, id: string, user?: string): Promise<void> {
    await this.#store.change(by, async (sql) => {
      const row = await sql.get<SessionRow>("SELECT * FROM access_sessions WHERE id = ?", [id]);
      if (row === undefined || row.user_name !== (user ?? row.user_name)) throw notFound("end session", `session "${id}"`);
      await sql.run("DELETE FROM access_sessions WHERE id = ?", [id]);
      return { value: undefined, event: { action: "session.revoke", resource: `session:${row.user_name}/${id}` } };
    });
  }

  /** Ends all sessions of a user; returns how many there were. */
  revokeAll(by: Actor, user: string): Promise<number> {
    return this.#store.change(by, async (sql) => {
      const value = await sql.run("DELETE FROM access_sessions WHERE user_name = ?", [user]);
      if (value === 0) return { value, event: undefined };
      return { value, event: { action: "session.revoke-all", resource: `user:${user}`, details: { sessions: value } } };
    });
  }

  /** Those that are alive, by id, after one (exclusive); of one user or of all. */
  async page(user: string | undefined, after: string, limit: number): Promise<Session[]> {
    const now = this.#store.clock.nowMs();
    const rows = await this.#store.database.all<SessionRow>(
      `SELECT * FROM access_sessions WHERE id > ? AND (? = '' OR user_name = ?) AND seen_ms > ? AND created_ms > ?
        ORDER BY id LIMIT ?`,
      [after, user ?? "", user ?? "", now - SESSION_IDLE_MS, now - SESSION_MS_MAX, Math.min(limit, PAGE_ROWS_MAX)],
    );
    return rows.map(sessionOf);
  }
}

/**
 * What a page of ours sends beside the cookie with every change: other sites can make a browser send the cookie, but
 * cannot read this.
 */
export function csrfTokenOf(cookie: string): string {
  return createHash("sha256").update(`csrf\0${cookie}`).digest("base64url");
}

function isAlive(row: SessionRow, now: number): boolean {
  return now - row.seen_ms < SESSION_IDLE_MS && now - row.created_ms < SESSION_MS_MAX;
}

function sessionOf(row: SessionRow): Session {
  const { id, user_name: user, created_ms: createdMs, seen_ms: seenMs, address, client } = row;
  return { id, user, createdMs, seenMs, address, client };
}
