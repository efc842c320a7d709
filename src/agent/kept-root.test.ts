import { expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";
import type { Endpoint, OpenRequest, ScanRequest, ScanSummary } from "#sync/endpoint/endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import { systemClock } from "#platform/host-bun.ts";
import { MemoryEndpoint } from "#testing/memory-endpoint.ts";
import { KeptRoot } from "#agent/kept-root.ts";

setDefaultTimeout(AGENT_TEST_MS);

const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);

const REQUEST: OpenRequest = {
  sessionId: "0123456789abcdef0123456789abcdef",
  seeds: { a: 1n, b: 2n },
  writable: true,
  ignore: [],
  include: [],
  preserve: { mode: true, mtime: true, owner: "none", xattrs: false, hardlinks: false, symlinks: true, sparse: true },
  durable: "batch",
  verifyReadBack: false,
  compress: "none",
  createRoot: false,
  expectRootId: undefined,
  ephemeral: false,
};

/** Writes down how its scans were asked for. */
class Counting extends PassingEndpoint {
  readonly #seen: string[];

  constructor(inner: Endpoint, seen: string[]) {
    super(inner);
    this.#seen = seen;
  }

  override scan(request: ScanRequest, ...rest: Parameters<Endpoint["scan"]> extends [unknown, ...infer R] ? R : never): Promise<ScanSummary> {
    this.#seen.push(request.extent);
    return this.inner.scan(request, ...rest);
  }
}

test("[AGENT-72] when the hub comes back a root that was watched meanwhile is not scanned in full, and nothing of it is missed", async () => {
  await using hub = await AgentHub.start();
  const [a, b] = [hub.folder("a"), hub.folder("b")];
  const seen: string[] = [];
  hub.agent("web1", [linkTo(a, "demo")], { wrapRoot: (root: Endpoint) => new Counting(root, seen) });
  hub.agent("web2", [linkTo(b, "demo")]);
  writeFileSync(join(a, "f"), "one");
  writeFileSync(join(a, "g"), "one");
  await until("it is on both", () => text(join(b, "f")) === "one" && text(join(b, "g")) === "one");
  await until("it is agreed", () => hub.agents.hosts(ADMIN).every(({ links }) => links[0]?.state?.files === 2));
  const full = (): number => seen.filter((extent) => extent === "full").length;
  expect(full()).toBe(1);
  for (let round = 0; round < 3; round++) {
    await hub.stop();
    writeFileSync(join(a, "f"), `round ${round}`);
    rmSync(join(a, "g"), { force: true });
    writeFileSync(join(b, "h"), `round ${round}`);
    await Bun.sleep(200);
    await hub.start();
    await until("both caught up", () => text(join(b, "f")) === `round ${round}` && text(join(a, "h")) === `round ${round}` && !existsSync(join(b, "g")));
  }
  expect(full()).toBe(1);
});

test("[AGENT-109] a root that is kept over many connections holds nothing of those that have ended", async () => {
  const kept = new KeptRoot(() => new MemoryEndpoint(), systemClock, 3_600_000);
  const told: WeakRef<() => void>[] = [];
  for (let connection = 0; connection < 200; connection++) {
    const endpoint = kept.connect();
    await endpoint.open(REQUEST, new AbortController().signal);
    const end = new AbortController();
    const onDirty = (): void => void connection;
    told.push(new WeakRef(onDirty));
    const watching = endpoint.watch(onDirty, end.signal);
    end.abort();
    await watching;
    await endpoint.close();
  }
  await Bun.sleep(0);
  Bun.gc(true);
  // The collector may take a word on the stack for one.
  expect(told.filter((one) => one.deref() !== undefined).length).toBeLessThan(20);
  await kept.end();
});
