/** What stays behind on disk: nothing of a comparison, nothing after forget, nothing of a dry run. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type PairRequest, comparePair, forgetPair, openHost, runPair, serveRoots } from "#cli/engine.ts";
import { sessionOptions } from "#cli/session-options.ts";
import type { SessionEvent, SessionOptions, Summary } from "#sync/session/events.ts";

let dir: string;
let request: PairRequest;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "syncline-memory-"));
  for (const name of ["here", "there"]) mkdirSync(join(dir, name));
  request = {
    pair: { alpha: join(dir, "here"), beta: join(dir, "there") },
    given: {},
    stateDir: join(dir, "state"),
    host: await openHost(),
    signal: new AbortController().signal,
    askTrust: undefined,
  };
});

afterEach(() => rmSync(dir, { recursive: true }));

const put = (path: string, text: string): void => writeFileSync(join(dir, path), text);
const compare: SessionOptions = { ...sessionOptions({ mode: "one-way-replica", delete: true }), dryRun: true };
const repair: SessionOptions = { ...compare, dryRun: false, delete: false };

/** Databases and stages, wherever they are. */
function memories(): string[] {
  const all = readdirSync(dir, { recursive: true, encoding: "utf8" });
  return all.filter((path) => /\.db|stage\/./.test(path)).sort();
}

async function sync(options: Partial<SessionOptions> = {}): Promise<{ summary: Summary; events: SessionEvent[] }> {
  const events: SessionEvent[] = [];
  const summary = await runPair(request, { ...sessionOptions({}), ...options }, (event) => events.push(event));
  return { summary, events };
}

test("[VERIFY-7] a comparison leaves nothing behind on either side, local or served, not even when it repairs", async () => {
  put("here/f", "right");
  put("there/f", "wrong");
  put("token", "a token\n");
  expect(await comparePair(request, compare, () => undefined)).toMatchObject({ planned: 1 });
  expect([memories(), readdirSync(join(dir, "there"))]).toEqual([[], ["f"]]);
  const roots = [{ name: "there", path: join(dir, "there"), readOnly: false }];
  const { host, stateDir } = request;
  const at = { host, stateDir, listen: { host: "127.0.0.1", port: 0 }, roots, tokens: ["a token"] };
  const server = await serveRoots({ ...at, identity: undefined, clientCa: undefined, log: () => undefined });
  try {
    const given = { "token-file": join(dir, "token"), "accept-new": true };
    const pair = { alpha: join(dir, "here"), beta: `syncline://127.0.0.1:${server.port}/there` };
    const remote = { ...request, pair, given };
    expect(await comparePair(remote, repair, () => undefined)).toMatchObject({ changes: 1, problems: 0 });
  } finally {
    await server.close();
  }
  expect(memories()).toEqual([]);
  expect(readFileSync(join(dir, "there/f"), "utf8")).toBe("right");
  const [run] = readdirSync(join(dir, "there/.syncline/trash"));
  const kept = join(dir, "there/.syncline/trash", run!);
  expect(readdirSync(kept).map((name) => readFileSync(join(kept, name), "utf8"))).toEqual(["wrong"]);
});

test("[VERIFY-8] a comparison does not disturb what the pair remembers, and reads what looks unchanged", async () => {
  put("here/f", "12345");
  await sync();
  const before = memories();
  utimesSync(join(dir, "here/f"), 5, 5);
  put("there/f", "12x45");
  utimesSync(join(dir, "there/f"), 5, 5);
  expect(await comparePair(request, compare, () => undefined)).toMatchObject({ planned: 1 });
  expect(memories()).toEqual(before);
});

test("[CLI-40] after forget the next run deletes nothing, whatever was deleted before", async () => {
  put("here/f", "1");
  put("here/g", "2");
  expect(await forgetPair(request)).toBe(false);
  await sync();
  rmSync(join(dir, "here/f"));
  expect(await forgetPair(request)).toBe(true);
  expect((await sync()).summary).toMatchObject({ result: "same", changes: 1 });
  expect(readFileSync(join(dir, "here/f"), "utf8")).toBe("1");
});

test("[CLI-40] after forget a root that was replaced is accepted", async () => {
  put("here/f", "1");
  await sync();
  rmSync(join(dir, "there"), { recursive: true });
  mkdirSync(join(dir, "there"));
  const refused = sync();
  expect(refused).rejects.toMatchObject({ code: "ROOT_IDENTITY", hint: expect.stringContaining("syncline forget") });
  await refused.catch(() => undefined);
  await forgetPair(request);
  expect((await sync()).summary).toMatchObject({ result: "same", changes: 1 });
  expect(readFileSync(join(dir, "there/f"), "utf8")).toBe("1");
});

test("[CLI-43] a directory that was copied with its marker is refused at once, and accepted without", async () => {
  put("here/f", "1");
  await sync();
  rmSync(join(dir, "there"), { recursive: true });
  cpSync(join(dir, "here"), join(dir, "there"), { recursive: true });
  const marker = join(dir, "there", ".syncline");
  expect(sync()).rejects.toMatchObject({ code: "ROOT_IDENTITY", hint: expect.stringContaining(`rm -r ${marker}`) });
  rmSync(marker, { recursive: true });
  await forgetPair(request);
  expect((await sync()).summary).toMatchObject({ result: "same", files: 1 });
});

test("[SESSION-31] a dry run shows the plan for a root that does not exist yet, and does not create it", async () => {
  put("here/f", "1");
  rmSync(join(dir, "there"), { recursive: true });
  const dry = await sync({ dryRun: true });
  expect(dry.summary).toMatchObject({ result: "dry-run", planned: 1, changes: 0 });
  expect(existsSync(join(dir, "there"))).toBe(false);
  expect((await sync()).summary).toMatchObject({ result: "same", changes: 1 });
});

test("[SESSION-31] a dry run fails as the real one would: without alpha, or without the parent of beta", async () => {
  const nowhere = { ...request, pair: { alpha: join(dir, "here"), beta: join(dir, "no/where") } };
  const dry = { ...sessionOptions({}), dryRun: true };
  await expect(runPair(nowhere, dry, () => undefined)).rejects.toMatchObject({ code: "ROOT_MISSING" });
  rmSync(join(dir, "here"), { recursive: true });
  await expect(sync({ dryRun: true })).rejects.toMatchObject({ code: "ROOT_MISSING" });
});

test("[VERIFY-9] comparing with a root that does not exist is an error, not a list of differences", async () => {
  rmSync(join(dir, "there"), { recursive: true });
  await expect(comparePair(request, compare, () => undefined)).rejects.toMatchObject({ code: "ROOT_MISSING" });
  expect(memories()).toEqual([]);
});
