/** What a simulated hub shows of the product that its own tests on a real disk cannot: power losses. */
import { expect, test } from "bun:test";
import { SPACE, SimHub, principal } from "#testing/hub/sim-hub.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimRandom } from "#testing/sim-random.ts";

const WHO = principal("user", "operator");

test("[BACKUP-10] a backup that has ended survives a power loss of the host that holds it, with its directory", async () => {
  for (let seed = 1; seed <= 10; seed++) {
    const random = new SimRandom(seed);
    const clock = new SimClock(random.fork("clock"));
    const hub = new SimHub(clock, random, () => undefined);
    hub.start();
    await clock.runUntilIdle(hub.createSpace({}));
    await clock.runUntilIdle(hub.backUp());
    hub.crash("after its backup", true);
    expect([seed, hub.host.user.exists("/backup/backup.json")]).toEqual([seed, true]);
    await clock.runUntilIdle(hub.living());
    hub.lose();
    const { spaces } = await clock.runUntilIdle(hub.living());
    expect([seed, hub.restores]).toEqual([seed, 1]);
    expect((await clock.runUntilIdle(spaces.spaces(WHO))).map(({ name }) => name)).toEqual([SPACE]);
    hub.close();
  }
});
