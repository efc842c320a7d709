/** People who work against the program: directories swapped for links under its hands, files that never rest. */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { SimRandom } from "#testing/sim-random.ts";
import { type Done, PROGRAM, World, describeTree, eventually, summaryOf } from "./harness.ts";

const TEST_MS_MAX = 120_000;
const RACED_RUNS = 25;
const FILES = 60;

/** Swaps directories for links to the outside and back, as fast as it can, until it is killed. */
const RACER = `
  const fs = require("node:fs");
  const [outside, ...dirs] = process.argv.slice(1);
  let swaps = 0;
  process.on("SIGTERM", () => { console.log("swaps " + swaps); process.exit(0); });
  const round = () => {
    for (let at = 0; at < 50; at++) {
      for (const dir of dirs) {
        try {
          fs.renameSync(dir, dir + ".real");
          fs.symlinkSync(outside, dir);
          fs.unlinkSync(dir);
          fs.renameSync(dir + ".real", dir);
          swaps++;
        } catch {
          try { fs.renameSync(dir + ".real", dir); } catch {}
        }
      }
    }
    setImmediate(round);
  };
  console.log("racing");
  round();
`;

/**
 * Appends to one file and rewrites another in place, without ever pausing. They are so large that nobody gets through one
 * of them while the writer waits for its next turn on a busy processor.
 */
const WRITER = `
  const fs = require("node:fs");
  const [grown, rewritten] = process.argv.slice(1);
  const log = fs.openSync(grown, "w");
  const data = fs.openSync(rewritten, "w");
  const piece = Buffer.alloc(4096, "x");
  fs.ftruncateSync(log, 32_000_000);
  fs.ftruncateSync(data, 32_000_000);
  let at = 0;
  const round = () => {
    for (let turn = 0; turn < 100; turn++) {
      piece.writeUInt32LE(at);
      fs.writeSync(log, piece, 0, 64, 32_000_000 + (at * 64) % 32_000_000);
      fs.writeSync(data, piece, 0, 4096, (at * 4096) % 32_000_000);
      at++;
    }
    setImmediate(round);
  };
  console.log("writing");
  round();
`;

function problemPaths(done: Done): Set<string> {
  const lines = done.out.split("\n").filter((line) => line.startsWith('{"type":"problem"'));
  return new Set(lines.map((line) => (JSON.parse(line) as { problem: { path: string } }).problem.path));
}

describe("a symlink racer", () => {
  test(
    "[RACE-1] parents swapped for links during apply lead nothing outside, and nothing from outside comes in",
    async () => {
      await using world = new World();
      const random = new SimRandom(7);
      const secret = "a secret of the outside";
      for (let at = 0; at < FILES; at++) world.write(`outside/f${at}`, secret);
      world.write("outside/deep/f0", secret);
      for (let at = 0; at < FILES; at++) {
        world.write(`a/d/f${at}`, `content ${at}`);
        world.write(`a/e/deep/f${at}`, `content ${at}`);
      }
      const options = ["--mode", "one-way-replica", "--delete", "--max-delete", "none", "--json", "--durable", "none"];
      expect((await world.run(["sync", "a", "b", ...options])).code).toBe(0);
      const outside = await describeTree(world.path("outside"));
      const swapped = [world.path("b/d"), world.path("b/e")];
      const racer = world.start([process.execPath, "-e", RACER, world.path("outside"), ...swapped]);
      await racer.line((line) => line === "racing", 20_000);
      let hindered = 0;
      for (let run = 0; run < RACED_RUNS; run++) {
        for (let at = 0; at < FILES; at++) {
          const dir = random.pick(["d", "e/deep"]);
          const path = world.path("a", dir, `f${at}`);
          if (random.chance(0.2)) rmSync(path, { force: true });
          else writeFileSync(path, `content ${at} of run ${run}${" more".repeat(random.int(50))}`);
        }
        world.write(`a/d/new ${run}/f0`, `new ${run}`);
        const done = await world.run(["sync", "a", "b", ...options]);
        if (done.code !== 0) hindered++;
        expect(done.out + done.err).not.toContain("INTERNAL");
        expect(await describeTree(world.path("outside"))).toBe(outside);
      }
      racer.kill("SIGTERM");
      await racer.exited;
      // It must really have been in the way, or this shows nothing.
      expect(hindered).toBeGreaterThan(0);
      expect(Number(/swaps (\d+)/.exec(racer.output())?.[1])).toBeGreaterThan(1000);
      for (const dir of ["d", "e"]) {
        if (existsSync(world.path("b", `${dir}.real`)) && !existsSync(world.path("b", dir)))
          renameSync(world.path("b", `${dir}.real`), world.path("b", dir));
      }
      let last = await world.run(["sync", "a", "b", ...options]);
      if (last.code !== 0) last = await world.run(["sync", "a", "b", ...options]);
      expect(summaryOf(last)).toMatchObject({ result: "same" });
      expect(await describeTree(world.path("b"))).toBe(await describeTree(world.path("a")));
      expect(await describeTree(world.path("outside"))).toBe(outside);
      const leaked = await world.command(["grep", "-rl", secret, "a", "b"]);
      expect(leaked.out).toBe("");
    },
    TEST_MS_MAX,
  );

  test("[RACE-2] a private directory that is a link to the outside is refused and the outside stays as it is", async () => {
    await using world = new World();
    world.write("a/x", "1");
    world.write("outside/stage/precious/file", "precious");
    world.write("outside/trash/file", "precious");
    mkdirSync(world.path("b"));
    symlinkSync(world.path("outside"), world.path("b/.syncline"));
    const outside = await describeTree(world.path("outside"));
    const done = await world.run(["sync", "a", "b", "--json"]);
    expect(done.code).toBe(3);
    expect(await describeTree(world.path("outside"))).toBe(outside);
    for (const part of ["stage", "trash"]) {
      rmSync(world.path("b"), { recursive: true });
      rmSync(world.path("state"), { recursive: true, force: true });
      mkdirSync(world.path("b/.syncline"), { recursive: true });
      symlinkSync(world.path("outside", part), world.path("b/.syncline", part));
      expect((await world.run(["sync", "a", "b", "--json"])).code).toBe(3);
      expect(await describeTree(world.path("outside"))).toBe(outside);
    }
  });
});

describe("a writer that never stops", () => {
  const start = async (world: World) => {
    world.folder("a");
    const writer = world.start([process.execPath, "-e", WRITER, world.path("a/grown"), world.path("a/rewritten")]);
    await writer.line((line) => line === "writing", 20_000);
    return writer;
  };

  test(
    "[WRITER-1] the run ends with exit 1 and names the files, everything else is there, and rest brings them",
    async () => {
      await using world = new World();
      const writer = await start(world);
      for (let at = 0; at < 100; at++) world.write(`a/dir/${at}`, `content ${at}`);
      const done = await world.run(["sync", "a", "b", "--json"]);
      expect(done.code).toBe(1);
      expect([...problemPaths(done)].sort()).toEqual(["grown", "rewritten"]);
      for (let at = 0; at < 100; at++) expect(readFileSync(world.path(`b/dir/${at}`), "utf8")).toBe(`content ${at}`);
      await writer.end();
      expect((await world.run(["sync", "a", "b", "--json"])).code).toBe(0);
      expect(await describeTree(world.path("b"))).toBe(await describeTree(world.path("a")));
    },
    TEST_MS_MAX,
  );

  test(
    "[WRITER-2] while watching, other changes arrive all the same, both ways",
    async () => {
      await using world = new World();
      const writer = await start(world);
      const child = world.start([PROGRAM, "sync", "a", "b", "--watch", "--settle", "immediate", "--json"]);
      await child.line((line) => line.includes('"watching"'), 20_000);
      for (let at = 0; at < 10; at++) {
        for (const [from, to] of [["a", "b"], ["b", "a"]] as const) {
          world.write(`${from}/${from} ${at}`, `content ${at}`);
          const there = world.path(to, `${from} ${at}`);
          await eventually(there, () => existsSync(there) && readFileSync(there, "utf8") === `content ${at}`);
        }
      }
      await writer.end();
      // The last events have been seen when both are the same.
      const size = readFileSync(world.path("a/rewritten"));
      await eventually("the files once they rest", () =>
        existsSync(world.path("b/rewritten")) && readFileSync(world.path("b/rewritten")).equals(size),
      );
    },
    TEST_MS_MAX,
  );
});
