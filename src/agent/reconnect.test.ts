import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EARLIER_MS_MAX } from "#hub/agents/listener.ts";
import type { Fd, FileSystem } from "#platform/file-system.ts";
import type { Clock } from "#platform/host.ts";
import { openHost } from "#platform/host-bun.ts";
import { ADMIN, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";

setDefaultTimeout(AGENT_TEST_MS);

/** So large that its commit has to itself what it waits for, and others go on with the database. */
const SIZE = 4_500_000;


/** A disk on which nothing becomes durable while it is slow. */
class SlowDisk {
  slow: PromiseWithResolvers<void> | undefined;
  /** Who waits for it. */
  waiting = 0;

  around(fs: FileSystem): FileSystem {
    return new Proxy(fs, {
      get: (target, key: keyof FileSystem) => {
        if (key === "sync") return (fd: Fd) => this.#sync(target, fd);
        const value = target[key];
        return typeof value === "function" ? (value as (...args: unknown[]) => unknown).bind(target) : value;
      },
    });
  }

  async #sync(fs: FileSystem, fd: Fd): Promise<void> {
    if (this.slow !== undefined) {
      this.waiting++;
      await this.slow.promise;
    }
    return fs.sync(fd);
  }
}

let hub: AgentHub;
let disk: SlowDisk;
beforeEach(() => {
  disk = new SlowDisk();
});
afterEach(async () => {
  disk.slow?.resolve();
  await hub[Symbol.asyncDispose]();
});

const connections = (): number => hub.log.filter((line) => /^hub connected .*root=link:/.test(line)).length;
const hasHad = async (path: string): Promise<boolean> =>
  (await hub.spaces.journal(ADMIN, "demo", 0, 100)).some((record) => record.path === path && record.entry !== undefined);

/** A link whose host has deleted the file f, whose commit waits for the disk; its earlier connection has ended. */
async function cutOff(host = openHost()): Promise<{ root: string; begin: () => void }> {
  hub = await AgentHub.start();
  await hub.stop();
  hub.host = host;
  hub.wrapDisk = (fs) => disk.around(fs);
  await hub.start();
  const root = hub.folder("a");
  const begin = () => hub.agent("web1", [linkTo(root, "demo")]);
  const agent = begin();
  writeFileSync(join(root, "before"), Buffer.alloc(SIZE, "b"));
  await until("the link goes", () => hasHad("before"));
  disk.slow = Promise.withResolvers();
  writeFileSync(join(root, "f"), Buffer.alloc(SIZE, "f"));
  await until("its commit waits for the disk", () => disk.waiting > 0);
  await agent.stop();
  rmSync(join(root, "f"));
  return { root, begin };
}

async function staysDeleted(root: string): Promise<void> {
  await until("what was sent before is there", () => hasHad("f"));
  await until("and deleted", async () => (await hub.spaces.version(ADMIN, "demo", "f"))?.entry === undefined);
  expect(existsSync(join(root, "f"))).toBe(false);
}

test("[AGENT-94] what a host deleted while the hub works off its earlier connection stays deleted", async () => {
  const { root, begin } = await cutOff();
  const before = connections();
  begin();
  await until("it has connected again", () => connections() > before);
  // As long as a session would need to see the space, if it were answered.
  await Bun.sleep(500);
  expect(await hasHad("f")).toBe(false);
  disk.slow!.resolve();
  await staysDeleted(root);
});

test("[AGENT-95] a link whose earlier connection does not end in time is told so, and comes again", async () => {
  const host = openHost();
  // The time is over as soon as it begins.
  const sleep: Clock["sleep"] = (ms, signal) => host.clock.sleep(ms === EARLIER_MS_MAX ? 1 : ms, signal);
  const { root, begin } = await cutOff({ ...host, clock: { ...host.clock, sleep } });
  const told = (): number => hub.log.filter((line) => /^hub disconnected .*root=link:.*still at work/.test(line)).length;
  begin();
  await until("it was told, and has come again", () => told() > 1);
  expect(hub.log.filter((line) => /^web1 link will be tried again .*still at work/.test(line)).length).toBeGreaterThan(0);
  disk.slow!.resolve();
  await staysDeleted(root);
});
