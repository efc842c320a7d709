import { expect, test } from "bun:test";
import { TRACE, TestHub } from "#hub/hub-fixture.ts";
import { MovedBytes, NAMED_MAX } from "#hub/moved-bytes.ts";

test("[SPACE-38] bytes of content are counted by space and by who moved them, however they come in and go out", async () => {
  await using hub = await TestHub.open();
  await hub.spaces.createSpace(hub.who, "s");
  const size = 3 << 20;
  await hub.put("s", "small", "12345");
  {
    await using intake = hub.spaces.intake(hub.who, "s");
    const sink = intake.sink();
    await sink.write(new Uint8Array(size).fill(7));
    const { content, sum } = await sink.end();
    const entry = { kind: "file", size, mode: 0o644, mtimeNs: 1n, sum } as const;
    const change = { type: "put", path: "large", expect: { kind: "any" }, entry, content, makeParents: false } as const;
    await hub.spaces.commit(hub.who, "s", { changes: [change], intake, atomic: true, cause: "upload", traceId: TRACE });
  }
  const version = (await hub.spaces.version(hub.who, "s", "large"))!;
  const reader = await hub.spaces.open(hub.who, "s", version);
  expect(await reader.read(new Uint8Array(1000), size - 400)).toBe(400);
  const moved = { in: 5 + size, out: 400 };
  expect(hub.spaces.moved.bySpace.get("s")).toEqual(moved);
  expect(hub.spaces.moved.byUser.get(hub.who.id)).toEqual(moved);
  // The hub's own reading is nobody's.
  await hub.spaces.sums(hub.who, "s", version, ["md5"]);
  expect(hub.spaces.moved.bySpace.get("s")).toEqual(moved);
});

test("[SPACE-38] more users than are counted by name share one count", () => {
  const moved = new MovedBytes();
  for (let at = 0; at < NAMED_MAX + 5; at++) moved.counter(`user:${at}`, "s")("in", 1);
  expect(moved.byUser.size).toBe(NAMED_MAX + 1);
  expect(moved.byUser.get("others")).toEqual({ in: 5, out: 0 });
});
