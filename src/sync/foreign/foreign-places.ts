/**
 * Places on a foreign system that nothing can take as long as something is there that this side ignores, as
 * apply/held-places.ts of a disk, or that the system knows by another name. Asked only where the system has refused
 * something, or before a large file is sent.
 */
import type { Problem } from "#model/observation.ts";
import { type RelPath, nameOf, parentOf, printablePath } from "#model/path.ts";
import { IgnoredEntries, heldDirectory, ignoredHere, takenPlace } from "#sync/apply/held-places.ts";
import type { ApplyOp } from "#sync/endpoint/endpoint.ts";
import { type ForeignContext, foreignProblem, problemFrom } from "#sync/foreign/foreign-context.ts";
import type { ForeignScan } from "#sync/foreign/foreign-scan.ts";

/** Entries of a directory that are looked at; where all of them are ignored, what comes after them is taken for that, too. */
const LOOKED_AT_MAX = 10_000;

type Place = Pick<ForeignContext, "files" | "index">;
type Rules = Pick<ForeignScan, "ignoring">;

export class ForeignPlaces {
  readonly #context: Place;
  readonly #rules: Rules;
  readonly #signal: AbortSignal;

  constructor(context: Place, rules: Rules, signal: AbortSignal) {
    this.#context = context;
    this.#rules = rules;
    this.#signal = signal;
  }

  /** Why no file can come to the path, as far as that is known beforehand, and lasting; undefined otherwise. */
  async whyNoFile(path: RelPath): Promise<Problem | undefined> {
    const ignores = await this.#rules.ignoring(parentOf(path));
    if (ignores(path, false)) return ignoredHere(path);
    const known = this.#context.index.get(path)?.entry.kind;
    if (known !== undefined && known !== "dir") return undefined;
    return this.#asFarAsSeen(path, known === undefined ? this.#taken(path) : this.#held(path, false));
  }

  /** Why what the system has refused cannot come about for good; undefined where another look may help. */
  async whyRefused(op: ApplyOp): Promise<Problem | undefined> {
    if (op.type === "move") return this.#asFarAsSeen(op.move.to, this.#taken(op.move.to));
    const { path, old, new: entry } = op.change;
    if (old?.kind === "dir") return this.#asFarAsSeen(path, this.#held(path, true));
    return old === undefined && entry !== undefined ? this.#asFarAsSeen(path, this.#taken(path)) : undefined;
  }

  /** What cannot be seen proves nothing; an error of the connection is thrown on. */
  async #asFarAsSeen(path: RelPath, looking: Promise<Problem | undefined>): Promise<Problem | undefined> {
    try {
      return await looking;
    } catch (error) {
      problemFrom(path, error);
      return undefined;
    }
  }

  /** @param onlyIfAll where other things are in it, too, they may go, or are for another look */
  async #held(dir: RelPath, onlyIfAll: boolean): Promise<Problem | undefined> {
    const { ignored, isAll } = await this.#look(dir);
    return ignored.named.length === 0 || (onlyIfAll && !isAll) ? undefined : heldDirectory(dir, ignored);
  }

  /** @returns what is ignored in a directory, and whether that, with the directories it lies in, is all that it holds */
  async #look(dir: RelPath): Promise<{ readonly ignored: IgnoredEntries; readonly isAll: boolean }> {
    const { files, index } = this.#context;
    const ignored = new IgnoredEntries();
    const open: RelPath[] = [dir];
    let left = LOOKED_AT_MAX;
    let isAll = true;
    for (let at = open.pop(); at !== undefined; at = open.pop()) {
      const ignores = await this.#rules.ignoring(at);
      const before = left;
      for await (const batch of files.list(at, this.#signal)) {
        for (const { path, kind } of batch) {
          left--;
          if (ignores(path, kind === "dir")) ignored.add(path);
          else if (kind === "dir" && index.get(path)?.entry.kind === "dir") open.push(path);
          else isAll = false;
        }
        if (left > 0) continue;
        ignored.isMore = true;
        return { ignored, isAll };
      }
      // A directory that holds nothing stays for another reason.
      if (left === before) isAll = false;
    }
    return { ignored, isAll };
  }

  async #isListed(path: RelPath): Promise<boolean> {
    for await (const batch of this.#context.files.list(parentOf(path), this.#signal)) {
      if (batch.some((one) => one.path === path)) return true;
    }
    return false;
  }

  /** Does something ignored, or of another name, stand at the path, or where a directory above it is to be? */
  async #taken(path: RelPath): Promise<Problem | undefined> {
    const { files, index } = this.#context;
    for (let at = path; at !== "" && index.get(at) === undefined; at = parentOf(at)) {
      const there = await files.stat(at, this.#signal);
      if (there === undefined) continue;
      const ignores = await this.#rules.ignoring(parentOf(at));
      if (ignores(at, there.kind === "dir")) return takenPlace(path, at);
      return (await this.#isListed(at)) ? undefined : takenName(path, at);
    }
    return undefined;
  }
}

/** Systems differ in what they take for one name: case, Unicode form, a dot or a space at its end. */
function takenName(path: RelPath, taken: RelPath): Problem {
  const message = `the system there takes "${printablePath(nameOf(taken))}" for another name in the same directory: rename one of them`;
  return foreignProblem(path, "NAME", message, false);
}
