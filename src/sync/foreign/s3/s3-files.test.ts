/** The S3 client against the hub's own S3 door. */
import { describe, expect, test } from "bun:test";
import { openHost } from "#platform/host-bun.ts";
import { S3Lab } from "#gateway/s3/s3-fixture.ts";
import { foreignContract } from "#sync/foreign/foreign-contract.ts";
import { ForeignPair } from "#sync/foreign/foreign-fixture.ts";
import type { ForeignFiles } from "#sync/foreign/foreign-files.ts";
import { S3Files } from "#sync/foreign/s3/s3-files.ts";
import { secondsText } from "#sync/foreign/s3/s3-objects.ts";
import { PART_BYTES } from "#sync/foreign/s3/s3-upload.ts";
import { elementsOf, textOf } from "#sync/foreign/s3/s3-xml.ts";

const host = openHost();
const never = new AbortController().signal;

function client(endpoint: string, prefix: string, secretKey = "admin-secret-0123456789abcdef0123456789"): ForeignFiles {
  const credentials = { accessKey: "admin", secretKey };
  const place = { endpoint, region: "nowhere", bucket: "demo", style: "path", credentials } as const;
  return new S3Files({ place, prefix, clock: host.clock, random: host.random });
}

foreignContract("The S3 client at our own door", async () => {
  const lab = await S3Lab.open();
  return {
    files: client(lab.url, "some/where"),
    other: () => client(lab.url, "some/where"),
    stranger: () => client(lab.url, "some/where", "wrong"),
    dispose: () => lab[Symbol.asyncDispose](),
  };
});

foreignContract("The S3 client that knows that conditions are heeded", async () => {
  const lab = await S3Lab.open();
  const files = client(lab.url, "");
  const connect = files.connect.bind(files);
  files.connect = async (signal) => {
    await connect(signal);
    const abilities = await files.tryWriting!("area", signal);
    await files.removeDir("area", signal).catch(() => undefined);
    return abilities;
  };
  return { files, other: () => client(lab.url, ""), dispose: () => lab[Symbol.asyncDispose]() };
});

describe("S3", () => {
  test("[FOREIGN-30] sessions with a bucket come to rest, keep times as rclone does, and go both ways", async () => {
    await using lab = await S3Lab.open();
    using pair = new ForeignPair(() => client(lab.url, "site"));
    pair.put("a.txt", "from here", 1_600_000_000_500);
    pair.put("deep/large", "x".repeat(3 * PART_BYTES));
    pair.put("empty/dir/file", "");
    const first = await pair.run();
    expect(first.error).toBeUndefined();
    expect(first.events.filter(({ type }) => type === "problem")).toEqual([]);
    expect(first.summary).toMatchObject({ problems: 0, conflicts: 0 });
    const head = await lab.ask("/demo/site/a.txt", { method: "HEAD" });
    expect(head.headers.get("x-amz-meta-mtime")).toStartWith("1600000000.5");
    expect(head.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect((await pair.run()).summary?.changes).toBe(0);
    await lab.ask("/demo/site/b.txt", { method: "PUT", body: "from there" });
    await lab.ask("/demo/site/deep/large", { method: "DELETE" });
    pair.remove("empty/dir/file");
    const second = await pair.run();
    expect(second.summary).toMatchObject({ problems: 0, conflicts: 0, changes: 3 });
    expect(pair.files()).toEqual({ "a.txt": "from here", "b.txt": "from there" });
    expect((await pair.run()).summary?.changes).toBe(0);
  }, 60_000);

  test("[FOREIGN-31] what a server says is read as it is written, and never as more", () => {
    const xml = "<R><Contents><Key>a&amp;b&#x1;&lt;</Key><Size>1</Size></Contents><Contents/><Contentsx>n</Contentsx><Contents><Key>c</Key></Contents></R>";
    expect([...elementsOf(xml, "Contents")].map((inner) => textOf(inner, "Key"))).toEqual(["a&b\u0001<", undefined, "c"]);
    expect(textOf(xml, "Nothing")).toBeUndefined();
    expect([...elementsOf("<a><a", "a")]).toEqual([]);
    expect(secondsText(1_600_000_000_120_000_000n)).toBe("1600000000.12");
    expect(secondsText(-1n)).toBe("-0.000000001");
  });

  test("[FOREIGN-32] a server that is put off or breaks off is asked again; one that sends half a listing is not believed", async () => {
    const answers: Response[] = [];
    let asked = 0;
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: () => {
        asked++;
        return answers.shift() ?? new Response("", { status: 503 });
      },
    });
    const page = (more: string): Response => new Response(`<ListBucketResult>${more}</ListBucketResult>`);
    const quick = { ...host.clock, nowMs: () => host.clock.nowMs(), sleep: async () => undefined };
    const credentials = { accessKey: "k", secretKey: "s" };
    const place = { endpoint: `http://127.0.0.1:${server.port}`, region: "r", bucket: "b", style: "path", credentials } as const;
    const files = new S3Files({ place, prefix: "", clock: quick, random: host.random });
    const listed = async (): Promise<string[]> => {
      const all: string[] = [];
      for await (const batch of files.list("", never)) all.push(...batch.map(({ path }) => path));
      return all;
    };
    const one = "<Contents><Key>a</Key><Size>1</Size><ETag>&quot;e&quot;</ETag></Contents>";
    answers.push(new Response("<Error><Code>SlowDown</Code></Error>", { status: 503 }), page(one));
    expect(await listed()).toEqual(["a"]);
    answers.push(page(`${one}<IsTruncated>true</IsTruncated>`));
    await expect(listed()).rejects.toMatchObject({ code: "PROTOCOL" });
    // A server, or a proxy, that breaks off and ends its answer in order.
    answers.push(new Response(`<ListBucketResult>${one}<Contents><Key>b</Key><Si`));
    await expect(listed()).rejects.toMatchObject({ code: "LINK_LOST", retryable: true });
    answers.push(new Response("<html>a portal</html>"));
    await expect(listed()).rejects.toMatchObject({ code: "PROTOCOL" });
    answers.push(new Response("<Error><Code>ExpiredToken</Code></Error>", { status: 400 }));
    await expect(listed()).rejects.toMatchObject({ code: "AUTH" });
    asked = 0;
    await expect(listed()).rejects.toMatchObject({ code: "LINK_LOST", retryable: true });
    expect(asked).toBe(5);
  });

  test.each([true, false])("[FOREIGN-96] an object that somebody keeps under the name of a directory is neither replaced nor removed (%p)", async (heeds) => {
    const objects = new Map([["d/", "notes"]]);
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: async (request) => {
        const { pathname, searchParams } = new URL(request.url);
        const key = decodeURIComponent(pathname.slice("/b/".length));
        const there = objects.get(key);
        const headers = { etag: `"${there}"`, "content-length": String(there?.length) };
        if (request.method === "PUT") {
          if (there !== undefined && heeds && request.headers.has("if-none-match")) return new Response("", { status: 412 });
          if (heeds && request.headers.has("if-match")) return new Response("", { status: 412 });
          const text = await request.text();
          objects.set(key, text);
          return new Response("", { headers: { etag: `"${new Bun.CryptoHasher("md5").update(text).digest("hex")}"` } });
        }
        if (request.method === "DELETE") objects.delete(key);
        if (request.method === "HEAD") return there === undefined ? new Response("", { status: 404 }) : new Response(null, { headers });
        const prefix = searchParams.get("prefix") ?? "";
        const found = [...objects].filter(([each]) => each.startsWith(prefix));
        const listed = found.map(([each, text]) => `<Contents><Key>${each}</Key><Size>${text.length}</Size><ETag>e</ETag></Contents>`);
        return new Response(`<ListBucketResult>${listed.join("")}</ListBucketResult>`);
      },
    });
    const credentials = { accessKey: "k", secretKey: "s" };
    const place = { endpoint: `http://127.0.0.1:${server.port}`, region: "r", bucket: "b", style: "path", credentials } as const;
    const files = new S3Files({ place, prefix: "", clock: host.clock, random: host.random });
    await files.connect(never);
    expect((await files.tryWriting("area", never)).conditional).toBe(heeds);
    await files.makeDir("d", undefined, never);
    await expect(files.removeDir("d", never)).rejects.toMatchObject({ code: "EXISTS" });
    expect([...objects]).toEqual([["d/", "notes"]]);
    const listed: string[] = [];
    for await (const batch of files.list("d", never)) listed.push(...batch.map(({ path }) => path));
    expect(listed).toEqual(["d/"]);
    await files.makeDir("e", undefined, never);
    await files.removeDir("e", never);
    expect([...objects.keys()]).toEqual(["d/"]);
  });
});
