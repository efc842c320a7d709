/** MetaStore over an SQL database; what it does is in the files beside it, one idea each. */
import { commitAll } from "#hub/meta/commit.ts";
import type { Lately } from "#hub/meta/working-set.ts";
import { addSums, sumsOf } from "#hub/meta/content-sums.ts";
import { expire } from "#hub/meta/expire.ts";
import { dropFresh, freshChunks } from "#hub/meta/fresh-rows.ts";
import { conflictCopies } from "#hub/meta/copies.ts";
import type {
  Commit,
  CommitOutcome,
  CopiesPage,
  CopiesRequest,
  ListRequest,
  MetaStore,
  NewPoint,
  NumberedChunk,
  SpaceUpdate,
  WithIt,
} from "#hub/meta/meta-store.ts";
import { type NullVersion, nullVersion } from "#hub/meta/null-version.ts";
import {
  type LockChange, type LockOutcome, type OldAttributesChange, type OldAttributesOutcome, type PurgeOutcome, type PurgeRequest,
  type VersionName, type WithLock, type WithPurge, changeLock, changeOldAttributes, purgeVersions, versionNamed,
} from "#hub/meta/purge.ts";
import { locksOf } from "#hub/meta/lock-rows.ts";
import type { VersionLock } from "#hub/locks.ts";
import { Queries } from "#hub/meta/queries.ts";
import { MIGRATIONS } from "#hub/meta/schema.ts";
import {
  allSpaces,
  createRestorePoint,
  createSpace,
  deleteRestorePoint,
  eraseLeftOver,
  eraseSpace,
  factOf,
  renewLineages,
  requireSpace,
  restorePoints,
  spaceById,
  updateSpace,
} from "#hub/meta/spaces.ts";
import type { JournalRecord, Point, RestorePoint, Space, SpaceId, SpaceSettings, Version } from "#hub/space.ts";
import { NO_SUMS, type Sums } from "#hub/sums/sums.ts";
import type { RelPath } from "#model/path.ts";
import type { Random } from "#platform/host.ts";
import type { Database, Sql } from "#platform/sql/database.ts";
import { migrate } from "#platform/sql/migrate.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

const HUB_ID_BYTES = 8;
const LINEAGE_BYTES = 16;

export class SqlMetaStore implements MetaStore {
  readonly hubId: string;
  readonly #db: Database;
  readonly #queries: Queries;

  private constructor(db: Database, hubId: string) {
    this.#db = db;
    this.hubId = hubId;
    this.#queries = new Queries(db, hubId);
  }

  /** Makes or upgrades the tables; the store then owns the database. */
  static async open(db: Database, random: Random): Promise<SqlMetaStore> {
    await migrate(db, "meta", MIGRATIONS);
    const hubId = await factOf(db, "hub_id", () => random.bytes(HUB_ID_BYTES).toHex());
    await eraseLeftOver(db);
    return new SqlMetaStore(db, hubId);
  }

  createSpace(
    name: string,
    settings: SpaceSettings,
    seeds: Uint8Array,
    lineage: string,
    timeMs: number,
    withIt?: WithIt,
  ): Promise<Space> {
    return createSpace(this.#db, { name, settings, seeds, lineage, timeMs }, withIt);
  }

  spaces(): Promise<Space[]> {
    return allSpaces(this.#db);
  }

  space(id: SpaceId): Promise<Space | undefined> {
    return spaceById(this.#db, id);
  }

  updateSpace(
    id: SpaceId,
    change: SpaceUpdate,
    withIt?: WithIt,
  ): Promise<Space> {
    return updateSpace(this.#db, id, change, withIt);
  }

  /** For a database that was put back from a backup; returns how many spaces there are. */
  renewLineages(random: Random): Promise<number> {
    return renewLineages(this.#db, () => random.bytes(LINEAGE_BYTES).toHex());
  }

  eraseSpace(id: SpaceId, nowMs: number, withIt?: WithIt, deletedUntilMs?: number): Promise<void> {
    return eraseSpace(this.#db, id, nowMs, withIt, deletedUntilMs);
  }

  eraseLeftOver(): Promise<number> {
    return eraseLeftOver(this.#db);
  }

  version(space: SpaceId, path: RelPath): Promise<Version | undefined> {
    return this.#queries.version(space, path);
  }

  list(space: SpaceId, request: ListRequest): Promise<Version[]> {
    return this.#queries.list(space, request);
  }

  copies(space: SpaceId, request: CopiesRequest): Promise<CopiesPage> {
    return conflictCopies(this.#db, this.hubId, space, request);
  }

  count(space: SpaceId, below: RelPath, max: number): Promise<number> {
    return this.#queries.count(space, below, max);
  }

  changedSince(space: SpaceId, below: RelPath, sequence: number, limit: number): Promise<Version[]> {
    return this.#queries.changedSince(space, below, sequence, limit);
  }

  history(space: SpaceId, path: RelPath, before: number | undefined, limit: number): Promise<JournalRecord[]> {
    return this.#queries.history(space, path, before, limit);
  }

  versionAt(space: SpaceId, path: RelPath, at: Point): Promise<Version | undefined> {
    return this.#queries.versionAt(space, path, at);
  }

  journal(space: SpaceId, after: number, limit: number): Promise<JournalRecord[]> {
    return this.#queries.journal(space, after, limit);
  }

  journalOfRun(space: SpaceId, runId: string): Promise<JournalRecord[]> {
    return this.#queries.journalOfRun(space, runId);
  }

  lastCommitMs(space: SpaceId): Promise<number> {
    return this.#queries.lastCommitMs(space);
  }

  sequenceAt(space: SpaceId, timeMs: number): Promise<number> {
    return this.#queries.sequenceAt(space, timeMs);
  }

  certainlyOld(space: SpaceId, cutoffMs: number, nowMs: number): Promise<number> {
    return this.#queries.certainlyOld(space, cutoffMs, nowMs);
  }

  commit(
    commits: readonly Commit[],
    manifests: ReadonlyMap<ContentId, Manifest>,
    sums: ReadonlyMap<ContentId, Sums> = new Map(),
    durable: () => Promise<void> = () => Promise.resolve(),
    fresh: readonly NumberedChunk[] = [],
  ): Promise<CommitOutcome[]> {
    const lately: Lately = (space, path) => this.#queries.known(space, path);
    return commitAll(this.#db, this.hubId, { commits, manifests, sums, fresh }, durable, lately);
  }

  /** A server is not asked to carry content over the network twice. */
  get keepsFresh(): boolean {
    return this.#db.engine === "sqlite";
  }

  freshChunks(): Promise<NumberedChunk[]> {
    return freshChunks(this.#db);
  }

  dropFresh(numbers: readonly number[]): Promise<void> {
    return dropFresh(this.#db, numbers);
  }

  manifest(id: ContentId): Promise<Manifest | undefined> {
    return this.#queries.manifest(id);
  }

  async sums(id: ContentId): Promise<Sums> {
    return (await sumsOf(this.#db, [id])).get(id) ?? NO_SUMS;
  }

  addSums(id: ContentId, sums: Sums): Promise<void> {
    return addSums(this.#db, id, sums);
  }

  liveContent(
    after: ContentId | undefined,
    limit: number,
  ): Promise<{ id: ContentId; manifest: Manifest | undefined }[]> {
    return this.#queries.liveContent(after, limit);
  }

  async expire(space: SpaceId, nowMs: number, limit: number): Promise<number> {
    return expire(this.#db, this.hubId, await requireSpace(this.#db, space), nowMs, limit);
  }

  purge(request: PurgeRequest, withIt?: WithPurge): Promise<PurgeOutcome> {
    return purgeVersions(this.#db, this.hubId, request, withIt);
  }

  versionNamed(space: SpaceId, name: VersionName): Promise<Version | undefined> {
    return versionNamed(this.#db, this.hubId, space, name);
  }

  async lock(space: SpaceId, sequence: number): Promise<VersionLock | undefined> {
    return (await locksOf(this.#db, space, [sequence])).get(sequence);
  }

  changeLock(change: LockChange, withIt?: WithLock): Promise<LockOutcome> {
    return changeLock(this.#db, this.hubId, change, withIt);
  }

  changeOldAttributes(change: OldAttributesChange, withIt: WithIt): Promise<OldAttributesOutcome> {
    return changeOldAttributes(this.#db, this.hubId, change, withIt);
  }

  async nullVersion(space: SpaceId, path: RelPath): Promise<NullVersion | undefined> {
    return nullVersion(this.#db, await requireSpace(this.#db, space), path);
  }

  createRestorePoint(point: NewPoint, withIt?: (sql: Sql, made: RestorePoint) => Promise<void>): Promise<RestorePoint> {
    return createRestorePoint(this.#db, point, withIt);
  }

  restorePoints(space: SpaceId): Promise<RestorePoint[]> {
    return restorePoints(this.#db, space);
  }

  deleteRestorePoint(space: SpaceId, name: string, withIt?: WithIt): Promise<boolean> {
    return deleteRestorePoint(this.#db, space, name, withIt);
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}
