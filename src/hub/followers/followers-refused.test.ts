/** What is asked of a hub about the spaces that it follows, and refused by its disk in the midst. */
import { expect, test } from "bun:test";
import { FollowHub, TARGET, WHO, journalOf, lost, never } from "#hub/followers/followers-fixture.ts";
import type { Followers } from "#hub/followers/followers.ts";

async function until(isTrue: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await isTrue()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("it never came true");
}

const codeOf = (work: Promise<unknown>): Promise<string> => work.then(() => "done", (error: { code: string }) => error.code);
const isWell = async (followers: Followers): Promise<boolean> => (await followers.list(WHO))[0]?.isWell === true;

async function openBoth(): Promise<{ source: FollowHub; copy: FollowHub; followers: Followers }> {
  const [source, copy] = [await FollowHub.open(), await FollowHub.open()];
  await source.hub.spaces.createSpace(WHO, "demo");
  await source.hub.put("demo", "a", "one");
  const followers = await copy.followers(source);
  await followers.follow(WHO, "demo", TARGET, never);
  await until(() => isWell(followers));
  return { source, copy, followers };
}

/** The database of the hub refuses the statement from now on, until what is given is called. */
async function refuse({ hub }: FollowHub, statement: string): Promise<() => Promise<unknown>> {
  await hub.database.run(`CREATE TRIGGER refusing BEFORE ${statement} BEGIN SELECT RAISE(ABORT, 'refused'); END`);
  return () => hub.database.run("DROP TRIGGER refusing");
}

test("[FOLLOW-41] a copy that cannot be promoted, let go or led elsewhere now follows on, and says in the end what it lacks", async () => {
  const { source, copy, followers } = await openBoth();
  for (const [statement, ask] of [
    ["DELETE ON follows", () => followers.promote(WHO, "demo")],
    ["UPDATE ON follows", () => followers.unfollow(WHO, "demo")],
    ["UPDATE ON follows", () => followers.follow(WHO, "demo", TARGET, never)],
  ] as const) {
    const allow = await refuse(copy, statement);
    for (let time = 0; time < 2; time++) await expect(ask()).rejects.toThrow();
    await allow();
    await source.hub.put("demo", "a", `more ${statement}`);
    const { sequence } = await source.hub.spaces.space(WHO, "demo");
    await until(async () => (await copy.hub.spaces.space(WHO, "demo")).sequence === sequence);
    expect(await followers.list(WHO)).toMatchObject([{ space: "demo" }]);
  }
  await until(() => isWell(followers));
  expect(await journalOf(copy)).toEqual(await journalOf(source));
  // The source is lost, and then the first try is refused.
  const { following } = source;
  following.page = () => Promise.reject(lost());
  const allow = await refuse(copy, "DELETE ON follows");
  await expect(followers.promote(WHO, "demo")).rejects.toThrow();
  await allow();
  expect(await followers.promote(WHO, "demo")).toMatchObject({ missing: 0, heardAgoMs: expect.any(Number) });
  await followers.close();
  await Promise.all([source, copy].map((hub) => hub[Symbol.asyncDispose]()));
});

test("[FOLLOW-42] what has gone another way is set aside as a space of its own, also when that was refused at first", async () => {
  const { source, copy, followers } = await openBoth();
  const { sequence } = (await followers.promote(WHO, "demo")).space;
  await copy.hub.put("demo", "own", "of the copy");
  await source.hub.put("demo", "goes on", "at the source");
  for (const statement of ["DELETE ON follows", "UPDATE OF name ON spaces", "INSERT ON spaces"]) {
    const allow = await refuse(copy, statement);
    for (let time = 0; time < 2; time++) await expect(followers.follow(WHO, "demo", TARGET, never)).rejects.toThrow();
    await allow();
  }
  await followers.follow(WHO, "demo", TARGET, never);
  await until(() => isWell(followers));
  expect(await journalOf(copy)).toEqual(await journalOf(source));
  const [followed, ...others] = await followers.list(WHO);
  expect([followed?.space, others]).toEqual(["demo", []]);
  const aside = (await copy.hub.spaces.spaces(WHO)).filter(({ name }) => name !== "demo");
  expect(aside.map(({ name, follows }) => [name, follows])).toEqual([[`demo.diverged-${sequence + 1}`, undefined]]);
  await copy.hub.put(aside[0]!.name, "more", "works");
  expect(await copy.hub.files(aside[0]!.name)).toMatchObject({ own: "of the copy", more: "works" });
  await followers.close();
  await Promise.all([source, copy].map((hub) => hub[Symbol.asyncDispose]()));
});

test("[FOLLOW-48] who begins to follow, or is promoted, while its space gets another name leaves the one that has got it alone", async () => {
  const { source, copy, followers } = await openBoth();
  const { spaces } = copy.hub;
  const swapAt = (name: "begin" | "promote"): void => {
    const real = copy.store[name].bind(copy.store) as (...asked: unknown[]) => Promise<unknown>;
    (copy.store as unknown as Record<string, unknown>)[name] = async (...asked: unknown[]) => {
      Object.assign(copy.store, { [name]: real });
      await spaces.updateSpace(WHO, "demo", { name: `was-${name}` });
      await spaces.createSpace(WHO, "demo");
      return real(...asked);
    };
  };
  swapAt("begin");
  expect(await codeOf(followers.follow(WHO, "demo", TARGET, never))).toBe("SPACE_UNKNOWN");
  await copy.hub.put("demo", "own", "of another space");
  expect((await spaces.space(WHO, "demo")).follows).toBeUndefined();
  await source.hub.put("demo", "b", "goes on");
  await until(async () => (await spaces.space(WHO, "was-begin")).sequence === 2);
  await spaces.updateSpace(WHO, "demo", { name: "another" });
  await spaces.updateSpace(WHO, "was-begin", { name: "demo" });
  swapAt("promote");
  const promoted = await followers.promote(WHO, "demo");
  expect([promoted.space.name, promoted.space.sequence, promoted.missing]).toEqual(["was-promote", 2, 0]);
  await copy.hub.put("was-promote", "own", "is written to");
  await followers.close();
  await Promise.all([source, copy].map((hub) => hub[Symbol.asyncDispose]()));
});

test("[FOLLOW-51] a hub that follows as many spaces as it may still changes how it follows one of them", async () => {
  const { source, copy, followers: first } = await openBoth();
  await first.close();
  for (let at = 1; at < 200; at++) {
    await copy.hub.database.run(
      "INSERT INTO follows (space_id, url, source, token, since_ms, stopped, tag) VALUES (?, 'http://source', 'other', ?, 1, 1, '')",
      [1000 + at, new Uint8Array(1)],
    );
  }
  const followers = await copy.followers(source);
  expect(await codeOf(followers.follow(WHO, "another", TARGET, never))).toBe("LIMIT");
  expect(await codeOf(followers.follow(WHO, "demo", { ...TARGET, url: "http://moved" }, never))).toBe("done");
  expect(await followers.list(WHO)).toMatchObject([{ space: "demo", url: "http://moved" }]);
  await followers.close();
});
