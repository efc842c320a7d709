/** vsftpd on loopback, for our clients; ends with the world. */
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { makeCertificate } from "#platform/net/certificate.ts";
import { type World, freePort } from "./harness.ts";

const START_MS_MAX = 15_000;

export type FtpPeer = {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** The directory on disk that is "/" there, with "pub" in it, where one may write. */
  readonly root: string;
};

async function listens(port: number, of: { output(): string }): Promise<void> {
  for (const end = Date.now() + START_MS_MAX; ; await Bun.sleep(20)) {
    const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data: () => undefined } }).catch(() => undefined);
    socket?.end();
    if (socket !== undefined) return;
    if (Date.now() > end) throw new Error(`the server does not start: ${of.output()}`);
  }
}

function program(name: string): string {
  const found = Bun.which(name, { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin` });
  if (found === null) throw new Error(`${name} is missing; run tools/provision`);
  return found;
}

/** Anonymous users are another user of the system: they pass through what is above and write in "pub". */
function makeRoot(world: World, name: string): string {
  const root = world.folder(join(name, "root"));
  for (const dir of [world.dir, world.path(name), root]) chmodSync(dir, 0o755);
  mkdirSync(join(root, "pub"), { recursive: true });
  chmodSync(join(root, "pub"), 0o777);
  return root;
}

/** A certificate for 127.0.0.1 in one file with its key. */
function certificateFile(world: World, name: string): string {
  const { certificate, key } = makeCertificate(["127.0.0.1", "localhost"], Date.now());
  return world.write(join(name, "server.pem"), certificate + key);
}

/** vsftpd knows neither MLSD nor MFMT; with TLS it insists that data connections go on with the session of the control one. */
export async function startVsftpd(world: World, tls: "none" | "explicit" | "implicit"): Promise<FtpPeer> {
  const name = `vsftpd-${tls}`;
  const port = await freePort();
  const root = makeRoot(world, name);
  const both = certificateFile(world, name);
  const secure = {
    ssl_enable: "YES", allow_anon_ssl: "YES", force_anon_data_ssl: "YES", force_anon_logins_ssl: "YES", require_ssl_reuse: "YES",
    rsa_cert_file: both, rsa_private_key_file: both, ssl_ciphers: "HIGH", implicit_ssl: tls === "implicit" ? "YES" : "NO",
  };
  const settings = {
    listen: "YES", listen_address: "127.0.0.1", listen_port: port, background: "NO", anonymous_enable: "YES", no_anon_password: "NO",
    anon_root: root, anon_upload_enable: "YES", anon_mkdir_write_enable: "YES", anon_other_write_enable: "YES", anon_umask: "022",
    anon_world_readable_only: "NO", write_enable: "YES", local_enable: "NO", secure_chroot_dir: world.folder(join(name, "empty")),
    max_per_ip: 0, xferlog_enable: "NO", seccomp_sandbox: "NO", ...(tls === "none" ? {} : secure),
  };
  const file = world.write(join(name, "conf"), Object.entries(settings).map(([key, value]) => `${key}=${value}\n`).join(""));
  await listens(port, world.start([program("vsftpd"), file]));
  return { port, user: "anonymous", password: "syncline@", root };
}
