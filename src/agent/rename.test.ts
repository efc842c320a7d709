import { expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";

setDefaultTimeout(AGENT_TEST_MS);

const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);
const BY = ADMIN;

test("[AGENT-71] links follow their space when it is renamed, and what was agreed stays agreed, also over restarts of both", async () => {
  await using hub = await AgentHub.start(["demo", "spare"]);
  const [a, b] = [hub.folder("a"), hub.folder("b")];
  const agents = [hub.agent("web1", [linkTo(a, "demo")]), hub.agent("web2", [linkTo(b, "demo")])];
  for (const name of ["f", "g", "h"]) writeFileSync(join(a, name), name);
  await until("all is on b", () => ["f", "g", "h"].every((name) => text(join(b, name)) === name));
  const files = (name: string): number => hub.agents.hosts(ADMIN).find((one) => one.name === name)?.links[0]?.state?.files ?? -1;
  await until("it is agreed", () => files("web1") === 3 && files("web2") === 3);
  const ids = ["web1", "web2"].map((name) => hub.registry.linksOf(name)[0]!.id);
  await hub.spaces.updateSpace(BY, "demo", { name: "site" });
  // The old name is another space's now.
  await hub.spaces.updateSpace(BY, "spare", { name: "demo" });
  rmSync(join(a, "f"));
  writeFileSync(join(b, "g"), "edited");
  await until("both went over", () => !existsSync(join(b, "f")) && text(join(a, "g")) === "edited");
  expect(hub.registry.linksOf("web1").map(({ id, space }) => [id, space])).toEqual([[ids[0]!, "site"]]);
  await agents[1]!.stop();
  rmSync(join(a, "h"));
  await until("the space has it", async () => (await hub.spaces.version(ADMIN, "site", "h"))?.entry === undefined);
  await hub.stop();
  await hub.start();
  // It still declares the name that the space had.
  hub.agent("web2", [linkTo(b, "demo")]);
  await until("the deletion arrives", () => !existsSync(join(b, "h")));
  writeFileSync(join(b, "i"), "i");
  await until("it goes on", () => text(join(a, "i")) === "i");
  expect((await hub.spaces.space(ADMIN, "demo")).sequence).toBe(0);
  expect(existsSync(join(a, "f"))).toBe(false);
});
