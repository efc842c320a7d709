import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { S3Lab, codeOf } from "#gateway/s3/s3-fixture.ts";

let lab: S3Lab;
beforeAll(async () => {
  lab = await S3Lab.open();
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

const textOf = async (target: string): Promise<string> => (await lab.ask(target)).text();
const all = (text: string, name: string): string[] => [...text.matchAll(new RegExp(`<${name}>(.*?)</${name}>`, "g"))].map(([, inner]) => inner!);

async function versioned(bucket: string): Promise<void> {
  await lab.ask(`/${bucket}`, { method: "PUT" });
  const body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
  expect((await lab.ask(`/${bucket}?versioning`, { method: "PUT", body })).status).toBe(200);
}

describe("versions", () => {
  test("[VERSIONS-1] a bucket that was not told to shows one version of each key, which can be deleted", async () => {
    await lab.put("plain/a", "one");
    await lab.put("plain/a", "two");
    await lab.put("plain/b", "x");
    const put = await lab.put("plain/c", "x");
    expect(put.headers.get("x-amz-version-id")).toBeNull();
    expect(await textOf("/demo?versioning")).not.toContain("Status");
    const listed = await textOf("/demo?versions&prefix=plain/");
    expect([all(listed, "Key"), all(listed, "VersionId")]).toEqual([["plain/a", "plain/b", "plain/c"], ["null", "null", "null"]]);
    const body = "<Delete><Object><Key>plain/a</Key><VersionId>null</VersionId></Object></Delete>";
    expect(await (await lab.ask("/demo?delete", { method: "POST", body })).text()).toContain("<Deleted>");
    expect((await lab.ask("/demo/plain/b?versionId=null", { method: "DELETE" })).status).toBe(204);
    expect(all(await textOf("/demo?versions&prefix=plain/"), "Key")).toEqual(["plain/c"]);
  });

  test("[VERSIONS-2] versions have the sequence as their id, a delete marker is the tombstone, and each can be read", async () => {
    await versioned("kept");
    const ids: string[] = [];
    for (const text of ["one", "two", "three"]) {
      ids.push((await lab.ask("/kept/dir/a", { method: "PUT", body: text })).headers.get("x-amz-version-id")!);
    }
    const gone = await lab.ask("/kept/dir/a", { method: "DELETE" });
    const marker = gone.headers.get("x-amz-version-id")!;
    expect([gone.status, gone.headers.get("x-amz-delete-marker")]).toEqual([204, "true"]);
    const missing = await lab.ask("/kept/dir/a");
    expect([missing.status, missing.headers.get("x-amz-delete-marker"), missing.headers.get("x-amz-version-id")]).toEqual([404, "true", marker]);
    expect(await codeOf(await lab.ask(`/kept/dir/a?versionId=${marker}`))).toBe("405 MethodNotAllowed");
    expect(await Promise.all(ids.map((id) => textOf(`/kept/dir/a?versionId=${id}`)))).toEqual(["one", "two", "three"]);
    expect(await codeOf(await lab.ask("/kept/dir/a?versionId=999999"))).toBe("404 NoSuchVersion");
    expect(await codeOf(await lab.ask(`/kept/dir/b?versionId=${ids[0]}`))).toBe("404 NoSuchVersion");
    const source = `kept/dir/a?versionId=${ids[1]}`;
    expect((await lab.ask("/kept/dir/back", { method: "PUT", headers: { "x-amz-copy-source": source } })).status).toBe(200);
    expect(await textOf("/kept/dir/back")).toBe("two");
    const listed = await textOf("/kept?versions");
    expect(all(listed, "Key")).toEqual(["dir/a", "dir/a", "dir/a", "dir/a", "dir/back"]);
    expect(all(listed, "VersionId").slice(0, 4)).toEqual([marker, ...ids.toReversed()]);
    expect(all(listed, "IsLatest")).toEqual(["true", "false", "false", "false", "true"]);
    expect(listed).toContain(`<DeleteMarker><Key>dir/a</Key><VersionId>${marker}</VersionId>`);
  });

  test("[VERSIONS-3] versions are listed in pages, by prefix and delimiter", async () => {
    await versioned("paged");
    for (const key of ["a", "d/x", "d/y", "e", "a"]) await lab.ask(`/paged/${key}`, { method: "PUT", body: key });
    for (const key of ["d/x", "e"]) await lab.ask(`/paged/${key}`, { method: "DELETE" });
    const keys = ["a", "a", "d/x", "d/x", "d/y", "e", "e"];
    for (const max of [1, 2, 3, 7]) {
      const told: string[] = [];
      for (let marker = ""; ; ) {
        const page = await textOf(`/paged?versions&max-keys=${max}${marker}`);
        told.push(...all(page, "Key"));
        if (all(page, "IsTruncated")[0] === "false") break;
        marker = `&key-marker=${all(page, "NextKeyMarker")[0]}&version-id-marker=${all(page, "NextVersionIdMarker")[0]}`;
      }
      expect([max, ...told]).toEqual([max, ...keys]);
    }
    expect(all(await textOf("/paged?versions&prefix=d/"), "Key")).toEqual(["d/x", "d/x", "d/y"]);
    const rolled = await textOf("/paged?versions&delimiter=/");
    expect([all(rolled, "Key"), all(rolled, "CommonPrefixes")]).toEqual([["a", "a", "e", "e"], ["<Prefix>d/</Prefix>"]]);
  });
});

describe("what is said of objects and buckets", () => {
  test("[VERSIONS-4] versioning that is suspended hides nothing; what is written then is the null version, and so is a delete marker", async () => {
    const one = await lab.put("single", "one");
    const named = await lab.ask("/demo/single?versionId=null");
    expect([one.headers.get("x-amz-version-id"), named.headers.get("x-amz-version-id"), await named.text()]).toEqual([null, "null", "one"]);
    await versioned("paused");
    const put = async (text: string): Promise<string> =>
      (await lab.ask("/paused/a", { method: "PUT", body: text })).headers.get("x-amz-version-id")!;
    const first = await put("first");
    const body = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    expect((await lab.ask("/paused?versioning", { method: "PUT", body })).status).toBe(200);
    expect(await textOf("/paused?versioning")).toContain("<Status>Suspended</Status>");
    const second = await put("second");
    expect([second, all(await textOf("/paused?versions"), "VersionId")]).toEqual(["null", ["null", first]]);
    const marker = (await lab.ask("/paused/a", { method: "DELETE" })).headers.get("x-amz-version-id")!;
    expect([marker, all(await textOf("/paused?versions"), "VersionId")]).toEqual(["null", ["null", first]]);
    expect(await codeOf(await lab.ask("/paused/a?versionId=null"))).toBe("405 MethodNotAllowed");
    for (const id of [marker, first]) expect((await lab.ask(`/paused/a?versionId=${id}`, { method: "DELETE" })).status).toBe(204);
    expect(all(await textOf("/paused?versions"), "VersionId")).toEqual([]);
    expect((await lab.ask("/paused", { method: "DELETE" })).status).toBe(204);
  });

  test("[TAGS-1] tags come with an object or later, and go with it", async () => {
    await lab.put("t/a", "hello", { headers: { "x-amz-tagging": "color=blue&size=1%202" } });
    const got = await lab.ask("/demo/t/a");
    expect(got.headers.get("x-amz-tagging-count")).toBe("2");
    expect(all(await textOf("/demo/t/a?tagging"), "Value")).toEqual(["blue", "1 2"]);
    const tags = (names: readonly string[]): string =>
      `<Tagging><TagSet>${names.map((name) => `<Tag><Key>${name}</Key><Value>v</Value></Tag>`).join("")}</TagSet></Tagging>`;
    expect((await lab.ask("/demo/t/a?tagging", { method: "PUT", body: tags(["one"]) })).status).toBe(200);
    const after = await lab.ask("/demo/t/a");
    expect([all(await textOf("/demo/t/a?tagging"), "Key"), after.headers.get("etag"), await after.text()]).toEqual([["one"], got.headers.get("etag"), "hello"]);
    await lab.ask("/demo/t/b", { method: "PUT", headers: { "x-amz-copy-source": "demo/t/a" } });
    expect(all(await textOf("/demo/t/b?tagging"), "Key")).toEqual(["one"]);
    expect((await lab.ask("/demo/t/a?tagging", { method: "DELETE" })).status).toBe(204);
    expect(all(await textOf("/demo/t/a?tagging"), "Key")).toEqual([]);
    const bad = [tags(["a", "a"]), tags(Array.from({ length: 11 }, (_, at) => `t${at}`)), tags(["n".repeat(129)]), tags([""])];
    for (const body of bad) expect(await codeOf(await lab.ask("/demo/t/a?tagging", { method: "PUT", body }))).toBe("400 InvalidTag");
    expect(await codeOf(await lab.ask("/demo/t/none?tagging"))).toBe("404 NoSuchKey");
    expect(await codeOf(await lab.ask("/demo?tagging"))).toBe("404 NoSuchTagSet");
    expect((await lab.ask("/demo?tagging", { method: "PUT", body: tags(["team"]) })).status).toBe(204);
    expect(all(await textOf("/demo?tagging"), "Key")).toEqual(["team"]);
    expect(await codeOf(await lab.ask("/demo?tagging", { method: "PUT", body: tags(["team"]), as: "writer" }))).toBe("403 AccessDenied");
  });

  test("[TAGS-2] the attributes of an object are those that are asked for", async () => {
    await lab.put("t/attr", "hello", { headers: { "x-amz-checksum-crc32": "NhCmhg==" } });
    const ask = async (names: string): Promise<string> =>
      (await lab.ask("/demo/t/attr?attributes", { headers: { "x-amz-object-attributes": names } })).text();
    expect(await ask("ETag,ObjectSize")).toContain("<ETag>5d41402abc4b2a76b9719d911017c592</ETag><ObjectSize>5</ObjectSize>");
    expect(await ask("Checksum")).toContain("<Checksum><ChecksumCRC32>NhCmhg==</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType></Checksum>");
  });

  test("[CORS-1] pages of other origins may do what a rule of the bucket says, and nothing else", async () => {
    await lab.put("c/a", "hello");
    const ask = (origin: string, method = "PUT", headers = "x-amz-date, authorization"): Promise<Response> =>
      lab.send("/demo/c/a", "OPTIONS", { origin, "access-control-request-method": method, "access-control-request-headers": headers });
    expect(await codeOf(await lab.ask("/demo?cors"))).toBe("404 NoSuchCORSConfiguration");
    expect(await codeOf(await ask("https://app.example.com"))).toBe("403 AccessDenied");
    const rule =
      "<CORSRule><AllowedOrigin>https://*.example.com</AllowedOrigin><AllowedMethod>PUT</AllowedMethod><AllowedMethod>GET</AllowedMethod>" +
      "<AllowedHeader>x-amz-*</AllowedHeader><AllowedHeader>Authorization</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>30</MaxAgeSeconds></CORSRule>";
    const body = `<CORSConfiguration>${rule}</CORSConfiguration>`;
    expect(await codeOf(await lab.ask("/demo?cors", { method: "PUT", body, as: "reader" }))).toBe("403 AccessDenied");
    expect((await lab.ask("/demo?cors", { method: "PUT", body })).status).toBe(200);
    expect(await textOf("/demo?cors")).toContain(rule);
    const leave = await ask("https://app.example.com");
    expect([leave.status, leave.headers.get("access-control-allow-origin"), leave.headers.get("access-control-max-age")]).toEqual([
      200, "https://app.example.com", "30",
    ]);
    for (const refused of [ask("https://example.com"), ask("https://app.example.com", "DELETE"), ask("https://app.example.com", "PUT", "x-other")]) {
      expect((await refused).status).toBe(403);
    }
    const got = await lab.ask("/demo/c/a", { headers: { origin: "https://app.example.com" } });
    expect([got.headers.get("access-control-allow-origin"), got.headers.get("access-control-expose-headers")]).toEqual(["https://app.example.com", "ETag"]);
    expect((await lab.ask("/demo/c/a", { headers: { origin: "https://evil.test" } })).headers.get("access-control-allow-origin")).toBeNull();
    for (const wrong of [rule.replace("*", "**"), rule.replace("PUT", "PATCH"), "<CORSRule/>"]) {
      expect(await codeOf(await lab.ask("/demo?cors", { method: "PUT", body: `<CORSConfiguration>${wrong}</CORSConfiguration>` }))).toBe("400 MalformedXML");
    }
    expect((await lab.ask("/demo?cors", { method: "DELETE" })).status).toBe(204);
    expect((await ask("https://app.example.com")).status).toBe(403);
  });
});
