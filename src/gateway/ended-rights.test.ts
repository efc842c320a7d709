/** Files whose bytes come for long, while the rights of who sends them end: through every door that takes one in one request. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { request as http } from "node:http";
import { Client, Metadata, credentials, status } from "@grpc/grpc-js";
import type { MethodDefinition } from "@grpc/grpc-js";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";
import { FILES, serviceOf } from "#gateway/grpc/schema.ts";
import { S3Lab, SECRET } from "#gateway/s3/s3-fixture.ts";
import { scopeText, sign, signingKey } from "#platform/net/aws-signature.ts";

const WAYS = ["gone", "demoted", "kept"] as const;
const DOORS = ["api", "signed", "dav", "tus", "s3", "form", "multipart", "grpc", "share"] as const;
/** What is asked of a bucket. */
const SETTERS = ["tags", "policy", "purge", "retag"] as const;
const setters = SETTERS.flatMap((what) => WAYS.map((way) => `${what}-${way}`));
const names = DOORS.flatMap((door) => WAYS.map((way) => `${door}-${way}`));
const tokenOf = (name: string): string => `${name}-0123456789abcdef0123456789abcdef0123456789`;
const BOOTSTRAP = `
spaces: [{name: demo}, {name: kept}]
roles:
  - name: writes
    rules: [{effect: allow, resource: space, actions: [read, write], names: [demo]}, {effect: allow, resource: token, actions: [manage]}]
  - name: keeps
    rules: [{effect: allow, resource: space, actions: [read, write, manage, purge], names: [kept]}]
users: [{name: admin, roles: [admin]}, {name: bystander}, ${setters.map((name) => `{name: ${name}, roles: [keeps]}`).join(", ")}, ${names.map((name) => `{name: ${name}, roles: [writes]}`).join(", ")}]
tokens: [{user: admin, value: ${TOKENS.admin}}, ${names.map((name) => `{user: ${name}, value: ${tokenOf(name)}}`).join(", ")}]
s3Keys: [${[...names, ...setters].map((name) => `{user: ${name}, accessKey: ${name}, secretKey: ${SECRET(name)}}`).join(", ")}]
`;
const HALF = "0123456789";

let lab: ApiLab;
let s3: S3Lab;
beforeAll(async () => {
  lab = await ApiLab.open({ s3Listen: "127.0.0.1:0", grpcListen: "127.0.0.1:0" }, BOOTSTRAP);
  s3 = S3Lab.over(lab);
  await lab.put("share/there", "there");
  const body = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
  expect((await s3.ask("/kept?versioning", { method: "PUT", as: setters[0]!, body })).status).toBe(200);
});
afterAll(() => lab[Symbol.asyncDispose]());

const doorOf = (scheme: string): string => lab.hub.doors.find((url) => url.startsWith(`${scheme}:`))!;

/** A request of which one half has come. */
type Sending = { readonly end: () => void; readonly status: Promise<number> };

function sendHalf(url: string, method: string, headers: Record<string, string>, head = HALF, tail = HALF): Sending {
  const answered = Promise.withResolvers<number>();
  const length = String(head.length + tail.length);
  const asked = http(url, { method, agent: false, headers: { ...headers, "content-length": length } }, (answer) => {
    answer.resume();
    answered.resolve(answer.statusCode!);
  });
  asked.on("error", answered.reject);
  asked.write(head);
  return { end: () => void asked.end(tail), status: answered.promise };
}

const bearer = (name: string): Record<string, string> => ({ authorization: `Bearer ${tokenOf(name)}` });

/** Of a form with a file, up to its bytes. */
function formHead(name: string): string {
  const time = `${new Date().toISOString().replaceAll(/[-:]/g, "").slice(0, 15)}Z`;
  const scope = { accessKey: name, date: time.slice(0, 8), region: "local" };
  const own = { "x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": `${name}/${scopeText(scope)}`, "x-amz-date": time };
  const conditions = [{ bucket: "demo" }, { key: name }, ...Object.entries(own).map(([field, value]) => ({ [field]: value }))];
  const expiration = new Date(Date.now() + 60_000).toISOString();
  const policy = Buffer.from(JSON.stringify({ expiration, conditions })).toString("base64");
  const fields = { key: name, policy, ...own, "x-amz-signature": sign(signingKey(SECRET(name), scope), policy) };
  const texts = Object.entries(fields).map(([field, value]) => `--B\r\nContent-Disposition: form-data; name="${field}"\r\n\r\n${value}\r\n`);
  return `${texts.join("")}--B\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n`;
}

const BEGIN: Record<(typeof DOORS)[number], (name: string) => Promise<Sending>> = {
  api: async (name) => sendHalf(`${lab.hub.url}/v1/spaces/demo/content/${name}`, "PUT", bearer(name)),
  async signed(name) {
    const made = await lab.ask("/v1/spaces/demo/sign", { method: "POST", json: { path: name, method: "PUT" }, token: tokenOf(name) });
    const { url } = (await made.json()) as { url: string };
    return sendHalf(`${lab.hub.url}${url.slice(url.indexOf("/v1/"))}`, "PUT", {});
  },
  dav: async (name) => sendHalf(`${lab.hub.url}/dav/demo/${name}`, "PUT", bearer(name)),
  async tus(name) {
    const tus = { ...bearer(name), "tus-resumable": "1.0.0" };
    const made = await fetch(`${lab.hub.url}/v1/tus/demo/${name}`, { method: "POST", headers: { ...tus, "upload-length": "20" } });
    const headers = { ...tus, "content-type": "application/offset+octet-stream", "upload-offset": "0" };
    return sendHalf(new URL(made.headers.get("location")!, lab.hub.url).href, "PATCH", headers);
  },
  s3: async (name) => sendHalf(`${s3.url}${s3.presigned(`/demo/${name}`, { method: "PUT", as: name })}`, "PUT", {}),
  async form(name) {
    return sendHalf(`${s3.url}/demo`, "POST", { "content-type": "multipart/form-data; boundary=B" }, `${formHead(name)}${HALF}`, `${HALF}\r\n--B--\r\n`);
  },
  async multipart(name) {
    const begun = await s3.ask(`/demo/${name}?uploads`, { method: "POST", as: name });
    const id = /<UploadId>(.*)<\/UploadId>/.exec(await begun.text())![1]!;
    const part = await s3.ask(`/demo/${name}?partNumber=1&uploadId=${id}`, { method: "PUT", as: name, body: "part" });
    const inner = `<Part><PartNumber>1</PartNumber><ETag>${part.headers.get("etag")}</ETag></Part>`;
    const url = `${s3.url}${s3.presigned(`/demo/${name}?uploadId=${id}`, { method: "POST", as: name })}`;
    return sendHalf(url, "POST", {}, "<CompleteMultipartUpload>", `${inner}</CompleteMultipartUpload>`);
  },
  async grpc(name) {
    const { path, requestSerialize, responseDeserialize } = serviceOf(FILES)["Upload"] as MethodDefinition<object, object>;
    const client = new Client(new URL(doorOf("grpc").replace("grpc:", "http:")).host, credentials.createInsecure());
    const metadata = new Metadata();
    metadata.set("authorization", bearer(name)["authorization"]!);
    const answered = Promise.withResolvers<number>();
    const call = client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, metadata, (error) => {
      client.close();
      const codes: Partial<Record<status, number>> = { [status.UNAUTHENTICATED]: 401, [status.PERMISSION_DENIED]: 403, [status.NOT_FOUND]: 404 };
      answered.resolve(error === null ? 200 : (codes[error.code] ?? 500));
    });
    call.on("error", () => undefined);
    call.write({ header: { place: { space: "demo", path: name } } });
    call.write({ data: Buffer.from(HALF) });
    const end = (): void => {
      call.write({ data: Buffer.from(HALF) });
      call.write({ finish: true });
      call.end();
    };
    return { end, status: answered.promise };
  },
  async share(name) {
    const made = await lab.ask("/v1/spaces/demo/shares", { method: "POST", json: { path: "share", kind: "upload" }, token: tokenOf(name) });
    const { url } = (await made.json()) as { url: string };
    return sendHalf(`${lab.hub.url}${url.slice(url.indexOf("/s/"))}/${name}`, "PUT", {});
  },
};

test("[API-54] a call whose credential ends while its body comes does nothing", async () => {
  const made = await lab.ask("/v1/tokens", { method: "POST", json: { user: "admin", name: "stolen" } });
  const { token, value } = (await made.json()) as { token: { id: string }; value: string };
  const headers = { authorization: `Bearer ${value}`, "content-type": "application/json" };
  const begun = sendHalf(`${lab.hub.url}/v1/tokens`, "POST", headers, '{"user": "admin", ', '"name": "another"}');
  await Bun.sleep(100);
  expect((await lab.ask(`/v1/tokens/${token.id}`, { method: "DELETE" })).status).toBe(204);
  begun.end();
  expect(await begun.status).toBe(401);
  expect(await (await lab.ask("/v1/tokens")).text()).not.toContain("another");
});

describe("a file whose bytes come for long", () => {
  for (const door of DOORS) {
    test(`[RIGHTS-5] is stored by the rights of its end: ${door}`, async () => {
      const begun = await Promise.all(WAYS.map((way) => BEGIN[door](`${door}-${way}`)));
      // Until they have come.
      await Bun.sleep(100);
      const user = (way: string, asked: object): Promise<Response> => lab.ask(`/v1/users/${door}-${way}`, asked);
      expect((await user("gone", { method: "DELETE" })).status).toBe(204);
      expect((await user("demoted", { method: "PATCH", json: { roles: [] } })).status).toBe(200);
      for (const { end } of begun) end();
      const said = await Promise.all(begun.map((one) => one.status));
      expect(said.map((one) => one < 300)).toEqual([false, false, true]);
      for (const refused of said.slice(0, 2)) expect([401, 403, 404]).toContain(refused);
      const above = door === "share" ? "share/" : "";
      const there = await Promise.all(WAYS.map(async (way) => (await lab.ask(`/v1/spaces/demo/content/${above}${door}-${way}`)).status));
      expect(there).toEqual([404, 404, 200]);
    });
  }
});

/** What is set, or taken away, by a body over S3: its two halves, for a name. */
const ASKED: Record<(typeof SETTERS)[number], (name: string, sequence: string) => readonly [method: string, target: string, head: string, tail: string]> = {
  tags: (name) => ["PUT", "/kept?tagging", "<Tagging><TagSet><Tag><Key>k</Key>", `<Value>${name}</Value></Tag></TagSet></Tagging>`],
  policy: (name) => {
    const statement = { Sid: name, Effect: "Allow", Principal: { AWS: "admin" }, Action: "s3:GetObject", Resource: "arn:aws:s3:::kept/*" };
    return ["PUT", "/kept?policy", '{"Version": "2012-10-17", ', `"Statement": [${JSON.stringify(statement)}]}`];
  },
  purge: (name, sequence) => {
    return ["POST", "/kept?delete", "<Delete>", `<Object><Key>${name}</Key><VersionId>${sequence}</VersionId></Object></Delete>`];
  },
  // Of an old version: those of the current one are a commit.
  retag: (name, sequence) => {
    return ["PUT", `/kept/${name}?tagging&versionId=${sequence}`, "<Tagging><TagSet><Tag><Key>k</Key>", "<Value>v</Value></Tag></TagSet></Tagging>"];
  },
};

describe("what is asked of a bucket by a body that comes for long", () => {
  for (const what of SETTERS) {
    test(`[RIGHTS-8] is done by the rights of its end: ${what}`, async () => {
      const ids = await Promise.all(WAYS.map(async (way) => {
        const first = await s3.ask(`/kept/${what}-${way}`, { method: "PUT", as: `${what}-${way}`, body: "first" });
        await s3.ask(`/kept/${what}-${way}`, { method: "PUT", as: `${what}-${way}`, body: "second" });
        return first.headers.get("x-amz-version-id") ?? "";
      }));
      const begun = WAYS.map((way, at) => {
        const [method, target, head, tail] = ASKED[what](`${what}-${way}`, ids[at]!);
        return sendHalf(`${s3.url}${s3.presigned(target, { method, as: `${what}-${way}` })}`, method, {}, head, tail);
      });
      await Bun.sleep(100);
      const user = (way: string, change: object): Promise<Response> => lab.ask(`/v1/users/${what}-${way}`, change);
      expect((await user("gone", { method: "DELETE" })).status).toBe(204);
      expect((await user("demoted", { method: "PATCH", json: { roles: [] } })).status).toBe(200);
      for (const { end } of begun) end();
      const said = await Promise.all(begun.map((one) => one.status));
      expect(said.map((one) => one < 300)).toEqual([false, false, true]);
      const as = `${what}-kept`;
      if (what === "tags" || what === "policy") expect(await (await s3.ask(`/kept?${what === "tags" ? "tagging" : what}`, { as })).text()).toContain(as);
      if (what === "purge") {
        const left = await Promise.all(WAYS.map(async (way, at) => (await s3.ask(`/kept/${what}-${way}?versionId=${ids[at]}`, { as })).status));
        expect(left).toEqual([200, 200, 404]);
      }
    });
  }
});
