import { afterEach, beforeEach, expect, test } from "bun:test";
import { chownSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Pieces, fetchFile } from "#cli/fetch-file.ts";
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
