import { afterAll, expect, test } from "bun:test";
import * as nodeFs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileSystemContract } from "#platform/file-system-contract.ts";
import { isCode } from "#platform/file-system.ts";
import { PortableFileSystem } from "#platform/portable/portable-file-system.ts";

const fs = new PortableFileSystem();
const base = nodeFs.mkdtempSync(join(tmpdir(), "syncline-portable-"));
afterAll(() => nodeFs.rmSync(base, { recursive: true, force: true }));

fileSystemContract("portable", () => {
  const root = fs.openRoot(nodeFs.mkdtempSync(join(base, "root-")));
  return { fs, root, dispose: () => fs.close(root) };
});

test("[FS-38] a held directory that another process swapped is refused as stale", () => {
  const path = nodeFs.mkdtempSync(join(base, "root-"));
  nodeFs.mkdirSync(join(path, "d"));
  nodeFs.mkdirSync(join(path, "outside"));
  const root = fs.openRoot(path);
  const held = fs.openDir(root, "d");
  nodeFs.renameSync(join(path, "d"), join(path, "moved"));
  nodeFs.symlinkSync("outside", join(path, "d"));
  const create = (): unknown => fs.create(held, "f", 0o600);
  for (const attempt of [create, () => fs.list(held), () => fs.chmod(held, 0o700)]) {
    let refused = false;
    try {
      attempt();
    } catch (error) {
      refused = isCode(error, "ESTALE");
    }
    expect(refused).toBe(true);
  }
  expect(nodeFs.readdirSync(join(path, "outside"))).toEqual([]);
  fs.close(held);
  fs.close(root);
});

test("[FS-2] names that are not UTF-8 round-trip", () => {
  const path = nodeFs.mkdtempSync(join(base, "root-"));
  const root = fs.openRoot(path);
  // Written as bytes through the real disk; systems that only take Unicode names refuse it.
  try {
    nodeFs.writeFileSync(Buffer.concat([Buffer.from(`${path}/`), Buffer.from([0x61, 0xff])]), "x");
  } catch {
    return;
  }
  expect(fs.list(root)).toEqual([{ name: "a\udcff", kind: "unknown" }]);
  expect(fs.stat(root, "a\udcff")).toMatchObject({ kind: "file", size: 1 });
  fs.close(root);
});

test("abilities are told honestly", () => {
  const root = fs.openRoot(base);
  expect(fs.abilities(root, true)).toMatchObject({ confined: false, xattrs: false, timestampNs: 1000n });
  fs.close(root);
});
