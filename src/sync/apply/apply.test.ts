import { describe, expect, test } from "bun:test";
import type { Entry } from "#model/entry.ts";
import type { SynclineError } from "#model/error.ts";
import type { Change } from "#model/plan.ts";
import type { ApplyOp, Endpoint, OpResult } from "#sync/endpoint/endpoint.ts";
import { RUNS_KEPT_MAX, RUN_KEPT_MS } from "#sync/apply/prune-runs.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimPair, type SimPairOptions } from "#testing/scenarios/sim-pair.ts";

const MTIME = 1_700_000_000_000_000_000n;
const signal = new AbortController().signal;

/** One side, driven as a session would, with what it holds by path. */
class Side {
  readonly pair: SimPair;

  constructor(options: SimPairOptions = {}) {
    this.pair = new SimPair(options);
  }

  get tree(): string {
    return this.pair.beta.show();
  }

  put(tree: Readonly<Record<string, string | undefined>>): void {
    this.pair.beta.put(tree);
  }

  trashOf(runId: string): string[] {
    const files = [...this.pair.beta.host.user.tree(`/root/.syncline/trash/${runId}`).values()];
    return files.map(({ content }) => content).toSorted();
  }

  /** Everything in the stage, our own and that of others. */
  get staged(): number {
    return [...this.pair.beta.host.user.tree("/root/.syncline/stage").values()].filter(({ kind }) => kind === "file").length;
  }

  /** Applies changes as one run, with `meddle` between push and commit. */
  apply(runId: string, changes: Record<string, Wanted>, meddle?: () => void): Promise<OpResult[]> {
    return this.pair.withEndpoint("beta", async (endpoint) => {
      const held = await scan(endpoint);
      const ops = Object.entries(changes).map(([path, wanted]) => opFor(path, wanted, held));
      const application = endpoint.apply(runId, signal);
      await application.push(ops);
      meddle?.();
      const results: OpResult[] = [];
      await application.commit((more) => void results.push(...more));
      return results;
    });
  }
}

/** A file with this content, a directory, or neither for a removal; with `moved` or `chmod` that alone. */
type Wanted = {
  readonly content?: string;
  readonly dir?: true;
  readonly mode?: number;
  readonly chmod?: number;
  /** The path it is renamed from. */
  readonly moved?: string;
  /** A path with the same bytes. */
  readonly from?: string;
  /** What is announced instead of the content. */
  readonly claim?: string;
};

async function scan(endpoint: Endpoint): Promise<Map<string, Entry>> {
  const held = new Map<string, Entry>();
  const request = { since: 0, acknowledged: 0, extent: "full", deep: false } as const;
  await endpoint.scan(
    request,
    (batch) => {
      for (const one of batch) if (one.state === "present") held.set(one.path, one.entry);
    },
    signal,
  );
  return held;
}

function opFor(path: string, wanted: Wanted, held: ReadonlyMap<string, Entry>): ApplyOp {
  const old = held.get(path);
  const base = { side: "beta", path, old } as const;
  if (wanted.moved !== undefined) {
    return { type: "move", move: { side: "beta", from: wanted.moved, to: path, count: 1 } };
  }
  if (wanted.chmod !== undefined) {
    const now = held.get(path);
    if (now?.kind !== "file") throw new Error(`no file: ${path}`);
    return { type: "change", change: { ...base, new: { ...now, mode: wanted.chmod }, action: "metadata" } };
  }
  if (wanted.dir === true) {
    return { type: "change", change: { ...base, new: { kind: "dir", mode: wanted.mode ?? 0o755 }, action: "content" } };
  }
  if (wanted.content === undefined) return { type: "change", change: { ...base, new: undefined, action: "remove" } };
  const announced = wanted.claim ?? wanted.content;
  const entry: Entry = { kind: "file", size: announced.length, mode: wanted.mode ?? 0o644, mtimeNs: MTIME, sum: undefined };
  const change: Change = { ...base, new: entry, action: "content", ...(wanted.from === undefined ? {} : { from: wanted.from }) };
  return wanted.from === undefined ? { type: "change", change, bytes: Buffer.from(wanted.content) } : { type: "change", change };
}

const brief = (results: readonly OpResult[]): string[] =>
  results.map(({ path, status, problem }) => `${path} ${status}${problem === undefined ? "" : ` ${problem.code}`}`);

describe("a run", () => {
  test("[APPLY-11] nothing is visible before commit; then every op is answered once, in order", async () => {
    const side = new Side();
    side.put({ f: "old", gone: "gone", "d/x": "x" });
    const before = side.tree;
    const changes = { d2: { dir: true }, "d2/n": { content: "new" }, f: { content: "new f" }, gone: {} } as const;
    const results = await side.apply("r1", changes, () => {
      expect(side.tree).toBe(before);
      expect(side.staged).toBe(2);
    });
    expect(brief(results)).toEqual(["d2 done", "d2/n done", "f done", "gone done"]);
    expect(side.tree).toBe("d/ d/x=x d2/ d2/n=new f=new f");
    expect(side.staged).toBe(0);
  });

  test("[APPLY-25] a commit waits for files that are still being made, and one that cannot be made fails alone", async () => {
    const side = new Side();
    const boot = side.pair.beta.host.boot({ asyncDelayMs: 50 });
    boot.fs.faults = (call, { path }) => (call === "write" && path?.endsWith("/bad") === true ? "ENOSPC" : undefined);
    await side.pair.withEndpoint("beta", async (endpoint) => {
      const application = endpoint.apply("r1", signal);
      const files = ["d/a", "d/bad", "d/c"].map((path) => opFor(path, { content: path }, new Map()));
      await application.push([opFor("d", { dir: true }, new Map()), ...files]);
      expect(side.staged).toBe(0);
      const results: OpResult[] = [];
      await application.commit((more) => void results.push(...more));
      expect(brief(results)).toEqual(["d done", "d/a done", "d/bad failed ENOSPC", "d/c done"]);
      expect([side.tree, side.staged]).toEqual(["d/ d/a=d/a d/c=d/c", 0]);
      // Nor is anything made once the endpoint is closed, when another may use the stage.
      await application.push([opFor("e", { dir: true }, new Map()), opFor("e/f", { content: "f" }, new Map())]);
      await endpoint.close();
      const staged = side.staged;
      await side.pair.clock.turn(1000);
      expect([staged, side.staged]).toEqual([1, 1]);
    }, boot);
  });

  test("[APPLY-22] what is staged while a commit is under way is placed by the next one", async () => {
    const side = new Side();
    await side.pair.withEndpoint("beta", async (endpoint) => {
      await scan(endpoint);
      const application = endpoint.apply("r1", signal);
      const tree = (dir: string): ApplyOp[] => [
        opFor(dir, { dir: true, mode: 0o555 }, new Map()), opFor(`${dir}/f`, { content: dir }, new Map()),
      ];
      const results: OpResult[] = [];
      const commit = () => application.commit((more) => void results.push(...more));
      await application.push(tree("a"));
      const first = commit();
      await application.push(tree("b"));
      await first;
      expect([brief(results), side.tree, side.staged]).toEqual([["a done", "a/f done"], "a/ a/f=a", 1]);
      await commit();
      expect([brief(results.slice(2)), side.tree, side.staged]).toEqual([["b done", "b/f done"], "a/ a/f=a b/ b/f=b", 0]);
      // What a directory gets when it is in its place was not lost with the end of the first commit.
      expect((await scan(endpoint)).get("b")).toMatchObject({ mode: 0o555 });
    });
  });

  test("[APPLY-12] content that is not what was announced is refused, and the rest is placed", async () => {
    const side = new Side();
    const results = await side.apply("r1", { bad: { content: "short", claim: "much longer" }, good: { content: "good" } });
    expect(brief(results)).toEqual(["bad failed CORRUPT", "good done"]);
    expect([side.tree, side.staged]).toEqual(["good=good", 0]);
  });

  test("[APPLY-13] where the disk holds something else than expected it stays, and the op is stale", async () => {
    for (const exchange of [true, false]) {
      const side = new Side({ disk: { exchange } });
      side.put({ edited: "old", removed: "old", "swapped/x": "old" });
      const changes = { edited: { content: "new" }, removed: {}, "swapped/x": { content: "new" }, taken: { content: "new" } };
      const results = await side.apply("r1", changes, () => {
        side.put({ edited: "mine", removed: "mine", taken: "mine", swapped: undefined, "swapped/x/y": "mine" });
      });
      expect(brief(results)).toEqual(Object.keys(changes).map((path) => `${path} stale STALE`));
      expect(side.tree).toBe("edited=mine removed=mine swapped/ swapped/x/ swapped/x/y=mine taken=mine");
      expect(side.staged).toBe(0);
    }
  });

  test("[APPLY-26] a directory that was moved while changes were on their way keeps what is in it", async () => {
    const side = new Side();
    side.put({ "d/e/edited": "old", "d/e/gone": "old", "d/e/sub/": "" });
    const changes = { "d/e/new": { content: "new" }, "d/e/edited": { content: "new" }, "d/e/gone": {}, "d/e/sub": {} };
    const results = await side.apply("r1", changes, () => side.pair.beta.rename("d", "moved"));
    expect(brief(results)).toEqual(["d/e/new stale STALE", "d/e/edited stale STALE", "d/e/gone done", "d/e/sub done"]);
    expect(side.tree).toBe("moved/ moved/e/ moved/e/edited=old moved/e/gone=old moved/e/sub/");
    expect([side.trashOf("r1"), side.staged]).toEqual([[], 0]);
  });

  test("[APPLY-14] a new directory appears with everything below it in one step", async () => {
    const side = new Side();
    const boot = side.pair.beta.host.boot();
    const seen = new Set<string>();
    boot.fs.interleave = () => seen.add(side.tree);
    const work = side.pair.withEndpoint(
      "beta",
      async (endpoint) => {
        await scan(endpoint);
        const application = endpoint.apply("r1", signal);
        const wanted = { n: { dir: true }, "n/m": { dir: true, mode: 0o500 }, "n/m/a": { content: "a" }, "n/b": { content: "b" } } as const;
        await application.push(Object.entries(wanted).map(([path, one]) => opFor(path, one, new Map())));
        await application.commit(() => undefined);
      },
      boot,
    );
    await work;
    expect([...seen]).toEqual(["", "n/ n/b=b n/m/ n/m/a=a"]);
    expect(side.pair.beta.disk.inodeAt("/root/n/m").mode).toBe(0o500);
  });

  test("[APPLY-15] a directory that still holds something unknown is not removed", async () => {
    const side = new Side();
    side.put({ "d/known": "x" });
    const results = await side.apply("r1", { "d/known": {}, d: {} }, () => side.put({ "d/new": "mine" }));
    expect(brief(results)).toEqual(["d/known done", "d failed ENOTEMPTY"]);
    expect(side.tree).toBe("d/ d/new=mine");
  });

  test("[APPLY-16] what a run replaces or removes is kept in its trash, and its changes can be listed", async () => {
    for (const exchange of [true, false]) {
      const side = new Side({ disk: { exchange } });
      side.put({ f: "old f", gone: "old gone" });
      await side.apply("r1", { f: { content: "new" }, gone: {}, n: { content: "n" } });
      expect(side.trashOf("r1")).toEqual(["old f", "old gone"]);
      const [runs, changes] = await side.pair.withEndpoint("beta", async (endpoint) => [
        await endpoint.runs(),
        await endpoint.runChanges("r1"),
      ]);
      expect(runs.map(({ runId, changes: count, undone }) => [runId, count, undone])).toEqual([["r1", 3, false]]);
      expect(changes.map(({ path, action }) => `${action} ${path}`)).toEqual(["replace f", "remove gone", "create n"]);
    }
  });

  test("[APPLY-17] a root that was exchanged after the changes were staged stops the run before anything is placed", async () => {
    const side = new Side();
    side.put({ f: "old" });
    const failure = side.apply("r1", { f: { content: "new" } }, () => side.pair.beta.disk.mount("/root"));
    expect(await failure.catch((error: unknown) => error)).toMatchObject({ code: "ROOT_IDENTITY" } as Partial<SynclineError>);
    expect(side.tree).toBe("");
    side.pair.beta.disk.unmount("/root");
    expect(side.tree).toBe("f=old");
  });

  test("[APPLY-18] what is ignored here is not touched, whatever the other side wants", async () => {
    const side = new Side();
    side.put({ ".synclineignore": "*.o\n", "x.o": "mine" });
    const results = await side.apply("r1", { "x.o": { content: "theirs" }, "y.o": { content: "theirs" } });
    expect(brief(results)).toEqual(["x.o failed IGNORED", "y.o failed IGNORED"]);
    expect(side.tree).toBe(".synclineignore=*.o\n x.o=mine");
  });

  test("[APPLY-24] what is to be renamed to where it is ignored here, or something in it is, stays, but for a conflict's loser", async () => {
    const side = new Side();
    side.put({ "to/.synclineignore": "*.o\n", f: "one", "d/x.o": "two", "e/x": "three", g: "four" });
    const move = (from: string, to: string, aside = false): ApplyOp => ({ type: "move", move: { side: "beta", from, to, count: 1, aside } });
    const ops = [move("f", "to/f.o"), move("d", "to/d"), move("e", "to/e"), move("g", "to/g.o", true), move("d", "o")];
    const results = await side.pair.withEndpoint("beta", async (endpoint) => {
      await scan(endpoint);
      const application = endpoint.apply("r1", new AbortController().signal);
      await application.push(ops);
      const all: OpResult[] = [];
      await application.commit((more) => void all.push(...more));
      return all;
    });
    expect(brief(results)).toEqual(["to/f.o failed IGNORED", "to/d failed IGNORED", "to/e done", "to/g.o done", "o done"]);
    expect(side.tree).toBe("f=one o/ o/x.o=two to/ to/.synclineignore=*.o\n to/e/ to/e/x=three to/g.o=four");
  });

  test("[APPLY-19] with read-back a staged file that the disk damaged is not placed", async () => {
    const side = new Side({ session: { verifyReadBack: true } });
    side.put({ f: "old" });
    const results = await side.apply("r1", { f: { content: "new content" }, g: { content: "good" } }, () => {
      for (const [path, { content }] of side.pair.beta.host.user.tree("/root/.syncline/stage")) {
        if (content === "new content") side.pair.beta.disk.flipBit(`/root/.syncline/stage/${path}`, 5);
      }
    });
    expect(brief(results)).toEqual(["f failed CORRUPT", "g done"]);
    expect(side.tree).toBe("f=old g=good");
  });

  test("[APPLY-20] bytes reused from another file are hashed: a source that changed does not become the copy", async () => {
    const side = new Side();
    side.put({ source: "bytes" });
    const [good] = await side.apply("r1", { copy: { content: "bytes", from: "source" } });
    expect(good?.status).toBe("done");
    const sum = good?.entry?.kind === "file" ? good.entry.sum : undefined;
    const stale = await side.pair.withEndpoint("beta", async (endpoint) => {
      await scan(endpoint);
      side.put({ source: "BYTES" });
      const op = opFor("copy2", { content: "bytes", from: "source" }, new Map());
      if (op.type !== "change" || op.change.new?.kind !== "file") throw new Error("no file");
      const application = endpoint.apply("r2", signal);
      await application.push([{ type: "change", change: { ...op.change, new: { ...op.change.new, sum } } }]);
      const results: OpResult[] = [];
      await application.commit((more) => void results.push(...more));
      return results;
    });
    expect(brief(stale)).toEqual(["copy2 stale STALE"]);
    expect(side.tree).toBe("copy=bytes source=BYTES");
  });

  test("[APPLY-21] runs are forgotten with their trash when they are too many or too old", async () => {
    const side = new Side();
    side.put({ f: "0" });
    const runs = RUNS_KEPT_MAX + 3;
    for (let run = 1; run <= runs; run++) {
      await side.apply(`r${run}`, { f: { content: `${run}` } });
      side.pair.clock.spend(1_000_000_000);
    }
    const kept = await side.pair.withEndpoint("beta", (endpoint) => endpoint.runs());
    expect(kept).toHaveLength(RUNS_KEPT_MAX);
    const trash = "/root/.syncline/trash";
    expect([side.pair.beta.user.exists(`${trash}/r3`), side.pair.beta.user.exists(`${trash}/r4`)]).toEqual([false, true]);
    side.pair.clock.jump(RUN_KEPT_MS);
    expect(await side.pair.withEndpoint("beta", (endpoint) => endpoint.runs())).toEqual([]);
    expect(side.pair.beta.user.exists(`${trash}/r${runs}`)).toBe(false);
  });
});

describe("taking a run back", () => {
  /** A change of every kind; afterwards everything is durable. */
  const changes: Record<string, Wanted> = {
    "moved/here": { moved: "to-move" },
    "dir-to-file/x": {},
    "file-to-dir": { dir: true },
    "file-to-dir/in": { content: "in" },
    "dir-to-file": { content: "now a file" },
    f: { content: "new f", mode: 0o755 },
    gone: {},
    "emptied/x": {},
    emptied: {},
    n: { dir: true },
    "n/m": { content: "new" },
    only: { chmod: 0o600 },
  };

  function prepared(seed: number, exchange: boolean): Side {
    // With a journal, as all file systems in use have one: a directory cannot go before what was moved out of it.
    const side = new Side({ seed, disk: { exchange, orderedNames: true } });
    side.put({ f: "old f", gone: "gone", "dir-to-file/x": "x", "file-to-dir": "a file", "emptied/x": "y" });
    side.put({ only: "metadata", "to-move": "moved", "moved/": "" });
    side.pair.beta.user.chmod("/root/f", 0o600);
    side.pair.beta.user.chmod("/root/emptied", 0o750);
    side.pair.beta.disk.settle();
    return side;
  }

  const detail = (side: Side): string =>
    [...side.pair.beta.host.user.tree("/root")]
      .filter(([path]) => !path.startsWith(".syncline"))
      .map(([path, { kind, mode, content }]) => `${path} ${kind} ${mode.toString(8)} ${content}`)
      .join("\n");

  for (const exchange of [true, false]) {
    const how = exchange ? "swapping" : "linking";
    test(`[UNDO-1] contents, kinds and modes come back, and doing it again changes nothing (${how})`, async () => {
      const side = prepared(1, exchange);
      const before = detail(side);
      expect(brief(await side.apply("r1", changes))).toEqual(Object.keys(changes).map((path) => `${path} done`));
      for (let times = 0; times < 2; times++) {
        const { problems } = await side.pair.withEndpoint("beta", (endpoint) => endpoint.undo("r1", signal));
        expect([times, problems, detail(side)]).toEqual([times, [], before]);
      }
      const [run] = await side.pair.withEndpoint("beta", (endpoint) => endpoint.runs());
      expect(run?.undone).toBe(true);
    });

    test(`[UNDO-2] an undo that dies at any effect is finished by the next (${how})`, async () => {
      for (const powerLoss of [false, true]) {
        for (let k = 1; ; k++) {
          const side = prepared(k, exchange);
          const before = detail(side);
          await side.apply("r1", changes);
          side.pair.beta.disk.settle();
          const boot = side.pair.beta.host.boot();
          boot.fs.onEffect = (count) => {
            if (count === k) throw new SimCrash("died");
          };
          const undo = (endpoint: Endpoint): Promise<unknown> => endpoint.undo("r1", signal);
          const died = await side.pair.withEndpoint("beta", undo, boot).then(
            () => false,
            () => true,
          );
          if (!died) break;
          if (powerLoss) side.pair.beta.powerLoss(side.pair.random.fork("power"));
          const { problems } = await side.pair.withEndpoint("beta", (endpoint) => endpoint.undo("r1", signal));
          expect([k, powerLoss, problems, detail(side)]).toEqual([k, powerLoss, [], before]);
        }
      }
    });

    test(`[UNDO-3] a run that died at any effect can be taken back after recovery: no content is lost (${how})`, async () => {
      for (const powerLoss of [false, true]) {
        for (let k = 1; ; k++) {
          const side = prepared(k, exchange);
          const before = detail(side);
          const boot = side.pair.beta.host.boot();
          boot.fs.onEffect = (count) => {
            if (count === k) throw new SimCrash("died");
          };
          const run = async (endpoint: Endpoint): Promise<void> => {
            const held = await scan(endpoint);
            const application = endpoint.apply("r1", signal);
            await application.push(Object.entries(changes).map(([path, wanted]) => opFor(path, wanted, held)));
            await application.commit(() => undefined);
          };
          const died = await side.pair.withEndpoint("beta", run, boot).then(
            () => false,
            () => true,
          );
          if (!died) break;
          if (powerLoss) side.pair.beta.powerLoss(side.pair.random.fork("power"));
          const { problems } = await side.pair.withEndpoint("beta", (endpoint) => endpoint.undo("r1", signal));
          expect([k, powerLoss, problems, detail(side)]).toEqual([k, powerLoss, [], before]);
        }
      }
    });
  }

  test("[UNDO-4] what was changed since is left alone and named; what an undo takes away is in its own trash", async () => {
    const side = prepared(1, true);
    await side.apply("r1", changes);
    side.put({ f: "mine", "n/mine": "mine too" });
    const { problems } = await side.pair.withEndpoint("beta", (endpoint) => endpoint.undo("r1", signal));
    expect(problems.map(({ path, code }) => `${path} ${code}`).toSorted()).toEqual(["f CHANGED", "n CHANGED"]);
    const rest = "dir-to-file/ dir-to-file/x=x emptied/ emptied/x=y f=mine file-to-dir=a file gone=gone moved/ n/";
    expect(side.tree).toBe(`${rest} n/mine=mine too only=metadata to-move=moved`);
    expect(side.trashOf("undo-r1")).toContain("new");
  });

  test("[UNDO-6] in a directory that was moved since it was looked at an undo takes nothing away", async () => {
    const side = new Side();
    side.put({ "d/e/there": "old" });
    await side.apply("r1", { "d/e/new": { content: "new" }, "d/e/there": { content: "newer" } });
    const { problems } = await side.pair.withEndpoint("beta", async (endpoint) => {
      await scan(endpoint);
      side.pair.beta.rename("d", "moved");
      return endpoint.undo("r1", signal);
    });
    expect(problems.map(({ path, code }) => `${path} ${code}`)).toEqual(["d/e/there CHANGED"]);
    expect(side.tree).toBe("moved/ moved/e/ moved/e/new=new moved/e/there=newer");
  });
});
