/** The executable for Linux on arm64, run by an emulator: the same source, other system calls, flags and machine code. */
import { beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, linkSync, readFileSync, renameSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PROGRAM, ROOT, World, builtIsCurrent, describeTree, eventually } from "./harness.ts";

const BUILT = join(ROOT, "dist", "syncline-linux-arm64");
/** Debian's C library for arm64. */
const LIBRARIES = "/usr/aarch64-linux-gnu";
const START_MS_MAX = 60_000;

let arm64: string[] = [];

beforeAll(async () => {
  if (process.arch === "arm64") {
    arm64 = [PROGRAM];
    return;
  }
  const emulator = Bun.which("qemu-aarch64");
  if (emulator === null || !existsSync(LIBRARIES)) throw new Error("qemu-aarch64 or its libraries are missing; run tools/provision");
  await using world = new World();
  if (!builtIsCurrent(BUILT)) {
    const built = await world.command([process.execPath, join(ROOT, "tools", "build.ts"), "linux-arm64"], { cwd: ROOT });
    if (built.code !== 0) throw new Error(built.err);
  }
  arm64 = [emulator, "-L", LIBRARIES, BUILT];
});

/** What `ls` does not show: names of one inode, owners, attributes. */
async function metadata(world: World, dir: string): Promise<string> {
  const script = `cd "$1" && stat -c '%n %h %u:%g %Y' dir/second dir/x && getfattr -d dir/x && getfacl -n dir/x`;
  const { code, out, err } = await world.command(["bash", "-c", script, "metadata", dir]);
  if (code !== 0) throw new Error(err);
  return out;
}

test("[ARM-1] an emulated arm64 serves a directory that is kept the same, watched and verified, and takes a run back", async () => {
  await using world = new World();
  const [a, srv] = [world.folder("a"), world.folder("srv")];
  for (let at = 0; at < 80; at++) world.write(`a/many/${at}`, `content ${at}`);
  world.write("a/large", crypto.getRandomValues(new Uint8Array(65_536)).toBase64().repeat(10));
  world.write("a/dir/x", "x");
  chmodSync(join(a, "dir/x"), 0o640);
  linkSync(join(a, "dir/x"), join(a, "dir/second"));
  symlinkSync("dir/x", join(a, "link"));
  utimesSync(join(a, "dir/x"), 915_246_245, 915_246_245);
  for (const command of [["setfattr", "-n", "user.colour", "-v", "blue"], ["setfacl", "-m", "u:1234:r"]]) {
    expect((await world.command([...command, join(a, "dir/x")])).code).toBe(0);
  }
  const token = world.token();
  const server = world.start([...arm64, "serve", "--listen", "127.0.0.1:0", "--json", "--root", "site=srv", "--token-file", token]);
  const listening = await server.line((line) => line.includes('"listening"'), START_MS_MAX);
  const { port } = JSON.parse(listening) as { port: number };
  const sides = ["a", `syncline://127.0.0.1:${port}/site`];
  const options = ["--token-file", token, "--accept-new", "--preserve", "+owner,+xattrs,+hardlinks"];

  const watching = world.start([PROGRAM, "sync", ...sides, ...options, "--watch", "--settle", "immediate", "--json"]);
  await watching.line((line) => line.includes('"watching"'), START_MS_MAX);
  expect(await describeTree(srv)).toBe(await describeTree(a));
  expect(await metadata(world, srv)).toBe(await metadata(world, a));
  writeFileSync(join(a, "new"), "new");
  await eventually("the new file on the server", () => existsSync(join(srv, "new")));
  renameSync(join(srv, "many"), join(srv, "renamed"));
  await eventually("the renamed directory here", () => existsSync(join(a, "renamed/79")));
  const text = readFileSync(join(a, "large"), "latin1");
  // In one step, so that it is one run.
  renameSync(world.write("edited", `${text.slice(0, 100_000)}!${text.slice(100_000)}`), join(a, "large"));
  await watching.line((line) => /"cycle".*"reused":[1-9]/.test(line), START_MS_MAX);
  watching.kill("SIGTERM");
  expect([await watching.exited, await describeTree(srv)]).toEqual([130, await describeTree(a)]);

  const verified = await world.run(["verify", ...sides, "--token-file", token, "--accept-new"]);
  expect([verified.code, verified.out]).toEqual([0, expect.stringContaining("same: 0 differences")]);
  const { out: log } = await world.run(["log"]);
  const undone = await world.run(["undo", log.slice(0, 12), "--token-file", token, "--accept-new"]);
  expect([undone.code, undone.err]).toEqual([0, ""]);
  expect(readFileSync(join(srv, "large"), "latin1") === text).toBe(true);
});
