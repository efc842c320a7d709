/**
 * The keys of a hub's configuration: one table, from which the keys of the file, the names in the environment, the
 * options of the command line, their help and what validates them are all made. It imports nothing but other keys,
 * because every command reads it for its help.
 *
 * A key that is called `tlsNames` in the file is `--tls-names` on the line and SYNCLINE_TLS_NAMES in the environment.
 */
import { DOOR_KEYS } from "#config/door-keys.ts";
import { LISTEN } from "#config/listen-key.ts";
import { OBSERVE_KEYS } from "#config/observe-keys.ts";
import { OIDC_KEYS } from "#config/oidc-keys.ts";

export type KeySpec = {
  /** How it is written in the file; in an option or a variable the items of a list are separated by commas. */
  readonly type: "text" | "list";
  /** What a text, or each item of a list, must match. */
  readonly pattern: RegExp;
  /** The pattern in words. */
  readonly grammar: string;
  /** The default as it would be written, or in words. */
  readonly fallback: string;
  readonly help: string;
  /** What stands for the value in help. */
  readonly value: string;
  /** Its value may hold a password: never printed as it is. */
  readonly isSecret?: true;
  /** A hub that runs takes a new value; the others need a restart. */
  readonly isReloadable?: true;
};

/** Where a hub listens when nothing else was said. */
export const LISTEN_FALLBACK = "127.0.0.1:7830";

export const REQUESTS_MAX_FALLBACK = "1024";
export const CONNECTIONS_MAX_FALLBACK = "8192";

export const HUB_KEYS = {
  data: {
    type: "text",
    pattern: /^.+$/,
    grammar: "a directory",
    fallback: "hub, in the state directory",
    help: "where the hub keeps everything; one process at a time",
    value: "DIR",
  },
  listen: {
    ...LISTEN,
    grammar: "HOST:PORT, like 0.0.0.0:7830 or [::]:7830",
    fallback: LISTEN_FALLBACK,
    help: "address for HTTP; port 0 picks one",
  },
  syncListen: {
    ...LISTEN,
    grammar: "HOST:PORT, like 0.0.0.0:7831 or [::]:7831",
    fallback: "the address of listen, one port above, or any free port where that is taken",
    help: "address on which agents connect (TLS always); port 0 picks one",
  },
  hostLinks: {
    type: "list",
    pattern: /^[a-z0-9][a-z0-9.-]{0,62}$/,
    grammar: "all, none, or names of spaces",
    fallback: "all",
    help: "spaces that hosts may link their own directories to; links made at the hub need no leave",
    value: "NAME,...",
    isReloadable: true,
  },
  tls: {
    type: "text",
    pattern: /^(auto|always)$/,
    grammar: "auto or always",
    fallback: "auto",
    help: "auto: plain HTTP on loopback addresses, TLS on all others; always: TLS on all",
    value: "auto|always",
  },
  tlsNames: {
    type: "list",
    pattern: /^[A-Za-z0-9.:_-]{1,253}$/,
    grammar: "host names and IP addresses",
    fallback: "localhost, the host's name, and the address listened on",
    help: "names and addresses for which the hub's certificate is made",
    value: "NAME,...",
  },
  database: {
    type: "text",
    pattern: /^(sqlite|postgres(ql)?:\/\/.+)$/,
    grammar: "sqlite, or postgres://USER:PASSWORD@HOST/NAME",
    fallback: "sqlite",
    help: "where metadata is kept: sqlite (in the data directory), or a PostgreSQL server by URL",
    value: "URL",
    isSecret: true,
  },
  bootstrap: {
    type: "text",
    pattern: /^.+$/,
    grammar: "a file",
    fallback: "none",
    help: "YAML file that declares what must exist (spaces, users, keys); applied at each start and reload",
    value: "FILE",
    isReloadable: true,
  },
  logLevel: {
    type: "text",
    pattern: /^(info|error)$/,
    grammar: "info or error",
    fallback: "info",
    help: "which lines the hub's log has",
    value: "info|error",
    isReloadable: true,
  },
  requestsMax: {
    type: "text",
    pattern: /^[1-9]\d{0,5}$/,
    grammar: "a count up to 999999",
    fallback: REQUESTS_MAX_FALLBACK,
    help: "requests at work at once; others are told to come again",
    value: "N",
    isReloadable: true,
  },
  connectionsMax: {
    type: "text",
    pattern: /^[1-9]\d{1,5}$/,
    grammar: "a count from 10 to 999999",
    fallback: CONNECTIONS_MAX_FALLBACK,
    help: "connections to the main listener at once, at most half of the files that may be open; above it those that rest are cut",
    value: "N",
    isReloadable: true,
  },
  webhookTargets: {
    type: "text",
    pattern: /^(public|any)$/,
    grammar: "public or any",
    fallback: "public",
    help: "where webhooks may lead: public addresses over HTTPS, or any (this host and private networks too, and HTTP)",
    value: "public|any",
    isReloadable: true,
  },
  followSources: {
    type: "text",
    pattern: /^(public|private|any)$/,
    grammar: "public, private or any",
    fallback: "public",
    help:
      "where spaces that follow may look for their source: public (addresses over HTTPS), private (those too, and HTTP on " +
      "this host), or any (HTTP too, which shows the token to the network)",
    value: "WHERE",
    isReloadable: true,
  },
  foreignHosts: {
    type: "text",
    pattern: /^(public|any)$/,
    grammar: "public or any",
    fallback: "public",
    help:
      "where imports and exports may lead: public addresses (no password in clear), or any (this host and private networks " +
      "too, and plain HTTP and FTP)",
    value: "public|any",
    isReloadable: true,
  },
  foreignCredentials: {
    type: "text",
    pattern: /^.+$/,
    grammar: "a file",
    fallback: "none",
    help:
      "who imports and exports are on other systems, mode 0600: profiles of S3 keys as in ~/.aws/credentials, and lines like " +
      "machine HOST login USER password PASSWORD for FTP",
    value: "FILE",
    isReloadable: true,
  },
  foreignCa: {
    type: "text",
    pattern: /^.+$/,
    grammar: "a file",
    fallback: "none",
    help: "authorities by which imports and exports know servers (PEM), in place of the system's; a bundle may have both",
    value: "FILE",
    isReloadable: true,
  },
  foreignSsh: {
    type: "text",
    pattern: /^.+$/,
    grammar: "a command",
    fallback: "ssh",
    help: "ssh of imports and exports over sftp://, with options; it never asks anything",
    value: "COMMAND",
    isReloadable: true,
  },
  publicUrl: {
    type: "text",
    pattern: /^https?:\/\/[^\s/?#]+$/,
    grammar: "an address without a path, like https://hub.example.com",
    fallback: "the address of listen",
    help: "where people's browsers reach the hub",
    value: "URL",
    isReloadable: true,
  },
  ...DOOR_KEYS,
  ...OIDC_KEYS,
  ...OBSERVE_KEYS,
} as const satisfies Record<string, KeySpec>;

export type HubKey = keyof typeof HUB_KEYS;

export const HUB_KEY_NAMES = Object.keys(HUB_KEYS) as HubKey[];

export function isHubKey(name: string): name is HubKey {
  return Object.hasOwn(HUB_KEYS, name);
}

export const hubKey = (key: HubKey): KeySpec => HUB_KEYS[key];

/** "tlsNames" is --tls-names on the command line. */
export const flagOf = (key: HubKey): string => key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
export const environmentOf = (key: HubKey): string => `SYNCLINE_${flagOf(key).toUpperCase().replaceAll("-", "_")}`;
