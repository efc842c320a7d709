/** Uploads at rest. Whatever is not in these rows has not come. */
import type { Attributes } from "#hub/attributes.ts";
import { contentIdOfRow, damagedRow, hash48 } from "#hub/meta/rows.ts";
import { RowsText } from "#hub/meta/texts.ts";
import type { SpaceId } from "#hub/space.ts";
import { type Sums, decodeSums, encodeSums } from "#hub/sums/sums.ts";
import {
  type Part, STORED_UPLOAD_BYTES_MAX, UPLOADS_MAX, UPLOAD_BYTES_MAX, type UploadExpect, type UploadId, type UploadKind, USER_UPLOADS_MAX,
} from "#hub/uploads/upload.ts";
import { lacksRoom, overSize, tooMany, unknownUpload } from "#hub/uploads/upload-errors.ts";
import { type RelPath, decodeName, encodeName } from "#model/path.ts";
import type { Database, Migration, Sql } from "#platform/sql/database.ts";
import { type ChunkId, type ContentId, ID_BYTES } from "#sync/chunk/chunk-id.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";
import { ByteReader, ByteWriter, malformed } from "#sync/wire/bytes.ts";

export const UPLOAD_MIGRATIONS: readonly Migration[] = [
  {
    id: 1,
    statements: [
      // plan: JSON of what was said at the beginning. done_seq: null while it is open; done_parts: what it was made of.
      `CREATE TABLE uploads (
        id TEXT PRIMARY KEY, space_id BIGINT NOT NULL, owner TEXT NOT NULL, door TEXT NOT NULL, path blob NOT NULL,
        kind TEXT NOT NULL, size BIGINT, received BIGINT NOT NULL, plan TEXT NOT NULL, note TEXT NOT NULL,
        created_ms BIGINT NOT NULL, expires_ms BIGINT NOT NULL, done_seq BIGINT, done_parts TEXT)`,
      "CREATE INDEX uploads_owner ON uploads (owner, space_id, door, path, id) WHERE done_seq IS NULL",
      "CREATE INDEX uploads_space ON uploads (space_id) WHERE done_seq IS NULL",
      "CREATE INDEX uploads_expires ON uploads (expires_ms)",
      // Of a stream: its stretches, in order, each beginning where the one before ends. sum: of all the others.
      `CREATE TABLE upload_parts (
        upload_id TEXT NOT NULL, number BIGINT NOT NULL, size BIGINT NOT NULL, time_ms BIGINT NOT NULL,
        chunks blob NOT NULL, leaves blob NOT NULL, sums blob NOT NULL, sum BIGINT NOT NULL,
        PRIMARY KEY (upload_id, number)) WITHOUT ROWID`,
    ],
  },
  {
    // Parts of files of a space by their SHA-256: count chunks of the content, from the chunk start on.
    id: 2,
    statements: [
      `CREATE TABLE part_prints (
        space_id BIGINT NOT NULL, sha256 blob NOT NULL, size BIGINT NOT NULL, content blob NOT NULL, start BIGINT NOT NULL,
        count BIGINT NOT NULL, leaves blob NOT NULL, PRIMARY KEY (space_id, sha256)) WITHOUT ROWID`,
      "CREATE INDEX part_prints_content ON part_prints (content, space_id)",
    ],
  },
  {
    // Parts and prints lie by a number, with their keys in an index: their rows have kilobytes, and whoever looks for one in
    // a table that lies by its key reads the others that it is compared with. job: that is to complete the upload.
    id: 3,
    statements: [
      "ALTER TABLE uploads ADD COLUMN job BIGINT",
      `CREATE TABLE upload_parts_by_number (
        upload_id TEXT NOT NULL, number BIGINT NOT NULL, size BIGINT NOT NULL, time_ms BIGINT NOT NULL,
        chunks blob NOT NULL, leaves blob NOT NULL, sums blob NOT NULL, sum BIGINT NOT NULL,
        PRIMARY KEY (upload_id, number))`,
      `INSERT INTO upload_parts_by_number (upload_id, number, size, time_ms, chunks, leaves, sums, sum)
        SELECT upload_id, number, size, time_ms, chunks, leaves, sums, sum FROM upload_parts`,
      "DROP TABLE upload_parts",
      "ALTER TABLE upload_parts_by_number RENAME TO upload_parts",
      `CREATE TABLE part_prints_by_number (
        space_id BIGINT NOT NULL, sha256 blob NOT NULL, size BIGINT NOT NULL, content blob NOT NULL, start BIGINT NOT NULL,
        count BIGINT NOT NULL, leaves blob NOT NULL, PRIMARY KEY (space_id, sha256))`,
      `INSERT INTO part_prints_by_number (space_id, sha256, size, content, start, count, leaves)
        SELECT space_id, sha256, size, content, start, count, leaves FROM part_prints`,
      "DROP TABLE part_prints",
      "ALTER TABLE part_prints_by_number RENAME TO part_prints",
      "CREATE INDEX part_prints_content ON part_prints (content, space_id)",
    ],
  },
];

/** What was said at the beginning. */
export type Plan = {
  readonly attributes: Attributes | undefined;
  readonly mode: number | undefined;
  readonly mtimeNs: bigint | undefined;
  readonly expect: UploadExpect;
  readonly expiryMs: number;
};

export type UploadRow = {
  readonly id: UploadId;
  readonly spaceId: SpaceId;
  readonly owner: string;
  readonly door: string;
  readonly path: RelPath;
  readonly kind: UploadKind;
  readonly size: number | undefined;
  readonly received: number;
  readonly plan: Plan;
  readonly note: string;
  readonly createdMs: number;
  readonly expiresMs: number;
  readonly done: { readonly sequence: number; readonly parts: string } | undefined;
  readonly job: number | undefined;
};

/** A part, or a stretch of a stream, with where its bytes are. */
export type PartRow = Part & {
  readonly chunks: readonly ManifestChunk[];
  /** Of its pieces (chunk/sum.ts): of a part those that begin with it, of a stretch those whole ones that end in it. */
  readonly leaves: Uint8Array;
};

/** What an upload came to: a version, of these parts (as they were named). */
export type Finished = {
  readonly size: number;
  readonly sequence: number;
  readonly parts: string;
};

/** Where a part of a file lies: some chunks of a content, one behind the other. */
export type PrintRow = {
  readonly sha256: string;
  readonly size: number;
  readonly content: ContentId;
  readonly start: number;
  readonly count: number;
  readonly leaves: Uint8Array;
};

type StoredPrint = { size: number; content: Uint8Array; start: number; count: number; leaves: Uint8Array };
type Row = {
  id: string; space_id: number; owner: string; door: string; path: Uint8Array; kind: string; size: number | null;
  received: number; plan: string; note: string; created_ms: number; expires_ms: number; done_seq: number | null;
  done_parts: string | null; job: number | null;
};
type StoredPart = {
  upload_id: string; number: number; size: number; time_ms: number; chunks: Uint8Array; leaves: Uint8Array;
  sums: Uint8Array; sum: number;
};

const COLUMNS =
  "id, space_id, owner, door, path, kind, size, received, plan, note, created_ms, expires_ms, done_seq, done_parts, job";
const INSERT = `INSERT INTO uploads (${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, NULL, NULL, NULL)`;
const ONE = `SELECT ${COLUMNS} FROM uploads WHERE id = ?`;
const LIST = `SELECT ${COLUMNS} FROM uploads INDEXED BY uploads_owner WHERE owner = ? AND space_id = ? AND door = ?
  AND done_seq IS NULL AND path >= ? AND (path, id) > (?, ?) ORDER BY path, id LIMIT ?`;
const OF_OWNER = `SELECT count(*) AS n FROM (SELECT 1 AS one FROM uploads INDEXED BY uploads_owner
  WHERE owner = ? AND done_seq IS NULL LIMIT ?) counted`;
const ALL = "SELECT count(*) AS n FROM uploads";
const BEGUN_BEFORE = `SELECT id, path FROM uploads INDEXED BY uploads_space WHERE space_id = ? AND done_seq IS NULL AND door = ?
  AND created_ms <= ? AND id > ? ORDER BY id LIMIT ?`;
const RESERVED = `SELECT CAST(COALESCE(SUM(CASE WHEN size IS NULL OR size < received THEN received ELSE size END), 0) AS BIGINT)
  AS bytes FROM uploads INDEXED BY uploads_space WHERE space_id = ? AND done_seq IS NULL AND id <> ?`;
const TOUCH = "UPDATE uploads SET received = ?, expires_ms = ? WHERE id = ?";
const SET_SIZE = "UPDATE uploads SET size = ? WHERE id = ?";
const SET_NOTE = "UPDATE uploads SET note = ? WHERE id = ?";
const SET_JOB = "UPDATE uploads SET job = ? WHERE id = ?";
const FINISH = "UPDATE uploads SET received = ?, done_seq = ?, done_parts = ?, expires_ms = ? WHERE id = ?";
const PART_COLUMNS = "upload_id, number, size, time_ms, chunks, leaves, sums, sum";
const PARTS = `SELECT ${PART_COLUMNS} FROM upload_parts WHERE upload_id = ? AND number > ? ORDER BY number LIMIT ?`;
const PART_SIZE = "SELECT size FROM upload_parts WHERE upload_id = ? AND number = ?";
const SAVE_PART = `INSERT INTO upload_parts (${PART_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (upload_id, number) DO UPDATE SET size = excluded.size, time_ms = excluded.time_ms,
    chunks = excluded.chunks, leaves = excluded.leaves, sums = excluded.sums, sum = excluded.sum`;
const DROP_PART = "DELETE FROM upload_parts WHERE upload_id = ? AND number = ?";
const DROP_PARTS = "DELETE FROM upload_parts WHERE upload_id = ?";
const DROP = "DELETE FROM uploads WHERE id = ?";
const LIVE = `SELECT ${PART_COLUMNS} FROM upload_parts WHERE (upload_id, number) > (?, ?) ORDER BY upload_id, number LIMIT ?`;
const OPEN = `SELECT ${COLUMNS} FROM uploads WHERE done_seq IS NULL AND id > ? ORDER BY id LIMIT ?`;
const ORPHANS = `SELECT DISTINCT upload_id FROM upload_parts p WHERE NOT EXISTS (SELECT 1 FROM uploads u WHERE u.id = p.upload_id)
  LIMIT ?`;
const EXPIRED = "SELECT id FROM uploads INDEXED BY uploads_expires WHERE expires_ms < ? ORDER BY expires_ms LIMIT ?";
const IN_TIME = `SELECT 1 AS one FROM uploads WHERE id = ? AND expires_ms >= ?
  AND EXISTS (SELECT 1 FROM spaces s WHERE s.id = uploads.space_id)`;
const HOMELESS = "SELECT id FROM uploads WHERE NOT EXISTS (SELECT 1 FROM spaces s WHERE s.id = uploads.space_id) LIMIT ?";

const SAVE_PRINTS = new RowsText(
  "INSERT INTO part_prints (space_id, sha256, size, content, start, count, leaves) VALUES",
  7,
  `ON CONFLICT (space_id, sha256) DO UPDATE SET size = excluded.size, content = excluded.content,
    start = excluded.start, count = excluded.count, leaves = excluded.leaves`,
);
const PRINT = "SELECT size, content, start, count, leaves FROM part_prints WHERE space_id = ? AND sha256 = ?";
const PATHS = "SELECT path FROM versions INDEXED BY versions_content WHERE content = ? AND space_id = ? LIMIT ?";
const LOST_PRINTS = `SELECT DISTINCT space_id, content FROM part_prints AS p WHERE NOT EXISTS
  (SELECT 1 FROM versions v WHERE v.content = p.content AND v.space_id = p.space_id) LIMIT ?`;
const DROP_PRINTS = "DELETE FROM part_prints WHERE content = ? AND space_id = ?";

/** Versions that are looked at for one that somebody may read. */
const PATHS_MAX = 200;
/** Rows of parts read at once: each may name thousands of chunks. */
const PARTS_AT_ONCE = 1000;
const LIVE_AT_ONCE = 200;
const OPEN_AT_ONCE = 500;
/** Rows written in one transaction where others shall not wait for long. */
const TIDIED_AT_ONCE = 1000;

export class UploadRows {
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
  }

  /**
   * @param room bytes that there is room for in the space, without other uploads; undefined: as many as it may be
   * @throws {SynclineError} LIMIT, QUOTA
   */
  create(row: Omit<UploadRow, "received" | "done" | "job">, room: number | undefined): Promise<void> {
    return this.#db.transaction(async (sql) => {
      const own = (await sql.get<{ n: number }>(OF_OWNER, [row.owner, USER_UPLOADS_MAX]))!.n;
      const all = (await sql.get<{ n: number }>(ALL))!.n;
      if (own >= USER_UPLOADS_MAX || all >= UPLOADS_MAX) throw tooMany();
      await requireRoom(sql, row, row.size ?? 0, room);
      await sql.run(INSERT, [
        row.id, row.spaceId, row.owner, row.door, encodeName(row.path), row.kind, row.size ?? null,
        planText(row.plan), row.note, row.createdMs, row.expiresMs,
      ]);
    });
  }

  async get(id: UploadId): Promise<UploadRow | undefined> {
    const row = await this.#db.get<Row>(ONE, [id]);
    return row === undefined ? undefined : rowOf(row);
  }

  /** Open ones, in order. */
  async list(
    of: Pick<UploadRow, "owner" | "spaceId" | "door">,
    from: Uint8Array,
    after: { readonly path: Uint8Array; readonly id: string },
    limit: number,
  ): Promise<UploadRow[]> {
    const values = [of.owner, of.spaceId, of.door, from, after.path, after.id, limit];
    return (await this.#db.all<Row>(LIST, values)).map(rowOf);
  }

  /** Open ones of a door that were begun up to a time, by id after one. */
  async begunBefore(of: Pick<UploadRow, "spaceId" | "door">, beforeMs: number, after: UploadId, limit: number) {
    const rows = await this.#db.all<{ id: string; path: Uint8Array }>(BEGUN_BEFORE, [of.spaceId, of.door, beforeMs, after, limit]);
    return rows.map(({ id, path }) => ({ id, path: decodeName(path) }));
  }

  /** @throws {SynclineError} NOT_FOUND, QUOTA, USAGE */
  setSize(id: UploadId, size: number, room: number | undefined): Promise<UploadRow> {
    return this.#db.transaction(async (sql) => {
      const row = await openRow(sql, id);
      if (size > UPLOAD_BYTES_MAX || (row.size ?? size) !== size || row.received > size) throw overSize(size);
      await requireRoom(sql, row, size, room);
      await sql.run(SET_SIZE, [size, id]);
      return { ...row, size };
    });
  }

  setNote(id: UploadId, note: string): Promise<UploadRow> {
    return this.#db.transaction(async (sql) => {
      const row = await openRow(sql, id);
      await sql.run(SET_NOTE, [note, id]);
      return { ...row, note };
    });
  }

  /**
   * Nothing of them is left.
   * @param overdueMs only of those that nobody has gone on with until then
   * @returns how many went
   */
  drop(ids: readonly UploadId[], overdueMs?: number): Promise<number> {
    return this.#db.transaction(async (sql) => {
      let dropped = 0;
      for (const id of ids) {
        if (overdueMs !== undefined && (await sql.get(IN_TIME, [id, overdueMs])) !== undefined) continue;
        await sql.run(DROP_PARTS, [id]);
        dropped += await sql.run(DROP, [id]);
      }
      return dropped;
    });
  }

  /** Those that are not complete, by id. @param onDamaged is told of those whose row is not what was written */
  async *open(onDamaged: (id: UploadId) => void): AsyncGenerator<UploadRow> {
    for (let after = ""; ; ) {
      const rows = await this.#db.all<Row>(OPEN, [after, OPEN_AT_ONCE]);
      for (const row of rows) {
        const read = readable(row);
        if (read === undefined) onDamaged(row.id);
        else yield read;
      }
      if (rows.length < OPEN_AT_ONCE) return;
      after = rows.at(-1)!.id;
    }
  }

  /** Ids of uploads that there are not, and yet parts of; some of them. */
  async orphans(limit: number): Promise<UploadId[]> {
    return (await this.#db.all<{ upload_id: string }>(ORPHANS, [limit])).map(({ upload_id: id }) => id);
  }

  /** All of one upload, by number. @throws {SynclineError} STATE when a row is not what was written */
  async *parts(id: UploadId, from = 0): AsyncGenerator<PartRow> {
    for (let after = from; ; ) {
      const page = await this.page(id, after, PARTS_AT_ONCE);
      yield* page;
      if (page.length < PARTS_AT_ONCE) return;
      after = page.at(-1)!.number;
    }
  }

  async page(id: UploadId, after: number, limit: number): Promise<PartRow[]> {
    return (await this.#db.all<StoredPart>(PARTS, [id, after, limit])).map(partOf);
  }

  /**
   * In the place of parts of the same numbers.
   * @throws {SynclineError} NOT_FOUND when the upload has ended, LIMIT when it would be larger than was said, QUOTA
   */
  saveParts(id: UploadId, parts: readonly PartRow[], room: number | undefined, nowMs: number): Promise<UploadRow> {
    return this.#db.transaction(async (sql) => {
      const row = await openRow(sql, id);
      let { received } = row;
      for (const part of parts) {
        received += part.size - ((await sql.get<{ size: number }>(PART_SIZE, [id, part.number]))?.size ?? 0);
        const chunks = encodeChunks(part.chunks);
        const sums = encodeSums(part.sums);
        const sum = partSum(id, part, chunks, sums);
        await sql.run(SAVE_PART, [id, part.number, part.size, part.timeMs, chunks, part.leaves, sums, sum]);
      }
      if (received > (row.size ?? STORED_UPLOAD_BYTES_MAX)) throw overSize(row.size ?? STORED_UPLOAD_BYTES_MAX);
      if (received > row.received) await requireRoom(sql, row, received, room);
      const expiresMs = nowMs + row.plan.expiryMs;
      await sql.run(TOUCH, [received, expiresMs, id]);
      return { ...row, received, expiresMs };
    });
  }

  /** They have to be sent again. */
  dropParts(id: UploadId, parts: readonly PartRow[]): Promise<void> {
    return this.#db.transaction(async (sql) => {
      const row = await openRow(sql, id);
      let { received } = row;
      for (const { number, size } of parts) {
        if ((await sql.run(DROP_PART, [id, number])) > 0) received -= size;
      }
      await sql.run(TOUCH, [received, row.expiresMs, id]);
    });
  }

  async setJob(id: UploadId, job: number): Promise<void> {
    await this.#db.run(SET_JOB, [job, id]);
  }

  /** What it came to. Its parts stay until tidy(), or until nobody knows of it any more. */
  finish(id: UploadId, { size, sequence, parts }: Finished, knownUntilMs: number): Promise<void> {
    return this.#db.transaction(async (sql) => void (await sql.run(FINISH, [size, sequence, parts, knownUntilMs, id])));
  }

  /** After finish(), with nobody waiting: its parts go, and are known by their SHA-256 as parts of what it came to. */
  async tidy({ id, spaceId }: Pick<UploadRow, "id" | "spaceId">, prints: readonly PrintRow[]): Promise<void> {
    for (let at = 0; at < prints.length; at += TIDIED_AT_ONCE) {
      const rows = prints.slice(at, at + TIDIED_AT_ONCE).map((one) => [
        spaceId, Uint8Array.fromHex(one.sha256), one.size, Uint8Array.fromHex(one.content), one.start, one.count, one.leaves,
      ]);
      await this.#db.transaction(async (sql) => {
        for (const { text, values } of SAVE_PRINTS.pieces(rows)) await sql.run(text, values);
      });
    }
    await this.#db.transaction(async (sql) => void (await sql.run(DROP_PARTS, [id])));
  }

  /** Chunks that some upload still needs; for prune. */
  async *liveChunks(): AsyncGenerator<ManifestChunk> {
    let [id, number] = ["", 0];
    for (;;) {
      const rows = await this.#db.all<StoredPart>(LIVE, [id, number, LIVE_AT_ONCE]);
      for (const row of rows) yield* partOf(row).chunks;
      if (rows.length < LIVE_AT_ONCE) return;
      ({ upload_id: id, number } = rows.at(-1)!);
    }
  }

  /** Of parts of files that some version of the space has, or had until the last sweep. */
  async print(space: SpaceId, sha256: string): Promise<PrintRow | undefined> {
    const row = await this.#db.get<StoredPrint>(PRINT, [space, Uint8Array.fromHex(sha256)]);
    return row === undefined ? undefined : { ...row, sha256, content: contentIdOfRow(row.content), leaves: new Uint8Array(row.leaves) };
  }

  /** Paths of the space whose versions have a content, some of them. */
  async pathsOf(space: SpaceId, content: ContentId): Promise<RelPath[]> {
    const rows = await this.#db.all<{ path: Uint8Array }>(PATHS, [Uint8Array.fromHex(content), space, PATHS_MAX]);
    return [...new Set(rows.map(({ path }) => decodeName(path)))];
  }

  /** Forgets prints of contents that their space has no version of; returns of how many. */
  async dropPrints(limit: number): Promise<number> {
    const rows = await this.#db.all<{ space_id: number; content: Uint8Array }>(LOST_PRINTS, [limit]);
    for (const { space_id, content } of rows) await this.#db.run(DROP_PRINTS, [content, space_id]);
    return rows.length;
  }

  /** Ids of those that nobody will go on with. */
  async overdue(nowMs: number, limit: number): Promise<UploadId[]> {
    const expired = await this.#db.all<{ id: string }>(EXPIRED, [nowMs, limit]);
    const homeless = await this.#db.all<{ id: string }>(HOMELESS, [limit]);
    return [...new Set([...expired, ...homeless].map(({ id }) => id))];
  }
}

async function openRow(sql: Sql, id: UploadId): Promise<UploadRow> {
  const row = await sql.get<Row>(ONE, [id]);
  if (row === undefined || row.done_seq !== null) throw unknownUpload(id);
  return rowOf(row);
}

async function requireRoom(
  sql: Sql,
  { id, spaceId }: Pick<UploadRow, "id" | "spaceId">,
  bytes: number,
  room: number | undefined,
): Promise<void> {
  if (room === undefined) return;
  const reserved = (await sql.get<{ bytes: number }>(RESERVED, [spaceId, id]))!.bytes;
  if (reserved + bytes > room) throw lacksRoom(bytes, Math.max(0, room - reserved));
}

type PlanJson = {
  attributes?: Attributes;
  mode?: number;
  mtime?: string;
  expiry: number;
  expect: UploadExpect;
};

function planText({ attributes, mode, mtimeNs, expect, expiryMs }: Plan): string {
  return JSON.stringify({ attributes, mode, mtime: mtimeNs?.toString(), expect, expiry: expiryMs });
}

/** Undefined: it is not what was written. */
function readable(row: Row): UploadRow | undefined {
  try {
    return rowOf(row);
  } catch {
    return undefined;
  }
}

function rowOf(row: Row): UploadRow {
  const plan = JSON.parse(row.plan) as PlanJson;
  const { sequence, parts } = { sequence: row.done_seq, parts: row.done_parts ?? "" };
  return {
    id: row.id,
    spaceId: row.space_id as SpaceId,
    owner: row.owner,
    door: row.door,
    path: decodeName(row.path),
    kind: row.kind as UploadKind,
    size: row.size ?? undefined,
    received: row.received,
    plan: {
      attributes: plan.attributes,
      mode: plan.mode,
      mtimeNs: plan.mtime === undefined ? undefined : BigInt(plan.mtime),
      expect: plan.expect,
      expiryMs: plan.expiry,
    },
    note: row.note,
    createdMs: row.created_ms,
    expiresMs: row.expires_ms,
    done: sequence === null ? undefined : { sequence, parts },
    job: row.job ?? undefined,
  };
}

function partSum(
  id: UploadId,
  { number, size, timeMs, leaves }: Omit<PartRow, "chunks" | "sums">,
  chunks: Uint8Array,
  sums: Uint8Array,
): number {
  return hash48(encodeName(`${id} ${number} ${size} ${timeMs}`), chunks, leaves, sums);
}

function partOf(row: StoredPart): PartRow {
  const { number, size, time_ms: timeMs } = row;
  let cause: unknown;
  try {
    const leaves = new Uint8Array(row.leaves);
    if (partSum(row.upload_id, { number, size, timeMs, leaves }, row.chunks, row.sums) === row.sum) {
      const sums: Sums = decodeSums(row.sums);
      return { number, size, timeMs, leaves, sums, chunks: decodeChunks(row.chunks) };
    }
  } catch (error) {
    cause = error;
  }
  throw damagedRow(`part ${number} of the upload ${row.upload_id}`, cause);
}

function encodeChunks(chunks: readonly ManifestChunk[]): Uint8Array {
  const writer = new ByteWriter(chunks.length * (ID_BYTES + 4));
  for (const { id, length } of chunks) {
    writer.raw(Uint8Array.fromHex(id));
    writer.varint(length);
  }
  return writer.finish();
}

function decodeChunks(bytes: Uint8Array): ManifestChunk[] {
  const reader = new ByteReader(bytes);
  const chunks: ManifestChunk[] = [];
  // All digits at once: a large upload has a hundred thousand ids.
  const digits = bytes.toHex();
  while (!reader.atEnd) {
    const at = reader.position;
    reader.skip(ID_BYTES);
    const id = digits.slice(2 * at, 2 * (at + ID_BYTES)) as ChunkId;
    const length = reader.varint();
    if (length === 0) throw malformed("an empty chunk");
    chunks.push({ id, length });
  }
  return chunks;
}
