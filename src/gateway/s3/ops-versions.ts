/**
 * Versions: a version's id is its sequence, or "null" (version-ids.ts), a delete marker is the tombstone of its key. A space
 * keeps versions always, by its retention; whether S3 shows them is a setting of the bucket. Where it does not, each key has
 * one version, "null". Once shown they stay so: of a bucket that was suspended nobody would see what there is to be deleted.
 */
import { pathOfKey } from "#gateway/s3/keys.ts";
import { listPage } from "#gateway/s3/listing.ts";
import { etagOf, idOf, isoTime, modifiedMs, sizeOf } from "#gateway/s3/object-facts.ts";
import { ownerXml, textsOf } from "#gateway/s3/ops-list.ts";
import { type S3Call, answer, countOf, xmlAnswer, xmlBody } from "#gateway/s3/s3-call.ts";
import { S3Error, notImplemented } from "#gateway/s3/s3-error.ts";
import { NULL_VERSION, sequenceOf, versionIdOf } from "#gateway/s3/version-ids.ts";
import { element, textOf } from "#gateway/s3/xml.ts";
import { VERSIONING, Versioning, leavesMarker } from "#hub/versioning.ts";
import type { JournalRecord, Version } from "#hub/space.ts";
import { type RelPath, compareBytes, encodeName } from "#model/path.ts";
import type { Http1Answer } from "#platform/net/http1/connection.ts";

const PAGE_MAX = 1000;
/** Entries asked for at once, and versions of one key. */
const PAGE_ROWS = 1000;
/** No name goes on behind it. */
const LAST = "\u{10ffff}";

export async function bucketVersioning(call: S3Call): Promise<Http1Answer> {
  const status = await call.services.settings.get(call, VERSIONING);
  return xmlAnswer("VersioningConfiguration", element("Status", status));
}

export async function putBucketVersioning(call: S3Call): Promise<Http1Answer> {
  const body = await xmlBody(call, "VersioningConfiguration");
  const status = textOf(body, "Status");
  if (textOf(body, "MfaDelete") === "Enabled") throw notImplemented("MFA delete");
  if (status !== "Enabled" && status !== "Suspended") throw new S3Error("MalformedXML", "the status is Enabled or Suspended");
  await call.services.settings.set(call, VERSIONING, status, ({ lock }) => {
    if (status !== "Suspended" || lock === undefined) return;
    throw new S3Error("InvalidBucketState", "a bucket that keeps locks keeps its versions");
  });
  return answer(200);
}

/** One line of the answer. */
type Item =
  | { readonly kind: "version"; readonly key: string; readonly id: string; readonly isLatest: boolean; readonly version: Version }
  | { readonly kind: "marker"; readonly key: string; readonly id: string; readonly isLatest: boolean; readonly timeMs: number }
  | { readonly kind: "prefix"; readonly key: string; readonly id: "" };

type Ask = {
  readonly prefix: string;
  readonly delimiter: string;
  readonly keyMarker: string;
  readonly idMarker: string;
  /** One more than are shown. */
  readonly max: number;
};

export async function listVersions(call: S3Call): Promise<Http1Answer> {
  const { services, who, request } = call;
  const { query, bucket } = request;
  const texts = textsOf(call);
  const max = countOf(call, "max-keys", PAGE_MAX, PAGE_MAX);
  const ask: Ask = {
    prefix: query.get("prefix") ?? "",
    delimiter: query.get("delimiter") ?? "",
    keyMarker: query.get("key-marker") ?? "",
    idMarker: query.get("version-id-marker") ?? "",
    max: max + 1,
  };
  const { createdMs, settings } = await services.spaces.space(who, bucket);
  const versioning = new Versioning(settings.doors);
  const found = max === 0 ? [] : await (versioning.isShown ? allVersions(call, versioning, ask) : currentVersions(call, ask));
  const items = found.slice(0, max);
  const isTruncated = found.length > max;
  const last = items.at(-1);
  const inner = [
    element("Name", bucket),
    element("Prefix", texts(ask.prefix)),
    element("KeyMarker", texts(ask.keyMarker)),
    element("VersionIdMarker", ask.idMarker),
    element("NextKeyMarker", isTruncated && last !== undefined ? texts(last.key) : undefined),
    element("NextVersionIdMarker", isTruncated ? last?.id : undefined),
    element("MaxKeys", max),
    ask.delimiter === "" ? "" : element("Delimiter", texts(ask.delimiter)),
    element("EncodingType", query.get("encoding-type") === "url" ? "url" : undefined),
    element("IsTruncated", isTruncated),
    ...items.map((item) => itemXml(call, item, texts, createdMs)),
  ];
  return xmlAnswer("ListVersionsResult", inner.join(""));
}

function itemXml(call: S3Call, item: Item, texts: (text: string) => string, createdMs: number): string {
  if (item.kind === "prefix") return `<CommonPrefixes>${element("Prefix", texts(item.key))}</CommonPrefixes>`;
  const head = element("Key", texts(item.key)) + element("VersionId", item.id) + element("IsLatest", item.isLatest);
  if (item.kind === "marker") {
    return `<DeleteMarker>${head}${element("LastModified", isoTime(item.timeMs))}${ownerXml(call)}</DeleteMarker>`;
  }
  const { version } = item;
  return (
    `<Version>${head}${element("LastModified", isoTime(modifiedMs(version, createdMs)))}${element("ETag", etagOf(version))}` +
    `${element("Size", sizeOf(version))}${ownerXml(call)}<StorageClass>STANDARD</StorageClass></Version>`
  );
}

async function currentVersions({ services, who, request }: S3Call, ask: Ask): Promise<Item[]> {
  const { prefix, delimiter, keyMarker, max } = ask;
  const page = await listPage({ services, who, space: request.bucket }, { prefix, delimiter, after: keyMarker, max });
  return page.items.map((item): Item =>
    item.kind === "prefix"
      ? { kind: "prefix", key: item.key, id: "" }
      : { kind: "version", key: item.key, id: "null", isLatest: true, version: item.version },
  );
}

const compare = (a: string, b: string): number => compareBytes(encodeName(a), encodeName(b));

/** Paths in order, of what is there or of what was removed, from anywhere on. */
class Paths {
  readonly #call: S3Call;
  readonly #versioning: Versioning;
  readonly #removed: boolean;
  #after: RelPath | undefined;
  #page: readonly Version[] = [];
  #at = 0;
  #isLast = false;

  constructor(call: S3Call, versioning: Versioning, removed: boolean, after: RelPath | undefined) {
    this.#call = call;
    this.#versioning = versioning;
    this.#removed = removed;
    this.#after = after;
  }

  async peek(): Promise<RelPath | undefined> {
    while (this.#at === this.#page.length && !this.#isLast) {
      const { services, who, request } = this.#call;
      const asked = { below: "", after: this.#after, shallow: false, limit: PAGE_ROWS, at: undefined, removed: this.#removed };
      const page = await services.spaces.list(who, request.bucket, asked);
      this.#isLast = page.length < PAGE_ROWS;
      this.#after = page.at(-1)?.path;
      // What was removed before there was versioning is not there for S3.
      this.#page = page.filter((version) => version.entry !== undefined || this.#versioning.namingOf(idOf(version)) !== "early");
      this.#at = 0;
    }
    return this.#page[this.#at]?.path;
  }

  take(): void {
    this.#at++;
  }

  /** Goes on behind everything that begins with a text. */
  jump(prefix: string): void {
    while (this.#at < this.#page.length && this.#page[this.#at]!.path.startsWith(prefix)) this.#at++;
    if (this.#at === this.#page.length && !this.#isLast) this.#after = prefix + LAST;
  }
}

async function allVersions(call: S3Call, versioning: Versioning, ask: Ask): Promise<Item[]> {
  const { prefix, delimiter, keyMarker, idMarker, max } = ask;
  const items: Item[] = [];
  const keys = new KeyVersions(call, versioning, max, items);
  if (idMarker !== "" && keyMarker.startsWith(prefix)) await keys.goOn(keyMarker, idMarker);
  const start = compare(keyMarker, prefix) >= 0 && keyMarker !== "" ? keyMarker : beforeOf(prefix);
  const streams = [new Paths(call, versioning, false, start), new Paths(call, versioning, true, start)];
  let told = delimiter !== "" && keyMarker.endsWith(delimiter) ? keyMarker : undefined;
  while (items.length < max) {
    const heads = await Promise.all(streams.map((stream) => stream.peek()));
    const [path] = heads.filter((head) => head !== undefined).sort(compare);
    if (path === undefined || (!path.startsWith(prefix) && compare(path, prefix) > 0)) return items;
    for (const [at, head] of heads.entries()) if (head === path) streams[at]!.take();
    if (!path.startsWith(prefix) || (told !== undefined && path.startsWith(told))) continue;
    const at = delimiter === "" ? -1 : path.indexOf(delimiter, prefix.length);
    if (at < 0) {
      await keys.begin(path);
      continue;
    }
    told = path.slice(0, at + delimiter.length);
    items.push({ kind: "prefix", key: told, id: "" });
    for (const stream of streams) stream.jump(told);
  }
  return items;
}

const beforeOf = (prefix: string): string | undefined => (prefix === "" ? undefined : prefix.slice(0, -1) || undefined);

/** Versions of keys, the newest first, whose bytes are still kept. */
class KeyVersions {
  readonly #call: S3Call;
  readonly #versioning: Versioning;
  readonly #max: number;
  readonly #items: Item[];

  /** @param items where they are told, up to `max` of all keys */
  constructor(call: S3Call, versioning: Versioning, max: number, items: Item[]) {
    this.#call = call;
    this.#versioning = versioning;
    this.#max = max;
    this.#items = items;
  }

  begin(key: RelPath): Promise<void> {
    return this.#tell(key, undefined, undefined);
  }

  /** From behind a version on. */
  async goOn(key: RelPath, versionId: string): Promise<void> {
    const { services, who, request } = this.#call;
    const name = pathOfKey(key) === undefined ? undefined : await services.versions.nullOf(who, request.bucket, key);
    const before = versionId === NULL_VERSION ? name?.sequence : sequenceOf(versionId);
    if (before === undefined && versionId !== NULL_VERSION) throw new S3Error("InvalidArgument", "the version is none of ours");
    // The one that it names was deleted meanwhile: what was behind it cannot be told apart any more, and comes again.
    await this.#tell(key, before, name !== undefined && name.sequence >= (before ?? 0) ? name.sequence : undefined);
  }

  /** @param before a sequence @param told the version that is "null", where it stands before that */
  async #tell(key: RelPath, before: number | undefined, told: number | undefined): Promise<void> {
    const { services, who, request } = this.#call;
    const items = this.#items;
    // A version that is shown again stands where it was shown last.
    const shown = new Set<number>();
    let nullName = told;
    for (let from = before; items.length < this.#max; ) {
      const wanted = Math.min(PAGE_ROWS, this.#max - items.length);
      const records = await services.spaces.history(who, request.bucket, key, from, wanted + 1);
      for (const [at, record] of records.slice(0, wanted).entries()) {
        const name = idOf(record);
        if (name === 0 || shown.has(name)) continue;
        // Of all that are "null" the last one made is the one that there is.
        if (this.#versioning.isNull(name) && name !== (nullName ??= name)) continue;
        const item = this.#itemOf(record, records[at + 1], before === undefined && from === undefined && at === 0);
        if (item === undefined) continue;
        shown.add(name);
        items.push(item);
      }
      if (records.length <= wanted) return;
      from = records[wanted - 1]!.sequence;
    }
  }

  /** @param older the version before it: what was no file has no marker */
  #itemOf(version: JournalRecord, older: JournalRecord | undefined, isLatest: boolean): Item | undefined {
    const { path: key, sequence, entry, content, timeMs } = version;
    if (version.isPurged === true) return undefined;
    const id = versionIdOf(this.#versioning, version);
    if (entry === undefined) {
      const name = idOf(version);
      const isMarker = (name !== sequence || leavesMarker(older)) && this.#versioning.namingOf(name) !== "early";
      return isMarker ? { kind: "marker", key, id, isLatest, timeMs } : undefined;
    }
    return entry.kind === "file" && content !== undefined ? { kind: "version", key, id, isLatest, version } : undefined;
  }
}
