/** People at the door: sessions with and without a cookie, their own credentials, roles made while the hub runs. */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { TestProvider } from "#access/oidc-fixture.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";

const PASSWORD = "correct horse battery";
const SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ann";

describe("people", () => {
  let lab: ApiLab;
  beforeAll(async () => {
    lab = await ApiLab.open();
    await made(lab.ask("/v1/users", { method: "POST", json: { name: "ann", password: PASSWORD, roles: ["in-reader"] } }));
    await lab.put("in/a", "text");
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  async function made(asked: Promise<Response>): Promise<Record<string, string>> {
    const response = await asked;
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()) as Record<string, string>;
  }
  const signIn = (more: object = {}): Promise<Response> =>
    lab.ask("/v1/sessions", { method: "POST", token: "", json: { user: "ann", password: PASSWORD, ...more } });
  const status = async (asked: Promise<Response>): Promise<number> => (await asked).status;

  test("[API-30] a session is a Bearer token with the rights of its user, until it signs out", async () => {
    const { value } = await made(signIn());
    expect(value).toStartWith("syncline_session_");
    expect(await (await lab.ask("/v1/spaces/demo/content/in/a", { token: value })).text()).toBe("text");
    expect(await status(lab.ask("/v1/users", { token: value }))).toBe(403);
    expect(await status(lab.ask("/v1/whoami/session", { method: "DELETE", token: value }))).toBe(204);
    expect(await status(lab.ask("/v1/whoami", { token: value }))).toBe(401);
  });

  test("[API-31] a cookie is out of reach of scripts, and changes nothing without the token that other sites cannot read", async () => {
    const response = await signIn({ cookie: true });
    const { csrf, value } = (await response.json()) as { csrf: string; value?: string };
    expect(value).toBeUndefined();
    const set = response.headers.get("set-cookie")!;
    expect(set).toContain("HttpOnly");
    expect(set).toContain("SameSite=Lax");
    const cookie = set.split(";")[0]!;
    const ask = (method: string, headers: Record<string, string>): Promise<number> =>
      status(lab.ask(method === "GET" ? "/v1/whoami" : "/v1/users/ann/s3-keys", { method, token: "", headers: { cookie, ...headers } }));
    expect(await ask("GET", {})).toBe(200);
    expect(await ask("POST", {})).toBe(403);
    expect(await ask("POST", { "x-csrf-token": `${csrf.slice(1)}x` })).toBe(403);
    expect(await ask("GET", { "sec-fetch-site": "cross-site" })).toBe(403);
    expect(await ask("POST", { "x-csrf-token": csrf, "sec-fetch-site": "cross-site" })).toBe(403);
    expect(await ask("POST", { "x-csrf-token": csrf, "sec-fetch-site": "same-origin" })).toBe(201);
    const who = await made(lab.ask("/v1/whoami", { token: "", headers: { cookie } }));
    expect(who["csrf"]).toBe(csrf);
    expect(await status(signIn({ cookie: true, password: "x" }))).toBe(401);
    const foreign = lab.ask("/v1/sessions", {
      method: "POST",
      token: "",
      headers: { "sec-fetch-site": "cross-site" },
      json: { user: "ann", password: PASSWORD, cookie: true },
    });
    expect(await status(foreign)).toBe(403);
    // Bytes without a type need nobody's leave to be sent from another site.
    const bytes = new TextEncoder().encode(JSON.stringify({ user: "ann", password: PASSWORD, cookie: true }));
    expect(await status(lab.ask("/v1/sessions", { method: "POST", token: "", body: bytes }))).toBe(415);
  });

  test("[API-32] an administrator sees sessions and ends one, or all of a user", async () => {
    const first = await made(signIn());
    const second = await made(signIn());
    const { sessions } = (await (await lab.ask("/v1/users/ann/sessions")).json()) as { sessions: { id: string }[] };
    expect(sessions.map(({ id }) => id)).toContain(first["id"]!);
    expect(await status(lab.ask(`/v1/users/reader/sessions/${first["id"]}`, { method: "DELETE" }))).toBe(404);
    expect(await status(lab.ask(`/v1/users/ann/sessions/${first["id"]}`, { method: "DELETE" }))).toBe(204);
    expect(await status(lab.ask("/v1/whoami", { token: first["value"] }))).toBe(401);
    expect(await status(lab.ask("/v1/whoami", { token: second["value"] }))).toBe(200);
    await lab.ask("/v1/users/ann/sessions", { method: "DELETE" });
    expect(await status(lab.ask("/v1/whoami", { token: second["value"] }))).toBe(401);
  });

  test("[API-33] people keep their own credentials, nobody else's, and a narrow token none", async () => {
    const { value } = await made(signIn());
    const post = (path: string, token: string | undefined, json?: unknown): Promise<Response> =>
      lab.ask(path, { method: "POST", token, ...(json === undefined ? {} : { json }) });
    expect(await status(post("/v1/users/ann/ssh-keys", value, { key: SSH_KEY }))).toBe(201);
    expect(await status(post("/v1/users/reader/ssh-keys", value, { key: SSH_KEY }))).toBe(403);
    const scopes = [{ effect: "allow", resource: "space", actions: ["read"] }];
    const narrow = await made(post("/v1/tokens", value, { user: "ann", name: "narrow", scopes }));
    expect(await status(post("/v1/users/ann/ssh-keys", narrow["value"], { key: SSH_KEY }))).toBe(403);
    expect(await status(post("/v1/whoami/password", narrow["value"], { old: PASSWORD, new: "another password" }))).toBe(403);
    const { id } = narrow["token"] as unknown as { id: string };
    expect(await status(lab.ask(`/v1/tokens/${id}`, { method: "DELETE", token: TOKENS.reader }))).toBe(403);
    expect(await status(lab.ask(`/v1/tokens/${id}`, { method: "DELETE", token: value }))).toBe(204);
    const keys = (await (await lab.ask("/v1/users/ann/ssh-keys", { token: value })).json()) as { sshKeys: { fingerprint: string }[] };
    const path = `/v1/users/ann/ssh-keys/${encodeURIComponent(keys.sshKeys[0]!.fingerprint)}`;
    expect(await status(lab.ask(path, { method: "DELETE", token: value }))).toBe(204);
  });

  test("[API-34] a new password takes the old one and ends every session; a disabled user is out at once", async () => {
    const { value } = await made(signIn());
    const change = (old: string, next: string): Promise<number> =>
      status(lab.ask("/v1/whoami/password", { method: "POST", token: value, json: { old, new: next } }));
    expect(await change("wrong one", "another password")).toBe(401);
    expect(await change(PASSWORD, "short")).toBe(400);
    expect(await change(PASSWORD, "another password")).toBe(204);
    expect(await status(lab.ask("/v1/whoami", { token: value }))).toBe(401);
    expect(await status(signIn())).toBe(401);
    const again = await made(signIn({ password: "another password" }));
    await made(lab.ask("/v1/users/ann", { method: "PATCH", json: { disabled: true } }));
    expect(await status(lab.ask("/v1/whoami", { token: again["value"] }))).toBe(401);
    await made(lab.ask("/v1/users/ann", { method: "PATCH", json: { disabled: false, password: PASSWORD } }));
  });

  test("[API-35] a role made while the hub runs counts at once; what is wrong with it is told by its key", async () => {
    const { value } = await made(signIn());
    const put = (name: string, json: unknown): Promise<Response> => lab.ask(`/v1/roles/${name}`, { method: "PUT", json });
    const rules = [{ effect: "allow", resource: "audit", actions: ["read"] }];
    expect(await status(put("watcher", { rules }))).toBe(201);
    await made(lab.ask("/v1/users/ann", { method: "PATCH", json: { roles: ["in-reader", "watcher"] } }));
    expect(await status(lab.ask("/v1/audit", { token: value }))).toBe(200);
    const wrong = await put("watcher", { rules: [{ effect: "allow", resource: "audit", actions: ["fly"] }] });
    expect([wrong.status, ((await wrong.json()) as { detail: string }).detail]).toEqual([400, expect.stringContaining("body.rules.0.actions")]);
    expect(await status(put("watcher", { includes: ["nobody-knows"], rules }))).toBe(400);
    expect(await status(put("admin", { rules }))).toBe(409);
    expect(await status(put("in-reader", { rules }))).toBe(409);
    expect(await status(lab.ask("/v1/roles/watcher", { method: "DELETE" }))).toBe(204);
    expect(await status(lab.ask("/v1/audit", { token: value }))).toBe(403);
  });

  test("[API-36] a secret that is told once is not told again to who repeats the request", async () => {
    const headers = { "idempotency-key": "one" };
    const ask = (): Promise<Response> => lab.ask("/v1/users/ann/s3-keys", { method: "POST", headers });
    const first = await ask();
    expect(await first.text()).toContain("secretKey");
    const second = await ask();
    expect([second.status, await second.text()]).toEqual([201, ""]);
  });

  test("[API-37] the audit log is exported with its chain, and a head that was noted is looked for", async () => {
    const text = await (await lab.ask("/v1/audit.ndjson?after=2")).text();
    const records = text.trim().split("\n").map((line) => JSON.parse(line) as { seq: number; hash: string });
    expect(records.map(({ seq }) => seq)).toEqual(records.map((_, at) => at + 3));
    const verify = async (seq: number, hash: string): Promise<unknown> =>
      ((await (await lab.ask(`/v1/audit/verify?seq=${seq}&hash=${hash}`)).json()) as { sound: boolean }).sound;
    expect(await verify(records[0]!.seq, records[0]!.hash)).toBe(true);
    expect(await verify(records[0]!.seq, records[1]!.hash)).toBe(false);
    expect(text).not.toContain(PASSWORD);
  });

  test("[API-39] a browser signs in through the provider, and comes back with a cookie to a path of this hub", async () => {
    await using provider = await TestProvider.open();
    await using hub = await ApiLab.open({ oidcIssuer: provider.issuer, publicUrl: "https://hub.example.com" });
    await made(hub.ask("/v1/users", { method: "POST", json: { name: "ann", oidc: true, roles: ["in-reader"] } }));
    const go = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
      fetch(`${hub.hub.url}${path}`, { redirect: "manual", headers });
    for (const away of ["//evil.example.com", "/\\evil.example.com", "https://evil.example.com"]) {
      expect((await go(`/v1/oidc/login?return=${encodeURIComponent(away)}`)).status).toBe(400);
    }
    const begun = await go("/v1/oidc/login?return=/console");
    const step = begun.headers.get("set-cookie")!;
    expect([begun.status, step.startsWith("__Host-syncline-oidc="), /HttpOnly.*Secure/.test(step)]).toEqual([303, true, true]);
    const target = begun.headers.get("location")!;
    expect(new URL(target).searchParams.get("redirect_uri")).toBe("https://hub.example.com/v1/oidc/callback");
    const query = provider.agree(target);
    expect((await go(`/v1/oidc/callback${query}`)).status).toBe(401);
    const back = await go(`/v1/oidc/callback${query}`, { cookie: step.split(";")[0]! });
    expect([back.status, back.headers.get("location")]).toEqual([303, "/console"]);
    const session = back.headers.getSetCookie().find((one) => one.startsWith("__Host-syncline-session="))!;
    const who = await go("/v1/whoami", { cookie: session.split(";")[0]! });
    expect(await who.json()).toMatchObject({ id: "user:ann", roles: ["in-reader"] });
    expect((await go(`/v1/oidc/callback${query}`, { cookie: step.split(";")[0]! })).status).toBe(401);
    expect(hub.log.some(({ message }) => message.includes("identity provider"))).toBe(true);
  });

  test("[API-40] a hub whose audit log is damaged changes nothing until a person goes on behind it", async () => {
    await using hub = await ApiLab.open();
    await hub.hub.close();
    const database = openSqlite(join(hub.dir, "hub", "hub.db"));
    await database.run("UPDATE access_audit SET actor = 'user:eve' WHERE seq = (SELECT MAX(seq) FROM access_audit)");
    await database.run("DELETE FROM access_audit_head");
    await database.close();
    await hub.start({}, "");
    const create = (name: string): Promise<Response> => hub.ask("/v1/users", { method: "POST", json: { name } });
    const refused = await create("eve");
    expect([refused.status, ((await refused.json()) as { hint: string }).hint]).toEqual([503, expect.stringContaining("audit accept")]);
    const found = await made(hub.ask("/v1/audit/accept", { method: "POST", json: { reason: "looked at" } }));
    expect(found["sound"] as unknown).toBe(false);
    expect((await create("carl")).status).toBe(201);
    expect((await made(hub.ask("/v1/audit/verify")))["sound"] as unknown).toBe(false);
  });

  test("[API-41] a bootstrap file lets users in through the provider, and leaves alone who is tied already", async () => {
    const file = `users: [{name: admin, roles: [admin]}, {name: ann, oidc: true}]\ntokens: [{user: admin, value: ${TOKENS.admin}}]\n`;
    await using provider = await TestProvider.open();
    await using hub = await ApiLab.open({ oidcIssuer: provider.issuer }, file);
    const tie = async (): Promise<string> => (await made(hub.ask("/v1/users/ann")))["oidc"]!;
    expect(await tie()).toBe("invited");
    const begun = await fetch(`${hub.hub.url}/v1/oidc/login`, { redirect: "manual" });
    const cookie = begun.headers.get("set-cookie")!.split(";")[0]!;
    const query = provider.agree(begun.headers.get("location")!);
    expect((await fetch(`${hub.hub.url}/v1/oidc/callback${query}`, { redirect: "manual", headers: { cookie } })).status).toBe(303);
    expect(await tie()).toBe("tied");
    await hub.hub.close();
    await hub.start({ oidcIssuer: provider.issuer }, file);
    expect(await tie()).toBe("tied");
    expect(hub.log.findLast(({ message }) => message === "bootstrap applied")!.fields).toEqual({ made: 0, changed: 0, same: 3 });
  });

  test("[API-38] groups have members that come and go", async () => {
    await lab.ask("/v1/groups", { method: "POST", json: { name: "crew", roles: ["reader"] } });
    expect(await status(lab.ask("/v1/groups/crew/members/ann", { method: "PUT" }))).toBe(204);
    expect(await status(lab.ask("/v1/groups/none/members/ann", { method: "PUT" }))).toBe(404);
    expect(await (await lab.ask("/v1/groups/crew/members")).json()).toEqual({ members: ["ann"] });
    const { value } = await made(signIn());
    expect(await status(lab.ask("/v1/spaces/other", { token: value }))).toBe(200);
    await lab.ask("/v1/groups/crew/members/ann", { method: "DELETE" });
    expect(await status(lab.ask("/v1/spaces/other", { token: value }))).toBe(404);
  });
});
