/** One random history on two implementations must end in the same tree with the same answers. */
import { afterAll, expect, test } from "bun:test";
import * as fc from "fast-check";
import * as nodeFs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Fd, type FileSystem, FsError } from "#platform/file-system.ts";
import { openLibc } from "#platform/linux/libc.ts";
import { LinuxFileSystem } from "#platform/linux/linux-file-system.ts";
import { PortableFileSystem } from "#platform/portable/portable-file-system.ts";

const libc = openLibc();
const base = nodeFs.mkdtempSync(join(tmpdir(), "syncline-twins-"));
afterAll(() => nodeFs.rmSync(base, { recursive: true, force: true }));

const NAMES = ["a", "b", "ünï", "A"];
const CALLS = ["create", "mkdir", "symlink", "link", "move", "replace", "unlink", "rmdir", "read", "chmod"] as const;
type Step = { call: (typeof CALLS)[number]; from: [dir: number, name: string]; to: [dir: number, name: string] };

const place = fc.tuple(fc.nat({ max: 2 }), fc.constantFrom(...NAMES));
const steps = fc.array(fc.record({ call: fc.constantFrom(...CALLS), from: place, to: place }), { maxLength: 40 });

/** Plays one step; directories are those held since the start, wherever they are now. */
function play(fs: FileSystem, dirs: readonly Fd[], { call, from, to }: Step, at: number): string {
  const dir = dirs[from[0]]!;
  const name = from[1];
  try {
    switch (call) {
      case "create": {
        const fd = fs.create(dir, name, 0o640);
        fs.write(fd, new TextEncoder().encode(`content ${at}`), 0);
        fs.close(fd);
        return "ok";
      }
      case "mkdir":
        fs.mkdir(dir, name, 0o775);
        return "ok";
      case "symlink":
        fs.symlink(to[1], dir, name);
        return "ok";
      case "link":
        fs.link(dir, name, dirs[to[0]]!, to[1]);
        return "ok";
      case "move":
      case "replace":
        fs.rename(dir, name, dirs[to[0]]!, to[1], { replace: call === "replace" });
        return "ok";
      case "unlink":
        fs.unlink(dir, name);
        return "ok";
      case "rmdir":
        fs.rmdir(dir, name);
        return "ok";
      case "read":
      case "chmod": {
        const fd = fs.openRead(dir, name);
        if (call === "chmod") fs.chmod(fd, 0o600);
        const bytes = new Uint8Array(100);
        const text = new TextDecoder().decode(bytes.subarray(0, fs.read(fd, bytes, 0)));
        fs.close(fd);
        return text;
      }
    }
  } catch (error) {
    if (error instanceof FsError) return error.code;
    throw error;
  }
}

function tree(fs: FileSystem, dir: Fd, prefix: string): string[] {
  return fs
    .list(dir)
    .map(({ name }) => name)
    .sort()
    .flatMap((name) => {
      const { kind, mode, nlink } = fs.stat(dir, name);
      if (kind !== "dir") return [`${prefix}${name} ${kind} ${kind === "file" ? mode : fs.readlink(dir, name)} ${nlink}`];
      const fd = fs.openDir(dir, name);
      const below = tree(fs, fd, `${prefix}${name}/`);
      fs.close(fd);
      return [`${prefix}${name}/ ${mode}`, ...below];
    });
}

function history(fs: FileSystem, played: readonly Step[]): string[] {
  const root = fs.openRoot(nodeFs.mkdtempSync(join(base, "root-")));
  fs.mkdir(root, "x", 0o755);
  fs.mkdir(root, "y", 0o755);
  const dirs = [root, fs.openDir(root, "x"), fs.openDir(root, "y")];
  const answers = played.map((step, at) => `${at} ${step.call} ${play(fs, dirs, step, at)}`);
  const after = tree(fs, root, "");
  for (const fd of dirs) fs.close(fd);
  return [...answers, ...after];
}

test.if(libc !== undefined)("[FS-39] linux and portable answer alike and leave the same tree", () => {
  const linux = new LinuxFileSystem(libc!);
  const portable = new PortableFileSystem();
  fc.assert(
    fc.property(steps, (played) => {
      expect(history(portable, played)).toEqual(history(linux, played));
    }),
    { numRuns: 150 },
  );
});
