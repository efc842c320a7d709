/**
 * What a server remembers of its clients, through the command line's seam and a real loopback connection: every
 * client and every purpose has a memory of its own.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type PairRequest, type Serving, comparePair, openHost, runPair, serveRoots } from "#cli/engine.ts";
import { sessionOptions } from "#cli/session-options.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";

const compare: SessionOptions = { ...sessionOptions({ mode: "one-way-replica", delete: true }), dryRun: true, deep: true };

describe("a server's memory", () => {
  let dir: string;
  let server: Serving;
  let request: (stateName: string) => PairRequest;

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), "syncline-memory-"));
    for (const name of ["here", "there"]) mkdirSync(join(dir, name));
    writeFileSync(join(dir, "token"), "a token\n");
    const host = await openHost();
    server = await serveRoots({
      host,
      stateDir: join(dir, "server-state"),
      listen: { host: "127.0.0.1", port: 0 },
      roots: [{ name: "there", path: join(dir, "there"), readOnly: false }],
      tokens: ["a token"],
      identity: undefined,
      clientCa: undefined,
      log: () => undefined,
    });
    request = (stateName) => ({
      pair: { alpha: join(dir, "here"), beta: `syncline://127.0.0.1:${server.port}/there` },
      given: { "token-file": join(dir, "token"), "accept-new": true },
      stateDir: join(dir, stateName),
      host,
      signal: new AbortController().signal,
      askTrust: undefined,
    });
  });

  afterEach(async () => {
    await server.close();
    rmSync(dir, { recursive: true });
  });

  const sync = (stateName: string): Promise<Summary> =>
    runPair(request(stateName), sessionOptions({}), () => undefined);

  test("[VERIFY-10] comparing with a remote side finds no damage where there is none, as often as one asks", async () => {
    writeFileSync(join(dir, "here/a"), "content");
    await sync("client");
    for (let time = 1; time <= 2; time++) {
      const events: SessionEvent[] = [];
      const summary = await comparePair(request("client"), compare, (event) => events.push(event));
      expect({ time, problems: events.filter((one) => one.type === "problem") }).toEqual({ time, problems: [] });
      expect(summary).toMatchObject({ changes: 0, problems: 0 });
    }
  });

  test("[VERIFY-11] a comparison takes no change away from the pair's own session", async () => {
    await sync("client");
    writeFileSync(join(dir, "there/late"), "written on the server");
    await comparePair(request("client"), compare, () => undefined);
    expect(await sync("client")).toMatchObject({ result: "same", changes: 1 });
    expect(existsSync(join(dir, "here/late"))).toBe(true);
  });

  test("[PAIR-1] two clients that use the same paths do not share a memory: deletions stay deletions", async () => {
    writeFileSync(join(dir, "here/a"), "content");
    writeFileSync(join(dir, "here/b"), "content");
    await sync("client");
    await sync("other-client");
    rmSync(join(dir, "here/a"));
    await sync("client");
    expect({ here: existsSync(join(dir, "here/a")), there: existsSync(join(dir, "there/a")) }).toEqual({
      here: false,
      there: false,
    });
  });

  test("[PAIR-2] a client that lost its memory compares everything anew, and nothing is lost or damaged", async () => {
    writeFileSync(join(dir, "here/a"), "content");
    await sync("client");
    rmSync(join(dir, "client/sessions"), { recursive: true });
    writeFileSync(join(dir, "there/b"), "more");
    const events: SessionEvent[] = [];
    const summary = await runPair(request("client"), { ...sessionOptions({}), deep: true }, (event) => events.push(event));
    expect(events.filter((one) => one.type === "problem" || one.type === "conflict")).toEqual([]);
    expect(summary).toMatchObject({ result: "same", changes: 1, files: 2 });
  });
});
