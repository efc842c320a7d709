import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { SqlValue } from "#platform/sql/database.ts";
import { createHash } from "node:crypto";
import { AccessWorld, BY, codeOf } from "#access/access-fixture.ts";
import { AUDIT_FIELD_MAX, AUDIT_WAITING_MAX, type AuditEvent } from "#access/audit.ts";

const event = (n: number): AuditEvent => ({ action: n % 2 === 0 ? "space.create" : "space.delete", resource: `space:s${n}`, outcome: "done", details: { n } });

describe("the audit log", () => {
  test("[AUDIT-1] records have sequence, time, who, what, and the hash of all before them", async () => {
    await using world = await AccessWorld.open();
    const { audit } = world.access;
    await audit.append(BY, event(0));
    world.clock.pass(1_000);
    await audit.append({ id: "agent:web1" }, { action: "space.write", resource: "space:demo/a\udcffb\n", outcome: "denied" });
    const [second, first] = await audit.page({}, undefined, 10);
    expect(first).toMatchObject({ seq: 1, timeMs: Date.UTC(2026, 0, 1), actor: "user:root", action: "space.create", resource: "space:s0", outcome: "done", address: "192.0.2.1", traceId: BY.traceId, details: '{"n":0}' });
    expect(second).toMatchObject({ seq: 2, timeMs: Date.UTC(2026, 0, 1, 0, 0, 1), actor: "agent:web1", resource: "space:demo/a\\xffb\\n", outcome: "denied", address: undefined, details: undefined });
    const canonical = JSON.stringify([1, first!.timeMs, "user:root", "space.create", "space:s0", "done", "192.0.2.1", BY.traceId, '{"n":0}']);
    expect(Buffer.from(first!.hash).toString("hex")).toBe(createHash("sha256").update(new Uint8Array(32)).update(canonical).digest("hex"));
    expect(await audit.verify()).toEqual({ sound: true, head: { seq: 2, hash: Buffer.from(second!.hash).toString("hex") } });
  });

  test("[AUDIT-2] any row that is changed, removed, added or moved is found, and the first such row is named", async () => {
    await using world = await AccessWorld.open();
    const { audit } = world.access;
    for (let n = 1; n <= 6; n++) await audit.append(BY, event(n));
    const rows = await world.database.all<Record<string, SqlValue>>("SELECT * FROM access_audit ORDER BY seq");
    const put = (row: Record<string, SqlValue>): Promise<number> =>
      world.database.run(
        "INSERT INTO access_audit (seq, time_ms, actor, action, resource, outcome, address, trace_id, details, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ["seq", "time_ms", "actor", "action", "resource", "outcome", "address", "trace_id", "details", "hash"].map((column) => row[column]!),
      );
    const restore = async (list: readonly Record<string, SqlValue>[]): Promise<void> => {
      await world.database.run("DELETE FROM access_audit");
      for (const row of list) await put(row);
    };
    const seqs = fc.integer({ min: 1, max: 6 });
    const attacks = fc.oneof(
      fc.record({ kind: fc.constant("change" as const), seq: seqs, column: fc.constantFrom("time_ms", "actor", "action", "resource", "outcome", "address", "trace_id", "details", "hash") }),
      fc.record({ kind: fc.constant("remove" as const), seq: seqs }),
      fc.record({ kind: fc.constant("swap" as const), seq: seqs, other: seqs }).filter(({ seq, other }) => seq !== other),
      fc.record({ kind: fc.constant("add" as const), seq: fc.constant(7) }),
    );
    await fc.assert(
      fc.asyncProperty(attacks, async (attack) => {
        const forged = rows.map((row) => ({ ...row }));
        const row = forged[attack.seq - 1]!;
        let first = attack.seq;
        if (attack.kind === "change") row[attack.column] = attack.column === "time_ms" ? 1 : attack.column === "hash" ? new Uint8Array(32) : null;
        if (attack.kind === "change" && ["actor", "action", "resource", "outcome"].includes(attack.column)) row[attack.column] = "other";
        if (attack.kind === "swap") {
          [row["seq"], forged[attack.other - 1]!["seq"]] = [attack.other, attack.seq];
          first = Math.min(attack.seq, attack.other);
        }
        await restore(attack.kind === "remove" ? forged.filter((one) => one !== row) : forged);
        if (attack.kind === "add") await put({ ...rows[5]!, seq: 7 });
        const verdict = await audit.verify();
        expect(verdict.sound).toBe(false);
        // The last row's removal shows at the head, which still counts it.
        if (!verdict.sound) expect(verdict.seq).toBe(first);
      }),
      { numRuns: 150 },
    );
    await restore(rows);
    expect((await audit.verify()).sound).toBe(true);
  });

  test("[AUDIT-3] a chain computed anew without the seal key is found, and nothing is written behind it", async () => {
    await using world = await AccessWorld.open();
    const { audit } = world.access;
    for (let n = 1; n <= 3; n++) await audit.append(BY, event(n));
    const noted = await audit.verify();
    if (!noted.sound) throw new Error("the log is sound");
    // Everything that the database holds, as a hub with another key file wrote it.
    await using other = await AccessWorld.open(2);
    for (let n = 1; n <= 3; n++) await other.access.audit.append(n === 2 ? { id: "user:nobody" } : BY, event(n));
    for (const table of ["access_audit", "access_audit_head"]) {
      await world.database.run(`DELETE FROM ${table}`);
      for (const row of await other.database.all(`SELECT * FROM ${table}`)) {
        const columns = Object.keys(row);
        const places = columns.map(() => "?").join(", ");
        await world.database.run(`INSERT INTO ${table} (${columns.join(", ")}) VALUES (${places})`, Object.values(row));
      }
    }
    expect(await audit.verify()).toEqual({ sound: false, seq: 3, why: "the head of the log was not written by this hub" });
    expect(await codeOf(audit.append(BY, event(4)))).toBe("HALT");
    expect(await audit.verify(noted.head)).toMatchObject({ sound: false, seq: 3, why: "it is not the one that was noted" });
  });

  test("[AUDIT-4] what is missing at the end is found, also by a head that was noted elsewhere", async () => {
    await using world = await AccessWorld.open();
    const { audit } = world.access;
    for (let n = 1; n <= 4; n++) await audit.append(BY, event(n));
    const noted = await audit.verify();
    if (!noted.sound) throw new Error("the log is sound");
    await world.database.run("DELETE FROM access_audit WHERE seq = 4");
    expect(await audit.verify()).toEqual({ sound: false, seq: 4, why: "it is missing, and all after it" });
    expect(await codeOf(audit.append(BY, event(5)))).toBe("HALT");
    await world.database.run("DELETE FROM access_audit");
    await world.database.run("DELETE FROM access_audit_head");
    // All of it: that there ever was a log is known only to who noted its head.
    expect((await audit.verify()).sound).toBe(true);
    expect(await audit.verify(noted.head)).toEqual({ sound: false, seq: 1, why: "it is missing, and was noted" });
  });

  test("[AUDIT-5] after damage a person decides, that is recorded, and the damage is named for ever", async () => {
    await using world = await AccessWorld.open();
    const { audit } = world.access;
    for (let n = 1; n <= 4; n++) await audit.append(BY, event(n));
    expect((await audit.acceptDamage(BY, "nothing to accept")).sound).toBe(true);
    expect(await audit.page({}, undefined, 10)).toHaveLength(4);
    await world.database.run("DELETE FROM access_audit WHERE seq = 4");
    await audit.acceptDamage(BY, "disk was full");
    await audit.append(BY, event(6));
    expect((await audit.page({}, undefined, 3)).map((record) => [record.seq, record.action])).toEqual([
      [6, "space.create"],
      [5, "audit.accept-damage"],
      [3, "space.delete"],
    ]);
    expect(await audit.verify()).toMatchObject({ sound: false, seq: 4 });
  });

  test("[AUDIT-6] many at once are in order and durable when told so; pages and filters give what they say", async () => {
    await using world = await AccessWorld.open();
    const { audit } = world.access;
    await Promise.all(Array.from({ length: 1_000 }, (_, n) => audit.append(n % 3 === 0 ? BY : { id: "user:ann" }, event(n))));
    expect(await audit.verify()).toMatchObject({ sound: true, head: { seq: 1_000 } });
    const all: number[] = [];
    for (let before: number | undefined; ; ) {
      const page = await audit.page({}, before, 300);
      all.push(...page.map((record) => Number(record.resource.slice(7))));
      before = page.at(-1)?.seq;
      if (page.length < 300) break;
    }
    expect(all).toEqual(Array.from({ length: 1_000 }, (_, at) => 999 - at));
    expect(await audit.page({ actor: "user:ann", action: "space.create" }, undefined, 1_000)).toHaveLength(333);
    expect(await audit.page({ resource: "space:s5" }, undefined, 10)).toHaveLength(1);
    expect(await audit.page({ untilMs: world.clock.nowMs() }, undefined, 10)).toHaveLength(0);
    expect(await audit.page({ fromMs: world.clock.nowMs(), traceId: BY.traceId, outcome: "done" }, undefined, 1_000)).toHaveLength(334);
  });

  test("[AUDIT-7] a record that cannot be written fails its change: neither is there", async () => {
    await using world = await AccessWorld.open();
    await world.user("ann");
    await world.database.run("CREATE TRIGGER full BEFORE INSERT ON access_audit BEGIN SELECT RAISE(ABORT, 'no room'); END");
    await expect(world.access.users.create(BY, "bob", {})).rejects.toThrow();
    await expect(world.access.tokens.create(BY, { user: "ann", name: "t" })).rejects.toThrow();
    await expect(world.access.users.remove(BY, "ann")).rejects.toThrow();
    await expect(world.access.audit.append(BY, event(1))).rejects.toThrow();
    await world.database.run("DROP TRIGGER full");
    expect((await world.access.users.page("", 10)).map((user) => user.name)).toEqual(["ann"]);
    expect(await world.access.tokens.page(undefined, "", 10)).toEqual([]);
    expect(await world.access.audit.verify()).toMatchObject({ sound: true, head: { seq: 1 } });
    await world.access.audit.append(BY, event(2));
  });

  test("[AUDIT-8] fields and waiting records are bounded", async () => {
    await using world = await AccessWorld.open();
    const { audit } = world.access;
    expect(await codeOf(audit.append(BY, { ...event(1), resource: "x".repeat(AUDIT_FIELD_MAX + 1) }))).toBe("LIMIT");
    expect(await codeOf(audit.append(BY, { ...event(1), details: "x".repeat(70_000) }))).toBe("LIMIT");
    const written = Array.from({ length: AUDIT_WAITING_MAX }, (_, n) => audit.append(BY, event(n)));
    expect(await codeOf(audit.append(BY, event(0)))).toBe("LIMIT");
    await Promise.all(written);
    expect(await audit.verify()).toMatchObject({ sound: true, head: { seq: AUDIT_WAITING_MAX } });
  });
});
