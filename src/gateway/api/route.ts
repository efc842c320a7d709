/**
 * What one call of the API is: a row of the table. Method, path, who may, what comes in, what goes out and how it is
 * done; the door (api.ts), the OpenAPI document and the property test over all routes read nothing else.
 */
import type * as z from "zod";
import type { Action, Principal, Resource } from "#access/access.ts";
import type { Actor } from "#access/audit.ts";
import type { HubAccess } from "#access/hub-access.ts";
import type { HubHello } from "#hub/agents/hello.ts";
import type { HubAgents } from "#hub/agents/hub-agents.ts";
import type { Followers } from "#hub/followers/followers.ts";
import type { Following } from "#hub/followers/following.ts";
import type { Shares } from "#hub/shares/shares.ts";
import type { Webhooks } from "#hub/webhooks/webhooks.ts";
import type { HubCare } from "#hub/hub-care.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Uploads } from "#hub/uploads/upload.ts";
import type { Jobs } from "#jobs/jobs.ts";
import type { RelPath } from "#model/path.ts";
import type { IdempotencyKeys } from "#gateway/api/idempotency.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { Configuration } from "#gateway/api/routes-config.ts";
import type { Profiler } from "#observe/profiler.ts";
import type { Tracer } from "#observe/trace.ts";
import type { Metrics } from "#gateway/api/metrics.ts";
import type { HttpWork } from "#gateway/http-work.ts";
import type { Traffic } from "#gateway/api/traffic.ts";
import type { Renew } from "#gateway/renewing.ts";
import type { Trace } from "#gateway/api/trace.ts";

/** A thing without which the hub cannot do its work. `fault` says why it is not ready. */
export type Dependency = { readonly name: string; readonly fault: string | undefined };

/** Lines of the hub's log: a message that does not change, and fields. */
export interface ApiLog {
  info(message: string, fields: Readonly<Record<string, unknown>>): void;
  error(message: string, fields: Readonly<Record<string, unknown>>): void;
}

/** What handlers may use. */
export type ApiServices = {
  readonly spaces: SpaceService;
  readonly uploads: Uploads;
  readonly access: HubAccess;
  /** Hosts, links and holds. */
  readonly agents: HubAgents;
  /** What this hub tells those who follow its spaces; its own that follow others. */
  readonly following: Following;
  readonly followers: Followers;
  /** This hub's name in version vectors. */
  readonly hubId: string;
  /** Backup and check. */
  readonly care: HubCare;
  readonly jobs: Jobs;
  /** What the hub says of itself to agents that look for it. */
  readonly hello: () => HubHello;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics: Metrics;
  /** What all requests on the main listener share, whichever door answers them. */
  readonly work: HttpWork;
  readonly traffic: Traffic;
  readonly idempotency: IdempotencyKeys;
  readonly log: ApiLog;
  readonly version: string;
  readonly configuration: Configuration;
  readonly webhooks: Webhooks;
  readonly shares: Shares;
  readonly profiler: Profiler;
  readonly tracer: Tracer;
  /** Where people reach the hub: "https://hub.example.com". */
  readonly publicUrl: () => string;
  /** Asks each dependency; answers within `signal`. */
  readonly dependencies: (signal: AbortSignal) => Promise<readonly Dependency[]>;
  /** Of the data directory. @throws {FsError} */
  readonly disk: () => { readonly freeBytes: number; readonly totalBytes: number };
  /**
   * Makes the first user, an administrator, and returns a token of it.
   * @throws {SynclineError} AUTH when the set-up token is another or was used
   */
  readonly setup: (
    first: { readonly token: string; readonly user: string; readonly password: string },
    by: Actor,
  ) => Promise<string>;
  /** Aborted when the hub takes no more work: streams that never end by themselves end then. */
  readonly closing: AbortSignal;
};

export type Wanted = { readonly action: Action; readonly resource: Resource };

/** One call as its handler sees it: authenticated, decided and validated. */
export type Call<P = unknown, Q = unknown, B = unknown> = {
  readonly params: P;
  readonly query: Q;
  readonly body: B;
  /** The path behind `{path...}`; "" for routes that have none. */
  readonly path: RelPath;
  readonly request: Request;
  readonly headers: Headers;
  /** The client's network address. */
  readonly address: string;
  readonly who: Principal;
  /** The value of the session that asks; undefined: it is no session. */
  readonly session: string | undefined;
  readonly trace: Trace;
  /** Who asks, as of now: for what is done when bytes have come for long. @throws {SynclineError} AUTH */
  readonly renew: Renew;
  /** Looks at the credential again; for answers that last long. @throws {SynclineError} AUTH */
  readonly again: Renew;
  readonly services: ApiServices;
  readonly traffic: Traffic;
};

/** What a route decides on: the same as its handler sees, but before anybody is known to be allowed. */
export type Asked<P, Q, B> = { readonly params: P; readonly query: Q; readonly body: B; readonly path: RelPath };

export type Allowed<P, Q, B> =
  /** Anybody, without a credential. */
  | "public"
  /** Anybody who is known; the answer holds nothing but what is about them, or what the service filters for them. */
  | "known"
  /** Anybody who may read something of the space; the service filters what they see. */
  | "visible"
  /** All of these must be allowed. */
  | ((asked: Asked<P, Q, B>, services: Pick<ApiServices, "access">) => readonly Wanted[] | Promise<readonly Wanted[]>);

export type Answer = {
  readonly description: string;
  readonly schema?: z.ZodType;
  /** Media type, where it is not JSON. */
  readonly media?: string;
};

export type Method = "GET" | "PUT" | "POST" | "PATCH" | "DELETE";

export type Route<P = never, Q = never, B = never> = {
  /** Also its name in metrics and the operationId: "content.put". */
  readonly id: string;
  readonly method: Method;
  /** "/v1/spaces/{space}/content/{path...}"; `{path...}` only at the end. */
  readonly path: string;
  readonly summary: string;
  readonly allowed: Allowed<P, Q, B>;
  readonly params?: z.ZodType<P>;
  readonly query?: z.ZodType<Q>;
  /** JSON; undefined: the handler reads the body itself, or there is none. */
  readonly body?: z.ZodType<B>;
  /** The body is bytes that the handler streams. */
  readonly takesBytes?: true;
  readonly answers: Readonly<Record<number, Answer>>;
  readonly handle: (call: Call<P, Q, B>) => Promise<Response>;
};

/** A row whose types are known to itself alone; the door validates before it calls. */
export type AnyRoute = Route;

/** Binds the types of a row's schemas to its handler. */
export function route<P = Record<string, never>, Q = Record<string, never>, B = undefined>(
  row: Route<P, Q, B>,
): AnyRoute {
  return row as unknown as AnyRoute;
}

export function json(status: number, value: unknown, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(value), {
    status,
    headers: { "content-type": "application/json", ...headers },
  });
}

export const nothing = (headers: Record<string, string> = {}): Response => new Response(null, { status: 204, headers });

export const spaceAt = (space: string, path: RelPath): Resource => ({ type: "space", space, path });

/** The path with everything below it: a deny anywhere there refuses. */
export const treeAt = (space: string, path: RelPath): Resource => ({ type: "space", space, path, isTree: true });

/** Whose change it is, for the audit log. */
export const actorOf = ({ who, address, trace }: Pick<Call, "who" | "address" | "trace">): Actor => ({
  id: who.id,
  address,
  traceId: trace.traceId,
});
