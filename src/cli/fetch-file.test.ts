import { afterEach, beforeEach, expect, test } from "bun:test";
import { execFileSync } from "node:child_process";
import { chownSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Pieces, fetchFile, writeWhole } from "#cli/fetch-file.ts";
import { Persistence } from "#cli/persistence.ts";
import type { VersionJson } from "#gateway/api/shapes.ts";
import { SynclineError } from "#model/error.ts";
import { systemClock } from "#platform/host-bun.ts";

const NOBODY = 65534;
const MIB = 1 << 20;
const SIZE = 34 * MIB;
const CONTENT = Buffer.alloc(SIZE, "what the space has ");
const VERSION = { path: "large", sequence: 7, size: SIZE, etag: "tag" } as unknown as VersionJson;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "syncline-fetch-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

const target = (): string => join(dir, "large");
const named = (ending: string): string => join(dir, readdirSync(dir).find((name) => name.endsWith(ending)) ?? `no${ending}`);

/** From where it was asked for, and until there. */
function fetching(until = SIZE, asked: number[] = [], onPiece = (): void => undefined, version = VERSION): Promise<void> {
  const pieces: Pieces = async function* (from) {
    asked.push(from);
    for (let at = from; at < until; at += MIB) {
      onPiece();
      yield CONTENT.subarray(at, Math.min(at + MIB, until));
    }
    if (until < SIZE) throw new SynclineError({ code: "LINK_LOST", op: "get", message: "cut" });
  };
  const keep = new Persistence(systemClock, new AbortController().signal, () => undefined);
  return fetchFile(pieces, target(), version, keep, () => undefined);
}

test("[CLI-143] a large file goes on from what was on the disk, and ends whole", async () => {
  await expect(fetching(20 * MIB)).rejects.toMatchObject({ code: "LINK_LOST" });
  const asked: number[] = [];
  await fetching(SIZE, asked);
  expect(asked).toEqual([20 * MIB]);
  expect(Buffer.compare(readFileSync(target()), CONTENT)).toBe(0);
  expect(readdirSync(dir)).toEqual(["large"]);
});

test("[CLI-143] what says how much had come counts for no more than there is, whatever commands were killed before", async () => {
  await expect(fetching(20 * MIB)).rejects.toMatchObject({ code: "LINK_LOST" });
  const part = named(".part");
  let note = "";
  await fetching(SIZE, [], () => {
    note = readFileSync(`${part}.json`, "utf8");
  });
  // Killed when the file had its name, and the note was still there; then the next one, which had made the file anew.
  writeFileSync(`${part}.json`, note);
  writeFileSync(part, "");
  const asked: number[] = [];
  await fetching(SIZE, asked);
  expect(asked).toEqual([0]);
  expect(Buffer.compare(readFileSync(target()), CONTENT)).toBe(0);
});

test("[CLI-145] so does one that its own owner may not write", async () => {
  const version = { ...VERSION, mode: "0444" };
  // Root may write everything.
  const isRoot = process.geteuid!() === 0;
  if (isRoot) {
    chownSync(dir, NOBODY, NOBODY);
    process.seteuid!(NOBODY);
  }
  try {
    await expect(fetching(20 * MIB, [], undefined, version)).rejects.toMatchObject({ code: "LINK_LOST" });
    const asked: number[] = [];
    await fetching(SIZE, asked, undefined, version);
    expect(asked).toEqual([20 * MIB]);
  } finally {
    if (isRoot) process.seteuid!(0);
  }
  expect(Buffer.compare(readFileSync(target()), CONTENT)).toBe(0);
  expect(statSync(target()).mode & 0o7777).toBe(0o444);
});

test("[CLI-152] of two commands that fetch the same file at once each ends with all of it, also where both have one number", async () => {
  const go = Promise.withResolvers<void>();
  const isUnderWay = Promise.withResolvers<void>();
  const keep = new Persistence(systemClock, new AbortController().signal, () => undefined);
  const slow: Pieces = async function* (from) {
    for (let at = from; at < SIZE; at += MIB) {
      if (at === 10 * MIB) {
        isUnderWay.resolve();
        await go.promise;
      }
      yield CONTENT.subarray(at, Math.min(at + MIB, SIZE));
    }
  };
  const first = fetchFile(slow, target(), VERSION, keep, () => undefined);
  await isUnderWay.promise;
  await expect(fetching(5 * MIB)).rejects.toMatchObject({ code: "LINK_LOST" });
  go.resolve();
  await first;
  expect(Buffer.compare(readFileSync(target()), CONTENT)).toBe(0);
  expect(readdirSync(dir)).toEqual(["large"]);
});

test("[CLI-153] what a version of the same bytes left is gone on with under the permissions of the one that is asked for", async () => {
  const umask = process.umask(0o022);
  try {
    await expect(fetching(20 * MIB, [], undefined, { ...VERSION, mode: "0644" })).rejects.toMatchObject({ code: "LINK_LOST" });
    const seen: number[] = [];
    const note = (): void => void seen.push(statSync(named(".part")).mode & 0o777);
    await fetching(SIZE, [], note, { ...VERSION, mode: "0600" });
    expect([...new Set(seen), statSync(target()).mode & 0o777]).toEqual([0o600, 0o600]);
    await expect(fetching(20 * MIB, [], undefined, { ...VERSION, mode: "0600" })).rejects.toMatchObject({ code: "LINK_LOST" });
    await fetching(SIZE, [], undefined, { ...VERSION, mode: "0644" });
    expect(statSync(target()).mode & 0o777).toBe(0o644);
  } finally {
    process.umask(umask);
  }
});

test("[CLI-153] what somebody else has put in its place is not gone on with, and a symlink is not followed", async () => {
  await expect(fetching(20 * MIB)).rejects.toMatchObject({ code: "LINK_LOST" });
  const part = named(".part");
  const other = join(dir, "mine");
  writeFileSync(other, "precious");
  rmSync(part);
  symlinkSync(other, part);
  const asked: number[] = [];
  await fetching(SIZE, asked);
  expect([asked, readFileSync(other, "utf8")]).toEqual([[0], "precious"]);
  expect(Buffer.compare(readFileSync(target()), CONTENT)).toBe(0);
});

test("[CLI-154] what is no file is not replaced by one", async () => {
  execFileSync("mkfifo", [target()]);
  symlinkSync(target(), join(dir, "link"));
  await expect(fetching()).rejects.toMatchObject({ code: "USAGE" });
  const one = async function* (): AsyncGenerator<Uint8Array> {
    yield CONTENT.subarray(0, 1);
  };
  await expect(writeWhole(one(), join(dir, "link"), () => undefined)).rejects.toMatchObject({ code: "USAGE" });
  expect([statSync(target()).isFIFO(), readdirSync(dir).toSorted()]).toEqual([true, ["large", "link"]]);
});
