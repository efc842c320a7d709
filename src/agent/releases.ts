/**
 * Releases of a root: complete trees beside it, of which the root, a symlink, shows one. For a root /srv/site
 *
 * - /srv/site → site.releases/NAME, flipped by the rename of a symlink over it
 * - /srv/site.releases/NAME: a release; whatever has such a name is whole, durable, and written into by nobody
 * - /srv/site.releases/work: the link's own copy, which its session keeps up to date in place
 * - /srv/site.releases/building, removing: what a crash left half made, or half removed
 * - /srv/site.releases/pause.json: that the link stands still, see pause.ts
 */
import { SynclineError } from "#model/error.ts";
import { type Fd, type FileSystem, type Stat, isCode } from "#platform/file-system.ts";
import { Confined } from "#platform/confined.ts";
import { openOrMakeDir, removeTree } from "#sync/apply/private-area.ts";
import { RELEASE_NAME } from "#hub/agents/control.ts";
import { type Pause, PauseFile } from "#agent/pause.ts";

const WORK = "work";
const BUILDING = "building";
const REMOVING = "removing";

export const releasesDir = (root: string): string => `${root}.releases`;

export type ReleaseFacts = { readonly number: number; readonly madeMs: number; readonly sequence: number };

/** What a release's name tells; undefined: it is none. */
export function readReleaseName(name: string): ReleaseFacts | undefined {
  if (!RELEASE_NAME.test(name)) return undefined;
  const [number = "", made = "", sequence = ""] = name.split("-");
  const iso = made.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z");
  return { number: Number(number.slice(1)), madeMs: Date.parse(iso), sequence: Number(sequence.slice(1)) };
}

function releaseName({ number, madeMs, sequence }: ReleaseFacts): string {
  const made = `${new Date(madeMs).toISOString().slice(0, 19).replaceAll(/[-:]/g, "")}Z`;
  return `r${String(number).padStart(6, "0")}-${made}-s${sequence}`;
}

export class Releases {
  readonly root: string;
  /** Absolute path of what the session keeps. */
  readonly work: string;
  readonly pauses: PauseFile;
  readonly #fs: FileSystem;
  readonly #base: string;
  readonly #parent: string;

  /** @param root absolute, without a slash at its end, not "/" */
  constructor(fs: FileSystem, root: string) {
    const slash = root.lastIndexOf("/");
    this.root = root;
    this.work = `${releasesDir(root)}/${WORK}`;
    this.pauses = new PauseFile(`${releasesDir(root)}/pause.json`);
    this.#fs = fs;
    this.#base = root.slice(slash + 1);
    this.#parent = slash === 0 ? "/" : root.slice(0, slash);
  }

  /** Complete ones, oldest first. None where there is no directory for them. Throws FsError. */
  names(): string[] {
    const names = this.#inDir((dir) => this.#fs.list(dir).map(({ name }) => name)) ?? [];
    const number = (name: string): number => readReleaseName(name)!.number;
    return names.filter((name) => readReleaseName(name) !== undefined).toSorted((a, b) => number(a) - number(b));
  }

  /** The release that the root shows now. */
  shown(): string | undefined {
    return this.#inParent((parent) => this.#shownIn(parent));
  }

  /** The one before the one that is shown. */
  before(): string | undefined {
    const names = this.names();
    const shown = this.shown();
    return (shown === undefined ? names : names.slice(0, Math.max(0, names.indexOf(shown)))).at(-1);
  }

  #shownIn(parent: Fd): string | undefined {
    if (this.#statRoot(parent)?.kind !== "symlink") return undefined;
    const target = this.#fs.readlink(parent, this.#base);
    const head = [`${this.#base}.releases/`, `${releasesDir(this.root)}/`].find((one) => target.startsWith(one));
    const name = head === undefined ? "" : target.slice(head.length);
    return readReleaseName(name) === undefined ? undefined : name;
  }

  #statRoot(parent: Fd): Stat | undefined {
    try {
      return this.#fs.stat(parent, this.#base);
    } catch (error) {
      if (isCode(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  /**
   * Makes the directory of the releases, and removes what a crash left half made.
   * @throws {SynclineError} ROOT_IDENTITY when the root is something else than ours
   */
  prepare(): void {
    this.#inParent((parent) => {
      this.#requireOurs(parent);
      const dir = openOrMakeDir(this.#fs, parent, `${this.#base}.releases`, 0o755);
      try {
        for (const left of [BUILDING, REMOVING]) if (this.#has(dir, left)) this.#remove(dir, left);
      } finally {
        this.#fs.close(dir);
      }
    });
  }

  /** Nothing, one of our symlinks, or an empty directory, which a symlink may take the place of. */
  #requireOurs(parent: Fd): Stat | undefined {
    const stat = this.#statRoot(parent);
    if (stat === undefined || this.#shownIn(parent) !== undefined) return stat;
    if (stat.kind === "dir") {
      const fd = this.#fs.openDir(parent, this.#base);
      try {
        if (this.#fs.list(fd).length === 0) return stat;
      } finally {
        this.#fs.close(fd);
      }
    }
    throw new SynclineError({
      code: "ROOT_IDENTITY",
      op: "look at root",
      path: this.root,
      message: `${this.root} is not a symlink to a release of this link, so it cannot be flipped`,
      hint: `move it away: mv ${this.root} ${this.root}.before; the link then makes its first release`,
    });
  }

  #remove(dir: Fd, name: string): void {
    makeRemovable(this.#fs, dir, name);
    removeTree(this.#fs, dir, name);
  }

  #has(dir: Fd, name: string): boolean {
    try {
      this.#fs.stat(dir, name);
      return true;
    } catch (error) {
      if (isCode(error, "ENOENT")) return false;
      throw error;
    }
  }

  /** Opens a release; the caller disposes it. */
  open(name: string): Confined {
    return new Confined(this.#fs, this.#fs.openRoot(`${releasesDir(this.root)}/${name}`));
  }

  openWork(): Confined {
    return new Confined(this.#fs, this.#fs.openRoot(this.work));
  }

  /**
   * Makes a release: `fill` gets an empty directory, and what it leaves there is durable before it has its name.
   * @param keep called before the name is there, to keep what belongs to it
   * @returns the name
   */
  async make<T>(
    facts: Omit<ReleaseFacts, "number">,
    fill: (target: Confined) => Promise<T>,
    keep: (name: string, made: T) => void,
  ): Promise<string> {
    const fs = this.#fs;
    this.prepare();
    const dir = fs.openRoot(releasesDir(this.root));
    try {
      const last = this.names().at(-1);
      const number = last === undefined ? 1 : readReleaseName(last)!.number + 1;
      const name = releaseName({ ...facts, number });
      fs.mkdir(dir, BUILDING, 0o700);
      using target = new Confined(fs, fs.openDir(dir, BUILDING));
      const made = await fill(target);
      await fs.syncAll(target.root);
      keep(name, made);
      fs.rename(dir, BUILDING, dir, name, { replace: false });
      await fs.sync(dir);
      return name;
    } finally {
      fs.close(dir);
    }
  }

  /**
   * Shows a release: one rename. It survives a power loss when this resolves.
   * @throws {SynclineError} NOT_FOUND, ROOT_IDENTITY
   */
  async flip(name: string): Promise<void> {
    const fs = this.#fs;
    if (!this.names().includes(name)) throw noRelease(this.root, name);
    const parent = fs.openRoot(this.#parent);
    try {
      const there = this.#requireOurs(parent);
      const aside = `.${this.#base.slice(0, 200)}.flip`;
      if (this.#has(parent, aside)) fs.unlink(parent, aside);
      fs.symlink(`${this.#base}.releases/${name}`, parent, aside);
      if (there?.kind === "dir") fs.rmdir(parent, this.#base);
      fs.rename(parent, aside, parent, this.#base, { replace: there?.kind === "symlink" });
      await fs.sync(parent);
    } finally {
      fs.close(parent);
    }
  }

  /**
   * Goes back to a release and stays there. The pause comes first, so that nobody flips on, and goes when it cannot be.
   * @throws {SynclineError} NOT_FOUND, ROOT_IDENTITY
   */
  async goBack(pause: Pause & { readonly release: string }): Promise<void> {
    const before = this.pauses.read();
    this.pauses.write(pause);
    try {
      await this.flip(pause.release);
    } catch (error) {
      if (before === undefined) this.pauses.clear();
      else this.pauses.write(before);
      throw error;
    }
  }

  /** Removes the oldest beyond `keep`, never `newest`, nor one that is shown or is to be; returns how many. */
  prune(keep: number, newest: string): number {
    const isNeeded = (name: string): boolean => [newest, this.shown(), this.pauses.read()?.release].includes(name);
    const old = this.names().filter((name) => !isNeeded(name));
    const surplus = old.slice(0, Math.max(0, old.length - keep));
    let removed = 0;
    this.#inDir((dir) => {
      for (const name of surplus) {
        // Half removed it must not have the name of a whole one.
        this.#fs.rename(dir, name, dir, REMOVING, { replace: false });
        // Another program may have gone back to it a moment ago: it has seen the name, or does not find it now.
        if (isNeeded(name)) {
          this.#fs.rename(dir, REMOVING, dir, name, { replace: false });
          continue;
        }
        this.#remove(dir, REMOVING);
        removed++;
      }
    });
    return removed;
  }

  #inDir<T>(body: (dir: Fd) => T): T | undefined {
    let dir: Fd;
    try {
      dir = this.#fs.openRoot(releasesDir(this.root));
    } catch (error) {
      if (isCode(error, "ENOENT", "ENOTDIR")) return undefined;
      throw error;
    }
    try {
      return body(dir);
    } finally {
      this.#fs.close(dir);
    }
  }

  #inParent<T>(body: (parent: Fd) => T): T {
    const parent = this.#fs.openRoot(this.#parent);
    try {
      return body(parent);
    } finally {
      this.#fs.close(parent);
    }
  }
}

/** A release may have directories that their owner cannot write into. */
function makeRemovable(fs: FileSystem, parent: Fd, name: string): void {
  const fd = fs.openDir(parent, name);
  using tree = new Confined(fs, fd);
  for (const dirs = [""]; dirs.length > 0; ) {
    const dir = dirs.pop()!;
    const stat = tree.stat(dir);
    if ((stat.mode & 0o700) !== 0o700) fs.chmod(tree.dir(dir), stat.mode | 0o700);
    for (const item of tree.list(dir)) {
      const path = dir === "" ? item.name : `${dir}/${item.name}`;
      if (item.kind === "dir" || (item.kind === "unknown" && tree.stat(path).kind === "dir")) dirs.push(path);
    }
  }
}

export function noRelease(root: string, name: string): SynclineError {
  return new SynclineError({
    code: "NOT_FOUND",
    op: "find release",
    message: `${root} has no release ${name.slice(0, 60)}`,
    hint: "syncline release list shows which there are",
  });
}
