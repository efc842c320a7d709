import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import type { Access, Principal, Rule } from "#access/access.ts";
import { RoleBook, decide, reaches } from "#access/decide.ts";
import { TRACE, TestHub, diskFull } from "#hub/hub-fixture.ts";
import type { CommitRequest, Intake } from "#hub/space-service.ts";
import type { SpaceChange } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";

const book = new RoleBook([
  { name: "in-reader", includes: [], rules: [allow(["read"], ["in", "deep/down/there"])] },
  { name: "in-writer", includes: [], rules: [allow(["read", "write", "restore"], ["in"])] },
  {
    name: "but-secrets",
    includes: [],
    rules: [allow(["read", "write", "restore"]), { ...allow(["*"], ["in/secret"]), effect: "deny" }],
  },
]);

function allow(actions: Rule["actions"], prefixes?: readonly string[]): Rule {
  return { effect: "allow", resource: "space", actions, names: ["demo"], ...(prefixes === undefined ? {} : { prefixes }) };
}

const person = (name: string, ...roles: string[]): Principal => ({ id: `user:${name}`, kind: "user", name, roles, scopes: undefined });
const READER = person("reader", "in-reader");
const WRITER = person("writer", "in-writer");
const MOST = person("most", "but-secrets");
const STRANGER = person("stranger");
const ADMIN = person("admin", "admin");

/** The real decision, for people who signed in already. */
const ACCESS: Access = {
  authenticate: () => Promise.reject(new Error("nobody signs in here")),
  decide: (who, action, resource) => decide(book, who, undefined, action, resource),
  reaches: (who, action, space, path) => reaches(book, who, undefined, action, space, path),
  require(who, action, resource) {
    const { allowed, reason } = decide(book, who, undefined, action, resource);
    if (!allowed) throw new SynclineError({ code: "DENIED", op: "test", message: reason });
  },
};

const codeOf = async (work: () => unknown): Promise<string> => {
  try {
    await work();
    return "none";
  } catch (error) {
    return error instanceof SynclineError ? error.code : String(error);
  }
};

const remove = (path: string, recursive = true): SpaceChange => ({ type: "remove", path, expect: { kind: "any" }, recursive });
const request = (...changes: SpaceChange[]): CommitRequest => ({ changes, intake: undefined, atomic: true, cause: "edit", traceId: TRACE });

let hub: TestHub;
beforeEach(async () => {
  hub = await TestHub.open(ACCESS);
  for (const name of ["demo", "other"]) await hub.spaces.createSpace(ADMIN, name);
  for (const path of ["a", "in/a", "in/b/c", "in/secret/key", "deep/down/there/x", "deep/down/y", "z"]) await hub.put("demo", path, path);
  await hub.put("other", "f", "f");
});
afterEach(() => hub[Symbol.asyncDispose]());

const paths = async (who: Principal, below: string, shallow: boolean, limit = 100): Promise<string[]> => {
  const found: string[] = [];
  for (let after: string | undefined; ; ) {
    const page = await hub.spaces.list(who, "demo", { below, after, shallow, limit, at: undefined });
    expect(page.length).toBeLessThanOrEqual(limit);
    found.push(...page.map(({ path }) => path));
    if (page.length < limit) return found;
    after = page.at(-1)!.path;
  }
};

describe("the rights of spaces", () => {
  test("[SPACE-11] a listing holds what one may read, with the directories on the way where one goes down; no page is cut short", async () => {
    const seen = ["deep/down/there", "deep/down/there/x", "in", "in/a", "in/b", "in/b/c", "in/secret", "in/secret/key"];
    for (const limit of [1, 2, 100]) expect(await paths(READER, "", false, limit)).toEqual(seen);
    expect(await paths(READER, "", true)).toEqual(["deep", "in"]);
    expect(await paths(READER, "deep", true)).toEqual(["deep/down"]);
    expect(await paths(READER, "deep/down", true, 1)).toEqual(["deep/down/there"]);
    expect(await paths(MOST, "in", false)).toEqual(["in/a", "in/b", "in/b/c"]);
    expect(await codeOf(() => paths(WRITER, "deep", true))).toBe("DENIED");
  });

  test("[SPACE-12] each call asks: what one may not, and what one may not know of", async () => {
    const { spaces } = hub;
    const version = (await spaces.version(ADMIN, "demo", "a"))!;
    const point = { sequence: 1 };
    const more = { cause: "restore", traceId: TRACE } as const;
    const calls: Record<string, (who: Principal) => unknown> = {
      version: (who) => spaces.version(who, "demo", "a"),
      open: (who) => spaces.open(who, "demo", version),
      history: (who) => spaces.history(who, "demo", "a", undefined, 10),
      count: (who) => spaces.count(who, "demo", "", 10),
      changedSince: (who) => spaces.changedSince(who, "demo", "", 0, 10),
      commit: (who) => spaces.commit(who, "demo", request(remove("a"))),
      move: (who) => spaces.commit(who, "demo", request({ type: "move", from: "in/a", to: "b", expect: { kind: "any" } })),
      restore: (who) => spaces.restore(who, "demo", "", point, more),
      createRestorePoint: (who) => spaces.createRestorePoint(who, "demo", "p"),
      restorePoints: (who) => spaces.restorePoints(who, "demo"),
      deleteRestorePoint: (who) => spaces.deleteRestorePoint(who, "demo", "p"),
      createSpace: (who) => spaces.createSpace(who, "new"),
      updateSpace: (who) => spaces.updateSpace(who, "demo", { name: "new" }),
      deleteSpace: (who) => spaces.deleteSpace(who, "demo"),
      undeleteSpace: (who) => spaces.undeleteSpace(who, "demo"),
    };
    for (const [name, call] of Object.entries(calls)) {
      for (const who of [READER, WRITER]) expect([name, who.name, await codeOf(() => call(who))]).toEqual([name, who.name, "DENIED"]);
      expect(["DENIED", "SPACE_UNKNOWN"]).toContain(await codeOf(() => call(STRANGER)));
    }
    for (const call of [() => spaces.space(STRANGER, "demo"), () => spaces.journal(STRANGER, "demo", 0, 10), () => spaces.list(STRANGER, "demo", { below: "", after: undefined, shallow: false, limit: 10, at: undefined })]) {
      expect(await codeOf(call)).toBe("SPACE_UNKNOWN");
    }
    expect(await codeOf(() => spaces.space(READER, "other"))).toBe("SPACE_UNKNOWN");
    expect(await codeOf(() => spaces.space(READER, "none"))).toBe("SPACE_UNKNOWN");
    expect((await spaces.spaces(READER)).map(({ name }) => name)).toEqual(["demo"]);
    expect(new Set((await spaces.journal(READER, "demo", 0, 100)).map(({ path }) => path.split("/")[0]))).toEqual(new Set(["in", "deep"]));
  });

  test("[SPACE-12] a deny below refuses what takes a whole tree, and who may write nothing brings nothing in", async () => {
    const { spaces } = hub;
    expect(await codeOf(() => spaces.commit(MOST, "demo", request(remove("in"))))).toBe("DENIED");
    expect(await codeOf(() => spaces.commit(MOST, "demo", request({ type: "move", from: "in", to: "out", expect: { kind: "any" } })))).toBe("DENIED");
    expect(await codeOf(() => spaces.restore(MOST, "demo", "", { sequence: 1 }, { cause: "restore", traceId: TRACE }))).toBe("DENIED");
    expect(await codeOf(() => spaces.commit(MOST, "demo", request(remove("in/b"))))).toBe("none");
    expect(await codeOf(() => spaces.intake(READER, "demo"))).toBe("DENIED");
    expect(await codeOf(() => spaces.intake(WRITER, "demo")[Symbol.asyncDispose]())).toBe("none");
  });

  test("[SPACE-13] restore points: made now or for a point, each name once, listed by sequence, gone when deleted", async () => {
    const { spaces } = hub;
    const { sequence } = await spaces.space(ADMIN, "demo");
    await spaces.createRestorePoint(ADMIN, "demo", "now");
    await spaces.createRestorePoint(ADMIN, "demo", "early", { sequence: 2 });
    await spaces.createRestorePoint(ADMIN, "demo", "before-all", { timeMs: 5 });
    const listed = (await spaces.restorePoints(ADMIN, "demo")).map(({ name, sequence }) => [name, sequence]);
    expect(listed).toEqual([["before-all", 0], ["early", 2], ["now", sequence]]);
    expect(await codeOf(() => spaces.createRestorePoint(ADMIN, "demo", "now"))).toBe("EXISTS");
    expect(await codeOf(() => spaces.createRestorePoint(ADMIN, "demo", "later", { sequence: sequence + 1 }))).toBe("NOT_FOUND");
    expect(await codeOf(() => spaces.createRestorePoint(ADMIN, "demo", "../up"))).toBe("USAGE");
    await spaces.deleteRestorePoint(ADMIN, "demo", "early");
    expect(await codeOf(() => spaces.deleteRestorePoint(ADMIN, "demo", "early"))).toBe("NOT_FOUND");
  });

  test("[SPACE-14] changes of spaces at the same time: each begins with what the other has left", async () => {
    const { spaces } = hub;
    await Promise.all([
      spaces.updateSpace(ADMIN, "demo", { settings: { quotaBytes: 1000 } }),
      spaces.updateSpace(ADMIN, "demo", { settings: { quotaEntries: 2000 } }),
    ]);
    expect((await spaces.space(ADMIN, "demo")).settings).toMatchObject({ quotaBytes: 1000, quotaEntries: 2000 });
    const renamed = ["x", "y"].map((name) => spaces.updateSpace(ADMIN, "demo", { name }));
    expect((await Promise.allSettled(renamed)).map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect((await spaces.spaces(ADMIN)).map(({ name }) => name)).toEqual(["other", "x"]);
  });

  test("[AUDIT-9] what is done to spaces is in the audit log, with who, where and what came of it", async () => {
    const { spaces } = hub;
    await spaces.updateSpace(ADMIN, "demo", { settings: { quotaBytes: 10_000 } });
    await spaces.createRestorePoint(ADMIN, "demo", "p");
    await spaces.deleteRestorePoint(ADMIN, "demo", "p");
    await codeOf(() => spaces.createRestorePoint(ADMIN, "demo", "../up"));
    const more = { cause: "restore", traceId: TRACE, runId: "run7" } as const;
    await spaces.restore(WRITER, "demo", "in", { sequence: 1 }, more);
    await spaces.undoRun(ADMIN, "demo", "run7", TRACE);
    await spaces.updateSpace(ADMIN, "demo", { name: "new" });
    await spaces.deleteSpace(ADMIN, "new");
    await spaces.undeleteSpace(ADMIN, "new");
    const records = (await hub.audit.page({}, undefined, 100)).reverse();
    expect(records.map(({ actor, action, resource, outcome }) => [actor, action, resource, outcome])).toEqual([
      ["user:admin", "space.create", "space:demo", "done"],
      ["user:admin", "space.create", "space:other", "done"],
      ["user:admin", "space.update", "space:demo", "done"],
      ["user:admin", "restore-point.create", "space:demo", "done"],
      ["user:admin", "restore-point.delete", "space:demo", "done"],
      ["user:writer", "space.restore", "space:demo/in", "done"],
      ["user:admin", "space.undo", "space:demo", "done"],
      ["user:admin", "space.update", "space:demo", "done"],
      ["user:admin", "space.delete", "space:new", "done"],
      ["user:admin", "space.undelete", "space:new", "done"],
    ]);
    const restore = records.find(({ action }) => action === "space.restore")!;
    expect(restore.traceId).toBe(TRACE);
    expect(JSON.parse(restore.details!)).toMatchObject({ to: { sequence: 1 }, runId: "run7", done: 6, notDone: 0 });
    expect(await hub.audit.verify()).toMatchObject({ sound: true });
  });

  test("[AUDIT-9] a restore that fails is recorded, and a change that cannot be recorded is not made", async () => {
    const { spaces } = hub;
    await hub.put("demo", "in/a", "new");
    const version = (await spaces.version(ADMIN, "demo", "in/a", { sequence: 3 }))!;
    // What was acknowledged a moment ago would be there all the same.
    await spaces.close();
    hub.disk.chunks.delete(version.content!.id as never);
    expect(await codeOf(() => spaces.restore(ADMIN, "demo", "in/a", { sequence: 3 }, { cause: "restore", traceId: TRACE }))).toBe("CHUNK_MISSING");
    const [failed] = await hub.audit.page({ action: "space.restore" }, undefined, 1);
    expect([failed!.outcome, JSON.parse(failed!.details!).code]).toEqual(["failed", "CHUNK_MISSING"]);
    await hub.database.run("DELETE FROM access_audit WHERE seq = (SELECT MAX(seq) FROM access_audit)");
    expect(await codeOf(() => spaces.deleteSpace(ADMIN, "demo"))).toBe("HALT");
    expect(await codeOf(() => spaces.createSpace(ADMIN, "unseen"))).toBe("HALT");
    expect((await spaces.spaces(ADMIN)).map(({ name }) => name)).toEqual(["demo", "other"]);
  });
});

describe("commits that go together", () => {
  const put = async (intake: Intake, path: string): Promise<SpaceChange> => {
    const { content, sum } = await intake.store(Buffer.from(path));
    const entry = { kind: "file", size: content.size, mode: 0o644, mtimeNs: 1n, sum } as const;
    return { type: "put", path, expect: { kind: "any" }, entry, content, makeParents: true };
  };

  test("[RESTORE-5] a path that is as it was is not changed by a restore of it", async () => {
    const { spaces } = hub;
    const to = await hub.put("demo", "f", "one");
    await hub.put("demo", "f", "two");
    const last = await hub.put("demo", "f", "one");
    const { before, after, results } = await spaces.restore(ADMIN, "demo", "f", { sequence: to }, { cause: "restore", traceId: TRACE });
    expect([before, after, results.length]).toEqual([last, last, 0]);
  });

  test("[SPACE-65] what was brought in for a space goes into no other that has got its name", async () => {
    const { spaces } = hub;
    await using intake = spaces.intake(ADMIN, "demo");
    const { content, sum } = await intake.store(Buffer.from("long"));
    await spaces.updateSpace(ADMIN, "demo", { name: "old" });
    const entry = { kind: "file", size: content.size, mode: 0o644, mtimeNs: 1n, sum } as const;
    const put: SpaceChange = { type: "put", path: "long", expect: { kind: "any" }, entry, content, makeParents: true };
    const commit = (): Promise<unknown> => spaces.commit(ADMIN, "demo", { ...request(put), intake });
    expect(await codeOf(commit)).toBe("SPACE_UNKNOWN");
    await spaces.createSpace(ADMIN, "demo");
    expect(await codeOf(commit)).toBe("SPACE_UNKNOWN");
    expect((await spaces.space(ADMIN, "demo")).sequence).toBe(0);
    expect(await spaces.version(ADMIN, "old", "long")).toBeUndefined();
  });

  test("[SPACE-66] who listens to a space that gets another name during a commit hears of it, and nobody else", async () => {
    const { spaces } = hub;
    const told: string[] = [];
    const stop = new AbortController();
    spaces.watch("demo", ({ space, after }) => void told.push(`${space} ${after}`), stop.signal);
    const flushing = Promise.withResolvers<void>();
    await using real = spaces.intake(ADMIN, "demo");
    const intake = new Proxy(real, {
      get: (it, name) => {
        if (name === "flush") return () => flushing.promise;
        const value: unknown = Reflect.get(it, name, it);
        return typeof value === "function" ? value.bind(it) : value;
      },
    });
    const { sequence } = await spaces.space(ADMIN, "demo");
    const committing = spaces.commit(ADMIN, "demo", { ...request(remove("a")), intake });
    await spaces.updateSpace(ADMIN, "demo", { name: "new" });
    await spaces.createSpace(ADMIN, "demo");
    spaces.watch("demo", ({ space, after }) => void told.push(`another ${space} ${after}`), stop.signal);
    flushing.resolve();
    await committing;
    await Bun.sleep(0);
    stop.abort();
    expect(told).toEqual([`new ${sequence + 1}`]);
  });

  test("[SPACE-15] one that cannot be done fails alone: its space was deleted, or the disk lost what it brought", async () => {
    const { spaces, who } = hub;
    await using lost = spaces.intake(who, "demo");
    await using sound = spaces.intake(who, "demo");
    await using gone = spaces.intake(who, "other");
    const lostPut = await put(lost, "lost");
    // The disk refuses once, and loses what was not durable: that of the first.
    hub.disk.refusal = diskFull();
    await hub.chunks.flush().catch(() => undefined);
    const [soundPut, gonePut] = [await put(sound, "sound"), await put(gone, "gone")];
    const otherId = (await spaces.space(who, "other")).id;
    const outcomes = Promise.allSettled([
      spaces.commit(who, "demo", { ...request(lostPut), intake: lost }),
      spaces.commit(who, "demo", { ...request(soundPut), intake: sound }),
      spaces.commit(who, "other", { ...request(gonePut), intake: gone }),
      spaces.commit(who, "demo", request(remove("a"))),
    ]);
    await hub.meta.updateSpace(otherId, { deletedMs: 1 });
    const codes = (await outcomes).map((one) => (one.status === "fulfilled" ? "done" : (one.reason as SynclineError).code));
    expect(codes).toEqual(["DISK", "done", "SPACE_UNKNOWN", "done"]);
    const files = await hub.files("demo");
    expect([files["sound"], files["lost"], files["a"]]).toEqual(["sound", undefined, undefined]);
    // A new intake, and everything sent again.
    await using again = spaces.intake(who, "demo");
    await spaces.commit(who, "demo", { ...request(await put(again, "lost")), intake: again });
    expect((await hub.files("demo"))["lost"]).toBe("lost");
  });
});
