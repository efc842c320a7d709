/** A link that breaks while changes are on their way: the session goes on in the same process. */
import { afterEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SynclineError } from "#model/error.ts";
import { openHost } from "#platform/host-bun.ts";
import { DirEndpoint } from "#sync/endpoint/dir-endpoint.ts";
import type { Application, Endpoint } from "#sync/endpoint/endpoint.ts";
import { MemoryDisk, MemoryStore } from "#sync/index/memory-store.ts";
import type { Summary } from "#sync/session/events.ts";
import { PLAIN_OPTIONS } from "#sync/session/session-fixture.ts";
import { runSession } from "#sync/session/session.ts";

let dir = "";
afterEach(() => rmSync(dir, { recursive: true, force: true }));

/** Its next commit is done on the disk, but the answer is lost with the link. */
function losingAnswer(endpoint: Endpoint, onLost: () => void): Endpoint {
  const apply = endpoint.apply.bind(endpoint);
  endpoint.apply = (runId, signal): Application => {
    const application = apply(runId, signal);
    return {
      push: (ops) => application.push(ops),
      commit: async () => {
        await application.commit(() => undefined);
        onLost();
        throw new SynclineError({ code: "LINK_LOST", op: "apply", message: "the link is gone", retryable: true });
      },
    };
  };
  return endpoint;
}

test("[SESSION-20] an edit while the answer to our own change was lost with the link is no conflict", async () => {
  dir = mkdtempSync(join(tmpdir(), "syncline-link-"));
  const host = await openHost();
  const disks = new Map<string, MemoryDisk>();
  const store = (name: string): MemoryStore => {
    const disk = disks.get(name) ?? new MemoryDisk();
    disks.set(name, disk);
    return new MemoryStore(disk);
  };
  const hash = (text: string): string => Bun.hash.xxHash3(text).toString(16).padStart(16, "0").slice(-12);
  const endpoint = (side: string): Endpoint => {
    const path = join(dir, side);
    return new DirEndpoint({ host, path, label: side, openStore: (name) => store(`${side} ${name}`), hash });
  };
  for (const side of ["a", "b"]) mkdirSync(join(dir, side));
  const write = (text: string): void => writeFileSync(join(dir, "a", "file"), text);
  const input = { sessionId: "0".repeat(32), alpha: () => endpoint("a"), options: PLAIN_OPTIONS, host, hash };
  const run = (beta: () => Endpoint): Promise<Summary> =>
    runSession({ ...input, beta, store: store("session"), onEvent: () => undefined, signal: new AbortController().signal });
  write("one");
  await run(() => endpoint("b"));
  write("two!");
  let opened = 0;
  const summary = await run(() =>
    opened++ === 0 ? losingAnswer(endpoint("b"), () => write("three")) : endpoint("b"),
  );
  expect(opened).toBe(2);
  expect(summary).toMatchObject({ result: "same", conflicts: 0 });
  expect(readFileSync(join(dir, "b", "file"), "utf8")).toBe("three");
});
