import { afterEach, describe, expect, test, setDefaultTimeout } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import { ADMIN, type TestAgent, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";

setDefaultTimeout(AGENT_TEST_MS);

const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);

describe("a command after a batch that takes it back", () => {
  let hub: AgentHub;

  afterEach(() => hub[Symbol.asyncDispose]());

  const view = (name: string) => hub.agents.host(ADMIN, name).links[0]!;
  const healthy = (...names: string[]): Promise<void> =>
    until(`${names.join()} are healthy: ${hub.log.slice(-6).join("\n")}`, () =>
      names.every((name) => hub.agents.hosts(ADMIN).some((one) => one.name === name && one.status === "healthy" && one.links.length > 0)),
    );

  async function begun(wrapRoot: (root: Endpoint) => Endpoint = (root) => root): Promise<{ a: string; b: string; bad: string; again: () => TestAgent; agent: TestAgent }> {
    hub = await AgentHub.start();
    const [a, b] = [hub.folder("a"), hub.folder("b")];
    const bad = join(hub.dir, "bad");
    const hooks = { before: undefined, after: `test ! -e ${bad}`, timeoutMs: 10_000, onAfterFailure: "rollback" } as const;
    hub.agent("web1", [linkTo(a, "demo")]);
    const again = (): TestAgent => hub.agent("web2", [linkTo(b, "demo")], { hooks, wrapRoot });
    const agent = again();
    await healthy("web1", "web2");
    mkdirSync(join(a, "d"));
    for (const name of ["edited", "removed", "mode", "d/moved", "large"]) writeFileSync(join(a, name), `${name} 1`);
    await until("all is on b", () => ["edited", "removed", "mode", "d/moved", "large"].every((name) => text(join(b, name)) === `${name} 1`));
    // The command after it has run, and what it did is agreed.
    await until("it is agreed", () => view("web2").state?.files === 5 && view("web2").state?.phase === "watching");
    await healthy("web1", "web2");
    return { a, b, bad, again, agent };
  }

  const changeAll = (a: string): void => {
    writeFileSync(join(a, "edited"), "edited 2, longer");
    writeFileSync(join(a, "large"), "x".repeat(1 << 20));
    rmSync(join(a, "removed"));
    chmodSync(join(a, "mode"), 0o600);
    renameSync(join(a, "d"), join(a, "e"));
    writeFileSync(join(a, "new"), "new");
  };
  const isOld = (b: string): boolean =>
    ["edited", "removed", "mode", "d/moved", "large"].every((name) => text(join(b, name)) === `${name} 1`) &&
    (statSync(join(b, "mode")).mode & 0o777) !== 0o600 && !existsSync(join(b, "new")) && !existsSync(join(b, "e"));
  const isNew = (b: string): boolean =>
    text(join(b, "edited")) === "edited 2, longer" && text(join(b, "large"))?.length === 1 << 20 && !existsSync(join(b, "removed")) &&
    (statSync(join(b, "mode")).mode & 0o777) === 0o600 && text(join(b, "e/moved")) === "d/moved 1" && text(join(b, "new")) === "new";

  test("[PAUSE-1] the batch is undone on its host and nowhere else, the link stands still, and goes on when a person says so", async () => {
    const { a, b, bad } = await begun();
    writeFileSync(bad, "");
    changeAll(a);
    await until("it is paused", () => view("web2").status === "paused");
    await until("all is as before", () => isOld(b));
    expect(view("web2").state!.pause).toMatchObject({ by: "hook", release: null });
    expect(view("web2").state!.pause!.reason).toContain("taken back");
    await healthy("web1");
    expect(isNew(a)).toBe(true);
    // It does not try again by itself.
    await Bun.sleep(2500);
    expect(hub.log.filter((line) => line.startsWith("web2 link paused"))).toHaveLength(1);
    rmSync(bad);
    hub.agents.resume(ADMIN, view("web2").link.id, "web2");
    await until("all of it is applied", () => isNew(b));
    await healthy("web1", "web2");
    expect(isNew(a)).toBe(true);
    expect(readdirSync(a).toSorted()).toEqual(readdirSync(b).toSorted());
  });

  test("[PAUSE-6] who lets a link go on while its batch is being taken back finds it going on", async () => {
    const [undoing, mayEnd] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    class Slow extends PassingEndpoint {
      override async undo(...asked: Parameters<Endpoint["undo"]>): ReturnType<Endpoint["undo"]> {
        const done = await super.undo(...asked);
        undoing.resolve();
        await mayEnd.promise;
        return done;
      }
    }
    const { a, b, bad } = await begun((root) => new Slow(root));
    writeFileSync(bad, "");
    changeAll(a);
    await undoing.promise;
    rmSync(bad);
    hub.agents.resume(ADMIN, view("web2").link.id, "web2");
    await until("it is let go on", () => hub.log.some((line) => line.startsWith("web2 link goes on")));
    mayEnd.resolve();
    await until("all of it is applied", () => isNew(b));
    await healthy("web1", "web2");
  });

  test("[PAUSE-2] a pause outlives its agent; an undo that was cut off is gone through again; a still failing command pauses again", async () => {
    const { a, b, bad, again, agent } = await begun();
    writeFileSync(bad, "");
    changeAll(a);
    await until("it is paused", () => view("web2").status === "paused");
    await agent.stop();
    // As a crash leaves it that comes when the undo is done and not noted yet.
    const file = join(agent.dataDir, "pauses", readdirSync(join(agent.dataDir, "pauses"))[0]!);
    const pause = JSON.parse(readFileSync(file, "utf8")) as { undo: string | null };
    expect(pause.undo).toBeNull();
    const [, runId] = /runId=([0-9a-f]{12})/.exec(hub.log.find((line) => line.startsWith("web2 batch taken back"))!)!;
    writeFileSync(file, JSON.stringify({ ...pause, undo: runId }));
    again();
    await until("it has been taken back again", () => hub.log.filter((line) => line.startsWith("web2 batch taken back")).length === 2);
    await until("its new life says so", () => view("web2").status === "paused" && view("web2").state!.changes === 0);
    await until("all is as before", () => isOld(b));
    hub.agents.resume(ADMIN, view("web2").link.id, "web2");
    await until("it has failed once more", () => hub.log.filter((line) => line.startsWith("web2 link paused")).length === 2);
    await until("it is paused once more", () => view("web2").status === "paused" && isOld(b));
    expect(isNew(a)).toBe(true);
  });

  test("[PAUSE-3] a file that cannot be understood pauses, too", async () => {
    const { agent, again } = await begun();
    await agent.stop();
    const id = view("web2").link.id;
    mkdirSync(join(agent.dataDir, "pauses"), { recursive: true });
    writeFileSync(join(agent.dataDir, "pauses", `${id}.json`), "{");
    again();
    await until("it is paused", () => view("web2").status === "paused");
    hub.agents.resume(ADMIN, id, "web2");
    await healthy("web2");
  });

  test("[PAUSE-4] what cannot be taken back is said, tried again after a while, and done when it can be", async () => {
    const { a, b, bad, again, agent } = await begun();
    writeFileSync(bad, "");
    changeAll(a);
    await until("it is paused", () => view("web2").status === "paused");
    await agent.stop();
    const file = join(agent.dataDir, "pauses", readdirSync(join(agent.dataDir, "pauses"))[0]!);
    const pause = JSON.parse(readFileSync(file, "utf8")) as object;
    const [, runId] = /runId=([0-9a-f]{12})/.exec(hub.log.find((line) => line.startsWith("web2 batch taken back"))!)!;
    writeFileSync(file, JSON.stringify({ ...pause, undo: runId }));
    renameSync(b, `${b}.away`);
    again();
    await until("it is said", () => view("web2").status === "halted" && view("web2").state!.error !== null);
    // Not thousands of times.
    await Bun.sleep(300);
    expect(hub.log.filter((line) => line.startsWith("web2 link failed")).length).toBeLessThan(3);
    renameSync(`${b}.away`, b);
    await until("it is taken back", () => view("web2").status === "paused" && isOld(b));
  });

  test("[PAUSE-5] a batch whose pause the disk refuses, several times, is taken back as soon as it can be written, and nothing goes on before", async () => {
    const { a, b, bad, agent } = await begun();
    const refusing = join(agent.dataDir, "pauses", `${view("web2").link.id}.json.${process.pid}.new`);
    mkdirSync(join(refusing, "in the way"), { recursive: true });
    writeFileSync(bad, "");
    changeAll(a);
    const failed = (): string[] => hub.log.filter((line) => line.startsWith("web2 link failed"));
    await until("it is refused, and refused again", () => failed().length > 1);
    expect(failed().at(-1)).toContain("cannot be written down");
    rmSync(bad);
    rmSync(refusing, { recursive: true });
    await until("it is paused", () => view("web2").status === "paused");
    await until("all is as before", () => isOld(b));
    hub.agents.resume(ADMIN, view("web2").link.id, "web2");
    await until("all of it is applied", () => isNew(b));
    // The command is not told of what was taken back.
    expect(hub.log.filter((line) => line.includes("was cut off after a batch"))).toEqual([]);
  });
});
