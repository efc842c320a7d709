/** A space as plainly as it can be told: a map of what is there and a list of what happened. Tests compare with it. */
import { type Attributes, NO_ATTRIBUTES } from "#hub/attributes.ts";
import type { Commit, ListRequest } from "#hub/meta/meta-store.ts";
import type { Expect, JournalAction, SpaceChange, Version, VersionVector } from "#hub/space.ts";
import { type Entry, PRESERVE_DEFAULT, sameEntry } from "#model/entry.ts";
import { compareBytes, encodeName, isWithin, joinPath, parentOf } from "#model/path.ts";

export type ModelRecord = Version & {
  readonly action: JournalAction;
  readonly from: string | undefined;
  readonly previous: number;
  readonly timeMs: number;
  readonly commit: number;
};

const byBytes = (a: { path: string }, b: { path: string }): number =>
  compareBytes(encodeName(a.path), encodeName(b.path));

export class SpaceModel {
  readonly records: ModelRecord[] = [];
  readonly #hubId: string;
  readonly #quotaEntries: number;
  #commit = 0;
  #timeMs = 0;

  constructor(hubId: string, quotaEntries: number) {
    this.#hubId = hubId;
    this.#quotaEntries = quotaEntries;
  }

  /** One word for each change. */
  commit(commit: Pick<Commit, "changes" | "atomic" | "timeMs">): string[] {
    const start = this.records.length;
    this.#commit = start + 1;
    this.#timeMs = commit.timeMs;
    const words: string[] = [];
    for (const change of commit.changes) {
      const word = this.#apply(change);
      words.push(word);
      if (word !== "done" && commit.atomic) {
        this.records.length = start;
        return commit.changes.map((_, at) => (at === words.length - 1 ? word : "ATOMIC"));
      }
    }
    return words;
  }

  currentAt(path: string, sequence = Infinity): ModelRecord | undefined {
    return this.records.findLast((record) => record.path === path && record.sequence <= sequence);
  }

  present(below: string, sequence = Infinity): ModelRecord[] {
    const latest = new Map<string, ModelRecord>();
    for (const record of this.records) if (record.sequence <= sequence) latest.set(record.path, record);
    return [...latest.values()]
      .filter(({ path, entry }) => entry !== undefined && path !== below && isWithin(path, below))
      .sort(byBytes);
  }

  list(request: Omit<ListRequest, "at">, sequence = Infinity): string[] {
    const { below, after, shallow, limit } = request;
    const depth = below === "" ? 1 : below.split("/").length + 1;
    return this.present(below, sequence)
      .map(({ path }) => path)
      .filter((path) => after === undefined || compareBytes(encodeName(path), encodeName(after)) > 0)
      .filter((path) => !shallow || path.split("/").length === depth)
      .slice(0, limit);
  }

  usage(): { bytes: number; entries: number } {
    const all = this.present("");
    const bytes = all.reduce((sum, { entry }) => sum + (entry?.kind === "file" ? entry.size : 0), 0);
    return { bytes, entries: all.length };
  }

  changedSince(below: string, sequence: number): number[] {
    return this.records
      .filter((record) => record.sequence > sequence && isWithin(record.path, below))
      .filter((record) => this.currentAt(record.path) === record)
      .map((record) => record.sequence);
  }

  /** The last change of the last commit that was not made after a time. */
  sequenceAt(timeMs: number): number {
    return this.records.findLast((record) => record.timeMs <= timeMs)?.sequence ?? 0;
  }

  #entry(path: string): Entry | undefined {
    return this.currentAt(path)?.entry;
  }

  #record(
    path: string,
    entry: Entry | undefined,
    content: Version["content"],
    action: JournalAction,
    attributes: Attributes = NO_ATTRIBUTES,
    from?: string,
  ) {
    const before = this.currentAt(path);
    const sequence = this.records.length + 1;
    const vector: VersionVector = { ...before?.vector, [this.#hubId]: sequence };
    const previous = before?.sequence ?? 0;
    const { timeMs, commit } = { timeMs: this.#timeMs, commit: this.#commit };
    this.records.push({ path, sequence, entry, content, attributes, vector, action, from, previous, timeMs, commit });
  }

  #meets(path: string, expect: Expect): boolean {
    const entry = this.#entry(path);
    if (expect.kind === "any") return true;
    if (expect.kind === "absent") return entry === undefined;
    if (expect.kind === "present") return entry !== undefined;
    if (expect.kind === "sequence") return (this.currentAt(path)?.sequence ?? 0) === expect.sequence;
    if (expect.kind === "unchangedSince") {
      const isNews = ({ sequence, path: changed }: ModelRecord): boolean =>
        sequence > expect.sequence && sequence < this.#commit && isWithin(changed, path);
      return entry !== undefined && !this.records.some(isNews);
    }
    return sameEntry(entry, expect.entry, PRESERVE_DEFAULT);
  }

  #apply(change: SpaceChange): string {
    if (change.type === "put") return this.#put(change);
    if (change.type === "remove") return this.#remove(change);
    return this.#move(change);
  }

  #way(path: string): string[] | string {
    const missing: string[] = [];
    for (let dir = parentOf(path); dir !== ""; dir = parentOf(dir)) {
      const entry = this.#entry(dir);
      if (entry === undefined) missing.unshift(dir);
      else if (entry.kind !== "dir") return "NOT_A_DIRECTORY";
    }
    return missing;
  }

  #put(change: Extract<SpaceChange, { type: "put" }>): string {
    const { path, content, expect, makeParents } = change;
    if (!this.#meets(path, expect)) return "stale";
    const way = this.#way(path);
    if (typeof way === "string") return way;
    if (way.length > 0 && !makeParents) return "NO_PARENT";
    const old = this.currentAt(path);
    const entry = change.keepsMode === true ? entryOver(old, change) : change.entry;
    if (old?.entry?.kind === "dir" && entry.kind !== "dir" && this.present(path).length > 0) return "IS_A_DIRECTORY";
    const more = way.length + (old?.entry === undefined ? 1 : 0);
    if (more > 0 && this.usage().entries + more > this.#quotaEntries) return "QUOTA";
    for (const dir of way) this.#record(dir, { kind: "dir", mode: 0o755 }, undefined, "create");
    const isSame =
      old?.entry?.kind === entry.kind &&
      old.content?.id === content?.id &&
      (entry.kind !== "symlink" || (old.entry as { target: string }).target === entry.target);
    const action = old?.entry === undefined ? "create" : isSame ? "metadata" : "replace";
    this.#record(path, entry, content, action, change.attributes ?? keptOver(old, change));
    return "done";
  }

  #remove(change: Extract<SpaceChange, { type: "remove" }>): string {
    const { path, expect, recursive } = change;
    if (this.#entry(path) === undefined || !this.#meets(path, expect)) return "stale";
    const below = this.present(path);
    if (below.length > 0 && !recursive) return "NOT_EMPTY";
    for (const one of below.reverse()) this.#record(one.path, undefined, undefined, "remove");
    this.#record(path, undefined, undefined, "remove");
    return "done";
  }

  #move(change: Extract<SpaceChange, { type: "move" }>): string {
    const { from, to, expect } = change;
    if (this.#entry(from) === undefined || !this.#meets(from, expect)) return "stale";
    if (isWithin(to, from)) return "NAME";
    if (this.#entry(to) !== undefined) return "stale";
    const way = this.#way(to);
    if (typeof way === "string") return way;
    if (way.length > 0) return "NO_PARENT";
    for (const { path, entry, content, attributes } of [this.currentAt(from)!, ...this.present(from)]) {
      this.#record(path, undefined, undefined, "remove");
      const target = path === from ? to : joinPath(to, path.slice(from.length + 1));
      this.#record(target, entry, content, "move", attributes, path);
    }
    return "done";
  }
}

function keptOver(old: Version | undefined, { entry, content }: { entry: Entry; content: Version["content"] }): Attributes {
  if (old?.entry?.kind !== entry.kind) return NO_ATTRIBUTES;
  const isSame = old.content?.id === content?.id;
  return Object.fromEntries(Object.entries(old.attributes).filter(([name]) => isSame || !/^(content|etag|sum)[.]/.test(name)));
}

function entryOver(before: Version | undefined, { entry, content }: { entry: Entry; content: Version["content"] }): Entry {
  const old = before?.entry;
  if (old?.kind !== entry.kind) return entry;
  if (old.kind !== "file") return old.kind === "dir" ? old : entry;
  return { ...entry, mode: before?.content?.id === content?.id ? old.mode : old.mode & 0o1777 } as Entry;
}
