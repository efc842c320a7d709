/** What goes wrong in one round of a hub's life, drawn from a seed: on the hub, on an agent, on the way between them. */
import type { AgentSession } from "#testing/hub/agent-session.ts";
import { PACKS, type SimHub } from "#testing/hub/sim-hub.ts";
import type { SimBoot } from "#testing/sim-host.ts";
import type { SimRandom } from "#testing/sim-random.ts";
import { GROWING } from "#testing/sim-trouble.ts";

/**
 * The hub's process may die at any effect on its disk, around any commit, or at any time, and its disk may refuse.
 * @param readsFail also while it runs: a scrub takes that for damage, which somebody has to heal
 */
export function troubleHub(hub: SimHub, random: SimRandom, spanMs: number, readsFail: boolean): void {
  const power = (): boolean => random.chance(0.5);
  const errno = random.chance(0.25) ? random.pick(["ENOSPC", "EIO", "ENOSPC"]) : undefined;
  const rate = random.pick([0.01, 0.1]);
  const faults = random.fork("faults");
  const effect = random.chance(0.25) ? 1 + random.int(random.pick([10, 60])) : 0;
  const again = random.chance(0.3);
  let boots = 0;
  const prepare = (boot: SimBoot): void => {
    boots++;
    if (effect > 0 && (boots === 1 || (again && boots === 2))) {
      boot.fs.onEffect = (count) => {
        if (count === effect) throw hub.crash(`at effect ${effect}`, power());
      };
    }
    if (errno === undefined) return;
    boot.fs.faults = (call, { path, isEffect }) => {
      if (call === "close" || (errno === "ENOSPC" && !GROWING.has(call))) return undefined;
      if (!isEffect && !readsFail && hub.process !== undefined) return undefined;
      if (!path.startsWith(PACKS) || !faults.chance(rate)) return undefined;
      if (errno === "EIO") hub.isDoubtful = true;
      // No later sync of a directory would be true after an EIO, not even in another process: nobody can be blamed then.
      const answer = path === PACKS && errno === "EIO" ? "EDQUOT" : errno;
      hub.say(`hub: ${answer} for ${call} ${path}`);
      return answer;
    };
  };
  hub.onBoot = prepare;
  if (hub.process !== undefined) {
    const { fs } = hub.process.boot;
    fs.effects = 0;
    prepare(hub.process.boot);
  }
  if (random.chance(0.25)) dieAtCommit(hub, 1 + random.int(12), random.pick(["before", "after"]), power);
  if (!random.chance(0.25)) return;
  hub.clock.after(random.real() * spanMs, () => {
    if (hub.process !== undefined) hub.crash("of nothing", power());
  });
}

function dieAtCommit(hub: SimHub, at: number, wanted: "before" | "after", power: () => boolean): void {
  let count = 0;
  hub.onCommit = (when) => {
    if (when === wanted && ++count === at) throw hub.crash(`${when} commit ${at}`, power());
  };
}

export type AgentTrouble = {
  /** May a power loss take what was not durable? */
  readonly power: boolean;
  /** Somebody on the host does something at the beginning of a session's call; calls back at that of the next. */
  readonly interrupt: () => () => void;
};

/** The agent may die at any effect on its disk or commit of its state, its disk may refuse, people may interfere. */
export function troubleAgent(session: AgentSession, random: SimRandom, { power, interrupt }: AgentTrouble): void {
  const { boot, link } = session;
  if (random.chance(0.25)) {
    const at = 1 + random.int(random.pick([12, 60, 200]));
    const losesPower = power && random.chance(0.4);
    if (random.chance(0.3)) {
      let count = 0;
      link.replica.onCommit = () => {
        if (++count === at) session.die(`at commit ${at}`, losesPower);
      };
    } else {
      boot.fs.onEffect = (count) => {
        if (count === at) session.die(`at effect ${at}`, losesPower);
      };
    }
  }
  if (random.chance(0.15)) {
    const errno = random.pick(["EIO", "ENOSPC", "EACCES"]);
    const rate = random.pick([0.005, 0.05]);
    boot.fs.faults = (call, { path }) => {
      if (call === "close" || (errno === "ENOSPC" && !GROWING.has(call))) return undefined;
      return path.startsWith("/root/") && random.chance(rate) ? errno : undefined;
    };
  }
  if (!random.chance(0.3)) return;
  const chance = random.fork("interleave");
  let atNextCall: (() => void) | undefined;
  boot.fs.interleave = () => {
    atNextCall?.();
    atNextCall = chance.chance(0.01) ? interrupt() : undefined;
  };
}
