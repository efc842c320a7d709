import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { decodeAttributes, encodeAttributes } from "#hub/attributes.ts";
import { FollowHub, catchUp } from "#hub/followers/followers-fixture.ts";
import { TestHub, TRACE } from "#hub/hub-fixture.ts";
import { SynclineError } from "#model/error.ts";

const A = { "http.content-type": "text/plain", "etag.s3": "1" };
const B = { "user.b": "2" };

describe("attributes in the history of a space", () => {
  test("[ATTR-3] restore and undo bring back what was set, also where nothing else differs", async () => {
    await using hub = await TestHub.open();
    await hub.spaces.createSpace(hub.who, "demo");
    const shown = async () => (await hub.spaces.version(hub.who, "demo", "f"))?.attributes;
    const first = await hub.put("demo", "f", "x", A);
    await hub.put("demo", "f", "x", B);
    await hub.spaces.restore(hub.who, "demo", "", { sequence: first }, { cause: "restore", traceId: TRACE, runId: "r" });
    expect(await shown()).toEqual(A);
    await hub.spaces.undoRun(hub.who, "demo", "r", TRACE);
    expect(await shown()).toEqual(B);
    await hub.put("demo", "f", "y", {});
    await hub.spaces.restore(hub.who, "demo", "", { sequence: first }, { cause: "restore", traceId: TRACE });
    expect(await shown()).toEqual(A);
  });

  test("[ATTR-4] a copy has them, and a digest tells when they differ", async () => {
    await using source = await FollowHub.open();
    await using copy = await FollowHub.open();
    const { who } = source.hub;
    await source.hub.spaces.createSpace(who, "demo");
    await source.hub.put("demo", "f", "x", A);
    await source.hub.put("demo", "g", "x");
    const follower = await copy.copyOf(source);
    await catchUp(follower);
    expect((await copy.hub.spaces.version(who, "demo", "f"))?.attributes).toEqual(A);
    const { id } = await copy.hub.spaces.space(who, "demo");
    const digest = async (): Promise<string> => (await copy.following.digest(who, "demo", 2, { from: "", to: undefined }, false)).digest;
    const before = await digest();
    await copy.hub.database.run("UPDATE versions SET attributes = ? WHERE space_id = ? AND seq = 1", [encodeAttributes(B)!, id]);
    copy.digests.forget(id);
    expect(await digest()).not.toBe(before);
  });
});

test("[ATTR-6] any bytes in the place of attributes are attributes that can be written again, or are refused", () => {
  const names = fc.string({ unit: "grapheme", minLength: 1, maxLength: 9 }).filter((text) => !/\p{Cc}/u.test(text));
  const some = fc.dictionary(names.map((text) => `user.${text}`), fc.string({ unit: "grapheme" }), { maxKeys: 5 });
  fc.assert(fc.property(some, (attributes) => {
    expect(decodeAttributes(encodeAttributes(attributes))).toEqual(attributes);
  }));
  fc.assert(fc.property(some, fc.nat(300), fc.nat(255), (attributes, at, byte) => {
    const bytes = encodeAttributes(attributes);
    if (bytes === null) return;
    const changed = bytes.slice();
    changed[at % changed.length] = byte;
    try {
      const decoded = decodeAttributes(changed);
      expect(decodeAttributes(encodeAttributes(decoded))).toEqual(decoded);
    } catch (error) {
      expect(error).toBeInstanceOf(SynclineError);
    }
  }));
});
