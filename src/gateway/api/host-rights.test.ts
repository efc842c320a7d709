/** Every route that is about one host, with roles that are for the hosts with a label. A route that is added is covered, or this fails. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { RoleBook } from "#access/decide.ts";
import { requestOf } from "#access/access-fixture.ts";
import { HubAccess } from "#access/hub-access.ts";
import { ApiLab, type Asked } from "#gateway/api/api-fixture.ts";
import { apiRoutes } from "#gateway/api/routes.ts";
import { LINK_SETTINGS } from "#hub/agents/link.ts";
import { AgentRegistry } from "#hub/agents/registry.ts";
import { openHost } from "#platform/host-bun.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

const token = (user: string): string => `${user}-0123456789abcdef0123456789abcdef`;
const PEOPLE = ["admin", "approver", "manager", "looker", "named", "fenced", "spaces"] as const;
type Person = (typeof PEOPLE)[number];

/** The fenced one may do all to hosts, but nothing to those for databases. */
const BOOTSTRAP = `
spaces: [{name: demo}]
roles:
  - name: spaces
    rules: [{effect: allow, resource: space, actions: [read, write]}]
  - name: approver
    rules: [{effect: allow, resource: host, actions: [read, approve], labels: [role=web]}]
  - name: manager
    rules: [{effect: allow, resource: host, actions: [read, manage], labels: [role=web]}]
  - name: looker
    rules: [{effect: allow, resource: host, actions: [read], labels: [role=web]}]
  - name: named
    rules: [{effect: allow, resource: host, actions: [read, manage, approve], names: [web1]}]
  - name: fenced
    rules: [{effect: allow, resource: host, actions: ["*"]}, {effect: deny, resource: host, actions: ["*"], labels: [role=db]}]
users: [${PEOPLE.map((name) => `{name: ${name}, roles: [${name === "spaces" ? "" : `${name}, `}spaces]}`).join(", ")}]
tokens: [${PEOPLE.map((name) => `{user: ${name}, value: ${token(name)}}`).join(", ")}]
`;

const HASH = "a".repeat(12);
type Right = "read" | "approve" | "manage";
type HostCall = { readonly right: Right; readonly url: (host: string, link: string) => string; readonly asked: (host: string, link: string) => Asked };
const post = (json: unknown): Asked => ({ method: "POST", json });

/** What is asked of one host, and whose right that is. */
const CALLS: Record<string, HostCall> = {
  "hold.approve": { right: "approve", url: (host, link) => `/v1/holds/${link}/${host}/approve`, asked: () => post({ hash: HASH }) },
  "link.dependencies": { right: "read", url: (host, link) => `/v1/links/${link}/${host}/dependencies`, asked: () => ({}) },
  "link.rollback": { right: "manage", url: (host, link) => `/v1/links/${link}/${host}/rollback`, asked: () => post({}) },
  "link.resume": { right: "manage", url: (host, link) => `/v1/links/${link}/${host}/resume`, asked: () => post({}) },
  "link.resolve": {
    right: "approve",
    url: (host, link) => `/v1/links/${link}/${host}/conflicts/resolve`,
    asked: () => post({ path: "a", tag: "0123456789abcdef", keep: "copy" }),
  },
  "link.create": { right: "manage", url: () => "/v1/links", asked: (host) => post({ host, root: "/srv/other", space: "demo" }) },
  "link.update": { right: "manage", url: (_host, link) => `/v1/links/${link}`, asked: () => ({ method: "PATCH", json: { enabled: false } }) },
  "job.submit": { right: "manage", url: () => "/v1/jobs", asked: (host, link) => post({ kind: "rescan", args: { host, link } }) },
  "link.remove": { right: "manage", url: (_host, link) => `/v1/links/${link}`, asked: () => ({ method: "DELETE" }) },
  "host.revoke": { right: "manage", url: (host) => `/v1/hosts/${host}/certificates`, asked: () => ({ method: "DELETE" }) },
  "host.remove": { right: "manage", url: (host) => `/v1/hosts/${host}`, asked: () => ({ method: "DELETE" }) },
};
/** Hold only what the caller may see. */
const LISTS = ["host.list", "agent.list", "link.list", "link.definitions", "hold.list"];
/** Has a test of its own. */
const LABELS = ["host.update"];

describe("hosts with labels", () => {
  let lab: ApiLab;
  const links = new Map<string, string>();

  beforeEach(async () => {
    lab = new ApiLab();
    await fill(lab, links);
    await lab.start({}, BOOTSTRAP);
  });
  afterEach(() => lab[Symbol.asyncDispose]());

  const ask = async (person: Person, url: string, asked: Asked = {}): Promise<{ status: number; body: string }> => {
    const response = await lab.ask(url, { ...asked, token: token(person) });
    return { status: response.status, body: await response.text() };
  };
  /** Nobody is told of a host that they may not read. */
  const isRefused = ({ status, body }: { status: number; body: string }): boolean =>
    status === 403 || (status === 404 && /there is no (host|link)/.test(body));

  test("[API-42] each route about a host asks for the right on that host, with its labels", async () => {
    const about = apiRoutes("test").filter(({ path }) => /^\/v1\/(hosts|agents|links|holds)\b/.test(path));
    for (const { id } of about) expect([id, id in CALLS || LISTS.includes(id) || LABELS.includes(id)]).toEqual([id, true]);
    const rights: Record<Exclude<Person, "admin">, readonly Right[]> = {
      approver: ["read", "approve"], manager: ["read", "manage"], looker: ["read"], spaces: [],
      named: ["read", "approve", "manage"], fenced: ["read", "approve", "manage"],
    };
    // All that is to be refused comes first: some of what is not removes what is asked for.
    for (const isAllowed of [false, true]) {
      for (const [id, { right, url, asked }] of Object.entries(CALLS)) {
        for (const [person, has] of Object.entries(rights) as [Person, readonly Right[]][]) {
          for (const host of ["web1", "db1"]) {
            if ((host === "web1" && has.includes(right)) !== isAllowed) continue;
            const answer = await ask(person, url(host, links.get(host)!), asked(host, links.get(host)!));
            const isGone = isAllowed && ["link.remove", "host.remove"].includes(id);
            expect([id, person, host, answer.body, isGone || !isRefused(answer)]).toEqual([id, person, host, answer.body, isAllowed]);
            // Once gone it is gone for the next one, too.
            if (isGone && answer.status !== 404) expect([id, person, answer.status]).toEqual([id, person, 204]);
          }
        }
      }
    }
  }, 120_000);

  test("[API-42] who may approve on hosts with a label approves there, and on no other", async () => {
    const approve = (host: string) => ask("approver", `/v1/holds/${links.get(host)}/${host}/approve`, post({ hash: HASH }));
    expect(await approve("web1")).toMatchObject({ status: 200, body: expect.stringContaining('"approvedBy":"user:approver"') });
    expect(isRefused(await approve("db1"))).toBe(true);
    const holds = JSON.parse((await ask("admin", "/v1/holds")).body) as { holds: { host: string; approvedBy?: string }[] };
    expect(holds.holds.map(({ host, approvedBy }) => [host, approvedBy]).toSorted()).toEqual([["db1", undefined], ["web1", "user:approver"]]);
  });

  test("[API-49] who may manage a host revokes its certificates; the lists of hosts and agents and the audit log tell it", async () => {
    const revoke = (person: Person, host: string) => ask(person, `/v1/hosts/${host}/certificates`, { method: "DELETE" });
    expect((await revoke("manager", "nowhere")).status).toBe(404);
    expect((await revoke("manager", "web1")).status).toBe(204);
    const { hosts } = JSON.parse((await ask("admin", "/v1/hosts")).body) as { hosts: { name: string; labels: string[]; revoked?: string }[] };
    expect(hosts.map(({ name, labels, revoked }) => [name, labels.length, revoked !== undefined])).toEqual([["db1", 2, false], ["web1", 2, true]]);
    const { agents } = JSON.parse((await ask("admin", "/v1/agents")).body) as { agents: { name: string; revoked?: string }[] };
    expect(agents.map(({ name, revoked }) => [name, revoked])).toEqual([["db1", undefined], ["web1", hosts[1]!.revoked]]);
    const { records } = JSON.parse((await ask("admin", "/v1/audit?action=host.revoke")).body) as { records: unknown[] };
    expect(records).toMatchObject([{ actor: "user:manager", resource: "host:web1", outcome: "done" }]);
  });

  test("[API-43] lists of hosts hold those that the caller may read", async () => {
    for (const id of LISTS) {
      const { path } = apiRoutes("test").find((route) => route.id === id)!;
      const seen = async (person: Person): Promise<boolean[]> => {
        const { status, body } = await ask(person, path);
        const isTold = person === "spaces" && id === "host.list";
        expect([id, person, status]).toEqual([id, person, isTold ? 403 : 200]);
        return ["web1", "db1"].map((host) => body.includes(`"${host}"`));
      };
      expect([id, await seen("admin")]).toEqual([id, [true, true]]);
      for (const person of ["looker", "fenced"] as const) expect([id, person, await seen(person)]).toEqual([id, person, [true, false]]);
      expect([id, await seen("spaces")]).toEqual([id, [false, false]]);
    }
  });

  test("[API-44] nobody gives or takes a label that their rules forbid, nor one that their rules hang on", async () => {
    const relabel = (person: Person, host: string, labels: string[]) => ask(person, `/v1/hosts/${host}`, { method: "PATCH", json: { labels } });
    const joinToken = (person: Person, labels: string[]) => ask(person, "/v1/join-tokens", post({ labels }));
    for (const [person, host, labels] of [
      ["manager", "web1", ["role=web", "x"]], ["manager", "db1", ["role=web"]], ["spaces", "web1", []],
      ["fenced", "db1", []], ["fenced", "web1", ["role=web", "role=db"]],
    ] as [Person, string, string[]][]) {
      expect([person, host, labels, isRefused(await relabel(person, host, labels))]).toEqual([person, host, labels, true]);
    }
    expect((await relabel("fenced", "web1", ["role=web", "x"])).status).toBe(204);
    expect((await joinToken("manager", ["role=web"])).status).toBe(403);
    expect((await joinToken("fenced", ["role=web", "role=db"])).status).toBe(403);
    expect((await joinToken("fenced", ["role=web"])).status).toBe(201);
  });

  test("[API-45] a link for a label is made, changed and removed by who may do so on each host that has the label", async () => {
    const make = (person: Person, selector: string) => ask(person, "/v1/links", post({ selector, root: "/srv/all", space: "demo" }));
    expect((await make("manager", "role=web")).status).toBe(201);
    expect((await make("manager", "site=eu")).status).toBe(403);
    // Each of the two hosts has it.
    expect((await make("fenced", "site=eu")).status).toBe(403);
    const { id } = JSON.parse((await make("admin", "site=eu")).body) as { id: string };
    expect((await ask("fenced", `/v1/links/${id}`, { method: "PATCH", json: { enabled: false } })).status).toBe(403);
    expect((await ask("fenced", `/v1/links/${id}`, { method: "DELETE" })).status).toBe(403);
    expect((await ask("admin", `/v1/links/${id}`, { method: "DELETE" })).status).toBe(204);
  });
});

/** Two hosts that have joined and are away, each with a link and a plan that is held. */
async function fill(lab: ApiLab, links: Map<string, string>): Promise<void> {
  const { clock, random } = openHost();
  const dataDir = join(lab.dir, "hub");
  mkdirSync(dataDir, { recursive: true });
  const db = openSqlite(join(dataDir, "hub.db"));
  const registry = await AgentRegistry.open({ db, clock, random });
  const access = await HubAccess.open({
    database: db, clock, random, directory: join(dataDir, "keys"), roles: new RoleBook([]), rulesOfHost: () => [],
  });
  const counts = { creates: 0, replaces: 0, metadata: 0, removes: 1, moves: 0, bytes: 0 };
  for (const [name, role] of [["web1", "role=web"], ["db1", "role=db"]] as const) {
    const { value } = await access.joinTokens.create({ id: "user:admin" }, { labels: [role, "site=eu"] });
    await access.enrol(value, requestOf(name), { address: "192.0.2.1" });
    await registry.setLabels(name, [role, "site=eu"]);
    const settings = LINK_SETTINGS.parse({ install: ["npm:."] });
    const { id } = await registry.createLink({ host: name, root: "/srv/site", space: "demo", settings });
    await registry.held.hold(name, { link: id, hash: HASH, reason: "r", counts: { alpha: counts, beta: counts }, changes: [], total: 1, removals: null });
    links.set(name, id);
  }
  await db.close();
}
