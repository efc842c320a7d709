import { describe, expect, test } from "bun:test";
import { SynclineError } from "#model/error.ts";
import type { Observation } from "#model/observation.ts";
import { systemClock } from "#platform/host-bun.ts";
import { EndpointServer, type EndpointServerOptions } from "#sync/endpoint/endpoint-server.ts";
import type { ApplyOp, Endpoint, OpResult, OpenRequest, TransferResult } from "#sync/endpoint/endpoint.ts";
import { RemoteEndpoint } from "#sync/endpoint/remote-endpoint.ts";
import { ITEMS, REPLY, bare, encodeCount, encodeOpenReply, encodeOpenRequest, encodeRunId, encodeScrubRequest } from "#sync/endpoint/remote-protocol.ts";
import { packOps, packPaths, packProblems } from "#sync/endpoint/remote-protocol-items.ts";
import { memoryChannelPair } from "#sync/transport/memory-channel.ts";
import { memoryTransports } from "#sync/transport/memory-transport.ts";
import { OWN_ABILITIES } from "#sync/wire/abilities.ts";
import { Mux } from "#sync/wire/mux.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";
import { SCRUB_BYTES_MAX } from "#sync/scan/scrub.ts";
import { MemoryEndpoint, SUM, fileEntry } from "#testing/memory-endpoint.ts";

const never = new AbortController().signal;
const scanAll = { since: 0, extent: "full", deep: false, acknowledged: 0 } as const;
const request: OpenRequest = {
  sessionId: SUM,
  seeds: { a: 1n, b: 2n },
  writable: true,
  ignore: [],
  include: [],
  preserve: { mode: true, mtime: true, owner: "none", xattrs: false, hardlinks: false, symlinks: true, sparse: true },
  durable: "batch",
  verifyReadBack: false,
  compress: "none",
  createRoot: true,
  expectRootId: undefined,
  ephemeral: false,
};

function remote(inner: Endpoint, more: Partial<EndpointServerOptions> = {}, abilities = new Set<number>(OWN_ABILITIES)) {
  const muxes: Mux[] = [];
  const refused: string[] = [];
  const endpoint = new RemoteEndpoint({
    label: "remote",
    clock: systemClock,
    connect: async () => {
      const { client, server } = memoryTransports();
      const calls = new EndpointServer({
        endpoint: inner,
        readOnly: false,
        mayCreateRoot: true,
        onRefused: (error, method) => refused.push(`${method} ${error.code}`),
        ...more,
      });
      const serving = new Mux(server, { role: "server", clock: systemClock, onOpen: (channel) => calls.handle(channel) });
      void serving.closed.then(() => calls.close());
      const mux = new Mux(client, { role: "client", clock: systemClock, abilities });
      muxes.push(mux);
      return mux;
    },
  });
  return { endpoint, muxes, refused };
}

/** A client against a server that is written by the test. */
function lying(answer: (channel: MuxChannel) => Promise<void>): RemoteEndpoint {
  return new RemoteEndpoint({
    label: "liar",
    clock: systemClock,
    connect: async () => {
      const { client, server } = memoryTransports();
      const onOpen = (channel: MuxChannel): void => {
        void (async () => {
          if (channel.method !== "open") return answer(channel);
          await channel.receive();
          await channel.send(encodeOpenReply(await new MemoryEndpoint().open(request)));
          channel.end();
        })().catch(() => undefined);
      };
      const serving = new Mux(server, { role: "server", clock: systemClock, onOpen });
      expect(serving.openChannels).toBe(0);
      return new Mux(client, { role: "client", clock: systemClock, abilities: new Set(OWN_ABILITIES) });
    },
  });
}

/** A hand-written client against the real server. */
async function attack(inner: MemoryEndpoint, method: string, messages: Uint8Array[], opened = true, readOnly = false): Promise<unknown> {
  const { client, server } = memoryTransports();
  const calls = new EndpointServer({ endpoint: inner, readOnly, mayCreateRoot: true });
  const serving = new Mux(server, { role: "server", clock: systemClock, onOpen: (channel) => calls.handle(channel) });
  void serving.closed.then(() => calls.close());
  const mux = new Mux(client, { role: "client", clock: systemClock });
  if (opened) {
    const channel = mux.open("open");
    await channel.send(encodeOpenRequest({ ...request, writable: !readOnly }));
    await channel.receive();
  }
  const channel = mux.open(method);
  try {
    for (const message of messages) await channel.send(message);
    channel.end();
    while ((await channel.receive()) !== undefined);
    return undefined;
  } catch (error) {
    return error;
  } finally {
    mux.close();
  }
}

describe("remote endpoint", () => {
  test("[REMOTE-40] opens, scans everything with back-pressure and what is unknown first, and closes the far endpoint", async () => {
    const inner = new MemoryEndpoint();
    for (let at = 0; at < 5000; at++) inner.put(`d${at % 7}/f${at}`, "x");
    inner.problems.push({ path: "bad", side: "alpha", code: "EACCES", message: "no", transient: false });
    const { endpoint } = remote(inner);
    expect(await endpoint.open(request, never)).toMatchObject({ rootId: "root-1", device: "1:2", timestampNs: 1n });
    expect(inner.opened).toEqual(request);
    const seen: Observation[] = [];
    let inside = 0;
    const summary = await endpoint.scan(
      scanAll,
      async (batch, problems) => {
        expect(++inside).toBe(1);
        expect(problems).toEqual(inner.problems);
        await new Promise((resolve) => setImmediate(resolve));
        seen.push(...batch);
        inside--;
      },
      never,
    );
    expect(seen).toHaveLength(5000);
    expect(seen[0]).toEqual({ state: "present", path: "d0/f0", entry: fileEntry(1) });
    expect(summary).toMatchObject({ seq: 5000, entries: 5000, problems: inner.problems });
    expect(endpoint.wireBytes().received).toBeGreaterThan(5000 * 30);
    await endpoint.close();
    expect(inner.isClosed).toBe(true);
  });

  test("[REMOTE-59] asks the far side to answer for what it told of, unless that side cannot", async () => {
    const inner = new MemoryEndpoint();
    const bad = { path: "f7", side: "alpha", code: "EIO", message: "no", transient: false } as const;
    inner.problems.push(bad);
    const { endpoint } = remote(inner);
    await endpoint.open(request, never);
    const paths = Array.from({ length: 3000 }, (_, at) => `f${at}`);
    expect(await endpoint.vouch(paths, never)).toEqual([bad]);
    expect(inner.calls.filter((call) => call.startsWith("vouch")).length).toBeGreaterThan(1);
    await endpoint.close();
    const older = remote(inner, {}, new Set());
    inner.calls.length = 0;
    await older.endpoint.open(request, never);
    expect(await older.endpoint.vouch(paths, never)).toEqual([]);
    expect(inner.calls).toEqual(["open"]);
    await older.endpoint.close();
  });

  test("[REMOTE-41] reads and hashes many small files in order, with problems in place", async () => {
    const inner = new MemoryEndpoint();
    const paths: string[] = [];
    for (let at = 0; at < 3000; at++) {
      if (at % 10 !== 3) inner.put(`f${at}`, `text ${at}`);
      paths.push(`f${at}`);
    }
    const { endpoint } = remote(inner);
    await endpoint.open(request, never);
    const items = [];
    for await (const batch of endpoint.read(paths, never)) items.push(...batch);
    expect(items.map((item) => item.path)).toEqual(paths);
    expect(items[3]).toMatchObject({ problem: { code: "ENOENT", path: "f3" } });
    expect(items[2999]).toMatchObject({ entry: { size: 9 }, bytes: new Uint8Array(Buffer.from("text 2999")) });
    const sums = await endpoint.sums(paths, never);
    expect(sums).toHaveLength(3000);
    expect([sums[0], sums[3]]).toMatchObject([SUM, { code: "ENOENT" }]);
    await endpoint.close();
  });

  test("[REMOTE-57] scrubs step by step, for no more bytes than a step may have", async () => {
    const inner = new MemoryEndpoint();
    const { endpoint } = remote(inner);
    await endpoint.open(request, never);
    const { pass, ...reply } = await endpoint.scrub({ everyMs: 5000, bytesMax: SCRUB_BYTES_MAX }, never);
    expect(reply).toEqual({ bytes: 7, busyMs: 3, found: true, waitMs: 5000 });
    expect(pass).toMatchObject({ files: 0, bytes: 7, damaged: 1 });
    expect((await endpoint.scrub({ everyMs: 5000, bytesMax: 0 }, never)).pass).toBeUndefined();
    expect(inner.calls.filter((call) => call.startsWith("scrub"))).toEqual([`scrub 5000 ${SCRUB_BYTES_MAX}`, "scrub 5000 0"]);
    await endpoint.close();
    const much = encodeScrubRequest({ everyMs: 1, bytesMax: SCRUB_BYTES_MAX + 1 });
    expect(await attack(new MemoryEndpoint(), "scrub", [much])).toMatchObject({ code: "PROTOCOL" });
  });

  test("[REMOTE-42] a reader that stops early ends the call and leaves the connection usable", async () => {
    const inner = new MemoryEndpoint();
    for (let at = 0; at < 2000; at++) inner.put(`f${at}`, "x".repeat(1000));
    const { endpoint, muxes } = remote(inner);
    await endpoint.open(request, never);
    for await (const batch of endpoint.read([...inner.files.keys()], never)) {
      expect(batch.length).toBeGreaterThan(0);
      break;
    }
    expect(await endpoint.sums(["f1"], never)).toEqual([SUM]);
    expect(muxes[0]!.openChannels).toBeLessThan(3);
    await endpoint.close();
  });

  test("[REMOTE-43] changes are pushed without waiting for answers and each is answered once, in order", async () => {
    const inner = new MemoryEndpoint();
    const { endpoint } = remote(inner);
    await endpoint.open(request, never);
    const application = endpoint.apply("run-7", never);
    const ops: ApplyOp[] = Array.from({ length: 4000 }, (_, at) => {
      const bytes = new Uint8Array(Buffer.from(`file ${at}`));
      const change = { side: "beta", path: `d/${at}`, old: undefined, new: fileEntry(bytes.length), action: "content" } as const;
      return { type: "change", change, bytes };
    });
    for (let at = 0; at < ops.length; at += 1000) await application.push(ops.slice(at, at + 1000));
    const results: OpResult[] = [];
    const reply = await application.commit((more) => results.push(...more));
    expect(reply).toEqual({ seqBefore: 0, seqAfter: 4000 });
    expect(results.map((result) => result.path)).toEqual(ops.map((op) => (op.type === "change" ? op.change.path : "")));
    expect(results.every((result) => result.status === "done" && result.entry?.kind === "file")).toBe(true);
    expect(inner.text("d/3999")).toBe("file 3999");
    await application.push([
      { type: "move", move: { side: "beta", from: "d/1", to: "e", count: 1 } },
      { type: "move", move: { side: "beta", from: "nothing", to: "f", count: 1 } },
    ]);
    const second: OpResult[] = [];
    await application.commit((more) => second.push(...more));
    expect(second).toMatchObject([{ path: "e", status: "done" }, { path: "f", status: "failed", problem: { path: "f" } }]);
    expect(inner.calls).toContain("apply run-7");
    await endpoint.close();
  });

  test("[REMOTE-56] what is pushed while a commit is under way belongs to the next one", async () => {
    const inner = new MemoryEndpoint();
    const apply = inner.apply.bind(inner);
    const entered = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    const hashing = Promise.withResolvers<void>();
    const hashed = Promise.withResolvers<void>();
    inner.sums = async (paths) => {
      hashing.resolve();
      await hashed.promise;
      return paths.map(() => SUM);
    };
    const called = async (...calls: string[]): Promise<void> => {
      while (inner.calls.slice(-calls.length).join() !== calls.join()) await Bun.sleep(1);
    };
    inner.apply = (runId) => {
      const application = apply(runId);
      return {
        push: (ops) => {
          inner.calls.push(`push ${ops.length}`);
          return application.push(ops);
        },
        commit: async (onResults) => {
          const ending = application.commit(onResults);
          inner.calls.push("commit");
          entered.resolve();
          await answer.promise;
          return ending;
        },
      };
    };
    const { endpoint } = remote(inner);
    await endpoint.open(request, never);
    const application = endpoint.apply("run-8", never);
    const op = (path: string): ApplyOp => {
      const bytes = new Uint8Array(Buffer.from(path));
      return { type: "change", change: { side: "beta", path, old: undefined, new: fileEntry(bytes.length), action: "content" }, bytes };
    };
    const results: string[] = [];
    const onResults = (more: OpResult[]): void => void results.push(...more.map((result) => result.path));
    await application.push([op("a")]);
    await called("push 1");
    const sums = endpoint.sums(["a"], never);
    await hashing.promise;
    const first = application.commit(onResults);
    // The commit still waits behind another call, and nobody here can know.
    await application.push([op("b"), op("c")]);
    await Bun.sleep(5);
    hashed.resolve();
    expect(await sums).toEqual([SUM]);
    await entered.promise;
    await application.push([op("d")]);
    await called("commit", "push 2", "push 1");
    expect([inner.text("a"), inner.text("b")]).toEqual(["a", undefined]);
    answer.resolve();
    expect(await first).toEqual({ seqBefore: 0, seqAfter: 1 });
    expect(results).toEqual(["a"]);
    expect(await application.commit(onResults)).toEqual({ seqBefore: 1, seqAfter: 4 });
    expect(results).toEqual(["a", "b", "c", "d"]);
    expect(inner.calls.slice(-5)).toEqual(["push 1", "commit", "push 2", "push 1", "commit"]);
    await endpoint.close();
  });

  test("[REMOTE-44] a transfer between two remote sides arrives whole", async () => {
    const source = new MemoryEndpoint();
    const target = new MemoryEndpoint();
    const items = Array.from({ length: 20 }, (_, at) => ({ path: `big${at}`, entry: fileEntry(0) }));
    for (const { path } of items) source.put(path, path.repeat(50_000));
    const alpha = remote(source).endpoint;
    const beta = remote(target).endpoint;
    await Promise.all([alpha.open(request, never), beta.open(request, never)]);
    const [a, b] = memoryChannelPair();
    const results: TransferResult[] = [];
    await Promise.all([alpha.supply(a, never), beta.receive(b, items, (result) => results.push(result), never)]);
    expect(results.map((result) => result.path)).toEqual(items.map((item) => item.path));
    expect(Buffer.from(target.staged.get("big19")!).toString()).toBe("big19".repeat(50_000));
    // A second transfer over the same connections.
    const [c, d] = memoryChannelPair();
    await Promise.all([alpha.supply(c, never), beta.receive(d, items.slice(0, 1), () => undefined, never)]);
    await Promise.all([alpha.close(), beta.close()]);
  });

  test("[REMOTE-45] when the connection of a transfer is lost both halves end", async () => {
    const source = new MemoryEndpoint();
    source.put("a", "a");
    source.supply = () => new Promise(() => undefined);
    const alpha = remote(source);
    const target = new MemoryEndpoint();
    await alpha.endpoint.open(request, never);
    const [a, b] = memoryChannelPair();
    const supply = alpha.endpoint.supply(a, never).catch((error: unknown) => error);
    const receive = target.receive(b, [{ path: "a", entry: fileEntry(1) }], () => undefined).catch((error: unknown) => error);
    alpha.muxes[0]!.close();
    expect(await supply).toMatchObject({ code: "LINK_LOST" });
    expect(await receive).toBeInstanceOf(SynclineError);
  });

  test("[REMOTE-46] hints of changes come through until the watch is ended", async () => {
    const inner = new MemoryEndpoint();
    const { endpoint } = remote(inner);
    await endpoint.open(request, never);
    const stop = new AbortController();
    let hints = 0;
    const hinted = Promise.withResolvers<void>();
    const watching = endpoint.watch(() => {
      hints++;
      hinted.resolve();
    }, stop.signal);
    while (inner.onDirty === undefined) await new Promise((resolve) => setImmediate(resolve));
    inner.onDirty();
    await hinted.promise;
    stop.abort();
    await watching;
    expect(hints).toBe(1);
    while (inner.onDirty !== undefined) await new Promise((resolve) => setImmediate(resolve));
    await endpoint.close();
  });

  test("[REMOTE-47] runs, their changes and undo", async () => {
    const inner = new MemoryEndpoint();
    const { endpoint } = remote(inner);
    await endpoint.open(request, never);
    expect(await endpoint.runs()).toEqual(await inner.runs());
    expect(await endpoint.runChanges("run-1")).toEqual(await inner.runChanges("run-1"));
    expect(await endpoint.undo("run-1", never)).toEqual(await inner.undo("run-1"));
    await endpoint.close();
  });

  test("[REMOTE-48] an aborted call rejects with INTERRUPTED here and aborts there", async () => {
    const inner = new MemoryEndpoint();
    const aborted = Promise.withResolvers<void>();
    inner.scan = (_request, _onBatch, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener("abort", () => {
          aborted.resolve();
          reject(signal.reason);
        });
      });
    const { endpoint } = remote(inner);
    await endpoint.open(request, never);
    const abort = new AbortController();
    const scan = endpoint.scan(scanAll, () => undefined, abort.signal);
    await new Promise((resolve) => setImmediate(resolve));
    abort.abort();
    await expect(scan).rejects.toMatchObject({ code: "INTERRUPTED" });
    await aborted.promise;
    await endpoint.close();
  });

  test("[REMOTE-49] an endpoint that was lost can be opened again, and bytes go on being counted", async () => {
    const { endpoint, muxes } = remote(new MemoryEndpoint());
    await endpoint.open(request, never);
    const before = endpoint.wireBytes().sent;
    muxes[0]!.close();
    await expect(endpoint.sums(["a"], never)).rejects.toMatchObject({ code: "LINK_LOST", retryable: true });
    await endpoint.close();
    await expect(endpoint.sums(["a"], never)).rejects.toMatchObject({ code: "LINK_LOST" });
    expect(endpoint.wireBytes().sent).toBeGreaterThanOrEqual(before);
  });

  test("[REMOTE-50] a read-only root refuses to be opened for writing, and is logged", async () => {
    const inner = new MemoryEndpoint();
    const { endpoint, refused } = remote(inner, { readOnly: true });
    await expect(endpoint.open(request, never)).rejects.toMatchObject({ code: "ROOT_READ_ONLY", hint: expect.any(String) });
    expect(refused).toEqual(["open ROOT_READ_ONLY"]);
    expect(inner.opened).toBeUndefined();
    await endpoint.open({ ...request, writable: false }, never);
    await endpoint.close();
  });

  test("[REMOTE-51] a read-only root refuses every writing call of a client that asks anyway", async () => {
    const op: ApplyOp = { type: "move", move: { side: "beta", from: "a", to: "b", count: 1 } };
    for (const [method, messages] of [
      ["apply", [encodeRunId("r"), ...packOps([op])]],
      ["undo", [encodeRunId("r")]],
      ["receive", [encodeCount(1)]],
    ] as const) {
      const inner = new MemoryEndpoint();
      inner.put("a", "a");
      expect(await attack(inner, method, [...messages], true, true)).toMatchObject({ code: "ROOT_READ_ONLY" });
      expect(inner.text("a")).toBe("a");
      expect(inner.calls).toEqual(["open"]);
    }
  });

  test("[REMOTE-52] the server refuses calls out of order, unknown calls and damaged ones", async () => {
    const inner = new MemoryEndpoint();
    const outcomes = [
      await attack(inner, "scan", [bare(REPLY)], false),
      await attack(inner, "format-disk", []),
      await attack(inner, "scan", [Uint8Array.of(REPLY, 200)]),
      await attack(inner, "sums", [bare(ITEMS)]),
      await attack(inner, "vouch", [bare(REPLY)]),
      await attack(inner, "open", [encodeOpenRequest(request)]),
      await attack(inner, "apply", [encodeRunId("r"), encodeCount(3)]),
      await attack(inner, "receive", [encodeCount(12345)]),
      await attack(inner, "read", [Uint8Array.from([...packPaths(["a"])[0]!.subarray(0, 2), 0x2e, 0x2e])]),
      await attack(inner, "apply", [bare(ITEMS)]),
    ];
    for (const outcome of outcomes) expect(outcome).toMatchObject({ code: "PROTOCOL" });
  });

  test("[REMOTE-53] a server that lies is refused", async () => {
    const otherProblem = { path: "b", side: "alpha", code: "EIO", message: "no", transient: false } as const;
    const attempts: [(endpoint: RemoteEndpoint) => Promise<unknown>, Uint8Array[]][] = [
      [(e) => e.sums(["a"], never), [Uint8Array.of(ITEMS, 9)]],
      [(e) => e.scan(scanAll, () => undefined, never), [Uint8Array.of(ITEMS, 1, 2, 0x2e, 0x2e)]],
      [(e) => e.vouch(["a"], never), [...packProblems([otherProblem]), bare(REPLY)]],
      [(e) => e.runs(), [bare(77)]],
      [(e) => e.undo("r", never), []],
      [(e) => e.apply("r", never).commit(() => undefined), [Uint8Array.of(ITEMS, 4)]],
    ];
    for (const [ask, messages] of attempts) {
      const endpoint = lying(async (channel) => {
        for (const message of messages) await channel.send(message);
        channel.end();
      });
      await endpoint.open(request, never);
      await expect(ask(endpoint)).rejects.toMatchObject({ code: "PROTOCOL" });
    }
  });

  test("[REMOTE-54] errors of the far endpoint keep their code and hint", async () => {
    const inner = new MemoryEndpoint();
    inner.open = () => Promise.reject(new SynclineError({ code: "ROOT_IDENTITY", op: "open", message: "another root", hint: "look" }));
    const { endpoint } = remote(inner);
    await expect(endpoint.open(request, never)).rejects.toMatchObject({ code: "ROOT_IDENTITY", message: "another root", hint: "look" });
    await endpoint.close();
  });

  test("[REMOTE-55] a lost connection closes the far endpoint, after the call it was doing", async () => {
    const inner = new MemoryEndpoint();
    const order: string[] = [];
    const gate = Promise.withResolvers<void>();
    inner.runs = async () => {
      await gate.promise;
      order.push("done");
      return [];
    };
    inner.close = async () => {
      order.push("closed");
    };
    const { endpoint, muxes } = remote(inner);
    await endpoint.open(request, never);
    const runs = endpoint.runs().catch((error: unknown) => error);
    await new Promise((resolve) => setImmediate(resolve));
    muxes[0]!.close();
    expect(await runs).toMatchObject({ code: "LINK_LOST" });
    expect(order).toEqual([]);
    gate.resolve();
    while (order.length < 2) await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual(["done", "closed"]);
  });
});
