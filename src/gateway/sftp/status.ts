/** What went wrong, in the few codes that version 3 of the protocol has. */
import { SynclineError } from "#model/error.ts";
import type { ErrorCode } from "#model/error.ts";
import { STATUS, type Status } from "#platform/net/sftp-wire.ts";

const CODES: Partial<Record<ErrorCode, Status>> = {
  NOT_FOUND: STATUS.noSuchFile,
  SPACE_UNKNOWN: STATUS.noSuchFile,
  DENIED: STATUS.permissionDenied,
  AUTH: STATUS.permissionDenied,
  ENCRYPTED: STATUS.permissionDenied,
  UNSUPPORTED: STATUS.unsupported,
  PROTOCOL: STATUS.badMessage,
};

/** Undefined: an error of ours, which the client is told nothing of. */
export function statusOf(error: unknown): { readonly status: Status; readonly message: string } | undefined {
  if (!(error instanceof SynclineError)) return undefined;
  const hint = error.hint === undefined ? "" : ` (${error.hint})`;
  return { status: CODES[error.code] ?? STATUS.failure, message: `${error.message}${hint}` };
}

export function unsupported(what: string): SynclineError {
  return new SynclineError({ code: "UNSUPPORTED", op: "SFTP", message: what });
}

export function failed(what: string): SynclineError {
  return new SynclineError({ code: "USAGE", op: "SFTP", message: what });
}
