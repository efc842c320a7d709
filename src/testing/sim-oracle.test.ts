import { expect, test } from "bun:test";
import { type Exempt, difference } from "#testing/sim-oracle.ts";
import { SimLink } from "#testing/sim-link.ts";

test("[SIM-79] what was renamed to where something ignored stands keeps its old name on that side until it is gone (life 7400266 of three)", async () => {
  const pair = new SimLink();
  const { alpha, beta } = pair.link;
  alpha.host.user.write("/root/.synclineignore", "c/\n");
  alpha.host.user.write("/root/a", "one");
  await pair.session();
  beta.host.user.mkdir("/root/c");
  alpha.host.user.rename("/root/a", "/root/c");
  const { events } = await pair.session();
  const problems = events.flatMap((event) => (event.type === "problem" ? [event.problem.path] : []));
  expect(problems).toEqual(["c"]);
  expect(beta.host.user.read("/root/a")).toBe("one");
  const exempt: Exempt = { conflicts: new Set(), problems };
  expect(difference(pair.link, exempt)).toBeUndefined();
  expect(difference(pair.link, { ...exempt, blocked: [] })).toStartWith("not the same at a:");
  // Anything else there is a difference all the same.
  beta.host.user.write("/root/a", "two");
  expect(difference(pair.link, exempt)).toStartWith("not the same at a:");
  beta.host.user.write("/root/a", "one");
  beta.host.user.remove("/root/c");
  await pair.session();
  await pair.session();
  expect([beta.host.user.exists("/root/c"), difference(pair.link, { conflicts: new Set() })]).toEqual([true, undefined]);
});
