import { describe, expect, test } from "bun:test";
import type { Entry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Stat } from "#platform/file-system.ts";
import {
  type IndexRecord,
  entryCodec,
  indexCodec,
  matchesStat,
  packedHasSum,
  packedMatchesStat,
  packedPlainSize,
} from "#sync/index/record-codecs.ts";

const NOW = 1_732_153_745_123_456_789n;
const file: Entry = { kind: "file", size: 10, mode: 0o644, mtimeNs: NOW, sum: "0f".repeat(16) };
const record: IndexRecord = { entry: file, ino: 42n, ctimeNs: NOW + 5n, racy: false };
const stat: Stat = {
  kind: "file",
  mode: 0o644,
  nlink: 1,
  uid: 1000,
  gid: 1000,
  size: 10,
  allocatedBytes: 4096,
  mtimeNs: NOW,
  ctimeNs: NOW + 5n,
  ino: 42n,
  dev: 1,
};

describe("record codecs", () => {
  test("[STATE-13] index records survive, with odd inodes and times", () => {
    const records: IndexRecord[] = [
      record,
      { ...record, racy: true },
      { ...record, racy: true, damaged: true },
      { ...record, ino: 2n ** 64n - 1n, ctimeNs: -1n, diskMtimeNs: NOW - (NOW % 2_000_000_000n) },
      { ...record, entry: { kind: "dir", mode: 0o755 } },
      { ...record, entry: { kind: "symlink", target: "../x" } },
      { ...record, entry: { kind: "other", what: "socket" } },
    ];
    const encoded = records.map((each) => indexCodec.encode(each));
    expect(encoded.map((bytes) => indexCodec.decode(bytes))).toEqual(records);
    expect(entryCodec.decode(entryCodec.encode(file))).toEqual(file);
  });

  test("[STATE-13] what is too short, too long, absent or flagged strangely is refused", () => {
    const bytes = indexCodec.encode(record);
    const wrong = [
      bytes.subarray(0, bytes.length - 1),
      Uint8Array.of(...bytes, 0),
      Uint8Array.of(8, ...bytes.subarray(1)),
      Uint8Array.of(...bytes.subarray(0, 17), 0),
    ];
    for (const each of wrong) expect(() => indexCodec.decode(each)).toThrow(SynclineError);
    expect(() => entryCodec.decode(Uint8Array.of(0))).toThrow(SynclineError);
    expect(() => entryCodec.decode(Uint8Array.of(...entryCodec.encode(file), 0))).toThrow(SynclineError);
  });
});

describe("matchesStat", () => {
  test("[SCAN-1] a file is unchanged only when inode, size, mode and both times are the same", () => {
    expect(matchesStat(record, stat)).toBe(true);
    const changes: Partial<Stat>[] = [
      { kind: "dir" },
      { kind: "symlink" },
      { ino: 43n },
      { size: 11 },
      { mode: 0o600 },
      { mtimeNs: NOW + 1n },
      { ctimeNs: NOW + 6n },
    ];
    for (const change of changes) expect([change, matchesStat(record, { ...stat, ...change })]).toEqual([change, false]);
  });

  test("[SCAN-1] a racy record never matches", () => {
    expect(matchesStat({ ...record, racy: true }, stat)).toBe(false);
  });

  test("[SCAN-1] on a disk with coarse times the time found there counts, not the wanted one", () => {
    const found = NOW - (NOW % 1_000_000_000n);
    const coarse = { ...record, diskMtimeNs: found };
    expect(matchesStat(coarse, { ...stat, mtimeNs: found })).toBe(true);
    expect(matchesStat(coarse, stat)).toBe(false);
  });

  test("[SCAN-1] a directory's times and size say nothing; inode, mode and a recorded owner do", () => {
    const dir: IndexRecord = { ...record, entry: { kind: "dir", mode: 0o755 } };
    const dirStat: Stat = { ...stat, kind: "dir", mode: 0o755, size: 4096, mtimeNs: 1n, ctimeNs: 2n };
    expect(matchesStat(dir, dirStat)).toBe(true);
    expect(matchesStat(dir, { ...dirStat, mode: 0o700 })).toBe(false);
    expect(matchesStat(dir, { ...dirStat, ino: 1n })).toBe(false);
    expect(matchesStat(dir, { ...dirStat, kind: "file" })).toBe(false);
    const owned: IndexRecord = { ...dir, entry: { kind: "dir", mode: 0o755, owner: { uid: 1000, gid: 1000 } } };
    expect(matchesStat(owned, dirStat)).toBe(true);
    expect(matchesStat(owned, { ...dirStat, gid: 0 })).toBe(false);
  });

  test("[SCAN-1] a directory with recorded attributes is looked at again when its ctime moves", () => {
    const dir: IndexRecord = { ...record, entry: { kind: "dir", mode: 0o755, xattrs: [["user.a", "x"]] } };
    const dirStat: Stat = { ...stat, kind: "dir", mode: 0o755 };
    expect(matchesStat(dir, dirStat)).toBe(true);
    expect(matchesStat(dir, { ...dirStat, ctimeNs: NOW + 9n })).toBe(false);
  });

  test("[SCAN-1] symlinks and special files", () => {
    const link: IndexRecord = { ...record, entry: { kind: "symlink", target: "x" } };
    expect(matchesStat(link, { ...stat, kind: "symlink" })).toBe(true);
    expect(matchesStat(link, { ...stat, kind: "symlink", ctimeNs: 1n })).toBe(false);
    expect(matchesStat(link, stat)).toBe(false);
    const socket: IndexRecord = { ...record, entry: { kind: "other", what: "socket" } };
    expect(matchesStat(socket, { ...stat, kind: "socket" })).toBe(true);
    expect(matchesStat(socket, { ...stat, kind: "fifo" })).toBe(false);
  });

  test("[SCAN-1] times that a record cannot hold whole do not make a file look changed for ever", () => {
    const far = 2n ** 64n + 12345n;
    const kept = indexCodec.decode(indexCodec.encode({ ...record, entry: { ...file, mtimeNs: far }, ctimeNs: far }));
    expect(matchesStat(kept, { ...stat, mtimeNs: far, ctimeNs: far })).toBe(true);
    expect(matchesStat(kept, { ...stat, mtimeNs: far, ctimeNs: far + 1n })).toBe(false);
  });
});

describe("packedMatchesStat", () => {
  const packed = (each: IndexRecord, asked: Stat): boolean => {
    const bytes = Uint8Array.of(7, 7, 7, ...indexCodec.encode(each));
    return packedMatchesStat(bytes, 3, asked);
  };
  const sizes = [0, 10, 127, 128, 300, 16_384, 2 ** 31, 2 ** 40 + 12_345];

  test("[SCAN-1] plain files are told unchanged from their bytes, whatever their size, mode and times", () => {
    for (const size of sizes) {
      for (const mtimeNs of [NOW, 0n, -1n, -(2n ** 62n)]) {
        for (const mode of [0, 0o644, 0o4755]) {
          const kept = { ...record, ino: 2n ** 64n - 5n, entry: { ...file, size, mode, mtimeNs } };
          expect(packed(kept, { ...stat, ino: 2n ** 64n - 5n, size, mode, mtimeNs })).toBe(true);
          expect(packed({ ...kept, entry: { ...kept.entry, sum: undefined } }, { ...stat, ino: 1n, size, mode, mtimeNs })).toBe(false);
        }
      }
    }
  });

  test("[SCAN-1] a plain record beyond doubt tells its size, and whether it has a sum; any other tells nothing", () => {
    const sizeOf = (each: IndexRecord): number => packedPlainSize(Uint8Array.of(7, ...indexCodec.encode(each)), 1);
    for (const size of sizes) expect(sizeOf({ ...record, entry: { ...file, size } })).toBe(size);
    for (const sum of [undefined, file.sum]) {
      const bytes = indexCodec.encode({ ...record, entry: { ...file, sum } });
      expect([packedPlainSize(bytes, 0), packedHasSum(bytes, 0)]).toEqual([file.size, sum !== undefined]);
    }
    expect(sizeOf({ ...record, racy: true })).toBe(-1);
    expect(sizeOf({ ...record, diskMtimeNs: NOW })).toBe(-1);
    expect(sizeOf({ ...record, entry: { ...file, mtimeNs: 2n ** 64n } })).toBe(-1);
    expect(sizeOf({ ...record, entry: { ...file, owner: { uid: 1, gid: 1 } } })).toBe(-1);
    expect(sizeOf({ ...record, entry: { ...file, xattrs: [] } })).toBe(-1);
    expect(sizeOf({ ...record, entry: { ...file, linkTo: "a" } })).toBe(-1);
    expect(sizeOf({ ...record, entry: { kind: "dir", mode: 0o755 } })).toBe(-1);
  });

  test("[SCAN-1] any difference, a racy record, a time of the disk's own or another kind leaves it to the decoded record", () => {
    const changes: Partial<Stat>[] = [
      { ino: 43n }, { ino: 42n + 2n ** 56n }, { size: 11 }, { size: 10 + 128 }, { mode: 0o600 },
      { mtimeNs: NOW + 1n }, { mtimeNs: NOW + 2n ** 56n }, { ctimeNs: NOW + 6n }, { ctimeNs: NOW + 5n + 2n ** 56n },
    ];
    for (const change of changes) expect([change, packed(record, { ...stat, ...change })]).toEqual([change, false]);
    for (const size of sizes) for (const other of sizes) {
      expect(packed({ ...record, entry: { ...file, size } }, { ...stat, size: other })).toBe(size === other);
    }
    expect(packed({ ...record, racy: true }, stat)).toBe(false);
    expect(packed({ ...record, diskMtimeNs: NOW }, stat)).toBe(false);
    expect(packed({ ...record, entry: { ...file, mtimeNs: 2n ** 64n + 9n } }, { ...stat, mtimeNs: 2n ** 64n + 9n })).toBe(false);
    expect(packed({ ...record, entry: { kind: "dir", mode: 0o644 } }, { ...stat, kind: "dir" })).toBe(false);
  });
});
