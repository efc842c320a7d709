import { expect, test } from "bun:test";
import { agreedOf, missing } from "#testing/sim-agreed.ts";
import { SimPair } from "#testing/scenarios/sim-pair.ts";
import { SimLink } from "#testing/sim-link.ts";
import { SimRandom } from "#testing/sim-random.ts";

test("[SIM-115] what a session agreed on is known by what both sides hold, and missed where a side has it no more", async () => {
  const pair = new SimLink();
  const { alpha, beta } = pair.link;
  alpha.host.user.mkdir("/root/d");
  alpha.host.user.write("/root/d/f", "one");
  alpha.host.user.symlink("/root/l", "elsewhere");
  beta.host.user.mkdir("/root/e");
  await pair.session();
  alpha.host.user.mkdir("/root/later");
  const agreed = agreedOf(pair.link);
  expect([...agreed.keys()]).toEqual(["d", "d/f", "e", "l"]);
  for (let seed = 1; seed <= 10; seed++) {
    for (const side of [alpha, beta]) {
      side.powerLoss(new SimRandom(seed));
      expect(missing(agreed, side)).toBeUndefined();
    }
  }
  beta.host.user.remove("/root/l");
  beta.host.user.symlink("/root/l", "there");
  expect(missing(agreed, beta)).toBe("agreed, but not durable on B at l: was symlink elsewhere, is symlink there");
  beta.host.user.remove("/root/l");
  expect(missing(agreed, beta)).toEndWith("is nothing");
  expect(missing(agreed, alpha)).toBeUndefined();
});

test("[SIM-116] a root's marker whose sync was refused is durable before anybody remembers the root by it (seed 1220000565)", async () => {
  // Of both files, and of the directory that holds them.
  for (let refused = 0; refused < 3; refused++) {
    const pair = new SimPair({ seed: refused + 1 });
    pair.alpha.put({ f: "one" });
    let syncs = 0;
    await pair.run({}, ({ beta }) => {
      beta.fs.faults = (call) => (call === "sync" && syncs++ === refused ? "EIO" : undefined);
    });
    await pair.run();
    pair.beta.powerLoss(new SimRandom(refused));
    expect([refused, await pair.agree()]).toEqual([refused, "f=one"]);
  }
});
