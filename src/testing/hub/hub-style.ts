/** What kind of life a simulated hub has, drawn from its seed. Each draw has a fork of its own: more of them change no life. */
import type { SpaceSettings } from "#hub/space.ts";
import type { SimRandom } from "#testing/sim-random.ts";

export type HubStyle = {
  readonly settings: Partial<SpaceSettings>;
  /** Chunks rot in this life. Hosts lose no power then: nobody would know the bytes that such a loss makes. */
  readonly rots: boolean;
  /** Nothing goes wrong but what people do. */
  readonly calm: boolean;
  /** Files are so large that the hub takes them in pieces. Each costs as much as a life without. */
  readonly streams: boolean;
  /** Another hub follows the space. */
  readonly follows: boolean;
  /** That one is promoted in the end. */
  readonly promotes: boolean;
  /** Once it is, hosts and people go on with it. */
  readonly failsOver: boolean;
  /** The hub is backed up, and lost now and then. */
  readonly isLost: boolean;
  /** Somebody sends files as uploads. */
  readonly uploads: boolean;
  /** Somebody encrypts files with a key of his own, so that no host gets them. */
  readonly encrypts: boolean;
  /** People give files second names. Links of a hub carry them as files of their own. */
  readonly links: boolean;
  /** People write ignore files. */
  readonly ignores: boolean;
  /** People often make things once more as they were. */
  readonly anew: boolean;
};

/** What happens in a life in any case, and not in some. */
export type Always = "streams" | "fails over" | "is lost" | "uploads" | "ignores" | "encrypts";

export function drawStyle(random: SimRandom, always?: Always): HubStyle {
  const style = random.fork("style");
  const rots = style.chance(0.2) && (always === undefined || always === "streams");
  const calm = style.chance(0.15);
  const retention = style.pick([undefined, undefined, { versions: 1, ageMs: undefined }, { versions: 0, ageMs: undefined }]);
  const far = random.fork("copy");
  const follows = far.chance(0.5) || always === "fails over";
  const failsOver = random.fork("failover").chance(0.5) || always === "fails over";
  return {
    settings: retention === undefined ? {} : { retention },
    rots,
    calm,
    streams: random.fork("streams").chance(0.03) || always === "streams",
    follows,
    promotes: far.chance(0.3) || always === "fails over",
    failsOver: failsOver && !rots,
    isLost: (random.fork("lost").chance(0.4) || always === "is lost") && !rots,
    uploads: (random.fork("uploads").chance(0.3) || always === "uploads") && !rots,
    // What rots is healed with bytes that somebody still has.
    encrypts: (random.fork("encrypts").chance(0.25) || always === "encrypts") && !rots,
    links: random.fork("links of people").chance(0.25),
    ignores: random.fork("ignores").chance(0.25) || always === "ignores",
    anew: random.fork("anew").chance(0.2),
  };
}
