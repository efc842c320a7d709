import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { LinkView } from "#hub/endpoint/link-view.ts";
import { TestHub, TestLink } from "#hub/hub-fixture.ts";
import type { SynclineError } from "#model/error.ts";

/** A file above what travels inline. */
const LARGE = 400_000;

function bytesOf(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed >>> 0;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

describe("a directory and a space", () => {
  let hub: TestHub;

  beforeEach(async () => {
    hub = await TestHub.open();
    await hub.spaces.createSpace(hub.who, "demo");
  });
  afterEach(() => hub[Symbol.asyncDispose]());

  test("[SPACE-1] what one host has comes to another through the space, small and large, with all that is preserved", async () => {
    const web1 = new TestLink(hub, "web1", "demo");
    const web2 = new TestLink(hub, "web2", "demo");
    mkdirSync(join(web1.root, "site/img"), { recursive: true });
    writeFileSync(join(web1.root, "site/index.html"), "<h1>one</h1>");
    writeFileSync(join(web1.root, "site/empty"), "");
    writeFileSync(join(web1.root, "site/img/large.bin"), bytesOf(LARGE, 7), { mode: 0o640 });
    symlinkSync("index.html", join(web1.root, "site/link"));
    const { summary } = await web1.run();
    expect(summary).toMatchObject({ result: "same", files: 3 });
    expect(Object.keys(await hub.files("demo"))).toEqual(["site/empty", "site/img/large.bin", "site/index.html"]);
    expect((await web2.run()).summary).toMatchObject({ result: "same", files: 3 });
    expect(readFileSync(join(web2.root, "site/img/large.bin")).equals(bytesOf(LARGE, 7))).toBe(true);
    const [a, b] = [web1, web2].map(({ root }) => statSync(join(root, "site/img/large.bin"), { bigint: true }));
    expect([b!.mtimeNs, b!.mode]).toEqual([a!.mtimeNs, a!.mode]);
    expect(readdirSync(join(web2.root, "site")).sort()).toEqual(["empty", "img", "index.html", "link"]);
    // Nothing of it is news to anybody.
    expect((await web1.run()).summary.changes).toBe(0);
    expect((await web2.run()).summary.changes).toBe(0);
  });

  test("[SPACE-68] what a transfer that was cut off left in the stage is kept for a week, and not for ever", async () => {
    const web = new TestLink(hub, "web", "demo");
    writeFileSync(join(web.root, "f"), bytesOf(LARGE, 7));
    await web.run();
    const stages = readdirSync(join(hub.dir, "stage"));
    expect(stages).toHaveLength(1);
    const stage = join(hub.dir, "stage", stages[0]!);
    const daysAgo = { "p-recent": 6, "p-old": 8, "p-old.old": 8, "chunks-p-old": 8 };
    for (const [name, days] of Object.entries(daysAgo)) {
      writeFileSync(join(stage, name), "half");
      utimesSync(join(stage, name), Date.now() / 1000, Date.now() / 1000 - days * 86_400);
    }
    expect((await web.run()).summary.result).toBe("same");
    expect(readdirSync(stage)).toEqual(["p-recent"]);
  });

  test("[SPACE-2] edits, deletions and renames follow, and large files move by what differs", async () => {
    const web1 = new TestLink(hub, "web1", "demo");
    const web2 = new TestLink(hub, "web2", "demo");
    const large = bytesOf(4 << 20, 3);
    writeFileSync(join(web1.root, "large.bin"), large);
    mkdirSync(join(web1.root, "old"));
    for (let at = 0; at < 50; at++) writeFileSync(join(web1.root, `old/f${at}`), `file ${at}`);
    await web1.run();
    await web2.run();
    large.write("an edit of a few bytes", 1_000_000);
    writeFileSync(join(web2.root, "large.bin"), large);
    renameSync(join(web2.root, "old"), join(web2.root, "new"));
    rmSync(join(web2.root, "new/f7"));
    const up = (await web2.run()).summary;
    expect(up.result).toBe("same");
    expect(up.bytes.literal).toBeLessThan(20_000);
    const down = (await web1.run()).summary;
    expect(down.result).toBe("same");
    expect(down.bytes.literal).toBeLessThan(20_000);
    expect(readFileSync(join(web1.root, "large.bin")).equals(large)).toBe(true);
    expect(readdirSync(join(web1.root, "new"))).toHaveLength(49);
    expect(existsSync(join(web1.root, "old"))).toBe(false);
  });

  test("[SPACE-3] what both hosts changed is kept twice, the same everywhere", async () => {
    const [web1, web2] = [new TestLink(hub, "web1", "demo"), new TestLink(hub, "web2", "demo")];
    writeFileSync(join(web1.root, "f"), "first");
    await web1.run();
    await web2.run();
    writeFileSync(join(web1.root, "f"), "one");
    writeFileSync(join(web2.root, "f"), "two");
    for (const link of [web1, web2, web1, web2]) await link.run();
    const names = readdirSync(web1.root).filter((name) => name !== ".syncline").sort();
    expect(names).toHaveLength(2);
    expect(readdirSync(web2.root).filter((name) => name !== ".syncline").sort()).toEqual(names);
    const texts = names.map((name) => readFileSync(join(web1.root, name), "utf8")).sort();
    expect(texts).toEqual(["one", "two"]);
    expect(Object.values(await hub.files("demo")).sort()).toEqual(texts);
  });

  test("[SPACE-4] a link sees its prefix alone; one whose prefix has gone stops and deletes nothing", async () => {
    await hub.put("demo", "other/secret", "not for web1");
    const web1 = new TestLink(hub, "web1", "demo", "sites/web1");
    writeFileSync(join(web1.root, "index.html"), "hello");
    expect((await web1.run()).summary.result).toBe("same");
    expect(await hub.files("demo")).toEqual({ "other/secret": "not for web1", "sites/web1/index.html": "hello" });
    expect(readdirSync(web1.root).sort()).toEqual([".syncline", "index.html"]);
    const remove = { type: "remove", path: "sites", expect: { kind: "any" }, recursive: true } as const;
    const request = { changes: [remove], intake: undefined, atomic: true, cause: "edit", traceId: "0".repeat(32) } as const;
    await hub.spaces.commit(hub.who, "demo", request);
    const error = await web1.run().then(() => undefined, (thrown: unknown) => thrown as SynclineError);
    expect(error?.code).toBe("ROOT_MISSING");
    expect(readFileSync(join(web1.root, "index.html"), "utf8")).toBe("hello");
  });

  test("[SPACE-5] ignore files hold on both sides: what one ignores is neither brought nor taken", async () => {
    await hub.put("demo", "kept.log", "of the space");
    await hub.put("demo", "a/b.txt", "text");
    const web1 = new TestLink(hub, "web1", "demo");
    writeFileSync(join(web1.root, ".synclineignore"), "*.log\n");
    writeFileSync(join(web1.root, "mine.log"), "of the host");
    expect((await web1.run()).summary).toMatchObject({ result: "same", problems: 0 });
    expect(readdirSync(web1.root).sort()).toEqual([".syncline", ".synclineignore", "a", "mine.log"]);
    expect(Object.keys(await hub.files("demo")).sort()).toEqual([".synclineignore", "a/b.txt", "kept.log"]);
    // Without the rule both come over.
    writeFileSync(join(web1.root, ".synclineignore"), "\n");
    for (let round = 0; round < 2; round++) expect((await web1.run()).summary.problems).toBe(0);
    expect(readFileSync(join(web1.root, "kept.log"), "utf8")).toBe("of the space");
    expect((await hub.files("demo"))["mine.log"]).toBe("of the host");
  });

  test("[SPACE-40] an ignore file beyond the limits, put through a door, stops its own directory, and is told by the host", async () => {
    const web1 = new TestLink(hub, "web1", "demo");
    const path = join(web1.root, "d/.synclineignore");
    mkdirSync(join(web1.root, "d"));
    writeFileSync(path, "*.log\n");
    writeFileSync(join(web1.root, "d/mine.log"), "of the host");
    await web1.run();
    await hub.put("demo", "d/hidden.log", "of the space");
    await hub.put("demo", "d/.synclineignore", "x".repeat(2000));
    await hub.put("demo", "other", "goes on");
    await web1.run();
    const problems = (await web1.run()).events.flatMap((event) => (event.type === "problem" ? [event.problem] : []));
    expect(problems).toMatchObject([{ path: "d", code: "LIMIT" }]);
    expect(problems[0]!.message).toContain(".synclineignore");
    expect(readFileSync(join(web1.root, "other"), "utf8")).toBe("goes on");
    expect(readdirSync(join(web1.root, "d")).sort()).toEqual([".synclineignore", "mine.log"]);
    // Written anew, on either side, it is a rule again.
    writeFileSync(path, "*.log\n");
    for (let round = 0; round < 2; round++) expect((await web1.run()).summary.changes).toBe(1 - round);
    expect(await hub.files("demo")).toEqual({ "d/.synclineignore": "*.log\n", "d/hidden.log": "of the space", other: "goes on" });
  });

  test("[SPACE-41] a directory of the space that holds what the link ignores stays, whether it is to go or to become a file", async () => {
    for (const becomes of [undefined, "a file"]) {
      const prefix = becomes === undefined ? "goes" : "becomes";
      await hub.put("demo", `${prefix}/.synclineignore`, "b\n");
      await hub.put("demo", `${prefix}/a/d`, "of both");
      const web1 = new TestLink(hub, `web-${prefix}`, "demo", prefix);
      await web1.run();
      await hub.put("demo", `${prefix}/a/b`, "of the space");
      rmSync(join(web1.root, "a"), { recursive: true });
      if (becomes !== undefined) writeFileSync(join(web1.root, "a"), becomes);
      for (let round = 0; round < 2; round++) {
        const { summary, events } = await web1.run();
        const problems = events.flatMap((event) => (event.type === "problem" ? [event.problem] : []));
        // In the words of a disk, not tried again at once, and only what nobody ignores has gone.
        expect(problems).toMatchObject([{ path: "a", side: "beta", code: "ENOTEMPTY", transient: false }]);
        expect(problems[0]!.message).toContain(": a/b;");
        expect(summary.changes).toBe(1 - round);
        expect((await hub.files("demo"))[`${prefix}/a/b`]).toBe("of the space");
        if (becomes !== undefined) expect(readFileSync(join(web1.root, "a"), "utf8")).toBe(becomes);
      }
      const remove = { type: "remove", path: `${prefix}/a/b`, expect: { kind: "present" }, recursive: false } as const;
      await hub.spaces.commit(hub.who, "demo", { changes: [remove], intake: undefined, atomic: true, cause: "edit", traceId: "0".repeat(32) });
      expect((await web1.run()).summary).toMatchObject({ changes: 1, problems: 0 });
      expect((await hub.files("demo"))[`${prefix}/a`]).toBe(becomes!);
    }
  });

  test("[SPACE-60] a file of any size comes to the space at most once where something that the link ignores is in its place", async () => {
    await hub.put("demo", "held/.synclineignore", "b\n");
    await hub.put("demo", "held/d/e", "of both");
    await hub.put("demo", "taken/.synclineignore", "d/\n");
    await hub.put("demo", "taken/d/own", "of the space");
    for (const [prefix, code] of [["held", "ENOTEMPTY"], ["taken", "EEXIST"]] as const) {
      for (const [size, firstBytes] of [[5, 5], [200_000, 0]] as const) {
        const web1 = new TestLink(hub, `web-${prefix}-${size}`, "demo", prefix);
        await web1.run();
        if (prefix === "held") await hub.put("demo", "held/d/b", "of the space");
        rmSync(join(web1.root, "d"), { recursive: true, force: true });
        writeFileSync(join(web1.root, "d"), "x".repeat(size));
        for (const literal of [firstBytes, 0, 0]) {
          const { summary, events } = await web1.run();
          const problems = events.flatMap((event) => (event.type === "problem" ? [event.problem] : []));
          expect([prefix, size, problems]).toMatchObject([prefix, size, [{ path: "d", side: "beta", code, transient: false }]]);
          expect([prefix, size, summary.bytes.literal]).toEqual([prefix, size, literal]);
        }
      }
    }
  });

  test("[SPACE-42] a file that is to take the place of a directory in which something is new since the scan is planned anew at once", async () => {
    await hub.put("demo", "a/d", "of both");
    const web1 = new TestLink(hub, "web1", "demo");
    await web1.run();
    rmSync(join(web1.root, "a"), { recursive: true });
    writeFileSync(join(web1.root, "a"), "a file");
    let isDone = false;
    const { spaces } = hub;
    const commit = spaces.commit.bind(spaces);
    spaces.commit = async (who, space, request) => {
      if (!isDone && request.changes.some((change) => change.type === "put" && change.path === "a")) {
        isDone = true;
        spaces.commit = commit;
        await hub.put("demo", "a/new", "of a door");
      }
      return commit(who, space, request);
    };
    expect((await web1.run()).summary).toMatchObject({ result: "same", problems: 0 });
    expect(isDone).toBe(true);
    const inSpace = await hub.files("demo");
    expect(Object.values(inSpace).sort()).toEqual(["a file", "of a door"]);
    for (const [path, text] of Object.entries(inSpace)) expect(readFileSync(join(web1.root, path), "utf8")).toBe(text);
  });

  test("[SPACE-6] a change is watched: an edit in the space reaches a watching host", async () => {
    const web1 = new TestLink(hub, "web1", "demo");
    const stop = new AbortController();
    const running = web1.run({ watch: true }, stop.signal);
    await hub.put("demo", "news.txt", "fresh");
    const file = join(web1.root, "news.txt");
    while (!existsSync(file)) await Bun.sleep(5);
    expect(readFileSync(file, "utf8")).toBe("fresh");
    writeFileSync(join(web1.root, "answer.txt"), "seen");
    while ((await hub.files("demo"))["answer.txt"] !== "seen") await Bun.sleep(5);
    stop.abort();
    expect((await running).summary.result).toBe("interrupted");
  });

  test("[SPACE-7] a run of a link can be taken back in the space, and the host follows", async () => {
    const web1 = new TestLink(hub, "web1", "demo");
    writeFileSync(join(web1.root, "f"), "good");
    await web1.run();
    writeFileSync(join(web1.root, "f"), "bad");
    writeFileSync(join(web1.root, "g"), "worse");
    const { summary } = await web1.run();
    const results = await hub.spaces.undoRun(hub.who, "demo", summary.runId, "1".repeat(32));
    expect(results.map(({ status }) => status)).toEqual(["done", "done"]);
    await web1.run();
    expect(readFileSync(join(web1.root, "f"), "utf8")).toBe("good");
    expect(existsSync(join(web1.root, "g"))).toBe(false);
  });

  test("[SPACE-8] names in any order of bytes arrive, also where files sort between a directory and what is in it", async () => {
    const web1 = new TestLink(hub, "web1", "demo");
    const paths = ["a/x", "a.txt", "a-/y", "a-b", "a!/z/deep", "a!/z.txt", "b", "a/ü", "a/日本", "é/q"];
    for (const path of paths) await hub.put("demo", path, path);
    expect((await web1.run()).summary).toMatchObject({ result: "same", files: paths.length });
    for (const path of paths) expect(readFileSync(join(web1.root, path), "utf8")).toBe(path);
  });

  test("[SPACE-30] files that changed places keep their bytes: one is made from what the other was", async () => {
    const web1 = new TestLink(hub, "web1", "demo");
    for (const dir of ["one", "two"]) {
      mkdirSync(join(web1.root, dir));
      writeFileSync(join(web1.root, dir, "f"), `of ${dir}`);
    }
    await web1.run();
    renameSync(join(web1.root, "one"), join(web1.root, "aside"));
    renameSync(join(web1.root, "two"), join(web1.root, "one"));
    renameSync(join(web1.root, "aside"), join(web1.root, "two"));
    expect((await web1.run()).summary).toMatchObject({ result: "same" });
    expect(await hub.files("demo")).toEqual({ "one/f": "of two", "two/f": "of one" });
  });

  test("[SPACE-31] what is committed while a space is listed never brings the listing out of order", async () => {
    for (const path of ["c", "c.d/f", "c.d-x"]) await hub.put("demo", path, path);
    let lists = 0;
    const spaces = Object.create(hub.spaces, {
      requireIs: { value: hub.spaces.requireIs.bind(hub.spaces) },
      list: {
        value: async (...asked: Parameters<typeof hub.spaces.list>) => {
          // The inside of "c.d" is listed on its own, then what follows it.
          if (++lists === 3) {
            const remove = { type: "remove", path: "c", expect: { kind: "any" }, recursive: false } as const;
            const request = { changes: [remove], intake: undefined, atomic: true, cause: "edit", traceId: "0".repeat(32) } as const;
            await hub.spaces.commit(hub.who, "demo", request);
            await hub.put("demo", "c/late", "came too late");
          }
          return hub.spaces.list(...asked);
        },
      },
    }) as typeof hub.spaces;
    const seen: string[] = [];
    for await (const { path } of new LinkView(spaces, hub.who, await hub.spaces.space(hub.who, "demo"), "").walk("")) seen.push(path);
    expect(lists).toBe(3);
    expect(seen).toEqual(["c", "c.d", "c.d/f", "c.d-x"]);
  });

  test("[SPACE-32] a directory is moved only as the session has seen it: what went out of it meanwhile is not believed moved", async () => {
    for (const path of ["A/b", "A/c", "A/in/d"]) await hub.put("demo", path, path);
    const web1 = new TestLink(hub, "web1", "demo");
    await web1.run();
    renameSync(join(web1.root, "A"), join(web1.root, "moved"));
    let isDone = false;
    const spaces = hub.spaces;
    // After the scan, before the commit of the move.
    const commit = spaces.commit.bind(spaces);
    spaces.commit = async (who, space, request) => {
      if (!isDone && request.changes.some(({ type }) => type === "move")) {
        isDone = true;
        const remove = { type: "remove", path: "A/b", expect: { kind: "any" }, recursive: false } as const;
        const out = { type: "move", from: "A/in", to: "out", expect: { kind: "present" } } as const;
        const door = { changes: [remove, out], intake: undefined, atomic: true, cause: "edit", traceId: "0".repeat(32) } as const;
        await commit(who, space, door);
      }
      return commit(who, space, request);
    };
    for (let round = 0; round < 3; round++) await web1.run();
    expect(isDone).toBe(true);
    const inSpace = await hub.files("demo");
    const onHost: Record<string, string> = {};
    for (const path of Object.keys(inSpace)) onHost[path] = readFileSync(join(web1.root, path), "utf8");
    expect(onHost).toEqual(inSpace);
    expect(existsSync(join(web1.root, "moved/b"))).toBe("moved/b" in inSpace);
    expect(existsSync(join(web1.root, "moved/in"))).toBe("moved/in/d" in inSpace);
  });
});
