import { expect, test } from "bun:test";
import fc from "fast-check";
import { systemRandom } from "#platform/host-bun.ts";
import { type Expect, SETTINGS_DEFAULT, type SpaceChange } from "#hub/space.ts";
import { ORIGIN, commitOne, putFile } from "#hub/meta/commit-fixture.ts";
import type { Commit } from "#hub/meta/meta-store.ts";
import { SqlMetaStore } from "#hub/meta/sql-meta-store.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Database } from "#platform/sql/database.ts";

async function withStore(work: (store: SqlMetaStore, asked: () => number) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "known-"));
  const db = openSqlite(join(dir, "hub.db"));
  let asked = 0;
  const counting = new Proxy(db, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target);
      if (name === "get") asked++;
      return typeof value === "function" ? (value as (...args: unknown[]) => unknown).bind(target) : value;
    },
  });
  const store = await SqlMetaStore.open(counting as Database, systemRandom);
  try {
    await work(store, () => asked);
  } finally {
    await store.close();
    rmSync(dir, { recursive: true });
  }
}

test("[KNOWN-1] a version is asked for once, until something is committed, whatever it is", async () => {
  await withStore(async (store, asked) => {
    const { id } = await store.createSpace("demo", SETTINGS_DEFAULT, new Uint8Array(16), "lineage", 1);
    await commitOne(store, id, [putFile("a", "one"), putFile("b", "one")]);
    const first = await store.version(id, "a");
    const before = asked();
    expect(await store.version(id, "a")).toBe(first!);
    expect(await store.version(id, "never")).toBeUndefined();
    expect(await store.version(id, "never")).toBeUndefined();
    expect(asked()).toBe(before + 1);
    await store.updateSpace(id, { settings: { ...SETTINGS_DEFAULT, quotaEntries: 5 } });
    expect(await store.version(id, "a")).toEqual(first!);
    expect(asked()).toBe(before + 2);
    await commitOne(store, id, [putFile("never", "now")]);
    expect((await store.version(id, "never"))?.sequence).toBe(3);
  });
});

test("[KNOWN-2] whoever asks while others commit sees what was committed before it asked, or later", async () => {
  await withStore(async (store) => {
    const { id } = await store.createSpace("demo", SETTINGS_DEFAULT, new Uint8Array(16), "lineage", 1);
    let done = 0;
    const committing = (async () => {
      for (let at = 1; at <= 40; at++) {
        await commitOne(store, id, [putFile("a", `text ${at}`)]);
        done = at;
      }
    })();
    while (done < 40) {
      const least = done;
      const version = await store.version(id, "a");
      expect(version?.sequence ?? 0).toBeGreaterThanOrEqual(least);
      await Bun.sleep(0);
    }
    await committing;
    expect((await store.version(id, "a"))!.sequence).toBe(40);
  });
});

test("[KNOWN-3] commits come to the same whether what is at their paths was asked for a moment before or not", async () => {
  const name = fc.constantFrom("a", "b", "d", "d/e");
  const expected: fc.Arbitrary<Expect> = fc.oneof(
    fc.constant<Expect>({ kind: "any" }),
    fc.constant<Expect>({ kind: "absent" }),
    fc.constant<Expect>({ kind: "present" }),
    fc.nat(6).map((sequence): Expect => ({ kind: "sequence", sequence })),
  );
  const change: fc.Arbitrary<SpaceChange> = fc.oneof(
    fc.tuple(name, fc.constantFrom("one", "two"), expected).map(([path, text, expect]) => putFile(path, text, expect)),
    fc.tuple(name, expected).map(([path, expect]): SpaceChange => ({ type: "remove", path, expect, recursive: true })),
    fc.tuple(name, name, expected).map(([from, to, expect]): SpaceChange => ({ type: "move", from, to, expect })),
  );
  const commit = fc.record({ changes: fc.array(change, { minLength: 1, maxLength: 4 }), atomic: fc.boolean() });
  const groups = fc.array(fc.array(commit, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 5 });
  await withStore(async (store) => {
    let spaces = 0;
    await fc.assert(
      fc.asyncProperty(groups, async (all) => {
        const told: unknown[] = [];
        for (const isAsked of [false, true]) {
          const { id } = await store.createSpace(`space ${spaces++}`, SETTINGS_DEFAULT, new Uint8Array(16), "lineage", 1);
          const outcomes: unknown[] = [];
          for (const group of all) {
            if (isAsked) for (const path of ["a", "b", "d", "d/e"]) await store.version(id, path);
            const commits = group.map((one): Commit => ({ space: id, origin: ORIGIN, timeMs: 1000, ...one }));
            outcomes.push(await store.commit(commits, new Map()));
          }
          outcomes.push(await store.journal(id, 0, 1000));
          told.push(outcomes);
        }
        expect(told[1]).toEqual(told[0]);
      }),
      { numRuns: 150 },
    );
  });
});
