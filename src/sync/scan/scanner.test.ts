import { describe, expect, test } from "bun:test";
import {
  appendFileSync, linkSync, mkdirSync, renameSync, rmSync, statSync, symlinkSync, unlinkSync, utimesSync, writeFileSync,
} from "node:fs";
import { SynclineError } from "#model/error.ts";
import { comparePaths } from "#model/path.ts";
import { ScanRoot, type ScanRootOptions } from "#testing/scan-root.ts";

const OLD = 1_600_000_000;

function rooted(body: (root: ScanRoot) => Promise<void>, options: ScanRootOptions = {}): () => Promise<void> {
  return async () => {
    using root = new ScanRoot({ clockAheadMs: 60_000, ...options });
    await body(root);
  };
}

/** Small tree whose files have sums, as after a first synchronisation. */
async function settled(root: ScanRoot, files: Record<string, string>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    const slash = path.lastIndexOf("/");
    if (slash > 0) mkdirSync(root.abs(path.slice(0, slash)), { recursive: true });
    writeFileSync(root.abs(path), text);
    utimesSync(root.abs(path), OLD, OLD);
  }
  await root.full(true);
  root.reports();
}

describe("differences", () => {
  test("[SCAN-1] a first scan reports everything, parents first, files without sums; the next one nothing", rooted(
    async (root) => {
      mkdirSync(root.abs("a/b"), { recursive: true });
      writeFileSync(root.abs("a/b/f"), "one");
      writeFileSync(root.abs("z"), "");
      symlinkSync("../nowhere", root.abs("a/link"));
      const outcome = await root.full();
      const reports = root.reports();
      const paths = reports.map(([path]) => path);
      expect(paths.toSorted(comparePaths)).toEqual(["a", "a/b", "a/b/f", "a/link", "z"]);
      for (const path of paths) expect(paths.indexOf(path)).toBeGreaterThan(paths.indexOf(path.slice(0, path.lastIndexOf("/"))));
      expect(root.index.get("a/link")?.entry).toEqual({ kind: "symlink", target: "../nowhere" });
      expect(root.sumOf("a/b/f")).toBeUndefined();
      expect(outcome).toMatchObject({ entries: 5, problems: [], hashedBytes: 0 });
      await root.full();
      expect(root.news()).toEqual([]);
    },
  ));

  test("[SCAN-2] a rewrite with the same size and mtime is found by its ctime", rooted(async (root) => {
    await settled(root, { f: "one" });
    const sum = root.sumOf("f");
    writeFileSync(root.abs("f"), "two");
    utimesSync(root.abs("f"), OLD, OLD);
    await root.full();
    expect(root.news()).toEqual(["f file"]);
    expect(root.sumOf("f")).toBeDefined();
    expect(root.sumOf("f")).not.toBe(sum!);
  }));

  test("[SCAN-3] another size drops the sum; a touch keeps it and reports only metadata", rooted(async (root) => {
    await settled(root, { grown: "one", touched: "one" });
    const sum = root.sumOf("touched");
    appendFileSync(root.abs("grown"), "!");
    utimesSync(root.abs("touched"), OLD + 5, OLD + 5);
    await root.full();
    expect(root.news()).toEqual(["grown file", "touched file"]);
    expect(root.sumOf("grown")).toBeUndefined();
    expect(root.sumOf("touched")).toBe(sum!);
    expect(root.index.get("touched")?.entry).toMatchObject({ mtimeNs: BigInt(OLD + 5) * 1_000_000_000n });
  }));

  test("[SCAN-4] what only the disk knows is no news: a new ctime alone is recorded silently", rooted(async (root) => {
    await settled(root, { f: "one" });
    const before = root.index.get("f")!.ctimeNs;
    utimesSync(root.abs("f"), OLD, OLD);
    await root.full();
    expect(root.news()).toEqual([]);
    expect(root.index.get("f")!.ctimeNs).toBeGreaterThan(before);
  }));

  test("[SCAN-5] removal reports every path below", rooted(async (root) => {
    await settled(root, { "d/e/f": "1", "d/g": "2", keep: "3" });
    rmSync(root.abs("d"), { recursive: true });
    const { entries } = await root.full();
    expect(root.news()).toEqual(["d absent", "d/e absent", "d/e/f absent", "d/g absent"]);
    expect(entries).toBe(1);
    expect(root.view().length).toBe(1);
  }));

  test("[SCAN-6] changes of kind in all directions", rooted(async (root) => {
    await settled(root, { "dir/x": "1", file: "2", other: "3" });
    rmSync(root.abs("dir"), { recursive: true });
    writeFileSync(root.abs("dir"), "now a file");
    unlinkSync(root.abs("file"));
    mkdirSync(root.abs("file"));
    writeFileSync(root.abs("file/y"), "");
    unlinkSync(root.abs("other"));
    expect(Bun.spawnSync(["mkfifo", root.abs("other")]).exitCode).toBe(0);
    await root.full();
    expect(root.news()).toEqual(["dir file", "dir/x absent", "file dir", "file/y file", "other other"]);
    expect(root.index.get("other")?.entry).toEqual({ kind: "other", what: "fifo" });
  }));

  test("[SCAN-7] names that are not UTF-8 and the private directory", rooted(async (root) => {
    writeFileSync(Buffer.concat([Buffer.from(root.abs("bad")), Buffer.from([0xff, 0xfe])]), "x");
    mkdirSync(root.abs(".syncline/stage"), { recursive: true });
    mkdirSync(root.abs("d/.syncline"), { recursive: true });
    await root.full();
    expect(root.news()).toEqual(["bad\udcff\udcfe file", "d dir", "d/.syncline dir"].sort());
  }));

  test("[SCAN-8] directories of every size come out the same however they are written", rooted(async (root) => {
    mkdirSync(root.abs("d"));
    for (let n = 0; n < 300; n++) writeFileSync(root.abs(`d/${n}`), "x");
    await root.full();
    for (let n = 0; n < 290; n++) unlinkSync(root.abs(`d/${n}`));
    unlinkSync(root.abs("d/299"));
    mkdirSync(root.abs("d/299"));
    writeFileSync(root.abs("d/a"), "new");
    await root.full();
    const kept = [..."0123456789"].map((digit) => `29${digit}`).filter((name) => name !== "299");
    expect(root.index.children("d").map(({ name }) => name)).toEqual([...kept, "299", "a"].sort());
    expect(root.reports().length).toBe(301 + 290 + 3);
  }));
});

describe("unknown", () => {
  const broken: [string, (root: ScanRoot) => void][] = [
    ["cannot be opened", (root) => (root.fault = (call, name) => (call === "openDir" && name === "d" ? "EACCES" : undefined))],
    ["breaks off in its listing", (root) => {
      let listings = 0;
      root.fault = (call) => (call === "list" && ++listings === 2 ? "EIO" : undefined);
    }],
    ["is stale", (root) => (root.fault = (call, name) => (call === "openDir" && name === "d" ? "ESTALE" : undefined))],
  ];
  for (const [what, breakIt] of broken) {
    test(`[SCAN-9] a directory that ${what} is a problem; nothing in it becomes absent`, rooted(async (root) => {
      await settled(root, { "d/a": "1", "d/e/b": "2", top: "3" });
      const before = root.view();
      breakIt(root);
      rmSync(root.abs("d/a"));
      const { problems } = await root.full();
      expect(problems.map(({ path }) => path)).toEqual(["d"]);
      expect(root.news()).toEqual([]);
      expect(root.view()).toEqual(before);
      root.fault = () => undefined;
      expect((await root.full()).problems).toEqual([]);
      expect(root.news()).toEqual(["d/a absent"]);
    }));
  }

  test("[SCAN-10] a stat that fails makes that path unknown, not absent", rooted(async (root) => {
    await settled(root, { a: "1", b: "2" });
    root.fault = (call, name) => (call === "stat" && name === "a" ? "EIO" : undefined);
    const { problems } = await root.full();
    expect(problems).toMatchObject([{ path: "a", code: "EIO", transient: true }]);
    expect(root.news()).toEqual([]);
  }));

  test("[SCAN-11] listed but without a stat: absent only when a second listing agrees", rooted(async (root) => {
    await settled(root, { a: "1", b: "2" });
    let armed = true;
    root.fault = (call, name) => {
      if (call !== "stat" || name !== "b" || !armed) return undefined;
      armed = false;
      unlinkSync(root.abs("b"));
      return undefined;
    };
    expect((await root.full()).problems).toEqual([]);
    expect(root.news()).toEqual(["b absent"]);
    root.fault = (call, name) => (call === "stat" && name === "a" ? "ENOENT" : undefined);
    expect((await root.full()).problems).toMatchObject([{ path: "a", code: "CHANGED" }]);
    expect(root.news()).toEqual([]);
  }));

  test("[SCAN-12] a name that a listing leaves out is not absent while a stat finds it", rooted(async (root) => {
    await settled(root, { a: "1", b: "2" });
    root.patch = (call, _name, result) =>
      call === "list" ? (result as { name: string }[]).filter(({ name }) => name !== "a") : result;
    expect((await root.full()).problems).toEqual([]);
    expect(root.news()).toEqual([]);
    expect(root.index.get("a")).toBeDefined();
  }));

  test("[SCAN-13] a directory that was swapped while it was listed loses nothing", rooted(async (root) => {
    await settled(root, { "d/a": "1", "d/b": "2" });
    let armed = true;
    root.fault = (call) => {
      if (call === "list" && root.index.get("d") !== undefined && armed) {
        const held = statSync(root.abs("d"), { throwIfNoEntry: false });
        if (held === undefined || lists++ === 0) return undefined;
        armed = false;
        renameSync(root.abs("d"), root.abs("moved"));
        unlinkSync(root.abs("moved/a"));
        mkdirSync(root.abs("d"));
        writeFileSync(root.abs("d/a"), "new");
      }
      return undefined;
    };
    let lists = 0;
    const { problems } = await root.full();
    expect(armed).toBe(false);
    expect(problems).toMatchObject([{ path: "d", code: "CHANGED" }]);
    expect(root.news().filter((line) => line.endsWith("absent"))).toEqual([]);
    await root.full();
    expect(root.news()).toEqual(["d dir", "d/a file", "d/b absent", "moved dir", "moved/b file"]);
  }));

  test("[SCAN-14] another file system below the root stays unknown, coming and going", rooted(async (root) => {
    await settled(root, { "m/a": "1" });
    const ino = BigInt(statSync(root.abs("m")).ino);
    root.patch = (_call, _name, result) => {
      const stat = result as { ino?: bigint; dev?: number };
      return typeof stat === "object" && stat?.ino === ino ? { ...stat, dev: 12345 } : result;
    };
    expect((await root.full()).problems).toMatchObject([{ path: "m", code: "MOUNT" }]);
    expect(root.news()).toEqual([]);
    expect(root.index.get("m/a")).toBeDefined();
  }));

  test("[SCAN-15] when the root is another one the step is undone", rooted(async (root) => {
    await settled(root, { a: "1", b: "2" });
    const before = root.view();
    let calls = 0;
    root.assertRoot = () => {
      if (++calls < 2) return;
      throw new SynclineError({ code: "ROOT_IDENTITY", op: "scan", message: "another root" });
    };
    rmSync(root.abs("a"));
    expect(root.full()).rejects.toMatchObject({ code: "ROOT_IDENTITY" });
    expect(calls).toBe(2);
    expect(root.view()).toEqual(before);
  }));

  test("[SCAN-16] a file that changes while it is hashed is unknown and looked at again by itself", rooted(async (root) => {
    await settled(root, { f: "one" });
    writeFileSync(root.abs("f"), "two");
    let reads = 0;
    root.patch = (call, _name, result) => {
      if (call === "read" && reads++ === 0) appendFileSync(root.abs("f"), "+");
      return result;
    };
    expect((await root.full()).problems).toMatchObject([{ path: "f", code: "CHANGED", transient: true }]);
    expect(root.news()).toEqual([]);
    expect((await root.dirty({})).problems).toEqual([]);
    expect(root.news()).toEqual(["f file"]);
    expect(root.index.get("f")?.entry).toMatchObject({ size: 4, sum: undefined });
  }));

  test("[SCAN-17] bytes that differ under an unchanged stat are damage, not a change", rooted(async (root) => {
    await settled(root, { f: "one" });
    const sum = root.sumOf("f");
    root.fault = () => undefined;
    const { read } = root.host.fs;
    root.host.fs.read = (fd, into, position) => {
      const length = read(fd, into, position);
      into[0]! ^= 1;
      return length;
    };
    root.patch = (call, _name, result) => result;
    expect((await root.full(true)).problems.length).toBeLessThanOrEqual(1);
    expect(root.sumOf("f")).toBe(sum!);
  }));
});
