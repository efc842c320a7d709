import { describe, expect, test } from "bun:test";
import { type Fd, FsError } from "#platform/file-system.ts";
import { fileSystemContract } from "#platform/file-system-contract.ts";
import { SimClock } from "#testing/sim-clock.ts";
import { SimDisk, type SimDiskOptions } from "#testing/sim-disk.ts";
import { SimFs, type SimFsOptions } from "#testing/sim-fs.ts";
import { SimCrash } from "#testing/sim-process.ts";
import { SimRandom } from "#testing/sim-random.ts";
import { SimUser } from "#testing/sim-user.ts";

function contractOn(name: string, diskOptions: SimDiskOptions, fsOptions: SimFsOptions = {}): void {
  fileSystemContract(name, () => {
    const fs = new SimFs(new SimDisk(new SimClock(), diskOptions), fsOptions);
    const root = fs.openRoot("/");
    return {
      fs,
      root,
      dispose: () => {
        expect(fs.openPaths()).toEqual([""]);
        fs.kill();
      },
    };
  });
}

contractOn("sim", {});
contractOn("sim, shuffled listings", {}, { random: new SimRandom(1) });
contractOn("sim, like FAT", {
  timestampNs: 2_000_000_000n,
  symlinks: false,
  hardlinks: false,
  xattrs: false,
  owners: false,
  exchange: false,
  uncached: false,
  caseInsensitive: true,
});

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function codeOf(attempt: () => unknown): string {
  try {
    attempt();
    return "ok";
  } catch (error) {
    if (error instanceof FsError) return error.code;
    throw error;
  }
}

function start(options: SimDiskOptions = {}): { disk: SimDisk; user: SimUser; fs: SimFs; root: Fd; clock: SimClock } {
  const clock = new SimClock();
  const disk = new SimDisk(clock, options);
  const user = new SimUser(disk);
  user.mkdir("/r");
  const fs = new SimFs(disk);
  return { disk, user, fs, root: fs.openRoot("/r"), clock };
}

describe("sim-fs: failures on demand", () => {
  test("[SIM-5] a fault plan fails the calls it names, before they have any effect", () => {
    const { fs, root, user } = start();
    const asked: string[] = [];
    fs.faults = (call, { path, isEffect }) => {
      asked.push(`${call} ${path} ${isEffect}`);
      return call === "create" && path === "/r/b" ? "EIO" : undefined;
    };
    fs.close(fs.create(root, "a", 0o600));
    expect(codeOf(() => fs.create(root, "b", 0o600))).toBe("EIO");
    fs.rename(root, "a", root, "c", { replace: false });
    expect(asked).toEqual(["create /r/a true", "close /r/a false", "create /r/b true", "rename /r/a true"]);
    expect([...user.tree("/r").keys()]).toEqual(["c"]);
  });

  test("[SIM-6] a crash at effect k leaves exactly the effects before it, and nothing works afterwards", async () => {
    for (let crashAt = 1; crashAt <= 5; crashAt++) {
      const { fs, root, user } = start();
      fs.onEffect = (count) => {
        if (count === crashAt) throw new SimCrash("now");
      };
      const run = async (): Promise<void> => {
        const fd = fs.create(root, "t", 0o600);
        fs.write(fd, bytes("x"), 0);
        await fs.sync(fd);
        fs.close(fd);
        fs.rename(root, "t", root, "f", { replace: true });
      };
      const outcome = await run().then(() => "done", (error: unknown) => error);
      if (crashAt === 5) {
        expect(outcome).toBe("done");
        expect(fs.effects).toBe(4);
        continue;
      }
      expect(outcome).toBeInstanceOf(SimCrash);
      expect(outcome).not.toBeInstanceOf(FsError);
      const expected = crashAt === 1 ? [] : crashAt === 2 ? [["t", ""]] : [["t", "x"]];
      expect(Array.from(user.tree("/r"), ([name, { content }]) => [name, content])).toEqual(expected);
      expect(() => fs.stat(root, "t")).toThrow(SimCrash);
      await expect(fs.syncAll(root)).rejects.toBeInstanceOf(SimCrash);
      expect(fs.openFds()).toBe(0);
    }
  });

  test("[SIM-7] another process acts between two calls", () => {
    const { fs, root, user } = start();
    user.write("/r/f", "old");
    fs.interleave = (call) => {
      if (call === "rename") user.write("/r/f", "edited");
    };
    const fd = fs.create(root, "t", 0o600);
    fs.close(fd);
    const before = fs.stat(root, "f");
    fs.rename(root, "f", root, "kept", { replace: false });
    expect(user.read("/r/kept")).toBe("edited");
    expect(fs.stat(root, "kept").mtimeNs).toBeGreaterThan(before.mtimeNs);
  });

  test("a full disk takes what fits and says ENOSPC; freed space can be used again", () => {
    const { fs, root, user, disk } = start({ capacityBytes: 5 * 4096 });
    const fd = fs.create(root, "big", 0o600);
    expect(codeOf(() => fs.write(fd, new Uint8Array(8 * 4096), 0))).toBe("ENOSPC");
    expect(fs.fstat(fd).size).toBe(4 * 4096);
    expect(fs.space(root).freeBytes).toBe(4096);
    fs.close(fd);
    fs.unlink(root, "big");
    expect(disk.usedBytes).toBe(0);
    user.write("/r/fits", new Uint8Array(5 * 4096));
    disk.capacityInodes = disk.usedInodes;
    expect(codeOf(() => fs.create(root, "more", 0o600))).toBe("ENOSPC");
  });

  test("a removed file keeps its space until the last descriptor closes; leaks can be counted", () => {
    const { fs, root, disk, user } = start();
    user.write("/r/f", "x");
    const fd = fs.openRead(root, "f");
    fs.unlink(root, "f");
    expect(disk.usedBytes).toBe(4096);
    expect(fs.openFds()).toBe(2);
    fs.close(fd);
    expect(disk.usedBytes).toBe(0);
    expect(fs.openPaths()).toEqual(["/r"]);
    expect(codeOf(() => fs.read(fd, new Uint8Array(1), 0))).toBe("EBADF");
    fs.fdsMax = 1;
    expect(codeOf(() => fs.create(root, "g", 0o600))).toBe("EMFILE");
    expect(user.exists("/r/g")).toBe(false);
  });

  test("a directory may refuse to be read, a disk to be written, a user may lack permission", () => {
    const { fs, root, disk, user } = start();
    user.mkdir("/r/d/e");
    disk.refuse("/r/d", "EACCES");
    expect(fs.stat(root, "d").kind).toBe("dir");
    expect(codeOf(() => fs.openDir(root, "d"))).toBe("EACCES");
    disk.refuse("/r/d", "EIO");
    expect(codeOf(() => fs.stat(root, "d"))).toBe("EIO");
    disk.refuse("/r/d", undefined);
    disk.readOnly = true;
    for (const attempt of [
      () => fs.create(root, "x", 0o600),
      () => fs.rename(root, "d", root, "x", { replace: false }),
      () => fs.rmdir(root, "d"),
      () => fs.chmod(root, 0o700),
    ]) {
      expect(codeOf(attempt)).toBe("EROFS");
    }
    disk.readOnly = false;
    const other = new SimFs(disk, { uid: 1000 });
    const otherRoot = other.openRoot("/r");
    expect(codeOf(() => other.create(otherRoot, "x", 0o600))).toBe("EACCES");
    expect(codeOf(() => other.chmod(otherRoot, 0o777))).toBe("EPERM");
    fs.chmod(root, 0o777);
    other.close(other.create(otherRoot, "x", 0o600));
    expect(fs.stat(root, "x")).toMatchObject({ uid: 1000, mode: 0o600 });
    user.chmod("/r/d", 0o700);
    expect(codeOf(() => other.openDir(otherRoot, "d"))).toBe("EACCES");
  });

  test("asynchronous calls finish in an order that the seed decides", async () => {
    const orderOf = async (seed: number): Promise<string> => {
      const random = new SimRandom(seed);
      const clock = new SimClock(random.fork("clock"));
      const fs = new SimFs(new SimDisk(clock), { random, asyncDelayMs: 5 });
      const fd = fs.create(fs.openRoot("/"), "f", 0o600);
      let order = "";
      const write = async (name: string): Promise<void> => {
        await fs.writeAsync(fd, bytes(name), 0);
        order += name;
      };
      await clock.runUntilIdle(Promise.all([..."abcdef"].map(write)));
      const content = new Uint8Array(1);
      fs.read(fd, content, 0);
      expect(new TextDecoder().decode(content)).toBe(order.at(-1)!);
      return order;
    };
    expect(await orderOf(1)).toBe(await orderOf(1));
    expect(await orderOf(1)).not.toBe(await orderOf(2));
  });
});

describe("sim-fs: mounts, names and times", () => {
  test("[SIM-8] a lost mount shows an empty directory of another device until it is back", () => {
    const { fs, root, disk, user } = start();
    user.mkdir("/r/m");
    user.write("/r/f", "x");
    const before = fs.fstat(root);
    disk.mount("/r");
    const lost = fs.openRoot("/r");
    expect(fs.list(lost)).toEqual([]);
    expect(fs.fstat(lost).dev).not.toBe(before.dev);
    expect(fs.fstat(lost).ino).not.toBe(before.ino);
    expect(fs.list(root)).toHaveLength(2);
    disk.unmount("/r");
    expect(fs.fstat(fs.openRoot("/r"))).toEqual(before);
    disk.mount("/r/m");
    expect(fs.stat(root, "m").dev).not.toBe(before.dev);
    const inside = fs.openDir(root, "m");
    expect(codeOf(() => fs.rename(root, "f", inside, "f", { replace: true }))).toBe("EXDEV");
    expect(codeOf(() => fs.link(root, "f", inside, "f"))).toBe("EXDEV");
    expect(codeOf(() => fs.rmdir(root, "m"))).toBe("EBUSY");
    expect(codeOf(() => fs.rename(root, "m", root, "n", { replace: true }))).toBe("EBUSY");
    user.write("/r/m/g", "y");
    expect([...user.tree("/r").keys()]).toEqual(["f", "m", "m/g"]);
    disk.unmount("/r/m");
    expect([...user.tree("/r").keys()]).toEqual(["f", "m"]);
  });

  test("names that differ in case or normal form are one name where the disk says so", () => {
    const { user, fs, root } = start({ caseInsensitive: true, normalise: true });
    user.write("/r/File", "1");
    user.write("/r/FILE", "2");
    user.write("/r/caf\u00e9", "3");
    expect([...user.tree("/r").keys()]).toEqual(["File", "caf\u00e9"]);
    expect(user.read("/r/file")).toBe("2");
    expect(user.read("/r/cafe\u0301")).toBe("3");
    fs.rename(root, "File", root, "fILE", { replace: true });
    expect([...user.tree("/r").keys()]).toEqual(["caf\u00e9", "fILE"]);
    expect(codeOf(() => fs.rename(root, "fILE", root, "FILE", { replace: false }))).toBe("EEXIST");
    expect(fs.abilities(root, false).caseSensitive).toBe(false);
  });

  test("every change has a time of its own on a fine disk, a coarse one rounds down", () => {
    const fine = start();
    fine.user.write("/r/f", "a");
    const before = fine.fs.stat(fine.root, "f");
    fine.user.patch("/r/f", "b", 0);
    const after = fine.fs.stat(fine.root, "f");
    expect(after.mtimeNs).toBeGreaterThan(before.mtimeNs);
    expect(after.ctimeNs).toBe(after.mtimeNs);
    fine.user.setMtime("/r/f", before.mtimeNs);
    expect(fine.fs.stat(fine.root, "f").mtimeNs).toBe(before.mtimeNs);
    expect(fine.fs.stat(fine.root, "f").ctimeNs).toBeGreaterThan(after.ctimeNs);
    const coarse = start({ timestampNs: 2_000_000_000n });
    coarse.user.write("/r/f", "a");
    const early = coarse.fs.stat(coarse.root, "f");
    coarse.user.patch("/r/f", "b", 0);
    expect(coarse.fs.stat(coarse.root, "f")).toEqual(early);
    expect(early.mtimeNs % 2_000_000_000n).toBe(0n);
  });

  test("an inode number comes back only after the removal is durable", () => {
    const { user, fs, root, disk } = start();
    user.write("/r/a", "x");
    const { ino } = fs.stat(root, "a");
    user.remove("/r/a");
    user.write("/r/b", "x");
    expect(fs.stat(root, "b").ino).not.toBe(ino);
    disk.settle();
    user.write("/r/c", "x");
    expect(fs.stat(root, "c").ino).toBe(ino);
  });

  test("special files are listed, and not opened", () => {
    const { fs, root, disk } = start();
    disk.makeSpecial("/r/pipe", "fifo");
    expect(fs.list(root)).toEqual([{ name: "pipe", kind: "fifo" }]);
    expect(codeOf(() => fs.openRead(root, "pipe"))).toBe("EINVAL");
  });

  test("rot changes content and no stat", () => {
    const { fs, root, disk, user } = start();
    user.write("/r/f", "abc");
    disk.settle();
    const before = fs.stat(root, "f");
    disk.flipBit("/r/f", 1);
    expect(user.read("/r/f")).toBe("acc");
    expect(fs.stat(root, "f")).toEqual(before);
    disk.crash(new SimRandom(1));
    user.restart();
    expect(user.read("/r/f")).toBe("acc");
  });
});
