/**
 * What must be true of simulated roots, seen without the engine: the trees as people see them, what is out of a
 * session's sight, whether two sides are the same, and whether anything was lost.
 */
import { PRIVATE_DIR, type RelPath, comparePaths, isWithin } from "#model/path.ts";
import type { Inode } from "#testing/sim-inode.ts";
import { type LinkSpec, ROOT, type Replica } from "#testing/sim-world.ts";

export const IGNORE_FILE = ".synclineignore";

/** The visible entries of a root by path, in path order. */
export type View = Map<RelPath, Inode>;

function walk(dir: Inode, prefix: string, visit: (path: RelPath, inode: Inode) => void): void {
  for (const { name, inode } of dir.entries?.values() ?? []) {
    visit(prefix + name, inode);
    if (inode.entries !== undefined) walk(inode, `${prefix}${name}/`, visit);
  }
}

/** Everything in the root but our private directory. */
export function viewOf(replica: Replica): View {
  const out: [RelPath, Inode][] = [];
  walk(replica.host.disk.inodeAt(ROOT), "", (path, inode) => {
    if (!isWithin(path, PRIVATE_DIR)) out.push([path, inode]);
  });
  return new Map(out.sort(([a], [b]) => comparePaths(a, b)));
}

/** Names of the contents of all files: those that people see, and all with what our private directory keeps. */
export function contentsOf(replica: Replica): { tree: Set<string>; all: Set<string> } {
  const tree = new Set<string>();
  const all = new Set<string>();
  walk(replica.host.disk.inodeAt(ROOT), "", (path, inode) => {
    if (inode.content === undefined || inode.content.size === 0) return;
    const digest = inode.content.digest();
    all.add(digest);
    if (!isWithin(path, PRIVATE_DIR)) tree.add(digest);
  });
  return { tree, all };
}

/**
 * Contents that no sync can make durable any more, of what people see or a session has displaced: the disk refused one, and
 * a power loss may take them.
 */
export function doubtfulOf(replica: Replica): Set<string> {
  const out = new Set<string>();
  walk(replica.host.disk.inodeAt(ROOT), "", (_, { poisoned, content }) => {
    if (poisoned && content !== undefined) out.add(content.digest());
  });
  return out;
}

/**
 * Those of them that a later sync claimed to have made durable. Whoever asked for it may tell them to other hosts in
 * good faith; where a power loss brings the old content back with its old times, that looks like an edit by a person,
 * and goes to the other hosts as one.
 */
export function feignedOf(replica: Replica): Set<string> {
  const out = new Set<string>();
  for (const { poisoned, feigned, content } of viewOf(replica).values()) {
    if (!poisoned || feigned === undefined || content === undefined) continue;
    const digest = content.digest();
    if (feigned.digest() === digest) out.add(digest);
  }
  return out;
}

/** How many names people see each content under. */
export function namesOf(replica: Replica): Map<string, number> {
  const out = new Map<string, number>();
  for (const { content } of viewOf(replica).values()) {
    if (content === undefined || content.size === 0) continue;
    const digest = content.digest();
    out.set(digest, (out.get(digest) ?? 0) + 1);
  }
  return out;
}

/** The view as text, to compare exactly: kind, mode, content, and the time of files rounded down to `tickNs`. */
export function textOf(view: View, tickNs: bigint): Map<RelPath, string> {
  const out = new Map<RelPath, string>();
  for (const [path, inode] of view) {
    const { kind, mode, content, target, mtimeNs } = inode;
    if (content === undefined) out.set(path, kind === "symlink" ? `symlink ${target}` : `${kind} ${mode.toString(8)}`);
    else out.set(path, `file ${mode.toString(8)} ${content.size} ${content.digest()} ${mtimeNs - (mtimeNs % tickNs)}`);
  }
  return out;
}

/** Groups of names of one file: each name but the first, and the first. */
function linksOf(view: View): Map<RelPath, RelPath> {
  const leaders = new Map<Inode, RelPath>();
  const out = new Map<RelPath, RelPath>();
  for (const [path, inode] of view) {
    if (inode.content === undefined) continue;
    const leader = leaders.get(inode);
    if (leader === undefined) leaders.set(inode, path);
    else out.set(path, leader);
  }
  return out;
}

/** As much of a tree as its rules depend on. */
export type Outline = ReadonlyMap<RelPath, { readonly entries?: unknown; readonly content?: { toBytes(): Uint8Array } | undefined }>;

/**
 * The ignore rules of a view, understood only as far as simulated people write them: bare names, "*.ending", and
 * "name/" for directories, in the ignore file of any directory.
 */
export class Ignored {
  readonly #rules: { readonly dir: RelPath; readonly pattern: string }[] = [];
  readonly #view: Outline;

  constructor(view: Outline) {
    this.#view = view;
    for (const [path, inode] of view) {
      if (inode.content === undefined || !(path === IGNORE_FILE || path.endsWith(`/${IGNORE_FILE}`))) continue;
      const dir = path === IGNORE_FILE ? "" : path.slice(0, -IGNORE_FILE.length - 1);
      const lines = new TextDecoder().decode(inode.content.toBytes()).split("\n");
      for (const pattern of lines) if (pattern !== "" && !pattern.startsWith("#")) this.#rules.push({ dir, pattern });
    }
  }

  /** The rules, to see whether they changed. */
  text(): string {
    return this.#rules.map(({ dir, pattern }) => `${dir}/${pattern}`).join("\n");
  }

  get any(): boolean {
    return this.#rules.length > 0;
  }

  /** Is the path, or a directory above it, out of sight: as it is here, or as it would be if it came from `other`? */
  hides(path: RelPath, other: Outline = this.#view): boolean {
    if (this.#rules.length === 0) return false;
    for (let cut = path.indexOf("/"); ; cut = path.indexOf("/", cut + 1)) {
      const at = cut < 0 ? path : path.slice(0, cut);
      const isDir = cut >= 0 || [this.#view, other].some((view) => view.get(path)?.entries !== undefined);
      if (this.#rules.some((rule) => matches(rule, at, isDir))) return true;
      if (cut < 0) return false;
    }
  }

  /** Paths that exist and are hidden, with the directories above them, which nobody may remove. */
  touched(): Set<RelPath> {
    const out = new Set<RelPath>();
    if (!this.any) return out;
    for (const path of this.#view.keys()) {
      if (!this.hides(path)) continue;
      for (let at = path; at !== ""; at = at.slice(0, Math.max(0, at.lastIndexOf("/")))) out.add(at);
    }
    return out;
  }
}

function matches({ dir, pattern }: { dir: RelPath; pattern: string }, path: RelPath, isDir: boolean): boolean {
  if (path === dir || !isWithin(path, dir)) return false;
  const name = path.slice(path.lastIndexOf("/") + 1);
  if (pattern.endsWith("/")) return isDir && name === pattern.slice(0, -1);
  return pattern.startsWith("*") ? name.endsWith(pattern.slice(1)) : name === pattern;
}

export type Hidden = { readonly rules: string; readonly hidden: string; readonly seen: ReadonlySet<Inode> };

/**
 * What the rules of a root hide in it, in no order: a session never changes it, though it may rename the directory that
 * holds it (P15). And the rules themselves, as far as they go. `before`: to be compared with that.
 */
export function hiddenOf(replica: Replica, before?: Hidden): Hidden {
  const view = viewOf(replica);
  const ignored = new Ignored(view);
  const texts = textOf(view, 1n);
  const paths = [...view.keys()].filter((path) => ignored.hides(path));
  const seen = new Set([...view].flatMap(([path, inode]) => (inode.content !== undefined && !ignored.hides(path) ? [inode] : [])));
  // Their mode and time are, or were, also those of a name that is seen, as such.
  const isShared = (inode: Inode): boolean => seen.has(inode) || before?.seen.has(inode) === true;
  const hidden = paths.map((path) => (isShared(view.get(path)!) ? `file ${view.get(path)!.content!.digest()}` : texts.get(path)!));
  return { rules: ignored.text(), hidden: hidden.sort().join("\n"), seen };
}

export type Exempt = {
  readonly conflicts: ReadonlySet<RelPath>;
  readonly problems?: readonly RelPath[];
  /** Where something may stand in the way; default: where there are problems. */
  readonly blocked?: readonly RelPath[];
};

/**
 * Why the two sides of a link are not as its mode promises, or undefined. Paths in conflict, and those that one side
 * ignores, are nobody's business; nor are directories that hold such.
 */
export function difference(link: LinkSpec, exempt: Exempt): string | undefined {
  const { alpha, beta } = link;
  const tickNs = alpha.host.disk.timestampNs > beta.host.disk.timestampNs ? alpha.host.disk.timestampNs : beta.host.disk.timestampNs;
  const views = { alpha: viewOf(alpha), beta: viewOf(beta) };
  const texts = { alpha: textOf(views.alpha, tickNs), beta: textOf(views.beta, tickNs) };
  const ignored = [new Ignored(views.alpha), new Ignored(views.beta)];
  const touched = ignored.map((one) => one.touched());
  const blocked = exempt.blocked ?? exempt.problems ?? [];
  const waiting = blocked.length === 0 ? [] : [...stayed(texts.alpha, texts.beta, blocked), ...stayed(texts.beta, texts.alpha, blocked)];
  const open = [...exempt.conflicts, ...(exempt.problems ?? []), ...waiting];
  const isExempt = (path: RelPath): boolean =>
    open.some((other) => isWithin(path, other) || isWithin(other, path)) ||
    ignored[0]!.hides(path, views.beta) ||
    ignored[1]!.hides(path, views.alpha) ||
    touched.some((paths) => paths.has(path));
  const paths = new Set([...texts.alpha.keys(), ...texts.beta.keys()]);
  for (const path of paths) {
    const a = texts.alpha.get(path);
    const b = texts.beta.get(path);
    if (a === b || isAllowed(link, a, b) || isExempt(path)) continue;
    return `not the same at ${path}: ${alpha.name} ${a} | ${beta.name} ${b}`;
  }
  if (!link.preserve.hardlinks || link.mode === "one-way-safe" || open.length > 0 || ignored.some(({ any }) => any)) return undefined;
  return linkDifference(link, linksOf(views.alpha), linksOf(views.beta));
}

/** What was renamed `here` to where something stands in the way over there stays at its old name there until that is gone. */
function stayed(here: Map<RelPath, string>, there: Map<RelPath, string>, blocked: readonly RelPath[]): RelPath[] {
  const renamed = new Set([...here].flatMap(([path, text]) => (blocked.some((one) => isWithin(path, one)) ? [text] : [])));
  return [...there].flatMap(([path, text]) => (renamed.has(text) && !here.has(path) ? [path] : []));
}

function isAllowed(link: LinkSpec, a: string | undefined, b: string | undefined): boolean {
  // Beta keeps what is its own: more paths than alpha, and changes that alpha has not answered since.
  if (link.mode === "one-way-safe") return b !== undefined;
  return link.mode === "one-way-replica" && !link.delete && a === undefined;
}

function linkDifference(link: LinkSpec, a: Map<RelPath, RelPath>, b: Map<RelPath, RelPath>): string | undefined {
  if (!link.delete) return undefined;
  for (const path of new Set([...a.keys(), ...b.keys()])) {
    if (a.get(path) === b.get(path)) continue;
    return `not linked alike at ${path}: ${link.alpha.name} ${a.get(path)} | ${link.beta.name} ${b.get(path)}`;
  }
  return undefined;
}
