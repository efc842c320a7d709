/** What an S3 server refuses, in the words of a foreign system. */
import { type ErrorCode, SynclineError, messageOf } from "#model/error.ts";
import { textOf } from "#sync/foreign/s3/s3-xml.ts";

const OF_CODE: Readonly<Record<string, ErrorCode>> = {
  InvalidAccessKeyId: "AUTH",
  SignatureDoesNotMatch: "AUTH",
  ExpiredToken: "AUTH",
  InvalidToken: "AUTH",
  TokenRefreshRequired: "AUTH",
  RequestTimeTooSkewed: "AUTH",
  AuthorizationHeaderMalformed: "AUTH",
  AccessDenied: "DENIED",
  AllAccessDisabled: "DENIED",
  InvalidObjectState: "DENIED",
  NoSuchKey: "NOT_FOUND",
  NoSuchBucket: "NOT_FOUND",
  NoSuchUpload: "LINK_LOST",
  PreconditionFailed: "STALE",
  ConditionalRequestConflict: "LINK_LOST",
  OperationAborted: "LINK_LOST",
  BadDigest: "LINK_LOST",
  RequestTimeout: "LINK_LOST",
  SlowDown: "LINK_LOST",
  KeyTooLongError: "UNSUPPORTED",
  InvalidObjectName: "UNSUPPORTED",
  XMinioInvalidObjectName: "UNSUPPORTED",
  EntityTooLarge: "UNSUPPORTED",
  NotImplemented: "UNSUPPORTED",
  QuotaExceeded: "DISK",
  XMinioStorageFull: "DISK",
};

const OF_STATUS: Readonly<Record<number, ErrorCode>> = {
  401: "AUTH",
  403: "DENIED",
  404: "NOT_FOUND",
  408: "LINK_LOST",
  409: "EXISTS",
  412: "STALE",
  429: "LINK_LOST",
  501: "UNSUPPORTED",
  507: "DISK",
};

const HINTS: Partial<Record<ErrorCode, string>> = {
  AUTH: "check the access key and its secret, the region, and the clock of this host",
  DENIED: "the key needs the rights to list, read, write and delete there",
};

/** @param xml the body of the answer; empty for HEAD */
export function s3Refusal(op: string, status: number, xml: string, path?: string): SynclineError {
  const name = textOf(xml, "Code") ?? "";
  const isMoved = status === 301 || status === 307;
  const code = OF_CODE[name] ?? OF_STATUS[status] ?? (status >= 500 ? "LINK_LOST" : isMoved ? "USAGE" : "PROTOCOL");
  const words = (textOf(xml, "Message") ?? "").replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, " ").slice(0, 300);
  const what = name === "" ? `HTTP status ${status}` : name.slice(0, 60);
  const region = textOf(xml, "Region");
  const named = region === undefined ? "?region=REGION" : `?region=${region.slice(0, 40)}`;
  const isElsewhere = isMoved || name === "AuthorizationHeaderMalformed";
  const hint = isElsewhere ? `the bucket is in another region: add ${named} to the address` : HINTS[code];
  const message = `the S3 server refused to ${op}: ${what}${words === "" ? "" : ` (${words})`}`;
  return new SynclineError({ code, op, message, path, hint, retryable: code === "LINK_LOST" });
}

export function s3Lost(op: string, cause: unknown, path?: string): SynclineError {
  const words = messageOf(cause);
  const message = `the S3 server cannot be reached, or broke off: ${words.slice(0, 300)}`;
  const hint = "check the endpoint, the network and the certificate";
  return new SynclineError({ code: "LINK_LOST", op, message, path, hint, retryable: true, cause });
}

export function s3Nonsense(op: string, what: string, path?: string): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op, path, message: `the S3 server's answer makes no sense: ${what}` });
}
