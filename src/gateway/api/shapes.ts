/**
 * The JSON of the API: zod schemas, which validate what comes in and from which the OpenAPI document is made, and how
 * values of the hub become them. Times are RFC 3339 in UTC, of files with up to nine digits of a second; permission bits
 * are octal texts as chmod reads them.
 */
import * as z from "zod";
import type { Attributes } from "#hub/attributes.ts";
import { ENCRYPTED, isEncrypted } from "#hub/encrypted-content.ts";
import type { Entry } from "#model/entry.ts";
import { conflictCopyOf } from "#model/conflict-copy.ts";
import { SynclineError } from "#model/error.ts";
import { pathFault } from "#model/path.ts";
import { POINT_FORMS, POINT_PATTERN } from "#hub/point-text.ts";
import { passedSeconds } from "#platform/net/http-date.ts";
import {
  type ChangeResult,
  type JournalRecord,
  type RestorePoint,
  SPACE_NAME,
  type Space,
  type SpaceSettings,
  type Version,
} from "#hub/space.ts";

export const PATH = z
  .string()
  .refine((path) => pathFault(path) === undefined, "no path that can be used")
  .describe("Names with / between; a byte that is no UTF-8 is the escaped lone surrogate \\udcXX");
/** A path, or "" for everything. */
export const PATH_OR_ALL = z
  .string()
  .refine((path) => pathFault(path, true) === undefined, "no path that can be used")
  .describe('A path; "" is the whole space');

export const SPACE_NAME_TEXT = z.string().regex(SPACE_NAME, "a–z, 0–9, - and ., 1 to 63 of them");
export const MODE = z.string().regex(/^0?[0-7]{1,4}$/, "octal permission bits, like 0644");
const TIME = z.iso.datetime();
const FILE_TIME_PATTERN = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z$/;
export const FILE_TIME = z.string().regex(FILE_TIME_PATTERN, "RFC 3339 in UTC, like 2026-11-20T23:59:07.123456789Z");
export const SEQUENCE = z.int().min(0);

/** A moment in the life of a space, as it is written in queries, bodies and on the command line. */
export const POINT_TEXT = z
  .string()
  .regex(POINT_PATTERN, POINT_FORMS)
  .describe(`${POINT_FORMS[0]!.toUpperCase()}${POINT_FORMS.slice(1)}`);

/** A number in a query. */
export const whole = (min: number, max: number) =>
  z
    .string()
    .regex(/^\d{1,16}$/, "a whole number")
    .transform(Number)
    .pipe(z.int().min(min).max(max));

export const FLAG = z.enum(["true", "false"]).transform((text) => text === "true");

export const SETTINGS_JSON = z
  .strictObject({
    quotaBytes: SEQUENCE.nullable().optional().describe("Bytes of the current files; null: no limit"),
    quotaEntries: SEQUENCE.nullable().optional(),
    retention: z
      .strictObject({
        versions: SEQUENCE.nullable().optional().describe("Old versions of a path to keep; null: all"),
        ageSeconds: SEQUENCE.nullable().optional().describe("How long old versions are kept; null: for ever"),
      })
      .optional(),
    ignore: z.array(z.string()).max(1000).optional().describe("gitignore lines that links of the space begin with"),
  })
  .meta({ id: "SpaceSettings" });

export const SPACE_JSON = z
  .object({
    name: z.string(),
    created: TIME,
    deleted: TIME.optional().describe("Can be brought back until the grace period ends"),
    sequence: SEQUENCE.describe("Of the last change"),
    lineage: z.string(),
    usage: z.object({ bytes: SEQUENCE, entries: SEQUENCE }),
    settings: SETTINGS_JSON,
    follows: z.object({ url: z.string(), source: z.string() }).optional().describe("Whose copy it is; it takes no changes"),
  })
  .meta({ id: "Space" });

export const ATTRIBUTES = z
  .record(z.string(), z.string())
  .describe("Short texts that doors keep with the version; names begin with whose they are, like http.content-type");

export const VERSION_JSON = z
  .object({
    path: z.string(),
    sequence: SEQUENCE,
    kind: z.enum(["file", "dir", "symlink", "other", "removed"]),
    size: SEQUENCE.optional(),
    mode: MODE.optional(),
    mtime: FILE_TIME.optional(),
    target: z.string().optional().describe("Of a symlink"),
    etag: z.string().optional().describe("Of a file whose content is kept: by it conditions are made"),
    attributes: ATTRIBUTES.optional().describe("Absent: it has none"),
    encrypted: z
      .literal("sse-c")
      .optional()
      .describe("With a key that its client has and the hub has not: it is read over S3, with the key"),
    vector: z.record(z.string(), SEQUENCE),
  })
  .meta({ id: "Version" });

export const JOURNAL_JSON = z
  .object({
    ...VERSION_JSON.shape,
    action: z.enum(["create", "replace", "metadata", "remove", "move"]),
    from: z.string().optional(),
    conflictOf: z
      .string()
      .nullable()
      .optional()
      .describe("The loser of a conflict was kept beside the winner at this path; null: its name is too long to say which"),
    previous: SEQUENCE.describe("Sequence of the version that it replaced; 0: none"),
    time: TIME,
    commit: SEQUENCE.describe("Sequence of the first change of its commit"),
    actor: z.string(),
    host: z.string().optional(),
    traceId: z.string(),
    cause: z.string(),
    runId: z.string().optional(),
    message: z.string().optional(),
    purged: z.literal(true).optional().describe("Somebody has taken this version away for good; its content is gone"),
  })
  .meta({ id: "JournalRecord" });

export const RESTORE_POINT_JSON = z
  .object({ name: z.string(), sequence: SEQUENCE, time: TIME, actor: z.string() })
  .meta({ id: "RestorePoint" });

export type SpaceJson = z.infer<typeof SPACE_JSON>;
export type VersionJson = z.infer<typeof VERSION_JSON>;
export type JournalJson = z.infer<typeof JOURNAL_JSON>;
export type RestorePointJson = z.infer<typeof RESTORE_POINT_JSON>;

const isoTime = (ms: number): string => new Date(ms).toISOString();
const modeText = (mode: number): string => mode.toString(8).padStart(4, "0");

/** The years 0 to 9999 can be written; what doors take is within them. */
export const isFileTime = (mtimeNs: bigint): boolean =>
  mtimeNs >= -62_167_219_200_000_000_000n && mtimeNs < 253_402_300_800_000_000_000n;

/** Without trailing zeros of the fraction; a disk may have times that cannot be written. */
export function fileTimeText(mtimeNs: bigint): string {
  if (!isFileTime(mtimeNs)) return "1970-01-01T00:00:00Z";
  const seconds = passedSeconds(mtimeNs);
  const fraction = (mtimeNs - BigInt(seconds) * 1_000_000_000n).toString().padStart(9, "0").replace(/0+$/, "");
  const date = new Date(seconds * 1000);
  return `${date.toISOString().slice(0, 19)}${fraction === "" ? "" : `.${fraction}`}Z`;
}

/** @throws {SynclineError} USAGE */
export function parseFileTime(text: string): bigint {
  const match = FILE_TIME_PATTERN.exec(text);
  const ms = match === null ? Number.NaN : Date.parse(`${match[1]}Z`);
  // 30 February would be 2 March.
  if (match === null || Number.isNaN(ms) || new Date(ms).toISOString().slice(0, 19) !== match[1]) {
    throw new SynclineError({
      code: "USAGE",
      op: "read request",
      message: `"${text}" is no time`,
      hint: "write it like 2026-11-20T23:59:07.123456789Z",
    });
  }
  return BigInt(ms) * 1_000_000n + BigInt((match[2] ?? "").padEnd(9, "0"));
}

export const parseMode = (text: string): number => Number.parseInt(text, 8);

/** Strong: it names the bytes alone, so that versions which differ in metadata share it. */
export function etagOf(version: Version): string | undefined {
  return version.content === undefined ? undefined : `"${version.content.id}"`;
}

export function settingsJson(settings: SpaceSettings): z.infer<typeof SETTINGS_JSON> {
  const { retention } = settings;
  return {
    quotaBytes: settings.quotaBytes ?? null,
    quotaEntries: settings.quotaEntries ?? null,
    retention: {
      versions: retention.versions ?? null,
      ageSeconds: retention.ageMs === undefined ? null : Math.floor(retention.ageMs / 1000),
    },
    ignore: [...settings.ignore],
  };
}

/** What a body says of settings, over those that are; what it does not name stays. */
export function mergeSettings(
  given: z.infer<typeof SETTINGS_JSON>,
  now: SpaceSettings,
): Partial<SpaceSettings> {
  const { retention } = given;
  const pick = (value: number | null | undefined, old: number | undefined): number | undefined =>
    value === undefined ? old : (value ?? undefined);
  const ageMs = now.retention.ageMs;
  return {
    quotaBytes: pick(given.quotaBytes, now.quotaBytes),
    quotaEntries: pick(given.quotaEntries, now.quotaEntries),
    retention: {
      versions: pick(retention?.versions, now.retention.versions),
      ageMs: retention?.ageSeconds === undefined ? ageMs : scale(retention.ageSeconds),
    },
    ignore: given.ignore ?? now.ignore,
  };
}

const scale = (seconds: number | null): number | undefined => (seconds === null ? undefined : seconds * 1000);

export function spaceJson(space: Space): SpaceJson {
  return {
    name: space.name,
    created: isoTime(space.createdMs),
    ...(space.deletedMs === undefined ? {} : { deleted: isoTime(space.deletedMs) }),
    sequence: space.sequence,
    lineage: space.lineage,
    usage: space.usage,
    settings: settingsJson(space.settings),
    ...(space.follows === undefined ? {} : { follows: { url: space.follows.url, source: space.follows.source } }),
  };
}

function entryJson(entry: Entry | undefined): Omit<VersionJson, "path" | "sequence" | "etag" | "attributes" | "vector"> {
  if (entry === undefined) return { kind: "removed" };
  switch (entry.kind) {
    case "file":
      return { kind: "file", size: entry.size, mode: modeText(entry.mode), mtime: fileTimeText(entry.mtimeNs) };
    case "dir":
      return { kind: "dir", mode: modeText(entry.mode) };
    case "symlink":
      return { kind: "symlink", target: entry.target };
    case "other":
      return { kind: "other" };
  }
}

export function shownAttributes(attributes: Attributes): { attributes?: Record<string, string> } {
  return Object.keys(attributes).length === 0 ? {} : { attributes: { ...attributes } };
}

/** What opens an encrypted file for who has its key is for the door that takes keys. */
function withoutOpener(attributes: Attributes): Attributes {
  const { [ENCRYPTED]: _opener, ...others } = attributes;
  return others;
}

export function versionJson(version: Version): VersionJson {
  const etag = etagOf(version);
  return {
    path: version.path,
    sequence: version.sequence,
    ...entryJson(version.entry),
    ...(etag === undefined ? {} : { etag }),
    ...shownAttributes(withoutOpener(version.attributes)),
    ...(isEncrypted(version) ? { encrypted: "sse-c" as const } : {}),
    vector: { ...version.vector },
  };
}

export function journalJson(record: JournalRecord): JournalJson {
  const { origin, action } = record;
  const copy = action === "create" || action === "move" ? conflictCopyOf(record.path) : undefined;
  return {
    ...versionJson(record),
    action: record.action,
    ...(record.from === undefined ? {} : { from: record.from }),
    ...(copy === undefined ? {} : { conflictOf: copy.of ?? null }),
    previous: record.previous,
    time: isoTime(record.timeMs),
    commit: record.commit,
    actor: origin.actor,
    ...(origin.host === undefined ? {} : { host: origin.host }),
    traceId: origin.traceId,
    cause: origin.cause,
    ...(origin.runId === undefined ? {} : { runId: origin.runId }),
    ...(origin.message === undefined ? {} : { message: origin.message }),
    ...(record.isPurged === true ? { purged: true } : {}),
  };
}

export function restorePointJson(point: RestorePoint): RestorePointJson {
  return { name: point.name, sequence: point.sequence, time: isoTime(point.timeMs), actor: point.actor };
}

/** One path's share of a restore, a copy or an undo. */
export const RESULT_JSON = z
  .object({
    path: z.string(),
    status: z.enum(["done", "stale", "refused"]),
    code: z.string().optional(),
    message: z.string().optional(),
    current: VERSION_JSON.optional(),
  })
  .meta({ id: "ChangeResult" });

export function resultJson(result: ChangeResult): z.infer<typeof RESULT_JSON> {
  const { path, status } = result;
  if (result.status === "refused") return { path, status, code: result.code, message: result.message };
  return { path, status, ...(result.version === undefined ? {} : { current: versionJson(result.version) }) };
}
