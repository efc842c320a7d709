/** What an agent was told, from all places: options win over the environment, that over the file. Lists replace each other. */
import { resolve } from "node:path";
import { type AgentFile, readAgentFile } from "#config/agent-config.ts";
import type { AgentRequest } from "#cli/engine.ts";
import { parseLink } from "#cli/link-text.ts";
import { readSmallFile } from "#cli/local-files.ts";
import type { Given } from "#cli/parse.ts";
import { usage } from "#cli/values.ts";

const HOOK_TIMEOUT_MS_DEFAULT = 60_000;

export type AgentConfiguration = Omit<AgentRequest, "log" | "onReload">;

/** What of it an agent that runs takes over; all else needs a restart. */
export const RELOADABLE = ["links", "ignore", "hooks", "mayInstall"] as const satisfies readonly (keyof AgentConfiguration)[];

/** @throws {SynclineError} USAGE that names option, or file, line and key */
export function agentConfiguration(given: Given): AgentConfiguration {
  const file: AgentFile = given.config === undefined ? {} : readAgentFile(readSmallFile("config", given.config), given.config);
  const hub = given.hub ?? file.hub;
  const data = given.data ?? file.data;
  if (hub === undefined) throw usage("which hub?", "--hub https://HOST:PORT or syncline://HOST:PORT; or hub in the file of --config");
  if (data === undefined) throw usage("where are key and state to be kept?", "--data DIR; or data in the file of --config");
  return {
    hub,
    name: given.name ?? file.name,
    dataDir: resolve(data),
    joinTokenFile: given["join-token-file"] ?? file.joinTokenFile,
    fingerprint: given.fingerprint ?? file.fingerprint,
    acceptNew: given["accept-new"] ?? file.acceptNew ?? false,
    links: given.link?.map((text) => parseLink(text)) ?? file.links ?? [],
    ignore: given.exclude ?? file.exclude ?? [],
    hooks: {
      before: given["hook-before"] ?? file.hooks?.before,
      after: given["hook-after"] ?? file.hooks?.after,
      timeoutMs: given["hook-timeout"] ?? file.hooks?.timeout ?? HOOK_TIMEOUT_MS_DEFAULT,
      onAfterFailure: given["hook-failure"] ?? file.hooks?.onAfterFailure ?? "report",
    },
    mayInstall: given["allow-install"] ?? file.allowInstall ?? false,
    otlp: otlpOf(file),
  };
}

function otlpOf({ otlpEndpoint: endpoint, otlpHeadersFile: headersFile, traceRatio }: AgentFile): AgentConfiguration["otlp"] {
  return endpoint === undefined ? undefined : { endpoint, headersFile, ratio: Number(traceRatio ?? "1") };
}

/** Keys that are other than before and that only a restart takes over. */
export function needRestart(before: AgentConfiguration, next: AgentConfiguration): string[] {
  const keys = Object.keys(next) as (keyof AgentConfiguration)[];
  const differs = (key: keyof AgentConfiguration): boolean => JSON.stringify(before[key]) !== JSON.stringify(next[key]);
  return keys.filter((key) => !(RELOADABLE as readonly string[]).includes(key) && differs(key));
}
