/** Groups of the names of one file over scans that are broken off. */
import { linkSync, mkdirSync, unlinkSync, utimesSync, writeFileSync } from "node:fs";
import { expect, test } from "bun:test";
import { ScanRoot } from "#testing/scan-root.ts";
import type { FileEntry } from "#model/entry.ts";
import type { ScanWork } from "#sync/scan/scanner.ts";
import type { Stat } from "#platform/file-system.ts";

const OLD = 1_600_000_000;
/** More than any of these scans makes. */
const PAUSES_MAX = 100;

/** A root with `p/a` and files around it that are known. */
async function known(): Promise<ScanRoot> {
  const root = new ScanRoot({ clockAheadMs: 60_000, hasty: true, preserve: { hardlinks: true } });
  for (const dir of ["p/d", "q/d"]) mkdirSync(root.abs(dir), { recursive: true });
  for (const path of ["p/a", "p/d/k", "q/d/k"]) {
    writeFileSync(root.abs(path), path);
    utimesSync(root.abs(path), OLD, OLD);
  }
  await root.full();
  return root;
}

/** Takes a scan no further than to its k-th pause; does it end before? */
function breakOff(root: ScanRoot, work: ScanWork, k: number): boolean {
  using run = root.scanner.begin(work);
  for (let pauses = 0; pauses < k; pauses++) {
    if (!root.store.transaction({ durable: false }, () => run.step())) return true;
  }
  return false;
}

/** Each name but the first of the files that have several: "q/c=p/a". */
function groups(root: ScanRoot): string {
  const names = [...root.index.walk("")].flatMap(([path, { entry }]) => {
    return entry.kind === "file" && entry.linkTo !== undefined ? [`${path}=${entry.linkTo}`] : [];
  });
  return names.join(" ");
}

const heard = (root: ScanRoot): boolean => root.heard().join() === root.view().map((line) => line.replace(/ \d+ /, " ")).join();

async function atEachPause(prepare: (root: ScanRoot) => ScanWork, expected: string, again?: ScanWork): Promise<void> {
  for (let k = 1; ; k++) {
    using root = await known();
    const work = prepare(root);
    const isWhole = breakOff(root, work, k);
    if (again === undefined) {
      root.newScanner([]);
      await root.full();
    } else await root.scan(again);
    expect([k, groups(root), heard(root)]).toEqual([k, expected, true]);
    if (isWhole) return expect(k).toBeGreaterThan(3);
    expect(k).toBeLessThan(PAUSES_MAX);
  }
}

test("[SCAN-51] whoever goes on after a scan that was broken off knows who leads what it found (seed 1097510294)", async () => {
  const full = { extent: "full", deep: false } as const;
  await atEachPause((root) => {
    linkSync(root.abs("p/a"), root.abs("q/c"));
    return full;
  }, "q/c=p/a");
  // One that leads goes, and a further name comes.
  await atEachPause((root) => {
    linkSync(root.abs("p/a"), root.abs("p/b"));
    linkSync(root.abs("p/a"), root.abs("q/c"));
    unlinkSync(root.abs("p/a"));
    return full;
  }, "q/c=p/b");
});

test("[SCAN-51] so does who looks only at what was reported, and where the other name looks as it did", async () => {
  const dirty: ScanWork = { extent: "dirty", dirty: { all: false, paths: new Map([["q", "subtree"]]) } };
  await atEachPause((root) => {
    linkSync(root.abs("p/a"), root.abs("q/c"));
    return dirty;
  }, "q/c=p/a", dirty);
  // A power loss took back that the first name was lost, and left the times.
  await atEachPause((root) => {
    const { ctimeNs } = root.index.get("p/a")!;
    linkSync(root.abs("p/a"), root.abs("q/c"));
    root.patch = (call, name, result) => (call === "stat" && name === "a" ? { ...(result as Stat), ctimeNs } : result);
    return { extent: "full", deep: false };
  }, "q/c=p/a");
});

test("[SCAN-53] a new name of a file has the sum that is known of it, and its time as it was set", async () => {
  using root = await known();
  await root.full(true);
  const { entry, ...disk } = root.index.get("p/a")!;
  // As on a disk with coarse times.
  const set = { ...(entry as FileEntry), mtimeNs: BigInt(OLD) * 1_000_000_000n + 123n };
  root.store.transaction({ durable: false }, () => root.index.set("p/a", { ...disk, entry: set, diskMtimeNs: set.mtimeNs - 123n }));
  linkSync(root.abs("p/a"), root.abs("q/c"));
  await root.full();
  const { sum, mtimeNs } = root.index.get("q/c")!.entry as FileEntry;
  expect([sum, mtimeNs, sum === undefined]).toEqual([set.sum, set.mtimeNs, false]);
  // Bytes that were not seen in that state are not known.
  writeFileSync(root.abs("p/a"), "q/a");
  writeFileSync(root.abs("q/new"), "new");
  linkSync(root.abs("q/new"), root.abs("p/new"));
  await root.full();
  expect([root.sumOf("q/c") === sum, root.sumOf("q/new")]).toEqual([false, undefined]);
  expect(heard(root)).toBe(true);
});

test("[SCAN-54] a name that was seen before its file was written through another one is looked at again (seed 1241002332)", async () => {
  for (const write of ["p/a", "q/c"]) {
    using root = await known();
    linkSync(root.abs("p/a"), root.abs("q/c"));
    await root.full();
    let hasWritten = false;
    // The second of the two is looked at.
    let looks = 0;
    root.fault = (call, name) => {
      if (call === "stat" && (name === "a" || name === "c") && ++looks === 2) {
        writeFileSync(root.abs(write), "written through one name");
        hasWritten = true;
      }
      return undefined;
    };
    const { problems } = await root.full();
    expect([hasWritten, problems.length, problems[0]?.transient]).toEqual([true, 1, true]);
    expect((await root.dirty({ [write]: "entry" })).problems).toEqual([]);
    const sizes = ["p/a", "q/c"].map((path) => (root.index.get(path)!.entry as FileEntry).size);
    expect([sizes, heard(root), groups(root)]).toEqual([[24, 24], true, "q/c=p/a"]);
  }
});
