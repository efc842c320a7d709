import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { LinkSettings } from "#hub/agents/link.ts";
import type { EarlyFiles, Endpoint, TransferItem } from "#sync/endpoint/endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import type { Channel } from "#sync/wire/channel.ts";
import { ADMIN, AGENT_TEST_MS, AgentHub, linkTo, until } from "#testing/agent-hub.ts";

setDefaultTimeout(AGENT_TEST_MS);

const MIB = 1 << 20;
const SIZE = 6 * MIB + 1234;

function randomBytes(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  for (let at = 0; at < length; at += 65_536) crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65_536)));
  return bytes;
}

/** A root whose files leave it as far as somebody lets them. */
class Slow extends PassingEndpoint {
  readonly #gate: Gate;

  constructor(inner: Endpoint, gate: Gate) {
    super(inner);
    this.#gate = gate;
  }

  override supply(channel: Channel, signal: AbortSignal): Promise<void> {
    let bytes = 0;
    const slowed: Channel = {
      receive: () => channel.receive(),
      end: () => channel.end(),
      fail: (error) => channel.fail(error),
      send: async (message) => {
        bytes += message.length;
        if (bytes > this.#gate.bytes) await Promise.race([this.#gate.opened.promise, aborted(signal)]);
        return channel.send(message);
      },
    };
    return this.inner.supply(slowed, signal);
  }
}

class Gate {
  /** That leave before it is opened. */
  readonly bytes: number;
  readonly opened = Promise.withResolvers<void>();

  constructor(bytes: number) {
    this.bytes = bytes;
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}

/** What came into a root, and how. */
type Came = { early: string[]; transferred: string[] };

class Counting extends PassingEndpoint {
  readonly #came: Came;

  constructor(inner: Endpoint, came: Came) {
    super(inner);
    this.#came = came;
  }

  override get early(): EarlyFiles | undefined {
    const early = this.inner.early!;
    return {
      bring: (channel, path, size, signal) => {
        this.#came.early.push(path);
        return early.bring(channel, path, size, signal);
      },
      drop: (path) => early.drop(path),
    };
  }

  override receive(channel: Channel, items: readonly TransferItem[], ...rest: [never, AbortSignal]): Promise<void> {
    for (const { path } of items) this.#came.transferred.push(path);
    return this.inner.receive(channel, items, ...rest);
  }
}

/** Bytes of unfinished files in the stage of a root. */
function staged(root: string): number {
  const stage = join(root, ".syncline/stage");
  const items = existsSync(stage) ? readdirSync(stage, { recursive: true, withFileTypes: true }) : [];
  return items.reduce((sum, item) => (item.isFile() ? sum + readFileSync(join(item.parentPath, item.name)).length : sum), 0);
}

describe("files that are brought before they are there", () => {
  let hub: AgentHub;
  let gate: Gate;
  const came: Came = { early: [], transferred: [] };

  afterEach(async () => {
    gate.opened.resolve();
    await hub[Symbol.asyncDispose]();
  });

  const isHealthy = (name: string): boolean => hub.agents.hosts(ADMIN).find((one) => one.name === name)?.status === "healthy";

  async function begin(settings: Partial<LinkSettings> = {}, prefix = "", bytes = 3 * MIB) {
    gate = new Gate(bytes);
    came.early = [];
    came.transferred = [];
    hub = await AgentHub.start();
    const [a, b] = [hub.folder("a"), hub.folder("b")];
    const from = hub.agent("web1", [linkTo(a, "demo")], { wrapRoot: (root) => new Slow(root, gate) });
    hub.agent("web2", [linkTo(b, "demo", settings, prefix)], { wrapRoot: (root) => new Counting(root, came) });
    await until("both are healthy", () => isHealthy("web1") && isHealthy("web2"));
    return { a, b, from };
  }

  test("[AHEAD-1] a large new file is brought while it comes, and placed when it is committed, without another transfer", async () => {
    const { a, b } = await begin();
    const bytes = randomBytes(SIZE);
    writeFileSync(join(a, "large"), bytes);
    await until("some of it is staged", () => staged(b) > MIB);
    expect(existsSync(join(b, "large"))).toBe(false);
    expect(await hub.spaces.version(ADMIN, "demo", "large")).toBeUndefined();
    gate.opened.resolve();
    await until("it is there", () => existsSync(join(b, "large")));
    expect(readFileSync(join(b, "large")).equals(bytes)).toBe(true);
    expect(came).toEqual({ early: ["large"], transferred: [] });
    await until("nothing is left", () => staged(b) === 0);
  });

  test("[AHEAD-2] what breaks off is removed, and what comes again is brought as ever", async () => {
    const { a, b, from } = await begin();
    const bytes = randomBytes(SIZE);
    writeFileSync(join(a, "large"), bytes);
    await until("some of it is staged", () => staged(b) > MIB);
    await from.stop();
    await until("it was removed", () => staged(b) === 0);
    gate.opened.resolve();
    hub.agent("web1", [linkTo(a, "demo")]);
    await until("it is there", () => existsSync(join(b, "large")));
    expect(readFileSync(join(b, "large")).equals(bytes)).toBe(true);
  });

  test("[AHEAD-3] another file that is there first is not waited for, nor mistaken for it", async () => {
    const { a, b } = await begin();
    writeFileSync(join(a, "large"), randomBytes(SIZE));
    await until("some of it is staged", () => staged(b) > MIB);
    const other = randomBytes(SIZE);
    const intake = hub.spaces.intake(ADMIN, "demo");
    const { content, sum } = await intake.store(other);
    const entry = { kind: "file", size: SIZE, mode: 0o644, mtimeNs: 1_000_000_000n, sum } as const;
    const change = { type: "put", path: "large", expect: { kind: "absent" }, entry, content, makeParents: false } as const;
    const traceId = "0".repeat(32);
    await hub.spaces.commit(ADMIN, "demo", { changes: [change], intake, atomic: true, cause: "upload", traceId });
    await intake[Symbol.asyncDispose]();
    await until("the other one is there", () => existsSync(join(b, "large")));
    expect(readFileSync(join(b, "large")).equals(other)).toBe(true);
  });

  test("[AHEAD-4] a link that ignores the file is not given it", async () => {
    const { a, b } = await begin({ ignore: ["*.iso"] });
    writeFileSync(join(a, "large.iso"), randomBytes(SIZE));
    gate.opened.resolve();
    writeFileSync(join(a, "large"), randomBytes(SIZE));
    await until("the other one is there", () => existsSync(join(b, "large")));
    expect([...came.early, ...came.transferred]).not.toContain("large.iso");
    expect(existsSync(join(b, "large.iso"))).toBe(false);
  });

  test("[AHEAD-5] a link that may not write its host is given nothing", async () => {
    const { a } = await begin({ mode: "one-way-safe" });
    writeFileSync(join(a, "large"), randomBytes(SIZE));
    gate.opened.resolve();
    await until("it is committed", async () => (await hub.spaces.version(ADMIN, "demo", "large")) !== undefined);
    expect(came.early).toEqual([]);
  });

  test("[CUTS-6] where the hub's thread that cuts files dies in the middle of one, its link says so, and the file comes all the same", async () => {
    const { a, b } = await begin({}, "", 9 * MIB);
    const bytes = randomBytes(17 * MIB + 5);
    writeFileSync(join(a, "large"), bytes);
    await until("some of it is in the store", () => hub.chunks.stats().chunks > 0);
    // No thread can carry that out.
    const impossible = { buffer: new ArrayBuffer(9), from: 0, to: 9, looked: { seen: 0, gear: 0 }, isEnd: true } as never;
    await expect(hub.cuts!.cut(impossible)).rejects.toMatchObject({ code: "INTERNAL" });
    gate.opened.resolve();
    await until("it is there", () => existsSync(join(b, "large")));
    expect(readFileSync(join(b, "large")).equals(bytes)).toBe(true);
    const version = await hub.spaces.version(ADMIN, "demo", "large");
    expect(version?.entry).toMatchObject({ size: bytes.length });
    expect(hub.log.filter((line) => line.startsWith("web1") && line.includes("the thread that cuts files into chunks has ended"))).not.toEqual([]);
    await until("nothing is left", () => staged(b) === 0);
    await until("both are healthy", () => isHealthy("web1") && isHealthy("web2"));
  });
});
