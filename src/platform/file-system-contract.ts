/**
 * What every FileSystem must do, as a test suite. It uses nothing but the interface and a fresh empty root,
 * so the simulator's disk is held to the same rules as the real ones. Where a file system lacks an ability
 * the suite checks that it says so instead of pretending.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { type Fd, type FileSystem, type FileSystemAbilities, FsError } from "#platform/file-system.ts";
import { madeTogether } from "#platform/made-together-contract.ts";
import { uncached } from "#platform/uncached-contract.ts";

export type FileSystemFixture = {
  readonly fs: FileSystem;
  /** An open, empty, writable directory. The suite does not close it. */
  readonly root: Fd;
  /** Removes everything; called once after each test. */
  readonly dispose: () => void;
};

// A sync waits for whatever else the disk has to write.
const SYNC_MS_MAX = 60_000;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
/** The errno name an attempt fails with, "ok" when it does not fail. Anything but FsError fails the test. */
function refusal(attempt: () => unknown): string {
  try {
    attempt();
    return "ok";
  } catch (error) {
    if (error instanceof FsError) return error.code;
    throw error;
  }
}

/** The fixture of the running test with the shorthands that most tests need. */
export class Bench {
  readonly fs: FileSystem;
  readonly root: Fd;
  readonly abilities: FileSystemAbilities;

  constructor({ fs, root }: FileSystemFixture) {
    this.fs = fs;
    this.root = root;
    this.abilities = fs.abilities(root, true);
  }

  put(name: string, text: string, dir = this.root): void {
    const fd = this.fs.create(dir, name, 0o644);
    this.fs.write(fd, encoder.encode(text), 0);
    this.fs.close(fd);
  }

  text(name: string, dir = this.root): string {
    return this.inFile(name, (fd) => this.textOf(fd), dir);
  }

  textOf(fd: Fd): string {
    const bytes = new Uint8Array(this.fs.fstat(fd).size);
    return decoder.decode(bytes.subarray(0, this.fs.read(fd, bytes, 0)));
  }

  inFile<T>(name: string, use: (fd: Fd) => T, dir = this.root): T {
    const fd = this.fs.openRead(dir, name);
    try {
      return use(fd);
    } finally {
      this.fs.close(fd);
    }
  }

  inDir<T>(name: string, use: (fd: Fd) => T, dir = this.root): T {
    const fd = this.fs.openDir(dir, name);
    try {
      return use(fd);
    } finally {
      this.fs.close(fd);
    }
  }

  names(dir = this.root): string[] {
    return this.fs
      .list(dir)
      .map(({ name }) => name)
      .sort();
  }
}

/** Registers the suite. `setup` is called before each test. */
export function fileSystemContract(name: string, setup: () => FileSystemFixture): void {
  describe(`file system contract: ${name}`, () => {
    let fixture: FileSystemFixture;
    let bench: Bench;
    beforeEach(() => {
      fixture = setup();
      bench = new Bench(fixture);
    });
    afterEach(() => fixture.dispose());
    const current = (): Bench => bench;
    listings(current);
    refusals(current);
    contents(current);
    uncached(current);
    madeTogether(current);
    openFiles(current);
    ranges(current);
    metadata(current);
    attributes(current);
    renames(current);
    movedDirs(current);
    links(current);
    removals(current);
    confinement(current);
    durability(current);
  });
}

function listings(bench: () => Bench): void {
  test("[FS-1] a listing has every item once with its kind, and can be taken again", () => {
    const { fs, root } = bench();
    bench().put("file", "1");
    fs.mkdir(root, "dir", 0o755);
    if (bench().abilities.symlinks) fs.symlink("file", root, "link");
    for (let pass = 0; pass < 2; pass++) {
      const kinds = new Map(fs.list(root).map((item) => [item.name, item.kind]));
      expect(kinds.size).toBe(bench().abilities.symlinks ? 3 : 2);
      expect(["file", "unknown"]).toContain(kinds.get("file")!);
      expect(["dir", "unknown"]).toContain(kinds.get("dir")!);
    }
  });

  test("[FS-1] a listing larger than any one read of the system is whole", () => {
    const { fs, root } = bench();
    const made: string[] = [];
    for (let at = 0; at < 700; at++) {
      made.push(`${at}-${"x".repeat(200)}`);
      fs.close(fs.create(root, made[at]!, 0o600));
    }
    expect(bench().names()).toEqual(made.sort());
  });

  test("[FS-2] names come back exactly: spaces, control characters, other scripts, 255 bytes", () => {
    const odd = [" a ", "line\nbreak", "tab\t", "-rf", "日本語", "é", "e\u0301x", "𝄞", "*?["];
    for (const name of [...odd, "y".repeat(255)]) {
      bench().put(name, "x");
      expect(bench().names()).toEqual([name]);
      expect(bench().fs.stat(bench().root, name).kind).toBe("file");
      bench().fs.unlink(bench().root, name);
    }
  });
}

function refusals(bench: () => Bench): void {
  test("[FS-3] what is not one component is refused and touches nothing", () => {
    const { fs, root } = bench();
    fs.mkdir(root, "dir", 0o755);
    for (const name of ["", ".", "..", "dir/x", "/etc", "a\0b", "é/x", "é\0x"]) {
      expect(refusal(() => fs.create(root, name, 0o600))).toBe("EINVAL");
      expect(refusal(() => fs.stat(root, name))).toBe("EINVAL");
      expect(refusal(() => fs.openDir(root, name))).toBe("EINVAL");
      expect(refusal(() => fs.unlink(root, name))).toBe("EINVAL");
      expect(refusal(() => fs.rename(root, "dir", root, name, { replace: true }))).toBe("EINVAL");
    }
    expect(refusal(() => fs.create(root, "z".repeat(256), 0o600))).toBe("ENAMETOOLONG");
    expect(bench().names()).toEqual(["dir"]);
  });

  test("[FS-4] what is not there is ENOENT", () => {
    const { fs, root } = bench();
    expect(refusal(() => fs.stat(root, "no"))).toBe("ENOENT");
    expect(refusal(() => fs.openRead(root, "no"))).toBe("ENOENT");
    expect(refusal(() => fs.openDir(root, "no"))).toBe("ENOENT");
    expect(refusal(() => fs.unlink(root, "no"))).toBe("ENOENT");
    expect(refusal(() => fs.rmdir(root, "no"))).toBe("ENOENT");
    expect(refusal(() => fs.readlink(root, "no"))).toBe("ENOENT");
    expect(refusal(() => fs.link(root, "no", root, "new"))).toBe("ENOENT");
    expect(refusal(() => fs.rename(root, "no", root, "new", { replace: true }))).toBe("ENOENT");
    expect(refusal(() => fs.rename(root, "no", root, "new", { replace: false }))).toBe("ENOENT");
    expect(bench().names()).toEqual([]);
  });
}

function contents(bench: () => Bench): void {
  test("[FS-5] bytes written are read back, also past the end and over a hole", () => {
    const { fs, root } = bench();
    const fd = fs.create(root, "f", 0o600);
    fs.write(fd, encoder.encode("abc"), 0);
    fs.write(fd, encoder.encode("xyz"), 6);
    fs.write(fd, new Uint8Array(0), 100);
    const bytes = new Uint8Array(20);
    expect(fs.read(fd, bytes, 0)).toBe(9);
    expect(decoder.decode(bytes.subarray(0, 9))).toBe("abc\0\0\0xyz");
    expect(fs.read(fd, bytes, 7)).toBe(2);
    expect(fs.read(fd, bytes, 9)).toBe(0);
    expect(fs.read(fd, bytes, 1_000_000)).toBe(0);
    expect(fs.read(fd, new Uint8Array(0), 0)).toBe(0);
    fs.close(fd);
  });

  test("[FS-5] asynchronous reads and writes do the same", async () => {
    const { fs, root } = bench();
    const fd = fs.create(root, "f", 0o600);
    const bytes = Uint8Array.from({ length: 300_000 }, (_, at) => at % 251);
    await fs.writeAsync(fd, bytes, 10);
    const back = new Uint8Array(400_000);
    expect(await fs.readAsync(fd, back, 10)).toBe(300_000);
    expect(Buffer.compare(back.subarray(0, 300_000), bytes)).toBe(0);
    expect(await fs.readAsync(fd, back, 400_000)).toBe(0);
    expect(await fs.readAsync(fd, new Uint8Array(0), 0)).toBe(0);
    fs.close(fd);
  });

  test("[FS-43] a file is opened for writing in place; its lock is held by one descriptor, until that closes", () => {
    const { fs, root } = bench();
    bench().put("f", "old bytes");
    const fd = fs.openWrite(root, "f");
    fs.write(fd, encoder.encode("new"), 0);
    fs.truncate(fd, 5);
    expect(bench().textOf(fd)).toBe("new b");
    if (bench().abilities.symlinks) {
      fs.symlink("f", root, "link");
      expect(refusal(() => fs.openWrite(root, "link"))).toBe("ELOOP");
    }
    expect(refusal(() => fs.openWrite(root, "missing"))).toBe("ENOENT");
    const other = fs.openWrite(root, "f");
    const first = refusal(() => expect(fs.tryLock(fd)).toBe(true));
    if (first === "ok") {
      expect(fs.tryLock(fd)).toBe(true);
      expect(fs.tryLock(other)).toBe(false);
      fs.close(fd);
      expect(fs.tryLock(other)).toBe(true);
    } else {
      expect(first).toBe("ENOTSUP");
      fs.close(fd);
    }
    fs.close(other);
  });

  test("[FS-6] create is exclusive: a taken name of any kind is EEXIST and stays as it was", () => {
    const { fs, root } = bench();
    bench().put("f", "old");
    fs.mkdir(root, "d", 0o755);
    expect(refusal(() => fs.create(root, "f", 0o600))).toBe("EEXIST");
    expect(refusal(() => fs.create(root, "d", 0o600))).toBe("EEXIST");
    expect(refusal(() => fs.mkdir(root, "f", 0o755))).toBe("EEXIST");
    if (bench().abilities.symlinks) {
      fs.symlink("nowhere", root, "l");
      expect(refusal(() => fs.create(root, "l", 0o600))).toBe("EEXIST");
      expect(bench().names()).toEqual(["d", "f", "l"]);
    }
    expect(bench().text("f")).toBe("old");
  });
}

function openFiles(bench: () => Bench): void {
  test("[FS-7] what is opened for reading cannot be written; only a file can be opened so", () => {
    const { fs, root } = bench();
    bench().put("f", "old");
    bench().inFile("f", (fd) => expect(refusal(() => fs.write(fd, encoder.encode("new"), 0))).not.toBe("ok"));
    expect(bench().text("f")).toBe("old");
    fs.mkdir(root, "d", 0o755);
    expect(refusal(() => fs.openRead(root, "d"))).toBe("EINVAL");
    if (!bench().abilities.symlinks) return;
    fs.symlink("f", root, "l");
    expect(["ELOOP", "EINVAL"]).toContain(refusal(() => fs.openRead(root, "l")));
  });

  test("[FS-7] what is read whole comes with its own stat; only a file can be read so", () => {
    const { fs, root } = bench();
    bench().put("f", "some bytes");
    const into = new Uint8Array(20);
    const { count, stat } = fs.readWhole(root, "f", into);
    expect(decoder.decode(into.subarray(0, count))).toBe("some bytes");
    expect(stat).toEqual(fs.stat(root, "f"));
    expect(fs.readWhole(root, "f", into.subarray(0, 4))).toEqual({ count: 4, stat, waited: false });
    expect(refusal(() => fs.readWhole(root, "no", into))).toBe("ENOENT");
    fs.mkdir(root, "d", 0o755);
    expect(refusal(() => fs.readWhole(root, "d", into))).toBe("EINVAL");
    if (!bench().abilities.symlinks) return;
    fs.symlink("f", root, "l");
    expect(["ELOOP", "EINVAL"]).toContain(refusal(() => fs.readWhole(root, "l", into)));
  });

  test("[FS-52] reading ahead changes nothing, and minds nothing that cannot be read", () => {
    const { fs, root } = bench();
    bench().put("f", "some bytes");
    fs.mkdir(root, "d", 0o755);
    for (const name of ["f", "d", "no"]) fs.readAhead(root, name, 1 << 20);
    expect(bench().text("f")).toBe("some bytes");
    expect(refusal(() => fs.stat(root, "no"))).toBe("ENOENT");
  });

  test("[FS-8] truncate cuts and extends with zeros", () => {
    const { fs, root } = bench();
    const fd = fs.create(root, "f", 0o600);
    fs.write(fd, encoder.encode("abcdef"), 0);
    fs.truncate(fd, 3);
    expect(bench().textOf(fd)).toBe("abc");
    fs.truncate(fd, 5);
    expect(bench().textOf(fd)).toBe("abc\0\0");
    expect(fs.fstat(fd).size).toBe(5);
    fs.close(fd);
  });

  test("[FS-9] an open file outlives its name", () => {
    const { fs, root } = bench();
    bench().put("f", "kept");
    bench().inFile("f", (fd) => {
      fs.unlink(root, "f");
      expect(bench().names()).toEqual([]);
      expect(bench().textOf(fd)).toBe("kept");
    });
  });
}

function ranges(bench: () => Bench): void {
  test("[FS-10] copyRange copies exactly the range and answers short at the end of the source", () => {
    const { fs, root } = bench();
    bench().put("from", "0123456789");
    const target = fs.create(root, "to", 0o600);
    bench().inFile("from", (source) => {
      expect(fs.copyRange(source, 2, target, 1, 3)).toBe(3);
      expect(bench().textOf(target)).toBe("\x00234");
      expect(fs.copyRange(source, 8, target, 4, 100)).toBe(2);
      expect(fs.copyRange(source, 50, target, 0, 10)).toBe(0);
      expect(fs.copyRange(source, 0, target, 0, 0)).toBe(0);
    });
    expect(bench().textOf(target)).toBe("\x0023489");
    fs.close(target);
  });

  test("[FS-11] the data ranges cover every byte that is not zero, in order, within the size", () => {
    const { fs, root } = bench();
    const fd = fs.create(root, "sparse", 0o600);
    const size = 3 * 1024 * 1024;
    fs.truncate(fd, size);
    fs.write(fd, encoder.encode("data"), 1024 * 1024);
    let position = 0;
    let covered = false;
    for (let steps = 0; steps < 100; steps++) {
      const range = fs.dataRange(fd, position, size);
      if (range === undefined) break;
      expect(range.start).toBeGreaterThanOrEqual(position);
      expect(range.end).toBeGreaterThan(range.start);
      expect(range.end).toBeLessThanOrEqual(size);
      covered ||= range.start <= 1024 * 1024 && range.end >= 1024 * 1024 + 4;
      position = range.end;
    }
    expect(covered).toBe(true);
    expect(fs.dataRange(fd, position, size)).toBeUndefined();
    expect(fs.dataRange(fd, size, size)).toBeUndefined();
    fs.close(fd);
  });
}

function metadata(bench: () => Bench): void {
  test("[FS-12] stat and fstat agree; size, kind and link count are right", () => {
    const { fs, root } = bench();
    bench().put("f", "12345");
    const stat = fs.stat(root, "f");
    expect(stat).toMatchObject({ kind: "file", size: 5, nlink: 1 });
    expect(bench().inFile("f", (fd) => fs.fstat(fd))).toEqual(stat);
    fs.mkdir(root, "d", 0o755);
    expect(fs.stat(root, "d").kind).toBe("dir");
    expect(bench().inDir("d", (fd) => fs.fstat(fd))).toEqual(fs.stat(root, "d"));
    expect(fs.stat(root, "d").ino).not.toBe(stat.ino);
    expect(fs.stat(root, "d").dev).toBe(stat.dev);
  });

  test("[FS-13] modes are exact whatever the umask, for files and directories, made and set", () => {
    if (!bench().abilities.modes) return;
    const { fs, root } = bench();
    for (const mode of [0o600, 0o644, 0o666, 0o777, 0o400, 0o751, 0o4755, 0o1666]) {
      const fd = fs.create(root, "f", mode);
      expect(fs.fstat(fd).mode).toBe(mode);
      fs.chmod(fd, 0o640);
      expect(fs.stat(root, "f").mode).toBe(0o640);
      fs.close(fd);
      fs.unlink(root, "f");
    }
    for (const mode of [0o700, 0o755, 0o777, 0o1777]) {
      fs.mkdir(root, "d", mode);
      expect(fs.stat(root, "d").mode).toBe(mode);
      bench().inDir("d", (fd) => fs.chmod(fd, 0o750));
      expect(fs.stat(root, "d").mode).toBe(0o750);
      fs.rmdir(root, "d");
    }
  });

  test("[FS-14] a modification time is stored to the granularity told, before 1970 too", () => {
    const { fs, root } = bench();
    bench().put("f", "x");
    fs.mkdir(root, "d", 0o755);
    const unit = bench().abilities.timestampNs;
    const setAndCheck = (fd: Fd, name: string): void => {
      for (const timeNs of [1_700_000_001_123_456_789n, 4_000_000_000_999_999_999n, 0n, 1n]) {
        fs.setMtime(fd, timeNs);
        expect(fs.stat(root, name).mtimeNs).toBe((timeNs / unit) * unit);
      }
      fs.setMtime(fd, -5_500_000_000n);
      if (unit <= 1_000_000n) expect(fs.stat(root, name).mtimeNs).toBe(-5_500_000_000n);
    };
    bench().inFile("f", (fd) => setAndCheck(fd, "f"));
    bench().inDir("d", (fd) => setAndCheck(fd, "d"));
    expect(fs.stat(root, "f").ctimeNs).toBeGreaterThanOrEqual(0n);
  });
}

function attributes(bench: () => Bench): void {
  test("[FS-15] extended attributes are kept, replaced and removed, or refused as unsupported", () => {
    const { fs } = bench();
    bench().put("f", "x");
    bench().inFile("f", (fd) => {
      if (!bench().abilities.xattrs) {
        expect(refusal(() => fs.setXattr(fd, "user.a", Uint8Array.of(1)))).not.toBe("ok");
        return;
      }
      const own = (): [string, Uint8Array][] => fs.getXattrs(fd).filter(([name]) => name.startsWith("user."));
      fs.setXattr(fd, "user.a", Uint8Array.of(0, 255, 10));
      fs.setXattr(fd, "user.empty", new Uint8Array(0));
      fs.setXattr(fd, "user.a", Uint8Array.of(7, 0));
      expect(new Map(own())).toEqual(
        new Map([
          ["user.a", Uint8Array.of(7, 0)],
          ["user.empty", new Uint8Array(0)],
        ]),
      );
      fs.removeXattr(fd, "user.empty");
      expect(own().map(([name]) => name)).toEqual(["user.a"]);
      expect(refusal(() => fs.removeXattr(fd, "user.empty"))).toBe("ENODATA");
    });
  });

  test("[FS-16] owners are stored, on symlinks without following", () => {
    if (!bench().abilities.owners) return;
    const { fs, root } = bench();
    bench().put("f", "x");
    bench().inFile("f", (fd) => fs.chown(fd, 1234, 5678));
    expect(fs.stat(root, "f")).toMatchObject({ uid: 1234, gid: 5678 });
    fs.symlink("f", root, "l");
    fs.chownAt(root, "l", 4321, 8765);
    expect(fs.stat(root, "l")).toMatchObject({ uid: 4321, gid: 8765 });
    expect(fs.stat(root, "f")).toMatchObject({ uid: 1234, gid: 5678 });
  });

  test("[FS-17] abilities leave no trace, and asking without probing writes nothing", () => {
    const { fs, root } = bench();
    const before = fs.fstat(root).mtimeNs;
    fs.abilities(root, false);
    expect(fs.fstat(root).mtimeNs).toBe(before);
    fs.abilities(root, true);
    expect(bench().names()).toEqual([]);
  });

  test("[FS-18] free space is told in bytes", () => {
    const space = bench().fs.space(bench().root);
    expect(space.totalBytes).toBeGreaterThan(0);
    expect(space.freeBytes).toBeLessThanOrEqual(space.totalBytes);
    expect(space.freeInodes).toBeGreaterThan(0);
    expect(space.type).not.toBe("");
  });
}

function renames(bench: () => Bench): void {
  test("[FS-20] rename moves between directories and keeps the inode", () => {
    const { fs, root } = bench();
    bench().put("f", "x");
    fs.mkdir(root, "d", 0o755);
    const { ino } = fs.stat(root, "f");
    bench().inDir("d", (dir) => {
      fs.rename(root, "f", dir, "g", { replace: false });
      expect(fs.stat(dir, "g").ino).toBe(ino);
    });
    expect(bench().names()).toEqual(["d"]);
  });

  test("[FS-21] rename takes the place of a file only when told to replace", () => {
    const { fs, root } = bench();
    bench().put("new", "new");
    bench().put("old", "old");
    fs.mkdir(root, "d", 0o755);
    expect(refusal(() => fs.rename(root, "new", root, "old", { replace: false }))).toBe("EEXIST");
    expect(refusal(() => fs.rename(root, "new", root, "d", { replace: false }))).toBe("EEXIST");
    expect(refusal(() => fs.rename(root, "d", root, "old", { replace: false }))).toBe("EEXIST");
    expect([bench().text("new"), bench().text("old")]).toEqual(["new", "old"]);
    bench().inFile("old", (held) => {
      fs.rename(root, "new", root, "old", { replace: true });
      expect(bench().textOf(held)).toBe("old");
    });
    expect(bench().names()).toEqual(["d", "old"]);
    expect(bench().text("old")).toBe("new");
  });

  test("[FS-22] a directory replaces only an empty directory, and never a file", () => {
    const { fs, root } = bench();
    for (const name of ["a", "full", "empty"]) fs.mkdir(root, name, 0o755);
    bench().put("f", "x");
    bench().inDir("full", (dir) => bench().put("child", "x", dir));
    const replacing = (from: string, to: string): string =>
      refusal(() => fs.rename(root, from, root, to, { replace: true }));
    expect(["ENOTEMPTY", "EEXIST"]).toContain(replacing("a", "full"));
    expect(replacing("f", "a")).toBe("EISDIR");
    expect(replacing("a", "f")).toBe("ENOTDIR");
    fs.rename(root, "full", root, "empty", { replace: true });
    expect(bench().names()).toEqual(["a", "empty", "f"]);
    expect(bench().inDir("empty", (dir) => bench().names(dir))).toEqual(["child"]);
  });
}

function movedDirs(bench: () => Bench): void {
  test("[FS-23] a directory does not move into itself", () => {
    const { fs, root } = bench();
    fs.mkdir(root, "a", 0o755);
    bench().inDir("a", (dir) => {
      for (const replace of [true, false]) {
        expect(refusal(() => fs.rename(root, "a", dir, "b", { replace }))).toBe("EINVAL");
      }
    });
    expect(bench().names()).toEqual(["a"]);
  });

  test("[FS-24] a held directory stays the same one when it is renamed", () => {
    const { fs, root } = bench();
    fs.mkdir(root, "a", 0o755);
    fs.mkdir(root, "c", 0o755);
    bench().inDir("a", (held) => {
      fs.mkdir(held, "sub", 0o755);
      bench().inDir("sub", (heldSub) => {
        bench().inDir("c", (dir) => fs.rename(root, "a", dir, "b", { replace: false }));
        fs.mkdir(root, "a", 0o755);
        bench().put("f", "x", held);
        bench().put("g", "x", heldSub);
      }, held);
      expect(bench().names(held)).toEqual(["f", "sub"]);
    });
    expect(bench().inDir("a", (dir) => bench().names(dir))).toEqual([]);
  });

  test("[FS-25] exchange swaps two names in one step, of any kind, or says that it cannot", () => {
    const { fs, root } = bench();
    bench().put("f", "file");
    fs.mkdir(root, "d", 0o755);
    const result = refusal(() => fs.exchange(root, "f", root, "d"));
    expect(["ok", "ENOSYS", "EINVAL", "ENOTSUP"]).toContain(result);
    const swapped = result === "ok";
    expect(fs.stat(root, "d").kind).toBe(swapped ? "file" : "dir");
    expect(bench().text(swapped ? "d" : "f")).toBe("file");
    expect(refusal(() => fs.exchange(root, "f", root, "missing"))).not.toBe("ok");
    expect(bench().names()).toEqual(["d", "f"]);
  });
}

function links(bench: () => Bench): void {
  test("[FS-26] a hard link is the same file, fails on a taken name, and counts", () => {
    if (!bench().abilities.hardlinks) return;
    const { fs, root } = bench();
    bench().put("a", "x");
    bench().put("taken", "y");
    fs.link(root, "a", root, "b");
    expect(fs.stat(root, "b")).toMatchObject({ ino: fs.stat(root, "a").ino, nlink: 2 });
    expect(refusal(() => fs.link(root, "a", root, "taken"))).toBe("EEXIST");
    fs.mkdir(root, "d", 0o755);
    expect(refusal(() => fs.link(root, "d", root, "e"))).toBe("EPERM");
    fs.unlink(root, "a");
    expect(fs.stat(root, "b").nlink).toBe(1);
    expect(bench().text("b")).toBe("x");
  });

  test("[FS-27] renaming one name of a file over another of its names does nothing, as POSIX has it", () => {
    if (!bench().abilities.hardlinks) return;
    const { fs, root } = bench();
    bench().put("a", "x");
    fs.link(root, "a", root, "b");
    fs.rename(root, "a", root, "b", { replace: true });
    expect(bench().names()).toEqual(["a", "b"]);
  });

  test("[FS-28] a symlink keeps its target's text and is never followed", () => {
    if (!bench().abilities.symlinks) return;
    const { fs, root } = bench();
    bench().put("f", "x");
    for (const target of ["f", "../up/../x", "/absolute", "no where\n", "日本", `${"t/".repeat(500)}t`]) {
      fs.symlink(target, root, "l");
      expect(fs.readlink(root, "l")).toBe(target);
      expect(fs.stat(root, "l").kind).toBe("symlink");
      fs.unlink(root, "l");
    }
    expect(bench().text("f")).toBe("x");
    expect(refusal(() => fs.readlink(root, "f"))).toBe("EINVAL");
    expect(refusal(() => fs.symlink("a\0b", root, "l"))).toBe("EINVAL");
    fs.symlink("x", root, "l");
    expect(refusal(() => fs.symlink("y", root, "l"))).toBe("EEXIST");
    expect(fs.readlink(root, "l")).toBe("x");
  });

  test("[FS-28] a symlink can be renamed without and with replacing", () => {
    if (!bench().abilities.symlinks) return;
    const { fs, root } = bench();
    fs.symlink("x", root, "l");
    bench().put("f", "file");
    expect(refusal(() => fs.rename(root, "l", root, "f", { replace: false }))).toBe("EEXIST");
    fs.rename(root, "l", root, "m", { replace: false });
    fs.rename(root, "m", root, "f", { replace: true });
    expect(bench().names()).toEqual(["f"]);
    expect(fs.readlink(root, "f")).toBe("x");
  });
}

function removals(bench: () => Bench): void {
  test("[FS-29] unlink takes no directory, rmdir takes only an empty one", () => {
    const { fs, root } = bench();
    fs.mkdir(root, "d", 0o755);
    bench().put("f", "x");
    bench().inDir("d", (dir) => bench().put("child", "x", dir));
    expect(["EISDIR", "EPERM"]).toContain(refusal(() => fs.unlink(root, "d")));
    expect(refusal(() => fs.rmdir(root, "f"))).toBe("ENOTDIR");
    expect(["ENOTEMPTY", "EEXIST"]).toContain(refusal(() => fs.rmdir(root, "d")));
    bench().inDir("d", (dir) => fs.unlink(dir, "child"));
    fs.rmdir(root, "d");
    fs.unlink(root, "f");
    expect(bench().names()).toEqual([]);
  });

  test("[FS-30] a file is no directory", () => {
    bench().put("f", "x");
    expect(refusal(() => bench().fs.openDir(bench().root, "f"))).toBe("ENOTDIR");
  });
}

function confinement(bench: () => Bench): void {
  test("[FS-31] a directory is never opened or removed through a symlink", () => {
    if (!bench().abilities.symlinks) return;
    const { fs, root } = bench();
    fs.mkdir(root, "d", 0o755);
    fs.symlink("d", root, "l");
    expect(["ENOTDIR", "ELOOP"]).toContain(refusal(() => fs.openDir(root, "l")));
    expect(refusal(() => fs.rmdir(root, "l"))).toBe("ENOTDIR");
    fs.unlink(root, "l");
    expect(fs.stat(root, "d").kind).toBe("dir");
  });

  test("[FS-32] a parent swapped for a symlink leads no operation on its held descriptor outside", () => {
    if (!bench().abilities.symlinks) return;
    const { fs, root } = bench();
    for (const name of ["inside", "outside"]) {
      fs.mkdir(root, name, 0o755);
      bench().inDir(name, (dir) => bench().put("victim", name, dir));
    }
    const held = fs.openDir(root, "inside");
    fs.rename(root, "inside", root, "moved", { replace: false });
    fs.symlink("outside", root, "inside");
    // Each may succeed on the moved directory or be refused, but must not reach the other one.
    refusal(() => fs.close(fs.create(held, "created", 0o600)));
    refusal(() => fs.mkdir(held, "made", 0o755));
    refusal(() => fs.symlink("x", held, "linked"));
    refusal(() => fs.link(held, "victim", held, "second"));
    refusal(() => fs.rename(held, "victim", held, "renamed", { replace: true }));
    refusal(() => fs.unlink(held, "second"));
    fs.close(held);
    bench().inDir("outside", (dir) => {
      expect(bench().names(dir)).toEqual(["victim"]);
      expect(bench().text("victim", dir)).toBe("outside");
    });
  });
}

function durability(bench: () => Bench): void {
  test("[FS-33] files, directories and whole file systems can be synced", async () => {
    const { fs, root } = bench();
    const fd = fs.create(root, "f", 0o600);
    fs.write(fd, encoder.encode("x"), 0);
    fs.startWriteback(fd, 0, 1);
    await fs.sync(fd);
    fs.close(fd);
    await fs.sync(root);
    await Promise.all([fs.syncAll(root), fs.syncAll(root)]);
    expect(bench().text("f")).toBe("x");
  }, SYNC_MS_MAX);
}
