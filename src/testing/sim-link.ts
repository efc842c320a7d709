/** Two replicas and one session after the other between them, for tests of the judges of simulated lives. */
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { type SessionResult, SimSession } from "#testing/sim-session.ts";
import { type LinkSpec, Replica } from "#testing/sim-world.ts";

/** Beyond the time in which a file counts as just written. */
const PAUSE_NS = 60_000_000_000;

export class SimLink {
  readonly clock = new SimClock();
  readonly link: LinkSpec;

  constructor() {
    const make = (name: string): Replica => new Replica(name, this.clock, new SimRandom(1), {});
    const base = { mode: "two-way-safe", conflict: "leave", delete: true, preserve: PRESERVE_DEFAULT, remote: false } as const;
    this.link = { alpha: make("A"), beta: make("B"), ...base };
  }

  /** Runs one session to its end, a while after what was done before. */
  async session(arrange?: (session: SimSession) => void): Promise<SessionResult> {
    this.clock.spend(PAUSE_NS);
    const session = new SimSession(this.link, this.clock, new SimRandom(2), {});
    arrange?.(session);
    session.start();
    const result = await session.finish();
    this.clock.spend(PAUSE_NS);
    return result;
  }
}
