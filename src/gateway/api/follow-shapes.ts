/**
 * What goes between two hubs, as JSON: a journal exactly as it is at rest. Entries are the bytes of their rows, in
 * base64; what all records of a page have in common is told once. Whoever reads it trusts nothing of it.
 */
import * as z from "zod";
import { NO_ATTRIBUTES, attributesFault, ownAttributes } from "#hub/attributes.ts";
import { sizeFault } from "#hub/encrypted-content.ts";
import { decodeEntry, encodeEntry } from "#hub/meta/rows.ts";
import { decodeManifest } from "#hub/meta/manifests.ts";
import {
  CHUNKS_MAX,
  LEAVES_MAX,
  PAGE_RECORDS_MAX,
  SEQUENCES_MAX,
  type SourceFacts,
  type SourceMarks,
  type SourcePage,
  WANTED_MAX,
} from "#hub/followers/source.ts";
import { LIFECYCLE_DAYS_MAX, LIFECYCLE_KEEP_MAX, LIFECYCLE_RULES_MAX } from "#hub/lifecycle/rules.ts";
import { LOCK_DAYS_MAX, LOCK_MODES } from "#hub/locks.ts";
import { MARKS_MAX } from "#hub/meta/marks.ts";
import type { Cause, JournalRecord, Origin, SpaceSettings } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import type { ChunkId, ContentId } from "#sync/chunk/chunk-id.ts";
import { type Manifest, writeManifest } from "#sync/chunk/manifest.ts";
import { ByteWriter } from "#sync/wire/bytes.ts";
import { ATTRIBUTES, PATH, PATH_OR_ALL, SEQUENCE, shownAttributes } from "#gateway/api/shapes.ts";

const ID = z.string().regex(/^[0-9a-f]{64}$/, "a SHA-256 in hex");
const LINEAGE = z.string().min(1).max(200);
const TEXT = z.string().max(20_000);
const HUB_ID = z.string().regex(/^[0-9a-f]{1,32}$/);
const TAG = z.string().regex(/^[0-9a-f]{1,64}$/);
const DIGEST = z.string().regex(/^[0-9a-f]{16}$/);

const RECORD = z.strictObject({
  path: PATH,
  seq: SEQUENCE.min(1),
  entry: z.base64(),
  content: ID.nullable(),
  size: SEQUENCE.optional().describe("Of the content"),
  vector: z.record(HUB_ID, SEQUENCE).nullable().describe("Null: of the hub that answers alone, with this sequence"),
  action: z.enum(["create", "replace", "metadata", "remove", "move"]),
  from: PATH.optional(),
  previous: SEQUENCE,
  commit: SEQUENCE.min(1),
  attributes: ATTRIBUTES.optional(),
});

/** Milliseconds that a date can be made of. */
const TIME_MS = z.int().min(0).max(8.64e15);

const COMMIT = z.strictObject({
  time: TIME_MS,
  actor: TEXT,
  host: TEXT.optional(),
  trace: TEXT,
  cause: TEXT,
  run: TEXT.optional(),
  message: TEXT.optional(),
});

const MANIFEST = z.strictObject({ id: ID, bytes: z.base64() });

export const RECORDS_JSON = z
  .strictObject({
    hub: HUB_ID,
    records: z.array(RECORD).max(PAGE_RECORDS_MAX),
    commits: z.record(z.string().regex(/^\d{1,16}$/), COMMIT).describe("By the sequence of the first change of each"),
    manifests: z.array(MANIFEST).max(PAGE_RECORDS_MAX),
  })
  .meta({ id: "FollowRecords" });

export const PAGE_JSON = z
  .strictObject({
    ...RECORDS_JSON.shape,
    lineage: LINEAGE,
    sequence: SEQUENCE,
    tag: TAG,
    wanted: z.array(z.strictObject({ id: ID, content: ID })).max(WANTED_MAX),
    marks: SEQUENCE.optional(),
  })
  .meta({ id: "FollowPage" });

const LOCK_MODE = z.enum(LOCK_MODES);
const LOCK_SETTING = z.strictObject({
  period: z.strictObject({ mode: LOCK_MODE, unit: z.enum(["days", "years"]), count: z.int().min(1).max(LOCK_DAYS_MAX) }).optional(),
});
const DAYS = z.int().min(1).max(LIFECYCLE_DAYS_MAX).optional();
const LIFECYCLE_RULE = z.strictObject({
  id: z.string().max(255),
  enabled: z.boolean(),
  isPlain: z.boolean().optional(),
  filter: z.strictObject({
    prefix: z.string().max(1024).optional(),
    tags: z.array(z.tuple([z.string().max(128), z.string().max(256)])).max(10).optional(),
    largerThan: SEQUENCE.optional(),
    smallerThan: SEQUENCE.optional(),
  }),
  expireDays: DAYS,
  expireDateMs: TIME_MS.optional(),
  expireMarkers: z.boolean().optional(),
  oldDays: DAYS,
  oldKeep: z.int().min(1).max(LIFECYCLE_KEEP_MAX).optional(),
  abortDays: DAYS,
});

const MARK = z.strictObject({
  number: SEQUENCE,
  sequence: SEQUENCE,
  lock: z.strictObject({ term: z.strictObject({ mode: LOCK_MODE, untilMs: TIME_MS }).optional(), hold: z.boolean() }).optional(),
  purge: z.strictObject({ timeMs: TIME_MS, actor: TEXT, traceId: TEXT, cause: TEXT }).optional(),
  later: z.strictObject({ attributes: ATTRIBUTES, at: SEQUENCE }).optional(),
});
export const MARKS_JSON = z.strictObject({ sequence: SEQUENCE, marks: z.array(MARK).max(MARKS_MAX) }).meta({ id: "FollowMarks" });

export function marksOf({ sequence, marks }: z.infer<typeof MARKS_JSON>): SourceMarks {
  return {
    sequence,
    marks: marks.map(({ number, sequence: of, lock, purge, later }) => ({
      number, sequence: of, purge, later, ...(lock === undefined ? {} : { lock: { term: lock.term, hold: lock.hold } }),
    })),
  };
}

export function marksJson({ sequence, marks }: SourceMarks): z.infer<typeof MARKS_JSON> {
  return { sequence, marks: marks.map((mark) => ({ ...mark })) };
}

export const FACTS_JSON = z
  .strictObject({
    hub: HUB_ID,
    lineage: LINEAGE,
    sequence: SEQUENCE,
    past: z.array(z.strictObject({ lineage: LINEAGE, sequence: SEQUENCE })).max(10_000),
    seeds: z.string().regex(/^[0-9a-f]{32}$/),
    settings: z.strictObject({
      quotaBytes: SEQUENCE.optional(),
      quotaEntries: SEQUENCE.optional(),
      retention: z.strictObject({ versions: SEQUENCE.optional(), ageMs: SEQUENCE.optional() }),
      ignore: z.array(z.string()).max(1000),
      doors: ATTRIBUTES.optional(),
      lock: LOCK_SETTING.optional(),
      lifecycle: z.array(LIFECYCLE_RULE).max(LIFECYCLE_RULES_MAX).optional(),
    }),
    points: z.array(z.strictObject({ name: z.string().min(1).max(100), sequence: SEQUENCE, timeMs: TIME_MS, actor: TEXT })),
    tag: TAG,
  })
  .meta({ id: "FollowFacts" });

export const CHUNKS_BODY = z.strictObject({
  wanted: z.array(z.strictObject({ content: ID, chunks: z.array(ID).min(1).max(CHUNKS_MAX) })).max(CHUNKS_MAX),
});
export const DROPPED_BODY = z.strictObject({ sequences: z.array(SEQUENCE).max(SEQUENCES_MAX) });
export const DROPPED_JSON = z.strictObject({ sequences: z.array(SEQUENCE).max(SEQUENCES_MAX) });
export const HISTORY_BODY = z.strictObject({ path: PATH, after: SEQUENCE, until: SEQUENCE });

const RANGE_SHAPE = { from: PATH_OR_ALL, to: PATH.optional(), count: SEQUENCE, digest: DIGEST };
export const DIGEST_JSON = z
  .strictObject({
    lineage: LINEAGE,
    sequence: SEQUENCE,
    count: SEQUENCE.describe("Entries of the range"),
    digest: DIGEST.describe("The same on every hub that has the same versions there"),
    leaves: z.array(z.strictObject({ path: PATH, sequence: SEQUENCE, digest: DIGEST })).max(LEAVES_MAX).optional(),
    parts: z.array(z.strictObject(RANGE_SHAPE)).max(100).optional(),
  })
  .meta({ id: "Digest" });

export type DigestJson = z.infer<typeof DIGEST_JSON>;

type RecordsJson = z.infer<typeof RECORDS_JSON>;

export function recordsJson(hub: string, { records, manifests }: Pick<SourcePage, "records" | "manifests">): RecordsJson {
  const commits: RecordsJson["commits"] = {};
  const writer = new ByteWriter();
  for (const { commit, timeMs, origin } of records) commits[String(commit)] ??= commitJson(timeMs, origin);
  return {
    hub,
    commits,
    records: records.map((record) => recordJson(hub, record)),
    manifests: [...manifests].map(([id, manifest]) => {
      writer.reset();
      writeManifest(writer, manifest);
      return { id, bytes: writer.view().toBase64() };
    }),
  };
}

function commitJson(time: number, { actor, host, traceId, cause, runId, message }: Origin): z.infer<typeof COMMIT> {
  return { time, actor, host, trace: traceId, cause, run: runId, message };
}

function recordJson(hub: string, record: JournalRecord): z.infer<typeof RECORD> {
  const { path, sequence, entry, content, vector, action, from, previous, commit, attributes } = record;
  const isAlone = Object.keys(vector).length === 1 && vector[hub] === sequence;
  return {
    path, seq: sequence, entry: encodeEntry(entry).toBase64(), content: content?.id ?? null, size: content?.size,
    vector: isAlone ? null : vector, action, from, previous, commit, ...shownAttributes(attributes),
  };
}

/** @throws {SynclineError} PROTOCOL */
export function recordsOf({ hub, records, commits, manifests }: RecordsJson): Pick<SourcePage, "records" | "manifests"> {
  const found = new Map<ContentId, Manifest>();
  for (const { id, bytes } of manifests) {
    const manifest = decodeManifest(id as ContentId, Uint8Array.fromBase64(bytes));
    if (manifest !== undefined) found.set(id as ContentId, manifest);
  }
  return { records: records.map((record) => recordOf(hub, record, commits)), manifests: found };
}

function recordOf(hub: string, given: z.infer<typeof RECORD>, commits: RecordsJson["commits"]): JournalRecord {
  const { path, seq, content, size, action, from, previous, commit, attributes = NO_ATTRIBUTES } = given;
  const entry = decodeEntry(Uint8Array.fromBase64(given.entry));
  const made = commits[String(commit)];
  const isFile = entry?.kind === "file";
  const isRight =
    made !== undefined && (action === "remove") === (entry === undefined) && entry?.kind !== "other" &&
    attributesFault(attributes) === undefined && (content === null || (isFile && sizeFault(entry, attributes, size ?? 0) === undefined)) &&
    commit <= seq && previous < seq &&
    (entry !== undefined || Object.keys(ownAttributes(attributes)).length === 0);
  if (!isRight) throw new SynclineError({ code: "PROTOCOL", op: "follow", message: `the record ${seq} is none` });
  const { time, actor, host, trace, cause, run, message } = made;
  const origin: Origin = { actor, host, traceId: trace, cause: cause as Cause, runId: run, message };
  return {
    path, sequence: seq, entry, action, from, previous, commit, timeMs: time, origin, attributes,
    content: content === null ? undefined : { id: content as ContentId, size: size! },
    vector: given.vector ?? { [hub]: seq },
  };
}

export function pageJson(hub: string, page: SourcePage): z.infer<typeof PAGE_JSON> {
  const { lineage, sequence, tag, wanted, marks } = page;
  return { ...recordsJson(hub, page), lineage, sequence, tag, wanted: [...wanted], ...(marks === undefined ? {} : { marks }) };
}

/** @throws {SynclineError} PROTOCOL */
export function pageOf(json: z.infer<typeof PAGE_JSON>): SourcePage {
  const { lineage, sequence, tag, marks } = json;
  const wanted = json.wanted.map(({ id, content }) => ({ id: id as ChunkId, content: content as ContentId }));
  return { ...recordsOf(json), lineage, sequence, tag, wanted, ...(marks === undefined ? {} : { marks }) };
}

export function factsJson(facts: SourceFacts): z.infer<typeof FACTS_JSON> {
  const { hubId, lineage, sequence, past, seeds, settings, points, tag } = facts;
  return {
    hub: hubId, lineage, sequence, past: [...past], seeds: seeds.toHex(), tag, points: [...points],
    settings: settingsJson(settings),
  };
}

function settingsJson({ doors, lock, lifecycle, ...settings }: SpaceSettings): z.infer<typeof FACTS_JSON>["settings"] {
  const rules = lifecycle?.map(({ filter: { tags, ...filter }, ...rule }) => ({
    ...rule, filter: { ...filter, ...(tags === undefined ? {} : { tags: tags.map(([name, value]): [string, string] => [name, value]) }) },
  }));
  return {
    ...settings, ignore: [...settings.ignore], retention: { ...settings.retention },
    ...(doors === undefined ? {} : { doors: { ...doors } }),
    ...(lock === undefined ? {} : { lock: { ...lock } }),
    ...(rules === undefined ? {} : { lifecycle: rules }),
  };
}

export function factsOf(json: z.infer<typeof FACTS_JSON>): SourceFacts {
  const { hub, lineage, sequence, past, seeds, points, tag, settings } = json;
  const { quotaBytes, quotaEntries, retention, ignore, doors, lock, lifecycle } = settings;
  const own: SpaceSettings = {
    quotaBytes, quotaEntries, ignore, retention: { versions: retention.versions, ageMs: retention.ageMs },
    ...(doors === undefined ? {} : { doors }),
    ...(lock === undefined ? {} : { lock: { period: lock.period } }),
    ...(lifecycle === undefined ? {} : { lifecycle }),
  };
  return { hubId: hub, lineage, sequence, past, seeds: Uint8Array.fromHex(seeds), points, tag, settings: own };
}
