import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { OPERATIONS } from "#gateway/s3/operations.ts";
import { S3Lab, type S3Asked, codeOf } from "#gateway/s3/s3-fixture.ts";

let lab: S3Lab;
beforeEach(async () => {
  lab = await S3Lab.open({ s3PublicBuckets: ["demo"] });
  for (const key of ["pub/a", "pub/sub/b", "in/mine", "hidden/a"]) await lab.put(key, `bytes of ${key}`);
});
afterEach(() => lab[Symbol.asyncDispose]());

const arn = (tail: string): string => `arn:aws:s3:::demo${tail}`;
const text = (...statements: object[]): string => JSON.stringify({ Version: "2012-10-17", Statement: statements });
const allow = (user: string, action: string | string[], resource: string | string[], condition?: object): object => ({
  Effect: "Allow", Principal: user === "*" ? "*" : { AWS: user }, Action: action, Resource: resource,
  ...(condition === undefined ? {} : { Condition: condition }),
});
const deny = (...given: Parameters<typeof allow>): object => ({ ...allow(...given), Effect: "Deny" });

const setPolicy = async (policy: string, as = "admin", bucket = "demo"): Promise<string> =>
  codeOf(await lab.ask(`/${bucket}?policy`, { method: "PUT", body: policy, as }));
const asked = async (as: string, target: string, more: S3Asked = {}): Promise<string> => codeOf(await lab.ask(target, { as, ...more }));
/** As nobody. */
const plain = (target: string, method = "GET", headers: Record<string, string> = {}, body = ""): Promise<Response> =>
  lab.send(target, method, { host: lab.host, ...headers }, body);

describe("bucket policies", () => {
  test("[BPOLICY-1] are put, read and removed by who may manage the bucket; what is not understood is refused", async () => {
    expect(await codeOf(await lab.ask("/demo?policy"))).toBe("404 NoSuchBucketPolicy");
    expect(await codeOf(await lab.ask("/demo?policyStatus"))).toBe("404 NoSuchBucketPolicy");
    const policy = text(allow("stranger", "s3:GetObject", arn("/pub/*")));
    expect(await setPolicy(policy)).toBe("204");
    const got = await lab.ask("/demo?policy");
    expect([got.headers.get("content-type"), await got.text()]).toEqual(["application/json", policy]);
    for (const as of ["reader", "writer"]) {
      expect(await asked(as, "/demo?policy")).toBe("403 AccessDenied");
      expect(await setPolicy(policy, as)).toBe("403 AccessDenied");
      expect(await asked(as, "/demo?policy", { method: "DELETE" })).toBe("403 AccessDenied");
    }
    expect(await setPolicy(policy, "stranger")).toBe("404 NoSuchBucket");
    expect(await setPolicy("{")).toBe("400 MalformedPolicy");
    expect(await setPolicy(text(allow("nobody-here", "s3:GetObject", arn("/*"))))).toBe("400 MalformedPolicy");
    expect(await setPolicy(text(allow("stranger", "s3:GetObject", "arn:aws:s3:::other/*")))).toBe("400 MalformedPolicy");
    expect(await setPolicy(text({ ...allow("stranger", "s3:GetObject", arn("/*")), NotPrincipal: "*" }))).toBe("400 MalformedPolicy");
    expect(await setPolicy("x".repeat(30_000))).toBe("400 EntityTooLarge");
    // What was refused has changed nothing.
    expect(await (await lab.ask("/demo?policy")).text()).toBe(policy);
    expect(await codeOf(await lab.ask("/demo?policy", { method: "DELETE" }))).toBe("204");
    expect(await asked("stranger", "/demo/pub/a")).toBe("404 NoSuchBucket");
    const events = (await (await lab.api.ask("/v1/audit?limit=100")).text());
    expect(events).toContain("s3.policy");
  });

  test("[BPOLICY-2] give users what no role gives them, and nothing beside it", async () => {
    const onlyBelow = { StringLike: { "s3:prefix": ["pub/*"] }, NumericLessThanEquals: { "s3:max-keys": "10" } };
    await setPolicy(text(
      allow("stranger", "s3:GetObject", arn("/pub/*")),
      allow("stranger", "s3:ListBucket", arn(""), onlyBelow),
      allow("stranger", ["s3:PutObject", "s3:AbortMultipartUpload"], arn("/drop/*")),
    ));
    expect(await (await lab.ask("/demo/pub/a", { as: "stranger" })).text()).toBe("bytes of pub/a");
    expect(await asked("stranger", "/demo/hidden/a")).toBe("403 AccessDenied");
    expect(await asked("stranger", "/demo/pub/a?versionId=1")).toBe("404 NoSuchBucket");
    expect(await asked("stranger", "/demo/pub/a?tagging")).toBe("404 NoSuchBucket");
    expect(await asked("stranger", "/demo/pub/a", { method: "DELETE" })).toMatch(/^40[34]/);
    expect(await asked("stranger", "/demo/pub/a", { method: "PUT", body: "x" })).toBe("403 AccessDenied");
    expect(await asked("stranger", "/demo?list-type=2")).toBe("404 NoSuchBucket");
    expect(await asked("stranger", "/demo?list-type=2&prefix=pub/")).toBe("404 NoSuchBucket");
    const listed = await (await lab.ask("/demo?list-type=2&prefix=pub/&max-keys=10", { as: "stranger" })).text();
    expect([...listed.matchAll(/<Key>(.*?)<\/Key>/g)].map(([, key]) => key)).toEqual(["pub/a", "pub/sub/b"]);
    const shallow = await (await lab.ask("/demo?prefix=pub/&delimiter=/&max-keys=10", { as: "stranger" })).text();
    expect(shallow).toContain("<Prefix>pub/sub/</Prefix>");
    // A box to drop things into, which are not read back.
    expect(await asked("stranger", "/demo/drop/x", { method: "PUT", body: "dropped" })).toBe("200");
    expect(await asked("stranger", "/demo/drop/x")).toBe("403 AccessDenied");
    expect(await (await lab.ask("/demo/drop/x")).text()).toBe("dropped");
    expect(await asked("stranger", "/demo/drop/y", { method: "PUT", headers: { "x-amz-copy-source": "demo/hidden/a" } })).toBe("403 AccessDenied");
    expect(await asked("stranger", "/demo/drop/y", { method: "PUT", headers: { "x-amz-copy-source": "demo/pub/a" } })).toBe("200");
    const made = await (await lab.ask("/demo/drop/parts?uploads", { as: "stranger", method: "POST" })).text();
    const id = /<UploadId>(.*?)</.exec(made)![1]!;
    expect(await asked("stranger", `/demo/drop/parts?uploadId=${id}&partNumber=1`, { method: "PUT", body: "x" })).toBe("200");
    expect(await asked("stranger", `/demo/drop/parts?uploadId=${id}`)).toMatch(/^40[34]/);
    expect(await asked("stranger", `/demo/drop/parts?uploadId=${id}`, { method: "DELETE" })).toBe("204");
    // No settings, no other door.
    expect(await asked("stranger", "/demo?versioning")).toBe("404 NoSuchBucket");
    expect(await asked("stranger", "/demo?cors", { method: "DELETE" })).toMatch(/^40[34]/);
    expect((await lab.api.ask("/v1/spaces/demo/content/pub/a", { token: "" })).status).toBe(401);
  });

  test("[BPOLICY-3] a deny wins over roles, at every door where it has no conditions", async () => {
    await setPolicy(text(
      deny("writer", "s3:GetObject", arn("/in/mine")),
      deny("writer", "s3:DeleteObject", arn("/in/*")),
      deny("reader", "s3:ListBucket", arn("")),
    ));
    expect(await asked("writer", "/demo/in/mine")).toBe("403 AccessDenied");
    expect(await asked("writer", "/demo/in/mine", { method: "HEAD" })).toBe("403");
    expect(await asked("writer", "/demo/in/new", { method: "PUT", body: "x" })).toBe("200");
    expect(await asked("writer", "/demo/in/new", { method: "DELETE" })).toBe("403 AccessDenied");
    expect(await asked("writer", "/demo/in/copy", { method: "PUT", headers: { "x-amz-copy-source": "demo/in/mine" } })).toBe("403 AccessDenied");
    const body = "<Delete><Object><Key>in/new</Key></Object></Delete>";
    expect(await (await lab.ask("/demo?delete", { as: "writer", method: "POST", body })).text()).toContain("<Code>AccessDenied</Code>");
    expect(await asked("reader", "/demo/in/mine")).toBe("200");
    expect(await asked("reader", "/demo?list-type=2")).toBe("403 AccessDenied");
    const made = (await (await lab.api.ask("/v1/tokens", { method: "POST", json: { user: "writer", name: "t" } })).json()) as { value: string };
    const elsewhere = (path: string, method = "GET", body?: string): Promise<Response> =>
      lab.api.ask(`/v1/spaces/demo/${path}`, { token: made.value, method, ...(body === undefined ? {} : { body }) });
    expect(await (await elsewhere("content/in/mine")).text()).toContain("deny s3:GetObject");
    const listed = await (await elsewhere("entries?below=in")).text();
    expect([listed.includes("in/new"), listed.includes("in/mine")]).toEqual([true, false]);
    expect([(await elsewhere("content/in/new")).status, (await elsewhere("content/in/new", "PUT", "y")).status]).toEqual([200, 403]);
  });

  test("[BPOLICY-4] never give what a rule of the hub denies, and never lock out who manages the bucket", async () => {
    const role = { rules: [{ effect: "deny", resource: "space", actions: ["*"], names: ["demo"] }], includes: [] };
    expect((await lab.api.ask("/v1/roles/no-demo", { method: "PUT", json: role })).status).toBeLessThan(300);
    expect((await lab.api.ask("/v1/users/stranger", { method: "PATCH", json: { roles: ["no-demo"] } })).status).toBeLessThan(300);
    await setPolicy(text(allow("stranger", "s3:*", "*"), deny("*", "s3:*", "*", { Bool: { "aws:SecureTransport": "false" } })));
    expect(await asked("stranger", "/demo/pub/a")).toBe("403 AccessDenied");
    expect(await asked("admin", "/demo/pub/a")).toBe("403 AccessDenied");
    expect(await asked("admin", "/demo?versioning", { method: "GET" })).toBe("403 AccessDenied");
    expect(await asked("admin", "/demo", { method: "DELETE" })).toBe("403 AccessDenied");
    await setPolicy(text(allow("stranger", "s3:*", "*")));
    for (const target of ["/demo/pub/a", "/demo", "/demo?location", "/demo/none"]) expect(await asked("stranger", target)).toMatch(/^40[34]/);
    expect(await asked("stranger", "/demo", { method: "HEAD" })).toBe("404");
    expect(await asked("admin", "/demo?policy", { method: "DELETE" })).toBe("204");
  });

  test("[BPOLICY-5] everybody reads what a policy names, in a bucket that the operator lets be public, and does nothing else", async () => {
    const policy = text(allow("*", "s3:GetObject", arn("/pub/*")), allow("*", "s3:ListBucket", arn(""), { StringEquals: { "s3:prefix": "pub/" } }));
    expect(await codeOf(await plain("/demo/pub/a"))).toBe("403 AccessDenied");
    expect(await setPolicy(policy.replaceAll(":demo", ":other"), "admin", "other")).toBe("403 AccessDenied");
    expect(await setPolicy(text(allow("*", "s3:PutObject", arn("/pub/*"))))).toBe("400 MalformedPolicy");
    expect(await setPolicy(policy)).toBe("204");
    expect(await (await lab.ask("/demo?policyStatus")).text()).toContain("<IsPublic>true</IsPublic>");
    expect(await (await plain("/demo/pub/a")).text()).toBe("bytes of pub/a");
    expect((await plain("/demo/pub/a", "GET", { range: "bytes=0-4" })).status).toBe(206);
    expect(await (await plain("/demo?list-type=2&prefix=pub/")).text()).toContain("<Key>pub/sub/b</Key>");
    expect(await codeOf(await plain("/demo?list-type=2"))).toMatch(/^40[34]/);
    expect(await codeOf(await plain("/demo/hidden/a"))).toBe("403 AccessDenied");
    expect(await codeOf(await plain("/demo/pub/a?response-content-type=text/html"))).toBe("400 InvalidRequest");
    expect(await asked("stranger", "/demo/pub/a")).toBe("200");
    // Who signs wrongly is not nobody.
    expect(await asked("stranger", "/demo/pub/a", { secret: "wrong-0123456789abcdef0123456789abcdef" })).toBe("403 SignatureDoesNotMatch");
    const before = ((await (await lab.api.ask("/v1/spaces/demo")).json()) as { sequence: number }).sequence;
    for (const { name, method, on, sub, query, header } of OPERATIONS) {
      const own = sub === "uploadId" ? `uploadId=${"0".repeat(32)}` : (sub ?? "");
      const part = query.includes("partNumber") && own !== "" ? "&partNumber=1" : "";
      const target = `${on === "service" ? "/" : on === "bucket" ? "/demo" : "/demo/pub/a"}${own === "" ? "" : `?${own}${part}`}`;
      const answer = await plain(target, method, header === undefined ? {} : { [header]: "demo/pub/a" }, method === "GET" || method === "HEAD" ? "" : "x");
      const isReading = ["GetObject", "HeadObject"].includes(name);
      expect([name, answer.status < 400]).toEqual([name, isReading]);
    }
    expect(((await (await lab.api.ask("/v1/spaces/demo")).json()) as { sequence: number }).sequence).toBe(before);
    expect((await plain("/demo", "OPTIONS")).status).toBeGreaterThanOrEqual(400);
  });

  test("[BPOLICY-6] a public access block closes what the operator leaves open, and opens nothing", async () => {
    const policy = text(allow("*", "s3:GetObject", arn("/pub/*")));
    const block = (...names: string[]): string =>
      `<PublicAccessBlockConfiguration>${names.map((name) => `<${name}>true</${name}>`).join("")}</PublicAccessBlockConfiguration>`;
    const put = async (body: string, as = "admin"): Promise<string> => codeOf(await lab.ask("/demo?publicAccessBlock", { method: "PUT", body, as }));
    expect(await setPolicy(policy)).toBe("204");
    expect(await put(block("RestrictPublicBuckets"), "writer")).toBe("403 AccessDenied");
    expect(await put(block("RestrictPublicBuckets"))).toBe("200");
    expect(await codeOf(await plain("/demo/pub/a"))).toBe("403 AccessDenied");
    expect(await asked("stranger", "/demo/pub/a")).toBe("200");
    expect(await put(block("BlockPublicPolicy"))).toBe("200");
    expect(await codeOf(await plain("/demo/pub/a"))).toBe("200");
    expect(await setPolicy(policy)).toBe("403 AccessDenied");
    const got = await (await lab.ask("/demo?publicAccessBlock")).text();
    expect(got).toContain("<BlockPublicPolicy>true</BlockPublicPolicy><RestrictPublicBuckets>false</RestrictPublicBuckets>");
    expect(await codeOf(await lab.ask("/demo?publicAccessBlock", { method: "DELETE" }))).toBe("204");
    expect(await setPolicy(policy)).toBe("204");
    expect(await (await lab.ask("/other?publicAccessBlock")).text()).toContain("<RestrictPublicBuckets>true</RestrictPublicBuckets>");
  });

  test("[BPOLICY-7] conditions are about the request: its address, its listing, its headers, its user", async () => {
    const from = (range: string): object => ({ IpAddress: { "aws:SourceIp": range } });
    await setPolicy(text(
      allow("stranger", "s3:GetObject", arn("/pub/a"), from("127.0.0.0/8")),
      allow("stranger", "s3:GetObject", arn("/hidden/a"), from("10.0.0.0/8")),
      allow("stranger", "s3:*Object", arn("/home/${aws:username}/*")),
      deny("stranger", "s3:PutObject", arn("/*"), { StringNotEquals: { "s3:x-amz-storage-class": "STANDARD" } }),
    ));
    expect([await asked("stranger", "/demo/pub/a"), await asked("stranger", "/demo/hidden/a")]).toEqual(["200", "403 AccessDenied"]);
    const put = (headers: Record<string, string>): Promise<string> => asked("stranger", "/demo/home/stranger/x", { method: "PUT", body: "x", headers });
    expect([await put({}), await put({ "x-amz-storage-class": "STANDARD" })]).toEqual(["403 AccessDenied", "200"]);
    expect(await asked("stranger", "/demo/home/stranger/x")).toBe("200");
    expect(await asked("stranger", "/demo/home/stranger/x", { method: "DELETE" })).toBe("204");
  });

  test("[BPOLICY-8] go with the bucket when it gets another name, and are explained", async () => {
    await setPolicy(text({ ...deny("writer", "s3:GetObject", arn("/in/mine")), Sid: "keep out" }, allow("stranger", "s3:GetObject", arn("/pub/*"))));
    const explained = async (user: string, path: string): Promise<{ allowed: boolean; reason: string }> =>
      (await (await lab.api.ask("/v1/access/explain", { method: "POST", json: { user, action: "read", type: "space", name: "demo", path } })).json()) as never;
    expect(await explained("writer", "in/mine")).toMatchObject({ allowed: false, reason: expect.stringContaining('statement "keep out": deny s3:GetObject') });
    expect((await explained("stranger", "pub/a")).reason).toContain("over S3: the bucket's policy, statement 2: allow s3:GetObject");
    expect((await lab.api.ask("/v1/spaces/demo", { method: "PATCH", json: { name: "renamed" } })).status).toBe(200);
    expect(await asked("stranger", "/renamed/pub/a")).toBe("200");
    expect(await asked("stranger", "/renamed/hidden/a")).toBe("403 AccessDenied");
    expect(await asked("admin", "/demo?policy")).toBe("404 NoSuchBucket");
  });
});

describe("access lists", () => {
  test("[ACL-1] say what is so, and are taken where they say it", async () => {
    for (const target of ["/demo?acl", "/demo/pub/a?acl"]) {
      const got = await (await lab.ask(target)).text();
      expect(got).toContain("<Permission>FULL_CONTROL</Permission>");
      const put = async (headers: Record<string, string>, body = ""): Promise<string> => codeOf(await lab.ask(target, { method: "PUT", headers, body }));
      expect(await put({ "x-amz-acl": "private" })).toBe("200");
      expect(await put({ "x-amz-acl": "bucket-owner-full-control" })).toBe("200");
      expect(await put({ "x-amz-acl": "public-read" })).toBe("400 AccessControlListNotSupported");
      expect(await put({ "x-amz-grant-read": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"' })).toBe("400 AccessControlListNotSupported");
      expect(await put({}, got.slice(got.indexOf("<AccessControlPolicy")))).toBe("200");
      expect(await put({}, got.slice(got.indexOf("<AccessControlPolicy")).replace("FULL_CONTROL", "READ"))).toBe("400 AccessControlListNotSupported");
      expect(await put({})).toBe("400 InvalidRequest");
      expect(await codeOf(await lab.ask(target, { as: "reader", method: "PUT", headers: { "x-amz-acl": "private" } }))).toBe("403 AccessDenied");
    }
    const given = { "x-amz-grant-full-control": 'id="somebody"' };
    expect(await codeOf(await lab.put("pub/new", "x", { headers: given }))).toBe("400 AccessControlListNotSupported");
    expect(await codeOf(await lab.ask("/made", { method: "PUT", headers: { "x-amz-acl": "public-read" } }))).toBe("400 AccessControlListNotSupported");
    expect(await codeOf(await lab.ask("/made", { method: "PUT", headers: { "x-amz-object-ownership": "ObjectWriter" } }))).toBe("501 NotImplemented");
  });

  test("[ACL-2] ownership is the bucket owner's, and nothing is encrypted by the hub", async () => {
    const put = async (ownership: string, as = "admin"): Promise<string> => {
      const body = `<OwnershipControls><Rule><ObjectOwnership>${ownership}</ObjectOwnership></Rule></OwnershipControls>`;
      return codeOf(await lab.ask("/demo?ownershipControls", { method: "PUT", body, as }));
    };
    expect([await put("BucketOwnerEnforced"), await put("ObjectWriter"), await put("BucketOwnerEnforced", "writer")]).toEqual([
      "200", "501 NotImplemented", "403 AccessDenied",
    ]);
    expect(await codeOf(await lab.ask("/demo?ownershipControls", { method: "DELETE" }))).toBe("204");
    expect(await (await lab.ask("/demo?ownershipControls")).text()).toContain("<ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>");
    expect(await codeOf(await lab.ask("/demo?encryption"))).toBe("404 ServerSideEncryptionConfigurationNotFoundError");
    expect(await codeOf(await lab.ask("/demo?encryption", { method: "PUT", body: "x" }))).toBe("501 NotImplemented");
    expect(await codeOf(await lab.ask("/demo?encryption", { method: "DELETE" }))).toBe("501 NotImplemented");
  });
});
