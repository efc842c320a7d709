/** The database on a real PostgreSQL server: the same contracts as SQLite, and what only a server does. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { codeOf, databaseContract } from "#platform/sql/database-contract.ts";
import { followStoreContract } from "#hub/followers/follow-store-contract.ts";
import { lifecycleRowsContract } from "#hub/lifecycle/lifecycle-rows-contract.ts";
import { metaStoreContract } from "#hub/meta/meta-store-contract.ts";
import { purgeContract } from "#hub/meta/purge-contract.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import { uploadsContract } from "#hub/uploads/uploads-contract.ts";
import { systemRandom } from "#platform/host-bun.ts";
import type { Database } from "#platform/sql/database.ts";
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
