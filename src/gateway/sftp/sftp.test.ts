import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { readdirSync, statSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { Duplex, Readable } from "node:stream";
import fc from "fast-check";
import { systemPrincipal } from "#access/access.ts";
import ssh2, { type Client } from "ssh2";
import { OPEN, PacketWriter, STATUS } from "#platform/net/sftp-wire.ts";
import { makeSshKeyPair } from "#platform/net/ssh-host-keys.ts";
import { PASSWORDS, SftpLab, TestSftp } from "#gateway/sftp/sftp-fixture.ts";

const NEW = OPEN.write | OPEN.create | OPEN.truncate;
const { ok, noSuchFile, permissionDenied, failure, badMessage, unsupported, eof } = STATUS;
/** No stream cipher leaves a pattern in it. */
const bytesOf = (length: number, seed = 1): Uint8Array => Uint8Array.from({ length }, (_, at) => (at * 31 + (at >> 8) * seed) & 255);

let lab: SftpLab;
let admin: TestSftp;

beforeAll(async () => {
  lab = await SftpLab.open();
  for (const path of ["in/a.txt", "out/b.txt", "top.txt"]) await lab.api.put(path, `text of ${path}`);
  admin = await lab.session("admin");
});
afterAll(() => lab[Symbol.asyncDispose]());

describe("files over SFTP", () => {
  test("[SFTP-10] a file is there for others when it is closed, and not before", async () => {
    const handle = (await admin.open("/demo/new.txt", NEW)) as string;
    expect(await admin.write(handle, 0, "one ")).toBe(ok);
    expect(await admin.write(handle, 4, "two")).toBe(ok);
    expect((await lab.api.ask("/v1/spaces/demo/content/new.txt")).status).toBe(404);
    // Its own session sees it under its name.
    expect((await admin.attrs("stat", "/demo/new.txt")).size).toBe(7);
    expect(await admin.close(handle)).toBe(ok);
    expect(await lab.api.text("new.txt")).toBe("one two");
    expect(await admin.close(handle)).toBe(failure);
  });

  test("[SFTP-11] a session that breaks off leaves the old version, and nothing staged", async () => {
    const broken = await lab.session("admin");
    const handle = (await broken.open("/demo/top.txt", NEW)) as string;
    await broken.write(handle, 0, bytesOf(400_000));
    const patched = (await broken.open("/demo/in/a.txt", OPEN.write | OPEN.read)) as string;
    await broken.write(patched, 5, "X");
    const stage = join(lab.api.dir, "hub", "sftp", "stage");
    expect(readdirSync(stage)).toHaveLength(1);
    broken.client.destroy();
    for (let looks = 0; readdirSync(stage).length > 0 && looks < 2_000; looks++) await Bun.sleep(5);
    expect(readdirSync(stage)).toEqual([]);
    expect(await lab.api.text("top.txt")).toBe("text of top.txt");
    expect(await lab.api.text("in/a.txt")).toBe("text of in/a.txt");
  });

  test("[SFTP-12] writes at any place and in any order give what a disk gives", async () => {
    const size = 300_000;
    const write = fc.tuple(fc.nat(size), fc.integer({ min: 1, max: 200_000 }), fc.nat(250));
    const base = bytesOf(180_000, 3);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(write, fc.nat(size)), { maxLength: 8 }), fc.boolean(), fc.boolean(), fc.boolean(),
        async (steps, isKept, isInOrder, isRead) => {
          await admin.put("/demo/disk.bin", base);
          const flags = OPEN.write | (isKept ? 0 : OPEN.truncate) | (isRead ? OPEN.read : 0);
          const handle = (await admin.open("/demo/disk.bin", flags)) as string;
          let model = isKept ? Buffer.from(base) : Buffer.alloc(0);
          for (const step of steps) {
            const [at, length, seed] = typeof step === "number" ? [step, 0, 0] : step;
            const offset = isInOrder ? model.length : at;
            const end = length === 0 ? offset : Math.max(model.length, offset + length);
            const next = Buffer.alloc(end);
            model.copy(next);
            if (length > 0) next.set(bytesOf(length, seed), offset);
            model = next;
            const attrs = { size: offset, owner: undefined, mode: 0o644, mtimeSeconds: undefined };
            const status = length > 0
              ? await admin.write(handle, offset, bytesOf(length, seed))
              : await admin.status("fsetstat", (packet) => packet.text(handle).attrs(attrs));
            expect(status).toBe(ok);
            if (isRead && model.length > 0) {
              const from = Math.min(at, model.length - 1);
              expect(Buffer.from((await admin.read(handle, from, 5_000)) as Uint8Array)).toEqual(model.subarray(from, from + 5_000));
            }
          }
          expect((await admin.attrs("fstat", handle)).size).toBe(model.length);
          expect(await admin.close(handle)).toBe(ok);
          const response = await lab.api.ask("/v1/spaces/demo/content/disk.bin");
          expect(Buffer.compare(Buffer.from(await response.arrayBuffer()), model)).toBe(0);
        },
      ),
      // The last word counts where bytes that came early are written again.
      { numRuns: 60, examples: [[[[1, 1, 0], [0, 2, 0]], false, false, false], [[[7, 5, 1], [5, 5, 2], [0, 5, 3]], false, false, false]] },
    );
  });

  test("[SFTP-13] a file that somebody else changed meanwhile is not written over by a change in place", async () => {
    await lab.api.put("shared.txt", "first");
    const patched = (await admin.open("/demo/shared.txt", OPEN.write)) as string;
    await admin.write(patched, 0, "F");
    await lab.api.put("shared.txt", "second");
    expect(await admin.close(patched)).toBe(failure);
    expect(await lab.api.text("shared.txt")).toBe("second");
    // A whole file replaces what is there, as everywhere.
    expect(await admin.put("/demo/shared.txt", "third")).toBe(ok);
    expect(await lab.api.text("shared.txt")).toBe("third");
  });

  test("[SFTP-40] an upload that broke off is gone on with from the size that its user sees, and by nobody else", async () => {
    for (const size of [5, 300_000, 2_500_000]) {
      const bytes = bytesOf(size + 700_000, size);
      for (const isThere of [false, true]) {
        const file = `broken-${size}-${isThere}.bin`;
        if (isThere) await lab.api.put(file, "an older version, of its own size");
        const broken = await lab.session("admin");
        const first = (await broken.open(`/demo/${file}`, NEW)) as string;
        expect(await broken.write(first, 0, bytes.subarray(0, size))).toBe(ok);
        broken.client.destroy();
        const other = await lab.session("writer");
        for (let looks = 0; (await admin.sizeOf(`/demo/${file}`)) !== size && looks < 1_000; looks++) await Bun.sleep(5);
        expect(await admin.sizeOf(`/demo/${file}`)).toBe(size);
        // What others have is what was there.
        expect((await lab.api.ask(`/v1/spaces/demo/content/${file}`)).status).toBe(isThere ? 200 : 404);
        expect(await other.on("stat", `/demo/${file}`)).toBe(permissionDenied);
        expect(await admin.get(`/demo/${file}`)).toBe(isThere ? "an older version, of its own size" : noSuchFile);
        const again = (await admin.open(`/demo/${file}`, OPEN.write | OPEN.create)) as string;
        expect((await admin.attrs("fstat", again)).size).toBe(size);
        expect(await admin.write(again, size, bytes.subarray(size))).toBe(ok);
        expect(await admin.close(again)).toBe(ok);
        const response = await lab.api.ask(`/v1/spaces/demo/content/${file}`);
        expect(Buffer.compare(Buffer.from(await response.arrayBuffer()), Buffer.from(bytes))).toBe(0);
        expect(await admin.sizeOf(`/demo/${file}`)).toBe(bytes.length);
      }
    }
  });

  test("[SFTP-41] an upload that broke off is dropped by a whole one, by a removal, and counts no more after another's change", async () => {
    const breakOff = async (path: string): Promise<void> => {
      const broken = await lab.session("admin");
      await broken.write((await broken.open(path, NEW)) as string, 0, "partial");
      broken.client.destroy();
      for (let looks = 0; (await admin.sizeOf(path)) !== 7 && looks < 1_000; looks++) await Bun.sleep(5);
      expect(await admin.sizeOf(path)).toBe(7);
    };
    await breakOff("/demo/p1");
    expect(await admin.put("/demo/p1", "whole one")).toBe(ok);
    expect(await lab.api.text("p1")).toBe("whole one");
    await breakOff("/demo/p1");
    await lab.api.put("p1", "of somebody else");
    expect(await admin.sizeOf("/demo/p1")).toBe(16);
    await breakOff("/demo/p2");
    expect(await admin.on("remove", "/demo/p2")).toBe(ok);
    expect(await admin.on("stat", "/demo/p2")).toBe(noSuchFile);
    expect(await admin.on("remove", "/demo/p2")).toBe(noSuchFile);
    // Bytes that came may be written over; then all of it is put together anew.
    await breakOff("/demo/p3");
    const again = (await admin.open("/demo/p3", OPEN.write)) as string;
    expect(await admin.write(again, 2, "XX")).toBe(ok);
    expect(await admin.close(again)).toBe(ok);
    expect(await lab.api.text("p3")).toBe("paXXial");
    // What is opened to be only one is not kept.
    const broken = await lab.session("admin");
    await broken.write((await broken.open("/demo/p4", NEW | OPEN.exclusive)) as string, 0, "partial");
    broken.client.destroy();
    await lab.session("admin");
    expect(await admin.on("stat", "/demo/p4")).toBe(noSuchFile);
  });

  test("[SFTP-44] an upload that breaks off when its space is gone harms nothing", async () => {
    for (const size of [10, 2_000_000]) {
      expect((await lab.api.ask("/v1/spaces", { method: "POST", json: { name: `gone-${size}` } })).ok).toBe(true);
      const broken = await lab.session("admin");
      await broken.write((await broken.open(`/gone-${size}/file`, NEW)) as string, 0, bytesOf(size));
      const read = (await broken.open(`/gone-${size}/other`, NEW | OPEN.read)) as string;
      await broken.write(read, 0, "staged");
      expect((await lab.api.ask(`/v1/spaces/gone-${size}`, { method: "DELETE" })).ok).toBe(true);
      expect(await broken.close(read)).toBe(noSuchFile);
      broken.client.destroy();
      const stage = join(lab.api.dir, "hub", "sftp", "stage");
      for (let looks = 0; readdirSync(stage).length > 0 && looks < 2_000; looks++) await Bun.sleep(5);
      expect(readdirSync(stage)).toEqual([]);
    }
    expect(await admin.get("/demo/in/a.txt")).toBe("text of in/a.txt");
    expect(lab.api.log.filter(({ message }) => message === "sftp failed")).toEqual([]);
  });

  test("[SFTP-42] a large file that is written in order and then changed at its head is whole, on all ways", async () => {
    const bytes = Buffer.from(bytesOf(3_000_000, 9));
    const handle = (await admin.open("/demo/head.bin", NEW)) as string;
    expect(await admin.write(handle, 0, bytes)).toBe(ok);
    expect(await admin.write(handle, 10, "head")).toBe(ok);
    expect(await admin.close(handle)).toBe(ok);
    bytes.write("head", 10);
    const found = async (name: string): Promise<Buffer> =>
      Buffer.from(await (await lab.api.ask(`/v1/spaces/demo/content/${name}`)).arrayBuffer());
    expect(Buffer.compare(await found("head.bin"), bytes)).toBe(0);
    // As scp writes: over what was there, then cut.
    for (const length of [2_000_000, 3_000_000, 3_500_000]) {
      const over = (await admin.open("/demo/head.bin", OPEN.write | OPEN.create)) as string;
      const next = bytesOf(length, length);
      expect(await admin.write(over, 0, next)).toBe(ok);
      const attrs = { size: length, owner: undefined, mode: 0o644, mtimeSeconds: undefined };
      expect(await admin.status("fsetstat", (packet) => packet.text(over).attrs(attrs))).toBe(ok);
      expect(await admin.close(over)).toBe(ok);
      expect(Buffer.compare(await found("head.bin"), Buffer.from(next))).toBe(0);
    }
  });

  test("[SFTP-43] fsync makes durable what was written: visible in the space where it is no upload to go on with", async () => {
    const handle = (await admin.open("/demo/sync.txt", NEW)) as string;
    const sync = (): Promise<number> => admin.extended("fsync@openssh.com", (packet) => packet.text(handle));
    await admin.write(handle, 0, "one");
    expect(await sync()).toBe(ok);
    expect(await lab.api.text("sync.txt")).toBe("one");
    await admin.write(handle, 3, " two");
    expect(await admin.close(handle)).toBe(ok);
    expect(await lab.api.text("sync.txt")).toBe("one two");
  });

  test("[SFTP-14] open heeds its flags", async () => {
    expect(await admin.open("/demo/none.txt", OPEN.read)).toBe(noSuchFile);
    expect(await admin.open("/demo/none.txt", OPEN.write)).toBe(noSuchFile);
    expect(await admin.open("/demo/none/x", NEW)).toBe(noSuchFile);
    expect(await admin.open("/demo/in", NEW)).toBe(failure);
    expect(await admin.open("/demo/in", OPEN.read)).toBe(failure);
    expect(await admin.open("/demo/top.txt", NEW | OPEN.exclusive)).toBe(failure);
    expect(await admin.open("/none/x", NEW)).toBe(noSuchFile);
    const once = (await admin.open("/demo/once.txt", NEW | OPEN.exclusive)) as string;
    await lab.api.put("once.txt", "another was there first");
    await admin.write(once, 0, "mine");
    expect(await admin.close(once)).toBe(failure);
    expect(await lab.api.text("once.txt")).toBe("another was there first");
    const appended = (await admin.open("/demo/once.txt", OPEN.append | OPEN.create)) as string;
    await admin.write(appended, 23, "!");
    expect(await admin.close(appended)).toBe(ok);
    expect(await lab.api.text("once.txt")).toBe("another was there first!");
    const read = (await admin.open("/demo/once.txt", OPEN.read)) as string;
    expect(await admin.write(read, 0, "x")).toBe(failure);
    expect(await admin.read(read, 24, 10)).toBe(eof);
    expect(await admin.read(read, 22, 10)).toEqual(new Uint8Array(Buffer.from("t!")));
    expect(await admin.close(read)).toBe(ok);
  });

  test("[SFTP-15] a quota ends an upload before its bytes are stored, and a commit all the same", async () => {
    const handle = (await admin.open("/small/large.bin", NEW)) as string;
    expect(await admin.write(handle, 0, bytesOf(200_000))).toBe(ok);
    expect(await admin.write(handle, 1 << 20, "x")).toBe(failure);
    // What was written so far is no file.
    expect(await admin.close(handle)).toBe(failure);
    expect(await admin.on("stat", "/small/large.bin")).toBe(noSuchFile);
    expect(await admin.put("/small/fits.bin", bytesOf(200_000))).toBe(ok);
    const { fields } = await admin.ask("extended", (packet) => packet.text("statvfs@openssh.com").name("/small"));
    const [block, , blocks, free] = Array.from({ length: 4 }, () => fields.position64());
    expect(blocks! * block!).toBe(1 << 20);
    expect(free! * block!).toBeLessThanOrEqual((1 << 20) - 200_000);
  });

  test("[SFTP-16] a whole file is copied within a space without its bytes, parts of one with them", async () => {
    await admin.put("/demo/source.bin", bytesOf(400_000));
    const source = (await admin.open("/demo/source.bin", OPEN.read)) as string;
    const copy = async (to: string, from: number, length: number, at: number): Promise<Buffer> => {
      const target = (await admin.open(to, NEW)) as string;
      const status = await admin.extended("copy-data", (packet) =>
        packet.text(source).uint64(from).uint64(length).text(target).uint64(at));
      expect(status).toBe(ok);
      expect(await admin.close(target)).toBe(ok);
      const [, space, path] = to.split("/");
      return Buffer.from(await (await lab.api.ask(`/v1/spaces/${space}/content/${path}`)).arrayBuffer());
    };
    const all = Buffer.from(bytesOf(400_000));
    expect(Buffer.compare(await copy("/demo/whole.bin", 0, 0, 0), all)).toBe(0);
    expect(Buffer.compare(await copy("/other/whole.bin", 0, 0, 0), all)).toBe(0);
    const part = Buffer.concat([Buffer.alloc(5), all.subarray(1_000, 1_000 + 9_000)]);
    expect(Buffer.compare(await copy("/demo/part.bin", 1_000, 9_000, 5), part)).toBe(0);
    await admin.close(source);
  });

  test("[SFTP-19] sums of whole files are told, by name and by handle", async () => {
    const bytes = bytesOf(150_000, 4);
    await admin.put("/demo/sums.bin", bytes);
    const ask = (name: string, of: string, algorithms: string, length: number) =>
      admin.ask("extended", (packet) => packet.text(name).text(of).text(algorithms).uint64(0).uint64(length).uint32(0));
    const read = (await admin.open("/demo/sums.bin", OPEN.read)) as string;
    for (const [name, of] of [["check-file-name", "/demo/sums.bin"], ["check-file-handle", read]] as const) {
      for (const algorithm of ["md5", "sha1", "sha256"] as const) {
        const { type, fields } = await ask(name, of, `none,${algorithm}`, 0);
        expect([type, fields.handle(), fields.handle()]).toEqual([201, "check-file", algorithm]);
        const found = new Bun.CryptoHasher(algorithm).update(bytes).digest();
        expect(Array.from(found, () => fields.byte())).toEqual([...found]);
      }
    }
    expect((await ask("check-file-handle", read, "crc32", 0)).fields.uint32()).toBe(unsupported);
    expect((await ask("check-file-handle", read, "md5", 10)).fields.uint32()).toBe(unsupported);
    await admin.close(read);
  });

  test("[SFTP-59] permissions that were taken away while a file comes are not back when it is closed", async () => {
    const other = await lab.session("admin");
    const set = (sftp: TestSftp, path: string, mode: number): Promise<number> =>
      sftp.status("setstat", (packet) => packet.name(path).wantedAttrs({ size: undefined, owner: undefined, mode, mtimeSeconds: undefined }));
    for (const size of [100, 3 << 20]) {
      const path = `/demo/narrowed-${size}`;
      await admin.put(path, "old");
      const handle = (await admin.open(path, NEW)) as string;
      for (let at = 0; at < size; at += 100_000) await admin.write(handle, at, bytesOf(Math.min(100_000, size - at)));
      expect(await set(other, path, 0o600)).toBe(ok);
      expect(await admin.close(handle)).toBe(ok);
      expect(await other.attrs("stat", path)).toMatchObject({ size, mode: 0o600 });
    }
    // What the client itself says of the file counts.
    const handle = (await admin.open("/demo/narrowed-100", NEW)) as string;
    await admin.write(handle, 0, "said");
    expect(await admin.status("fsetstat", (packet) => packet.text(handle).wantedAttrs({ size: undefined, owner: undefined, mode: 0o640, mtimeSeconds: undefined }))).toBe(ok);
    expect(await set(other, "/demo/narrowed-100", 0o604)).toBe(ok);
    expect(await admin.close(handle)).toBe(ok);
    expect(await other.attrs("stat", "/demo/narrowed-100")).toMatchObject({ size: 4, mode: 0o640 });
    other.client.destroy();
  });

  test("[SFTP-17] modes and times are kept; an owner is refused, and no attribute makes another content", async () => {
    await admin.put("/demo/attrs.txt", "text");
    const set = (path: string, attrs: object): Promise<number> =>
      admin.status("setstat", (packet) => packet.name(path).attrs({ size: 4, owner: undefined, mode: 0o640, mtimeSeconds: 1_000, ...attrs }));
    expect(await set("/demo/attrs.txt", {})).toBe(ok);
    expect(await admin.attrs("stat", "/demo/attrs.txt")).toMatchObject({ size: 4, mode: 0o640, mtimeSeconds: 1_000 });
    expect(await set("/demo/attrs.txt", { owner: { uid: 5, gid: 5 } })).toBe(unsupported);
    expect(await set("/demo/attrs.txt", { size: 2 })).toBe(ok);
    expect(await lab.api.text("attrs.txt")).toBe("te");
    expect(await set("/demo/in", { size: 0 })).toBe(failure);
    expect(await set("/demo", {})).toBe(failure);
  });
});

describe("reading over SFTP", () => {
  test("[SFTP-18] reads that are asked for together are answered in their order, with the bytes of their places", async () => {
    const bytes = bytesOf(2_000_000, 7);
    const large = await lab.api.ask("/v1/spaces/demo/content/large.bin", { method: "PUT", body: bytes });
    expect(large.ok).toBe(true);
    const handle = (await admin.open("/demo/large.bin", OPEN.read)) as string;
    const order: number[] = [];
    // What is behind the end is known at once.
    const places = [1_900_000, 0, 2_000_000, 1_000_000, 10, 500_000, 1_999_990, 3_000_000, 250_000, 0];
    await Promise.all(places.map(async (place, at) => {
      const found = await admin.read(handle, place, 200_000);
      order.push(at);
      if (place >= bytes.length) expect(found).toBe(eof);
      else expect(Buffer.compare(found as Uint8Array, bytes.subarray(place, place + 200_000))).toBe(0);
    }));
    expect(order).toEqual(places.map((_, at) => at));
    await admin.close(handle);
  });
});

describe("the tree over SFTP", () => {
  test("[SFTP-20] directories are made, listed, renamed and removed", async () => {
    expect(await admin.mkdir("/other/d")).toBe(ok);
    expect(await admin.mkdir("/other/d")).toBe(failure);
    expect(await admin.mkdir("/other/none/d")).toBe(noSuchFile);
    await Promise.all(Array.from({ length: 20 }, (_, one) => admin.put(`/other/d/${one}`, "x")));
    const entry = { kind: "dir", mode: 0o755 } as const;
    const changes = Array.from({ length: 1_100 }, (_, at) => ({
      type: "put", path: `d/dir-${at}`, expect: { kind: "absent" }, entry, content: undefined, makeParents: false,
    }) as const);
    const request = { changes, intake: undefined, atomic: true, cause: "edit", traceId: "0".repeat(32) } as const;
    await lab.api.hub.spaces.commit(systemPrincipal("test"), "other", request);
    expect(((await admin.names("/other/d")) as string[]).length).toBe(1_120);
    expect(await admin.on("rmdir", "/other/d")).toBe(failure);
    expect(await admin.on("remove", "/other/d")).toBe(failure);
    expect(await admin.rename("/other/d", "/other/e")).toBe(ok);
    expect(await admin.on("stat", "/other/d")).toBe(noSuchFile);
    expect(await admin.get("/other/e/7")).toBe("x");
    expect(await admin.on("rmdir", "/other/e/7")).toBe(failure);
    expect(await admin.on("remove", "/other/e/7")).toBe(ok);
    expect(await admin.on("remove", "/other/e/7")).toBe(noSuchFile);
  });

  test("[SFTP-21] rename replaces nothing, posix-rename what is there, and nothing leaves its space", async () => {
    await admin.put("/demo/r1", "one");
    await admin.put("/demo/r2", "two");
    expect(await admin.rename("/demo/r1", "/demo/r2")).toBe(failure);
    expect(await admin.rename("/demo/r1", "/other/r1")).toBe(unsupported);
    const posix = (from: string, to: string): Promise<number> =>
      admin.extended("posix-rename@openssh.com", (packet) => packet.name(from).name(to));
    expect(await posix("/demo/r1", "/demo/r2")).toBe(ok);
    expect(await admin.get("/demo/r2")).toBe("one");
    expect(await admin.on("stat", "/demo/r1")).toBe(noSuchFile);
    expect(await posix("/demo/r2", "/demo/in")).toBe(failure);
    expect(await posix("/demo/r2", "/demo/r2")).toBe(ok);
    expect(await admin.extended("hardlink@openssh.com", (packet) => packet.name("/demo/r2").name("/demo/r3"))).toBe(unsupported);
  });

  test("[SFTP-22] symlinks are kept, and followed within what the user sees", async () => {
    await admin.put("/demo/in/target.txt", "behind a link");
    expect(await admin.symlink("in", "/demo/dirlink")).toBe(ok);
    expect(await admin.symlink("dirlink/target.txt", "/demo/filelink")).toBe(ok);
    expect(await admin.get("/demo/filelink")).toBe("behind a link");
    expect(await admin.get("/demo/dirlink/target.txt")).toBe("behind a link");
    expect(await admin.put("/demo/dirlink/made.txt", "m")).toBe(ok);
    expect(await lab.api.text("in/made.txt")).toBe("m");
    const { fields } = await admin.ask("readlink", (packet) => packet.name("/demo/filelink"));
    fields.uint32();
    expect(fields.path()).toBe("dirlink/target.txt");
    for (const target of ["../../other/e/8", "/demo/top.txt", "../..", "self"]) {
      expect(await admin.symlink(target, "/demo/self")).toBe(ok);
      expect(await admin.on("stat", "/demo/self")).toBe(target === "self" ? failure : noSuchFile);
      expect(await admin.on("lstat", "/demo/self")).toBe(ok);
      expect(typeof (await admin.open("/demo/self", NEW))).toBe("number");
      expect(await admin.on("remove", "/demo/self")).toBe(ok);
    }
  });

  test("[SFTP-23] no path leads above the top, whatever it holds", async () => {
    const boxed = await lab.session("boxed");
    for (const path of ["/../../top.txt", "../top.txt", "/x/../../../top.txt", "//..//../top.txt", "a.txt/../../top.txt"]) {
      expect(await boxed.on("lstat", path)).toBe(noSuchFile);
      expect(await boxed.put(path.replace("top", "made"), "x")).toBe(ok);
      expect(await lab.api.text("in/made.txt")).toBe("x");
    }
    expect(await boxed.names("/../..")).toContain("a.txt");
    expect(await boxed.names("/../..")).not.toContain("top.txt");
    expect(await admin.symlink("../top.txt", "/demo/in/up")).toBe(ok);
    expect(await boxed.get("/up")).toBe(noSuchFile);
    expect(await admin.on("lstat", "/demo/in/a\0b")).toBe(noSuchFile);
    expect(await admin.open("/demo/.syncline", NEW)).toBe(failure);
    expect(await admin.open(`/demo/${"x".repeat(300)}`, NEW)).toBe(failure);
    const { fields } = await admin.ask("realpath", (packet) => packet.name("demo/./in//../top.txt/"));
    fields.uint32();
    expect(fields.path()).toBe("/demo/top.txt");
  });

  test("[SFTP-24] spaces are no directories that could be made, renamed or removed", async () => {
    expect(await admin.names("/")).toEqual(["demo", "other", "small"]);
    expect(await admin.mkdir("/fresh")).toBe(permissionDenied);
    expect(await admin.on("rmdir", "/other")).toBe(permissionDenied);
    expect(await admin.rename("/other", "/another")).toBe(permissionDenied);
    expect(await admin.open("/file", NEW)).toBe(permissionDenied);
    expect(await admin.on("rmdir", "/")).toBe(permissionDenied);
  });

  test("[SFTP-25] each operation of each person comes to what the rights say", async () => {
    const people = { reader: await lab.session("reader"), writer: await lab.session("writer"), stranger: await lab.session("stranger") };
    expect(await people.reader.names("/")).toEqual(["demo"]);
    expect(await people.reader.names("/demo")).toEqual(["in"]);
    expect(await people.stranger.names("/")).toEqual([]);
    for (const [who, sftp] of Object.entries(people)) {
      const mayRead = who !== "stranger";
      const mayWrite = who === "writer";
      // For who may see nothing of a space it does not exist.
      const refused = who === "stranger" ? [permissionDenied, noSuchFile] : [permissionDenied];
      const expectStatus = (status: number, isAllowed: boolean): void => expect<number[]>(isAllowed ? [ok] : refused).toContain(status);
      const read = await sftp.get("/demo/in/a.txt");
      expect(read).toBe(mayRead ? "text of in/a.txt" : permissionDenied);
      expectStatus(await sftp.on("stat", "/demo/in/a.txt"), mayRead);
      expectStatus(await sftp.on("stat", "/demo/out/b.txt"), false);
      expect(await sftp.get("/demo/out/b.txt")).toBe(permissionDenied);
      expect(await sftp.names("/demo/out")).toBe(permissionDenied);
      expectStatus(await sftp.put(`/demo/in/by-${who}`, "x"), mayWrite);
      expectStatus(await sftp.put(`/demo/out/by-${who}`, "x"), false);
      expectStatus(await sftp.mkdir(`/demo/in/dir-${who}`), mayWrite);
      expectStatus(await sftp.mkdir(`/demo/out/dir-${who}`), false);
      expectStatus(await sftp.symlink("a.txt", `/demo/in/link-${who}`), mayWrite);
      expectStatus(await sftp.rename("/demo/in/a.txt", `/demo/out/a-${who}`), false);
      await lab.api.put(`in/mine-${who}`, "x");
      expectStatus(await sftp.rename(`/demo/in/mine-${who}`, `/demo/in/yours-${who}`), mayWrite);
      await lab.api.put(`in/gone-${who}`, "x");
      expectStatus(await sftp.on("remove", `/demo/in/gone-${who}`), mayWrite);
      expectStatus(await sftp.on("remove", "/demo/out/b.txt"), false);
      await lab.api.put(`in/set-${who}`, "x");
      const set = sftp.status("setstat", (packet) => packet.name(`/demo/in/set-${who}`).uint32(4).uint32(0o600));
      expectStatus(await set, mayWrite);
    }
    expect(await lab.api.text("in/a.txt")).toBe("text of in/a.txt");
  });

  test("[SFTP-26] a right that is taken away is gone for sessions that are open", async () => {
    const reader = await lab.session("reader");
    expect(await reader.get("/demo/in/a.txt")).toBe("text of in/a.txt");
    const change = (body: object) => lab.api.ask("/v1/users/reader", { method: "PATCH", json: body });
    expect((await change({ roles: [] })).ok).toBe(true);
    for (let looks = 0; (await reader.get("/demo/in/a.txt")) !== permissionDenied && looks < 200; looks++) await Bun.sleep(5);
    expect(await reader.get("/demo/in/a.txt")).toBe(permissionDenied);
    expect((await change({ roles: ["in-reader"], disabled: true })).ok).toBe(true);
    await reader.ended;
    await change({ disabled: false });
  });

  test("[SFTP-39] who is disabled is disconnected, also before a session is open, and while the password is compared", async () => {
    const change = (user: string, body: object) => lab.api.ask(`/v1/users/${user}`, { method: "PATCH", json: body });
    const closed = (one: Client) => new Promise((resolve) => one.on("close", () => resolve("closed")));
    const client = await lab.connect("reader", { password: PASSWORDS.reader });
    const gone = closed(client);
    await change("reader", { disabled: true });
    expect(await Promise.race([gone, TestSftp.over(client).then(readOf, () => gone)])).toBe("closed");
    await change("reader", { disabled: false });

    // Whose password was never compared before.
    const person = { name: "late", password: PASSWORDS.reader, roles: ["in-reader"] };
    expect((await lab.api.ask("/v1/users", { method: "POST", json: person })).ok).toBe(true);
    const late = new ssh2.Client();
    late.on("error", () => undefined);
    const refused = closed(late);
    const ready = once(late, "ready");
    ready.catch(() => undefined);
    const greeted = once(late, "handshake");
    late.connect({ host: "127.0.0.1", port: lab.port, username: "late", password: PASSWORDS.reader });
    await greeted;
    await Bun.sleep(20);
    await change("late", { disabled: true });
    // It may have been let in before. From now on it gets nothing.
    const read = ready.then(async () => readOf(await TestSftp.over(late))).catch(() => refused);
    expect(await Promise.race([refused, read])).toBe("closed");
  });
});

async function readOf(sftp: TestSftp): Promise<unknown> {
  await sftp.greet();
  return sftp.get("/demo/in/a.txt");
}

describe("the SSH side", () => {
  const refusedOf = (work: Promise<unknown>): Promise<string> => work.then(() => "let in", () => "refused");

  test("[SFTP-30] passwords and public keys let in, what is wrong does not", async () => {
    expect(await refusedOf(lab.connect("admin", { password: "wrong" }))).toBe("refused");
    expect(await refusedOf(lab.connect("nobody", { password: PASSWORDS.admin }))).toBe("refused");
    for (const [type, options] of [["ed25519"], ["ecdsa", { bits: 256 }], ["ecdsa", { bits: 521 }], ["rsa", { bits: 2048 }]] as const) {
      const pair = makeSshKeyPair(type, options);
      expect(await refusedOf(lab.connect("admin", { privateKey: pair.private }))).toBe("refused");
      const added = await lab.api.ask("/v1/users/admin/ssh-keys", { method: "POST", json: { key: pair.public } });
      expect(added.status).toBe(201);
      expect(await refusedOf(lab.connect("admin", { privateKey: pair.private }))).toBe("let in");
      // It is nobody else's.
      expect(await refusedOf(lab.connect("writer", { privateKey: pair.private }))).toBe("refused");
    }
  });

  test("[SFTP-31] shells, commands and forwarding are refused, in words where there is a place for them", async () => {
    const client = await lab.connect("admin", { password: PASSWORDS.admin });
    const words = (kind: "shell" | "exec"): Promise<string> =>
      new Promise((resolve, reject) => {
        const opened = (error: Error | undefined, channel: Duplex & { stderr: Readable }): void => {
          if (error !== undefined) return reject(error);
          let text = "";
          channel.stderr.on("data", (bytes: Buffer) => (text += bytes.toString()));
          channel.resume();
          channel.on("close", () => resolve(text));
        };
        if (kind === "shell") client.shell(opened);
        else client.exec("id", opened);
      });
    expect(await words("shell")).toContain("Syncline serves files over SFTP");
    expect(await words("exec")).toContain("runs no commands");
    const forwarded = new Promise((resolve) => client.forwardOut("127.0.0.1", 1, "127.0.0.1", lab.port, (error) => resolve(error)));
    expect(await forwarded).toBeInstanceOf(Error);
    expect(await new Promise((resolve) => client.forwardIn("127.0.0.1", 0, resolve))).toBeInstanceOf(Error);
  });

  test("[SFTP-32] host keys are made once, for their owner alone", async () => {
    const directory = join(lab.api.dir, "hub", "sftp");
    const keys = readdirSync(directory).filter((name) => name.endsWith("_key"));
    expect(keys.sort()).toEqual(["ssh_host_ecdsa_key", "ssh_host_ed25519_key", "ssh_host_rsa_key"]);
    for (const name of keys) expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
    const told = lab.api.log.filter(({ message }) => message === "sftp host key").map(({ fields }) => fields["fingerprint"]);
    expect(told).toHaveLength(3);
  });

  test("[SFTP-33] who only connects, or sends what is no SSH, is cut off without harm to others", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 500 }), fc.boolean(), async (noise, isGreeted) => {
        const socket = connect(lab.port, "127.0.0.1");
        socket.on("error", () => undefined);
        const closed = new Promise((resolve) => socket.on("close", resolve));
        if (isGreeted) socket.write("SSH-2.0-Noise\r\n");
        socket.end(noise);
        socket.resume();
        await closed;
      }),
      { numRuns: 60 },
    );
    expect(await admin.get("/demo/top.txt")).toBe("text of top.txt");
  });

  test("[SFTP-38] who goes in the middle of anything leaves the hub as it was", async () => {
    const begun = Array.from({ length: 30 }, async (_, at) => {
      const client = new ssh2.Client();
      client.on("error", () => undefined);
      const gone = new Promise((resolve) => client.on("close", resolve));
      const password = at % 2 === 0 ? PASSWORDS.admin : "wrong";
      client.connect({ host: "127.0.0.1", port: lab.port, username: "admin", password });
      // In the handshake, while the password is looked at, while a channel is opened or an answer is sent.
      client.on("ready", () => client.subsys("sftp", (_error, channel) => channel?.write(new Uint8Array([0, 0, 0, 5, 1, 0, 0, 0, 3]))));
      await Bun.sleep(at * 4);
      client.destroy();
      await gone;
    });
    await Promise.all(begun);
    for (let at = 0; at < 20; at++) {
      const client = await lab.connect("stranger", { password: PASSWORDS.stranger });
      const sftp = await TestSftp.over(client);
      await sftp.greet();
      const asked = Array.from({ length: 50 }, () => sftp.raw(new PacketWriter(16, 1).name("/").finish()));
      expect(asked).toHaveLength(50);
      if (at % 2 === 0) client.destroy();
      else client.end();
    }
    expect(await admin.get("/demo/top.txt")).toBe("text of top.txt");
  });

  test("[SFTP-34] garbage in a session is answered or ends it, and never more than that", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 6 }), async (pieces) => {
        const client = await lab.connect("stranger", { password: PASSWORDS.stranger });
        const sftp = await TestSftp.over(client);
        for (const piece of pieces) sftp.raw(piece);
        const closed = new Promise((resolve) => client.on("close", resolve));
        client.end();
        await closed;
      }),
      { numRuns: 40 },
    );
    expect(await admin.get("/demo/top.txt")).toBe("text of top.txt");
    const faults = lab.api.log.filter(({ message }) => message === "sftp failed");
    expect(faults).toEqual([]);
  });

  test("[SFTP-35] packets of all kinds with fields of all kinds are answered, one by one", async () => {
    const kinds = [
      "open", "close", "read", "write", "lstat", "fstat", "setstat", "fsetstat", "opendir", "readdir", "remove", "mkdir",
      "rmdir", "realpath", "stat", "rename", "readlink", "symlink", "extended",
    ] as const;
    const field = fc.oneof(
      fc.constantFrom("/", "/demo", "/demo/in/a.txt", "/demo/none", "", "0", "1", "..", "limits@openssh.com", "copy-data")
        .map((text) => (packet: PacketWriter) => packet.text(text)),
      fc.nat(2 ** 32 - 1).map((number) => (packet: PacketWriter) => packet.uint32(number)),
      fc.constantFrom(0, 1, 2 ** 40).map((number) => (packet: PacketWriter) => packet.uint64(number)),
    );
    const reader = await lab.session("reader");
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...kinds), fc.array(field, { maxLength: 5 }), async (kind, fields) => {
        const answer = await reader.ask(kind, (packet) => fields.reduce((all, fill) => fill(all), packet));
        expect([101, 102, 103, 104, 105, 201]).toContain(answer.type);
      }),
      { numRuns: 400 },
    );
    expect(lab.api.log.filter(({ message }) => message === "sftp failed")).toEqual([]);
  });

  test("[SFTP-36] a session has so many handles and no more; malformed packets are told apart from refused ones", async () => {
    const reader = await lab.session("reader");
    const handles: string[] = [];
    for (;;) {
      const handle = await reader.open("/demo/in/a.txt", OPEN.read);
      if (typeof handle === "number") break;
      handles.push(handle);
    }
    expect(handles).toHaveLength(256);
    expect(await reader.close(handles[0]!)).toBe(ok);
    expect(typeof (await reader.open("/demo/in/a.txt", OPEN.read))).toBe("string");
    expect(await reader.status("open", (packet) => packet.uint32(5))).toBe(badMessage);
    expect(await reader.status("extended", (packet) => packet.text("nothing@example.com"))).toBe(unsupported);
  });

  test("[SFTP-37] a key that was revoked opens nothing, and ends what it had opened", async () => {
    const pair = makeSshKeyPair("ed25519");
    const added = await lab.api.ask("/v1/users/admin/ssh-keys", { method: "POST", json: { key: pair.public } });
    const { fingerprint } = (await added.json()) as { fingerprint: string };
    const client = await lab.connect("admin", { privateKey: pair.private });
    const closed = new Promise((resolve) => client.on("close", resolve));
    const sftp = await TestSftp.over(client);
    await sftp.greet();
    const gone = await lab.api.ask(`/v1/users/admin/ssh-keys/${encodeURIComponent(fingerprint)}`, { method: "DELETE" });
    expect(gone.ok).toBe(true);
    await closed;
    expect(await refusedOf(lab.connect("admin", { privateKey: pair.private }))).toBe("refused");
  });

  test("[SFTP-60] who says nothing on as many connections as strangers may have keeps nobody at another address out", async () => {
    const crowd = Array.from({ length: 256 }, () => connect({ host: "127.0.0.1", port: lab.port, localAddress: "127.0.0.3" }));
    await Promise.all(crowd.map(async (socket) => {
      socket.on("error", () => undefined);
      await once(socket, "data");
    }));
    const client = await lab.connect("reader", { password: PASSWORDS.reader });
    client.end();
    for (const socket of crowd) socket.destroy();
  });
});
