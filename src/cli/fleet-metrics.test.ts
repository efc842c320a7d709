import { expect, test } from "bun:test";
import { fleetMetrics } from "#cli/fleet-metrics.ts";
import { Metrics } from "#gateway/api/metrics.ts";
import { ADMIN, AgentHub } from "#testing/agent-hub.ts";

const HOSTS = 600;

test("[OBSERVE-24] each host and each link of a hub is told to whoever watches it, however many there are", async () => {
  await using hub = await AgentHub.start();
  for (let at = 0; at < HOSTS; at++) {
    await hub.registry.joined(`web${at}`, "aa");
    await hub.agents.createLink(ADMIN, { host: `web${at}`, root: "/srv/site", space: "demo" });
  }
  const metrics = new Metrics();
  const { certificate } = hub.access.authority;
  fleetMetrics(metrics, { agents: hub.agents, dataDir: hub.dataDir, certificates: () => ({ server: certificate, authority: certificate }) });
  const text = await metrics.text();
  for (const name of ["syncline_agent_up", "syncline_link_status", "syncline_link_lag_seconds"]) {
    expect([name, text.split("\n").filter((line) => line.startsWith(`${name}{`)).length]).toEqual([name, HOSTS]);
  }
});
