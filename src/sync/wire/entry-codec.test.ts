import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Entry, FileEntry, Owner } from "#model/entry.ts";
import { decodeName, encodeName, pathFault } from "#model/path.ts";
import { SynclineError } from "#model/error.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";
import {
  TARGET_BYTES_MAX,
  XATTR_COUNT_MAX,
  XATTR_NAME_BYTES_MAX,
  XATTR_VALUE_BYTES_MAX,
  readEntry,
  writeEntry,
} from "#sync/wire/entry-codec.ts";

const file: FileEntry = { kind: "file", size: 5, mode: 0o644, mtimeNs: 7n, sum: undefined };

function encoded(entry: Entry | undefined): Uint8Array {
  const w = new ByteWriter();
  writeEntry(w, entry);
  return w.finish();
}

function decoded(bytes: Uint8Array): Entry | undefined {
  const r = new ByteReader(bytes);
  const entry = readEntry(r);
  expect(r.atEnd).toBe(true);
  return entry;
}

function isRefused(bytes: Uint8Array): boolean {
  try {
    readEntry(new ByteReader(bytes));
    return false;
  } catch (error) {
    if (error instanceof SynclineError && error.code === "PROTOCOL") return true;
    throw error;
  }
}

const name = (bytesMax: number): fc.Arbitrary<string> =>
  fc.uint8Array({ minLength: 1, maxLength: bytesMax }).map((bytes) => decodeName(bytes.map((byte) => byte || 1)));
const u32 = fc.nat({ max: 0xffff_ffff });
const owner: fc.Arbitrary<Owner> = fc.record(
  { uid: u32, gid: u32, user: name(12), group: name(12) },
  { requiredKeys: ["uid", "gid"] },
);
const mode = fc.nat({ max: 0o7777 });
const sum = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => bytes.toHex());
const time = fc.oneof(
  fc.bigInt({ min: 0n, max: 2_000_000_000_000_000_000n }),
  fc.bigInt({ min: -(2n ** 64n), max: 2n ** 68n }),
  fc.constantFrom(2n ** 63n, 2n ** 63n - 1n, -(2n ** 63n), -(2n ** 63n) - 1n, 0n, -1n),
);
const xattrs = fc.uniqueArray(
  fc.tuple(
    name(20).filter((text) => !text.includes("\0")),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
  ),
  { selector: ([key]) => key, maxLength: 5 },
);
const anyEntry: fc.Arbitrary<Entry> = fc.oneof(
  fc
    .record(
      {
        size: fc.maxSafeNat(),
        mode,
        mtimeNs: time,
        sum: fc.option(sum, { nil: undefined }),
        owner,
        xattrs,
        linkTo: name(30).filter((path) => pathFault(path) === undefined),
      },
      { requiredKeys: ["size", "mode", "mtimeNs", "sum"] },
    )
    .map((fields): Entry => ({ kind: "file", ...fields })),
  fc.record({ mode, owner, xattrs }, { requiredKeys: ["mode"] }).map((fields): Entry => ({ kind: "dir", ...fields })),
  fc
    .record({ target: name(80), owner }, { requiredKeys: ["target"] })
    .map((fields): Entry => ({ kind: "symlink", ...fields })),
  fc.constantFrom("socket", "fifo", "char", "block").map((what): Entry => ({ kind: "other", what })),
);

describe("entry codec", () => {
  test("[WIRE-3] every entry survives, absence too", () => {
    fc.assert(fc.property(anyEntry, (entry) => expect(decoded(encoded(entry))).toEqual(entry)), { numRuns: 300 });
    expect(decoded(encoded(undefined))).toBeUndefined();
  });

  test("[WIRE-3] a plain file takes at most 36 bytes", () => {
    const plain = { ...file, size: 1 << 30, mtimeNs: 1_732_153_745_123_456_789n, sum: "ab".repeat(16) };
    expect(encoded(plain).length).toBeLessThanOrEqual(36);
  });

  test("[WIRE-4] any bytes give an entry within the limits or PROTOCOL, never anything else", () =>
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        if (isRefused(bytes)) return;
        const entry = readEntry(new ByteReader(bytes));
        if (entry !== undefined) expect(decoded(encoded(entry))).toEqual(entry);
      }),
      { numRuns: 1000 },
    ));

  test("[WIRE-4] a cut anywhere is refused", () => {
    const bytes = encoded({
      ...file,
      sum: "12".repeat(16),
      owner: { uid: 1, gid: 2, user: "u", group: "g" },
      xattrs: [["user.a", "x"]],
      linkTo: "a/b",
    });
    for (let length = 0; length < bytes.length; length++) expect(isRefused(bytes.subarray(0, length))).toBe(true);
  });

  test("[WIRE-4] values out of range are refused", () => {
    const cases: [string, Entry][] = [
      ["mode", { ...file, mode: 0o10000 }],
      ["directory's mode", { kind: "dir", mode: 0o10000 }],
      ["uid", { ...file, owner: { uid: 2 ** 32, gid: 0 } }],
      ["gid", { kind: "symlink", target: "x", owner: { uid: 0, gid: 2 ** 32 } }],
      ["empty user", { kind: "dir", mode: 0, owner: { uid: 0, gid: 0, user: "" } }],
      ["empty target", { kind: "symlink", target: "" }],
      ["long target", { kind: "symlink", target: "x".repeat(TARGET_BYTES_MAX + 1) }],
      ["long target of few characters", { kind: "symlink", target: "€".repeat(TARGET_BYTES_MAX / 3 + 1) }],
      ["NUL in target", { kind: "symlink", target: "a\0b" }],
      ["empty special kind", { kind: "other", what: "" }],
    ];
    for (const [what, entry] of cases) expect([what, isRefused(encoded(entry))]).toEqual([what, true]);
    expect(isRefused(encoded({ kind: "symlink", target: "x".repeat(TARGET_BYTES_MAX) }))).toBe(false);
  });

  test("[WIRE-4] a hard link that leads out of the root or into our own directory is refused", () => {
    for (const linkTo of ["", "/etc/passwd", "../up", "a/../b", ".syncline/x", "a\0b"]) {
      expect([linkTo, isRefused(encoded({ ...file, linkTo }))]).toEqual([linkTo, true]);
    }
  });

  test("[WIRE-4] attributes keep their limits in count, size and sum", () => {
    const many = (count: number): [string, string][] => Array.from({ length: count }, (_, at) => [`user.${at}`, "v"]);
    const large = (sizes: number[]): [string, string][] => sizes.map((size, at) => [`user.${at}`, "\xff".repeat(size)]);
    const refused = (list: [string, string][]): boolean => isRefused(encoded({ kind: "dir", mode: 0, xattrs: list }));
    expect(refused(many(XATTR_COUNT_MAX))).toBe(false);
    expect(refused(many(XATTR_COUNT_MAX + 1))).toBe(true);
    expect(refused(large([XATTR_VALUE_BYTES_MAX]))).toBe(false);
    expect(refused(large([XATTR_VALUE_BYTES_MAX + 1]))).toBe(true);
    expect(refused(large([XATTR_VALUE_BYTES_MAX, XATTR_VALUE_BYTES_MAX]))).toBe(true);
    expect(refused([["x".repeat(XATTR_NAME_BYTES_MAX + 1), "v"]])).toBe(true);
    expect(refused([["user.a", "1"], ["user.a", "2"]])).toBe(true);
    expect(refused([["", "1"]])).toBe(true);
    expect(refused([["a\0", "1"]])).toBe(true);
  });

  test("[WIRE-4] unknown kinds and flags are refused", () => {
    for (const head of [5, 6, 7, 0x08, 0x80, 2 | 0x08, 2 | 0x40, 3 | 0x20, 4 | 0x10]) {
      expect([head, isRefused(Uint8Array.of(head, 1, 65, 0, 0, 0, 0, 0, 0, 0, 0, 0))]).toEqual([head, true]);
    }
    const flags = encoded({ kind: "dir", mode: 0, owner: { uid: 0, gid: 0 } });
    flags[2] = 4;
    expect(isRefused(flags)).toBe(true);
  });

  test("[WIRE-3] a target keeps bytes that are no text", () => {
    const target = decodeName(Uint8Array.of(0xff, 0x2f, 0xc3));
    expect(decoded(encoded({ kind: "symlink", target }))).toEqual({ kind: "symlink", target });
    expect([...encodeName(target)]).toEqual([0xff, 0x2f, 0xc3]);
  });
});
