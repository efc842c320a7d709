/**
 * What can be done with single versions of a path, beside reading them: taking one away for good, locking it, and
 * changing what is said of it. Rights
 * are asked here, for every door; what is kept whoever asks is decided in the transaction (hub/meta/purge.ts).
 *
 * A version is named by its path and its sequence.
 */
import type { Access, Principal } from "#access/access.ts";
import type { HubSpaces } from "#hub/hub-spaces.ts";
import { NO_LOCK, type LockTerm, type VersionLock } from "#hub/locks.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import {
  PURGE_MAX, type LockOutcome, type OldAttributesChange, type OldAttributesOutcome, type PurgeOutcome, type PurgeResult, type VersionName,
} from "#hub/meta/purge.ts";
import { type SpaceAudit, spaceResource } from "#hub/space-audit.ts";
import { tooManyChanges } from "#hub/space-errors.ts";
import type { Cause, Space, Version } from "#hub/space.ts";
import { requireLockable } from "#hub/versions/lock-rights.ts";
import type { RelPath } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import type { Sql } from "#platform/sql/database.ts";

export type PurgeAsked = {
  readonly traceId: string;
  readonly cause?: Cause | undefined;
  /** Locks for governance shall not keep anything; without the right to it they do. */
  readonly bypass?: boolean | undefined;
};

export type LockAsked = {
  readonly traceId: string;
  readonly hold?: boolean | undefined;
  /** null takes it away. */
  readonly term?: LockTerm | null | undefined;
  readonly bypass?: boolean | undefined;
};

export type AttributesAsked = { readonly traceId: string; readonly attributes: OldAttributesChange["attributes"] };

export interface Versions {
  /** Undefined also for one that was taken away, or has lost its content. @throws {SynclineError} DENIED, SPACE_UNKNOWN */
  named(who: Principal, space: string, name: VersionName): Promise<Version | undefined>;
  /**
   * Takes versions away, one after the other, in one transaction: each by itself may be kept or not be there.
   * @throws {SynclineError} DENIED (for any of them), SPACE_UNKNOWN, LIMIT
   */
  purge(who: Principal, space: string, versions: readonly VersionName[], asked: PurgeAsked): Promise<PurgeOutcome>;
  /** As it was set last, also when it has ended. @throws {SynclineError} DENIED, SPACE_UNKNOWN */
  lock(who: Principal, space: string, name: VersionName): Promise<VersionLock>;
  /** @throws {SynclineError} DENIED, SPACE_UNKNOWN; USAGE in a space that keeps no locks */
  changeLock(who: Principal, space: string, name: VersionName, asked: LockAsked): Promise<LockOutcome>;
  /**
   * Attributes of a version that is not the current one; those of the current one are changed by a commit.
   * @throws {SynclineError} DENIED, SPACE_UNKNOWN
   */
  changeOld(who: Principal, space: string, name: VersionName, asked: AttributesAsked): Promise<OldAttributesOutcome>;
  /**
   * The version that S3 calls "null" (hub/versioning.ts); undefined where a path has none. Says nothing of it but its name.
   * @throws {SynclineError} DENIED for who may neither read nor purge there, SPACE_UNKNOWN
   */
  nullOf(who: Principal, space: string, path: RelPath): Promise<VersionName | undefined>;
}

export type SpaceVersionsOptions = {
  readonly spaces: HubSpaces;
  readonly meta: MetaStore;
  readonly access: Access;
  readonly audit: SpaceAudit;
  readonly clock: Clock;
};

export class SpaceVersions implements Versions {
  readonly #options: SpaceVersionsOptions;

  constructor(options: SpaceVersionsOptions) {
    this.#options = options;
  }

  async named(who: Principal, name: string, version: VersionName): Promise<Version | undefined> {
    const { id } = await this.#readable(who, name, version);
    return this.#options.meta.versionNamed(id, version);
  }

  async purge(who: Principal, name: string, versions: readonly VersionName[], asked: PurgeAsked): Promise<PurgeOutcome> {
    const { access, meta, spaces, audit, clock } = this.#options;
    if (versions.length > PURGE_MAX) throw tooManyChanges(versions.length);
    for (const { path } of versions) access.require(who, "purge", { type: "space", space: name, path });
    const { id } = await spaces.space(who, name);
    const mayBypass =
      asked.bypass === true &&
      versions.every(({ path }) => access.decide(who, "bypass", { type: "space", space: name, path }).allowed);
    const { traceId, cause = "purge" } = asked;
    // Of no run: what goes for good cannot be taken back.
    const origin = { actor: who.id, host: undefined, traceId, cause, runId: undefined, message: undefined };
    const request = { space: id, versions, origin, timeMs: clock.nowMs(), mayBypass };
    const by = { id: who.id, traceId };
    const outcome = await meta.purge(request, async (sql, { results }) => {
      for (const [at, result] of results.entries()) {
        const event = eventOf(name, versions[at]!, result, mayBypass);
        if (event !== undefined) await audit.appendIn(sql, by, event);
      }
    });
    if (outcome.after > outcome.before) await spaces.changedOutside(id, outcome.before);
    return outcome;
  }

  async lock(who: Principal, name: string, version: VersionName): Promise<VersionLock> {
    const { id } = await this.#readable(who, name, version);
    return (await this.#options.meta.lock(id, version.sequence)) ?? NO_LOCK;
  }

  async changeLock(who: Principal, name: string, version: VersionName, asked: LockAsked): Promise<LockOutcome> {
    const { access, meta, spaces, audit, clock } = this.#options;
    const { path } = version;
    const space = await spaces.space(who, name);
    requireLockable(access, who, space, path);
    const { hold, term, traceId } = asked;
    const mayBypass = asked.bypass === true && access.decide(who, "bypass", { type: "space", space: name, path }).allowed;
    const change = { space: space.id, version, hold, term, timeMs: clock.nowMs(), mayBypass };
    const by = { id: who.id, traceId };
    const event = { action: "version.lock", resource: spaceResource(name, path) };
    const { sequence } = version;
    const outcome = await meta.changeLock(change, async (sql: Sql, { before, lock }) => {
      await audit.appendIn(sql, by, { ...event, outcome: "done", details: { sequence, before, lock, bypassed: mayBypass } });
    });
    if (outcome.status === "kept") await audit.append(by, { ...event, outcome: "denied", details: { sequence, why: outcome.why } });
    return outcome;
  }

  async changeOld(who: Principal, name: string, version: VersionName, asked: AttributesAsked): Promise<OldAttributesOutcome> {
    const { access, meta, spaces, audit, clock } = this.#options;
    const { path, sequence } = version;
    access.require(who, "write", { type: "space", space: name, path });
    const { id } = await spaces.space(who, name);
    const { attributes, traceId } = asked;
    const names = Object.keys(attributes);
    const details = { sequence, names };
    const event = { action: "version.attributes", resource: spaceResource(name, path), outcome: "done", details } as const;
    const change = { space: id, version, attributes, timeMs: clock.nowMs() };
    return meta.changeOldAttributes(change, (sql) => audit.appendIn(sql, { id: who.id, traceId }, event));
  }

  async nullOf(who: Principal, name: string, path: RelPath): Promise<VersionName | undefined> {
    const { access, meta, spaces } = this.#options;
    const mayPurge = access.decide(who, "purge", { type: "space", space: name, path }).allowed;
    if (!mayPurge) access.require(who, "read", { type: "space", space: name, path });
    const { id } = await spaces.space(who, name);
    const found = await meta.nullVersion(id, path);
    return found?.isShown === true ? { path, sequence: found.sequence } : undefined;
  }

  async #readable(who: Principal, space: string, { path }: VersionName): Promise<Space> {
    this.#options.access.require(who, "read", { type: "space", space, path });
    return this.#options.spaces.space(who, space);
  }
}

/** That somebody tried to take away what is kept is recorded, too. */
function eventOf(space: string, { path, sequence }: VersionName, result: PurgeResult, bypassed: boolean) {
  const event = { action: "version.purge", resource: spaceResource(space, path) };
  if (result.status === "purged") {
    const details = { sequence, current: result.current?.sequence, bypassed };
    return { ...event, outcome: "done", details } as const;
  }
  return result.status === "kept" ? ({ ...event, outcome: "denied", details: { sequence, why: result.why } } as const) : undefined;
}
