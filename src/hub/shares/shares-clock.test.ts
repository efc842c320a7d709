/** Shares, and a wall clock that jumps. */
import { expect, test } from "bun:test";
import { BackupLab } from "#hub/backup/backup-fixture.ts";
import { HELD_MS_MAX } from "#hub/commit-times.ts";
import { ShareTable, SHARE_MIGRATIONS } from "#hub/shares/share-table.ts";
import { Shares } from "#hub/shares/shares.ts";
import type { Clock } from "#platform/host.ts";
import { migrate } from "#platform/sql/migrate.ts";

const DAY_MS = 86_400_000;

test("[SHARE-17] a clock that jumps a year ahead, and is put right, forgets no share whose time is to come", async () => {
  using lab = new BackupLab();
  const { clock: real, random } = lab.host;
  let [wallMs, monoMs] = [real.nowMs(), 0];
  const clock: Clock = { nowMs: () => wallMs, monotonicMs: () => monoMs, sleep: (ms, signal) => real.sleep(ms, signal) };
  (lab.host as { clock: Clock }).clock = clock;
  await using hub = await lab.open();
  const { db, access, spaces } = hub;
  await migrate(db, "shares", SHARE_MIGRATIONS);
  const by = { id: "system:test" };
  await access.users.create(by, "ann", { roles: ["admin"] });
  const { principal: ann } = (await access.users.forSignIn("ann"))!;
  await spaces.createSpace(ann, "demo");
  const shares = new Shares({ table: new ShareTable(db), spaces, access, clock, random });
  const share = (expiresMs: number | undefined) =>
    shares.create(ann, "demo", { path: "", kind: "read", note: "", password: undefined, expiresMs, downloadsMax: undefined }, by);
  const { secret } = await share(wallMs + 14 * DAY_MS);
  wallMs += 365 * DAY_MS;
  await share(undefined);
  wallMs -= 365 * DAY_MS;
  expect(await shares.open(secret)).toBeDefined();
  // What stays so is believed.
  wallMs += 365 * DAY_MS;
  for (const passedMs of [0, HELD_MS_MAX]) {
    [wallMs, monoMs] = [wallMs + passedMs, monoMs + passedMs];
    await share(undefined);
  }
  expect(await shares.list(ann, "demo")).toHaveLength(3);
});
