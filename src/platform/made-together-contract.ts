/** What every FileSystem must do when files are made together: a part of file-system-contract.ts. */
import { expect, test } from "bun:test";
import { FsError } from "#platform/file-system.ts";
import type { Bench } from "#platform/file-system-contract.ts";

export function madeTogether(bench: () => Bench): void {
  test("[FS-47] files made together are as if each was made alone, and one that cannot be made is no matter to the others", async () => {
    const { fs, root, abilities } = bench();
    fs.mkdir(root, "d", 0o755);
    bench().put("7", "before");
    const dir = fs.openDir(root, "d");
    const bytes = Uint8Array.from({ length: 300 }, (_, at) => at);
    const wanted = Array.from({ length: 200 }, (_, at) => ({
      dir: at % 2 === 0 ? dir : root,
      name: at === 8 ? "ü 8" : String(at),
      mode: at % 3 === 0 ? 0o666 : 0o600,
      bytes: bytes.subarray(0, at),
      mtimeNs: at === 5 ? undefined : BigInt(at - 100) * 1_000_000_000n + 300n,
    }));
    const asked = fs.createFiles(wanted);
    // They were taken along.
    bytes.fill(0);
    const made = await asked;
    const again = await fs.createFiles([...wanted.slice(0, 3), { ...wanted[4]!, name: "more", bytes: new Uint8Array(2 << 20) }]);
    for (const [at, { dir: into, name, mode, mtimeNs }] of wanted.entries()) {
      const one = made[at]!;
      if (at === 7) {
        expect(one instanceof FsError ? one.code : "ok").toBe("EEXIST");
        continue;
      }
      const stat = fs.stat(into, name);
      expect(one).toMatchObject({ ino: stat.ino, ctimeNs: stat.ctimeNs, mtimeNs: stat.mtimeNs });
      if (mtimeNs !== undefined && abilities.timestampNs === 1n) expect(stat.mtimeNs).toBe(mtimeNs);
      if (abilities.modes) expect(stat.mode).toBe(mode);
      const read = new Uint8Array(400);
      const { count } = fs.readWhole(into, name, read);
      expect([...read.subarray(0, count)]).toEqual(Array.from({ length: at }, (_, no) => no & 255));
    }
    expect(bench().text("7")).toBe("before");
    expect(again.map((one) => (one instanceof FsError ? one.code : "made"))).toEqual(["EEXIST", "EEXIST", "EEXIST", "made"]);
    expect(bench().names(dir).length).toBe(101);
    fs.close(dir);
  });
}
