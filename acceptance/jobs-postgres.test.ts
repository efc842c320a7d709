/** The job queue on a real PostgreSQL server: the same contract as on SQLite. */
import { afterAll, beforeAll } from "bun:test";
import { queueContract } from "#jobs/queue-contract.ts";
import { openPostgres } from "#platform/sql/postgres.ts";
import { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

queueContract("PostgreSQL", async () => {
  const db = await openPostgres(await server.database());
  return { db, dispose: () => db.close() };
});
