import { describe, expect, test } from "bun:test";
import type { Rule } from "#access/access.ts";
import { AccessWorld, BY, codeOf } from "#access/access-fixture.ts";
import { RoleBook } from "#access/decide.ts";

const may = (action: "read" | "write"): Rule => ({ effect: "allow", resource: "job", actions: [action] });
const never: Rule = { effect: "deny", resource: "job", actions: ["write"] };

describe("roles that are stored", () => {
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
