/**
 * The S3 door: buckets are spaces, keys are paths. Every request goes one way: what is asked for, by whom (authenticate.ts,
 * once), which operation (operations.ts), its handler. Rules are behind SpaceService.
 */
import type { Door, DoorParts } from "#gateway/door.ts";
import { Authenticator } from "#gateway/s3/authenticate.ts";
import { BucketSettings } from "#gateway/s3/bucket-settings.ts";
import { corsHeaders, preflight } from "#gateway/s3/cors.ts";
import { operationOf } from "#gateway/s3/operations.ts";
import { isForm, postObject } from "#gateway/s3/ops-post.ts";
import { type S3Services, askedBy } from "#gateway/s3/s3-call.ts";
import { type S3Error, s3ErrorOf } from "#gateway/s3/s3-error.ts";
import { type S3Request, readRequest } from "#gateway/s3/s3-request.ts";
import { S3Traffic } from "#gateway/s3/s3-traffic.ts";
import { element, plainDocument } from "#gateway/s3/xml.ts";
import { troubleText } from "#gateway/trouble.ts";
import type { Http1Answer, Http1Request } from "#platform/net/http1/connection.ts";
import { type Http1Server, serveHttp1 } from "#platform/net/http1/server.ts";
import { addressText } from "#platform/net/address-text.ts";

const CONNECTIONS_MAX = 4096;
/** Requests at work at once; whoever comes then is told to come again. */
const REQUESTS_MAX = 1024;

export type S3DoorOptions = {
  /** TLS, or plain. */
  readonly isSecure: boolean;
  /** Names below which the first label of the host is a bucket. */
  readonly domains: readonly string[];
  /** Signature Version 2 is taken, too. */
  readonly takesV2: boolean;
  /** Buckets whose policies may let everybody read. */
  readonly publicBuckets: readonly string[];
};

/** @throws the system's error when it cannot listen */
export async function startS3(parts: DoorParts, { isSecure, domains, takesV2, ...options }: S3DoorOptions): Promise<Door> {
  const { host, spaces, uploads, versions, access, log, metrics, listen } = parts;
  const { clock, random } = host;
  const settings = new BucketSettings(spaces, clock);
  const publicBuckets = new Set(options.publicBuckets);
  const traffic = new S3Traffic(metrics);
  const services: S3Services = {
    spaces, uploads, versions, access, clock, random, log, traffic, settings, isSecure, publicBuckets,
  };
  const door = new S3Requests(services, new Authenticator(access, clock, takesV2), domains);
  const tls = isSecure ? parts.identity() : undefined;
  const handle = (request: Http1Request): Promise<Http1Answer> => door.handle(request);
  const server: Http1Server = serveHttp1({ ...listen, tls, handle, connectionsMax: CONNECTIONS_MAX });
  return {
    url: `${isSecure ? "https" : "http"}://${addressText(listen.host, server.port)}`,
    useIdentity: (identity) => (isSecure ? server.useIdentity(identity) : undefined),
    close: (graceMs) => server.stop(graceMs),
  };
}

class S3Requests {
  readonly #services: S3Services;
  readonly #authenticator: Authenticator;
  readonly #domains: readonly string[];
  #atWork = 0;
  /** Ids are drawn many at a time: a system call for each would be seen. */
  #ids = "";
  #idAt = 0;
  #date = { second: -1, text: "" };

  constructor(services: S3Services, authenticator: Authenticator, domains: readonly string[]) {
    this.#services = services;
    this.#authenticator = authenticator;
    this.#domains = domains;
  }

  /** Answers one request; never rejects. */
  async handle(http: Http1Request): Promise<Http1Answer> {
    const traceId = this.#newId();
    const beganMs = this.#services.clock.monotonicMs();
    const seen: Seen = { operation: "unknown", request: undefined };
    let answer: Http1Answer;
    if (this.#atWork >= REQUESTS_MAX) answer = this.#busy(traceId);
    else {
      this.#atWork++;
      try {
        answer = await this.#decide(http, traceId, seen);
      } catch (error) {
        answer = this.#refuse(error, traceId, http, seen);
      } finally {
        this.#atWork--;
      }
    }
    this.#services.traffic.answered(seen.operation, answer.status, (this.#services.clock.monotonicMs() - beganMs) / 1000);
    const own = [["date", this.#dateNow()], ["server", "Syncline"], ["x-amz-request-id", traceId]] as const;
    const headers = [...own, ...answer.headers, ...(await this.#cors(seen.request))];
    return { status: answer.status, headers, body: answer.body };
  }

  async #decide(http: Http1Request, traceId: string, seen: Seen): Promise<Http1Answer> {
    const asked = readRequest(http, this.#domains);
    seen.request = asked;
    if (asked.method === "OPTIONS") {
      seen.operation = "Preflight";
      return preflight(this.#services.settings, asked);
    }
    if (isForm(asked)) {
      seen.operation = "PostObject";
      return postObject(this.#services, this.#authenticator, asked, traceId);
    }
    const { user, how, payload, request } = await this.#authenticator.authenticate(asked);
    const operation = operationOf(request);
    seen.operation = operation.name;
    const services = this.#services;
    const { who, renew } = askedBy(services, user, request, operation.name, how);
    services.access.requireAsked(who, request.bucket, request.key.replace(/\/$/, ""));
    return operation.handle({ services, who, renew, request, payload, traceId });
  }

  /** Only browsers say where a page comes from. */
  async #cors(request: S3Request | undefined): Promise<readonly (readonly [string, string])[]> {
    if (request === undefined || request.method === "OPTIONS" || !request.headers.has("origin")) return [];
    return corsHeaders(this.#services.settings, request).catch(() => []);
  }

  #busy(traceId: string): Http1Answer {
    const body = errorBody({ code: "SlowDown", message: "too many requests are at work", more: {} }, traceId, "");
    return { status: 503, headers: [["content-type", "application/xml"], ["retry-after", "1"]], body };
  }

  #refuse(thrown: unknown, traceId: string, { method, target }: Http1Request, { operation, request }: Seen): Http1Answer {
    const error = s3ErrorOf(thrown);
    if (error.status >= 500 && error.code !== "SlowDown" && error.code !== "NotImplemented") {
      this.#services.log.error("request failed", { traceId, operation, method, code: error.code, error: troubleText(thrown) });
    }
    const resource = request === undefined ? target.split("?")[0]! : request.path;
    const retry = error.status === 503 ? ([["retry-after", "1"]] as const) : [];
    return {
      status: error.status,
      headers: [["content-type", "application/xml"], ...retry, ...error.headers],
      body: method === "HEAD" ? undefined : errorBody(error, traceId, resource),
    };
  }

  #newId(): string {
    if (this.#idAt >= this.#ids.length) {
      this.#ids = this.#services.random.bytes(ID_BYTES * IDS_DRAWN).toHex();
      this.#idAt = 0;
    }
    this.#idAt += ID_BYTES * 2;
    return this.#ids.slice(this.#idAt - ID_BYTES * 2, this.#idAt);
  }

  #dateNow(): string {
    const ms = this.#services.clock.nowMs();
    const second = Math.floor(ms / 1000);
    if (second !== this.#date.second) this.#date = { second, text: new Date(ms).toUTCString() };
    return this.#date.text;
  }
}

const ID_BYTES = 16;
const IDS_DRAWN = 256;

/** How far a request was understood, for its answer and the log. */
type Seen = { operation: string; request: S3Request | undefined };

function errorBody({ code, message, more }: Pick<S3Error, "code" | "message" | "more">, requestId: string, resource: string): Uint8Array {
  const rest = Object.entries(more).map(([name, value]) => element(name, value)).join("");
  const text = element("Code", code) + element("Message", message) + rest + element("Resource", resource) + element("RequestId", requestId);
  return plainDocument("Error", text);
}
