import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { decodeName, pathFault } from "#model/path.ts";
import { Confined } from "#platform/confined.ts";
import { openHost } from "#platform/host-bun.ts";
import { type Verdict, checkManifest, writeManifest } from "#sync/verify/check-manifest.ts";
import { HashPool } from "#sync/verify/hash-pool.ts";
import {
  LINE_BYTES_MAX,
  type ManifestLine,
  formatManifestLine,
  parseManifestLine,
  readManifest,
} from "#sync/verify/manifest.ts";

const SUM = "ab".repeat(32);
const never = new AbortController().signal;

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function collect(bytes: Uint8Array, size: number): Promise<ManifestLine[]> {
  return Array.fromAsync(readManifest(pieces(bytes, size)));
}

const anyPath = fc
  .array(
    fc
      .uint8Array({ minLength: 1, maxLength: 12 })
      .map((bytes) => bytes.map((byte) => (byte === 0 || byte === 47 ? 92 : byte))),
    {
      minLength: 1,
      maxLength: 3,
    },
  )
  .map((names) => names.map((name) => decodeName(name)).join("/"))
  .filter((path) => pathFault(path) === undefined);

describe("the format", () => {
  test("[VERIFY-1] any list of paths comes back from its manifest, however it is cut into pieces", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(anyPath, { maxLength: 8 }),
        fc.integer({ min: 1, max: 40 }),
        async (paths, size) => {
          const text = Buffer.concat(paths.map((path) => formatManifestLine({ path, sha256: SUM })));
          const lines = await collect(text, size);
          expect(lines).toEqual(paths.map((path, at) => ({ number: at + 1, entry: { path, sha256: SUM } })));
        },
      ),
      { numRuns: 200 },
    );
  });

  test("[VERIFY-2] names are escaped as sha256sum does", () => {
    const line = (path: string): string => Buffer.from(formatManifestLine({ path, sha256: SUM })).toString();
    expect(line("plain name")).toBe(`${SUM}  plain name\n`);
    expect(line("two\nlines")).toBe(`\\${SUM}  two\\nlines\n`);
    expect(line("back\\slash")).toBe(`\\${SUM}  back\\\\slash\n`);
  });

  test("[VERIFY-3] a line that could lead outside the directory is a fault, and so is garbage", () => {
    const fault = (text: string): string => {
      const line = parseManifestLine(Buffer.from(text), 7);
      return "fault" in line ? line.fault : `accepted ${line.entry.path}`;
    };
    expect(fault(`${SUM}  ../up`)).toBe('".." in path');
    expect(fault(`${SUM}  /etc/passwd`)).toBe("absolute path");
    expect(fault(`${SUM}  .syncline/marker`)).toBe("reserved name");
    expect(fault(`\\${SUM}  a\\tb`)).toBe("unknown escape in the name");
    expect(fault(`${SUM} name`)).toBe("no sha256sum line");
    expect(fault("hello")).toBe("no sha256sum line");
    expect(fault(`${SUM.toUpperCase()} *./a`)).toBe("accepted a");
  });

  test("[VERIFY-4] a line without an end takes bounded memory and is one fault", async () => {
    const long = Buffer.concat([Buffer.alloc(10 * LINE_BYTES_MAX, 0x61), Buffer.from(`\n${SUM}  a\n`)]);
    expect(await collect(long, 1000)).toEqual([
      { number: 1, fault: "the line is too long" },
      { number: 2, entry: { path: "a", sha256: SUM } },
    ]);
  });
});

describe("a tree", () => {
  let dir = "";
  const names = [
    "a",
    "b c",
    "two\nlines",
    "back\\slash",
    "cr\rname",
    "ü",
    "sub/inner",
    "-dash",
    "*star",
    "large",
  ];
  const host = openHost();

  beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "syncline-manifest-"));
    mkdirSync(join(dir, "sub"));
    mkdirSync(join(dir, ".syncline"));
    writeFileSync(join(dir, ".syncline/marker"), "ours");
    for (const name of names) writeFileSync(join(dir, name), `content of ${name}`);
    // Longer than two read buffers and not a multiple of one.
    writeFileSync(join(dir, "large"), Buffer.alloc((5 << 20) / 2 + 17, "xyz"));
    writeFileSync(Buffer.concat([Buffer.from(`${dir}/bad-`), Buffer.from([0xff, 0xfe])]), "bytes");
    symlinkSync("a", join(dir, "link"));
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  async function write(skip?: string): Promise<Buffer> {
    using root = new Confined(host.fs, host.fs.openRoot(dir));
    using pool = new HashPool(root, dir);
    const parts: Uint8Array[] = [];
    await writeManifest(
      root,
      pool,
      skip,
      (bytes) => parts.push(bytes),
      () => {},
      (problem) => expect(problem).toBeUndefined(),
      never,
    );
    return Buffer.concat(parts);
  }

  async function check(text: Uint8Array): Promise<Verdict[]> {
    using root = new Confined(host.fs, host.fs.openRoot(dir));
    using pool = new HashPool(root, dir);
    const verdicts: Verdict[] = [];
    const faults: string[] = [];
    await checkManifest(
      pool,
      readManifest(pieces(text, 500)),
      (one) => verdicts.push(one),
      (_, fault) => faults.push(fault),
      never,
    );
    expect(faults).toEqual([]);
    return verdicts;
  }

  test("[VERIFY-5] sha256sum accepts what was written, and the reverse", async () => {
    const text = await write();
    writeFileSync(`${dir}.sums`, text);
    const theirs = Bun.spawnSync(["sha256sum", "--strict", "--quiet", "-c", `${dir}.sums`], { cwd: dir });
    expect(theirs.stderr.toString() + theirs.stdout.toString()).toBe("");
    expect(theirs.exitCode).toBe(0);
    const made = Bun.spawnSync(
      ["sh", "-c", "find . -path ./.syncline -prune -o -type f -print0 | xargs -0 sha256sum"],
      { cwd: dir },
    );
    const verdicts = await check(made.stdout);
    rmSync(`${dir}.sums`);
    expect(verdicts).toHaveLength(names.length + 1);
    expect(verdicts.every((one) => one.verdict === "same")).toBe(true);
  });

  test("[VERIFY-6] a changed, a missing and a replaced file are told apart", async () => {
    const text = await write("large");
    writeFileSync(join(dir, "a"), "content of A");
    rmSync(join(dir, "ü"));
    rmSync(join(dir, "b c"));
    symlinkSync("a", join(dir, "b c"));
    const found = new Map((await check(text)).map((one) => [one.path, one.verdict]));
    expect(found.get("a")).toBe("differs");
    expect(found.get("ü")).toBe("missing");
    expect(found.get("b c")).toBe("unreadable");
    expect(found.get("sub/inner")).toBe("same");
    expect(found.has("large")).toBe(false);
    expect(found.has("link")).toBe(false);
  });
});
