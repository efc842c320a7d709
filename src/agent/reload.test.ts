import { expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";
import type { Reloadable } from "#agent/agent.ts";

setDefaultTimeout(AGENT_TEST_MS);

const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);

test("[CONF-12] links and commands of a configuration that is read anew hold without a restart; those that stay go on", async () => {
  await using hub = await AgentHub.start(["demo", "other"]);
  const [a, b, c] = ["a", "b", "c"].map((name) => hub.folder(name)) as [string, string, string];
  const seen = join(hub.dir, "seen");
  let take: ((next: Reloadable) => void) | undefined;
  hub.agent("web0", [linkTo(c, "demo")]);
  hub.agent("web1", [linkTo(a, "demo")], { onReload: (listener) => (take = listener) });
  const roots = (): string[] => (hub.agents.hosts(ADMIN).find(({ name }) => name === "web1")?.links ?? []).map(({ link }) => link.root);
  await until("it is here", () => roots().length === 1);
  const first = hub.registry.linksOf("web1")[0]!.id;
  const hooks = { before: undefined, after: `cat >> ${seen}`, timeoutMs: 10_000, onAfterFailure: "report" } as const;
  take!({ links: [linkTo(a, "demo"), linkTo(b, "other")], ignore: ["*.tmp"], hooks, mayInstall: false });
  await until("it has both", () => roots().length === 2);
  writeFileSync(join(b, "f"), "one");
  await until("the new one is kept", async () => (await hub.spaces.version(ADMIN, "other", "f")) !== undefined);
  writeFileSync(join(a, "x.tmp"), "not to be seen");
  writeFileSync(join(c, "g"), "two");
  await until("the old one goes on", () => text(join(a, "g")) === "two");
  await until("the command runs", () => text(seen)?.includes('"g"') === true);
  expect(await hub.spaces.version(ADMIN, "demo", "x.tmp")).toBeUndefined();
  expect(hub.registry.linksOf("web1").map(({ id }) => id)).toContain(first);
  take!({ links: [linkTo(b, "other")], ignore: [], hooks, mayInstall: false });
  await until("the first has ended", () => roots().length === 1 && hub.log.some((line) => line.startsWith(`web1 link has ended link=${first}`)));
  expect(text(join(a, "g"))).toBe("two");
});

test("[AGENT-113] a link of the same root and another space begins when the one before it has ended", async () => {
  await using hub = await AgentHub.start(["demo", "other"]);
  const root = hub.folder("a");
  let take: ((next: Reloadable) => void) | undefined;
  hub.agent("web1", [linkTo(root, "demo")], { onReload: (listener) => (take = listener) });
  const spaces = (): string[] => (hub.agents.hosts(ADMIN).find(({ name }) => name === "web1")?.links ?? []).map(({ link }) => link.space);
  const words = (): string[] => hub.log.flatMap((line) => /^web1 (link begins|link has ended) /.exec(line)?.[1] ?? []);
  writeFileSync(join(root, "f"), "one");
  await until("it is kept", async () => (await hub.spaces.version(ADMIN, "demo", "f")) !== undefined);
  const hooks = { before: undefined, after: undefined, timeoutMs: 10_000, onAfterFailure: "report" } as const;
  take!({ links: [linkTo(root, "other")], ignore: [], hooks, mayInstall: false });
  await until("the other one is there", async () => spaces().join() === "other" && (await hub.spaces.version(ADMIN, "other", "f")) !== undefined);
  expect(words()).toEqual(["link begins", "link has ended", "link begins"]);
});
