import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Database } from "#platform/sql/database.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";
import type { Rule } from "#access/access.ts";
import { AccessWorld, BY, codeOf } from "#access/access-fixture.ts";
import { RoleBook } from "#access/decide.ts";

const may = (action: "read" | "write"): Rule => ({ effect: "allow", resource: "job", actions: [action] });
const never: Rule = { effect: "deny", resource: "job", actions: ["write"] };

describe("roles that are stored", () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-roles-"));
  afterAll(() => rmSync(dir, { recursive: true }));

  test("[ACCESS-100] count at once, after a restart and in the other hub of the database, and go", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    await world.user("ann", "jobs");
    const allowed = async (hub = access): Promise<boolean> => (await hub.explain("ann", "read", { type: "job", name: "j" })).allowed;
    expect(await allowed()).toBe(false);
    expect(await access.storedRoles.put(BY, { name: "jobs", includes: [], rules: [may("read")] })).toBe(true);
    expect(await allowed()).toBe(true);
    const other = await world.again(2);
    expect(await allowed(other)).toBe(true);
    await access.storedRoles.remove(BY, "jobs");
    expect(await allowed()).toBe(false);
    expect(await allowed(other)).toBe(true);
    await other.storedRoles.refresh();
    expect(await allowed(other)).toBe(false);
  });

  test("[ACCESS-104] what was changed counts at once also while the disk refuses to be read", async () => {
    const disk = openSqlite(join(dir, "hub.db"));
    let isRefusing = false;
    const unless = <T>(work: Promise<T>): Promise<T> => (isRefusing ? Promise.reject(new Error("refused")) : work);
    const database: Database = {
      engine: "sqlite",
      commits: undefined,
      all: (text, values) => unless(disk.all(text, values)),
      get: (text, values) => unless(disk.get(text, values)),
      run: (text, values) => disk.run(text, values),
      transaction: (work) => disk.transaction(work),
      copyTo: (file, signal) => disk.copyTo(file, signal),
      close: () => disk.close(),
    };
    await using world = await AccessWorld.open(1, database);
    const { storedRoles } = world.access;
    const rulesOf = () => storedRoles.get("jobs")?.role.rules;
    await storedRoles.put(BY, { name: "jobs", includes: [], rules: [may("read"), may("write")] });
    isRefusing = true;
    await storedRoles.put(BY, { name: "jobs", includes: [], rules: [may("read")] }).catch(() => undefined);
    expect(rulesOf()).toEqual([may("read")]);
    for (const _ of [1, 2]) await storedRoles.remove(BY, "jobs").catch(() => undefined);
    expect([rulesOf(), storedRoles.book.has("jobs")]).toEqual([undefined, false]);
  });

  test("[ACCESS-101] the program's own and the file's cannot be changed, circles and unknown ones are refused", async () => {
    await using world = await AccessWorld.open();
    const { storedRoles } = world.access;
    storedRoles.useFile(new RoleBook([{ name: "file", includes: [], rules: [] }]));
    const put = (name: string, ...includes: string[]): Promise<unknown> => storedRoles.put(BY, { name, includes, rules: [may("read")] });
    expect(await codeOf(put("admin"))).toBe("EXISTS");
    expect(await codeOf(put("file"))).toBe("EXISTS");
    expect(await codeOf(put("a", "nobody"))).toBe("USAGE");
    await put("a", "file");
    await put("b", "a");
    expect(await codeOf(put("a", "b"))).toBe("USAGE");
    expect(await codeOf(storedRoles.remove(BY, "a"))).toBe("EXISTS");
    expect(await codeOf(storedRoles.remove(BY, "reader"))).toBe("EXISTS");
    expect(await codeOf(storedRoles.remove(BY, "none"))).toBe("NOT_FOUND");
    await storedRoles.remove(BY, "b");
    await storedRoles.remove(BY, "a");
  });

  test("[ACCESS-102] a role that has lost what it includes allows nothing and still denies, and so does who includes it", async () => {
    await using world = await AccessWorld.open();
    const { access } = world;
    const { storedRoles } = access;
    storedRoles.useFile(new RoleBook([{ name: "limits", includes: [], rules: [never] }]));
    await storedRoles.put(BY, { name: "jobs", includes: ["limits"], rules: [may("read"), may("write")] });
    await storedRoles.put(BY, { name: "team", includes: ["jobs"], rules: [may("write"), { ...never, actions: ["restore"] }] });
    await world.user("ann", "team", "plain");
    await storedRoles.put(BY, { name: "plain", includes: [], rules: [{ ...may("read"), actions: ["restore"] }] });
    const allowed = async (action: "read" | "write" | "restore"): Promise<boolean> =>
      (await access.explain("ann", action, { type: "job", name: "j" })).allowed;
    expect([await allowed("read"), await allowed("write"), await allowed("restore")]).toEqual([true, false, false]);
    storedRoles.useFile(new RoleBook([]));
    expect([await allowed("read"), await allowed("write"), await allowed("restore")]).toEqual([false, false, false]);
    expect(storedRoles.get("jobs")!.fault).toContain('"limits"');
    expect(storedRoles.get("team")!.fault).toContain("allows nothing");
    expect(storedRoles.get("plain")!.fault).toBeUndefined();
    // A file that takes a name makes a circle of what was none: nothing of it is believed, and nothing throws.
    storedRoles.useFile(new RoleBook([{ name: "jobs", includes: [], rules: [] }]));
    await storedRoles.put(BY, { name: "loop", includes: ["team"], rules: [may("read")] });
    expect(storedRoles.get("jobs")!.origin).toBe("file");
    storedRoles.useFile(new RoleBook([]));
    expect(await allowed("read")).toBe(false);
  });
});
