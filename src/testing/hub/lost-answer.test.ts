/** What becomes of a conflict when a host does not hear that the hub has taken what it sent. */
import { expect, test } from "bun:test";
import { AgentSession, type AgentLink } from "#testing/hub/agent-session.ts";
import { SimHub } from "#testing/hub/sim-hub.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { ROOT, Replica } from "#testing/sim-world.ts";

const FILE = `${ROOT}/both.txt`;
const never = new AbortController().signal;

class TwoHosts {
  readonly clock: SimClock;
  readonly hub: SimHub;
  readonly #random: SimRandom;
  #links: AgentLink[] = [];
  #sessions = 0;

  constructor(seed: number) {
    this.#random = new SimRandom(seed);
    this.clock = new SimClock(this.#random.fork("clock"));
    this.hub = new SimHub(this.clock, this.#random.fork("hub"), () => undefined);
  }

  async begin(): Promise<void> {
    this.hub.start();
    const seeds = await this.clock.runUntilIdle(this.hub.createSpace({}));
    this.#links = ["A", "B"].map((name) => {
      const replica = new Replica(name, this.clock, this.#random.fork(name), {});
      return { name, prefix: "", readOnly: false, mode: "two-way-safe", from: "host", seeds, replica };
    });
  }

  session(at: number): AgentSession {
    return new AgentSession(this.#links[at]!, this.hub, this.#random.fork(`session ${this.#sessions++}`), {});
  }

  async run(at: number): Promise<void> {
    const session = this.session(at);
    session.start();
    await session.finish();
  }

  write(contents: readonly string[]): void {
    for (const [at, { replica }] of this.#links.entries()) replica.host.user.write(FILE, contents[at]!);
  }

  /** The contents below the root of each host, by how often they are there. */
  found(): string[][] {
    return this.#links.map(({ replica }) => {
      const { user } = replica.host;
      const names = [...user.tree(ROOT).keys()].filter((name) => name.startsWith("both"));
      return names.map((name) => user.read(`${ROOT}/${name}`)).sort();
    });
  }
}

/** Ends as a killed process. */
function kill(session: AgentSession): void {
  try {
    session.die("before it heard of its commit", false);
  } catch (error) {
    if (!(error instanceof SimCrash)) throw error;
  }
}

const CONTENTS = [["of 0", "of 1"], ["of 1", "of 0"]] as const;

test("[HUBSIM-16] a host that never heard that its file came, and where another won there since, keeps it once", async () => {
  for (const contents of CONTENTS) {
    const two = new TwoHosts(1);
    await two.begin();
    two.write(contents);
    const cut = two.session(0);
    two.hub.onCommit = (when) => {
      if (when === "after" && cut.result === undefined) kill(cut);
    };
    cut.start();
    await cut.finish();
    two.hub.onCommit = undefined;
    for (const at of [1, 0, 1, 0]) await two.run(at);
    expect(two.found()).toEqual([["of 0", "of 1"], ["of 0", "of 1"]]);
    two.hub.close();
  }
});

test("[HUBSIM-16] the same where the hub takes what was sent only when the host has connected anew", async () => {
  for (const contents of CONTENTS) {
    const two = new TwoHosts(2);
    await two.begin();
    two.write(contents);
    const [first, again, other] = [two.session(0), two.session(0), two.session(1)];
    const late = Promise.withResolvers<void>();
    let commits = 0;
    two.hub.beforeCommit = async () => {
      commits++;
      if (commits === 1) {
        kill(first);
        await late.promise;
      } else if (commits === 2) {
        // What the new session has planned was planned before the old one's file is there, and another's wins over it.
        late.resolve();
        await two.clock.sleep(1000, never);
        other.start();
        while (other.result === undefined) await two.clock.sleep(10, never);
      }
    };
    first.start();
    two.clock.runFor(5000);
    again.start();
    for (const session of [again, other]) await session.finish();
    await first.finish();
    expect(commits).toBeGreaterThan(2);
    for (const at of [1, 0, 1, 0]) await two.run(at);
    expect(two.found()).toEqual([["of 0", "of 1"], ["of 0", "of 1"]]);
    two.hub.close();
  }
});
