/** Locks of versions as S3 writes them, in headers and in XML, and back. */
import { pathOfKey } from "#gateway/s3/keys.ts";
import { isoTime } from "#gateway/s3/object-facts.ts";
import { type Header, type S3Call, header } from "#gateway/s3/s3-call.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";
import { type XmlElement, childrenOf, element, malformedXml, textOf } from "#gateway/s3/xml.ts";
import {
  LOCK_DAYS_MAX, LOCK_UNTIL_MS_MAX, LOCK_YEARS_MAX, type LockMode, type LockPeriod, type LockTerm, type VersionLock,
} from "#hub/locks.ts";
import { isCalendarDay } from "#platform/calendar.ts";

const MODE = "x-amz-object-lock-mode";
const UNTIL = "x-amz-object-lock-retain-until-date";
const HOLD = "x-amz-object-lock-legal-hold";
const BYPASS = "x-amz-bypass-governance-retention";

const MODES: ReadonlyMap<string | undefined, LockMode> = new Map([["GOVERNANCE", "governance"], ["COMPLIANCE", "compliance"]]);
const modeText = (mode: LockMode): string => mode.toUpperCase();

/** A date of ISO 8601 with its time and its zone. @throws {S3Error} InvalidArgument when it is none, or has passed */
function untilOf(text: string, nowMs: number): number {
  const isDate = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)$/.test(text);
  const ms = isDate && isCalendarDay(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms) || ms > LOCK_UNTIL_MS_MAX) {
    throw new S3Error("InvalidArgument", "the date until which to retain is none that can be used");
  }
  if (ms <= nowMs) throw new S3Error("InvalidArgument", "the date until which to retain must be in the future");
  return ms;
}

export function noLocks(): S3Error {
  return new S3Error("InvalidRequest", "the bucket has no object lock configuration");
}

/** What the headers of a request want of the object that it makes; undefined: nothing. @throws {S3Error, SynclineError} */
export async function lockAsked(call: S3Call): Promise<VersionLock | undefined> {
  const [mode, until, hold] = [header(call, MODE), header(call, UNTIL), header(call, HOLD)];
  if (mode === undefined && until === undefined && hold === undefined) return undefined;
  const { services, who, request } = call;
  const at = pathOfKey(request.key);
  services.access.require(who, "lock", { type: "space", space: request.bucket, path: at?.path ?? "" });
  if ((await services.settings.recentSettings(request.bucket))?.lock === undefined) throw noLocks();
  if ((mode === undefined) !== (until === undefined)) throw new S3Error("InvalidArgument", `${MODE} and ${UNTIL} come together`);
  if (mode !== undefined && !MODES.has(mode)) throw new S3Error("InvalidArgument", `${MODE} is GOVERNANCE or COMPLIANCE`);
  if (hold !== undefined && hold !== "ON" && hold !== "OFF") throw new S3Error("InvalidArgument", `${HOLD} is ON or OFF`);
  if (at?.isDir === true) throw new S3Error("InvalidRequest", "a key that ends with / has no bytes that could be locked");
  const term = mode === undefined ? undefined : { mode: MODES.get(mode)!, untilMs: untilOf(until!, services.clock.nowMs()) };
  return { term, hold: hold === "ON" };
}

export const asksToBypass = (call: S3Call): boolean => header(call, BYPASS)?.toLowerCase() === "true";

export function lockHeaders({ term, hold }: VersionLock): Header[] {
  const headers: Header[] = [];
  if (term !== undefined) headers.push([MODE, modeText(term.mode)], [UNTIL, isoTime(term.untilMs)]);
  if (hold) headers.push([HOLD, "ON"]);
  return headers;
}

export function retentionXml({ mode, untilMs }: LockTerm): string {
  return element("Mode", modeText(mode)) + element("RetainUntilDate", isoTime(untilMs));
}

/** null: none, as an empty element says. @throws {S3Error} MalformedXML, InvalidArgument */
export function retentionOf(body: XmlElement, nowMs: number): LockTerm | null {
  const [mode, until] = [textOf(body, "Mode"), textOf(body, "RetainUntilDate")];
  if (mode === undefined && until === undefined) return null;
  const known = MODES.get(mode);
  if (known === undefined || until === undefined) throw malformedXml();
  return { mode: known, untilMs: untilOf(until, nowMs) };
}

/** @throws {S3Error} MalformedXML */
export function holdOf(body: XmlElement): boolean {
  const status = textOf(body, "Status");
  if (status !== "ON" && status !== "OFF") throw malformedXml();
  return status === "ON";
}

export function periodXml({ mode, unit, count }: LockPeriod): string {
  const rule = element("Mode", modeText(mode)) + element(unit === "days" ? "Days" : "Years", count);
  return `<Rule><DefaultRetention>${rule}</DefaultRetention></Rule>`;
}

/** What new objects get, by an ObjectLockConfiguration. @throws {S3Error} MalformedXML, InvalidRetentionPeriod */
export function periodOf(body: XmlElement): LockPeriod | undefined {
  if (textOf(body, "ObjectLockEnabled") !== "Enabled") throw malformedXml();
  const [rule, ...more] = childrenOf(body, "Rule");
  if (rule === undefined) return undefined;
  const [given, ...others] = childrenOf(rule, "DefaultRetention");
  if (given === undefined || more.length > 0 || others.length > 0) throw malformedXml();
  const [mode, days, years] = [textOf(given, "Mode"), textOf(given, "Days"), textOf(given, "Years")];
  const text = days ?? years;
  const areBoth = days !== undefined && years !== undefined;
  const known = MODES.get(mode);
  if (known === undefined || text === undefined || areBoth || !/^-?\d{1,10}$/.test(text)) throw malformedXml();
  const unit = days === undefined ? "years" : "days";
  const count = Number(text);
  const max = unit === "days" ? LOCK_DAYS_MAX : LOCK_YEARS_MAX;
  if (count < 1 || count > max) throw new S3Error("InvalidRetentionPeriod", `objects are retained from 1 to ${max} ${unit}`);
  return { mode: known, unit, count };
}
