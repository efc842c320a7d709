import { expect, test } from "bun:test";
import type { Access, Action } from "#access/access.ts";
import { TRACE, TestHub } from "#hub/hub-fixture.ts";
import { SpaceVersions } from "#hub/versions/versions.ts";
import { SynclineError } from "#model/error.ts";

const codeOf = (done: Promise<unknown>): Promise<string> => done.then(() => "none", (error: unknown) => (error instanceof SynclineError ? error.code : String(error)));

test("[LOCK-4] purging, locking and bypassing are rights of their own, whatever a door does, and all of it is audited", async () => {
  let rights: readonly Action[] = [];
  const access: Access = {
    authenticate: () => Promise.reject(new Error("nobody signs in here")),
    decide: (_who, action) => ({ allowed: rights.includes(action), reason: "a test" }),
    reaches: () => true,
    require: (_who, action) => {
      if (!rights.includes(action)) throw new SynclineError({ code: "DENIED", op: "ask", message: action });
    },
  };
  await using hub = await TestHub.open(access);
  const { spaces, meta, audit, host, who } = hub;
  rights = ["manage", "write"];
  await spaces.createSpace(who, "demo");
  const sequence = await hub.put("demo", "a", "one");
  const name = { path: "a", sequence };
  const versions = new SpaceVersions({ spaces, meta, access, audit, clock: host.clock });
  const term = { mode: "governance", untilMs: Date.now() + 1e9 } as const;
  expect(await codeOf(versions.purge(who, "demo", [name], { traceId: TRACE }))).toBe("DENIED");
  expect(await codeOf(versions.named(who, "demo", name))).toBe("DENIED");
  expect(await codeOf(versions.changeLock(who, "demo", name, { traceId: TRACE, term }))).toBe("DENIED");
  rights = ["write", "lock"];
  expect(await codeOf(versions.changeLock(who, "demo", name, { traceId: TRACE, term }))).toBe("USAGE");
  const change = { type: "put", path: "b", expect: { kind: "any" }, entry: { kind: "dir", mode: 0o755 }, content: undefined, makeParents: true, lock: { term, hold: false } } as const;
  const asked = { changes: [change], intake: undefined, atomic: true, cause: "upload", traceId: TRACE } as const;
  expect(await codeOf(spaces.commit(who, "demo", asked))).toBe("USAGE");
  rights = ["manage"];
  await spaces.updateSpace(who, "demo", { settings: { lock: { period: undefined } } });
  expect(await codeOf(spaces.updateSpace(who, "demo", { settings: { lock: undefined } }))).toBe("DENIED");
  rights = ["write"];
  expect(await codeOf(spaces.commit(who, "demo", asked))).toBe("DENIED");
  rights = ["lock", "purge"];
  expect(await versions.changeLock(who, "demo", name, { traceId: TRACE, term })).toMatchObject({ status: "done" });
  const kept = await versions.purge(who, "demo", [name], { traceId: TRACE, bypass: true });
  expect(kept.results[0]!.status).toBe("kept");
  expect((await versions.changeLock(who, "demo", name, { traceId: TRACE, term: null, bypass: true })).status).toBe("kept");
  rights = ["purge", "bypass"];
  expect((await versions.purge(who, "demo", [name], { traceId: TRACE })).results[0]!.status).toBe("kept");
  expect((await versions.purge(who, "demo", [name], { traceId: TRACE, bypass: true })).results[0]!.status).toBe("purged");
  const log = (await audit.page({ resource: "space:demo/a" }, undefined, 20)).toReversed();
  expect(log.map(({ action, outcome }) => `${action} ${outcome}`)).toEqual([
    "version.lock done", "version.purge denied", "version.lock denied", "version.purge denied", "version.purge done",
  ]);
  expect(JSON.parse(log.at(-1)!.details!)).toEqual({ sequence, current: 2, bypassed: true });
});
