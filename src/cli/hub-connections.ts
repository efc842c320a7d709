/** The limit of the main listener's connections, as the hub's configuration has it, told and counted. */
import type { HubConfig } from "#config/hub-config.ts";
import { CONNECTIONS_MAX_FALLBACK } from "#config/hub-keys.ts";
import type { Metrics } from "#gateway/api/metrics.ts";
import type { ApiLog } from "#gateway/api/route.ts";
import { messageOf } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { openSockets } from "#platform/host-bun.ts";
import { ConnectionLimit } from "#platform/net/connection-limit.ts";

/** One line for what goes on all the time. */
const TOLD_MS = 60_000;

/** Undefined, and told, where the system does not say which connections there are. */
export function limitConnections(
  { clock, log }: { readonly clock: Clock; readonly log: ApiLog },
  config: () => HubConfig,
  metrics: Metrics,
): ConnectionLimit | undefined {
  const sockets = openSockets();
  if (sockets === undefined) {
    log.info("connections of the main listener are not limited: this system does not say which there are", {});
    return undefined;
  }
  let toldMono = Number.NEGATIVE_INFINITY;
  let untold = 0;
  let told = "";
  const limit: ConnectionLimit = new ConnectionLimit({
    sockets,
    clock,
    max: () => Number(config().connectionsMax ?? CONNECTIONS_MAX_FALLBACK),
    onCut: (cut, open) => {
      untold += cut;
      if (clock.monotonicMs() - toldMono < TOLD_MS) return;
      toldMono = clock.monotonicMs();
      const hint = "see who opens so many (ss -tn); connectionsMax in the configuration is the limit, half of LimitNOFILE the most";
      log.error("too many connections: those that rested were cut", { cut: untold, open, limit: limit.max, hint });
      untold = 0;
    },
    onTrouble: (error) => {
      const trouble = messageOf(error);
      if (trouble !== told) log.error("connections could not be counted", { error: trouble });
      told = trouble;
    },
  });
  const wanted = Number(config().connectionsMax ?? CONNECTIONS_MAX_FALLBACK);
  if (limit.max < wanted) log.info("fewer connections than wished for: half of the files that may be open", { wanted, limit: limit.max });
  metrics.ask("syncline_http_connections_cut_total", "counter", "Resting connections that were cut because there were too many", () => [
    { value: limit.cut },
  ]);
  return limit;
}
