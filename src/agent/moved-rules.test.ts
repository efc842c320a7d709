import { expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";

setDefaultTimeout(AGENT_TEST_MS);

const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);

test("[AGENT-100] an ignore file that goes elsewhere takes its rules along: what it hid in the space comes (life 1300016365)", async () => {
  await using hub = await AgentHub.start(["demo"]);
  const [a, b] = [hub.folder("a"), hub.folder("b")];
  for (const [root, name] of [[a, "web1"], [b, "web2"]] as const) hub.agent(name, [linkTo(root, "demo")]);
  for (const dir of ["d", "other"]) mkdirSync(join(a, dir));
  for (const name of ["d/x", "d/hidden", "other/x"]) writeFileSync(join(a, name), name);
  await until("all is on b", () => ["d/x", "d/hidden", "other/x"].every((name) => text(join(b, name)) === name));
  writeFileSync(join(a, "d/.synclineignore"), "hidden\n");
  await until("the rules are on b", () => existsSync(join(b, "d/.synclineignore")));
  const sequence = async (): Promise<number> => (await hub.spaces.space(ADMIN, "demo")).sequence;
  const before = await sequence();
  rmSync(join(b, "d/hidden"));
  writeFileSync(join(b, "d/y"), "y");
  await until("b was looked at", async () => (await sequence()) > before);
  expect(text(join(a, "d/hidden"))).toBe("d/hidden");
  renameSync(join(b, "d/.synclineignore"), join(b, "other/.synclineignore"));
  await until("what was hidden comes", () => text(join(b, "d/hidden")) === "d/hidden");
  await until("the rules went over", () => existsSync(join(a, "other/.synclineignore")) && !existsSync(join(a, "d/.synclineignore")));
  expect(text(join(a, "d/hidden"))).toBe("d/hidden");
});
