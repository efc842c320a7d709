import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BackupLab, bytesOf } from "#hub/backup/backup-fixture.ts";
import { FollowStore } from "#hub/followers/follow-store.ts";
import type { ChunkId, ContentId } from "#sync/chunk/chunk-id.ts";
import { HubUploads } from "#hub/uploads/hub-uploads.ts";
import { UploadRows } from "#hub/uploads/upload-rows.ts";
import type { Database } from "#platform/sql/database.ts";
import { openSqlite } from "#platform/sql/sqlite.ts";

/** What somebody or something does to the database behind the hub's back, and what must be said of it. */
const DAMAGES: readonly { readonly name: string; readonly by: readonly string[]; readonly found: readonly [string, RegExp][] }[] = [
  {
    name: "a row's content",
    by: ["UPDATE versions SET entry = x'00' WHERE seq = 3"],
    found: [["row", /#3$/]],
  },
  {
    name: "a row that is gone",
    by: ["DELETE FROM versions WHERE seq = 2"],
    found: [["journal", /^demo/], ["journal", /^demo/]],
  },
  {
    name: "the last row",
    by: ["DELETE FROM versions WHERE seq = (SELECT max(seq) FROM versions)"],
    found: [["journal", /^demo$/]],
  },
  {
    name: "a version that is current and was replaced",
    by: ["UPDATE versions SET replaced = NULL WHERE path = CAST('old' AS BLOB) AND seq = 8"],
    found: [["journal", /^demo #\d+$/], ["tree", /^demo:old$/]],
  },
  {
    name: "a version that nothing replaced",
    by: ["UPDATE versions SET replaced = 1 WHERE path = CAST('dir/a' AS BLOB)"],
    found: [["journal", /^demo #\d+$/]],
  },
  {
    name: "the counters",
    by: ["UPDATE spaces SET bytes = bytes + 1, entries = entries - 1"],
    found: [["usage", /^demo$/], ["usage", /^demo$/]],
  },
  {
    name: "a commit that is gone",
    by: ["DELETE FROM commits WHERE seq = 1"],
    found: [["commit", /commit 7$/], ["commit", /^demo #1$/]],
  },
  {
    name: "a directory that is gone",
    by: ["UPDATE versions SET replaced = 99 WHERE path = CAST('dir' AS BLOB)"],
    found: [["tree", /^demo:dir\/a$/]],
  },
  {
    name: "a lock of a version that is gone",
    by: ["INSERT INTO locks (space_id, seq, mode, until_ms, held, number) SELECT id, 9999, NULL, NULL, 0, 1 FROM spaces WHERE name = 'demo'"],
    found: [["row", /^demo #9999$/]],
  },
  {
    name: "a hold on a version without its content",
    by: [
      "INSERT INTO locks (space_id, seq, mode, until_ms, held, number) SELECT s.id, min(v.seq), NULL, NULL, 1, 1 FROM spaces s JOIN versions v ON v.space_id = s.id WHERE s.name = 'demo' AND v.content IS NULL",
    ],
    found: [["row", /^demo #\d+$/]],
  },
  {
    name: "a purged version with its content",
    by: ["UPDATE versions SET purged = 1 WHERE seq = (SELECT max(seq) FROM versions WHERE content IS NOT NULL)"],
    found: [["row", /^demo #\d+$/]],
  },
  {
    name: "the sums of a content",
    by: ["UPDATE content_sums SET sums = x'00'"],
    found: [["row", /^content [0-9a-f]{64}$/]],
  },
  {
    name: "sums of a content that nobody has",
    by: ["UPDATE content_sums SET content = x'00'"],
    found: [["row", /^content 00$/], ["row", /^content 00$/]],
  },
  {
    name: "a manifest",
    by: ["UPDATE manifests SET manifest = x'0102'"],
    found: [["manifest", /^demo:large/]],
  },
  {
    name: "a manifest that is gone",
    by: ["DELETE FROM manifests"],
    found: [["chunk", /^demo:large/]],
  },
  {
    name: "an upload",
    by: ["UPDATE uploads SET plan = '{'"],
    found: [["row", /^upload [0-9a-f]{32}$/]],
  },
  {
    name: "a part of an upload",
    by: ["UPDATE upload_parts SET chunks = x'00' WHERE number = 2"],
    found: [["row", /^upload [0-9a-f]{32} to coming$/]],
  },
  {
    name: "a part of an upload that is gone",
    by: ["DELETE FROM upload_parts WHERE number = 1"],
    found: [["upload", /^upload [0-9a-f]{32} to coming$/]],
  },
  {
    name: "parts of no upload",
    by: ["DELETE FROM uploads"],
    found: [["upload", /^upload [0-9a-f]{32}$/]],
  },
  {
    name: "the audit log",
    by: ["UPDATE access_audit SET actor = 'user:eve' WHERE seq = 1"],
    found: [["audit", /^record 1$/]],
  },
  {
    name: "the space's settings",
    by: ["UPDATE spaces SET settings = '{'"],
    found: [["row", /^space 1$/]],
  },
];

describe("a check", () => {
  let lab: BackupLab;

  beforeAll(async () => {
    lab = new BackupLab();
    await using hub = await lab.open();
    const { spaces } = hub;
    await spaces.createSpace(lab.who, "demo");
    await lab.put(hub, "demo", { "dir/a": "a", "dir.txt": "beside it, before what is in it", "dir/b/c": "c", old: "x" });
    await lab.put(hub, "demo", { large: bytesOf(2 << 20, 5), old: "y", empty: "" });
    const remove = { type: "remove", path: "old", expect: { kind: "any" }, recursive: false } as const;
    const request = { changes: [remove], intake: undefined, atomic: true, cause: "edit", traceId: "0".repeat(32) } as const;
    await spaces.commit(lab.who, "demo", request);
    const uploads = new HubUploads({ ...hub, rows: new UploadRows(hub.db), access: hub.access, clock: lab.host.clock, random: lab.host.random });
    const by = { who: lab.who, door: "api" };
    const { id } = await uploads.create(by, { space: "demo", path: "coming", kind: "parts" });
    for (const number of [1, 2]) {
      await using sink = await uploads.part(by, id, number);
      await sink.write(bytesOf(300_000, number));
      await sink.end();
      await sink.commit();
    }
    await lab.backup(hub);
  });
  afterAll(() => lab[Symbol.dispose]());

  test("[CHECK-1] finds nothing where everything is what was written", async () => {
    const result = await lab.check("hub", true);
    expect(result).toMatchObject({ found: [], findings: 0, spaces: 1, contents: 7, uploads: 1 });
    expect(result.readBytes).toBeGreaterThan(2 << 20);
  });

  for (const [at, { name, by, found: wanted }] of DAMAGES.entries()) {
    test(`[CHECK-2] finds and names what is wrong: ${name}`, async () => {
      await lab.restore(`damaged-${at}`);
      const db: Database = openSqlite(lab.path(`damaged-${at}/hub.db`));
      for (const text of by) expect(await db.run(text)).toBeGreaterThan(0);
      await db.close();
      const { found, findings } = await lab.check(`damaged-${at}`);
      expect(findings).toBe(found.length);
      for (const [kind, where] of wanted) {
        const match = found.find((one) => one.kind === kind && where.test(one.where));
        expect([kind, where, match === undefined ? found : "found"]).toEqual([kind, where, "found"]);
      }
    });
  }

  test("[CHECK-3] finds chunks that are not in the packs; one that is damaged only when it reads them", async () => {
    await lab.restore("packs");
    const [pack] = readdirSync(lab.path("packs/chunks")).filter((name) => name.endsWith(".pack")).sort();
    const file = join(lab.path("packs/chunks"), pack!);
    // Opened once, so that a sidecar says what is in it and nobody has to look.
    expect((await lab.check("packs")).found).toEqual([]);
    const bytes = readFileSync(file);
    bytes[bytes.length - 100_000]! ^= 1;
    writeFileSync(file, bytes);
    expect((await lab.check("packs")).found).toEqual([]);
    const { found } = await lab.check("packs", true);
    expect(found).toEqual([{ kind: "chunk", where: expect.stringMatching(/^demo:large #\d+$/), what: expect.any(String) }]);
    // What is known to be lost is told without a look at all the rest.
    const lacking = /[0-9a-f]{64}/.exec(found[0]!.what)![0] as ChunkId;
    const db = openSqlite(lab.path("packs/hub.db"));
    await new FollowStore(db, "0".repeat(16)).lose([{ id: lacking, content: lacking as string as ContentId }], 1);
    await db.close();
    expect((await lab.check("packs")).found).toEqual(found);
    await lab.restore("none");
    writeFileSync(join(lab.path("none/chunks"), pack!), "");
    const kinds = (await lab.check("none")).found.map(({ kind }) => kind);
    expect(new Set(kinds)).toEqual(new Set(["chunk"]));
    expect(kinds.length).toBeGreaterThan(1);
  });
});
