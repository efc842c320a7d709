/**
 * A hub's configuration from all places that say something of it. The command line wins over the environment, that over
 * the file of this host's kind, that over the file for all, that over the default. Lists replace each other whole.
 */
import { z } from "zod";
import { SynclineError } from "#model/error.ts";
import { readYaml } from "#platform/yaml/checked-yaml.ts";
import { type HUB_KEYS, HUB_KEY_NAMES, type HubKey, environmentOf, flagOf, hubKey } from "#config/hub-keys.ts";

const LIST_ITEMS_MAX = 1000;

type ValueOf<K extends HubKey> = (typeof HUB_KEYS)[K]["type"] extends "list" ? readonly string[] : string;
/** A key that nothing was said of is absent. */
export type HubConfig = { readonly [K in HubKey]?: ValueOf<K> };

function schemaOf(key: HubKey): z.ZodType {
  const { type, pattern, grammar } = hubKey(key);
  // YAML takes a text of digits for a number.
  const one = z.preprocess((given) => (typeof given === "number" ? String(given) : given), z.string().regex(pattern, grammar));
  return type === "list" ? z.array(one).min(1).max(LIST_ITEMS_MAX) : one;
}

const FILE = z
  .strictObject(Object.fromEntries(HUB_KEY_NAMES.map((key) => [key, schemaOf(key).optional()])))
  .nullable()
  .transform((file) => file ?? {});

/** One place that says something of a key. */
export type Said = { readonly source: string; readonly value: unknown };

export type HubConfigSources = {
  /** Options of the command line by key, as they were written. */
  readonly line: Readonly<Partial<Record<HubKey, string>>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The configuration files, the one that wins first. */
  readonly files: readonly { readonly name: string; readonly text: string }[];
};

export type ResolvedHubConfig = {
  readonly config: HubConfig;
  /** Every place that says something, the one that holds first; the default always comes last. */
  readonly chains: Readonly<Record<HubKey, readonly Said[]>>;
};

/** @throws {SynclineError} USAGE that names the place and the key */
export function resolveHubConfig(sources: HubConfigSources): ResolvedHubConfig {
  const files = sources.files.map(({ name, text }): [string, Record<string, unknown>] => [name, readYaml(text, name, FILE)]);
  const config: Record<string, unknown> = {};
  const chains = {} as Record<HubKey, Said[]>;
  for (const key of HUB_KEY_NAMES) {
    const chain: Said[] = [];
    const onLine = sources.line[key];
    const variable = sources.environment[environmentOf(key)];
    if (onLine !== undefined) chain.push(said(key, `--${flagOf(key)}`, onLine));
    if (variable !== undefined && variable !== "") chain.push(said(key, environmentOf(key), variable));
    for (const [name, file] of files) if (file[key] !== undefined) chain.push({ source: name, value: file[key] });
    if (chain[0] !== undefined) config[key] = chain[0].value;
    chains[key] = [...chain, { source: "default", value: hubKey(key).fallback }];
  }
  return { config: config as HubConfig, chains };
}

function said(key: HubKey, source: string, text: string): Said {
  const value = hubKey(key).type === "list" ? text.split(",").map((one) => one.trim()) : text;
  const result = schemaOf(key).safeParse(value);
  if (result.success) return { source, value: result.data };
  throw new SynclineError({
    code: "USAGE",
    op: "read configuration",
    message: `${source}: "${shownValue(key, text)}" is not ${result.error.issues[0]!.message}`,
    hint: `syncline config explain ${key}`,
  });
}

/** A value as it may be shown: passwords in URLs are left out. */
export function shownValue(key: HubKey, value: unknown): string {
  const text = Array.isArray(value) ? value.join(", ") : String(value);
  return hubKey(key).isSecret === true ? text.replace(/(:\/\/[^:/@]*):[^@]*@/, "$1:...@") : text;
}
