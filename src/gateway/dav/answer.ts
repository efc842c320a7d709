/** Answers of WebDAV: multi-status documents, errors with their preconditions, and what problems of the hub become. */
import { problemOf } from "#gateway/api/problem.ts";
import type { Trace } from "#gateway/api/trace.ts";
import { traceparentOf } from "#platform/trace-id.ts";
import { FIXED_HEADERS } from "#gateway/http-work.ts";
import { escapeXml } from "#gateway/xml.ts";

export const XML_TYPE = 'application/xml; charset="utf-8"';
export const XML_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n';
export const MULTI_STATUS_HEAD = `${XML_HEAD}<D:multistatus xmlns:D="DAV:">`;
export const MULTI_STATUS_TAIL = "</D:multistatus>\n";

const REASONS: Readonly<Record<number, string>> = {
  200: "OK",
  403: "Forbidden",
  404: "Not Found",
  409: "Conflict",
  412: "Precondition Failed",
  423: "Locked",
  424: "Failed Dependency",
  507: "Insufficient Storage",
};

export const statusLine = (status: number): string => `<D:status>HTTP/1.1 ${status} ${REASONS[status] ?? "Error"}</D:status>`;

/** A refusal that has a name of its own in RFC 4918 §16, or speaks of other resources than the one that was asked for. */
export class DavProblem extends Error {
  readonly status: number;
  /** XML of what stands in the error element. */
  readonly condition: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, condition = "", headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.condition = condition;
    this.headers = headers;
  }
}

/** Part of what was asked for could not be done: what became of each resource; nothing else was changed. */
export class DavPartial extends Error {
  readonly responses: readonly { readonly href: string; readonly status: number; readonly condition?: string }[];

  constructor(responses: DavPartial["responses"]) {
    super("not all of it could be done");
    this.responses = responses;
  }
}

const hrefs = (of: readonly string[]): string => of.map((href) => `<D:href>${escapeXml(href)}</D:href>`).join("");

export const lockedBy = (paths: readonly string[]): DavProblem =>
  new DavProblem(
    423,
    `locked: ${paths[0]}`,
    `<D:lock-token-submitted>${hrefs(paths)}</D:lock-token-submitted>`,
  );

export const conflictingLock = (paths: readonly string[]): string =>
  `<D:no-conflicting-lock>${hrefs(paths)}</D:no-conflicting-lock>`;

/** Names of conditions for codes of the hub that have one. */
const CONDITIONS: Readonly<Record<string, string>> = { QUOTA: "<D:quota-not-exceeded/>", DISK: "<D:sufficient-disk-space/>" };

export type Refusal = {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly hint: string | undefined;
  readonly condition: string;
  readonly headers: Readonly<Record<string, string>>;
};

export function refusalOf(error: unknown): Refusal {
  if (error instanceof DavProblem) return { ...error, code: "DAV", message: error.message, hint: undefined };
  const { status, code, detail, hint, headers } = problemOf(error);
  return { status, code, message: detail, hint, condition: CONDITIONS[code] ?? "", headers };
}

/** The body says the same to programs, by the condition, and to people, by the words. */
export function refusalAnswer({ status, message, hint, condition, headers }: Refusal, realm: string, trace: Trace): Response {
  const words = escapeXml([message, ...(hint === undefined ? [] : [hint])].join("; "));
  const said = `<S:message xmlns:S="urn:syncline:dav">${words}</S:message>`;
  const more = status === 401 ? { "www-authenticate": realm } : {};
  return new Response(`${XML_HEAD}<D:error xmlns:D="DAV:">${condition}${said}</D:error>\n`, {
    status,
    headers: { "content-type": XML_TYPE, ...Object.fromEntries(FIXED_HEADERS), traceparent: traceparentOf(trace), ...headers, ...more },
  });
}

export function partialAnswer({ responses }: DavPartial): Response {
  const parts = responses.map(({ href, status, condition }) => {
    const error = condition === undefined ? "" : `<D:error>${condition}</D:error>`;
    return `<D:response>${hrefs([href])}${statusLine(status)}${error}</D:response>`;
  });
  return new Response(`${MULTI_STATUS_HEAD}${parts.join("")}${MULTI_STATUS_TAIL}`, {
    status: 207,
    headers: { "content-type": XML_TYPE },
  });
}
