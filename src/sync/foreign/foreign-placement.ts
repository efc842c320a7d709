/** Single changes on a foreign system: checks that what the plan expects is still there, does it, and says what is there. */
import { type Entry, type FileEntry, compareContent, keptMode } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, joinPath, parentOf } from "#model/path.ts";
import type { Change } from "#model/plan.ts";
import type { OpResult } from "#sync/endpoint/endpoint.ts";
import {
  type ForeignContext,
  doubtSpanMs,
  eachParallel,
  foreignProblem,
  isError,
} from "#sync/foreign/foreign-context.ts";
import { readForeign } from "#sync/foreign/foreign-content.ts";
import { type Expected, type ForeignEntry, type WriteOptions, isExpected } from "#sync/foreign/foreign-files.ts";
import { type ForeignRecord, expectedOf, isFile } from "#sync/foreign/foreign-record.ts";
import { isDoubtful } from "#sync/foreign/foreign-scan.ts";
import { type StagedContent, stagedBytes } from "#sync/foreign/foreign-stage.ts";
import type { Tree } from "#sync/index/store.ts";

/** What became of one op. */
export type Placed = {
  readonly result: OpResult;
  /** Something was done that an undo has to take back. */
  readonly isChanged: boolean;
  /** Of what is at the path now. */
  readonly record: ForeignRecord | undefined;
  /** Whose records `note` changes; empty: none. */
  readonly paths: readonly RelPath[];
  readonly note: (index: Tree<ForeignRecord>) => void;
};

export class ForeignPlacement {
  readonly #context: ForeignContext;
  readonly #signal: AbortSignal;
  /** Names that are on their way out of a directory, until the index knows: no two of them may count on each other to stay. */
  readonly #leaving = new Set<RelPath>();

  constructor(context: ForeignContext, signal: AbortSignal) {
    this.#context = context;
    this.#signal = signal;
  }

  /** Rejects with what the system said. @param keepAs see WriteOptions */
  async change(change: Change, content: StagedContent | undefined, keepAs: RelPath | undefined): Promise<Placed> {
    const { path, old, new: entry, action } = change;
    const there = this.#context.index.get(path);
    if (!isAsPlanned(there?.entry, old)) return this.stale(path);
    if (action === "metadata") return this.#metadata(path, there!, entry!);
    if (entry === undefined) return this.#remove(path, there!, keepAs);
    if (entry.kind === "dir") return this.#makeDir(path, there, entry, keepAs);
    if (there?.entry.kind === "dir") await this.#context.files.removeDir(path, this.#signal);
    const expected: Expected = there === undefined || there.entry.kind === "dir" ? "absent" : expectedOf(path, there);
    if (entry.kind === "file") return this.#write(path, entry, content!, expected, keepAs);
    if (entry.kind === "symlink") return this.#link(path, entry.target, expected, keepAs);
    return failedPlaced(foreignProblem(path, "UNSUPPORTED", "it cannot be kept on that side", false));
  }

  async #write(
    path: RelPath,
    entry: FileEntry,
    content: StagedContent,
    expect: Expected,
    keepAs: RelPath | undefined,
  ): Promise<Placed> {
    const { files, host, preserve, traffic } = this.#context;
    const mode = preserve.mode ? entry.mode : this.#keptMode(path);
    const options: WriteOptions = {
      size: content.size,
      mtimeNs: preserve.mtime ? entry.mtimeNs : undefined,
      mode,
      expect,
      keepAs: expect === "absent" ? undefined : keepAs,
    };
    const told = await files.write(path, stagedBytes(host, content), options, this.#signal);
    traffic.sent += content.size;
    const isTimed = preserve.mtime && isNear(told.mtimeNs, entry.mtimeNs, this.#context.abilities.timeResolutionNs);
    return this.#there(path, this.#written(mode === undefined ? entry : { ...entry, mode }, told), told, !isTimed);
  }

  /** As on a disk: a file that is replaced keeps its mode where none are carried. */
  #keptMode(path: RelPath): number | undefined {
    const { index, abilities } = this.#context;
    const there = index.get(path)?.entry;
    return abilities.modes && there?.kind === "file" ? keptMode(there.mode) : undefined;
  }

  /** With the time that the system gave it, where it does not keep those that are set. */
  #written(entry: FileEntry, told: ForeignEntry): FileEntry {
    return this.#context.preserve.mtime ? entry : { ...entry, mtimeNs: told.mtimeNs ?? 0n };
  }

  async #link(path: RelPath, target: string, expected: Expected, keepAs: RelPath | undefined): Promise<Placed> {
    const { files } = this.#context;
    if (expected !== "absent") await files.remove(path, { expect: expected, keepAs }, this.#signal);
    await files.makeSymlink(path, target, this.#signal);
    return this.#there(path, { kind: "symlink", target });
  }

  async #makeDir(
    path: RelPath,
    there: ForeignRecord | undefined,
    entry: Entry & { kind: "dir" },
    keepAs: RelPath | undefined,
  ): Promise<Placed> {
    const { files, preserve } = this.#context;
    if (there !== undefined && there.entry.kind !== "dir") {
      await files.remove(path, { expect: expectedOf(path, there), keepAs }, this.#signal);
    }
    try {
      await files.makeDir(path, preserve.mode ? entry.mode : undefined, this.#signal);
    } catch (error) {
      // Somebody else has made it, which is as good.
      if (!isError(error, "EXISTS") || (await files.stat(path, this.#signal))?.kind !== "dir") throw error;
    }
    return this.#there(path, entry);
  }

  async #remove(path: RelPath, there: ForeignRecord, keepAs: RelPath | undefined): Promise<Placed> {
    const { files } = this.#context;
    this.#leaving.add(path);
    try {
      await this.#keepParent(path);
      if (there.entry.kind === "dir") await this.#removeDir(path);
      else await files.remove(path, { expect: expectedOf(path, there), keepAs }, this.#signal);
    } catch (error) {
      this.#leaving.delete(path);
      throw error;
    }
    const note = (index: Tree<ForeignRecord>): void => {
      index.delete(path);
      this.#leaving.delete(path);
    };
    const result = { path, status: "done", entry: undefined } as const;
    return { result, isChanged: true, record: undefined, paths: [path], note };
  }

  async #removeDir(path: RelPath): Promise<void> {
    const { files, abilities } = this.#context;
    try {
      await files.removeDir(path, this.#signal);
    } catch (error) {
      // Where a directory is nothing but the names below it, it went with the last of them.
      if (abilities.directories || !isError(error, "NOT_FOUND")) throw error;
    }
  }

  /** Where a directory goes with the last name below it, one that is to stay gets a mark, before that name goes. */
  async #keepParent(path: RelPath): Promise<void> {
    const { files, abilities, index } = this.#context;
    const dir = parentOf(path);
    if (abilities.directories || dir === "") return;
    if (index.children(dir).some(({ name }) => !this.#leaving.has(joinPath(dir, name)))) return;
    await files.makeDir(dir, undefined, this.#signal);
  }

  async #metadata(path: RelPath, there: ForeignRecord, entry: Entry): Promise<Placed> {
    const { files, preserve, abilities } = this.#context;
    const old = there.entry;
    const expect = expectedOf(path, there);
    if (old.kind !== entry.kind) return this.stale(path);
    let told: ForeignEntry | undefined;
    if (entry.kind === "file" && old.kind === "file" && preserve.mtime && entry.mtimeNs !== old.mtimeNs) {
      told = await files.setTime(path, entry.mtimeNs, this.#signal, expect);
    } else {
      told = await files.stat(path, this.#signal);
      if (!isExpected(told, expect)) return this.stale(path);
    }
    if (abilities.modes && preserve.mode && "mode" in entry && "mode" in old && entry.mode !== old.mode) {
      await files.setMode(path, entry.mode, this.#signal);
    }
    return this.#there(path, entry, told);
  }

  /** @param isItsOwn the time is from the clock there, which may be any, and says only that it was written just now */
  #there(path: RelPath, entry: Entry, told?: ForeignEntry, isItsOwn = false): Placed {
    const { host, abilities } = this.#context;
    const nowMs = Math.max(0, Math.floor(host.clock.nowMs()));
    const { tag, mtimeNs } = told ?? {};
    const isYoung = isItsOwn ? tag === undefined : isDoubtful(mtimeNs, tag, nowMs, doubtSpanMs(abilities));
    const isOpen = entry.kind === "file" && isYoung;
    const record =
      entry.kind === "file" ? { entry, tag, mtimeNs, doubtMs: isOpen ? nowMs : undefined } : { entry };
    const result = { path, status: "done", entry } as const;
    return { result, isChanged: true, record, paths: [path], note: (index) => index.set(path, record) };
  }

  /** One rename where the system has such; else file by file, and a move that breaks off is finished by later plans. */
  async move(from: RelPath, to: RelPath): Promise<Placed> {
    const { files, index, abilities } = this.#context;
    const record = index.get(from);
    if (record === undefined || index.get(to) !== undefined) return this.stale(to);
    const isOneStep = abilities.renames === "atomic" || (abilities.renames === "copies" && record.entry.kind !== "dir");
    // Moves go on alone.
    this.#leaving.add(from);
    await this.#keepParent(from).finally(() => this.#leaving.delete(from));
    if (!isOneStep) return this.#moveEach(from, to, record.entry);
    const told = await files.rename(from, to, this.#signal, isFile(record) ? expectedOf(from, record) : undefined);
    const gone = [...index.walk(from)].map(([path]) => path);
    const result = { path: to, status: "done", entry: record.entry } as const;
    const note = (tree: Tree<ForeignRecord>): void => {
      tree.moveSubtree(from, to);
      if (told !== undefined) tree.set(to, { ...record, tag: told.tag, mtimeNs: told.mtimeNs });
    };
    return { result, isChanged: true, record, paths: [...gone, ...gone.map((path) => to + path.slice(from.length))], note };
  }

  async #moveEach(from: RelPath, to: RelPath, entry: Entry): Promise<Placed> {
    const { files, index, abilities, store, log } = this.#context;
    const all = [...index.walk(from)];
    const place = (path: RelPath): RelPath => to + path.slice(from.length);
    for (const [path, { entry: each }] of all) {
      if (each.kind === "dir") await files.makeDir(place(path), "mode" in each ? each.mode : undefined, this.#signal);
    }
    const rest = all.filter(([, record]) => record.entry.kind !== "dir");
    await eachParallel(rest, abilities.parallel, async ([path, record]) => {
      const moved = await this.#moveOne(path, place(path), record);
      store.transaction({ durable: false }, () => {
        index.delete(path);
        index.set(place(path), moved);
        log.append([path, place(path)]);
      });
    });
    const dirs = all.filter(([, record]) => record.entry.kind === "dir").map(([path]) => path);
    for (const path of dirs.toReversed()) {
      await files.removeDir(path, this.#signal).catch((error: unknown) => {
        if (!isError(error, "NOT_FOUND")) throw error;
      });
    }
    const result = { path: to, status: "done", entry } as const;
    const note = (tree: Tree<ForeignRecord>): void => {
      for (const path of dirs) {
        const record = tree.get(path);
        tree.delete(path);
        if (record !== undefined) tree.set(place(path), record);
      }
    };
    return { result, isChanged: true, record: index.get(to), paths: [...dirs, ...dirs.map(place), from, to], note };
  }

  async #moveOne(from: RelPath, to: RelPath, record: ForeignRecord): Promise<ForeignRecord> {
    const { files, abilities } = this.#context;
    if (abilities.renames !== "none") {
      const told = await files.rename(from, to, this.#signal, isFile(record) ? expectedOf(from, record) : undefined);
      return told === undefined ? record : { ...record, tag: told.tag, mtimeNs: told.mtimeNs };
    }
    return moveByCopy(this.#context, from, to, record, this.#signal);
  }

  /** What is at the path is not what the plan expects: the next scan looks, and tells. */
  stale(path: RelPath): Placed {
    this.#context.mark(path);
    const entry = this.#context.index.get(path)?.entry;
    return { result: { path, status: "stale", entry }, isChanged: false, record: undefined, paths: [], note: () => undefined };
  }
}

/** Is the time that was told the one that was set, as exact as the system keeps it? */
function isNear(told: bigint | undefined, set: bigint, grainNs: bigint): boolean {
  if (told === undefined) return false;
  const apart = told < set ? set - told : told - set;
  return apart <= grainNs;
}

/** Brings a file to another place by reading and writing it; the old one goes when the new one is there. */
export async function moveByCopy(
  context: Pick<ForeignContext, "files" | "abilities" | "host" | "preserve" | "traffic">,
  from: RelPath,
  to: RelPath,
  record: ForeignRecord,
  signal: AbortSignal,
): Promise<ForeignRecord> {
  const { files, preserve } = context;
  if (record.entry.kind === "symlink") {
    await files.makeSymlink(to, record.entry.target, signal);
    await files.remove(from, { expect: expectedOf(from, record) }, signal);
    return record;
  }
  if (!isFile(record)) return record;
  const { size, mtimeNs, mode } = record.entry;
  const options: WriteOptions = {
    size,
    mtimeNs: preserve.mtime ? mtimeNs : undefined,
    mode: preserve.mode ? mode : undefined,
    expect: "absent",
  };
  const told = await files.write(to, readForeign(context, from, record, signal), options, signal);
  await files.remove(from, { expect: expectedOf(from, record) }, signal);
  return { ...record, tag: told.tag, mtimeNs: told.mtimeNs };
}

/** Is what the index knows what a change expects? */
export function isAsPlanned(there: Entry | undefined, old: Entry | undefined): boolean {
  if (there === undefined || old === undefined) return there === old;
  return compareContent(there, old) !== "differs";
}

export function failedPlaced(problem: Problem): Placed {
  const result = { path: problem.path, status: "failed", entry: undefined, problem } as const;
  return { result, isChanged: false, record: undefined, paths: [], note: () => undefined };
}
