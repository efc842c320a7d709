import { describe, expect, test } from "bun:test";
import { Confined } from "#platform/confined.ts";
import { SourceDurability } from "#sync/endpoint/source-durability.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimHost } from "#testing/sim-host.ts";
import { SimRandom } from "#testing/sim-random.ts";

class Source implements Disposable {
  readonly clock = new SimClock();
  readonly #host = new SimHost(this.clock, new SimRandom(1));
  readonly #boot = this.#host.boot();
  #hasEnded = false;
  readonly #store = new MemoryStore(new MemoryDisk());
  readonly root: Confined;
  readonly durability: SourceDurability;
  /** What was synced, in order; "all" for everything. */
  readonly synced: string[] = [];
  /** An errno for the sync of a path. */
  refuse: (path: string) => string | undefined = () => undefined;
  /** An errno for any other call with a path. */
  hide: (call: string, path: string) => string | undefined = () => undefined;
  /** Before a path is opened. */
  meanwhile: (path: string) => void = () => undefined;

  constructor(enabled = true) {
    this.#host.user.mkdir("/root");
    this.root = new Confined(this.#boot.fs, this.#boot.fs.openRoot("/root"));
    this.durability = this.session(enabled);
    this.#boot.fs.faults = (call, { path }) => {
      if (call === "openRead") this.meanwhile(path.replace(/^\/root\/?/, "/"));
      if (call !== "sync" && call !== "syncAll") return this.hide(call, path.replace(/^\/root\/?/, "/"));
      this.synced.push(call === "syncAll" ? "all" : path.replace(/^\/root\/?/, "/"));
      return this.refuse(path);
    };
  }

  /** Another one on the same root. */
  session(enabled = true): SourceDurability {
    return new SourceDurability(this.#boot, this.root, 1n, this.#store, enabled);
  }

  /** The system is started anew; no path is looked at any more. */
  restart(): void {
    this.#hasEnded = true;
    this.#host.crash();
  }

  write(...paths: string[]): void {
    for (const path of paths) {
      const at = `/root/${path}`;
      this.#host.user.mkdir(at.slice(0, at.lastIndexOf("/")));
      this.#host.user.write(at, "content");
    }
  }

  remove(path: string): void {
    this.#host.user.remove(`/root/${path}`);
  }

  handed(...paths: string[]): { path: string; stat: ReturnType<Confined["stat"]> }[] {
    return paths.map((path) => ({ path, stat: this.root.stat(path) }));
  }

  later(ms: number): void {
    this.clock.spend(ms * 1e6);
  }

  [Symbol.dispose](): void {
    if (this.#hasEnded) return;
    this.root[Symbol.dispose]();
    expect(this.#boot.fs.openFds()).toBe(0);
  }
}

describe("what a source hands out", () => {
  test("[SOURCE-1] a file written a moment ago is synced with its name and the young directories above; an old one is not", async () => {
    using source = new Source();
    source.write("old/f");
    source.later(61_000);
    source.write("old/young/sub/g");
    expect(await source.durability.begin(source.handed("old/f"))).toEqual(new Map());
    expect(source.synced).toEqual([]);
    await source.durability.begin(source.handed("old/young/sub/g"));
    // "old" has got a name just now; what is above it has not.
    expect(source.synced.toSorted()).toEqual(["/", "/old", "/old/young", "/old/young/sub", "/old/young/sub/g"]);
  });

  test("[SOURCE-7] a clock that was put forward makes nothing old: for a minute everything is synced", async () => {
    using source = new Source();
    source.write("f", "g");
    source.clock.jump(3_600_000);
    await source.durability.begin(source.handed("f"));
    expect(source.synced.toSorted()).toEqual(["/", "/f"]);
    source.later(61_000);
    await source.durability.begin(source.handed("g"));
    expect(source.synced).toHaveLength(2);
  });

  test("[SOURCE-2] many files cost one sync of everything, which also covers what was written before it", async () => {
    using source = new Source();
    const paths = Array.from({ length: 100 }, (_, at) => `f${at}`);
    source.write(...paths);
    source.later(100);
    await source.durability.begin(source.handed(...paths.slice(0, 50)));
    await source.durability.all();
    await source.durability.begin(source.handed(...paths.slice(50)));
    for (const one of source.handed("f99")) await source.durability.one(one);
    expect(source.synced).toEqual(["all"]);
    source.write("f1");
    for (const one of source.handed("f1")) await source.durability.one(one);
    expect(source.synced.length).toBeGreaterThan(1);
  });

  test("[SOURCE-3] a file that the disk refuses to sync is named; when everything fails, everything is refused", async () => {
    using source = new Source();
    source.write("bad", "good");
    source.refuse = (path) => (path === "/root/bad" ? "EIO" : undefined);
    const failed = await source.durability.begin(source.handed("bad", "good"));
    expect([...failed].map(([path, { code }]) => [path, code])).toEqual([["bad", "EIO"]]);
    const paths = Array.from({ length: 100 }, (_, at) => `f${at}`);
    source.write(...paths);
    source.refuse = () => "EIO";
    await source.durability.begin(source.handed(...paths));
    expect(source.durability.all()).rejects.toMatchObject({ code: "EIO" });
  });

  test("[SOURCE-4] a disk that cannot or need not sync what is only read is no problem; another file at the path is one", async () => {
    using source = new Source();
    source.write("f", "g");
    source.refuse = () => "EROFS";
    expect(await source.durability.begin(source.handed("f"))).toEqual(new Map());
    const handed = source.handed("g");
    source.write("h");
    source.root.fs.rename(source.root.root, "h", source.root.root, "g", { replace: true });
    const failed = await source.durability.begin(handed);
    expect(failed.get("g")?.code).toBe("ESTALE");
  });

  test("[SOURCE-6] where a file or a directory is refused alone everything is synced, or the file is named", async () => {
    for (const refused of ["/root/d/f", "/root/d", "/root"]) {
      using source = new Source();
      source.write("d/f");
      let all: string | undefined;
      source.refuse = (path) => (source.synced.at(-1) === "all" ? all : path === refused ? "EACCES" : undefined);
      expect(await source.durability.begin(source.handed("d/f"))).toEqual(new Map());
      expect(source.synced.filter((one) => one === "all")).toEqual(["all"]);
      for (all of ["EACCES", "EIO"]) {
        source.write("d/f");
        const failed = await source.durability.begin(source.handed("d/f"));
        expect([refused, failed.get("d/f")?.code]).toEqual([refused, all]);
      }
      // What a disk has told once it does not repeat.
      all = undefined;
      await expect(source.durability.all()).rejects.toMatchObject({ code: "EIO" });
    }
  });

  test("[SOURCE-8] whatever is at a path is made durable under its name; where nothing is any more, everything is", async () => {
    using source = new Source();
    source.write("old/f");
    source.later(61_000);
    expect(await source.durability.beginAt(["old", "old/f"])).toEqual(new Map());
    expect(source.synced).toEqual([]);
    source.write("old/sub/g");
    source.root.fs.symlink("nowhere", source.root.root, "l");
    for (const path of ["l", "old/sub", "old/sub/g"]) await source.durability.beginAt([path]);
    expect(source.synced).toEqual(["/", "/old", "/", "/old/sub/g", "/old/sub", "/old", "/"]);
    source.synced.length = 0;
    await source.durability.beginAt(["gone"]);
    expect(source.synced).toEqual(["all"]);
  });

  test("[SOURCE-9] what goes, or is written anew, while it is being made durable is no failure: everything is synced", async () => {
    for (const change of [(source: Source) => source.remove("d/f"), (source: Source) => source.remove("d")]) {
      using source = new Source();
      source.write("d/f", "g");
      source.meanwhile = (path) => {
        if (path !== "/d/f") return;
        source.meanwhile = () => undefined;
        change(source);
      };
      expect(await source.durability.beginAt(["d/f", "g"])).toEqual(new Map());
      expect(source.synced).toContain("/g");
      expect(source.synced.at(-1)).toBe("all");
    }
  });

  for (const errno of ["EACCES", "EIO"]) {
    test(`[SOURCE-11] what a side may not look at, or open, when it answers for it is no failure: everything is synced (${errno})`, async () => {
      using source = new Source();
      source.write("d/sub/f", "g");
      for (const hidden of ["/d", "/d/sub", "/d/sub/f"]) {
        for (const calls of [["openDir", "openRead", "stat"], ["openDir", "openRead"], ["stat"]]) {
          let refused = 0;
          source.hide = (call, path) => (path === hidden && calls.includes(call) && ++refused > 0 ? errno : undefined);
          source.synced.length = 0;
          source.root.clear();
          expect([hidden, calls, await source.durability.beginAt(["d/sub/f", "g"])]).toEqual([hidden, calls, new Map()]);
          await source.durability.all();
          if (refused > 0) expect([hidden, calls, source.synced]).toEqual([hidden, calls, expect.arrayContaining(["all"])]);
          source.later(1001);
        }
      }
    });
  }

  test("[SOURCE-11] nor does a sync of everything stand in for one that the disk has refused", async () => {
    using source = new Source();
    source.write("d/f");
    source.refuse = (path) => (path === "/root/d" ? "EIO" : undefined);
    expect([...(await source.durability.beginAt(["d/f"])).keys()]).toEqual(["d/f"]);
  });

  test("[SOURCE-7] nor is anything else old when the clock was put forward", async () => {
    using source = new Source();
    source.root.fs.symlink("nowhere", source.root.root, "l");
    source.clock.jump(3_600_000);
    await source.durability.beginAt(["l"]);
    expect(source.synced).toEqual(["/"]);
  });

  test("[SOURCE-10] a clock that was put forward before a session began makes nothing old either, nor one that nobody has looked at", async () => {
    using source = new Source();
    source.write("f");
    source.later(61_000);
    // Since it was opened last nothing was set.
    await source.session().begin(source.handed("f"));
    expect(source.synced).toEqual([]);
    source.write("g");
    source.clock.jump(3_600_000);
    await source.session().begin(source.handed("g"));
    expect(source.synced.splice(0).toSorted()).toEqual(["/", "/g"]);
    source.later(61_000);
    await source.session().begin(source.handed("g"));
    expect(source.synced).toEqual([]);
    const { stat } = source.handed("g")[0]!;
    expect(source.session().isYoung(stat)).toBe(false);
    source.restart();
    for (const isYoung of [true, true, false]) {
      expect(source.session().isYoung(stat)).toBe(isYoung);
      source.later(31_000);
    }
  });

  test("[SOURCE-5] a session that wants no durability pays for none", async () => {
    using source = new Source(false);
    source.write("f");
    await source.durability.begin(source.handed("f"));
    await source.durability.beginAt(["f", "gone"]);
    await source.durability.all();
    expect(source.synced).toEqual([]);
  });
});
