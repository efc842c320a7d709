/**
 * The one error class of the program. Per-path trouble is a Problem (data), not an exception;
 * a SynclineError says that an operation as a whole could not be done.
 */
export type ErrorCode =
  | "USAGE" // the command line or configuration is wrong
  | "ROOT_MISSING" // the root directory does not exist or is not a directory
  | "ROOT_IDENTITY" // the root is not the one that was synchronised before
  | "ROOT_OVERLAP" // the two sides are the same tree, or one lies in the other
  | "ROOT_READ_ONLY"
  | "ROOT_UNKNOWN" // the server has no root of that name
  | "ROOT_BUSY" // another session holds the root
  | "AUTH" // wrong or missing password, token or certificate
  | "DENIED" // known, but not allowed
  | "SPACE_UNKNOWN" // no space of that name, or none that the caller may see
  | "EXISTS" // a name is taken
  | "NOT_FOUND"
  | "STALE" // something else is there than the caller expected
  | "QUOTA"
  | "CHUNK_MISSING" // bytes that were referred to are not in the store
  | "CHUNK_DAMAGED" // bytes at rest are not what they were
  | "ENCRYPTED" // its client has the key, and nobody here
  | "TRUST" // the server's certificate is not the pinned one
  | "LINK_LOST" // the connection broke; retrying may help
  | "PROTOCOL" // the peer broke the protocol
  | "VERSION" // the peer speaks no common version
  | "LIMIT" // a named maximum was exceeded
  | "STATE" // the state database cannot be used
  | "DISK" // the disk refused: full, failing, read-only
  | "HALT" // safety doubt: a person must look
  | "INTERRUPTED"
  | "UNSUPPORTED"
  | "INTERNAL";

export type ErrorFacts = {
  code: ErrorCode;
  /** What was being done, in the words of a log line: "open root", "stage". */
  op: string;
  message: string;
  path?: string | undefined;
  /** The operator's next command or step. */
  hint?: string | undefined;
  retryable?: boolean | undefined;
  cause?: unknown;
};

export class SynclineError extends Error {
  readonly code: ErrorCode;
  readonly op: string;
  readonly path: string | undefined;
  readonly hint: string | undefined;
  readonly retryable: boolean;

  constructor(facts: ErrorFacts) {
    super(facts.message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = "SynclineError";
    this.code = facts.code;
    this.op = facts.op;
    this.path = facts.path;
    this.hint = facts.hint;
    this.retryable = facts.retryable ?? false;
  }
}

/** What was thrown, in its own words. */
export function messageOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** What was thrown, and where, for a log. */
export function stackOf(thrown: unknown): string {
  return thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
}

/** What was thrown, where only an Error will do. */
export function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

/** A broken invariant of our own: a programmer's error, never an operating one. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${message}`);
}
