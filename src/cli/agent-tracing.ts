/** What an agent tells a collector of traces: off unless its configuration names one. */
import type { AgentLog } from "#agent/link-context.ts";
import { otlpSettingsOf } from "#config/otlp-settings.ts";
import { Exporter } from "#observe/exporter.ts";
import { Tracer } from "#observe/trace.ts";
import type { Host } from "#platform/host.ts";
import { readSmallFile } from "#cli/local-files.ts";
import { VERSION } from "#cli/version.ts";

export type AgentOtlp = { readonly endpoint: string; readonly headersFile: string | undefined; readonly ratio: number };

/** `run` exports until the signal. @throws {SynclineError} USAGE for a file of headers that is none */
export function agentTracing(
  { endpoint, headersFile, ratio }: AgentOtlp,
  { host, name, log }: { readonly host: Host; readonly name: string; readonly log: AgentLog },
): { readonly tracer: Tracer; run(signal: AbortSignal): Promise<void> } {
  const keys = { otlpEndpoint: endpoint, ...(headersFile === undefined ? {} : { otlpHeadersFile: headersFile }) };
  const settings = otlpSettingsOf(keys, (file) => readSmallFile("otlp-headers-file", file));
  const exporter = new Exporter({
    settings: () => settings,
    collect: undefined,
    resource: { "service.name": "syncline-agent", "service.version": VERSION, "service.instance.id": name, "host.name": name },
    version: VERSION,
    clock: host.clock,
    onState: (isWorking, error) =>
      isWorking ? log("collector takes traces again", {}) : log("collector takes no traces", { error: error ?? "" }),
  });
  return {
    tracer: new Tracer(host.random, (span) => exporter.add(span), () => ratio),
    run: (signal) => exporter.run(signal),
  };
}
