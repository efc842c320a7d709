import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "#platform/host.ts";
import { systemClock } from "#platform/host-bun.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import { IDEMPOTENCY_MIGRATIONS, IdempotencyKeys } from "#gateway/api/idempotency.ts";

const dirs: string[] = [];
afterEach(() => {
  for (const dir of dirs.splice(0)) rmSync(dir, { recursive: true, force: true });
});

async function open() {
  const dir = mkdtempSync(join(tmpdir(), "syncline-keys-"));
  dirs.push(dir);
  const db = openSqlite(join(dir, "hub.db"));
  await migrate(db, "gateway", IDEMPOTENCY_MIGRATIONS);
  return db;
}

const answer = (text: string): Promise<Response> => Promise.resolve(new Response(text, { status: 201 }));

test("a key whose work was cut off by the end of the hub is in doubt, and is not done again", async () => {
  await using db = withDispose(await open());
  const before = new IdempotencyKeys(db, systemClock);
  void before.once("ann", "k", "r", () => new Promise(() => undefined));
  await Bun.sleep(20);
  // Another process on the same database.
  const after = new IdempotencyKeys(db, systemClock);
  await expect(after.once("ann", "k", "r", () => answer("twice"))).rejects.toMatchObject({ code: "EXISTS" });
  await expect(after.once("ann", "k", "r", () => answer("twice"))).rejects.toMatchObject({ code: "EXISTS" });
  expect((await after.once("eve", "k", "r", () => answer("hers"))).status).toBe(201);
});

test("work that failed can be tried again; an answer is kept for a day, and a long one only as done", async () => {
  await using db = withDispose(await open());
  let nowMs = 1_000_000;
  const clock: Clock = { ...systemClock, nowMs: () => nowMs };
  const keys = new IdempotencyKeys(db, clock);
  await expect(keys.once("ann", "k", "r", () => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await (await keys.once("ann", "k", "r", () => answer("first"))).text()).toBe("first");
  expect(await (await keys.once("ann", "k", "r", () => answer("second"))).text()).toBe("first");
  const long = "x".repeat(1 << 17);
  expect(await (await keys.once("ann", "long", "r", () => answer(long))).text()).toBe(long);
  const again = await keys.once("ann", "long", "r", () => answer("other"));
  expect([again.status, await again.text()]).toEqual([201, ""]);
  nowMs += 25 * 3_600_000;
  expect(await (await keys.once("ann", "k", "r", () => answer("next day"))).text()).toBe("next day");
});

function withDispose<T extends { close(): Promise<void> }>(db: T): T & AsyncDisposable {
  return Object.assign(db, { [Symbol.asyncDispose]: () => db.close() });
}
