/** Scenarios 30–38: crashes, power losses, failing and full disks, clocks, rot. */
import { describe, expect, test } from "bun:test";
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { Fd, FileSystem } from "#platform/file-system.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { UNCACHED_BYTES_MIN } from "#sync/transfer/limits.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { type Boots, SimPair, atCall, changesOf, conflictsOf, problemsOf } from "#testing/scenarios/sim-pair.ts";
import { RealPair } from "#testing/scenarios/real-pair.ts";
import { SimRandom } from "#testing/sim-random.ts";

const LARGE = "L".repeat(140_000);

/** Lets a process die right before its k-th effect. */
function dieAt(boots: Boots, side: "alpha" | "beta", k: number): void {
  boots[side].fs.onEffect = (count) => {
    if (count === k) throw new SimCrash(`${side} died at effect ${k}`);
  };
}

/** Lets the k-th call of a sort fail on beta. */
function failAt({ beta }: Boots, sort: string, errno: string, k: number): void {
  let calls = 0;
  beta.fs.faults = (call) => (call === sort && ++calls === k ? errno : undefined);
}

/** Changes of every sort on alpha for a beta that has the old tree. */
async function beforeChanges(seed: number, exchange: boolean): Promise<SimPair> {
  const pair = new SimPair({ seed, disk: { exchange } });
  pair.alpha.put({ f: "old f", g: "old g", "d/x": "old x", "d/y": "old y", gone: "gone", big: LARGE });
  await pair.agree();
  pair.alpha.put({ f: "new f", "d/x": "new x", gone: undefined, "n/m/k": "new k", big: `${LARGE}!` });
  pair.alpha.rename("g", "moved");
  pair.alpha.disk.settle();
  pair.beta.disk.settle();
  return pair;
}

/** A file system whose files of one name come back with a bit flipped in their first byte. */
function rotting(fs: FileSystem, name: string): FileSystem {
  const open = new Set<Fd>();
  const spoil = (fd: Fd, buffer: Uint8Array, position: number): void => {
    if (position === 0 && open.has(fd)) buffer[0]! ^= 1;
  };
  const own: Partial<FileSystem> = {
    openRead: (dir, file) => {
      const fd = fs.openRead(dir, file);
      if (file === name) open.add(fd);
      return fd;
    },
    close: (fd) => {
      open.delete(fd);
      fs.close(fd);
    },
    read: (fd, buffer, position) => {
      const count = fs.read(fd, buffer, position);
      spoil(fd, buffer, position);
      return count;
    },
    readAsync: async (fd, buffer, position) => {
      const count = await fs.readAsync(fd, buffer, position);
      spoil(fd, buffer, position);
      return count;
    },
  };
  return new Proxy(fs, {
    get: (target, key: keyof FileSystem) => {
      const call = own[key] ?? target[key];
      return typeof call === "function" ? call.bind(target) : call;
    },
  });
}

const OLD_OR_NEW: Record<string, readonly (string | undefined)[]> = {
  f: ["old f", "new f"],
  "d/x": ["old x", "new x"],
  "d/y": ["old y"],
  gone: ["gone", undefined],
  "n/m/k": [undefined, "new k"],
  g: ["old g", undefined],
  moved: [undefined, "old g"],
  big: [LARGE, `${LARGE}!`],
};

describe("[S-30] crashes while a run is applied", () => {
  for (const [how, exchange] of [["kill", true], ["kill", false], ["power loss", true], ["power loss", false]] as const) {
    const swap = exchange ? "swapping" : "linking";
    test(`[S-30] ${how} at every effect (${swap}): every path old or new, no false change, and it converges`, async () => {
      let deaths = 0;
      for (let k = 1; ; k++) {
        const pair = await beforeChanges(k, exchange);
        const outcome = await pair.run({}, (boots) => dieAt(boots, "beta", k));
        if (outcome.error === undefined) break;
        deaths++;
        if (how === "power loss") pair.beta.powerLoss(pair.random.fork(`power ${k}`));
        for (const [path, allowed] of Object.entries(OLD_OR_NEW)) {
          const there = pair.beta.host.user.exists(`/root/${path}`) ? pair.beta.read(path) : undefined;
          if (!allowed.includes(there)) throw new Error(`effect ${k}: ${path} is ${there?.slice(0, 20)}`);
        }
        const next = await pair.run();
        // Nothing of what the dead process did may look like a change that a person made on beta.
        expect([k, next.summary?.result, changesOf(next).filter((change) => change.startsWith("alpha"))]).toEqual([k, "same", []]);
        expect(pair.beta.show()).toBe(pair.alpha.show());
        expect(changesOf(await pair.run())).toEqual([]);
      }
      expect(deaths).toBeGreaterThan(30);
    });
  }

  test("[S-30] kill or power loss between pieces that pass by the page cache: what is left harms nothing", async () => {
    const content = Array.from({ length: 2_500_000 }, (_, at) => at).join(" ");
    expect(content.length).toBeGreaterThan(UNCACHED_BYTES_MIN);
    for (const k of [1, 2, 5, 9, 14, 17, 19]) {
      const pair = new SimPair({ seed: k });
      pair.alpha.put({ huge: content });
      pair.alpha.disk.settle();
      const outcome = await pair.run({}, (boots) => {
        boots.beta.fs.faults = (call) => {
          if (call === "openUncached") dieAt(boots, "beta", boots.beta.fs.effects + k);
          return undefined;
        };
      });
      expect([k, outcome.error === undefined]).toEqual([k, false]);
      if (k % 3 !== 0) pair.beta.powerLoss(pair.random.fork("power"));
      expect([undefined, content]).toContain(pair.beta.host.user.exists("/root/huge") ? pair.beta.read("huge") : undefined);
      expect(await pair.agree()).toBe(pair.alpha.show());
    }
  });

  test("[S-30] a crash of the side that controls is no change either", async () => {
    for (let k = 1; k <= 25; k++) {
      const pair = await beforeChanges(k, true);
      await pair.run({}, ({ alpha }) => atCall(alpha, k * 4, () => alpha.fs.kill()));
      pair.alpha.powerLoss(pair.random.fork(`power ${k}`));
      const next = await pair.run();
      expect([k, next.summary?.result, changesOf(next).filter((one) => one.startsWith("alpha"))]).toEqual([k, "same", []]);
      expect(pair.beta.show()).toBe(pair.alpha.show());
    }
  });
});

describe("[S-31] what the source has not synced yet", () => {
  const acts: [string, (pair: SimPair) => void][] = [
    ["overwritten in place", (pair) => pair.alpha.put({ f: "new", big: `${LARGE}!` })],
    ["saved by rename", (pair) => pair.alpha.user.save("/root/f", "new")],
    ["in new directories", (pair) => pair.alpha.put({ f: "new", "n/m/deep": "deep", "n/big": LARGE })],
    ["alone in a new directory of a new directory", (pair) => pair.alpha.put({ "x/y/z": "deep" })],
    ["many files", (pair) => Array.from({ length: 60 }, (_, at) => pair.alpha.put({ [`many/${at}`]: `file ${at}`, f: "new" }))],
  ];
  for (const [name, act] of acts) {
    test(`[S-31] ${name}: after a power loss of the source nothing old comes back as new`, async () => {
      for (let seed = 1; seed <= 40; seed++) {
        const pair = new SimPair({ seed, disk: { syncCoversName: seed % 2 === 0, orderedNames: seed % 3 === 0 } });
        pair.alpha.put({ f: "old", big: LARGE });
        pair.alpha.disk.settle();
        await pair.agree();
        pair.alpha.disk.settle();
        act(pair);
        const wanted = pair.alpha.show();
        expect(await pair.agree()).toBe(wanted);
        pair.alpha.powerLoss(pair.random.fork("power"));
        const outcome = await pair.run();
        expect([seed, outcome.summary?.result, changesOf(outcome), conflictsOf(outcome)]).toEqual([seed, "same", [], []]);
        expect(pair.beta.show() === wanted && pair.alpha.show() === wanted).toBe(true);
      }
    });
  }

  test("[S-31] with --durable none nothing is synced: the same power loss takes the content back", async () => {
    let reverted = 0;
    for (let seed = 1; seed <= 40; seed++) {
      const pair = new SimPair({ seed, session: { durable: "none" } });
      pair.alpha.put({ f: "old" });
      await pair.agree();
      for (const side of [pair.alpha, pair.beta]) side.disk.settle();
      pair.alpha.put({ f: "new" });
      await pair.agree();
      pair.alpha.powerLoss(pair.random.fork("power"));
      if (pair.alpha.read("f") !== "new") reverted++;
    }
    expect(reverted).toBeGreaterThan(5);
  });

  test("[S-31] a file that the source cannot sync is not handed out, and others are", async () => {
    for (const content of ["small", LARGE]) {
      const pair = new SimPair();
      pair.alpha.put({ f: content, g: "other" });
      const outcome = await pair.run({}, ({ alpha }) => {
        alpha.fs.faults = (call, { path }) => (call === "sync" && path === "/root/f" ? "EIO" : undefined);
      });
      expect(problemsOf(outcome).map(({ path, side, code }) => [path, side, code])).toEqual([["f", "alpha", "EIO"]]);
      expect(pair.beta.show()).toBe("g=other");
    }
  });
});

describe("[S-32] [S-33] a disk that fails or is full", () => {
  test("[S-32] EIO at a sync is a failed apply: nothing of the group is placed, and later it is written anew", async () => {
    for (const count of [3, 60]) {
      const pair = new SimPair({ seed: count });
      pair.alpha.put({ f: "old" });
      await pair.agree();
      for (let at = 0; at < count; at++) pair.alpha.put({ f: "new", [`d/${at}`]: `${at}` });
      const outcome = await pair.run({}, ({ beta }) => {
        let failed = false;
        beta.fs.faults = (call) => {
          if (failed || (call !== "sync" && call !== "syncAll")) return undefined;
          failed = true;
          return "EIO";
        };
      });
      expect(problemsOf(outcome).some(({ code, side }) => code === "EIO" && side === "beta")).toBe(true);
      expect(pair.beta.show()).toBe("f=old");
      expect(await pair.agree()).toBe(pair.alpha.show());
      // What is there now is really on the disk: the failed pages were not taken for written.
      pair.beta.powerLoss(pair.random.fork("power"));
      expect(pair.beta.show()).toBe(pair.alpha.show());
    }
  });

  const changes: Record<string, (pair: SimPair) => void> = {
    create: ({ alpha }) => alpha.put({ "d/f": "new" }),
    replace: ({ alpha }) => alpha.put({ "d/g": "new" }),
    remove: ({ alpha }) => alpha.put({ "d/g": undefined }),
    move: ({ alpha }) => alpha.rename("d/g", "c/g"),
    mode: ({ alpha }) => alpha.user.chmod("/root/d", 0o700),
  };
  const look = ({ alpha }: SimPair): string => `${alpha.disk.inodeAt("/root/d").mode} ${alpha.show()}`;

  const ends: Record<string, (boots: Boots, k: number) => void> = {
    "EIO at a sync": (boots, k) => failAt(boots, "sync", "EIO", k % 10),
    "EACCES at the opening of a directory": (boots, k) => failAt(boots, "openDir", "EACCES", k),
    "a kill": (boots, k) => dieAt(boots, "beta", k % 20),
  };
  for (const [how, end] of Object.entries(ends)) {
    test(`[S-32] what ${how} left on the disk unsynced is not told before it is durable`, async () => {
      for (const [what, change] of Object.entries(changes)) {
        // A disk that refused to write an inode has its metadata for no later sync either.
        if (what === "mode" && how === "EIO at a sync") continue;
        for (let k = 1; k <= 60; k++) {
          const pair = new SimPair({ seed: k });
          pair.alpha.put({ "c/x": "stays", "d/g": "old" });
          await pair.agree();
          pair.beta.disk.settle();
          change(pair);
          const wanted = look(pair);
          await pair.run({}, (boots) => end(boots, k));
          await pair.run();
          pair.beta.powerLoss(new SimRandom(k));
          await pair.agree();
          expect([what, k, look(pair)]).toEqual([what, k, wanted]);
        }
      }
    });
  }

  test("[SIM-93] what a step did before the disk refused it is not told before it is durable (seed 1030003895)", async () => {
    for (const exchange of [true, false]) {
      for (const [what, change] of Object.entries(changes)) {
        for (let k = 1; ; k++) {
          const pair = new SimPair({ seed: k, disk: { exchange } });
          pair.alpha.put({ "c/x": "stays", "d/g": "old" });
          await pair.agree();
          pair.beta.disk.settle();
          change(pair);
          const wanted = look(pair);
          let calls = 0;
          // It passes by itself, so the same session looks again and takes what it finds for agreed.
          await pair.run({}, ({ beta }) => {
            beta.fs.faults = (call) => (++calls === k && call !== "sync" && call !== "close" ? "ENOSPC" : undefined);
          });
          pair.beta.powerLoss(new SimRandom(k));
          await pair.agree();
          expect([exchange, what, k, look(pair)]).toEqual([exchange, what, k, wanted]);
          if (calls < k) break;
        }
      }
    }
  });

  test("[SIM-94] an edit that a step displaced and put back is not displaced again by a power loss", async () => {
    for (const by of ["another file", "a directory", "nothing"]) {
      for (let seed = 1; seed <= 20; seed++) {
        const pair = new SimPair({ seed });
        pair.alpha.put({ "d/g": "old" });
        await pair.agree();
        pair.beta.disk.settle();
        pair.alpha.put({ "d/g": by === "another file" ? "new" : undefined, ...(by === "a directory" && { "d/g/h": "new" }) });
        let edits = 0;
        await pair.run({}, ({ beta }) => {
          beta.fs.interleave = (call) => {
            if (edits > 0 || call !== (by === "nothing" ? "rename" : "exchange")) return;
            edits++;
            pair.beta.host.user.write("/root/d/g", "late edit");
            pair.beta.disk.sync(pair.beta.disk.inodeAt("/root/d/g"));
          };
        });
        pair.beta.powerLoss(new SimRandom(seed));
        await pair.run();
        expect([by, seed, edits, pair.beta.contents().visible.has("late edit")]).toEqual([by, seed, 1, true]);
      }
    }
  });

  test("[SIM-97] an owner that a run has set is not taken back by a power loss, of a symlink neither", async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const pair = new SimPair({ seed, session: { preserve: { ...PRESERVE_DEFAULT, owner: "number" } } });
      pair.alpha.put({ f: "one", "d/": "" });
      pair.alpha.user.symlink("/root/l", "f");
      await pair.agree();
      pair.beta.disk.settle();
      const { fs } = pair.alpha.user;
      const root = fs.openRoot("/root");
      for (const name of ["f", "d", "l"]) fs.chownAt(root, name, 1000, 1000);
      fs.close(root);
      await pair.agree();
      pair.beta.powerLoss(new SimRandom(seed));
      await pair.agree();
      const owners = (["alpha", "beta"] as const).map((side) => ["f", "d", "l"].map((name) => pair[side].disk.inodeAt(`/root/${name}`).uid));
      expect([seed, ...owners]).toEqual([seed, [1000, 1000, 1000], [1000, 1000, 1000]]);
    }
  });

  test("[S-33] a disk that is full from the k-th effect on: nothing is cut short, and with space again it converges", async () => {
    const space = new Set(["write", "writeAsync", "create", "mkdir", "link", "symlink", "rename", "exchange", "copyRange"]);
    for (let k = 1; k <= 60; k++) {
      const pair = await beforeChanges(k, k % 2 === 0);
      const outcome = await pair.run({}, ({ beta }) => {
        let effects = 0;
        beta.fs.faults = (call, { isEffect }) => (isEffect && ++effects >= k && space.has(call) ? "ENOSPC" : undefined);
      });
      for (const [path, allowed] of Object.entries(OLD_OR_NEW)) {
        const there = pair.beta.host.user.exists(`/root/${path}`) ? pair.beta.read(path) : undefined;
        if (!allowed.includes(there)) throw new Error(`effect ${k}: ${path} is ${there?.slice(0, 20)}`);
      }
      expect(changesOf(outcome).filter((one) => one.startsWith("alpha"))).toEqual([]);
      expect([k, await pair.agree()]).toEqual([k, pair.alpha.show()]);
    }
  });

  test("[S-33] a disk that really is full takes what fits and names the rest", async () => {
    const pair = new SimPair({ beta: { disk: { capacityBytes: 300_000 } } });
    pair.alpha.put({ a: "small", big1: LARGE, big2: LARGE, big3: LARGE, z: "small too" });
    const outcome = await pair.run();
    expect(outcome.summary?.result).toBe("problems");
    expect(problemsOf(outcome).some(({ code, side }) => code === "ENOSPC" && side === "beta")).toBe(true);
    for (const word of pair.beta.show().split(" ")) expect(pair.alpha.show()).toContain(word);
    pair.beta.disk.capacityBytes = 2 ** 30;
    expect(await pair.agree()).toBe(pair.alpha.show());
  });

  test("[S-35] a stage on another disk cannot be renamed from: nothing changes, nothing is written in place", async () => {
    const pair = new SimPair();
    pair.beta.put({ f: "old", ".syncline/": "" });
    pair.beta.disk.mount("/root/.syncline");
    const { ino } = pair.beta.disk.inodeAt("/root/f");
    await pair.agree();
    pair.alpha.put({ f: "new", n: "new" });
    const outcome = await pair.run();
    expect(outcome.summary?.result).toBe("problems");
    expect(new Set(problemsOf(outcome).map(({ code }) => code))).toEqual(new Set(["EXDEV"]));
    expect(pair.beta.show()).toBe("f=old");
    expect(pair.beta.disk.inodeAt("/root/f").ino).toBe(ino);
    expect(pair.alpha.show()).toBe("f=new n=new");
  });

  test("[S-36] a disk that was remounted read-only stops the side, deletes nothing, and goes on later", async () => {
    const pair = await beforeChanges(1, true);
    const before = pair.beta.show();
    pair.beta.disk.readOnly = true;
    const outcome = await pair.run();
    expect(outcome.error !== undefined || outcome.summary?.result === "problems").toBe(true);
    expect(pair.beta.show()).toBe(before);
    pair.beta.disk.readOnly = false;
    expect(await pair.agree()).toBe(pair.alpha.show());
  });

  test("[S-36] remounted in the middle: each path old or new, and later it converges", async () => {
    for (let k = 1; k <= 60; k += 2) {
      const pair = await beforeChanges(k, true);
      await pair.run({}, ({ beta }) =>
        atCall(beta, k * 3, () => {
          pair.beta.disk.readOnly = true;
        }),
      );
      for (const [path, allowed] of Object.entries(OLD_OR_NEW)) {
        const there = pair.beta.host.user.exists(`/root/${path}`) ? pair.beta.read(path) : undefined;
        if (!allowed.includes(there)) throw new Error(`call ${k * 3}: ${path} is ${there?.slice(0, 20)}`);
      }
      pair.beta.disk.readOnly = false;
      expect([k, await pair.agree()]).toEqual([k, pair.alpha.show()]);
    }
  });
});

describe("[S-34] a run is taken back", () => {
  async function afterRun(seed: number, exchange: boolean): Promise<{ pair: SimPair; runId: string; before: string }> {
    const pair = new SimPair({ seed, disk: { exchange } });
    pair.alpha.put({ f: "old f", g: "old g", "d/x": "old x", gone: "gone", "e/z": "old z" });
    pair.alpha.user.chmod("/root/f", 0o600);
    await pair.agree();
    const before = seen(pair);
    pair.alpha.put({ f: "new f", gone: undefined, e: undefined, "n/m": "new", "d/x": undefined, "d/w": "w" });
    pair.alpha.rename("g", "moved");
    pair.alpha.user.chmod("/root/f", 0o755);
    pair.alpha.user.chmod("/root/d", 0o700);
    const { summary } = await pair.run();
    expect(seen(pair)).not.toBe(before);
    pair.beta.disk.settle();
    return { pair, runId: summary!.runId, before };
  }

  /** Contents, modes and times of beta. */
  const seen = (pair: SimPair): string =>
    [...pair.beta.host.user.tree("/root")]
      .filter(([path]) => !path.startsWith(".syncline"))
      .map(([path, { kind, mode, content }]) => {
        const mtime = kind === "file" ? pair.beta.disk.inodeAt(`/root/${path}`).mtimeNs : "";
        return `${path} ${kind} ${mode.toString(8)} ${content} ${mtime}`;
      })
      .join("\n");
  const undo = (runId: string) => (endpoint: Endpoint) => endpoint.undo(runId, new AbortController().signal);

  for (const exchange of [true, false]) {
    test(`[S-34] all contents, modes and times come back; again changes nothing (${exchange ? "swapping" : "linking"})`, async () => {
      const { pair, runId, before } = await afterRun(1, exchange);
      const first = await pair.withEndpoint("beta", undo(runId));
      expect(first.problems).toEqual([]);
      expect(seen(pair)).toBe(before);
      const second = await pair.withEndpoint("beta", undo(runId));
      expect(second.problems).toEqual([]);
      expect(seen(pair)).toBe(before);
      // What was taken back is a change of beta's like any other.
      await pair.run();
      expect(pair.alpha.read("f")).toBe("old f");
    });

    test(`[S-34] a rollback that dies at any effect is continued by the next (${exchange ? "swapping" : "linking"})`, async () => {
      for (const powerLoss of [false, true]) {
        for (let k = 1; ; k++) {
          const { pair, runId, before } = await afterRun(k, exchange);
          const boot = pair.beta.host.boot();
          boot.fs.onEffect = (count) => {
            if (count === k) throw new SimCrash("died");
          };
          const died = await pair.withEndpoint("beta", undo(runId), boot).then(
            () => false,
            () => true,
          );
          if (!died) break;
          if (powerLoss) pair.beta.powerLoss(pair.random.fork(`power ${k}`));
          const { problems } = await pair.withEndpoint("beta", undo(runId));
          expect([k, problems]).toEqual([k, []]);
          expect([k, seen(pair)]).toEqual([k, before]);
        }
      }
    });
  }

  test("[S-34] what somebody changed since is left alone and named", async () => {
    const { pair, runId } = await afterRun(1, true);
    pair.beta.put({ f: "mine since" });
    const { problems } = await pair.withEndpoint("beta", undo(runId));
    expect(problems.map(({ path, code }) => [path, code])).toEqual([["f", "CHANGED"]]);
    expect(pair.beta.show()).toContain("f=mine since");
    expect(pair.beta.show()).toContain("gone=gone");
  });
});

describe("[S-37] [S-38] clocks and rot", () => {
  test("[S-37] clocks that jump a day in either direction, before and while a session runs, start nothing", async () => {
    for (const days of [1, -1, 365]) {
      const pair = new SimPair();
      pair.alpha.put({ f: "one", "d/g": "two" });
      await pair.agree();
      pair.clock.jump(days * 86_400_000);
      expect(changesOf(await pair.run())).toEqual([]);
      pair.beta.put({ f: "edited after the jump" });
      await pair.run({}, ({ beta }) => atCall(beta, 10, () => pair.clock.jump(-2 * days * 86_400_000)));
      expect(await pair.agree()).toBe("d/ d/g=two f=edited after the jump");
      expect(changesOf(await pair.run())).toEqual([]);
    }
  });

  test("[S-37] file times in the future, before 1970 and between the ticks of a coarse disk come to rest", async () => {
    for (const timestampNs of [1n, 1000n, 1_000_000_000n, 2_000_000_000n]) {
      const pair = new SimPair({ beta: { disk: { timestampNs } } });
      const times = { past: -123_456_789n, far: 4_102_444_800_123_456_789n, odd: 1_700_000_001_999_999_999n };
      for (const [name, mtimeNs] of Object.entries(times)) {
        pair.alpha.put({ [name]: name });
        pair.alpha.user.setMtime(`/root/${name}`, mtimeNs);
      }
      await pair.agree();
      expect(changesOf(await pair.run())).toEqual([]);
      for (const [name, mtimeNs] of Object.entries(times)) {
        expect(pair.alpha.disk.inodeAt(`/root/${name}`).mtimeNs).toBe(mtimeNs);
        expect(pair.beta.disk.inodeAt(`/root/${name}`).mtimeNs).toBe(pair.beta.disk.floorTime(mtimeNs));
      }
      pair.beta.put({ odd: "edited" });
      await pair.agree();
      expect(pair.alpha.read("odd")).toBe("edited");
      expect(changesOf(await pair.run())).toEqual([]);
    }
  });

  test("[S-37] a wrong clock does not decide a conflict", async () => {
    const pair = new SimPair({ session: { conflict: "copy" } });
    pair.alpha.put({ f: "one" });
    await pair.agree();
    pair.alpha.put({ f: "mine" });
    pair.beta.put({ f: "yours" });
    const winner = new Set<string>();
    for (const [alpha, beta] of [[1n, 4_000_000_000n], [4_000_000_000n, 1n]] as const) {
      pair.alpha.user.setMtime("/root/f", alpha * 1_000_000_000n);
      pair.beta.user.setMtime("/root/f", beta * 1_000_000_000n);
      const plan = (await pair.run({ dryRun: true })).events.find((event) => event.type === "plan");
      if (plan?.type !== "plan") throw new Error("no plan");
      winner.add(JSON.stringify(plan.plan.moves.map(({ side, to }) => [side, to])));
    }
    expect(winner.size).toBe(1);
  });

  test("[S-38] a flipped bit in a file that was written a moment ago is reported by a deep run and never sent", async () => {
    for (const side of ["alpha", "beta"] as const) {
      const pair = new SimPair();
      pair.alpha.put({ f: "precious", g: "other" });
      await pair.agree();
      await pair.run();
      pair[side].disk.flipBit("/root/f", 3);
      expect(changesOf(await pair.run())).toEqual([]);
      const outcome = await pair.run({ deep: true });
      expect(problemsOf(outcome).map(({ path, side: where, code }) => [path, where, code])).toEqual([["f", side, "SUSPECT"]]);
      expect(changesOf(outcome)).toEqual([]);
      const other = side === "alpha" ? "beta" : "alpha";
      expect(pair[other].read("f")).toBe("precious");
      // An edit of the good copy heals the damaged one.
      pair[other].put({ f: "precious, edited" });
      await pair.run({ deep: true });
    }
  });

  const DAMAGE = expect.stringMatching(/^(CORRUPT|SUSPECT)$/) as unknown as string;
  const GOOD = { small: "precious ".repeat(110), large: "precious ".repeat(22_000) };
  const MODES = ["two-way-safe", "two-way-resolved", "one-way-safe", "one-way-replica"] as const;
  /** What makes alpha the one that beta gets `f` from again, done before and after the bit flips. */
  const TRIGGERS: Record<string, readonly [before: (pair: SimPair) => Promise<void>, after: (pair: SimPair) => void]> = {
    "an edit in a mirror": [async () => undefined, ({ beta }) => beta.put({ f: "beta's own" })],
    "a deletion in a mirror": [async () => undefined, ({ beta }) => beta.remove("f")],
    "a deletion, and a chmod": [
      async () => undefined,
      ({ alpha, beta }) => {
        beta.remove("f");
        alpha.user.chmod("/root/f", 0o600);
      },
    ],
    "a deletion, and a chmod that was seen before": [
      async (pair) => {
        pair.alpha.user.chmod("/root/f", 0o600);
        await pair.run({ dryRun: true });
      },
      ({ beta }) => beta.remove("f"),
    ],
    "a rename": [async () => undefined, ({ alpha }) => alpha.rename("f", "renamed")],
    "a deletion, and a rename": [
      async () => undefined,
      ({ alpha, beta }) => {
        beta.remove("f");
        alpha.rename("f", "renamed");
      },
    ],
  };

  for (const mode of MODES) {
    for (const [trigger, [before, after]] of Object.entries(TRIGGERS)) {
      if (trigger.endsWith("mirror") && mode !== "one-way-replica") continue;
      for (const [size, good] of Object.entries(GOOD)) {
        test(`[S-38] ${mode}: ${trigger} brings no rot of a ${size} file to the other side`, async () => {
          const pair = new SimPair({ session: { mode } });
          pair.alpha.put({ f: good, other: "other" });
          await pair.agree();
          await before(pair);
          pair.rest();
          pair.alpha.disk.flipBit("/root/f", 3);
          const rotten = pair.alpha.read("f");
          after(pair);
          const path = trigger.endsWith("rename") ? "renamed" : "f";
          // Neither the first run, nor a later one that has no more to go by than the index, nor one that reads it all.
          for (const deep of [false, false, true, false]) {
            const outcome = await pair.run({ deep });
            expect(problemsOf(outcome)).toMatchObject([{ path, side: "alpha", code: DAMAGE, transient: false }]);
            expect(outcome.summary?.healed).toBe(0);
            expect(outcome.summary?.result).toBe("problems");
            expect(pair.beta.contents().all.has(rotten)).toBe(false);
            // What the rename took away there is in the trash.
            if (trigger === "a rename") expect(pair.beta.contents().all.has(good)).toBe(true);
            expect(pair.alpha.read(path)).toBe(rotten);
          }
          // Written anew it is what the person wants.
          pair.alpha.put({ [path]: good });
          await pair.agree();
          expect(pair.beta.read(path)).toBe(good);
        });
      }
    }
  }

  test("[APPLY-23] [S-38] a rotten file gets no new time from the other side, which would make an edit of the rot", async () => {
    for (const mode of ["two-way-safe", "two-way-resolved"] as const) {
      for (const content of Object.values(GOOD)) {
        const pair = new SimPair({ session: { mode } });
        pair.alpha.put({ f: content });
        await pair.agree();
        pair.alpha.disk.flipBit("/root/f", 3);
        pair.beta.user.setMtime("/root/f", 1_000_000_000n);
        for (const deep of [false, false, true, false]) {
          expect(problemsOf(await pair.run({ deep }))).toMatchObject([{ path: "f", side: "alpha", code: "SUSPECT" }]);
          expect(pair.beta.read("f")).toBe(content);
        }
        pair.alpha.disk.flipBit("/root/f", 3);
        await pair.run({ deep: true });
        expect(pair.alpha.disk.inodeAt("/root/f").mtimeNs).toBe(1_000_000_000n);
      }
    }
  });

  test("[READ-2] [S-38] rot gets no sum when one is asked for, and the one that is known stays", async () => {
    for (const content of Object.values(GOOD)) {
      const pair = new SimPair();
      pair.alpha.put({ f: content });
      await pair.agree();
      const never = new AbortController().signal;
      const sums = (): ReturnType<Endpoint["sums"]> => pair.withEndpoint("alpha", (one) => one.sums(["f"], never));
      const before = await sums();
      pair.rest();
      pair.alpha.disk.flipBit("/root/f", 3);
      expect(await sums()).toMatchObject([{ path: "f", code: "CORRUPT" }]);
      pair.alpha.disk.flipBit("/root/f", 3);
      expect(await sums()).toEqual(before);
    }
  });

  test("[S-38] a copy or a delta that would use a rotten file brings none of it into what is built from it", async () => {
    const good = "precious ".repeat(130_000);
    const pair = new SimPair();
    pair.alpha.put({ f: good });
    await pair.agree();
    pair.beta.disk.flipBit("/root/f", 3);
    const rotten = pair.beta.read("f");
    // The same bytes under another name, which beta would copy from its own file.
    pair.alpha.put({ copy: good });
    expect((await pair.run()).summary).toMatchObject({ result: "same", bytes: { literal: good.length, reused: 0 } });
    expect(pair.beta.read("copy")).toBe(good);
    // An edit, for which the rotten file is the base.
    pair.alpha.put({ f: `${good}!` });
    await pair.agree();
    expect(pair.beta.contents().visible.has(rotten)).toBe(false);
    expect(pair.beta.read("f")).toBe(`${good}!`);
  });

  for (const mode of MODES) {
    for (const [size, good] of Object.entries(GOOD)) {
      test(`[S-38] ${mode}: a ${size} file that a real disk gives back otherwise is not sent`, async () => {
        using pair = new RealPair({ mode });
        const at = { alpha: join(pair.roots.alpha, "f"), beta: join(pair.roots.beta, "f") };
        writeFileSync(at.alpha, good);
        // Long enough ago that its times prove something.
        await Bun.sleep(30);
        expect((await pair.run()).summary?.result).toBe("same");
        pair.wrap = (side, fs) => (side === "alpha" ? rotting(fs, "f") : fs);
        rmSync(at.beta);
        if (mode !== "one-way-replica") chmodSync(at.alpha, 0o600);
        for (const deep of [false, true]) {
          const outcome = await pair.run({ deep });
          expect(problemsOf(outcome)).toMatchObject([{ path: "f", side: "alpha", code: DAMAGE }]);
          expect(existsSync(at.beta)).toBe(false);
        }
        pair.wrap = (_side, fs) => fs;
        expect((await pair.run()).summary?.result).toBe("same");
        expect(readFileSync(at.beta, "utf8")).toBe(good);
      });
    }
  }
});
