/** Uploads whose space gets another name while they are at work, and another space the old one. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { systemPrincipal } from "#access/access.ts";
import { TRACE, UploadLab, codeOf, noise, person } from "#hub/uploads/uploads-fixture.ts";

const boss = systemPrincipal("test");
const ann = person("ann");

let lab: UploadLab;
let end: () => Promise<void>;
beforeEach(async () => void ({ lab, end } = await UploadLab.onFile()));
afterEach(() => end());

/** The next time that it is looked at what has come. */
function renameAtParts(): void {
  const { rows } = lab;
  const parts = rows.parts.bind(rows);
  rows.parts = async function* (of, from) {
    rows.parts = parts;
    await lab.spaces.updateSpace(boss, "demo", { name: "moved" });
    await lab.spaces.createSpace(boss, "demo");
    yield* parts(of, from);
  };
}

test("[UPLOAD-47] one that is completed while its space gets another name is never made in the space that has the old one", async () => {
  const { id } = await lab.create(ann, "f");
  await lab.part(ann, id, 1, noise(5, 1));
  renameAtParts();
  expect(await codeOf(lab.complete(ann, id))).toBe("SPACE_UNKNOWN");
  expect((await lab.spaces.space(boss, "demo")).sequence).toBe(0);
  // It is still there, and for the space that it was begun for.
  expect(await lab.uploads.get(ann, id)).toMatchObject({ space: "moved", sequence: undefined });
  expect(await lab.complete(ann, id)).toMatchObject({ isFirst: true, result: { status: "done", path: "f" } });
  expect(await lab.spaces.version(boss, "moved", "f")).toMatchObject({ sequence: 1 });
  expect((await lab.spaces.space(boss, "demo")).sequence).toBe(0);
});

test("[UPLOAD-48] streams are joined in the space that they were begun for, and in none that has got its name", async () => {
  const one = await lab.create(ann, "one", { kind: "stream", size: 5 });
  await lab.append(ann, one.id, 0, noise(5, 1));
  renameAtParts();
  const wanted = { space: "demo", path: "whole", kind: "stream" } as const;
  expect(await codeOf(lab.uploads.join(ann, wanted, [one.id], { traceId: TRACE }))).toBe("SPACE_UNKNOWN");
  expect((await lab.spaces.space(boss, "demo")).sequence).toBe(0);
  expect(await lab.uploads.list(ann, "demo", { limit: 10 })).toEqual([]);
  expect((await lab.uploads.list(ann, "moved", { limit: 10 })).map(({ id }) => id)).toEqual([one.id]);
});
