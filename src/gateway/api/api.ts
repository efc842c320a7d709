/**
 * The HTTP door. One table of routes (routes-*.ts), and one place through which every request goes before its handler:
 * trace, limits, who, may they, is it well formed. Handlers translate; the rules are those of SpaceService and Access.
 */
import { Hono } from "hono";
import type * as z from "zod";
import type { Credential, Principal } from "#access/access.ts";
import { SESSION_PREFIX } from "#access/sessions.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { requireOwnPage, sessionOf } from "#gateway/api/cookies.ts";
import { KEY_CHARS_MAX } from "#gateway/api/idempotency.ts";
import { ApiProblem, problemOf } from "#gateway/api/problem.ts";
import type { AnyRoute, ApiServices, Call } from "#gateway/api/route.ts";
import type { Trace } from "#gateway/api/trace.ts";
import { traceparentOf } from "#platform/trace-id.ts";
import { FIXED_HEADERS } from "#gateway/http-work.ts";
import { decodeUrlPath, parseQuery, percentDecode, splitUrl } from "#gateway/api/url-path.ts";
import { boundedBody } from "#gateway/bounded-body.ts";
import { signedIn } from "#gateway/renewing.ts";
import { isTrouble, troubleText } from "#gateway/trouble.ts";

/** Bytes of a JSON body. */
export const JSON_BYTES_MAX = 1 << 20;
/** Bytes of a URL; also bounds what a query can hold. */
const URL_CHARS_MAX = 16 << 10;

type Bindings = { readonly address: string; readonly trace: Trace };
type Env = { readonly Bindings: Bindings };
type Matched = { readonly route: AnyRoute; readonly rawPath: string; readonly params: Record<string, string> };

export class Api {
  readonly #services: ApiServices;
  readonly #routes: readonly AnyRoute[];
  readonly #app: Hono<Env>;

  constructor(routes: readonly AnyRoute[], services: ApiServices) {
    this.#services = services;
    this.#routes = routes;
    // Paths are bytes, so they are matched as they were sent.
    this.#app = new Hono<Env>({ getPath: (request) => splitUrl(request.url).path });
    for (const row of routes) {
      const pattern = row.path.replace("{path...}", "*").replaceAll(/\{(\w+)\}/g, ":$1");
      this.#app.on(row.method, pattern, (context) =>
        this.#run(context.req.raw, context.env, {
          route: row,
          rawPath: splitUrl(context.req.raw.url).path,
          params: context.req.param() as Record<string, string>,
        }),
      );
    }
    this.#app.notFound((context) => this.#unknown(context.req.raw, context.env));
  }

  /** Answers one request; never rejects. @param address the client's */
  handle(request: Request, address: string): Promise<Response> {
    return this.#services.work.answer(
      request,
      (trace) => this.#app.fetch(request, { address, trace }),
      (error, trace) => this.#refuse(error, trace, request),
    );
  }

  #run(request: Request, { address, trace }: Bindings, matched: Matched): Promise<Response> {
    return this.#services.work.measured(
      request,
      trace,
      matched.route,
      () => this.#decide(request, address, trace, matched),
      (error) => this.#refuse(error, trace, request, matched.route),
    );
  }

  /** Who is it, is it well formed, may they; then the handler. The order is that of what may be learned from answers. */
  async #decide(request: Request, address: string, trace: Trace, matched: Matched): Promise<Response> {
    const { route } = matched;
    const services = this.#services;
    if (request.url.length > URL_CHARS_MAX) throw new ApiProblem("LIMIT", `the URL is longer than ${URL_CHARS_MAX}`);
    const shown = route.allowed === "public" ? undefined : credentialOf(services, request, address);
    const authenticate = async (): Promise<Principal> => (shown === undefined ? NOBODY : services.access.authenticate(shown));
    const { renew, again } = await signedIn(services.access, authenticate);
    if (shown?.type === "session" && !shown.isBearer) requireOwnPage(request, shown.cookie);
    const params = check(route.params, decoded(matched.params), "path");
    const query = check(route.query, parseQuery(splitUrl(request.url).search), "query");
    const path = route.path.endsWith("{path...}") ? pathOf(route, matched.rawPath) : "";
    const text = route.body === undefined ? "" : await readText(request);
    const body = check(route.body, route.body === undefined ? undefined : parseJson(text), "body");
    // The body may have come for long.
    const who = await renew();
    const asked = { params, query, body, path } as { params: never; query: never; body: never; path: RelPath };
    await requireAllowed(services, route, who, asked);
    const call: Call<never, never, never> = {
      ...asked,
      request,
      headers: request.headers,
      address,
      who,
      session: shown?.type === "session" ? shown.cookie : undefined,
      trace,
      renew,
      again,
      services,
      traffic: services.traffic,
    };
    const key = route.method === "POST" ? request.headers.get("idempotency-key") : null;
    if (key === null || route.allowed === "public") return route.handle(call);
    if (key === "" || key.length > KEY_CHARS_MAX) {
      throw new ApiProblem("USAGE", `an Idempotency-Key has 1 to ${KEY_CHARS_MAX} characters`);
    }
    const asSent = `${route.id} ${splitUrl(request.url).path}?${splitUrl(request.url).search}\n${text}`;
    const digest = new Bun.CryptoHasher("sha256").update(asSent).digest("hex");
    return services.idempotency.once(who.id, key, digest, () => route.handle(call));
  }

  #unknown(request: Request, { trace }: Bindings): Response {
    const { path } = splitUrl(request.url);
    const methods = new Set<string>();
    for (const { method, path: pattern } of this.#routes) {
      const matcher = pattern
        .replaceAll(/[.*+?^$()|[\]\\]/g, "\\$&")
        .replace("{path\\.\\.\\.}", ".+")
        .replaceAll(/\{\w+\}/g, "[^/]+");
      if (!new RegExp(`^${matcher}$`).test(path)) continue;
      methods.add(method);
      if (method === "GET") methods.add("HEAD");
    }
    const allow = [...methods].join(", ");
    const problem =
      methods.size === 0
        ? new ApiProblem("NOT_FOUND", "there is nothing at this address", "GET /v1/openapi.json lists what there is")
        : new ApiProblem("METHOD", `this address takes ${allow}`, undefined, {}, { allow });
    return this.#refuse(problem, trace, request);
  }

  /** The answer for what was thrown. Faults of the program are logged with their stack; the caller gets the trace id. */
  #refuse(error: unknown, trace: Trace, request: Request, route?: AnyRoute): Response {
    const { headers, ...problem } = problemOf(error);
    if (isTrouble(problem.status, problem.code)) {
      this.#services.log.error("request failed", {
        traceId: trace.traceId,
        route: route?.id,
        method: request.method,
        code: problem.code,
        error: troubleText(error),
      });
    }
    return new Response(JSON.stringify({ ...problem, traceId: trace.traceId }), {
      status: problem.status,
      headers: {
        "content-type": "application/problem+json",
        traceparent: traceparentOf(trace),
        ...Object.fromEntries(FIXED_HEADERS),
        ...headers,
      },
    });
  }
}

/** For routes that ask nobody who they are. It has no rights. */
const NOBODY: Principal = { id: "system:nobody", kind: "system", name: "nobody", roles: [], scopes: [] };

const BEARER = /^Bearer +([\x21-\x7e]{1,512})$/i;

type Shown = (Extract<Credential, { type: "token" }> | Extract<Credential, { type: "session" }>) & { readonly isBearer: boolean };

/** A header that the caller set wins over a cookie, which a browser sends by itself. @throws {SynclineError} AUTH */
function credentialOf({ publicUrl }: ApiServices, { headers }: Request, address: string): Shown {
  const header = headers.get("authorization");
  const token = BEARER.exec(header ?? "")?.[1];
  if (token?.startsWith(SESSION_PREFIX) === true) return { type: "session", cookie: token, address, isBearer: true };
  if (token !== undefined) return { type: "token", token, address, isBearer: true };
  const cookie = header === null ? sessionOf(headers, publicUrl().startsWith("https:")) : undefined;
  if (cookie !== undefined) return { type: "session", cookie, address, isBearer: false };
  throw new SynclineError({
    code: "AUTH",
    op: "authenticate",
    message: "no token",
    hint: "send Authorization: Bearer TOKEN; syncline login gets one, or an administrator makes one",
  });
}

async function requireAllowed(
  services: ApiServices,
  route: AnyRoute,
  who: Principal,
  asked: { params: never; query: never; body: never; path: RelPath },
): Promise<void> {
  const { allowed } = route;
  if (allowed === "public" || allowed === "known") return;
  if (allowed === "visible") {
    const { space } = asked.params as { space: string };
    if (services.access.reaches(who, "read", space, "")) return;
    // The same as for a space that does not exist.
    const message = `there is no space "${space}", or you may see nothing of it`;
    throw new SynclineError({ code: "SPACE_UNKNOWN", op: "find space", message });
  }
  for (const { action, resource } of await allowed(asked, services)) services.access.require(who, action, resource);
}

const decoded = (params: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(params).map(([name, value]) => [name, percentDecode(value)]));

/** The path behind the fixed beginning of a route's address, which has as many segments as its pattern. */
function pathOf(route: AnyRoute, rawPath: string): RelPath {
  const segments = route.path.split("/").length - 1;
  return decodeUrlPath(rawPath.split("/").slice(segments).join("/"));
}

/** @throws {ApiProblem} USAGE that names what is wrong where */
function check(schema: z.ZodType | undefined, value: unknown, where: string): unknown {
  if (schema === undefined) {
    const names = value !== null && typeof value === "object" ? Object.keys(value) : [];
    if (where === "query" && names.length > 0) throw new ApiProblem("USAGE", `query: there is no "${names[0]}" here`);
    return value;
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const at = [where, ...issue!.path.map(String)].join(".");
  throw new ApiProblem("USAGE", `${at}: ${issue!.message}`, "GET /v1/openapi.json describes every call");
}

function parseJson(text: string): unknown {
  if (text === "") return {};
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new ApiProblem("USAGE", "the body is no JSON");
  }
}

async function readText(request: Request): Promise<string> {
  const type = request.headers.get("content-type");
  if (type !== null && !/^application\/([\w.+-]+\+)?json\b/i.test(type)) {
    throw new ApiProblem("MEDIA_TYPE", "the body must be application/json");
  }
  if (Number(request.headers.get("content-length") ?? 0) > JSON_BYTES_MAX) throw tooLarge();
  return new TextDecoder().decode(await boundedBody(request.body, JSON_BYTES_MAX, tooLarge));
}

const tooLarge = (): ApiProblem => new ApiProblem("LIMIT", `the body is larger than ${JSON_BYTES_MAX} bytes`);
