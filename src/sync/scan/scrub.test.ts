import { describe, expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import fc from "fast-check";
import { comparePaths } from "#model/path.ts";
import { SETTLED_MS } from "#sync/scan/damage.ts";
import type { Scrub, ScrubPass, ScrubReply } from "#sync/scan/scrub.ts";
import { ScanRoot } from "#testing/scan-root.ts";

const LONG_MS = 2 * SETTLED_MS;
const DAY_MS = 86_400_000;
const SMALL = { everyMs: DAY_MS, bytesMax: 1 };
const LARGE = "0123456789".repeat(100_000);

/** A root whose files have sums and were left alone for long. */
async function scanned(files: Record<string, string>): Promise<ScanRoot> {
  const root = new ScanRoot({ clockAheadMs: LONG_MS });
  for (const [path, text] of Object.entries(files)) {
    if (path.includes("/")) mkdirSync(root.abs(path.slice(0, path.lastIndexOf("/"))), { recursive: true });
    writeFileSync(root.abs(path), text);
  }
  await root.full();
  await root.full(true);
  root.reports();
  return root;
}

function scrubOf(root: ScanRoot): Scrub {
  return root.scanner.scrub(root.store, root.store.table("meta"));
}

/** Flips a bit in the first byte of every read of files of that name. */
function rot(root: ScanRoot, name: string): void {
  let opened: unknown;
  root.patch = (call, at, result, args) => {
    if (call === "openRead") opened = at === name ? result : undefined;
    const isRead = (call === "read" || call === "readAsync") && args[0] === opened && args[2] === 0;
    if (isRead) {
      const flip = (): void => void ((args[1] as Uint8Array)[0]! ^= 1);
      if (call === "read") flip();
      else return (result as Promise<number>).then((count) => (flip(), count));
    }
    return result;
  };
}

/** Steps until a pass has ended. */
async function pass(scrub: Scrub, request = SMALL): Promise<{ pass: ScrubPass; steps: ScrubReply[] }> {
  const steps: ScrubReply[] = [];
  for (;;) {
    const reply = await scrub.step(request);
    steps.push(reply);
    if (reply.pass !== undefined) return { pass: reply.pass, steps };
    if (steps.length > 5000) throw new Error("no end");
  }
}

describe("a scrub", () => {
  test("[SCRUB-1] reads every file once, in path order and in small steps, also a large one", async () => {
    using root = await scanned({ "a/b/x": "one", "a/y": "two", "a.txt": "three", z: LARGE });
    symlinkSync("a", root.abs("link"));
    await root.full();
    const opened: string[] = [];
    root.patch = (call, name, result) => {
      if (call === "openRead") opened.push(name);
      return result;
    };
    const { pass: found, steps } = await pass(scrubOf(root));
    expect([...new Set(opened)]).toEqual(["x", "y", "a.txt", "z"]);
    expect(found).toMatchObject({ files: 4, bytes: 11 + LARGE.length, damaged: 0 });
    // 256 KiB at a time, however little was asked for.
    expect(steps.length).toBeGreaterThanOrEqual(3 + Math.ceil(LARGE.length / (256 << 10)));
    for (const { bytes } of steps) expect(bytes).toBeLessThanOrEqual((256 << 10) + 4096);
  });

  test("[SCRUB-2] goes on after a restart where it stood, and begins anew when it is due", async () => {
    using root = await scanned({ a: "1", "d/b": "2", "d/c": "3", e: "4" });
    const first = scrubOf(root);
    await first.step(SMALL);
    await first.step(SMALL);
    await first.step(SMALL);
    first.save();
    const opened: string[] = [];
    root.patch = (call, name, result) => {
      if (call === "openRead") opened.push(name);
      return result;
    };
    const second = scrubOf(root);
    const { pass: found } = await pass(second);
    expect(opened.length).toBeLessThan(4);
    expect(opened.at(-1)).toBe("e");
    expect(found).toMatchObject({ files: 4, damaged: 0 });
    const idle = await second.step(SMALL);
    expect(idle).toMatchObject({ bytes: 0, found: false });
    expect(idle.waitMs).toBeGreaterThan(DAY_MS - 3_600_000);
    expect((await scrubOf(root).step(SMALL)).waitMs).toBeGreaterThan(DAY_MS - 3_600_000);
    // A clock that was set back puts no pass off.
    root.clockAheadMs -= 7 * DAY_MS;
    expect((await second.step(SMALL)).waitMs).toBe(0);
  });

  test("[SCRUB-3] the next scan tells of damage, until the bytes are right again", async () => {
    using root = await scanned({ f: "one", g: "two", large: LARGE });
    for (const name of ["f", "large"]) {
      rot(root, name);
      const scrub = scrubOf(root);
      const { pass: found, steps } = await pass(scrub, { ...SMALL, everyMs: 0 });
      expect(found.damaged).toBe(1);
      expect(steps.filter((one) => one.found)).toHaveLength(1);
      expect((await root.dirty({})).problems).toMatchObject([{ path: name, code: "CORRUPT", transient: false }]);
      expect((await root.dirty({ [name]: "entry" })).problems).toHaveLength(1);
      expect(root.news()).toEqual([]);
      root.patch = (_call, _name, result) => result;
      await pass(scrub, { ...SMALL, everyMs: 0 });
      expect((await root.dirty({})).problems).toEqual([]);
    }
  });

  test("[SCRUB-4] says nothing of files that changed, went, were written a moment ago, or have no sum", async () => {
    using root = await scanned({ changed: "one", gone: "two", young: "three", renamed: "four" });
    root.clockAheadMs = 0;
    writeFileSync(root.abs("unknown"), "five");
    await root.full();
    root.reports();
    writeFileSync(root.abs("changed"), "others");
    rmSync(root.abs("gone"));
    renameSync(root.abs("renamed"), root.abs("away"));
    rot(root, "young");
    const { pass: found, steps } = await pass(scrubOf(root));
    expect([found.damaged, steps.some((one) => one.found)]).toEqual([0, false]);
    expect((await root.dirty({})).problems).toEqual([]);
  });

  test("[SCRUB-5] a file that changes while it is read says nothing", async () => {
    using root = await scanned({ large: LARGE });
    const scrub = scrubOf(root);
    rot(root, "large");
    await scrub.step(SMALL);
    writeFileSync(root.abs("large"), LARGE);
    const { pass: found } = await pass(scrub);
    expect(found).toMatchObject({ files: 0, damaged: 0 });
  });

  test("[SCRUB-6] a place on the disk that cannot be read is told, and no descriptor stays open", async () => {
    using root = await scanned({ f: "one", g: "two" });
    const open = new Set<unknown>();
    root.patch = (call, _name, result, args) => {
      if (call === "openRead") open.add(result);
      if (call === "close") open.delete(args[0]);
      return result;
    };
    root.fault = (call) => (call === "readAsync" ? "EIO" : undefined);
    const { steps } = await pass(scrubOf(root));
    expect(steps.some((one) => one.found)).toBe(true);
    root.fault = () => undefined;
    expect((await root.dirty({})).problems.map(({ path, code }) => [path, code])).toEqual([["f", "EIO"], ["g", "EIO"]]);
    expect(open.size).toBe(0);
  });

  test("[SCRUB-7] a root that is another one by now ends it", async () => {
    using root = await scanned({ f: "one" });
    root.newScanner([]);
    root.assertRoot = () => {
      throw new Error("another root");
    };
    await expect(scrubOf(root).step(SMALL)).rejects.toThrow("another root");
  });

  test("[SCRUB-8] from wherever it stands, it goes on with all that follows, once each, whatever the tree", async () => {
    const name = fc.constantFrom("a", "b", "c.x", "c", "é", "\udc80", "z".repeat(100));
    const tree = fc.uniqueArray(fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join("/")), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(tree, fc.nat(), async (paths, pick) => {
        using root = new ScanRoot({ clockAheadMs: LONG_MS });
        const stat = { ino: 1n, ctimeNs: 0n, racy: false };
        const dirs = new Set(paths.flatMap((path) => [...path.matchAll(/\//g)].map(({ index }) => path.slice(0, index))));
        const all = [...new Set([...paths, ...dirs])].sort(comparePaths);
        for (const path of all) {
          const entry = dirs.has(path)
            ? ({ kind: "dir", mode: 0o755 } as const)
            : ({ kind: "file", size: 1, mode: 0o644, mtimeNs: 0n, sum: "0".repeat(32) } as const);
          root.index.set(path, { entry, ...stat });
        }
        const files = all.filter((path) => !dirs.has(path));
        const asked: string[] = [];
        // No such file is on the disk, so that each costs nothing but the look.
        root.root.openRead = (path) => {
          asked.push(path);
          return root.host.fs.openRead(root.root.root, "missing");
        };
        const first = scrubOf(root);
        const stop = files.length === 0 ? 0 : pick % files.length;
        while (asked.length < stop) await first.step(SMALL);
        first.save();
        await pass(scrubOf(root));
        expect(asked).toEqual(files);
      }),
      { numRuns: 60 },
    );
  });
});
