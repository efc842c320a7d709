/**
 * The digest of a space as a link sees it: below its prefix, without what its rules ignore. Kept up to date by the
 * journal; links that see the same share one.
 */
import { type LinkView, seenEntry } from "#hub/endpoint/link-view.ts";
import { SpaceRules } from "#hub/endpoint/space-rules.ts";
import type { JournalRecord } from "#hub/space.ts";
import type { Entry, OtherEntry } from "#model/entry.ts";
import { isWithin, nameOf } from "#model/path.ts";
import { IGNORE_FILE, type IgnoreRules } from "#sync/scan/ignore.ts";
import { LinkDigest } from "#sync/wire/link-digest.ts";

/** Changes that are put in one by one; beyond, the whole tree is read again. */
const CHANGES_MAX = 2000;
/** Digests kept in memory. */
const VIEWS_MAX = 256;

/** Nothing is there, or what no link carries: no session agrees on it. */
const isLeftOut = (entry: Entry | undefined): entry is OtherEntry | undefined => entry === undefined || entry.kind === "other";

class ViewDigest {
  #digest = new LinkDigest();
  /** Undefined: to be read anew. */
  #sequence: number | undefined;
  #turn: Promise<unknown> = Promise.resolve();

  at(view: LinkView, base: IgnoreRules, sequence: number): Promise<string | undefined> {
    const done = this.#turn.then(() => this.#at(view, base, sequence));
    this.#turn = done.catch(() => undefined);
    return done;
  }

  async #at(view: LinkView, base: IgnoreRules, sequence: number): Promise<string | undefined> {
    const at = this.#sequence;
    if (at === sequence) return this.#digest.text();
    this.#sequence = undefined;
    const rules = new SpaceRules(view, base);
    const isDone = at !== undefined && at < sequence && sequence - at <= CHANGES_MAX && (await this.#step(view, rules, at, sequence));
    if (!isDone && !(await this.#read(view, rules))) return undefined;
    // What was committed while it was read may be in it or not.
    const space = await view.spaces.space(view.who, view.space);
    if (space.sequence !== sequence) return undefined;
    this.#sequence = sequence;
    return this.#digest.text();
  }

  async #read(view: LinkView, rules: SpaceRules): Promise<boolean> {
    this.#digest = new LinkDigest();
    for await (const { path, entry } of view.all()) {
      if (isLeftOut(entry) || (await rules.ignores(path, entry.kind === "dir"))) continue;
      if (!this.#digest.add(path, entry)) return false;
    }
    return true;
  }

  /** False where that cannot be told from the changes alone. */
  async #step(view: LinkView, rules: SpaceRules, after: number, until: number): Promise<boolean> {
    const { spaces, who, space, prefix } = view;
    const records = await spaces.journal(who, space, after, until - after);
    if (records.at(-1)?.sequence !== until) return false;
    const within = records.filter(({ path }) => path !== prefix && isWithin(path, prefix));
    if (within.some(({ path }) => nameOf(path) === IGNORE_FILE)) return false;
    for (const record of within) if (!(await this.#change(view, rules, record))) return false;
    return true;
  }

  async #change(view: LinkView, rules: SpaceRules, record: JournalRecord): Promise<boolean> {
    const { previous } = record;
    const path = view.inner(record.path);
    const entry = seenEntry(record);
    const was = previous === 0 ? undefined : (await view.version(path, { sequence: previous }))?.entry;
    if (!isLeftOut(was) && !(await rules.ignores(path, was.kind === "dir")) && !this.#digest.remove(path, was)) return false;
    if (isLeftOut(entry) || (await rules.ignores(path, entry.kind === "dir"))) return true;
    return this.#digest.add(path, entry);
  }
}

export class ViewDigests {
  /** The one used last comes last. */
  readonly #views = new Map<string, ViewDigest>();

  /**
   * Of the view as it is now, which must be at `sequence`; undefined where it is not, or has content without a sum.
   * @param key the same for views that see the same, and for no others
   */
  at(key: string, view: LinkView, base: IgnoreRules, sequence: number): Promise<string | undefined> {
    const known = this.#views.get(key) ?? new ViewDigest();
    this.#views.delete(key);
    this.#views.set(key, known);
    if (this.#views.size > VIEWS_MAX) this.#views.delete(this.#views.keys().next().value!);
    return known.at(view, base, sequence);
  }
}
