import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash, randomBytes } from "node:crypto";
import { connect } from "node:net";
import { systemPrincipal } from "#access/access.ts";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";
import { Metrics } from "#gateway/api/metrics.ts";
import { DOWNLOADS_MAX, Traffic } from "#gateway/api/traffic.ts";
import { JSON_BYTES_MAX } from "#gateway/api/api.ts";
import { percentEncode } from "#gateway/api/url-path.ts";

type Problem = { code: string; current?: { sequence: number }; expected?: { sequence: number }; traceId: string };

let lab: ApiLab;
beforeAll(async () => {
  lab = await ApiLab.open();
});
afterAll(() => lab[Symbol.asyncDispose]());

const content = (path: string, query = ""): string => `/v1/spaces/demo/content/${path}${query}`;
const problem = async (response: Response): Promise<Problem> => {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  return (await response.json()) as Problem;
};

describe("content", () => {
  test("[API-4] a large file streams in without a length and out again, whole and in ranges", async () => {
    const bytes = randomBytes(5_000_000);
    const stream = new ReadableStream<Uint8Array>({
      async pull(controller) {
        for (let at = 0; at < bytes.length; at += 100_000) controller.enqueue(bytes.subarray(at, at + 100_000));
        controller.close();
        await Promise.resolve();
      },
    });
    const digest = createHash("sha256").update(bytes).digest("base64");
    const headers = { "content-digest": `sha-256=:${digest}:` };
    const put = await lab.ask(content("large.bin"), { method: "PUT", body: stream, headers });
    expect(put.status).toBe(201);
    const got = new Uint8Array(await (await lab.ask(content("large.bin"))).arrayBuffer());
    expect(Buffer.compare(got, bytes)).toBe(0);
    const range = await lab.ask(content("large.bin"), { headers: { range: "bytes=1000000-3999999" } });
    expect([range.status, range.headers.get("content-range")]).toEqual([206, "bytes 1000000-3999999/5000000"]);
    expect(Buffer.compare(new Uint8Array(await range.arrayBuffer()), bytes.subarray(1_000_000, 4_000_000))).toBe(0);
    const head = await lab.ask(content("large.bin"), { method: "HEAD" });
    expect([head.headers.get("content-length"), await head.text()]).toEqual(["5000000", ""]);
    const beyond = await lab.ask(content("large.bin"), { headers: { range: "bytes=5000000-" } });
    expect([beyond.status, beyond.headers.get("content-range")]).toEqual([416, "bytes */5000000"]);
  });

  test("[API-4] several ranges come as multipart, each with its place", async () => {
    await lab.put("ranges.txt", "0123456789");
    const response = await lab.ask(content("ranges.txt"), { headers: { range: "bytes=0-1, 8-" } });
    const boundary = /boundary=(.*)$/.exec(response.headers.get("content-type")!)![1]!;
    const parts = (await response.text()).split(`--${boundary}`);
    expect(response.status).toBe(206);
    expect(parts).toHaveLength(4);
    expect(parts[1]).toEndWith("content-range: bytes 0-1/10\r\n\r\n01\r\n");
    expect(parts[2]).toEndWith("content-range: bytes 8-9/10\r\n\r\n89\r\n");
  });

  test("[API-5] bytes that are not what was announced change nothing", async () => {
    const { sequence } = await lab.put("digest.txt", "right");
    for (const headers of [{ "content-digest": `sha-256=:${"A".repeat(43)}=:` }, { digest: "sha-256=AAAA" }]) {
      const response = await lab.ask(content("digest.txt"), { method: "PUT", body: "wrong", headers });
      expect(response.status).toBe(400);
    }
    const streamed = new Response("wrong".repeat(100_000)).body!;
    const headers = { "content-digest": `sha-256=:${"A".repeat(43)}=:` };
    const long = await lab.ask(content("digest.txt"), { method: "PUT", body: streamed, headers });
    expect([long.status, (await problem(long)).code]).toEqual([400, "DIGEST"]);
    const encoded = await lab.ask(content("digest.txt"), { method: "PUT", body: "x", headers: { "content-encoding": "gzip" } });
    expect(encoded.status).toBe(415);
    expect(await lab.text("digest.txt")).toBe("right");
    expect((await lab.put("digest.txt", "right")).sequence).toBeGreaterThanOrEqual(sequence);
  });

  test("[API-5] an upload that breaks off in the middle leaves what was there", async () => {
    await lab.put("broken.bin", "before");
    const port = lab.hub.port;
    await new Promise<void>((done) => {
      const socket = connect(port, "127.0.0.1", () => {
        socket.write(
          `PUT ${content("broken.bin")} HTTP/1.1\r\nhost: hub\r\nauthorization: Bearer ${TOKENS.admin}\r\n` +
            `content-length: 1000000\r\n\r\n${"x".repeat(500_000)}`,
          () => setTimeout(() => socket.destroy(), 100),
        );
      });
      socket.on("close", () => done());
      socket.on("error", () => undefined);
    });
    await Bun.sleep(100);
    expect(await lab.text("broken.bin")).toBe("before");
  });

  test("[API-6] time and mode are kept; a file that is replaced keeps its mode", async () => {
    const headers = { "x-syncline-mtime": "2020-02-03T04:05:06.123456789Z", "x-syncline-mode": "0755" };
    await lab.ask(content("tool.sh"), { method: "PUT", body: "a", headers });
    await lab.put("tool.sh", "b");
    const entry = (await (await lab.ask("/v1/spaces/demo/entries/tool.sh?at=999999")).json()) as { mode: string };
    expect(entry.mode).toBe("0755");
    const versions = await (await lab.ask("/v1/spaces/demo/versions/tool.sh")).json();
    expect((versions as { versions: { mtime: string }[] }).versions[1]!.mtime).toBe("2020-02-03T04:05:06.123456789Z");
    const wrong = await lab.ask(content("tool.sh"), { method: "PUT", body: "c", headers: { "x-syncline-mode": "rwx" } });
    expect(wrong.status).toBe(400);
  });

  test("[API-51] a file that was changed half a second before 1970 is told and asked for by the second before it", async () => {
    const headers = { "x-syncline-mtime": "1969-12-31T23:59:59.9999999Z" };
    await lab.ask(content("old.txt"), { method: "PUT", body: "old", headers });
    const told = (await lab.ask(content("old.txt"))).headers.get("last-modified")!;
    expect(told).toBe("Wed, 31 Dec 1969 23:59:59 GMT");
    expect((await lab.ask(content("old.txt"), { headers: { "if-modified-since": told } })).status).toBe(304);
    expect((await lab.ask(content("old.txt"), { headers: { "if-unmodified-since": told } })).status).toBe(200);
  });

  test("[ATTR-7] attributes are shown, and a file is answered with the media type that it came with", async () => {
    await lab.put("typed.bin", "x");
    const { hub } = lab;
    const who = systemPrincipal("test");
    const version = (await hub.spaces.version(who, "demo", "typed.bin"))!;
    const attributes = { "http.content-type": "text/x-own", "user.a": "1" };
    await using intake = hub.spaces.intake(who, "demo");
    await intake.hold(version.content!);
    const change = { ...version, type: "put", entry: version.entry!, expect: { kind: "any" }, attributes, makeParents: false } as const;
    const traceId = "0".repeat(32);
    await hub.spaces.commit(who, "demo", { changes: [change], intake, atomic: true, cause: "edit", traceId });
    const entry = (await (await lab.ask("/v1/spaces/demo/entries/typed.bin")).json()) as { attributes: unknown };
    expect(entry.attributes).toEqual(attributes);
    const { versions } = (await (await lab.ask("/v1/spaces/demo/versions/typed.bin")).json()) as { versions: { attributes?: unknown }[] };
    expect(versions.map((one) => one.attributes)).toEqual([attributes, undefined]);
    expect((await lab.ask(content("typed.bin"))).headers.get("content-type")).toBe("text/x-own");
    expect((await lab.ask(content("typed.bin", "?at=1"))).headers.get("content-type")).not.toBe("text/x-own");
  });

  test("[API-7] names that are no UTF-8 round-trip through addresses, listings and cursors", async () => {
    const names = ["%FF%FE", "a%0Ab", "%E4%B8%AD", "%22quoted%22", "%C3%28"];
    for (const name of names) await lab.put(`bytes/${name}`, name);
    const seen: string[] = [];
    for (let cursor = ""; ; ) {
      const page = await lab.ask(`/v1/spaces/demo/entries?below=bytes&limit=2${cursor}`);
      const { entries, nextCursor } = (await page.json()) as { entries: { path: string }[]; nextCursor?: string };
      seen.push(...entries.map(({ path }) => path));
      if (nextCursor === undefined) break;
      cursor = `&cursor=${nextCursor}`;
    }
    expect(seen.map((path) => percentEncode(path.slice(6))).sort()).toEqual([...names].sort());
    for (const path of seen) expect(await lab.text(`bytes/${percentEncode(path.slice(6))}`)).toBe(percentEncode(path.slice(6)));
  });
});

describe("conditions of a write", () => {
  test("[API-8] If-None-Match: * makes once, If-Match changes only what was seen: 412 with what is there", async () => {
    const make = (body: string, headers: Record<string, string>) =>
      lab.ask(content("cond.txt"), { method: "PUT", body, headers });
    const first = await make("1", { "if-none-match": "*" });
    expect(first.status).toBe(201);
    const again = await make("2", { "if-none-match": "*" });
    expect([again.status, (await problem(again)).code]).toEqual([412, "PRECONDITION"]);
    const etag = first.headers.get("etag")!;
    expect((await make("3", { "if-match": etag })).status).toBe(200);
    const stale = await make("4", { "if-match": etag });
    expect(stale.status).toBe(412);
    expect((await problem(stale)).current!.sequence).toBeGreaterThan(0);
    expect(await lab.text("cond.txt")).toBe("3");
    expect((await make("5", { "if-match": "*" })).status).toBe(200);
    expect((await lab.ask(content("nothing.txt"), { method: "PUT", body: "x", headers: { "if-match": "*" } })).status).toBe(412);
  });

  test("[API-9] a stale sequence is told with both versions, and can be overridden", async () => {
    const a = await lab.put("seq.txt", "a");
    const b = await lab.put("seq.txt", "b");
    const refused = await lab.ask(content("seq.txt", `?sequence=${a.sequence}`), { method: "PUT", body: "c" });
    expect(refused.status).toBe(409);
    expect(await problem(refused)).toMatchObject({ code: "STALE", current: b, expected: a });
    const again = await lab.ask(content("seq.txt", `?sequence=${b.sequence}`), { method: "PUT", body: "c" });
    expect(again.status).toBe(200);
    const made = await lab.ask(content("seq.txt", "?sequence=0"), { method: "PUT", body: "d" });
    expect([made.status, (await problem(made)).code]).toEqual([409, "EXISTS"]);
  });

  test("[API-9] of many who write from the same version exactly one wins", async () => {
    const { sequence } = await lab.put("race.txt", "start");
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, at) =>
        lab.ask(content("race.txt", `?sequence=${sequence}`), { method: "PUT", body: `writer ${at}` }),
      ),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    expect(answers.filter(({ status }) => status === 409)).toHaveLength(19);
  });

  test("[API-8] of a read: 304 for what the caller has", async () => {
    const { etag } = await lab.put("read.txt", "x");
    const same = await lab.ask(content("read.txt"), { headers: { "if-none-match": etag } });
    expect([same.status, same.headers.get("etag"), await same.text()]).toEqual([304, etag, ""]);
    const other = await lab.ask(content("read.txt"), { headers: { "if-match": '"other"' } });
    expect(other.status).toBe(412);
  });
});

describe("changes and history", () => {
  const post = (what: string, json: unknown, headers: Record<string, string> = {}) =>
    lab.ask(`/v1/spaces/demo/${what}`, { method: "POST", json, headers });

  test("[API-10] move, copy and mkdir; a copy of what was", async () => {
    const old = await lab.put("dir/one.txt", "old");
    await lab.put("dir/one.txt", "new");
    expect((await post("copy", { from: "dir", to: "copy" })).status).toBe(201);
    expect((await post("copy", { from: "dir/one.txt", to: "was.txt", at: String(old.sequence) })).status).toBe(201);
    expect([await lab.text("copy/one.txt"), await lab.text("was.txt")]).toEqual(["new", "old"]);
    expect((await post("move", { from: "copy", to: "moved" })).status).toBe(200);
    expect(await lab.text("moved/one.txt")).toBe("new");
    expect((await post("move", { from: "copy", to: "again" })).status).toBe(404);
    expect((await post("move", { from: "moved", to: "dir" })).status).toBe(409);
    expect((await post("mkdir", { path: "dir" })).status).toBe(409);
    expect((await post("mkdir", { path: "deep/er", parents: false })).status).toBe(409);
    expect((await post("copy", { from: "dir", to: "dir/in" })).status).toBe(400);
    const full = await lab.ask(content("dir"), { method: "DELETE" });
    expect([full.status, (await problem(full)).code]).toEqual([409, "NOT_EMPTY"]);
    expect((await lab.ask(content("dir", "?recursive=true"), { method: "DELETE" })).status).toBe(200);
    expect((await lab.ask(content("dir/one.txt"))).status).toBe(404);
  });

  test("[API-11] a restore is counted before, done, and written into the history", async () => {
    await lab.put("site/a", "1");
    const point = await post("restore-points", { name: "good" });
    expect(point.status).toBe(201);
    await lab.put("site/a", "2");
    await lab.put("site/b", "3");
    const dry = await (await post("restore", { path: "site", to: "@good", dryRun: true })).json();
    expect(dry).toMatchObject({ dryRun: true, counts: { put: 1, removed: 1 } });
    expect(await lab.text("site/a")).toBe("2");
    const done = await (await post("restore", { path: "site", to: "@good", message: "bad release" })).json();
    expect(done).toMatchObject({ dryRun: false, counts: { put: 1, removed: 1 }, notDoneCount: 0 });
    expect(await lab.text("site/a")).toBe("1");
    expect((await lab.ask(content("site/b"))).status).toBe(404);
    expect(await (await lab.ask(content("site/b", `?at=${(done as { before: number }).before}`))).text()).toBe("3");
    const { versions } = (await (await lab.ask("/v1/spaces/demo/versions/site/a")).json()) as { versions: object[] };
    expect(versions[0]).toMatchObject({ cause: "restore", message: "bad release", actor: "user:admin" });
    expect((await post("restore", { path: "site", to: "@none" })).status).toBe(404);
  });

  test("[API-12] the journal is read on from any sequence, in pages and as one stream", async () => {
    await lab.put("log/a", "1");
    const page = (await (await lab.ask("/v1/spaces/demo/journal?after=0&limit=3")).json()) as { records: { sequence: number }[]; after: number };
    expect(page.records.map(({ sequence }) => sequence)).toEqual([1, 2, 3]);
    expect(page.after).toBe(3);
    const text = await (await lab.ask("/v1/spaces/demo/journal.ndjson?after=1")).text();
    const lines = text.trimEnd().split("\n").map((line) => (JSON.parse(line) as { sequence: number }).sequence);
    expect(lines).toEqual(Array.from({ length: lines.length }, (_, at) => at + 2));
  });

  test("[API-13] a POST that is sent again with its key is done once", async () => {
    const headers = { "idempotency-key": "k1" };
    await lab.put("idem/a", "1");
    const first = await post("move", { from: "idem/a", to: "idem/b" }, headers);
    const again = await post("move", { from: "idem/a", to: "idem/b" }, headers);
    expect([first.status, again.status, again.headers.get("idempotency-replayed")]).toEqual([200, 200, "true"]);
    expect(await again.json()).toEqual(await first.json());
    expect((await post("move", { from: "idem/b", to: "idem/c" }, headers)).status).toBe(422);
    // What was refused was not done, so the key can still be used.
    const free = { "idempotency-key": "k2" };
    expect((await post("move", { from: "idem/none", to: "idem/d" }, free)).status).toBe(404);
    expect((await post("move", { from: "idem/b", to: "idem/d" }, free)).status).toBe(200);
    const both = await Promise.all([1, 2].map(() => post("mkdir", { path: "idem/dir" }, { "idempotency-key": "k3" })));
    expect(both.filter(({ status }) => status === 201).length).toBeGreaterThanOrEqual(1);
    const dirs = (await (await lab.ask("/v1/spaces/demo/versions/idem/dir")).json()) as { versions: object[] };
    expect(dirs.versions).toHaveLength(1);
  });

  test("[API-14] the trace of a caller goes into the answer and the journal", async () => {
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const headers = { traceparent: `00-${traceId}-b7ad6b7169203331-01` };
    const put = await lab.ask(content("traced"), { method: "PUT", body: "x", headers });
    expect(put.headers.get("traceparent")).toMatch(new RegExp(`^00-${traceId}-[0-9a-f]{16}-01$`));
    const { versions } = (await (await lab.ask("/v1/spaces/demo/versions/traced")).json()) as { versions: object[] };
    expect(versions[0]).toMatchObject({ traceId });
    const bad = await lab.ask(content("nowhere"), { headers: { traceparent: "00-zz" } });
    expect((await problem(bad)).traceId).toMatch(/^[0-9a-f]{32}$/);
  });
});

describe("events", () => {
  async function* lines(response: Response): AsyncGenerator<string> {
    let text = "";
    for await (const piece of response.body!.pipeThrough(new TextDecoderStream() as never) as ReadableStream<string>) {
      text += piece;
      for (let at = text.indexOf("\n\n"); at >= 0; at = text.indexOf("\n\n")) {
        yield text.slice(0, at);
        text = text.slice(at + 2);
      }
    }
  }

  test("[API-15] every change comes as it is committed, and from where a listener left off", async () => {
    const { sequence } = await lab.put("live/0", "0");
    const stop = new AbortController();
    const headers = { "last-event-id": String(sequence) };
    const response = await lab.ask("/v1/spaces/demo/events", { headers, signal: stop.signal });
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    const events = lines(response);
    expect((await events.next()).value).toContain("event: hello");
    const last = await lab.put("live/1", "1");
    expect((await events.next()).value).toStartWith(`id: ${last.sequence}\nevent: change\n`);
    stop.abort();
    await lab.put("live/2", "2");
    const again = new AbortController();
    const resumed = await lab.ask(`/v1/spaces/demo/events?after=${last.sequence}`, { signal: again.signal });
    const more = lines(resumed);
    await more.next();
    expect((await more.next()).value).toContain('"path":"live/2"');
    again.abort();
    for (let at = 0; at < 200 && (await openStreams()) > 0; at++) await Bun.sleep(20);
    expect(await openStreams()).toBe(0);
  });

  test("[API-15] somebody who may see a part is told of that part", async () => {
    const { sequence } = await lab.put("out/secret", "x");
    const stop = new AbortController();
    const response = await lab.ask(`/v1/spaces/demo/events?after=${sequence - 1}`, {
      token: TOKENS.reader,
      signal: stop.signal,
    });
    const events = lines(response);
    await events.next();
    await lab.put("in/open", "x");
    const next = (await events.next()).value as string;
    expect(next).not.toContain("secret");
    expect(next).toContain('"path":"in');
    stop.abort();
  });

  test("[API-53] a listener to a space hears nothing of another one that has got its name", async () => {
    const make = (name: string): Promise<Response> => lab.ask("/v1/spaces", { method: "POST", json: { name } });
    await make("heard");
    await lab.put("first", "x", "heard");
    const events = lines(await lab.ask("/v1/spaces/heard/events"));
    await events.next();
    await lab.ask("/v1/spaces/heard", { method: "PATCH", json: { name: "was-heard" } });
    await make("heard");
    for (const path of ["a", "b", "c"]) await lab.put(path, "x", "heard");
    await lab.put("second", "x", "was-heard");
    expect(await events.next()).toEqual({ done: true, value: undefined });
  });

  test("[API-15] a listener whose token is revoked hears no more; the head alone opens no stream", async () => {
    const { token, value } = (await (
      await lab.ask("/v1/tokens", { method: "POST", json: { user: "reader", name: "short" } })
    ).json()) as { token: { id: string }; value: string };
    const response = await lab.ask("/v1/spaces/demo/events", { token: value });
    const events = lines(response);
    await events.next();
    await lab.ask(`/v1/tokens/${token.id}`, { method: "DELETE" });
    expect((await events.next()).done).toBe(true);
    expect((await lab.ask("/v1/spaces/demo/events", { method: "HEAD" })).status).toBe(200);
    for (let at = 0; at < 200 && (await openStreams()) > 0; at++) await Bun.sleep(20);
    expect(await openStreams()).toBe(0);
  });

  test("[API-56] a listener whose token is revoked while it begins to listen hears of no change", async () => {
    const made = await lab.ask("/v1/tokens", { method: "POST", json: { user: "reader", name: "shorter" } });
    const { token, value } = (await made.json()) as { token: { id: string }; value: string };
    const { spaces } = lab.hub;
    const space = spaces.space.bind(spaces);
    spaces.space = async (...asked) => {
      spaces.space = space;
      const found = await space(...asked);
      await lab.ask(`/v1/tokens/${token.id}`, { method: "DELETE" });
      return found;
    };
    const events = lines(await lab.ask("/v1/spaces/demo/events", { token: value }));
    await lab.put("in/unheard", "x");
    expect([(await events.next()).value, (await events.next()).done]).toEqual([expect.stringContaining("event: hello"), true]);
  });

  const openStreams = async (): Promise<number> => {
    const text = await (await lab.ask("/metrics")).text();
    return Number(/^syncline_http_streams_active\{kind="event_streams"\} (\d+)$/m.exec(text)![1]);
  };
});

describe("the door", () => {
  test("[API-16] says what it does not have, and what it takes instead", async () => {
    const nowhere = await lab.ask("/v1/nothing");
    expect([nowhere.status, (await problem(nowhere)).code]).toEqual([404, "NOT_FOUND"]);
    const method = await lab.ask("/v1/spaces", { method: "PATCH", json: {} });
    expect([method.status, method.headers.get("allow")]).toEqual([405, "GET, HEAD, POST"]);
  });

  test.each([
    ["/v1/spaces/demo/entries?limit=0", {}],
    ["/v1/spaces/demo/entries?limit=5&limit=6", {}],
    ["/v1/spaces/demo/entries?what=1", {}],
    ["/v1/spaces?x=1", {}],
    ["/v1/spaces/demo/entries?cursor=Li4", {}],
    ["/v1/spaces/demo/entries?at=yesterday", {}],
    ["/v1/spaces", { method: "POST", body: "{" }],
    ["/v1/spaces", { method: "POST", json: { name: "Not A Name" } }],
    ["/v1/spaces", { method: "POST", json: { name: "ok", more: 1 } }],
    ["/v1/spaces/demo/content/a%2Fb", {}],
    ["/v1/spaces/demo/content/.syncline/x", { method: "PUT", body: "x" }],
  ])("[API-16] refuses %p %p with 400", async (path, asked) => {
    const response = await lab.ask(path, asked);
    expect([response.status, (await problem(response)).code]).toEqual([400, "USAGE"]);
  });

  test("[API-16] bounds bodies, keys and addresses", async () => {
    const huge = await lab.ask("/v1/spaces", { method: "POST", json: { name: "x".repeat(JSON_BYTES_MAX) } });
    expect(huge.status).toBe(413);
    const key = { "idempotency-key": "k".repeat(256) };
    expect((await lab.ask("/v1/spaces", { method: "POST", json: { name: "k" }, headers: key })).status).toBe(400);
    expect((await lab.ask(`/v1/whoami?${"x".repeat(17_000)}`)).status).toBeGreaterThanOrEqual(400);
  });

  test("[API-16] long answers that nobody reads to the end give their places back", async () => {
    const bytes = new Uint8Array(8 << 20);
    await lab.ask(content("long.bin"), { method: "PUT", body: bytes });
    for (let at = 0; at < 20; at++) {
      const stop = new AbortController();
      const response = await lab.ask(content("long.bin"), { signal: stop.signal });
      await response.body!.getReader().read();
      stop.abort();
    }
    const open = async (): Promise<string> => {
      const text = await (await lab.ask("/metrics")).text();
      return /^syncline_http_streams_active\{kind="downloads"\} (\d+)$/m.exec(text)![1]!;
    };
    for (let at = 0; at < 200 && (await open()) !== "0"; at++) await Bun.sleep(20);
    expect(await open()).toBe("0");
  });

  test("[API-16] more long answers than there are places for are turned away", () => {
    const traffic = new Traffic(new Metrics());
    const places = Array.from({ length: DOWNLOADS_MAX }, () => traffic.download());
    expect(() => traffic.download()).toThrow(expect.objectContaining({ code: "BUSY" }));
    for (let time = 0; time < 2; time++) places[0]![Symbol.dispose]();
    traffic.download();
    expect(() => traffic.download()).toThrow();
  });

  test("[API-3] describes itself: every route is in the document, with schemas that are defined", async () => {
    const document = (await (await lab.ask("/v1/openapi.json", { token: "" })).json()) as {
      openapi: string;
      paths: Record<string, object>;
      components: { schemas: object };
    };
    expect(document.openapi).toBe("3.1.0");
    const refs = [...JSON.stringify(document).matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name!);
    for (const name of refs) expect(document.components.schemas).toHaveProperty(name);
    expect(Object.keys(document.paths)).toContain("/v1/spaces/{space}/content/{path}");
  });

  test("[API-17] is healthy, and says so to anybody", async () => {
    expect((await lab.ask("/health/live", { token: "" })).status).toBe(200);
    const ready = await lab.ask("/health/ready", { token: "" });
    expect(await ready.json()).toMatchObject({ ready: true, dependencies: [{ name: "database" }, { name: "chunks" }] });
    expect((await lab.ask("/metrics", { token: "" })).status).toBe(401);
  });
});

test("[API-18] a hub that nobody is known to is claimed once, with the token from its directory", async () => {
  await using fresh = await ApiLab.open({}, "");
  const token = (await Bun.file(fresh.hub.setupFile!).text()).trim();
  const claim = (json: object) => fresh.ask("/v1/setup", { method: "POST", token: "", json });
  const first = { user: "ann", password: "long enough" };
  expect((await claim({ ...first, token: "wrong" })).status).toBe(401);
  const both = await Promise.all([claim({ ...first, token }), claim({ ...first, token, user: "eve" })]);
  expect(both.map(({ status }) => status).sort()).toEqual([201, 401]);
  const { token: own } = (await both.find(({ status }) => status === 201)!.json()) as { token: string };
  expect((await fresh.ask("/v1/users", { token: own })).status).toBe(200);
  expect((await claim({ ...first, token, user: "mallory" })).status).toBe(401);
  expect(await Bun.file(`${fresh.dir}/hub/setup-token`).exists()).toBe(false);
});

test("[API-19] TLS with the hub's own authority, HTTP/2 for who offers it; never without on other addresses", async () => {
  await using secure = await ApiLab.open({ listen: "0.0.0.0:0" });
  expect(secure.hub.url).toStartWith("https://");
  const url = `https://localhost:${secure.hub.port}/v1/whoami`;
  const headers = { authorization: `Bearer ${TOKENS.admin}` };
  const { certificate: ca } = secure.hub.authority!;
  expect((await fetch(url, { headers, tls: { ca } })).status).toBe(200);
  await expect(fetch(url, { headers })).rejects.toThrow();
  await expect(fetch(url.replace("https", "http"), { headers })).rejects.toThrow();
  // In processes of their own, beside the listener in this one.
  const curl = async (...args: string[]): Promise<{ out: string; code: number }> => {
    const child = Bun.spawn(["curl", "-sS", "--max-time", "10", "-o", "/dev/null", ...args, url], { stderr: "ignore" });
    return { out: await new Response(child.stdout).text(), code: await child.exited };
  };
  const format = "%{http_version} %{http_code}";
  const file = `${secure.dir}/hub/ca.pem`;
  expect(await curl("--http2", "--cacert", file, "-w", format)).toEqual({ out: "2 401", code: 0 });
  const old = await curl("-k", "--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0");
  expect(old.code).not.toBe(0);
});
