import { describe, expect, test } from "bun:test";
import { checkHub } from "#hub/check/check-hub.ts";
import { ENCRYPTED, isEncrypted, storedPartBytes } from "#hub/encrypted-content.ts";
import { FollowHub, catchUp, journalOf } from "#hub/followers/followers-fixture.ts";
import { TRACE, TestHub } from "#hub/hub-fixture.ts";
import type { SpaceChange, Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { UPLOAD_MIGRATIONS } from "#hub/uploads/upload-rows.ts";
import { migrate } from "#platform/sql/migrate.ts";
import { pageJson, pageOf } from "#gateway/api/follow-shapes.ts";

const never = new AbortController().signal;
const any = { kind: "any" } as const;
const PUT = { type: "put", expect: any, makeParents: true } as const;

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return "none";
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    throw error;
  }
}

async function opened(): Promise<TestHub> {
  const hub = await TestHub.open();
  await hub.spaces.createSpace(hub.who, "demo");
  return hub;
}

async function commit(hub: TestHub, change: SpaceChange): Promise<string> {
  await using intake = hub.spaces.intake(hub.who, "demo");
  if (change.type === "put" && change.content !== undefined) await intake.hold(change.content);
  const request = { changes: [change], intake, atomic: false, cause: "edit", traceId: TRACE } as const;
  const [result] = (await hub.spaces.commit(hub.who, "demo", request)).results;
  return result!.status === "refused" ? result!.code : result!.status;
}

const current = async (hub: TestHub, path: string): Promise<Version> => (await hub.spaces.version(hub.who, "demo", path))!;
/** What a client of the S3 door would be given the bytes from. */
async function storedOf(hub: TestHub, version: Version): Promise<string> {
  const reader = await hub.spaces.openEncrypted(hub.who, "demo", version);
  const bytes = new Uint8Array(reader.size);
  await reader.read(bytes, 0);
  return Buffer.from(bytes).toString("hex");
}

describe("encrypted versions", () => {
  test("[SSEC-28] have the size of what was encrypted, take that of what is stored, and are not read", async () => {
    await using hub = await opened();
    const made = await hub.putEncrypted("demo", "f", 100_000);
    expect(made).toMatchObject({ entry: { size: 100_000 }, content: { size: storedPartBytes(100_000) } });
    expect(await current(hub, "f")).toEqual(made);
    expect((await hub.spaces.space(hub.who, "demo")).usage.bytes).toBe(storedPartBytes(100_000));
    expect(await codeOf(hub.spaces.open(hub.who, "demo", made))).toBe("ENCRYPTED");
    expect(await codeOf(hub.spaces.sums(hub.who, "demo", made, ["md5"]))).toBe("ENCRYPTED");
    await hub.spaces.updateSpace(hub.who, "demo", { settings: { quotaBytes: 150_000 } });
    expect(hub.putEncrypted("demo", "g", 49_950)).rejects.toThrow("QUOTA");
    await hub.putEncrypted("demo", "g", 49_900);
    await hub.put("demo", "f", "plain");
    expect((await hub.spaces.space(hub.who, "demo")).usage.bytes).toBe(storedPartBytes(49_900) + 5);
  });

  test("[SSEC-29] what says that it is encrypted and is not, or is and does not say so, is refused", async () => {
    await using hub = await opened();
    const { entry, content, attributes } = await hub.putEncrypted("demo", "f", 100);
    await hub.put("demo", "plain", "x".repeat(content!.size));
    const plain = await current(hub, "plain");
    const file = entry!;
    // Nothing is said of attributes at a new path, or the wrong thing.
    expect(await commit(hub, { ...PUT, path: "g", entry: file, content })).toBe("CONTENT");
    expect(await commit(hub, { ...PUT, path: "g", entry: file, content, attributes: {} })).toBe("CONTENT");
    expect(await commit(hub, { ...PUT, path: "f", entry: plain.entry!, content: plain.content, attributes })).toBe("CONTENT");
    expect(await commit(hub, { ...PUT, path: "g", entry: { kind: "dir", mode: 0o755 }, content: undefined, attributes })).toBe("CONTENT");
    expect(await commit(hub, { ...PUT, path: "g", entry: file, content, attributes: { [ENCRYPTED]: "1" } })).toBe("CONTENT");
    // Other permissions change nothing of it; other bytes are not encrypted.
    expect(await commit(hub, { ...PUT, path: "f", entry: { ...file, mode: 0o600 } as typeof file, content })).toBe("done");
    expect(isEncrypted(await current(hub, "f"))).toBe(true);
    expect(await commit(hub, { ...PUT, path: "f", entry: plain.entry!, content: plain.content })).toBe("done");
    expect((await current(hub, "f")).attributes).toEqual({});
  });

  test("[SSEC-30] are moved, restored, taken back and purged like any other, and a check finds nothing", async () => {
    await using hub = await opened();
    const first = await hub.putEncrypted("demo", "d/f", 70_000, { "user.a": "1" });
    const bytes = await storedOf(hub, first);
    const { sequence } = await hub.spaces.space(hub.who, "demo");
    expect(await commit(hub, { type: "move", from: "d", to: "e", expect: any })).toBe("done");
    expect(await storedOf(hub, await current(hub, "e/f"))).toBe(bytes);
    await hub.put("demo", "d/f", "plain");
    await hub.spaces.restore(hub.who, "demo", "", { sequence }, { cause: "restore", traceId: TRACE, runId: "r" });
    const back = await current(hub, "d/f");
    expect([back.attributes, await storedOf(hub, back)]).toEqual([first.attributes, bytes]);
    await hub.spaces.undoRun(hub.who, "demo", "r", TRACE);
    expect(isEncrypted(await current(hub, "d/f"))).toBe(false);
    const conflict = await hub.putEncrypted("demo", "d/f.conflict-beta-01234567", 10);
    await hub.spaces.resolveConflict(hub.who, "demo", { copy: conflict.path, keep: "copy", as: undefined, seen: undefined }, { traceId: TRACE });
    expect((await current(hub, "d/f")).attributes).toEqual(conflict.attributes);
    const large = await hub.putEncrypted("demo", "large", 3 << 20);
    expect(await storedOf(hub, large)).toHaveLength(2 * storedPartBytes(3 << 20));
    const { database, chunks, meta } = hub;
    await migrate(database, "uploads", UPLOAD_MIGRATIONS);
    const found: unknown[] = [];
    const verifyAudit = () => hub.audit.verify();
    const onFinding = (one: unknown): void => void found.push(one);
    const options = { database, databaseFaults: undefined, chunks, hubId: meta.hubId, verifyAudit, deep: true, onFinding };
    await checkHub(options, never);
    expect(found).toEqual([]);
    // A row that has lost what it says of its encryption is damaged.
    await database.run("UPDATE versions SET attributes = NULL WHERE seq = ?", [large.sequence]);
    await checkHub(options, never);
    expect(found.length).toBeGreaterThan(0);
  });

  test("[SSEC-31] a copy on another hub has them as they are stored; what does not fit is no record", async () => {
    await using source = await FollowHub.open();
    await using copy = await FollowHub.open();
    const { who } = source.hub;
    await source.hub.spaces.createSpace(who, "demo");
    const made = await source.hub.putEncrypted("demo", "f", 300_000);
    await source.hub.put("demo", "g", "x");
    const follower = await copy.copyOf(source, (from) => ({
      ...from,
      // As it goes over HTTP.
      page: async (...asked) => pageOf(JSON.parse(JSON.stringify(pageJson("hub", await from.page(...asked))))),
    }));
    await catchUp(follower);
    expect(await journalOf(copy)).toEqual((await journalOf(source)).map((one) => ({ ...(one as Version), vector: expect.anything() })));
    const there = (await copy.hub.spaces.version(who, "demo", "f"))!;
    expect(await storedOf(copy.hub, there)).toBe(await storedOf(source.hub, made));
    expect(await codeOf(copy.hub.spaces.open(who, "demo", there))).toBe("ENCRYPTED");
    const usage = async (hub: FollowHub) => (await hub.hub.spaces.space(who, "demo")).usage;
    expect(await usage(copy)).toEqual(await usage(source));
    const { following } = source;
    const page = pageJson("hub", await following.page(who, "demo", 0, 0, never));
    const [record] = page.records;
    const short = made.attributes[ENCRYPTED]!.replace("300000", "299999");
    for (const more of [{ size: 300_000 }, { attributes: {} }, { attributes: { [ENCRYPTED]: short } }]) {
      expect(() => pageOf({ ...page, records: [{ ...record!, ...more }, ...page.records.slice(1)] } as never)).toThrow();
    }
  });
});
