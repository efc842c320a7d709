/** A disk that gives back other bytes than were written to it, and says nothing of it. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { PROGRAM, World, eventually, summaryOf } from "./harness.ts";
import { Mounts } from "./mounts.ts";

const MARK = "UNMISTAKABLE";
const LONG_AGO_S = 1_700_000_000;
const SMALL = `the precious bytes, ${MARK}, of a small file`;
const LARGE = `${"0123456789".repeat(40_000)}${MARK}${"9876543210".repeat(40_000)}`;
const FILES = { small: SMALL, large: LARGE };

/** Two roots that agreed, `a` on a disk of its own whose files were last written long ago. */
async function agreed(world: World, mounts: Mounts, others: string[] = ["b"]): Promise<void> {
  await mounts.disk("a", 16);
  for (const [name, content] of Object.entries(FILES)) world.write(`a/${name}`, content);
  await world.command(["chmod", "640", "a/small"]);
  await mounts.unplug("a");
  for (const name of Object.keys(FILES)) await mounts.setCtime("a", name, LONG_AGO_S);
  await mounts.plugIn("a");
  expect((await world.run(["sync", "a", ...others])).code).toBe(0);
}

/** Flips a bit in each place of the disk where the mark lies; no file system is there to notice. */
async function rot(world: World, mounts: Mounts): Promise<void> {
  await mounts.unplug("a");
  const disk = readFileSync(world.path("a.img"));
  let flipped = 0;
  for (let at = disk.indexOf(MARK); at >= 0; at = disk.indexOf(MARK)) {
    disk[at]! ^= 1;
    flipped++;
  }
  expect(flipped).toBe(2);
  writeFileSync(world.path("a.img"), disk);
  await mounts.plugIn("a");
  for (const name of Object.keys(FILES)) expect(readFileSync(world.path("a", name), "utf8")).not.toContain(MARK);
}

const bytesOf = (world: World, side: string, name: string): string => readFileSync(world.path(side, name), "utf8");

describe("rot on a real disk", () => {
  test("[ROT-1] is seen by --rescan alone, shown by a dry run, and healed in place; undo brings it back", async () => {
    await using world = new World();
    await using mounts = new Mounts(world);
    await agreed(world, mounts);
    await rot(world, mounts);
    const { mode, mtimeMs } = statSync(world.path("a/small"));
    expect(summaryOf(await world.run(["sync", "a", "b", "--json"]))).toMatchObject({ result: "same", changes: 0 });
    const dry = await world.run(["sync", "a", "b", "--rescan", "--dry-run"]);
    expect([dry.code, dry.out]).toEqual([0, expect.stringContaining("heal from the other side 2 entries")]);
    expect(bytesOf(world, "a", "small")).not.toContain(MARK);
    const healed = await world.run(["sync", "a", "b", "--rescan", "--json", "--verbose"]);
    expect(summaryOf(healed)).toMatchObject({ result: "same", changes: 2, healed: 2, problems: 0 });
    expect(healed.out).toContain('{"type":"change","side":"alpha","path":"small","action":"heal"');
    for (const side of ["a", "b"]) {
      for (const [name, content] of Object.entries(FILES)) expect(bytesOf(world, side, name)).toBe(content);
    }
    expect(statSync(world.path("a/small"))).toMatchObject({ mode, mtimeMs });
    expect(summaryOf(await world.run(["sync", "a", "b", "--rescan", "--json"]))).toMatchObject({ result: "same", changes: 0 });
    const log = await world.run(["log"]);
    expect(log.out).toContain("2 healed");
    const runId = log.out.split("\n").find((line) => line.includes("healed"))!.split(" ")[0]!;
    expect((await world.run(["log", runId])).out).toContain("heal      small");
    expect((await world.run(["undo", runId])).code).toBe(0);
    expect(bytesOf(world, "a", "small")).not.toContain(MARK);
  });

  test("[ROT-2] is reported where the mode never writes, with what to do, and never sent", async () => {
    await using world = new World();
    await using mounts = new Mounts(world);
    await agreed(world, mounts);
    await rot(world, mounts);
    const found = await world.run(["sync", "a", "b", "--rescan", "--mode", "one-way-replica", "--delete"]);
    expect([found.code, found.err]).toEqual([1, expect.stringContaining("never writes to alpha, so copy the file there")]);
    for (const [name, content] of Object.entries(FILES)) expect(bytesOf(world, "b", name)).toBe(content);
  });

  test("[ROT-3] is found and healed by a scrub while watching, over TLS, beside other changes", async () => {
    await using world = new World();
    await using mounts = new Mounts(world);
    const token = world.token();
    const { port } = await world.serve(["--root", `b=${world.folder("b")}`, "--token-file", token]);
    const far = [`syncline://127.0.0.1:${port}/b`, "--token-file", token, "--accept-new"];
    await agreed(world, mounts, far);
    await rot(world, mounts);
    const options = ["--watch", "--json", "--verbose", "--scrub-every", "1s", "--settle", "immediate"];
    const watch = world.start([PROGRAM, "sync", "a", ...far, ...options]);
    for (const name of Object.keys(FILES)) {
      await watch.line((line) => line.includes(`"side":"alpha","path":"${name}","action":"heal"`), 30_000);
    }
    for (const side of ["alpha", "beta"]) {
      await watch.line((line) => line.includes(`"type":"scrub","side":"${side}"`), 30_000);
    }
    await eventually("both files as they were", () => Object.entries(FILES).every(([name, content]) => bytesOf(world, "a", name) === content));
    world.write("a/new", "beside it");
    await eventually("a change beside the scrub", () => existsSync(world.path("b/new")));
    for (const [name, content] of Object.entries(FILES)) expect(bytesOf(world, "b", name)).toBe(content);
    await watch.end();
  });
});
