import { expect, test } from "bun:test";
import { FACTS_JSON, MARKS_JSON, PAGE_JSON, factsJson, factsOf, marksJson, marksOf, pageJson, pageOf } from "#gateway/api/follow-shapes.ts";
import { FollowHub, WHO, catchUp, journalOf, lost, never } from "#hub/followers/followers-fixture.ts";
import type { FollowSource } from "#hub/followers/source.ts";
import { TRACE } from "#hub/hub-fixture.ts";
import { SpaceVersions } from "#hub/versions/versions.ts";

const LATER_MS = Date.now() + 1e9;

/** Everything as it goes over the wire. */
const wired = (from: FollowSource): FollowSource => {
  const sent = (value: unknown): unknown => JSON.parse(JSON.stringify(value));
  return {
    ...from,
    facts: async (signal) => factsOf(FACTS_JSON.parse(sent(factsJson(await from.facts(signal))))),
    page: async (after, waitMs, signal) => pageOf(PAGE_JSON.parse(sent(pageJson("0123456789abcdef", await from.page(after, waitMs, signal))))),
    marks: async (after, signal) => marksOf(MARKS_JSON.parse(sent(marksJson(await from.marks(after, signal))))),
  };
};

async function two() {
  const source = await FollowHub.open();
  const { spaces, meta, audit, host } = source.hub;
  const rules = [{ id: "r", enabled: true, filter: { prefix: "x", tags: [["a", "b"]] as const }, oldDays: 3 }];
  await spaces.createSpace(WHO, "demo", { lock: { period: { mode: "governance", unit: "days", count: 1 } }, lifecycle: rules });
  const versions = new SpaceVersions({ spaces, meta, access: source.access, audit, clock: host.clock });
  const copy = await FollowHub.open();
  return { source, copy, versions, [Symbol.asyncDispose]: async () => void (await Promise.all([source[Symbol.asyncDispose](), copy[Symbol.asyncDispose]()])) };
}

test("[FOLLOW-35] locks, purges and attributes of old versions come over to a copy, with what the space is set to", async () => {
  await using lab = await two();
  const { source, copy, versions } = lab;
  const one = await source.hub.put("demo", "a", "one");
  const two_ = await source.hub.put("demo", "a", "two");
  const follower = await copy.copyOf(source, wired);
  await catchUp(follower);
  const here = (await copy.hub.spaces.space(WHO, "demo")).id;
  const there = (await source.hub.spaces.space(WHO, "demo")).id;
  expect((await copy.hub.spaces.space(WHO, "demo")).settings).toEqual((await source.hub.spaces.space(WHO, "demo")).settings);
  for (const sequence of [one, two_]) expect(await copy.hub.meta.lock(here, sequence)).toEqual(await source.hub.meta.lock(there, sequence));
  expect((await copy.hub.meta.lock(here, two_))?.term?.mode).toBe("governance");
  await versions.purge(WHO, "demo", [{ path: "a", sequence: two_ }], { traceId: TRACE, bypass: true });
  await versions.changeLock(WHO, "demo", { path: "a", sequence: one }, { traceId: TRACE, hold: true });
  const old = { path: "b", sequence: await source.hub.put("demo", "b", "one") };
  await source.hub.put("demo", "b", "two");
  await versions.changeOld(WHO, "demo", old, { traceId: TRACE, attributes: { "s3.tags": "t=1" } });
  for (let round = 0; round < 3; round++) await follower.round(never);
  expect(await journalOf(copy)).toEqual(await journalOf(source));
  expect(await copy.hub.files("demo")).toEqual({ a: "one", b: "two" });
  expect((await copy.hub.meta.versionNamed(here, old))?.attributes).toEqual({ "s3.tags": "t=1" });
  expect(await copy.hub.meta.versionNamed(here, { path: "a", sequence: two_ })).toBeUndefined();
  expect(await copy.store.marks(here, 0)).toEqual(await source.store.marks(there, 0));
  expect((await copy.hub.meta.lock(here, one))?.hold).toBe(true);
});

test("[FOLLOW-43] marks of a source that was put back come over, also when it was lost while they were asked for, and later ones too", async () => {
  await using lab = await two();
  const { source, copy, versions } = lab;
  const [one, other] = [await source.hub.put("demo", "a", "one"), await source.hub.put("demo", "b", "two")];
  let refusals = 0;
  const follower = await copy.copyOf(source, (from) => ({
    ...from,
    marks: (after, signal) => (refusals-- > 0 ? Promise.reject(lost()) : from.marks(after, signal)),
  }));
  await catchUp(follower);
  const { id } = await copy.hub.spaces.space(WHO, "demo");
  // Its last one here is of the life before.
  await copy.store.applyMarks(id, [{ number: 50, sequence: other, lock: { term: undefined, hold: false } }], 1);
  for (const [path, sequence] of [["a", one], ["b", other]] as const) {
    await versions.changeLock(WHO, "demo", { path, sequence }, { traceId: TRACE, hold: true });
    refusals = 2;
    for (let time = 0; time < 2; time++) await expect(follower.round(never)).rejects.toMatchObject({ code: "LINK_LOST" });
    await follower.round(never);
    expect((await copy.hub.meta.lock(id, sequence))?.hold).toBe(true);
  }
});

test("[FOLLOW-36] what is locked for compliance or held in a copy stays there, whatever its source says; the current version always", async () => {
  await using lab = await two();
  const { source, copy, versions } = lab;
  const [held, term, plain] = [await source.hub.put("demo", "a", "one"), await source.hub.put("demo", "b", "two"), await source.hub.put("demo", "c", "three")];
  await versions.changeLock(WHO, "demo", { path: "a", sequence: held }, { traceId: TRACE, hold: true });
  const compliance = { mode: "compliance", untilMs: LATER_MS } as const;
  await versions.changeLock(WHO, "demo", { path: "b", sequence: term }, { traceId: TRACE, term: compliance, bypass: true });
  for (const path of ["a", "b"]) await source.hub.put("demo", path, "more");
  const lies: { marks?: FollowSource["marks"] } = {};
  const follower = await copy.copyOf(source, (from) => ({
    ...from,
    page: async (after, waitMs, signal) => ({ ...(await from.page(after, waitMs, signal)), ...(lies.marks === undefined ? {} : { marks: 1000 }) }),
    marks: (after, signal) => (lies.marks ?? from.marks)(after, signal),
  }));
  await catchUp(follower);
  const { id, sequence } = await copy.hub.spaces.space(WHO, "demo");
  const purge = { timeMs: 1, actor: "user:eve", traceId: TRACE, cause: "purge" };
  const told = [held, term, plain].map((one, at) => ({ number: 500 + at, sequence: one, purge }));
  const shorter = { number: 600, sequence: term, lock: { term: { mode: "governance", untilMs: 1 }, hold: false } } as const;
  lies.marks = async (after) => ({ sequence, marks: [...told, shorter].filter(({ number }) => number > after) });
  await follower.round(never);
  expect(await copy.store.lastMark(id)).toBe(600);
  expect(await copy.hub.files("demo")).toEqual({ a: "more", b: "more", c: "three" });
  for (const [path, at] of [["a", held], ["b", term]] as const) {
    expect((await copy.hub.meta.versionNamed(id, { path, sequence: at }))?.content).toBeDefined();
  }
  expect((await copy.hub.meta.lock(id, term))?.term).toEqual(compliance);
});
