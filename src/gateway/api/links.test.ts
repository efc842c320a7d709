/** Links as people make them over the API. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { ApiLab } from "#gateway/api/api-fixture.ts";

const ADMIN = "admin-0123456789abcdef0123456789abcdef";
const MAKER = "maker-0123456789abcdef0123456789abcdef";
const BOOTSTRAP = `
spaces: [{name: demo}]
roles:
  - name: maker
    rules:
      - {effect: allow, resource: host, actions: [read, manage]}
      - {effect: allow, resource: space, actions: [read, write], names: [demo]}
      - {effect: deny, resource: space, actions: [read, write], names: [demo], prefixes: [secret]}
users:
  - {name: admin, roles: [admin]}
  - {name: maker, roles: [maker]}
tokens:
  - {user: admin, value: ${ADMIN}}
  - {user: maker, value: ${MAKER}}
`;

describe("links over the API", () => {
  let lab: ApiLab;
  beforeAll(async () => {
    lab = await ApiLab.open({}, BOOTSTRAP);
  });
  afterAll(() => lab[Symbol.asyncDispose]());

  const make = (token: string, prefix: string, root = "/srv/site") =>
    lab.ask("/v1/links", { method: "POST", token, json: { host: "web1", root, space: "demo", prefix } });

  test("[AGENT-90] nobody lends a host a part of a space that it may not see itself, however far below", async () => {
    expect((await make(MAKER, "")).status).toBe(403);
    expect((await make(MAKER, "secret/deep")).status).toBe(403);
    const open = await make(MAKER, "open");
    expect(open.status).toBe(201);
    const { id } = (await open.json()) as { id: string };
    const wider = await lab.ask(`/v1/links/${id}`, { method: "PATCH", token: MAKER, json: { prefix: "" } });
    expect(wider.status).toBe(403);
    expect((await make(ADMIN, "", "/srv/all")).status).toBe(201);
  });

  test("[AGENT-91] who made, changed and removed which link is in the audit log", async () => {
    const { id } = (await (await make(ADMIN, "noted", "/srv/noted")).json()) as { id: string };
    await lab.ask(`/v1/links/${id}`, { method: "PATCH", token: ADMIN, json: { enabled: false } });
    await lab.ask(`/v1/links/${id}`, { method: "DELETE", token: ADMIN });
    const { records } = (await (await lab.ask(`/v1/audit?resource=link:${id}`, { token: ADMIN })).json()) as { records: object[] };
    expect(records).toMatchObject([
      { action: "link.remove", actor: "user:admin" },
      { action: "link.change", details: { root: "/srv/noted", space: "demo", enabled: false } },
      { action: "link.create", details: { host: "web1", prefix: "noted" } },
    ]);
  });
});
