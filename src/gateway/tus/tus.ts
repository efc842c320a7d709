/**
 * tus 1.0 on the hub's main listener, over the hub's uploads: POST /v1/tus/SPACE or /v1/tus/SPACE/DIRECTORY begins an upload
 * of the file that its metadata names, HEAD says how far it is, PATCH goes on, DELETE gives it up. What is acknowledged is
 * durable. The file is there when the last byte has come.
 */
import { SPACE_NAME } from "#hub/space.ts";
import { UPLOAD_BYTES_MAX } from "#hub/uploads/upload.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { ApiProblem, problemOf } from "#gateway/api/problem.ts";
import type { Trace } from "#gateway/api/trace.ts";
import { decodeUrlPath, percentDecode, splitUrl } from "#gateway/api/url-path.ts";
import { type FrontRow, isAtOrBelow } from "#gateway/front.ts";
import { signedIn } from "#gateway/renewing.ts";
import { signIn } from "#gateway/sign-in.ts";
import { TUS_PREFIX, type TusCall, TusProblem, type TusServices } from "#gateway/tus/tus-call.ts";
import { CHECKSUMS } from "#gateway/tus/tus-headers.ts";
import { appendTo, begin, giveUp, stateOf } from "#gateway/tus/tus-methods.ts";
import { isTrouble, troubleText } from "#gateway/trouble.ts";

export const TUS_VERSION = "1.0.0";
export const TUS_EXTENSIONS =
  "creation,creation-with-upload,creation-defer-length,expiration,checksum,termination,concatenation";

type Method = (call: TusCall) => Promise<Response>;

export const TUS_METHODS: Readonly<Record<string, Method>> = { POST: begin, HEAD: stateOf, PATCH: appendTo, DELETE: giveUp };

/** @returns its row of the main listener's front */
export function openTus(services: TusServices): FrontRow {
  return {
    takes: (path) => isAtOrBelow(path, TUS_PREFIX),
    handle: (request, address) =>
      services.work.answer(
        request,
        (trace) => {
          const method = methodOf(request);
          const known = method in TUS_METHODS || method === "OPTIONS" ? method : "other";
          const name = { id: `tus.${known.toLowerCase()}`, method: known, path: `${TUS_PREFIX}/{path...}` };
          const work = (): Promise<Response> => answer(services, request, address, trace);
          return services.work.measured(request, trace, name, work, (error) => refuse(services, request, trace, error));
        },
        (error, trace) => refuse(services, request, trace, error),
      ),
  };
}

/** Where something on the way knows few methods, POST stands for others. */
function methodOf({ method, headers }: Request): string {
  return (method === "POST" ? headers.get("x-http-method-override")?.toUpperCase() : undefined) ?? method;
}

async function answer(services: TusServices, request: Request, address: string, trace: Trace): Promise<Response> {
  const { headers } = request;
  const method = methodOf(request);
  if (method === "OPTIONS") return new Response(null, { status: 204, headers: abilities() });
  if (headers.get("tus-resumable") !== TUS_VERSION) {
    const hint = "send Tus-Resumable: 1.0.0 with every request";
    throw new ApiProblem("PRECONDITION", `this door speaks tus ${TUS_VERSION}`, hint, {}, { "tus-version": TUS_VERSION });
  }
  const { access } = services;
  const { who, renew } = await signedIn(access, () => signIn(access, headers.get("authorization"), address));
  const run = Object.hasOwn(TUS_METHODS, method) ? TUS_METHODS[method] : undefined;
  const allow = ["OPTIONS", ...Object.keys(TUS_METHODS)].join(", ");
  if (run === undefined) throw new ApiProblem("METHOD", `this door takes ${allow}`, undefined, {}, { allow });
  const { space, rest } = placeOf(splitUrl(request.url).path);
  const response = await run({ services, headers, request, who, renew, trace, space, rest });
  response.headers.set("tus-resumable", TUS_VERSION);
  return response;
}

function abilities(): Record<string, string> {
  return {
    "tus-resumable": TUS_VERSION,
    "tus-version": TUS_VERSION,
    "tus-extension": TUS_EXTENSIONS,
    "tus-max-size": String(UPLOAD_BYTES_MAX),
    "tus-checksum-algorithm": Object.keys(CHECKSUMS).join(),
  };
}

/** @throws {ApiProblem} NOT_FOUND; {SynclineError} USAGE */
function placeOf(path: string): { space: string; rest: RelPath } {
  const [name = "", ...more] = path.slice(TUS_PREFIX.length + 1).split("/");
  const space = percentDecode(name);
  if (!SPACE_NAME.test(space)) throw new ApiProblem("NOT_FOUND", "uploads begin at /v1/tus/SPACE");
  if (more.at(-1) === "") more.pop();
  return { space, rest: more.length === 0 ? "" : decodeUrlPath(more.join("/")) };
}

/** Clients try again what is told as trouble of the server: a quota is none. */
const STATUS: Readonly<Record<string, number>> = { QUOTA: 413, CHUNK_MISSING: 410 };

function refuse({ log }: TusServices, request: Request, trace: Trace, error: unknown): Response {
  const { headers, ...problem } = problemOf(error);
  const status = error instanceof TusProblem ? error.status : (STATUS[problem.code] ?? problem.status);
  if (isTrouble(status, problem.code)) {
    log.error("request failed", {
      traceId: trace.traceId,
      method: request.method,
      code: error instanceof SynclineError ? error.code : problem.code,
      error: troubleText(error),
    });
  }
  return new Response(JSON.stringify({ ...problem, status, traceId: trace.traceId }), {
    status,
    headers: { "content-type": "application/problem+json", "cache-control": "no-store", "tus-resumable": TUS_VERSION, ...headers },
  });
}
