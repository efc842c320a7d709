/**
 * Locks at rest. They are rows of the hub's database, so they outlive a restart, and processes that share a database see
 * the same ones. Who takes a lock waits for the changes that were looked at before it was there.
 */
import type { SpaceId } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, decodeName, encodeName, isWithin } from "#model/path.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Database, Migration, Sql } from "#platform/sql/database.ts";
import { type Lock, locksAgainst } from "#gateway/dav/lock.ts";

/** Seconds that a lock lasts without being refreshed: at most, and where the client says nothing. */
export const LOCK_SECONDS_MAX = 3600;
export const LOCK_SECONDS_USUAL = 600;
/** Locks of one space, of one user in it, and bytes of what a client says of itself. */
export const LOCKS_OF_SPACE_MAX = 2000;
export const LOCKS_OF_USER_MAX = 500;
export const OWNER_BYTES_MAX = 4 << 10;

export const LOCK_MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      `CREATE TABLE dav_locks (
        token TEXT PRIMARY KEY, space_id BIGINT NOT NULL, path blob NOT NULL, deep BIGINT NOT NULL,
        exclusive BIGINT NOT NULL, principal TEXT NOT NULL, owner TEXT NOT NULL, timeout_s BIGINT NOT NULL,
        expires_ms BIGINT NOT NULL) WITHOUT ROWID`,
      "CREATE INDEX dav_locks_space ON dav_locks (space_id)",
    ],
  },
];

type Row = {
  token: string;
  path: Uint8Array;
  deep: number;
  exclusive: number;
  principal: string;
  owner: string;
  timeout_s: number;
  expires_ms: number;
};

const SELECT = `SELECT token, path, deep, exclusive, principal, owner, timeout_s, expires_ms FROM dav_locks
  WHERE space_id = ? AND expires_ms > ? ORDER BY path, token`;

export type WantedLock = Pick<Lock, "path" | "isDeep" | "isExclusive" | "user" | "owner" | "timeoutSeconds">;

export class LockTable {
  readonly #db: Database;
  readonly #clock: Clock;
  readonly #random: Random;
  /** Changes that have looked at the locks and are being made, by space. */
  readonly #changing = new Map<SpaceId, Set<Promise<unknown>>>();

  constructor(db: Database, clock: Clock, random: Random) {
    this.#db = db;
    this.#clock = clock;
    this.#random = random;
  }

  /** Those of a space that hold now. */
  async ofSpace(space: SpaceId): Promise<Lock[]> {
    return (await this.#db.all<Row>(SELECT, [space, this.#clock.nowMs()])).map(lockOf);
  }

  /**
   * Makes a lock, unless others are in its way; then those. When it resolves no change is under way that had not seen it.
   * @throws {SynclineError} LIMIT
   */
  async take(space: SpaceId, wanted: WantedLock): Promise<{ readonly lock: Lock } | { readonly against: readonly Lock[] }> {
    const nowMs = this.#clock.nowMs();
    // Any URI that is unique will do. Clients have room for short ones: with UUIDs, litmus cuts its longest header off.
    const token = `syncline:${this.#random.bytes(16).toBase64({ alphabet: "base64url", omitPadding: true })}`;
    const lock = { ...wanted, token, expiresMs: nowMs + wanted.timeoutSeconds * 1000 };
    const against = await this.#db.transaction(async (sql) => {
      await sql.run("DELETE FROM dav_locks WHERE expires_ms <= ?", [nowMs]);
      const there = (await sql.all<Row>(SELECT, [space, nowMs])).map(lockOf);
      const found = locksAgainst(there, wanted);
      if (found.length > 0) return found;
      const own = there.filter(({ user }) => user === wanted.user).length;
      if (there.length >= LOCKS_OF_SPACE_MAX || own >= LOCKS_OF_USER_MAX) throw tooMany();
      await insert(sql, space, lock);
      return [];
    });
    if (against.length > 0) return { against };
    await Promise.allSettled(this.#changing.get(space) ?? []);
    return { lock };
  }

  /** Lets a lock last for `seconds` from now. False: it has ended. */
  async refresh(space: SpaceId, token: string, seconds: number): Promise<boolean> {
    const nowMs = this.#clock.nowMs();
    const text = "UPDATE dav_locks SET timeout_s = ?, expires_ms = ? WHERE token = ? AND space_id = ? AND expires_ms > ?";
    return (await this.#db.run(text, [seconds, nowMs + seconds * 1000, token, space, nowMs])) > 0;
  }

  async remove(space: SpaceId, token: string): Promise<void> {
    await this.#db.run("DELETE FROM dav_locks WHERE token = ? AND space_id = ?", [token, space]);
  }

  /**
   * Ends the locks at and below a path: what they were for is not there any more.
   * @param seen those that the change had seen; who has taken one since is told when it has ended, and has it then
   */
  async removeWithin(space: SpaceId, path: RelPath, seen: readonly Lock[]): Promise<void> {
    for (const lock of seen) if (isWithin(lock.path, path)) await this.remove(space, lock.token);
  }

  /** Does something that looks at the locks first; locks that are taken meanwhile are told when it has ended. */
  async changing<T>(space: SpaceId, work: () => Promise<T>): Promise<T> {
    const all = this.#changing.get(space) ?? new Set();
    this.#changing.set(space, all);
    const running = work();
    all.add(running);
    try {
      return await running;
    } finally {
      all.delete(running);
      if (all.size === 0 && this.#changing.get(space) === all) this.#changing.delete(space);
    }
  }
}

async function insert(sql: Sql, space: SpaceId, lock: Lock): Promise<void> {
  await sql.run(
    `INSERT INTO dav_locks (token, space_id, path, deep, exclusive, principal, owner, timeout_s, expires_ms)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    [
      lock.token,
      space,
      encodeName(lock.path),
      Number(lock.isDeep),
      Number(lock.isExclusive),
      lock.user,
      lock.owner,
      lock.timeoutSeconds,
      lock.expiresMs,
    ],
  );
}

function lockOf(row: Row): Lock {
  return {
    token: row.token,
    path: decodeName(row.path),
    isDeep: row.deep !== 0,
    isExclusive: row.exclusive !== 0,
    user: row.principal,
    owner: row.owner,
    timeoutSeconds: row.timeout_s,
    expiresMs: row.expires_ms,
  };
}

const tooMany = (): SynclineError =>
  new SynclineError({
    code: "LIMIT",
    op: "lock",
    message: `a space has up to ${LOCKS_OF_SPACE_MAX} locks, a user up to ${LOCKS_OF_USER_MAX} of them`,
    hint: "unlock what is not needed any more, or wait: a lock that nobody refreshes ends within an hour",
    retryable: true,
  });
