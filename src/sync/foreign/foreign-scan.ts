/**
 * Lists a foreign tree and finds what differs from the index. A listing is whole or rejects, as far as the server says so;
 * so what is not in one is absent when a look for it by name finds nothing either. And nothing is removed from the index
 * before the whole walk has ended and the root has been seen to be the same.
 */
import { DIR_MODE, type Entry, FILE_MODE } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import type { Move } from "#model/plan.ts";
import { hidesMoved } from "#sync/apply/held-places.ts";
import {
  PRIVATE_DIR,
  type RelPath,
  compareNames,
  foldName,
  isWithin,
  joinPath,
  nameOf,
  parentOf,
  pathFault,
  printablePath,
} from "#model/path.ts";
import {
  type ForeignContext,
  CLOCK_SKEW_MS,
  doubtSpanMs,
  eachParallel,
  foreignProblem,
  isError,
  problemFrom,
} from "#sync/foreign/foreign-context.ts";
import { hashForeign, readForeign } from "#sync/foreign/foreign-content.ts";
import { type ForeignEntry, isPartialName } from "#sync/foreign/foreign-files.ts";
import { AREAS, emptied } from "#sync/foreign/foreign-root.ts";
import { type ForeignRecord, isFile } from "#sync/foreign/foreign-record.ts";
import { IGNORE_FILE, IGNORE_FILE_BYTES_MAX, type IgnoreRules, ignoreLines } from "#sync/scan/ignore.ts";
import { changedProblem } from "#sync/scan/problem-set.ts";

/** Names that cannot be file names here, told one by one. */
const NAME_PROBLEMS_MAX = 1000;

/** What is done to the index when the walk has ended. */
type Later = {
  readonly path: RelPath;
  readonly record: ForeignRecord | undefined;
  readonly ignored: boolean;
  /** It is listed no more, neither by its name nor by one that some systems take for the same. */
  readonly isUnlisted: boolean;
};
type Dir = { readonly path: RelPath; readonly rules: IgnoreRules };
/** What a listing told of a directory; of it what was looked for, and the names that the index has of that. */
type Found = {
  readonly dir: RelPath;
  readonly listed: readonly ForeignEntry[];
  readonly found: readonly ForeignEntry[];
  readonly known: readonly string[];
};

export type ForeignScanOutcome = { readonly problems: Problem[]; readonly hashedBytes: number };

export class ForeignScan {
  readonly #context: ForeignContext;
  readonly #base: IgnoreRules;
  readonly #signal: AbortSignal;
  /** A controller that asks from the start gets the whole index: what is found need not be logged. */
  readonly #logs: boolean;
  /** Remove partials that we left behind. */
  readonly #sweeps: boolean;
  readonly #problems: Problem[] = [];
  #nameProblems = 0;
  readonly #later: Later[] = [];
  readonly #toHash: RelPath[] = [];
  /** Entries that are there, also such as are ignored. */
  #listed = 0;
  #hashedBytes = 0;

  constructor(context: ForeignContext, base: IgnoreRules, how: { logs: boolean; sweeps: boolean }, signal: AbortSignal) {
    this.#context = context;
    this.#base = base;
    this.#logs = how.logs;
    this.#sweeps = how.sweeps;
    this.#signal = signal;
  }

  /**
   * Looks at everything.
   * @param deep read every file again
   * @param marked to be told also if the index knows them
   * @param mayBeEmpty a marker says that it is the same root although nothing is there any more
   * @throws {SynclineError} ROOT_IDENTITY otherwise, and again each time: the index keeps what was there
   */
  async full(deep: boolean, marked: Iterable<RelPath>, mayBeEmpty: boolean): Promise<ForeignScanOutcome> {
    await this.#walk([{ path: "", rules: this.#base }]);
    if (!mayBeEmpty && this.#listed === 0 && this.#context.index.count() > 0) throw emptied(this.#context.files.label);
    this.#tell(marked);
    return this.#end(deep);
  }

  /** What a change found otherwise than planned is told in any case: the index may know it, and the controller not. */
  #tell(marked: Iterable<RelPath>): void {
    const { store, log } = this.#context;
    const paths = [...marked].filter((path) => path !== "");
    if (this.#logs && paths.length > 0) store.transaction({ durable: false }, () => log.append(paths));
  }

  /** What of a directory is out of sight by the rules there are now? */
  async ignoring(dir: RelPath): Promise<(path: RelPath, isDir: boolean) => boolean> {
    const rules = await this.#rulesOf(dir);
    return (path, isDir) => isOurs(path) || isPartialName(nameOf(path)) || (!rules.none && rules.ignores(path, isDir));
  }

  async ignores(path: RelPath, isDir: boolean): Promise<boolean> {
    return (await this.ignoring(parentOf(path)))(path, isDir);
  }

  /** As hidesMoved() of what the index has, by the rules there are now. */
  async hidesMoved(move: Move): Promise<boolean> {
    const rules = await this.#rulesOf(parentOf(move.to));
    return !rules.none && hidesMoved(move, this.#context.index, (path, isDir) => rules.ignores(path, isDir));
  }

  /**
   * Looks at these paths, with what is below them, in the listings of the directories that they lie in: there are systems
   * that find a file by more names than its own.
   * @param marked of them to be told also if the index knows them
   */
  async some(paths: readonly RelPath[], marked: readonly RelPath[]): Promise<ForeignScanOutcome> {
    const waiting: Dir[] = [];
    const byDir = new Map<RelPath, Set<RelPath>>();
    for (const path of paths) {
      const dir = parentOf(path);
      byDir.set(dir, (byDir.get(dir) ?? new Set()).add(path));
    }
    for (const [dir, wanted] of byDir) await this.#lookInto(dir, wanted, waiting);
    await this.#walk(waiting);
    this.#tell(marked);
    return this.#end(false);
  }

  async #lookInto(dir: RelPath, wanted: ReadonlySet<RelPath>, waiting: Dir[]): Promise<void> {
    this.#signal.throwIfAborted();
    const above = (): Promise<void> => this.#lookInto(parentOf(dir), new Set([dir]), waiting);
    // Whether it is there, and to be seen, is told above it.
    if (dir !== "" && this.#context.index.get(dir)?.entry.kind !== "dir") return above();
    try {
      const listed = this.#usable(dir, await this.#listingOf(dir));
      const rules = await this.#rulesOf(dir);
      const found = await this.#withTimes(listed.filter(({ path }) => wanted.has(path)), rules);
      this.#take({ dir, listed, found, known: [...wanted].map(nameOf) }, rules, waiting);
    } catch (error) {
      if (dir !== "" && isError(error, "NOT_FOUND")) return above();
      this.#problems.push(problemFrom(dir, error));
    }
  }

  async #listingOf(dir: RelPath): Promise<ForeignEntry[]> {
    const all: ForeignEntry[] = [];
    for await (const batch of this.#context.files.list(dir, this.#signal)) all.push(...batch);
    return all;
  }

  /** Depth first, so that few directories wait. */
  async #walk(first: Dir[]): Promise<void> {
    const waiting = [...first];
    const running = new Set<Promise<void>>();
    let failure: { error: unknown } | undefined;
    while (running.size > 0 || (waiting.length > 0 && failure === undefined)) {
      while (failure === undefined && waiting.length > 0 && running.size < this.#context.abilities.parallel) {
        const dir = waiting.pop()!;
        const work: Promise<void> = this.#visit(dir, waiting)
          .catch((error: unknown) => {
            failure ??= { error };
          })
          .finally(() => running.delete(work));
        running.add(work);
      }
      await Promise.race(running);
    }
    if (failure !== undefined) throw failure.error;
  }

  async #visit({ path: dir, rules: outer }: Dir, waiting: Dir[]): Promise<void> {
    const { index } = this.#context;
    this.#signal.throwIfAborted();
    let all: ForeignEntry[];
    try {
      all = await this.#listingOf(dir);
    } catch (error) {
      if (dir === "") throw error;
      // It went away, or is not for us: what was known below it is unknown.
      this.#problems.push(problemFrom(dir, error));
      return;
    }
    const found = this.#usable(dir, all);
    const rules = await this.#childRules(dir, outer, found.find(({ path }) => nameOf(path) === IGNORE_FILE));
    if (rules === undefined) return;
    const known = index.children(dir).map(({ name }) => name);
    this.#take({ dir, listed: found, found: await this.#withTimes(found, rules), known }, rules, waiting);
  }

  /** What may be synchronised at all, each path once, in order. */
  #usable(dir: RelPath, all: readonly ForeignEntry[]): ForeignEntry[] {
    const byPath = new Map<RelPath, ForeignEntry>();
    const twice = new Set<RelPath>();
    for (const entry of all) {
      const name = entry.path.slice(dir === "" ? 0 : dir.length + 1);
      if (isOurs(entry.path)) continue;
      if (isPartialName(name)) {
        if (this.#sweeps && isPartialName(name, this.#context.owner)) this.#sweep(entry.path);
        continue;
      }
      if (pathFault(entry.path) !== undefined || name.includes("/")) this.#nameProblem(entry.path);
      else if (byPath.has(entry.path)) twice.add(entry.path);
      else byPath.set(entry.path, entry);
    }
    for (const path of twice) {
      byPath.delete(path);
      this.#problems.push(foreignProblem(path, "NAME", "a file and a directory have this same name there", false));
    }
    return [...byPath.values()].sort((a, b) => compareNames(nameOf(a.path), nameOf(b.path)));
  }

  #nameProblem(path: RelPath): void {
    if (this.#nameProblems++ >= NAME_PROBLEMS_MAX) return;
    this.#problems.push(foreignProblem(path, "NAME", "no file here can have this name", false));
  }

  /** A crash of ours has left it, and nobody else has our name. */
  #sweep(path: RelPath): void {
    this.#context.files.remove(path, {}, this.#signal).catch(() => undefined);
  }

  async #childRules(dir: RelPath, outer: IgnoreRules, file: ForeignEntry | undefined): Promise<IgnoreRules | undefined> {
    if (file?.kind !== "file" || outer.ignores(file.path, false)) return outer;
    try {
      return outer.child(dir, await this.#ignoreLines(file));
    } catch (error) {
      const isLimit = isError(error, "LIMIT");
      const found = isLimit ? foreignProblem(dir, "RULES", error.message, false) : problemFrom(file.path, error);
      this.#problems.push({ ...found, path: dir });
      return undefined;
    }
  }

  async #ignoreLines({ path, size, tag, mtimeNs }: ForeignEntry): Promise<string[]> {
    if (size > IGNORE_FILE_BYTES_MAX) throw tooLarge(path);
    const entry = { kind: "file", size, mode: FILE_MODE, mtimeNs: 0n, sum: undefined } as const;
    const parts: Uint8Array[] = [];
    for await (const part of readForeign(this.#context, path, { entry, tag, mtimeNs }, this.#signal)) parts.push(part.slice());
    return ignoreLines(Buffer.concat(parts));
  }

  async #rulesOf(dir: RelPath): Promise<IgnoreRules> {
    const outer = dir === "" ? this.#base : await this.#rulesOf(parentOf(dir));
    const path = joinPath(dir, IGNORE_FILE);
    if (!isFile(this.#context.index.get(path))) return outer;
    const file = await this.#context.files.stat(path, this.#signal);
    return file === undefined ? outer : outer.child(dir, await this.#ignoreLines(file));
  }

  /** Where listings do not tell times, files that are new or changed are asked for them. */
  async #withTimes(found: readonly ForeignEntry[], rules: IgnoreRules): Promise<ForeignEntry[]> {
    const { files, abilities, index } = this.#context;
    if (abilities.listsTimes) return [...found];
    const asked = new Map<RelPath, ForeignEntry | undefined>();
    const news = found.filter((one) => {
      const record = index.get(one.path);
      return one.kind === "file" && !rules.ignores(one.path, false) && (!isFile(record) || !isSame(record, one));
    });
    await eachParallel(news, abilities.parallel, async ({ path }) => {
      try {
        asked.set(path, await files.stat(path, this.#signal));
      } catch (error) {
        // What was known of it stays as it was.
        this.#problems.push(problemFrom(path, error));
        asked.set(path, undefined);
      }
    });
    return found.flatMap((one) => {
      const told = asked.has(one.path) ? asked.get(one.path) : one;
      return told === undefined ? [] : [told];
    });
  }

  /**
   * Takes what was found in a directory into the index.
   * @param waiting gets the directories to be looked at
   */
  #take({ dir, listed, found, known }: Found, rules: IgnoreRules, waiting: Dir[]): void {
    const { store, index, log } = this.#context;
    const missing = new Set(known);
    const changed: RelPath[] = [];
    const fresh: ForeignEntry[] = [];
    store.transaction({ durable: false }, () => {
      for (const one of found) {
        missing.delete(nameOf(one.path));
        this.#listed++;
        const record = index.get(one.path);
        if (record === undefined) fresh.push(one);
        if (rules.ignores(one.path, one.kind === "dir")) {
          if (record !== undefined) this.#later.push({ path: one.path, record: undefined, ignored: true, isUnlisted: false });
          continue;
        }
        const next = this.#recordOf(one, record);
        if (one.kind === "dir") waiting.push({ path: one.path, rules });
        if (next === record) continue;
        // What was below a directory goes with it, when it is certain that all this is still the same root.
        if (record?.entry.kind === "dir" && one.kind !== "dir") {
          this.#later.push({ path: one.path, record: next, ignored: false, isUnlisted: false });
        } else {
          index.set(one.path, next);
          changed.push(one.path);
        }
      }
      if (this.#logs && changed.length > 0) log.append(changed);
    });
    if (missing.size === 0) return;
    const others = [...fresh, ...listed.filter(({ path }) => index.get(path) === undefined)];
    const folded = new Set(others.map(({ path }) => foldName(nameOf(path))));
    for (const name of missing) {
      // Renamed by its case or Unicode form alone, it would be found by its old name wherever these are one.
      const isUnlisted = !folded.has(foldName(name));
      this.#later.push({ path: joinPath(dir, name), record: undefined, ignored: false, isUnlisted });
    }
  }

  /** The record itself when nothing has changed. */
  #recordOf(one: ForeignEntry, record: ForeignRecord | undefined): ForeignRecord {
    const { abilities, host, preserve } = this.#context;
    const entry = record?.entry;
    if (one.kind === "file") {
      if (isFile(record) && isSame(record, one)) {
        const isDue = record.doubtMs !== undefined && host.clock.nowMs() - record.doubtMs > doubtSpanMs(abilities);
        if (isDue && record.entry.sum !== undefined) this.#toHash.push(one.path);
        const mode = abilities.modes ? (one.mode ?? record.entry.mode) : record.entry.mode;
        const told = one.mtimeNs ?? record.mtimeNs;
        const mtimeNs = told === record.mtimeNs ? record.entry.mtimeNs : (told ?? 0n);
        if (mode === record.entry.mode && mtimeNs === record.entry.mtimeNs) return record;
        return { ...record, mtimeNs: told, entry: { ...record.entry, mode, mtimeNs } };
      }
      const known = entry?.kind === "file" ? entry.mode : FILE_MODE;
      const mode = abilities.modes ? (one.mode ?? known) : known;
      const fresh = { kind: "file", size: one.size, mode, mtimeNs: one.mtimeNs ?? 0n, sum: undefined } as const;
      const doubtMs = one.tag === undefined ? Math.max(0, Math.floor(host.clock.nowMs())) : undefined;
      return { entry: fresh, tag: one.tag, mtimeNs: one.mtimeNs, doubtMs };
    }
    const next = plainEntry(one, entry, abilities.modes, preserve.symlinks);
    return record !== undefined && isSamePlain(record.entry, next) ? record : { entry: next };
  }

  async #end(deep: boolean): Promise<ForeignScanOutcome> {
    const { index, abilities } = this.#context;
    await this.#settleLater();
    const paths = deep ? [...index.walk("")].flatMap(([path, record]) => (isFile(record) ? [path] : [])) : this.#toHash;
    await eachParallel(paths, abilities.parallel, (path) => this.#hash(path));
    return { problems: this.#problems, hashedBytes: this.#hashedBytes };
  }

  async #settleLater(): Promise<void> {
    const { store, index, log, assertRoot } = this.#context;
    const isNews = ({ path }: Later): boolean => !this.#isUnknown(path) && index.get(path) !== undefined;
    await this.#lookAgain(this.#later.filter((one) => one.isUnlisted && isNews(one)));
    const later = this.#later.filter(isNews);
    if (later.length === 0) return;
    await assertRoot(this.#signal);
    store.transaction({ durable: false }, () => {
      for (const { path, record, ignored } of later) {
        const gone = [...index.walk(path)].map(([each]) => each);
        index.deleteSubtree(path);
        if (record !== undefined) index.set(path, record);
        if (this.#logs) log.append(gone, ignored ? new Set([path]) : new Set());
      }
    });
  }

  /** There are servers that cut listings short and tell nobody. One that leaves out what is there proves nothing. */
  async #lookAgain(unlisted: readonly Later[]): Promise<void> {
    const { files, abilities } = this.#context;
    await eachParallel(unlisted, abilities.parallel, async ({ path }) => {
      if (this.#isUnknown(path)) return;
      try {
        if ((await files.stat(path, this.#signal)) === undefined) return;
        const dir = parentOf(path);
        const hasCome = (await this.#listingOf(dir)).some((one) => one.path === path);
        const message = `the server's listing leaves out "${printablePath(nameOf(path))}", which is there`;
        const found = hasCome ? changedProblem(path) : foreignProblem(dir, "LISTING", message, false);
        if (!this.#isUnknown(path)) this.#problems.push(found);
      } catch (error) {
        this.#problems.push(problemFrom(path, error));
      }
    });
  }

  #isUnknown(path: RelPath): boolean {
    return this.#problems.some((problem) => isWithin(path, problem.path));
  }

  async #hash(path: RelPath): Promise<void> {
    const record = this.#context.index.get(path);
    if (!isFile(record)) return;
    try {
      await hashForeign(this.#context, path, record, this.#signal);
      this.#hashedBytes += record.entry.size;
    } catch (error) {
      this.#problems.push(problemFrom(path, error));
      this.#context.mark(path);
    }
  }
}

/** Without its rules what they hide would come out. */
function tooLarge(path: RelPath): SynclineError {
  const message = `${IGNORE_FILE} has more than ${IGNORE_FILE_BYTES_MAX} bytes`;
  return new SynclineError({ code: "LIMIT", op: "read ignore file", path, message });
}

/** Is it our directory, or in it? */
function isOurs(path: RelPath): boolean {
  return nameOf(path) === PRIVATE_DIR || AREAS.some((area) => isWithin(path, area));
}

/** Does the system say the same of the file as when it was recorded? */
function isSame({ entry, tag, mtimeNs }: ForeignRecord, found: ForeignEntry): boolean {
  if (entry.kind !== "file" || entry.size !== found.size) return false;
  return tag !== undefined && found.tag !== undefined ? tag === found.tag : mtimeNs === found.mtimeNs;
}

function plainEntry(one: ForeignEntry, known: Entry | undefined, hasModes: boolean, symlinks: boolean): Entry {
  if (one.kind === "dir") {
    const mode = known?.kind === "dir" ? known.mode : DIR_MODE;
    return { kind: "dir", mode: hasModes ? (one.mode ?? mode) : mode };
  }
  if (one.kind === "symlink" && one.target !== undefined && symlinks) return { kind: "symlink", target: one.target };
  return { kind: "other", what: one.kind === "symlink" ? "symlink" : "special" };
}

function isSamePlain(a: Entry, b: Entry): boolean {
  if (a.kind === "dir" && b.kind === "dir") return a.mode === b.mode;
  if (a.kind === "symlink" && b.kind === "symlink") return a.target === b.target;
  return a.kind === "other" && b.kind === "other" && a.what === b.what;
}

/** Did we write it so lately that somebody else may have written it again without another time being seen? */
export function isDoubtful(mtimeNs: bigint | undefined, tag: string | undefined, nowMs: number, spanMs: number): boolean {
  if (tag !== undefined) return false;
  return mtimeNs === undefined || Math.abs(Number(mtimeNs / 1_000_000n) - nowMs) < spanMs + CLOCK_SKEW_MS;
}
