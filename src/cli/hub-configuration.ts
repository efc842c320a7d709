/** The configuration of a hub as a command was given it: options, environment, file. */
import { join, resolve } from "node:path";
import { type ResolvedHubConfig, resolveHubConfig } from "#config/hub-config.ts";
import { HUB_KEY_NAMES, type HubKey, flagOf } from "#config/hub-keys.ts";
import type { Context } from "#cli/context.ts";
import { readSmallFile } from "#cli/local-files.ts";

/** @throws {SynclineError} USAGE that names file, line and key */
export function hubConfiguration({ parsed, environment }: Context): ResolvedHubConfig {
  const file = parsed.given.config;
  const line: Partial<Record<HubKey, string>> = {};
  for (const key of HUB_KEY_NAMES) {
    const head = `--${flagOf(key)}=`;
    const word = parsed.words.findLast((one) => one.startsWith(head));
    if (word !== undefined) line[key] = word.slice(head.length);
  }
  return resolveHubConfig({
    line,
    environment,
    file: file === undefined ? undefined : { name: file, text: readSmallFile("config", file) },
  });
}

/** Where the hub keeps everything. */
export function hubDataDir(context: Context, { config }: ResolvedHubConfig): string {
  return config.data === undefined ? join(context.stateDir(), "hub") : resolve(config.data);
}
