/**
 * Rules of a space about what becomes of entries and versions with time. Pure.
 *
 * Days are counted by the hub's clock from the commit that made a version, or that put another in its place, and end with
 * the next midnight (UTC), as in S3.
 */
import type { Attributes } from "#hub/attributes.ts";
import type { Entry } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";

export const LIFECYCLE_RULES_MAX = 1000;
/** Of all rules of a space as JSON: they are read with the space. */
export const LIFECYCLE_BYTES_MAX = 64 << 10;
export const LIFECYCLE_DAYS_MAX = 2_147_483_647;
export const LIFECYCLE_KEEP_MAX = 100;
const DAY_MS = 24 * 3_600_000;
/** Far behind every date that there is. */
const NEVER_MS = 8.64e15;

/** Attribute of a version that holds its tags as a query ("a=1&b=2"). */
export const TAGS_ATTRIBUTE = "s3.tags";

export type LifecycleFilter = {
  readonly prefix?: string | undefined;
  /** All of them. */
  readonly tags?: readonly (readonly [name: string, value: string])[] | undefined;
  /** Bytes, exclusive. */
  readonly largerThan?: number | undefined;
  readonly smallerThan?: number | undefined;
};

export type LifecycleRule = {
  readonly id: string;
  readonly enabled: boolean;
  /** Given in the older of the two forms that S3 has for a prefix; told so again. */
  readonly isPlain?: boolean | undefined;
  readonly filter: LifecycleFilter;
  /** Current files are removed so long after they were made, or from a date on. */
  readonly expireDays?: number | undefined;
  readonly expireDateMs?: number | undefined;
  /** A tombstone below which nothing is left is no longer shown. */
  readonly expireMarkers?: boolean | undefined;
  /** Old versions are taken away so long after they were replaced; of those that are newer so many stay. */
  readonly oldDays?: number | undefined;
  readonly oldKeep?: number | undefined;
  /** Unfinished uploads are dropped so long after they were begun. */
  readonly abortDays?: number | undefined;
};

/** The midnight at which `days` after a time have passed. */
export function dueMs(sinceMs: number, days: number): number {
  return Math.min(Math.ceil((sinceMs + days * DAY_MS) / DAY_MS) * DAY_MS, NEVER_MS);
}

/** What was made up to this time is `days` old now. */
export function agedMs(nowMs: number, days: number): number {
  return Math.floor(nowMs / DAY_MS) * DAY_MS - days * DAY_MS;
}

export type Described = { readonly path: RelPath; readonly entry: Entry | undefined; readonly attributes: Attributes };

export function matches({ prefix, tags, largerThan, smallerThan }: LifecycleFilter, { path, entry, attributes }: Described): boolean {
  if (entry?.kind !== "file" || (prefix !== undefined && !path.startsWith(prefix))) return false;
  if (largerThan !== undefined && !(entry.size > largerThan)) return false;
  if (smallerThan !== undefined && !(entry.size < smallerThan)) return false;
  if (tags === undefined || tags.length === 0) return true;
  const own = new URLSearchParams(attributes[TAGS_ATTRIBUTE] ?? "");
  return tags.every(([name, value]) => own.get(name) === value);
}

/** As matches, of a version that was replaced: a tombstone has neither tags nor a size. */
export function matchesOld(filter: LifecycleFilter, version: Described): boolean {
  if (version.entry !== undefined) return matches(filter, version);
  const { prefix, tags, largerThan, smallerThan } = filter;
  const isPlain = (tags === undefined || tags.length === 0) && largerThan === undefined && smallerThan === undefined;
  return isPlain && (prefix === undefined || version.path.startsWith(prefix));
}

export type Expiry = { readonly ruleId: string; readonly atMs: number };

/** When a current version will be removed, and by which rule: the first that does. */
export function expiryOf(rules: readonly LifecycleRule[], version: Described, madeMs: number): Expiry | undefined {
  let first: Expiry | undefined;
  for (const { id, enabled, filter, expireDays, expireDateMs } of rules) {
    if (!enabled || (expireDays === undefined && expireDateMs === undefined) || !matches(filter, version)) continue;
    const atMs = expireDays === undefined ? expireDateMs! : dueMs(madeMs, expireDays);
    if (first === undefined || atMs < first.atMs) first = { ruleId: id, atMs };
  }
  return first;
}
