import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readFileSync, readdirSync, renameSync, statSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BackupLab, bytesOf, killedAt, never } from "#hub/backup/backup-fixture.ts";
import type { BackupProgress } from "#hub/backup/make-backup.ts";
import { SynclineError } from "#model/error.ts";
import { type FileSystem, FsError } from "#platform/file-system.ts";
import { packName } from "#store/packs/pack-files.ts";
import type { PackPart } from "#store/packs/pack-source.ts";

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "none",
    (error: unknown) => (error instanceof SynclineError ? error.code : String(error)),
  );
}

function flip(file: string, at: number): void {
  const bytes = readFileSync(file);
  bytes[at]! ^= 0x55;
  writeFileSync(file, bytes);
}

describe("a backup", () => {
  let lab: BackupLab;
  beforeEach(() => {
    lab = new BackupLab();
  });
  afterEach(() => lab[Symbol.dispose]());

  test("[BACKUP-2] made under load is one moment of the hub, whole: every row with its chunks", async () => {
    let acknowledged: string[] = [];
    {
      await using hub = await lab.open();
      await hub.spaces.createSpace(lab.who, "demo");
      await lab.put(hub, "demo", { "before/small": "small", "before/large": bytesOf(3 << 20, 1), "before/empty": "" });
      let isBackingUp = true;
      const written: string[] = [];
      const writers = [1, 2, 3].map(async (writer) => {
        for (let at = 0; isBackingUp; at++) {
          const path = `w${writer}/f${at}`;
          // Each version says in its bytes where it belongs; large ones have several chunks.
          await lab.put(hub, "demo", { [path]: Buffer.concat([Buffer.from(path), bytesOf(at % 4 === 0 ? 300_000 : 5000, at)]) });
          written.push(path);
        }
      });
      while (written.length < 20) await Bun.sleep(1);
      acknowledged = [...written];
      for (let at = 0; at < 3; at++) await lab.backup(hub);
      isBackingUp = false;
      await Promise.all(writers);
      expect(written.length).toBeGreaterThan(acknowledged.length);
    }
    await lab.restore("restored");
    const { found, versions } = await lab.check("restored", true);
    expect(found).toEqual([]);
    expect(versions).toBeGreaterThan(acknowledged.length);
    await using restored = await lab.open("restored");
    const files = await lab.files(restored, "demo");
    expect(files["before/small"]).toBe("small");
    expect(files["before/empty"]).toBe("");
    await using hub = await lab.open();
    const now = await lab.files(hub, "demo");
    for (const path of acknowledged) expect(files[path]).toBe(now[path]!);
    for (const [path, hash] of Object.entries(files)) expect(hash).toBe(now[path]!);
    expect(restored.access.authority.fingerprint).toBe(hub.access.authority.fingerprint);
  });

  test("[BACKUP-3] copies packs that it has already not again, and removes those that the hub has no more", async () => {
    await using hub = await lab.open();
    await hub.spaces.createSpace(lab.who, "demo");
    for (let at = 0; at < 6; at++) await lab.put(hub, "demo", { [`f${at}`]: bytesOf(700_000, at) });
    const first = await lab.backup(hub);
    expect(first.copiedPacks).toBe(first.packs);
    expect(await lab.backup(hub)).toMatchObject({ copiedPacks: 0, packs: first.packs });
    await lab.put(hub, "demo", { g: bytesOf(700_000, 99) });
    const third = await lab.backup(hub);
    expect(third.copiedPacks).toBeGreaterThan(0);
    expect(third.copiedPacks).toBeLessThan(4);
    // Damaged or lost in the backup: seen by its length at the latest by the restore.
    const [pack] = readdirSync(lab.path("backup/chunks"));
    truncateSync(join(lab.path("backup/chunks"), pack!), 5000);
    expect((await lab.backup(hub)).copiedPacks).toBe(1);
    for (const path of ["f0", "f1", "f2"]) await lab.put(hub, "demo", { [path]: "" });
    const live = async function* () {};
    await hub.chunks.prune({ live: live(), olderThanMs: Date.now() + 60_000, fractionMax: 1 }, never);
    await lab.backup(hub);
    expect(readdirSync(lab.path("backup/chunks")).length).toBe(hub.packs.parts().length);
    expect(readdirSync(lab.path("backup")).filter((name) => name.startsWith("state-"))).toHaveLength(1);
  });

  test("[BACKUP-4] killed at any moment it leaves the backup whole that was there, and the next one ends it", async () => {
    await using hub = await lab.open();
    await hub.spaces.createSpace(lab.who, "demo");
    await lab.put(hub, "demo", { a: "first", large: bytesOf(300_000, 1) });
    await lab.backup(hub);
    const first = await lab.files(hub, "demo");
    await lab.put(hub, "demo", { a: "second", more: bytesOf(300_000, 2) });
    const second = await lab.files(hub, "demo");
    let wasKilled = true;
    let rounds = 0;
    for (; wasKilled; rounds++) {
      const { fs, isKilled } = killedAt(lab.host.fs, rounds);
      await lab.backup(hub, { fs }).catch((error: Error) => expect(error.message).toBe("killed"));
      wasKilled = isKilled();
      await lab.restore(`restored-${rounds}`);
      await using restored = await lab.open(`restored-${rounds}`);
      const files = await lab.files(restored, "demo");
      expect([first, second]).toContainEqual(files);
      if (files["a"] === "second") continue;
      expect(wasKilled).toBe(true);
    }
    expect(rounds).toBeGreaterThan(20);
    await lab.restore("last");
    await using restored = await lab.open("last");
    expect(await lab.files(restored, "demo")).toEqual(second);
  }, 30_000);

  test("[BACKUP-4] interrupted, it goes on from the packs that it had copied", async () => {
    await using hub = await lab.open();
    await hub.spaces.createSpace(lab.who, "demo");
    for (let at = 0; at < 8; at++) await lab.put(hub, "demo", { [`f${at}`]: bytesOf(900_000, at) });
    const stop = new AbortController();
    let calls = 0;
    const onProgress = (): void => {
      if (++calls === 8) stop.abort(new SynclineError({ code: "INTERRUPTED", op: "test", message: "enough" }));
    };
    expect(await codeOf(lab.backup(hub, { signal: stop.signal, onProgress }))).toBe("INTERRUPTED");
    expect(await codeOf(lab.restore("early"))).toBe("NOT_FOUND");
    const { copiedPacks, packs } = await lab.backup(hub);
    expect(copiedPacks).toBeLessThan(packs);
    await lab.restore("restored");
    expect((await lab.check("restored", true)).found).toEqual([]);
  });

  test("[BACKUP-5] goes only where nothing of others is: an empty directory, or one of this hub's backups", async () => {
    await using hub = await lab.open();
    await hub.spaces.createSpace(lab.who, "demo");
    writeFileSync(lab.path("file"), "");
    expect(await codeOf(lab.backup(hub, { name: "" }))).toBe("USAGE");
    expect(await codeOf(lab.backup(hub, { name: "hub/backup" }))).toBe("USAGE");
    expect(await codeOf(lab.backup(hub, { name: "no/such" }))).toBe("NOT_FOUND");
    await using other = await lab.open("other");
    await lab.backup(other, { name: "taken", data: "other" });
    expect(await codeOf(lab.backup(hub, { name: "taken" }))).toBe("EXISTS");
    writeFileSync(lab.path("taken/somebody's"), "file");
    expect(await codeOf(lab.backup(other, { name: "taken", data: "other" }))).toBe("EXISTS");
    const first = lab.backup(hub);
    expect(await codeOf(lab.backup(hub))).toBe("ROOT_BUSY");
    await first;
    expect(statSync(lab.path("backup")).mode & 0o077).toBe(0);
  });

  test("[BACKUP-6] a restore is never made over anything, believes nothing that is damaged, and takes what is sound", async () => {
    {
      await using hub = await lab.open();
      await hub.spaces.createSpace(lab.who, "demo");
      for (let at = 0; at < 6; at++) await lab.put(hub, "demo", { [`f${at}`]: bytesOf(400_000, at) });
      await lab.backup(hub);
    }
    expect(await codeOf(lab.restore("hub"))).toBe("EXISTS");
    const [pack] = readdirSync(lab.path("backup/chunks")).sort();
    flip(join(lab.path("backup/chunks"), pack!), 100_000);
    const { damagedPacks } = await lab.restore("restored");
    expect(damagedPacks).toHaveLength(1);
    const { found } = await lab.check("restored", true);
    expect(found.length).toBeGreaterThan(0);
    expect(found.length).toBeLessThan(3);
    for (const { kind, where } of found) {
      expect(kind).toBe("chunk");
      expect(where).toMatch(/^demo:f\d #\d$/);
    }
    flip(lab.path("backup/state-1/hub.db"), 5000);
    expect(await codeOf(lab.restore("again"))).toBe("STATE");
    expect(readdirSync(lab.dir).filter((name) => name.startsWith("again"))).toEqual([]);
    writeFileSync(lab.path("backup/backup.json"), "{}");
    expect(await codeOf(lab.restore("again"))).toBe("STATE");
  });

  test("[BACKUP-7] no prune removes anything while a backup is being made", async () => {
    await using hub = await lab.open();
    await hub.spaces.createSpace(lab.who, "demo");
    for (let at = 0; at < 4; at++) await lab.put(hub, "demo", { [`f${at}`]: bytesOf(900_000, at) });
    const live = async function* () {};
    let pruned: Promise<unknown> | undefined;
    let isPruned = false;
    await lab.backup(hub, {
      onProgress: ({ phase }) => {
        // Everything goes, as soon as it may.
        if (phase !== "wait") pruned ??= hub.chunks.prune({ live: live(), olderThanMs: Date.now() + 60_000, fractionMax: 1 }, never);
        void pruned?.then(() => (isPruned = true));
        expect(isPruned).toBe(false);
      },
    });
    expect(isPruned).toBe(false);
    await pruned;
    expect(hub.chunks.stats().chunks).toBe(0);
    await lab.restore("restored");
    expect((await lab.check("restored", true)).found).toEqual([]);
  });
  test("[BACKUP-11] whatever else lies among the keys is in the backup, which can be read; a link in the place of a key is refused", async () => {
    await using hub = await lab.open();
    await hub.spaces.createSpace(lab.who, "demo");
    await lab.put(hub, "demo", { a: "first" });
    const keys = readdirSync(lab.path("hub/keys"));
    const others = [".seal.key.swp", "authority.pem~", "~", "...", "an old one, é"];
    for (const name of others) writeFileSync(lab.path(`hub/keys/${name}`), name);
    for (let time = 0; time < 2; time++) await lab.backup(hub);
    await lab.restore("restored");
    for (const name of others) expect(readFileSync(lab.path(`restored/keys/${name}`), "utf8")).toBe(name);
    for (const name of keys) {
      renameSync(lab.path(`hub/keys/${name}`), lab.path("elsewhere"));
      symlinkSync(lab.path("elsewhere"), lab.path(`hub/keys/${name}`));
      expect(await codeOf(lab.backup(hub))).toBe("UNSUPPORTED");
      renameSync(lab.path("elsewhere"), lab.path(`hub/keys/${name}`));
    }
    await lab.restore("again");
    expect(readdirSync(lab.path("again/keys")).toSorted()).toEqual([...keys, ...others].toSorted());
  });

  test("[BACKUP-12] backups that fail one after the other leave no more than one of them would", async () => {
    await using hub = await lab.open();
    await hub.spaces.createSpace(lab.who, "demo");
    const failing = async (): Promise<string[]> => {
      const stop = new AbortController();
      const onProgress = ({ phase }: BackupProgress): void => {
        if (phase === "chunks") stop.abort(new SynclineError({ code: "INTERRUPTED", op: "test", message: "enough" }));
      };
      expect(await codeOf(lab.backup(hub, { signal: stop.signal, onProgress }))).toBe("INTERRUPTED");
      return readdirSync(lab.path("backup")).filter((name) => name.startsWith("state-"));
    };
    await lab.put(hub, "demo", { a: bytesOf(300_000, 1) });
    for (let time = 0; time < 3; time++) expect(await failing()).toHaveLength(1);
    await lab.backup(hub);
    await lab.put(hub, "demo", { b: bytesOf(300_000, 2) });
    for (let time = 0; time < 3; time++) expect(await failing()).toHaveLength(2);
    await lab.restore("restored");
    expect((await lab.check("restored", true)).found).toEqual([]);
  });

  test("[BACKUP-13] a restore of a backup whose place another one takes meanwhile is refused, and not taken for a damaged one", async () => {
    await using hub = await lab.open();
    await hub.spaces.createSpace(lab.who, "demo");
    const paths = ["f0", "f1", "f2", "f3"];
    for (const [at, path] of paths.entries()) await lab.put(hub, "demo", { [path]: bytesOf(700_000, at) });
    // While the first pack is copied, and while the first file is.
    for (const [at, when] of [/pack/, /^hub\.db/].entries()) {
      await lab.backup(hub);
      await lab.put(hub, "demo", { [paths[at]!]: "", [`more-${at}`]: bytesOf(700_000, 10 + at) });
      const live = async function* () {};
      await hub.chunks.prune({ live: live(), olderThanMs: Date.now() + 60_000, fractionMax: 1 }, never);
      let another: Promise<unknown> | undefined;
      let isThere = false;
      const fs = new Proxy(lab.host.fs, {
        get(target, name) {
          const value = Reflect.get(target, name) as unknown;
          if (typeof value !== "function") return value;
          return (...args: unknown[]): unknown => {
            const work = (): unknown => (value as (...args: unknown[]) => unknown).apply(target, args);
            if (name === "create") isThere ||= when.test(String(args[1]));
            if (name !== "writeAsync" || !isThere) return work();
            return (another ??= lab.backup(hub)).then(work);
          };
        },
      });
      expect(await codeOf(lab.restore(`restored-${at}`, "backup", fs))).toBe("STALE");
      expect(another).toBeDefined();
      expect(readdirSync(lab.dir).filter((name) => name.startsWith("restored"))).toEqual([]);
    }
    await lab.restore("whole");
  });

  test("[BACKUP-14] what the disk of the hub does not give of a pack keeps nothing else out of a backup, which says so", async () => {
    let bad: { readonly file: string; readonly from: number; readonly to: number } | undefined;
    const { fs } = lab.host;
    const names = new Map<unknown, string>();
    // Of one pack some blocks cannot be read; the backup's own disk is in order.
    const failing = new Proxy(fs, {
      get(target, name) {
        const value = Reflect.get(target, name) as unknown;
        if (typeof value !== "function") return value;
        return (...args: unknown[]): unknown => {
          const [fd, into, at] = args as [unknown, Uint8Array, number];
          const isBad = bad !== undefined && names.get(fd) === bad.file && at < bad.to && at + into.length > bad.from;
          if (name === "readAsync" && isBad) return Promise.reject(new FsError("EIO", "pread"));
          const result = (value as (...args: unknown[]) => unknown).apply(target, args);
          if (name === "openRead" || name === "openWrite" || name === "create") names.set(result, String(args[1]));
          return result;
        };
      },
    });
    (lab.host as { fs: FileSystem }).fs = failing;
    await using hub = await lab.open();
    (lab.host as { fs: FileSystem }).fs = fs;
    await hub.spaces.createSpace(lab.who, "demo");
    const content = (at: number): Uint8Array => bytesOf(200_000, at);
    for (const at of [0, 1]) await lab.put(hub, "demo", { [`f${at}`]: content(at) });
    await lab.backup(hub);
    for (const at of [2, 3]) await lab.put(hub, "demo", { [`f${at}`]: content(at) });
    const [{ number, bytes }] = hub.packs.parts() as [PackPart];
    const file = packName(number);
    // Where the earlier backup has it, and where nothing has.
    bad = { file, from: 50_000, to: 60_000 };
    expect(await codeOf(lab.backup(hub))).toBe("none");
    await lab.restore("first");
    expect((await lab.check("first", true)).found).toEqual([]);
    await lab.put(hub, "demo", { f4: content(4) });
    bad = { file, from: bytes + 50_000, to: bytes + 60_000 };
    for (let time = 0; time < 2; time++) {
      const failed = await lab.backup(hub).catch((error: SynclineError) => error);
      expect(failed).toMatchObject({ code: "CHUNK_DAMAGED", message: expect.stringContaining(`packs (${number})`) });
    }
    expect((await lab.restore("second")).damagedPacks).toEqual([number]);
    const { found } = await lab.check("second", true);
    expect(found.map(({ kind, where }) => [kind, where.replace(/ .*/, "")])).toEqual([["chunk", "demo:f4"]]);
    bad = undefined;
    expect(await codeOf(lab.backup(hub))).toBe("none");
    expect((await lab.restore("third")).damagedPacks).toEqual([]);
    expect((await lab.check("third", true)).found).toEqual([]);
  });

  test("[BACKUP-15] what has rotted on the disk of the hub since an earlier backup does not take the place of what that one has", async () => {
    await using hub = await lab.open();
    await hub.spaces.createSpace(lab.who, "demo");
    for (const at of [0, 1]) await lab.put(hub, "demo", { [`f${at}`]: bytesOf(200_000, at) });
    await lab.backup(hub);
    const [{ number, id }] = hub.packs.parts() as [PackPart];
    flip(lab.path(`hub/chunks/${packName(number)}`), 50_000);
    await lab.put(hub, "demo", { f2: bytesOf(200_000, 2) });
    await lab.backup(hub);
    await lab.restore("restored");
    expect((await lab.check("restored", true)).found).toEqual([]);
    // Where that has rotted itself, it is the hub's turn.
    flip(lab.path(`hub/chunks/${packName(number)}`), 50_000);
    flip(lab.path(`backup/chunks/${number}-${id}.pack`), 150_000);
    await lab.put(hub, "demo", { f3: bytesOf(200_000, 3) });
    await lab.backup(hub);
    await lab.restore("again");
    expect((await lab.check("again", true)).found).toEqual([]);
  });

  test("[BACKUP-16] a database that is damaged takes the place of no earlier backup", async () => {
    await using hub = await lab.open();
    await hub.spaces.createSpace(lab.who, "demo");
    await lab.put(hub, "demo", Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`f${at}`, `${at}`])));
    await lab.backup(hub);
    const file = lab.path("hub/hub.db");
    const sound = readFileSync(file);
    const damaged = new Uint8Array(sound);
    const page = await hub.db.get<{ rootpage: number }>("SELECT rootpage FROM sqlite_master WHERE name = 'versions'");
    damaged[(page!.rootpage - 1) * 4096] = 0xff;
    writeFileSync(file, damaged);
    const failed = await lab.backup(hub).catch((error: SynclineError) => error);
    writeFileSync(file, sound);
    expect(failed).toMatchObject({ code: "STATE" });
    await lab.restore("restored");
    expect((await lab.check("restored", true)).found).toEqual([]);
    await lab.backup(hub);
  });
});
