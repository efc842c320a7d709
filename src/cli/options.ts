/**
 * The one table of the command line: commands, options, help text, environment names, completions and validation are
 * all read from here, so they cannot disagree.
 *
 * An option may also be given as an environment variable, `SYNCLINE_` and its name in capitals with "-" as "_"
 * (`--max-delete` is SYNCLINE_MAX_DELETE); the command line wins. A list option adds up on the command line and is
 * separated by newlines in the environment.
 */
import { HUB_KEYS, type HubKey, LISTEN_FALLBACK } from "#config/hub-keys.ts";
import { MODES } from "#model/plan.ts";
import { OBSERVE_COMMANDS, OBSERVE_CONFIG, OBSERVE_OPTIONS } from "#cli/observe-table.ts";
import { ACCESS_COMMANDS, ACCESS_OPTIONS, SIGN_IN_CONFIG } from "#cli/access-table.ts";
import { DOOR_CONFIG, DOOR_OPTIONS } from "#cli/options-doors.ts";
import { FLEET_COMMANDS } from "#cli/options-fleet.ts";
import { SPACE_COMMANDS, SPACE_OPTIONS } from "#cli/options-spaces.ts";
import { SHARE_COMMANDS, SHARE_OPTIONS } from "#cli/options-shares.ts";
import { JOB_COMMANDS, JOB_OPTIONS } from "#cli/options-jobs.ts";

/** How the text of a value is read; see values.ts for the grammars. */
export type ValueKind =
  | { readonly type: "flag" }
  | { readonly type: "text"; readonly value: string; readonly complete?: "file" | "dir" }
  | { readonly type: "list"; readonly value: string; readonly complete?: "file" | "dir" }
  | { readonly type: "choice"; readonly choices: readonly string[] }
  | { readonly type: "rate" }
  /** At most `maxMs`, or what timers take. */
  | { readonly type: "duration"; readonly maxMs?: number }
  | { readonly type: "brake" }
  | { readonly type: "preserve" };

export type OptionSpec = ValueKind & {
  readonly help: string;
  readonly short?: string;
  /** Shown in help; the value itself is applied where the option is used. */
  readonly fallback?: string;
  /** Never read from the environment: what a person must decide for one run. */
  readonly lineOnly?: true;
};

/** What the table of the configuration says of an option of the hub. */
function hubOption(key: HubKey): { value: string; help: string; fallback: string } {
  const { value, help, fallback } = HUB_KEYS[key];
  return { value, help, fallback };
}

export const OPTIONS = {
  help: { type: "flag", short: "h", lineOnly: true, help: "show this help" },
  json: {
    type: "flag",
    help: "print events as one JSON value a line, the last the summary; a line for every path only with --verbose",
  },
  quiet: { type: "flag", short: "q", help: "print nothing but errors" },
  verbose: { type: "flag", short: "v", help: "print a line for every changed path" },
  "state-dir": {
    type: "text",
    value: "DIR",
    complete: "dir",
    help: "where indexes, keys and records of runs are kept",
    fallback: "$XDG_STATE_HOME/syncline or ~/.local/state/syncline",
  },
  mode: { type: "choice", choices: MODES, fallback: "two-way-safe", help: "which side may change which" },
  watch: { type: "flag", short: "w", help: "stay and keep both sides the same until interrupted" },
  "dry-run": { type: "flag", short: "n", lineOnly: true, help: "print the plan and change nothing" },
  include: {
    type: "list",
    value: "PATTERN",
    help: "see only files matching one of these (gitignore syntax)",
  },
  exclude: { type: "list", value: "PATTERN", help: "ignore what matches (gitignore syntax)" },
  delete: { type: "flag", help: "one-way modes: remove from beta what alpha does not have" },
  "max-delete": {
    type: "brake",
    fallback: "50%, and more than 20 entries",
    help:
      "hold a plan that would remove more than N entries, or P percent, of a side; one that empties a side is always " +
      "held, and one that replaces more than half of it and 1000 entries, unless N or P is more",
  },
  approve: { type: "text", value: "HASH", lineOnly: true, help: "run exactly the held plan with this hash" },
  conflict: {
    type: "choice",
    choices: ["leave", "copy", "alpha", "beta", "newer"],
    fallback: "leave",
    help: "what to do where both sides changed",
  },
  preserve: {
    type: "preserve",
    fallback: "mode,mtime,symlinks,sparse",
    help: "metadata to carry; +NAME and -NAME alter the default",
  },
  bwlimit: { type: "rate", help: "send at most this many bytes a second" },
  compress: {
    type: "choice",
    choices: ["auto", "zstd", "none"],
    fallback: "auto",
    help: "compression on the wire",
  },
  settle: {
    type: "choice",
    choices: ["immediate", "throttle", "debounce"],
    fallback: "throttle",
    help: "how long to wait for more changes while watching (0, 100, 300 ms)",
  },
  durable: {
    type: "choice",
    choices: ["batch", "always", "none"],
    fallback: "batch",
    help: "when written data must be on disk: per batch, every 64 changes, never",
  },
  verify: { type: "choice", choices: ["read-back"], help: "read every written file back and compare" },
  rescan: { type: "flag", help: "hash every file again, whatever its size and time say" },
  "rescan-every": {
    type: "duration",
    fallback: "5m",
    help: "full scan while watching, and polling where a side cannot be watched",
  },
  "scrub-every": {
    type: "duration",
    maxMs: 366 * 86_400_000,
    help: "while watching: read all files again this often, in the background, and heal damaged ones",
  },
  "scrub-rate": { type: "rate", fallback: "16MiB", help: "what a scrub reads of each side in a second at most" },
  "token-file": { type: "text", value: "FILE", complete: "file", help: "file holding the access token" },
  fingerprint: {
    type: "text",
    value: "SHA256:HEX",
    help: "trust only the server certificate with this fingerprint",
  },
  "accept-new": { type: "flag", help: "pin an unknown server's certificate without asking" },
  ca: {
    type: "text",
    value: "FILE",
    complete: "file",
    help: "trust servers certified by this authority (PEM)",
  },
  "credentials-file": { type: "text", value: "FILE", complete: "file", help: "keys of s3:// (AWS profiles), passwords of ftp:// (.netrc)" },
  "client-cert": {
    type: "text",
    value: "FILE",
    complete: "file",
    help: "certificate to show to the server (PEM)",
  },
  "client-key": { type: "text", value: "FILE", complete: "file", help: "its private key (PEM)" },
  ssh: {
    type: "text",
    value: "COMMAND",
    fallback: "ssh",
    help: "ssh program with its own options, for ssh:// sides",
  },
  listen: {
    type: "text",
    value: "HOST:PORT",
    fallback: `127.0.0.1:7820, of a hub ${LISTEN_FALLBACK}`,
    help: "address to listen on; port 0 picks one",
  },
  root: { type: "list", value: "NAME=PATH[,ro]", help: "directory to serve under a name; ro: read-only" },
  cert: {
    type: "text",
    value: "FILE",
    complete: "file",
    help: "server certificate (PEM); otherwise one is made",
  },
  key: { type: "text", value: "FILE", complete: "file", help: "its private key (PEM)" },
  "client-ca": {
    type: "text",
    value: "FILE",
    complete: "file",
    help: "demand client certificates of this authority",
  },
  manifest: { type: "text", value: "FILE", complete: "file", help: "check DIR against a sha256sum manifest" },
  write: { type: "flag", lineOnly: true, help: "write the manifest instead of checking it" },
  repair: { type: "flag", lineOnly: true, help: "put the right bytes where the sides differ" },
  from: {
    type: "text",
    value: "SIDE|URL",
    help: "the side that is right, alpha (when nothing is said) or beta; of a space that follows: the hub that has it",
  },
  keep: {
    type: "text",
    value: "WHICH",
    lineOnly: true,
    help:
      "the side that wins: alpha, beta, newer, or copy to keep both; in a space what stays: current, copy (the loser " +
      "takes its place), or both",
  },
  as: { type: "text", value: "PATH", lineOnly: true, help: "with --keep both: the name of its own that the copy gets" },
  once: { type: "flag", lineOnly: true, help: "end after one change went each way" },
  dir: { type: "text", value: "DIR", complete: "dir", help: "make the folders of the demonstration here" },
  name: { type: "text", value: "HOST", help: "name of this host at the hub", fallback: "this machine's name" },
  "join-token-file": { type: "text", value: "FILE", complete: "file", help: "file holding the token with which this host joins" },
  link: {
    type: "list",
    value: "ROOT=SPACE[:PREFIX][,...]",
    help: "keep the directory ROOT the same as a space, or as PREFIX in it",
  },
  "hook-before": {
    type: "text",
    value: "COMMAND",
    help: "run this before each batch that comes from the hub; when it fails, nothing is changed",
  },
  "hook-after": { type: "text", value: "COMMAND", help: "run this after each batch that came from the hub" },
  "hook-failure": {
    type: "choice",
    choices: ["report", "rollback"],
    fallback: "report",
    help: "when the command after a batch fails: only say so, or take the batch back and pause the link",
  },
  "hook-timeout": { type: "duration", fallback: "60s", help: "how long each of the two may take" },
  "allow-install": { type: "flag", help: "let links run npm and go where they are to keep dependencies installed" },
  limit: { type: "text", value: "N", fallback: "20", help: "show the last N" },
  hub: {
    type: "text",
    value: "URL",
    fallback: `http://${LISTEN_FALLBACK}`,
    help: "the hub's API; an agent also takes syncline://HOST:PORT of its sync listener",
  },
  at: { type: "text", value: "POINT", help: "as it was at a sequence (41), a time (2026-11-20T23:59:07Z) or @NAME" },
  to: {
    type: "text",
    value: "POINT",
    lineOnly: true,
    help: "a sequence (41), a time (2026-11-20T23:59:07Z) or a restore point (@NAME)",
  },
  message: { type: "text", value: "TEXT", lineOnly: true, help: "say why; kept in the journal" },
  recursive: { type: "flag", short: "r", lineOnly: true, help: "with everything below it" },
  deep: { type: "flag", lineOnly: true, help: "read every chunk, and not only whether it is there" },
  ...JOB_OPTIONS,
  ...SHARE_OPTIONS,
  ...SPACE_OPTIONS,
  yes: { type: "flag", short: "y", lineOnly: true, help: "do not ask" },
  host: { type: "text", value: "HOST", lineOnly: true, help: "the host that gets the link, or whose conflict it is" },
  label: { type: "list", value: "LABEL", lineOnly: true, help: "like role=web: hosts that have it, or are to have it" },
  uses: { type: "text", value: "N", lineOnly: true, help: "so many hosts may join with it", fallback: "any number" },
  expires: { type: "text", value: "WHEN", lineOnly: true, help: "after 90d, or at a time", fallback: "never" },
  config: { type: "text", value: "FILE", complete: "file", help: "configuration of the hub, or of the agent (YAML)" },
  env: { type: "text", value: "NAME", help: "of the file of --config, hub.NAME.yaml beside hub.yaml wins, where it is there" },
  data: { type: "text", value: "DIR", complete: "dir", help: "where the hub, or the agent, keeps all it has" },
  "sync-listen": { type: "text", ...hubOption("syncListen") },
  "host-links": { type: "text", ...hubOption("hostLinks") },
  tls: { type: "text", ...hubOption("tls") },
  "tls-names": { type: "text", ...hubOption("tlsNames") },
  database: { type: "text", ...hubOption("database") },
  bootstrap: { type: "text", complete: "file", ...hubOption("bootstrap") },
  ...DOOR_OPTIONS,
  ...ACCESS_OPTIONS,
  ...OBSERVE_OPTIONS,
} as const satisfies Record<string, OptionSpec>;

export type OptionName = keyof typeof OPTIONS;

const COMMON = ["json", "quiet", "verbose", "state-dir", "help"] as const;
const LINKS = ["token-file", "fingerprint", "accept-new", "ca", "client-cert", "client-key", "ssh", "credentials-file"] as const;
const SESSION = [
  "mode",
  "include",
  "exclude",
  "delete",
  "max-delete",
  "conflict",
  "preserve",
  "bwlimit",
  "compress",
  "durable",
  "verify",
  "rescan",
] as const;

const HUB_CONFIG = [
  "config",
  "env",
  "data",
  "listen",
  "sync-listen",
  "host-links",
  "tls",
  "tls-names",
  "database",
  "bootstrap",
  ...DOOR_CONFIG,
  ...SIGN_IN_CONFIG,
  ...OBSERVE_CONFIG,
] as const;
const CLIENT = ["hub", "token-file", "ca", ...COMMON] as const;

export type CommandSpec = {
  readonly summary: string;
  /** Operands as shown in help. */
  readonly operands: string;
  readonly min: number;
  readonly max: number;
  readonly options: readonly OptionName[];
  readonly complete?: "side" | "dir" | "shell" | "command";
  /** What its first operand can be. */
  readonly words?: readonly string[];
  /** Words that its first operand can be beside a name or a path; for completion alone. */
  readonly someWords?: readonly string[];
  readonly hidden?: true;
  readonly details?: readonly string[];
  readonly examples?: readonly string[];
};

const SIDES = [
  "A side is a local directory, ssh://[user@]host[:port]/path, syncline://host:port/NAME[/sub], or on another system " +
    "sftp://[user@]host/path, ftp://[user@]host/path, ftps://[user@]host/path, s3://bucket/prefix[?endpoint=URL].",
];

export const COMMANDS = {
  sync: {
    summary: "make two directories the same",
    operands: "<alpha> <beta>",
    min: 2,
    max: 2,
    complete: "side",
    options: [...SESSION, "watch", "dry-run", "approve", "settle", "rescan-every", "scrub-every", "scrub-rate", ...LINKS, ...COMMON],
    details: [
      ...SIDES,
      "A .synclineignore file in any directory holds patterns like a .gitignore.",
      "Exit: 0 same, 1 some paths failed, 2 conflicts or a held plan, 3 could not start, 130 interrupted.",
    ],
    examples: [
      "syncline sync ./site ssh://web1/srv/site --mode one-way-replica --delete",
      "syncline sync ~/work syncline://backup:7820/work --token-file token --watch",
    ],
  },
  serve: {
    summary: "offer directories to other hosts over TLS",
    operands: "",
    min: 0,
    max: 0,
    options: ["listen", "root", "token-file", "cert", "key", "client-ca", ...COMMON],
    details: [
      "Without --cert a certificate is made once and kept; its fingerprint is printed for the clients.",
      "A root that is not there, because its disk is mounted later, is told; until it is there whoever asks for it is refused.",
    ],
    examples: [
      "syncline serve --listen 0.0.0.0:7820 --root site=/srv/site --root docs=/srv/docs,ro --token-file token",
    ],
  },
  verify: {
    summary: "compare two sides by content, or a directory with a manifest",
    operands: "<alpha> <beta> | --manifest FILE <dir>",
    min: 1,
    max: 2,
    complete: "side",
    options: ["manifest", "write", "repair", "from", "include", "exclude", "preserve", ...LINKS, ...COMMON],
    details: [
      ...SIDES,
      "Every byte is read on both sides and compared by 128-bit sums (XXH3) under a secret drawn anew for each run; " +
        "nothing that earlier runs remember is used, and nothing is kept afterwards.",
      "--repair copies from the side that is right (--from) over the other. Entries that only the other side has are " +
        "reported and stay. What is replaced is kept in .syncline/trash of that side for 30 days.",
      "Manifests are those of sha256sum: `sha256sum -c FILE` in DIR gives the same answer.",
      "Exit: 0 same, 1 something differs or could not be read, 3 could not start.",
    ],
    examples: [
      "syncline verify /srv/site ssh://web1/srv/site",
      "syncline verify --manifest SHA256SUMS --write /srv/site",
    ],
  },
  log: {
    summary: "show past runs, or what one run changed",
    operands: "[RUN]",
    min: 0,
    max: 1,
    options: ["limit", ...LINKS, ...COMMON],
  },
  undo: {
    summary: "take a whole run back: contents and metadata",
    operands: "RUN",
    min: 1,
    max: 1,
    options: [...LINKS, ...COMMON],
    details: ["What was changed again since that run is left alone and reported."],
  },
  conflicts: {
    summary: "list what both sides changed",
    operands: "[<alpha> <beta>]",
    min: 0,
    max: 2,
    complete: "side",
    options: [...LINKS, ...COMMON],
    details: [
      "Without sides: every pair whose last run left conflicts. Options are those of the pair's last run.",
    ],
  },
  resolve: {
    summary: "settle conflicts: one side wins, or both are kept",
    operands: "<alpha> <beta> [PATH...]",
    min: 2,
    max: 10_000,
    complete: "side",
    options: ["keep", ...LINKS, ...COMMON],
    details: [
      "With PATH only conflicts at and below it are settled, without PATH all of the pair. The run also carries over " +
        "whatever else is new, like any other. What loses stays in the run and can be taken back with undo.",
    ],
    examples: ["syncline resolve ./a ./b notes.txt --keep beta", "syncline resolve ./a ./b --keep copy"],
  },
  forget: {
    summary: "forget what is remembered of a pair; the next run starts anew",
    operands: "<alpha> <beta>",
    min: 2,
    max: 2,
    complete: "side",
    options: [...COMMON],
    details: [
      "For a side that was replaced on purpose, or restored from a backup. Files stay as they are. The next run " +
        "compares both sides as if for the first time: what only one side has is copied to the other, so deletions " +
        "that were not carried over yet come back, and what differs is a conflict. Name the sides as in the run that " +
        "is to be forgotten.",
    ],
  },
  doctor: {
    summary: "check this host and say what to do",
    operands: "[PATH...]",
    min: 0,
    max: 64,
    complete: "dir",
    options: [...COMMON],
    details: ["Exit: 0 all well, 1 something needs attention."],
  },
  hub: {
    summary: "keep spaces with their whole history, and serve them; back up, restore and check a hub",
    operands: "[backup DIR | restore DIR | check]",
    min: 0,
    max: 2,
    options: [...HUB_CONFIG, "deep", ...CLIENT],
    details: [
      "Everything is kept in the data directory unless --database names a PostgreSQL server. The first start makes a " +
        "set-up token and says how to become the first user with it.",
      "backup and check ask a hub that runs when --token-file is given (DIR is a directory of its host), and look at " +
        "--data themselves otherwise. A backup into the same DIR copies only what is new. restore makes the directory " +
        "--data of a backup; exit 1: the hub works, and some bytes were damaged in the backup.",
      "check exits with 1 when something is not what was written; --deep reads all chunks too.",
    ],
    examples: [
      "syncline hub backup /backup/hub --token-file token",
      "syncline hub restore /backup/hub --data /var/lib/syncline-new",
      "syncline hub check --deep --data /var/lib/syncline",
      "syncline hub --data /var/lib/syncline --bootstrap hub.yaml",
      "syncline hub --listen 0.0.0.0:7830 --tls-names hub.example.com",
    ],
  },
  config: {
    summary: "check, show or explain the configuration of a hub; see what a running one has, let it read again; check an agent's",
    operands: "check [agent] | show | explain KEY | status | reload",
    min: 1,
    max: 2,
    words: ["check", "show", "explain", "status", "reload"],
    options: [...HUB_CONFIG, ...CLIENT],
    details: [
      "check also reads the bootstrap file. explain prints every place that says something of a key.",
      "status and reload ask the hub that runs. It also reads again by itself when a file has changed, and on SIGHUP. " +
        "What is wrong leaves the last good configuration in force. Exit of status: 0 all is in force, 1 something is " +
        "wrong or waits for a restart.",
    ],
    examples: ["syncline config check --config hub.yaml", "syncline config explain listen"],
  },
  ...SPACE_COMMANDS,
  ...FLEET_COMMANDS,
  ...JOB_COMMANDS,
  ...SHARE_COMMANDS,
  token: {
    summary: "make, list and revoke the tokens of users",
    operands: "create USER NAME | list [USER] | revoke ID",
    min: 1,
    max: 3,
    words: ["create", "list", "revoke"],
    options: ["expires", "scope", ...CLIENT],
    details: ["The value of a new token is printed this once, alone on standard output with --quiet."],
    examples: [
      "syncline token create ann laptop --expires 90d --quiet > token",
      "syncline token create ann backup --scope read:site --scope read,write:inbox:ann",
    ],
  },
  "join-token": {
    summary: "make, list and revoke the tokens with which hosts join",
    operands: "create | list | revoke ID",
    min: 1,
    max: 2,
    words: ["create", "list", "revoke"],
    options: ["label", "uses", "expires", ...CLIENT],
    details: ["Hosts that join with it get its labels. Those that have joined stay when it is revoked."],
    examples: ["syncline join-token create --label role=web --uses 10 --expires 1d --quiet > join"],
  },
  access: {
    summary: "say whether a user may do something, and which rule decides",
    operands: "explain USER ACTION TYPE:NAME[:PATH]",
    min: 4,
    max: 4,
    words: ["explain"],
    options: [...CLIENT],
    details: ["Exit: 0 allowed, 1 denied."],
    examples: ["syncline access explain ann write space:site:docs/index.html"],
  },
  ...ACCESS_COMMANDS,
  ...OBSERVE_COMMANDS,
  demo: {
    summary: "keep two sample folders the same and watch it happen",
    operands: "",
    min: 0,
    max: 0,
    options: ["once", "dir", ...COMMON],
  },
  agent: {
    summary: "keep directories of this host the same as spaces of a hub",
    operands: "",
    min: 0,
    max: 0,
    options: [
      "config",
      "hub",
      "name",
      "data",
      "join-token-file",
      "fingerprint",
      "accept-new",
      "link",
      "exclude",
      "hook-before",
      "hook-after",
      "hook-failure",
      "hook-timeout",
      "allow-install",
      ...COMMON,
    ],
    details: [
      "The host joins the hub once, with a join token; key and certificate are then kept in --data and renewed by " +
        "themselves. --fingerprint is that of the hub's authority, which the hub prints.",
      "A link is for instance /srv=demo:site,settle=immediate. Keys: mode, from (host or space: " +
        "whose changes a one-way mode carries over), settle, conflict (copy unless given), bwlimit, scrub=7d (how often " +
        "damaged files are looked for in the background, and healed from the hub), ignore=PATTERN, " +
        'window="mon-fri 22:00-06:00", priority (-100 to 100: lower ones give way), apply (in-place or release), keep ' +
        '(old releases), install=npm:DIR or go:DIR (with --allow-install). ignore, window, install and bwlimit="1M mon-fri ' +
        '08:00-18:00" may be repeated. The hub may assign more links.',
      "With apply=release each batch becomes a tree of its own beside the root, and the root is a symlink that is flipped " +
        "to it; it needs mode=one-way-replica,from=space. syncline release goes back to an earlier one.",
      "Hook commands get the changes on standard input, one JSON value a line, and SYNCLINE_TRACE_ID, SYNCLINE_RUN_ID, " +
        "SYNCLINE_LINK, SYNCLINE_ROOT, SYNCLINE_SPACE and SYNCLINE_CHANGES in their environment.",
      "The file of --config has the keys hub, name, data, joinTokenFile, fingerprint, acceptNew, links (root, space, prefix " +
        "and the settings of a link), exclude, hooks (before, after, timeout, onAfterFailure), allowInstall, and otlpEndpoint, " +
        "otlpHeadersFile and traceRatio as for a hub. Options win over it. " +
        "SIGHUP reads it anew: links, exclude, hooks and allowInstall are taken over.",
      "While the hub is away the agent waits, and carries over what changed meanwhile when it is back.",
    ],
    examples: [
      "syncline agent --hub https://hub.example:7443 --name web1 --data /var/lib/syncline --join-token-file token " +
        "--accept-new --link /srv/site=demo",
    ],
  },
  "far-side": {
    summary: "the far end of ssh:// sides",
    operands: "",
    min: 0,
    max: 0,
    hidden: true,
    options: [...COMMON],
  },
  completion: {
    summary: "print the completion script of a shell",
    operands: "bash|zsh|fish",
    min: 1,
    max: 1,
    complete: "shell",
    options: ["help"],
    examples: ["syncline completion bash > /etc/bash_completion.d/syncline"],
  },
  version: { summary: "print the version", operands: "", min: 0, max: 0, options: ["json", "help"] },
  help: {
    summary: "show help for a command",
    operands: "[COMMAND]",
    min: 0,
    max: 1,
    complete: "command",
    options: ["help"],
  },
} as const satisfies Record<string, CommandSpec>;

export type CommandName = keyof typeof COMMANDS;

export function isCommand(name: string): name is CommandName {
  return Object.hasOwn(COMMANDS, name);
}

export function isOption(name: string): name is OptionName {
  return Object.hasOwn(OPTIONS, name);
}

export function commandSpec(name: CommandName): CommandSpec {
  return COMMANDS[name];
}

export function optionSpec(name: OptionName): OptionSpec {
  return OPTIONS[name];
}

/** The environment variable of an option. */
export function environmentName(name: OptionName): string {
  return `SYNCLINE_${name.toUpperCase().replaceAll("-", "_")}`;
}
