/**
 * The ignore rules in force in each directory: those of the session, then every ignore file on the way down.
 */
import type { Sum } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, joinPath, nameOf, parentOf } from "#model/path.ts";
import { type SumSeeds, sumOf } from "#sync/chunk/sum.ts";
import { type IndexRecord, matchesStat } from "#sync/index/record-codecs.ts";
import type { Tree } from "#sync/index/store.ts";
import { type Damage, damageOf, damageProblem } from "#sync/scan/damage.ts";
import { sameStat } from "#sync/scan/hash-file.ts";
import { IGNORE_FILE, IGNORE_FILE_BYTES_MAX, IgnoreRules, ignoreLines } from "#sync/scan/ignore.ts";
import { type ProblemSet, changedProblem, scanProblem } from "#sync/scan/problem-set.ts";
import type { Confined } from "#platform/confined.ts";
import { type Fd, FsError, type Stat, isCode, isNotThere } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";

/** Directories whose rules are remembered; beyond it all are forgotten. */
const REMEMBERED_MAX = 10_000;
/** Code of the problem of a directory whose ignore file is damaged. */
export const RULES_DAMAGED = "RULES";

/** What the ignore file of a directory was when its rules were read from it. */
export type RulesFile = { readonly stat: Stat; readonly sum: Sum };

export type RulesRead = { readonly rules: IgnoreRules; readonly from: RulesFile | undefined };

/** Why the rules of a directory cannot be known; with the damage of its ignore file where that is why. */
export type RulesProblem = Problem & { readonly damage?: Damage | undefined };

export type NestedRulesOptions = {
  readonly root: Confined;
  /** Rules of the session, for the whole root. */
  readonly rules: IgnoreRules;
  readonly index: Tree<IndexRecord>;
  readonly seeds: SumSeeds;
  readonly host: Pick<Host, "clock">;
};

export class NestedRules {
  readonly #options: NestedRulesOptions;
  readonly #root: Confined;
  readonly base: IgnoreRules;
  readonly #known = new Map<RelPath, IgnoreRules>();

  constructor(options: NestedRulesOptions) {
    this.#options = options;
    this.#root = options.root;
    this.base = options.rules;
  }

  /** Forgets everything: an ignore file changed, or directories moved. */
  clear(): void {
    this.#known.clear();
  }

  /**
   * Rules for what lies in `dir`, from the disk unless remembered. A problem means that they cannot be known,
   * and then nothing in the directory is. Directories that are gone have the rules of their parent.
   */
  of(dir: RelPath): IgnoreRules | RulesProblem {
    const known = this.#known.get(dir);
    if (known !== undefined) return known;
    const outer = dir === "" ? this.base : this.of(parentOf(dir));
    if (!(outer instanceof IgnoreRules)) return outer;
    // A directory that was not remembered just now is not there, and nothing is in it. Without this a deep tree that is about
    // to come would be walked from its top for each step down to each of its directories.
    if (dir !== "" && !this.#known.has(parentOf(dir))) return outer;
    let fd: Fd;
    try {
      fd = this.#root.dir(dir);
    } catch (error) {
      if (isNotThere(error)) return outer;
      return scanProblem(dir, error);
    }
    const read = this.read(dir, fd, outer, this.#options.index.get(joinPath(dir, IGNORE_FILE)));
    if (!("rules" in read)) return read;
    if (this.#known.size >= REMEMBERED_MAX) this.#known.clear();
    this.#known.set(dir, read.rules);
    return read.rules;
  }

  /**
   * Rules inside the open directory `fd`: `outer` and those of its own ignore file, if it has one, of which the index
   * has the record `known`.
   */
  read(dir: RelPath, fd: Fd, outer: IgnoreRules, known: IndexRecord | undefined): RulesRead | RulesProblem {
    try {
      const found = readIgnoreFile(this.#root, fd);
      if (found === "changed") return changedProblem(dir);
      if (found === undefined) return { rules: outer, from: undefined };
      const from = { stat: found.stat, sum: sumOf(found.bytes, this.#options.seeds) };
      const damage = this.#damageOf(from, known);
      return damage === undefined ? { rules: outer.child(dir, ignoreLines(found.bytes)), from } : damagedRules(dir, damage);
    } catch (error) {
      if (error instanceof SynclineError && error.code === "LIMIT") {
        const message = `${IGNORE_FILE}: ${error.message}`;
        return { path: dir, side: "alpha", code: "LIMIT", message, transient: false };
      }
      const found = scanProblem(dir, error);
      return { ...found, message: `${IGNORE_FILE}: ${found.message}` };
    }
  }

  /** Do the bytes differ though the stat does not? Rules that nobody wrote would show, or hide, what they should not. */
  #damageOf({ stat, sum }: RulesFile, known: IndexRecord | undefined): Damage | undefined {
    if (known === undefined || !matchesStat(known, stat)) return undefined;
    return damageOf(known, stat, sum, this.#options.host.clock.nowMs());
  }
}

function damagedRules(dir: RelPath, damage: Damage): RulesProblem {
  const message = `${IGNORE_FILE} is damaged: nothing here is synchronised until it is written anew`;
  return { path: dir, side: "alpha", code: RULES_DAMAGED, message, transient: false, damage };
}

/** Adds why the rules of a directory cannot be known; of a damaged ignore file also that it is damaged. */
export function addRulesProblem(problems: ProblemSet, { damage, ...found }: RulesProblem): void {
  problems.add(found);
  if (damage !== undefined) problems.add(damageProblem(joinPath(found.path, IGNORE_FILE), damage));
}

type IgnoreFile = { readonly bytes: Uint8Array; readonly stat: Stat };

/** The ignore file in `dir`; undefined when there is none or it is not a regular file. */
function readIgnoreFile({ fs }: Confined, dir: Fd): IgnoreFile | "changed" | undefined {
  let fd: Fd;
  try {
    // The stat spares an exception in the usual case of an open that would be refused by kind.
    if (fs.stat(dir, IGNORE_FILE).kind !== "file") return undefined;
    fd = fs.openRead(dir, IGNORE_FILE);
  } catch (error) {
    if (isCode(error, "ENOENT", "EINVAL", "ELOOP")) return undefined;
    throw error;
  }
  try {
    const before = fs.fstat(fd);
    if (before.size > IGNORE_FILE_BYTES_MAX) throw new FsError("EFBIG", "read", IGNORE_FILE);
    const bytes = new Uint8Array(before.size);
    const length = fs.read(fd, bytes, 0);
    return length === before.size && sameStat(fs.fstat(fd), before) ? { bytes, stat: before } : "changed";
  } finally {
    fs.close(fd);
  }
}

/** Is this the path of an ignore file? */
export function isIgnoreFile(path: RelPath): boolean {
  return nameOf(path) === IGNORE_FILE;
}
