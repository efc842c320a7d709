/** What a hub counts of itself, beside what its doors count. */
import { systemPrincipal } from "#access/access.ts";
import type { Metrics, Reading } from "#gateway/api/metrics.ts";
import type { Configuration } from "#gateway/api/routes-config.ts";
import type { HubSpaces } from "#hub/hub-spaces.ts";
import type { Totals } from "#hub/moved-bytes.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Space } from "#hub/space.ts";
import type { Shares } from "#hub/shares/shares.ts";
import type { Webhooks } from "#hub/webhooks/webhooks.ts";
import type { ChunkStore } from "#store/chunk-store.ts";
import { VERSION } from "#cli/version.ts";

const WHO = systemPrincipal("metrics");
const MICROSECONDS = 1e6;
/** Conflict copies of one space that are counted. */
const CONFLICTS_COUNTED_MAX = 1000;

type Counted = {
  readonly spaces: HubSpaces;
  readonly chunks: ChunkStore;
  readonly configuration: Configuration;
  readonly webhooks: Webhooks;
  readonly shares: Shares;
};

export function hubMetrics(metrics: Metrics, stores: Counted): void {
  const ofSpaces = (read: (space: Space) => number) => async (): Promise<Reading[]> => {
    const spaces = await stores.spaces.spaces(WHO);
    return spaces.map((space) => ({ labels: { space: space.name }, value: read(space) }));
  };
  const one = (read: () => number) => (): Reading[] => [{ value: read() }];
  metrics.ask("syncline_space_sequence", "counter", "Last change of a space", ofSpaces(({ sequence }) => sequence));
  metrics.ask("syncline_space_bytes", "gauge", "Bytes of the current files", ofSpaces(({ usage }) => usage.bytes));
  metrics.ask("syncline_space_entries", "gauge", "Current entries", ofSpaces(({ usage }) => usage.entries));
  const moved = (what: string, of: () => ReadonlyMap<string, Totals>) => (): Reading[] =>
    [...of()].flatMap(([name, totals]) =>
      (["in", "out"] as const).map((direction) => ({ labels: { [what]: name, direction }, value: totals[direction] })),
    );
  const movedHelp = "Bytes of content put in and read, by all doors and agents,";
  metrics.ask("syncline_space_bytes_total", "counter", `${movedHelp} by space`, moved("space", () => stores.spaces.moved.bySpace));
  metrics.ask("syncline_user_bytes_total", "counter", `${movedHelp} by who asked`, moved("user", () => stores.spaces.moved.byUser));
  const conflicts = conflictReader(stores.spaces);
  metrics.ask("syncline_space_conflicts", "gauge", `Conflict copies in a space, counted up to ${CONFLICTS_COUNTED_MAX}`, conflicts);
  const chunks = stores.chunks;
  metrics.ask("syncline_store_chunks", "gauge", "Chunks at rest", one(() => chunks.stats().chunks));
  metrics.ask("syncline_store_plain_bytes", "gauge", "Bytes of all chunks", one(() => chunks.stats().plainBytes));
  metrics.ask("syncline_store_stored_bytes", "gauge", "Bytes of their files", one(() => chunks.stats().storedBytes));
  metrics.ask("syncline_store_damaged_chunks", "gauge", "Chunks that wait for repair", one(() => chunks.stats().damaged));
  const { configuration } = stores;
  const config = (name: string, help: string, read: (state: Configuration["state"]) => number): void =>
    metrics.ask(`syncline_config_${name}`, "gauge", help, one(() => read(configuration.state)));
  config("valid", "0: what was read last is wrong, the one before is in force", ({ valid }) => Number(valid));
  config("restart_needed", "Keys whose new value waits for a restart", ({ restartNeeded }) => restartNeeded.length);
  config("loaded_seconds", "When the one in force was read", ({ loaded }) => Date.parse(loaded) / 1000);
  const { webhooks } = stores;
  metrics.ask("syncline_webhooks", "gauge", "Webhooks by how they are", async () =>
    Object.entries(await webhooks.states()).map(([state, value]) => ({ labels: { state }, value })),
  );
  metrics.ask("syncline_shares", "gauge", "Shares by whether they can be used", async () =>
    Object.entries(await stores.shares.states()).map(([state, value]) => ({ labels: { state }, value })),
  );
  metrics.ask("syncline_share_uses_total", "counter", "Downloads and uploads through shares", () =>
    Object.entries(stores.shares.counts).map(([kind, value]) => ({ labels: { kind }, value })),
  );
  metrics.ask("syncline_webhook_deliveries_total", "counter", "Deliveries by outcome", () =>
    (["delivered", "failed"] as const).map((outcome) => ({ labels: { outcome }, value: webhooks.counts[outcome] })),
  );
  metrics.ask("syncline_webhook_changes_total", "counter", "Changes that were delivered", one(() => webhooks.counts.changes));
  metrics.ask("process_cpu_seconds_total", "counter", "User and system time", () => {
    const { user, system } = process.cpuUsage();
    return [{ value: (user + system) / MICROSECONDS }];
  });
  metrics.ask("process_resident_memory_bytes", "gauge", "Resident memory", one(() => process.memoryUsage.rss()));
  metrics.ask("process_start_time_seconds", "gauge", "When the process began", one(() => Date.now() / 1000 - process.uptime()));
  metrics.ask("syncline_build_info", "gauge", "The program", () => [{ labels: { version: VERSION }, value: 1 }]);
}

/** Counts anew only what has changed since it was asked before. */
function conflictReader(spaces: SpaceService): () => Promise<Reading[]> {
  let known = new Map<string, { readonly at: string; readonly value: number }>();
  return async () => {
    const next: typeof known = new Map();
    for (const { name, lineage, sequence } of await spaces.spaces(WHO)) {
      const at = `${lineage} ${sequence}`;
      const before = known.get(name);
      const value = before?.at === at ? before.value : await spaces.conflictCount(WHO, name, CONFLICTS_COUNTED_MAX);
      next.set(name, { at, value });
    }
    known = next;
    return [...known].map(([space, { value }]) => ({ labels: { space }, value }));
  };
}
