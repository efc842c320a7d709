import { afterAll, describe, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ORIGIN, commitOne, fileOf, putFile } from "#hub/meta/commit-fixture.ts";
import { metaStoreContract } from "#hub/meta/meta-store-contract.ts";
import { purgeContract } from "#hub/meta/purge-contract.ts";
import { putContract } from "#hub/meta/put-contract.ts";
import { rowOf } from "#hub/meta/rows.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import { SETTINGS_DEFAULT, type SpaceChange, type SpaceId } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { systemRandom } from "#platform/host-bun.ts";
import type { Database, Sql, SqlRow, SqlValue } from "#platform/sql/database.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";

const folder = mkdtempSync(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "syncline-meta-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;
const freshFile = (): string => join(folder, `hub-${++files}.db`);

const makeLab = async () => {
  const file = freshFile();
  let store: SqlMetaStore | undefined;
  const open = async () => (store = await SqlMetaStore.open(openSqlite(file), systemRandom));
  return {
    open,
    reopen: open,
    async dispose() {
      await store?.close();
    },
  };
};
metaStoreContract("SQLite", makeLab, 300);
purgeContract("SQLite", makeLab, 200);
putContract("SQLite", makeLab);

const openSpace = async (db: Database) => {
  const store = await SqlMetaStore.open(db, systemRandom);
  const settings = { ...SETTINGS_DEFAULT, retention: { versions: 0, ageMs: 5 } };
  const [known] = await store.spaces();
  const { id } = known ?? (await store.createSpace("demo", settings, new Uint8Array(16), "lineage", 1));
  return { store, id };
};

/** A database that writes down what it is asked. */
class Overheard implements Database {
  readonly engine: Database["engine"];
  readonly commits = undefined;
  readonly texts = new Map<string, number>();
  /** That all() has given. */
  rows = 0;
  readonly #db: Database;

  constructor(db: Database) {
    this.#db = db;
    this.engine = db.engine;
  }

  #hear(sql: Sql): Sql {
    const hear = (text: string, values: readonly SqlValue[] = []): void => void this.texts.set(text, values.length);
    return {
      all: async <T extends SqlRow>(text: string, values?: readonly SqlValue[]) => {
        hear(text, values);
        const rows = await sql.all<T>(text, values);
        this.rows += rows.length;
        return rows;
      },
      get: <T extends SqlRow>(text: string, values?: readonly SqlValue[]) => (hear(text, values), sql.get<T>(text, values)),
      run: (text, values) => (hear(text, values), sql.run(text, values)),
    };
  }

  all<T extends SqlRow>(text: string, values?: readonly SqlValue[]): Promise<T[]> {
    return this.#hear(this.#db).all<T>(text, values);
  }

  get<T extends SqlRow>(text: string, values?: readonly SqlValue[]): Promise<T | undefined> {
    return this.#hear(this.#db).get<T>(text, values);
  }

  run(text: string, values?: readonly SqlValue[]): Promise<number> {
    return this.#hear(this.#db).run(text, values);
  }

  transaction<T>(work: (sql: Sql) => Promise<T>): Promise<T> {
    return this.#db.transaction((sql) => work(this.#hear(sql)));
  }

  copyTo(file: string, signal: AbortSignal): Promise<void> {
    return this.#db.copyTo(file, signal);
  }

  close(): Promise<void> {
    return this.#db.close();
  }
}

test("no statement walks through a whole space, or sorts what an index has in order", async () => {
  const db = openSqlite(freshFile());
  const heard = new Overheard(db);
  const { store, id } = await openSpace(heard);
  const any = { kind: "any" } as const;
  const changes = [putFile("a/b/c", "x"), putFile("a/b/c", "y"), putFile("z/z", "o")];
  await commitOne(store, id, changes, { origin: { ...ORIGIN, runId: "r" }, timeMs: 5 });
  await commitOne(store, id, [{ type: "move", from: "a", to: "q", expect: any }], { timeMs: 1 });
  await commitOne(store, id, [{ type: "remove", path: "q", recursive: true, expect: any }]);
  await commitOne(store, id, [{ type: "remove", path: "z", recursive: false, expect: any }]);
  for (const at of [undefined, { sequence: 3 }, { timeMs: 5 }]) {
    for (const shallow of [true, false]) await store.list(id, { below: "z", after: undefined, shallow, limit: 10, at });
  }
  await store.version(id, "a");
  await store.versionAt(id, "a", { sequence: 3 });
  await store.changedSince(id, "", 0, 10);
  await store.changedSince(id, "z", 0, 10);
  await store.history(id, "a", undefined, 5);
  await store.journal(id, 0, 5);
  expect((await store.journalOfRun(id, "r")).length).toBe(6);
  await store.liveContent(undefined, 5);
  await store.manifest("00".repeat(32) as ContentId);
  await store.updateSpace(id, { deletedMs: 1 });
  expect(await store.expire(id, 10, 100)).toBeGreaterThan(0);
  await store.eraseSpace(id, Date.now());
  const plans: string[] = [];
  for (const [text, count] of heard.texts) {
    if (!/^(SELECT|UPDATE|DELETE)/.test(text) || !/\b(versions|commits|manifests)\b/.test(text)) continue;
    const steps = await db.all<{ detail: string }>(`EXPLAIN QUERY PLAN ${text}`, new Array<SqlValue>(count).fill(1));
    for (const { detail } of steps) plans.push(`${detail}: ${text}`);
  }
  expect(plans.length).toBeGreaterThan(25);
  // `f` is the one row that says whom a space follows.
  const bad =
    /^SCAN (versions|commits|manifests|v|c|m|f)\b|TEMP B-TREE|^(?!SEARCH f ).*USING PRIMARY KEY \(space_id=\?\)(?!.* ORDER BY seq)/;
  expect(plans.filter((plan) => bad.test(plan))).toEqual([]);
  await store.close();
});

test("a shallow page reads its own entries, and few of what is below them", async () => {
  const heard = new Overheard(openSqlite(freshFile()));
  const { store, id } = await openSpace(heard);
  const changes = Array.from({ length: 20 }, (_, dir) =>
    Array.from({ length: 300 }, (_, at) => putFile(`top/d${dir}/f${at}`, "x")),
  ).flat();
  await commitOne(store, id, changes);
  const { sequence } = (await store.space(id))!;
  for (const at of [undefined, { sequence }]) {
    heard.rows = 0;
    const page = await store.list(id, { below: "top", after: undefined, shallow: true, limit: 100, at });
    expect(page.length).toBe(20);
    expect(heard.rows).toBeLessThan(500);
  }
  await store.close();
});

test("a commit larger than what is kept in memory sees its own changes", async () => {
  const { store, id } = await openSpace(openSqlite(freshFile()));
  const paths = Array.from({ length: 55_000 }, (_, at) => `d${at % 10}/f${at}`);
  const again = (path: string) => putFile(path, "y", { kind: "entry", entry: fileOf("x") });
  // Each path once more, a thousand changes later.
  const changes = paths.flatMap((path, at) => (at < 1000 ? [putFile(path, "x")] : [putFile(path, "x"), again(paths[at - 1000]!)]));
  const { results } = await commitOne(store, id, changes);
  expect(results.filter(({ status }) => status !== "done")).toEqual([]);
  expect((await store.space(id))!.usage).toEqual({ bytes: 55_000, entries: 55_010 });
  await store.close();
});

test("what other hubs did to a path stays in its version vector", async () => {
  const db = openSqlite(freshFile());
  const { store, id } = await openSpace(db);
  await commitOne(store, id, [putFile("f", "one")]);
  const [before] = await store.journal(id, 0, 1);
  const vector = { ffff: 7, [store.hubId]: 1 };
  // As a hub that takes over another one's changes will write it.
  const row = rowOf(id, store.hubId, { ...before!, vector }, before!, { previous: 0, commit: 1 });
  await db.run("UPDATE versions SET vector = ?, sum = ? WHERE seq = 1", [row.vector, row.sum]);
  expect((await store.version(id, "f"))!.vector).toEqual(vector);
  await commitOne(store, id, [putFile("f", "two"), { type: "remove", path: "f", expect: { kind: "any" }, recursive: false }]);
  const records = await store.journal(id, 1, 10);
  expect(records.map((record) => record.vector)).toEqual([
    { ffff: 7, [store.hubId]: 2 },
    { ffff: 7, [store.hubId]: 3 },
  ]);
  await store.close();
});

describe("a damaged database", () => {
  const damage = async (statement: string): Promise<string> => {
    const file = freshFile();
    const { store, id } = await openSpace(openSqlite(file));
    await commitOne(store, id, [putFile("d/f", "one"), putFile("d/g", "two")]);
    await store.close();
    const raw = openSqlite(file);
    await raw.run(statement);
    await raw.close();
    const again = await openSpace(openSqlite(file));
    try {
      await again.store.list(again.id, { below: "", after: undefined, shallow: false, limit: 10, at: undefined });
    } catch (error) {
      if (error instanceof SynclineError) return `${error.code}: ${error.message}`;
      throw error;
    } finally {
      await again.store.close();
    }
    return "nothing noticed";
  };

  test.each([
    "UPDATE versions SET content = zeroblob(32) WHERE seq = 2",
    "UPDATE versions SET entry = x'01' WHERE seq = 2",
    "UPDATE versions SET entry = (SELECT entry FROM versions WHERE seq = 3) WHERE seq = 2",
    "UPDATE versions SET previous = 1 WHERE seq = 2",
    "UPDATE versions SET vector = '{}' WHERE seq = 2",
    "UPDATE versions SET action = 'x' WHERE seq = 2",
  ])("a row that is not what was written is found when it is read: %s", async (statement) => {
    expect(await damage(statement)).toStartWith("STATE: the database is damaged: version 2 of");
  });

  test("damaged pages are STATE, in reading and in committing, and never an answer that is too short", async () => {
    const file = freshFile();
    const { store, id } = await openSpace(openSqlite(file));
    await commitOne(store, id, Array.from({ length: 5000 }, (_, at) => putFile(`d/f${at}`, "x")));
    await store.close();
    const bytes = readFileSync(file);
    // Behind the pages of the schema, so that it can be opened at all.
    bytes.fill(0xa5, 40 * 4096);
    writeFileSync(file, bytes);
    const attempt = async (): Promise<string> => {
      const db = openSqlite(file);
      try {
        const again = await openSpace(db);
        await commitOne(again.store, id, [putFile("d/new", "x"), putFile("d/f77", "x")]);
        const list = { below: "", after: undefined, shallow: false, limit: 10_000, at: undefined };
        return String((await again.store.list(id, list)).length);
      } catch (error) {
        if (error instanceof SynclineError) return error.code;
        throw error;
      } finally {
        await db.close();
      }
    };
    expect(await attempt()).toBe("STATE");
  });
});

const WRITER = `
import { openSqlite } from ${JSON.stringify(join(import.meta.dir, "../../platform/sql/sqlite.ts"))};
import { rowOf } from "#hub/meta/rows.ts";
import { SqlMetaStore } from ${JSON.stringify(join(import.meta.dir, "sql-meta-store.ts"))};
import { commitOne, putFile } from ${JSON.stringify(join(import.meta.dir, "commit-fixture.ts"))};
import { systemRandom } from ${JSON.stringify(join(import.meta.dir, "../../platform/host-bun.ts"))};
const store = await SqlMetaStore.open(openSqlite(process.env.FILE), systemRandom);
const [{ id, sequence }] = await store.spaces();
for (let at = sequence; ; at++) {
  const changes = Array.from({ length: 1 + (at % 40) }, (_, n) => putFile("d" + (n % 5) + "/f" + at + "-" + n, "x" + at));
  const { after } = await commitOne(store, id, changes);
  process.stdout.write(after + "\\n");
}`;

test("a process that is killed in the middle of commits has all that it acknowledged, and nothing by halves", async () => {
  const file = freshFile();
  const { store, id } = await openSpace(openSqlite(file));
  await store.close();
  let last = 0;
  for (let round = 1; round <= 4; round++) {
    const child = Bun.spawn([process.execPath, "-e", WRITER], {
      env: { ...process.env, FILE: file },
      stdout: "pipe",
      stderr: "inherit",
    });
    let text = "";
    const decoder = new TextDecoder();
    for await (const piece of child.stdout) {
      text += decoder.decode(piece, { stream: true });
      // Killed at once, with its next commits under way.
      if (text.split("\n").length > 12 * round) child.kill("SIGKILL");
    }
    await child.exited;
    const acknowledged = text.split("\n").slice(0, -1);
    expect(acknowledged.length).toBeGreaterThanOrEqual(12 * round);
    last = await checkAfterCrash(file, id, Number(acknowledged.at(-1)), last);
  }
});

/** Sequences without gaps up to what was acknowledged at least, whole commits, and a usage that adds up. */
async function checkAfterCrash(file: string, id: SpaceId, acknowledged: number, before: number): Promise<number> {
  const { store } = await openSpace(openSqlite(file));
  const space = (await store.space(id))!;
  expect(space.sequence).toBeGreaterThanOrEqual(acknowledged);
  expect(acknowledged).toBeGreaterThan(before);
  const sequences: number[] = [];
  const sizes = new Map<number, number>();
  for (let after = 0; ; after = sequences.at(-1)!) {
    const page = await store.journal(id, after, 10_000);
    if (page.length === 0) break;
    for (const { sequence, commit } of page) {
      sequences.push(sequence);
      sizes.set(commit, (sizes.get(commit) ?? 0) + 1);
    }
  }
  expect(sequences).toEqual(Array.from({ length: space.sequence }, (_, at) => at + 1));
  // The next commit begins where the one before ends: no commit was cut.
  for (const [commit, size] of sizes) expect(commit + size === space.sequence + 1 || sizes.has(commit + size)).toBe(true);
  let bytes = 0;
  let entries = 0;
  for (let after: string | undefined; ; ) {
    const page = await store.list(id, { below: "", after, shallow: false, limit: 10_000, at: undefined });
    for (const { entry } of page) bytes += entry?.kind === "file" ? entry.size : 0;
    entries += page.length;
    if (page.length < 10_000) break;
    after = page.at(-1)!.path;
  }
  expect(space.usage).toEqual({ bytes, entries });
  await store.close();
  return space.sequence;
}

test("a dropped row of a version is not made good by retention", async () => {
  const file = freshFile();
  const { store, id } = await openSpace(openSqlite(file));
  await commitOne(store, id, [putFile("f", "one"), putFile("f", "two")]);
  await store.close();
  const raw = openSqlite(file);
  await raw.run("UPDATE versions SET entry = (SELECT entry FROM versions WHERE seq = 2) WHERE seq = 1");
  await raw.close();
  const again = await openSpace(openSqlite(file));
  const error = await again.store.expire(id, 100, 10).catch((caught: unknown) => caught);
  expect(error).toBeInstanceOf(SynclineError);
  expect((error as SynclineError).code).toBe("STATE");
  await again.store.close();
});

test("[ATTR-5] a database from before attributes is upgraded, and its rows are still what was written", async () => {
  const file = freshFile();
  const { store, id } = await openSpace(openSqlite(file));
  await commitOne(store, id, [putFile("d/f", "one"), putFile("d/f", "two")]);
  const before = await store.journal(id, 0, 10);
  await store.close();
  const raw = openSqlite(file);
  await raw.run("ALTER TABLE versions DROP COLUMN attributes");
  await raw.run("DROP TABLE content_sums");
  await raw.run("DROP INDEX versions_copies");
  const later = ["follow_received", "locks", "purges", "lifecycle_places", "lifecycle_later", "later_attributes", "fresh_chunks"];
  for (const table of later) await raw.run(`DROP TABLE ${table}`);
  for (const index of ["versions_again", "commits_ahead"]) await raw.run(`DROP INDEX ${index}`);
  for (const column of ["again", "purged"]) await raw.run(`ALTER TABLE versions DROP COLUMN ${column}`);
  for (const column of ["quota_bytes", "shares"]) await raw.run(`ALTER TABLE follows DROP COLUMN ${column}`);
  await raw.run("DELETE FROM schema_steps WHERE room = 'meta' AND id > 2");
  await raw.close();
  const again = await openSpace(openSqlite(file));
  expect(await again.store.journal(id, 0, 10)).toEqual(before);
  await commitOne(again.store, id, [{ ...putFile("d/f", "two"), attributes: { "user.a": "b" } } as SpaceChange]);
  expect((await again.store.version(id, "d/f"))?.attributes).toEqual({ "user.a": "b" });
  await again.store.close();
  const damaged = openSqlite(file);
  await damaged.run("UPDATE versions SET attributes = NULL WHERE seq = 4");
  const last = await openSpace(damaged);
  await expect(last.store.version(id, "d/f")).rejects.toThrow("is not what was written");
  await last.store.close();
});

test("an erasing that was cut off goes on at the next start", async () => {
  const file = freshFile();
  const { store, id } = await openSpace(openSqlite(file));
  await commitOne(store, id, [putFile("f", "one")]);
  await store.close();
  const raw = openSqlite(file);
  await raw.run("DELETE FROM spaces");
  await raw.run("INSERT INTO erasing (space_id) VALUES (?)", [id]);
  await raw.close();
  const db = openSqlite(file);
  await SqlMetaStore.open(db, systemRandom);
  for (const table of ["versions", "commits", "erasing"]) {
    expect(await db.get(`SELECT count(*) AS n FROM ${table}`)).toEqual({ n: 0 });
  }
  await db.close();
});


test("[MANIFEST-1] whether a content has a manifest is found without reading those of others", async () => {
  const db = openSqlite(freshFile());
  const { store } = await openSpace(db);
  // In a table that lies by the id, a large row beside the way would be read to be compared with.
  const plan = await db.all<{ detail: string }>("EXPLAIN QUERY PLAN SELECT id FROM manifests WHERE id = ?", [new Uint8Array(32)]);
  expect(plan.map(({ detail }) => detail).join()).toContain("INDEX");
  await store.close();
});
