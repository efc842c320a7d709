import { expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";

setDefaultTimeout(AGENT_TEST_MS);

test("[AGENT-101] what a quota had kept out comes when the quota is raised, without a change on the host", async () => {
  await using hub = await AgentHub.start(["demo"]);
  await hub.spaces.updateSpace(ADMIN, "demo", { settings: { quotaBytes: 10_000 } });
  const [a, b] = [hub.folder("a"), hub.folder("b")];
  for (const [root, name] of [[a, "web1"], [b, "web2"]] as const) hub.agent(name, [linkTo(root, "demo")]);
  writeFileSync(join(a, "small"), "small");
  await until("the small file is on b", () => existsSync(join(b, "small")));
  writeFileSync(join(a, "large"), "x".repeat(20_000));
  writeFileSync(join(a, "later"), "later");
  await until("the file behind it is on b", () => existsSync(join(b, "later")));
  expect(existsSync(join(b, "large"))).toBe(false);
  await hub.spaces.updateSpace(ADMIN, "demo", { settings: { quotaBytes: 100_000 } });
  await until("the large file is on b", () => existsSync(join(b, "large")));
});
