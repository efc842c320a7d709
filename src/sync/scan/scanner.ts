/**
 * Compares a root with its index, brings the index up to date and reports every difference.
 *
 * A scan is a run of steps of bounded length. The caller performs each step inside one transaction of the
 * index's store and lets others run in between: when the root turns out to be another one, the step throws,
 * so everything found since the last step is undone with the transaction. What earlier steps wrote was found
 * under the right root.
 */
import type { Preserve } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, parentOf } from "#model/path.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";
import type { IndexRecord } from "#sync/index/record-codecs.ts";
import type { Store, Table, Tree } from "#sync/index/store.ts";
import { CORRUPT, type Damage, damageProblem, isDamageCode } from "#sync/scan/damage.ts";
import { DirtyPass } from "#sync/scan/dirty-pass.ts";
import { IgnoreRules } from "#sync/scan/ignore.ts";
import { type DirectoryHook, IndexEditor, type ScanSink } from "#sync/scan/index-editor.ts";
import { LinkGroups } from "#sync/scan/link-groups.ts";
import { NestedRules } from "#sync/scan/nested-rules.ts";
import { Observer } from "#sync/scan/observer.ts";
import { Pacer } from "#sync/scan/pacer.ts";
import { ProblemSet, scanProblem } from "#sync/scan/problem-set.ts";
import { Scrub } from "#sync/scan/scrub.ts";
import { Walk, type WalkOptions } from "#sync/scan/walk.ts";
import type { DirtyPaths } from "#sync/watch/dirty-set.ts";
import type { Confined } from "#platform/confined.ts";
import type { Host } from "#platform/host.ts";

export type ScannerOptions = {
  readonly host: Host;
  readonly root: Confined;
  /** Device of the root; directories on another one are mounts and stay unknown. */
  readonly rootDev: number;
  readonly index: Tree<IndexRecord>;
  /** Side table of the index for hard links; belongs to the scanner. */
  readonly links: Table;
  /** Session rules with the include list; ignore files in the root are read by the scanner. */
  readonly rules: IgnoreRules;
  readonly preserve: Preserve;
  readonly seeds: SumSeeds;
  /** From FileSystemAbilities of the root. */
  readonly timestampNs: bigint;
  readonly caseSensitive: boolean;
  /** Throws ROOT_IDENTITY when the root is no longer the one that was opened. */
  readonly assertRoot: () => void;
  readonly sink: ScanSink;
  readonly hook?: DirectoryHook | undefined;
};

export type ScanOutcome = {
  /** Everything that is unknown now, whether found by this scan or before it. */
  readonly problems: readonly Problem[];
  /** Records in the index. */
  readonly entries: number;
  readonly hashedBytes: number;
  /**
   * New path → old path of files and directories that kept their inode; what is in a directory is not listed.
   */
  readonly renames: ReadonlyMap<RelPath, RelPath>;
};

export type ScanWork =
  | { readonly extent: "full"; readonly deep: boolean }
  | { readonly extent: "dirty"; readonly dirty: DirtyPaths };

/** One scan in progress. Dispose it, also when it was not finished; a scanner does one run at a time. */
export class ScanRun implements Disposable {
  readonly #steps: Generator<void, ScanOutcome>;
  readonly #pacer: Pacer;
  readonly #assertRoot: () => void;
  readonly #onPause: () => void;
  #outcome: ScanOutcome | undefined;

  constructor(steps: Generator<void, ScanOutcome>, pacer: Pacer, assertRoot: () => void, onPause: () => void) {
    this.#steps = steps;
    this.#pacer = pacer;
    this.#assertRoot = assertRoot;
    this.#onPause = onPause;
  }

  /**
   * Works for about 12 ms and returns whether there is more to do. Call it inside a store transaction.
   * @throws {SynclineError} ROOT_IDENTITY; the transaction must be rolled back and the run disposed
   */
  step(): boolean {
    this.#assertRoot();
    this.#pacer.restart();
    const result = this.#steps.next();
    this.#assertRoot();
    if (result.done !== true) {
      this.#onPause();
      return true;
    }
    this.#outcome ??= result.value;
    return false;
  }

  /** The result; undefined until step() has returned false. */
  get outcome(): ScanOutcome | undefined {
    return this.#outcome;
  }

  [Symbol.dispose](): void {
    this.#steps.return(undefined as never);
  }
}

export class Scanner {
  readonly #options: ScannerOptions;
  readonly #pacer: Pacer;
  readonly #rules: NestedRules;
  /** Kept in a transaction by whoever else puts names into the index. */
  readonly links: LinkGroups;
  readonly #observer: Observer;
  #problems = new ProblemSet();
  /** Until one full scan has ended the index may come from other rules or a broken-off scan. */
  #settled = false;
  /** The rules that ignores() used last. */
  #asked: { readonly dir: RelPath; readonly rules: IgnoreRules | undefined } | undefined;
  /** False while a run is under way, and after one that was broken off. */
  #whole = false;

  constructor(options: ScannerOptions) {
    this.#options = options;
    this.#pacer = new Pacer(options.host.clock);
    this.#rules = new NestedRules(options);
    this.links = new LinkGroups(options.links);
    this.#observer = new Observer({ ...options, pacer: this.#pacer });
  }

  /** Is the path out of sight of this session? Asks the disk for ignore files that are not known yet. */
  ignores(path: RelPath, isDir: boolean): boolean {
    const dir = parentOf(path);
    // Asked for whole directories in a row, also for such that do not exist yet, whose rules are not
    // remembered.
    if (this.#asked?.dir !== dir) {
      const rules = this.#rules.of(dir);
      this.#asked = { dir, rules: rules instanceof IgnoreRules ? rules : undefined };
    }
    return this.#asked.rules?.ignores(path, isDir) ?? false;
  }

  /** Do any rules hold in the directory? Without, nothing is ignored that comes there. */
  hasRules(dir: RelPath): boolean {
    const rules = this.#rules.of(dir);
    return rules instanceof IgnoreRules && !rules.none;
  }

  /** A scrub of the same root, of whose findings the next scan tells. Where it stands is kept in `meta`. */
  scrub(store: Store, meta: Table): Scrub {
    const { host, root, index, seeds, assertRoot } = this.#options;
    return new Scrub({
      ...{ root, index, seeds, store, meta, assertRoot, clock: host.clock },
      onRead: (path, isDamaged) => (isDamaged ? this.noteDamage(path, CORRUPT) : this.forgetDamage(path)),
      // A scan that looks at the stat alone would find nothing wrong.
      onRefused: (path, error) => this.#problems.add({ ...scanProblem(path, error), transient: false }),
    });
  }

  /** It was found by somebody else than a scan; the next one tells of it. */
  noteDamage(path: RelPath, damage: Damage): void {
    this.#problems.add(damageProblem(path, damage));
  }

  /** What was damaged at the path is not there any more. */
  forgetDamage(path: RelPath): void {
    const problem = this.#problems.get(path);
    if (problem !== undefined && isDamageCode(problem.code)) this.#problems.delete(path);
  }

  /**
   * Begins a scan. Dirty paths that fall to a problem for a passing reason are looked at again by every dirty
   * scan.
   */
  begin(work: ScanWork): ScanRun {
    this.#options.root.clear();
    this.#asked = undefined;
    const { index, preserve, sink, hook, assertRoot } = this.#options;
    const editor = new IndexEditor({
      index, links: this.links, hardlinks: preserve.hardlinks, sink, hook, pacer: this.#pacer,
    });
    return new ScanRun(this.#run(work, editor), this.#pacer, assertRoot, () => editor.noteUnsettled());
  }

  *#run(work: ScanWork, editor: IndexEditor): Generator<void, ScanOutcome> {
    const { root, index, preserve, hook } = this.#options;
    const full = work.extent === "full" || work.dirty.all;
    const deep = work.extent === "full" && work.deep;
    const problems = this.#problemsBefore(full, deep);
    const hashedBefore = this.#observer.hashedBytes;
    if (!this.#whole) editor.clearAside();
    editor.takeUnsettled();
    this.#whole = false;
    const { rootDev, caseSensitive } = this.#options;
    const options: WalkOptions = {
      fs: root.fs, root, rootDev, caseSensitive, index, xattrs: preserve.xattrs, observer: this.#observer, editor,
      rules: this.#rules, problems, hook, pacer: this.#pacer, deep, recheck: !this.#settled,
    };
    const walk = new Walk(options);
    if (full) {
      this.#rules.clear();
      walk.pushRoot(false);
    } else if (work.extent === "dirty") {
      yield* new DirtyPass(walk, options, this.links).run(work.dirty.paths);
    }
    yield* walk.drain();
    // After a power loss a file may have a name again that it had lost, and otherwise be as the index has it. And a name
    // that is given during the scan comes after its file was seen to have one, which no watcher tells of.
    if (full) yield* editor.findOtherNames();
    yield* editor.settleLinks(problems);
    if (editor.hasAside) editor.clearAside();
    this.#problems = problems;
    this.#whole = true;
    if (full) this.#settled = true;
    const hashedBytes = this.#observer.hashedBytes - hashedBefore;
    return { problems: problems.list(), entries: index.count(), hashedBytes, renames: editor.candidates.renames };
  }

  /** A copy, so that a scan that is broken off forgets nothing. */
  #problemsBefore(full: boolean, deep: boolean): ProblemSet {
    const before = new ProblemSet();
    for (const problem of this.#problems.list()) {
      // Only reading the files again can clear damage; everything else a full scan finds again by itself.
      if (!full || (isDamageCode(problem.code) && !deep)) before.add(problem);
    }
    return before;
  }
}

/**
 * Performs a whole scan.
 *
 * @param transaction runs one step atomically in the index's store and returns what it returns
 * @param turn lets everything else in the process run once
 * @throws {SynclineError} ROOT_IDENTITY, or the signal's reason
 */
export async function runScan(
  scanner: Scanner,
  work: ScanWork,
  transaction: (step: () => boolean) => boolean,
  turn: () => Promise<void>,
  signal: AbortSignal,
): Promise<ScanOutcome> {
  using run = scanner.begin(work);
  while (true) {
    signal.throwIfAborted();
    if (!transaction(() => run.step())) return run.outcome!;
    await turn();
  }
}
