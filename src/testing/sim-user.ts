/**
 * The other programs on a simulated host: they write in place, rename, remove and look, by absolute path, without
 * knowing of the engine and without syncing anything. Also what tests read a tree with.
 */
import { type Fd, type FileKind, isCode } from "#platform/file-system.ts";
import type { SimDisk } from "#testing/sim-disk.ts";
import { SimFs } from "#testing/sim-fs.ts";

/** One entry as a test compares it; times and inode numbers are left out on purpose. */
export type Seen = {
  readonly kind: FileKind;
  readonly mode: number;
  /** Files: bytes as latin1. Symlinks: the target. Otherwise "". */
  readonly content: string;
};

const encoder = new TextEncoder();

export class SimUser {
  readonly #disk: SimDisk;
  #fs: SimFs;

  constructor(disk: SimDisk) {
    this.#disk = disk;
    this.#fs = new SimFs(disk);
  }

  get fs(): SimFs {
    return this.#fs;
  }

  /** After a power loss: a new process for the same user. */
  restart(): void {
    this.#fs.kill();
    this.#fs = new SimFs(this.#disk);
  }

  /** Writes a file in place (the same inode), making it when it is not there. */
  write(path: string, content: string | Uint8Array, mode = 0o644): void {
    const bytes = typeof content === "string" ? encoder.encode(content) : content;
    this.#at(path, (dir, name) => {
      const fd = this.#openOrCreate(dir, name, mode);
      try {
        if (this.#fs.fstat(fd).size > 0) this.#fs.truncate(fd, 0);
        this.#fs.write(fd, bytes, 0);
      } finally {
        this.#fs.close(fd);
      }
    });
  }

  /** Overwrites some bytes in place; appends when `position` is left out. */
  patch(path: string, content: string | Uint8Array, position?: number): void {
    const bytes = typeof content === "string" ? encoder.encode(content) : content;
    this.#at(path, (dir, name) => {
      const fd = this.#fs.openWrite(dir, name);
      try {
        this.#fs.write(fd, bytes, position ?? this.#fs.fstat(fd).size);
      } finally {
        this.#fs.close(fd);
      }
    });
  }

  /** Saves as careful editors do: a temporary file beside it, renamed over. */
  save(path: string, content: string | Uint8Array, mode = 0o644): void {
    this.write(`${path}.tmp~`, content, mode);
    this.rename(`${path}.tmp~`, path);
  }

  /** Makes a directory and those above it. */
  mkdir(path: string, mode = 0o755): void {
    const names = path.split("/").filter((name) => name !== "");
    for (let depth = 1; depth <= names.length; depth++) {
      this.#at(`/${names.slice(0, depth).join("/")}`, (dir, name) => {
        try {
          this.#fs.mkdir(dir, name, mode);
        } catch (error) {
          if (!isCode(error, "EEXIST")) throw error;
        }
      });
    }
  }

  symlink(path: string, target: string): void {
    this.#at(path, (dir, name) => this.#fs.symlink(target, dir, name));
  }

  link(from: string, to: string): void {
    this.#at(from, (fromDir, fromName) =>
      this.#at(to, (toDir, toName) => this.#fs.link(fromDir, fromName, toDir, toName)),
    );
  }

  rename(from: string, to: string): void {
    this.#at(from, (fromDir, fromName) =>
      this.#at(to, (toDir, toName) => this.#fs.rename(fromDir, fromName, toDir, toName, { replace: true })),
    );
  }

  /** Removes a file, or a directory with all it holds. */
  remove(path: string): void {
    this.#at(path, (dir, name) => this.#removeAt(dir, name));
  }

  chmod(path: string, mode: number): void {
    this.#opened(path, (fd) => this.#fs.chmod(fd, mode));
  }

  setMtime(path: string, mtimeNs: bigint): void {
    this.#opened(path, (fd) => this.#fs.setMtime(fd, mtimeNs));
  }

  /** The content as text. */
  read(path: string): string {
    const { content } = this.#disk.inodeAt(path);
    return content === undefined ? "" : new TextDecoder().decode(content.toBytes());
  }

  exists(path: string): boolean {
    try {
      this.#disk.inodeAt(path);
      return true;
    } catch (error) {
      if (isCode(error, "ENOENT")) return false;
      throw error;
    }
  }

  /** Everything below a directory by relative path, sorted; the directory itself is left out. */
  tree(path: string): Map<string, Seen> {
    const out: [string, Seen][] = [];
    const walk = (dir: ReturnType<SimDisk["inodeAt"]>, prefix: string): void => {
      for (const { name, inode } of dir.entries?.values() ?? []) {
        const seen = inode.cover ?? inode;
        const bytes = seen.content?.toBytes();
        const content = bytes === undefined ? seen.target : Buffer.from(bytes).toString("latin1");
        out.push([prefix + name, { kind: seen.kind, mode: seen.mode, content }]);
        if (seen.entries !== undefined) walk(seen, `${prefix}${name}/`);
      }
    };
    walk(this.#disk.inodeAt(path), "");
    return new Map(out.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
  }

  #at<T>(path: string, body: (dir: Fd, name: string) => T): T {
    const slash = path.lastIndexOf("/");
    const dir = this.#fs.openRoot(path.slice(0, slash) || "/");
    try {
      return body(dir, path.slice(slash + 1));
    } finally {
      this.#fs.close(dir);
    }
  }

  #opened(path: string, body: (fd: Fd) => void): void {
    this.#at(path, (dir, name) => {
      const isDir = this.#fs.stat(dir, name).kind === "dir";
      const fd = isDir ? this.#fs.openDir(dir, name) : this.#fs.openRead(dir, name);
      try {
        body(fd);
      } finally {
        this.#fs.close(fd);
      }
    });
  }

  #openOrCreate(dir: Fd, name: string, mode: number): Fd {
    try {
      return this.#fs.openWrite(dir, name);
    } catch (error) {
      if (!isCode(error, "ENOENT")) throw error;
      return this.#fs.create(dir, name, mode);
    }
  }

  #removeAt(dir: Fd, name: string): void {
    if (this.#fs.stat(dir, name).kind !== "dir") {
      this.#fs.unlink(dir, name);
      return;
    }
    const fd = this.#fs.openDir(dir, name);
    try {
      for (const item of this.#fs.list(fd)) this.#removeAt(fd, item.name);
    } finally {
      this.#fs.close(fd);
    }
    this.#fs.rmdir(dir, name);
  }
}
