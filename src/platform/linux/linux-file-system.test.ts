import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import * as nodeFs from "node:fs";
import { createServer } from "node:net";
import { release, tmpdir } from "node:os";
import { join } from "node:path";
import { PAGE_BYTES, alignedBytes } from "#platform/aligned-bytes.ts";
import { fileSystemContract } from "#platform/file-system-contract.ts";
import { type Fd, type FileSystem, FsError } from "#platform/file-system.ts";
import { openLibc } from "#platform/linux/libc.ts";
import { LinuxFileSystem } from "#platform/linux/linux-file-system.ts";

const libc = openLibc();

/** The errno name an attempt fails with, or "ok". */
function code(attempt: () => unknown): string {
  try {
    attempt();
    return "ok";
  } catch (error) {
    return error instanceof FsError ? error.code : String(error);
  }
}

function openCount(): number {
  return nodeFs.readdirSync("/proc/self/fd").length;
}

describe.if(libc !== undefined)("linux", () => {
  const fs: FileSystem = new LinuxFileSystem(libc!);
  const base = nodeFs.mkdtempSync(join(tmpdir(), "syncline-fs-"));
  afterAll(() => nodeFs.rmSync(base, { recursive: true, force: true }));
  const freshRoot = (): { path: string; root: Fd; dispose: () => void } => {
    const path = nodeFs.mkdtempSync(join(base, "root-"));
    const root = fs.openRoot(path);
    return { path, root, dispose: () => fs.close(root) };
  };

  fileSystemContract("linux", () => ({ fs, ...freshRoot() }));

  describe("beyond the contract", () => {
    let path: string;
    let root: Fd;
    beforeEach(() => {
      ({ path, root } = freshRoot());
    });

    test("[FS-34] times are exact to the nanosecond on both sides of 1970", () => {
      const fd = fs.create(root, "f", 0o600);
      for (const timeNs of [1n, -1n, -1_000_000_001n, -2_000_000_000n, 1_700_000_000_999_999_999n]) {
        fs.setMtime(fd, timeNs);
        expect(fs.fstat(fd).mtimeNs).toBe(timeNs);
        expect(nodeFs.statSync(join(path, "f"), { bigint: true }).mtimeNs).toBe(timeNs);
      }
      fs.close(fd);
    });

    test("[FS-40] reading a cached file on and on lets the event loop turn", async () => {
      const fd = fs.create(root, "f", 0o600);
      const piece = new Uint8Array(1 << 20).fill(7);
      await fs.writeAsync(fd, piece, 0);
      let turns = 0;
      let turning = true;
      const turn = (): void => {
        turns++;
        if (turning) setImmediate(turn);
      };
      setImmediate(turn);
      // Nothing but awaited reads: without a turn now and then no other connection would get its answer.
      for (let count = 0; count < 64; count++) expect(await fs.readAsync(fd, piece, 0)).toBe(1 << 20);
      turning = false;
      expect(turns).toBeGreaterThanOrEqual(6);
      fs.close(fd);
    });

    test("[FS-41] asynchronous writes reject with the system's reason", async () => {
      const full = nodeFs.openSync("/dev/full", "w") as unknown as Fd;
      const refused = async (fd: Fd): Promise<string> =>
        fs.writeAsync(fd, new Uint8Array(600_000), 0).then(() => "ok", (error: unknown) => (error as FsError).code);
      expect(await refused(full)).toBe("ENOSPC");
      fs.close(full);
      fs.close(fs.create(root, "f", 0o600));
      const readOnly = fs.openRead(root, "f");
      expect(await refused(readOnly)).toBe("EBADF");
      const page = [alignedBytes(PAGE_BYTES, 0)];
      expect(fs.writeUncached(readOnly, page, 0)).rejects.toMatchObject({ code: "EBADF" });
      fs.close(readOnly);
    });

    test("[FS-42] ext4 and xfs are written past the page cache where the memory is aligned", async () => {
      const [major = 0, minor = 0] = release().split(".").map(Number);
      const tells = major > 6 || (major === 6 && minor >= 1);
      if (!tells || !["ext4", "xfs"].includes(fs.space(root).type)) return;
      const fd = fs.create(root, "f", 0o400);
      const uncached = fs.openUncached(fd)!;
      expect(uncached).toBeGreaterThan(0);
      const info = nodeFs.readFileSync(`/proc/self/fdinfo/${uncached}`, "latin1");
      const flags = Number.parseInt(/^flags:\s+(\d+)$/m.exec(info)![1]!, 8);
      expect(flags & libc!.O_DIRECT).toBe(libc!.O_DIRECT);
      expect(await fs.writeUncached(uncached, [alignedBytes(PAGE_BYTES, 0)], 0)).toBe(PAGE_BYTES);
      expect(await fs.writeUncached(uncached, [alignedBytes(PAGE_BYTES, 1)], 0)).toBe(0);
      fs.close(uncached);
      fs.close(fd);
    });

    test("[FS-2] names and targets that are not UTF-8 round-trip", () => {
      const raw = Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0x61, 0xff, 0xc3, 0x28])]);
      nodeFs.writeFileSync(raw, "x");
      const [item] = fs.list(root);
      expect(item!.name).toBe("a\udcff\udcc3(");
      expect(fs.stat(root, item!.name).size).toBe(1);
      fs.symlink(item!.name, root, "l");
      expect(fs.readlink(root, "l")).toBe(item!.name);
      fs.rename(root, item!.name, root, "b\udcfe", { replace: false });
      expect(nodeFs.existsSync(Buffer.concat([Buffer.from(`${path}/b`), Buffer.from([0xfe])]))).toBe(true);
    });

    test("[FS-35] opening a FIFO, socket or device returns at once with EINVAL", async () => {
      execFileSync("mkfifo", [join(path, "fifo")]);
      expect(fs.stat(root, "fifo").kind).toBe("fifo");
      expect(code(() => fs.openRead(root, "fifo"))).toBe("EINVAL");
      const server = createServer().listen(join(path, "socket"));
      await new Promise((resolve) => server.once("listening", resolve));
      expect(fs.stat(root, "socket").kind).toBe("socket");
      expect(code(() => fs.openRead(root, "socket"))).toBe("EINVAL");
      server.close();
      const dev = fs.openRoot("/dev");
      expect(fs.stat(dev, "null").kind).toBe("char");
      expect(code(() => fs.openRead(dev, "null"))).toBe("EINVAL");
      fs.close(dev);
    });

    test("stat agrees with node:fs", () => {
      nodeFs.writeFileSync(join(path, "f"), "x".repeat(10_000), { mode: 0o640 });
      const ours = fs.stat(root, "f");
      const theirs = nodeFs.statSync(join(path, "f"), { bigint: true });
      expect(ours).toMatchObject({
        mode: Number(theirs.mode) & 0o7777,
        nlink: 1,
        uid: Number(theirs.uid),
        gid: Number(theirs.gid),
        size: 10_000,
        allocatedBytes: Number(theirs.blocks) * 512,
        mtimeNs: theirs.mtimeNs,
        ctimeNs: theirs.ctimeNs,
        ino: theirs.ino,
      });
    });

    test("positions beyond 4 GiB are exact", async () => {
      const far = 5 * 2 ** 30 + 12_345;
      const fd = fs.create(root, "f", 0o600);
      fs.truncate(fd, far + 100);
      fs.write(fd, Uint8Array.of(1, 2, 3), far);
      const back = new Uint8Array(3);
      expect(fs.read(fd, back, far)).toBe(3);
      expect([...back]).toEqual([1, 2, 3]);
      await fs.writeAsync(fd, Uint8Array.of(9), far + 1);
      expect(await fs.readAsync(fd, back, far)).toBe(3);
      expect([...back]).toEqual([1, 9, 3]);
      expect(fs.fstat(fd).size).toBe(far + 100);
      expect(fs.fstat(fd).allocatedBytes).toBeLessThan(2 ** 20);
      const range = fs.dataRange(fd, 0, far + 100)!;
      expect(range.start).toBeLessThanOrEqual(far);
      expect(range.end).toBeGreaterThan(far);
      fs.close(fd);
    });

    test("[FS-36] descriptors are not inherited by child processes", () => {
      const fd = fs.create(root, "f", 0o600);
      const seen = execFileSync("ls", ["/proc/self/fd"], { encoding: "utf8" }).trim().split("\n");
      expect(seen).not.toContain(String(fd));
      expect(seen).not.toContain(String(root));
      fs.close(fd);
    });

    test("a failing call closes what it opened", () => {
      nodeFs.mkdirSync(join(path, "d"));
      const before = openCount();
      for (let at = 0; at < 20; at++) {
        code(() => fs.openRead(root, "d"));
        code(() => fs.mkdir(root, "d", 0o777));
      }
      // Threads of earlier tests may be closing theirs.
      expect(openCount()).toBeLessThanOrEqual(before);
    });

    test("[FS-37] a sync that fails rejects with the system's reason", async () => {
      const closed = fs.create(root, "f", 0o600);
      fs.close(closed);
      expect(await fs.sync(closed).catch((error: FsError) => error.code)).toBe("EBADF");
      expect(code(() => fs.syncAll(closed))).toBe("EBADF");
    });

    test("[FS-45] what was just written is read from the page cache, and asking brings nothing into it", async () => {
      const fd = fs.create(root, "f", 0o600);
      const uncached = fs.openUncached(fd);
      const [major, minor] = release().split(".").map(Number) as [number, number];
      if (uncached === undefined || major < 6 || (major === 6 && minor < 5)) return;
      const bytes = alignedBytes(64 * PAGE_BYTES, 0).fill(3);
      fs.write(fd, bytes, 0);
      expect(await fs.writeUncached(uncached, [bytes], bytes.length)).toBe(bytes.length);
      const back = new Uint8Array(bytes.length);
      expect(await fs.readCached(fd, back, 0)).toBe(bytes.length);
      expect(Buffer.compare(back, bytes)).toBe(0);
      for (let time = 0; time < 3; time++) expect(await fs.readCached(fd, back, bytes.length)).toBe(0);
      // Some of it is there, and nothing of that is given.
      expect(await fs.readCached(fd, back, PAGE_BYTES)).toBe(0);
      for (const open of [uncached, fd]) fs.close(open);
    });

    test("[FS-51] a file that is not in memory is waited for once, and not at all where the disk has been told of it", async () => {
      const [major, minor] = release().split(".").map(Number) as [number, number];
      const bytes = alignedBytes(2 * PAGE_BYTES, 0).fill(7);
      const names = ["waited for", "told of"];
      for (const name of names) {
        const fd = fs.create(root, name, 0o600);
        const uncached = fs.openUncached(fd);
        const isPast = uncached !== undefined && (await fs.writeUncached(uncached, [bytes], 0)) === bytes.length;
        if (uncached !== undefined) fs.close(uncached);
        fs.close(fd);
        // Here there is no other way than through memory, or no way to see what is there.
        if (!isPast || major < 6 || (major === 6 && minor < 5)) return;
      }
      const into = new Uint8Array(bytes.length);
      expect(fs.readWhole(root, names[0]!, into)).toMatchObject({ count: bytes.length, waited: true });
      expect(Buffer.compare(into, bytes)).toBe(0);
      expect(fs.readWhole(root, names[0]!, into.fill(0))).toMatchObject({ count: bytes.length, waited: false });
      expect(Buffer.compare(into, bytes)).toBe(0);
      fs.readAhead(root, names[1]!, bytes.length);
      const fd = fs.openRead(root, names[1]!);
      while ((await fs.readCached(fd, into.fill(0), 0)) === 0) await Bun.sleep(1);
      fs.close(fd);
      expect(fs.readWhole(root, names[1]!, into)).toMatchObject({ count: bytes.length, waited: false });
      expect(Buffer.compare(into, bytes)).toBe(0);
    });

    test("copyRange falls back to reading where the kernel cannot copy inside", () => {
      // procfs files report size 0 and refuse copy_file_range.
      const proc = fs.openRoot("/proc/self");
      const source = fs.openRead(proc, "cmdline");
      const target = fs.create(root, "f", 0o600);
      expect(fs.copyRange(source, 0, target, 0, 1_000_000)).toBeGreaterThan(0);
      expect(fs.fstat(target).size).toBeGreaterThan(0);
      for (const fd of [proc, source, target]) fs.close(fd);
    });

    test("account names are looked up both ways", () => {
      expect(fs.userName(0)).toBe("root");
      expect(fs.userId("root")).toBe(0);
      expect(fs.groupId(fs.groupName(0)!)).toBe(0);
      expect(fs.userName(3_999_999_999)).toBeUndefined();
      expect(fs.userId("no such user")).toBeUndefined();
    });

    test("a missing root is ENOENT, a file as root is ENOTDIR", () => {
      expect(code(() => fs.openRoot(join(path, "no")))).toBe("ENOENT");
      nodeFs.writeFileSync(join(path, "f"), "");
      expect(code(() => fs.openRoot(join(path, "f")))).toBe("ENOTDIR");
      expect(code(() => fs.openRoot("/tmp\0/x"))).toBe("EINVAL");
    });
  });
});
