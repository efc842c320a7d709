/** What Prometheus has to know to wake somebody: how hosts and links are, what waits, what is full, what runs out. */
import { X509Certificate } from "node:crypto";
import { type StatsFs, statfsSync } from "node:fs";
import { systemPrincipal } from "#access/access.ts";
import type { Metrics, Reading } from "#gateway/api/metrics.ts";
import type { HubAgents, LinkView } from "#hub/agents/hub-agents.ts";

const WHO = systemPrincipal("metrics");

export type FleetCounted = {
  readonly agents: HubAgents;
  readonly dataDir: string;
  /** PEM of what the hub serves with now, and of its authority. */
  readonly certificates: () => Readonly<Record<"server" | "authority", string>>;
};

export function fleetMetrics(metrics: Metrics, { agents, dataDir, certificates }: FleetCounted): void {
  const ofLinks = (read: (link: LinkView) => number | undefined) => (): Reading[] =>
    agents.links(WHO).flatMap((view) => {
      const value = read(view);
      const { link, host } = view;
      return value === undefined ? [] : [{ labels: { host, space: link.space, link: link.id }, value }];
    });
  metrics.ask("syncline_agent_up", "gauge", "1: the agent of a host is heard", () =>
    agents.hosts(WHO).map(({ name, status }) => ({ labels: { host: name }, value: Number(status !== "silent") })),
  );
  metrics.ask("syncline_agent_clock_skew_seconds", "gauge", "How far the clock of a host is ahead of the hub's", () =>
    agents.hosts(WHO).flatMap(({ name, skewMs }) => (skewMs === undefined ? [] : [{ labels: { host: name }, value: skewMs / 1000 }])),
  );
  metrics.ask("syncline_link_status", "gauge", "1 for the status that a link has", () =>
    agents.links(WHO).map(({ link, host, status }) => ({ labels: { host, space: link.space, link: link.id, status }, value: 1 })),
  );
  const ofLink = (name: string, help: string, read: (link: LinkView) => number | undefined): void =>
    metrics.ask(`syncline_link_${name}`, "gauge", help, ofLinks(read));
  ofLink("lag_seconds", "For how long a link has had something to carry over", ({ lagMs }) => lagMs / 1000);
  ofLink("backlog_changes", "Changes that a link has to carry over", ({ state }) => state?.backlog);
  ofLink("conflicts", "Open conflicts of a link", ({ state }) => state?.conflicts);
  ofLink("problems", "Paths that a link cannot keep the same", ({ state }) => state?.problems);
  metrics.ask("syncline_holds_waiting", "gauge", "Plans that wait for a person", async () => {
    const holds = await agents.holds(WHO);
    return [{ value: holds.filter(({ approvedBy }) => approvedBy === undefined).length }];
  });
  const disk = (read: (stat: StatsFs) => number) => (): Reading[] => [{ value: read(statfsSync(dataDir)) }];
  metrics.ask("syncline_disk_free_bytes", "gauge", "Free on the disk of the data directory", disk((stat) => stat.bavail * stat.bsize));
  metrics.ask("syncline_disk_bytes", "gauge", "Size of the disk of the data directory", disk((stat) => stat.blocks * stat.bsize));
  metrics.ask("syncline_certificate_expires_seconds", "gauge", "When a certificate ends, in seconds since 1970", () =>
    Object.entries(certificates()).map(([name, pem]) => ({
      labels: { certificate: name },
      value: Date.parse(new X509Certificate(pem).validTo) / 1000,
    })),
  );
}
