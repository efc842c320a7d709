/**
 * WebDAV (RFC 4918, class 1 and 2) on the hub's main listener: /dav/ holds the spaces that somebody may read something
 * of, /dav/SPACE/ what is in one. A table of methods, and one place through which every request goes: who is it, what
 * is it about, do its conditions hold. Rights, quotas and history are those of SpaceService.
 */
import { SynclineError } from "#model/error.ts";
import { type FrontRow, isAtOrBelow } from "#gateway/front.ts";
import { signedIn } from "#gateway/renewing.ts";
import { signIn } from "#gateway/sign-in.ts";
import type { Trace } from "#gateway/api/trace.ts";
import { splitUrl } from "#gateway/api/url-path.ts";
import { DavPartial, DavProblem, partialAnswer, refusalAnswer, refusalOf } from "#gateway/dav/answer.ts";
import type { DavCall, DavServices } from "#gateway/dav/call.ts";
import { ifListsOf, requireIf } from "#gateway/dav/guard.ts";
import { tokensOf } from "#gateway/dav/if-header.ts";
import { lock, unlock } from "#gateway/dav/lock-methods.ts";
import type { LockTable } from "#gateway/dav/lock-table.ts";
import { DAV_PREFIX, placeOf } from "#gateway/dav/place.ts";
import { propPatch } from "#gateway/dav/prop-patch.ts";
import { get, propFind } from "#gateway/dav/read.ts";
import { copy, move } from "#gateway/dav/transfer.ts";
import { makeCollection, put, remove } from "#gateway/dav/write.ts";
import { isTrouble, troubleText } from "#gateway/trouble.ts";

/** Bytes of a URL. */
const URL_CHARS_MAX = 16 << 10;
/** Clients that cannot do one use the other. */
const CHALLENGE = 'Basic realm="syncline", charset="UTF-8", Bearer realm="syncline"';

type Method = (call: DavCall) => Promise<Response>;

/** What this door does; the test over rights reads it. */
export const DAV_METHODS: Readonly<Record<string, Method>> = {
  PROPFIND: propFind,
  PROPPATCH: propPatch,
  MKCOL: makeCollection,
  GET: get,
  HEAD: get,
  PUT: put,
  DELETE: remove,
  COPY: copy,
  MOVE: move,
  LOCK: lock,
  UNLOCK: unlock,
};

const ALLOW = ["OPTIONS", ...Object.keys(DAV_METHODS)].join(", ");

/** @returns its row of the main listener's front */
export function openDav(services: DavServices, locks: LockTable): FrontRow {
  return {
    // Windows asks the root of a server first whether it speaks WebDAV at all.
    takes: (path, method) => isAtOrBelow(path, DAV_PREFIX) || (path === "/" && method === "OPTIONS"),
    handle: (request, address) =>
      services.work.answer(
        request,
        (trace) => measured(services, locks, request, address, trace),
        (error, trace) => refuse(services, request, trace, error),
      ),
  };
}

function measured(
  services: DavServices,
  locks: LockTable,
  request: Request,
  address: string,
  trace: Trace,
): Promise<Response> {
  const method = request.method in DAV_METHODS || request.method === "OPTIONS" ? request.method : "other";
  const name = { id: `dav.${method.toLowerCase()}`, method, path: `${DAV_PREFIX}/{path...}` };
  return services.work.measured(
    request,
    trace,
    name,
    () => answer(services, locks, request, address, trace),
    (error) => refuse(services, request, trace, error),
  );
}

async function answer(
  services: DavServices,
  locks: LockTable,
  request: Request,
  address: string,
  trace: Trace,
): Promise<Response> {
  // Asked before anybody is signed in, and says nothing but what the program is.
  if (request.method === "OPTIONS") return new Response(null, { headers: { dav: "1, 2", "ms-author-via": "DAV", allow: ALLOW } });
  const { headers } = request;
  const { access } = services;
  const { who, renew } = await signedIn(access, () => signIn(access, headers.get("authorization"), address));
  if (request.url.length > URL_CHARS_MAX) throw new DavProblem(414, `the URL is longer than ${URL_CHARS_MAX}`);
  const method = Object.hasOwn(DAV_METHODS, request.method) ? DAV_METHODS[request.method] : undefined;
  if (method === undefined) throw new DavProblem(405, `this door takes ${ALLOW}`, "", { allow: ALLOW });
  if (request.url.includes("#")) throw new DavProblem(400, "a URL with a fragment names no resource");
  const place = placeOf(splitUrl(request.url).path);
  const lists = ifListsOf(headers);
  const { traffic } = services;
  const call: DavCall = { services, locks, request, headers, who, renew, trace, traffic, place, tokens: tokensOf(lists) };
  await requireIf(call, lists);
  return method(call);
}

/** Faults of the program are logged with their stack; the caller gets the trace id. */
function refuse({ log }: DavServices, request: Request, trace: Trace, error: unknown): Response {
  if (error instanceof DavPartial) return partialAnswer(error);
  const refusal = refusalOf(error);
  if (isTrouble(refusal.status, refusal.code) && !(error instanceof DavProblem)) {
    log.error("request failed", {
      traceId: trace.traceId,
      method: request.method,
      code: error instanceof SynclineError ? error.code : "INTERNAL",
      error: troubleText(error),
    });
  }
  return refusalAnswer(refusal, CHALLENGE, trace);
}
