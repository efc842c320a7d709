import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { heapStats } from "bun:jsc";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";
import { PAGE_JSON, pageJson } from "#gateway/api/follow-shapes.ts";
import { FollowClient } from "#gateway/client/follow-client.ts";
import type { SynclineError } from "#model/error.ts";
import type { Reach } from "#platform/net/guarded-address.ts";
import { type ChunkId, chunkIdOf } from "#sync/chunk/chunk-id.ts";

const never = new AbortController().signal;

describe("another hub's space over HTTP", () => {
  let lab: ApiLab;
  const large = new Uint8Array(3_000_000).map((_, at) => (at * 7919) >> 5);

  beforeAll(async () => {
    lab = await ApiLab.open();
    await lab.put("in/a", "one");
    await lab.put("in/a", "two");
    await lab.put("out/\u00e9 b", "three");
    await lab.ask("/v1/spaces/demo/content/large", { method: "PUT", body: large });
    await lab.ask("/v1/spaces/demo/restore-points", { method: "POST", json: { name: "here" } });
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const client = (token: string = TOKENS.admin, source = "demo"): FollowClient =>
    new FollowClient({ url: lab.hub.url, source, token, ca: undefined }, () => "private");

  test("[FOLLOW-31] a source is looked for only where the configuration lets it be, and what may be reached may change", async () => {
    let reach: Reach = "public";
    const near = new FollowClient({ url: lab.hub.url, source: "demo", token: TOKENS.admin, ca: undefined }, () => reach);
    await expect(near.facts(never)).rejects.toMatchObject({ code: "USAGE", message: expect.stringContaining("only https") });
    reach = "private";
    expect((await near.facts(never)).sequence).toBeGreaterThanOrEqual(0);
    // Over the network in the clear.
    const far = new FollowClient({ url: "http://10.255.255.1:9", source: "demo", token: TOKENS.admin, ca: undefined }, () => reach);
    await expect(far.facts(never)).rejects.toMatchObject({ code: "USAGE", message: expect.stringContaining("plain http") });
  });

  test("[FOLLOW-19] gives the journal, manifests and chunks exactly as they are at rest", async () => {
    const facts = await client().facts(never);
    expect(facts.points.map(({ name, sequence }) => [name, sequence])).toEqual([["here", facts.sequence]]);
    const page = await client().page(0, 0, never);
    expect(page.records.map(({ sequence }) => sequence)).toEqual(Array.from({ length: facts.sequence }, (_, at) => at + 1));
    const record = page.records.find(({ path }) => path === "large")!;
    const manifest = page.manifests.get(record.content!.id)!;
    const wanted = [{ content: record.content!.id, chunks: manifest.chunks.map(({ id }) => id) }];
    const pieces: Uint8Array[] = [];
    await client().chunks(wanted, async (id, bytes) => {
      expect(chunkIdOf(bytes!)).toBe(id);
      pieces.push(bytes!.slice());
    }, never);
    expect(Buffer.compare(Buffer.concat(pieces), large)).toBe(0);
    const digest = await client().digest(facts.sequence, { from: "out/\u00e9 b", to: undefined }, true, never);
    expect(digest.leaves!.map(({ path }) => path)).toEqual(["out/\u00e9 b"]);
    expect((await client().history("in/a", 0, facts.sequence, never)).records).toHaveLength(2);
    expect((await client().page(facts.sequence, 0, never)).records).toEqual([]);
  });

  test("[FOLLOW-45] requests for chunks that have ended leave nothing behind with a follower that goes on", async () => {
    const { records } = await client().page(0, 0, never);
    const content = records.find(({ path }) => path === "in/a")!.content!.id;
    const wanted = [{ content, chunks: [content as string as ChunkId] }];
    const signals = async (): Promise<number> => {
      await Bun.sleep(20);
      Bun.gc(true);
      return heapStats().objectTypeCounts["AbortSignal"] ?? 0;
    };
    await client().chunks(wanted, async () => undefined, never);
    const before = await signals();
    for (let at = 0; at < 100; at++) await client().chunks(wanted, async () => undefined, never);
    expect((await signals()) - before).toBeLessThan(30);
  });

  test("[FOLLOW-19] gives chunks of the space's own content alone, to those who may read all of it", async () => {
    const { records } = await client().page(0, 0, never);
    const content = records.find(({ path }) => path === "in/a")!.content!.id;
    const chunk = content as string as ChunkId;
    const seen: unknown[] = [];
    await client(TOKENS.admin, "other").chunks([{ content, chunks: [chunk] }], async (id, bytes) => void seen.push([id, bytes]), never);
    expect(seen).toEqual([[chunk, undefined]]);
    for (const token of [TOKENS.reader, TOKENS.writer, TOKENS.stranger, "x".repeat(40)]) {
      const code = await client(token).page(0, 0, never).catch((error: SynclineError) => error.code);
      expect(["DENIED", "AUTH", "SPACE_UNKNOWN"]).toContain(code as string);
    }
    // Nobody asked for it.
    const path = `/v1/spaces/demo/follow/chunks/${chunk}`;
    expect((await lab.ask(path, { method: "PUT", body: "two" })).status).toBe(404);
  });

  test("[FOLLOW-24] an answer without an end is not taken into memory, whatever it says it is", async () => {
    const piece = new TextEncoder().encode(`"${"x".repeat(1 << 20)}",`);
    let sent = 0;
    const endless = (status: number) =>
      new Response(new ReadableStream({ pull: (out) => void out.enqueue(((sent += piece.length), piece)) }), { status });
    let status = 200;
    await using source = Object.assign(Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => endless(status) }), {
      [Symbol.asyncDispose]: () => source.stop(true),
    });
    const hostile = new FollowClient({ url: `http://127.0.0.1:${source.port}`, source: "demo", token: "secret", ca: undefined }, () => "private");
    for (status of [200, 500]) {
      sent = 0;
      await expect(hostile.facts(never)).rejects.toThrow(status === 200 ? "more than" : "not one of a hub");
      expect(sent).toBeLessThan(128 << 20);
    }
  });

  test("[FOLLOW-25] the address of a source is a host and a port: no password, no query, no way to another page", async () => {
    for (const url of ["http://me:secret@hub", "http://hub?a=", "http://hub#", "http://hub/other", "http://hub\\other", "ftp://hub", "http://"]) {
      const answer = await lab.ask("/v1/spaces/copy/source", { method: "POST", json: { url, token: "one" } });
      expect([url, answer.status]).toEqual([url, 400]);
    }
  });

  test("[FOLLOW-26] a time that no date can be made of is none", async () => {
    const page = pageJson("ab", await client().page(0, 0, never));
    const [first] = Object.keys(page.commits);
    expect(PAGE_JSON.safeParse(page).success).toBe(true);
    for (const time of [-1, 8.64e15 + 1, Number.MAX_SAFE_INTEGER]) {
      const commits = { ...page.commits, [first!]: { ...page.commits[first!]!, time } };
      expect(PAGE_JSON.safeParse({ ...page, commits }).success).toBe(false);
    }
  });

  test("[FOLLOW-19] waits for news, and is told at once", async () => {
    const { sequence } = await client().facts(never);
    const waiting = client().page(sequence, 20_000, never);
    await lab.put("news", "now");
    expect((await waiting).records.map(({ path }) => path)).toEqual(["news"]);
  });
});
