/** What becomes of a status that says no. */
import { type ErrorCode, SynclineError } from "#model/error.ts";
import { type RelPath, printablePath } from "#model/path.ts";
import { STATUS } from "#platform/net/sftp-wire.ts";
import { SftpRefusal } from "#sync/foreign/sftp/sftp-channel.ts";

const NO_CONNECTION = 6;
const CONNECTION_LOST = 7;

const CODES: Readonly<Record<number, ErrorCode>> = {
  [STATUS.noSuchFile]: "NOT_FOUND",
  [STATUS.permissionDenied]: "DENIED",
  [STATUS.unsupported]: "UNSUPPORTED",
  // What OpenSSH makes of a name that is too long, or that its system cannot have.
  [STATUS.badMessage]: "UNSUPPORTED",
  [STATUS.eof]: "PROTOCOL",
  [NO_CONNECTION]: "LINK_LOST",
  [CONNECTION_LOST]: "LINK_LOST",
};

const HINTS: Partial<Record<ErrorCode, string>> = {
  DISK: "check free space, quota and file system there",
  DENIED: "check the permissions of the user there",
};

/**
 * SFTP has one word for a full disk, a directory that is not empty, a name that is taken and much else: a failure that
 * nobody has found a better reason for is the disk's.
 * @param path below the root
 * @param full what it is there
 * @param code what was found out about a failure
 */
export function sftpError(error: unknown, op: string, path: RelPath, full: string, code?: ErrorCode): unknown {
  if (!(error instanceof SftpRefusal)) return error;
  const known = code ?? CODES[error.status] ?? "DISK";
  return new SynclineError({
    code: known,
    op,
    message: `the SFTP server refuses to ${op} "${printablePath(full)}": ${error.message}`,
    path,
    hint: HINTS[known],
    retryable: known === "LINK_LOST",
    cause: error,
  });
}

export const isRefusal = (error: unknown, status: number): boolean => error instanceof SftpRefusal && error.status === status;
