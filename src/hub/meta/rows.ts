/** Rows of the tables as values of the hub, and back. What comes from a row is checked before anyone uses it. */
import type {
  Cause,
  ContentRef,
  JournalAction,
  JournalRecord,
  Space,
  SpaceId,
  SpaceSettings,
  Version,
  VersionVector,
} from "#hub/space.ts";
import { type Attributes, againOf, decodeAttributes, encodeAttributes } from "#hub/attributes.ts";
import { storedBytes } from "#hub/encrypted-content.ts";
import type { VersionLock } from "#hub/locks.ts";
import type { Entry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, decodeName, encodeName, printablePath } from "#model/path.ts";
import type { SqlRow } from "#platform/sql/database.ts";
import { type ContentId, ID_BYTES } from "#sync/chunk/chunk-id.ts";
import { ByteReader, ByteWriter, malformed } from "#sync/wire/bytes.ts";
import { readEntry, writeEntry } from "#sync/wire/entry-codec.ts";

export type VersionRow = SqlRow & {
  readonly space_id: number;
  readonly seq: number;
  readonly path: Uint8Array;
  readonly present: number;
  readonly action: number;
  readonly from_path: Uint8Array | null;
  readonly previous: number;
  readonly replaced: number | null;
  readonly commit_seq: number;
  readonly entry: Uint8Array;
  readonly content: Uint8Array | null;
  readonly vector: string | null;
  readonly sum: number;
  readonly attributes: Uint8Array | null;
};

/** In the order of valuesOf. */
const COLUMNS = [
  "space_id",
  "seq",
  "path",
  "present",
  "action",
  "from_path",
  "previous",
  "replaced",
  "commit_seq",
  "entry",
  "content",
  "vector",
  "sum",
  "attributes",
] as const;
export const VERSION_COLUMNS: string = COLUMNS.join(", ");
/** With the alias that joins give to versions. */
export const VERSION_COLUMNS_V: string = COLUMNS.map((column) => `v.${column}`).join(", ");

/** A row that is to be written, with what is derived for an index. */
export type NewVersionRow = VersionRow & { readonly again: number | null };
export const NEW_VERSION_COLUMNS: string = `${VERSION_COLUMNS}, again`;
export const NEW_VERSION_WIDTH: number = COLUMNS.length + 1;

export function valuesOf(row: NewVersionRow): (string | number | Uint8Array | null)[] {
  const values: (string | number | Uint8Array | null)[] = COLUMNS.map((column) => row[column]);
  values.push(row.again);
  return values;
}

export type JournalRow = VersionRow & {
  readonly purged: number | null;
  readonly time_ms: number;
  readonly actor: string;
  readonly host: string | null;
  readonly trace_id: string;
  readonly cause: string;
  readonly run_id: string | null;
  readonly message: string | null;
};
export const JOURNAL_COLUMNS =
  `${VERSION_COLUMNS_V}, v.purged, c.time_ms, c.actor, c.host, c.trace_id, c.cause, c.run_id, c.message` as const;

/** By the number that stands in rows. */
const ACTIONS: readonly JournalAction[] = ["create", "replace", "metadata", "remove", "move"];

/** What a new version consists of, but for its space and sequence. */
export type Draft = {
  readonly path: RelPath;
  readonly entry: Entry | undefined;
  readonly content: ContentRef | undefined;
  readonly attributes: Attributes;
  readonly action: JournalAction;
  readonly from: RelPath | undefined;
  /** It shows this earlier version of the path again; 0: nothing is left to be shown. */
  readonly again?: number | undefined;
  readonly lock?: VersionLock | undefined;
};

const writer = new ByteWriter();
const reader = new ByteReader(new Uint8Array(0));

export function encodeEntry(entry: Entry | undefined): Uint8Array {
  writer.reset();
  writeEntry(writer, entry);
  return writer.finish();
}

/** @throws {SynclineError} PROTOCOL */
export function decodeEntry(bytes: Uint8Array): Entry | undefined {
  reader.reset(bytes);
  const entry = readEntry(reader);
  if (!reader.atEnd) throw malformed("bytes behind an entry");
  return entry;
}

/** The row of a new version. */
export function rowOf(
  space: SpaceId,
  hubId: string,
  version: Version,
  draft: Draft,
  before: { readonly previous: number; readonly commit: number },
): NewVersionRow {
  const row = {
    space_id: space,
    seq: version.sequence,
    path: encodeName(draft.path),
    present: draft.entry === undefined ? 0 : 1,
    action: ACTIONS.indexOf(draft.action),
    from_path: draft.from === undefined ? null : encodeName(draft.from),
    previous: before.previous,
    replaced: null,
    commit_seq: before.commit,
    entry: encodeEntry(draft.entry),
    content: draft.content === undefined ? null : Uint8Array.fromHex(draft.content.id),
    vector: encodeVector(version.vector, hubId, version.sequence),
    sum: 0,
    attributes: encodeAttributes(draft.attributes),
    again: againOf(draft.attributes) ?? null,
  };
  row.sum = sumOf(row);
  return row;
}

/** 48 bits, which a number holds exactly, over all that is never changed and over content. Attributes count where there are some. */
export function sumOf(row: VersionRow): number {
  writer.reset();
  writer.varint(row.space_id);
  writer.varint(row.seq);
  writer.bytes(row.path);
  writer.varint(row.action);
  writer.bytes(row.from_path ?? NOTHING);
  writer.varint(row.previous);
  writer.varint(row.commit_seq);
  writer.bytes(row.entry);
  writer.bytes(row.content ?? NOTHING);
  writer.string(row.vector ?? "");
  if (row.attributes !== null) writer.bytes(row.attributes);
  return Number(BigInt.asUintN(48, BigInt(Bun.hash.xxHash3(writer.view()))));
}
const NOTHING = new Uint8Array(0);

/** 48 bits over some bytes, one after the other. */
export function hash48(...parts: readonly Uint8Array[]): number {
  writer.reset();
  for (const part of parts) writer.bytes(part);
  return Number(BigInt.asUintN(48, BigInt(Bun.hash.xxHash3(writer.view()))));
}

/** Most paths were changed by this hub alone, and then sequence and vector say the same. */
function encodeVector(vector: VersionVector, hubId: string, sequence: number): string | null {
  const hubs = Object.keys(vector).sort();
  if (hubs.length === 1 && vector[hubId] === sequence) return null;
  return JSON.stringify(Object.fromEntries(hubs.map((hub) => [hub, vector[hub]])));
}

/** @throws {SynclineError} STATE when the row is not what was written */
export function versionOf(row: VersionRow, hubId: string): Version {
  return checked(row, () => decodeVersion(row, hubId));
}

/** @throws {SynclineError} STATE when the row is not what was written */
export function recordOf(row: JournalRow, hubId: string): JournalRecord {
  return checked(row, () => ({
    ...decodeVersion(row, hubId),
    action: ACTIONS[row.action]!,
    from: row.from_path === null ? undefined : decodeName(row.from_path),
    previous: row.previous,
    timeMs: row.time_ms,
    commit: row.commit_seq,
    ...(row.purged === null ? {} : { isPurged: true }),
    origin: {
      actor: row.actor,
      host: row.host ?? undefined,
      traceId: row.trace_id,
      cause: row.cause as Cause,
      runId: row.run_id ?? undefined,
      message: row.message ?? undefined,
    },
  }));
}

function checked<T>(row: VersionRow, decode: () => T): T {
  let cause: unknown;
  try {
    if (sumOf(row) === row.sum) return decode();
  } catch (error) {
    // Numbers of a damaged row are also of the wrong kind.
    cause = error;
  }
  throw damagedRow(`version ${row.seq} of "${printablePath(decodeName(row.path))}"`, cause);
}

function decodeVersion(row: VersionRow, hubId: string): Version {
  const entry = decodeEntry(row.entry);
  const vector = row.vector === null ? { [hubId]: row.seq } : (JSON.parse(row.vector) as VersionVector);
  const isFile = entry !== undefined && entry.kind === "file";
  const attributes = decodeAttributes(row.attributes);
  const size = isFile ? storedBytes(entry, attributes) : 0;
  const content = row.content === null || !isFile ? undefined : { id: contentIdOfRow(row.content), size };
  return { path: decodeName(row.path), sequence: row.seq, entry, content, attributes, vector };
}

/** The sequence by which a version is known: its own, or that of an earlier one which it shows again; 0: shown to nobody. */
export function knownBy({ seq, attributes }: Pick<VersionRow, "seq" | "attributes">): number {
  return (attributes === null ? undefined : againOf(decodeAttributes(attributes))) ?? seq;
}

/** Text as both engines keep it and give it back: PostgreSQL knows no zero characters, and neither half surrogates. */
export function plainText(text: string): string {
  return text.toWellFormed().replaceAll("\0", "\ufffd");
}

export function contentIdOfRow(bytes: Uint8Array): ContentId {
  if (bytes.length !== ID_BYTES) throw damagedRow("an id of content", undefined);
  return bytes.toHex() as ContentId;
}

export function damagedRow(what: string, cause: unknown): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "read metadata",
    message: `the database is damaged: ${what} is not what was written`,
    hint: "stop the hub, keep its database as it is, and put back a backup",
    cause,
  });
}

export type SpaceRow = SqlRow & {
  readonly id: number;
  readonly name: string;
  readonly created_ms: number;
  readonly deleted_ms: number | null;
  readonly settings: string;
  readonly lineage: string;
  readonly seeds: Uint8Array;
  readonly sequence: number;
  readonly bytes: number;
  readonly entries: number;
};
export const SPACE_COLUMNS =
  "id, name, created_ms, deleted_ms, settings, lineage, seeds, sequence, bytes, entries" as const;

export function spaceOf(row: SpaceRow): Space {
  return {
    id: row.id as SpaceId,
    name: row.name,
    createdMs: row.created_ms,
    deletedMs: row.deleted_ms ?? undefined,
    settings: decodeSettings(row.settings),
    lineage: row.lineage,
    seeds: new Uint8Array(row.seeds),
    sequence: row.sequence,
    usage: { bytes: row.bytes, entries: row.entries },
  };
}

/** JSON leaves out what is undefined, which here means "no limit". */
export function encodeSettings(settings: SpaceSettings): string {
  return JSON.stringify(settings);
}

function decodeSettings(text: string): SpaceSettings {
  const given = JSON.parse(text) as SpaceSettings;
  return {
    quotaBytes: given.quotaBytes,
    quotaEntries: given.quotaEntries,
    retention: { versions: given.retention.versions, ageMs: given.retention.ageMs },
    ignore: given.ignore,
    ...(given.doors === undefined ? {} : { doors: given.doors }),
    ...(given.lock === undefined ? {} : { lock: given.lock }),
    ...(given.lifecycle === undefined ? {} : { lifecycle: given.lifecycle }),
  };
}
