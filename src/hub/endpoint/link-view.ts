/** A space as one link sees it: the part below a prefix, with paths relative to it. */
import type { Principal } from "#access/access.ts";
import { isEncrypted } from "#hub/encrypted-content.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Point, Space, SpaceId, Version } from "#hub/space.ts";
import type { Entry } from "#model/entry.ts";
import { type RelPath, comparePaths, joinPath } from "#model/path.ts";

/** Longer than any name can be, of bytes above all others: a path that ends with it lies behind all of its directory. */
const BEHIND_ALL = "\udcff".repeat(256);
/** Rows asked for at once. */
const PAGE_ROWS = 2000;

/** Nobody on a host could read it: it is there, and cannot be carried, as a device in a directory. */
const ENCRYPTED_ENTRY: Entry = { kind: "other", what: "file that is encrypted (SSE-C)" };

/** What a link sees of a version. */
export const seenEntry = (version: Version | undefined): Entry | undefined =>
  version?.entry?.kind === "file" && isEncrypted(version) ? ENCRYPTED_ENTRY : version?.entry;

function seen(version: Version): Version {
  const entry = seenEntry(version);
  return entry === version.entry ? version : { ...version, entry };
}

export class LinkView {
  readonly #spaces: SpaceService;
  readonly #id: SpaceId;
  readonly who: Principal;
  readonly space: string;
  readonly prefix: RelPath;

  constructor(spaces: SpaceService, who: Principal, { id, name }: Pick<Space, "id" | "name">, prefix: RelPath) {
    this.#spaces = spaces;
    this.who = who;
    this.#id = id;
    this.space = name;
    this.prefix = prefix;
  }

  /** To be called in the turn in which it was asked for. @throws {SynclineError} SPACE_UNKNOWN when the name is another's by now */
  get spaces(): SpaceService {
    this.#spaces.requireIs(this.space, this.#id);
    return this.#spaces;
  }

  /** The path in the space. */
  outer(path: RelPath): RelPath {
    if (this.prefix === "") return path;
    return path === "" ? this.prefix : joinPath(this.prefix, path);
  }

  /** The path in the link, of one that lies in it. */
  inner(path: RelPath): RelPath {
    return this.prefix === "" ? path : path.slice(this.prefix.length + 1);
  }

  async version(path: RelPath, at?: Point): Promise<Version | undefined> {
    const version = await this.spaces.version(this.who, this.space, this.outer(path), at);
    return version === undefined ? undefined : seen(version);
  }

  /** Current versions (tombstones too) below `dir` that changed after a sequence, with paths of the link. */
  async *changedSince(sequence: number, dir: RelPath = ""): AsyncGenerator<Version> {
    const { who, space } = this;
    const below = this.outer(dir);
    for (let since = sequence; ; ) {
      const page = await this.spaces.changedSince(who, space, below, since, PAGE_ROWS);
      for (const one of page) if (one.path !== below) yield { ...seen(one), path: this.inner(one.path) };
      if (page.length < PAGE_ROWS) return;
      since = page.at(-1)!.sequence;
    }
  }

  /**
   * All present entries below `dir` (of the link), depth-first: in comparePaths order. What is committed while it lists
   * may be in it or not.
   */
  async *walk(dir: RelPath): AsyncGenerator<Version> {
    const listed = this.#list(this.outer(dir), undefined);
    let last: RelPath | undefined;
    for await (const one of this.#depthFirst(this.outer(dir), listed)) {
      // A file that became a directory after its place in the order had passed: what is in it comes too late.
      if (last !== undefined && comparePaths(one.path, last) <= 0) continue;
      last = one.path;
      yield { ...seen(one), path: this.inner(one.path) };
    }
  }

  /** All present entries but the prefix itself, in byte order. */
  async *all(): AsyncGenerator<Version> {
    for await (const one of this.#list(this.prefix, undefined)) yield { ...seen(one), path: this.inner(one.path) };
  }

  async *#list(below: RelPath, from: RelPath | undefined): AsyncGenerator<Version> {
    for (let after = from; ; ) {
      const { spaces, who, space } = this;
      const page = await spaces.list(who, space, { below, after, shallow: false, limit: PAGE_ROWS, at: undefined });
      yield* page;
      if (page.length < PAGE_ROWS) return;
      after = page.at(-1)!.path;
    }
  }

  /**
   * The store lists by bytes, where "a.txt" comes before "a/b", because "." is less than "/"; a session wants a
   * directory together with what is in it. Where names of that kind follow a directory its content is listed first, and
   * passed over when the listing by bytes arrives there.
   */
  async *#depthFirst(below: RelPath, listed: AsyncGenerator<Version>): AsyncGenerator<Version> {
    let rows = listed;
    /** Directories whose content was given already, the innermost listing last. */
    const given: RelPath[] = [];
    let row = (await rows.next()).value as Version | undefined;
    while (row !== undefined) {
      const done = given.at(-1);
      if (done !== undefined && row.path.startsWith(`${done}/`)) {
        given.pop();
        rows = this.#list(below, `${done}/${BEHIND_ALL}`);
        row = (await rows.next()).value as Version | undefined;
        continue;
      }
      yield row;
      const next = (await rows.next()).value as Version | undefined;
      const isParted = row.entry?.kind === "dir" && next !== undefined && next.path.startsWith(row.path) &&
        next.path.charCodeAt(row.path.length) < 47;
      if (isParted) {
        const within = row.path;
        for await (const one of this.#depthFirst(within, this.#list(within, undefined))) yield one;
        given.push(within);
      }
      row = next;
    }
  }
}
