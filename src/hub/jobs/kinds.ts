/** The kinds of jobs that a hub knows, what each takes and who may ask for it; and the schedules that are always there. */
import { isAbsolute } from "node:path";
import * as z from "zod";
import { POINT_FORMS, POINT_PATTERN } from "#hub/point-text.ts";
import { SPACE_NAME } from "#hub/space.ts";
import { RANGES_TEXT } from "#hub/uploads/number-ranges.ts";
import { type AnyJobKind, type Right, jobKind } from "#jobs/kind.ts";
import type { ScheduleSettings } from "#jobs/schedule.ts";
import type { HubSchedule } from "#jobs/schedules.ts";
import { pathFault } from "#model/path.ts";

/** A prune that would free more than this part of the store is refused unless a person says how much may go. */
export const PRUNE_SHARE_DEFAULT = 0.5;
/** Read in one round of the hub's own scrub: a store of 1 TiB is looked at about once in a month. */
const SCRUB_BYTES_PER_ROUND = 1536 << 20;
/** The hub's own schedules begin within so much of their time. */
const SPREAD_MS = 5 * 60_000;
/** A host that is away for some minutes is waited for. */
const RESCAN_TRIES = 10;

const manages = (kind: string): Right => ({ action: "manage", resource: { type: "job", name: kind } });
const PATH_OR_ALL = z.string().refine((path) => pathFault(path, true) === undefined, "no path that can be used");

export const SCRUB_ARGS = z.strictObject({
  bytes: z.int().min(1).optional().describe("To read; without it: to the end of the store"),
  fromStart: z.boolean().default(false).describe("Do not go on where the last one ended"),
});
export const PRUNE_ARGS = z.strictObject({
  share: z.number().min(0).max(1).default(PRUNE_SHARE_DEFAULT).describe("Part of the store that may go at once"),
});
export const EXPIRE_ARGS = z.strictObject({});
export const LIFECYCLE_ARGS = z.strictObject({});
export const RESTORE_ARGS = z.strictObject({
  space: z.string().regex(SPACE_NAME, "no name of a space"),
  path: PATH_OR_ALL.default("").describe('"" is the whole space'),
  to: z.string().regex(POINT_PATTERN, POINT_FORMS).describe(POINT_FORMS),
  message: z.string().max(1000).optional(),
});
export const CHECK_ARGS = z.strictObject({ deep: z.boolean().default(false).describe("Read every chunk too") });
export const BACKUP_ARGS = z.strictObject({
  directory: z.string().max(4096).refine(isAbsolute, "no absolute path").describe("Absolute, of the hub's host"),
});
export const RESCAN_ARGS = z.strictObject({
  host: z.string().min(1).max(100),
  link: z.string().regex(/^[0-9a-f]{1,16}$/, "no id of a link").describe("Its id, or a beginning that only it has"),
});

/** An address of another system; what is in it is read by who connects. It is shown to who may see the job. */
const FOREIGN_URL = z
  .string()
  .max(4096)
  // A control character would break the lines in which it is shown.
  .regex(/^(s3|ftps?|sftp):\/\/[^\p{Cc}]+$/u, "no address of another system: s3://, ftp://, ftps:// or sftp://")
  .refine((url) => !/^[^?]*:\/\/[^/?]*:[^/?]*@|=[^&]*:\/\/[^&/]*@/.test(url), "a password does not belong into an address");
export const TRANSFER_MODES = ["add-only", "mirror"] as const;
export type TransferMode = (typeof TRANSFER_MODES)[number];

export const TRANSFER_ARGS = z.strictObject({
  space: z.string().regex(SPACE_NAME, "no name of a space"),
  prefix: PATH_OR_ALL.default("").describe('"" is the whole space'),
  url: FOREIGN_URL.describe("s3://bucket/prefix?endpoint=…, ftp://, ftps:// or sftp://user@host/path"),
  mode: z.enum(TRANSFER_MODES).default("add-only").describe("add-only: deletes nothing; mirror: makes the target the same"),
  approve: z.string().regex(/^[0-9a-f]{12}$/, "no hash of a plan").optional().describe("The plan that the brake held, as it was told"),
  anew: z.boolean().default(false).describe("Forget what earlier runs remember of the two; deletes nothing"),
});
export type TransferArgs = z.infer<typeof TRANSFER_ARGS>;
export type TransferDirection = "import" | "export";

/** Made by the hub itself, for an upload whose completion was accepted. */
export const UPLOAD_ARGS = z.strictObject({
  space: z.string().regex(SPACE_NAME, "no name of a space"),
  path: PATH_OR_ALL,
  upload: z.string().regex(/^[0-9a-f]{1,64}$/, "no id of an upload"),
  door: z.string().min(1).max(20).describe("Through which it came"),
  parts: z.string().regex(RANGES_TEXT, "no numbers of parts").optional().describe("Like 1-300,302; without it: all that have come"),
  sequence: z.int().min(0).optional().describe("Only if this is the current version; 0: only if nothing is there"),
  message: z.string().max(1000).optional(),
});

export const SCRUB = jobKind<z.infer<typeof SCRUB_ARGS>>({
  name: "scrub",
  summary: "read chunks at rest again and find those that are damaged",
  args: SCRUB_ARGS,
  priority: "bulk",
  preemptible: true,
  limits: { all: 1 },
  rights: () => [manages("scrub")],
});

export const PRUNE = jobKind<z.infer<typeof PRUNE_ARGS>>({
  name: "prune",
  summary: "remove chunks that nothing refers to",
  args: PRUNE_ARGS,
  priority: "bulk",
  preemptible: false,
  limits: { all: 1 },
  // More than usual is a decision, not maintenance.
  rights: ({ share }) =>
    share <= PRUNE_SHARE_DEFAULT
      ? [manages("prune")]
      : [manages("prune"), { action: "approve", resource: { type: "job", name: "prune" } }],
});

export const EXPIRE = jobKind<z.infer<typeof EXPIRE_ARGS>>({
  name: "expire",
  summary: "erase deleted spaces whose grace has ended, and old versions by retention",
  args: EXPIRE_ARGS,
  priority: "bulk",
  preemptible: true,
  limits: { all: 1 },
  rights: () => [manages("expire")],
});

export const LIFECYCLE = jobKind<z.infer<typeof LIFECYCLE_ARGS>>({
  name: "lifecycle",
  summary: "remove files, old versions and unfinished uploads whose time has come by the rules of their spaces",
  args: LIFECYCLE_ARGS,
  priority: "bulk",
  preemptible: true,
  limits: { all: 1 },
  rights: () => [manages("lifecycle")],
});

export const RESTORE = jobKind<z.infer<typeof RESTORE_ARGS>>({
  name: "restore",
  summary: "bring a path or a whole space to a point, part by part",
  args: RESTORE_ARGS,
  priority: "high",
  preemptible: true,
  limits: { all: 2, space: 1 },
  rights: ({ space, path }) =>
    (["restore", "write", "read"] as const).map((action) => ({ action, resource: { type: "space", space, path, isTree: true } })),
  subject: ({ space }) => ({ space }),
});

export const CHECK = jobKind<z.infer<typeof CHECK_ARGS>>({
  name: "check",
  summary: "look whether all that the hub keeps is what was written",
  args: CHECK_ARGS,
  priority: "normal",
  preemptible: false,
  limits: { all: 1 },
  rights: () => [{ action: "manage", resource: { type: "hub", name: "check" } }],
});

export const BACKUP = jobKind<z.infer<typeof BACKUP_ARGS>>({
  name: "backup",
  summary: "copy the hub into a directory of its host",
  args: BACKUP_ARGS,
  priority: "normal",
  preemptible: false,
  limits: { all: 1 },
  rights: () => [{ action: "manage", resource: { type: "hub", name: "backup" } }],
});

export const RESCAN = jobKind<z.infer<typeof RESCAN_ARGS>>({
  name: "rescan",
  summary: "let a host look at everything below the root of a link",
  args: RESCAN_ARGS,
  priority: "normal",
  preemptible: false,
  limits: { all: 3, host: 1 },
  tries: RESCAN_TRIES,
  // They hang on the labels of the host, which only the hub's registry knows: works.ts asks for them.
  rights: () => [],
  subject: ({ host }) => ({ host, dependency: `host:${host}` }),
});

function transferKind(name: TransferDirection, summary: string): AnyJobKind {
  return jobKind<TransferArgs>({
    name,
    summary,
    args: TRANSFER_ARGS,
    priority: "bulk",
    // A session has no safe point of its own to give way at.
    preemptible: false,
    // One of each kind leaves half of the slots to what is urgent.
    limits: { all: 1, space: 1 },
    rights: ({ space, prefix: path, approve }) => [
      manages(name),
      ...(name === "import" ? (["read", "write"] as const) : (["read"] as const)).map(
        (action): Right => ({ action, resource: { type: "space", space, path, isTree: true } }),
      ),
      ...(approve === undefined ? [] : [{ action: "approve", resource: { type: "job", name } } as const]),
    ],
    subject: ({ space }) => ({ space }),
  });
}

export const IMPORT = transferKind("import", "bring files of another system into a space");
export const EXPORT = transferKind("export", "bring files of a space to another system");

export const UPLOAD = jobKind<z.infer<typeof UPLOAD_ARGS>>({
  name: "upload",
  summary: "make a file of an upload that was accepted",
  args: UPLOAD_ARGS,
  priority: "high",
  preemptible: false,
  limits: { all: 4, space: 2 },
  rights: ({ space, path }) => [{ action: "write", resource: { type: "space", space, path } }],
  subject: ({ space }) => ({ space }),
});

/** With the rights that its host's labels ask for. */
export function rescanOf(labelsOf: (host: string) => readonly string[]): AnyJobKind {
  const rights = ({ host }: z.infer<typeof RESCAN_ARGS>): Right[] => [
    { action: "manage", resource: { type: "host", host, labels: labelsOf(host) } },
  ];
  return { ...RESCAN, rights: rights as AnyJobKind["rights"] };
}

/** All that people ask for. */
export const JOB_KINDS = {
  scrub: SCRUB, prune: PRUNE, expire: EXPIRE, lifecycle: LIFECYCLE, restore: RESTORE, check: CHECK, backup: BACKUP, rescan: RESCAN,
  import: IMPORT, export: EXPORT,
};
export type JobKindName = keyof typeof JOB_KINDS;
export const kindNamed = (name: string): AnyJobKind | undefined =>
  Object.hasOwn(JOB_KINDS, name) ? JOB_KINDS[name as JobKindName] : undefined;

function hourly(name: string, minute: number, args: object): HubSchedule {
  const settings: ScheduleSettings = {
    cron: `${minute} * * * *`,
    zone: "UTC",
    kind: name,
    args,
    priority: "bulk",
    misfire: "run-once",
    catchUp: 1,
    overlap: "forbid",
    enabled: true,
    spreadMs: SPREAD_MS,
  };
  return { name, settings };
}

/** What refers goes before what it refers to. */
export const HUB_SCHEDULES: readonly HubSchedule[] = [
  hourly("lifecycle", 50, {}),
  hourly("expire", 0, {}),
  hourly("prune", 20, { share: PRUNE_SHARE_DEFAULT }),
  hourly("scrub", 40, { bytes: SCRUB_BYTES_PER_ROUND, fromStart: false }),
];
