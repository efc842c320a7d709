/** Errors as application/problem+json (RFC 9457): what went wrong, by a code that programs and a hint that people use. */
import * as z from "zod";
import { type ErrorCode, SynclineError } from "#model/error.ts";
import type { RefusalCode } from "#hub/space.ts";
import { FsError } from "#platform/file-system.ts";
import { VERSION_JSON } from "#gateway/api/shapes.ts";

/** Codes of the API alone, beside those of the program and the reasons for which a change is refused. */
export type ApiCode = "PRECONDITION" | "DIGEST" | "LENGTH" | "METHOD" | "RANGE" | "BUSY" | "REPEATED" | "MEDIA_TYPE";
export type ProblemCode = ErrorCode | RefusalCode | ApiCode;

const STATUS: Partial<Record<ProblemCode, readonly [status: number, title: string]>> = {
  USAGE: [400, "The request is wrong"],
  PROTOCOL: [400, "The request is wrong"],
  NAME: [400, "The path cannot be used"],
  DIGEST: [400, "The bytes are not what was announced"],
  AUTH: [401, "Not signed in"],
  DENIED: [403, "Not allowed"],
  ENCRYPTED: [403, "Its client has the key"],
  SPACE_UNKNOWN: [404, "No such space"],
  NOT_FOUND: [404, "Not found"],
  METHOD: [405, "Not with this method"],
  EXISTS: [409, "The name is taken"],
  STALE: [409, "Something else is there"],
  NOT_A_DIRECTORY: [409, "Not a directory"],
  NO_PARENT: [409, "The directory above is missing"],
  NOT_EMPTY: [409, "The directory is not empty"],
  IS_A_DIRECTORY: [409, "A directory is there"],
  CHUNK_MISSING: [410, "The content is gone"],
  LENGTH: [411, "The length is not told"],
  PRECONDITION: [412, "The condition does not hold"],
  LIMIT: [413, "A limit is reached"],
  MEDIA_TYPE: [415, "Not this kind of body"],
  RANGE: [416, "No such range"],
  REPEATED: [422, "The idempotency key was used for something else"],
  LINK_LOST: [502, "The other hub cannot be reached"],
  TRUST: [502, "The other hub is not trusted"],
  UNSUPPORTED: [501, "Not supported"],
  BUSY: [503, "Too much at once"],
  STATE: [503, "The database cannot be used"],
  HALT: [503, "Stopped for safety"],
  INTERRUPTED: [503, "The hub is ending"],
  DISK: [507, "The disk refuses"],
  QUOTA: [507, "The quota is used up"],
};

/** Refused for earlier failures without being looked at. */
const THROTTLED = [429, "Too many failed attempts"] as const;

export const PROBLEM_JSON = z
  .object({
    type: z.string().describe("URN of the code"),
    title: z.string(),
    status: z.int(),
    code: z.string().describe("Stable; for programs"),
    detail: z.string(),
    hint: z.string().optional().describe("What to do next, for people"),
    traceId: z.string().describe("Find it in the hub's log and in the journal"),
    current: VERSION_JSON.optional().describe("With STALE and PRECONDITION: the version that is there"),
    expected: VERSION_JSON.optional().describe("With STALE: the version that the caller spoke of"),
    path: z.string().optional(),
  })
  .meta({ id: "Problem" });

export type ProblemJson = z.infer<typeof PROBLEM_JSON>;

/** An answer that is no success. Thrown by handlers; the door turns it into a response. */
export class ApiProblem extends Error {
  readonly code: ProblemCode;
  readonly hint: string | undefined;
  readonly more: Partial<ProblemJson>;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: ProblemCode,
    detail: string,
    hint?: string,
    more: Partial<ProblemJson> = {},
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(detail);
    this.name = "ApiProblem";
    this.code = code;
    this.hint = hint;
    this.more = more;
    this.headers = headers;
  }
}

/** What reading a body throws when its sender has gone: no fault of the hub, and nobody is there to be told. */
function isCut(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

/** Seconds after which a caller that was turned away may come again. */
const RETRY_AFTER_SECONDS = "1";

/**
 * The answer for anything that was thrown. What is no error of ours says nothing of itself: the words of a fault of the
 * program are for the log.
 */
export function problemOf(thrown: unknown): Omit<ProblemJson, "traceId"> & { headers: Record<string, string> } {
  const error = isCut(thrown) ? new ApiProblem("DIGEST", "the connection ended before the body did", "send it again") : thrown;
  const known = error instanceof SynclineError || error instanceof ApiProblem;
  const code: ProblemCode = known ? error.code : error instanceof FsError ? "DISK" : "INTERNAL";
  // What was refused because too much waits is no fault of the request.
  const isBusy = error instanceof SynclineError && error.retryable && error.code === "LIMIT";
  const isThrottled = error instanceof SynclineError && error.retryable && error.code === "AUTH";
  const row = isBusy ? STATUS.BUSY : isThrottled ? THROTTLED : STATUS[code];
  const [status, title] = row ?? [500, "A fault of the hub"];
  const headers: Record<string, string> = error instanceof ApiProblem ? { ...error.headers } : {};
  if (status === 401) headers["www-authenticate"] = 'Bearer realm="syncline"';
  if (status === 503 || status === 429) headers["retry-after"] = RETRY_AFTER_SECONDS;
  const detail = known || error instanceof FsError ? error.message : "the hub could not do it; its log says why";
  const path = error instanceof SynclineError ? error.path : undefined;
  return {
    type: `urn:syncline:problem:${code.toLowerCase().replaceAll("_", "-")}`,
    title,
    status,
    code,
    detail,
    hint: known ? error.hint : undefined,
    ...(path === undefined ? {} : { path }),
    ...(error instanceof ApiProblem ? error.more : {}),
    headers,
  };
}
