/** Lifecycle configurations as S3 writes them, and back. What is not done here is refused, never kept and ignored. Pure. */
import { isoTime } from "#gateway/s3/object-facts.ts";
import { S3Error, notImplemented } from "#gateway/s3/s3-error.ts";
import { checkedTags } from "#gateway/s3/tags.ts";
import { type XmlElement, childrenOf, element, exactTextOf, malformedXml, textOf } from "#gateway/s3/xml.ts";
import {
  LIFECYCLE_BYTES_MAX, LIFECYCLE_DAYS_MAX, LIFECYCLE_KEEP_MAX, LIFECYCLE_RULES_MAX, type LifecycleFilter, type LifecycleRule,
} from "#hub/lifecycle/rules.ts";
import { isCalendarDay } from "#platform/calendar.ts";

const ID_CHARS_MAX = 255;
const PREFIX_BYTES_MAX = 1024;
const DAY_MS = 24 * 3_600_000;

const invalid = (why: string): S3Error => new S3Error("InvalidArgument", why);

/** Only these children, and each once. @throws {S3Error} MalformedXML */
function only(parent: XmlElement, names: readonly string[], many: readonly string[] = []): void {
  const seen = new Set<string>();
  for (const { name } of parent.children) {
    if (!names.includes(name) || (seen.has(name) && !many.includes(name))) throw malformedXml();
    seen.add(name);
  }
}

/** @throws {S3Error} MalformedXML for what is no number, InvalidArgument for one that cannot be used */
function numberOf(parent: XmlElement, name: string, min: number, max: number): number | undefined {
  const text = textOf(parent, name);
  if (text === undefined) return undefined;
  if (!/^-?\d{1,16}$/.test(text)) throw malformedXml();
  const number = Number(text);
  if (number < min || number > max) throw invalid(`${name} is from ${min} to ${max}`);
  return number;
}

const isText = (text: string): boolean => text.isWellFormed() && !/\p{Cc}/u.test(text);

/** @param newId for rules that have none @throws {S3Error} MalformedXML, InvalidArgument, InvalidRequest, NotImplemented */
export function lifecycleOf(body: XmlElement, newId: () => string): LifecycleRule[] {
  only(body, ["Rule"], ["Rule"]);
  const given = childrenOf(body, "Rule");
  const isRight = given.length >= 1 && given.length <= LIFECYCLE_RULES_MAX;
  if (!isRight) throw malformedXml(`a configuration has from 1 to ${LIFECYCLE_RULES_MAX} rules`);
  const rules = given.map((rule) => ruleOf(rule, newId));
  if (new Set(rules.map(({ id }) => id)).size < rules.length) throw invalid("the ID of every rule must be another");
  const bytes = Buffer.byteLength(JSON.stringify(rules));
  if (bytes > LIFECYCLE_BYTES_MAX) throw new S3Error("InvalidRequest", `the rules have more than ${LIFECYCLE_BYTES_MAX} bytes together`);
  return rules;
}

const ACTIONS = ["Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload"] as const;
const TRANSITIONS = ["Transition", "NoncurrentVersionTransition"] as const;

function ruleOf(rule: XmlElement, newId: () => string): LifecycleRule {
  only(rule, ["ID", "Status", "Prefix", "Filter", ...ACTIONS, ...TRANSITIONS], TRANSITIONS);
  if (TRANSITIONS.some((name) => childrenOf(rule, name).length > 0)) {
    throw notImplemented("moving objects to another storage class (Transition): there is one");
  }
  const given = exactTextOf(rule, "ID");
  if (given !== undefined && (given.length > ID_CHARS_MAX || !isText(given))) {
    throw invalid(`the ID of a rule has up to ${ID_CHARS_MAX} characters`);
  }
  const id = given === undefined || given === "" ? newId() : given;
  const status = textOf(rule, "Status");
  if (status !== "Enabled" && status !== "Disabled") throw malformedXml();
  const plain = exactTextOf(rule, "Prefix");
  const [filter] = childrenOf(rule, "Filter");
  if (plain !== undefined && filter !== undefined) throw malformedXml("a rule has a prefix or a filter");
  const about = filter === undefined ? prefixed(plain ?? "") : filterOf(filter);
  const actions = { ...expirationOf(rule), ...oldOf(rule), ...abortOf(rule) };
  if (Object.keys(actions).length === 0) throw malformedXml("a rule without an action");
  const isSelective = about.tags !== undefined || about.largerThan !== undefined || about.smallerThan !== undefined;
  if (isSelective && (actions.abortDays !== undefined || actions.expireMarkers !== undefined)) {
    throw new S3Error("InvalidRequest", "neither uploads nor delete markers have tags or a size to be chosen by");
  }
  return { id, enabled: status === "Enabled", ...(plain === undefined ? {} : { isPlain: true }), filter: about, ...actions };
}

function prefixed(prefix: string): LifecycleFilter {
  if (Buffer.byteLength(prefix) > PREFIX_BYTES_MAX || !prefix.isWellFormed()) throw invalid(`a prefix has up to ${PREFIX_BYTES_MAX} bytes`);
  return prefix === "" ? {} : { prefix };
}

function filterOf(filter: XmlElement): LifecycleFilter {
  only(filter, ["Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan", "And"]);
  if (filter.children.length > 1) throw malformedXml("several conditions of a filter stand inside And");
  const [and] = childrenOf(filter, "And");
  const inside = and ?? filter;
  if (and !== undefined) only(and, ["Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan"], ["Tag"]);
  const tags = childrenOf(inside, "Tag").map((tag) => {
    const [name, value] = [exactTextOf(tag, "Key"), exactTextOf(tag, "Value")];
    if (name === undefined || value === undefined) throw malformedXml();
    return [name, value] as const;
  });
  const largerThan = numberOf(inside, "ObjectSizeGreaterThan", 0, Number.MAX_SAFE_INTEGER);
  const smallerThan = numberOf(inside, "ObjectSizeLessThan", 1, Number.MAX_SAFE_INTEGER);
  if (largerThan !== undefined && smallerThan !== undefined && smallerThan <= largerThan) throw invalid("no size is within both bounds");
  return {
    ...prefixed(exactTextOf(inside, "Prefix") ?? ""),
    ...(tags.length === 0 ? {} : { tags: checkedTags(tags) }),
    ...(largerThan === undefined ? {} : { largerThan }),
    ...(smallerThan === undefined ? {} : { smallerThan }),
  };
}

function expirationOf(rule: XmlElement): Pick<LifecycleRule, "expireDays" | "expireDateMs" | "expireMarkers"> {
  const [given] = childrenOf(rule, "Expiration");
  if (given === undefined) return {};
  only(given, ["Days", "Date", "ExpiredObjectDeleteMarker"]);
  if (given.children.length !== 1) throw malformedXml("an expiration is by days, by a date, or of delete markers");
  const expireDays = numberOf(given, "Days", 1, LIFECYCLE_DAYS_MAX);
  if (expireDays !== undefined) return { expireDays };
  const marker = textOf(given, "ExpiredObjectDeleteMarker");
  if (marker !== undefined && marker !== "true" && marker !== "false") throw malformedXml();
  if (marker !== undefined) return { expireMarkers: marker === "true" };
  return { expireDateMs: dateOf(textOf(given, "Date")!) };
}

function dateOf(text: string): number {
  const isDate = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d))?$/.test(text);
  const ms = isDate && isCalendarDay(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) throw malformedXml("the date is none");
  if (ms % DAY_MS !== 0) throw invalid("a date is at midnight, UTC");
  return ms;
}

function oldOf(rule: XmlElement): Pick<LifecycleRule, "oldDays" | "oldKeep"> {
  const [given] = childrenOf(rule, "NoncurrentVersionExpiration");
  if (given === undefined) return {};
  only(given, ["NoncurrentDays", "NewerNoncurrentVersions"]);
  const oldDays = numberOf(given, "NoncurrentDays", 1, LIFECYCLE_DAYS_MAX);
  const oldKeep = numberOf(given, "NewerNoncurrentVersions", 1, LIFECYCLE_KEEP_MAX);
  if (oldDays === undefined) throw malformedXml("noncurrent versions expire by days");
  return { oldDays, ...(oldKeep === undefined ? {} : { oldKeep }) };
}

function abortOf(rule: XmlElement): Pick<LifecycleRule, "abortDays"> {
  const [given] = childrenOf(rule, "AbortIncompleteMultipartUpload");
  if (given === undefined) return {};
  only(given, ["DaysAfterInitiation"]);
  const abortDays = numberOf(given, "DaysAfterInitiation", 1, LIFECYCLE_DAYS_MAX);
  if (abortDays === undefined) throw malformedXml();
  return { abortDays };
}

export function lifecycleXml(rules: readonly LifecycleRule[]): string {
  return rules.map(ruleXml).join("");
}

function ruleXml(rule: LifecycleRule): string {
  const { id, enabled, isPlain, filter, expireDays, expireDateMs, expireMarkers, oldDays, oldKeep, abortDays } = rule;
  const about = isPlain === true ? element("Prefix", filter.prefix ?? "") : `<Filter>${filterXml(filter)}</Filter>`;
  const date = expireDateMs === undefined ? undefined : isoTime(expireDateMs);
  const expiration = element("Days", expireDays) + element("Date", date) + element("ExpiredObjectDeleteMarker", expireMarkers);
  const old = element("NoncurrentDays", oldDays) + element("NewerNoncurrentVersions", oldKeep);
  const abort = element("DaysAfterInitiation", abortDays);
  const inner = [
    element("ID", id),
    about,
    element("Status", enabled ? "Enabled" : "Disabled"),
    expiration === "" ? "" : `<Expiration>${expiration}</Expiration>`,
    old === "" ? "" : `<NoncurrentVersionExpiration>${old}</NoncurrentVersionExpiration>`,
    abort === "" ? "" : `<AbortIncompleteMultipartUpload>${abort}</AbortIncompleteMultipartUpload>`,
  ];
  return `<Rule>${inner.join("")}</Rule>`;
}

function filterXml({ prefix, tags = [], largerThan, smallerThan }: LifecycleFilter): string {
  const conditions = [
    ...(prefix === undefined ? [] : [element("Prefix", prefix)]),
    ...tags.map(([name, value]) => `<Tag>${element("Key", name)}${element("Value", value)}</Tag>`),
    ...(largerThan === undefined ? [] : [element("ObjectSizeGreaterThan", largerThan)]),
    ...(smallerThan === undefined ? [] : [element("ObjectSizeLessThan", smallerThan)]),
  ];
  if (conditions.length > 1) return `<And>${conditions.join("")}</And>`;
  return conditions[0] ?? element("Prefix", "");
}
