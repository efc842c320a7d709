/** Edits between two steps of one change on a foreign system, and what goes with the last name in a directory. */
import { expect, test } from "bun:test";
import { existsSync, renameSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { SynclineError } from "#model/error.ts";
import { ForeignPair } from "#sync/foreign/foreign-fixture.ts";
import type { Abilities } from "#sync/foreign/foreign-files.ts";
import { MemorySystem } from "#sync/foreign/memory-files-fixture.ts";

const BUCKET_LIKE: Partial<Abilities> = {
  system: "S3", listsTimes: false, renames: "copies", directories: false, modes: false, symlinks: false, parallel: 12,
};

test("[FOREIGN-97] an edit in the moment in which a file is renamed there is seen, and not taken for what was renamed", async () => {
  const system = new MemorySystem(BUCKET_LIKE);
  using pair = new ForeignPair(() => system.client());
  pair.put("a", "one of them ".repeat(30));
  pair.put("d/b", "two of them ".repeat(30));
  await pair.run();
  renameSync(join(pair.root, "a"), join(pair.root, "a2"));
  renameSync(join(pair.root, "d"), join(pair.root, "d2"));
  const edits = new Map([["a", "ONE OF THEM ".repeat(30)], ["d/b", "TWO OF THEM ".repeat(30)]]);
  system.fault = (call, path) => {
    const edit = call === "rename" ? edits.get(path) : undefined;
    edits.delete(edit === undefined ? "" : path);
    if (edit !== undefined) system.put(path, edit);
  };
  for (let round = 0; round < 3; round++) await pair.run();
  expect(edits.size).toBe(0);
  expect(Object.values(system.files()).sort()).toEqual(expect.arrayContaining(["ONE OF THEM ".repeat(30), "TWO OF THEM ".repeat(30)]));
  expect(pair.files()).toEqual(system.files());
});

test("[FOREIGN-97] nor is one just after it", async () => {
  const system = new MemorySystem(BUCKET_LIKE);
  using pair = new ForeignPair(() => system.client());
  pair.put("a", "one of them ".repeat(30));
  await pair.run();
  renameSync(join(pair.root, "a"), join(pair.root, "a2"));
  const edit = "ONE OF THEM ".repeat(30);
  system.fault = (call, path) => {
    if (call !== "renamed" || path !== "a2") return;
    system.fault = undefined;
    system.put("a2", edit);
  };
  for (let round = 0; round < 2; round++) await pair.run();
  expect(system.fault).toBeUndefined();
  expect(system.files()).toEqual({ a2: edit });
  expect(pair.files()).toEqual({ a2: edit });
});

test("[FOREIGN-97] an edit in the moment in which a file gets its time there is seen", async () => {
  const system = new MemorySystem(BUCKET_LIKE);
  using pair = new ForeignPair(() => system.client());
  pair.put("a", "one", 1_600_000_000_000);
  await pair.run();
  utimesSync(join(pair.root, "a"), 1_700_000_000, 1_700_000_000);
  system.fault = (call, path) => {
    if (call !== "setTime" || path !== "a") return;
    system.fault = undefined;
    system.put("a", "two");
  };
  for (let round = 0; round < 2; round++) await pair.run();
  expect(system.fault).toBeUndefined();
  expect(system.files()).toEqual({ a: "two" });
  expect(pair.files()).toEqual({ a: "two" });
});

test("[FOREIGN-99] a directory whose last files are removed at the same time stays where it is to stay", async () => {
  const system = new MemorySystem(BUCKET_LIKE);
  using pair = new ForeignPair(() => system.client());
  // Nobody has left a mark there.
  for (const at of [1, 2, 3, 4]) system.put(`keep/f${at}`, `file ${at}`);
  pair.put("x", "beside");
  await pair.run();
  for (const at of [1, 2, 3, 4]) pair.remove(`keep/f${at}`);
  for (let round = 0; round < 3; round++) await pair.run();
  expect(existsSync(join(pair.root, "keep"))).toBe(true);
  expect(system.nodes.get("keep")?.kind).toBe("dir");
});

test("[FOREIGN-98] where the system gives its own times an edit in the grain of an upload is found, whatever its clock says", async () => {
  const system = new MemorySystem({ system: "FTP", setsTimes: false, timeResolutionNs: 1_000_000_000n, conditional: false }, false);
  using pair = new ForeignPair(() => system.client());
  pair.put("a", "one");
  await pair.run();
  system.put("a", "two");
  pair.aheadMs += 60_000;
  await pair.run();
  expect(pair.files()).toEqual({ a: "two" });
});

test("[FOREIGN-102] an ignore file that is too large to be read hides what it hid, and is told", async () => {
  const system = new MemorySystem();
  using pair = new ForeignPair(() => system.client());
  const problems = async (): Promise<string[]> => {
    const { events } = await pair.run();
    return events.flatMap((one) => (one.type === "problem" ? [`${one.problem.path} ${one.problem.code}`] : []));
  };
  system.put("d/.synclineignore", `secret\n${"#".repeat(1 << 20)}\n`);
  system.put("d/secret", "theirs");
  system.put("d/open", "shared");
  system.put("x", "beside");
  expect(await problems()).toEqual(["d RULES"]);
  expect(Object.keys(pair.files())).toEqual(["x"]);
  system.put("d/.synclineignore", "secret\n");
  expect(await problems()).toEqual([]);
  expect(Object.keys(pair.files())).toEqual(["d/.synclineignore", "d/open", "x"]);
});

test("[FOREIGN-103] one file that may not be looked at keeps nothing else from being synchronised", async () => {
  const system = new MemorySystem(BUCKET_LIKE);
  using pair = new ForeignPair(() => system.client());
  system.put("d/locked", "theirs");
  system.put("d/open", "shared");
  system.fault = (call, path) => {
    if (call === "stat" && path === "d/locked") throw new SynclineError({ code: "DENIED", op: "look", path, message: "not for you" });
  };
  const { events } = await pair.run();
  expect(events.flatMap((one) => (one.type === "problem" ? [`${one.problem.path} ${one.problem.code}`] : []))).toEqual(["d/locked EACCES"]);
  expect(pair.files()).toEqual({ "d/open": "shared" });
});

test("[FOREIGN-106] an edit between the last look and the step that takes the name is brought back, of the same size too", async () => {
  const system = new MemorySystem({ system: "FTP", conditional: false, modes: false, symlinks: false, timeResolutionNs: 1_000_000_000n }, false);
  using pair = new ForeignPair(() => system.client());
  const names = ["replaced.txt", "removed.txt", "longer.txt", "left.txt"];
  for (const name of names) pair.put(name, `agreed ${name}`, 1_600_000_000_000);
  await pair.run();
  pair.aheadMs += 600_000;
  for (const name of ["replaced.txt", "longer.txt", "left.txt"]) pair.put(name, `mine, and much longer ${name}`);
  pair.remove("removed.txt");
  const edits = new Map([["replaced.txt", "AGREED replaced.txt"], ["removed.txt", "AGREED removed.txt"], ["longer.txt", "theirs, and another length"]]);
  system.fault = (call, path) => {
    const edit = call === "checked" ? edits.get(path) : undefined;
    edits.delete(edit === undefined ? "" : path);
    if (edit !== undefined) system.put(path, edit);
  };
  for (let round = 0; round < 2; round++) await pair.run();
  expect(edits.size).toBe(0);
  const texts = Object.entries(system.files()).map(([path, text]) => [path.replace(/late-edit-[0-9a-f]{8}-\w+/, "late-edit"), text]);
  expect(Object.fromEntries(texts)).toEqual({
    "left.txt": "mine, and much longer left.txt",
    "longer.late-edit.txt": "theirs, and another length",
    "longer.txt": "mine, and much longer longer.txt",
    "removed.txt": "AGREED removed.txt",
    "replaced.late-edit.txt": "AGREED replaced.txt",
    "replaced.txt": "mine, and much longer replaced.txt",
  });
  expect(pair.files()).toEqual(system.files());
});

test("[FOREIGN-106] where a rename changes the time, nothing is taken for an edit that is none", async () => {
  const system = new MemorySystem({ system: "FTP", conditional: false, modes: false, symlinks: false, timeResolutionNs: 1_000_000_000n }, false);
  using pair = new ForeignPair(() => system.client());
  for (const name of ["a", "b"]) pair.put(name, "agreed", 1_600_000_000_000);
  await pair.run();
  pair.aheadMs += 600_000;
  system.fault = (call) => {
    if (call !== "stat") return;
    for (const [path, node] of system.nodes) if (path.includes("/trash/")) node.mtimeNs = system.nowNs;
  };
  pair.put("a", "mine, and much longer");
  pair.remove("b");
  for (let round = 0; round < 2; round++) await pair.run();
  expect(system.files()).toEqual({ a: "mine, and much longer" });
  expect(pair.files()).toEqual(system.files());
});
