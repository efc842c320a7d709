import { expect, test } from "bun:test";
import { AccessWorld } from "#access/access-fixture.ts";
import { FtpFiles } from "#gateway/ftp/files.ts";
import { TRACE, TestHub } from "#hub/hub-fixture.ts";
import type { SpaceChange } from "#hub/space.ts";

test("[FTP-79] RMD removes no file, and DELE no directory, that has come in the place of what was there", async () => {
  await using world = await AccessWorld.open();
  await using hub = await TestHub.open(world.access);
  const { spaces, who } = hub;
  await spaces.createSpace(who, "demo");
  const files = new FtpFiles({ spaces, access: world.access, newTraceId: () => TRACE }, who);
  const commit = (...changes: SpaceChange[]) =>
    spaces.commit(who, "demo", { changes, intake: undefined, atomic: true, cause: "edit", traceId: TRACE });
  const removal: SpaceChange = { type: "remove", path: "x", expect: { kind: "any" }, recursive: true };
  const directory: SpaceChange = { type: "put", path: "x", expect: { kind: "any" }, entry: { kind: "dir", mode: 0o755 }, content: undefined, makeParents: true };
  const version = spaces.version.bind(spaces);
  /** Once, behind the next look at the path. */
  const meanwhile = (work: () => Promise<unknown>): void => {
    spaces.version = async (...asked) => {
      spaces.version = version;
      const found = await version(...asked);
      await work();
      return found;
    };
  };
  await commit(directory);
  meanwhile(async () => {
    await commit(removal);
    await hub.put("demo", "x", "precious");
  });
  await expect(files.removeDir(["demo", "x"])).rejects.toMatchObject({ code: 550 });
  expect(await hub.files("demo")).toEqual({ x: "precious" });
  meanwhile(() => commit(removal, directory));
  await expect(files.removeFile(["demo", "x"])).rejects.toMatchObject({ code: 550 });
  expect((await version(who, "demo", "x"))?.entry?.kind).toBe("dir");
  // One that was only written again goes.
  await commit(removal);
  await hub.put("demo", "x", "one");
  meanwhile(() => hub.put("demo", "x", "two"));
  await files.removeFile(["demo", "x"]);
  expect(await hub.files("demo")).toEqual({});
});
