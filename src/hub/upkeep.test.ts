import { afterEach, beforeEach, expect, test } from "bun:test";
import { BackupLab, type Stores, bytesOf, never } from "#hub/backup/backup-fixture.ts";
import { CHUNK_GRACE_MS, type Expired, SPACE_GRACE_MS, expireOld, pruneChunks, scrubBegin, scrubChunks } from "#hub/upkeep.ts";
import type { Clock } from "#platform/host.ts";
import { TestClock } from "#store/packs/packs-fixture.ts";

const DAY_MS = 24 * 3_600_000;

let lab: BackupLab;
let clock: TestClock;
let hub: Stores & AsyncDisposable;
let cursor: string | undefined;

beforeEach(async () => {
  lab = new BackupLab();
  clock = new TestClock();
  (lab.host as { clock: Clock }).clock = clock;
  cursor = undefined;
  hub = await lab.open();
  await hub.spaces.createSpace(lab.who, "demo");
});
afterEach(async () => {
  await hub[Symbol.asyncDispose]();
  lab[Symbol.dispose]();
});

const goOn = (): Promise<void> => Promise.resolve();
const NOTHING = { erasedSpaces: 0, expiredVersions: 0 };

const expire = () => expireOld({ meta: hub.meta, audit: hub.access.audit, clock }, NOTHING, goOn, never);
const prune = (share = 1) => pruneChunks({ meta: hub.meta, chunks: hub.chunks, clock, unfinished: async function* () {} }, share, never);
const scrub = async (bytes: number) => {
  const kept = { read: () => Promise.resolve(cursor), write: async (to: string | undefined) => void (cursor = to) };
  return scrubChunks({ chunks: hub.chunks, cursor: kept, onDamaged: goOn }, bytes, await scrubBegin(kept, false), goOn, never);
};

async function round() {
  return { ...(await expire()), ...(await prune()) };
}

test("[SPACE-18] old versions go by retention, their chunks when the grace has ended, and what a restore point shows stays", async () => {
  const { spaces } = hub;
  await spaces.updateSpace(lab.who, "demo", { settings: { retention: { versions: 1, ageMs: DAY_MS } } });
  for (let at = 1; at <= 5; at++) {
    await lab.put(hub, "demo", { f: bytesOf(100_000, at) });
    clock.nowMs_ += 1000;
  }
  await spaces.createRestorePoint(lab.who, "demo", "second", { sequence: 2 });
  expect(await round()).toMatchObject({ expiredVersions: 2, removedChunks: 0 });
  clock.nowMs_ += CHUNK_GRACE_MS + DAY_MS;
  // By now the one that was kept by its number is too old.
  const later = await round();
  expect(later.expiredVersions).toBe(1);
  expect(later.removedChunks).toBeGreaterThan(2);
  const readable: number[] = [];
  for (let sequence = 1; sequence <= 5; sequence++) {
    const version = (await spaces.version(lab.who, "demo", "f", { sequence }))!;
    const isThere = await spaces.open(lab.who, "demo", version).then(
      async (reader) => (await reader.read(new Uint8Array(reader.size), 0)) === reader.size,
      () => false,
    );
    if (isThere) readable.push(sequence);
  }
  expect(readable).toEqual([2, 5]);
  await spaces.deleteRestorePoint(lab.who, "demo", "second");
  expect(await round()).toMatchObject({ expiredVersions: 1 });
});

test("[SPACE-19] a deleted space comes back until its grace ends; then it is erased with its chunks, and that is recorded", async () => {
  const { spaces } = hub;
  await spaces.createSpace(lab.who, "other");
  await lab.put(hub, "demo", { kept: bytesOf(50_000, 1), shared: bytesOf(60_000, 2) });
  await lab.put(hub, "other", { gone: bytesOf(70_000, 3), shared: bytesOf(60_000, 2) });
  await spaces.deleteSpace(lab.who, "other");
  clock.nowMs_ += SPACE_GRACE_MS;
  expect(await round()).toMatchObject({ erasedSpaces: 0, removedChunks: 0 });
  await spaces.undeleteSpace(lab.who, "other");
  expect(Object.keys(await lab.files(hub, "other"))).toEqual(["gone", "shared"]);
  await spaces.deleteSpace(lab.who, "other");
  clock.nowMs_ += SPACE_GRACE_MS + 1;
  const { erasedSpaces, removedChunks } = await round();
  expect([erasedSpaces, removedChunks > 0]).toEqual([1, true]);
  expect(Object.keys(await lab.files(hub, "demo"))).toEqual(["kept", "shared"]);
  const [record] = await hub.access.audit.page({ action: "space.erase" }, undefined, 1);
  expect([record!.actor, record!.resource]).toEqual(["system:upkeep", "space:other"]);
  // The name is free again.
  await spaces.createSpace(lab.who, "other");
  expect(await lab.files(hub, "other")).toEqual({});
});

test("[SPACE-62] what the database refused to erase goes with the next round that it does not refuse", async () => {
  const { spaces } = hub;
  await lab.put(hub, "demo", { gone: bytesOf(70_000, 3) });
  await spaces.deleteSpace(lab.who, "demo");
  clock.nowMs_ += SPACE_GRACE_MS + CHUNK_GRACE_MS + 1;
  await hub.db.run("CREATE TRIGGER refusing BEFORE DELETE ON versions BEGIN SELECT RAISE(ABORT, 'refused'); END");
  for (const _ of [1, 2]) await expect(expire()).rejects.toThrow();
  await hub.db.run("DROP TRIGGER refusing");
  const { erasedSpaces, removedChunks } = await round();
  expect([erasedSpaces, removedChunks > 0]).toEqual([1, true]);
  expect(await hub.db.all("SELECT * FROM versions")).toEqual([]);
  expect(await expire()).toEqual(NOTHING);
});

test("[SPACE-63] a space that is brought back and deleted again while others are erased keeps its grace", async () => {
  const { spaces } = hub;
  for (const name of ["first", "second"]) await spaces.createSpace(lab.who, name);
  await lab.put(hub, "second", { kept: bytesOf(50_000, 1) });
  for (const name of ["first", "second"]) await spaces.deleteSpace(lab.who, name);
  clock.nowMs_ += SPACE_GRACE_MS + 1;
  const onPage = async ({ erasedSpaces }: Expired): Promise<void> => {
    if (erasedSpaces !== 1) return;
    await spaces.undeleteSpace(lab.who, "second");
    await spaces.deleteSpace(lab.who, "second");
  };
  const expiring = expireOld({ meta: hub.meta, audit: hub.access.audit, clock }, NOTHING, onPage, never);
  await expiring.catch(() => undefined);
  await spaces.undeleteSpace(lab.who, "second");
  expect(Object.keys(await lab.files(hub, "second"))).toEqual(["kept"]);
});

test("[SPACE-20] what cannot be done in one space stops none of the others, and is told; a refused prune changes nothing", async () => {
  const { spaces } = hub;
  await spaces.createSpace(lab.who, "sound");
  for (const name of ["demo", "sound"]) {
    // Not so small that it goes through the database first: nobody protects it once it is committed.
    for (const text of [`${name} 1 `, `${name} 2 `]) await lab.put(hub, name, { f: text.repeat(3_000) });
    await spaces.updateSpace(lab.who, name, { settings: { retention: { versions: 0, ageMs: undefined } } });
  }
  await hub.db.run("UPDATE versions SET sum = sum + 1 WHERE space_id = 1 AND seq = 1");
  const codeOf = (work: Promise<unknown>): Promise<unknown> => work.then(() => "done", (error: { code?: string }) => error.code);
  expect(await codeOf(expire())).toBe("STATE");
  clock.nowMs_ += 2 * CHUNK_GRACE_MS;
  await hub.db.run("UPDATE versions SET sum = sum - 1 WHERE space_id = 1 AND seq = 1");
  const before = hub.chunks.stats().chunks;
  expect(await codeOf(prune(0))).toBe("HALT");
  expect(hub.chunks.stats().chunks).toBe(before);
  // The old version of the sound space went in the first round, the other one now.
  expect(await expire()).toMatchObject({ expiredVersions: 1 });
  expect(await prune()).toMatchObject({ removedChunks: 2 });
});

test("[JOB-40] a scrub reads so many bytes, goes on where the last one ended, and ends where the store does", async () => {
  for (let at = 1; at <= 6; at++) await lab.put(hub, "demo", { [`f${at}`]: bytesOf(300_000, at) });
  const { storedBytes } = hub.chunks.stats();
  const parts = [await scrub(storedBytes / 3), await scrub(storedBytes / 3)];
  for (const { checkedBytes } of parts) expect(checkedBytes).toBeLessThan(storedBytes / 2);
  expect(cursor).toMatch(/^\d+:\d+$/);
  const rest = await scrub(Number.MAX_SAFE_INTEGER);
  expect(cursor).toBeUndefined();
  const read = [...parts, rest].reduce((sum, { checkedBytes }) => sum + checkedBytes, 0);
  expect((await scrub(Number.MAX_SAFE_INTEGER)).checkedBytes).toBe(read);
  // One that was interrupted goes on from its own place, wherever others have gone meanwhile, and not beyond its end.
  const kept = { read: () => Promise.resolve(undefined), write: async (to: string | undefined) => void (cursor = to) };
  let place = await scrubBegin(kept, true);
  const interrupt = async (at: typeof place): Promise<void> => {
    place = at;
    throw new Error("interrupted");
  };
  const cut = scrubChunks({ chunks: hub.chunks, cursor: kept, onDamaged: goOn }, storedBytes / 2, place, interrupt, never);
  expect(await cut.catch((error: Error) => error.message)).toBe("interrupted");
  await scrub(Number.MAX_SAFE_INTEGER);
  const whole = await scrubChunks({ chunks: hub.chunks, cursor: kept, onDamaged: goOn }, Number.MAX_SAFE_INTEGER, place, async (at) => void (place = at), never);
  expect([whole.checkedBytes, place.isEnd]).toEqual([read, true]);
  expect(await scrubChunks({ chunks: hub.chunks, cursor: kept, onDamaged: goOn }, Number.MAX_SAFE_INTEGER, place, interrupt, never)).toEqual(whole);
});
