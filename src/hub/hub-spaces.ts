/** SpaceService over the hub's own stores: rights are asked here, once, for every door. */
import {
  COMMIT_CHANGES_MAX, contentGone, otherSpace, requireName, requirePointName, tooManyChanges, unknownPoint, unknownRun,
  unknownSpace,
} from "#hub/space-errors.ts";
import type { Access, Principal } from "#access/access.ts";
import type { Attributes } from "#hub/attributes.ts";
import type { Actor, AuditEvent } from "#access/audit.ts";
import { countsOf, newContent, originOf, sequences } from "#hub/commit-facts.ts";
import { CommitTimes, type CommitTimesOptions } from "#hub/commit-times.ts";
import { CommitQueue } from "#hub/commit-queue.ts";
import { FreshChunks, type FreshParts } from "#hub/fresh-chunks.ts";
import type { CutsThread } from "#hub/cuts/cuts-thread.ts";
import { requireReadable } from "#hub/encrypted-content.ts";
import { FollowedSpaces } from "#hub/followed-spaces.ts";
import { MovedBytes } from "#hub/moved-bytes.ts";
import { HeldContent, StoreIntake } from "#hub/content.ts";
import type { Commit, CommitOutcome, CopiesRequest, ListRequest, MetaStore, WithIt } from "#hub/meta/meta-store.ts";
import { PastStates } from "#hub/past-states.ts";
import type {
  CommitRequest,
  ContentSource,
  Intake,
  SpaceEvent,
  SpaceService,
} from "#hub/space-service.ts";
import {
  type ChangeResult,
  type JournalRecord,
  type Origin,
  type Point,
  type RestorePoint,
  SETTINGS_DEFAULT,
  type Space,
  type SpaceId,
  type SpaceSettings,
  type Version,
} from "#hub/space.ts";
import { type ConflictsPage, type Decision, type SpaceConflict, decisionChanges, lostBy } from "#hub/space-conflicts.ts";
import { type SpaceAudit, spaceResource } from "#hub/space-audit.ts";
import { ContentSums } from "#hub/sums/content-sums.ts";
import type { SumName, Sums } from "#hub/sums/sums.ts";
import { SpaceRights } from "#hub/space-rights.ts";
import { StoredContents } from "#hub/stored-contents.ts";
import { SpaceWatchers } from "#hub/space-watchers.ts";
import { conflictCopyOf } from "#model/conflict-copy.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { ChunkId, ContentId } from "#sync/chunk/chunk-id.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { ChunkStore, FreshChunk } from "#store/chunk-store.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";

export type HubSpacesOptions = {
  readonly meta: MetaStore;
  readonly chunks: ChunkStore;
  readonly access: Access;
  readonly audit: SpaceAudit;
  readonly clock: Clock;
  readonly random: Random;
  /** Cuts large files on a thread of its own. */
  readonly cuts?: CutsThread | undefined;
  /** Called after each commit that has changed something; must not throw. */
  readonly onCommit?: ((commit: CommitDone) => void) | undefined;
  readonly onClockNotice?: CommitTimesOptions["onNotice"];
  readonly onFault?: FreshParts["onFault"];
};

/** A commit, and when it was at work by the wall clock. */
export type CommitDone = {
  readonly space: string;
  readonly origin: Origin;
  readonly before: number;
  readonly after: number;
  readonly beganMs: number;
  readonly endedMs: number;
};

/** Seeds of a space's sums, as the engine takes them. */
export function seedsOf(space: Space): SumSeeds {
  const view = new DataView(space.seeds.buffer, space.seeds.byteOffset, 16);
  return { a: view.getBigUint64(0), b: view.getBigUint64(8) };
}

export class HubSpaces implements SpaceService {
  readonly #options: HubSpacesOptions;
  readonly #rights: SpaceRights;
  readonly #queue: CommitQueue;
  readonly #watchers = new SpaceWatchers();
  readonly #onRename: ((space: Space) => Promise<void>)[] = [];
  /** By name; changed only here. Deleted spaces are in it too. */
  readonly #spaces = new Map<string, Space>();
  #managing: Promise<unknown> = Promise.resolve();
  readonly #held = new HeldContent();
  /** The spaces that intakes were opened for: a name may be another's by the time of the commit. */
  readonly #spaceOf = new WeakMap<Intake, SpaceId>();
  readonly #contents: StoredContents;
  readonly #sums: ContentSums;
  readonly #times: CommitTimes;
  readonly #past: PastStates;
  readonly followed = new FollowedSpaces();
  readonly moved = new MovedBytes();

  readonly #fresh: FreshChunks | undefined;

  private constructor(options: HubSpacesOptions, fresh: FreshChunks | undefined) {
    this.#options = options;
    this.#rights = new SpaceRights(options.access);
    this.#fresh = fresh;
    this.#queue = new CommitQueue(options.meta, fresh);
    this.#sums = new ContentSums(options.meta);
    this.#times = new CommitTimes({ meta: options.meta, clock: options.clock, onNotice: options.onClockNotice });
    this.#contents = new StoredContents(options.meta, options.chunks, (id) => fresh?.bytesOf(id));
    this.#past = new PastStates({
      meta: options.meta,
      intake: (who, name) => this.intake(who, name),
      commit: ({ who, name, id }, request) => this.#commit(who, name, id, request),
    });
  }

  static async open(options: HubSpacesOptions): Promise<HubSpaces> {
    const fresh = options.meta.keepsFresh ? await FreshChunks.open(options) : undefined;
    const hub = new HubSpaces(options, fresh);
    for (const space of await options.meta.spaces()) hub.#spaces.set(space.name, space);
    return hub;
  }

  /** Resolves when every commit that was asked for has ended. The stores stay open. */
  async close(): Promise<void> {
    await this.#managing;
    await this.#queue.idle();
    await this.#fresh?.close();
  }

  // ---------------------------------------------------------------- spaces

  async createSpace(who: Principal, name: string, settings: Partial<SpaceSettings> = {}): Promise<Space> {
    this.#rights.require(who, "manage", name, "");
    requireName(name);
    const { meta, clock, random } = this.#options;
    const all = { ...SETTINGS_DEFAULT, ...settings };
    const noting = this.#noting(who, { action: "space.create", resource: spaceResource(name), details: settings });
    return this.#inTurn(async () => {
      const space = await meta.createSpace(name, all, random.bytes(16), this.newLineage(), clock.nowMs(), noting);
      this.#spaces.set(name, space);
      return space;
    });
  }

  /** What changes spaces goes one after the other: each begins with what the one before has left. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#managing.then(work);
    this.#managing = turn.catch(() => undefined);
    return turn;
  }

  // ---------------------------------------------------------------- spaces that follow another hub

  newLineage(): string {
    return Buffer.from(this.#options.random.bytes(16)).toString("hex");
  }

  /** A space with the seeds of another, and its lineage unless it lives one of its own; `withIt` may say whom it follows. */
  async adoptSpace(
    who: Principal,
    name: string,
    { settings, seeds, lineage }: Pick<Space, "settings" | "seeds"> & { readonly lineage: string | undefined },
    withIt: WithIt,
  ): Promise<Space> {
    requireName(name);
    return this.#inTurn(async () => {
      const noting = this.#noting(who, { action: "space.create", resource: spaceResource(name) });
      const both: WithIt = async (sql) => {
        await withIt(sql);
        await noting(sql);
      };
      const { meta, clock } = this.#options;
      const space = await meta.createSpace(name, settings, seeds, lineage ?? this.newLineage(), clock.nowMs(), both);
      this.#spaces.set(name, space);
      return space;
    });
  }

  /** Something else than a call of this service has changed the space: its settings, or its entries. */
  async changedOutside(id: SpaceId, before?: number): Promise<void> {
    this.#times.forget(id);
    await this.#inTurn(async () => {
      const space = await this.#options.meta.space(id);
      if (space === undefined || this.#spaces.get(space.name)?.id !== id) return;
      this.#spaces.set(space.name, space);
      if (before !== undefined && before < space.sequence) {
        this.#watchers.tell({ space: space.name, before, after: space.sequence });
      }
    });
  }

  // ----------------------------------------------------------------

  async spaces(who: Principal): Promise<Space[]> {
    const shown: Space[] = [];
    for (const { id, deletedMs } of this.#spaces.values()) {
      const space = deletedMs === undefined ? await this.#options.meta.space(id) : undefined;
      if (space !== undefined && this.#rights.seesAny(who, space.name)) shown.push(this.followed.shown(space));
    }
    return shown.sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  async space(who: Principal, name: string): Promise<Space> {
    const known = this.#known(who, name);
    const space = await this.#options.meta.space(known.id);
    if (space === undefined) throw unknownSpace(name);
    return this.followed.shown(space);
  }

  #known(who: Principal, name: string): Space {
    const space = this.#spaces.get(name);
    if (space === undefined || space.deletedMs !== undefined || !this.#rights.seesAny(who, name)) throw unknownSpace(name);
    return space;
  }

  requireIs(name: string, id: SpaceId): void {
    const there = this.idOf(name);
    if (there !== id) throw there === undefined ? unknownSpace(name) : otherSpace(name);
  }

  idOf(name: string): SpaceId | undefined {
    return this.#spaces.get(name)?.id;
  }

  async updateSpace(
    who: Principal,
    name: string,
    change: { name?: string; settings?: Partial<SpaceSettings> },
  ): Promise<Space> {
    this.#rights.require(who, "manage", name, "");
    if (change.name !== undefined) {
      requireName(change.name);
      this.#rights.require(who, "manage", change.name, "");
    }
    const noting = this.#noting(who, { action: "space.update", resource: spaceResource(name), details: change });
    return this.#inTurn(async () => {
      const { id, settings } = this.#known(who, name);
      if (change.settings !== undefined) this.followed.requireOwn(name, this.#known(who, name));
      const whole = {
        ...(change.name === undefined ? {} : { name: change.name }),
        ...(change.settings === undefined ? {} : { settings: { ...settings, ...change.settings } }),
      };
      const space = await this.#options.meta.updateSpace(id, whole, noting);
      this.#spaces.delete(name);
      this.moved.forget(name);
      this.#spaces.set(space.name, space);
      if (space.name !== name) {
        this.#watchers.rename(name, space.name);
        for (const listener of this.#onRename) await listener(space);
      }
      // What a quota has kept out may be let in now: whoever waits tries again.
      if (change.settings !== undefined) this.#watchers.tell({ space: space.name, before: space.sequence, after: space.sequence });
      return space;
    });
  }

  /** Calls back after a space has got another name, before the caller of the change is told. */
  onRename(listener: (space: Space) => Promise<void>): void {
    this.#onRename.push(listener);
  }

  async deleteSpace(who: Principal, name: string, { onlyEmpty }: { readonly onlyEmpty: boolean } = { onlyEmpty: false }): Promise<void> {
    this.#rights.require(who, "manage", name, "");
    const { meta, clock } = this.#options;
    const noting = this.#noting(who, { action: "space.delete", resource: spaceResource(name) });
    await this.#inTurn(async () => {
      const { id } = this.#known(who, name);
      this.followed.requireRemovable(name, id);
      this.#spaces.set(name, await meta.updateSpace(id, { deletedMs: clock.nowMs(), onlyEmpty }, noting));
    });
  }

  async undeleteSpace(who: Principal, name: string): Promise<Space> {
    this.#rights.require(who, "manage", name, "");
    const noting = this.#noting(who, { action: "space.undelete", resource: spaceResource(name) });
    return this.#inTurn(async () => {
      const known = this.#spaces.get(name);
      if (known === undefined) throw unknownSpace(name);
      const space = await this.#options.meta.updateSpace(known.id, { deletedMs: null }, noting);
      this.#spaces.set(name, space);
      return space;
    });
  }

  /** What doors keep with a space, from memory; for access/, which decides by it and so asks for no rights. */
  doorsOf(name: string): Attributes | undefined {
    return this.#spaces.get(name)?.settings.doors;
  }

  // ---------------------------------------------------------------- reading

  async version(who: Principal, name: string, path: RelPath, at?: Point): Promise<Version | undefined> {
    this.#rights.require(who, "read", name, path);
    const { id } = this.#known(who, name);
    const { meta } = this.#options;
    return at === undefined ? meta.version(id, path) : meta.versionAt(id, path, at);
  }

  async list(who: Principal, name: string, request: ListRequest): Promise<Version[]> {
    const { id } = this.#known(who, name);
    if (this.#rights.mayReadTree(who, name, request.below)) return this.#options.meta.list(id, request);
    this.#rights.requireSome(who, "read", name, request.below);
    // Somebody who may read only parts gets pages of what is left over, never an empty page in the middle.
    const shown: Version[] = [];
    let after = request.after;
    for (;;) {
      const page = await this.#options.meta.list(id, { ...request, after });
      for (const one of page) if (this.#rights.isShown(who, name, one, request.shallow)) shown.push(one);
      if (page.length < request.limit || shown.length >= request.limit) return shown.slice(0, request.limit);
      after = page.at(-1)!.path;
    }
  }

  async history(
    who: Principal,
    name: string,
    path: RelPath,
    before: number | undefined,
    limit: number,
  ): Promise<JournalRecord[]> {
    this.#rights.require(who, "read", name, path);
    return this.#rights.shownRecords(who, name, await this.#options.meta.history(this.#known(who, name).id, path, before, limit));
  }

  async journal(who: Principal, name: string, after: number, limit: number): Promise<JournalRecord[]> {
    const { id } = this.#known(who, name);
    const records = await this.#options.meta.journal(id, after, limit);
    if (this.#rights.mayReadTree(who, name, "")) return records;
    return this.#rights.shownRecords(who, name, records);
  }

  async journalOfRun(who: Principal, name: string, runId: string): Promise<JournalRecord[]> {
    const records = await this.#options.meta.journalOfRun(this.#known(who, name).id, runId);
    return this.#rights.shownRecords(who, name, records);
  }

  async count(who: Principal, name: string, below: RelPath, max: number): Promise<number> {
    this.#rights.requireTree(who, "read", name, below);
    return this.#options.meta.count(this.#known(who, name).id, below, max);
  }

  async changedSince(
    who: Principal,
    name: string,
    below: RelPath,
    sequence: number,
    limit: number,
  ): Promise<Version[]> {
    this.#rights.requireTree(who, "read", name, below);
    return this.#options.meta.changedSince(this.#known(who, name).id, below, sequence, limit);
  }

  async open(who: Principal, name: string, version: Version, isProved = true): Promise<ContentSource> {
    this.#rights.require(who, "read", name, version.path);
    requireReadable(version);
    return this.moved.reader(await this.#contents.open(version, isProved), who.id, name);
  }

  async openEncrypted(who: Principal, name: string, version: Version): Promise<ContentSource> {
    this.#rights.require(who, "read", name, version.path);
    return this.moved.reader(await this.#contents.open(version, true), who.id, name);
  }

  async sums(who: Principal, name: string, version: Version, wanted: readonly SumName[] = []): Promise<Sums> {
    this.#rights.require(who, "read", name, version.path);
    requireReadable(version);
    return this.#sums.of(version.content!.id, await this.#contents.open(version, true), wanted);
  }

  // ---------------------------------------------------------------- writing

  intake(who: Principal, name: string): StoreIntake {
    const { chunks, meta, cuts } = this.#options;
    // What a commit may do is asked of each change; but who may write nothing must not fill the disk.
    this.#rights.requireSome(who, "write", name, "");
    const space = this.#known(who, name);
    // It would be refused in the end.
    this.followed.requireOwn(name, space);
    const tools = { seeds: seedsOf(space), cuts };
    const rest = { manifestOf: (id: ContentId) => meta.manifest(id), freshOf: (id: ChunkId) => this.#fresh?.bytesOf(id) };
    const intake = new StoreIntake(chunks, tools, this.#held, rest, this.moved.taker(who.id, name));
    this.#spaceOf.set(intake, space.id);
    return intake;
  }

  async commit(who: Principal, name: string, request: CommitRequest): Promise<CommitOutcome> {
    const space = this.#known(who, name);
    const { id } = space;
    const { intake } = request;
    if (intake !== undefined && (this.#spaceOf.get(intake) ?? id) !== id) throw otherSpace(name);
    if (request.changes.length > COMMIT_CHANGES_MAX) throw tooManyChanges(request.changes.length);
    for (const change of request.changes) this.#rights.requireChange(who, space, change);
    return this.#commit(who, name, id, request);
  }

  async #commit(who: Principal, name: string, id: SpaceId, request: CommitRequest): Promise<CommitOutcome> {
    const beganMs = this.#options.clock.nowMs();
    const { changes, atomic } = request;
    const commit: Commit = { space: id, origin: originOf(who, request), timeMs: await this.#times.next(id), changes, atomic };
    const { intake } = request;
    const fresh = (): readonly FreshChunk[] | undefined => (request.isAlone === true ? intake?.fresh() : undefined);
    const content = { ...newContent(request.changes, this.#held), fresh };
    const outcome = await this.#queue.add(commit, content, async (onBegun) => intake?.flush(onBegun));
    if (outcome.after > outcome.before) {
      // It may have got another name meanwhile.
      const space = this.idOf(name) === id ? name : (this.#nameOf(id) ?? name);
      this.#watchers.tell({ space, ...sequences(outcome) });
      const endedMs = this.#options.clock.nowMs();
      this.#options.onCommit?.({ space, origin: commit.origin, ...sequences(outcome), beganMs, endedMs });
    }
    return outcome;
  }

  #nameOf(id: SpaceId): string | undefined {
    for (const space of this.#spaces.values()) if (space.id === id) return space.name;
    return undefined;
  }

  async restore(
    who: Principal,
    name: string,
    below: RelPath,
    to: Point,
    request: Omit<CommitRequest, "changes" | "atomic" | "intake">,
  ): Promise<CommitOutcome> {
    this.#rights.requireTree(who, "restore", name, below);
    this.#rights.requireTree(who, "write", name, below);
    const { id } = this.#known(who, name);
    // A run of its own, so that a restore can be taken back like any other.
    const runId = request.runId ?? Buffer.from(this.#options.random.bytes(6)).toString("hex");
    const event = { action: "space.restore", resource: spaceResource(name, below) };
    const by = { id: who.id, traceId: request.traceId };
    return this.#audited(by, event, { to, runId }, async () => {
      const value = await this.#past.restore({ who, name, id }, below, to, { ...request, runId });
      return { value, counts: { ...sequences(value), ...countsOf(value.results) } };
    });
  }

  async undoRun(who: Principal, name: string, runId: string, traceId: string): Promise<ChangeResult[]> {
    const { id } = this.#known(who, name);
    const records = await this.#options.meta.journalOfRun(id, runId);
    if (records.length === 0) throw unknownRun(runId);
    for (const { path } of records) {
      this.#rights.require(who, "restore", name, path);
      this.#rights.require(who, "write", name, path);
    }
    const event = { action: "space.undo", resource: spaceResource(name) };
    return this.#audited({ id: who.id, traceId }, event, { runId }, async () => {
      const value = await this.#past.undo({ who, name, id }, runId, records, traceId);
      return { value, counts: countsOf(value) };
    });
  }

  // ---------------------------------------------------------------- conflicts

  async conflicts(who: Principal, name: string, request: CopiesRequest): Promise<ConflictsPage> {
    const { id } = this.#known(who, name);
    const { meta } = this.#options;
    this.#rights.requireSome(who, "read", name, request.below);
    const sequence = (await meta.space(id))?.sequence ?? 0;
    const { copies, next } = await meta.copies(id, request);
    const conflicts: SpaceConflict[] = [];
    for (const copy of copies) {
      if (!this.#rights.may(who, "read", name, copy.path)) continue;
      const path = conflictCopyOf(copy.path)?.of;
      const there = path === undefined || !this.#rights.may(who, "read", name, path) ? undefined : await meta.version(id, path);
      const lost = await lostBy(meta, id, copy);
      // It went in this moment.
      if (lost === undefined) continue;
      conflicts.push({ path, copy, current: there?.entry === undefined ? undefined : there, lost });
    }
    return { conflicts, next, sequence };
  }

  async conflictCount(who: Principal, name: string, max: number): Promise<number> {
    const { copies } = await this.#options.meta.copies(this.#known(who, name).id, { below: "", after: undefined, limit: max });
    return copies.filter(({ path }) => this.#rights.may(who, "read", name, path)).length;
  }

  async resolveConflict(
    who: Principal,
    name: string,
    decision: Decision,
    request: Pick<CommitRequest, "traceId" | "message">,
  ) {
    const { id } = this.#known(who, name);
    const { meta, random } = this.#options;
    const path = conflictCopyOf(decision.copy)?.of;
    for (const one of [decision.copy, ...(path === undefined ? [] : [path])]) {
      this.#rights.requireTree(who, "read", name, one);
      this.#rights.requireTree(who, "write", name, one);
    }
    const now = (await this.space(who, name)).sequence;
    const changes = await decisionChanges(meta, id, decision, now);
    await using intake = this.intake(who, name);
    for (const change of changes) {
      if (change.type !== "put" || change.content === undefined) continue;
      if (!(await intake.hold(change.content))) throw contentGone(change.path);
    }
    const runId = Buffer.from(random.bytes(6)).toString("hex");
    const commit = { ...request, changes, intake, atomic: true, cause: "conflict", runId } as const;
    return { runId, changes, outcome: await this.commit(who, name, commit) };
  }

  // ---------------------------------------------------------------- restore points

  async createRestorePoint(who: Principal, name: string, point: string, at?: Point): Promise<RestorePoint> {
    this.#rights.require(who, "restore", name, "");
    requirePointName(point);
    const space = await this.space(who, name);
    this.followed.requireOwn(name, space);
    const { meta, clock } = this.#options;
    const timeMs = clock.nowMs();
    const sequence = at === undefined ? undefined : await this.#sequenceOf(space, at);
    return meta.createRestorePoint({ space: space.id, name: point, sequence, timeMs, actor: who.id }, (sql, made) => {
      const details = { name: point, sequence: made.sequence };
      return this.#noting(who, { action: "restore-point.create", resource: spaceResource(name), details })(sql);
    });
  }

  async #sequenceOf(space: Space, at: Point): Promise<number> {
    if ("timeMs" in at) return this.#options.meta.sequenceAt(space.id, at.timeMs);
    if (at.sequence > space.sequence) {
      throw new SynclineError({
        code: "NOT_FOUND",
        op: "restore point",
        message: `the space has no sequence ${at.sequence} yet; its last is ${space.sequence}`,
      });
    }
    return at.sequence;
  }

  async restorePoints(who: Principal, name: string): Promise<RestorePoint[]> {
    this.#rights.require(who, "read", name, "");
    return this.#options.meta.restorePoints(this.#known(who, name).id);
  }

  async deleteRestorePoint(who: Principal, name: string, point: string): Promise<void> {
    this.#rights.require(who, "manage", name, "");
    const event = { action: "restore-point.delete", resource: spaceResource(name), details: { name: point } };
    const known = this.#known(who, name);
    this.followed.requireOwn(name, known);
    const { id } = known;
    const done = await this.#options.meta.deleteRestorePoint(id, point, this.#noting(who, event));
    if (!done) throw unknownPoint(name, point);
  }

  watch(space: string, onEvent: (event: SpaceEvent) => void, signal: AbortSignal): void {
    this.#watchers.add(space, onEvent, signal);
  }

  // ---------------------------------------------------------------- audit

  /** The record of a change, for the transaction of the change. */
  #noting(who: Principal, event: Omit<AuditEvent, "outcome">): WithIt {
    return (sql) => this.#options.audit.appendIn(sql, { id: who.id }, { ...event, outcome: "done" });
  }

  /** The record of what was tried, with what came of it; it is durable before anybody is told. */
  async #audited<T>(
    by: Actor,
    event: Omit<AuditEvent, "outcome" | "details">,
    details: Readonly<Record<string, unknown>>,
    work: () => Promise<{ value: T; counts: Readonly<Record<string, unknown>> }>,
  ): Promise<T> {
    const { audit } = this.#options;
    let done: { value: T; counts: Readonly<Record<string, unknown>> };
    try {
      done = await work();
    } catch (error) {
      const code = error instanceof SynclineError ? error.code : "INTERNAL";
      await audit.append(by, { ...event, outcome: "failed", details: { ...details, code } });
      throw error;
    }
    await audit.append(by, { ...event, outcome: "done", details: { ...details, ...done.counts } });
    return done.value;
  }
}
