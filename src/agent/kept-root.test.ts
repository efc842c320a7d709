import { expect, test, setDefaultTimeout } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ADMIN, AGENT_TEST_MS, AgentHub, hashOf, linkTo, until } from "#testing/agent-hub.ts";
import type { Endpoint, OpResult, OpenRequest, ScanRequest, ScanSummary } from "#sync/endpoint/endpoint.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import { openOrReplace } from "#sync/index/sqlite-store.ts";
import type { Store } from "#sync/index/store.ts";
import { openHost, systemClock } from "#platform/host-bun.ts";
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

test("[AGENT-119] what was staged when a connection ended does not stay in the stage until the agent ends", async () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-kept-"));
  try {
    const root = join(dir, "root");
    mkdirSync(root);
    const openStore = (): Store => openOrReplace(join(dir, "index.db"), { check: false }).store;
    const hash = (text: string): string => hashOf(text, 32);
    const open = (): Endpoint => new DirEndpoint({ host: openHost(), path: root, label: root, openStore, hash });
    const kept = new KeptRoot(open, systemClock, 3_600_000);
    const never = new AbortController().signal;
    const bytes = Buffer.from("content");
    const entry = { kind: "file", size: bytes.length, mode: 0o644, mtimeNs: 0n, sum: undefined } as const;
    const create = (path: string) => ({ type: "change", change: { side: "beta", path, old: undefined, new: entry, action: "content" }, bytes }) as const;
    const staged = (): string[] => readdirSync(join(root, ".syncline/stage", REQUEST.sessionId));
    for (let connection = 0; connection < 3; connection++) {
      const endpoint = kept.connect();
      await endpoint.open(REQUEST, never);
      expect(staged()).toEqual([]);
      const application = endpoint.apply("0123456789ab", never);
      await application.push([create(`placed${connection}`)]);
      const results: OpResult[] = [];
      await application.commit((more) => results.push(...more));
      expect(results.map(({ status }) => status)).toEqual(["done"]);
      await application.push([create("a"), create("b")]);
      expect(staged()).toHaveLength(2);
      // The other side is lost before it says what else there is.
      await endpoint.close();
    }
    await kept.end();
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("[AGENT-120] a root is scanned in full whenever that is asked for, but for the first look of a connection where it was watched before", async () => {
  for (const canWatch of [true, false]) {
    class Blind extends PassingEndpoint {
      override async open(...asked: Parameters<Endpoint["open"]>): ReturnType<Endpoint["open"]> {
        return { ...(await this.inner.open(...asked)), canWatch };
      }
    }
    const seen: string[] = [];
    const kept = new KeptRoot(() => new Counting(new Blind(new MemoryEndpoint()), seen), systemClock, 3_600_000);
    let since = 0;
    for (let connection = 0; connection < 2; connection++) {
      const endpoint = kept.connect();
      const end = new AbortController();
      await endpoint.open(REQUEST, end.signal);
      const watching = endpoint.watch(() => undefined, end.signal);
      for (let round = 0; round < 2; round++) {
        const asked = { since, acknowledged: since, extent: "full", deep: false } as const;
        const { seq } = await endpoint.scan(asked, () => undefined, end.signal);
        since = Math.max(1, seq);
      }
      end.abort();
      await watching;
      await endpoint.close();
    }
    await kept.end();
    expect(seen).toEqual(["full", "full", canWatch ? "dirty" : "full", "full"]);
  }
});
