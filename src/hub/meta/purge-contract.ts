/** What purges and locks must do on every engine; sql-meta-store.test.ts runs it on SQLite, acceptance/database.test.ts on PostgreSQL. */
import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { LockTerm } from "#hub/locks.ts";
import { ORIGIN, commitOne, contentOf, putFile } from "#hub/meta/commit-fixture.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import type { MetaLab } from "#hub/meta/meta-store-contract.ts";
import type { PurgeResult } from "#hub/meta/purge.ts";
import { SETTINGS_DEFAULT, type Space, type SpaceChange, type SpaceSettings } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";

const LOCKS: Partial<SpaceSettings> = { lock: { period: undefined } };
const remove = (path: string): SpaceChange => ({ type: "remove", path, expect: { kind: "present" }, recursive: false });
const codeOf = (done: Promise<unknown>): Promise<string> =>
  done.then(() => "none", (error: unknown) => (error instanceof SynclineError ? error.code : String(error)));

/** One version as S3 would tell it; `text` undefined: a delete marker. */
type Told = { readonly sequence: number; readonly text: string | undefined; gone: boolean; term: LockTerm | undefined; hold: boolean };

type Step =
  | { readonly do: "put"; readonly text: string; readonly days: number | undefined }
  | { readonly do: "remove" | "expire" | "wait" }
  | { readonly do: "purge"; readonly at: number; readonly bypass: boolean }
  | { readonly do: "hold"; readonly at: number; readonly on: boolean }
  | { readonly do: "term"; readonly at: number; readonly mode: LockTerm["mode"]; readonly days: number };

const at = fc.nat(9);
const stepArb: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("put" as const), text: fc.constantFrom("one", "two", "three", ""), days: fc.option(fc.nat(3), { nil: undefined }) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("remove" as const, "expire" as const, "wait" as const) }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("purge" as const), at, bypass: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("hold" as const), at, on: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("term" as const), at, mode: fc.constantFrom("governance" as const, "compliance" as const), days: fc.nat(3) }) },
);

/** The versions of one path as plainly as they can be told. */
class Model {
  readonly told: Told[] = [];
  nowMs = 1000;

  get current(): Told | undefined {
    return this.told.findLast(({ gone }) => !gone);
  }

  isLocked({ hold, term }: Told): boolean {
    return hold || (term !== undefined && term.untilMs > this.nowMs);
  }
}

const DAY_MS = 100;

export function purgeContract(name: string, makeLab: () => Promise<MetaLab>, runs: number): void {
  describe(`purges and locks: ${name}`, () => {
    let lab: MetaLab | undefined;
    afterEach(async () => {
      await lab?.dispose();
      lab = undefined;
    });

    async function fresh(settings: Partial<SpaceSettings> = {}): Promise<{ store: MetaStore; space: Space }> {
      await lab?.dispose();
      lab = await makeLab();
      const store = await lab.open();
      const space = await store.createSpace("demo", { ...SETTINGS_DEFAULT, ...settings }, new Uint8Array(16), "lineage", 1);
      return { store, space };
    }

    const purge = async (store: MetaStore, space: Space, path: string, sequence: number, timeMs = 5000, mayBypass = false): Promise<PurgeResult> => {
      const request = { space: space.id, versions: [{ path, sequence }], origin: { ...ORIGIN, cause: "purge" } as const, timeMs, mayBypass };
      return (await store.purge(request)).results[0]!;
    };

    test("[PURGE-1] an old version goes for good: its content, its manifest and its sums; its record stays and says so", async () => {
      const { store, space } = await fresh();
      await commitOne(store, space.id, [putFile("a", "one")]);
      await commitOne(store, space.id, [putFile("a", "two")]);
      expect((await purge(store, space, "a", 1)).status).toBe("purged");
      expect(await store.versionNamed(space.id, { path: "a", sequence: 1 })).toBeUndefined();
      const [two, one] = await store.history(space.id, "a", undefined, 10);
      expect([two!.isPurged, one!.isPurged, one!.content]).toEqual([undefined, true, undefined]);
      expect((await store.liveContent(undefined, 10)).map(({ id }) => id)).toEqual([contentOf("two").id]);
      expect((await store.space(space.id))!.sequence).toBe(2);
      for (const [path, sequence] of [["a", 1], ["b", 2], ["a", 99], ["a", 0.5], ["a", -1]] as const) {
        expect((await purge(store, space, path, sequence)).status).toBe("absent");
      }
    });

    test("[PURGE-6] attributes that an old version gets lie beside its row, and come back with it; what is said later counts", async () => {
      const { store, space } = await fresh();
      const change = (sequence: number, attributes: Record<string, string | undefined>) =>
        store.changeOldAttributes({ space: space.id, version: { path: "a", sequence }, attributes, timeMs: 1 }, () => Promise.resolve());
      const named = async (sequence: number) => (await store.versionNamed(space.id, { path: "a", sequence }))?.attributes;
      await commitOne(store, space.id, [{ ...putFile("a", "one"), attributes: { "user.x": "1", "etag.s3": "e" } } as SpaceChange]);
      expect(await change(1, { "s3.tags": "t=1" })).toEqual({ status: "current" });
      await commitOne(store, space.id, [putFile("a", "two")]);
      expect([await change(1, { "s3.tags": "t=1" }), await change(1, { "user.y": "2" })]).toEqual([{ status: "done" }, { status: "done" }]);
      const later = { "user.x": "1", "etag.s3": "e", "s3.tags": "t=1", "user.y": "2" };
      expect(await named(1)).toEqual(later);
      // The record, and with it every digest of the past, is as it was.
      expect((await store.history(space.id, "a", undefined, 10)).at(-1)!.attributes).toEqual({ "user.x": "1", "etag.s3": "e" });
      expect([await change(9, {}), await change(2, {})]).toEqual([{ status: "absent" }, { status: "current" }]);
      await purge(store, space, "a", 2);
      expect((await store.version(space.id, "a"))?.attributes).toEqual({ ...later, "version.again": "1" });
      const again = { type: "put", isSameVersion: true, attributes: { "s3.tags": "t=3" } } as const;
      await commitOne(store, space.id, [{ ...putFile("a", "one"), ...again } as SpaceChange]);
      await commitOne(store, space.id, [putFile("a", "three")]);
      expect(await named(1)).toMatchObject({ "s3.tags": "t=3" });
      expect(await change(1, { "s3.tags": undefined })).toEqual({ status: "done" });
      expect((await named(1))!["s3.tags"]).toBeUndefined();
    });

    test("[PURGE-8] more than an old version can keep is refused in words, and changes nothing", async () => {
      const { store, space } = await fresh();
      for (const text of ["one", "two"]) await commitOne(store, space.id, [putFile("a", text)]);
      const version = { path: "a", sequence: 1 };
      for (const attributes of [{ "s3.tags": "%E4%B8%80".repeat(3000) }, { "no name": "x" }]) {
        const change = { space: space.id, version, attributes, timeMs: 1 } as const;
        expect(await codeOf(store.changeOldAttributes(change, () => Promise.resolve()))).toBe("USAGE");
      }
      expect((await store.versionNamed(space.id, version))?.attributes).toEqual({});
    });

    test("[PURGE-7] of versions that are null the last one made is the one that there is, and no purge brings an earlier one back", async () => {
      const { store, space } = await fresh();
      const set = (status: string) =>
        store.updateSpace(space.id, { settings: { ...SETTINGS_DEFAULT, doors: { "s3.versioning": status } } });
      const last = async () => (await store.nullVersion(space.id, "a"))?.sequence;
      await commitOne(store, space.id, [putFile("a", "0")]);
      await commitOne(store, space.id, [putFile("a", "1")]);
      await set("Enabled");
      expect(await last()).toBe(2);
      await commitOne(store, space.id, [putFile("a", "3")]);
      expect(await last()).toBe(2);
      await set("Suspended");
      await commitOne(store, space.id, [putFile("a", "4")]);
      await commitOne(store, space.id, [remove("a")]);
      expect(await store.nullVersion(space.id, "a")).toEqual({ sequence: 5, isShown: true });
      // Switched and switched back is not switched; nothing else that is set is a switch.
      await set("Enabled");
      await set("Suspended");
      expect((await set("Suspended")).settings.doors).toEqual({ "s3.versioning": "Suspended", "s3.versioning-switched": "2,3" });
      const done = await purge(store, space, "a", 5);
      expect(done.status === "purged" && done.current?.attributes["version.again"]).toBe("3");
      const bare = await purge(store, space, "a", 3);
      expect(bare.status === "purged" && [bare.current?.entry, bare.current?.attributes]).toEqual([undefined, { "version.again": "0" }]);
      expect((await store.history(space.id, "a", undefined, 10)).filter(({ content }) => content !== undefined).map(({ sequence }) => sequence)).toEqual([4, 2, 1]);
    });

    test("[RETAIN-2] a version that gets other tags is one version still, and takes no other's place among those that are kept", async () => {
      const { store, space } = await fresh({ retention: { versions: 1, ageMs: undefined } });
      const named = async (sequence: number) => (await store.versionNamed(space.id, { path: "a", sequence }))?.content?.id;
      for (const text of ["one", "two"]) await commitOne(store, space.id, [putFile("a", text)]);
      for (const tags of ["t=1", "t=2", "t=3"]) {
        const again = { isSameVersion: true, attributes: { "s3.tags": tags } } as const;
        await commitOne(store, space.id, [{ ...putFile("a", "two"), ...again } as SpaceChange]);
      }
      expect(await store.expire(space.id, 1, 100)).toBe(0);
      expect([await named(1), await named(2)]).toEqual([contentOf("one").id, contentOf("two").id]);
      await commitOne(store, space.id, [putFile("a", "three")]);
      expect(await store.expire(space.id, 1, 100)).toBe(1);
      expect([await named(1), await named(2)]).toEqual([undefined, contentOf("two").id]);
      await commitOne(store, space.id, [putFile("a", "four")]);
      await store.expire(space.id, 1, 100);
      expect((await store.liveContent(undefined, 10)).map(({ id }) => id).toSorted()).toEqual(["three", "four"].map((text) => contentOf(text).id).toSorted());
    });

    test("[PURGE-2] without the current version the one before it is current again, as a change that keeps its name", async () => {
      const { store, space } = await fresh();
      await commitOne(store, space.id, [{ ...putFile("d/a", "one"), attributes: { "user.x": "1" } } as SpaceChange]);
      await commitOne(store, space.id, [putFile("d/a", "two")]);
      const done = await purge(store, space, "d/a", 3);
      expect(done.status === "purged" && [done.current?.sequence, done.current?.content?.id]).toEqual([4, contentOf("one").id]);
      const now = await store.version(space.id, "d/a");
      expect([now?.content?.id, now?.attributes]).toEqual([contentOf("one").id, { "user.x": "1", "version.again": "2" }]);
      // What comes after it is a version of its own.
      await commitOne(store, space.id, [putFile("d/a", "one")]);
      expect((await store.version(space.id, "d/a"))!.attributes).toEqual({ "user.x": "1" });
      expect((await store.versionNamed(space.id, { path: "d/a", sequence: 2 }))?.content?.id).toBe(contentOf("one").id);
      expect(await store.versionNamed(space.id, { path: "d/a", sequence: 4 })).toBeUndefined();
      // Without the last of all nothing is there, and its directory stays as a door left it.
      for (const sequence of [5, 2]) expect((await purge(store, space, "d/a", sequence)).status).toBe("purged");
      expect((await store.version(space.id, "d/a"))?.entry).toBeUndefined();
      expect(await store.liveContent(undefined, 10)).toEqual([]);
      expect((await store.journal(space.id, 0, 100)).map(({ origin }) => origin.cause)).toEqual(["edit", "edit", "edit", "purge", "edit", "purge", "purge"]);
      expect((await store.space(space.id))!.usage).toEqual({ bytes: 0, entries: 1 });
    });

    test("[PURGE-3] without its delete marker a file is back, with the directories that it needs", async () => {
      const { store, space } = await fresh();
      await commitOne(store, space.id, [putFile("d/a", "one")]);
      await commitOne(store, space.id, [remove("d/a"), remove("d")]);
      expect((await purge(store, space, "d/a", 3)).status).toBe("purged");
      expect((await store.list(space.id, { below: "", after: undefined, shallow: false, limit: 10, at: undefined })).map(({ path }) => path)).toEqual(["d", "d/a"]);
      await commitOne(store, space.id, [remove("d/a"), putFile("d", "a file")].slice(0, 1));
      const marker = (await store.version(space.id, "d/a"))!.sequence;
      await commitOne(store, space.id, [remove("d")]);
      await commitOne(store, space.id, [putFile("d", "a file")]);
      expect(await purge(store, space, "d/a", marker)).toMatchObject({ status: "refused", code: "NOT_A_DIRECTORY" });
    });

    test("[PURGE-4] what a restore point shows stays, until the point is gone", async () => {
      const { store, space } = await fresh();
      await commitOne(store, space.id, [putFile("a", "one")]);
      await store.createRestorePoint({ space: space.id, name: "p", sequence: undefined, timeMs: 1, actor: "user:ann" });
      expect((await purge(store, space, "a", 1)).status).toBe("kept");
      await commitOne(store, space.id, [putFile("a", "two")]);
      expect((await purge(store, space, "a", 1)).status).toBe("kept");
      expect((await purge(store, space, "a", 2)).status).toBe("purged");
      await store.deleteRestorePoint(space.id, "p");
      expect((await purge(store, space, "a", 1)).status).toBe("purged");
    });

    test("[LOCK-1] a space gives its lock to new files whoever brings them; what was asked for comes first", async () => {
      const period = { mode: "governance", unit: "days", count: 1 } as const;
      const { store, space } = await fresh({ lock: { period } });
      const term = { mode: "compliance", untilMs: 99_000_000 } as const;
      const own = { ...putFile("b", "two"), lock: { term, hold: true } } as SpaceChange;
      const held = { ...putFile("c", "three"), lock: { term: undefined, hold: true } } as SpaceChange;
      await commitOne(store, space.id, [putFile("d/a", "one"), own, held], { timeMs: 1000, atomic: true });
      const expected = { mode: "governance", untilMs: 1000 + 24 * 3_600_000 } as const;
      expect(await store.lock(space.id, 1)).toBeUndefined();
      expect(await store.lock(space.id, 2)).toEqual({ term: expected, hold: false });
      expect(await store.lock(space.id, 3)).toEqual({ term, hold: true });
      expect(await store.lock(space.id, 4)).toEqual({ term: expected, hold: true });
      // What was taken back has none.
      await commitOne(store, space.id, [putFile("e", "x"), remove("never")], { timeMs: 1000, atomic: true });
      expect((await store.space(space.id))!.sequence).toBe(4);
      expect(await store.lock(space.id, 5)).toBeUndefined();
      await commitOne(store, space.id, [{ type: "move", from: "b", to: "f", expect: { kind: "any" } }], { timeMs: 2000 });
      expect((await store.lock(space.id, 6))?.term?.untilMs).toBe(2000 + 24 * 3_600_000);
    });

    test("[LOCK-2] neither retention nor the end of its space takes what is locked", async () => {
      const { store, space } = await fresh({ ...LOCKS, retention: { versions: 0, ageMs: undefined } });
      const term = { mode: "governance", untilMs: 5000 } as const;
      await commitOne(store, space.id, [{ ...putFile("a", "one"), lock: { term, hold: false } } as SpaceChange]);
      await commitOne(store, space.id, [putFile("a", "two")]);
      await commitOne(store, space.id, [remove("a")]);
      expect(await store.expire(space.id, 4999, 10)).toBe(1);
      expect((await store.versionNamed(space.id, { path: "a", sequence: 1 }))?.content?.id).toBe(contentOf("one").id);
      expect(await codeOf(store.updateSpace(space.id, { deletedMs: 4999 }))).toBe("DENIED");
      await store.updateSpace(space.id, { deletedMs: 5000 });
      // The clock of the hub went back: the lock is one again.
      expect(await codeOf(store.eraseSpace(space.id, 4999))).toBe("DENIED");
      await store.updateSpace(space.id, { deletedMs: null });
      expect(await store.expire(space.id, 5000, 10)).toBe(1);
      expect(await codeOf(store.updateSpace(space.id, { settings: SETTINGS_DEFAULT }))).toBe("DENIED");
    });

    test("[LOCK-3] a lock for compliance only grows, one for governance yields to who may, a hold lasts until it is taken off", async () => {
      const { store, space } = await fresh(LOCKS);
      await commitOne(store, space.id, [putFile("a", "one")]);
      const version = { path: "a", sequence: 1 };
      const change = async (mode: LockTerm["mode"] | undefined, untilMs: number, mayBypass = false, timeMs = 1000): Promise<string> => {
        const term = mode === undefined ? null : { mode, untilMs };
        return (await store.changeLock({ space: space.id, version, term, timeMs, mayBypass })).status;
      };
      const outcomes = [
        await change("governance", 1000), await change("governance", 3000), await change("governance", 2000), await change("compliance", 4000),
        await change(undefined, 0), await change("governance", 2000, true), await change(undefined, 0, true), await change("compliance", 4000),
        await change("compliance", 3999, true), await change("governance", 9000, true), await change(undefined, 0, true), await change("compliance", 5000),
      ];
      expect(outcomes).toEqual(["kept", "done", "kept", "kept", "kept", "done", "done", "done", "kept", "kept", "kept", "done"]);
      expect((await purge(store, space, "a", 1, 4999, true)).status).toBe("kept");
      await store.changeLock({ space: space.id, version, hold: true, timeMs: 1, mayBypass: false });
      expect(await purge(store, space, "a", 1, 9000, true)).toMatchObject({ status: "kept", untilMs: undefined });
      await store.changeLock({ space: space.id, version, hold: false, timeMs: 1, mayBypass: false });
      expect(await store.lock(space.id, 1)).toEqual({ term: { mode: "compliance", untilMs: 5000 }, hold: false });
      expect((await purge(store, space, "a", 1, 5000)).status).toBe("purged");
      expect((await store.changeLock({ space: space.id, version, hold: true, timeMs: 1, mayBypass: false })).status).toBe("absent");
    });

    test("[PURGE-5] whatever is put, removed, locked, purged and expired: each version is there or gone as it was told", async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(stepArb, { minLength: 1, maxLength: 25 }), async (steps) => {
          const { store, space } = await fresh({ ...LOCKS, retention: { versions: 0, ageMs: undefined } });
          const model = new Model();
          for (const step of steps) await follow(store, space, model, step);
          for (const { sequence, text, gone } of model.told) {
            const named = await store.versionNamed(space.id, { path: "a", sequence });
            expect([sequence, named !== undefined, named?.content?.id]).toEqual([sequence, !gone, gone || text === undefined ? undefined : contentOf(text).id]);
          }
          const now = await store.version(space.id, "a");
          expect(now?.content?.id).toBe(model.current?.text === undefined ? undefined : contentOf(model.current.text).id);
          const live = new Set(model.told.filter(({ gone, text }) => !gone && text !== undefined).map(({ text }) => contentOf(text!).id as string));
          // The current row may be another than the one that is locked.
          expect(new Set((await store.liveContent(undefined, 100)).map(({ id }) => id as string))).toEqual(live);
        }),
        { numRuns: runs },
      );
    }, 120_000);

    async function follow(store: MetaStore, space: Space, model: Model, step: Step): Promise<void> {
      const { told, nowMs } = model;
      const term = (mode: LockTerm["mode"], days: number): LockTerm => ({ mode, untilMs: nowMs + days * DAY_MS });
      if (step.do === "wait") model.nowMs += DAY_MS;
      if (step.do === "put") {
        const lock = step.days === undefined || step.days === 0 ? undefined : { term: term("governance", step.days), hold: false };
        const { after } = await commitOne(store, space.id, [{ ...putFile("a", step.text), lock } as SpaceChange], { timeMs: nowMs });
        told.push({ sequence: after, text: step.text, gone: false, term: lock?.term, hold: false });
      }
      if (step.do === "remove") {
        const { before, after } = await commitOne(store, space.id, [remove("a")], { timeMs: nowMs });
        expect(after > before).toBe(model.current?.text !== undefined);
        if (after > before) told.push({ sequence: after, text: undefined, gone: false, term: undefined, hold: false });
      }
      if (step.do === "expire") {
        await store.expire(space.id, nowMs, 1000);
        for (const one of told) if (one.text !== undefined && one !== model.current && !model.isLocked(one)) one.gone = true;
      }
      const one = "at" in step ? told[step.at] : undefined;
      if (one === undefined) return;
      if (step.do === "purge") {
        const { status } = await purge(store, space, "a", one.sequence, nowMs, step.bypass);
        const isKept = model.isLocked(one) && (one.hold || !(step.bypass && one.term?.mode === "governance"));
        expect([step, status]).toEqual([step, one.gone ? "absent" : isKept ? "kept" : "purged"]);
        if (status === "purged") one.gone = true;
      }
      if (step.do === "hold" || step.do === "term") {
        const version = { path: "a", sequence: one.sequence };
        const wanted = step.do === "hold" ? { hold: step.on } : { term: term(step.mode, step.days) };
        const { status } = await store.changeLock({ space: space.id, version, ...wanted, timeMs: nowMs, mayBypass: false });
        if (one.gone || one.text === undefined) expect(status).toBe("absent");
        if (status === "done") Object.assign(one, wanted);
      }
    }
  });
}
