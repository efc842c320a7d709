import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { SynclineError } from "#model/error.ts";
import type { Entry } from "#model/entry.ts";
import { type ApplyOp, BATCH_BYTES_MAX, BATCH_ITEMS_MAX, type OpenReply, type OpenRequest, TRACES_TOLD_MAX } from "#sync/endpoint/endpoint.ts";
import * as calls from "#sync/endpoint/remote-protocol.ts";
import * as items from "#sync/endpoint/remote-protocol-items.ts";
import { SUM, fileEntry } from "#testing/memory-endpoint.ts";
import type { ByteReader } from "#sync/wire/bytes.ts";
import { MESSAGE_BYTES_MAX } from "#sync/wire/channel.ts";

const request: OpenRequest = {
  sessionId: SUM,
  seeds: { a: 2n ** 64n - 1n, b: 5n },
  writable: true,
  ignore: ["*.tmp", "!keep.tmp"],
  include: ["*.ts"],
  preserve: { mode: true, mtime: false, owner: "name", xattrs: true, hardlinks: false, symlinks: true, sparse: false },
  durable: "always",
  verifyReadBack: true,
  compress: "none",
  createRoot: true,
  expectRootId: "abc",
  ephemeral: true,
};
const reply: OpenReply = {
  rootId: "r", epoch: "e", lastSeq: 12, keptAfter: 3, hostName: "h", platform: "linux", canWatch: true, caseSensitive: false,
  timestampNs: 1000n, filterHash: "f", device: "1:2", absolutePath: "/srv",
};

const name = fc.stringMatching(/^[a-z\u00e9\u4e00]{1,12}$/).filter((text) => text !== "");
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((names) => names.join("/"));
const file = fc.record({ size: fc.maxSafeNat(), mode: fc.nat(0o7777), mtimeNs: fc.bigInt(-(2n ** 62n), 2n ** 62n) })
  .map(({ size, mode, mtimeNs }): Entry => ({ kind: "file", size, mode, mtimeNs, sum: SUM }));
const made = fc.oneof(
  file,
  fc.nat(0o7777).map((mode): Entry => ({ kind: "dir", mode })),
  path.map((target): Entry => ({ kind: "symlink", target })),
);
const side = fc.constantFrom("alpha", "beta");
const op: fc.Arbitrary<ApplyOp> = fc.oneof(
  fc.record({ side, path, old: fc.option(made, { nil: undefined }), new: made, action: fc.constant("content") })
    .map((change): ApplyOp => ({ type: "change", change })),
  fc.tuple(side, path, path, fc.uint8Array({ maxLength: 60 })).map(([where, at, from, bytes]): ApplyOp => ({
    type: "change",
    change: { side: where, path: at, old: undefined, new: fileEntry(bytes.length), action: "content", from },
    bytes,
  })),
  fc.tuple(side, path, fc.uint8Array({ maxLength: 60 })).map(([where, at, bytes]): ApplyOp => {
    const entry = fileEntry(bytes.length);
    return { type: "change", change: { side: where, path: at, old: entry, new: entry, action: "content", heals: true }, bytes };
  }),
  fc.record({ side, path, old: made, new: fc.constant(undefined), action: fc.constant("remove") })
    .map((change): ApplyOp => ({ type: "change", change })),
  fc.record({ side, from: path, to: path, count: fc.integer({ min: 1, max: 1e9 }), aside: fc.constant(true) })
    .map((move): ApplyOp => ({ type: "move", move })),
);

/** The reader of a packed message, behind its tag. */
const body = (message: Uint8Array): ByteReader => calls.openMessage(message).r;

function refused(decode: () => unknown): void {
  expect(decode).toThrow(SynclineError);
  try {
    decode();
  } catch (error) {
    expect(error).toMatchObject({ code: "PROTOCOL" });
  }
}

describe("remote protocol", () => {
  test("[REMOTE-30] requests and replies round-trip", () => {
    expect(calls.decodeOpenRequest(calls.encodeOpenRequest(request))).toEqual(request);
    expect(calls.decodeOpenReply(calls.encodeOpenReply(reply))).toEqual(reply);
    const scan = { since: 7, extent: "dirty", deep: true, acknowledged: 3 } as const;
    expect(calls.decodeScanRequest(calls.encodeScanRequest(scan))).toEqual(scan);
    const summary = { seq: 9, epoch: "e", problems: [], entries: 4, hashedBytes: 2 ** 40, degraded: "limit" };
    expect(calls.decodeScanSummary(body(calls.encodeScanSummary(summary)), [])).toEqual(summary);
    const scrub = { everyMs: 86_400_000 * 365, bytesMax: 5 };
    expect(calls.decodeScrubRequest(calls.encodeScrubRequest(scrub))).toEqual(scrub);
    const scrubbed = { bytes: 2 ** 33, busyMs: 12, found: true, waitMs: 7 };
    expect(calls.decodeScrubReply(calls.encodeScrubReply(scrubbed))).toEqual(scrubbed);
    const pass = { startedMs: 1_700_000_000_000.25, files: 3, bytes: 2 ** 45, damaged: 2 };
    expect(calls.decodeScrubReply(calls.encodeScrubReply({ ...scrubbed, pass }))).toEqual({ ...scrubbed, pass });
    expect(calls.decodeRunId(calls.encodeRunId("2026-11.a_b"))).toBe("2026-11.a_b");
  });

  test("[REMOTE-31] ops and observations round-trip, whatever the batch", () => {
    fc.assert(
      fc.property(fc.array(op, { minLength: 1, maxLength: 30 }), (ops) => {
        const [message, ...more] = items.packOps(ops);
        expect(more).toEqual([]);
        expect(calls.openMessage(message!).tag).toBe(calls.ITEMS);
        expect(items.unpack(body(message!), items.readOp)).toEqual(ops);
      }),
      { numRuns: 100 },
    );
    const wanted = [
      { path: "a", entry: fileEntry(1) },
      { path: "b", entry: fileEntry(2), candidates: ["x", "y/\udc80", "z", "a"] },
    ];
    expect(items.unpackTransferItems(body(items.packTransferItems(wanted)[0]!))).toEqual(wanted);
    const seen = [
      { state: "present", path: "a", entry: { kind: "other", what: "fifo" } },
      { state: "absent", path: "b/\udc80" },
      { state: "ignored", path: "" },
    ] as const;
    expect(items.unpack(body(items.packObservations(seen)[0]!), items.readObservation)).toEqual([...seen]);
  });

  test("[REMOTE-32] a batch is cut so that every message keeps count and size, and loses nothing", () => {
    const big = new Uint8Array(BATCH_BYTES_MAX);
    const ops: ApplyOp[] = Array.from({ length: 2500 }, (_, at) => ({
      type: "change",
      change: { side: "beta", path: `${"d".repeat(200)}/${at}`, old: undefined, new: fileEntry(0), action: "content" },
      ...(at % 1000 === 0 ? { bytes: big } : { bytes: new Uint8Array(700) }),
    }));
    const messages = items.packOps(ops);
    const back = messages.flatMap((message) => {
      expect(message.length).toBeLessThanOrEqual(MESSAGE_BYTES_MAX);
      const some = items.unpack(body(message), items.readOp);
      expect(some.length).toBeLessThanOrEqual(BATCH_ITEMS_MAX);
      return some;
    });
    expect(back).toEqual(ops);
    const tooBig: ApplyOp = { ...ops[0]!, bytes: new Uint8Array(BATCH_BYTES_MAX + 1) } as ApplyOp;
    expect(() => items.packOps([tooBig])).toThrow("in one item");
  });

  const evil = ["", "/etc/passwd", "../x", "a/../../x", "a/./b", "a//b", "a/", "x\0y", ".syncline/stage/x", "a".repeat(300), "a/".repeat(3000) + "b"];
  for (const at of evil) {
    test(`[REMOTE-33] [S-42] refuses the path ${JSON.stringify(at.slice(0, 20))} wherever a path can be`, () => {
      const change = { side: "beta", path: at, old: undefined, new: fileEntry(0), action: "content" } as const;
      const move = { side: "beta", from: "a", to: at, count: 1 } as const;
      const asOp = (each: ApplyOp) => () => items.unpack(body(items.packOps([each])[0]!), items.readOp);
      refused(asOp({ type: "change", change }));
      refused(asOp({ type: "change", change: { ...change, path: "ok", from: at } }));
      refused(asOp({ type: "change", change: { ...change, path: "ok", new: fileEntry(0, { linkTo: at }) } }));
      refused(asOp({ type: "move", move }));
      refused(asOp({ type: "move", move: { ...move, from: at, to: "a" } }));
      refused(() => items.unpackPaths(body(items.packPaths([at])[0]!)));
      refused(() => items.unpackTransferItems(body(items.packTransferItems([{ path: at, entry: fileEntry(0) }])[0]!)));
      const similar = { path: "a", entry: fileEntry(0), candidates: ["ok", at] };
      refused(() => items.unpackTransferItems(body(items.packTransferItems([similar])[0]!)));
      refused(() => items.unpack(body(items.packRunChanges([{ path: at, action: "create" }])[0]!), items.readRunChange));
      if (at !== "") {
        refused(() => items.unpack(body(items.packObservations([{ state: "absent", path: at }])[0]!), items.readObservation));
      }
    });
  }

  test("[REMOTE-34] refuses changes that contradict themselves, and run ids that are paths", () => {
    const change = { side: "beta", path: "a", old: undefined, new: fileEntry(0), action: "content" } as const;
    const asOp = (each: unknown) => () => items.unpack(body(items.packOps([each as ApplyOp])[0]!), items.readOp);
    const candidates = ["1", "2", "3", "4", "5"];
    refused(() => items.unpackTransferItems(body(items.packTransferItems([{ path: "a", entry: fileEntry(0), candidates }])[0]!)));
    refused(asOp({ type: "change", change: { ...change, action: "remove" } }));
    refused(asOp({ type: "change", change: { ...change, action: "metadata" } }));
    refused(asOp({ type: "change", change: { ...change, new: undefined } }));
    refused(asOp({ type: "change", change: { ...change, new: { kind: "other", what: "fifo" } } }));
    refused(asOp({ type: "change", change: { ...change, new: { kind: "dir", mode: 0 } }, bytes: new Uint8Array(1) }));
    refused(asOp({ type: "move", move: { side: "beta", from: "a", to: "b", count: 0 } }));
    for (const runId of ["", "..", "../x", "a/b", ".hidden", "x".repeat(200)]) {
      refused(() => calls.decodeRunId(calls.encodeRunId(runId)));
    }
  });

  test("[REMOTE-35] answers can only be about what was asked", () => {
    const read = items.packReadItems([
      { index: 1, item: { path: "b", entry: fileEntry(2), bytes: new Uint8Array(2) } },
      { index: 2, item: { path: "c", problem: { path: "c", side: "alpha", code: "EIO", message: "m", transient: false } } },
    ])[0]!;
    expect(items.unpackReadItems(body(read), ["a", "b", "c"], -1).map(({ item }) => item.path)).toEqual(["b", "c"]);
    refused(() => items.unpackReadItems(body(read), ["a", "b"], -1));
    refused(() => items.unpackReadItems(body(read), ["a", "b", "c"], 1));
    refused(() => items.unpackReadItems(body(read), ["a", "b", "other"], -1));
    const short = items.packReadItems([{ index: 0, item: { path: "a", entry: fileEntry(3), bytes: new Uint8Array(2) } }])[0]!;
    refused(() => items.unpackReadItems(body(short), ["a"], -1));
    const result = items.packTransferResult(0, { path: "a", entry: fileEntry(1), literalBytes: 1, reusedBytes: 0 })[0]!;
    const asked = [{ path: "a", entry: fileEntry(1) }];
    const open = new Set([0]);
    expect(items.unpackTransferResults(body(result), asked, open)[0]).toMatchObject({ path: "a", literalBytes: 1 });
    refused(() => items.unpackTransferResults(body(result), asked, open));
    const results = items.packResults([{ path: "a", status: "done", entry: undefined }], [{ path: "a", entry: undefined }], 0)[0]!;
    refused(() => items.unpackResults(body(results), [], 0));
  });

  test("[REMOTE-36] a result that is as asked takes one byte, and others come whole", () => {
    const wanted = { path: "a", entry: fileEntry(4) };
    const problem = { path: "a", side: "beta", code: "EIO", message: "m", transient: true } as const;
    const results = [
      { path: "a", status: "done", entry: { ...wanted.entry } },
      { path: "a", status: "stale", entry: fileEntry(5) },
      { path: "a", status: "failed", entry: undefined, problem },
    ] as const;
    const asked = [wanted, wanted, wanted];
    expect(items.packResults(results.slice(0, 1), asked, 0)[0]!.length).toBe(2);
    expect(items.unpackResults(body(items.packResults(results, asked, 0)[0]!), asked, 0)).toEqual([...results]);
  });

  test("[REMOTE-58] traces round-trip, and what is no trace, or too many of them, is refused", () => {
    const trace = `00-${"1".repeat(32)}-${"a".repeat(16)}-01`;
    for (const parent of [undefined, trace]) {
      const asked = { parent, after: 3, until: 9 };
      expect(calls.decodeTracesAsked(calls.encodeTracesAsked(asked))).toEqual(asked);
    }
    for (const traces of [[], [trace], Array.from({ length: TRACES_TOLD_MAX }, () => trace)]) {
      expect(calls.decodeTraces(calls.encodeTraces(traces))).toEqual(traces);
    }
    const wrong = ["", trace.toUpperCase(), `${trace}0`, trace.replace("1", "g"), `00-${"0".repeat(32)}-${"a".repeat(16)}-01`, trace.replace("00-", "ff-")];
    for (const one of wrong) {
      expect(() => calls.decodeTracesAsked(calls.encodeTracesAsked({ parent: one, after: 0, until: 0 }))).toThrow("a trace is not one");
      expect(() => calls.decodeTraces(calls.encodeTraces([trace, one]))).toThrow("a trace is not one");
    }
    const many = calls.encodeTraces(Array.from({ length: TRACES_TOLD_MAX + 1 }, () => trace));
    expect(() => calls.decodeTraces(many)).toThrow("more traces");
  });

  test("[REMOTE-37] every decoder answers random and mutated bytes with a value or PROTOCOL", () => {
    const valid = [
      calls.encodeOpenRequest(request),
      calls.encodeOpenReply(reply),
      calls.encodeScanRequest({ since: 1, extent: "full", deep: false, acknowledged: 0 }),
      calls.encodeScanSummary({ seq: 1, epoch: "e", problems: [], entries: 1, hashedBytes: 1, degraded: "x" }),
      calls.encodeCommitReply({ seqBefore: 1, seqAfter: 2 }),
      calls.encodeTracesAsked({ parent: `00-${"1".repeat(32)}-${"a".repeat(16)}-01`, after: 1, until: 2 }),
      calls.encodeTraces([`00-${"1".repeat(32)}-${"a".repeat(16)}-01`]),
      ...items.packOps([{ type: "change", change: { side: "beta", path: "a/b", old: fileEntry(1), new: fileEntry(3), action: "content" }, bytes: new Uint8Array(3) }]),
      ...items.packObservations([{ state: "present", path: "a", entry: fileEntry(3, { linkTo: "z" }) }]),
      ...items.packReadItems([{ index: 0, item: { path: "a", entry: fileEntry(2), bytes: new Uint8Array(2) } }]),
      ...items.packProblems([{ path: "a", side: "alpha", code: "EIO", message: "m", transient: false }]),
      ...items.packRuns([{ runId: "r", startedMs: 1.5, changes: 2, undone: false }]),
    ];
    const decoders: ((message: Uint8Array) => unknown)[] = [
      calls.decodeOpenRequest,
      calls.decodeOpenReply,
      calls.decodeScanRequest,
      calls.decodeRunId,
      calls.decodeTracesAsked,
      calls.decodeTraces,
      (m) => calls.decodeScanSummary(body(m), []),
      (m) => calls.decodeCommitReply(body(m)),
      (m) => items.unpack(body(m), items.readOp),
      (m) => items.unpack(body(m), items.readObservation),
      (m) => items.unpack(body(m), items.readRun),
      (m) => items.unpack(body(m), items.readRunChange),
      (m) => items.unpackProblems(body(m)),
      (m) => items.unpackPaths(body(m)),
      (m) => items.unpackReadItems(body(m), ["a"], -1),
      (m) => items.unpackTransferItems(body(m)),
      (m) => items.unpackTransferResults(body(m), [{ path: "a", entry: fileEntry(1) }], new Set([0])),
      (m) => items.unpackResults(body(m), [{ path: "a", entry: undefined }], 0),
      (m) => items.unpack(body(m), (r) => calls.readSum(r, "a")),
    ];
    const spoiled = fc
      .tuple(fc.constantFrom(...valid), fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 4 }), fc.nat(400))
      .map(([from, edits, length]) => {
        const bytes = Uint8Array.from(from);
        for (const [at, value] of edits) if (at < bytes.length) bytes[at] = value;
        return bytes.subarray(0, length);
      });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), spoiled), (message) => {
        for (const decode of decoders) {
          try {
            decode(message);
          } catch (error) {
            expect(error).toMatchObject({ code: "PROTOCOL" });
          }
        }
      }),
      { numRuns: 1500 },
    );
  });
});
