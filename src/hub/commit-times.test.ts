import { afterEach, beforeEach, expect, test } from "bun:test";
import { type ClockNotice, HELD_MS_MAX } from "#hub/commit-times.ts";
import { EVERYTHING, TRACE, TestHub } from "#hub/hub-fixture.ts";
import { HubSpaces } from "#hub/hub-spaces.ts";
import type { SpaceId } from "#hub/space.ts";
import { SpaceVersions } from "#hub/versions/versions.ts";

const DAY_MS = 86_400_000;
const NOON = 20_000 * DAY_MS + DAY_MS / 2;

let nowMs = NOON;
let passedMs = 0;
const clock = { nowMs: () => nowMs, monotonicMs: () => passedMs, sleep: (ms: number) => Bun.sleep(ms) };
let hub: TestHub;
let id: SpaceId;
const told: string[] = [];

beforeEach(async () => {
  nowMs = NOON;
  told.length = 0;
  hub = await TestHub.open(EVERYTHING, clock);
  ({ id } = await hub.spaces.createSpace(hub.who, "demo"));
});
afterEach(() => hub[Symbol.asyncDispose]());

/** Another process of the hub, on the same stores. */
function again(): Promise<HubSpaces> {
  const { meta, chunks, audit, host } = hub;
  const onClockNotice = ({ what, behindMs }: ClockNotice): void => void told.push(`${what} ${behindMs}`);
  return HubSpaces.open({ meta, chunks, access: EVERYTHING, audit, clock, random: host.random, onClockNotice });
}

async function commitAt(spaces: HubSpaces, atMs: number): Promise<void> {
  nowMs = atMs;
  const change = { type: "put", path: `d${hub.host.random.bytes(4).join("")}`, expect: { kind: "any" }, entry: { kind: "dir", mode: 0o755 }, content: undefined, makeParents: true } as const;
  await spaces.commit(hub.who, "demo", { changes: [change], intake: undefined, atomic: true, cause: "edit", traceId: TRACE });
}
const times = async (): Promise<number[]> => (await hub.meta.journal(id, 0, 100)).map(({ timeMs }) => timeMs - NOON);
const countAt = (ms: number): Promise<number> => hub.meta.sequenceAt(id, NOON + ms);

test("[TIME-1] while the clock is behind the last commit those that follow have its time, and views of the past stay as they were", async () => {
  for (const ms of [0, 1000, 2000]) await commitAt(hub.spaces, NOON + ms);
  expect([await countAt(500), await countAt(1500), await countAt(2500)]).toEqual([1, 2, 3]);
  // In one process, and in one that begins with a clock that has lost its time.
  for (const ms of [1500, -DAY_MS]) await commitAt(hub.spaces, NOON + ms);
  await commitAt(await again(), 0);
  expect(await times()).toEqual([0, 1000, 2000, 2000, 2000, 2000]);
  expect([await countAt(-1), await countAt(500), await countAt(1500), await countAt(1999), await countAt(2000)]).toEqual([0, 1, 2, 2, 6]);
  await commitAt(hub.spaces, NOON + 3000);
  expect([(await times()).at(-1), await countAt(2500), await countAt(3000)]).toEqual([3000, 6, 7]);
});

test("[TIME-2] a clock that is far behind is told once, and once that it is no more", async () => {
  const spaces = await again();
  await commitAt(spaces, NOON);
  for (const ms of [-4000, -6000, -DAY_MS, -1]) await commitAt(spaces, NOON + ms);
  expect(told).toEqual(["behind 6000"]);
  for (const ms of [0, 1, 2]) await commitAt(spaces, NOON + ms);
  expect(told).toEqual(["behind 6000", "caught-up 0"]);
});

test("[TIME-4] a clock that has been behind for an hour is believed: what was ahead counts as made by then", async () => {
  const spaces = await again();
  await commitAt(spaces, NOON);
  await commitAt(spaces, NOON + 365 * DAY_MS);
  await commitAt(spaces, NOON + 1000);
  passedMs += HELD_MS_MAX - 1;
  await commitAt(spaces, NOON + HELD_MS_MAX);
  expect(await countAt(DAY_MS)).toBe(1);
  passedMs += 1;
  for (const ms of [1, 2]) await commitAt(spaces, NOON + HELD_MS_MAX + ms);
  expect(told).toEqual([`behind ${365 * DAY_MS - 1000}`, `believed ${365 * DAY_MS - HELD_MS_MAX - 1}`]);
  expect([await countAt(HELD_MS_MAX), await countAt(HELD_MS_MAX + 1), await countAt(DAY_MS)]).toEqual([1, 5, 6]);
});

test("[TIME-3] nor does what a purge makes current go back in time", async () => {
  const one = await hub.put("demo", "a", "one");
  nowMs += 1000;
  const two = await hub.put("demo", "a", "two");
  nowMs -= DAY_MS;
  const versions = new SpaceVersions({ spaces: hub.spaces, meta: hub.meta, access: EVERYTHING, audit: hub.audit, clock });
  await versions.purge(hub.who, "demo", [{ path: "a", sequence: two }], { traceId: TRACE, bypass: false });
  expect(await times()).toEqual([0, 1000, 1000]);
  expect([await countAt(500), await countAt(1000)]).toEqual([one, two + 1]);
});
