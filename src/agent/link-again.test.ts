import { afterEach, describe, expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { askHub } from "#agent/hub-client.ts";
import type { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { systemClock } from "#platform/host-bun.ts";
import { makeCertificate } from "#platform/net/certificate.ts";
import { listenTls } from "#platform/net/tls-socket.ts";
import { openOrReplace } from "#sync/index/sqlite-store.ts";
import type { Store } from "#sync/index/store.ts";
import { startServer } from "#sync/wire/greeting.ts";
import { ADMIN, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";

setDefaultTimeout(AGENT_TEST_MS);

const RELEASE = { mode: "one-way-replica", from: "space", apply: "release" } as const;
const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);

test("[AGENT-118] an agent that is ended while the hub does not say who it is ends", async () => {
  const asked = Promise.withResolvers<void>();
  const stop = new AbortController();
  const silent = {
    program: "test",
    clock: systemClock,
    admit: async () => ({ readOnly: false, value: undefined }),
  };
  const listener = listenTls({
    host: "127.0.0.1", port: 0, identity: makeCertificate(["127.0.0.1"], Date.now()), clientAuthorities: undefined,
    onConnection: () => true,
    onHandshake: (_address, result) => {
      if (result instanceof Error) return;
      startServer(result.transport, silent, () => () => asked.resolve(), stop.signal).catch(() => undefined);
    },
  });
  try {
    const end = new AbortController();
    const address = { kind: "sync", host: "127.0.0.1", port: listener.port } as const;
    const asking = askHub(address, { program: "test", clock: systemClock }, end.signal).then(() => "answer", (error: unknown) => error);
    await asked.promise;
    const reason = new Error("the agent ends");
    end.abort(reason);
    expect(await Promise.race([asking, Bun.sleep(5000)])).toBe(reason);
  } finally {
    stop.abort();
    listener.close();
  }
});

describe("a link that is begun again", () => {
  let hub: AgentHub;

  afterEach(() => hub[Symbol.asyncDispose]());

  const view = (name: string) => hub.agents.host(ADMIN, name).links[0]!;
  const lines = (begin: string): string[] => hub.log.filter((line) => line.startsWith(begin));

  test("[AGENT-115] a session that cannot begin holds nothing of its state, and the link goes on when it can", async () => {
    hub = await AgentHub.start();
    const source = hub.folder("source");
    hub.agent("web0", [linkTo(source, "demo")]);
    writeFileSync(join(source, "f"), "one");
    const root = hub.folder("web1");
    writeFileSync(join(root, "mine"), "mine");
    // Held, so that no collector closes what nobody has closed.
    const open = new Set<Store>();
    const openState = (name: string): Store => {
      const file = join(hub.dir, "agents/web1", name);
      mkdirSync(join(file, ".."), { recursive: true });
      const { store } = openOrReplace(file, { check: false });
      open.add(store);
      const close = store.close.bind(store);
      store.close = () => {
        open.delete(store);
        close();
      };
      return store;
    };
    const agent = hub.agent("web1", [linkTo(root, "demo", RELEASE)], { openState });
    await until("it was tried again", () => lines("web1 link failed").length > 1);
    expect(lines("web1 link failed").filter((line) => !line.includes("is not a symlink"))).toEqual([]);
    rmSync(join(root, "mine"));
    await until("it goes on", () => text(join(root, "f")) === "one");
    await agent.stop();
    expect(open.size).toBe(0);
  });

  test("[AGENT-116] a link that is paused says so when it is asked to look at everything", async () => {
    hub = await AgentHub.start();
    const [a, b] = [hub.folder("a"), hub.folder("b")];
    const hooks = { before: undefined, after: "false", timeoutMs: 10_000, onAfterFailure: "rollback" } as const;
    hub.agent("web1", [linkTo(a, "demo")]);
    hub.agent("web2", [linkTo(b, "demo")], { hooks });
    writeFileSync(join(a, "f"), "one");
    await until("it is paused", () => hub.agents.hosts(ADMIN).some(({ name, links }) => name === "web2" && links[0]?.status === "paused"));
    const { id } = view("web2").link;
    const asked = hub.listener.rescan("web2", id, 7, AbortSignal.timeout(10_000));
    const said = await asked.then(() => "looked", (error: unknown) => error as SynclineError);
    expect(said).toMatchObject({ code: "STATE", message: expect.stringContaining("paused") });
  });

  test("[AGENT-117] what failed long ago does not make a link wait longer that has been well since", async () => {
    hub = await AgentHub.start();
    const { host } = hub;
    // Pauses of a link that failed are soon over.
    const pauses = new Set(Array.from({ length: 8 }, (_, at) => 2000 * 2 ** at));
    const sleep: Clock["sleep"] = (ms, signal) => host.clock.sleep(pauses.has(ms) ? 20 : ms, signal);
    let aheadMs = 0;
    hub.host = { ...host, clock: { ...host.clock, sleep, monotonicMs: () => host.clock.monotonicMs() + aheadMs } };
    const a = hub.folder("a");
    hub.agent("web1", [linkTo(a, "demo")]);
    const isWell = (): boolean => hub.agents.hosts(ADMIN)[0]?.status === "healthy" && view("web1").state?.phase === "watching";
    const failures = (): number[] => lines("web1 link failed").map((line) => Number(/againMs=(\d+)/.exec(line)![1]!));
    await until("it is well", isWell);
    for (const [wellMs, isFirst] of [[0, true], [0, false], [5 * 60_000, true]] as const) {
      aheadMs += wellMs;
      const before = failures().length;
      renameSync(a, `${a}-away`);
      mkdirSync(a);
      writeFileSync(join(a, "other"), "not ours");
      await until("it fails", () => failures().length > before);
      rmSync(a, { recursive: true });
      renameSync(`${a}-away`, a);
      // What its last heartbeat says may be of the session before; between two cycles it is well.
      for (const name of [`f${before}`, `g${before}`]) {
        writeFileSync(join(a, name), "one");
        await until("it goes on", async () => (await hub.spaces.version(ADMIN, "demo", name)) !== undefined);
      }
      expect(failures()[before] === 2000).toBe(isFirst);
    }
  });
});
