/** Every route of the table with every kind of credential. A route that is added is covered, or this fails. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ApiLab, type Asked, TOKENS } from "#gateway/api/api-fixture.ts";
import type { AnyRoute } from "#gateway/api/route.ts";
import { apiRoutes } from "#gateway/api/routes.ts";

const SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f admin";

/** A body that is well formed, for each route that takes one; paths are inside what reader and writer see. */
const BODIES: Record<string, (path: string) => unknown> = {
  "space.create": () => ({ name: "made" }),
  "space.update": () => ({ settings: { quotaEntries: 500 } }),
  "restorePoint.create": () => ({ name: "point" }),
  "entry.mkdir": (path) => ({ path: `${path}/made` }),
  "entry.move": (path) => ({ from: `${path}/a`, to: `${path}/b` }),
  "entry.copy": (path) => ({ from: `${path}/a`, to: `${path}/c` }),
  "space.restore": (path) => ({ path, to: "1" }),
  "space.undo": () => ({ runId: "none" }),
  "conflict.resolve": (path) => ({ copy: `${path}/a.conflict-beta-01234567`, keep: "current" }),
  "link.resolve": (path) => ({ path: `${path}/a`, tag: "0123456789abcdef", keep: "copy" }),
  "user.create": () => ({ name: "ann" }),
  "user.update": () => ({ roles: ["admin"] }),
  "group.create": () => ({ name: "crew" }),
  "group.update": () => ({ roles: ["admin"] }),
  "token.create": () => ({ user: "bystander", name: "stolen" }),
  "s3Key.create": () => ({}),
  "role.put": () => ({ rules: [{ effect: "allow", resource: "*", actions: ["*"] }] }),
  "oidc.poll": () => ({ handle: "made up" }),
  "audit.accept": () => ({ reason: "looked at" }),
  "webhook.create": () => ({ url: "https://hook.example.com/" }),
  "webhook.update": () => ({ enabled: false }),
  "session.open": () => ({ user: "bystander", password: "wrong" }),
  "user.changePassword": () => ({ old: "wrong", new: "long enough" }),
  "sshKey.create": () => ({ key: SSH_KEY }),
  "host.update": () => ({ labels: ["web"] }),
  "link.create": () => ({ host: "web1", root: "/srv/site", space: "demo" }),
  "link.update": () => ({ enabled: false }),
  "link.rollback": () => ({}),
  "hold.approve": () => ({ hash: "0011223344556677" }),
  "joinToken.create": () => ({ labels: ["web"] }),
  "access.explain": () => ({ user: "bystander", action: "read", type: "space", name: "demo" }),
  "job.submit": () => ({ kind: "scrub", args: { bytes: 1 } }),
  "schedule.put": () => ({ kind: "scrub", args: { bytes: 1 }, cron: "@yearly" }),
  "hub.backup": () => ({ directory: "/no-such-directory/backup" }),
  "hub.check": () => ({}),
  "follow.history": (path) => ({ path: `${path}/a`, after: 0, until: 1 }),
  "follow.dropped": () => ({ sequences: [1] }),
  "follow.chunks": () => ({ wanted: [] }),
  "follow.begin": () => ({ url: "http://127.0.0.1:9", token: "one" }),
  "upload.create": (path) => ({ path: `${path}/uploaded`, size: 3 }),
  "upload.offer": () => ({ parts: [] }),
  "upload.prove": () => ({ nonce: "00".repeat(32), proofs: [] }),
  "upload.complete": () => ({}),
  "content.sign": (path) => ({ path: `${path}/a` }),
  "share.create": (path) => ({ path, kind: "both" }),
  "hub.setup": () => ({ token: "wrong", user: "eve", password: "long enough" }),
};

/** What the reader may ask for inside its prefix; the writer these, too. Everything else is refused to both. */
const READS = new Set(["entry.get", "content.get", "version.list", "archive.get", "content.sign"]);
/** Answers hold only what the caller may see. */
const FILTERED = new Set([
  "share.list", "share.get", "share.revoke",
  "space.get", "entry.list", "journal.list", "journal.export", "space.events", "space.undo", "conflict.list"]);
const WRITES = new Set([
  "content.put", "content.delete", "entry.mkdir", "entry.move", "entry.copy", "space.restore", "conflict.resolve",
  "upload.create", "share.create"]);

/** What these ask for is not what a token of an administrator is. */
const REFUSED_TO_ALL: Record<string, readonly number[]> = {
  "hub.setup": [401],
  // A source on this host is for who is told so.
  "follow.begin": [400],
  "session.open": [401, 429],
  "user.changePassword": [401, 429],
  "session.close": [400],
  // This hub has no provider.
  "oidc.login": [501],
  "oidc.callback": [401],
  "oidc.device": [501],
  "oidc.poll": [401],
  "signed.get": [401],
  "signed.put": [401],
};

const ROUTES = apiRoutes("test");

function request(route: AnyRoute, path: string): { url: string; asked: Asked } {
  const url = route.path
    .replace("{path...}", `${path}/a`)
    .replace("{space}", "demo")
    .replace("{name}", "bystander")
    .replace("{user}", "bystander")
    .replace("{accessKey}", "NOSUCHKEY")
    .replace("{fingerprint}", "SHA256%3Anone")
    .replace(/^\/v1\/signed\/.*/, (signed) => `${signed}?user=admin&until=9999999999999&mark=${"A".repeat(43)}`)
    .replace("/profiles/cpu", "/profiles/cpu?seconds=1")
    .replace("{number}", "1")
    .replace("{id}", "0011223344556677");
  const body = BODIES[route.id]?.(path);
  // Event streams and exports do not end by themselves: the head is enough.
  return { url, asked: { method: route.method, ...(body === undefined ? {} : { json: body }) } };
}

async function statusOf(lab: ApiLab, route: AnyRoute, path: string, token: string): Promise<number> {
  const { url, asked } = request(route, path);
  const stop = new AbortController();
  const response = await lab.ask(url, { ...asked, token, signal: stop.signal });
  const { status } = response;
  if (route.id === "space.events") stop.abort();
  else await response.text();
  return status;
}

describe("every route", () => {
  let lab: ApiLab;
  let expired = "";

  beforeAll(async () => {
    lab = await ApiLab.open();
    for (const path of ["in/a", "out/a"]) await lab.put(path, path);
    const json = { user: "admin", name: "old", expires: "2020-01-01T00:00:00Z" };
    const made = await lab.ask("/v1/tokens", { method: "POST", json });
    expired = ((await made.json()) as { value: string }).value;
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  test("[API-1] has a body to be tried with, when it takes one", () => {
    for (const { id, body } of ROUTES) expect([id, body === undefined || id in BODIES]).toEqual([id, true]);
    for (const id of Object.keys(BODIES)) expect(ROUTES.some((route) => route.id === id)).toBe(true);
  });

  test("[API-1] has a name and an address of its own", () => {
    expect(new Set(ROUTES.map(({ id }) => id)).size).toBe(ROUTES.length);
    expect(new Set(ROUTES.map(({ method, path }) => `${method} ${path}`)).size).toBe(ROUTES.length);
  });

  test("[API-1] refuses none, wrong and expired credentials with 401, whatever else is right or wrong with the request", async () => {
    const closed = ROUTES.filter(({ allowed }) => allowed !== "public");
    const credentials = fc.constantFrom("none", "wrong", "expired");
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...closed.map(({ id }) => id)), credentials, async (id, credential) => {
        const route = closed.find((one) => one.id === id)!;
        const token = credential === "none" ? "" : credential === "wrong" ? "x".repeat(40) : expired;
        // 429: wrong ones have come too often from here.
        const refusals = [401, 429];
        const status = await statusOf(lab, route, "in", token);
        expect([route.id, status, refusals.includes(status)]).toEqual([route.id, status, true]);
        const body = route.method === "GET" ? {} : { body: "{" };
        const broken = await lab.ask(`${request(route, "in").url}?no=thing`, { method: route.method, token, ...body });
        expect(refusals).toContain(broken.status);
      }),
      { numRuns: 200 },
    );
  }, 120_000);

  test("[API-2] gives each person what the roles say, inside a prefix and outside of it", async () => {
    const before = await state(lab);
    for (const route of ROUTES) {
      if (route.allowed === "public" || route.allowed === "known") continue;
      const stranger = await statusOf(lab, route, "in", TOKENS.stranger);
      expect([route.id, "stranger", [403, 404].includes(stranger)]).toEqual([route.id, "stranger", true]);
      const readerIn = await statusOf(lab, route, "in", TOKENS.reader);
      const seen = READS.has(route.id) || FILTERED.has(route.id);
      expect([route.id, "reader inside", readerIn !== 403]).toEqual([route.id, "reader inside", seen]);
      const readerOut = await statusOf(lab, route, "out", TOKENS.reader);
      expect([route.id, "reader outside", readerOut !== 403]).toEqual([route.id, "reader outside", FILTERED.has(route.id)]);
      const writerOut = await statusOf(lab, route, "out", TOKENS.writer);
      expect([route.id, "writer outside", writerOut !== 403]).toEqual([route.id, "writer outside", FILTERED.has(route.id)]);
    }
    // Nothing of it did anything.
    expect(await state(lab)).toEqual(before);
    for (const route of ROUTES) {
      if (!WRITES.has(route.id)) continue;
      const writerIn = await statusOf(lab, route, "in", TOKENS.writer);
      expect([route.id, "writer inside", [401, 403].includes(writerIn)]).toEqual([route.id, "writer inside", false]);
    }
  }, 120_000);

  test("[API-3] is open to the administrator, and answers as its schema says", async () => {
    // What removes is tried last.
    const rows = [...ROUTES].sort((a, b) => Number(a.method === "DELETE") - Number(b.method === "DELETE"));
    for (const route of rows) {
      const { url, asked } = request(route, "in");
      const stop = new AbortController();
      const response = await lab.ask(url, { ...asked, signal: stop.signal });
      const expected = REFUSED_TO_ALL[route.id] ?? [200, 201, 204, 404, 409];
      expect([route.id, response.status, expected.includes(response.status)]).toEqual([route.id, response.status, true]);
      const schema = route.answers[response.status]?.schema;
      if (schema !== undefined) schema.parse(await response.json());
      stop.abort();
    }
  }, 120_000);

  test("[API-2] a token that may do less than its user does less", async () => {
    const scopes = [{ effect: "allow", resource: "space", actions: ["read"], names: ["demo"], prefixes: ["in"] }];
    const json = { user: "admin", name: "narrow", scopes };
    await lab.ask("/v1/spaces/demo/undelete", { method: "POST" });
    const { value } = (await (await lab.ask("/v1/tokens", { method: "POST", json })).json()) as { value: string };
    for (const route of ROUTES) {
      if (route.allowed === "public" || route.allowed === "known" || route.allowed === "visible") continue;
      const status = await statusOf(lab, route, "in", value);
      expect([route.id, status !== 403]).toEqual([route.id, READS.has(route.id)]);
    }
  }, 120_000);
});

/** Everything that a refused request could have changed. */
async function state(lab: ApiLab): Promise<unknown> {
  const read = async (path: string): Promise<unknown> => (await lab.ask(path)).json();
  const users = (await read("/v1/users")) as object;
  const tokens = JSON.stringify(await read("/v1/tokens")).replaceAll(/,"used":"[^"]*"/g, "");
  const hosts = [await read("/v1/hosts"), await read("/v1/join-tokens"), await read("/v1/jobs"), await read("/v1/schedules")];
  const keys = [await read("/v1/users/bystander/s3-keys"), await read("/v1/users/bystander/ssh-keys"), await read("/v1/sessions")];
  hosts.push(await read("/v1/spaces/demo/webhooks"), await read("/v1/roles"), ...keys, await read("/v1/groups/crew/members"));
  return [hosts, await read("/v1/spaces"), users, tokens, await read("/v1/groups"), await read("/v1/spaces/demo/journal")];
}
