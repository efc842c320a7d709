/** Removing what is ours. */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const DEPTH = 400;

/** Removes "tree" in `dir` with the real thing, in a process that may hold few descriptors. */
const REMOVE = `
  const { openHost } = await import(${JSON.stringify(resolve(import.meta.dir, "../../platform/host-bun.ts"))});
  const { removeTree } = await import(${JSON.stringify(resolve(import.meta.dir, "private-area.ts"))});
  const { fs } = openHost();
  removeTree(fs, fs.openRoot(process.argv.at(-1)), "tree");
`;

test("[STAGE-5] a tree far deeper than the descriptors there may be is removed whole", () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-private-"));
  try {
    let deepest = join(dir, "tree");
    for (let level = 0; level < DEPTH; level++) deepest = join(deepest, "d");
    mkdirSync(deepest, { recursive: true });
    writeFileSync(join(deepest, "f"), "x");
    // Names that the removal would give itself.
    for (const name of ["0.up", "d/0.up", "d/1.up"]) mkdirSync(join(dir, "tree", name), { recursive: true });
    const command = ["sh", "-c", 'ulimit -n 128 && exec "$0" -e "$1" "$2"', process.execPath, REMOVE, dir];
    const { exitCode, stderr } = Bun.spawnSync(command);
    expect([exitCode, stderr.toString()]).toEqual([0, ""]);
    expect(existsSync(join(dir, "tree"))).toBe(false);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
