/**
 * What stays of what is there when something is put in its place; sql-meta-store.test.ts runs it on SQLite,
 * acceptance/database.test.ts on PostgreSQL.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { DIR, commitOne, putFile } from "#hub/meta/commit-fixture.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import type { MetaLab } from "#hub/meta/meta-store-contract.ts";
import { SETTINGS_DEFAULT, type Space, type SpaceChange } from "#hub/space.ts";
import type { Entry } from "#model/entry.ts";

type Put = Extract<SpaceChange, { type: "put" }>;
const put = (path: string, text: string, more: Partial<Put> = {}): Put => ({ ...(putFile(path, text) as Put), ...more });

export function putContract(name: string, makeLab: () => Promise<MetaLab>): void {
  describe(`what a put keeps: ${name}`, () => {
    let lab: MetaLab | undefined;
    const fresh = async (): Promise<{ store: MetaStore; space: Space }> => {
      lab = await makeLab();
      const store = await lab.open();
      return { store, space: await store.createSpace("demo", SETTINGS_DEFAULT, new Uint8Array(16), "lineage", 1) };
    };
    afterEach(async () => {
      await lab?.dispose();
      lab = undefined;
    });

    test("[SPACE-69] a file keeps its permissions, and a directory all that it is, under a put that is for new ones; nothing else does", async () => {
      const { store, space } = await fresh();
      const entryAt = async (path: string): Promise<Entry | undefined> => (await store.version(space.id, path))?.entry;
      const modeOf = (entry: Entry | undefined): number | undefined => (entry !== undefined && "mode" in entry ? entry.mode : undefined);
      const file = (text: string, mode: number, keepsMode: boolean): Put => {
        const made = put("x", text, { keepsMode });
        return { ...made, entry: { ...made.entry, mode } as Entry };
      };
      const modes: (number | undefined)[] = [];
      // Also of changes of the same commit.
      for (const changes of [[file("a", 0o600, true)], [file("b", 0o644, true)], [file("b", 0o640, false), file("c", 0o644, true)]]) {
        await commitOne(store, space.id, changes);
        modes.push(modeOf(await entryAt("x")));
      }
      expect(modes).toEqual([0o600, 0o600, 0o640]);
      // As on a disk new bytes have no set-id bits, which would lend whoever wrote them the rights of the file's owner.
      await commitOne(store, space.id, [file("c", 0o7750, false), file("c", 0o644, true)]);
      expect(modeOf(await entryAt("x"))).toBe(0o7750);
      await commitOne(store, space.id, [file("d", 0o644, true)]);
      expect(modeOf(await entryAt("x"))).toBe(0o1750);
      expect(await entryAt("x")).toMatchObject({ size: 1, mtimeNs: 1n });
      const owner = { uid: 1, gid: 2, user: "ann", group: undefined };
      const dir = (entry: Entry): Put => ({ ...put("x", ""), entry, content: undefined, keepsMode: true });
      const own: Entry = { kind: "dir", mode: 0o700, owner, xattrs: [["user.a", "b"]] };
      await commitOne(store, space.id, [dir(own), dir(DIR)]);
      expect(await entryAt("x")).toMatchObject({ kind: "dir", mode: 0o700, owner: { uid: 1 }, xattrs: [["user.a", "b"]] });
      await commitOne(store, space.id, [file("d", 0o644, true)]);
      expect(modeOf(await entryAt("x"))).toBe(0o644);
      await commitOne(store, space.id, [{ type: "remove", path: "x", expect: { kind: "any" }, recursive: false }, file("d", 0o604, true)]);
      expect(modeOf(await entryAt("x"))).toBe(0o604);
    });

    test("[ATTR-1] attributes: set, kept over an edit, lost with what they say of other bytes, moved, gone with the path", async () => {
      const { store, space } = await fresh();
      const set = { "http.content-type": "text/x", "user.a": "", "etag.s3": "e", "sum.md5": "s", "content.encoding": "c" };
      const at = async (path: string) => (await store.version(space.id, path))?.attributes;
      await commitOne(store, space.id, [put("d/f", "one", { attributes: set })]);
      expect(await at("d/f")).toEqual(set);
      await commitOne(store, space.id, [put("d/f", "one")]);
      expect(await at("d/f")).toEqual(set);
      await commitOne(store, space.id, [{ type: "move", from: "d", to: "e", expect: { kind: "any" } }]);
      expect(await at("e/f")).toEqual(set);
      expect(await at("d/f")).toEqual({});
      await commitOne(store, space.id, [put("e/f", "two")]);
      expect(await at("e/f")).toEqual({ "http.content-type": "text/x", "user.a": "" });
      await commitOne(store, space.id, [{ type: "remove", path: "e/f", expect: { kind: "any" }, recursive: false }, put("e/f", "two")]);
      expect(await at("e/f")).toEqual({});
      await commitOne(store, space.id, [put("e/f", "two", { attributes: set }), put("e/f", "two", { attributes: {} })]);
      expect(await at("e/f")).toEqual({});
      const old = await store.versionAt(space.id, "d/f", { sequence: 2 });
      expect(old?.attributes).toEqual(set);
    });

    test("[ATTR-2] attributes that no version may have are refused, and those at the limits come back", async () => {
      const { store, space } = await fresh();
      const bad = [
        { "": "x" }, { plain: "x" }, { "user.": "x" }, { "User.a": "x" }, { "user.\n": "x" }, { "user.\ud800": "x" },
        { "user.a": "\udfff" }, { [`user.${"n".repeat(508)}`]: "" }, { "user.a": "x".repeat(16 * 1024 - 5) },
      ];
      const { results } = await commitOne(store, space.id, bad.map((attributes) => put("f", "x", { attributes })));
      expect(results.map((one) => one.status === "refused" && one.code)).toEqual(bad.map(() => "CONTENT"));
      for (const good of [{ [`user.${"é".repeat(253)}`]: "\0" }, { "user.a": "x".repeat(16 * 1024 - 6) }]) {
        await commitOne(store, space.id, [put("f", "x", { attributes: good })]);
        expect((await store.version(space.id, "f"))?.attributes).toEqual(good);
      }
    });
  });
}
