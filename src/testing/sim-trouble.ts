/** What goes wrong during one session, drawn from a seed: deaths, refusals of the disk, people at the worst moment. */
import type { Side } from "#model/plan.ts";
import type { SimBoot } from "#testing/sim-host.ts";
import type { SimNetFaults } from "#testing/sim-net.ts";
import type { SimRandom } from "#testing/sim-random.ts";
import type { SimSession } from "#testing/sim-session.ts";
import type { Replica } from "#testing/sim-world.ts";

/** Calls that a full disk refuses. */
export const GROWING = new Set(["write", "create", "mkdir", "link", "symlink", "rename"]);

export type TroubleOptions = {
  /** Did the last session over this link die? Then this one may die in its recovery. */
  readonly afterDeath: boolean;
  /** Only people and the line make trouble. */
  readonly gentle?: boolean;
  /** Nobody is at the hosts when false. */
  readonly people?: boolean;
  /** Somebody at the host of the replica does something at the beginning of a call; calls back at that of the next. */
  readonly interrupt: (replica: Replica) => () => void;
};

export class Trouble {
  /** May a side die or its disk refuse? Otherwise only a lost line can end the session early. */
  readonly isHard: boolean;
  readonly #random: SimRandom;
  readonly #options: TroubleOptions;
  readonly #hard: Record<Side, { readonly death: boolean; readonly errno: string | undefined }>;

  constructor(random: SimRandom, options: TroubleOptions) {
    this.#random = random;
    this.#options = options;
    this.#hard = { alpha: this.#draw(), beta: this.#draw() };
    const { alpha, beta } = this.#hard;
    this.isHard = alpha.death || beta.death || alpha.errno !== undefined || beta.errno !== undefined;
  }

  #draw(): { death: boolean; errno: string | undefined } {
    const random = this.#random;
    const death = random.chance(this.#options.afterDeath ? 0.4 : 0.3);
    const errno = random.chance(0.2) ? random.pick(["EIO", "ENOSPC", "EACCES", "EIO"]) : undefined;
    return this.#options.gentle === true ? { death: false, errno: undefined } : { death, errno };
  }

  /** A network of this session's own badness; most are good. */
  static net(random: SimRandom): SimNetFaults {
    if (random.chance(0.4)) return { delayMs: random.pick([0, 20]) };
    return {
      delayMs: random.pick([0, 5, 200]),
      cutChance: random.pick([0, 0.01, 0.05]),
      stallChance: random.pick([0, 0, 0.02]),
      stallMs: random.pick([500, 5000, 100_000]),
    };
  }

  arrange(session: SimSession): void {
    const { link } = session;
    const boots: Record<Side, number> = { alpha: 0, beta: 0 };
    for (const side of ["alpha", "beta"] as const) {
      const random = this.#random.fork(`commits ${side}`);
      if (!this.#hard[side].death || !random.chance(0.3)) continue;
      this.#dieAtCommit(session, side, 1 + random.int(random.pick([6, 20])), random.chance(0.4));
    }
    session.onBoot = (side, boot) => {
      const at = ++boots[side];
      this.#prepare(session, side, link[side], boot, this.#random.fork(`${side} ${at}`), at);
    };
  }

  #dieAtCommit(session: SimSession, side: Side, at: number, power: boolean): void {
    let count = 0;
    session.link[side].onCommit = () => {
      if (++count === at) session.die(side, `at commit ${at}`, power);
    };
  }

  #prepare(session: SimSession, side: Side, replica: Replica, boot: SimBoot, random: SimRandom, start: number): void {
    const { death, errno } = this.#hard[side];
    // What starts again in the middle of a session is recovering, so it dies early if at all.
    if (death && (start === 1 || random.chance(0.3))) {
      const early = start > 1 || (this.#options.afterDeath && random.chance(0.6));
      const at = 1 + random.int(early ? 12 : random.pick([20, 60, 200]));
      const power = random.chance(0.4);
      boot.fs.onEffect = (count) => {
        if (count === at) session.die(side, `at effect ${at}`, power);
      };
    }
    if (errno !== undefined) this.#refuse(boot, errno, random.fork("faults"));
    if (this.#options.people !== false && random.chance(0.3)) {
      const chance = random.fork("interleave");
      let atNextCall: (() => void) | undefined;
      boot.fs.interleave = () => {
        atNextCall?.();
        atNextCall = chance.chance(0.01) ? this.#options.interrupt(replica) : undefined;
      };
    }
  }

  #refuse(boot: SimBoot, errno: string, random: SimRandom): void {
    const rate = random.pick([0.005, 0.05]);
    boot.fs.faults = (call, info) => {
      if (call === "close" || (errno === "ENOSPC" && !GROWING.has(call))) return undefined;
      return info.path.startsWith("/root/") && random.chance(rate) ? errno : undefined;
    };
  }
}
