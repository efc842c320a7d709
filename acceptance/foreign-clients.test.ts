/** Our clients of other systems, held to their contract by servers of other people. */
import { afterAll, beforeAll } from "bun:test";
import { mkdirSync, chmodSync } from "node:fs";
import { join } from "node:path";
import { systemClock, systemRandom } from "#platform/host-bun.ts";
import { foreignContract } from "#sync/foreign/foreign-contract.ts";
import { FtpFiles } from "#sync/foreign/ftp/ftp-files.ts";
import { type FtpPeer, startVsftpd } from "./foreign-servers.ts";
import { World } from "./harness.ts";

const PEERS = {
  "vsftpd in clear": ["none", (world: World) => startVsftpd(world, "none")],
  "vsftpd with TLS on request": ["explicit", (world: World) => startVsftpd(world, "explicit")],
  "vsftpd with TLS from the beginning": ["implicit", (world: World) => startVsftpd(world, "implicit")],
} as const;

const world = new World();
const peers = new Map<string, FtpPeer>();
let places = 0;

beforeAll(async () => {
  for (const [name, [, start]] of Object.entries(PEERS)) peers.set(name, await start(world));
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
