/** What a session says it has done, however it ends. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SynclineError } from "#model/error.ts";
import { openHost } from "#platform/host-bun.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";
import { PLAIN_OPTIONS } from "#sync/session/session-fixture.ts";
import { runSession } from "#sync/session/session.ts";

const OPTIONS: SessionOptions = { ...PLAIN_OPTIONS, verbose: true };

const host = openHost();
const hash = (text: string): string => Bun.hash.xxHash3(text).toString(16).padStart(16, "0").slice(-12);
let dir = "";
let disks: Map<string, MemoryDisk>;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "syncline-summary-"));
  disks = new Map();
  for (const side of ["a", "b"]) mkdirSync(join(dir, side));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function store(name: string): MemoryStore {
  const disk = disks.get(name) ?? new MemoryDisk();
  disks.set(name, disk);
  return new MemoryStore(disk);
}

function endpoint(side: "a" | "b"): Endpoint {
  return new DirEndpoint({ host, path: join(dir, side), label: side, openStore: (name) => store(`${side} ${name}`), hash });
}

type Run = { readonly options?: Partial<SessionOptions>; readonly beta?: () => Endpoint; onEvent?(event: SessionEvent): void };

function run({ options, beta = () => endpoint("b"), onEvent = () => undefined }: Run, signal?: AbortSignal): Promise<Summary> {
  return runSession({
    sessionId: "0".repeat(32),
    alpha: () => endpoint("a"),
    beta,
    options: { ...OPTIONS, ...options },
    store: store("session"),
    host,
    hash,
    onEvent,
    signal: signal ?? new AbortController().signal,
  });
}

const put = (path: string, text: string): void => writeFileSync(join(dir, path), text);

test("[SESSION-36] interrupted after one side was changed: the summary, and the run to take back, say so", async () => {
  put("a/from-a", "1");
  put("b/from-b", "22");
  const stop = new AbortController();
  const cycles: Summary[] = [];
  const onEvent = (event: SessionEvent): void => {
    if (event.type === "change") stop.abort(new Error("stop"));
    if (event.type === "cycle") cycles.push(event.summary);
  };
  const summary = await run({ onEvent }, stop.signal);
  expect(summary).toMatchObject({ result: "interrupted", changes: 1, runId: expect.stringMatching(/^[0-9a-f]{12}$/) });
  expect(cycles.map(({ result, changes, runId }) => [result, changes, runId])).toEqual([["interrupted", 1, summary.runId]]);
});

test("[SESSION-36] a failure tells what was done until then, and what a retry repeats is told once", async () => {
  for (const retryable of [false, true]) {
    put(`a/from-a ${retryable}`, "1");
    put(`b/from-b ${retryable}`, "22");
    let broken = false;
    const beta = (): Endpoint => {
      const it = endpoint("b");
      if (broken) return it;
      it.apply = () => {
        broken = true;
        throw new SynclineError({ code: "LINK_LOST", op: "apply", message: "gone", retryable });
      };
      return it;
    };
    const failed: Summary[] = [];
    const onEvent = (event: SessionEvent): void => {
      if (event.type === "failed") failed.push(event.summary);
    };
    const ended = run({ beta, onEvent });
    if (retryable) expect(await ended).toMatchObject({ result: "same", changes: 2, bytes: { literal: 3 } });
    else {
      await expect(ended).rejects.toMatchObject({ code: "LINK_LOST" });
      expect(failed).toMatchObject([{ result: "failed", changes: 1, bytes: { literal: 2 } }]);
      expect(await run({})).toMatchObject({ result: "same", changes: 1 });
    }
  }
});

test("[SESSION-36] while watching every cycle tells its own, and the last summary all of it", async () => {
  put("a/one", "1");
  const stop = new AbortController();
  const cycles: Summary[] = [];
  const onEvent = (event: SessionEvent): void => {
    if (event.type !== "cycle" || event.summary.changes === 0) return;
    cycles.push(event.summary);
    if (cycles.length === 1) put("b/two", "22");
    else stop.abort(new Error("stop"));
  };
  const summary = await run({ options: { watch: true }, onEvent }, stop.signal);
  expect(cycles.map(({ changes, bytes }) => [changes, bytes.literal])).toEqual([[1, 1], [1, 2]]);
  expect(summary).toMatchObject({ result: "interrupted", files: 2, changes: 2, bytes: { literal: 3 } });
});

test("[SESSION-37] files that a side has changed or lost since are not among those that are the same", async () => {
  for (const name of ["same", "edited", "lost", "touched"]) put(`a/${name}`, name);
  expect(await run({})).toMatchObject({ result: "same", files: 4 });
  put("a/edited", "left");
  put("b/edited", "right");
  rmSync(join(dir, "b/lost"));
  expect(await run({ options: { dryRun: true } })).toMatchObject({ files: 2, conflicts: 1, planned: 1, changes: 0 });
  expect(await run({})).toMatchObject({ result: "conflicts", files: 2, conflicts: 1, planned: 0, changes: 1 });
});
