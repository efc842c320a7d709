/** Listings that leave something out, or tell it by another name: what is there all the same never passes for removed. */
import { expect, test } from "bun:test";
import { renameSync } from "node:fs";
import { join } from "node:path";
import { SynclineError } from "#model/error.ts";
import { ForeignPair, type Ran, withForeign } from "#sync/foreign/foreign-fixture.ts";
import type { Abilities } from "#sync/foreign/foreign-files.ts";
import { MemorySystem } from "#sync/foreign/memory-files-fixture.ts";

const FTP_LIKE: Partial<Abilities> = {
  system: "FTP", conditional: false, modes: false, symlinks: false, timeResolutionNs: 1_000_000_000n, parallel: 2,
};

const problemsIn = ({ events }: Ran): string[] =>
  events.flatMap((one) => (one.type === "problem" ? [`${one.problem.path} ${one.problem.code}`] : []));

test("[FOREIGN-100] what a listing leaves out and is there all the same is not taken for removed, until a listing is whole", async () => {
  const system = new MemorySystem(FTP_LIKE, false);
  using pair = new ForeignPair(() => system.client());
  for (const at of [1, 2, 3]) pair.put(`d/f${at}`, `file ${at}`);
  pair.put("d/sub/deep", "deep");
  pair.put("x", "beside");
  await pair.run();
  const before = pair.files();
  for (const path of ["d/f2", "d/sub"]) system.unlisted.add(path);
  system.delete("d/f3");
  pair.put("y", "new here");
  const ran = await pair.run();
  expect(problemsIn(ran)).toEqual(["d LISTING"]);
  expect(ran.summary?.result).toBe("problems");
  expect(pair.files()).toEqual({ ...before, y: "new here" });
  expect(system.files()["y"]).toBe("new here");
  system.unlisted.clear();
  expect((await pair.run()).summary).toMatchObject({ problems: 0, result: "same" });
  const { "d/f3": _gone, ...rest } = before;
  expect(pair.files()).toEqual({ ...rest, y: "new here" });
});

test("[FOREIGN-100] what has gone between a listing and the second look is removed, and what has come again stays", async () => {
  const system = new MemorySystem(FTP_LIKE, false);
  using pair = new ForeignPair(() => system.client());
  pair.put("d/gone", "one");
  pair.put("d/again", "two");
  await pair.run();
  for (const path of ["d/gone", "d/again"]) system.delete(path);
  system.fault = (call, path) => {
    if (call !== "stat" || path !== "d/again") return;
    system.fault = undefined;
    system.put("d/again", "two, and longer");
  };
  for (let round = 0; round < 2; round++) await pair.run();
  expect(pair.files()).toEqual({ "d/again": "two, and longer" });
  expect(system.files()).toEqual(pair.files());
});

test("[FOREIGN-101] what one scan could not look at is unknown until it is looked at again, also where the next one looks elsewhere", async () => {
  const system = new MemorySystem(FTP_LIKE, false);
  using pair = new ForeignPair(() => system.client());
  pair.put("d/f", "one");
  pair.put("e/f", "two");
  await pair.run();
  system.fault = (call, path) => {
    if (call === "list" && path === "d") throw new SynclineError({ code: "DENIED", op: "list", path, message: "not for you" });
  };
  await withForeign(pair, async (endpoint, signal) => {
    const scan = async (extent: "full" | "dirty"): Promise<string[]> => {
      const { problems } = await endpoint.scan({ since: 0, acknowledged: 0, extent, deep: false }, () => undefined, signal);
      return problems.map(({ path }) => path);
    };
    expect(await scan("full")).toEqual(["d"]);
    system.put("e/f", "twice");
    await endpoint.sums(["e/f", "e/none"], signal);
    expect(await scan("dirty")).toEqual(["d"]);
    system.fault = undefined;
    expect(await scan("full")).toEqual([]);
  });
});

test("[FOREIGN-101] a side of which a directory could not be listed is not the same in the end, however passing the reason is", async () => {
  const system = new MemorySystem(FTP_LIKE, false);
  using pair = new ForeignPair(() => system.client());
  pair.put("d/f", "one");
  await pair.run();
  system.put("d/g", "theirs");
  system.fault = (call, path) => {
    if (call === "list" && path === "d") throw new SynclineError({ code: "DISK", op: "list", path, message: "an error of the disk" });
  };
  const ran = await pair.run();
  expect(problemsIn(ran)).toEqual(["d ENOSPC"]);
  expect(ran.summary?.result).toBe("problems");
  system.fault = undefined;
  expect((await pair.run()).summary?.result).toBe("same");
  expect(pair.files()).toEqual({ "d/f": "one", "d/g": "theirs" });
});

test("[FOREIGN-104] a system that takes two names for one gets the first of them, and the other is told; neither is lost", async () => {
  const system = new MemorySystem(FTP_LIKE, false);
  system.folds = true;
  using pair = new ForeignPair(() => system.client());
  pair.put("Notes.txt", "the first");
  pair.put("notes.txt", "the second of two");
  pair.put("other", "beside");
  for (let round = 0; round < 3; round++) {
    const ran = await pair.run();
    expect(problemsIn(ran)).toEqual(["notes.txt NAME"]);
    expect(pair.files()).toEqual({ "Notes.txt": "the first", "notes.txt": "the second of two", other: "beside" });
    expect(system.files()).toEqual({ "Notes.txt": "the first", other: "beside" });
  }
});

test("[FOREIGN-104] a file whose name changes only in case is lost on neither side, whoever renames it", async () => {
  const system = new MemorySystem(FTP_LIKE, false);
  system.folds = true;
  using pair = new ForeignPair(() => system.client());
  pair.put("Mine.txt", "mine ".repeat(20));
  pair.put("Theirs.txt", "theirs ".repeat(20));
  await pair.run();
  renameSync(join(pair.root, "Mine.txt"), join(pair.root, "mine.txt"));
  for (let round = 0; round < 3; round++) {
    expect(problemsIn(await pair.run())).toEqual(["mine.txt NAME"]);
    expect(pair.files()).toEqual({ "Theirs.txt": "theirs ".repeat(20), "mine.txt": "mine ".repeat(20) });
    expect(system.files()).toEqual({ "Mine.txt": "mine ".repeat(20), "Theirs.txt": "theirs ".repeat(20) });
  }
  for (const name of ["Mine.txt", "Theirs.txt"]) {
    const node = system.nodes.get(name)!;
    system.nodes.delete(name);
    system.nodes.set(name.toLowerCase(), node);
  }
  for (let round = 0; round < 2; round++) await pair.run();
  expect(pair.files()).toEqual({ "mine.txt": "mine ".repeat(20), "theirs.txt": "theirs ".repeat(20) });
  expect(system.files()).toEqual(pair.files());
});

test("[FOREIGN-104] a name that a system takes for another one in a way that nobody knows beforehand is told, and tried once a run", async () => {
  const system = new MemorySystem(FTP_LIKE, false);
  using pair = new ForeignPair(() => system.client());
  pair.put("a", "one");
  await pair.run();
  const spelled = system.spelled.bind(system);
  system.spelled = (path) => (path.endsWith(".") ? spelled(path.slice(0, -1)) : spelled(path));
  pair.put("a.", "another one");
  for (let round = 0; round < 2; round++) {
    const ran = await pair.run();
    expect(problemsIn(ran)).toEqual(["a. NAME"]);
    expect(ran.events.filter((one) => one.type === "phase" && one.phase === "planning").length).toBe(1);
    expect(pair.files()).toEqual({ a: "one", "a.": "another one" });
    expect(system.files()).toEqual({ a: "one" });
  }
});
