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
const CALLS = [
  "create",
  "mkdir",
  "symlink",
  "link",
  "move",
  "replace",
  "unlink",
  "rmdir",
  "read",
  "chmod",
] as const;
type Place = [dir: number, name: string];
type Step = { call: (typeof CALLS)[number]; from: Place; to: Place };

const place = fc.tuple(fc.nat({ max: 2 }), fc.constantFrom(...NAMES));
const step = fc.record({ call: fc.constantFrom(...CALLS), from: place, to: place });
const steps = fc.array(step, { maxLength: 40 });

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

/** One line for every item below a directory, in order of names. */
function tree(fs: FileSystem, dir: Fd, prefix: string, lines: string[]): void {
  const names = fs.list(dir).map(({ name }) => name);
  for (const name of names.sort()) {
    const { kind, mode, nlink } = fs.stat(dir, name);
    const what = kind === "symlink" ? fs.readlink(dir, name) : mode;
    // How many links a directory has depends on the file system.
    lines.push(`${prefix}${name} ${kind} ${what} ${kind === "dir" ? "" : nlink}`);
    if (kind !== "dir") continue;
    const fd = fs.openDir(dir, name);
    tree(fs, fd, `${prefix}${name}/`, lines);
    fs.close(fd);
  }
}

function history(fs: FileSystem, played: readonly Step[]): string[] {
  const root = fs.openRoot(nodeFs.mkdtempSync(join(base, "root-")));
  fs.mkdir(root, "x", 0o755);
  fs.mkdir(root, "y", 0o755);
  const dirs = [root, fs.openDir(root, "x"), fs.openDir(root, "y")];
  const lines = played.map((step, at) => `${at} ${step.call} ${play(fs, dirs, step, at)}`);
  tree(fs, root, "", lines);
  for (const fd of dirs) fs.close(fd);
  return lines;
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
