import { afterEach, beforeEach, expect, test } from "bun:test";
import { BackupLab, type Stores, bytesOf, never } from "#hub/backup/backup-fixture.ts";
import { CHUNK_GRACE_MS, SPACE_GRACE_MS, Upkeep, type UpkeepRound } from "#hub/upkeep.ts";
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

function upkeep(): Upkeep {
  const { meta, chunks, access } = hub;
  return new Upkeep({
    meta,
    chunks,
    audit: access.audit,
    clock,
    cursor: { read: () => Promise.resolve(cursor), write: async (to) => void (cursor = to) },
    onRound: () => undefined,
    onError: () => undefined,
  });
}

const round = (fraction = 1): Promise<UpkeepRound> => upkeep().round(fraction, never);

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

test("[SPACE-20] what one part of the upkeep cannot do stops no other: everything else is done, and it is told", async () => {
  const { spaces } = hub;
  await spaces.createSpace(lab.who, "sound");
  for (const name of ["demo", "sound"]) {
    await lab.put(hub, name, { f: `${name} 1` });
    await lab.put(hub, name, { f: `${name} 2` });
    await spaces.updateSpace(lab.who, name, { settings: { retention: { versions: 0, ageMs: undefined } } });
  }
  await hub.db.run("UPDATE versions SET sum = sum + 1 WHERE space_id = 1 AND seq = 1");
  const codeOf = (work: Promise<unknown>): Promise<unknown> => work.then(() => "done", (error: { code?: string }) => error.code);
  cursor = "0:0";
  expect(await codeOf(round())).toBe("STATE");
  // Everything was read.
  expect(cursor).toBeUndefined();
  clock.nowMs_ += 2 * CHUNK_GRACE_MS;
  cursor = "0:0";
  await hub.db.run("UPDATE versions SET sum = sum - 1 WHERE space_id = 1 AND seq = 1");
  // More than the share that may go: nothing is pruned, and what is there is read all the same.
  expect(await codeOf(round(0))).toBe("HALT");
  expect(cursor).toBeUndefined();
  // The old version of the sound space went in the first round, the other one now.
  expect(await round()).toMatchObject({ expiredVersions: 0, removedChunks: 2 });
});
