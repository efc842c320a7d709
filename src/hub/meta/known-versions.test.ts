import { expect, test } from "bun:test";
import { systemRandom } from "#platform/host-bun.ts";
import { SETTINGS_DEFAULT } from "#hub/space.ts";
import { commitOne, putFile } from "#hub/meta/commit-fixture.ts";
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
