import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FormReader, boundaryOf } from "#gateway/s3/form-reader.ts";
import { checkPolicy } from "#gateway/s3/post-policy.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { S3Lab, codeOf } from "#gateway/s3/s3-fixture.ts";
import { scopeText, sign, signingKey } from "#gateway/s3/sigv4.ts";

const bodyOf = (pieces: readonly Uint8Array[]) => {
  const left = [...pieces];
  return { length: undefined, read: () => left.shift() };
};

const formOf = (fields: Record<string, string>, file: string, name = "cat.txt"): string =>
  Object.entries(fields).map(([field, value]) => `--B\r\nContent-Disposition: form-data; name="${field}"\r\n\r\n${value}\r\n`).join("") +
  `--B\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\nContent-Type: text/plain\r\n\r\n${file}\r\n--B--\r\n`;

async function readAll(reader: FormReader): Promise<string> {
  const pieces: Uint8Array[] = [];
  for (let piece = await reader.read(); piece !== undefined; piece = await reader.read()) pieces.push(piece.slice());
  return Buffer.concat(pieces).toString();
}

describe("forms", () => {
  test("[FORM-1] are read the same however they are split, whatever in the file looks like their boundary", async () => {
    const file = "x\r\n--\r\n--A\r\n-\r\n\r\n--";
    const form = Buffer.from(formOf({ key: "k", "X-Amz-Meta-A": "v\r\n" }, file));
    for (let at = 0; at <= form.length; at++) {
      const reader = new FormReader(bodyOf([form.subarray(0, at), form.subarray(at)].filter(({ length }) => length > 0)), "B");
      expect([...(await reader.fields())]).toEqual([["key", "k"], ["x-amz-meta-a", "v\r\n"]]);
      expect([reader.fileName, await readAll(reader)]).toEqual(["cat.txt", file]);
    }
    await fc.assert(fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 50 })), fc.nat(form.length), async (pieces, cut) => {
      const reader = new FormReader(bodyOf([form.subarray(0, cut), ...pieces]), "B");
      try {
        await reader.fields();
        await readAll(reader);
      } catch (error) {
        expect(error).toBeInstanceOf(S3Error);
      }
    }));
    const long = new FormReader(bodyOf([Buffer.from(formOf({ key: "k".repeat(70_000) }, "x"))]), "B");
    expect(long.fields()).rejects.toThrow(S3Error);
    expect(() => boundaryOf("multipart/form-data")).toThrow(S3Error);
  });

  test("[FORM-2] a policy covers every field, and says what it is and how large the file may be", () => {
    const policy = (conditions: unknown[], expiration = "2030-01-01T00:00:00Z"): string =>
      Buffer.from(JSON.stringify({ expiration, conditions })).toString("base64");
    const fields = new Map([["bucket", "demo"], ["key", "up/a"], ["content-type", "image/png"], ["x-ignore-me", "x"]]);
    const good = [{ bucket: "demo" }, ["starts-with", "$key", "up/"], ["eq", "$Content-Type", "image/png"], ["content-length-range", 1, 5]];
    expect(checkPolicy(policy(good), fields, 0)).toEqual({ min: 1, max: 5 });
    const bad = [
      good.slice(0, 2), [...good, { "x-amz-meta-a": "1" }], [{ bucket: "other" }, ...good.slice(1)], [...good, ["eq", "$key", "up"]],
      [...good, ["near", "$key", "x"]], [...good, "x"], [...good, ["content-length-range", "a", 2]], [...good, ["eq", "key", "up/a"]],
    ];
    for (const conditions of bad) expect(() => checkPolicy(policy(conditions), fields, 0)).toThrow(S3Error);
    expect(() => checkPolicy(policy(good), fields, Date.parse("2031-01-01"))).toThrow("expired");
    fc.assert(fc.property(fc.json(), (json) => {
      expect(() => checkPolicy(Buffer.from(json).toString("base64"), fields, 0)).toThrow(S3Error);
    }));
  });

  let lab: S3Lab;
  beforeAll(async () => {
    lab = await S3Lab.open();
  });
  afterAll(async () => {
    await lab[Symbol.asyncDispose]();
  });

  test("[FORM-3] a form is an object of who has signed its policy", async () => {
    const time = `${new Date().toISOString().replaceAll(/[-:]/g, "").slice(0, 15)}Z`;
    const scope = { accessKey: "writer", date: time.slice(0, 8), region: "local" };
    const post = async (key: string, file: string, more: Record<string, string> = {}, secret = "writer"): Promise<Response> => {
      const credential = `writer/${scopeText(scope)}`;
      const own = { "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": credential, "x-amz-date": time };
      const covered = Object.entries({ ...own, ...more }).map(([name, value]) => ({ [name]: value }));
      const conditions = [{ bucket: "demo" }, ["starts-with", "$key", ""], ["content-length-range", 1, 100_000], ...covered];
      const expiration = new Date(Date.now() + 60_000).toISOString();
      const policy = Buffer.from(JSON.stringify({ expiration, conditions })).toString("base64");
      const signature = sign(signingKey(`${secret}-secret-0123456789abcdef0123456789`, scope), policy);
      const form = formOf({ key, policy, ...own, "x-amz-signature": signature, ...more }, file);
      return lab.send("/demo", "POST", { "content-type": "multipart/form-data; boundary=B" }, form);
    };
    expect((await post("in/${filename}", "meow", { "x-amz-meta-a": "b", "content-type": "text/x-own" })).status).toBe(204);
    const got = await lab.ask("/demo/in/cat.txt");
    expect([got.headers.get("x-amz-meta-a"), got.headers.get("content-type"), await got.text()]).toEqual(["b", "text/x-own", "meow"]);
    expect(await (await post("in/b", "x", { success_action_status: "201" })).text()).toContain("<Key>in/b</Key>");
    const sent = await post("in/c", "x", { success_action_redirect: "https://example.com/done" });
    expect([sent.status, sent.headers.get("location")?.startsWith("https://example.com/done?bucket=demo&key=in%2Fc&etag=")]).toEqual([303, true]);
    expect(await codeOf(await post("hidden/a", "x"))).toBe("403 AccessDenied");
    expect(await codeOf(await post("in/d", ""))).toBe("400 EntityTooSmall");
    expect(await codeOf(await post("in/d", "x".repeat(100_001)))).toBe("400 EntityTooLarge");
    expect(await codeOf(await post("in/d", "x", { acl: "public-read" }))).toBe("400 AccessControlListNotSupported");
    expect(await codeOf(await post("in/d", "x", {}, "reader"))).toBe("403 SignatureDoesNotMatch");
    expect(await codeOf(await lab.ask("/demo/in/d"))).toBe("404 NoSuchKey");
  });
});
