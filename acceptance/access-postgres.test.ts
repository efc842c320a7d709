/** Who may do what, over a real PostgreSQL server: each statement once, collisions, and two hubs on one database. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { SpaceId } from "#hub/space.ts";
import type { Webhook } from "#hub/webhooks/webhook.ts";
import { WEBHOOK_LEASE, WEBHOOK_MIGRATIONS, WebhookTable } from "#hub/webhooks/webhook-table.ts";
import { LEASE_MIGRATIONS, readLease, takeLease } from "#platform/sql/lease.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { openPostgres } from "#platform/sql/postgres.ts";
import { AccessWorld, BY, PASSWORD, codeOf, requestOf } from "#access/access-fixture.ts";
import { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

const SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ann@desk";
const FROM = { address: "192.0.2.1" };

describe("access on PostgreSQL", () => {
  test("[ACCESS-80] users, groups, tokens, keys, sessions and hosts do the same, and the log stays sound", async () => {
    await using world = await AccessWorld.open(1, await openPostgres(await server.database()));
    const { access } = world;
    await access.users.createGroup(BY, "ops", ["operator"]);
    await access.users.create(BY, "ann", { password: PASSWORD, roles: ["reader"], groups: ["ops"] });
    expect((await world.signIn("ann", PASSWORD)).roles).toEqual(["reader", "operator"]);
    await access.users.updateGroup(BY, "ops", ["writer"]);
    const scopes = [{ effect: "allow", resource: "space", actions: ["read"] }] as const;
    const { token, value } = await access.tokens.create(BY, { user: "ann", name: "ci", scopes, expiresMs: world.clock.nowMs() + 10 });
    expect(await world.byToken(value)).toMatchObject({ roles: ["reader", "writer"], scopes });
    expect((await access.tokens.page("ann", "", 10))[0]).toEqual({ ...token, usedMs: world.clock.nowMs() });
    expect((await access.tokens.byValue(value))!.id).toBe(token.id);
    await access.tokens.revoke(BY, token.id);
    expect(await codeOf(world.byToken(value))).toBe("AUTH");
    const { accessKey, secretKey } = await access.s3Keys.create(BY, "ann");
    expect((await access.authenticate({ type: "s3", accessKey, address: "192.0.2.1", verify: (secret) => secret === secretKey })).name).toBe("ann");
    expect(await access.s3Keys.page(undefined, "", 10)).toHaveLength(1);
    await access.s3Keys.revoke(BY, accessKey);
    const fingerprint = await access.sshKeys.create(BY, "ann", SSH_KEY);
    const key = new Uint8Array(Buffer.from(SSH_KEY.split(" ")[1]!, "base64"));
    expect((await access.authenticate({ type: "ssh-key", user: "ann", key, address: "192.0.2.1" })).name).toBe("ann");
    expect(await access.sshKeys.list("ann")).toHaveLength(1);
    await access.sshKeys.revoke(BY, "ann", fingerprint);
    const { cookie, id } = await access.signIn("ann", PASSWORD, FROM, "Firefox");
    world.clock.pass(120_000);
    expect((await access.authenticate({ type: "session", cookie, address: "192.0.2.1" })).name).toBe("ann");
    expect(await access.sessions.page("ann", "", 10)).toMatchObject([{ id, seenMs: world.clock.nowMs() }]);
    await access.sessions.revoke(BY, id);
    expect(await access.sessions.revokeAll(BY, "ann")).toBe(0);
    const join = await access.joinTokens.create(BY, { uses: 1, labels: ["web"], expiresMs: world.clock.nowMs() + 1_000 });
    const enrolled = await access.enrol(join.value, requestOf("web1"), FROM);
    const renewed = await access.hosts.renew(enrolled.certificate, requestOf("web1"), FROM);
    await access.hosts.setLabels(BY, "web1", ["db"]);
    expect(await access.hosts.page("", 10)).toMatchObject([{ name: "web1", labels: ["db"] }]);
    expect((await access.authenticate({ type: "certificate", certificate: renewed.certificate })).name).toBe("web1");
    await access.hosts.revoke(BY, "web1");
    for (const { certificate } of [enrolled, renewed]) expect(await codeOf(access.authenticate({ type: "certificate", certificate }))).toBe("AUTH");
    expect(await access.hosts.page("", 10)).toMatchObject([{ name: "web1", labels: ["db"], revokedMs: world.clock.nowMs() }]);
    const since = await access.joinTokens.create(BY, { uses: 1 });
    const again = await access.enrol(since.value, requestOf("web1"), FROM);
    expect((await access.authenticate({ type: "certificate", certificate: again.certificate })).name).toBe("web1");
    await access.hosts.remove(BY, "web1");
    await access.joinTokens.revoke(BY, join.token.id);
    await access.users.removeGroup(BY, "ops");
    await access.users.remove(BY, "ann");
    expect(await access.users.page("", 10)).toEqual([]);
    expect(await access.users.groups("", 10)).toEqual([]);
    const filter = { actor: "user:root", action: "user.remove", resource: "user:ann", outcome: "done", traceId: BY.traceId, fromMs: 0, untilMs: world.clock.nowMs() + 1 };
    expect(await access.audit.page(filter, undefined, 10)).toHaveLength(1);
    expect(await access.audit.verify()).toMatchObject({ sound: true });
    await world.database.run("UPDATE access_audit SET actor = 'user:eve' WHERE seq = 3");
    expect(await access.audit.verify()).toMatchObject({ sound: false, seq: 3 });
  });

  test("[ACCESS-103] roles made meanwhile, members, and who signs in through a provider do the same, for two hubs at once", async () => {
    const url = await server.database();
    await using world = await AccessWorld.open(1, await openPostgres(url));
    const second = await openPostgres(url);
    try {
      const { access } = world;
      const other = await world.again(9, second);
      const rules = [{ effect: "allow", resource: "job", actions: ["read"] }] as const;
      await access.users.createGroup(BY, "crew", []);
      await access.users.create(BY, "ann", { roles: ["jobs"], oidc: true });
      await access.users.setMember(BY, "crew", "ann", true);
      expect(await access.users.members("crew", "", 10)).toEqual(["ann"]);
      const { value } = await access.tokens.create(BY, { user: "ann", name: "ci" });
      const mayRead = async (): Promise<boolean> => {
        const who = await other.authenticate({ type: "token", token: value, address: "192.0.2.1" });
        return other.decide(who, "read", { type: "job", name: "j" }).allowed;
      };
      expect(await mayRead()).toBe(false);
      await access.storedRoles.put(BY, { name: "jobs", includes: [], rules });
      expect(await mayRead()).toBe(true);
      await access.storedRoles.put(BY, { name: "jobs", includes: [], rules: [] });
      expect(await mayRead()).toBe(false);
      await access.storedRoles.remove(BY, "jobs");
      const settings = { issuer: "https://id", clientId: "c", clientSecret: undefined, scopes: [], userClaim: "u", groupClaim: "g" };
      const mapping = { groups: new Map([["night", ["crew"]]]), roles: new Map([["admins", ["admin"]]]), provision: true };
      for (const hub of [access, other]) hub.oidc.use({ ...settings, ...mapping });
      const vouched = { issuer: "https://id", subject: "1", name: "ann", groups: ["admins"] };
      expect((await other.signInVouched(vouched, FROM, "")).user).toBe("ann");
      expect(await access.users.get("ann")).toMatchObject({ oidc: "tied", roles: ["admin", "jobs"], groups: [] });
      expect((await access.signInVouched({ ...vouched, name: "bob", subject: "2" }, FROM, "")).user).toBe("bob");
      expect(await codeOf(access.signInVouched({ ...vouched, name: "bob", subject: "3" }, FROM, ""))).toBe("AUTH");
      await access.users.update(BY, "ann", { oidc: false });
      expect((await access.users.get("ann"))!.oidc).toBe("none");
      expect(await access.audit.after(0, 3)).toHaveLength(3);
      expect(await access.audit.verify()).toMatchObject({ sound: true });
    } finally {
      await second.close();
    }
  });

  test("[WEBHOOK-11] webhooks are kept the same way", async () => {
    await using world = await AccessWorld.open(1, await openPostgres(await server.database()));
    const { database, access } = world;
    await migrate(database, "webhooks", WEBHOOK_MIGRATIONS);
    const table = new WebhookTable(database, access.seal);
    const hook: Webhook = {
      id: "1f", spaceId: 3 as SpaceId, url: "https://hook.example.com/", prefix: "a/\udcff", actions: ["create"], isEnabled: true,
      disabledReason: undefined, createdMs: 5, createdBy: "user:ann", lineage: "l", delivered: 7, sendingUntil: undefined,
      failingSinceMs: undefined, lastError: undefined, lastMs: undefined, revision: 0,
    };
    await database.transaction((sql) => table.insert(sql, hook, "whsec_x"));
    expect([await table.all(), await table.ofSpace(3 as SpaceId), await table.get("1f")]).toEqual([[hook], [hook], hook]);
    expect(await table.secret("1f")).toBe("whsec_x");
    await migrate(database, "leases", LEASE_MIGRATIONS);
    const term = (await takeLease(database, WEBHOOK_LEASE, "me", undefined))!;
    const failing = { ...hook, delivered: 8, sendingUntil: 9, failingSinceMs: 6, lastError: "no", lastMs: 4 };
    expect(await table.note(failing, term)).toBe(true);
    expect(await table.get("1f")).toEqual(failing);
    const off = { ...failing, isEnabled: false, disabledReason: "why" };
    expect(await database.transaction((sql) => table.switchOff(sql, off, term))).toBe(true);
    expect(await table.note(hook, term)).toBe(false);
    expect(await table.get("1f")).toEqual(off);
    await database.transaction((sql) => table.update(sql, hook, { bundle: true, failures: true }));
    const changed = { ...hook, delivered: 8, lastError: "no", lastMs: 4, revision: 1 };
    expect(await table.get("1f")).toEqual(changed);
    // Read before a person's change, or of a term that is over.
    expect(await table.note(hook, term)).toBe(false);
    const taken = (await takeLease(database, WEBHOOK_LEASE, "you", await readLease(database, WEBHOOK_LEASE)))!;
    expect(await table.note(changed, term)).toBe(false);
    expect(await database.transaction((sql) => table.switchOff(sql, changed, term))).toBe(false);
    expect(await table.note({ ...changed, delivered: 9 }, taken)).toBe(true);
    await database.transaction((sql) => table.remove(sql, "1f"));
    expect(await table.all()).toEqual([]);
  });

  test("[ACCESS-81] two hubs on one database: what one revokes the other refuses at once, and both write one chain", async () => {
    const url = await server.database();
    await using world = await AccessWorld.open(1, await openPostgres(url));
    const second = await openPostgres(url);
    try {
      const other = await world.again(9, second);
      await world.user("ann", "reader");
      const { token, value } = await world.access.tokens.create(BY, { user: "ann", name: "ci" });
      const byOther = (): Promise<unknown> => other.authenticate({ type: "token", token: value, address: "192.0.2.1" });
      await byOther();
      await world.access.tokens.revoke(BY, token.id);
      expect(await codeOf(byOther())).toBe("AUTH");
      const writes = Array.from({ length: 60 }, (_, n) => (n % 2 === 0 ? other : world.access).users.createGroup(BY, `g${n}`, []));
      const logged = Array.from({ length: 60 }, (_, n) => (n % 2 === 0 ? other : world.access).audit.append(BY, { action: "x", resource: `r${n}`, outcome: "done" }));
      await Promise.all([...writes, ...logged]);
      expect(await other.audit.verify()).toMatchObject({ sound: true, head: { seq: 3 + 120 } });
    } finally {
      await second.close();
    }
  });
});
