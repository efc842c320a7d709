import { expect, test } from "bun:test";
import { agreedOf, missing } from "#testing/sim-agreed.ts";
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
