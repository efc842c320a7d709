/** vsftpd on the loopback address, for anonymous users who may write: no password to check, nothing to log. */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createServer } from "node:net";
import { Running } from "./processes.ts";

/** Below what they see, the directory in which they may write. */
export const WRITABLE = "pub";
const START_MS_MAX = 10_000;

export async function startVsftpd(dir: string): Promise<{ server: Running; port: number }> {
  const port = await freePort();
  const root = join(dir, "root");
  const empty = join(dir, "empty");
  for (const one of [join(root, WRITABLE), empty]) mkdirSync(one, { recursive: true });
  // Anonymous users are another user of the system, and may not own the top.
  for (let above = dir; above !== "/tmp" && above !== "/"; above = join(above, "..")) chmodSync(above, 0o755);
  chmodSync(join(root, WRITABLE), 0o777);
  const settings = {
    listen: "YES", listen_address: "127.0.0.1", listen_port: port, background: "NO", anonymous_enable: "YES", no_anon_password: "NO",
    anon_root: root, anon_upload_enable: "YES", anon_mkdir_write_enable: "YES", anon_other_write_enable: "YES", anon_umask: "022",
    write_enable: "YES", local_enable: "NO", secure_chroot_dir: empty, max_clients: 0, max_per_ip: 0, xferlog_enable: "NO",
  };
  const file = join(dir, "vsftpd.conf");
  writeFileSync(file, Object.entries(settings).map(([key, value]) => `${key}=${value}\n`).join(""));
  const server = new Running(["vsftpd", file], { dir, name: "vsftpd" });
  const listens = async (): Promise<boolean> => {
    const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data: () => undefined } }).catch(() => undefined);
    socket?.end();
    return socket !== undefined;
  };
  for (const end = Date.now() + START_MS_MAX; !(await listens()); await Bun.sleep(20)) {
    if (!server.isRunning || Date.now() > end) throw new Error(`vsftpd does not start (it needs root)\n${server.lastWords()}`);
  }
  return { server, port };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  return port;
}
