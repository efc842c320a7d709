import { expect, test } from "bun:test";
import { CARRIED_MS, CarriedApprovals } from "#hub/agents/carried-approvals.ts";
import { PathSet } from "#hub/agents/path-set.ts";
import { AgentRegistry } from "#hub/agents/registry.ts";
import { EVERYTHING, TestHub } from "#hub/hub-fixture.ts";

const COUNTS = { creates: 0, replaces: 0, metadata: 0, removes: 0, moves: 0, bytes: 0 };
test("[CARRY-7] approvals that are too old to be carried over are forgotten, also while the hub runs", async () => {
  await using hub = await TestHub.open();
  const { database: db, spaces } = hub;
  const { random } = hub.host;
  let nowMs = 1_700_000_000_000;
  const clock = { ...hub.host.clock, nowMs: () => nowMs };
  await spaces.createSpace(hub.who, "demo");
  const registry = await AgentRegistry.open({ db, clock, random });
  await registry.joined("web1", "aa");
  const { id: link } = await registry.createLink({ host: "web1", root: "/a", space: "demo" });
  const carried = await CarriedApprovals.open({ db, registry, spaces, access: EVERYTHING, clock });
  const approve = async (hash: string): Promise<void> => {
    const removals = { host: new PathSet().name, space: new PathSet().name };
    const plan = { link, hash, reason: "too many", counts: { alpha: COUNTS, beta: COUNTS }, changes: [], total: 0, removals };
    await carried.approved(hub.who, { link, host: "web1", plan, heldMs: nowMs, approvedBy: "ann", approvedMs: nowMs });
  };
  const kept = async (): Promise<unknown[]> => (await db.all("SELECT hash FROM agent_carried_approvals ORDER BY hash", [])).map(({ hash }) => hash);
  await approve("one");
  nowMs += CARRIED_MS;
  await approve("two");
  expect(await kept()).toEqual(["one", "two"]);
  nowMs += 1;
  await approve("three");
  expect(await kept()).toEqual(["three", "two"]);
});
