/** What uploads promise on every database; uploads.test.ts runs it on SQLite, acceptance/database.test.ts on PostgreSQL. */
import { afterEach, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { systemPrincipal } from "#access/access.ts";
import { ENCRYPTED, OPENER_BYTES, encryptionText, storedPartBytes } from "#hub/encrypted-content.ts";
import { seedsOf } from "#hub/hub-spaces.ts";
import {
  type Challenge, PART_BYTES_MAX, type Proof, STREAM_COMMIT_BYTES, STREAM_COMMIT_MS, UPLOAD_EXPIRY_MS, UPLOAD_KNOWN_MS, USER_WRITING_MAX, type Uploader, proofHead,
} from "#hub/uploads/upload.ts";
import { TRACE, UploadLab, noise, person } from "#hub/uploads/uploads-fixture.ts";
import { SynclineError } from "#model/error.ts";
import { letGo } from "#platform/net/received.ts";
import type { Database } from "#platform/sql/database.ts";
import { CHUNK_LIMITS, LARGE_FILE_BYTES } from "#sync/chunk/fastcdc.ts";
import { PIECE_BYTES, sumOf } from "#sync/chunk/sum.ts";

export type UploadsLab = { open(): Promise<Database>; dispose(): Promise<void> };

const MIB = 1 << 20;
const ann = person("ann");
const never = new AbortController().signal;

async function codeOf(done: Promise<unknown>): Promise<string> {
  try {
    await done;
  } catch (error) {
    if (error instanceof SynclineError) return error.code;
    throw error;
  }
  return "none";
}

/** Until whoever was asked waits for what the test holds back. */
const turns = (): Promise<void> => Bun.sleep(30);

const join = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const sha256 = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
const md5 = (bytes: Uint8Array): string => new Bun.CryptoHasher("md5").update(bytes).digest("hex");

export function uploadsContract(name: string, makeLab: () => Promise<UploadsLab>, runs: number): void {
  describe(`uploads: ${name}`, () => {
    let outer: UploadsLab | undefined;
    const fresh = async (): Promise<UploadLab> => {
      outer = await makeLab();
      return UploadLab.start(() => outer!.open());
    };
    afterEach(async () => {
      await outer?.dispose();
      outer = undefined;
    });

    /** The file is these bytes, and its sum is theirs. */
    const expectFile = async (lab: UploadLab, path: string, bytes: Uint8Array) => {
      const { version, bytes: found } = await lab.file(path);
      expect(found.length).toBe(bytes.length);
      expect(Buffer.compare(found, bytes)).toBe(0);
      const space = await lab.spaces.space(ann.who, "demo");
      expect((version.entry as { sum: string }).sum).toBe(sumOf(bytes, seedsOf(space)));
      return version;
    };

    test("[UPLOAD-1] parts in any order, replaced and left out, are one file at once; what is lacking is told", async () => {
      const lab = await fresh();
      const { id } = await lab.create(ann, "d/f", { attributes: { "user.a": "1" }, mode: 0o600, mtimeNs: 5n });
      const [a, b, c] = [noise(2 * MIB, 1), noise(3 * MIB, 2), noise(700_001, 3)];
      await Promise.all([lab.part(ann, id, 7, c), lab.part(ann, id, 3, noise(5, 9)), lab.part(ann, id, 2, b)]);
      await lab.part(ann, id, 1, noise(10, 4));
      await lab.part(ann, id, 1, a);
      const parts = await lab.uploads.parts(ann, id, 0, 100);
      expect(parts.map(({ number, size }) => [number, size])).toEqual([[1, a.length], [2, b.length], [3, 5], [7, c.length]]);
      expect(parts[0]!.sums).toEqual({ md5: md5(a) });
      expect((await lab.uploads.get(ann, id)).received).toBe(a.length + b.length + c.length + 5);
      expect(await codeOf(lab.complete(ann, id, { parts: [1, 2, 4] }))).toBe("STALE");
      expect(await codeOf(lab.complete(ann, id, { parts: [2, 1] }))).toBe("USAGE");
      const done = await lab.complete(ann, id, { parts: [1, 2, 7], attributes: { "etag.s3": "x" } });
      expect(done).toMatchObject({ isFirst: true, result: { status: "done", path: "d/f" } });
      const version = await expectFile(lab, "d/f", join(a, b, c));
      expect(version).toMatchObject({ attributes: { "etag.s3": "x" }, entry: { mode: 0o600, mtimeNs: 5n } });
      expect(await codeOf(lab.part(ann, id, 1, a))).toBe("NOT_FOUND");
    });

    test("[SSEC-37] an encrypted file is completed without that a byte of it is read, and none of its parts is known by a sum", async () => {
      const lab = await fresh();
      const { id } = await lab.create(ann, "f");
      const sizes = [2 * MIB, 2 * MIB, 5];
      for (const [at, size] of sizes.entries()) {
        await using sink = await lab.uploads.part(ann, id, at + 1, { sums: ["md5"] });
        await sink.write(noise(storedPartBytes(size), at + 1));
        await sink.end();
        await sink.commit({ sha256: sha256(noise(size, at)) });
      }
      const parts = sizes.map((size, at) => ({ number: at + 1, size }));
      const text = encryptionText({ opener: new Uint8Array(OPENER_BYTES), parts, sums: {} });
      // Whoever reads one finds it damaged.
      for (const chunk of lab.disk.chunks.keys()) lab.disk.damage(chunk);
      const { result } = await lab.complete(ann, id, { attributes: { [ENCRYPTED]: text }, sums: { crc32: "00000000" } });
      const version = { entry: { size: 4 * MIB + 5, sum: undefined }, content: { size: 2 * storedPartBytes(2 * MIB) + storedPartBytes(5) } };
      expect(result).toMatchObject({ status: "done", version });
      const other = await lab.create(ann, "g");
      const prints = sizes.map((size, at) => ({ number: at + 1, size: storedPartBytes(size), sha256: sha256(noise(size, at)) }));
      expect((await lab.uploads.offer(ann, other.id, prints)).parts).toEqual([]);
      const made = (await lab.meta.version((await lab.spaces.space(ann.who, "demo")).id, "f"))!;
      expect(await lab.meta.sums(made.content!.id)).toEqual({});
    });

    test("[UPLOAD-2] the sum of a file is right wherever its parts end", async () => {
      const lab = await fresh();
      for (const sizes of [[], [0], [0, 5, 0], [MIB, MIB], [MIB, 1], [MIB - 1, 1], [MIB + 1, 2 * MIB], [3, MIB, 5], [2 * MIB, 0, 5]]) {
        const { id } = await lab.create(ann, "f");
        const parts = sizes.map((size, at) => noise(size, at + 1));
        for (const [at, part] of parts.entries()) await lab.part(ann, id, at + 1, part);
        expect((await lab.complete(ann, id)).result.status).toBe("done");
        await expectFile(lab, "f", join(...parts));
      }
    });

    test("[CONTENT-4] memory that was written into a stream, or a part, may be gone afterwards", async () => {
      const lab = await fresh();
      const [bytes, part] = [noise(9 * MIB + 5, 8), noise(5 * MIB, 9)];
      const write = async (sink: { write(bytes: Uint8Array): Promise<void> | void }, all: Uint8Array): Promise<void> => {
        for (let at = 0; at < all.length; at += 300_000) {
          const received = all.slice(at, at + 300_000);
          const full = sink.write(received);
          if (full !== undefined) await full;
          letGo(received);
        }
      };
      const stream = await lab.create(ann, "f", { kind: "stream" });
      await using appending = await lab.uploads.append(ann, stream.id, 0, { sums: ["md5"] });
      await write(appending, bytes);
      expect((await appending.end()).md5).toBe(md5(bytes));
      await appending.commit();
      await lab.complete(ann, stream.id);
      await expectFile(lab, "f", bytes);
      const { id } = await lab.create(ann, "g");
      await using sink = await lab.uploads.part(ann, id, 1, { sums: ["md5"] });
      await write(sink, part);
      expect((await sink.end()).sums.md5).toBe(md5(part));
      await sink.commit();
      await lab.complete(ann, id);
      await expectFile(lab, "g", part);
    });

    test("[UPLOAD-3] a stream that breaks off again and again is the file that one put would make", async () => {
      const lab = await fresh();
      const bytes = noise(9 * MIB + 12_345, 5);
      const { id } = await lab.create(ann, "f", { kind: "stream", size: bytes.length });
      const ends = [1, 2, 3, 100_000, 130_000, MIB - 1, MIB, MIB + 1, 3 * MIB + 7, 6 * MIB, bytes.length];
      let at = 0;
      for (const end of ends) {
        expect(await codeOf(lab.append(ann, id, at + 1, bytes.subarray(at, end)))).toBe("STALE");
        at = await lab.append(ann, id, at, bytes.subarray(at, end));
        expect(at).toBe(end);
        if (end < bytes.length) expect(await codeOf(lab.complete(ann, id))).toBe("STALE");
      }
      expect((await lab.complete(ann, id)).result.status).toBe("done");
      const version = await expectFile(lab, "f", bytes);
      await using intake = lab.spaces.intake(ann.who, "demo");
      const sink = intake.sink(bytes.length);
      await sink.write(bytes);
      expect(version.content).toEqual((await sink.end()).content);
    });

    test("[UPLOAD-43] bytes that are put where they belong come behind those that were written, and no more than fit", async () => {
      const lab = await fresh();
      const bytes = noise(21 * MIB + 77, 6);
      const { id } = await lab.create(ann, "f", { kind: "stream", size: bytes.length });
      await using appending = await lab.uploads.append(ann, id, 0);
      let at = 0;
      // As a connection that has a little more, or has nothing.
      const put = (into: Uint8Array): number => {
        const some = bytes.subarray(at, at + Math.min(into.length, at % 3 === 0 ? 900_001 : 70_000));
        into.set(some);
        at += some.length;
        return some.length;
      };
      let filled = 0;
      while (at < bytes.length) {
        const some = bytes.subarray(at, at + 500_000);
        at += some.length;
        await appending.write(some);
        for (let count = appending.fill(put); count > 0; count = appending.fill(put)) filled += count;
      }
      expect(filled).toBeGreaterThan(MIB);
      // Past the size that was announced there is no room.
      expect(appending.fill((into) => into.length)).toBe(0);
      await appending.end();
      expect(await appending.commit()).toBe(bytes.length);
      expect((await lab.complete(ann, id)).result.status).toBe("done");
      await expectFile(lab, "f", bytes);
      const summed = await lab.create(ann, "g", { kind: "stream" });
      await using summing = await lab.uploads.append(ann, summed.id, 0, { sums: ["md5"] });
      await summing.write(bytes.subarray(0, MIB));
      expect(summing.fill((into) => into.length)).toBe(0);
    });

    test("[UPLOAD-4] after a crash there is what was committed, and nothing of what was not; a prune takes none of it", async () => {
      const lab = await fresh();
      const [a, b, c] = [noise(2 * MIB, 1), noise(MIB, 2), noise(2 * MIB, 3)];
      const parts = await lab.create(ann, "parts");
      const stream = await lab.create(ann, "stream", { kind: "stream" });
      await lab.append(ann, stream.id, 0, a);
      // Last, so that nothing of what follows makes it durable.
      await lab.part(ann, parts.id, 1, c);
      const open = await lab.uploads.part(ann, parts.id, 2);
      await open.write(b);
      await open.end();
      const appending = await lab.uploads.append(ann, stream.id, a.length);
      await appending.write(b);
      await lab.crash();
      expect((await lab.uploads.parts(ann, parts.id, 0, 9)).map(({ number }) => number)).toEqual([1]);
      expect(await lab.uploads.get(ann, stream.id)).toMatchObject({ received: a.length, size: undefined });
      await lab.prune();
      await lab.part(ann, parts.id, 2, b);
      await lab.append(ann, stream.id, a.length, b);
      await lab.prune();
      for (const { id } of [parts, stream]) expect((await lab.complete(ann, id)).result.status).toBe("done");
      await lab.prune();
      await expectFile(lab, "parts", join(c, b));
      await expectFile(lab, "stream", join(a, b));
    });

    test("[UPLOAD-41] a long stream that dies in the middle has all but its last commits, and goes on to be whole", async () => {
      const lab = await fresh();
      const bytes = noise(3 * STREAM_COMMIT_BYTES + 5 * MIB, 4);
      const { id } = await lab.create(ann, "long", { kind: "stream" });
      const appending = await lab.uploads.append(ann, id, 0);
      for (let at = 0; at < bytes.length; at += MIB) {
        await appending.write(bytes.subarray(at, at + MIB));
        lab.nowMs += STREAM_COMMIT_MS / 10;
      }
      await lab.crash();
      const { received } = await lab.uploads.get(ann, id);
      // One commit was under way when the next was due, and chunks end where they do.
      expect(received).toBeGreaterThan(STREAM_COMMIT_BYTES);
      expect(received).toBeLessThan(bytes.length);
      await lab.append(ann, id, received, bytes.subarray(received));
      expect((await lab.complete(ann, id)).result.status).toBe("done");
      await expectFile(lab, "long", bytes);
    });

    test("[UPLOAD-42] behind 256 MiB the chunks of a stream of unknown size are large ones, wherever it broke off", async () => {
      const lab = await fresh();
      // Alike, so that the store has few chunks of it.
      const bytes = new Uint8Array(LARGE_FILE_BYTES + 20 * MIB + 5);
      const lengths: number[][] = [];
      for (const ends of [[bytes.length], [LARGE_FILE_BYTES - 100_000, LARGE_FILE_BYTES + 9 * MIB + 7, bytes.length]]) {
        const { id } = await lab.create(ann, `f${ends.length}`, { kind: "stream" });
        let at = 0;
        for (const end of ends) at = await lab.append(ann, id, at, bytes.subarray(at, end), MIB);
        expect((await lab.complete(ann, id)).result.status).toBe("done");
        const { content } = (await expectFile(lab, `f${ends.length}`, bytes))!;
        lengths.push((await lab.meta.manifest(content!.id))!.chunks.map(({ length }) => length));
      }
      const { maxBytes } = CHUNK_LIMITS;
      const few = Array.from({ length: LARGE_FILE_BYTES / maxBytes }, () => maxBytes);
      expect(lengths[0]).toEqual([...few, ...Array.from({ length: 5 }, () => 4 * MIB), 5]);
      expect(lengths[1]).toEqual(lengths[0]!);
    }, 60_000);

    test("[UPLOAD-40] what a stream has can be read, and stays for who holds it when the stream is dropped", async () => {
      const lab = await fresh();
      const bytes = noise(3 * MIB + 5, 1);
      const { id } = await lab.create(ann, "f", { kind: "stream" });
      await lab.append(ann, id, 0, bytes);
      await using intake = lab.spaces.intake(ann.who, "demo");
      const reader = await lab.uploads.read(ann, id, intake);
      await lab.uploads.abort(ann, id);
      await lab.prune();
      const found = new Uint8Array(reader.size);
      expect(await reader.read(found, 0)).toBe(bytes.length);
      expect(Buffer.compare(found, bytes)).toBe(0);
      expect(await codeOf(lab.uploads.read(ann, id, intake))).toBe("NOT_FOUND");
      const parts = await lab.create(ann, "p");
      expect(await codeOf(lab.uploads.read(ann, parts.id, intake))).toBe("USAGE");
      expect(await codeOf(lab.uploads.read(person("bob"), parts.id, intake))).toBe("NOT_FOUND");
    });

    test("[UPLOAD-5] what was aborted or has expired is gone, and its chunks with the next prune", async () => {
      const lab = await fresh();
      const [one, two, kept] = [await lab.create(ann, "1"), await lab.create(ann, "2", { expiryMs: 1000 }), await lab.create(ann, "3")];
      for (const [at, { id }] of [one, two, kept].entries()) await lab.part(ann, id, 1, noise(MIB, at));
      await lab.uploads.abort(ann, one.id);
      expect(await codeOf(lab.uploads.get(ann, one.id))).toBe("NOT_FOUND");
      expect(await lab.prune()).toBeGreaterThan(0);
      expect(await lab.prune()).toBe(0);
      lab.nowMs += 1001;
      expect(await codeOf(lab.uploads.get(ann, two.id))).toBe("NOT_FOUND");
      expect(await lab.uploads.sweep(never)).toBe(1);
      expect(await lab.prune()).toBeGreaterThan(0);
      expect((await lab.complete(ann, kept.id)).result.status).toBe("done");
      lab.nowMs += UPLOAD_KNOWN_MS + 1;
      expect(await lab.uploads.sweep(never)).toBe(1);
      await expectFile(lab, "3", noise(MIB, 2));
    });

    test("[UPLOAD-22] those of a door that were begun long ago are dropped where they are meant, and no others", async () => {
      const lab = await fresh();
      const space = await lab.spaces.space(ann.who, "demo");
      const old = [await lab.create(ann, "a/1"), await lab.create(ann, "a/2"), await lab.create(ann, "b")];
      const done = await lab.create(ann, "a/3");
      await lab.part(ann, done.id, 1, noise(5, 1));
      await lab.complete(ann, done.id);
      const beforeMs = lab.nowMs;
      lab.nowMs += 1000;
      const young = await lab.create(ann, "a/4");
      const drop = (door: string) => lab.uploads.abortBegunBefore(space.id, door, beforeMs, (path) => path.startsWith("a/"), never);
      expect([await drop("another"), await drop(ann.door), await drop(ann.door)]).toEqual([0, 2, 0]);
      const left = await lab.uploads.list(ann, "demo", { limit: 10 });
      expect(left.map(({ id }) => id).sort()).toEqual([old[2]!.id, young.id].sort());
      expect((await lab.uploads.get(ann, done.id)).sequence).toBe(1 + 1);
    });

    test("[UPLOAD-5] one that somebody goes on with does not expire; one for a space that is gone does", async () => {
      const lab = await fresh();
      const { id } = await lab.create(ann, "f", { kind: "stream" });
      for (let day = 0; day < 10; day++) {
        lab.nowMs += UPLOAD_EXPIRY_MS / 2;
        await lab.append(ann, id, day, noise(1, day));
        expect(await lab.uploads.sweep(never)).toBe(0);
      }
      const boss = systemPrincipal("test");
      await lab.spaces.deleteSpace(boss, "demo");
      expect(await codeOf(lab.uploads.get(ann, id))).toBe("SPACE_UNKNOWN");
      await lab.meta.eraseSpace((await lab.meta.spaces())[0]!.id, Date.now());
      expect(await lab.uploads.sweep(never)).toBe(1);
    });

    test("[UPLOAD-44] one that is dropped while it is being completed becomes a whole file, or none", async () => {
      const lab = await fresh();
      await lab.put("f", noise(7, 7));
      const begun = async (): Promise<string> => {
        const { id } = await lab.create(ann, "f");
        await lab.part(ann, id, 1, noise(5, 1));
        return id;
      };
      const aborted = await begun();
      const [mayDrop, mayRead] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const { drop } = lab.rows;
      lab.rows.drop = async (...given) => (await mayDrop.promise, drop.apply(lab.rows, given));
      const { journalOfRun } = lab.meta;
      lab.meta.journalOfRun = async (...given) => (await mayRead.promise, journalOfRun.apply(lab.meta, given));
      const aborting = lab.uploads.abort(ann, aborted);
      await turns();
      const completing = codeOf(lab.complete(ann, aborted));
      await turns();
      mayDrop.resolve();
      await aborting;
      mayRead.resolve();
      expect(await completing).toBe("NOT_FOUND");
      await expectFile(lab, "f", noise(7, 7));

      // Whose time ends while it is completed.
      const late = await begun();
      const mayGoOn = Promise.withResolvers<void>();
      lab.meta.journalOfRun = async (...given) => (await mayGoOn.promise, journalOfRun.apply(lab.meta, given));
      const last = lab.complete(ann, late);
      await turns();
      lab.nowMs += UPLOAD_EXPIRY_MS + 1;
      expect(await lab.uploads.sweep(never)).toBe(0);
      mayGoOn.resolve();
      expect((await last).result.status).toBe("done");
      await expectFile(lab, "f", noise(5, 1));
    });

    test("[UPLOAD-45] one that somebody goes on with while those are swept that nobody does stays, with what was acknowledged", async () => {
      const lab = await fresh();
      const { id } = await lab.create(ann, "f");
      await lab.part(ann, id, 1, noise(5, 1));
      await using sink = await lab.uploads.part(ann, id, 2);
      lab.nowMs += UPLOAD_EXPIRY_MS + 1;
      const mayDrop = Promise.withResolvers<void>();
      const { drop } = lab.rows;
      lab.rows.drop = async (...given) => (await mayDrop.promise, drop.apply(lab.rows, given));
      const sweeping = lab.uploads.sweep(never);
      await turns();
      await sink.write(noise(6, 2));
      await sink.end();
      await sink.commit();
      mayDrop.resolve();
      expect(await sweeping).toBe(0);
      await lab.complete(ann, id);
      await expectFile(lab, "f", join(noise(5, 1), noise(6, 2)));
    });

    test("[UPLOAD-6] completing again gives what it came to, also when the hub died between the commit and its note", async () => {
      const lab = await fresh();
      const { id } = await lab.create(ann, "f");
      await lab.part(ann, id, 1, noise(5, 1));
      const [first, second] = await Promise.all([lab.complete(ann, id, { parts: [1] }), lab.complete(ann, id, { parts: [1] })]);
      // Whichever of the two came first.
      expect([first.isFirst, second.isFirst].toSorted()).toEqual([false, true]);
      await lab.put("f", noise(3, 3));
      const again = await lab.complete(ann, id, { parts: [1] });
      expect(again).toEqual({ isFirst: false, result: first.result });
      expect(await codeOf(lab.complete(ann, id, { parts: [2] }))).toBe("NOT_FOUND");
      const cut = await lab.create(ann, "g");
      await lab.part(ann, cut.id, 1, noise(6, 1));
      const finish = lab.rows.finish.bind(lab.rows);
      lab.rows.finish = () => Promise.reject(new SynclineError({ code: "DISK", op: "test", message: "the power went" }));
      expect(await codeOf(lab.complete(ann, cut.id))).toBe("DISK");
      lab.rows.finish = finish;
      const { version } = await lab.file("g");
      await lab.crash();
      expect(await lab.complete(ann, cut.id)).toMatchObject({ isFirst: false, result: { version: { sequence: version.sequence } } });
      expect((await lab.file("g")).version).toEqual(version);
    });

    test("[UPLOAD-7] what the space refuses leaves the upload open", async () => {
      const lab = await fresh();
      await lab.put("f", noise(3, 3));
      const { id } = await lab.create(ann, "f", { expect: { kind: "absent" } });
      await lab.part(ann, id, 1, noise(5, 1));
      expect((await lab.complete(ann, id)).result).toMatchObject({ status: "stale", version: { sequence: 1 } });
      await expectFile(lab, "f", noise(3, 3));
      expect((await lab.complete(ann, id, { expect: { kind: "sequence", sequence: 1 } })).result.status).toBe("done");
      await expectFile(lab, "f", noise(5, 1));
    });

    test("[UPLOAD-8] nobody else sees an upload, no other door does, and rights are asked for at every step", async () => {
      const lab = await fresh();
      const { id } = await lab.create(ann, "in/f");
      await lab.part(ann, id, 1, noise(5, 1));
      const stream = await lab.create(ann, "in/s", { kind: "stream" });
      const steps = (by: Uploader): readonly (() => Promise<unknown>)[] => [
        () => lab.uploads.get(by, id),
        () => lab.uploads.parts(by, id, 0, 9),
        () => lab.uploads.part(by, id, 1),
        () => lab.complete(by, id),
        () => lab.uploads.abort(by, id),
        () => lab.uploads.append(by, stream.id, 0),
        () => lab.uploads.setSize(by, id, 9),
        () => lab.uploads.setNote(by, id, "x"),
        () => lab.uploads.join(by, { space: "demo", path: "in/j", kind: "stream" }, [stream.id], { traceId: TRACE }),
      ];
      for (const by of [person("bob"), person("ann", "other")]) {
        for (const step of steps(by)) expect(await codeOf(step())).toBe("NOT_FOUND");
        expect(await lab.uploads.list(by, "demo", { limit: 9 })).toEqual([]);
      }
      lab.mayWrite = (_who, path) => !path.startsWith("in/");
      for (const step of steps(ann)) expect(await codeOf(step())).toBe("DENIED");
      expect(await lab.uploads.list(ann, "demo", { limit: 9 })).toEqual([]);
      expect(await codeOf(lab.create(ann, "in/x"))).toBe("DENIED");
      lab.mayWrite = () => true;
      expect((await lab.uploads.list(ann, "demo", { limit: 9 })).map(({ path }) => path)).toEqual(["in/f", "in/s"]);
      // Those that one may not go on with any more are passed over, and no page ends because of them.
      lab.mayWrite = (_who, path) => path !== "in/f";
      expect((await lab.uploads.list(ann, "demo", { limit: 1 })).map(({ path }) => path)).toEqual(["in/s"]);
      lab.mayWrite = () => true;
      const [first] = await lab.uploads.list(ann, "demo", { limit: 1 });
      expect((await lab.uploads.list(ann, "demo", { limit: 9, after: first! })).map(({ path }) => path)).toEqual(["in/s"]);
      expect((await lab.uploads.list(ann, "demo", { limit: 9, prefix: "in/s" })).map(({ path }) => path)).toEqual(["in/s"]);
    });

    test("[SSEC-41] a part of the most bytes that one has may be encrypted", async () => {
      const lab = await fresh();
      const { id } = await lab.create(ann, "large");
      const begin = (size: number) => lab.uploads.part(ann, id, 1, { size }).then((sink) => sink[Symbol.asyncDispose]());
      await begin(storedPartBytes(PART_BYTES_MAX));
      expect(await codeOf(begin(storedPartBytes(PART_BYTES_MAX) + 1))).toBe("LIMIT");
    });

    test("[UPLOAD-9] sizes and quotas are held from the beginning on", async () => {
      const lab = await fresh();
      const boss = systemPrincipal("test");
      await lab.put("old", noise(600, 1));
      await lab.spaces.updateSpace(boss, "demo", { settings: { quotaBytes: 1000 } });
      expect(await codeOf(lab.create(ann, "a", { size: 401 }))).toBe("QUOTA");
      const a = await lab.create(ann, "a", { size: 300 });
      expect(await codeOf(lab.create(ann, "b", { size: 101 }))).toBe("QUOTA");
      const over = await lab.create(ann, "old", { size: 700 });
      expect(await codeOf(lab.create(ann, "b", { size: 1 }))).toBe("QUOTA");
      await lab.uploads.abort(ann, over.id);
      const open = await lab.create(ann, "c", { kind: "stream" });
      await lab.append(ann, open.id, 0, noise(100, 2));
      expect(await codeOf(lab.append(ann, open.id, 100, noise(1, 2)))).toBe("QUOTA");
      expect(await codeOf(lab.uploads.setSize(ann, open.id, 99))).toBe("LIMIT");
      expect(await codeOf(lab.uploads.setSize(ann, open.id, 101))).toBe("QUOTA");
      expect((await lab.uploads.setSize(ann, open.id, 100)).size).toBe(100);
      expect(await codeOf(lab.append(ann, open.id, 100, noise(1, 2)))).toBe("LIMIT");
      expect(await codeOf(lab.part(ann, a.id, 1, noise(301, 1)))).toBe("LIMIT");
      await lab.part(ann, a.id, 1, noise(200, 1));
      expect(await codeOf(lab.part(ann, a.id, 2, noise(101, 1)))).toBe("LIMIT");
      expect(await codeOf(lab.complete(ann, a.id))).toBe("STALE");
      await lab.part(ann, a.id, 1, noise(300, 1));
      expect((await lab.complete(ann, a.id)).result.status).toBe("done");
      expect(await codeOf(lab.create(ann, "a/../b"))).toBe("USAGE");
      expect(await codeOf(lab.create(ann, "b", { attributes: { bad: "" } }))).toBe("USAGE");
      expect(await codeOf(lab.create(ann, "b", { size: -1 }))).toBe("USAGE");
    });

    test("[UPLOAD-10] an append takes the place of one that hangs, whose bytes count; of a whole one none do", async () => {
      const lab = await fresh();
      const bytes = noise(3 * MIB, 1);
      const { id } = await lab.create(ann, "f", { kind: "stream" });
      await using hanging = await lab.uploads.append(ann, id, 0);
      await hanging.write(bytes.subarray(0, 1000));
      expect(await codeOf(lab.append(ann, id, 0, bytes))).toBe("STALE");
      expect((await lab.uploads.get(ann, id)).received).toBe(1000);
      expect(await codeOf(Promise.resolve(hanging.write(bytes)))).toBe("INTERRUPTED");
      expect(await codeOf(hanging.commit())).toBe("INTERRUPTED");
      {
        await using whole = await lab.uploads.append(ann, id, 1000, { whole: true, sums: ["sha1"] });
        await whole.write(bytes.subarray(1000, 2 * MIB));
        const sha1 = new Bun.CryptoHasher("sha1").update(bytes.subarray(1000, 2 * MIB)).digest("hex");
        expect(await whole.end()).toEqual({ sha1 });
      }
      expect((await lab.uploads.get(ann, id)).received).toBe(1000);
      {
        // Without end() or commit(): the connection was cut.
        await using cut = await lab.uploads.append(ann, id, 1000);
        await cut.write(bytes.subarray(1000, 2 * MIB));
      }
      expect(await lab.append(ann, id, 2 * MIB, bytes.subarray(2 * MIB))).toBe(3 * MIB);
      await lab.complete(ann, id);
      await expectFile(lab, "f", bytes);
    });

    test("[UPLOAD-15] who lets all of his parts hang keeps nobody else from sending", async () => {
      const lab = await fresh();
      const { id } = await lab.create(ann, "a");
      const hanging = await Promise.all(Array.from({ length: USER_WRITING_MAX }, (_, at) => lab.uploads.part(ann, id, at + 1)));
      let isNext = false;
      const next = lab.uploads.part(ann, id, USER_WRITING_MAX + 1).then((sink) => ((isNext = true), sink));
      const bob = person("bob");
      const other = await lab.create(bob, "b");
      for (const number of [1, 2, 3]) await lab.part(bob, other.id, number, noise(5, number));
      expect(isNext).toBe(false);
      await hanging[0]![Symbol.asyncDispose]();
      for (const sink of [...hanging, await next]) await sink[Symbol.asyncDispose]();
      await lab.part(ann, id, 1, noise(5, 1));
      expect((await lab.complete(ann, id)).result.status).toBe("done");
    });

    test("[UPLOAD-11] parts whose bytes the store has lost are asked for again, and no others", async () => {
      const lab = await fresh();
      const { id } = await lab.create(ann, "f");
      for (const number of [1, 2, 3]) await lab.part(ann, id, number, noise(MIB, number));
      for await (const { number, chunks } of lab.rows.parts(id)) if (number === 2) lab.disk.chunks.delete(chunks[0]!.id);
      expect(await codeOf(lab.complete(ann, id))).toBe("CHUNK_MISSING");
      expect((await lab.uploads.parts(ann, id, 0, 9)).map(({ number }) => number)).toEqual([1, 3]);
      await lab.part(ann, id, 2, noise(MIB, 2));
      expect((await lab.complete(ann, id)).result.status).toBe("done");
      await expectFile(lab, "f", join(...[1, 2, 3].map((number) => noise(MIB, number))));
    });

    test("[UPLOAD-12] streams are joined to one file, wherever they end", async () => {
      const lab = await fresh();
      for (const sizes of [[5], [2.5, 1.2], [1, 2, 0.3], [2.5, 2.5, 0], [0.2, 0.2, 1.9]]) {
        const parts = sizes.map((size, at) => noise(Math.floor(size * PIECE_BYTES), at + 1));
        const ids: string[] = [];
        for (const part of parts) {
          const { id } = await lab.create(ann, "part", { kind: "stream", size: part.length });
          ids.push(id);
          const half = part.length >> 1;
          await lab.append(ann, id, 0, part.subarray(0, half));
          if (ids.length === 1) {
            const early = lab.uploads.join(ann, { space: "demo", path: "f", kind: "stream" }, ids, { traceId: TRACE });
            expect(await codeOf(early)).toBe("STALE");
          }
          await lab.append(ann, id, half, part.subarray(half));
        }
        const wanted = { space: "demo", path: "f", kind: "stream", size: undefined } as const;
        const { upload, result } = await lab.uploads.join(ann, wanted, ids, { traceId: TRACE });
        expect([result.status, upload.sequence]).toEqual(["done", (await lab.file("f")).version.sequence]);
        await expectFile(lab, "f", join(...parts));
      }
    });

    test("[UPLOAD-14] parts that the space has in a file that one may read need not be sent, by who shows that he has them", async () => {
      const lab = await fresh();
      const parts = [noise(2 * MIB, 1), noise(MIB + 5, 2), noise(10, 3)];
      const prints = parts.map((bytes, at) => ({ number: at + 1, size: bytes.length, sha256: sha256(bytes) }));
      const put = async (path: string): Promise<void> => {
        const { id } = await lab.create(ann, path);
        for (const [at, bytes] of parts.entries()) {
          await using sink = await lab.uploads.part(ann, id, at + 1, { sums: ["sha256"] });
          await sink.write(bytes);
          await sink.end();
          await sink.commit();
        }
        expect((await lab.complete(ann, id)).result.status).toBe("done");
      };
      const proofs = ({ nonce, parts: asked }: Challenge, own: readonly Uint8Array[]): Proof[] =>
        asked.map(({ number, start, length }) => {
          const head = proofHead(prints[number - 1]!, start);
          const hmac = new Bun.CryptoHasher("sha256", Buffer.from(nonce, "hex")).update(head);
          return { number, mac: hmac.update(own[number - 1]!.subarray(start, start + length)).digest("hex") };
        });
      const bob = person("bob");
      const { id } = await lab.create(bob, "g");
      const offer = () => lab.uploads.offer(bob, id, prints);
      expect((await offer()).parts).toEqual([]);
      await put("in/f");
      lab.mayRead = (who, path) => who !== "user:bob" || !path.startsWith("in/");
      expect((await offer()).parts).toEqual([]);
      lab.mayRead = () => true;
      const first = await offer();
      expect(first.parts.map(({ number }) => number)).toEqual([1, 2, 3]);
      expect(await codeOf(lab.uploads.prove(bob, id, "00".repeat(32), proofs(first, parts)))).toBe("STALE");
      expect(await codeOf(lab.uploads.prove(bob, id, first.nonce, proofs(first, parts)))).toBe("STALE");
      const second = await offer();
      expect(await lab.uploads.prove(bob, id, second.nonce, proofs(second, parts.map(({ length }) => noise(length, 9))))).toEqual([]);
      const third = await offer();
      const replayed = proofs(first, parts).concat({ number: 4, mac: "00" }, { number: 1, mac: "no hex" });
      expect(await lab.uploads.prove(bob, id, third.nonce, replayed)).toEqual([]);
      const fourth = await offer();
      lab.mayRead = () => false;
      expect(await lab.uploads.prove(bob, id, fourth.nonce, proofs(fourth, parts))).toEqual([]);
      lab.mayRead = () => true;
      const fifth = await offer();
      expect(await lab.uploads.prove(bob, id, fifth.nonce, proofs(fifth, parts).slice(0, 2))).toEqual([1, 2]);
      await lab.part(bob, id, 3, parts[2]!);
      expect((await lab.complete(bob, id)).result.status).toBe("done");
      await expectFile(lab, "g", join(...parts));
      // What no version of the space has is forgotten.
      const { id: space } = await lab.spaces.space(ann.who, "demo");
      await lab.db.run("DELETE FROM versions");
      await lab.uploads.sweep(never);
      expect(await lab.rows.print(space, prints[0]!.sha256)).toBeUndefined();
    });

    test("[UPLOAD-13] whatever is sent, replaced, cut off, aborted and completed, with crashes between: as a plain list tells it", async () => {
      await fc.assert(fc.asyncProperty(fc.array(stepArb, { minLength: 1, maxLength: 25 }), async (steps) => {
        const lab = await fresh();
        try {
          await follow(lab, steps, expectFile);
        } finally {
          await outer?.dispose();
          outer = undefined;
        }
      }), { numRuns: runs });
    }, 300_000);
  });
}

type Step =
  | { readonly do: "part"; readonly number: number; readonly size: number; readonly ends: boolean }
  | { readonly do: "append"; readonly size: number; readonly how: "commit" | "cut" | "whole-cut" | "crash" }
  | { readonly do: "complete" | "abort" | "crash" | "prune"; readonly which: "parts" | "stream" };

const sizeArb = fc.oneof(fc.nat(3), fc.constantFrom(MIB, 2 * MIB, MIB - 1), fc.nat(3 * MIB));
const stepArb: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("part" as const), number: fc.integer({ min: 1, max: 4 }), size: sizeArb, ends: fc.boolean() }) },
  { weight: 5, arbitrary: fc.record({ do: fc.constant("append" as const), size: sizeArb, how: fc.constantFrom("commit" as const, "cut" as const, "whole-cut" as const, "crash" as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("complete" as const, "abort" as const, "crash" as const, "prune" as const), which: fc.constantFrom("parts" as const, "stream" as const) }) },
);

async function follow(
  lab: UploadLab,
  steps: readonly Step[],
  expectFile: (lab: UploadLab, path: string, bytes: Uint8Array) => Promise<unknown>,
): Promise<void> {
  const ids = { parts: (await lab.create(ann, "parts")).id, stream: (await lab.create(ann, "stream", { kind: "stream" })).id };
  let parts = new Map<number, Uint8Array>();
  let stream = noise(0, 1);
  for (const [seed, step] of steps.entries()) {
    if (step.do === "part") {
      const bytes = noise(step.size, seed);
      if (step.ends) {
        await lab.part(ann, ids.parts, step.number, bytes);
        parts.set(step.number, bytes);
      } else {
        await using sink = await lab.uploads.part(ann, ids.parts, step.number);
        await sink.write(bytes);
      }
    } else if (step.do === "append") {
      const bytes = noise(step.size, seed);
      const sink = await lab.uploads.append(ann, ids.stream, stream.length, { whole: step.how === "whole-cut" });
      await sink.write(bytes);
      if (step.how === "commit") await sink.commit();
      if (step.how === "crash") await lab.crash();
      else await sink[Symbol.asyncDispose]();
      if (step.how === "commit" || step.how === "cut") stream = join(stream, bytes);
    } else if (step.do === "crash") await lab.crash();
    else if (step.do === "prune") await lab.prune();
    else {
      const { which } = step;
      const bytes = which === "stream" ? stream : join(...[...parts].toSorted(([a], [b]) => a - b).map(([, one]) => one));
      if (step.do === "abort") await lab.uploads.abort(ann, ids[which]);
      else {
        expect((await lab.complete(ann, ids[which])).result.status).toBe("done");
        await lab.prune();
        await expectFile(lab, which, bytes);
      }
      ids[which] = (await lab.create(ann, which, { kind: which })).id;
      if (which === "parts") parts = new Map();
      else stream = noise(0, 1);
    }
    expect((await lab.uploads.get(ann, ids.stream)).received).toBe(stream.length);
    const shown = await lab.uploads.parts(ann, ids.parts, 0, 99);
    expect(shown.map(({ number, size }) => [number, size])).toEqual([...parts].toSorted(([a], [b]) => a - b).map(([number, bytes]) => [number, bytes.length]));
  }
}
