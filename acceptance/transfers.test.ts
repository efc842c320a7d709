/** Imports and exports of a real hub: other people's FTP and SFTP servers, and a bucket. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fleet } from "./fleet.ts";
import { startVsftpd } from "./foreign-servers.ts";
import { World, startSshd } from "./harness.ts";

const TEST_MS_MAX = 60_000;
const FILES = 60;

type Job = {
  id: number;
  state: string;
  tries: number;
  result?: { changed: number; conflicts: number; runId: string };
  error?: { code: string; message: string; hint?: string };
};

async function done(fleet: Fleet, kind: string, args: object): Promise<Job> {
  const { id } = await fleet.json<Job>("/v1/jobs", "POST", { kind, args });
  const look = (): Promise<Job> => fleet.json<Job>(`/v1/jobs/${id}`);
  await fleet.until(`job ${id} is over`, async () => ["done", "failed", "cancelled"].includes((await look()).state));
  return look();
}

/** Files and their bytes, ours left out. */
function contents(root: string): Map<string, string> {
  const out = new Map<string, string>();
  for (const item of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const path = join(item.parentPath, item.name).slice(root.length + 1);
    if (item.isFile() && !path.startsWith(".syncline")) out.set(path, Bun.SHA256.hash(readFileSync(join(root, path)), "hex"));
  }
  return new Map([...out].sort(([a], [b]) => (a < b ? -1 : 1)));
}

describe("imports and exports", () => {
  test("[JOB-67] a tree of vsftpd comes into a space and goes on to OpenSSH's SFTP server, as it is; the rest is said", async () => {
    await using world = new World();
    const ftp = await startVsftpd(world, "none");
    const sshd = await startSshd(world);
    const source = join(ftp.root, "pub/tree");
    mkdirSync(join(source, "sub"), { recursive: true });
    for (let at = 0; at < FILES; at++) writeFileSync(join(source, `sub/f${at}`), randomBytes(at * 97));
    writeFileSync(join(source, "big"), randomBytes(6_000_001));
    for (const dir of [source, join(source, "sub")]) chmodSync(dir, 0o755);
    const target = world.folder("target");
    await using fleet = await Fleet.start({ world, hub: ["--foreign-hosts", "any", "--foreign-ssh", sshd.ssh] });
    const from = { space: "site", prefix: "in/tree", url: `ftp://127.0.0.1:${ftp.port}/pub/tree` };
    const to = { ...from, url: `sftp://${sshd.address}${target}`, mode: "mirror" };
    expect(await done(fleet, "import", from)).toMatchObject({ state: "done", result: { conflicts: 0 } });
    expect(await done(fleet, "export", to)).toMatchObject({ state: "done", result: { conflicts: 0 } });
    expect(contents(target)).toEqual(contents(source));
    expect((await done(fleet, "import", from)).result).toMatchObject({ changed: 0 });
    rmSync(join(source, "sub/f3"));
    writeFileSync(join(source, "sub/f4"), "edited there, of another length");
    // Add-only leaves what is gone in the source, a mirror does not.
    expect((await done(fleet, "import", from)).result).toMatchObject({ changed: 1 });
    expect((await done(fleet, "import", { ...from, mode: "mirror" })).result).toMatchObject({ changed: 1 });
    await done(fleet, "export", to);
    expect(contents(target)).toEqual(contents(source));
    const inside = await done(fleet, "export", { ...to, url: `sftp://${sshd.address}/no/such/\u00e4` });
    expect(inside).toMatchObject({ state: "failed", tries: 1 });
  }, TEST_MS_MAX);
});
