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
const LARGE = 8;

type Job = {
  id: number;
  state: string;
  tries: number;
  progress?: { done: number; phase?: string };
  result?: { changed: number; conflicts: number; runId: string };
  checkpoint?: { findings: string[] };
  error?: { code: string; message: string; hint?: string };
};

async function done(fleet: Fleet, kind: string, args: object): Promise<Job> {
  const { id } = await fleet.json<Job>("/v1/jobs", "POST", { kind, args });
  return over(fleet, id);
}

const isOver = ({ state }: Job): boolean => ["done", "failed", "cancelled"].includes(state);
const look = (fleet: Fleet, id: number): Promise<Job> => fleet.json<Job>(`/v1/jobs/${id}`);

async function over(fleet: Fleet, id: number): Promise<Job> {
  await fleet.until(`job ${id} is over`, async () => isOver(await look(fleet, id)));
  return look(fleet, id);
}

/** Bytes have begun to move, and there are more. */
async function isMoving(fleet: Fleet, id: number): Promise<void> {
  for (;;) {
    const job = await look(fleet, id);
    expect(isOver(job)).toBe(false);
    if (job.progress?.phase === "transferring" && job.progress.done > 0) return;
    await Bun.sleep(2);
  }
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
  test("[JOB-67] a tree of vsftpd comes into a space, though the hub is killed, and goes on to OpenSSH's SFTP server", async () => {
    await using world = new World();
    const ftp = await startVsftpd(world, "none");
    const sshd = await startSshd(world);
    const source = join(ftp.root, "pub/tree");
    mkdirSync(join(source, "sub"), { recursive: true });
    for (let at = 0; at < FILES; at++) writeFileSync(join(source, `sub/f${at}`), randomBytes(at * 97));
    for (let at = 0; at < LARGE; at++) writeFileSync(join(source, `large-${at}`), randomBytes(6_000_001));
    for (const dir of [source, join(source, "sub")]) chmodSync(dir, 0o755);
    const target = world.folder("target");
    const options = ["--foreign-hosts", "any", "--foreign-ssh", sshd.ssh];
    await using fleet = await Fleet.start({ world, hub: options });
    const from = { space: "site", prefix: "in/tree", url: `ftp://127.0.0.1:${ftp.port}/pub/tree` };
    const to = { ...from, url: `sftp://${sshd.address}${target}`, mode: "mirror" };
    const { id } = await fleet.json<Job>("/v1/jobs", "POST", { kind: "import", args: from });
    await isMoving(fleet, id);
    await fleet.kill("hub");
    await fleet.startHub(...options);
    expect(await over(fleet, id)).toMatchObject({ state: "done", tries: 0, result: { conflicts: 0, problems: 0 } });
    // Two directories of the prefix, one below it, and each file once, though the hub was killed between them.
    expect((await fleet.json<{ sequence: number }>("/v1/spaces/site")).sequence).toBe(3 + FILES + LARGE);
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
    // What no file can be fails the job, named, when all else is there.
    expect((await world.command(["mkfifo", join(target, "pipe")])).code).toBe(0);
    const piped = await done(fleet, "import", { space: "docs", prefix: "back", url: to.url });
    expect(piped).toMatchObject({ state: "failed", tries: 1, error: { code: "STATE" } });
    expect(piped.checkpoint!.findings[0]).toStartWith("pipe: ");
    expect((await fleet.fetch("/v1/spaces/docs/content/back/sub/f4")).status).toBe(200);
    const nowhere = await done(fleet, "export", { ...to, url: `sftp://${sshd.address}/proc/nowhere` });
    expect(nowhere).toMatchObject({ state: "failed", tries: 1 });
  }, TEST_MS_MAX);
});
