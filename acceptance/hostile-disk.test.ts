/** Disks that are full, read-only or gone, and a system that is out of watches. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { type Done, PROGRAM, World, describeTree, eventually, summaryOf } from "./harness.ts";
import { Mounts } from "./mounts.ts";

const TEST_MS_MAX = 120_000;

type Found = { path: string; side: string; code: string; message: string };

function problemsOf(done: Done): Found[] {
  return done.out
    .split("\n")
    .filter((line) => line.startsWith('{"type":"problem"'))
    .map((line) => (JSON.parse(line) as { problem: Found }).problem);
}

function errorOf(done: Done): { code: string; message: string; hint?: string } {
  const line = done.out.split("\n").find((text) => text.startsWith('{"type":"error"'));
  if (line === undefined) throw new Error(`no error, exit ${done.code}: ${done.out}${done.err}`);
  return JSON.parse(line) as ReturnType<typeof errorOf>;
}

function random(bytes: number): Buffer {
  const out = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 65_536) crypto.getRandomValues(out.subarray(at, Math.min(bytes, at + 65_536)));
  return out;
}

async function expectSame(world: World, a = "a", b = "b"): Promise<void> {
  expect(await describeTree(world.path(b))).toBe(await describeTree(world.path(a)));
}

/** Every file of b is, byte for byte, one of the contents its name has had in a. */
function expectWhole(world: World, allowed: ReadonlyMap<string, readonly Buffer[]>): void {
  for (const item of readdirSync(world.path("b"), { withFileTypes: true })) {
    if (item.name === ".syncline") continue;
    const bytes = readFileSync(world.path("b", item.name));
    const whole = allowed.get(item.name)?.some((content) => content.equals(bytes)) ?? false;
    expect(`${item.name} ${whole ? "is whole" : `has ${bytes.length} strange bytes`}`).toBe(`${item.name} is whole`);
  }
}

describe("a full disk", () => {
  test(
    "[DISK-1] what does not fit is named and left out or left old, the rest arrives, and room made is used",
    async () => {
      await using world = new World();
      await using mounts = new Mounts(world);
      await mounts.tmpfs("b", "size=8m");
      const contents = new Map<string, Buffer[]>();
      const put = (name: string, bytes: Buffer): void => {
        world.write(`a/${name}`, bytes);
        contents.set(name, [...(contents.get(name) ?? []), bytes]);
      };
      for (let at = 0; at < 30; at++) put(`small ${at}`, random(at * 100));
      put("large 1", random(5_000_000));
      put("large 2", random(6_000_000));
      const full = await world.run(["sync", "a", "b", "--json"]);
      expect(full.code).toBe(1);
      expect(summaryOf(full)).toMatchObject({ result: "problems", conflicts: 0 });
      const problems = problemsOf(full);
      // Each path once, however often it was tried.
      expect(new Set(problems.map((one) => one.path)).size).toBe(problems.length);
      expect(problems.length).toBe(summaryOf(full).problems);
      for (const { path, side, code } of problems) {
        expect(path).toStartWith("large");
        expect(`${side} ${code}`).toBe("beta ENOSPC");
      }
      expectWhole(world, contents);
      for (let at = 0; at < 30; at++) expect(existsSync(world.path("b", `small ${at}`))).toBe(true);
      await mounts.remount("b", "size=24m");
      const roomy = await world.run(["sync", "a", "b", "--json"]);
      expect(roomy.code).toBe(0);
      await expectSame(world);
      // Now replacements, whose old content is kept for undo on the same disk.
      for (let at = 0; at < 5; at++) put(`small ${at}`, random(200));
      put("large 1", random(7_000_000));
      put("large 2", random(7_500_000));
      const again = await world.run(["sync", "a", "b", "--json"]);
      expect(again.code).toBe(1);
      expect(problemsOf(again).every((one) => one.code === "ENOSPC" && one.path.startsWith("large"))).toBe(true);
      expectWhole(world, contents);
      await mounts.remount("b", "size=64m");
      expect((await world.run(["sync", "a", "b", "--json"])).code).toBe(0);
      await expectSame(world);
    },
    TEST_MS_MAX,
  );

  test(
    "[DISK-2] a disk without a free inode for stage or trash leaves every path as it was",
    async () => {
      await using world = new World();
      await using mounts = new Mounts(world);
      // The root, .syncline with its marker and ignore file, stage, trash, the session's stage, ten files, three spare.
      await mounts.tmpfs("b", "size=8m,nr_inodes=20");
      for (let at = 0; at < 10; at++) world.write(`a/${at}`, `old ${at}`);
      expect((await world.run(["sync", "a", "b"])).code).toBe(0);
      const spare = world.write("b/.syncline/spare-0", "");
      for (let at = 1; ; at++) {
        try {
          writeFileSync(spare.replace("-0", `-${at}`), "");
        } catch {
          break;
        }
      }
      for (let at = 0; at < 5; at++) world.write(`a/${at}`, `newer ${at}`);
      rmSync(world.path("a/9"));
      const full = await world.run(["sync", "a", "b", "--json"]);
      expect([1, 3]).toContain(full.code);
      expect(full.out).toContain("ENOSPC");
      for (let at = 0; at < 10; at++) expect(readFileSync(world.path(`b/${at}`), "utf8")).toBe(`old ${at}`);
      await mounts.remount("b", "nr_inodes=1000");
      expect((await world.run(["sync", "a", "b", "--json"])).code).toBe(0);
      await expectSame(world);
    },
    TEST_MS_MAX,
  );

  test(
    "[DISK-3] a full disk under the state ends the run with exit 3 and a hint, and nothing is lost",
    async () => {
      await using world = new World();
      await using mounts = new Mounts(world);
      await mounts.tmpfs("state", "size=600k");
      for (let at = 0; at < 3000; at++) world.write(`a/${"long name ".repeat(5)}${at}`, `content ${at}`);
      world.folder("b");
      const full = await world.run(["sync", "a", "b", "--json"]);
      expect(full.code).toBe(3);
      expect(errorOf(full)).toMatchObject({ code: "DISK" });
      expect(errorOf(full).hint).toContain("make room on the disk");
      expect(readdirSync(world.path("a"))).toHaveLength(3001);
      await mounts.remount("state", "size=64m");
      const after = await world.run(["sync", "a", "b", "--json"]);
      expect(summaryOf(after)).toMatchObject({ result: "same", files: 3000, conflicts: 0 });
      await expectSame(world);
      // And when it fills up while changes are applied: both sides keep all they have.
      for (let at = 0; at < 2900; at++) world.write(`a/${"long name ".repeat(5)}${at}`, `newer content ${at}`);
      await world.command(["bash", "-c", "dd if=/dev/zero of=state/fill bs=64k 2>/dev/null; truncate -s -256k state/fill"]);
      const filled = await world.run(["sync", "a", "b", "--json", "--max-delete", "none"]);
      expect(filled.code).toBe(3);
      expect(readdirSync(world.path("b"))).toHaveLength(3001);
      for (let at = 0; at < 3000; at++) {
        const text = readFileSync(world.path(`b/${"long name ".repeat(5)}${at}`), "utf8");
        expect([`content ${at}`, `newer content ${at}`]).toContain(text);
      }
      rmSync(world.path("state/fill"));
      const last = await world.run(["sync", "a", "b", "--json", "--max-delete", "none"]);
      expect(summaryOf(last)).toMatchObject({ result: "same", conflicts: 0 });
      await expectSame(world);
    },
    TEST_MS_MAX,
  );
});

describe("a disk that is read-only or gone", () => {
  test("[DISK-4] a side that became read-only fails path by path with exit 1, loses nothing, and catches up", async () => {
    await using world = new World();
    await using mounts = new Mounts(world);
    await mounts.tmpfs("b", "size=8m");
    for (let at = 0; at < 30; at++) world.write(`a/${at}`, `old ${at}`);
    expect((await world.run(["sync", "a", "b"])).code).toBe(0);
    const before = await describeTree(world.path("b"));
    world.write("a/new", "new");
    world.write("a/3", "newer");
    rmSync(world.path("a/4"));
    await mounts.remount("b", "ro");
    const done = await world.run(["sync", "a", "b", "--json"]);
    expect(done.code).toBe(1);
    expect(problemsOf(done).map(({ path, side, code }) => `${side} ${path} ${code}`).sort()).toEqual([
      "beta 3 EROFS",
      "beta 4 EROFS",
      "beta new EROFS",
    ]);
    expect(await describeTree(world.path("b"))).toBe(before);
    const fresh = await world.run(["sync", "b", "c", "--mode", "one-way-safe", "--json"]);
    expect(fresh.code).toBe(0);
    await mounts.remount("b", "rw");
    expect((await world.run(["sync", "a", "b", "--json"])).code).toBe(0);
    await expectSame(world);
  });

  test("[DISK-5] a root whose disk is not mounted halts with ROOT_IDENTITY and exit 3, in either role", async () => {
    for (const [alpha, beta] of [["data", "mnt"], ["mnt", "data"]] as const) {
      await using world = new World();
      await using mounts = new Mounts(world);
      await mounts.tmpfs("mnt", "size=8m");
      world.folder("data");
      for (let at = 0; at < 30; at++) world.write(`${alpha}/dir/${at}`, `content ${at}`);
      expect((await world.run(["sync", alpha, beta])).code).toBe(0);
      const before = await describeTree(world.path("data"));
      await mounts.unmount("mnt");
      expect(readdirSync(world.path("mnt"))).toEqual([]);
      for (const mode of ["two-way-safe", "two-way-resolved"]) {
        const done = await world.run(["sync", alpha, beta, "--json", "--max-delete", "none", "--mode", mode]);
        expect(done.code).toBe(3);
        expect(errorOf(done)).toMatchObject({ code: "ROOT_IDENTITY" });
        expect(errorOf(done).hint).toContain("mounted");
      }
      expect(await describeTree(world.path("data"))).toBe(before);
      expect(readdirSync(world.path("mnt"))).toEqual([]);
    }
  });

  test("[DISK-6] a root that goes away while it is watched ends the session with exit 3 and deletes nothing", async () => {
    await using world = new World();
    await using mounts = new Mounts(world);
    await mounts.tmpfs("mnt", "size=8m");
    world.folder("data");
    for (let at = 0; at < 30; at++) world.write(`mnt/${at}`, `content ${at}`);
    const command = [PROGRAM, "sync", "data", "mnt", "--watch", "--json", "--max-delete", "none", "--rescan-every", "1s"];
    const child = world.start(command);
    await child.line((line) => line.includes('"watching"'), 20_000);
    const before = await describeTree(world.path("data"));
    await mounts.unmount("mnt");
    writeFileSync(world.path("data/new"), "new");
    expect(await child.exited).toBe(3);
    expect(child.output()).toContain("ROOT_IDENTITY");
    rmSync(world.path("data/new"));
    expect(await describeTree(world.path("data"))).toBe(before);
    expect(readdirSync(world.path("mnt"))).toEqual([]);
  }, 60_000);
});

describe("a system without free watches", () => {
  test("[DISK-7] is said, and changes arrive by scanning again", async () => {
    await using world = new World();
    for (let at = 0; at < 40; at++) world.write(`a/dir ${at}/file`, `old ${at}`);
    world.folder("b");
    // The limit holds in a user namespace of its own, so the machine's stays as it is.
    const limited = 'echo 15 > /proc/sys/user/max_inotify_watches && exec "$0" "$@"';
    const words = ["sync", "a", "b", "--watch", "--json", "--settle", "immediate", "--rescan-every", "1s"];
    const child = world.start(["unshare", "--user", "--map-root-user", "sh", "-c", limited, PROGRAM, ...words]);
    await child.line((line) => line.includes('"type":"degraded"') && line.includes("limit"), 20_000);
    await child.line((line) => line.includes('"watching"'), 20_000);
    for (let at = 0; at < 40; at += 3) world.write(`a/dir ${at}/file`, `newer ${at}`);
    for (let at = 0; at < 40; at += 3) {
      const there = world.path(`b/dir ${at}/file`);
      await eventually(`dir ${at}`, () => readFileSync(there, "utf8") === `newer ${at}`);
    }
  }, 60_000);
});
