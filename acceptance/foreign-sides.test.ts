/** Places on other systems as sides of the real program: a bucket behind TLS, other people's FTP and SFTP servers. */
import { expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startVsftpd } from "./foreign-servers.ts";
import { PROGRAM, type Done, World, startSshd, summaryOf } from "./harness.ts";

const KEY = "annssecret-0123456789abcdef0123456789";
const BOOTSTRAP = `
spaces: [{name: site}]
users: [{name: ann, roles: [admin]}]
s3Keys: [{user: ann, accessKey: ANNSKEY, secretKey: ${KEY}}]
`;
const START_MS_MAX = 30_000;

function makeTree(world: World): string {
  const root = world.folder("tree");
  mkdirSync(join(root, "sub/deep"), { recursive: true });
  for (let at = 0; at < 120; at++) writeFileSync(join(root, `sub/f${at}`), randomBytes(at * 97));
  writeFileSync(join(root, "big.bin"), randomBytes(20_000_001));
  writeFileSync(join(root, "sub/deep/ž a+b &1.txt"), "odd");
  return root;
}

function same(done: Done): ReturnType<typeof summaryOf> {
  if (done.code !== 0) throw new Error(`exit ${done.code}: ${done.err}\n${done.out}`);
  return summaryOf(done);
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

test("[FOREIGN-50] a bucket behind TLS: killed in the middle, gone on with, and what rclone sees is the same, times included", async () => {
  await using world = new World();
  const data = world.path("hub");
  const listen = ["--listen", "127.0.0.1:0", "--sync-listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0", "--tls", "always"];
  const hub = world.start([PROGRAM, "hub", "--data", data, ...listen, "--bootstrap", world.write("boot.yaml", BOOTSTRAP), "--json"]);
  const line = await hub.line((text) => text.includes('"type":"listening"'), START_MS_MAX);
  const [url = ""] = (JSON.parse(line) as { doors: string[] }).doors;
  const root = makeTree(world);
  const keys = world.write("keys", `[default]\naws_access_key_id = ANNSKEY\naws_secret_access_key = ${KEY}\n`);
  const command = ["sync", root, `s3://site/pre?endpoint=${url}`, "--credentials-file", keys, "--ca", join(data, "ca.pem"), "--json"];
  const killed = world.start([PROGRAM, ...command]);
  await killed.line((text) => text.includes('"phase":"transferring"') || text.includes('"phase":"applying"'), START_MS_MAX);
  await Bun.sleep(300);
  killed.kill("SIGKILL");
  await killed.exited;
  same(await world.run(command));
  expect(same(await world.run(command)).changes).toBe(0);
  const rclone = (args: string[]): Promise<Done> =>
    world.command(["rclone", "--config", "/dev/null", "--ca-cert", join(data, "ca.pem"), ...args], {
      env: {
        RCLONE_CONFIG_H_TYPE: "s3", RCLONE_CONFIG_H_PROVIDER: "Other", RCLONE_CONFIG_H_ENDPOINT: url,
        RCLONE_CONFIG_H_ACCESS_KEY_ID: "ANNSKEY", RCLONE_CONFIG_H_SECRET_ACCESS_KEY: KEY,
      },
    });
  const ours = ["--exclude", ".syncline*/**"];
  const checked = await rclone(["check", "--download", ...ours, root, "h:site/pre"]);
  expect({ code: checked.code, err: checked.code === 0 ? "" : checked.err }).toEqual({ code: 0, err: "" });
  const { mtimeNs } = statSync(join(root, "big.bin"), { bigint: true });
  const seconds = new Date(Number(mtimeNs / 1_000_000n)).toISOString().slice(0, 19).replace("T", " ");
  const told = (await rclone(["lsl", "h:site/pre/big.bin"])).out;
  expect(told).toContain(`${seconds}.${String(mtimeNs % 1_000_000_000n).padStart(9, "0")}`);
  expect((await rclone(["copy", root, "h:site/pre", ...ours, "--dry-run"])).err).not.toContain("Skipped copy");
  rmSync(join(root, "sub/f1"));
  expect((await rclone(["copyto", world.write("theirs", "from there"), "h:site/pre/theirs.txt"])).code).toBe(0);
  expect(same(await world.run(command)).changes).toBe(2);
  expect(readFileSync(join(root, "theirs.txt"), "utf8")).toBe("from there");
}, 120_000);

test("[FOREIGN-51] vsftpd behind TLS: both ways, and the password is in a file", async () => {
  await using world = new World();
  const { port, user, password, root: served } = await startVsftpd(world, "explicit");
  const there = join(served, "pub/place");
  mkdirSync(there);
  chmodSync(there, 0o777);
  const root = makeTree(world);
  const netrc = world.write("netrc", `machine 127.0.0.1 login ${user} password ${password}\n`);
  const side = `ftp://${user}@127.0.0.1:${port}/pub/place?tls=explicit`;
  const command = ["sync", root, side, "--credentials-file", netrc, "--accept-new", "--json"];
  same(await world.run(command));
  expect(contents(there)).toEqual(contents(root));
  writeFileSync(join(there, "sub/f2"), "edited there, long enough to differ");
  rmSync(join(there, "sub/f3"));
  renameSync(join(root, "sub/f4"), join(root, "moved"));
  same(await world.run(command));
  expect(contents(there)).toEqual(contents(root));
  expect(readFileSync(join(root, "sub/f2"), "utf8")).toBe("edited there, long enough to differ");
  expect(same(await world.run(command)).changes).toBe(0);
}, 120_000);

test("[FOREIGN-52] OpenSSH's SFTP server: both ways, modes and times too, and a run is taken back", async () => {
  await using world = new World();
  const sshd = await startSshd(world);
  const there = world.folder("there");
  const root = makeTree(world);
  const side = `sftp://${sshd.address.replace(/^ssh:\/\//, "").replace(/\/.*$/, "")}${there}`;
  const command = ["sync", root, side, "--ssh", sshd.ssh, "--json"];
  same(await world.run(command));
  expect(contents(there)).toEqual(contents(root));
  const before = contents(there);
  writeFileSync(join(root, "sub/f5"), "edited here");
  rmSync(join(root, "sub/f6"));
  same(await world.run(command));
  expect(contents(there)).toEqual(contents(root));
  const log = await world.run(["log", "--json"]);
  const runs = log.out.trim().split("\n").map((text) => JSON.parse(text) as { runId?: string; changes?: number });
  const run = runs.find(({ runId, changes }) => runId !== undefined && runId !== "" && changes === 2);
  const undone = await world.run(["undo", run?.runId ?? "none", "--ssh", sshd.ssh]);
  expect({ code: undone.code, err: undone.code === 0 ? "" : undone.err }).toEqual({ code: 0, err: "" });
  expect(contents(there)).toEqual(before);
}, 120_000);
