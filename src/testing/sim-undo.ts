/** Takes a run back on one simulated side, as `syncline undo` does; now and then the process dies in the middle. */
import type { Side } from "#model/plan.ts";
import { SynclineError } from "#model/error.ts";
import { SessionState } from "#sync/session/state.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import { contentsOf, namesOf } from "#testing/sim-oracle.ts";
import { SimCrash } from "#testing/sim-process.ts";
import type { SimRandom } from "#testing/sim-random.ts";
import { type LinkSpec, sessionIdOf } from "#testing/sim-world.ts";

const never = new AbortController().signal;

/**
 * Undoes the run, again and again until no death interrupts it, some of them with a power loss where there may be one: all
 * that was there before must be durable then. Returns the contents that it took from a path, as a
 * person's removal does, also where another path of the side still has them: to the next session an undo is a change
 * like any other, and the other side may give that other path up. What only got its old name back was not taken.
 */
export async function takeBack(
  link: LinkSpec,
  side: Side,
  runId: string,
  clock: SimClock,
  random: SimRandom,
  mayLosePower = false,
): Promise<string[]> {
  const before = namesOf(link[side]);
  while (!(await attempt(link, side, runId, clock, random, mayLosePower)));
  const after = namesOf(link[side]);
  const taken = [...before].flatMap(([content, names]) => (names > (after.get(content) ?? 0) ? [content] : []));
  const { all } = contentsOf(link[side]);
  const lost = taken.find((content) => !all.has(content));
  if (lost !== undefined) throw new Error(`undo lost ${lost} of ${link[side].name}`);
  return taken;
}

async function attempt(
  link: LinkSpec,
  side: Side,
  runId: string,
  clock: SimClock,
  random: SimRandom,
  mayLosePower: boolean,
): Promise<boolean> {
  const replica = link[side];
  const boot = replica.host.boot();
  const endpoint = replica.endpoint(boot);
  if (random.chance(0.4)) {
    const at = 1 + random.int(10);
    boot.fs.onEffect = (count) => {
      if (count !== at) return;
      replica.kill(boot);
      throw new SimCrash(`died at effect ${at} of an undo`);
    };
  }
  const state = link.alpha.store(`session ${sessionIdOf(link)}`, boot);
  const { seeds } = new SessionState(state, boot.random);
  state.close();
  const body = async (): Promise<void> => {
    await endpoint.open(
      {
        sessionId: sessionIdOf(link),
        seeds,
        writable: true,
        ignore: [],
        include: [],
        preserve: link.preserve,
        durable: "batch",
        verifyReadBack: false,
        compress: "none",
        createRoot: false,
        expectRootId: undefined,
      },
      never,
    );
    const { problems } = await endpoint.undo(runId, never);
    if (problems.length > 0) throw new Error(`undo reported ${JSON.stringify(problems)}`);
    await endpoint.close();
  };
  try {
    await clock.runUntilIdle(body());
    if (boot.fs.openFds() > 0) throw new Error(`undo left open ${boot.fs.openPaths().join(", ")}`);
    return true;
  } catch (error) {
    if (!boot.fs.isDead || !(error instanceof SimCrash || error instanceof SynclineError)) throw error;
  } finally {
    replica.kill(boot);
  }
  if (mayLosePower && random.chance(0.4)) replica.powerLoss(random.fork("power"));
  return false;
}
