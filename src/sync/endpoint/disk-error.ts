/** Refusals of the disk that are not about one path: the operation as a whole cannot go on. */
import { SynclineError } from "#model/error.ts";
import { FsError, describeErrno } from "#platform/file-system.ts";

const HINTS: Readonly<Record<string, string>> = {
  EACCES: "check the permissions of the root and of its .syncline directory",
  EPERM: "check the permissions of the root and of its .syncline directory",
  EROFS: "the file system is mounted read-only; remount it, or use the side as alpha of a one-way mode",
  ENOSPC: "free some space on the disk of the root, then run again: nothing was lost",
  EDQUOT: "free some of the quota, then run again: nothing was lost",
  EIO: "check the disk (dmesg, smartctl); nothing was deleted on the other side",
  EMFILE: "raise the limit of open files (ulimit -n)",
};

export function diskError(op: string, label: string, error: unknown): unknown {
  if (!(error instanceof FsError)) return error;
  const message = `${label}: cannot ${op}: ${describeErrno(error.code)} (${error.code} in ${error.call})`;
  return new SynclineError({ code: "DISK", op, message, hint: HINTS[error.code], cause: error });
}

/** Runs `body`; an FsError that comes out becomes a SynclineError that names the step and the next command. */
export async function withDiskErrors<T>(op: string, label: string, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw diskError(op, label, error);
  }
}
