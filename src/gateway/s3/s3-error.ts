/** Errors as S3 names them. One table gives the status of each code; everything that is thrown ends up as one of them. */
import type { RefusalCode } from "#hub/space.ts";
import { SynclineError, type ErrorCode } from "#model/error.ts";
import { FsError } from "#platform/file-system.ts";

export const S3_STATUS = {
  AccessControlListNotSupported: 400,
  AccessDenied: 403,
  AuthorizationHeaderMalformed: 400,
  AuthorizationQueryParametersError: 400,
  BadDigest: 400,
  BucketAlreadyExists: 409,
  BucketAlreadyOwnedByYou: 409,
  BucketNotEmpty: 409,
  ConditionalRequestConflict: 409,
  EntityTooLarge: 400,
  EntityTooSmall: 400,
  IncompleteBody: 400,
  InternalError: 500,
  InvalidArgument: 400,
  InvalidBucketName: 400,
  InvalidBucketState: 409,
  InvalidDigest: 400,
  InvalidEncryptionAlgorithmError: 400,
  InvalidObjectName: 400,
  InvalidPart: 400,
  InvalidPartNumber: 416,
  InvalidPartOrder: 400,
  InvalidPolicyDocument: 400,
  InvalidRange: 416,
  InvalidRequest: 400,
  InvalidRetentionPeriod: 400,
  InvalidStorageClass: 400,
  InvalidTag: 400,
  InvalidURI: 400,
  InvalidObjectState: 403,
  KeyTooLongError: 400,
  MalformedPOSTRequest: 400,
  MalformedPolicy: 400,
  MalformedTrailerError: 400,
  MalformedXML: 400,
  MaxMessageLengthExceeded: 400,
  MetadataTooLarge: 400,
  MethodNotAllowed: 405,
  MissingContentLength: 411,
  NoSuchBucket: 404,
  NoSuchBucketPolicy: 404,
  NoSuchCORSConfiguration: 404,
  NoSuchKey: 404,
  NoSuchLifecycleConfiguration: 404,
  NoSuchObjectLockConfiguration: 404,
  NoSuchTagSet: 404,
  NoSuchUpload: 404,
  NoSuchVersion: 404,
  NotImplemented: 501,
  ObjectLockConfigurationNotFoundError: 404,
  PreconditionFailed: 412,
  QuotaExceeded: 507,
  RequestTimeTooSkewed: 403,
  ServerSideEncryptionConfigurationNotFoundError: 404,
  ServiceUnavailable: 503,
  SignatureDoesNotMatch: 403,
  SlowDown: 503,
  UnexpectedContent: 400,
  XAmzContentSHA256Mismatch: 400,
} as const satisfies Record<string, number>;

export type S3Code = keyof typeof S3_STATUS;

export class S3Error extends Error {
  readonly code: S3Code;
  /** More elements of the answer, by name. */
  readonly more: Readonly<Record<string, string>>;
  readonly headers: readonly (readonly [string, string])[];

  constructor(
    code: S3Code,
    message: string,
    more: Readonly<Record<string, string>> = {},
    headers: readonly (readonly [string, string])[] = [],
  ) {
    super(message);
    this.name = "S3Error";
    this.code = code;
    this.more = more;
    this.headers = headers;
  }

  get status(): number {
    return S3_STATUS[this.code];
  }
}

/** What our own codes are called there. What is not named is a fault of the hub. */
const BY_CODE: Partial<Record<ErrorCode | RefusalCode, S3Code>> = {
  AUTH: "SignatureDoesNotMatch",
  DENIED: "AccessDenied",
  SPACE_UNKNOWN: "NoSuchBucket",
  EXISTS: "BucketAlreadyExists",
  NOT_FOUND: "NoSuchKey",
  QUOTA: "QuotaExceeded",
  USAGE: "InvalidArgument",
  NAME: "InvalidObjectName",
  NOT_A_DIRECTORY: "InvalidObjectName",
  IS_A_DIRECTORY: "InvalidObjectName",
  NO_PARENT: "InvalidObjectName",
  NOT_EMPTY: "BucketNotEmpty",
  UNSUPPORTED: "NotImplemented",
  CHUNK_MISSING: "InvalidObjectState",
  ENCRYPTED: "InvalidRequest",
  LIMIT: "EntityTooLarge",
  INTERRUPTED: "ServiceUnavailable",
  HALT: "ServiceUnavailable",
  STATE: "ServiceUnavailable",
  LINK_LOST: "ServiceUnavailable",
};

/** @param isRetryable refused for now, not for what was asked: clients come again after SlowDown */
export function codeOf(code: ErrorCode | RefusalCode, isRetryable = false): S3Code {
  if (isRetryable && (code === "AUTH" || code === "LIMIT")) return "SlowDown";
  return BY_CODE[code] ?? "InternalError";
}

/** The error to answer with. What is no error of ours says nothing of itself: its words are for the log. */
export function s3ErrorOf(error: unknown): S3Error {
  if (error instanceof S3Error) return error;
  if (error instanceof SynclineError) {
    const hint = error.hint === undefined ? "" : ` (${error.hint})`;
    return new S3Error(codeOf(error.code, error.retryable), `${error.message}${hint}`);
  }
  if (error instanceof FsError) return new S3Error("InternalError", "the disk of the hub refused");
  return new S3Error("InternalError", "the hub could not do it; its log says why");
}

export function notImplemented(what: string): S3Error {
  return new S3Error("NotImplemented", `${what} is not implemented here`);
}
