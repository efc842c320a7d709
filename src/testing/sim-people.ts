/** People and programs who change files in a simulated root, and the memory of what they made and destroyed. */
import type { RelPath } from "#model/path.ts";
import { isCode } from "#platform/file-system.ts";
import { PIECE_BYTES } from "#sync/chunk/sum.ts";
import { contentDigest } from "#testing/sim-content.ts";
import type { Dirent, Inode } from "#testing/sim-inode.ts";
import { IGNORE_FILE, viewOf } from "#testing/sim-oracle.ts";
import type { SimRandom } from "#testing/sim-random.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import type { SimTrace } from "#testing/sim-trace.ts";
import { ROOT, type Replica } from "#testing/sim-world.ts";

/** Names are few so that people meet at the same paths. */
export const NAMES = ["a", "b", "c", "d.txt", "e", "A"];
const DEPTH_MAX = 3;
/** Above what travels inside an apply batch, so that it goes through a transfer. */
export const LARGE_BYTES = 140_000;
/** A hub takes the whole pieces of such a file as they arrive: two of them, and a last one. */
export const STREAMED_BYTES = 2 * PIECE_BYTES + 70_000;
const RULES = ["b", "*.txt", "c/", "e", "# nothing", "b\nc/", ""];

const encoder = new TextEncoder();

/** All that people write into ignore files: no ledger has it, since it is not unique. */
export const IGNORE_TEXTS = RULES.map((rules) => encoder.encode(`${rules}\n`));

/** Who makes contents: a host, or somebody at a door of a hub. */
export type Maker = { readonly name: string };

/**
 * Contents by their digest; each is unique. A content that a person overwrote or removed somewhere may go everywhere;
 * all others must stay reachable.
 */
export class Ledger {
  readonly made = new Map<string, Maker>();
  readonly destroyed = new Set<string>();
  /** Written under the old size and time of a file. */
  readonly disguised = new Set<string>();
  /** Made in the last moment before a session took the file away, so that no look could tell: the trash has them. */
  readonly unseen = new Set<string>();
  /** Made since the disks were settled last: a power loss may take it. */
  recent = new Set<string>();
  readonly log: string[] = [];
  readonly trace: SimTrace;
  #counter = 0;

  constructor(trace: SimTrace) {
    this.trace = trace;
  }

  say(line: string): void {
    this.log.push(line);
    this.trace.note(line);
  }

  /** Bytes that nobody wrote before; those of `old` with a change, or new ones of `size`. */
  fresh({ name }: Maker, size: number, old?: Uint8Array): Uint8Array {
    const head = encoder.encode(`${name}${this.#counter++}:`);
    const bytes = old === undefined ? new Uint8Array(Math.max(size, head.length)).fill(120) : old.slice();
    bytes.set(head);
    // Some large files are sparse.
    if (old === undefined && size > LARGE_BYTES / 2 && this.#counter % 2 === 0) bytes.fill(0, 20_000, size - 20_000);
    return bytes;
  }

  /** The content came to the disk of `maker`. */
  written(bytes: Uint8Array, maker: Maker): void {
    const digest = contentDigest(bytes);
    this.made.set(digest, maker);
    this.recent.add(digest);
  }
}

export type Habits = {
  /** Do they write ignore files? */
  readonly ignores: boolean;
  /** Do they give files second names? */
  readonly links: boolean;
  /** Is that much of what they do? */
  readonly linksOften?: boolean;
  /** Do they often take something away, or write over it, and make it again as it was? */
  readonly anewOften?: boolean;
  /** Do they write files that a hub takes in pieces? */
  readonly streams?: boolean;
};

export class Person {
  readonly #replica: Replica;
  readonly #random: SimRandom;
  readonly #ledger: Ledger;
  readonly #clock: SimClock;
  readonly #habits: Habits;
  /** What the last act wrote under the old size and time of its file, and which call changed that file before. */
  #masked: { readonly digest: string; readonly inode: Inode; readonly touchedBefore: number } | undefined;
  /** A path that they often choose. */
  aim: string | undefined;
  /** Files that were rewritten under their old size and time at some point of the life, with the names of then. */
  readonly #disguised = new Map<Inode, readonly Dirent[]>();
  /** Contents that no look of a session could tell from what was there before, by the file. */
  readonly #hidden = new Map<Inode, string>();
  /** Files that were given another name or mode, by a person or by a session. */
  readonly #explained = new Set<Inode>();
  /** What the last act put in the place of another file by a rename. */
  #put: readonly (Inode | undefined)[] = [];

  constructor(replica: Replica, random: SimRandom, ledger: Ledger, clock: SimClock, habits: Habits) {
    this.#replica = replica;
    this.#random = random;
    this.#ledger = ledger;
    this.#clock = clock;
    this.#habits = habits;
  }

  get #user(): Replica["host"]["user"] {
    return this.#replica.host.user;
  }

  /** Does one thing somewhere in the root. What fails because of the state of the tree does nothing. */
  act(): void {
    this.#masked = undefined;
    this.#put = [];
    this.#clock.spend(1_000_000 + this.#random.int(100_000_000));
    const path = this.#path();
    try {
      this.#act(path);
    } catch (error) {
      // What people try can be impossible: a file where a directory would be needed, a full disk.
      const odd = ["ENOENT", "ENOTDIR", "EEXIST", "EISDIR", "ENOTEMPTY", "EINVAL", "ELOOP", "ENOSPC", "EPERM"];
      if (!isCode(error, ...odd)) throw error;
    }
  }

  /**
   * Acts at the beginning of a session's call. What is returned is to be called at the beginning of the next: was it
   * that very call which moved the ctime of what had just been rewritten under its old size and time, the only trace of
   * it? Or the call before, so that the session could not know yet what ctime its own call had left? No look can tell.
   * Or, where the disk cannot swap names, what had just been renamed to where it renames to? It goes as if it had come a
   * moment before a rename of any other program.
   */
  interrupt(): () => void {
    const { disk } = this.#replica.host;
    const call = disk.calls;
    this.act();
    const masked = this.#masked;
    const put = this.#put;
    const swaps = disk.options.exchange !== false;
    const touchedAt = masked?.inode.touchedAt;
    const hide = (): void => {
      this.#ledger.unseen.add(masked!.digest);
      this.#hidden.set(masked!.inode, masked!.digest);
    };
    if (masked?.touchedBefore === call - 1) hide();
    return () => {
      if (masked?.inode.touchedAt !== touchedAt) hide();
      for (const inode of swaps ? [] : put) {
        if (inode?.content !== undefined && inode.links.length === 0) this.#ledger.destroyed.add(inode.content.digest());
      }
    };
  }

  /** Does the file hold a content that only a deep run can find? */
  hides(inode: Inode | undefined): boolean {
    return inode?.content !== undefined && this.#hidden.get(inode) === inode.content.digest();
  }

  /**
   * May the file look damaged? Where another name or mode explains the new ctime, a disguised rewrite does. So does the
   * copy that a session made of one, with its time, under the inode number that a copy of the content before it had.
   */
  mayLookDamaged(inode: Inode | undefined): boolean {
    if (this.hides(inode)) return true;
    if (inode?.numberReused === true && this.#ledger.disguised.has(inode.content?.digest() ?? "")) return true;
    const names = inode === undefined ? undefined : this.#disguised.get(inode);
    if (inode === undefined || names === undefined) return false;
    return this.#explained.has(inode) || names.some((name) => !inode.links.includes(name));
  }

  /** A session gave the file another name or mode: that explains a new ctime to any other session. */
  altered(path: RelPath): void {
    const inode = this.#look(`${ROOT}/${path}`);
    if (inode !== undefined) this.#explained.add(inode);
  }

  /** Decides that what is at and below a path is to go. */
  givesUp(path: RelPath): void {
    this.#destroy(`${ROOT}/${path}`);
  }

  /** Puts something of their own where a file was damaged. */
  repair(path: string): void {
    this.#write(`${ROOT}/${path}`, 12);
  }

  #act(path: string): void {
    if (this.#habits.linksOften === true && this.#random.chance(0.2)) return this.#linkAnother(path);
    if (this.#habits.anewOften === true && this.#random.chance(0.3)) return this.#again();
    const what = this.#random.int(104);
    if (what < 25) this.#write(path, this.#size());
    else if (what < 38) this.#save(path);
    else if (what < 48) this.#rewriteSameSize(path);
    else if (what < 58) this.#remove(path);
    else if (what < 70) this.#rename(path, this.#path());
    else if (what < 80) {
      this.#note("mkdir", path);
      this.#user.mkdir(path);
    } else if (what < 86) {
      this.#note("chmod", path);
      const inode = this.#look(path);
      if (inode !== undefined) this.#explained.add(inode);
      const isDir = inode?.kind === "dir";
      this.#user.chmod(path, isDir ? this.#random.pick([0o755, 0o700]) : this.#random.pick([0o644, 0o600, 0o755]));
    } else if (what < 92) {
      this.#note("symlink", path);
      this.#user.symlink(path, this.#random.pick(["a", "../b", "/etc/passwd", "nowhere"]));
    } else if (what < 96) this.#swap(path, this.#path());
    else if (what < 100) this.#touch(path);
    else if (what < 102 && this.#habits.ignores) this.#ignore(path);
    else if (this.#habits.links) this.#link(path, this.#path());
  }

  #note(what: string, path: string, more = ""): void {
    this.#ledger.say(`${this.#replica.name}: ${what} ${path.slice(ROOT.length)} ${more}`);
  }

  /** Never through a symlink: what happens to a content is looked up by the path that it has. */
  #path(): string {
    if (this.aim !== undefined && this.#random.chance(0.4)) return this.aim;
    let path = ROOT;
    for (let depth = 1 + this.#random.int(DEPTH_MAX); depth > 0; depth--) {
      if (this.#look(path)?.kind === "symlink") break;
      path += `/${this.#random.pick(NAMES)}`;
    }
    return path;
  }

  #size(): number {
    if (this.#habits.streams === true && this.#random.chance(0.15)) return STREAMED_BYTES;
    return this.#random.chance(0.08) ? LARGE_BYTES : this.#random.pick([12, 12, 40, 5000]);
  }

  #look(path: string): Inode | undefined {
    try {
      return this.#replica.host.disk.inodeAt(path);
    } catch (error) {
      if (isCode(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  /** Everything at and below a path is about to be destroyed here by a person. */
  #destroy(path: string): void {
    const gone = (inode: Inode): void => {
      if (inode.content !== undefined && inode.content.size > 0) this.#ledger.destroyed.add(inode.content.digest());
      for (const below of inode.entries?.values() ?? []) gone(below.inode);
    };
    const inode = this.#look(path);
    if (inode !== undefined) gone(inode);
  }

  #write(path: string, size: number): void {
    const inode = this.#look(path);
    if (inode !== undefined && inode.content === undefined) return;
    const content = this.#ledger.fresh(this.#replica, size);
    this.#note("write", path, contentDigest(content));
    this.#destroy(path);
    this.#user.write(path, content);
    this.#ledger.written(content, this.#replica);
  }

  #save(path: string): void {
    if (this.#look(path)?.kind === "dir") return;
    const content = this.#ledger.fresh(this.#replica, this.#size());
    this.#note("save", path, contentDigest(content));
    // A power loss may have brought an earlier one back.
    this.#destroy(`${path}.tmp~`);
    this.#user.write(`${path}.tmp~`, content);
    this.#destroy(path);
    this.#user.rename(`${path}.tmp~`, path);
    this.#put = [this.#look(path)];
    this.#ledger.written(content, this.#replica);
  }

  /** Other bytes of the same length, sometimes with the old mtime put back: only ctime tells. */
  #rewriteSameSize(path: string): void {
    const inode = this.#look(path);
    if (inode?.content === undefined || inode.content.size < 12) return;
    const content = this.#ledger.fresh(this.#replica, 0, inode.content.toBytes());
    this.#note("rewrite", path, contentDigest(content));
    const { mtimeNs, touchedAt } = inode;
    this.#destroy(path);
    this.#user.patch(path, content, 0);
    this.#ledger.written(content, this.#replica);
    if (!this.#random.chance(0.3)) return;
    this.#user.setMtime(path, mtimeNs);
    this.#disguised.set(inode, [...inode.links]);
    this.#ledger.disguised.add(contentDigest(content));
    this.#masked = { digest: contentDigest(content), inode, touchedBefore: touchedAt };
  }

  #remove(path: string): void {
    this.#note("remove", path);
    this.#destroy(path);
    this.#user.remove(path);
  }

  #rename(from: string, to: string): void {
    if (from === to || to.startsWith(`${from}/`)) return;
    const source = this.#look(from);
    const target = this.#look(to);
    if (source === undefined || target?.kind === "dir" || (source.kind === "dir" && target !== undefined)) return;
    this.#note("rename", from, to.slice(ROOT.length));
    this.#explained.add(source);
    // Two names of one file: the rename does nothing at all.
    if (source !== target) this.#destroy(to);
    this.#user.rename(from, to);
    if (target !== undefined) this.#put = [source];
  }

  #swap(a: string, b: string): void {
    if (!this.#user.exists(a) || !this.#user.exists(b) || a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`)) return;
    if (this.#look(a) === this.#look(b)) return;
    this.#note("swap", a, b.slice(ROOT.length));
    for (const path of [a, b]) this.#explained.add(this.#look(path)!);
    this.#user.rename(a, `${ROOT}/swap~`);
    this.#user.rename(b, a);
    this.#user.rename(`${ROOT}/swap~`, b);
    this.#put = [this.#look(a), this.#look(b)];
  }

  #touch(path: string): void {
    this.#note("touch", path);
    this.#user.setMtime(path, this.#clock.nowNs());
  }

  /** Gives a directory, mostly the root, other ignore rules. */
  #ignore(path: string): void {
    const dir = this.#random.chance(0.7) ? ROOT : path;
    const rules = this.#random.pick(RULES);
    this.#note("ignore", `${dir}/${IGNORE_FILE}`, JSON.stringify(rules));
    // Not in the ledger: an ignore file may lose a conflict as any other, but its text is not unique.
    this.#user.write(`${dir}/${IGNORE_FILE}`, `${rules}\n`);
  }

  /** What is there is made once more as it is now, mostly where nothing is in between; sometimes with its old times. */
  #again(): void {
    const all = [...viewOf(this.#replica).keys()];
    if (all.length === 0) return;
    const path = `${ROOT}/${this.#random.pick(all)}`;
    const inode = this.#look(path)!;
    // A copy of what has rotted, or was torn by a power loss, would be an edit of theirs.
    if (!this.#isAllMade(inode)) return;
    this.#note("again", path);
    // With a power loss it may be that they only removed it.
    this.#destroy(path);
    const keepsTimes = this.#random.chance(0.5);
    if (inode.content === undefined || this.#random.chance(0.7)) {
      const made = this.#makings(path, inode, keepsTimes);
      this.#user.remove(path);
      // What makes it gone for good, if anything does, is the next power loss.
      if (this.#random.chance(0.5)) this.#replica.host.disk.settle();
      for (const make of made) make();
    } else for (const make of this.#makings(path, inode, keepsTimes)) make();
  }

  #isAllMade({ content, entries }: Inode): boolean {
    if (content !== undefined && content.size > 0 && !this.#ledger.made.has(content.digest())) return false;
    return [...(entries?.values() ?? [])].every(({ inode }) => this.#isAllMade(inode));
  }

  /** How all at and below a path was made. */
  #makings(path: string, inode: Inode, keepsTimes: boolean): (() => void)[] {
    const { kind, content, target, mode, mtimeNs } = inode;
    const user = this.#user;
    if (kind === "symlink") return [() => user.symlink(path, target)];
    if (kind === "dir") {
      const below = [...(inode.entries?.entries() ?? [])];
      return [
        () => user.mkdir(path),
        ...below.flatMap(([name, { inode: one }]) => this.#makings(`${path}/${name}`, one, keepsTimes)),
        () => user.chmod(path, mode),
      ];
    }
    if (content === undefined) return [];
    const bytes = content.toBytes();
    return [
      () => {
        user.write(path, bytes);
        user.chmod(path, mode);
        if (keepsTimes) user.setMtime(path, mtimeNs);
        if (content.size > 0) this.#ledger.recent.add(content.digest());
      },
    ];
  }

  /** A further name for one of the files that are there. */
  #linkAnother(to: string): void {
    // What is written through the other name of an ignore file would be no rules.
    const isFile = (path: RelPath, { content }: Inode): boolean => content !== undefined && !path.endsWith(IGNORE_FILE);
    const files = [...viewOf(this.#replica)].flatMap(([path, inode]) => (isFile(path, inode) ? [path] : []));
    if (files.length > 0) this.#link(`${ROOT}/${this.#random.pick(files)}`, to);
  }

  #link(from: string, to: string): void {
    this.#note("link", from, to.slice(ROOT.length));
    this.#user.link(from, to);
  }
}
