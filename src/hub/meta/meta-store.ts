/**
 * What the hub knows, at rest: spaces, entries, versions, the journal, manifests, restore points. Ordinary tables over
 * platform/sql, so that SQLite and PostgreSQL share one implementation (sql-meta-store.ts); meta-store-contract.ts holds
 * both to it.
 *
 * Reads are consistent by themselves; what must be consistent together is read inside commit's transaction. Paths are
 * ordered by their bytes (memcmp of encodeName), so that what is below a directory is one range.
 */
import type { VersionLock } from "#hub/locks.ts";
import type { NullVersion } from "#hub/meta/null-version.ts";
import type {
  LockChange, LockOutcome, OldAttributesChange, OldAttributesOutcome, PurgeOutcome, PurgeRequest, VersionName, WithLock, WithPurge,
} from "#hub/meta/purge.ts";
import type { Sums } from "#hub/sums/sums.ts";
import type { RelPath } from "#model/path.ts";
import type { Sql } from "#platform/sql/database.ts";
import type { FreshChunk } from "#store/chunk-store.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";
import type {
  ChangeResult,
  JournalRecord,
  Origin,
  Point,
  RestorePoint,
  Space,
  SpaceChange,
  SpaceId,
  SpaceSettings,
  Version,
} from "#hub/space.ts";

/** Rows of one page at most. */
export const PAGE_ROWS_MAX = 10_000;

/** A commit: its changes are made in order, each by itself; one that is stale or refused stops none of the others. */
export type Commit = {
  readonly space: SpaceId;
  readonly origin: Origin;
  readonly timeMs: number;
  readonly changes: readonly SpaceChange[];
  /** All changes or none: the first that is not done makes all others "stale" or "refused" without effect. */
  readonly atomic: boolean;
};

export type CommitOutcome = {
  /** One for each change, in order. */
  readonly results: readonly ChangeResult[];
  /** The space's sequence before and after. */
  readonly before: number;
  readonly after: number;
};

export type ListRequest = {
  /** "" or a directory: everything below it, itself not. */
  readonly below: RelPath;
  /** Paths after this one (exclusive), by bytes. */
  readonly after: RelPath | undefined;
  /** Only direct children, directories as single entries; otherwise everything. */
  readonly shallow: boolean;
  readonly limit: number;
  /** Undefined: now. */
  readonly at: Point | undefined;
  /** Instead of what is there: the tombstones of what was removed. Now, and everything. */
  readonly removed?: boolean | undefined;
};

export type CopiesRequest = {
  /** "" or a directory: everything below it. */
  readonly below: RelPath;
  /** Paths after this one (exclusive), by bytes. */
  readonly after: RelPath | undefined;
  readonly limit: number;
};

export type CopiesPage = {
  /** Present entries by bytes, `limit` at most; also fewer, where there are more. */
  readonly copies: readonly Version[];
  /** What the next page comes after; undefined: this is the last one. */
  readonly next: RelPath | undefined;
};

/** Written in the same transaction as the change it goes with; when it throws, nothing is changed. May run again. */
export type WithIt = (sql: Sql) => Promise<void>;

/**
 * Without a sequence it is the last one, as it is when the point is written: a content that was replaced since somebody
 * looked may have been dropped by then.
 */
export type NewPoint = Omit<RestorePoint, "sequence"> & { readonly sequence: number | undefined };

/** What is not said stays. */
export type SpaceUpdate = {
  readonly name?: string;
  readonly settings?: SpaceSettings;
  /** null: it is not deleted any more. */
  readonly deletedMs?: number | null;
  /** Refused where anything is in it, as it is when it is done. */
  readonly onlyEmpty?: boolean;
};

/** By the number of its row, which has nobody else's chunk while this one is needed there. */
export type NumberedChunk = FreshChunk & { readonly number: number };

export interface MetaStore {
  /** Random, made once: this hub's name in version vectors; 16 hex digits. */
  readonly hubId: string;

  // Spaces
  /** @throws {SynclineError} EXISTS, also when a deleted space has the name */
  createSpace(
    name: string,
    settings: SpaceSettings,
    seeds: Uint8Array,
    lineage: string,
    timeMs: number,
    withIt?: WithIt,
  ): Promise<Space>;
  /** Deleted ones too, until they are erased. */
  spaces(): Promise<Space[]>;
  space(id: SpaceId): Promise<Space | undefined>;
  /** @throws {SynclineError} SPACE_UNKNOWN, EXISTS */
  updateSpace(
    id: SpaceId,
    change: SpaceUpdate,
    withIt?: WithIt,
  ): Promise<Space>;
  /**
   * Removes every row of a deleted space; its chunks die with the next prune.
   * @param deletedUntilMs how long it must have been deleted; undefined: now
   * @throws {SynclineError} DENIED while it is not deleted since then, or holds a version that is locked
   */
  eraseSpace(id: SpaceId, nowMs: number, withIt?: WithIt, deletedUntilMs?: number): Promise<void>;
  /** Goes on with what is erased and has rows left, because the database refused to remove them; returns of how many spaces. */
  eraseLeftOver(): Promise<number>;

  // Reading
  /** The current version; also a tombstone. Undefined: there never was anything, or it has been forgotten. */
  version(space: SpaceId, path: RelPath): Promise<Version | undefined>;
  /** Present entries in byte order. */
  list(space: SpaceId, request: ListRequest): Promise<Version[]>;
  /** Conflict copies (model/conflict-copy.ts), by bytes; not those that lie in a directory that is one. */
  copies(space: SpaceId, request: CopiesRequest): Promise<CopiesPage>;
  /** Present entries below `below`, itself not, counted up to `max`. */
  count(space: SpaceId, below: RelPath, max: number): Promise<number>;
  /** Current versions (tombstones too) of paths at or below `below` that changed after `sequence`, by sequence. */
  changedSince(space: SpaceId, below: RelPath, sequence: number, limit: number): Promise<Version[]>;
  /** Versions of one path, newest first, before a sequence. */
  history(space: SpaceId, path: RelPath, before: number | undefined, limit: number): Promise<JournalRecord[]>;
  /** The version that a path had at a point. */
  versionAt(space: SpaceId, path: RelPath, at: Point): Promise<Version | undefined>;
  journal(space: SpaceId, after: number, limit: number): Promise<JournalRecord[]>;
  /** Every change that a run made, by sequence. */
  journalOfRun(space: SpaceId, runId: string): Promise<JournalRecord[]>;
  /** The time of the last commit in the order of times; 0 without one. */
  lastCommitMs(space: SpaceId): Promise<number>;
  /** The last sequence not after a time. */
  sequenceAt(space: SpaceId, timeMs: number): Promise<number>;
  /** As sequenceAt, up to where everything is certainly so old, whatever the hub's clock was when it was made. */
  certainlyOld(space: SpaceId, cutoffMs: number, nowMs: number): Promise<number>;

  // Writing
  /**
   * Commits, in order, in one durable transaction. Manifests of content of several chunks are given whenever it is not
   * certain that a version refers to it: a manifest goes with the last version that does. Content that was dropped so
   * is refused ("CONTENT") until its manifest comes again. Missing parents are made with mode 0755.
   *
   * A remove of what is not there is "stale", and so is a move to what is there (with the version at `to`). A directory
   * that is removed or moved gives a record to each entry: a removal from the last path to the first, a move from the
   * first to the last. A commit of which nothing is done leaves no trace. Of sums those are kept whose content was put.
   * @param durable resolves when what they refer to survives a power loss; nobody sees anything of them before. Where it
   *   rejects nothing is committed. May be called several times.
   * @param fresh kept with them; only where keepsFresh
   * @throws {SynclineError} SPACE_UNKNOWN; what `durable` rejects with
   */
  commit(
    commits: readonly Commit[],
    manifests: ReadonlyMap<ContentId, Manifest>,
    sums?: ReadonlyMap<ContentId, Sums>,
    durable?: () => Promise<void>,
    fresh?: readonly NumberedChunk[],
  ): Promise<CommitOutcome[]>;

  // Content
  /** The manifest of content of several chunks; undefined for content that is one chunk (its id is the chunk's). */
  manifest(id: ContentId): Promise<Manifest | undefined>;
  /** What was computed of it so far. */
  sums(id: ContentId): Promise<Sums>;
  /** Adds sums of content that some version refers to; of other content nothing is kept. */
  addSums(id: ContentId, sums: Sums): Promise<void>;
  /**
   * Ids of all content that any version of any space refers to, with manifests, in order of their bytes; for prune. A
   * page may be shorter than `limit` (manifests are large); an empty one is the end.
   */
  liveContent(after: ContentId | undefined, limit: number): Promise<{ id: ContentId; manifest: Manifest | undefined }[]>;
  /**
   * Drops old versions' content by the space's retention, `limit` at most; returns how many versions lost theirs. What a
   * restore point shows is kept, and what is locked.
   */
  expire(space: SpaceId, nowMs: number, limit: number): Promise<number>;

  /**
   * Takes versions away for good, up to PURGE_MAX: files lose their content, tombstones are no longer shown. Where the
   * current version goes, the one before it is current again, as a new change. What is locked, or shown by a restore
   * point, stays. @throws {SynclineError} SPACE_UNKNOWN; DENIED for a space that follows
   */
  purge(request: PurgeRequest, withIt?: WithPurge): Promise<PurgeOutcome>;
  /** A version by the sequence that it is known by; undefined for one that was taken away or has lost its content. */
  versionNamed(space: SpaceId, name: VersionName): Promise<Version | undefined>;
  /** Of the version that is known by this sequence; also one that has ended. */
  lock(space: SpaceId, sequence: number): Promise<VersionLock | undefined>;
  /** @throws {SynclineError} SPACE_UNKNOWN; DENIED for a space that follows */
  changeLock(change: LockChange, withIt?: WithLock): Promise<LockOutcome>;
  /** Attributes of an old version of a file, after it was replaced. @throws {SynclineError} as changeLock */
  changeOldAttributes(change: OldAttributesChange, withIt: WithIt): Promise<OldAttributesOutcome>;
  /** Which version of a path is the one that has no number over S3; see versioning.ts. @throws {SynclineError} SPACE_UNKNOWN */
  nullVersion(space: SpaceId, path: RelPath): Promise<NullVersion | undefined>;

  // Restore points: immutable, their versions are kept whatever retention says
  /** @throws {SynclineError} SPACE_UNKNOWN, EXISTS */
  createRestorePoint(point: NewPoint, withIt?: (sql: Sql, made: RestorePoint) => Promise<void>): Promise<RestorePoint>;
  restorePoints(space: SpaceId): Promise<RestorePoint[]>;
  deleteRestorePoint(space: SpaceId, name: string, withIt?: WithIt): Promise<boolean>;

  // Fresh chunks: content that is durable here before it is in the store of chunks (hub/fresh-chunks.ts)
  /** Whether commit() takes any. */
  readonly keepsFresh: boolean;
  /** All that are here, by number; the bytes may not be what they were. */
  freshChunks(): Promise<NumberedChunk[]>;
  /** Forgets those of these numbers, as far as they are here. */
  dropFresh(numbers: readonly number[]): Promise<void>;

  close(): Promise<void>;
}
