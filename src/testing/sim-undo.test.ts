import { expect, test } from "bun:test";
import { contentDigest } from "#testing/sim-content.ts";
import { SimLink } from "#testing/sim-link.ts";
import { contentsOf, viewOf } from "#testing/sim-oracle.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { takeBack } from "#testing/sim-undo.ts";

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
