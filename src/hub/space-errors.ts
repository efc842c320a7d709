/** What a space refuses, and what to do instead. */
import { SynclineError } from "#model/error.ts";
import { type RelPath, printablePath } from "#model/path.ts";
import { SPACE_NAME } from "#hub/space.ts";

/** Changes of one commit. */
export const COMMIT_CHANGES_MAX = 2_000_000;

export function requireName(name: string): void {
  if (SPACE_NAME.test(name)) return;
  throw new SynclineError({
    code: "USAGE",
    op: "name a space",
    message: `"${printablePath(name.slice(0, 100))}" cannot be the name of a space`,
    hint: "use 1 to 63 lower-case letters, digits, dots and dashes, beginning and ending with a letter or digit",
  });
}

/** Names of restore points; also used in URLs. */
const POINT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

export function requirePointName(name: string): void {
  if (POINT_NAME.test(name)) return;
  throw new SynclineError({
    code: "USAGE",
    op: "create restore point",
    message: `"${printablePath(name.slice(0, 100))}" cannot be the name of a restore point`,
    hint: "use letters, digits, dots, dashes and underscores, 100 at most",
  });
}

export function unknownPoint(space: string, point: string): SynclineError {
  const message = `the space "${space}" has no restore point "${printablePath(point.slice(0, 100))}"`;
  const hint = "syncline restore-point list SPACE shows them";
  return new SynclineError({ code: "NOT_FOUND", op: "delete restore point", message, hint });
}

export function unknownSpace(name: string): SynclineError {
  return new SynclineError({
    code: "SPACE_UNKNOWN",
    op: "find space",
    message: `there is no space "${printablePath(name.slice(0, 100))}", or you may see nothing of it`,
    hint: "syncline space list shows those you may see",
  });
}

export function otherSpace(name: string): SynclineError {
  return new SynclineError({
    code: "SPACE_UNKNOWN",
    op: "find space",
    message: `the space "${printablePath(name.slice(0, 100))}" is another one than when this began: that one was renamed or deleted`,
    hint: "begin anew for the space that is meant; syncline space list shows those you may see",
  });
}

export function unknownRun(runId: string): SynclineError {
  const message = `no change of this space belongs to the run "${printablePath(runId.slice(0, 100))}"`;
  const hint = "syncline journal SPACE shows what was done in which run";
  return new SynclineError({ code: "NOT_FOUND", op: "undo", message, hint });
}

export function badPath(path: RelPath, fault: string): SynclineError {
  const message = `${fault}: "${printablePath(path.slice(0, 200))}"`;
  return new SynclineError({ code: "USAGE", op: "commit", path, message });
}

export function contentGone(path: RelPath): SynclineError {
  return new SynclineError({
    code: "CHUNK_MISSING",
    op: "open content",
    path,
    message: "the bytes of this version were dropped by the retention of the space, or the version was purged",
    hint: "syncline history shows the versions that are still whole",
  });
}

export function cannotRestore(lost: readonly RelPath[]): SynclineError {
  const first = printablePath(lost[0]!);
  return new SynclineError({
    code: "CHUNK_MISSING",
    op: "restore",
    path: lost[0],
    message:
      lost.length === 1
        ? `the bytes of ${first} at that point were dropped by retention, or purged; nothing was changed`
        : `the bytes of ${lost.length} files at that point, ${first} among them, were dropped by retention, or purged; nothing was changed`,
    hint: "restore a later point, or the paths that are still whole",
  });
}

export function tooManyChanges(count: number): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "commit",
    message: `${count} changes at once are more than ${COMMIT_CHANGES_MAX}`,
    hint: "do it directory by directory",
  });
}

export function noConflictCopy(path: RelPath): SynclineError {
  return new SynclineError({
    code: "NOT_FOUND",
    op: "resolve conflict",
    path,
    message: `${printablePath(path.slice(0, 200))} is no conflict copy that is there`,
    hint: "syncline space conflicts SPACE lists them",
  });
}

export function staleConflict(path: RelPath): SynclineError {
  return new SynclineError({
    code: "STALE",
    op: "resolve conflict",
    path,
    message: `${printablePath(path.slice(0, 200))} was changed since the conflict was looked at`,
    hint: "look at it again: syncline space conflicts SPACE",
  });
}

export function nameUnknown(path: RelPath): SynclineError {
  return new SynclineError({
    code: "USAGE",
    op: "resolve conflict",
    path,
    message: `the name of ${printablePath(path.slice(0, 200))} does not say what it is a copy of`,
    hint: "keep both and name it (--as PATH), keep what is there, or move it yourself: syncline mv",
  });
}
