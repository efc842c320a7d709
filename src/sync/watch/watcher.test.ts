import { describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RelPath } from "#model/path.ts";
import { churn } from "#testing/churn.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { ScanRoot } from "#testing/scan-root.ts";
import { RootWatcher } from "#sync/watch/watcher.ts";
import { type Fd, FsError } from "#platform/file-system.ts";
import { openHost } from "#platform/host-bun.ts";
import type { WatchEvent, WatchSource } from "#platform/watch-source.ts";

/** A root that is watched for real, with the scanner that follows it. */
class WatchedRoot implements Disposable {
  readonly watcher: RootWatcher;
  readonly root: ScanRoot;
  readonly #hardlinks: boolean;
  #wake: () => void = () => {};
  #marks = 0;

  constructor(ignore: string[] = [], hardlinks = false) {
    const source = openHost().watch;
    if (source === undefined) throw new Error("this system cannot watch");
    this.watcher = new RootWatcher({
      source,
      ignores: (path, isDir) => this.root.scanner.ignores(path, isDir),
      onDirty: () => this.#wake(),
    });
    this.root = new ScanRoot({ clockAheadMs: 60_000, ignore, hook: this.watcher, preserve: { hardlinks } });
    this.#hardlinks = hardlinks;
  }

  async start(): Promise<void> {
    this.watcher.beginPass();
    await this.root.full();
    this.watcher.endPass();
    this.root.reports();
  }

  /** Scans what the watcher says until it has heard of a file made now, and so of everything before. */
  async follow(): Promise<void> {
    const last = `last-${this.#marks++}`;
    writeFileSync(this.root.abs(last), "");
    let transient = false;
    while (this.root.index.get(last) === undefined || transient) {
      const heard = new Promise<void>((resolve) => (this.#wake = resolve));
      const dirty = this.watcher.take();
      if (!dirty.all && dirty.paths.size === 0 && !transient) await heard;
      else transient = (await this.root.scan({ extent: "dirty", dirty })).problems.some((problem) => problem.transient);
    }
  }

  /** The index as the watcher kept it, and as a full scan from nothing finds it. */
  async compare(): Promise<{ followed: string[]; full: string[] }> {
    using fresh = new ScanRoot({ at: this.root.path, preserve: { hardlinks: this.#hardlinks } });
    await fresh.full();
    return { followed: this.root.view(), full: fresh.view() };
  }

  [Symbol.dispose](): void {
    this.watcher.close();
    this.root[Symbol.dispose]();
  }
}

/** "path ino entry" without the inode; no name in these tests has a space. */
const withoutInode = (line: string) => line.replace(/ \d+ /, " ");

describe("on a real file system", () => {
  for (const seed of [1, 2, 3]) {
    test(`[WATCH-4] churn: following the watcher gives what a full scan gives (seed ${seed})`, async () => {
      using watched = new WatchedRoot([], seed % 2 === 0);
      const outside = mkdtempSync(join(tmpdir(), "syncline-outside-"));
      try {
        await watched.start();
        const random = new SimRandom(seed);
        for (let round = 0; round < 25; round++) {
          for (let n = random.int(12); n >= 0; n--) churn(watched.root.path, random, outside);
          await watched.follow();
          const { followed, full } = await watched.compare();
          expect(followed).toEqual(full);
          expect(watched.root.heard()).toEqual(followed.map(withoutInode));
        }
        expect(watched.watcher.degraded).toBeUndefined();
      } finally {
        rmSync(outside, { recursive: true });
      }
    });
  }

  for (const seed of [4, 5, 6, 7]) {
    test(`[WATCH-17] churn between the system calls of the scans themselves (seed ${seed})`, async () => {
      using watched = new WatchedRoot([], seed % 2 === 0);
      const outside = mkdtempSync(join(tmpdir(), "syncline-outside-"));
      try {
        await watched.start();
        const random = new SimRandom(seed);
        for (let round = 0; round < 25; round++) {
          let left = 10;
          watched.root.fault = () => {
            if (left > 0 && random.int(12) === 0 && left-- > 0) churn(watched.root.path, random, outside);
            return undefined;
          };
          for (let n = 0; n < 3; n++) churn(watched.root.path, random, outside);
          await watched.follow();
          watched.root.fault = () => undefined;
          await watched.follow();
          const { followed, full } = await watched.compare();
          expect(followed).toEqual(full);
          expect(watched.root.heard()).toEqual(followed.map(withoutInode));
        }
      } finally {
        rmSync(outside, { recursive: true });
      }
    });
  }

  test("[WATCH-5] directories made faster than they can be watched", async () => {
    using watched = new WatchedRoot();
    await watched.start();
    for (let n = 0; n < 10; n++) {
      mkdirSync(watched.root.abs(`p${n}/a/b/c`), { recursive: true });
      writeFileSync(watched.root.abs(`p${n}/a/b/c/file`), "x");
      await watched.follow();
      writeFileSync(watched.root.abs(`p${n}/a/b/c/file`), "changed later");
      await watched.follow();
      const entry = watched.root.index.get(`p${n}/a/b/c/file`)?.entry;
      expect(entry).toMatchObject({ kind: "file", size: 13 });
    }
    expect(watched.watcher.watched).toBe(41);
  });

  test("[WATCH-6] a renamed directory keeps its watches, and its old name gets new ones", async () => {
    using watched = new WatchedRoot();
    mkdirSync(watched.root.abs("a/b"), { recursive: true });
    await watched.start();
    renameSync(watched.root.abs("a"), watched.root.abs("c"));
    mkdirSync(watched.root.abs("a/b"), { recursive: true });
    await watched.follow();
    expect(watched.watcher.watched).toBe(5);
    writeFileSync(watched.root.abs("a/b/new"), "");
    writeFileSync(watched.root.abs("c/b/old"), "");
    watched.root.reports();
    await watched.follow();
    expect(watched.root.news()).toEqual(["a/b/new file", "c/b/old file", expect.stringContaining("last-")]);
  });

  test("[WATCH-7] ignored directories and our own are neither watched nor dirty", async () => {
    using watched = new WatchedRoot(["build/"]);
    for (const dir of ["build/x", ".syncline/stage", "src"]) mkdirSync(watched.root.abs(dir), { recursive: true });
    await watched.start();
    expect(watched.watcher.watched).toBe(2);
    writeFileSync(watched.root.abs("build/x/o"), "");
    writeFileSync(watched.root.abs(".syncline/stage/o"), "");
    mkdirSync(watched.root.abs("src/build"));
    await watched.follow();
    writeFileSync(watched.root.abs("src/build/o"), "");
    await watched.follow();
    expect(watched.root.news().filter((line) => !line.startsWith("last-"))).toEqual([]);
    writeFileSync(watched.root.abs(".synclineignore"), "src/\n");
    await watched.follow();
    expect(watched.watcher.watched).toBe(1);
  });

  test("[WATCH-8] a change that the index knows already is no news", async () => {
    using watched = new WatchedRoot();
    await watched.start();
    writeFileSync(watched.root.abs("f"), "own write");
    await watched.root.dirty({ f: "entry" });
    watched.root.reports();
    await watched.follow();
    expect(watched.root.news()).toEqual(["last-0 file"]);
  });
});

/** A source whose events the test makes up. Watches are numbered by inode, as inotify does. */
class FakeSource implements WatchSource {
  readonly wds = new Map<bigint, number>();
  readonly removed: number[] = [];
  limit = Infinity;
  next = 1;
  #emit: (events: WatchEvent[]) => void = () => {};

  open(onEvents: (events: WatchEvent[]) => void) {
    this.#emit = onEvents;
    return {
      add: (fd: Fd): number => {
        const { ino } = openHost().fs.fstat(fd);
        const known = this.wds.get(ino);
        if (known !== undefined) return known;
        if (this.wds.size >= this.limit) throw new FsError("ENOSPC", "inotify_add_watch");
        this.wds.set(ino, this.next);
        return this.next++;
      },
      remove: (wd: number) => void this.removed.push(wd),
      close: () => {},
    };
  }

  emit(type: WatchEvent["type"], wd: number, name = "", isDir = false, cookie = 0): void {
    this.#emit([{ type, wd, name, isDir, cookie }]);
  }

  wdOf(path: string): number {
    return this.wds.get(BigInt(statSync(path).ino))!;
  }
}

async function faked(
  dirs: string[],
  body: (at: { root: ScanRoot; source: FakeSource; watcher: RootWatcher; calls: () => number }) => Promise<void>,
  limit = Infinity,
): Promise<void> {
  const source = new FakeSource();
  source.limit = limit;
  let calls = 0;
  using watcher = new RootWatcher({ source, ignores: () => false, onDirty: () => void calls++ });
  using root = new ScanRoot({ hook: watcher });
  for (const dir of dirs) mkdirSync(root.abs(dir), { recursive: true });
  watcher.beginPass();
  await root.full();
  watcher.endPass();
  await body({ root, source, watcher, calls: () => calls });
}

const taken = (watcher: RootWatcher): [RelPath, string][] => [...watcher.take().paths].sort();

describe("events", () => {
  test("[WATCH-9] an overflow makes everything dirty, and degraded until a full pass has ended", () =>
    faked(["a"], async ({ root, source, watcher, calls }) => {
      expect(watcher.degraded).toBeUndefined();
      source.emit("overflow", -1);
      expect(calls()).toBe(1);
      expect(watcher.degraded).toContain("faster");
      expect(watcher.take().all).toBe(true);
      watcher.beginPass();
      await root.full();
      source.emit("overflow", -1);
      watcher.endPass();
      expect(watcher.degraded).toBeDefined();
      watcher.take();
      watcher.beginPass();
      watcher.endPass();
      expect(watcher.degraded).toBeUndefined();
    }));

  test("[WATCH-18] after an overflow every directory is watched, also under a used number (seed 80011956)", () =>
    faked(["a/b"], async ({ root, source, watcher }) => {
      const before = source.wdOf(root.abs("a"));
      source.wds.delete(BigInt(statSync(root.abs("a")).ino));
      source.emit("overflow", -1);
      watcher.take();
      watcher.beginPass();
      await root.full();
      watcher.endPass();
      const wd = source.wdOf(root.abs("a"));
      expect(wd).not.toBe(before);
      expect(watcher.watched).toBe(3);
      source.emit("modify", wd, "f");
      source.emit("modify", source.wdOf(root.abs("a/b")), "g");
      expect(taken(watcher)).toEqual([["a/b/g", "entry"], ["a/f", "entry"]]);
    }));

  test("[WATCH-10] the limit of watches degrades, and the rest is still watched", () =>
    faked(["a", "b/c"], async ({ root, source, watcher }) => {
      expect(watcher.degraded).toContain("limit");
      expect(watcher.watched).toBe(2);
      source.limit = Infinity;
      watcher.beginPass();
      await root.full();
      watcher.endPass();
      expect(watcher.degraded).toBeUndefined();
      expect(watcher.watched).toBe(4);
    }, 2));

  test("[WATCH-11] many events are one call until they are taken", () =>
    faked(["a"], async ({ root, source, watcher, calls }) => {
      const wd = source.wdOf(root.abs("a"));
      for (let n = 0; n < 5; n++) source.emit("modify", wd, "f");
      source.emit("create", wd, "d", true);
      expect(calls()).toBe(1);
      expect(taken(watcher)).toEqual([["a/d", "subtree"], ["a/f", "entry"]]);
      source.emit("attrib", wd, "f");
      expect(calls()).toBe(2);
    }));

  test("[WATCH-12] a watch that ends is dirty and comes back with the next scan, also under its old number", () =>
    faked(["a/b"], async ({ root, source, watcher }) => {
      const wd = source.wdOf(root.abs("a/b"));
      source.emit("gone", wd);
      expect(watcher.watched).toBe(2);
      const dirty = watcher.take();
      expect([...dirty.paths]).toEqual([["a/b", "subtree"]]);
      await root.scan({ extent: "dirty", dirty });
      expect(watcher.watched).toBe(3);
      source.emit("modify", wd, "f");
      expect(taken(watcher)).toEqual([["a/b/f", "entry"]]);
    }));

  test("[WATCH-13] a directory that moved out of the root loses its watches after the second take()", () =>
    faked(["a/b", "c"], async ({ root, source, watcher }) => {
      const [a, b] = [source.wdOf(root.abs("a")), source.wdOf(root.abs("a/b"))];
      source.emit("moved-from", source.wdOf(root.path), "a", true, 7);
      expect(taken(watcher)).toEqual([["a", "entry"]]);
      source.emit("modify", b, "f");
      expect(taken(watcher)).toEqual([]);
      expect(source.removed.toSorted()).toEqual([a, b].toSorted());
    }));

  test("[WATCH-14] a move is followed when its second half comes a take() later", () =>
    faked(["a/b", "c"], async ({ root, source, watcher }) => {
      const b = source.wdOf(root.abs("a/b"));
      source.emit("moved-from", source.wdOf(root.path), "a", true, 7);
      watcher.take();
      source.emit("moved-to", source.wdOf(root.abs("c")), "x", true, 7);
      source.emit("modify", b, "f");
      expect(taken(watcher)).toEqual([["c/x", "subtree"], ["c/x/b/f", "entry"]]);
      watcher.take();
      watcher.take();
      expect(source.removed).toEqual([]);
    }));

  test("[WATCH-15] a scan that finds a directory elsewhere before the events do", () =>
    faked(["a/b", "c"], async ({ root, source, watcher }) => {
      const b = source.wdOf(root.abs("a/b"));
      renameSync(root.abs("a"), root.abs("c/x"));
      await root.full();
      watcher.take();
      source.emit("modify", b, "f");
      expect(taken(watcher)).toEqual([["c/x/b/f", "entry"]]);
      source.emit("moved-from", source.wdOf(root.path), "a", true, 9);
      source.emit("moved-to", source.wdOf(root.abs("c")), "x", true, 9);
      source.emit("modify", b, "g");
      expect(taken(watcher)).toEqual([["a", "entry"], ["c/x", "subtree"], ["c/x/b/g", "entry"]]);
      expect(source.removed).toEqual([]);
    }));

  test("[WATCH-16] an unmount, and the end or move of the root, make everything dirty", () =>
    faked(["a"], async ({ root, source, watcher }) => {
      source.emit("move-self", source.wdOf(root.path));
      expect(watcher.take().all).toBe(true);
      source.emit("unmount", source.wdOf(root.abs("a")));
      expect(watcher.take().all).toBe(true);
      source.emit("delete-self", source.wdOf(root.path));
      expect(watcher.take().all).toBe(true);
      expect(watcher.degraded).toBeDefined();
    }));
});
