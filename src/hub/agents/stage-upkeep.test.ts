import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openHost } from "#platform/host-bun.ts";
import { STAGE_UNUSED_MS, removeUnusedStages } from "#hub/agents/stage-upkeep.ts";

test("[AGENT-24] stages of sessions that no link has any more are removed when they were not used for a day, others stay", () => {
  const folder = mkdtempSync(join(tmpdir(), "syncline-stages-"));
  const [gone, used, young] = ["a", "b", "c"].map((digit) => digit.repeat(32)) as [string, string, string];
  for (const name of [gone, used, young, "other"]) {
    mkdirSync(join(folder, name, "deep"), { recursive: true });
    writeFileSync(join(folder, name, "deep", "partial"), "x");
  }
  const old = new Date(Date.now() - STAGE_UNUSED_MS - 1000);
  for (const name of [gone, used, "other"]) utimesSync(join(folder, name), old, old);
  expect(removeUnusedStages(openHost(), folder, (session) => session === used)).toBe(1);
  expect(readdirSync(folder).toSorted()).toEqual([used, young, "other"]);
  expect(removeUnusedStages(openHost(), folder, () => false)).toBe(1);
  rmSync(folder, { recursive: true });
});
