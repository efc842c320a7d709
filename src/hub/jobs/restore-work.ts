/**
 * A restore of a large tree, part by part. Each part is a commit of its own, in the order in which a whole restore would
 * make its changes, all of one run: it can be taken back like any other. After a crash the two states are compared
 * again, and only what still differs is changed.
 *
 * What somebody changed after the job began is left alone and told, and so is what cannot be changed because of it.
 */
import type { MetaStore } from "#hub/meta/meta-store.ts";
import type { RESTORE_ARGS } from "#hub/jobs/kinds.ts";
import { LeftPaths } from "#hub/jobs/left-paths.ts";
import { parsePoint } from "#hub/point-text.ts";
import { type Difference, changesFor, differ, differences } from "#hub/restore.ts";
import { type SpaceAudit, spaceResource } from "#hub/space-audit.ts";
import { cannotRestore } from "#hub/space-errors.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Point, Space, SpaceChange, SpaceId, Version } from "#hub/space.ts";
import type { JobContext, JobWork } from "#jobs/kind.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, parentOf, printablePath } from "#model/path.ts";
import type { Random } from "#platform/host.ts";
import type * as z from "zod";

/** Changes of one part. */
export const PART_CHANGES = 2000;
/** Paths that one restore may change; more is done directory by directory. */
const CHANGES_MAX = 2_000_000;
const PAGE_ROWS = 5000;

export type RestoreParts = {
  readonly spaces: SpaceService;
  readonly meta: MetaStore;
  readonly audit: SpaceAudit;
  readonly random: Random;
};

type Args = z.infer<typeof RESTORE_ARGS>;

/** What is decided at the first beginning, and what was done so far. */
type State = {
  readonly lineage: string;
  readonly to: number;
  /** Of the space when the job began: later changes are left alone. */
  readonly from: number;
  readonly runId: string;
  readonly done: number;
};

const withDone = (state: State, done: number): State => ({ ...state, done });

export function restoreWork(parts: RestoreParts): JobWork<Args> {
  return async (args, context) => {
    const event = { action: "space.restore", resource: spaceResource(args.space, args.path) };
    const by = { id: context.who.id, traceId: context.traceId };
    try {
      const result = await new Restore(parts, args, context).run();
      await parts.audit.append(by, { ...event, outcome: "done", details: { job: context.id, ...result } });
      return result;
    } catch (error) {
      // Interruptions are no outcome: the job goes on later.
      const code = error instanceof SynclineError && !context.signal.aborted ? error.code : undefined;
      if (code !== undefined) {
        await parts.audit.append(by, { ...event, outcome: "failed", details: { job: context.id, to: args.to, code } });
      }
      throw error;
    }
  };
}

class Restore {
  readonly #parts: RestoreParts;
  readonly #args: Args;
  readonly #context: JobContext;
  readonly #left = new LeftPaths();

  constructor(parts: RestoreParts, args: Args, context: JobContext) {
    this.#parts = parts;
    this.#args = args;
    this.#context = context;
  }

  async run() {
    const { spaces } = this.#parts;
    const { who, bound } = this.#context;
    if (bound !== undefined) spaces.requireIs(this.#args.space, bound as SpaceId);
    const space = await spaces.space(who, this.#args.space);
    const kept = this.#context.checkpoint as State | undefined;
    let state = kept ?? (await this.#begin(space));
    if (state.lineage !== space.lineage) throw otherLineage(space.name);
    // What was committed last may not have been saved.
    if (kept !== undefined) state = withDone(state, (await this.#since(space, state)).own);
    await this.#context.save(state, this.#progress(state.done, undefined, "comparing"));
    const changes = await this.#changes(space, state);
    const total = state.done + changes.length;
    for (let at = 0; at < changes.length; at += PART_CHANGES) {
      const done = await this.#commit(space, changes.slice(at, at + PART_CHANGES), state);
      state = withDone(state, state.done + done);
      await this.#context.save(state, this.#progress(state.done, total, "restoring"));
    }
    const { to, runId, done } = state;
    return { to, runId, changed: done, leftAlone: this.#left.count, left: this.#left.named };
  }

  #progress(done: number, total: number | undefined, phase: string) {
    return { done, total, unit: "paths", phase };
  }

  async #begin(space: Space): Promise<State> {
    const to = await this.#sequenceOf(space);
    const runId = Buffer.from(this.#parts.random.bytes(6)).toString("hex");
    return { lineage: space.lineage, to, from: space.sequence, runId, done: 0 };
  }

  async #sequenceOf(space: Space): Promise<number> {
    const { meta } = this.#parts;
    const point = parsePoint(this.#args.to);
    if ("timeMs" in point) return meta.sequenceAt(space.id, point.timeMs);
    if ("sequence" in point) {
      if (point.sequence <= space.sequence) return point.sequence;
      const message = `the space ${space.name} has no sequence ${point.sequence} yet; its last is ${space.sequence}`;
      throw new SynclineError({ code: "NOT_FOUND", op: "restore", message });
    }
    const found = (await meta.restorePoints(space.id)).find(({ name }) => name === point.restorePoint);
    if (found !== undefined) return found.sequence;
    const message = `the space ${space.name} has no restore point "${printablePath(point.restorePoint.slice(0, 100))}"`;
    throw new SynclineError({ code: "NOT_FOUND", op: "restore", message });
  }

  /** What is still to be done, in order. @throws {SynclineError} CHUNK_MISSING before anything was changed, LIMIT */
  async #changes(space: Space, state: State): Promise<SpaceChange[]> {
    const found: Difference[] = [];
    for await (const difference of this.#differences(space, { sequence: state.to })) {
      const { path, now } = difference;
      // That the path of the job itself was removed is told by its tombstone, and may be this job's own doing.
      if (now?.entry !== undefined && now.sequence > state.from) this.#left.add(path, "it was changed after the job began");
      else found.push(difference);
      if (found.length > CHANGES_MAX) throw tooMany();
      if (found.length % PAGE_ROWS === 0) this.#context.signal.throwIfAborted();
    }
    const { changes, lost } = changesFor(await this.#withoutRemoved(space, state, found));
    if (lost.length > 0 && state.done === 0) throw cannotRestore(lost);
    for (const path of lost) this.#left.add(path, "its bytes were dropped by retention, or purged");
    return changes;
  }

  /** What others have removed since is in no listing: it would look as if it had never been there. */
  async #withoutRemoved(space: Space, state: State, found: readonly Difference[]): Promise<Difference[]> {
    const { removed } = await this.#since(space, state);
    return found.filter(({ path, now }) => {
      if (now?.entry !== undefined || !isRemoved(path, removed)) return true;
      this.#left.add(path, "it was removed after the job began");
      return false;
    });
  }

  /** Since the job began: how many changes it has made, and which paths others have removed, as far as they still are. */
  async #since({ id }: Space, { from, runId }: State): Promise<{ own: number; removed: ReadonlySet<RelPath> }> {
    const removed = new Set<RelPath>();
    let own = 0;
    for (let after = from; ; ) {
      this.#context.signal.throwIfAborted();
      const page = await this.#parts.meta.journal(id, after, PAGE_ROWS);
      for (const { path, entry, sequence, origin } of page) {
        const isOwn = origin.runId === runId;
        if (isOwn) own++;
        if (entry === undefined && !isOwn) removed.add(path);
        else removed.delete(path);
        if (removed.size > CHANGES_MAX) throw tooMany();
        after = sequence;
      }
      if (page.length < PAGE_ROWS) return { own, removed };
    }
  }

  async *#differences({ id }: Space, to: Point): AsyncGenerator<Difference> {
    const { meta } = this.#parts;
    const { path } = this.#args;
    if (path !== "") {
      const now = await meta.version(id, path);
      const wanted = await meta.versionAt(id, path, to);
      if (differ(now, wanted)) yield { path, now, wanted };
    }
    yield* differences(this.#walk(id, undefined), this.#walk(id, to));
  }

  async *#walk(id: SpaceId, at: Point | undefined): AsyncGenerator<Version> {
    const { space, path: below } = this.#args;
    for (let after: RelPath | undefined; ; ) {
      const request = { below, after, shallow: false, limit: PAGE_ROWS, at };
      this.#parts.spaces.requireIs(space, id);
      const page = await this.#parts.spaces.list(this.#context.who, space, request);
      yield* page;
      if (page.length < PAGE_ROWS) return;
      after = page.at(-1)!.path;
    }
  }

  /** Gives how many of them were done. */
  async #commit({ id }: Space, part: readonly SpaceChange[], { runId }: State): Promise<number> {
    const { spaces } = this.#parts;
    const { space, message } = this.#args;
    const { who, traceId } = this.#context;
    spaces.requireIs(space, id);
    // It is for this space, and so is what is committed through it.
    await using intake = spaces.intake(who, space);
    const changes: SpaceChange[] = [];
    for (const change of part) {
      const content = change.type === "put" ? change.content : undefined;
      if (content === undefined || (await intake.hold(content))) changes.push(change);
      else if (change.type === "put") this.#left.add(change.path, "its bytes are missing");
    }
    const request = { changes, intake, atomic: false, cause: "restore", traceId, runId, message } as const;
    const { results } = await spaces.commit(who, space, request);
    let done = 0;
    for (const result of results) {
      if (result.status === "done") done++;
      else this.#left.add(result.path, result.status === "stale" ? "it was changed meanwhile" : result.message);
    }
    return done;
  }
}

/** Or a directory that it would lie in. */
function isRemoved(path: RelPath, removed: ReadonlySet<RelPath>): boolean {
  if (removed.size === 0) return false;
  for (let at = path; at !== ""; at = parentOf(at)) if (removed.has(at)) return true;
  return false;
}

function otherLineage(space: string): SynclineError {
  return new SynclineError({
    code: "STALE",
    op: "restore",
    message: `the space ${space} is another one than when the job began`,
    hint: "look at it, and begin a new restore",
  });
}

function tooMany(): SynclineError {
  const message = `a restore of more than ${CHANGES_MAX} paths`;
  return new SynclineError({ code: "LIMIT", op: "restore", message, hint: "do it directory by directory" });
}
