import { expect, test } from "bun:test";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { contentDigest } from "#testing/sim-content.ts";
import type { SimBoot } from "#testing/sim-host.ts";
import { contentsOf, viewOf } from "#testing/sim-oracle.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { type SessionResult, SimSession } from "#testing/sim-session.ts";
import { takeBack } from "#testing/sim-undo.ts";
import { type LinkSpec, Replica } from "#testing/sim-world.ts";

const CONTENT = contentDigest(new TextEncoder().encode("one"));

/** A pair that agrees on e, and its sessions. */
async function agreed(): Promise<{ link: LinkSpec; clock: SimClock; session: (trouble?: (boot: SimBoot) => void) => Promise<SessionResult> }> {
  const clock = new SimClock();
  const make = (name: string): Replica => new Replica(name, clock, new SimRandom(1), {});
  const base = { mode: "two-way-safe", conflict: "leave", delete: true, preserve: PRESERVE_DEFAULT, remote: false } as const;
  const link: LinkSpec = { alpha: make("A"), beta: make("B"), ...base };
  const session = async (trouble?: (boot: SimBoot) => void): Promise<SessionResult> => {
    clock.spend(60_000_000_000);
    const one = new SimSession(link, clock, new SimRandom(2), {});
    one.onBoot = (side, boot) => (side === "beta" ? trouble?.(boot) : undefined);
    one.start();
    return one.finish();
  };
  link.alpha.host.user.write("/root/e", "one");
  await session();
  clock.spend(60_000_000_000);
  return { link, clock, session };
}

test("[SIM-74] an undo takes a content from a path, also where the side has it at another (seed 80035971)", async () => {
  const { link, clock, session } = await agreed();
  link.alpha.host.user.rename("/root/e", "/root/a");
  link.beta.host.user.rename("/root/e", "/root/b");
  const { summary } = await session();
  for (const side of ["alpha", "beta"] as const) {
    expect([...viewOf(link[side]).keys()]).toEqual(["a", "b"]);
    expect(await takeBack(link, side, summary!.runId, clock, new SimRandom(3))).toEqual([CONTENT]);
    expect([...viewOf(link[side]).keys()]).toEqual([side === "alpha" ? "a" : "b"]);
  }
  // README, Undo: each is a change like any other, so that each side gives up what the other took back.
  await session();
  for (const side of ["alpha", "beta"] as const) {
    const { tree, all } = contentsOf(link[side]);
    expect([tree.has(CONTENT), all.has(CONTENT)]).toEqual([false, true]);
  }
});

test("[SIM-76] what the disk refuses in the middle is put in order by the next session, before its run (seed 110030854)", async () => {
  const { link, session } = await agreed();
  const { beta } = link;
  link.alpha.host.user.remove("/root/e");
  let refused = 0;
  const { events } = await session(({ fs }) => {
    fs.faults = (call, { path }) => (call === "stat" && path.includes("/trash/") && refused++ === 0 ? "EIO" : undefined);
  });
  expect(events.flatMap((event) => (event.type === "problem" ? [event.problem.code] : []))).toEqual(["EIO"]);
  expect([refused, link.alpha.awaitsRecovery, beta.awaitsRecovery]).toEqual([1, false, true]);
  // Nobody knows any more whether these are the bytes that were to go.
  const [trashed] = beta.host.disk.inodeAt("/root/.syncline/trash").entries!.values();
  beta.host.user.write(`/root/.syncline/trash/${trashed!.name}/0`, "other bytes");
  await session();
  expect([beta.awaitsRecovery, viewOf(beta).get("e")?.content?.size]).toEqual([false, 11]);
});

test("[SIM-74] a rename that is taken back takes no content", async () => {
  const { link, clock, session } = await agreed();
  link.alpha.host.user.rename("/root/e", "/root/a");
  const { summary } = await session();
  expect([...viewOf(link.beta).keys()]).toEqual(["a"]);
  expect(await takeBack(link, "beta", summary!.runId, clock, new SimRandom(3))).toEqual([]);
  expect([...viewOf(link.beta).keys()]).toEqual(["e"]);
});
