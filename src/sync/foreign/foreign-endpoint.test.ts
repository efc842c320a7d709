/** Sessions between a directory and a foreign system in memory, as able or poor as the test wants it. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, renameSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { boundFileSystem } from "#platform/bound-file-system.ts";
import { type FileSystem, FsError } from "#platform/file-system.ts";
import { ForeignPair, type Ran, withForeign } from "#sync/foreign/foreign-fixture.ts";
import type { Abilities } from "#sync/foreign/foreign-files.ts";
import { MemorySystem } from "#sync/foreign/memory-files-fixture.ts";

const S3_LIKE: Partial<Abilities> = {
  system: "S3", listsTimes: false, renames: "copies", directories: true, modes: false, symlinks: false,
};
const FTP_LIKE: Partial<Abilities> = {
  system: "FTP", conditional: false, modes: false, symlinks: false, timeResolutionNs: 1_000_000_000n, parallel: 2,
};
const POOR: Partial<Abilities> = {
  system: "FTP", setsTimes: false, timeResolutionNs: 60_000_000_000n, renames: "none", replaces: false, keeps: false,
  conditional: false, modes: false, symlinks: false, ranges: false, parallel: 1,
};
const KINDS: [string, Partial<Abilities>, boolean][] = [["able", {}, true], ["S3-like", S3_LIKE, true], ["FTP-like", FTP_LIKE, false], ["poor", POOR, false]];
const LARGE = "0123456789abcdef".repeat(20_000);

function ok({ summary, error }: Ran): NonNullable<Ran["summary"]> {
  if (error !== undefined) throw error;
  expect(summary?.problems).toBe(0);
  expect(summary?.conflicts).toBe(0);
  return summary!;
}

function expectSame(pair: ForeignPair, system: MemorySystem): void {
  expect(system.files()).toEqual(pair.files());
}

describe.each(KINDS)("a pair with a system that is %s", (_name, abilities, hasTags) => {
  test("[FOREIGN-14] both sides become the same, small files and large, and then nothing more is to be done", async () => {
    const system = new MemorySystem(abilities, hasTags);
    using pair = new ForeignPair(() => system.client());
    pair.put("a.txt", "from here");
    pair.put("deep/er/b.bin", LARGE);
    mkdirSync(join(pair.root, "empty"));
    pair.put("no/bytes", "");
    system.put("c.txt", "from there");
    system.put("their/large", LARGE.toUpperCase());
    ok(await pair.run());
    expect(pair.files()).toEqual({ "a.txt": "from here", "c.txt": "from there", "deep/er/b.bin": LARGE, "no/bytes": "", "their/large": LARGE.toUpperCase() });
    expectSame(pair, system);
    pair.aheadMs += 600_000;
    expect(ok(await pair.run()).changes).toBe(0);
    expect(ok(await pair.run({ deep: true })).changes).toBe(0);
    expect(existsSync(join(pair.root, "empty"))).toBe(true);
  });

  test("[FOREIGN-15] edits, removals, moves and changes of kind go both ways", async () => {
    const system = new MemorySystem(abilities, hasTags);
    using pair = new ForeignPair(() => system.client());
    for (const at of [1, 2, 3, 4, 5, 6]) pair.put(`d/f${at}`, `file ${at} `.repeat(50 + at));
    pair.put("moves/one", "one of them ".repeat(30));
    pair.put("moves/deep/two", "two of them ".repeat(30));
    pair.put("kind", "a file");
    ok(await pair.run());
    pair.aheadMs += 600_000;
    system.nowNs += 600_000_000_000n;
    pair.put("d/f1", "edited here");
    pair.remove("d/f2");
    renameSync(join(pair.root, "moves"), join(pair.root, "moved"));
    renameSync(join(pair.root, "d/f5"), join(pair.root, "f5"));
    pair.remove("kind");
    pair.put("kind/now", "a directory");
    system.put("d/f3", "edited there");
    system.delete("d/f4");
    ok(await pair.run());
    expectSame(pair, system);
    expect(Object.keys(pair.files())).toEqual(["d/f1", "d/f3", "d/f6", "f5", "kind/now", "moved/deep/two", "moved/one"]);
    expect(pair.files()["d/f1"]).toBe("edited here");
    expect(pair.files()["d/f3"]).toBe("edited there");
    expect(ok(await pair.run()).changes).toBe(0);
  });

  test("[FOREIGN-16] what both sides changed is a conflict, and is left", async () => {
    const system = new MemorySystem(abilities, hasTags);
    using pair = new ForeignPair(() => system.client());
    pair.put("a", "agreed");
    ok(await pair.run());
    pair.aheadMs += 600_000;
    system.nowNs += 600_000_000_000n;
    pair.put("a", "mine, and longer");
    system.put("a", "theirs");
    const { summary } = await pair.run();
    expect(summary?.conflicts).toBe(1);
    expect(pair.files()).toEqual({ a: "mine, and longer" });
    expect(system.files()).toEqual({ a: "theirs" });
  });

  test("[FOREIGN-17] a connection that is lost at any step costs nothing: all comes about in the end", async () => {
    for (let step = 3 + KINDS.findIndex(([, one]) => one === abilities); step < 70; step += 11) await survives(abilities, hasTags, step, "lost");
  }, 120_000);

  test("[FOREIGN-18] after a crash at any step nothing is lost or half there, and the next run ends it", async () => {
    for (let step = 4 + 2 * KINDS.findIndex(([, one]) => one === abilities); step < 70; step += 9) await survives(abilities, hasTags, step, "crash");
  }, 120_000);
});

class Crash extends Error {}

/** A world in which all kinds of changes are under way, and the step of that number fails. */
async function survives(abilities: Partial<Abilities>, hasTags: boolean, step: number, how: "lost" | "crash"): Promise<void> {
  const system = new MemorySystem(abilities, hasTags);
  using pair = new ForeignPair(() => system.client());
  for (const at of [1, 2, 3, 4]) pair.put(`d/f${at}`, `file ${at} `.repeat(20 + at));
  pair.put("large", LARGE);
  ok(await pair.run());
  pair.aheadMs += 600_000;
  system.nowNs += 600_000_000_000n;
  pair.put("d/f1", "edited here, and now much longer than before");
  pair.remove("d/f2");
  renameSync(join(pair.root, "d/f3"), join(pair.root, "f3"));
  pair.put("large", `${LARGE}more`);
  pair.put("new/one", "new here");
  system.put("d/f4", "edited there");
  system.put("theirs", "new there");
  let steps = 0;
  system.fault = (call, path) => {
    steps++;
    if (how === "lost" && steps === step) throw new SynclineError({ code: "LINK_LOST", op: call, message: "lost", path, retryable: true });
    if (how === "crash" && steps >= step) throw new Crash("killed");
  };
  const first = await pair.run();
  if (how === "crash" && first.error !== undefined && !(first.error instanceof Crash)) throw first.error;
  for (const text of Object.values(system.files())) expect(text).not.toBe("");
  system.fault = undefined;
  pair.aheadMs += 600_000;
  ok(await pair.run());
  expectSame(pair, system);
  expect({ step, files: Object.keys(pair.files()) }).toEqual({ step, files: ["d/f1", "d/f4", "f3", "large", "new/one", "theirs"] });
  expect(pair.files()).toMatchObject({ "d/f1": "edited here, and now much longer than before", "d/f4": "edited there", large: `${LARGE}more` });
  expect([...system.nodes.keys()].filter((path) => path.includes(".syncline-part-"))).toEqual([]);
}

describe("a root that is not itself", () => {
  const agreed = async (abilities: Partial<Abilities> = {}): Promise<{ system: MemorySystem; pair: ForeignPair }> => {
    const system = new MemorySystem(abilities);
    const pair = new ForeignPair(() => system.client());
    pair.put("a", "one");
    pair.put("d/b", "two");
    ok(await pair.run());
    return { system, pair };
  };

  test("[FOREIGN-19] emptied with its marker, replaced or gone it stops the session, and nothing is removed", async () => {
    const { system, pair } = await agreed();
    using _ = pair;
    const nodes = new Map(system.nodes);
    for (const path of nodes.keys()) if (path !== "") system.nodes.delete(path);
    const emptied = await pair.run();
    expect((emptied.error as SynclineError).code).toBe("ROOT_IDENTITY");
    system.put(".syncline/root", `syncline-root ${"a".repeat(32)}\n`);
    expect(((await pair.run()).error as SynclineError).code).toBe("ROOT_IDENTITY");
    system.nodes.clear();
    expect(((await pair.run()).error as SynclineError).code).toBe("ROOT_MISSING");
    expect(Object.keys(pair.files())).toEqual(["a", "d/b"]);
    for (const [path, node] of nodes) system.nodes.set(path, node);
    expect(ok(await pair.run()).changes).toBe(0);
  });

  test("[FOREIGN-19] one that is swapped while it is listed removes nothing", async () => {
    const { system, pair } = await agreed();
    using _ = pair;
    system.fault = (call, path) => {
      if (call === "list" && path === "") for (const each of [...system.nodes.keys()]) if (each !== "") system.nodes.delete(each);
    };
    expect(((await pair.run()).error as SynclineError).code).toBe("ROOT_IDENTITY");
    expect(Object.keys(pair.files())).toEqual(["a", "d/b"]);
  });

  test("[FOREIGN-19] a side that is only read has no marker; suddenly empty it stops the session, each time until it is back", async () => {
    const system = new MemorySystem();
    using pair = new ForeignPair(() => system.client(), { mode: "one-way-replica", delete: true }, "alpha");
    system.put("a", "one");
    ok(await pair.run());
    expect(system.nodes.has(".syncline")).toBe(false);
    system.delete("a");
    for (let time = 0; time < 3; time++) {
      expect(((await pair.run()).error as SynclineError).code).toBe("ROOT_IDENTITY");
      expect(pair.files()).toEqual({ a: "one" });
    }
    system.put("b", "two");
    ok(await pair.run());
    expect(pair.files()).toEqual({ b: "two" });
  });

  test("[FOREIGN-19] a listing that breaks off is no listing", async () => {
    const { system, pair } = await agreed();
    using _ = pair;
    for (const at of [1, 2, 3, 4]) system.put(`d/more${at}`, "x");
    ok(await pair.run());
    system.fault = (call) => {
      if (call === "list more") throw new SynclineError({ code: "PROTOCOL", op: "list", message: "it makes no sense" });
    };
    expect((await pair.run()).error).toBeInstanceOf(SynclineError);
    expect(Object.keys(pair.files())).toContain("d/more4");
  });

  test("[FOREIGN-20] a dry run makes and changes nothing there, a root that is still to be made included", async () => {
    const system = new MemorySystem();
    system.nodes.clear();
    using pair = new ForeignPair(() => system.client());
    pair.put("a", "one");
    const { summary, error } = await pair.run({ dryRun: true });
    expect(error).toBeUndefined();
    expect(summary?.planned).toBe(1);
    expect(system.nodes.size).toBe(0);
    expect(system.calls.filter((call) => /^(write|makeDir|remove|rename)/.test(call))).toEqual([]);
  });
});

test("[FOREIGN-108] a full disk here, where content waits to be put there, is said with what to do, and costs nothing", async () => {
  for (const [text, name] of [["small", "bundle-"], [LARGE, "spool-"]] as const) {
    const system = new MemorySystem();
    using pair = new ForeignPair(() => system.client());
    const { host } = pair;
    pair.host = () => {
      const real = host.call(pair);
      const create: FileSystem["create"] = (dir, one, mode) => {
        if (one.startsWith(name)) throw new FsError("ENOSPC", "create", one);
        return real.fs.create(dir, one, mode);
      };
      return { ...real, fs: { ...boundFileSystem(real.fs), create } };
    };
    if (name === "bundle-") pair.put("a", text);
    else system.put("a", text);
    const { error, events } = await pair.run();
    const problems = events.flatMap((event) => (event.type === "problem" ? [event.problem.code] : []));
    if (name === "bundle-") expect(error).toMatchObject({ code: "DISK", hint: expect.stringContaining("free some space") });
    else expect(problems).toEqual(["ENOSPC"]);
    pair.host = host;
    ok(await pair.run());
    expectSame(pair, system);
    expect(pair.files()).toEqual({ a: text });
  }
});

describe("what cannot be carried", () => {
  test("[FOREIGN-21] is said and makes no differences: neither modes nor times nor symlinks are compared", async () => {
    const system = new MemorySystem({ ...POOR, keeps: true, renames: "atomic" }, false);
    using pair = new ForeignPair(() => system.client());
    pair.put("run.sh", "echo", 1_500_000_000_000);
    symlinkSync("run.sh", join(pair.root, "link"));
    const { events, summary } = await pair.run();
    expect(summary?.problems).toBe(1);
    expect(events.flatMap((event) => (event.type === "problem" ? [event.problem.path] : []))).toEqual(["link"]);
    const notes = events.flatMap((event) => (event.type === "note" ? [event.text] : []));
    expect(notes[0]).toBe("FTP does not carry permissions, symlinks and modification times here: left out on both sides");
    pair.aheadMs += 600_000;
    expect((await pair.run()).summary?.changes).toBe(0);
    expect(pair.mtimeMs("run.sh")).toBe(1_500_000_000_000);
    expect(Object.keys(system.files())).toEqual(["run.sh"]);
  });

  test("[FOREIGN-95] where modes are not carried a file that is replaced there keeps its own", async () => {
    const system = new MemorySystem({}, true);
    using pair = new ForeignPair(() => system.client(), { preserve: { ...PRESERVE_DEFAULT, mode: false } });
    for (const path of ["secret", "tool"]) pair.put(path, "one");
    ok(await pair.run());
    system.nodes.get("secret")!.mode = 0o600;
    system.nodes.get("tool")!.mode = 0o4755;
    for (const path of ["secret", "tool"]) pair.put(path, "two, and longer");
    expect(ok(await pair.run()).changes).toBe(2);
    expect(system.files()).toEqual({ secret: "two, and longer", tool: "two, and longer" });
    expect(["secret", "tool"].map((path) => system.nodes.get(path)!.mode)).toEqual([0o600, 0o755]);
    expect(ok(await pair.run()).changes).toBe(0);
  });

  test("[FOREIGN-105] where no times are told none are given to what comes from there, also where they could be set", async () => {
    const system = new MemorySystem({ timeResolutionNs: 0n });
    using pair = new ForeignPair(() => system.client());
    system.put("a", "one");
    const { events } = await pair.run();
    expect(pair.mtimeMs("a")).toBeGreaterThan(Date.parse("2020-01-01"));
    const notes = events.flatMap((event) => (event.type === "note" ? [event.text] : []));
    expect(notes[0]).toBe("memory does not carry modification times here: left out on both sides");
    pair.put("a", "one, and more", 1_500_000_000_000);
    ok(await pair.run());
    expect(ok(await pair.run()).changes).toBe(0);
    expect(pair.files()).toEqual({ a: "one, and more" });
  });

  test("[FOREIGN-22] coarse times: what was set counts, not what the system made of it", async () => {
    const system = new MemorySystem(FTP_LIKE, false);
    using pair = new ForeignPair(() => system.client());
    pair.put("a", "one", 1_600_000_000_123);
    ok(await pair.run());
    expect(system.nodes.get("a")!.mtimeNs).toBe(1_600_000_000_000_000_000n);
    expect(ok(await pair.run()).changes).toBe(0);
    expect(pair.mtimeMs("a")).toBe(1_600_000_000_123);
  });

  test("[FOREIGN-22] an edit of the same size in the same grain of time is found when the grain has passed", async () => {
    const system = new MemorySystem(FTP_LIKE, false);
    using pair = new ForeignPair(() => system.client());
    system.put("a", "one");
    ok(await pair.run());
    expect(pair.files()).toEqual({ a: "one" });
    system.put("a", "two");
    pair.aheadMs += 60_000;
    ok(await pair.run());
    expect(pair.files()).toEqual({ a: "two" });
    system.calls.length = 0;
    ok(await pair.run());
    // Now it is settled, and nobody reads it again.
    expect(system.calls.filter((call) => call === "read a")).toEqual([]);
  });

  test("[FOREIGN-23] names that no file here can have are told and left, and the rest is synchronised", async () => {
    const system = new MemorySystem();
    using pair = new ForeignPair(() => system.client());
    system.put("good", "one");
    system.put(".syncline-part-ffff-1", "half of something, and not ours");
    system.put(".syncline-part-abcd-1", "half of something of ours");
    system.nodes.set("..", { ...system.nodes.get("good")! });
    system.nodes.set("a\0b", { ...system.nodes.get("good")! });
    const { summary, events } = await pair.run();
    expect(summary?.problems).toBe(2);
    expect(events.flatMap((event) => (event.type === "problem" ? [event.problem.code] : []))).toEqual(["NAME", "NAME"]);
    expect(pair.files()).toEqual({ good: "one" });
    expect(system.nodes.has(".syncline-part-ffff-1")).toBe(true);
    expect(system.nodes.has(".syncline-part-abcd-1")).toBe(false);
  });

  test("[FOREIGN-23] ignore files count there as here", async () => {
    const system = new MemorySystem();
    using pair = new ForeignPair(() => system.client());
    pair.put(".synclineignore", "*.tmp\n");
    pair.put("a.tmp", "mine");
    ok(await pair.run());
    system.put("b.tmp", "theirs");
    system.put("sub/.synclineignore", "secret\n");
    system.put("sub/secret", "theirs");
    system.put("sub/open", "shared");
    ok(await pair.run());
    expect(Object.keys(pair.files())).toEqual([".synclineignore", "a.tmp", "sub/.synclineignore", "sub/open"]);
    expect(system.files()["a.tmp"]).toBeUndefined();
    const asked = ["b.tmp", "gone.tmp", "sub/secret", "sub/gone"];
    const answers = await withForeign(pair, (endpoint, signal) => endpoint.sums(asked, signal));
    expect(answers.map((answer) => (typeof answer === "string" ? "sum" : answer.code))).toEqual(["IGNORED", "IGNORED", "IGNORED", "CHANGED"]);
  });
});

test("[FOREIGN-29] what is renamed here to where it is ignored there goes from there, and what else was with it comes along", async () => {
  const system = new MemorySystem();
  using pair = new ForeignPair(() => system.client());
  pair.put("d/a", "one");
  pair.put("d/b.tmp", "two");
  pair.put("f", "three");
  ok(await pair.run());
  system.put("e/.synclineignore", "*.tmp\n");
  renameSync(join(pair.root, "d"), join(pair.root, "e"));
  renameSync(join(pair.root, "f"), join(pair.root, "e/f.tmp"));
  for (let round = 0; round < 2; round++) ok(await pair.run());
  expect(system.files()).toEqual({ "e/.synclineignore": "*.tmp\n", "e/a": "one" });
  expect(pair.files()).toEqual({ "e/.synclineignore": "*.tmp\n", "e/a": "one", "e/b.tmp": "two", "e/f.tmp": "three" });
});

/** Opens the foreign side as a session of the pair would. */
describe.each(KINDS)("what is ignored on a system that is %s keeps its place", (_name, abilities, hasTags) => {
  const problemsIn = ({ events }: Ran): string[] =>
    events.flatMap((one) => (one.type === "problem" ? [`${one.problem.path} ${one.problem.code}${one.problem.transient ? " for now" : ""}`] : []));
  const cyclesIn = ({ events }: Ran): number => events.filter((one) => one.type === "phase" && one.phase === "planning").length;

  test("[FOREIGN-91] a directory that is to go, or to become a file, stays for it: told once, tried once a run, and gone with it", async () => {
    for (const content of [undefined, "small", LARGE]) {
      const system = new MemorySystem(abilities, hasTags);
      using pair = new ForeignPair(() => system.client(), { ignore: ["*.o"] });
      pair.put("d/f", "one");
      pair.put("d/sub/g", "two");
      pair.put("x", "stays");
      ok(await pair.run());
      system.put("d/a.o", "theirs");
      system.put("d/sub/b.o", "theirs");
      pair.remove("d");
      if (content !== undefined) pair.put("d", content);
      for (let round = 0; round < 2; round++) {
        const ran = await pair.run();
        expect([content?.length, round, problemsIn(ran), cyclesIn(ran)]).toEqual([content?.length, round, ["d ENOTEMPTY"], 1]);
        const message = ran.events.flatMap((one) => (one.type === "problem" ? [one.problem.message] : []));
        expect(message[0]).toContain("this side ignores what is in it: d/a.o, d/sub/b.o;");
        // A large file never comes in vain, a small one only before the place is known.
        expect(ran.summary?.bytes.literal).toBe(content === "small" && round === 0 ? 5 : 0);
      }
      expect(system.files()).toEqual({ "d/a.o": "theirs", "d/sub/b.o": "theirs", x: "stays" });
      system.delete("d/a.o");
      system.delete("d/sub/b.o");
      ok(await pair.run());
      expect(system.files()).toEqual(content === undefined ? { x: "stays" } : { d: content, x: "stays" });
    }
  });

  test("[FOREIGN-91] where something ignored is in the place of a directory, neither that nor what is in it comes", async () => {
    const system = new MemorySystem(abilities, hasTags);
    using pair = new ForeignPair(() => system.client());
    pair.put("x", "stays");
    system.put(".synclineignore", "c\n!c/\n");
    ok(await pair.run());
    system.put("c", "theirs");
    pair.put("c/small", "small");
    pair.put("c/deep/large", LARGE);
    for (let round = 0; round < 2; round++) {
      const ran = await pair.run();
      expect([round, problemsIn(ran), cyclesIn(ran), ran.summary?.bytes.literal]).toEqual([round, ["c EEXIST"], 1, round === 0 ? 5 : 0]);
    }
    expect(system.files().c).toBe("theirs");
    system.delete("c");
    ok(await pair.run());
    expect(system.files()).toEqual({ "c/deep/large": LARGE, "c/small": "small", x: "stays" });
  });

  test("[FOREIGN-91] nor does what is renamed to its place; it stays at its old name there", async () => {
    const system = new MemorySystem(abilities, hasTags);
    using pair = new ForeignPair(() => system.client());
    pair.put("f", "one".repeat(30));
    system.put(".synclineignore", "c/\n");
    ok(await pair.run());
    system.put("c/own", "theirs");
    renameSync(join(pair.root, "f"), join(pair.root, "c"));
    for (let round = 0; round < 2; round++) {
      const ran = await pair.run();
      expect([round, problemsIn(ran), cyclesIn(ran)]).toEqual([round, ["c EEXIST"], 1]);
    }
    expect(system.files()).toEqual({ "c/own": "theirs", f: "one".repeat(30) });
    system.delete("c/own");
    system.delete("c");
    ok(await pair.run());
    expect(system.files()).toEqual({ c: "one".repeat(30) });
  });

  test("[FOREIGN-91] what is new in a directory that is to go is taken for the next plan", async () => {
    const system = new MemorySystem(abilities, hasTags);
    using pair = new ForeignPair(() => system.client(), { ignore: ["*.o"] });
    pair.put("d/f", "one");
    pair.put("x", "stays");
    ok(await pair.run());
    pair.remove("d");
    system.fault = (call) => {
      if (call !== "removeDir") return;
      system.fault = undefined;
      system.put("d/a.o", "ignored");
      system.put("d/new", "theirs");
    };
    ok(await pair.run());
    expect(pair.files()).toEqual({ "d/new": "theirs", x: "stays" });
  });
});

describe("taking back", () => {
  const undo = (pair: ForeignPair, runId: string): Promise<{ restored: number; problems: unknown[] }> =>
    withForeign(pair, (endpoint, signal) => endpoint.undo(runId, signal));

  test.each(KINDS.slice(0, 3))("[FOREIGN-24] a run is taken back where the system is %s", async (_name, abilities, hasTags) => {
    const system = new MemorySystem(abilities, hasTags);
    using pair = new ForeignPair(() => system.client());
    pair.put("a", "old a");
    pair.put("d/b", "old b");
    pair.put("d/c", "content that moves ".repeat(9));
    ok(await pair.run());
    const before = system.files();
    pair.aheadMs += 600_000;
    pair.put("a", "new a, longer");
    pair.remove("d/b");
    renameSync(join(pair.root, "d/c"), join(pair.root, "c"));
    pair.put("e/f", "new");
    const { runId } = ok(await pair.run());
    expect(system.files()).toEqual(pair.files());
    expect((await undo(pair, runId)).problems).toEqual([]);
    expect(system.files()).toEqual(before);
    expect(system.nodes.has("e")).toBe(false);
  });

  test("[FOREIGN-24] what somebody changed since is left alone and told", async () => {
    const system = new MemorySystem();
    using pair = new ForeignPair(() => system.client());
    pair.put("a", "old a");
    ok(await pair.run());
    pair.put("a", "new a, longer");
    const { runId } = ok(await pair.run());
    system.put("a", "somebody's");
    const { restored, problems } = await undo(pair, runId);
    expect(restored).toBe(0);
    expect(problems).toMatchObject([{ path: "a", code: "CHANGED" }]);
    expect(system.files()).toEqual({ a: "somebody's" });
  });

  test("[FOREIGN-24] where nothing is kept it is said beforehand, and an undo takes nothing away for nothing", async () => {
    const system = new MemorySystem({ keeps: false });
    using pair = new ForeignPair(() => system.client());
    pair.put("a", "old a");
    const { events } = await pair.run();
    expect(events.some((event) => event.type === "note" && event.text.includes("undo"))).toBe(true);
    pair.put("a", "new a, longer");
    const { runId } = ok(await pair.run());
    expect((await undo(pair, runId)).problems).toMatchObject([{ path: "a", code: "UNSUPPORTED" }]);
    expect(system.files()).toEqual({ a: "new a, longer" });
  });
});

describe("a crash while a file makes room", () => {
  test("[FOREIGN-28] a file that was put aside for one that never came is back before anybody takes it for removed", async () => {
    const system = new MemorySystem(FTP_LIKE, false);
    using pair = new ForeignPair(() => system.client());
    pair.put("a", "agreed", 1_600_000_000_000);
    pair.put("b", "beside");
    ok(await pair.run());
    pair.aheadMs += 600_000;
    pair.put("a", "edited, and longer");
    system.fault = (call) => {
      if (call === "displaced") throw new Crash("killed");
    };
    expect((await pair.run()).error).toBeInstanceOf(Crash);
    expect(Object.keys(system.files())).toEqual(["b"]);
    system.fault = undefined;
    // The edit is taken back before the next run: nothing but the put-aside file says that it was ever there.
    pair.put("a", "agreed", 1_600_000_000_000);
    ok(await pair.run());
    expect(pair.files()).toEqual({ a: "agreed", b: "beside" });
    expectSame(pair, system);
  });
});

describe("edits in the very moment", () => {
  test("[FOREIGN-25] a file that changes just before it is replaced or removed is left", async () => {
    const system = new MemorySystem();
    using pair = new ForeignPair(() => system.client());
    pair.put("a", "agreed");
    pair.put("b", "agreed");
    ok(await pair.run());
    pair.put("a", "mine, and longer");
    pair.remove("b");
    let isDone = false;
    system.fault = (call) => {
      if (isDone || (call !== "write" && call !== "remove")) return;
      isDone = true;
      system.put("a", "theirs");
      system.put("b", "theirs too");
    };
    const { summary } = await pair.run();
    expect(system.files()).toEqual({ a: "theirs", b: "theirs too" });
    expect(summary?.conflicts).toBe(1);
    expect(pair.files()).toEqual({ a: "mine, and longer", b: "theirs too" });
  });

  test("[FOREIGN-25] a file that changes while it is read is not taken", async () => {
    const system = new MemorySystem();
    using pair = new ForeignPair(() => system.client());
    system.put("a", "the first of two contents");
    system.put("large", LARGE);
    const edits = new Map([["a", "the second of the two"], ["large", LARGE.toUpperCase()]]);
    system.fault = (call, path) => {
      const edit = call === "read more" ? edits.get(path) : undefined;
      edits.delete(edit === undefined ? "" : path);
      if (edit !== undefined) system.put(path, edit);
    };
    await pair.run();
    system.fault = undefined;
    ok(await pair.run());
    expect(pair.files()).toEqual({ a: "the second of the two", large: LARGE.toUpperCase() });
  });

  test("[FOREIGN-26] bytes that the system did not keep are found where they are read back", async () => {
    const system = new MemorySystem();
    using pair = new ForeignPair(() => system.client(), { verifyReadBack: true });
    pair.put("a", "as it should be");
    system.fault = (call, path) => {
      if (call === "placed" && path === "a") system.nodes.get("a")!.bytes[0]! ^= 1;
    };
    const { summary } = await pair.run();
    expect(summary?.conflicts).toBe(1);
    expect(summary?.changes).toBe(0);
    expect(pair.files()).toEqual({ a: "as it should be" });
  });
});
