/** The configuration of a hub as a command was given it: options, environment, files. */
import { existsSync } from "node:fs";
import { join, parse as parsePath, resolve } from "node:path";
import { type ResolvedHubConfig, resolveHubConfig } from "#config/hub-config.ts";
import { HUB_KEY_NAMES, type HubKey, flagOf } from "#config/hub-keys.ts";
import type { Context } from "#cli/context.ts";
import { readSmallFile } from "#cli/local-files.ts";
import { usage } from "#cli/values.ts";

const ENVIRONMENT = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;

/**
 * The files that the configuration may come from, the one that wins first: beside hub.yaml hub.prod.yaml, where this
 * host's environment is prod. That one need not be there.
 *
 * @throws {SynclineError} USAGE
 */
export function configurationFiles({ parsed }: Context): readonly string[] {
  const { config: file, env } = parsed.given;
  if (env === undefined) return file === undefined ? [] : [file];
  if (!ENVIRONMENT.test(env)) throw usage(`--env: "${env}" is no name of an environment`, "letters, digits, - and _, like prod");
  if (file === undefined) {
    // As a variable of the whole host it is for whoever has a file.
    if (!parsed.words.some((word) => word.startsWith("--env="))) return [];
    throw usage("--env goes with --config", "hub.prod.yaml is looked for beside hub.yaml");
  }
  const { dir, name, ext } = parsePath(file);
  return [join(dir, `${name}.${env}${ext}`), file];
}

/** @throws {SynclineError} USAGE that names file, line and key */
export function hubConfiguration(context: Context): ResolvedHubConfig {
  const { parsed, environment } = context;
  const names = configurationFiles(context);
  const isThere = (name: string): boolean => name === names.at(-1) || existsSync(name);
  const line: Partial<Record<HubKey, string>> = {};
  for (const key of HUB_KEY_NAMES) {
    const head = `--${flagOf(key)}=`;
    const word = parsed.words.findLast((one) => one.startsWith(head));
    if (word !== undefined) line[key] = word.slice(head.length);
  }
  return resolveHubConfig({
    line,
    environment,
    files: names.filter(isThere).map((name) => ({ name, text: readSmallFile("config", name) })),
  });
}

/** Where the hub keeps everything. */
export function hubDataDir(context: Context, { config }: ResolvedHubConfig): string {
  return config.data === undefined ? join(context.stateDir(), "hub") : resolve(config.data);
}
