import { afterEach, describe, expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN, type TestAgent, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";

setDefaultTimeout(AGENT_TEST_MS);

const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);

describe("a command after a batch that is cut off", () => {
  let hub: AgentHub;

  afterEach(() => hub[Symbol.asyncDispose]());

  const view = (name: string) => hub.agents.host(ADMIN, name).links[0]!;
  const file = (name: string): string => join(hub.dir, name);

  /** The command hangs the first time that there is something to be told of, and then does as `then` says. */
  async function begun(then: string, onAfterFailure: "report" | "rollback"): Promise<{ a: string; b: string; again: () => TestAgent; agent: TestAgent }> {
    hub = await AgentHub.start();
    const [a, b] = [hub.folder("a"), hub.folder("b")];
    const after = `if test ! -e ${file("begun")}; then touch ${file("begun")}; exec sleep 50; fi; cat >> ${file("seen")}; ${then}`;
    const hooks = { before: undefined, after, timeoutMs: 55_000, onAfterFailure } as const;
    hub.agent("web1", [linkTo(a, "demo")]);
    const again = (): TestAgent => hub.agent("web2", [linkTo(b, "demo")], { hooks });
    const agent = again();
    await until("both watch", () => hub.agents.hosts(ADMIN).length === 2 && hub.agents.hosts(ADMIN).every(({ status }) => status === "healthy"));
    writeFileSync(join(a, "f"), "one");
    await until("the command has begun", () => existsSync(file("begun")));
    expect(text(join(b, "f"))).toBe("one");
    return { a, b, again, agent };
  }

  const line = `${JSON.stringify({ action: "create", path: "f" })}\n`;

  test("[AGENT-125] it runs once more when the agent does, and is told of the same", async () => {
    const { again, agent } = await begun("true", "report");
    await agent.stop();
    expect(text(file("seen"))).toBeUndefined();
    const second = again();
    await until("it was told", () => text(file("seen")) === line);
    await until("all is well", () => view("web2").status === "healthy");
    await second.stop();
    again();
    await until("all is well again", () => view("web2").status === "healthy" && view("web2").state?.phase === "watching");
    expect(text(file("seen"))).toBe(line);
  });

  test("[AGENT-125] a batch of which it says then that it is no good is taken back, also where only its session was begun anew", async () => {
    const { a, b } = await begun("false", "rollback");
    hub.listener.rescan("web2", view("web2").link.id, 7, AbortSignal.timeout(30_000)).catch(() => undefined);
    await until("it is paused", () => view("web2").status === "paused");
    await until("it was taken back", () => text(join(b, "f")) === undefined);
    expect(text(file("seen"))).toBe(line);
    expect(text(join(a, "f"))).toBe("one");
  });
});
