/** Shares at rest. */
import type { Rule } from "#access/access.ts";
import type { Database, Migration, Sql } from "#platform/sql/database.ts";
import { decodeName, encodeName } from "#model/path.ts";
import type { SpaceId } from "#hub/space.ts";
import type { Share, ShareKind } from "#hub/shares/share.ts";

export const SHARE_MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      `CREATE TABLE shares (
        id TEXT PRIMARY KEY, hash blob NOT NULL, space_id BIGINT NOT NULL, path blob NOT NULL, kind TEXT NOT NULL,
        note TEXT NOT NULL, user_name TEXT NOT NULL, user_since_ms BIGINT NOT NULL, scopes TEXT, password TEXT, created_ms BIGINT NOT NULL,
        expires_ms BIGINT, downloads_max BIGINT, downloads BIGINT NOT NULL, uploads BIGINT NOT NULL,
        bytes_out BIGINT NOT NULL, bytes_in BIGINT NOT NULL, used_ms BIGINT)`,
      "CREATE UNIQUE INDEX shares_hash ON shares (hash)",
      "CREATE INDEX shares_space ON shares (space_id, created_ms, id)",
      "CREATE INDEX shares_user ON shares (user_name)",
    ],
  },
];

type Row = {
  id: string;
  space_id: number;
  space_name: string;
  path: Uint8Array;
  kind: string;
  note: string;
  user_name: string;
  user_since_ms: number;
  scopes: string | null;
  password: string | null;
  created_ms: number;
  expires_ms: number | null;
  downloads_max: number | null;
  downloads: number;
  uploads: number;
  bytes_out: number;
  bytes_in: number;
  used_ms: number | null;
};

// A space that is deleted has no shares for as long as it is.
const SELECT = `SELECT s.id, s.space_id, p.name AS space_name, s.path, s.kind, s.note, s.user_name, s.user_since_ms, s.scopes,
    s.password, s.created_ms, s.expires_ms, s.downloads_max, s.downloads, s.uploads, s.bytes_out, s.bytes_in, s.used_ms
  FROM shares s JOIN spaces p ON p.id = s.space_id AND p.deleted_ms IS NULL`;
const BY_HASH = `${SELECT} WHERE s.hash = ?`;
const BY_ID = `${SELECT} WHERE s.id = ?`;
const OF_SPACE = `${SELECT} WHERE s.space_id = ? ORDER BY s.created_ms, s.id`;

export class ShareTable {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  async byHash(hash: Uint8Array): Promise<Share | undefined> {
    const row = await this.#db.get<Row>(BY_HASH, [hash]);
    return row === undefined ? undefined : shareOf(row);
  }

  async byId(id: string): Promise<Share | undefined> {
    const row = await this.#db.get<Row>(BY_ID, [id]);
    return row === undefined ? undefined : shareOf(row);
  }

  /** By age. */
  async ofSpace(space: SpaceId): Promise<Share[]> {
    return (await this.#db.all<Row>(OF_SPACE, [space])).map(shareOf);
  }

  /** How many there are, of everybody and of one user. */
  async counts(sql: Sql, user: string): Promise<{ all: number; own: number }> {
    const all = await sql.get<{ n: number }>("SELECT COUNT(*) AS n FROM shares");
    const own = await sql.get<{ n: number }>("SELECT COUNT(*) AS n FROM shares WHERE user_name = ?", [user]);
    return { all: all!.n, own: own!.n };
  }

  /** How many there are, and of the ones that are over, for metrics. */
  async states(nowMs: number): Promise<{ open: number; over: number }> {
    const text = "SELECT COUNT(*) AS n FROM shares WHERE expires_ms <= ? OR downloads >= downloads_max";
    const over = (await this.#db.get<{ n: number }>(text, [nowMs]))!.n;
    const all = (await this.#db.get<{ n: number }>("SELECT COUNT(*) AS n FROM shares"))!.n;
    return { open: all - over, over };
  }

  async insert(sql: Sql, share: Share, hash: Uint8Array): Promise<void> {
    await sql.run(
      `INSERT INTO shares (id, hash, space_id, path, kind, note, user_name, user_since_ms, scopes, password, created_ms,
        expires_ms, downloads_max, downloads, uploads, bytes_out, bytes_in)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0)`,
      [
        share.id,
        hash,
        share.spaceId,
        encodeName(share.path),
        share.kind,
        share.note,
        share.user,
        share.userSinceMs,
        share.scopes === undefined ? null : JSON.stringify(share.scopes),
        share.password ?? null,
        share.createdMs,
        share.expiresMs ?? null,
        share.downloadsMax ?? null,
      ],
    );
  }

  async remove(sql: Sql, id: string): Promise<boolean> {
    return (await sql.run("DELETE FROM shares WHERE id = ?", [id])) > 0;
  }

  /** Forgets those that were over at a time, and those of spaces of which nothing is left. */
  async removeOver(sql: Sql, beforeMs: number): Promise<void> {
    await sql.run("DELETE FROM shares WHERE expires_ms <= ? OR space_id NOT IN (SELECT id FROM spaces)", [beforeMs]);
  }

  /** Counts one more download, unless there have been as many as there may be, or it is over. One statement decides. */
  async countDownload(id: string, nowMs: number): Promise<boolean> {
    const text = `UPDATE shares SET downloads = downloads + 1, used_ms = ? WHERE id = ?
      AND (downloads_max IS NULL OR downloads < downloads_max) AND (expires_ms IS NULL OR expires_ms > ?)`;
    return (await this.#db.run(text, [nowMs, id, nowMs])) > 0;
  }

  /** Of one that was counted nothing was sent. */
  async takeBackDownload(id: string): Promise<void> {
    await this.#db.run("UPDATE shares SET downloads = downloads - 1 WHERE id = ? AND downloads > 0", [id]);
  }

  async countUpload(id: string, bytes: number, nowMs: number): Promise<void> {
    const text = "UPDATE shares SET uploads = uploads + 1, bytes_in = bytes_in + ?, used_ms = ? WHERE id = ?";
    await this.#db.run(text, [bytes, nowMs, id]);
  }

  async countBytesOut(id: string, bytes: number): Promise<void> {
    await this.#db.run("UPDATE shares SET bytes_out = bytes_out + ? WHERE id = ?", [bytes, id]);
  }
}

function shareOf(row: Row): Share {
  return {
    id: row.id,
    spaceId: row.space_id as SpaceId,
    space: row.space_name,
    path: decodeName(row.path),
    kind: row.kind as ShareKind,
    note: row.note,
    user: row.user_name,
    userSinceMs: row.user_since_ms,
    scopes: row.scopes === null ? undefined : (JSON.parse(row.scopes) as Rule[]),
    password: row.password ?? undefined,
    createdMs: row.created_ms,
    expiresMs: row.expires_ms ?? undefined,
    downloadsMax: row.downloads_max ?? undefined,
    downloads: row.downloads,
    uploads: row.uploads,
    bytesOut: row.bytes_out,
    bytesIn: row.bytes_in,
    usedMs: row.used_ms ?? undefined,
  };
}
