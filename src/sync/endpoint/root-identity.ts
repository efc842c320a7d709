/**
 * Which directory is the root, really? The marker's id where we may write, device and inode where we may not; and the
 * path must still lead to the directory that was opened. Checked at open, at scan checkpoints and before every commit,
 * because an unmounted disk leaves an empty directory that looks like a deletion of everything.
 */
import { SynclineError } from "#model/error.ts";
import { type Fd, type FileSystem, FsError, type Stat, describeErrno, isCode } from "#platform/file-system.ts";
import type { Random } from "#platform/host.ts";
import { makeMarker, openOrMakeDir, readMarker } from "#sync/apply/private-area.ts";

export type RootIdentity = { readonly rootId: string; readonly stat: Stat };

export type RootOptions = {
  readonly path: string;
  readonly writable: boolean;
  readonly createRoot: boolean;
  readonly expectRootId: string | undefined;
};

/** Opens the root directory, creating it (never its parent) when allowed. */
export function openRootDir(fs: FileSystem, options: RootOptions): Fd {
  const { path } = options;
  try {
    return fs.openRoot(path);
  } catch (error) {
    if (isCode(error, "ENOTDIR")) throw missing(path, "it is not a directory", error, "name the directory that holds it");
    if (!isCode(error, "ENOENT")) throw refused(path, "opened", error);
    if (!options.createRoot || !options.writable) throw missing(path, "it does not exist", error);
  }
  const name = path.slice(path.lastIndexOf("/") + 1);
  const parent = openParent(fs, path);
  try {
    return openOrMakeDir(fs, parent, name, 0o755);
  } catch (error) {
    throw refused(path, "created", error);
  } finally {
    fs.close(parent);
  }
}

/** What keeps the directory from being opened as a root at this moment; undefined: nothing does. */
export function rootTrouble(fs: FileSystem, path: string): SynclineError | undefined {
  try {
    fs.close(openRootDir(fs, { path, writable: false, createRoot: false, expectRootId: undefined }));
    return undefined;
  } catch (error) {
    if (error instanceof SynclineError) return error;
    throw error;
  }
}

/**
 * Looks at a root that must not be created now.
 * @returns the directory that would hold it, when there is nothing at its path; undefined when there is something
 */
export function parentOfMissingRoot(fs: FileSystem, path: string): Fd | undefined {
  try {
    fs.close(fs.openRoot(path));
    return undefined;
  } catch (error) {
    if (!isCode(error, "ENOENT")) return undefined;
  }
  return openParent(fs, path);
}

function openParent(fs: FileSystem, path: string): Fd {
  const slash = path.lastIndexOf("/");
  try {
    return fs.openRoot(slash <= 0 ? "/" : path.slice(0, slash));
  } catch (error) {
    throw missing(path, "neither it nor the directory that should hold it exists", error);
  }
}

/** The system's reason is told: a directory that may not be entered is no disk that is gone. */
function refused(path: string, done: string, cause: unknown): SynclineError {
  const why = cause instanceof FsError ? `: ${describeErrno(cause.code)}` : "";
  const hint = isCode(cause, "EACCES", "EPERM")
    ? `see who may: ls -ld ${path}; the directories above it must let you through, too`
    : undefined;
  return missing(path, `it cannot be ${done}${why}`, cause, hint);
}

function missing(
  path: string,
  what: string,
  cause: unknown,
  hint = "check the path and that its disk is mounted; nothing was changed",
): SynclineError {
  return new SynclineError({
    code: "ROOT_MISSING",
    op: "open root",
    path,
    message: `root ${path}: ${what}`,
    hint,
    cause,
  });
}

/** Finds out who the root is, marks it when it is new, and refuses one that is not the expected. */
export async function identifyRoot(fs: FileSystem, root: Fd, random: Random, options: RootOptions): Promise<RootIdentity> {
  const stat = fs.fstat(root);
  const marker = readMarker(fs, root);
  const { expectRootId } = options;
  const bare = `i${stat.dev.toString(16)}-${stat.ino.toString(16)}`;
  if (expectRootId !== undefined && expectRootId !== marker && expectRootId !== bare) {
    throw new SynclineError({
      code: "ROOT_IDENTITY",
      op: "open root",
      path: options.path,
      message:
        marker === undefined
          ? `root ${options.path} is not the directory that was synchronised before: its marker is gone`
          : `root ${options.path} is another root than the one that was synchronised before`,
      hint: "check that the right disk is mounted; nothing was changed",
    });
  }
  if (marker !== undefined) {
    // Whoever made it may have been kept from making its name durable, and syncs of single directories that were refused
    // once are not to be believed. Who knows the root already was told of a marker that was durable.
    if (options.writable && expectRootId === undefined) await fs.syncAll(root);
    return { rootId: marker, stat };
  }
  if (!options.writable) return { rootId: bare, stat };
  return { rootId: await makeMarker(fs, root, random), stat };
}

/** Throws ROOT_IDENTITY when the path leads somewhere else now or the marker has changed. */
export function checkRoot(fs: FileSystem, identity: RootIdentity, options: RootOptions): void {
  let fd: Fd;
  try {
    fd = fs.openRoot(options.path);
  } catch (error) {
    throw gone(options.path, error);
  }
  try {
    const stat = fs.fstat(fd);
    if (stat.dev !== identity.stat.dev || stat.ino !== identity.stat.ino) throw gone(options.path, undefined);
    const marker = readMarker(fs, fd);
    if (!identity.rootId.startsWith("i") && marker !== identity.rootId) throw gone(options.path, undefined);
  } finally {
    fs.close(fd);
  }
}

function gone(path: string, cause: unknown): SynclineError {
  return new SynclineError({
    code: "ROOT_IDENTITY",
    op: "check root",
    path,
    message: `root ${path} has gone or was replaced while it was in use`,
    hint: "check that its disk is mounted; nothing was deleted on the other side",
    cause,
  });
}
