/** The job queue and leases on a real PostgreSQL server: the same contracts as on SQLite, and two processes that share the work. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import * as z from "zod";
import { Jobs } from "#jobs/jobs.ts";
import { ADMIN, BY, OpenAccess } from "#jobs/jobs-fixture.ts";
import { type JobWork, jobKind } from "#jobs/kind.ts";
import { queueContract } from "#jobs/queue-contract.ts";
import { openHost } from "#platform/host-bun.ts";
import { leaseContract } from "#platform/sql/lease-contract.ts";
import { openPostgres } from "#platform/sql/postgres.ts";
import { PostgresServer } from "./postgres-server.ts";

let server: PostgresServer;
beforeAll(async () => {
  server = await PostgresServer.start();
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

leaseContract("PostgreSQL", async () => {
  const db = await openPostgres(await server.database());
  return { db, dispose: () => db.close() };
});

queueContract("PostgreSQL", async () => {
  const db = await openPostgres(await server.database());
  return { db, dispose: () => db.close() };
});

test("[JOB-31] two hubs on one server share the work: each job begins once, and limits hold over both", async () => {
  const url = await server.database();
  const { clock, random } = openHost();
  const began = new Map<number, number>();
  const running = new Map<string, number>();
  let most = 0;
  const work: JobWork<{ host: string }> = async ({ host }, { id, save, signal }) => {
    began.set(id, (began.get(id) ?? 0) + 1);
    running.set(host, (running.get(host) ?? 0) + 1);
    most = Math.max(most, running.get(host)!);
    await clock.sleep(10, signal);
    await save({ half: true }, { done: 1, unit: "halves" });
    await clock.sleep(10, signal);
    running.set(host, running.get(host)! - 1);
    return {};
  };
  const kind = jobKind<{ host: string }>({
    name: "k", summary: "", args: z.strictObject({ host: z.string() }), priority: "normal", preemptible: true,
    limits: { all: 8, host: 1 }, rights: () => [], subject: ({ host }) => ({ host }),
  });
  const stop = new AbortController();
  const access = new OpenAccess();
  const hubs = await Promise.all(
    [1, 2].map(async () => {
      const db = await openPostgres(url);
      const jobs = await Jobs.open({
        db, clock, random, access, audit: { appendIn: async () => undefined }, userByName: async () => ({ principal: ADMIN, createdMs: 1 }),
        kinds: [{ kind, work: work as JobWork }], schedules: [], isAlone: false, log: () => undefined,
      });
      return { db, jobs, done: jobs.run(stop.signal) };
    }),
  );
  const ids: number[] = [];
  for (let at = 0; at < 40; at++) {
    const { id } = await hubs[at % 2]!.jobs.submit(ADMIN, BY, { kind: "k", args: { host: `h${at % 5}` } });
    ids.push(id);
  }
  while ((await hubs[0]!.jobs.list(ADMIN, { state: "done" }, undefined, 100)).length < ids.length) await Bun.sleep(20);
  stop.abort();
  await Promise.all(hubs.map(({ done }) => done));
  expect(most).toBe(1);
  expect([...began].toSorted(([a], [b]) => a - b)).toEqual(ids.map((id) => [id, 1]));
  for (const { db } of hubs) await db.close();
}, 120_000);
