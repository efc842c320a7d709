/** Unfinished uploads, and a wall clock that jumps. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { HELD_MS_MAX } from "#hub/commit-times.ts";
import { UploadLab, codeOf, noise, person } from "#hub/uploads/uploads-fixture.ts";

const ann = person("ann");
const YEAR_MS = 365 * 86_400_000;
const never = new AbortController().signal;

let lab: UploadLab;
let end: () => Promise<void>;
beforeEach(async () => void ({ lab, end } = await UploadLab.onFile()));
afterEach(() => end());

test("[UPLOAD-50] a clock that jumps a year ahead, and is put right, costs nobody what has come of an upload", async () => {
  const { id } = await lab.create(ann, "f");
  await lab.part(ann, id, 1, noise(5, 1));
  lab.aheadMs = YEAR_MS;
  expect([await lab.uploads.sweep(never), (await lab.uploads.get(ann, id)).received]).toEqual([0, 5]);
  lab.nowMs += HELD_MS_MAX - 1;
  expect(await lab.uploads.sweep(never)).toBe(0);
  lab.aheadMs = 0;
  expect((await lab.complete(ann, id)).result.status).toBe("done");
  // What stays so is believed.
  const late = await lab.create(ann, "g");
  lab.aheadMs = YEAR_MS;
  expect(await lab.uploads.sweep(never)).toBe(0);
  lab.nowMs += HELD_MS_MAX;
  // What is known of the one that is complete goes, too.
  expect(await lab.uploads.sweep(never)).toBe(2);
  expect(await codeOf(lab.uploads.get(ann, late.id))).toBe("NOT_FOUND");
});
