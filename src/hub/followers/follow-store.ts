/**
 * What a hub keeps of its dealings with other hubs: which spaces follow whom, the earlier lives of a space, chunks that
 * are gone; and the journal as it is handed over. Tables beside those of the metadata, in the same database;
 * follow-store-contract.ts runs on both engines.
 */
import { beginLineage, requireSpace } from "#hub/meta/spaces.ts";
import { expireAsSource } from "#hub/meta/expire.ts";
import { type GivenHistory, type JournalPage, importJournal, replaceHistory } from "#hub/meta/import-journal.ts";
import { type Leaf, type LeafChange, leafChanges, leavesAt } from "#hub/meta/leaves.ts";
import { decodeManifest } from "#hub/meta/manifests.ts";
import type { WithIt } from "#hub/meta/meta-store.ts";
import { lastMark } from "#hub/meta/lock-rows.ts";
import { type Mark, applyMarks, marksAfter } from "#hub/meta/marks.ts";
import { JOURNAL_COLUMNS, type JournalRow, contentIdOfRow, encodeSettings, plainText, recordOf } from "#hub/meta/rows.ts";
import { ListText } from "#hub/meta/texts.ts";
import type { JournalRecord, RestorePoint, Space, SpaceId, SpaceSettings } from "#hub/space.ts";
import { type RelPath, encodeName } from "#model/path.ts";
import type { Database, Sql, SqlRow } from "#platform/sql/database.ts";
import type { ByteRange } from "#hub/followers/space-digest.ts";
import type { ChunkId, ContentId } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

export type Follow = {
  readonly space: SpaceId;
  readonly url: string;
  /** The space's name there. */
  readonly source: string;
  /** Sealed. */
  readonly token: Uint8Array;
  /** PEM of the authority that certified the source; undefined: those of the system. */
  readonly ca: string | undefined;
  readonly sinceMs: number;
  /** Nobody asks the source; the space stays as it is. */
  readonly stopped: boolean;
  /** Of the settings and restore points that are here; "" before the first. */
  readonly tag: string;
  /** Bytes that the copy's current files may have; undefined: as many as the source's. */
  readonly quotaBytes?: number | undefined;
  /** A space here that was the copy's own before, and whose content counts as the copy's. */
  readonly shares?: SpaceId | undefined;
};

export type NewFollow = Omit<Follow, "space" | "stopped" | "tag">;

/** The space lived as `lineage` up to `sequence`, and as another one after it. */
export type PastLineage = { readonly lineage: string; readonly sequence: number };
export type LostChunk = { readonly id: ChunkId; readonly content: ContentId };
export type KeptPoint = Omit<RestorePoint, "space">;

type FollowRow = SqlRow & {
  space_id: number; url: string; source: string; token: Uint8Array; ca: string | null; since_ms: number; stopped: number;
  tag: string; quota_bytes: number | null; shares: number | null;
};

const FOLLOWS = "SELECT * FROM follows ORDER BY space_id";
const SAVE_FOLLOW = `INSERT INTO follows (space_id, url, source, token, ca, since_ms, quota_bytes, shares, stopped, tag)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0, '') ON CONFLICT (space_id) DO UPDATE SET url = excluded.url, source = excluded.source,
  token = excluded.token, ca = excluded.ca, since_ms = excluded.since_ms, quota_bytes = excluded.quota_bytes,
  shares = excluded.shares, stopped = 0, tag = ''`;
const STOP = "UPDATE follows SET stopped = 1 WHERE space_id = ?";
const UNFOLLOW = "DELETE FROM follows WHERE space_id = ?";
const SAVE_TAG = "UPDATE follows SET tag = ? WHERE space_id = ?";
const SAVE_SETTINGS = "UPDATE spaces SET settings = ? WHERE id = ?";
const SAVE_LINEAGE = "UPDATE spaces SET lineage = ? WHERE id = ?";
const DELETE_POINTS = "DELETE FROM restore_points WHERE space_id = ?";
const INSERT_POINT = "INSERT INTO restore_points (space_id, name, seq, time_ms, actor) VALUES (?, ?, ?, ?, ?)";
const LINEAGES = "SELECT lineage, seq FROM lineages WHERE space_id = ? ORDER BY seq, lineage";
const INSERT_LINEAGE = `INSERT INTO lineages (space_id, lineage, seq) VALUES (?, ?, ?)
  ON CONFLICT (space_id, lineage) DO UPDATE SET seq = excluded.seq`;
const NAMED = "SELECT id FROM spaces WHERE name = ?";
const INSERT_LOST = "INSERT INTO lost_chunks (id, content, since_ms) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING";
const LOST = "SELECT id, content FROM lost_chunks WHERE id > ? ORDER BY id LIMIT ?";
const INSERT_RECEIVED = "INSERT INTO follow_received (space_id, id) VALUES (?, ?) ON CONFLICT (space_id, id) DO NOTHING";
const RECEIVED = "SELECT id FROM follow_received WHERE space_id = ?";
const FOUND = "DELETE FROM lost_chunks WHERE id = ?";
const COUNT_LOST = "SELECT count(*) AS lost FROM lost_chunks";
const LOST_OF = `SELECT l.id, l.content FROM lost_chunks l
  WHERE EXISTS (SELECT 1 FROM versions v INDEXED BY versions_content WHERE v.content = l.content AND v.space_id = ?) ORDER BY l.id LIMIT ?`;
const REFERS = "SELECT 1 AS one FROM versions INDEXED BY versions_content WHERE content = ? AND space_id = ? LIMIT 1";
const USERS = `SELECT space_id, path, replaced FROM versions INDEXED BY versions_content WHERE content = ? AND replaced IS NULL
  LIMIT ?`;
const MANIFESTS = new ListText("SELECT id, manifest FROM manifests WHERE length(manifest) > 0 AND id IN (%)");
const ALL_MANIFESTS = "SELECT id, manifest FROM manifests WHERE id > ? AND length(manifest) > 0 ORDER BY id LIMIT ?";
const REFERRED = new ListText("SELECT DISTINCT content FROM versions INDEXED BY versions_content WHERE content IN (%)");
const DROPPED = new ListText("SELECT seq FROM versions WHERE space_id = ? AND content IS NULL AND seq IN (%)");
const CONTENT_AT = new ListText("SELECT seq, content FROM versions WHERE space_id = ? AND content IS NOT NULL AND seq IN (%)");
const HISTORY = `SELECT ${JOURNAL_COLUMNS} FROM versions AS v INDEXED BY versions_history
  JOIN commits c ON c.space_id = v.space_id AND c.seq = v.commit_seq WHERE v.space_id = ?
  AND v.path = ? AND v.seq > ? AND v.seq <= ? ORDER BY v.seq LIMIT ?`;
/** Manifests looked through at once. */
const MANIFEST_ROWS = 64;

const hex = (id: string): Uint8Array => Uint8Array.fromHex(id);

export class FollowStore {
  readonly hubId: string;
  readonly #db: Database;

  /** @param db whose tables SqlMetaStore has made */
  constructor(db: Database, hubId: string) {
    this.#db = db;
    this.hubId = hubId;
  }

  async follows(): Promise<Follow[]> {
    const rows = await this.#db.all<FollowRow>(FOLLOWS);
    return rows.map(({ space_id, url, source, token, ca, since_ms, stopped, tag, quota_bytes, shares }) => ({
      space: space_id as SpaceId, url, source, token: new Uint8Array(token), ca: ca ?? undefined, sinceMs: since_ms,
      stopped: stopped === 1, tag, quotaBytes: quota_bytes ?? undefined, shares: (shares ?? undefined) as SpaceId | undefined,
    }));
  }

  /** Into the transaction that makes the space, which has lived as its source has. */
  async beginIn(
    sql: Sql,
    name: string,
    follow: NewFollow,
    past: readonly PastLineage[],
  ): Promise<void> {
    const { id } = (await sql.get<{ id: number }>(NAMED, [plainText(name)]))!;
    await this.#begin(sql, id as SpaceId, follow);
    for (const one of past) await sql.run(INSERT_LINEAGE, [id, plainText(one.lineage), one.sequence]);
  }

  /** The space takes no changes of its own from here on. */
  begin(space: SpaceId, follow: NewFollow, withIt?: WithIt): Promise<void> {
    return this.#db.transaction(async (sql) => {
      await requireSpace(sql, space);
      await this.#begin(sql, space, follow);
      await withIt?.(sql);
    });
  }

  async #begin(sql: Sql, space: SpaceId, { url, source, token, ca, sinceMs, quotaBytes, shares }: NewFollow) {
    await sql.run(SAVE_FOLLOW, [space, url, source, token, ca ?? null, sinceMs, quotaBytes ?? null, shares ?? null]);
  }

  stop(space: SpaceId, withIt?: WithIt): Promise<void> {
    return this.#db.transaction(async (sql) => {
      await sql.run(STOP, [space]);
      await withIt?.(sql);
    });
  }

  /** The space is written to here from now on, and lives another life than its source. */
  promote(space: SpaceId, lineage: string, withIt?: WithIt): Promise<Space> {
    return this.#db.transaction(async (sql) => {
      await beginLineage(sql, await requireSpace(sql, space), lineage);
      await sql.run(UNFOLLOW, [space]);
      await withIt?.(sql);
      return requireSpace(sql, space);
    });
  }

  /** The source lives another life since; all that is here it has, too. */
  adopt(space: SpaceId, lineage: string, past: readonly PastLineage[]): Promise<void> {
    return this.#db.transaction(async (sql) => {
      for (const one of past) await sql.run(INSERT_LINEAGE, [space, plainText(one.lineage), one.sequence]);
      await sql.run(SAVE_LINEAGE, [plainText(lineage), space]);
    });
  }

  saveFacts(space: SpaceId, settings: SpaceSettings, points: readonly KeptPoint[], tag: string): Promise<void> {
    return this.#db.transaction(async (sql) => {
      await sql.run(SAVE_SETTINGS, [encodeSettings(settings), space]);
      await sql.run(DELETE_POINTS, [space]);
      for (const { name, sequence, timeMs, actor } of points) {
        await sql.run(INSERT_POINT, [space, plainText(name), sequence, timeMs, plainText(actor)]);
      }
      await sql.run(SAVE_TAG, [tag, space]);
    });
  }

  /** By sequence. */
  async pastLineages(space: SpaceId): Promise<PastLineage[]> {
    const rows = await this.#db.all<{ lineage: string; seq: number }>(LINEAGES, [space]);
    return rows.map(({ lineage, seq }) => ({ lineage, sequence: seq }));
  }

  // ---------------------------------------------------------------- the journal

  /** @throws {SynclineError} as importJournal */
  importJournal(space: SpaceId, page: JournalPage): Promise<Space> {
    return importJournal(this.#db, this.hubId, space, page);
  }

  /** @throws {SynclineError} as replaceHistory */
  replaceHistory(
    space: SpaceId,
    given: GivenHistory,
    manifests: ReadonlyMap<ContentId, Manifest>,
    nowMs: number,
    isTrial: boolean,
  ): Promise<void> {
    return replaceHistory(this.#db, this.hubId, space, given, manifests, nowMs, isTrial);
  }

  /** Versions of a path after `after` and up to `until`, oldest first. */
  async historyOf(space: SpaceId, path: RelPath, after: number, until: number, limit: number): Promise<JournalRecord[]> {
    const rows = await this.#db.all<JournalRow>(HISTORY, [space, encodeName(path), after, until, limit]);
    return rows.map((row) => recordOf(row, this.hubId));
  }

  /** Which of these versions have no content any more. */
  async dropped(space: SpaceId, sequences: readonly number[]): Promise<number[]> {
    const found: number[] = [];
    for (const { text, values } of DROPPED.pieces([space], sequences)) {
      for (const { seq } of await this.#db.all<{ seq: number }>(text, values)) found.push(seq);
    }
    return found;
  }

  /** Old versions lose the content that they have lost at the source. Returns how many. */
  async expireAsSource(
    space: SpaceId,
    nowMs: number,
    isDropped: (sequences: readonly number[]) => Promise<ReadonlySet<number>>,
  ): Promise<number> {
    return expireAsSource(this.#db, this.hubId, await requireSpace(this.#db, space), nowMs, isDropped);
  }

  /** What was said of versions since, by number. */
  marks(space: SpaceId, after: number): Promise<Mark[]> {
    return marksAfter(this.#db, space, after);
  }

  lastMark(space: SpaceId): Promise<number> {
    return lastMark(this.#db, space);
  }

  applyMarks(space: SpaceId, marks: readonly Mark[], nowMs: number): Promise<void> {
    return applyMarks(this.#db, this.hubId, space, marks, nowMs);
  }

  leaves(space: SpaceId, range: ByteRange, sequence: number, limit: number): Promise<Leaf[]> {
    return leavesAt(this.#db, this.hubId, space, range, sequence, limit);
  }

  leafChanges(space: SpaceId, after: number, until: number, limit: number): Promise<LeafChange[]> {
    return leafChanges(this.#db, this.hubId, space, after, until, limit);
  }

  // ---------------------------------------------------------------- content

  /** Manifests of those contents that have one. */
  async manifests(ids: readonly ContentId[]): Promise<Map<ContentId, Manifest>> {
    const found = new Map<ContentId, Manifest>();
    for (const { text, values } of MANIFESTS.pieces([], ids.map(hex))) {
      for (const row of await this.#db.all<{ id: Uint8Array; manifest: Uint8Array }>(text, values)) {
        const id = contentIdOfRow(row.id);
        const manifest = decodeManifest(id, row.manifest);
        if (manifest !== undefined) found.set(id, manifest);
      }
    }
    return found;
  }

  /** Does any version of the space refer to it? */
  async refers(space: SpaceId, content: ContentId): Promise<boolean> {
    return (await this.#db.get(REFERS, [hex(content), space])) !== undefined;
  }

  /** Content of versions of a space, by their sequences; of those that have some. */
  async contentAt(space: SpaceId, sequences: readonly number[]): Promise<Map<number, ContentId>> {
    const found = new Map<number, ContentId>();
    for (const { text, values } of CONTENT_AT.pieces([space], sequences)) {
      for (const { seq, content } of await this.#db.all<{ seq: number; content: Uint8Array }>(text, values)) {
        found.set(seq, contentIdOfRow(content));
      }
    }
    return found;
  }

  /** Where content is current, `limit` places at most. */
  async placesOf(content: ContentId, limit: number): Promise<{ space: SpaceId; path: Uint8Array }[]> {
    const rows = await this.#db.all<{ space_id: number; path: Uint8Array }>(USERS, [hex(content), limit]);
    return rows.map(({ space_id, path }) => ({ space: space_id as SpaceId, path }));
  }

  /** A content that each of these chunks belongs to, of those that some version refers to. */
  async contentsWith(chunks: readonly ChunkId[]): Promise<LostChunk[]> {
    const found = new Map<ChunkId, ContentId>();
    for (const { text, values } of REFERRED.pieces([], chunks.map(hex))) {
      for (const { content } of await this.#db.all<{ content: Uint8Array }>(text, values)) {
        found.set(content.toHex() as ChunkId, content.toHex() as ContentId);
      }
    }
    const wanted = new Set(chunks.filter((id) => !found.has(id)));
    for (let after: Uint8Array = new Uint8Array(0); wanted.size > 0; ) {
      const rows = await this.#db.all<{ id: Uint8Array; manifest: Uint8Array }>(ALL_MANIFESTS, [after, MANIFEST_ROWS]);
      for (const row of rows) {
        const content = contentIdOfRow(row.id);
        for (const { id } of decodeManifest(content, row.manifest)?.chunks ?? []) {
          if (wanted.delete(id)) found.set(id, content);
        }
      }
      if (rows.length < MANIFEST_ROWS) break;
      after = rows.at(-1)!.id;
    }
    return [...found].map(([id, content]) => ({ id, content }));
  }

  // ---------------------------------------------------------------- lost chunks

  /**
   * The source has sent these: the copy has a right to them before a record of its own refers to them. Should the source
   * lose them before the page is imported, they are here. The import of the next page forgets them.
   */
  receive(space: SpaceId, chunks: readonly ChunkId[]): Promise<void> {
    return this.#db.transaction(async (sql) => {
      for (const id of chunks) await sql.run(INSERT_RECEIVED, [space, hex(id)]);
    });
  }

  async received(space: SpaceId): Promise<ChunkId[]> {
    const rows = await this.#db.all<{ id: Uint8Array }>(RECEIVED, [space]);
    return rows.map(({ id }) => id.toHex() as ChunkId);
  }

  lose(chunks: readonly LostChunk[], nowMs: number): Promise<void> {
    return this.#db.transaction(async (sql) => {
      for (const { id, content } of chunks) await sql.run(INSERT_LOST, [hex(id), hex(content), nowMs]);
    });
  }

  /** By id, after one (exclusive). */
  async lost(after: ChunkId | undefined, limit: number): Promise<LostChunk[]> {
    const rows = await this.#db.all<{ id: Uint8Array; content: Uint8Array }>(LOST, [hex(after ?? ""), limit]);
    return rows.map(lostOf);
  }

  /** Those that a space needs. */
  async lostIn(space: SpaceId, limit: number): Promise<LostChunk[]> {
    if ((await this.lostCount()) === 0) return [];
    const rows = await this.#db.all<{ id: Uint8Array; content: Uint8Array }>(LOST_OF, [space, limit]);
    return rows.map(lostOf);
  }

  async found(ids: readonly ChunkId[]): Promise<void> {
    await this.#db.transaction(async (sql) => {
      for (const id of ids) await sql.run(FOUND, [hex(id)]);
    });
  }

  async lostCount(): Promise<number> {
    return (await this.#db.get<{ lost: number }>(COUNT_LOST))!.lost;
  }
}

function lostOf({ id, content }: { id: Uint8Array; content: Uint8Array }): LostChunk {
  return { id: id.toHex() as ChunkId, content: content.toHex() as ContentId };
}
