/** The database on a real PostgreSQL server: the same contracts as SQLite, and what only a server does. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { codeOf, databaseContract } from "#platform/sql/database-contract.ts";
import { followStoreContract } from "#hub/followers/follow-store-contract.ts";
import { lifecycleRowsContract } from "#hub/lifecycle/lifecycle-rows-contract.ts";
import { metaStoreContract } from "#hub/meta/meta-store-contract.ts";
import { purgeContract } from "#hub/meta/purge-contract.ts";
import { putContract } from "#hub/meta/put-contract.ts";
import { HubLease } from "#hub/hub-lease.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import { uploadsContract } from "#hub/uploads/uploads-contract.ts";
import { systemRandom } from "#platform/host-bun.ts";
import type { Database } from "#platform/sql/database.ts";
import { LEASE_MS } from "#platform/sql/lease.ts";
import { StepClock } from "#platform/sql/lease-contract.ts";
import { openPostgres } from "#platform/sql/postgres.ts";
import { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

/** Openings of one new database; all of them are closed at the end. */
async function postgresLab() {
  const url = await server.database();
  const opened: Database[] = [];
  const open = async (): Promise<Database> => {
    const db = await openPostgres(url);
    opened.push(db);
    return db;
  };
  return {
    open,
    reopen: open,
    async dispose() {
      for (const db of opened) await db.close();
    },
  };
}

databaseContract("PostgreSQL", postgresLab);

const metaLab = async () => {
  const lab = await postgresLab();
  const open = async () => SqlMetaStore.open(await lab.open(), systemRandom);
  return { open, reopen: open, dispose: lab.dispose };
};
metaStoreContract("PostgreSQL", metaLab, 60);
purgeContract("PostgreSQL", metaLab, 20);
putContract("PostgreSQL", metaLab);

followStoreContract("PostgreSQL", postgresLab, 10);
uploadsContract("PostgreSQL", postgresLab, 8);
lifecycleRowsContract("PostgreSQL", postgresLab);

describe("a PostgreSQL server", () => {
  test("keeps one statement for each text, whatever is null", async () => {
    const db = await openPostgres(await server.database());
    await db.run("CREATE TABLE things (id BIGINT, name TEXT, bytes blob)");
    const names = await db.transaction(async (sql) => {
      for (let id = 0; id < 32; id++) {
        await sql.run("INSERT INTO things (id, name, bytes) VALUES (?, ?, ?)", [
          (id & 1) === 0 ? id : null,
          (id & 2) === 0 ? "x" : null,
          (id & 4) === 0 ? new Uint8Array(3) : null,
        ]);
      }
      return sql.all("SELECT name FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO things%'");
    });
    expect(names.length).toBe(1);
    await db.close();
  });

  test("that ends and comes back is used again; a transaction it cut off was not made twice", async () => {
    const db = await openPostgres(await server.database());
    await db.run("CREATE TABLE things (id BIGINT)");
    let begun = 0;
    await db.transaction(async (sql) => {
      begun++;
      await sql.run("INSERT INTO things VALUES (?)", [begun]);
      if (begun > 1) return;
      await server.end("immediate");
      await server.begin();
      await sql.run("INSERT INTO things VALUES (?)", [-begun]);
    });
    expect(begun).toBeGreaterThan(1);
    expect(await db.all("SELECT id FROM things")).toEqual([{ id: begun }]);
    const cutOffAtCommit = db.transaction(async (sql) => {
      await sql.run("INSERT INTO things VALUES (99)");
      await server.end("immediate");
      await server.begin();
    });
    expect(await codeOf(cutOffAtCommit)).toBe("LINK_LOST");
    expect(await db.all("SELECT id FROM things")).toEqual([{ id: begun }]);
    await db.close();
  });

  test("shows one state to who reads long, while others go on; nothing is written by it, and it may rest", async () => {
    const db = await openPostgres(await server.database());
    await db.run("CREATE TABLE things (id BIGINT)");
    await db.run("INSERT INTO things VALUES (1)");
    const read = "SELECT id FROM things ORDER BY id";
    const seen = await db.snapshot(async (still) => {
      await db.run("INSERT INTO things VALUES (2)");
      const first = await still.all(read);
      await db.run("DELETE FROM things WHERE id = 1");
      return [first, await still.all(read), await db.all(read), await still.get("SHOW idle_in_transaction_session_timeout")];
    });
    expect(seen).toEqual([[{ id: 1 }], [{ id: 1 }], [{ id: 2 }], { idle_in_transaction_session_timeout: "0" }]);
    expect(await codeOf(db.snapshot((still) => still.run("DELETE FROM things")))).toBe("STATE");
    const cutOff = db.snapshot(async (still) => {
      await server.end("immediate");
      await server.begin();
      return still.all(read);
    });
    expect(await codeOf(cutOff)).toBe("LINK_LOST");
    expect(await db.all(read)).toEqual([{ id: 2 }]);
    await db.close();
  });

  test("that does not answer, or refuses, is told in words that help", async () => {
    const base = server.urlOf("nothing-here");
    expect(await codeOf(openPostgres(base))).toBe("STATE");
    expect(await codeOf(openPostgres(base.replace("syncline@", "stranger@")))).toBe("AUTH");
    expect(await codeOf(openPostgres("postgres://syncline:geheim@127.0.0.1:1/x"))).toBe("LINK_LOST");
    const error = await openPostgres("postgres://syncline:geheim@127.0.0.1:1/x").catch((caught: unknown) => caught);
    expect(String(error)).not.toContain("geheim");
  });

  test("commits wait for the disk even where the server's default does not", async () => {
    const url = await server.database();
    const name = url.slice(url.lastIndexOf("/") + 1);
    await server.sql(`ALTER DATABASE ${name} SET synchronous_commit = off`);
    const db = await openPostgres(url);
    expect(await db.get("SELECT current_setting('synchronous_commit') AS it")).toEqual({ it: "on" });
    await db.close();
  });
});

describe("the lease of a hub", () => {
  /** A hub in which time passes when somebody says so. */
  async function keeper(url: string, holder: string, isAlone = false) {
    const db = await openPostgres(url);
    const clock = new StepClock();
    const told: string[] = [];
    const { signal } = new AbortController();
    const tell = (message: string): void => void told.push(message);
    return { db, clock, told, take: () => HubLease.take({ db, clock, holder, isAlone, tell, signal }) };
  }

  type Keeper = Awaited<ReturnType<typeof keeper>>;

  async function passing<T>(work: Promise<T>, ...clocks: StepClock[]): Promise<T> {
    let isOver = false;
    const over = work.finally(() => (isOver = true));
    over.catch(() => undefined);
    while (!isOver) {
      for (const clock of clocks) clock.advance(1000);
      await Bun.sleep(5);
    }
    return over;
  }

  const write = ({ db }: Keeper, id: number): Promise<number> => db.run("INSERT INTO things VALUES (?)", [id]);

  test("[LEASE-5] whoever begins while a hub lives is told who it is; one that ended, or that died in the same directory, is not waited for", async () => {
    const url = await server.database();
    const [first, second, again] = [await keeper(url, "a:/x"), await keeper(url, "b:/y"), await keeper(url, "a:/x", true)];
    await first.take();
    await expect(passing(second.take(), first.clock, second.clock)).rejects.toMatchObject({
      code: "ROOT_BUSY",
      message: expect.stringContaining("a:/x"),
    });
    const lease = await again.take();
    expect(again.told).toEqual([]);
    await lease.giveBack();
    second.told.length = 0;
    await second.take();
    expect(second.told).toEqual([]);
    for (const { db } of [first, second, again]) await db.close();
  });

  test("[LEASE-6] one that is silent for 30 s is taken for dead; if it was only frozen, it hears of it and changes nothing any more", async () => {
    const url = await server.database();
    const [frozen, next] = [await keeper(url, "a:/x"), await keeper(url, "b:/y")];
    const lease = await frozen.take();
    await frozen.db.run("CREATE TABLE things (id BIGINT)");
    await write(frozen, 1);
    // In the middle of a transaction: whoever takes over waits for its end, and has what it came to.
    const held = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const underWay = frozen.db.transaction(async (sql) => {
      await sql.run("INSERT INTO things VALUES (2)");
      begun.resolve();
      await held.promise;
    });
    await begun.promise;
    const since = next.clock.monotonicMs();
    const taking = passing(next.take(), next.clock);
    expect(await Promise.race([taking.then(() => "taken"), Bun.sleep(500).then(() => "waits")])).toBe("waits");
    held.resolve();
    await underWay;
    await taking;
    expect(next.clock.monotonicMs() - since).toBeGreaterThanOrEqual(LEASE_MS);
    await write(next, 3);
    expect(await codeOf(write(frozen, 4))).toBe("HALT");
    expect((await next.db.all<{ id: number }>("SELECT id FROM things ORDER BY id")).map(({ id }) => id)).toEqual([1, 2, 3]);
    expect((await passing(lease.lost, frozen.clock)).message).toContain("b:/y");
    await lease.giveBack();
    await write(next, 5);
    for (const { db } of [frozen, next]) await db.close();
  });
});
