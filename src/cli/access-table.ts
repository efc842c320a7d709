/** The part of the command table (options.ts) that is about people, their credentials, roles and the audit log. */
import { HUB_KEYS, type HubKey } from "#config/hub-keys.ts";
import type { CommandSpec, OptionSpec } from "#cli/options.ts";

function keyOption(key: HubKey): { value: string; help: string; fallback: string } {
  const { value, help, fallback } = HUB_KEYS[key];
  return { value, help, fallback };
}

/** Options of the hub that say how people sign in, and what it puts up with. */
export const SIGN_IN_CONFIG = [
  "log-level",
  "requests-max",
  "connections-max",
  "webhook-targets",
  "follow-sources",
  "foreign-hosts",
  "foreign-credentials",
  "foreign-ca",
  "foreign-ssh",
  "public-url",
  "oidc-issuer",
  "oidc-client-id",
  "oidc-client-secret-file",
  "oidc-scopes",
  "oidc-user-claim",
  "oidc-group-claim",
  "oidc-groups",
  "oidc-roles",
  "oidc-provision",
] as const;

export const ACCESS_OPTIONS = {
  scope: {
    type: "list",
    value: "ACTION,...:SPACE[:PATH]",
    lineOnly: true,
    help: "it may do no more than this, and no more than its user: read, write, restore, manage, purge, lock; SPACE * is all",
  },
  "log-level": { type: "text", ...keyOption("logLevel") },
  "requests-max": { type: "text", ...keyOption("requestsMax") },
  "connections-max": { type: "text", ...keyOption("connectionsMax") },
  "webhook-targets": { type: "text", ...keyOption("webhookTargets") },
  "follow-sources": { type: "text", ...keyOption("followSources") },
  "foreign-hosts": { type: "text", ...keyOption("foreignHosts") },
  "foreign-credentials": { type: "text", ...keyOption("foreignCredentials") },
  "foreign-ca": { type: "text", ...keyOption("foreignCa") },
  "foreign-ssh": { type: "text", ...keyOption("foreignSsh") },
  "public-url": { type: "text", ...keyOption("publicUrl") },
  "oidc-issuer": { type: "text", ...keyOption("oidcIssuer") },
  "oidc-client-id": { type: "text", ...keyOption("oidcClientId") },
  "oidc-client-secret-file": { type: "text", complete: "file", ...keyOption("oidcClientSecretFile") },
  "oidc-scopes": { type: "text", ...keyOption("oidcScopes") },
  "oidc-user-claim": { type: "text", ...keyOption("oidcUserClaim") },
  "oidc-group-claim": { type: "text", ...keyOption("oidcGroupClaim") },
  "oidc-groups": { type: "text", ...keyOption("oidcGroups") },
  "oidc-roles": { type: "text", ...keyOption("oidcRoles") },
  "oidc-provision": { type: "text", ...keyOption("oidcProvision") },
  oidc: {
    type: "choice",
    choices: ["yes", "no"],
    lineOnly: true,
    help: "may sign in through the hub's identity provider; no also unties the user from who did",
  },
  role: { type: "list", value: "ROLE", lineOnly: true, help: "a role that they are to have; none takes all away" },
  group: { type: "list", value: "GROUP", lineOnly: true, help: "a group to be in; none takes them out of all" },
  "password-file": { type: "text", value: "FILE", complete: "file", lineOnly: true, help: "file holding the password, instead of asking" },
  "old-password-file": { type: "text", value: "FILE", complete: "file", lineOnly: true, help: "file holding the password until now" },
  actor: { type: "text", value: "WHO", lineOnly: true, help: "only what this one did (user:ann, agent:web1)" },
  action: { type: "text", value: "ACTION", lineOnly: true, help: "only this (user.create, space.delete)" },
  resource: { type: "text", value: "THING", lineOnly: true, help: "only what was done to this (user:ann, space:demo)" },
  outcome: { type: "choice", choices: ["done", "denied", "failed"], lineOnly: true, help: "only what came out so" },
  trace: { type: "text", value: "ID", lineOnly: true, help: "only what belongs to this trace" },
  since: { type: "text", value: "WHEN", lineOnly: true, help: "from 1d ago, or a time, on" },
  until: { type: "text", value: "WHEN", lineOnly: true, help: "until 1d ago, or a time" },
  after: { type: "text", value: "N", lineOnly: true, fallback: "0", help: "begin behind this number" },
  url: { type: "text", value: "URL", lineOnly: true, help: "the new address" },
  below: { type: "text", value: "PATH", lineOnly: true, help: "only what is at or below this path" },
  only: { type: "list", value: "KIND,...", lineOnly: true, help: "only create, replace, metadata, remove or move; all" },
  "secret-file": {
    type: "text",
    value: "FILE",
    complete: "file",
    lineOnly: true,
    help: "file holding the secret (whsec_...), instead of a new one",
  },
  noted: { type: "text", value: "N:HASH", lineOnly: true, help: "a head that was noted earlier: it must be in the log" },
} as const satisfies Record<string, OptionSpec>;

const COMMON = ["json", "quiet", "verbose", "state-dir", "help"] as const;
const CLIENT = ["hub", "token-file", "ca", ...COMMON] as const;

export const ACCESS_COMMANDS = {
  login: {
    summary: "sign in to a hub; other commands then need no token file",
    operands: "[USER]",
    min: 0,
    max: 1,
    options: ["password-file", "hub", "ca", ...COMMON],
    details: [
      "With USER by password. Without, through the hub's identity provider: open the page that is shown, on any device.",
      "The session is kept in the state directory, for this hub alone. It ends when it was not used for 8 hours, after " +
        "a week, and with syncline logout.",
    ],
    examples: ["syncline login --hub https://hub.example.com:7830", "syncline login ann --hub https://hub.example.com:7830 --ca ca.pem"],
  },
  logout: {
    summary: "sign out: the session of syncline login ends",
    operands: "",
    min: 0,
    max: 0,
    options: ["hub", "ca", ...COMMON],
  },
  user: {
    summary: "make, change, disable and remove users",
    operands: "list | show NAME | create NAME | set NAME | disable NAME | enable NAME | delete NAME | password [NAME]",
    min: 1,
    max: 2,
    words: ["list", "show", "create", "set", "disable", "enable", "delete", "password"],
    options: ["role", "group", "oidc", "password-file", "old-password-file", "yes", ...CLIENT],
    details: [
      "create asks for a password when --password-file is not given; without a terminal the user has none, and signs in " +
        "with tokens and keys alone.",
      "set replaces all roles (or groups) by those that are named. disable ends all sessions at once, and tokens and " +
        "keys are refused; enable takes it back. --oidc yes lets whoever the identity provider calls so in, once, and " +
        "ties the user to them. password without a NAME is your own, and asks for the old one.",
    ],
    examples: ["syncline user create ann --role reader --group crew", "syncline user set ann --role writer", "syncline user password"],
  },
  group: {
    summary: "make, change and remove groups, whose members have their roles",
    operands: "list | show NAME | create NAME | set NAME | delete NAME | add NAME USER | remove NAME USER",
    min: 1,
    max: 3,
    words: ["list", "show", "create", "set", "delete", "add", "remove"],
    options: ["role", "yes", ...CLIENT],
    examples: ["syncline group create crew --role operator", "syncline group add crew ann"],
  },
  role: {
    summary: "list, make, change and remove roles",
    operands: "list | show NAME | put FILE | delete NAME",
    min: 1,
    max: 2,
    words: ["list", "show", "put", "delete"],
    options: ["yes", ...CLIENT],
    details: [
      "put makes or replaces all roles of a YAML file (- is standard input) that has the form of the bootstrap file's " +
        "roles. Roles of the program and of the bootstrap file are not changed here.",
    ],
    examples: ["syncline role put roles.yaml", "syncline role show writer"],
  },
  session: {
    summary: "list and end sessions of people",
    operands: "list [USER] | revoke USER [ID]",
    min: 1,
    max: 3,
    words: ["list", "revoke"],
    options: [...CLIENT],
    details: ["revoke without an ID ends all sessions of the user."],
    examples: ["syncline session revoke ann"],
  },
  "s3-key": {
    summary: "make, list and revoke access keys for S3",
    operands: "create [USER] | list [USER] | revoke USER KEY",
    min: 1,
    max: 3,
    words: ["create", "list", "revoke"],
    options: ["scope", ...CLIENT],
    details: ["Without USER they are your own. The secret key is printed this once. With --scope the key may do no more than that."],
    examples: ["syncline s3-key create ann --quiet > keys", "syncline s3-key create ann --scope read:site:docs --scope read,write:inbox"],
  },
  "ssh-key": {
    summary: "add, list and remove public keys for SFTP",
    operands: "add USER FILE | list [USER] | remove USER FINGERPRINT",
    min: 1,
    max: 3,
    words: ["add", "list", "remove"],
    options: [...CLIENT],
    details: ["FILE holds one public key, as ssh-keygen makes it (- is standard input)."],
    examples: ["syncline ssh-key add ann ~/.ssh/id_ed25519.pub"],
  },
  webhook: {
    summary: "tell other systems of the changes of a space, signed, in order, at least once",
    operands: "list SPACE | create SPACE URL | show|set|enable|disable|delete|test SPACE ID",
    min: 2,
    max: 3,
    words: ["list", "show", "create", "set", "enable", "disable", "delete", "test"],
    options: ["below", "only", "url", "secret-file", "yes", ...CLIENT],
    details: [
      "Deliveries are POSTs as Standard Webhooks describes: webhook-id, webhook-timestamp and webhook-signature. What is " +
        "not taken with a status of 2xx is sent again, after pauses of up to an hour; after 5 days of it the webhook is " +
        "switched off, and list says why. Private addresses are reached only with webhookTargets: any.",
      "Exit of list: 0 all are told, 1 one is failing or switched off; of test: 0 delivered, 1 not.",
    ],
    examples: ["syncline webhook create site https://ci.example.com/hook --below docs --only create,replace"],
  },
  audit: {
    summary: "show, export and verify the log of who did what",
    operands: "list | export [FILE] | verify | accept",
    min: 1,
    max: 2,
    words: ["list", "export", "verify", "accept"],
    options: [
      ...["actor", "action", "resource", "outcome", "trace", "since", "until", "limit", "after", "noted", "message", "yes"],
      ...CLIENT,
    ],
    details: [
      "list shows the newest first. export writes every record with its hash, one JSON value a line. verify walks the " +
        "chain of hashes; keep the head that it prints somewhere else, and give it to a later verify with --noted.",
      "A hub whose log is damaged changes nothing any more, because it could not record it. accept goes on behind the " +
        "damage once a person has looked at it, with their words (--message) in the log; verify names it for ever.",
      "Exit of verify: 0 sound, 1 not what was written.",
    ],
    examples: ["syncline audit list --actor user:ann --since 7d", "syncline audit verify --noted 1042:9f3c..."],
  },
} as const satisfies Record<string, CommandSpec>;
