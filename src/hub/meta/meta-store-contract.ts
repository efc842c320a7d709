/** What every MetaStore must do; sql-meta-store.test.ts runs it on SQLite, acceptance/database.test.ts on PostgreSQL. */
import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Commit, CommitOutcome, MetaStore } from "#hub/meta/meta-store.ts";
import { DIR, ORIGIN, commitOne, contentOf, fileOf, putFile } from "#hub/meta/commit-fixture.ts";
import { type ModelRecord, SpaceModel } from "#hub/meta/space-model-fixture.ts";
import {
  type ChangeResult,
  type ContentRef,
  type Expect,
  type Origin,
  SETTINGS_DEFAULT,
  type Space,
  type SpaceChange,
  type SpaceId,
  type SpaceSettings,
} from "#hub/space.ts";
import type { Entry, FileEntry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { compareBytes, encodeName } from "#model/path.ts";
import { type ChunkId, type ContentId, chunkIdOf, contentIdOf } from "#sync/chunk/chunk-id.ts";
import { CHUNK_LIMITS } from "#sync/chunk/fastcdc.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

export type MetaLab = {
  open(): Promise<MetaStore>;
  /** The same database, after close(). */
  reopen(): Promise<MetaStore>;
  dispose(): Promise<void>;
};

const SEEDS = Uint8Array.from({ length: 16 }, (_, at) => at * 17);
const putDir = (path: string): SpaceChange => ({
  type: "put",
  path,
  expect: { kind: "any" },
  entry: DIR,
  content: undefined,
  makeParents: false,
});
const remove = (path: string, recursive = false, expect: Expect = { kind: "any" }): SpaceChange => ({
  type: "remove",
  path,
  expect,
  recursive,
});
const move = (from: string, to: string, expect: Expect = { kind: "any" }): SpaceChange => ({
  type: "move",
  from,
  to,
  expect,
});

/** One word for each result: "done", "stale", or why it was refused. */
const wordsOf = (results: readonly ChangeResult[]): string[] =>
  results.map((result) => (result.status === "refused" ? result.code : result.status));

async function codeOf(done: Promise<unknown>): Promise<string> {
  try {
    await done;
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    throw error;
  }
  return "none";
}

const manifestOf = (seed: string): { id: ContentId; manifest: Manifest } => {
  const ids: ChunkId[] = [`${seed}1`, `${seed}2`].map((text) => chunkIdOf(encodeName(text)));
  const chunks = ids.map((id) => ({ id, length: CHUNK_LIMITS.minBytes }));
  const size = 2 * CHUNK_LIMITS.minBytes;
  return { id: contentIdOf(ids), manifest: { algorithm: "sha256", limits: CHUNK_LIMITS, size, chunks } };
};
const putLarge = (path: string, id: ContentId): SpaceChange => {
  const size = 2 * CHUNK_LIMITS.minBytes;
  const entry: Entry = { kind: "file", size, mode: 0o600, mtimeNs: 5n, sum: undefined };
  return { type: "put", path, expect: { kind: "any" }, entry, content: { id, size }, makeParents: true };
};

const NAMES = ["a", "b", "a.x", "a0", "é", "\udcff"];
const pathArb = fc
  .array(fc.constantFrom(...NAMES), { minLength: 1, maxLength: 3 })
  .map((names) => names.join("/"));
const textArb = fc.constantFrom("", "one", "two", "three");
const entryArb: fc.Arbitrary<{ entry: Entry; content: ContentRef | undefined }> = fc.oneof(
  { weight: 4, arbitrary: fc.tuple(textArb, fc.bigInt(0n, 2n), fc.constantFrom(0o644, 0o7600)).map(([text, mtime, mode]) => ({ entry: { ...fileOf(text, mtime), mode }, content: contentOf(text) })) },
  { weight: 3, arbitrary: fc.constantFrom(0o755, 0o700).map((mode) => ({ entry: { kind: "dir", mode } as Entry, content: undefined })) },
  { weight: 1, arbitrary: textArb.map((target) => ({ entry: { kind: "symlink", target: `t${target}` } as Entry, content: undefined })) },
);
const expectArb: fc.Arbitrary<Expect> = fc.oneof(
  { weight: 5, arbitrary: fc.constant<Expect>({ kind: "any" }) },
  fc.constant<Expect>({ kind: "absent" }),
  fc.constant<Expect>({ kind: "present" }),
  fc.nat(12).map((sequence): Expect => ({ kind: "sequence", sequence })),
  fc.nat(12).map((sequence): Expect => ({ kind: "unchangedSince", sequence })),
  fc.option(entryArb, { nil: undefined }).map((made): Expect => ({ kind: "entry", entry: made?.entry })),
);
const attributesArb = fc.option(
  fc.dictionary(fc.constantFrom("etag.s3", "http.content-type", "user.ü", "sum.x", "content.encoding"), textArb, { maxKeys: 3 }),
  { nil: undefined },
);
const putArb = fc.tuple(pathArb, expectArb, entryArb, attributesArb, fc.boolean(), fc.boolean());
const changeArb: fc.Arbitrary<SpaceChange> = fc.oneof(
  { weight: 6, arbitrary: putArb.map(([path, expect, made, attributes, makeParents, keepsMode]): SpaceChange => ({ type: "put", path, expect, ...made, attributes, makeParents, keepsMode })) },
  { weight: 2, arbitrary: fc.tuple(pathArb, expectArb, fc.boolean()).map(([path, expect, recursive]) => remove(path, recursive, expect)) },
  { weight: 2, arbitrary: fc.tuple(pathArb, pathArb, expectArb).map(([from, to, expect]) => move(from, to, expect)) },
);
const commitArb = fc.record({
  changes: fc.array(changeArb, { minLength: 1, maxLength: 6 }),
  atomic: fc.boolean(),
  // A clock that jumps about.
  timeMs: fc.integer({ min: 1, max: 30 }),
});
/** Commits that are given together, and after that others. */
const historyArb = fc.array(fc.array(commitArb, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 10 });
const QUOTA_ENTRIES = 9;

export function metaStoreContract(name: string, makeLab: () => Promise<MetaLab>, runs: number): void {
  describe(`meta store contract: ${name}`, () => {
    let lab: MetaLab | undefined;
    const fresh = async (settings: Partial<SpaceSettings> = {}): Promise<{ store: MetaStore; space: Space }> => {
      lab = await makeLab();
      const store = await lab.open();
      const space = await store.createSpace("demo", { ...SETTINGS_DEFAULT, ...settings }, SEEDS, "lineage", 1);
      return { store, space };
    };
    afterEach(async () => {
      await lab?.dispose();
      lab = undefined;
    });

    test("spaces: made, named, changed, deleted, brought back, erased; ids are never used again", async () => {
      const { store, space } = await fresh({ quotaBytes: 5, ignore: ["*.tmp"], retention: { versions: 3, ageMs: undefined } });
      expect(space).toEqual({
        id: space.id,
        name: "demo",
        createdMs: 1,
        deletedMs: undefined,
        settings: { quotaBytes: 5, quotaEntries: undefined, ignore: ["*.tmp"], retention: { versions: 3, ageMs: undefined } },
        lineage: "lineage",
        seeds: SEEDS,
        sequence: 0,
        usage: { bytes: 0, entries: 0 },
      });
      expect(await codeOf(store.createSpace("demo", SETTINGS_DEFAULT, SEEDS, "x", 2))).toBe("EXISTS");
      const other = await store.createSpace("other", SETTINGS_DEFAULT, SEEDS, "x", 2);
      expect(await codeOf(store.updateSpace(other.id, { name: "demo" }))).toBe("EXISTS");
      expect(await codeOf(store.updateSpace(99 as SpaceId, { name: "x" }))).toBe("SPACE_UNKNOWN");
      expect((await store.updateSpace(other.id, { name: "another", settings: SETTINGS_DEFAULT })).name).toBe("another");
      expect((await store.updateSpace(other.id, { deletedMs: 7 })).deletedMs).toBe(7);
      expect(await codeOf(commitOne(store, other.id, [putDir("a")]))).toBe("SPACE_UNKNOWN");
      expect((await store.updateSpace(other.id, { deletedMs: null })).deletedMs).toBeUndefined();
      await commitOne(store, other.id, [putFile("a/b", "x")]);
      await store.createRestorePoint({ space: other.id, name: "p", sequence: 1, timeMs: 1, actor: "user:ann" });
      expect(await codeOf(store.eraseSpace(other.id, Date.now()))).toBe("DENIED");
      await store.updateSpace(other.id, { deletedMs: 8 });
      await store.eraseSpace(other.id, Date.now());
      expect((await store.spaces()).map(({ name }) => name)).toEqual(["demo"]);
      expect(await store.journal(other.id, 0, 10)).toEqual([]);
      expect(await store.restorePoints(other.id)).toEqual([]);
      expect(await store.liveContent(undefined, 10)).toEqual([]);
      expect((await store.createSpace("third", SETTINGS_DEFAULT, SEEDS, "x", 2)).id).toBeGreaterThan(other.id);
    });

    test("the hub's id is made once and is there after a restart, with everything else", async () => {
      const { store, space } = await fresh();
      expect(store.hubId).toMatch(/^[0-9a-f]{16}$/);
      await commitOne(store, space.id, [putFile("a/b", "x")]);
      const all = await store.journal(space.id, 0, 10);
      await store.close();
      const again = await lab!.reopen();
      expect(again.hubId).toBe(store.hubId);
      expect(await again.journal(space.id, 0, 10)).toEqual(all);
      expect(await again.spaces()).toEqual([{ ...space, sequence: 2, usage: { bytes: 1, entries: 2 } }]);
    });

    test("conflict copies are found by their names, page by page, and what lies in one that is a directory belongs to it", async () => {
      const { store, space } = await fresh();
      const copies = ["a.conflict-alpha-01234567.txt", "d/b.conflict-beta-89abcdef", "d/e.conflict-beta-00000000"];
      const others = ["a.txt", "x.conflict-beta-1", "d/e.conflict-beta-00000000/x.conflict-alpha-01234567", "e/a.conflict-alpha-01234567"];
      await commitOne(store, space.id, [
        ...[copies[0]!, copies[1]!, ...others].map((path) => putFile(path, path)),
        remove("e/a.conflict-alpha-01234567"),
      ]);
      const all = await store.copies(space.id, { below: "", after: undefined, limit: 10 });
      expect([all.copies.map(({ path }) => path), all.next]).toEqual([copies, undefined]);
      expect(all.copies[0]).toEqual((await store.version(space.id, copies[0]!))!);
      const paged: string[] = [];
      for (let after: string | undefined, pages = 0; pages < 10; pages++) {
        const page = await store.copies(space.id, { below: "", after, limit: 1 });
        paged.push(...page.copies.map(({ path }) => path));
        after = page.next;
        if (after === undefined) break;
      }
      expect(paged).toEqual(copies);
      const below = async (dir: string): Promise<string[]> =>
        (await store.copies(space.id, { below: dir, after: undefined, limit: 10 })).copies.map(({ path }) => path);
      expect(await below("d")).toEqual(copies.slice(1));
      expect(await below(copies[2]!)).toEqual([`${copies[2]}/x.conflict-alpha-01234567`]);
      // Gone, and come back under another name.
      await commitOne(store, space.id, [move(copies[0]!, "a2.txt"), move("d", "moved")]);
      expect(await below("")).toEqual(copies.slice(1).map((path) => path.replace("d/", "moved/")));
    });

    test("a journal record says everything about its change", async () => {
      const { store, space } = await fresh();
      const origin: Origin = { ...ORIGIN, host: undefined, cause: "rollout", runId: "r1", message: "why" };
      await commitOne(store, space.id, [putFile("d/f", "one")], { origin, timeMs: 5 });
      await commitOne(store, space.id, [move("d/f", "g"), putFile("g", "two")], { timeMs: 6 });
      const records = await store.journal(space.id, 0, 10);
      expect(records.map(({ sequence, action, path }) => [sequence, action, path])).toEqual([
        [1, "create", "d"],
        [2, "create", "d/f"],
        [3, "remove", "d/f"],
        [4, "move", "g"],
        [5, "replace", "g"],
      ]);
      expect(records[1]).toEqual({
        path: "d/f",
        sequence: 2,
        entry: fileOf("one"),
        content: contentOf("one"),
        attributes: {},
        vector: { [store.hubId]: 2 },
        action: "create",
        from: undefined,
        previous: 0,
        timeMs: 5,
        commit: 1,
        origin,
      });
      expect(records[2]).toMatchObject({ entry: undefined, content: undefined, previous: 2, commit: 3, origin: ORIGIN });
      expect(records[3]).toMatchObject({ from: "d/f", content: contentOf("one"), previous: 0, timeMs: 6 });
      expect(await store.journalOfRun(space.id, "r1")).toEqual(records.slice(0, 2));
      expect(await store.history(space.id, "g", undefined, 10)).toEqual([records[4]!, records[3]!]);
      expect(await store.history(space.id, "g", 5, 10)).toEqual([records[3]!]);
      expect(await store.history(space.id, "g", undefined, 1)).toEqual([records[4]!]);
    });

    test("every kind of entry with all its metadata comes back as it was", async () => {
      const { store, space } = await fresh();
      const owner = { uid: 1000, gid: 100, user: "ann", group: "users" };
      const entries: Record<string, Entry> = {
        dir: { kind: "dir", mode: 0o1777, owner, xattrs: [["user.a", "\u00ff\u0000"]] },
        link: { kind: "symlink", target: "../\udcff/x", owner },
        file: { ...fileOf("x", -(10n ** 30n)), owner, xattrs: [["user.b", ""]] },
        hard: { ...fileOf("x", 10n ** 18n), linkTo: "file" },
      };
      const changes = Object.entries(entries).map(([path, entry]): SpaceChange => {
        const content = entry.kind === "file" ? contentOf("x") : undefined;
        return { type: "put", path, expect: { kind: "any" }, entry, content, makeParents: false };
      });
      expect(wordsOf((await commitOne(store, space.id, changes)).results)).toEqual(["done", "done", "done", "done"]);
      const list = await store.list(space.id, { below: "", after: undefined, shallow: false, limit: 10, at: undefined });
      expect(Object.fromEntries(list.map(({ path, entry }) => [path, entry!]))).toEqual(entries);
    });

    test("what a space cannot keep is refused and stops nothing else of the same commit", async () => {
      const { store, space } = await fresh();
      const any = { kind: "any" } as const;
      const put = (path: string, entry: Entry, content?: ContentRef): SpaceChange => ({
        type: "put",
        path,
        expect: any,
        entry,
        content,
        makeParents: true,
      });
      const changes = [
        put("", DIR),
        put("/a", DIR),
        put("a/../b", DIR),
        put("x\0y", DIR),
        put(".syncline/x", DIR),
        put("n".repeat(256), DIR),
        put("\ud800", DIR),
        put("\udcc3\udca4", DIR),
        put("o", { kind: "other", what: "fifo" }),
        put("f", fileOf("x")),
        put("f", fileOf("x"), contentOf("longer")),
        put("f", DIR, contentOf("x")),
        put("f", { ...fileOf("x"), sum: "short" }, contentOf("x")),
        put("f", { ...fileOf("x"), mode: 0o10000 }, contentOf("x")),
        put("f", fileOf("x"), { id: "zz" as ContentId, size: 1 }),
        put("s", { kind: "symlink", target: "" }),
        move("ok", ""),
        remove(""),
        put("ok", DIR),
      ];
      const { results, after } = await commitOne(store, space.id, changes);
      const names = Array.from({ length: 8 }, () => "NAME");
      const contents = Array.from({ length: 8 }, () => "CONTENT");
      expect(wordsOf(results)).toEqual([...names, ...contents, "NAME", "NAME", "done"]);
      expect(after).toBe(1);
    });

    test("paths and texts that are spelled strangely find nothing that is not theirs, and break nothing", async () => {
      const { store, space } = await fresh();
      const origin: Origin = { ...ORIGIN, runId: "r\0", message: "a\0b\ud800", actor: "user:\0" };
      await commitOne(store, space.id, [putFile("ä/f", "x"), putFile("\ufffd", "x"), putFile("\udcff", "x")], { origin });
      // The bytes of "ä", each of them escaped; and half a character, which has the bytes of the replacement character.
      for (const path of ["\udcc3\udca4", "\ud800"]) {
        expect(await store.version(space.id, path)).toBeUndefined();
        expect(await store.versionAt(space.id, path, { sequence: 9 })).toBeUndefined();
        expect(await store.history(space.id, path, undefined, 9)).toEqual([]);
        expect(await store.list(space.id, { below: path, after: undefined, shallow: false, limit: 9, at: undefined })).toEqual([]);
        expect(await store.changedSince(space.id, path, 0, 9)).toEqual([]);
      }
      expect((await store.version(space.id, "\udcff"))?.path).toBe("\udcff");
      const records = await store.journalOfRun(space.id, "r\0");
      expect(records.length).toBe(4);
      expect(records[0]!.origin).toMatchObject({ runId: "r\ufffd", message: "a\ufffdb\ufffd", actor: "user:\ufffd" });
      for (const odd of [1.5, 1e300, -1e300, Infinity]) {
        expect(await store.versionAt(space.id, "ä", { sequence: odd })).toEqual(odd < 1 ? undefined : expect.anything());
        expect(await store.versionAt(space.id, "ä", { timeMs: odd })).toEqual(odd < 1000 ? undefined : expect.anything());
        expect((await store.journal(space.id, odd, 9.5)).length).toBe(odd < 0 ? 4 : odd < 4 ? 3 : 0);
        expect((await store.history(space.id, "ä", odd, 9)).length).toBe(odd < 1 || odd === 1.5 ? 0 : 1);
        expect((await store.changedSince(space.id, "ä", odd, 9)).length).toBe(odd < 0 ? 2 : odd < 4 ? 1 : 0);
      }
      expect(await store.deleteRestorePoint(space.id, "p\0")).toBe(false);
    });

    test("[SUMS-4] sums are kept with content that was put, added to, and go with its last version", async () => {
      const { store, space } = await fresh({ retention: { versions: 0, ageMs: undefined } });
      const [one, two] = [contentOf("one"), contentOf("two")];
      const md5 = "0123456789abcdef0123456789abcdef";
      const sums = new Map([[one.id, { md5 }], [two.id, { md5 }]]);
      const changes = [putFile("f", "one"), putFile("f", "two", { kind: "absent" })];
      await store.commit([{ space: space.id, changes, origin: ORIGIN, timeMs: 1, atomic: false }], new Map(), sums);
      expect(await store.sums(one.id)).toEqual({ md5 });
      expect(await store.sums(two.id)).toEqual({});
      await store.addSums(one.id, { crc32: "00000001" });
      await store.addSums(two.id, { crc32: "00000001" });
      expect(await store.sums(one.id)).toEqual({ md5, crc32: "00000001" });
      expect(await store.sums(two.id)).toEqual({});
      await commitOne(store, space.id, [putFile("g", "one"), putFile("f", "two")]);
      await store.expire(space.id, 10_000, 10);
      expect(await store.sums(one.id)).toEqual({ md5, crc32: "00000001" });
      await commitOne(store, space.id, [remove("g")]);
      await store.expire(space.id, 10_000, 10);
      expect(await store.sums(one.id)).toEqual({});
    });

    test("a change whose expectation is not met says what is there", async () => {
      const { store, space } = await fresh();
      await commitOne(store, space.id, [putFile("f", "one"), putFile("g", "x"), remove("g")]);
      const f = await store.version(space.id, "f");
      const g = await store.version(space.id, "g");
      expect(g).toMatchObject({ sequence: 3, entry: undefined });
      const { results } = await commitOne(store, space.id, [
        putFile("f", "two", { kind: "absent" }),
        putFile("f", "two", { kind: "sequence", sequence: 9 }),
        putFile("f", "two", { kind: "entry", entry: fileOf("other") }),
        putFile("f", "two", { kind: "entry", entry: { ...fileOf("one"), sum: undefined } }),
        putFile("g", "two", { kind: "present" }),
        remove("never"),
        putFile("f", "two", { kind: "entry", entry: { ...fileOf("one"), owner: { uid: 5, gid: 5 } } }),
        putFile("g", "two", { kind: "sequence", sequence: 3 }),
        putFile("h", "two", { kind: "entry", entry: undefined }),
      ]);
      expect(results.slice(0, 4)).toEqual(Array.from({ length: 4 }, () => ({ status: "stale", path: "f", version: f })));
      expect(results[4]).toEqual({ status: "stale", path: "g", version: g });
      expect(results[5]).toEqual({ status: "stale", path: "never", version: undefined });
      expect(wordsOf(results.slice(6))).toEqual(["done", "done", "done"]);
    });

    test("attributes and links count in an expectation only where both sides carry them", async () => {
      const { store, space } = await fresh();
      const entry: Entry = { ...fileOf("x"), xattrs: [["user.a", "1"]], linkTo: "g" };
      await commitOne(store, space.id, [{ ...putFile("f", "x"), entry } as SpaceChange]);
      const expecting = (seen: Partial<FileEntry>) =>
        commitOne(store, space.id, [
          { ...putFile("f", "x", { kind: "entry", entry: { ...fileOf("x"), ...seen } }), entry } as SpaceChange,
        ]);
      expect(wordsOf((await expecting({})).results)).toEqual(["done"]);
      expect(wordsOf((await expecting({ xattrs: [["user.a", "2"]] })).results)).toEqual(["stale"]);
      expect(wordsOf((await expecting({ linkTo: "h" })).results)).toEqual(["stale"]);
      expect(wordsOf((await expecting({ linkTo: "g", xattrs: [["user.a", "1"]] })).results)).toEqual(["done"]);
    });

    test("an atomic commit is made as a whole or not at all, and others beside it are not touched", async () => {
      const { store, space } = await fresh();
      const commit = (changes: SpaceChange[], atomic: boolean): Commit => ({ space: space.id, changes, atomic, origin: ORIGIN, timeMs: 1 });
      const outcomes = await store.commit(
        [
          commit([putFile("before", "1")], true),
          commit([putFile("x/a", "1"), remove("before"), putFile("x", "2"), putFile("y", "2")], true),
          commit([putFile("x", "3"), remove("before", false, { kind: "sequence", sequence: 1 })], true),
          commit([putFile("z", "1"), putFile("z", "2", { kind: "absent" })], true),
        ],
        new Map(),
      );
      expect(outcomes.map(({ results }) => wordsOf(results))).toEqual([
        ["done"],
        ["ATOMIC", "ATOMIC", "IS_A_DIRECTORY", "ATOMIC"],
        ["done", "done"],
        ["ATOMIC", "stale"],
      ]);
      expect(outcomes.map(({ before, after }) => [before, after])).toEqual([[0, 1], [1, 1], [1, 3], [3, 3]]);
      expect(outcomes[3]!.results[1]).toEqual({ status: "stale", path: "z", version: undefined });
      expect((await store.space(space.id))!.usage).toEqual({ bytes: 1, entries: 1 });
      expect((await store.journal(space.id, 0, 10)).map(({ path, commit }) => [path, commit])).toEqual([
        ["before", 1],
        ["x", 2],
        ["before", 2],
      ]);
    });

    test("quotas stop what makes a space larger, and nothing else", async () => {
      const { store, space } = await fresh({ quotaBytes: 10, quotaEntries: 3 });
      const first = await commitOne(store, space.id, [
        putFile("a", "12345"),
        putFile("b", "123456"),
        putFile("b", "12345"),
        putFile("d/e", ""),
        putFile("c", ""),
        putFile("d", ""),
        putFile("a", "123456"),
      ]);
      expect(wordsOf(first.results)).toEqual(["done", "QUOTA", "done", "QUOTA", "done", "QUOTA", "QUOTA"]);
      await store.updateSpace(space.id, { settings: { ...SETTINGS_DEFAULT, quotaBytes: 1, quotaEntries: 1 } });
      const then = await commitOne(store, space.id, [putFile("a", "1234"), move("c", "m"), remove("b"), putFile("a", "12345")]);
      expect(wordsOf(then.results)).toEqual(["done", "done", "done", "QUOTA"]);
      expect((await store.space(space.id))!.usage).toEqual({ bytes: 4, entries: 2 });
    });

    test("a large directory is removed and moved whole, deepest paths stay within what a path may be", async () => {
      const { store, space } = await fresh();
      const files = Array.from({ length: 2500 }, (_, at) => putFile(`d/s${at % 7}/f${at}`, "x"));
      await commitOne(store, space.id, files);
      const before = await store.space(space.id);
      const moved = await commitOne(store, space.id, [move("d", "e/f"), putDir("e"), move("d", "e/f")]);
      expect(wordsOf(moved.results)).toEqual(["NO_PARENT", "done", "done"]);
      expect((await store.space(space.id))!.usage).toEqual({ bytes: 2500, entries: before!.usage.entries + 1 });
      const listed = await store.list(space.id, { below: "e/f", after: undefined, shallow: false, limit: 10_000, at: undefined });
      expect(listed.length).toBe(2507);
      const old = await store.list(space.id, { below: "d", after: undefined, shallow: false, limit: 10_000, at: { sequence: before!.sequence } });
      expect(old.map(({ path }) => `e/f${path.slice(1)}`)).toEqual(listed.map(({ path }) => path));
      const removed = await commitOne(store, space.id, [remove("e"), remove("e", true)]);
      expect(wordsOf(removed.results)).toEqual(["NOT_EMPTY", "done"]);
      expect((await store.space(space.id))!.usage).toEqual({ bytes: 0, entries: 0 });
      const deep = Array.from({ length: 16 }, () => "n".repeat(250)).join("/");
      await commitOne(store, space.id, [putFile(`a/${deep}`, "x")]);
      const far = await commitOne(store, space.id, [move("a", "a".repeat(200)), move("a", "b")]);
      expect(wordsOf(far.results)).toEqual(["NAME", "done"]);
    });

    test("[MANIFEST-2] the manifest of a change that was not made goes with it, unless a version has the content; it can come again", async () => {
      const { store, space } = await fresh();
      const commit = (changes: SpaceChange[]): Commit => ({ space: space.id, changes, atomic: false, origin: ORIGIN, timeMs: 1 });
      const [one, two] = [manifestOf("one"), manifestOf("two")];
      const manifests = new Map([one, two].map(({ id, manifest }) => [id, manifest]));
      const tooLate = (path: string, id: ContentId): SpaceChange => ({ ...putLarge(path, id), expect: { kind: "sequence", sequence: 9 } }) as SpaceChange;
      const [outcome] = await store.commit([commit([tooLate("f", one.id), putLarge("g", two.id), tooLate("h", two.id)])], manifests);
      expect(wordsOf(outcome!.results)).toEqual(["stale", "done", "stale"]);
      expect(await store.manifest(one.id)).toBeUndefined();
      expect(await store.manifest(two.id)).toEqual(two.manifest);
      await store.commit([commit([putLarge("f", one.id)])], manifests);
      expect(await store.manifest(one.id)).toEqual(one.manifest);
    });

    test("manifests stay with their content; one that was dropped is asked for again", async () => {
      const { store, space } = await fresh({ retention: { versions: 0, ageMs: undefined } });
      const one = manifestOf("one");
      const commit = (changes: SpaceChange[]): Commit => ({ space: space.id, changes, atomic: false, origin: ORIGIN, timeMs: 1 });
      await store.commit([commit([putLarge("f", one.id), putLarge("g", one.id)])], new Map([[one.id, one.manifest]]));
      expect(await store.manifest(one.id)).toEqual(one.manifest);
      expect(await store.manifest(contentOf("small").id)).toBeUndefined();
      expect(await store.liveContent(undefined, 10)).toEqual([{ id: one.id, manifest: one.manifest }]);
      await commitOne(store, space.id, [remove("f")]);
      expect(await store.expire(space.id, 10, 10)).toBe(1);
      expect(await store.manifest(one.id)).toEqual(one.manifest);
      await commitOne(store, space.id, [remove("g")]);
      expect(await store.expire(space.id, 10, 10)).toBe(1);
      expect(await store.manifest(one.id)).toBeUndefined();
      expect(await store.liveContent(undefined, 10)).toEqual([]);
      expect(wordsOf((await commitOne(store, space.id, [putLarge("h", one.id)])).results)).toEqual(["CONTENT"]);
      const again = await store.commit([commit([putLarge("h", one.id)])], new Map([[one.id, one.manifest]]));
      expect(wordsOf(again[0]!.results)).toEqual(["done"]);
      expect(await store.manifest(one.id)).toEqual(one.manifest);
      await store.updateSpace(space.id, { deletedMs: 1 });
      await store.eraseSpace(space.id, Date.now());
      expect(await store.manifest(one.id)).toBeUndefined();
    });

    test("all live content is told once, in pages, whatever the number of its versions", async () => {
      const { store, space } = await fresh();
      const texts = Array.from({ length: 40 }, (_, at) => `t${at}`);
      await commitOne(store, space.id, texts.flatMap((text, at) => [putFile(`a${at}`, text), putFile(`b${at}`, text)]));
      const found: string[] = [];
      for (let after: ContentId | undefined; ; ) {
        const page = await store.liveContent(after, 7);
        if (page.length === 0) break;
        found.push(...page.map(({ id }) => id));
        after = page.at(-1)!.id;
      }
      expect(found).toEqual(texts.map((text) => contentOf(text).id as string).sort());
    });

    test("retention drops the content of what is old by number or by age, never what a restore point shows", async () => {
      const { store, space } = await fresh({ retention: { versions: 2, ageMs: 100 } });
      for (let at = 1; at <= 6; at++) await commitOne(store, space.id, [putFile("f", `v${at}`)], { timeMs: at * 10 });
      // Of now: as the space is when it is written, not as somebody read it before.
      const latest = { space: space.id, name: "now", sequence: undefined, timeMs: 65, actor: "user:ann" };
      let noted: number | undefined;
      const { sequence } = await store.createRestorePoint(latest, async (_, made) => void (noted = made.sequence));
      expect([sequence, noted]).toEqual([6, 6]);
      expect(await store.deleteRestorePoint(space.id, "now")).toBe(true);
      await commitOne(store, space.id, [putFile("g", "g1")], { timeMs: 70 });
      await commitOne(store, space.id, [remove("g")], { timeMs: 80 });
      await store.createRestorePoint({ space: space.id, name: "keep", sequence: 2, timeMs: 90, actor: "user:ann" });
      const point = { space: space.id, name: "keep", sequence: 2, timeMs: 90, actor: "user:ann" };
      expect(await store.restorePoints(space.id)).toEqual([point]);
      expect(await codeOf(store.createRestorePoint(point))).toBe("EXISTS");
      expect(await codeOf(store.createRestorePoint({ ...point, space: 99 as SpaceId }))).toBe("SPACE_UNKNOWN");
      const left = async (path: string) =>
        (await store.history(space.id, path, undefined, 10)).map(({ content }) => content?.id);
      const of = (...texts: (string | undefined)[]) => texts.map((text) => (text === undefined ? undefined : contentOf(text).id));
      expect(await store.expire(space.id, 100, 1)).toBe(1);
      expect(await store.expire(space.id, 100, 10)).toBe(1);
      expect(await left("f")).toEqual(of("v6", "v5", "v4", undefined, "v2", undefined));
      expect(await left("g")).toEqual(of(undefined, "g1"));
      // v4 was replaced at 50, and v5 at 60.
      expect(await store.expire(space.id, 150, 10)).toBe(1);
      expect(await left("f")).toEqual(of("v6", "v5", undefined, undefined, "v2", undefined));
      expect(await store.deleteRestorePoint(space.id, "keep")).toBe(true);
      expect(await store.deleteRestorePoint(space.id, "keep")).toBe(false);
      expect(await store.expire(space.id, 1000, 10)).toBe(3);
      expect(await left("f")).toEqual(of("v6", undefined, undefined, undefined, undefined, undefined));
      expect(await left("g")).toEqual(of(undefined, undefined));
      expect((await store.liveContent(undefined, 10)).map(({ id }) => id)).toEqual([contentOf("v6").id]);
      expect(await store.expire(space.id, 1000, 10)).toBe(0);
    });

    test("[RETAIN-1] a clock that was wrong for a while makes nothing older than it is, for retention by age", async () => {
      const DAY = 86_400_000;
      const [now, ageMs] = [1000 * DAY, 30 * DAY];
      /** Commits a version of f at each time, in this order, and says which keep their content. */
      const kept = async (...days: number[]): Promise<number[]> => {
        const { store, space } = await fresh({ retention: { versions: undefined, ageMs } });
        for (const [at, day] of days.entries()) await commitOne(store, space.id, [putFile("f", `v${at}`)], { timeMs: day * DAY });
        await store.expire(space.id, now, 100);
        const left = await store.history(space.id, "f", undefined, 100);
        return left.filter(({ content }) => content !== undefined).map(({ sequence }) => sequence - 1).toReversed();
      };
      // As it should be: a version is as old as the one that replaced it.
      expect(await kept(1, 2, 980, 990)).toEqual([1, 2, 3]);
      // The clock was at its beginning once: what came before, and what came then, is younger than it says.
      expect(await kept(1, 2, 980, 985, 0, 990)).toEqual([1, 2, 3, 4, 5]);
      expect(await kept(1, 2, 980, 985, 0)).toEqual([1, 2, 3, 4]);
      expect(await kept(900, 940, 0, 0)).toEqual([1, 2, 3]);
      expect(await kept(900, 940, 0, 0, 990)).toEqual([1, 2, 3, 4]);
      // It is known to have been over by then.
      expect(await kept(900, 920, 0, 950, 990)).toEqual([3, 4]);
      // It was ahead once, beyond now: that keeps nothing for ever.
      expect(await kept(900, 5000, 910, 920, 990)).toEqual([3, 4]);
      expect(await kept(900, 910, 5000)).toEqual([1, 2]);
    });

    test("a shallow listing skips what is inside of directories, page by page", async () => {
      const { store, space } = await fresh();
      const changes: SpaceChange[] = [];
      for (let at = 0; at < 30; at++) {
        changes.push(putFile(`d/k${at}`, "x"), putFile(`d/k${at}.txt`, "x"));
        changes[changes.length - 2] = putFile(`d/k${at}/deep/er`, "x");
        for (let inner = 0; inner < 20; inner++) changes.push(putFile(`d/k${at}/f${inner}`, "x"));
      }
      await commitOne(store, space.id, changes);
      const expected = Array.from({ length: 30 }, (_, at) => [`d/k${at}`, `d/k${at}.txt`])
        .flat()
        .sort((a, b) => compareBytes(encodeName(a), encodeName(b)));
      for (const limit of [1, 7, 59, 60, 1000]) {
        const found: string[] = [];
        for (let after: string | undefined; ; ) {
          const page = await store.list(space.id, { below: "d", after, shallow: true, limit, at: undefined });
          found.push(...page.map(({ path }) => path));
          if (page.length < limit) break;
          after = page.at(-1)!.path;
        }
        expect(found).toEqual(expected);
      }
      const top = await store.list(space.id, { below: "", after: undefined, shallow: true, limit: 10, at: undefined });
      expect(top.map(({ path }) => path)).toEqual(["d"]);
    });

    test("commits that come at the same time get sequences without gaps", async () => {
      const { store, space } = await fresh();
      const writers = Array.from({ length: 8 }, async (_, writer) => {
        const outcomes: CommitOutcome[] = [];
        for (let at = 0; at < 5; at++) outcomes.push(await commitOne(store, space.id, [putFile(`w${writer}/f${at}`, "x")]));
        return outcomes;
      });
      const outcomes = (await Promise.all(writers)).flat().sort((a, b) => a.before - b.before);
      let last = 0;
      for (const { before, after } of outcomes) {
        expect(before).toBe(last);
        last = after;
      }
      const journal = await store.journal(space.id, 0, 1000);
      expect(journal.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 48 }, (_, at) => at + 1));
      expect((await store.space(space.id))!).toMatchObject({ sequence: 48, usage: { bytes: 40, entries: 48 } });
    });

    test(
      "whatever is committed, everything that can be asked agrees with a plain model",
      async () => {
        lab = await makeLab();
        const store = await lab.open();
        let count = 0;
        await fc.assert(
          fc.asyncProperty(historyArb, fc.nat(), async (history, chance) => {
            const settings = { ...SETTINGS_DEFAULT, quotaEntries: QUOTA_ENTRIES };
            const space = await store.createSpace(`s${++count}`, settings, SEEDS, "l", 1);
            const model = new SpaceModel(store.hubId, QUOTA_ENTRIES);
            for (const together of history) {
              const commits = together.map((commit) => ({ ...commit, space: space.id, origin: ORIGIN }));
              const outcomes = await store.commit(commits, new Map());
              expect(outcomes.map(({ results }) => wordsOf(results))).toEqual(together.map((commit) => model.commit(commit)));
            }
            await compare(store, space.id, model, chance);
          }),
          { numRuns: runs, endOnFailure: false },
        );
      },
      300_000,
    );
  });
}

async function compare(store: MetaStore, space: SpaceId, model: SpaceModel, chance: number): Promise<void> {
  const last = model.records.length;
  const strip = ({ origin: _, ...record }: { origin: Origin } & ModelRecord): ModelRecord => record;
  const journal = await store.journal(space, 0, 10_000);
  expect(journal.map(strip)).toEqual(model.records);
  expect(await store.space(space)).toMatchObject({ sequence: last, usage: model.usage() });
  const point = last === 0 ? 0 : chance % (last + 1);
  for (const below of ["", "a", "a/b", "é"]) {
    for (const [shallow, limit] of [[false, 100], [true, 100], [false, 2], [true, 2]] as const) {
      const after = chance % 3 === 0 ? undefined : chance % 3 === 1 ? "a/b" : "a.x";
      const request = { below, after, shallow, limit };
      const now = await store.list(space, { ...request, at: undefined });
      expect(now.map(({ path }) => path)).toEqual(model.list(request));
      const then = await store.list(space, { ...request, at: { sequence: point } });
      expect(then.map(({ path }) => path)).toEqual(model.list(request, point));
    }
    const present = model.list({ below, after: undefined, shallow: false, limit: 10_000 }).length;
    for (const max of [2, 10_000]) expect(await store.count(space, below, max)).toBe(Math.min(max, present));
    const since = await store.changedSince(space, below, point, 100);
    expect(since.map(({ sequence }) => sequence)).toEqual(model.changedSince(below, point));
  }
  for (const path of new Set(model.records.map((record) => record.path))) {
    const history = await store.history(space, path, undefined, 100);
    expect(history.map(strip)).toEqual(model.records.filter((record) => record.path === path).reverse());
    expect((await store.version(space, path))?.sequence).toBe(model.currentAt(path)!.sequence);
    expect((await store.versionAt(space, path, { sequence: point }))?.sequence).toBe(model.currentAt(path, point)?.sequence);
  }
  for (const timeMs of [0, 1, chance % 30, 30, 31]) expect(await store.sequenceAt(space, timeMs)).toBe(model.sequenceAt(timeMs));
}
