/** The real program with one side on an FTP or SFTP server: both ways, killed, cut off, and with a full disk there. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { startVsftpd } from "./foreign-servers.ts";
import { type Done, PROGRAM, World, eventually, startSshd } from "./harness.ts";
import { Mounts } from "./mounts.ts";
import type { SubprocessLike } from "./process.ts";

/** 2020-01-02 03:04:05 UTC. */
const OLD = 1_577_934_245;
const KILLS = 4;

type Peer = {
  /** Where `dir`, a directory in its own world, is for the program. */
  readonly url: (dir: string) => string;
  readonly options: readonly string[];
  /** Makes an empty directory there. */
  readonly place: (name: string) => string;
  /** The server, whose children serve one connection each. */
  readonly server: SubprocessLike;
};

const world = new World();
const mounts = new Mounts(world);
const peers = new Map<string, Peer>();

beforeAll(async () => {
  for (const tls of ["none", "explicit", "implicit"] as const) {
    const { port, root, server } = await startVsftpd(world, tls);
    const scheme = tls === "implicit" ? "ftps" : "ftp";
    peers.set(`vsftpd, TLS ${tls}`, {
      url: (dir) => `${scheme}://127.0.0.1:${port}${dir.slice(root.length)}${tls === "explicit" ? "?tls=explicit" : ""}`,
      options: ["--accept-new"],
      place(name) {
        mkdirSync(join(root, "pub", name));
        chmodSync(join(root, "pub", name), 0o777);
        return join(root, "pub", name);
      },
      server,
    });
  }
  const sshd = await startSshd(world);
  peers.set("OpenSSH", {
    url: (dir) => `sftp://${sshd.address}${dir}`,
    options: ["--ssh", sshd.ssh],
    place: (name) => world.folder(name),
    server: sshd.server,
  });
});
afterAll(async () => {
  await mounts[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

function put(path: string, bytes: string | Uint8Array, seconds = OLD): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, bytes);
  utimesSync(path, seconds, seconds);
}

function makeTree(dir: string, files = 40): void {
  for (const size of [0, 1, 131_073, 3_000_000]) put(join(dir, `f${size}`), randomBytes(size));
  for (let at = 0; at < files; at++) put(join(dir, `d${at % 4}`, `file ${at} ü`), `text ${at}`);
  put(join(dir, ".hidden"), "seen");
  mkdirSync(join(dir, "empty"));
}

/** What `diff` finds, our own directory left out. */
async function difference(a: string, b: string): Promise<string> {
  return (await world.command(["diff", "-r", "-x", ".syncline", a, b])).out;
}

const sync = (peer: Peer, a: string, b: string, ...more: string[]): Promise<Done> =>
  world.run(["sync", a, b, ...peer.options, "--json", ...more]);

/** The processes that serve connections. */
function connections({ pid }: SubprocessLike): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
}

for (const name of ["vsftpd, TLS none", "vsftpd, TLS explicit", "vsftpd, TLS implicit", "OpenSSH"]) {
  describe(`a side on ${name}`, () => {
    const at = name.replaceAll(/\W+/g, "-");

    test("[FOREIGN-60] goes both ways, with times, hidden files and odd names, and finds nothing to do then", async () => {
      const peer = peers.get(name)!;
      const [near, far] = [world.folder(`near-${at}`), peer.place(`far-${at}`)];
      makeTree(near);
      const first = await sync(peer, near, peer.url(far));
      expect([first.code, first.err]).toEqual([0, ""]);
      expect(await difference(near, far)).toBe("");
      expect(statSync(join(far, "f1")).mtimeMs).toBe(OLD * 1000);
      put(join(far, "d0", "from there"), "there", OLD + 100);
      put(join(near, "d1", "from here"), "here", OLD + 100);
      rmSync(join(near, "d2"), { recursive: true });
      rmSync(join(far, "f131073"));
      put(join(far, "f1"), "edited", OLD + 100);
      const second = await sync(peer, near, peer.url(far));
      expect(second.code).toBe(0);
      expect(await difference(near, far)).toBe("");
      expect([existsSync(join(far, "d2")), existsSync(join(near, "f131073"))]).toEqual([false, false]);
      expect(readFileSync(join(near, "f1"), "utf8")).toBe("edited");
      expect((await sync(peer, near, peer.url(far))).out).toContain('"changes":0');
    }, 60_000);
  });
}

for (const name of ["vsftpd, TLS explicit", "OpenSSH"]) {
  describe(`a side on ${name} that breaks off`, () => {
    const at = name.replaceAll(/\W+/g, "-");

    test("[FOREIGN-61] the program killed and the server's processes killed at any time: whole files, nothing lost, the same in the end", async () => {
      const peer = peers.get(name)!;
      const [near, far] = [world.folder(`kill-near-${at}`), peer.place(`kill-far-${at}`)];
      makeTree(near, 120);
      const texts = (dir: string): Map<string, string> => {
        const found = readdirSync(dir, { recursive: true, withFileTypes: true }).filter((one) => one.isFile() && !one.parentPath.includes(".syncline"));
        return new Map(found.map((one) => [join(one.parentPath, one.name).slice(dir.length), readFileSync(join(one.parentPath, one.name), "latin1")]));
      };
      const wanted = texts(near);
      for (let kill = 0; kill < KILLS; kill++) {
        const child = world.start([PROGRAM, "sync", near, peer.url(far), ...peer.options, "--json", "--max-delete", "none"]);
        await eventually("it has connected", () => connections(peer.server).length > 0);
        await Bun.sleep(kill * 70);
        if (kill % 2 === 0) child.kill("SIGKILL");
        else for (const pid of connections(peer.server)) process.kill(pid, "SIGKILL");
        await child.exited;
        expect(texts(near)).toEqual(wanted);
        for (const [path, text] of texts(far)) if (!path.includes(".syncline-part-")) expect(text === wanted.get(path)).toBe(true);
      }
      expect((await sync(peer, near, peer.url(far))).code).toBe(0);
      expect(await difference(near, far)).toBe("");
      const back = world.folder(`kill-back-${at}`);
      expect((await sync(peer, peer.url(far), back)).code).toBe(0);
      expect(await difference(near, back)).toBe("");
    }, 120_000);
  });
}

describe("a full disk on the other side", () => {
  for (const name of ["vsftpd, TLS none", "OpenSSH"]) {
    test(`[FOREIGN-62] on ${name} is said, no part is left, what fits is there, and the rest comes when there is room`, async () => {
      const peer = peers.get(name)!;
      const at = name.replaceAll(/\W+/g, "-");
      const near = world.folder(`full-near-${at}`);
      const far = peer.place(`full-far-${at}`);
      const mounted = far.slice(world.dir.length + 1);
      await mounts.tmpfs(mounted, "size=2m,mode=777");
      put(join(near, "small"), "fits");
      put(join(near, "large"), randomBytes(4 << 20));
      const full = await sync(peer, near, peer.url(far));
      expect(full.code).not.toBe(0);
      expect(full.out + full.err).toMatch(/ENOSPC|full|room|disk/i);
      expect(readFileSync(join(far, "small"), "utf8")).toBe("fits");
      expect(readdirSync(far).filter((one) => one !== ".syncline")).toEqual(["small"]);
      await mounts.remount(mounted, "size=16m");
      expect((await sync(peer, near, peer.url(far))).code).toBe(0);
      expect(await difference(near, far)).toBe("");
    }, 60_000);
  }
});
