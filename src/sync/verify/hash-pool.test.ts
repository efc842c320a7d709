import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Confined } from "#platform/confined.ts";
import { openHost } from "#platform/host-bun.ts";
import { HashPool } from "#sync/verify/hash-pool.ts";
import { FileHasher } from "#sync/verify/hash-tree.ts";

const never = new AbortController().signal;
const { fs } = openHost();
const FILES = 120;
let dir = "";
/** Paths with a gap, a missing file and a directory among them. */
const paths: (string | undefined)[] = [];

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "syncline-hash-"));
  mkdirSync(join(dir, "dir"));
  for (let at = 0; at < FILES; at++) {
    // Enough that threads pay after a third of them; then small ones, for which they do not, and large ones again.
    const size = at > 70 && at < 100 ? 100 : 1_000_000 + at;
    writeFileSync(join(dir, `f${at}`), Buffer.alloc(size, `${at} `));
    paths.push(`f${at}`);
    if (at % 40 === 20) paths.push(undefined, `missing${at}`, "dir");
  }
  const odd = Buffer.concat([Buffer.from(`${dir}/odd-`), Buffer.from([0xff])]);
  writeFileSync(odd, "bytes");
  paths.push("odd-\udcff");
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

async function sums(threads: number, rootPath = dir): Promise<(string | undefined)[]> {
  using root = new Confined(fs, fs.openRoot(dir));
  using pool = new HashPool(root, rootPath, threads);
  const found: (string | undefined)[] = [];
  let at = 0;
  for await (const { item, hashed } of pool.inOrder(paths, (path) => path, never)) {
    expect(item).toBe(paths[at++]);
    found.push(hashed === undefined ? undefined : "code" in hashed ? `${hashed.path} ${hashed.code}` : hashed.sha256);
  }
  return found;
}

async function expected(): Promise<(string | undefined)[]> {
  using root = new Confined(fs, fs.openRoot(dir));
  const hasher = new FileHasher(root);
  const found: (string | undefined)[] = [];
  for (const path of paths) {
    const hashed = path === undefined ? undefined : await hasher.hash(path, never);
    found.push(hashed === undefined ? undefined : "code" in hashed ? `${path} ${hashed.code}` : hashed.sha256);
  }
  return found;
}

test("[VERIFY-20] on several threads the sums are the same, in the same order, each problem at its file", async () => {
  const wanted = await expected();
  expect(wanted).toContain("missing20 ENOENT");
  for (const threads of [1, 2, 5]) expect(await sums(threads)).toEqual(wanted);
});

test("[VERIFY-21] a thread that finds another directory in the root's place is of no use, and its work is done here", async () => {
  const other = `${dir}-other`;
  mkdirSync(other);
  try {
    expect(await sums(2, other)).toEqual(await expected());
    expect(await sums(2, `${dir}-nowhere`)).toEqual(await expected());
  } finally {
    rmSync(other, { recursive: true });
  }
});

test("[VERIFY-21] an abort ends the work on all threads with its reason", async () => {
  using root = new Confined(fs, fs.openRoot(dir));
  using pool = new HashPool(root, dir, 2);
  const stop = new AbortController();
  const reason = new Error("stop");
  let seen = 0;
  const work = (async (): Promise<void> => {
    for await (const one of pool.inOrder(paths, (path) => path, stop.signal)) {
      if (one.item !== undefined && ++seen === 50) stop.abort(reason);
    }
  })();
  expect(await work.then(() => undefined, (error: unknown) => error)).toBe(reason);
});
