/** Undoes in simulated lives, and bugs that these have found; as sim-regressions.test.ts. */
import { expect, setDefaultTimeout, test } from "bun:test";
import type { Problem } from "#model/observation.ts";
import { SimPair } from "#testing/scenarios/sim-pair.ts";
import { contentDigest } from "#testing/sim-content.ts";
import type { SimBoot } from "#testing/sim-host.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimLink } from "#testing/sim-link.ts";
import { contentsOf, viewOf } from "#testing/sim-oracle.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { takeBack } from "#testing/sim-undo.ts";

const never = new AbortController().signal;
// As there.
setDefaultTimeout(60_000);

const CONTENT = contentDigest(new TextEncoder().encode("one"));

/** A pair that agrees on e. */
async function agreed(): Promise<SimLink> {
  const pair = new SimLink();
  pair.link.alpha.host.user.write("/root/e", "one");
  await pair.session();
  return pair;
}

test("[SIM-74] an undo takes a content from a path, also where the side has it at another (seed 80035971)", async () => {
  const pair = await agreed();
  const { link, clock } = pair;
  link.alpha.host.user.rename("/root/e", "/root/a");
  link.beta.host.user.rename("/root/e", "/root/b");
  const { summary } = await pair.session();
  for (const side of ["alpha", "beta"] as const) {
    expect([...viewOf(link[side]).keys()]).toEqual(["a", "b"]);
    expect(await takeBack(link, side, summary!.runId, clock, new SimRandom(3))).toEqual([CONTENT]);
    expect([...viewOf(link[side]).keys()]).toEqual([side === "alpha" ? "a" : "b"]);
  }
  // README, Undo: each is a change like any other, so that each side gives up what the other took back.
  await pair.session();
  for (const side of ["alpha", "beta"] as const) {
    const { tree, all } = contentsOf(link[side]);
    expect([tree.has(CONTENT), all.has(CONTENT)]).toEqual([false, true]);
  }
});

test("[SIM-76] what the disk refuses in the middle is put in order by the next session, before its run (seed 110030854)", async () => {
  const pair = await agreed();
  const { link } = pair;
  const { beta } = link;
  link.alpha.host.user.remove("/root/e");
  let refused = 0;
  const { events } = await pair.session((one) => {
    one.onBoot = (_, { fs }) => {
      fs.faults = (call, { path }) => (call === "stat" && path.includes("/trash/") && refused++ === 0 ? "EIO" : undefined);
    };
  });
  expect(events.flatMap((event) => (event.type === "problem" ? [event.problem.code] : []))).toEqual(["EIO"]);
  expect([refused, link.alpha.awaitsRecovery, beta.awaitsRecovery]).toEqual([1, false, true]);
  // Nobody knows any more whether these are the bytes that were to go.
  const [trashed] = beta.host.disk.inodeAt("/root/.syncline/trash").entries!.values();
  beta.host.user.write(`/root/.syncline/trash/${trashed!.name}/0`, "other bytes");
  await pair.session();
  expect([beta.awaitsRecovery, viewOf(beta).get("e")?.content?.size]).toEqual([false, 11]);
});

test("[SIM-74] a rename that is taken back takes no content", async () => {
  const pair = await agreed();
  const { link, clock } = pair;
  link.alpha.host.user.rename("/root/e", "/root/a");
  const { summary } = await pair.session();
  expect([...viewOf(link.beta).keys()]).toEqual(["a"]);
  expect(await takeBack(link, "beta", summary!.runId, clock, new SimRandom(3))).toEqual([]);
  expect([...viewOf(link.beta).keys()]).toEqual(["e"]);
});

async function lastRunId(pair: SimPair): Promise<string> {
  const runs = await pair.withEndpoint("beta", (endpoint) => endpoint.runs());
  return runs.sort((a, b) => a.startedMs - b.startedMs).at(-1)!.runId;
}

function undo(pair: SimPair, runId: string, boot?: SimBoot): Promise<{ problems: Problem[] }> {
  return pair.withEndpoint("beta", (endpoint) => endpoint.undo(runId, never), boot);
}

test("[SIM-87] what a run's directories held is safe where the undo puts it before they go", async () => {
  const wasLost: string[] = [];
  let tries = 0;
  for (let k = 1; ; k++) {
    let hasDied = false;
    for (let seed = 1; seed <= 12; seed++) {
      const pair = new SimPair({ seed });
      pair.alpha.put({ f: "moved", g: "stays", h: "a file that gives way" });
      await pair.agree();
      pair.alpha.put({ "d/new": "new", h: undefined, "h/e/inner": "inner" });
      pair.alpha.rename("f", "d/f");
      await pair.agree();
      const runId = await lastRunId(pair);
      pair.beta.settle();
      const boot = pair.beta.host.boot();
      boot.fs.onEffect = (count) => {
        if (count !== k) return;
        hasDied = true;
        throw new SimCrash("the power goes");
      };
      await undo(pair, runId, boot).catch(() => undefined);
      pair.beta.powerLoss(new SimRandom(seed));
      tries++;
      const { problems } = await undo(pair, runId);
      const { all } = pair.beta.contents();
      const lost = ["moved", "new", "inner", "stays", "a file that gives way"].filter((content) => !all.has(content));
      if (lost.length > 0) wasLost.push(`${k} ${seed}: ${lost.join(", ")}`);
      else expect([k, seed, problems, pair.beta.show()]).toEqual([k, seed, [], "f=moved g=stays h=a file that gives way"]);
    }
    if (!hasDied) break;
  }
  expect(wasLost).toEqual([]);
  expect(tries).toBeGreaterThan(100);
});

test("[SIM-90] an undo that a power loss cut off does not name changed what it has put back itself (seed 300041197)", async () => {
  for (let k = 1, hasDied = true; hasDied; k++) {
    hasDied = false;
    for (let seed = 1; seed <= 12; seed++) {
      const pair = new SimPair({ seed, session: { conflict: "copy" } });
      pair.beta.put({ e: "beta's" });
      pair.alpha.put({ "e/": "" });
      await pair.run();
      expect(pair.beta.show()).toContain("e/");
      const runId = await lastRunId(pair);
      pair.beta.settle();
      const boot = pair.beta.host.boot();
      boot.fs.onEffect = (count) => {
        if (count !== k) return;
        hasDied = true;
        throw new SimCrash("the power goes");
      };
      await undo(pair, runId, boot).catch(() => undefined);
      if (!hasDied) break;
      pair.beta.powerLoss(new SimRandom(seed));
      expect([k, seed, (await undo(pair, runId)).problems, pair.beta.show()]).toEqual([k, seed, [], "e=beta's"]);
    }
  }
});

test("[SIM-89] where names cannot be swapped what the undo replaces is safe in its trash first (life 330001026 of three)", async () => {
  const wasLost: string[] = [];
  for (let k = 1, hasDied = true; hasDied; k++) {
    hasDied = false;
    for (let seed = 1; seed <= 12; seed++) {
      const pair = new SimPair({ seed, disk: { exchange: false } });
      pair.alpha.put({ f: "old", g: "old too" });
      await pair.agree();
      pair.alpha.put({ f: "new one", g: "another" });
      await pair.agree();
      const runId = await lastRunId(pair);
      pair.beta.settle();
      const boot = pair.beta.host.boot();
      boot.fs.onEffect = (count) => {
        if (count !== k) return;
        hasDied = true;
        throw new SimCrash("the power goes");
      };
      await undo(pair, runId, boot).catch(() => undefined);
      pair.beta.powerLoss(new SimRandom(seed));
      const { problems } = await undo(pair, runId);
      expect([k, seed, problems, pair.beta.show()]).toEqual([k, seed, [], "f=old g=old too"]);
      const { all } = pair.beta.contents();
      for (const content of ["new one", "another"]) if (!all.has(content)) wasLost.push(`${k} ${seed}: ${content}`);
    }
  }
  expect(wasLost).toEqual([]);
});

test("[UNDO-5] on a disk with coarse times, a time that a run set twice is known as the run's (seed 1220009842)", async () => {
  const pair = new SimPair({ beta: { disk: { timestampNs: 1_000_000n } } });
  const create = { kind: "file", size: 3, mode: 0o644, mtimeNs: 1_700_000_000_127_711_166n, sum: undefined } as const;
  const touched = { ...create, mtimeNs: 1_700_000_000_127_000_000n };
  await pair.withEndpoint("beta", async (endpoint) => {
    const scan = { since: 0, acknowledged: 0, extent: "full", deep: false } as const;
    await endpoint.scan(scan, async () => undefined, never);
    const run = endpoint.apply("run", never);
    const bytes = Buffer.from("abc");
    for (const path of ["f", "g"]) {
      await run.push([{ type: "change", change: { side: "beta", path, old: undefined, new: create, action: "content" }, bytes }]);
    }
    await run.commit(() => undefined);
    await run.push([{ type: "change", change: { side: "beta", path: "f", old: create, new: touched, action: "metadata" } }]);
    // By then the index knows nothing of the file that the run made first.
    const other = { ...create, mtimeNs: 5n };
    await run.push([{ type: "change", change: { side: "beta", path: "g", old: create, new: other, action: "content" }, bytes }]);
    await run.commit(() => undefined);
    const changes = await endpoint.runChanges("run");
    expect(changes.map(({ action }) => action)).toEqual(["create", "create", "metadata", "replace"]);
    expect((await endpoint.undo("run", never)).problems).toEqual([]);
  });
  expect(pair.beta.show()).toBe("");
});
