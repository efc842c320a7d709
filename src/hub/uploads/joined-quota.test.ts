/** Streams that are joined where there is little room. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { systemPrincipal } from "#access/access.ts";
import { SynclineError } from "#model/error.ts";
import { TRACE, UploadLab, codeOf, noise, person } from "#hub/uploads/uploads-fixture.ts";

const boss = systemPrincipal("test");
const ann = person("ann");

let lab: UploadLab;
let end: () => Promise<void>;
beforeEach(async () => void ({ lab, end } = await UploadLab.onFile()));
afterEach(() => end());

async function stream(size: number, seed: number): Promise<string> {
  const { id } = await lab.create(ann, `part-${seed}`, { kind: "stream", size });
  await lab.append(ann, id, 0, noise(size, seed));
  return id;
}
const joined = (ids: readonly string[], path = "whole"): Promise<string> =>
  codeOf(lab.uploads.join(ann, { space: "demo", path, kind: "stream" }, ids, { traceId: TRACE }));

test("[UPLOAD-46] streams that are joined are not counted twice against the quota, and nothing grows past it", async () => {
  await lab.spaces.updateSpace(boss, "demo", { settings: { quotaBytes: 1000 } });
  const ids = [await stream(300, 1), await stream(400, 2)];
  expect(await joined([...ids, ids[1]!])).toBe("QUOTA");
  const other = await lab.create(ann, "other", { size: 300 });
  expect(await joined(ids)).toBe("none");
  expect((await lab.file("whole")).bytes.length).toBe(700);
  await lab.uploads.abort(ann, other.id);
  expect(await joined(ids, "again")).toBe("QUOTA");
  expect((await lab.spaces.space(boss, "demo")).usage.bytes).toBe(700);
});

test("[UPLOAD-49] streams that were joined are told as joined, also where the note of it was refused or the hub died: they are joined once", async () => {
  const ids = [await stream(300, 1), await stream(400, 2)];
  const { finish } = lab.rows;
  lab.rows.finish = () => Promise.reject(new SynclineError({ code: "DISK", op: "test", message: "the disk is full" }));
  const done = await lab.uploads.join(ann, { space: "demo", path: "whole", kind: "stream" }, ids, { traceId: TRACE });
  const { version } = await lab.file("whole");
  expect(done).toMatchObject({ isFirst: true, result: { status: "done" }, upload: { sequence: version.sequence, received: 700, size: 700 } });
  lab.rows.finish = finish;
  // Who has not heard of it, because the hub died, asks once more; and somebody has changed the file since.
  await lab.crash();
  await lab.put("whole", noise(3, 3));
  const completion = { traceId: TRACE, expect: { kind: "absent" } } as const;
  const again = await lab.uploads.join(ann, { space: "demo", path: "whole", kind: "stream" }, ids, completion);
  expect(again).toMatchObject({ isFirst: false, result: { status: "done", version: { sequence: version.sequence } }, upload: { sequence: version.sequence } });
  expect((await lab.file("whole")).bytes.length).toBe(3);
  // Somewhere else they are another file.
  expect(await joined(ids, "elsewhere")).toBe("none");
  expect((await lab.file("elsewhere")).bytes.length).toBe(700);
});
