import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { TestHub, diskFull } from "#hub/hub-fixture.ts";
import { seedsOf } from "#hub/hub-spaces.ts";
import type { SpaceEndpoint } from "#hub/endpoint/space-endpoint.ts";
import type { ApplyOp, OpenRequest, OpResult, ScanRequest } from "#sync/endpoint/endpoint.ts";
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import { FRESH_BYTES_MAX } from "#store/chunk-store.ts";

function bytesOf(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed >>> 0;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

/** A file that comes with its bytes. */
function created(path: string, bytes: Uint8Array): ApplyOp {
  const entry = { kind: "file", size: bytes.length, mode: 0o644, mtimeNs: 1n, sum: undefined } as const;
  return { type: "change", change: { side: "beta", path, action: "content", old: undefined, new: entry, from: undefined }, bytes };
}

describe("what a session pushes into a space", () => {
  let hub: TestHub;
  let endpoint: SpaceEndpoint;
  const stop = new AbortController();

  beforeEach(async () => {
    hub = await TestHub.open();
    const space = await hub.spaces.createSpace(hub.who, "demo");
    endpoint = hub.endpoint("demo");
    const request = {
      sessionId: "0".repeat(32), seeds: seedsOf(space), writable: true, ignore: [], include: [], preserve: PRESERVE_DEFAULT,
      durable: true, verifyReadBack: false, compress: "none", createRoot: true, expectRootId: undefined, ephemeral: false,
    };
    await endpoint.open(request as unknown as OpenRequest, stop.signal);
  });
  afterEach(async () => {
    await endpoint.close();
    await hub[Symbol.asyncDispose]();
  });

  test("[SPACE-43] who asks for the sum of what the space hides from it hears that it is ignored, there or not", async () => {
    for (const path of [".synclineignore", "hidden", "seen"]) await hub.put("demo", path, "hidden\ngone/\n");
    const answers = await endpoint.sums(["hidden", "gone", "seen", "nowhere"], stop.signal);
    expect(answers.map((answer) => (typeof answer === "string" ? "sum" : answer.code))).toEqual(["IGNORED", "IGNORED", "sum", "ENOENT"]);
  });

  test("[SPACE-9] what is pushed while a commit is under way is whole and durable in the next", async () => {
    const application = endpoint.apply("run1", stop.signal);
    const results: OpResult[] = [];
    const take = (some: OpResult[]): void => void results.push(...some);
    await application.push([created("a", bytesOf(100, 1))]);
    const first = application.commit(take);
    // Several chunks: without its manifest it could never be read again.
    const large = bytesOf(120_000, 2);
    await application.push([created("b", large)]);
    await first;
    await application.commit(take);
    expect(results.map(({ path, status }) => [path, status])).toEqual([["a", "done"], ["b", "done"]]);
    const version = (await hub.spaces.version(hub.who, "demo", "b"))!;
    const reader = await hub.spaces.open(hub.who, "demo", version);
    const read = new Uint8Array(reader.size);
    expect(await reader.read(read, 0)).toBe(large.length);
    expect(Buffer.from(read).equals(large)).toBe(true);
    expect(await hub.meta.manifest(version.content!.id)).toBeDefined();
  });

  test("[SPACE-9] the disk that refuses the second commit's content fails that commit", async () => {
    const application = endpoint.apply("run1", stop.signal);
    await application.push([created("a", bytesOf(100, 1))]);
    const first = application.commit(() => undefined);
    await application.push([created("b", bytesOf(120_000, 2))]);
    await first;
    hub.disk.refusal = diskFull();
    expect(await application.commit(() => undefined).then(() => "done", (error: Error) => error.message)).toMatch(/full/);
    expect(await hub.files("demo")).toEqual({ a: Buffer.from(bytesOf(100, 1)).toString() });
  });

  test("[SPACE-10] a session that ends lets go of what it stored, and nothing is taken in after it", async () => {
    const application = endpoint.apply("run1", stop.signal);
    await application.push([created("a", bytesOf(100, 1))]);
    const late = application.push([created("b", bytesOf(100, 2)), created("c", bytesOf(100, 3))]);
    await endpoint.close();
    expect(await late.then(() => "taken", (error: Error) => error.message)).toMatch(/ended/);
    // Nothing protects it any more.
    const live = async function* () {};
    const { removedChunks } = await hub.chunks.prune({ live: live(), olderThanMs: Date.now() + 60_000, fractionMax: 1 }, stop.signal);
    expect(removedChunks).toBeGreaterThan(0);
    expect(hub.chunks.stats().chunks).toBe(0);
  });

  test("[SPACE-64] a session that ends while the space is asked for what was pushed lets go of that, too", async () => {
    // So much that nobody else keeps it.
    await hub.put("demo", "a", "x".repeat(FRESH_BYTES_MAX + 1));
    const { entry } = (await hub.spaces.version(hub.who, "demo", "a"))!;
    const change = { side: "beta", path: "a", action: "metadata", old: entry, new: { ...entry, mode: 0o600 }, from: undefined };
    const version = hub.spaces.version.bind(hub.spaces);
    const { promise: answer, resolve } = Promise.withResolvers<void>();
    hub.spaces.version = async (...words) => answer.then(() => version(...words));
    const application = endpoint.apply("run1", stop.signal);
    const late = application.push([{ type: "change", change } as ApplyOp]).catch(() => undefined);
    const closing = endpoint.close();
    await Bun.sleep(1);
    resolve();
    await Promise.all([closing, late]);
    const live = async function* () {};
    await hub.chunks.prune({ live: live(), olderThanMs: Date.now() + 60_000, fractionMax: 1 }, stop.signal);
    expect(hub.chunks.stats().chunks).toBe(0);
  });

  test("[SPACE-67] a session goes on with no other space that has got the name, neither looking nor changing", async () => {
    const application = endpoint.apply("run1", stop.signal);
    await application.push([created("a", bytesOf(100, 1))]);
    await hub.spaces.updateSpace(hub.who, "demo", { name: "old" });
    await hub.spaces.createSpace(hub.who, "demo");
    const codeOf = (work: Promise<unknown>): Promise<unknown> => work.then(() => "done", (error: { code: string }) => error.code);
    const request = { since: 0, acknowledged: 0 } as unknown as ScanRequest;
    expect(await codeOf(endpoint.scan(request, async () => undefined, stop.signal))).toBe("SPACE_UNKNOWN");
    expect(await codeOf(application.commit(() => undefined))).toBe("SPACE_UNKNOWN");
    expect(await codeOf(endpoint.undo("run1", stop.signal))).toBe("SPACE_UNKNOWN");
    expect(await hub.files("demo")).toEqual({});
    expect(await hub.files("old")).toEqual({});
  });
});
