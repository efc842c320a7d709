import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";

test("[HOST-4] a private file is replaced whole, whatever a process of the same number has left of an earlier try", () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-private-"));
  try {
    const path = join(dir, "in", "key.pem");
    writePrivateFile(path, "first");
    for (const text of ["second", "third"]) {
      writeFileSync(`${path}.${process.pid}.new`, "half of", { mode: 0o644 });
      writePrivateFile(path, text);
      expect(readPrivateFile(path)).toBe(text);
      expect(statSync(path).mode & 0o777).toBe(0o600);
      expect(readdirSync(join(dir, "in"))).toEqual(["key.pem"]);
    }
    // What is refused leaves what was there.
    rmSync(path);
    mkdirSync(join(path, "a directory"), { recursive: true });
    expect(() => writePrivateFile(path, "fourth")).toThrow();
    expect(readdirSync(join(dir, "in"))).toEqual(["key.pem"]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
