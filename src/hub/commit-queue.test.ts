import { afterEach, beforeEach, expect, test } from "bun:test";
import { CommitQueue } from "#hub/commit-queue.ts";
import { TRACE, TestHub } from "#hub/hub-fixture.ts";
import type { CommitOutcome, MetaStore } from "#hub/meta/meta-store.ts";
import type { SpaceId } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";

/** The real store; notes which commits came together, and can lose an answer. */
class Overheard {
  readonly groups: number[][] = [];
  /** Called with each group after it was made. */
  after: (group: number) => void = () => undefined;
  readonly #meta: MetaStore;

  constructor(meta: MetaStore) {
    this.#meta = meta;
  }

  async commit(...[commits, manifests, sums, durable]: Parameters<MetaStore["commit"]>): Promise<CommitOutcome[]> {
    this.groups.push(commits.map(({ timeMs }) => timeMs));
    const outcomes = await this.#meta.commit(commits, manifests, sums, durable);
    this.after(this.groups.length);
    return outcomes;
  }
}

const error = (code: "DISK" | "LINK_LOST"): SynclineError => new SynclineError({ code, op: "test", message: code });
const durable = (): Promise<void> => Promise.resolve();
const codesOf = async (all: Promise<unknown>[]): Promise<string[]> =>
  (await Promise.allSettled(all)).map((one) => (one.status === "fulfilled" ? "done" : (one.reason as SynclineError).code));

let hub: TestHub;
let store: Overheard;
let queue: CommitQueue;
let space: SpaceId;

beforeEach(async () => {
  hub = await TestHub.open();
  space = (await hub.spaces.createSpace(hub.who, "demo")).id;
  store = new Overheard(hub.meta);
  queue = new CommitQueue(store as unknown as MetaStore);
});
afterEach(() => hub[Symbol.asyncDispose]());

/** A commit that is known by its time, and makes so many directories. */
function add(name: number, more: { changes?: number; space?: number; flush?: (onBegun: () => void) => Promise<void> } = {}): Promise<CommitOutcome> {
  const changes = Array.from({ length: more.changes ?? 1 }, (_, at) => {
    const entry = { kind: "dir", mode: 0o755 } as const;
    return { type: "put", path: `d${name}-${at}`, expect: { kind: "any" }, entry, content: undefined, makeParents: false } as const;
  });
  const origin = { actor: "user:test", host: undefined, traceId: TRACE, cause: "edit", runId: undefined, message: undefined } as const;
  const commit = { space: (more.space ?? space) as SpaceId, origin, timeMs: name, changes, atomic: true };
  return queue.add(commit, { manifests: new Map(), sums: new Map() }, more.flush ?? durable);
}

test("[SPACE-16] what comes together goes together; what comes meanwhile goes next, and nothing waits for ever", async () => {
  const late: Promise<unknown>[] = [];
  store.after = (group) => {
    if (group === 1) late.push(add(4), add(5));
  };
  expect(await codesOf([add(1), add(2), add(3)])).toEqual(["done", "done", "done"]);
  await queue.idle();
  expect(await codesOf(late)).toEqual(["done", "done"]);
  expect(store.groups).toEqual([[1, 2, 3], [4, 5]]);
  await add(6);
  expect(store.groups.at(-1)).toEqual([6]);
});

test("[SPACE-15] the one whose content is lost, or that cannot be done, fails; the others are made once", async () => {
  const all = [add(1), add(2, { flush: () => Promise.reject(error("DISK")) }), add(3, { space: 99 }), add(4)];
  expect(await codesOf(all)).toEqual(["done", "DISK", "SPACE_UNKNOWN", "done"]);
  expect(store.groups).toEqual([[1, 3, 4], [1], [3], [4]]);
  expect((await hub.spaces.space(hub.who, "demo")).sequence).toBe(2);
});

test("[SPACE-39] rows are made while their content becomes durable, and nothing of them is there before, or where it does not", async () => {
  for (const [fails, others] of [[false, []], [true, []], [false, [2]], [true, [2]]] as const) {
    const flushed = Promise.withResolvers<void>();
    const adding = codesOf([add(1, { flush: () => flushed.promise }), ...others.map((name) => add(name))]);
    const before = (await hub.spaces.space(hub.who, "demo")).sequence;
    for (let turn = 0; turn < 20; turn++) {
      await new Promise<void>((resolve) => void setImmediate(resolve));
      expect((await hub.spaces.space(hub.who, "demo")).sequence).toBe(before);
    }
    if (fails) flushed.reject(error("DISK"));
    else flushed.resolve();
    expect(await adding).toEqual([fails ? "DISK" : "done", ...others.map(() => "done")]);
    expect((await hub.spaces.space(hub.who, "demo")).sequence).toBe(before + others.length + (fails ? 0 : 1));
  }
});

test("[SPACE-49] the rows of one that comes alone are made when the disk is at work on its content, or has nothing to do", async () => {
  const turns = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn++) await new Promise<void>((resolve) => void setImmediate(resolve));
  };
  const flushed = Promise.withResolvers<void>();
  let begin = (): void => undefined;
  const adding = add(1, { flush: (onBegun) => ((begin = onBegun), flushed.promise) });
  await turns();
  expect(store.groups).toEqual([]);
  begin();
  await turns();
  expect(store.groups).toEqual([[1]]);
  flushed.resolve();
  await adding;
  await add(2, { flush: durable });
  expect(store.groups).toEqual([[1], [2]]);
});

test("[SPACE-17] what may have been made is not made again: all are told", async () => {
  for (const [at, code] of (["LINK_LOST", "DISK"] as const).entries()) {
    store.after = () => {
      throw error(code);
    };
    expect(await codesOf([add(10 * at + 1), add(10 * at + 2)])).toEqual([code, code]);
    expect(store.groups).toHaveLength(at + 1);
    expect((await hub.spaces.space(hub.who, "demo")).sequence).toBe(2 * (at + 1));
  }
});

test("[SPACE-16] groups have a greatest size, and so has the queue: who comes then is told to come again", async () => {
  const all = Array.from({ length: 4096 }, (_, at) => add(at, { changes: at === 300 ? 21_000 : 1 }));
  expect(await codesOf([add(5000)])).toEqual(["LIMIT"]);
  expect(new Set(await codesOf(all))).toEqual(new Set(["done"]));
  expect(Math.max(...store.groups.map((group) => group.length))).toBe(256);
  expect(store.groups.flat()).toEqual(Array.from({ length: 4096 }, (_, at) => at));
  expect(store.groups.find((group) => group.includes(300))).toEqual([300]);
});

test("[SPACE-61] a fault of one commit is told to whoever waits for it, and the next ones are made", async () => {
  const fault = (): never => {
    throw new TypeError("a fault");
  };
  const failed = await add(1, { flush: fault }).catch((error: unknown) => error);
  expect(failed).toBeInstanceOf(TypeError);
  await add(2);
  await queue.idle();
  expect(store.groups).toEqual([[2]]);
});
