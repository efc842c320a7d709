/** What the tables between hubs must do; follow-store.test.ts runs it on SQLite, acceptance/database.test.ts on PostgreSQL. */
import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { EVERYTHING, answerOf, compareTrees } from "#hub/followers/compare.ts";
import { FollowStore } from "#hub/followers/follow-store.ts";
import { END, SpaceDigests } from "#hub/followers/space-digest.ts";
import { ORIGIN, commitOne, contentOf, putFile } from "#hub/meta/commit-fixture.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import { type JournalRecord, SETTINGS_DEFAULT, type Space, type SpaceChange, type SpaceId } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { encodeName } from "#model/path.ts";
import { systemRandom } from "#platform/host-bun.ts";
import type { Database } from "#platform/sql/database.ts";
import { ownChunks } from "#hub/followers/own-chunks.ts";
import type { ChunkId } from "#sync/chunk/chunk-id.ts";

const SEEDS = new Uint8Array(16);
const FOLLOW = { url: "http://hub", source: "demo", token: Uint8Array.of(1, 2), ca: undefined, sinceMs: 5 };
const START = new Uint8Array(0);

export type FollowLab = { open(): Promise<Database>; dispose(): Promise<void> };

type Side = { readonly meta: SqlMetaStore; readonly store: FollowStore; readonly space: Space };

async function codeOf(done: Promise<unknown>): Promise<string> {
  return done.then(
    () => "done",
    (error: unknown) => (error instanceof SynclineError ? error.code : String(error)),
  );
}

const change = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom("a", "b", "a/x", "a/y", "c"), fc.constantFrom("1", "2", "3"))
      .map(([path, text]) => putFile(path, text)),
  },
  fc
    .constantFrom("a", "b", "a/x", "c")
    .map((path): SpaceChange => ({ type: "remove", path, expect: { kind: "any" }, recursive: true })),
  fc
    .tuple(fc.constantFrom("a", "b"), fc.constantFrom("d", "c"))
    .map(([from, to]): SpaceChange => ({ type: "move", from, to, expect: { kind: "any" } })),
);
/** Commits with times that may run back. */
const history = fc.array(
  fc.record({ changes: fc.array(change, { minLength: 1, maxLength: 4 }), timeMs: fc.integer({ min: 1, max: 50 }) }),
  { maxLength: 12 },
);

export function followStoreContract(name: string, makeLab: () => Promise<FollowLab>, runs: number): void {
  describe(`tables between hubs on ${name}`, () => {
    const labs: FollowLab[] = [];
    const disposeAll = async (): Promise<void> => {
      for (const lab of labs.splice(0)) await lab.dispose();
    };
    afterEach(disposeAll);

    async function side(follows: boolean): Promise<Side> {
      const lab = await makeLab();
      labs.push(lab);
      const db = await lab.open();
      const meta = await SqlMetaStore.open(db, systemRandom);
      const store = new FollowStore(db, meta.hubId);
      const space = await meta.createSpace("demo", SETTINGS_DEFAULT, SEEDS, "life", 1, async (sql) => {
        if (follows) await store.beginIn(sql, "demo", FOLLOW, []);
      });
      return { meta, store, space };
    }

    /** Hands the journal over in pages of a few records. */
    async function handOver(from: Side, to: Side, pageRows: number): Promise<void> {
      for (;;) {
        const { sequence } = (await to.meta.space(to.space.id))!;
        const records = await from.meta.journal(from.space.id, sequence, pageRows);
        if (records.length === 0) return;
        await to.store.importJournal(to.space.id, { lineage: "life", after: sequence, records, manifests: new Map() });
      }
    }

    test("[FOLLOW-11] a journal that is handed over in pages of any size is the same, at every point and every time", async () => {
      await fc.assert(
        fc.asyncProperty(history, fc.integer({ min: 1, max: 5 }), async (commits, pageRows) => {
          const [from, to] = [await side(false), await side(true)];
          for (const { changes, timeMs } of commits) await commitOne(from.meta, from.space.id, changes, { timeMs });
          await handOver(from, to, pageRows);
          const all = await from.meta.journal(from.space.id, 0, 1000);
          expect(await to.meta.journal(to.space.id, 0, 1000)).toEqual(all);
          const { usage, sequence } = (await from.meta.space(from.space.id))!;
          expect((await to.meta.space(to.space.id))!).toMatchObject({ usage, sequence });
          for (let timeMs = 0; timeMs <= 51; timeMs += 3) {
            expect(await to.meta.sequenceAt(to.space.id, timeMs)).toBe(await from.meta.sequenceAt(from.space.id, timeMs));
          }
          await sameDigests(from, to, sequence);
          await disposeAll();
        }),
        { numRuns: runs },
      );
    }, 120_000);

    /** At every sequence, forwards and back, and in any range; and as they are computed from nothing. */
    async function sameDigests(from: Side, to: Side, last: number): Promise<void> {
      const [a, b] = [new SpaceDigests(from.store), new SpaceDigests(to.store)];
      const range = { from: encodeName("a/x"), to: encodeName("c") };
      for (const at of [last, Math.floor(last / 2), last, 0, last]) {
        const fresh = new SpaceDigests(to.store);
        for (const one of [{ from: START, to: END }, range]) {
          const there = await a.at(from.space.id, at, (view) => view.digest(one));
          expect(await b.at(to.space.id, at, (view) => view.digest(one))).toEqual(there);
          expect(await fresh.at(to.space.id, at, (view) => view.digest(one))).toEqual(there);
        }
      }
    }

    test("[FOLLOW-12] a page that does not begin where the space ends, is of another life or does not fit is refused whole", async () => {
      const [from, to] = [await side(false), await side(true)];
      for (const text of ["1", "2", "3"]) await commitOne(from.meta, from.space.id, [putFile("a", text)]);
      const records = await from.meta.journal(from.space.id, 0, 10);
      const give = (lineage: string, after: number, some: readonly JournalRecord[]) =>
        codeOf(to.store.importJournal(to.space.id, { lineage, after, records: some, manifests: new Map() }));
      expect(await give("life", 1, records.slice(1))).toBe("STALE");
      expect(await give("other", 0, records)).toBe("STALE");
      expect(await give("life", 0, [records[0]!, records[2]!])).toBe("HALT");
      expect(await give("life", 0, [{ ...records[0]!, previous: 0 }, { ...records[1]!, path: "b" }])).toBe("HALT");
      expect((await to.meta.space(to.space.id))!.sequence).toBe(0);
      expect(await give("life", 0, records)).toBe("done");
      await to.store.promote(to.space.id, "mine");
      expect(await give("mine", 3, [])).toBe("STALE");
    });

    test("[FOLLOW-28] a journal that makes no tree, or a copy larger than it may be, is refused and leaves the copy as it was", async () => {
      const [from, to] = [await side(false), await side(true)];
      await commitOne(from.meta, from.space.id, [putFile("d/a", "1"), putFile("b", "2")]);
      const [dir, inner, file] = (await from.meta.journal(from.space.id, 0, 10)) as [JournalRecord, JournalRecord, JournalRecord];
      const give = (some: readonly JournalRecord[], more: { isWhole?: boolean; quotaBytes?: number } = {}) => {
        const records = some.map((record, at) => ({ ...record, sequence: at + 1, previous: 0 }));
        return codeOf(to.store.importJournal(to.space.id, { lineage: "life", after: 0, records, manifests: new Map(), ...more }));
      };
      // Without its directory, below a file, and below what was removed.
      expect(await give([inner])).toBe("PROTOCOL");
      expect(await give([{ ...file, path: "d" }, inner])).toBe("PROTOCOL");
      const gone: JournalRecord = { ...dir, sequence: 3, previous: 1, action: "remove", entry: undefined, commit: 3 };
      const removed = { lineage: "life", after: 0, records: [dir, inner, gone], manifests: new Map(), isWhole: true };
      expect(await codeOf(to.store.importJournal(to.space.id, removed))).toBe("PROTOCOL");
      // Of a commit that may go on it is only known when another one has begun.
      const open = [dir, inner, { ...gone, commit: 1 }];
      expect(await codeOf(to.store.importJournal(to.space.id, { ...removed, records: open, isWhole: false }))).toBe("done");
      const next = { ...file, sequence: 4, previous: 0, commit: 4 };
      expect(await codeOf(to.store.importJournal(to.space.id, { ...removed, after: 3, records: [next], isWhole: false }))).toBe("PROTOCOL");
      expect((await to.meta.space(to.space.id))!.sequence).toBe(3);

      const other = await side(true);
      const page = { lineage: "life", after: 0, records: [dir, inner, file], manifests: new Map() };
      expect(await codeOf(other.store.importJournal(other.space.id, { ...page, quotaBytes: 1 }))).toBe("LIMIT");
      expect((await other.meta.space(other.space.id))!).toMatchObject({ sequence: 0, usage: { bytes: 0, entries: 0 } });
      expect(await codeOf(other.store.importJournal(other.space.id, { ...page, quotaBytes: 2 }))).toBe("done");
    });

    test("[FOLLOW-13] no commit changes a space that follows, before it is promoted; what it shares with its source is remembered", async () => {
      const [from, to] = [await side(false), await side(true)];
      await commitOne(from.meta, from.space.id, [putFile("a", "1")]);
      await handOver(from, to, 10);
      expect(await codeOf(commitOne(to.meta, to.space.id, [putFile("b", "1")]))).toBe("DENIED");
      await to.store.stop(to.space.id);
      expect(await codeOf(commitOne(to.meta, to.space.id, [putFile("b", "1")]))).toBe("DENIED");
      expect((await to.store.follows())[0]).toMatchObject({ ...FOLLOW, stopped: true });
      await to.store.promote(to.space.id, "mine");
      expect((await commitOne(to.meta, to.space.id, [putFile("b", "1")])).after).toBe(2);
      expect(await to.store.pastLineages(to.space.id)).toEqual([{ lineage: "life", sequence: 1 }]);
      expect((await to.meta.space(to.space.id))!.lineage).toBe("mine");
    });

    test("[FOLLOW-14] a restored database lives another life from its sequence on; a copy in it goes on where it is", async () => {
      const { meta, store, space } = await side(false);
      await commitOne(meta, space.id, [putFile("a", "1")]);
      await meta.renewLineages(systemRandom);
      expect(await store.pastLineages(space.id)).toEqual([{ lineage: "life", sequence: 1 }]);
      const copy = await side(true);
      await copy.meta.renewLineages(systemRandom);
      expect((await copy.meta.space(copy.space.id))!.lineage).toBe("life");
    });

    test("[FOLLOW-15] one difference among thousands is found in a few rounds", async () => {
      const [from, to] = [await side(false), await side(true)];
      const puts = Array.from({ length: 5000 }, (_, at) => putFile(`d${at % 70}/f${at}`, `text ${at}`));
      await commitOne(from.meta, from.space.id, puts);
      await handOver(from, to, 2000);
      const { sequence } = (await from.meta.space(from.space.id))!;
      const here = new SpaceDigests(to.store);
      const there = new SpaceDigests(from.store);
      const compare = () =>
        here.at(to.space.id, sequence, (view) =>
          compareTrees(view, (range, detail) => there.at(from.space.id, sequence, (other) => answerOf(other, range, detail))));
      expect(await compare()).toEqual({ differences: [], isWhole: true, rounds: 1 });
      const { sequence: seq } = (await to.meta.version(to.space.id, "d3/f3"))!;
      const own = await from.store.historyOf(from.space.id, "d3/f3", 0, sequence, 10);
      const records = own.map((one) => ({ ...one, vector: { feed: 7 } }));
      await to.store.replaceHistory(to.space.id, { lineage: "life", paths: ["d3/f3"], records }, new Map(), 1, false);
      here.forget(to.space.id);
      const { differences, rounds } = await compare();
      expect(differences.map(({ path, here: one }) => [path, one?.sequence])).toEqual([["d3/f3", seq]]);
      expect(rounds).toBeLessThan(6);
      const whole = await here.at(to.space.id, sequence, (view) => answerOf(view, EVERYTHING, false));
      expect(whole.count).toBe(5070);
    }, 30_000);

    /** The rows of a copy, as far as anybody can ask for them. */
    async function everything({ meta, store, space }: Side): Promise<unknown> {
      const { usage, sequence } = (await meta.space(space.id))!;
      return [usage, sequence, await meta.journal(space.id, 0, 1000), await store.marks(space.id, 0)];
    }

    test("[FOLLOW-37] a repair that would make no tree is refused whole; one that makes one only as a whole is done", async () => {
      const [from, to] = [await side(false), await side(true)];
      await commitOne(from.meta, from.space.id, [putFile("d/a", "1"), putFile("e/b", "2"), putFile("f", "3")]);
      await handOver(from, to, 10);
      const before = await everything(to);
      const all = await from.meta.journal(from.space.id, 0, 10);
      const replace = (paths: readonly string[], records: readonly JournalRecord[], isTrial = false) =>
        codeOf(to.store.replaceHistory(to.space.id, { lineage: "life", paths, records }, new Map(), 1, isTrial));
      const of = (path: string): JournalRecord => all.find((one) => one.path === path)!;
      const isFile = (path: string, at: JournalRecord): JournalRecord => ({ ...of("f"), path, sequence: at.sequence });
      // A file above what is there; a directory that goes from above it; a file in no directory; one below a file.
      expect(await replace(["d"], [isFile("d", of("d"))])).toBe("PROTOCOL");
      expect(await replace(["e"], [])).toBe("PROTOCOL");
      expect(await replace(["x/y", "f"], [isFile("x/y", of("f"))])).toBe("PROTOCOL");
      expect(await replace(["f/y", "e/b"], [isFile("f/y", of("e/b"))])).toBe("PROTOCOL");
      // Its row takes the place of a directory's that nobody spoke of.
      expect(await replace(["g"], [isFile("g", of("d"))])).toBe("PROTOCOL");
      expect(await everything(to)).toEqual(before);
      expect(await replace(["d", "d/a"], [isFile("d", of("d"))], true)).toBe("done");
      expect(await everything(to)).toEqual(before);
      expect(await replace(["d", "d/a"], [isFile("d", of("d"))])).toBe("done");
      expect((await to.meta.version(to.space.id, "d"))?.entry?.kind).toBe("file");
      expect((await to.meta.space(to.space.id))!.usage).toEqual({ bytes: 3, entries: 4 });
    });

    test("[FOLLOW-38] a repair takes no version away that is locked in the copy, nor puts another in its place", async () => {
      const [from, to] = [await side(false), await side(true)];
      for (const text of ["1", "2"]) await commitOne(from.meta, from.space.id, [putFile("a", text), putFile("b", text)]);
      await handOver(from, to, 10);
      const all = await from.meta.journal(from.space.id, 0, 10);
      const [first, other] = [all.find(({ path }) => path === "a")!, all.find(({ path }) => path === "b")!];
      const lock = (change: object) =>
        to.store.applyMarks(to.space.id, [{ number: 1, sequence: first.sequence, lock: { term: undefined, hold: false, ...change } }], 5);
      const replace = (records: readonly JournalRecord[], nowMs: number) =>
        codeOf(to.store.replaceHistory(to.space.id, { lineage: "life", paths: ["a"], records }, new Map(), nowMs, false));
      const ofA = all.filter(({ path }) => path === "a");
      const forged = ofA.map((one) => (one === first ? { ...one, content: contentOf("forged") } : one));
      const elsewhere = { ...first, path: "c" };
      for (const term of [{ hold: true }, { term: { mode: "governance", untilMs: 10 } }, { term: { mode: "compliance", untilMs: 10 } }]) {
        await lock(term);
        const before = await everything(to);
        for (const records of [[], ofA.slice(1), forged, [elsewhere, ...ofA.slice(1)]]) expect(await replace(records, 9)).toBe("HALT");
        expect(await everything(to)).toEqual(before);
        // As it is here, and with other things said of it that its bytes do not depend on.
        expect(await replace(ofA.map((one) => ({ ...one, vector: { feed: 7 } })), 9)).toBe("done");
        await lock({});
      }
      await lock({ term: { mode: "governance", untilMs: 10 } });
      expect(await replace(forged, 10)).toBe("done");
      expect((await to.meta.journal(to.space.id, 0, 10)).find(({ sequence }) => sequence === first.sequence)?.content?.id).toBe(contentOf("forged").id);
      expect(await to.meta.version(to.space.id, other.path)).toBeDefined();
    });

    test("[FOLLOW-40] attributes that an old version got at the source are the copy's, too", async () => {
      const [from, to] = [await side(false), await side(true)];
      for (const text of ["1", "2"]) await commitOne(from.meta, from.space.id, [putFile("a", text)]);
      await handOver(from, to, 10);
      const version = { path: "a", sequence: 1 };
      const change = { space: from.space.id, version, attributes: { "s3.tags": "t=1" }, timeMs: 1 };
      await from.meta.changeOldAttributes(change, () => Promise.resolve());
      const marks = await from.store.marks(from.space.id, 0);
      await to.store.applyMarks(to.space.id, marks, 5);
      await to.store.applyMarks(to.space.id, marks, 5);
      expect((await to.meta.versionNamed(to.space.id, version))?.attributes).toEqual({ "s3.tags": "t=1" });
      expect(await to.store.marks(to.space.id, 0)).toEqual(marks);
    });

    test("[FOLLOW-50] what was purged is so in the copy also when a repair has written its row anew", async () => {
      const [from, to] = [await side(false), await side(true)];
      const remove: SpaceChange = { type: "remove", path: "a", expect: { kind: "any" }, recursive: false };
      for (const change of [putFile("a", "1"), putFile("a", "2"), remove]) await commitOne(from.meta, from.space.id, [change]);
      const versions = [1, 3].map((sequence) => ({ path: "a", sequence }));
      await from.meta.purge({ space: from.space.id, versions, origin: { ...ORIGIN, cause: "purge" }, timeMs: 5, mayBypass: false });
      await handOver(from, to, 10);
      await to.store.applyMarks(to.space.id, await from.store.marks(from.space.id, 0), 5);
      const purged = async ({ meta, space }: Side) => (await meta.journal(space.id, 0, 10)).map(({ isPurged }) => isPurged === true);
      expect(await purged(to)).toEqual(await purged(from));
      const records = await from.meta.journal(from.space.id, 0, 10);
      await to.store.replaceHistory(to.space.id, { lineage: "life", paths: ["a"], records }, new Map(), 5, false);
      expect(await purged(to)).toEqual([true, false, true, false]);
      expect(await to.meta.versionNamed(to.space.id, { path: "a", sequence: 3 })).toBeUndefined();
    });

    test("[FOLLOW-34] what the source has sent is the copy's until the page is imported, and no other space's", async () => {
      const { meta, store, space } = await side(true);
      const ids = ["1", "2"].map((text) => contentOf(text).id as string as ChunkId);
      await store.receive(space.id, ids);
      await store.receive(space.id, [ids[0]!]);
      expect((await store.received(space.id)).toSorted()).toEqual(ids.toSorted());
      expect(await store.received((space.id + 1) as SpaceId)).toEqual([]);
      const own = await ownChunks(store, { space: space.id }, [], new Map());
      expect([...own].toSorted()).toEqual(ids.toSorted());
      await store.importJournal(space.id, { lineage: "life", after: 0, records: [], manifests: new Map() });
      expect(await store.received(space.id)).toEqual([]);
      await store.receive(space.id, ids);
      await meta.updateSpace(space.id, { deletedMs: 1 });
      await meta.eraseSpace(space.id, Date.now());
      expect(await store.received(space.id)).toEqual([]);
    });

    test("[REPAIR-1] lost chunks are kept with the content that needs them, until they are found", async () => {
      const { meta, store, space } = await side(false);
      await commitOne(meta, space.id, [putFile("a", "1")]);
      const id = contentOf("1").id as string as ChunkId;
      const other = contentOf("2").id as string as ChunkId;
      const known = await store.contentsWith([id, other]);
      expect(known).toEqual([{ id, content: contentOf("1").id }]);
      await store.lose(known, 1);
      await store.lose(known, 2);
      expect(await store.lost(undefined, 10)).toEqual(known);
      expect(await store.lostIn(space.id, 10)).toEqual(known);
      expect(await store.lostIn((space.id + 1) as SpaceId, 10)).toEqual([]);
      expect((await store.placesOf(known[0]!.content, 10)).map(({ path }) => Buffer.from(path).toString())).toEqual(["a"]);
      await store.found([id]);
      expect(await store.lostCount()).toBe(0);
    });
  });
}
