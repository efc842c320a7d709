import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Entry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Observation, Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Mode, Side } from "#model/plan.ts";
import { FsError } from "#platform/file-system.ts";
import { openHost } from "#platform/host-bun.ts";
import type { Host } from "#platform/host.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import type { Endpoint, ScanRequest } from "#sync/endpoint/endpoint.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";
import { FirstCopy } from "#sync/session/first-copy.ts";
import type { Observed } from "#sync/session/observe.ts";
import { PLAIN_OPTIONS } from "#sync/session/session-fixture.ts";
import { runSession } from "#sync/session/session.ts";
import type { StepGroup } from "#sync/session/step-groups.ts";

const hash = (text: string): string => Bun.hash.xxHash3(text).toString(16).padStart(16, "0").slice(-12);

/** Two real directories; the state outlives a run. */
class Pair {
  readonly dir = mkdtempSync(join(tmpdir(), "syncline-first-"));
  readonly #disks = new Map<string, MemoryDisk>();
  hostOf: (side: string, host: Host) => Host = (_side, host) => host;

  constructor() {
    for (const side of ["alpha", "beta"]) mkdirSync(join(this.dir, side));
  }

  #store(name: string): MemoryStore {
    const disk = this.#disks.get(name) ?? new MemoryDisk();
    this.#disks.set(name, disk);
    return new MemoryStore(disk);
  }

  write(side: Side, tree: Readonly<Record<string, string>>): void {
    for (const [path, text] of Object.entries(tree)) {
      mkdirSync(join(this.dir, side, path, ".."), { recursive: true });
      writeFileSync(join(this.dir, side, path), text);
    }
  }

  /** Takes the files and the endpoint's state of a side back to what they are now, as a restored image of a machine does. */
  imageOf(side: Side): () => void {
    const names = this.names(side);
    const tables = [...this.#disks].flatMap(([name, { tables, logs }]) => {
      if (!name.startsWith(`${side} `)) return [];
      return [{ name, tables: structuredClone(tables), logs: structuredClone(logs) }];
    });
    return () => {
      for (const path of this.names(side)) if (!names.includes(path)) rmSync(join(this.dir, side, path), { recursive: true, force: true });
      for (const { name, ...image } of tables) {
        const disk = new MemoryDisk();
        for (const [table, rows] of image.tables) disk.tables.set(table, rows);
        for (const [log, records] of image.logs) disk.logs.set(log, records);
        this.#disks.set(name, disk);
      }
    };
  }

  names(side: Side): string[] {
    const all = readdirSync(join(this.dir, side), { recursive: true, encoding: "utf8" });
    return all.filter((path) => !path.startsWith(".syncline")).toSorted();
  }

  endpoint(side: Side): DirEndpoint {
    const host = this.hostOf(side, openHost());
    return new DirEndpoint({ host, path: join(this.dir, side), label: side, openStore: (name) => this.#store(`${side} ${name}`), hash });
  }

  async run(ends: Partial<Record<Side, Endpoint>> = {}, more: Partial<SessionOptions> = {}): Promise<[Summary, SessionEvent[]]> {
    const events: SessionEvent[] = [];
    const summary = await runSession({
      sessionId: "0".repeat(32), host: openHost(), hash, store: this.#store("session"), signal: new AbortController().signal,
      alpha: () => ends.alpha ?? this.endpoint("alpha"), beta: () => ends.beta ?? this.endpoint("beta"),
      options: { ...PLAIN_OPTIONS, ...more }, onEvent: (event) => events.push(event),
    });
    return [summary, events];
  }
}

let pair: Pair;
beforeEach(() => (pair = new Pair()));
afterEach(() => rmSync(pair.dir, { recursive: true, force: true }));

/** Each look at the clock is a slice later, so that a scan pauses wherever it may. */
function inSlices(host: Host): Host {
  let ms = 0;
  return { ...host, clock: { ...host.clock, monotonicMs: () => (ms += 20) } };
}

/** Called with each batch that a scan tells from the start, before the session gets it. */
function telling(endpoint: Endpoint, onTold: (paths: readonly RelPath[], at: number) => void | Promise<void>): Endpoint {
  const scan = endpoint.scan.bind(endpoint);
  let at = 0;
  endpoint.scan = (request: ScanRequest, onBatch, signal) =>
    scan(request, async (batch, problems) => {
      if (request.since === 0) await onTold(batch.map(({ path }) => path), at++);
      await onBatch(batch, problems);
    }, signal);
  return endpoint;
}

/** Resolves when something was staged for the first time. */
function whenPushed(endpoint: Endpoint): Promise<void> {
  const pushed = Promise.withResolvers<void>();
  const apply = endpoint.apply.bind(endpoint);
  endpoint.apply = (runId, signal) => {
    const application = apply(runId, signal);
    return {
      push: async (ops) => {
        await application.push(ops);
        pushed.resolve();
      },
      commit: (onResults) => application.commit(onResults),
    };
  };
  return pushed.promise;
}

/** Resolves when a group was committed for the first time, and its outcome is recorded. */
function whenCommitted(endpoint: Endpoint): Promise<void> {
  const committed = Promise.withResolvers<void>();
  const apply = endpoint.apply.bind(endpoint);
  endpoint.apply = (runId, signal) => {
    const application = apply(runId, signal);
    return {
      push: (ops) => application.push(ops),
      commit: async (onResults) => {
        const reply = await application.commit(onResults);
        setImmediate(() => committed.resolve());
        return reply;
      },
    };
  };
  return committed.promise;
}

const TREE = { "a/1": "one", "a/2": "two", "b/3": "three", "c/4": "four", z: "zed" };

describe("a first copy", () => {
  test("[SESSION-44] what was found travels while the scan looks on", async () => {
    pair.write("alpha", { ...TREE, "d/5": "five" });
    pair.hostOf = (side, host) => (side === "alpha" ? inSlices(host) : host);
    const beta = pair.endpoint("beta");
    const pushed = whenPushed(beta);
    const alpha = telling(pair.endpoint("alpha"), async (paths, at) => {
      if (at === 0) expect(paths).toEqual(["a", "a/1", "a/2"]);
      // The scan goes no further until something of that is staged on the other side, and sees what came by then.
      if (at !== 1) return;
      await pushed;
      pair.write("alpha", { "d/late": "found" });
    });
    const [summary, events] = await pair.run({ alpha, beta });
    expect(summary).toMatchObject({ result: "same", changes: 11, problems: 0, files: 7 });
    expect(pair.names("beta")).toEqual(pair.names("alpha"));
    expect(readFileSync(join(pair.dir, "beta/d/late"), "utf8")).toBe("found");
    expect(events.filter((event) => event.type === "phase").map((event) => event.phase)).toEqual(["connecting", "scanning", "transferring"]);
    expect((await pair.run())[0]).toMatchObject({ result: "same", changes: 0 });
  });

  test("[SESSION-44] in a two-way mode also from beta; in a one-way mode nothing comes from there", async () => {
    pair.write("beta", TREE);
    expect((await pair.run({}, { mode: "one-way-safe" }))[0]).toMatchObject({ changes: 0 });
    expect(pair.names("alpha")).toEqual([]);
    expect((await pair.run())[0]).toMatchObject({ result: "same", changes: 8 });
    expect(pair.names("alpha")).toEqual(pair.names("beta"));
  });

  test("[SESSION-45] a directory that cannot be listed is not made on the other side, everything else is", async () => {
    pair.write("alpha", TREE);
    const refuse = (fs: Host["fs"]): Host["fs"] =>
      new Proxy(fs, {
        get: (target, key) => {
          if (key !== "openDir") return Reflect.get(target, key).bind?.(target) ?? Reflect.get(target, key);
          return (...[dir, name]: Parameters<Host["fs"]["openDir"]>) => {
            if (name === "b") throw new FsError("EACCES", "open directory", name);
            return target.openDir(dir, name);
          };
        },
      });
    for (const slices of [false, true]) {
      pair.hostOf = (side, host) => {
        if (side !== "alpha") return host;
        const refusing = { ...host, fs: refuse(host.fs) };
        return slices ? inSlices(refusing) : refusing;
      };
      const [summary, events] = await pair.run();
      expect(summary).toMatchObject({ result: "problems", problems: 1, changes: slices ? 0 : 6 });
      expect(events.flatMap((event) => (event.type === "problem" ? [event.problem.path] : []))).toEqual(["b"]);
      expect(pair.names("beta")).toEqual(["a", "a/1", "a/2", "c", "c/4", "z"]);
    }
    pair.hostOf = (_side, host) => host;
    expect((await pair.run())[0]).toMatchObject({ result: "same", changes: 2 });
  });

  test("[SESSION-45] what a first copy could not bring is tried again in the same run, and told once", async () => {
    pair.write("alpha", TREE);
    const alpha = pair.endpoint("alpha");
    const read = alpha.read.bind(alpha);
    const failing = (path: RelPath): Problem => ({ path, side: "alpha", code: "EIO", message: "no", transient: false });
    let tries = 0;
    alpha.read = async function* (paths, signal) {
      for await (const batch of read(paths, signal)) {
        yield batch.map((item) => {
          if (item.path === "b/3" || (item.path === "z" && tries++ === 0)) return { path: item.path, problem: failing(item.path) };
          return item;
        });
      }
    };
    const [summary, events] = await pair.run({ alpha });
    expect(summary).toMatchObject({ result: "problems", problems: 1 });
    expect(events.flatMap((event) => (event.type === "problem" ? [event.problem.path] : []))).toEqual(["b/3"]);
    expect(pair.names("beta")).toEqual(["a", "a/1", "a/2", "b", "c", "c/4", "z"]);
  });

  test("[SESSION-46] a scan that fails ends the copy, and what was copied by then is agreed on", async () => {
    pair.write("alpha", TREE);
    pair.hostOf = (side, host) => (side === "alpha" ? inSlices(host) : host);
    const beta = pair.endpoint("beta");
    const pushed = whenPushed(beta);
    const alpha = telling(pair.endpoint("alpha"), async (_paths, at) => {
      if (at !== 1) return;
      await pushed;
      throw new SynclineError({ code: "ROOT_IDENTITY", op: "scan", message: "another root" });
    });
    await expect(pair.run({ alpha, beta })).rejects.toMatchObject({ code: "ROOT_IDENTITY" });
    pair.hostOf = (_side, host) => host;
    // What it left is no edit of either side.
    expect((await pair.run())[0]).toMatchObject({ result: "same", conflicts: 0 });
    expect(pair.names("beta")).toEqual(pair.names("alpha"));
  });

  test("[SESSION-66] a source put back to before its first scan has removed nothing of what it gave during it", async () => {
    // As after a run that has found beta out of reach.
    const away = pair.endpoint("beta");
    away.open = () => Promise.reject(new SynclineError({ code: "LIMIT", op: "open", message: "not today" }));
    await expect(pair.run({ beta: away })).rejects.toMatchObject({ code: "LIMIT" });
    const putBack = pair.imageOf("alpha");
    const tree: Record<string, string> = {};
    for (let dir = 10; dir < 94; dir++) for (let file = 0; file < 100; file++) tree[`d${dir}/f${file}`] = `${dir} ${file}`;
    pair.write("alpha", tree);
    pair.hostOf = (side, host) => (side === "alpha" ? inSlices(host) : host);
    const beta = pair.endpoint("beta");
    const committed = whenCommitted(beta);
    let told = 0;
    const alpha = telling(pair.endpoint("alpha"), async (paths) => {
      if (told > 8200) {
        await committed;
        throw new SynclineError({ code: "ROOT_IDENTITY", op: "scan", message: "another root" });
      }
      told += paths.length;
    });
    await expect(pair.run({ alpha, beta })).rejects.toMatchObject({ code: "ROOT_IDENTITY" });
    const arrived = pair.names("beta");
    expect(arrived.length).toBeGreaterThan(8000);
    pair.hostOf = (_side, host) => host;
    putBack();
    expect(pair.names("alpha")).toEqual([]);
    expect((await pair.run())[0]).toMatchObject({ result: "same", conflicts: 0 });
    expect(pair.names("beta")).toEqual(arrived);
    expect(pair.names("alpha")).toEqual(arrived);
  }, 60_000);

  test("[SESSION-46] a copy that fails ends the scan, and its error is the one that is told", async () => {
    pair.write("alpha", TREE);
    pair.hostOf = (side, host) => (side === "alpha" ? inSlices(host) : host);
    const beta = pair.endpoint("beta");
    const failed = Promise.withResolvers<void>();
    beta.apply = () => ({
      push: async () => {
        failed.resolve();
        throw new SynclineError({ code: "LIMIT", op: "apply", message: "no more" });
      },
      commit: async () => ({ seqBefore: 0, seqAfter: 0 }),
    });
    let last: readonly RelPath[] = [];
    const alpha = telling(pair.endpoint("alpha"), async (paths, at) => {
      last = paths;
      if (at === 1) await failed.promise;
    });
    await expect(pair.run({ alpha, beta })).rejects.toMatchObject({ code: "LIMIT" });
    expect(last).not.toContain("z");
  });

  test("[SESSION-62] where a side was listed before the link was lost, and tells only what is new since, there is a plan (life 1045000364 of a hub)", async () => {
    pair.write("alpha", TREE);
    const listed = Promise.withResolvers<void>();
    const asked: number[] = [];
    let opened = 0;
    const ends = {
      get alpha(): Endpoint {
        const endpoint = pair.endpoint("alpha");
        const scan = endpoint.scan.bind(endpoint);
        endpoint.scan = async (request, onBatch, signal) => {
          asked.push(request.since);
          const summary = await scan(request, onBatch, signal);
          listed.resolve();
          return summary;
        };
        return endpoint;
      },
      get beta(): Endpoint {
        const endpoint = pair.endpoint("beta");
        if (opened++ > 0) return endpoint;
        endpoint.scan = async () => {
          await listed.promise;
          pair.write("alpha", { new: "new" });
          throw new SynclineError({ code: "LINK_LOST", op: "scan", message: "the link is gone", retryable: true });
        };
        return endpoint;
      },
    };
    const [summary, events] = await pair.run(ends);
    expect([asked.length, asked[0], asked[1]! > 0]).toEqual([2, 0, true]);
    expect(events.filter((event) => event.type === "phase" && event.phase === "planning")).toHaveLength(1);
    expect(summary).toMatchObject({ result: "same", problems: 0 });
    expect(pair.names("beta")).toEqual(pair.names("alpha"));
  });

  test("[SESSION-44] a dry run, and sides that both hold something, are planned first", async () => {
    pair.write("alpha", TREE);
    const [dry, events] = await pair.run({}, { dryRun: true });
    expect(dry).toMatchObject({ result: "dry-run", planned: 8, changes: 0 });
    expect(events.some((event) => event.type === "plan")).toBe(true);
    pair.write("beta", { "a/1": "other" });
    const [summary] = await pair.run();
    expect(summary).toMatchObject({ result: "conflicts", conflicts: 1 });
    expect(readFileSync(join(pair.dir, "beta/a/1"), "utf8")).toBe("other");
    expect(existsSync(join(pair.dir, "beta/c/4"))).toBe(true);
  });
});

describe("parts of a first copy", () => {
  const dir: Entry = { kind: "dir", mode: 0o755 };
  const file = (size = 1): Entry => ({ kind: "file", size, mode: 0o644, mtimeNs: 1n, sum: undefined });
  const present = (path: RelPath, entry: Entry): Observation => ({ state: "present", path, entry });
  const ended = (side: Side, entries: number, problems: Problem[] = []): Observed => {
    return { side, seq: 1, epoch: "e", problems, entries, hashedBytes: 0, degraded: undefined };
  };
  const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

  function copying(mode: Mode = "two-way-safe"): { copy: FirstCopy; parts: StepGroup[]; to: Side[] } {
    const parts: StepGroup[] = [];
    const to: Side[] = [];
    const copy = new FirstCopy(mode, async (side, groups) => {
      to.push(side);
      for await (const part of groups) parts.push(part);
    });
    return { copy, parts, to };
  }

  test("[SESSION-47] nothing is handed out before the other side is known to hold nothing", async () => {
    const { copy, parts, to } = copying();
    copy.told("alpha", [present("a", file())], []);
    await turn();
    expect(copy.hasBegun).toBe(false);
    copy.ended(ended("beta", 0));
    await turn();
    expect([to, parts.map(({ steps, isEnd }) => [steps.length, isEnd])]).toEqual([["beta"], [[1, false]]]);
    copy.told("alpha", [present("b", file())], []);
    copy.ended(ended("alpha", 2));
    await copy.settled();
    expect(parts.map(({ steps, isEnd, isLast }) => [steps.length, isEnd, isLast])).toEqual([[1, false, false], [1, true, true]]);
    for (const problems of [[], [{ path: "x", side: "beta", code: "EIO", message: "", transient: true } as const]]) {
      const other = copying();
      other.copy.told("alpha", [present("a", file())], []);
      other.copy.ended(ended("beta", problems.length === 0 ? 1 : 0, problems));
      expect(other.copy.hasBegun).toBe(false);
    }
  });

  test("[SESSION-47] groups end between new directories and grow, and the rest of a directory waits for its beginning", async () => {
    const { copy, parts } = copying();
    copy.ended(ended("beta", 0));
    const tell = (top: string, files: number): void => {
      const inside = Array.from({ length: files }, (_, at) => present(`${top}/${String(at).padStart(6, "0")}`, file()));
      copy.told("alpha", [present(top, dir), ...inside], []);
    };
    for (let top = 10; top < 70; top++) tell(String(top), 1999);
    tell("~", 200_000);
    copy.ended(ended("alpha", 320_001));
    await copy.settled();
    const groups: number[] = [];
    let size = 0;
    for (const { steps, isEnd } of parts) {
      size += steps.length;
      if (!isEnd) continue;
      groups.push(size);
      size = 0;
    }
    expect(groups.slice(0, 2)).toEqual([8000, 8000]);
    expect(groups.reduce((sum, one) => sum + one, 0)).toBe(320_001);
    expect(Math.max(...groups)).toBe(128_000);
    expect(groups.length).toBeLessThan(18);
    expect(parts.filter(({ mayOverlap }) => !mayOverlap).length).toBe(1);
    expect(parts.findIndex(({ mayOverlap }) => !mayOverlap)).toBeGreaterThan(groups.length - 3);
    expect(parts.filter(({ isLast }) => isLast)).toEqual([parts.at(-1)!]);
  });

  test("[SESSION-47] what goes through a transfer, or changes what is ignored, waits for what is being placed", async () => {
    const { copy, parts } = copying();
    copy.ended(ended("beta", 0));
    for (const [path, entry] of [["a", file()], ["b", file(1 << 20)], [".synclineignore", file()]] as const) {
      copy.told("alpha", [present(path, entry)], []);
      await turn();
    }
    expect(parts.map(({ mayOverlap }) => mayOverlap)).toEqual([true, false, false]);
  });

  test("[SESSION-47] as soon as anything is unknown nothing more is handed out, and no group counts as the last", async () => {
    const { copy, parts } = copying();
    copy.ended(ended("beta", 0));
    copy.told("alpha", [present("a", file())], []);
    await turn();
    copy.told("alpha", [present("b", file())], [{ path: "c", side: "alpha", code: "EIO", message: "", transient: true }]);
    copy.ended(ended("alpha", 2));
    await copy.settled();
    expect(parts.map(({ steps, isEnd, isLast }) => [steps.length, isEnd, isLast])).toEqual([[1, false, false], [0, true, false]]);
  });

  test("[SESSION-47] what cannot be synchronised is left out, and is left for a plan", async () => {
    const { copy, parts } = copying();
    copy.ended(ended("beta", 0));
    copy.told("alpha", [present("a", file()), present("pipe", { kind: "other", what: "fifo" })], []);
    copy.ended(ended("alpha", 2));
    await copy.settled();
    expect(parts.flatMap(({ steps }) => steps).length).toBe(1);
    expect(copy.known).toEqual({ changes: 1, bytes: 1 });
  });
});
