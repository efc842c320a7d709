import { expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writePrivately } from "#cli/local-files.ts";

test("[CLI-140] what comes from a hub goes into a file that only its owner reads; a disk that refuses it is told, and ends nothing before", async () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-files-"));
  const refused = Promise.withResolvers<void>();
  async function* pieces(until: Promise<void>): AsyncGenerator<Uint8Array> {
    yield Buffer.from("first ");
    await until;
    yield Buffer.from("second");
  }
  try {
    const file = join(dir, "f");
    expect(await writePrivately(file, pieces(Promise.resolve()))).toBe(12);
    expect([readFileSync(file, "utf8"), statSync(file).mode & 0o777]).toEqual(["first second", 0o600]);
    // What comes next is waited for while the disk says no.
    const writing = writePrivately(dir, pieces(refused.promise)).catch((error: NodeJS.ErrnoException) => error.code);
    await Bun.sleep(50);
    refused.resolve();
    expect(await writing).toBe("EISDIR");
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test("[CLI-151] so it does where the file was there already, and others might read it", async () => {
  const dir = mkdtempSync(join(tmpdir(), "syncline-files-"));
  const file = join(dir, "f");
  async function* pieces(): AsyncGenerator<Uint8Array> {
    expect(statSync(file).mode & 0o777).toBe(0o600);
    yield Buffer.from("secret");
  }
  try {
    writeFileSync(file, "before");
    chmodSync(file, 0o644);
    await writePrivately(file, pieces());
    expect([readFileSync(file, "utf8"), statSync(file).mode & 0o777]).toEqual(["secret", 0o600]);
  } finally {
    rmSync(dir, { recursive: true });
  }
});
