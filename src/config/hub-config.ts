/**
 * The keys of a hub's configuration: one table, from which the keys of the file, the names in the environment, the
 * options of the command line and their help are all made. A key that is called `tlsNames` in the file is
 * `--tls-names` on the line and SYNCLINE_TLS_NAMES in the environment.
 *
 * The command line wins over the environment, that over the file, that over the default. Lists replace each other whole.
 */
import { z } from "zod";
import { SynclineError } from "#model/error.ts";
import { readYaml } from "#platform/yaml/checked-yaml.ts";

const TEXT = z.string().min(1);
/** The address that a hub listens on when nothing else was said. */
const LISTEN_DEFAULT = "127.0.0.1:7830";

type KeySpec = {
  /** Of the value as the file has it. */
  readonly schema: z.ZodType;
  /** From the text of an option or a variable to what the file would have. */
  readonly fromText: (text: string) => unknown;
  /** As it would be written. */
  readonly fallback: string;
  readonly help: string;
  /** What stands for the value in help. */
  readonly value: string;
  /** Its value holds a secret: never printed as it is. */
  readonly isSecret?: true;
};

const same = (text: string): unknown => text;
const list = (text: string): unknown => text.split(",").map((one) => one.trim());

export const HUB_KEYS = {
  data: {
    schema: TEXT,
    fromText: same,
    fallback: "hub, in the state directory",
    help: "where the hub keeps everything; one process at a time",
    value: "DIR",
  },
  listen: {
    schema: z.string().regex(/^(\[[0-9a-fA-F:.]+\]|[^:[\]]*):\d{1,5}$/, "HOST:PORT, like 0.0.0.0:7830 or [::]:7830"),
    fromText: same,
    fallback: LISTEN_DEFAULT,
    help: "address for HTTP; port 0 picks one",
    value: "HOST:PORT",
  },
  tls: {
    schema: z.enum(["auto", "always"]),
    fromText: same,
    fallback: "auto",
    help: "auto: plain HTTP on loopback addresses, TLS on all others; always: TLS on all",
    value: "auto|always",
  },
  tlsNames: {
    schema: z.array(TEXT).min(1).max(64),
    fromText: list,
    fallback: "localhost, the host's name, and the address listened on",
    help: "names and addresses for which the hub's certificate is made",
    value: "NAME,…",
  },
  database: {
    schema: z.string().regex(/^(sqlite|postgres(ql)?:\/\/.+)$/, "sqlite, or postgres://USER:PASSWORD@HOST/NAME"),
    fromText: same,
    fallback: "sqlite",
    help: "where metadata is kept: sqlite (in the data directory), or a PostgreSQL server by URL",
    value: "URL",
    isSecret: true,
  },
  bootstrap: {
    schema: TEXT,
    fromText: same,
    fallback: "none",
    help: "YAML file that declares spaces, users and keys which must exist; applied at each start",
    value: "FILE",
  },
} as const satisfies Record<string, KeySpec>;

export type HubKey = keyof typeof HUB_KEYS;
export type HubConfig = { readonly [K in HubKey]?: z.infer<(typeof HUB_KEYS)[K]["schema"]> };

export const HUB_KEY_NAMES = Object.keys(HUB_KEYS) as HubKey[];

/** "tlsNames" is --tls-names on the command line. */
export const flagOf = (key: HubKey): string => key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
export const environmentOf = (key: HubKey): string => `SYNCLINE_${flagOf(key).toUpperCase().replaceAll("-", "_")}`;

const spec = (key: HubKey): KeySpec => HUB_KEYS[key];

const FILE = z
  .strictObject(Object.fromEntries(HUB_KEY_NAMES.map((key) => [key, spec(key).schema.optional()])))
  .nullable()
  .transform((file) => file ?? {});

/** One place that says something of a key; the first in a chain is the one that holds. */
export type Said = { readonly source: string; readonly value: unknown };

export type HubConfigSources = {
  /** Options of the command line by key, as they were written. */
  readonly line: Readonly<Partial<Record<HubKey, string>>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** The configuration file, when there is one. */
  readonly file: { readonly name: string; readonly text: string } | undefined;
};

export type ResolvedHubConfig = {
  readonly config: HubConfig;
  /** Every place that says something, the one that holds first; the default always comes last. */
  readonly chains: Readonly<Record<HubKey, readonly Said[]>>;
};

/** @throws {SynclineError} USAGE that names the place and the key */
export function resolveHubConfig(sources: HubConfigSources): ResolvedHubConfig {
  const { file } = sources;
  const inFile: Record<string, unknown> = file === undefined ? {} : readYaml(file.text, file.name, FILE);
  const config: Record<string, unknown> = {};
  const chains = {} as Record<HubKey, Said[]>;
  for (const key of HUB_KEY_NAMES) {
    const chain: Said[] = [];
    const onLine = sources.line[key];
    const variable = sources.environment[environmentOf(key)];
    if (onLine !== undefined) chain.push(said(key, `--${flagOf(key)}`, onLine));
    if (variable !== undefined && variable !== "") chain.push(said(key, environmentOf(key), variable));
    if (inFile[key] !== undefined) chain.push({ source: file!.name, value: inFile[key] });
    if (chain[0] !== undefined) config[key] = chain[0].value;
    chains[key] = [...chain, { source: "default", value: spec(key).fallback }];
  }
  return { config: config as HubConfig, chains };
}

function said(key: HubKey, source: string, text: string): Said {
  const result = spec(key).schema.safeParse(spec(key).fromText(text));
  if (result.success) return { source, value: result.data };
  throw new SynclineError({
    code: "USAGE",
    op: "read configuration",
    message: `${source}: ${result.error.issues[0]!.message}`,
    hint: `syncline config explain ${key}`,
  });
}

/** A value as it may be shown: passwords in URLs are left out. */
export function shownValue(key: HubKey, value: unknown): string {
  const text = Array.isArray(value) ? value.join(", ") : String(value);
  return spec(key).isSecret === true ? text.replace(/(:\/\/[^:/@]*):[^@]*@/, "$1:…@") : text;
}

export const LISTEN_FALLBACK = LISTEN_DEFAULT;
