/** Our clients of other systems, held to their contract by servers of other people. */
import { afterAll, beforeAll } from "bun:test";
import { mkdirSync, chmodSync } from "node:fs";
import { join } from "node:path";
import { systemClock, systemRandom } from "#platform/host-bun.ts";
import { foreignContract } from "#sync/foreign/foreign-contract.ts";
import { FtpFiles } from "#sync/foreign/ftp/ftp-files.ts";
import { SftpFiles } from "#sync/foreign/sftp/sftp-files.ts";
import { type FtpPeer, startVsftpd } from "./foreign-servers.ts";
import { type SshServer, World, startSshd } from "./harness.ts";

const PEERS = {
  "vsftpd in clear": ["none", (world: World) => startVsftpd(world, "none")],
  "vsftpd with TLS on request": ["explicit", (world: World) => startVsftpd(world, "explicit")],
} as const;

const world = new World();
const peers = new Map<string, FtpPeer>();
let sshd: SshServer;
let places = 0;

beforeAll(async () => {
  for (const [name, [, start]] of Object.entries(PEERS)) peers.set(name, await start(world));
  sshd = await startSshd(world);
});
afterAll(() => world[Symbol.asyncDispose]());

for (const [name, [tls]] of Object.entries(PEERS)) {
  foreignContract(name, async () => {
    const { port, user, password, root } = peers.get(name)!;
    const place = `place${places++}`;
    mkdirSync(join(root, "pub", place));
    chmodSync(join(root, "pub", place), 0o777);
    const trust = { ca: undefined, fingerprint: undefined, acceptNew: true, askTrust: undefined, stateDir: world.state };
    const server = { host: "127.0.0.1", port, user, password, tls, trust, identity: undefined };
    const files = (): FtpFiles =>
      new FtpFiles({ server, root: `/pub/${place}`, owner: "abc", clock: systemClock, random: systemRandom });
    return { files: files(), other: files, dispose: () => undefined };
  });
}

foreignContract("OpenSSH", async () => {
  const [, user, host, port] = /^(.+)@(.+):(\d+)$/.exec(sshd.address)!;
  const place = world.folder(`place${places++}`);
  const server = { target: { user, host: host!, port: Number(port) }, command: sshd.ssh };
  const files = (): SftpFiles => new SftpFiles({ server, root: place, owner: "abc", random: systemRandom });
  return { files: files(), other: files, dispose: () => undefined };
});
