/** People and programs who change files in a simulated root, and the memory of what they made and destroyed. */
import { isCode } from "#platform/file-system.ts";
import type { SimRandom } from "#testing/sim-random.ts";
import type { SimClock } from "#testing/sim-clock.ts";
import { ROOT, type Replica } from "#testing/sim-world.ts";

/** Names are few so that people meet at the same paths. */
const NAMES = ["a", "b", "c", "d.txt", "e", "A"];
const DEPTH_MAX = 3;

/**
 * Contents by the text that was written; each is unique. A content that a person overwrote or removed somewhere may
 * go everywhere; all others must stay reachable.
 */
export class Ledger {
  readonly made = new Map<string, Replica>();
  readonly destroyed = new Set<string>();
  /** Never came to the disk, because the write itself failed. */
  readonly failed = new Set<string>();
  readonly log: string[] = [];
  #counter = 0;

  fresh(replica: Replica, size: number): string {
    const head = `${replica.name}${this.#counter++}:`;
    const content = head + "x".repeat(Math.max(0, size - head.length));
    this.made.set(content, replica);
    return content;
  }
}

export class Person {
  readonly #replica: Replica;
  readonly #random: SimRandom;
  readonly #ledger: Ledger;
  readonly #clock: SimClock;

  constructor(replica: Replica, random: SimRandom, ledger: Ledger, clock: SimClock) {
    this.#replica = replica;
    this.#random = random;
    this.#ledger = ledger;
    this.#clock = clock;
  }

  /** Does one thing somewhere in the root. What fails because of the state of the tree does nothing. */
  act(): void {
    this.#clock.spend(1_000_000 + this.#random.int(100_000_000));
    const path = this.#path();
    const { user } = this.#replica.host;
    try {
      this.#act(path, user);
    } catch (error) {
      // What people try can be impossible: a file where a directory would be needed, a full disk.
      if (!isCode(error, "ENOENT", "ENOTDIR", "EEXIST", "EISDIR", "ENOTEMPTY", "EINVAL", "ELOOP", "ENOSPC")) throw error;
    }
  }

  #act(path: string, user: Replica["host"]["user"]): void {
    const what = this.#random.int(100);
    if (what < 25) this.#write(path, this.#size());
    else if (what < 38) this.#save(path);
    else if (what < 48) this.#rewriteSameSize(path);
    else if (what < 58) this.#remove(path);
    else if (what < 70) this.#rename(path, this.#path());
    else if (what < 80) {
      this.#note("mkdir", path);
      user.mkdir(path);
    } else if (what < 86) {
      this.#note("chmod", path);
      const dir = user.tree(ROOT).get(path.slice(ROOT.length + 1))?.kind === "dir";
      user.chmod(path, dir ? this.#random.pick([0o755, 0o700]) : this.#random.pick([0o644, 0o600, 0o755]));
    } else if (what < 92) {
      this.#note("symlink", path);
      user.symlink(path, this.#random.pick(["a", "../b", "/etc/passwd", "nowhere"]));
    } else if (what < 96) this.#swap(path, this.#path());
    else this.#touch(path);
  }

  #note(what: string, path: string, more = ""): void {
    this.#ledger.log.push(`${this.#replica.name}: ${what} ${path.slice(ROOT.length)} ${more}`);
  }

  #path(): string {
    let path = ROOT;
    for (let depth = 1 + this.#random.int(DEPTH_MAX); depth > 0; depth--) path += `/${this.#random.pick(NAMES)}`;
    return path;
  }

  #size(): number {
    return this.#random.chance(0.1) ? 200_000 : this.#random.pick([12, 12, 40, 5000]);
  }

  /** Everything at and below a path is about to be destroyed here by a person. */
  #destroy(path: string): void {
    const { user } = this.#replica.host;
    const below = path.slice(ROOT.length + 1);
    for (const [at, seen] of user.tree(ROOT)) {
      if ((at === below || at.startsWith(`${below}/`)) && seen.kind === "file") this.#ledger.destroyed.add(seen.content);
    }
  }

  #write(path: string, size: number): void {
    const { user } = this.#replica.host;
    const isFile = !user.exists(path) || user.tree(ROOT).get(path.slice(ROOT.length + 1))?.kind === "file";
    if (!isFile) return;
    const content = this.#ledger.fresh(this.#replica, size);
    this.#note("write", path, content.slice(0, 12));
    this.#ledger.failed.add(content);
    this.#destroy(path);
    user.write(path, content);
    this.#ledger.failed.delete(content);
  }

  #save(path: string): void {
    const { user } = this.#replica.host;
    const kind = user.tree(ROOT).get(path.slice(ROOT.length + 1))?.kind;
    if (kind === "dir") return;
    const content = this.#ledger.fresh(this.#replica, this.#size());
    this.#note("save", path, content.slice(0, 12));
    this.#ledger.failed.add(content);
    user.write(`${path}.tmp~`, content);
    this.#destroy(path);
    user.rename(`${path}.tmp~`, path);
    this.#ledger.failed.delete(content);
  }

  /** Other bytes of the same length, sometimes with the old mtime put back: only ctime tells. */
  #rewriteSameSize(path: string): void {
    const { user } = this.#replica.host;
    const seen = user.tree(ROOT).get(path.slice(ROOT.length + 1));
    if (seen?.kind !== "file" || seen.content.length < 12) return;
    const content = this.#ledger.fresh(this.#replica, seen.content.length);
    if (content.length !== seen.content.length) return;
    this.#note("rewrite", path, content.slice(0, 12));
    const inode = this.#replica.host.disk.inodeAt(path);
    const { mtimeNs } = inode;
    this.#destroy(path);
    user.patch(path, content, 0);
    if (this.#random.chance(0.3)) user.setMtime(path, mtimeNs);
  }

  #remove(path: string): void {
    this.#note("remove", path);
    this.#destroy(path);
    this.#replica.host.user.remove(path);
  }

  #rename(from: string, to: string): void {
    const { user } = this.#replica.host;
    if (from === to || to.startsWith(`${from}/`)) return;
    const kind = (path: string): string | undefined => user.tree(ROOT).get(path.slice(ROOT.length + 1))?.kind;
    if (kind(from) === undefined || kind(to) === "dir" || (kind(from) === "dir" && kind(to) !== undefined)) return;
    this.#note("rename", from, to.slice(ROOT.length));
    this.#destroy(to);
    user.rename(from, to);
  }

  #swap(a: string, b: string): void {
    const { user } = this.#replica.host;
    if (!user.exists(a) || !user.exists(b) || a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`)) return;
    this.#note("swap", a, b.slice(ROOT.length));
    user.rename(a, `${ROOT}/swap~`);
    user.rename(b, a);
    user.rename(`${ROOT}/swap~`, b);
  }

  #touch(path: string): void {
    this.#note("touch", path);
    this.#replica.host.user.setMtime(path, this.#clock.nowNs());
  }
}
