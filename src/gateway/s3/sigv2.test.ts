import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { S3Lab, SECRET, codeOf } from "#gateway/s3/s3-fixture.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { readRequest } from "#gateway/s3/s3-request.ts";
import { presignedV2, signV2 } from "#gateway/s3/sigv2.ts";

const request = (target: string, host: string, headers: Record<string, string> = {}, method = "GET") =>
  readRequest(
    { method, target, headers: new Map(Object.entries({ host, ...headers })), address: "192.0.2.1", body: { length: 0, read: () => undefined } } as never,
    ["s3.amazonaws.com"],
  );

let lab: S3Lab;
beforeEach(async () => {
  lab = await S3Lab.open({ s3SignatureV2: "on" });
  await lab.put("in/a", "hello");
});
afterEach(() => lab[Symbol.asyncDispose]());

type Asked = { method?: string; as?: string; secret?: string; expires?: number; headers?: Record<string, string>; subs?: string };

/** As old clients presign: the text is made here by itself. */
function presigned(path: string, { method = "GET", as = "admin", secret = SECRET(as), headers = {}, subs = "", ...more }: Asked = {}): string {
  const expires = more.expires ?? Math.floor(Date.now() / 1000) + 60;
  const amz = Object.entries(headers).filter(([name]) => name.startsWith("x-amz-")).map(([name, value]) => `${name}:${value}\n`).join("");
  const head = `${method}\n${headers["content-md5"] ?? ""}\n${headers["content-type"] ?? ""}\n${expires}\n`;
  const signature = encodeURIComponent(signV2(secret, `${head}${amz}${path}${subs === "" ? "" : `?${subs}`}`));
  return `${path}?${subs === "" ? "" : `${subs}&`}AWSAccessKeyId=${as}&Expires=${expires}&Signature=${signature}`;
}

const get = (target: string, method = "GET", headers: Record<string, string> = {}, body = ""): Promise<Response> =>
  lab.send(target, method, { host: lab.host, ...headers }, body);

describe("Signature Version 2", () => {
  test("[SIGV2-1] presigned addresses are signed as AWS published it", () => {
    const target = "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620";
    const { text, signature, accessKey, expires } = presignedV2(request(target, "johnsmith.s3.amazonaws.com"));
    expect([accessKey, expires, text]).toEqual(["AKIAIOSFODNN7EXAMPLE", 1175139620, "GET\n\n\n1175139620\n/johnsmith/photos/puppy.jpg"]);
    expect(signV2("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", text)).toBe(signature);
    // The same words in the path and in the host are two addresses.
    const inPath = presignedV2(request(target.replace("/photos", "/johnsmith/photos"), "s3.amazonaws.com")).text;
    const inBoth = presignedV2(request(target.replace("/photos", "/johnsmith/photos"), "johnsmith.s3.amazonaws.com")).text;
    expect([inPath === text, inBoth === inPath]).toEqual([true, false]);
  });

  test("[SIGV2-2] an address is good for its method, its key and its time, and what it does not sign is not acted on", async () => {
    expect(await (await get(presigned("/demo/in/a"))).text()).toBe("hello");
    expect((await get(presigned("/demo/in/a", { as: "reader" }))).status).toBe(200);
    expect(await codeOf(await get(presigned("/demo/in/a", { as: "stranger" })))).toBe("404 NoSuchBucket");
    expect(await codeOf(await get(presigned("/demo/in/a", { secret: "wrong-0123456789abcdef0123456789abcdef" })))).toBe("403 SignatureDoesNotMatch");
    expect(await codeOf(await get(presigned("/demo/in/a", { as: "nobody" })))).toBe("403 SignatureDoesNotMatch");
    expect(await codeOf(await get(presigned("/demo/in/a"), "HEAD"))).toBe("403");
    expect(await codeOf(await get(presigned("/demo/in/a").replace("/in/a", "/in/b")))).toBe("403 SignatureDoesNotMatch");
    expect(await codeOf(await get(presigned("/demo/in/a", { expires: Math.floor(Date.now() / 1000) - 5 })))).toBe("403 AccessDenied");
    expect(await codeOf(await get(presigned("/demo/in/a").replace(/Expires=(\d+)/, "Expires=9$1")))).toBe("403 SignatureDoesNotMatch");
    expect(await codeOf(await get(presigned("/demo/in/a").replace(/&Expires=\d+/, "")))).toBe("403 AccessDenied");
    // Another sub-resource, another version, a header: each would be another request.
    for (const more of ["tagging", "versionId=1", "acl"]) expect(await codeOf(await get(`${presigned("/demo/in/a")}&${more}`))).toBe("403 SignatureDoesNotMatch");
    for (const more of ["attributes", "prefix=x", "policyStatus", "retention"]) {
      expect(await codeOf(await get(`${presigned("/demo/in/a")}&${more}`))).toBe("403 AccessDenied");
    }
    expect(await codeOf(await get(presigned("/demo/in/a"), "GET", { "x-amz-meta-a": "b" }))).toBe("403 SignatureDoesNotMatch");
    const put = { method: "PUT", headers: { "content-type": "text/x-own", "x-amz-meta-a": "b" } };
    expect((await get(presigned("/demo/in/new", put), "PUT", put.headers, "new")).status).toBe(200);
    expect(await codeOf(await get(presigned("/demo/in/new", put), "PUT", { ...put.headers, "content-type": "text/other" }, "x"))).toBe("403 SignatureDoesNotMatch");
    // Some clients put headers into the query, signed as headers.
    expect((await get(`${presigned("/demo/in/two", put)}&content-type=text%2Fx-own&x-amz-meta-a=b`, "PUT", {}, "two")).status).toBe(200);
    const two = await lab.ask("/demo/in/two");
    expect([two.headers.get("content-type"), two.headers.get("x-amz-meta-a")]).toEqual(["text/x-own", "b"]);
    const typed = { subs: "response-content-type=text/plain" };
    expect((await get(presigned("/demo/in/a", typed))).headers.get("content-type")).toBe("text/plain");
  });

  test("[SIGV2-3] neither addresses nor forms are taken where it is not configured", async () => {
    await using plain = await S3Lab.open();
    await plain.put("in/a", "hello");
    const answer = await plain.send(presigned("/demo/in/a"), "GET", { host: plain.host });
    expect(await codeOf(answer)).toBe("400 InvalidRequest");
    const form = postForm({ key: "in/f" });
    expect(await codeOf(await plain.send("/demo", "POST", { host: plain.host, "content-type": form.type }, form.body))).toBe("400 InvalidRequest");
    expect(await codeOf(await get("/demo/in/a", "GET", { authorization: "AWS admin:eA==" }))).toBe("400 InvalidRequest");
  });

  test("[SIGV2-4] a form is an object of who has signed its policy", async () => {
    const post = async (given: Parameters<typeof postForm>[0], more?: Parameters<typeof postForm>[1]): Promise<string> => {
      const form = postForm(given, more);
      return codeOf(await lab.send("/demo", "POST", { host: lab.host, "content-type": form.type }, form.body));
    };
    expect(await post({ key: "in/f" })).toBe("204");
    expect(await (await lab.ask("/demo/in/f")).text()).toBe("the file");
    expect(await post({ key: "in/f" }, { secret: "wrong-0123456789abcdef0123456789abcdef" })).toBe("403 SignatureDoesNotMatch");
    expect(await post({ key: "in/g" }, { as: "reader" })).toBe("403 AccessDenied");
    expect(await post({ key: "in/g", "x-amz-meta-other": "uncovered" })).toBe("403 AccessDenied");
  });

  test("[SIGV2-5] garbage in the query ends in an error of S3", () => {
    const name = fc.oneof(fc.constantFrom("AWSAccessKeyId", "Signature", "Expires", "x-amz-acl", "acl", "content-type"), fc.string({ maxLength: 8 }));
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.string({ maxLength: 12 })), { maxLength: 8 }), fc.string({ maxLength: 20 }), (query, path) => {
        const text = query.map(([key, value]) => `${encodeURIComponent(key.toWellFormed())}=${encodeURIComponent(value.toWellFormed())}`).join("&");
        try {
          presignedV2(request(`/${encodeURI(path.toWellFormed())}?AWSAccessKeyId=a&Signature=b&${text}`, "h", { "content-type": "text/plain" }));
        } catch (error) {
          if (!(error instanceof S3Error)) throw error;
        }
      }),
    );
  });
});

function postForm(given: Record<string, string>, { as = "admin", secret = SECRET(as) }: { as?: string; secret?: string } = {}): { type: string; body: string } {
  const conditions = [{ bucket: "demo" }, ["starts-with", "$key", "in/"]];
  const policy = Buffer.from(JSON.stringify({ expiration: new Date(Date.now() + 60_000).toISOString(), conditions })).toString("base64");
  const fields = { ...given, AWSAccessKeyId: as, policy, signature: signV2(secret, policy) };
  const parts = Object.entries(fields).map(([name, value]) => `--B\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`);
  const file = '--B\r\nContent-Disposition: form-data; name="file"; filename="f.txt"\r\n\r\nthe file\r\n--B--\r\n';
  return { type: "multipart/form-data; boundary=B", body: parts.join("") + file };
}
