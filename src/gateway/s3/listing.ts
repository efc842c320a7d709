/**
 * Keys of a bucket in the order of their bytes, as S3 lists them, from the entries of a space.
 *
 * A space lists paths; the key of a directory has a "/" behind it, which comes after "-" and "." and before letters. So a
 * directory waits on a stack until what sorts before its key has passed. What a delimiter of "/" hides is never walked:
 * one level of the tree is listed. Other delimiters jump over what they hide.
 */
import type { Principal } from "#access/access.ts";
import { DIRECTORY } from "#gateway/s3/object-facts.ts";
import type { S3Services } from "#gateway/s3/s3-call.ts";
import type { Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, compareBytes, encodeName, parentOf, pathFault } from "#model/path.ts";

/** Entries asked for at once. */
const PAGE_ROWS = 1000;
/** No name goes on behind it, but for bytes that are no text; those are passed over one by one. */
const LAST = "\u{10ffff}";
const SLASH = 47;

export type Listed =
  | { readonly kind: "object"; readonly key: string; readonly version: Version }
  | { readonly kind: "prefix"; readonly key: string };

export type ListAsk = {
  readonly prefix: string;
  /** "" for none. */
  readonly delimiter: string;
  /** Keys after this one; also the prefix that a page ended with, and then what is in it is passed over. "": from the first. */
  readonly after: string;
  readonly max: number;
};

export type ListPage = { readonly items: readonly Listed[]; readonly isTruncated: boolean };

type Where = { readonly services: Pick<S3Services, "spaces" | "access">; readonly who: Principal; readonly space: string };

/** @throws {SynclineError} SPACE_UNKNOWN */
export async function listPage(where: Where, ask: ListAsk): Promise<ListPage> {
  const slash = ask.prefix.lastIndexOf("/");
  const below = slash < 0 ? "" : ask.prefix.slice(0, slash);
  const isPossible = slash < 0 || pathFault(below) === undefined;
  // Somebody who may see nothing of the space is told so, whatever is asked for.
  if (!isPossible || ask.max === 0 || !mayLookBelow(where, below)) {
    await where.services.spaces.space(where.who, where.space);
    return { items: [], isTruncated: false };
  }
  const items: Listed[] = [];
  for await (const item of new Walk(where, ask, below).items()) {
    if (items.length === ask.max) return { items, isTruncated: true };
    items.push(item);
  }
  return { items, isTruncated: false };
}

/** Where nothing may be read, nothing is there. */
function mayLookBelow({ services, who, space }: Where, below: RelPath): boolean {
  return services.access.reaches(who, "read", space, below);
}

class Walk {
  readonly #where: Where;
  readonly #ask: ListAsk;
  readonly #below: RelPath;
  readonly #isShallow: boolean;
  #page: readonly Version[] = [];
  #at = 0;
  /** Where the next page of entries begins; undefined: from the first. */
  #after: RelPath | undefined;
  #isLastPage = false;
  /** The prefix that was told last: what is in it is passed over. */
  #told: string | undefined;

  constructor(where: Where, ask: ListAsk, below: RelPath) {
    this.#where = where;
    this.#ask = ask;
    this.#below = below;
    this.#isShallow = ask.delimiter === "/";
    this.#after = ask.after !== "" && compare(ask.after, ask.prefix) >= 0 ? ask.after : before(ask.prefix);
    this.#told = rolledUp(ask.after, ask);
  }

  async *items(): AsyncGenerator<Listed, void> {
    const { prefix, delimiter } = this.#ask;
    for await (const item of this.#keys()) {
      if (!item.key.startsWith(prefix)) continue;
      if (this.#told !== undefined && item.key.startsWith(this.#told)) continue;
      const common = item.kind === "prefix" ? item.key : rolledUp(item.key, this.#ask);
      if (common === undefined) {
        yield item;
        continue;
      }
      this.#told = common;
      yield { kind: "prefix", key: common };
      if (delimiter !== "/") this.#jump(common + LAST);
    }
  }

  /** Every key from where it begins, in order. */
  async *#keys(): AsyncGenerator<Listed, void> {
    const waiting = await this.#waitingBefore(this.#ask.after);
    const first = await this.#next();
    const own = await this.#ownKey(first === undefined);
    if (own !== undefined) yield own;
    for (let row = first; row !== undefined; row = await this.#next()) {
      if (this.#isBehind(row.path)) break;
      yield* this.#passed(waiting, row.path);
      if (row.entry?.kind === "dir") waiting.push(row);
      else if (row.entry?.kind === "file") yield { kind: "object", key: row.path, version: row };
    }
    yield* this.#passed(waiting, undefined);
  }

  /** Directories whose key comes before a path. @param path undefined: all of them */
  *#passed(waiting: Version[], path: RelPath | undefined): Generator<Listed, void> {
    for (let dir = waiting.at(-1); dir !== undefined; dir = waiting.at(-1)) {
      if (path !== undefined && path.startsWith(dir.path) && path.charCodeAt(dir.path.length) < SLASH) return;
      waiting.pop();
      const key = `${dir.path}/`;
      if (this.#isShallow) yield { kind: "prefix", key };
      // One with something in it is seen by that, unless somebody has put it.
      else if (dir.attributes[DIRECTORY] !== undefined || path?.startsWith(key) !== true) {
        yield { kind: "object", key, version: dir };
      }
    }
  }

  /** The directory that is listed is a key of its own, when it is empty or was put. */
  async #ownKey(isEmpty: boolean): Promise<Listed | undefined> {
    const { prefix, after } = this.#ask;
    const below = this.#below;
    if (below === "" || prefix !== `${below}/` || compare(after, prefix) >= 0) return undefined;
    const version = await this.#version(below);
    const isKey = version?.entry?.kind === "dir" && (isEmpty || version.attributes[DIRECTORY] !== undefined);
    return isKey ? { kind: "object", key: prefix, version } : undefined;
  }

  /** Directories that sort before what was told last, or are it, while their keys sort behind it. */
  async #waitingBefore(after: string): Promise<Version[]> {
    const waiting: Version[] = [];
    const start = this.#below === "" ? 0 : this.#below.length + 1;
    if (!after.startsWith(this.#ask.prefix)) return waiting;
    for (let at = start + 1; at <= after.length; at++) {
      if (after.charCodeAt(at - 1) === SLASH) {
        if (this.#isShallow) break;
        continue;
      }
      if (after.charCodeAt(at) >= SLASH) continue;
      const version = await this.#version(after.slice(0, at));
      if (version?.entry?.kind === "dir") waiting.push(version);
    }
    return waiting;
  }

  /** What is shown of a path; somebody who may only read parts sees directories on the way to them. */
  async #version(path: RelPath): Promise<Version | undefined> {
    const { services, who, space } = this.#where;
    if (pathFault(path) !== undefined) return undefined;
    try {
      return await services.spaces.version(who, space, path);
    } catch (error) {
      if (!(error instanceof SynclineError) || error.code !== "DENIED") throw error;
      if (!this.#isShallow || !services.access.reaches(who, "read", space, path)) return undefined;
      const request = { below: parentOf(path), after: before(path), shallow: true, limit: 1, at: undefined };
      const [shown] = await services.spaces.list(who, space, request);
      return shown?.path === path ? shown : undefined;
    }
  }

  /** Nothing that is asked for comes any more. */
  #isBehind(path: RelPath): boolean {
    const { prefix } = this.#ask;
    return !path.startsWith(prefix) && compare(path, prefix) > 0;
  }

  #jump(after: string): void {
    while (this.#at < this.#page.length && this.#page[this.#at]!.path.startsWith(after.slice(0, -LAST.length))) this.#at++;
    // What was read already may lie behind it.
    const isForward = this.#after === undefined || compare(after, this.#after) > 0;
    if (this.#at === this.#page.length && isForward) this.#after = after;
  }

  async #next(): Promise<Version | undefined> {
    if (this.#at < this.#page.length) return this.#page[this.#at++];
    if (this.#isLastPage) return undefined;
    const { services, who, space } = this.#where;
    const limit = Math.min(PAGE_ROWS, this.#ask.max + 2);
    const request = { below: this.#below, after: this.#after, shallow: this.#isShallow, limit, at: undefined };
    this.#page = await services.spaces.list(who, space, request);
    this.#isLastPage = this.#page.length < limit;
    this.#after = this.#page.at(-1)?.path;
    this.#at = 1;
    return this.#page[0];
  }
}

/** In the order of their bytes. */
const compare = (a: string, b: string): number => compareBytes(encodeName(a), encodeName(b));

/** The common prefix in which a delimiter hides a key. */
function rolledUp(key: string, { prefix, delimiter }: ListAsk): string | undefined {
  if (delimiter === "" || !key.startsWith(prefix)) return undefined;
  const at = key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}

/** A text after which everything comes that begins with this one, and as little else as can be. */
function before(prefix: string): string | undefined {
  const last = [...prefix].at(-1);
  if (last === undefined || last === "/") return undefined;
  const point = last.codePointAt(0)!;
  const head = prefix.slice(0, -last.length);
  const lower = point === 0xe000 ? 0xd7ff : point - 1;
  return point <= 1 || (point >= 0xd800 && point < 0xe000) ? head : head + String.fromCodePoint(lower) + LAST;
}
