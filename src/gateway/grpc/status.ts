/** Errors in the codes of gRPC; what the hub calls them is in the trailing metadata. */
import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import type { ChangeResult, RefusalCode, Version } from "#hub/space.ts";
import { type ErrorCode, SynclineError } from "#model/error.ts";

const CODES: Partial<Record<ErrorCode, status>> = {
  USAGE: status.INVALID_ARGUMENT,
  PROTOCOL: status.INVALID_ARGUMENT,
  AUTH: status.UNAUTHENTICATED,
  DENIED: status.PERMISSION_DENIED,
  SPACE_UNKNOWN: status.NOT_FOUND,
  NOT_FOUND: status.NOT_FOUND,
  EXISTS: status.ALREADY_EXISTS,
  STALE: status.ABORTED,
  QUOTA: status.RESOURCE_EXHAUSTED,
  LIMIT: status.RESOURCE_EXHAUSTED,
  CHUNK_MISSING: status.DATA_LOSS,
  CHUNK_DAMAGED: status.DATA_LOSS,
  ENCRYPTED: status.FAILED_PRECONDITION,
  DISK: status.UNAVAILABLE,
  LINK_LOST: status.UNAVAILABLE,
  INTERRUPTED: status.CANCELLED,
  UNSUPPORTED: status.UNIMPLEMENTED,
};

const REFUSALS: Record<RefusalCode, status> = {
  NOT_A_DIRECTORY: status.FAILED_PRECONDITION,
  NO_PARENT: status.NOT_FOUND,
  NOT_EMPTY: status.FAILED_PRECONDITION,
  IS_A_DIRECTORY: status.FAILED_PRECONDITION,
  QUOTA: status.RESOURCE_EXHAUSTED,
  NAME: status.INVALID_ARGUMENT,
  CONTENT: status.INVALID_ARGUMENT,
  ATOMIC: status.ABORTED,
};

/** A status that is no error of the hub's: a refusal, or a condition that does not hold. */
export class GrpcRefusal extends Error {
  readonly code: status;
  readonly word: string;

  constructor(code: status, word: string, message: string) {
    super(message);
    this.code = code;
    this.word = word;
  }
}

function statusWith(code: status, details: string, word: string, hint?: string): StatusObject {
  const metadata = new Metadata();
  metadata.set("syncline-code", word);
  // Metadata is ASCII.
  if (hint !== undefined) metadata.set("syncline-hint", hint.replaceAll(/[^\x20-\x7e]/g, "?"));
  return { code, details, metadata };
}

/** @param onFault is told of errors of ours, of which the caller hears nothing */
export function statusOf(error: unknown, onFault: (error: unknown) => void): StatusObject {
  if (error instanceof GrpcRefusal) return statusWith(error.code, error.message, error.word);
  if (error instanceof SynclineError) {
    const code = CODES[error.code];
    if (code !== undefined) return statusWith(code, error.message, error.code, error.hint);
  }
  onFault(error);
  return statusWith(status.INTERNAL, "an error of the server; its log tells more", "INTERNAL");
}

/** The version that a change made. @throws {GrpcRefusal} why it was not made */
export function requireDone(result: ChangeResult, isMeantNew: boolean): Version {
  if (result.status === "done") return result.version;
  if (result.status === "refused") throw new GrpcRefusal(REFUSALS[result.code], result.code, result.message);
  const there = result.version?.entry === undefined ? undefined : result.version;
  if (isMeantNew && there !== undefined) throw new GrpcRefusal(status.ALREADY_EXISTS, "EXISTS", "something is there already");
  if (there === undefined) throw new GrpcRefusal(status.NOT_FOUND, "NOT_FOUND", "there is nothing at this path");
  const message = `it was changed since: its sequence is ${there.sequence}`;
  throw new GrpcRefusal(status.ABORTED, "STALE", message);
}
