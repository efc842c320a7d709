/** What the rows of lifecycle tell, on every engine; lifecycle-rows.test.ts runs it on SQLite, acceptance on PostgreSQL. */
import { expect, test } from "bun:test";
import { type Dated, LifecycleRows } from "#hub/lifecycle/lifecycle-rows.ts";
import { ORIGIN, commitOne, putFile } from "#hub/meta/commit-fixture.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import { SETTINGS_DEFAULT, type SpaceChange, type SpaceId } from "#hub/space.ts";
import { systemRandom } from "#platform/host-bun.ts";
import type { Database } from "#platform/sql/database.ts";

export type RowsLab = { open(): Promise<Database>; dispose(): Promise<void> };

const remove = (path: string): SpaceChange => ({ type: "remove", path, expect: { kind: "any" }, recursive: false });
const names = (found: readonly Dated[]): [number, number, number][] => found.map(({ name, at, sinceMs }) => [name, at, sinceMs]);

export function lifecycleRowsContract(name: string, makeLab: () => Promise<RowsLab>): void {
  test(`[LIFECYCLE-7] ${name}: what is current, what was replaced, what is left of a path, and where a rule is`, async () => {
    const lab = await makeLab();
    const db = await lab.open();
    const store = await SqlMetaStore.open(db, systemRandom);
    const rows = new LifecycleRows(db, store.hubId);
    const space = await store.createSpace("demo", SETTINGS_DEFAULT, new Uint8Array(16), "lineage", 1);
    const { id } = space;
    const commit = (timeMs: number, ...changes: SpaceChange[]) => commitOne(store, id, changes, { timeMs });
    const purge = (path: string, ...sequences: number[]) => {
      const versions = sequences.map((sequence) => ({ path, sequence }));
      return store.purge({ space: id, versions, origin: { ...ORIGIN, cause: "purge" }, timeMs: 90, mayBypass: false });
    };
    await commit(10, putFile("a", "1"), putFile("b", "2"));
    await commit(20, putFile("a", "3"));
    await commit(30, remove("a"), putFile("c", "5"));
    await commit(40, putFile("a", "6"));
    expect(names(await rows.current(id, 0, 6, 10))).toEqual([[2, 2, 10], [5, 5, 30], [6, 6, 40]]);
    expect(names(await rows.current(id, 2, 5, 10))).toEqual([[5, 5, 30]]);
    expect(names(await rows.current(id, 0, 6, 1))).toEqual([[2, 2, 10]]);
    expect(names(await rows.replaced(id, 0, 6, 10))).toEqual([[1, 3, 20], [3, 4, 30], [4, 6, 40]]);
    expect(names(await rows.oldOf(id, "a", Number.MAX_SAFE_INTEGER, 10))).toEqual([[4, 6, 40], [3, 4, 30], [1, 3, 20]]);
    expect(names(await rows.oldOf(id, "a", 3, 10))).toEqual([[1, 3, 20]]);
    // Without the current one the tombstone is shown again.
    await purge("a", 6, 3);
    expect([await rows.lastShown(id, 4), await rows.lastShown(id, 1), (await rows.one(id, 7))?.name]).toEqual([7, undefined, 4]);
    expect(names(await rows.oldOf(id, "a", Number.MAX_SAFE_INTEGER, 10))).toEqual([[4, 6, 40], [1, 3, 20]]);
    expect(await rows.soleMarker(space, "a")).toBeUndefined();
    await purge("a", 1);
    expect((await rows.soleMarker(space, "a"))?.name).toBe(4);
    const { found, next } = await rows.soleMarkers(space, new Uint8Array(0), 10);
    expect([names(found).map(([one]) => one), next]).toEqual([[4], undefined]);
    expect((await rows.soleMarkers(space, Buffer.from("a"), 10)).found).toEqual([]);
    expect((await rows.purgesAfter(id, 1, 10)).map(({ number, path }) => [number, Buffer.from(path).toString()])).toEqual([[2, "a"], [3, "a"]]);
    await purge("a", 4);
    expect((await rows.soleMarkers(space, new Uint8Array(0), 10)).found).toEqual([]);
    await expectPlaces(rows, id);
    await store.close();
    await lab.dispose();
  });

  test(`[LIFECYCLE-12] ${name}: below a marker, what another null version has taken the place of is nothing that is left`, async () => {
    const lab = await makeLab();
    const db = await lab.open();
    const store = await SqlMetaStore.open(db, systemRandom);
    const rows = new LifecycleRows(db, store.hubId);
    const { id } = await store.createSpace("demo", SETTINGS_DEFAULT, new Uint8Array(16), "lineage", 1);
    const commit = (...changes: SpaceChange[]) => commitOne(store, id, changes, { timeMs: 10 });
    const set = (status: string) => store.updateSpace(id, { settings: { ...SETTINGS_DEFAULT, doors: { "s3.versioning": status } } });
    const purge = (path: string, ...sequences: number[]) => {
      const versions = sequences.map((sequence) => ({ path, sequence }));
      return store.purge({ space: id, versions, origin: { ...ORIGIN, cause: "purge" }, timeMs: 90, mayBypass: false });
    };
    const sole = async (): Promise<number[]> => {
      const space = (await store.space(id))!;
      const { found } = await rows.soleMarkers(space, new Uint8Array(0), 10);
      for (const { version, name } of found) expect((await rows.soleMarker(space, version.path))?.name).toBe(name);
      return found.map(({ name }) => name);
    };
    // Before versioning: a removal leaves no marker.
    await commit(putFile("a", "1"), putFile("b", "2"), putFile("c", "3"), putFile("early", "4"));
    await commit(putFile("a", "5"), putFile("b", "6"), remove("early"));
    await set("Enabled");
    await commit(remove("a"), remove("b"), putFile("c", "10"), remove("c"));
    expect(await sole()).toEqual([]);
    await purge("a", 5);
    expect(await sole()).toEqual([8]);
    await set("Suspended");
    // A null version that is the marker itself, over one of its own number, and over null versions.
    await commit({ ...remove("b"), expect: { kind: "sequence", sequence: 9 }, marksAgain: true } as SpaceChange);
    expect(await sole()).toEqual([8]);
    await purge("b", 9);
    expect(await sole()).toEqual([8, 12]);
    await purge("c", 10);
    expect(await sole()).toEqual([8, 12]);
    await purge("c", 3);
    expect(await sole()).toEqual([8, 12, 11]);
    await store.close();
    await lab.dispose();
  });
}

async function expectPlaces(rows: LifecycleRows, id: SpaceId): Promise<void> {
  await rows.savePlace(id, "one", 5);
  await rows.savePlace(id, "one", 7);
  await rows.savePlace(id, "two", 1);
  await rows.dropPlaces(id, ["two"]);
  expect([...(await rows.places(id))]).toEqual([["one", 7]]);
  await rows.later(id, new Map([[1, 100], [2, 50], [3, 300]]));
  await rows.later(id, new Map([[1, 40]]));
  const [one, two, three] = [{ sequence: 1, dueMs: 40 }, { sequence: 2, dueMs: 50 }, { sequence: 3, dueMs: 300 }] as const;
  expect(await rows.due(id, 100, 10)).toEqual([one, two]);
  expect(await rows.due(id, 100, 1)).toEqual([one]);
  await rows.later(id, new Map([[2, 60]]));
  await rows.doneLater(id, [one, two]);
  expect(await rows.due(id, 1000, 10)).toEqual([{ ...two, dueMs: 60 }, three]);
  await rows.forgetLater(id);
  expect(await rows.due(id, 1000, 10)).toEqual([]);
}
