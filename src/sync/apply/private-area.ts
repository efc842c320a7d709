/**
 * The directory `.syncline` in a root: the marker that identifies the root, the stage where bytes are brought
 * before they become visible, and the trash that keeps what runs replaced or removed. It must be on the root's own
 * file system, because only a rename inside one file system is atomic.
 */
import { Confined } from "#platform/confined.ts";
import { type Fd, type FileSystem, isCode } from "#platform/file-system.ts";
import type { Random } from "#platform/host.ts";
import { PRIVATE_DIR } from "#model/path.ts";
import { SynclineError } from "#model/error.ts";

/** A marker is one short line; anything longer is not ours. */
const MARKER_BYTES_MAX = 256;
const MARKER = "root";
const MARKER_HEAD = "syncline-root ";

/** What a session changes a root with: a stage of its own, and the trash of all. */
export type Area = { readonly stage: Confined; readonly trash: Fd };

export function openArea(fs: FileSystem, root: Fd, sessionId: string): Area {
  const opened: Fd[] = [];
  const open = (parent: Fd, name: string): Fd => {
    const fd = openOrMakeDir(fs, parent, name);
    opened.push(fd);
    return fd;
  };
  try {
    const area = open(root, PRIVATE_DIR);
    const stages = open(area, "stage");
    const trash = open(area, "trash");
    const stage = new Confined(fs, open(stages, sessionId));
    // Those two stay.
    opened.splice(2);
    return { stage, trash };
  } finally {
    for (const fd of opened) fs.close(fd);
  }
}

export function closeArea(fs: FileSystem, { stage, trash }: Area): void {
  stage[Symbol.dispose]();
  fs.close(trash);
}

/** What is put into a trash is safe only if its own name is, and that of our directory. */
export async function makeAreaDurable(fs: FileSystem, root: Fd): Promise<void> {
  const area = fs.openDir(root, PRIVATE_DIR);
  try {
    await fs.sync(area);
    await fs.sync(root);
  } finally {
    fs.close(area);
  }
}

export type Unlink = (dir: Fd, name: string) => void;

export function openOrMakeDir(fs: FileSystem, parent: Fd, name: string, mode = 0o700): Fd {
  try {
    return fs.openDir(parent, name);
  } catch (error) {
    if (!isCode(error, "ENOENT")) throw error;
  }
  try {
    fs.mkdir(parent, name, mode);
  } catch (error) {
    if (!isCode(error, "EEXIST")) throw error;
  }
  return fs.openDir(parent, name);
}

/**
 * Removes `name` and everything below it. Only for our own private directories; never follows links. What is further
 * down is brought up to `name` first, so that two descriptors do, however deep it goes.
 *
 * @param unlink takes one name away that is no directory's
 */
export function removeTree(fs: FileSystem, parent: Fd, name: string, unlink: Unlink = (dir, item) => fs.unlink(dir, item)): void {
  const top = fs.openDir(parent, name);
  try {
    const waiting: string[] = [];
    let raised = 0;
    const raise = (dir: Fd, item: string): string => {
      for (; ; raised++) {
        try {
          fs.rename(dir, item, top, `${raised}.up`, { replace: false });
          return `${raised++}.up`;
        } catch (error) {
          // One of its own has the name, or an earlier removal was cut off.
          if (!isCode(error, "EEXIST", "ENOTEMPTY")) throw error;
        }
      }
    };
    empty(fs, top, (item) => waiting.push(item), unlink);
    for (let dir = waiting.pop(); dir !== undefined; dir = waiting.pop()) {
      const fd = fs.openDir(top, dir);
      try {
        empty(fs, fd, (item) => waiting.push(raise(fd, item)), unlink);
      } finally {
        fs.close(fd);
      }
      fs.rmdir(top, dir);
    }
  } finally {
    fs.close(top);
  }
  fs.rmdir(parent, name);
}

/** Removes what a session has staged. Throws FsError. */
export function removeStage(fs: FileSystem, root: Fd, sessionId: string): void {
  const area = fs.openDir(root, PRIVATE_DIR);
  try {
    const stages = fs.openDir(area, "stage");
    try {
      removeTree(fs, stages, sessionId);
    } finally {
      fs.close(stages);
    }
  } finally {
    fs.close(area);
  }
}

/** Unlinks what is in a directory; directories are the caller's. */
function empty(fs: FileSystem, dir: Fd, onDirectory: (name: string) => void, unlink: Unlink): void {
  for (const item of fs.list(dir)) {
    if (item.kind === "dir" || (item.kind === "unknown" && fs.stat(dir, item.name).kind === "dir")) onDirectory(item.name);
    else unlink(dir, item.name);
  }
}

/** The id in the root's marker, or undefined when there is none. A marker that cannot be read throws. */
export function readMarker(fs: FileSystem, root: Fd): string | undefined {
  let area: Fd;
  try {
    area = fs.openDir(root, PRIVATE_DIR);
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined;
    throw error;
  }
  try {
    const fd = fs.openRead(area, MARKER);
    try {
      const bytes = new Uint8Array(MARKER_BYTES_MAX);
      const text = Buffer.from(bytes.subarray(0, fs.read(fd, bytes, 0))).toString("latin1");
      const id = /^syncline-root ([0-9a-f]{32})\n/.exec(text)?.[1];
      if (id === undefined) {
        throw new SynclineError({
          code: "ROOT_IDENTITY",
          op: "read marker",
          path: `${PRIVATE_DIR}/${MARKER}`,
          message: "the root's marker file is damaged",
          hint: `check that the disk is the right one, then remove ${PRIVATE_DIR}/${MARKER} to start as a new root`,
        });
      }
      return id;
    } finally {
      fs.close(fd);
    }
  } catch (error) {
    if (isCode(error, "ENOENT")) return undefined;
    throw error;
  } finally {
    fs.close(area);
  }
}

/**
 * Writes a marker, durably, and returns its id: that of another process where one did the same in the meantime, for a
 * root that is marked keeps its id. Files in the area are hidden from git by an ignore file of its own.
 */
export async function makeMarker(fs: FileSystem, root: Fd, random: Random): Promise<string> {
  const id = Buffer.from(random.bytes(16)).toString("hex");
  const area = openOrMakeDir(fs, root, PRIVATE_DIR);
  try {
    for (const [name, text] of [[".gitignore", "*\n"], [MARKER, `${MARKER_HEAD}${id}\n`]] as const) {
      await writeOnce(fs, area, name, `${name}.${id.slice(0, 8)}.new`, text);
    }
    await fs.sync(area);
  } finally {
    fs.close(area);
  }
  await fs.sync(root);
  return readMarker(fs, root) ?? id;
}

/** Leaves what is there. @param temp a name that no other process uses */
async function writeOnce(fs: FileSystem, dir: Fd, name: string, temp: string, text: string): Promise<void> {
  const fd = fs.create(dir, temp, 0o600);
  try {
    fs.write(fd, Buffer.from(text), 0);
    await fs.sync(fd);
  } finally {
    fs.close(fd);
  }
  try {
    fs.rename(dir, temp, dir, name, { replace: false });
  } catch (error) {
    if (!isCode(error, "EEXIST")) throw error;
    fs.unlink(dir, temp);
  }
}
