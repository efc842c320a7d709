/**
 * A twin of a tree: a second tree with the same content that nobody writes into any more. What the twin before it has
 * already is the same inode in both, by a hard link; everything else is copied (sharing blocks where the disk can), so
 * that no later change of the source reaches a twin. Which inode of the source a twin's file was made from is remembered
 * in marks: size and time alone do not prove that content is the same.
 */
import { SynclineError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import { PRIVATE_DIR, type RelPath, joinPath, nameOf } from "#model/path.ts";
import type { Sum } from "#model/entry.ts";
import type { Confined } from "#platform/confined.ts";
import { type DirItem, type Fd, type FileSystem, type Stat, isCode } from "#platform/file-system.ts";
import type { Clock } from "#platform/host.ts";
import { Turns } from "#sync/apply/in-turns.ts";
import { type SumSeeds, Summer } from "#sync/chunk/sum.ts";
import type { Codec, Tree } from "#sync/index/store.ts";
import { Pacer } from "#sync/scan/pacer.ts";

/** Files whose sums are asked for at once. */
const SUMS_PER_CALL = 256;
const COPY_BYTES = 1 << 20;

/** The inode of the source that a twin's file was copied from, as it was then. */
export type TwinMark = { readonly ino: bigint; readonly ctimeNs: bigint };

export const twinMarkCodec: Codec<TwinMark> = {
  encode({ ino, ctimeNs }) {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setBigUint64(0, BigInt.asUintN(64, ino));
    view.setBigInt64(8, BigInt.asIntN(64, ctimeNs));
    return bytes;
  },
  decode(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    return { ino: view.getBigUint64(0), ctimeNs: view.getBigInt64(8) };
  },
};

export type TwinContext = {
  readonly clock: Clock;
  /** What a twin is to be made of; its private directory is left out. Nobody of ours changes it meanwhile. */
  readonly source: Confined;
  /** The twin before. */
  readonly previous: Confined | undefined;
  /** Of the twin before. */
  readonly marks: Tree<TwinMark>;
  readonly seeds: SumSeeds;
  /** What the source's files certainly are: one answer a path. */
  readonly sums: (paths: readonly RelPath[]) => Promise<(Sum | Problem)[]>;
  readonly signal: AbortSignal;
};

/** What the marks become when the new twin is the one to compare with. */
export type TwinNews = { readonly set: Map<RelPath, TwinMark>; readonly gone: RelPath[]; readonly linked: number };

/** Is the twin before the same as the source? */
export async function isTwin(context: TwinContext): Promise<boolean> {
  const { previous } = context;
  if (previous === undefined) return false;
  const walk = new Walk(context);
  for (const dirs: RelPath[] = [""]; dirs.length > 0; ) {
    const dir = dirs.pop()!;
    const items = walk.list(dir);
    const names = new Set(items.map(({ name }) => name));
    if (previous.list(dir).some(({ name }) => !names.has(name))) return false;
    for (const { name } of items) {
      const path = joinPath(dir, name);
      const stat = context.source.stat(path);
      if (!isSame(context, path, stat)) return false;
      if (stat.kind === "dir") dirs.push(path);
      await walk.rest();
    }
  }
  return true;
}

/**
 * Makes the twin in the empty directory `target`; nothing of it is durable yet.
 * @throws {SynclineError} STALE when the source is not what was asked for: somebody changes it. FsError of the disk
 */
export async function makeTwin(context: TwinContext, target: Confined): Promise<TwinNews> {
  const { source, previous } = context;
  const { fs } = target;
  const news: TwinNews & { linked: number } = { set: new Map(), gone: [], linked: 0 };
  const made: { path: RelPath; mode: number }[] = [{ path: "", mode: source.stat("").mode }];
  const walk = new Walk(context);
  let copies: { path: RelPath; stat: Stat }[] = [];
  const copyAll = async (): Promise<void> => {
    for (const [path, mark] of await copyFiles(context, target, copies)) news.set.set(path, mark);
    copies = [];
  };
  for (const dirs: RelPath[] = [""]; dirs.length > 0; ) {
    const dir = dirs.pop()!;
    const items = walk.list(dir);
    news.gone.push(...goneFrom(previous, dir, items));
    for (const { name } of items) {
      const path = joinPath(dir, name);
      const stat = source.stat(path);
      if (stat.kind === "dir") {
        fs.mkdir(target.dir(dir), name, 0o700);
        made.push({ path, mode: stat.mode });
        dirs.push(path);
      } else if (stat.kind === "symlink") {
        fs.symlink(fs.readlink(source.dir(dir), name), target.dir(dir), name);
      } else if (isSame(context, path, stat) && linked(fs, previous!, target, path)) news.linked++;
      else copies.push({ path, stat });
      if (copies.length >= SUMS_PER_CALL) await copyAll();
      await walk.rest();
    }
  }
  await copyAll();
  // Last: a directory may be one that its owner cannot write into.
  for (const { path, mode } of made.reverse()) setMode(fs, target, path, mode);
  return news;
}

class Walk {
  readonly #context: TwinContext;
  readonly #pacer: Pacer;

  constructor(context: TwinContext) {
    this.#context = context;
    this.#pacer = new Pacer(context.clock);
    this.#pacer.restart();
  }

  /** What of a directory a twin has, too. */
  list(dir: RelPath): DirItem[] {
    const { source } = this.#context;
    const kindOf = ({ name, kind }: DirItem): string => (kind === "unknown" ? source.stat(joinPath(dir, name)).kind : kind);
    return source.list(dir).filter((item) => {
      if (dir === "" && item.name === PRIVATE_DIR) return false;
      return ["file", "dir", "symlink"].includes(kindOf(item));
    });
  }

  async rest(): Promise<void> {
    if (!this.#pacer.due()) return;
    await this.#context.clock.sleep(0, this.#context.signal);
    this.#pacer.restart();
  }
}

function isSame({ previous, marks, source }: TwinContext, path: RelPath, stat: Stat): boolean {
  const there = previous?.statIfThere(path);
  if (there === undefined || there.kind !== stat.kind) return false;
  if (stat.kind === "dir") return there.mode === stat.mode;
  if (stat.kind === "symlink") return readLink(previous!, path) === readLink(source, path);
  if (there.size !== stat.size || there.mode !== stat.mode || there.mtimeNs !== stat.mtimeNs) return false;
  const mark = marks.get(path);
  return mark?.ino === stat.ino && mark.ctimeNs === BigInt.asIntN(64, stat.ctimeNs);
}

const readLink = (tree: Confined, path: RelPath): string => tree.fs.readlink(tree.parent(path), nameOf(path));

/** Names of the twin before that the source has not, or not as the same kind: what is marked below them has gone. */
function goneFrom(previous: Confined | undefined, dir: RelPath, items: readonly DirItem[]): RelPath[] {
  if (previous?.statIfThere(dir)?.kind !== "dir") return [];
  const names = new Set(items.map(({ name }) => name));
  return previous.list(dir).flatMap(({ name }) => (names.has(name) ? [] : [joinPath(dir, name)]));
}

function linked(fs: FileSystem, previous: Confined, target: Confined, path: RelPath): boolean {
  try {
    fs.link(previous.parent(path), nameOf(path), target.parent(path), nameOf(path));
    return true;
  } catch (error) {
    // A file has only so many names, and some systems let nobody link what is another owner's.
    if (isCode(error, "EMLINK", "EPERM", "EXDEV", "ENOTSUP", "EOPNOTSUPP")) return false;
    throw error;
  }
}

async function copyFiles(
  context: TwinContext,
  target: Confined,
  files: readonly { path: RelPath; stat: Stat }[],
): Promise<[RelPath, TwinMark][]> {
  if (files.length === 0) return [];
  const sums = await context.sums(files.map(({ path }) => path));
  const marks: [RelPath, TwinMark][] = [];
  const turns = new Turns(() => context.clock.sleep(0, context.signal));
  for (const [at, { path, stat }] of files.entries()) {
    context.signal.throwIfAborted();
    const sum = sums[at];
    if (typeof sum !== "string") throw changed(path, sum?.message);
    await copyFile(context, target, { path, stat, sum }, turns);
    marks.push([path, { ino: stat.ino, ctimeNs: BigInt.asIntN(64, stat.ctimeNs) }]);
  }
  return marks;
}

type CopiedFile = { readonly path: RelPath; readonly stat: Stat; readonly sum: Sum };

/** What was written is read back, so that what a disk or a stranger made of it is not shown to anybody. */
async function copyFile({ source, seeds }: TwinContext, target: Confined, file: CopiedFile, turns: Turns): Promise<void> {
  const { path, stat, sum } = file;
  const { fs } = target;
  const from = source.openRead(path);
  let to: Fd | undefined;
  try {
    to = fs.create(target.parent(path), nameOf(path), 0o600);
    await copyBytes(fs, from, to, stat.size, turns);
    fs.truncate(to, stat.size);
    if ((await sumOfFile(fs, to, seeds, turns)) !== sum) throw changed(path);
    fs.chmod(to, stat.mode);
    fs.setMtime(to, stat.mtimeNs);
  } finally {
    fs.close(from);
    if (to !== undefined) fs.close(to);
  }
}

async function copyBytes(fs: FileSystem, from: Fd, to: Fd, size: number, turns: Turns): Promise<void> {
  const buffer = new Uint8Array(Math.min(size, COPY_BYTES));
  let inKernel = true;
  for (let at = 0; at < size; ) {
    const data = fs.dataRange(from, at, size);
    if (data === undefined) return;
    for (at = data.start; at < data.end; ) {
      const length = Math.min(COPY_BYTES, data.end - at);
      await turns.worked(length);
      const done: number | undefined = inKernel ? copiedInKernel(fs, from, to, at, length) : undefined;
      inKernel = done !== undefined;
      if (done !== undefined) at += done || size;
      else {
        const read = await fs.readAsync(from, buffer.subarray(0, length), at);
        if (read === 0) return;
        await fs.writeAsync(to, buffer.subarray(0, read), at);
        at += read;
      }
    }
  }
}

/** Undefined where the system cannot; 0 at the end of the file. */
function copiedInKernel(fs: FileSystem, from: Fd, to: Fd, at: number, length: number): number | undefined {
  try {
    return fs.copyRange(from, at, to, at, length);
  } catch (error) {
    if (isCode(error, "EXDEV", "ENOSYS", "EINVAL", "ENOTSUP", "EOPNOTSUPP")) return undefined;
    throw error;
  }
}

async function sumOfFile(fs: FileSystem, fd: Fd, seeds: SumSeeds, turns: Turns): Promise<Sum> {
  const summer = new Summer(seeds);
  const buffer = new Uint8Array(COPY_BYTES);
  for (let at = 0; ; ) {
    const read = await fs.readAsync(fd, buffer, at);
    if (read === 0) return summer.digest();
    summer.update(buffer.subarray(0, read));
    at += read;
    await turns.worked(read);
  }
}

function setMode(fs: FileSystem, tree: Confined, path: RelPath, mode: number): void {
  const fd = tree.dir(path);
  fs.chmod(fd, mode);
}

/** What a tree has that another has not, and the other way round; what is one inode in both is the same. */
export type TreeChange = { readonly action: "create" | "replace" | "remove"; readonly path: RelPath };

/** @param before undefined: nothing was there */
export function* treeChanges(before: Confined | undefined, after: Confined): Generator<TreeChange> {
  for (const dirs: RelPath[] = [""]; dirs.length > 0; ) {
    const dir = dirs.pop()!;
    const there = new Set(after.list(dir).map(({ name }) => name));
    const wasDir = before?.statIfThere(dir)?.kind === "dir";
    for (const { name } of wasDir ? before!.list(dir) : []) if (!there.has(name)) yield { action: "remove", path: joinPath(dir, name) };
    for (const name of there) {
      const path = joinPath(dir, name);
      const stat = after.stat(path);
      const old = before?.statIfThere(path);
      if (old === undefined) yield { action: "create", path };
      else if (differs(before!, old, after, stat, path)) yield { action: "replace", path };
      if (stat.kind === "dir") dirs.push(path);
    }
  }
}

function differs(before: Confined, old: Stat, after: Confined, stat: Stat, path: RelPath): boolean {
  if (old.kind !== stat.kind) return true;
  if (stat.kind === "dir") return old.mode !== stat.mode;
  if (stat.kind === "symlink") return readLink(before, path) !== readLink(after, path);
  return old.ino !== stat.ino;
}

function changed(path: RelPath, why = "it is not what was agreed on"): SynclineError {
  return new SynclineError({
    code: "STALE",
    op: "make release",
    path,
    message: `a release cannot be made: ${path}: ${why}`,
    hint: "nobody may write into the link's own copy; it is compared and tried again",
    retryable: true,
  });
}
