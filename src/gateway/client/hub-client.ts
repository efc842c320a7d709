/**
 * A typed client on the HTTP API: paths go out as bytes, problems come back as SynclineError with the hub's own hint,
 * and a request that may be repeated is repeated when the connection breaks.
 */
import type * as z from "zod";
import { type ErrorCode, SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import type { Dependency } from "#hub/agents/dependencies.ts";
import type { LinkSettings } from "#hub/agents/link.ts";
import type { DigestJson } from "#gateway/api/follow-shapes.ts";
import type { ProblemJson } from "#gateway/api/problem.ts";
import type { TokenJson } from "#gateway/api/routes-access.ts";
import type { ComparisonJson, FollowBegunJson, FollowJson, PromotedJson } from "#gateway/api/routes-follow.ts";
import type { JoinTokenJson } from "#gateway/api/routes-hosts.ts";
import type { ExplanationJson, JobJson, ScheduleJson } from "#gateway/api/job-shapes.ts";
import type { AgentJson, HoldJson, LinkJson, LinkStateJson } from "#gateway/api/routes-links.ts";
import type {
  JournalJson,
  RestorePointJson,
  SETTINGS_JSON,
  SpaceJson,
  VersionJson,
} from "#gateway/api/shapes.ts";
import { encodeUrlPath, percentEncode } from "#gateway/api/url-path.ts";
import { readBoundedJson } from "#gateway/client/bounded-json.ts";
import { unreachable } from "#gateway/client/unreachable.ts";
import { traceparentOf } from "#platform/trace-id.ts";

/** Tries of a request that changes nothing, the first included. */
const TRIES_MAX = 3;
/** Entries asked for at once. */
const PAGE_ROWS = 1000;
const VERSIONS_PAGE = 100;
const JOURNAL_PAGE = 1000;
const TOKENS_PAGE = 1000;
const JOBS_PAGE = 500;

export type SettingsJson = z.input<typeof SETTINGS_JSON>;
export type WhoJson = { id: string; kind: string; name: string; roles: string[]; scoped: boolean };
export type RestoreAnswer = {
  dryRun: boolean;
  counts: { put: number; removed: number };
  before?: number;
  after?: number;
  notDone: { path: string; status: string; code?: string; message?: string }[];
  notDoneCount: number;
};

type JournalPage = { readonly records: JournalJson[]; readonly after: number; readonly sequence: number };

export type JobListing = { readonly state?: string | undefined; readonly kind?: string | undefined };

/** What a link is made of; of a change only what changes. */
export type LinkTarget = { root: string; space: string; prefix: string };
export type NewLinkJson = LinkTarget & { host?: string | undefined; selector?: string | undefined; settings: LinkSettings };
export type LinkChangeJson = Partial<LinkTarget> & { settings?: Partial<LinkSettings>; enabled?: boolean };

export type HubClientOptions = {
  /** "http://127.0.0.1:7830", without a path. */
  readonly url: string;
  /** Undefined: for calls that need nobody to be known. */
  readonly token: string | undefined;
  /** PEM of the authority that certified the hub; undefined: those of the system. */
  readonly ca?: string | undefined;
  /** What the client calls itself, in the hub's list of sessions. */
  readonly program: string;
  /** 32 hex digits: found again in the hub's log and journal. */
  readonly traceId: string;
  readonly signal: AbortSignal;
};

export type PutOptions = {
  /** RFC 3339. */
  readonly mtime?: string | undefined;
  /** Octal. */
  readonly mode?: string | undefined;
  /** Only if this is the current version; 0: only if nothing is there. */
  readonly sequence?: number | undefined;
};

/** What a backup or a check has to say; the last is "done". */
export type CareLine = { readonly type: "progress" | "finding" | "done" | "failed"; readonly [field: string]: unknown };

type Body = NonNullable<BunFetchRequestInit["body"]>;

export type Ask = {
  readonly method?: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly body?: unknown;
  /** Sent as it is. */
  readonly bytes?: Body | undefined;
  readonly headers?: Readonly<Record<string, string>>;
};

export class HubClient {
  readonly #options: HubClientOptions;

  constructor(options: HubClientOptions) {
    this.#options = { ...options, url: options.url.replace(/\/+$/, "") };
  }

  whoami(): Promise<WhoJson> {
    return this.call("/v1/whoami");
  }

  // Spaces

  async spaces(): Promise<SpaceJson[]> {
    return (await this.call<{ spaces: SpaceJson[] }>("/v1/spaces")).spaces;
  }

  space(name: string): Promise<SpaceJson> {
    return this.call(spaceUrl(name));
  }

  createSpace(name: string, settings?: SettingsJson): Promise<SpaceJson> {
    return this.call("/v1/spaces", { method: "POST", body: { name, settings } });
  }

  updateSpace(name: string, change: { name?: string; settings?: SettingsJson }): Promise<SpaceJson> {
    return this.call(spaceUrl(name), { method: "PATCH", body: change });
  }

  async deleteSpace(name: string): Promise<void> {
    await this.#ask(spaceUrl(name), { method: "DELETE" });
  }

  undeleteSpace(name: string): Promise<SpaceJson> {
    return this.call(`${spaceUrl(name)}/undelete`, { method: "POST" });
  }

  // Spaces that follow another hub

  async follows(): Promise<FollowJson[]> {
    return (await this.call<{ follows: FollowJson[] }>("/v1/follows")).follows;
  }

  follow(
    name: string,
    from: { url: string; space?: string | undefined; token: string; ca?: string | undefined; quotaBytes?: number | undefined },
  ) {
    return this.call<FollowBegunJson>(`${spaceUrl(name)}/source`, { method: "POST", body: from });
  }

  async unfollow(name: string): Promise<void> {
    await this.#ask(`${spaceUrl(name)}/source`, { method: "DELETE" });
  }

  promote(name: string): Promise<PromotedJson> {
    return this.call(`${spaceUrl(name)}/promote`, { method: "POST" });
  }

  compare(name: string): Promise<ComparisonJson> {
    return this.call(`${spaceUrl(name)}/compare`, { method: "POST" });
  }

  /** @param at a sequence; undefined: now */
  digest(name: string, at?: number): Promise<DigestJson> {
    return this.call(`${spaceUrl(name)}/digest`, { query: { at } });
  }

  // Entries and content

  /** Everything below a path, page by page. */
  async *list(
    space: string,
    below: RelPath,
    options: { readonly shallow: boolean; readonly at?: string | undefined },
  ): AsyncGenerator<VersionJson> {
    let cursor: string | undefined;
    do {
      const query = { below, ...options, cursor, limit: PAGE_ROWS };
      const page = await this.call<{ entries: VersionJson[]; nextCursor?: string }>(`${spaceUrl(space)}/entries`, {
        query,
      });
      yield* page.entries;
      cursor = page.nextCursor;
    } while (cursor !== undefined);
  }

  entry(space: string, path: RelPath, at?: string): Promise<VersionJson> {
    return this.call(pathUrl(space, "entries", path), { query: { at } });
  }

  /** The content in pieces, from a position on. @throws {SynclineError} LINK_LOST also when it breaks off in the middle */
  get(space: string, path: RelPath, at?: string, from = 0): AsyncGenerator<Uint8Array> {
    const range = from === 0 ? undefined : { range: `bytes=${from}-` };
    return this.bytes(pathUrl(space, "content", path), { query: { at }, ...(range === undefined ? {} : { headers: range }) });
  }

  // For clients of one area each

  /** The answer's JSON; undefined where it has none. @throws {SynclineError} what the hub says; LINK_LOST */
  async call<T>(path: string, ask: Ask = {}): Promise<T> {
    const response = await this.#ask(path, ask);
    if (response.status === 204) return undefined as T;
    try {
      return (await response.json()) as T;
    } catch (cause) {
      throw this.#lost(cause);
    }
  }

  /** The answer in pieces. @throws {SynclineError} LINK_LOST also when it breaks off in the middle */
  async *bytes(path: string, ask: Ask = {}): AsyncGenerator<Uint8Array> {
    const response = await this.#ask(path, ask);
    // What does not know of ranges would send the beginning again.
    if (ask.headers?.["range"] !== undefined && response.status !== 206) throw this.#lost(new Error("it answers with another range"));
    try {
      for await (const piece of response.body ?? []) yield piece;
    } catch (cause) {
      this.#options.signal.throwIfAborted();
      throw this.#lost(cause);
    }
  }

  /** Durable when it resolves. Not repeated by itself: a body that is a stream can be sent only once. */
  put(space: string, path: RelPath, bytes: Body, options: PutOptions = {}): Promise<VersionJson> {
    const headers = {
      ...(options.mtime === undefined ? {} : { "x-syncline-mtime": options.mtime }),
      ...(options.mode === undefined ? {} : { "x-syncline-mode": options.mode }),
    };
    const query = { sequence: options.sequence };
    return this.call(pathUrl(space, "content", path), { method: "PUT", bytes, headers, query });
  }

  /** A directory with all in it, or a file, as it is when it is asked for. @throws {SynclineError} as bytes() */
  archive(space: string, path: RelPath, format: string): AsyncGenerator<Uint8Array> {
    const url = path === "" ? `${spaceUrl(space)}/archive` : pathUrl(space, "archive", path);
    return this.bytes(url, { query: { format } });
  }

  remove(space: string, path: RelPath, options: { recursive?: boolean; sequence?: number | undefined } = {}) {
    return this.call<VersionJson>(pathUrl(space, "content", path), { method: "DELETE", query: options });
  }

  move(space: string, from: RelPath, to: RelPath): Promise<VersionJson> {
    return this.call(`${spaceUrl(space)}/move`, { method: "POST", body: { from, to } });
  }

  copy(space: string, from: RelPath, to: RelPath, at?: string): Promise<{ version: VersionJson; entries: number }> {
    return this.call(`${spaceUrl(space)}/copy`, { method: "POST", body: { from, to, at } });
  }

  mkdir(space: string, path: RelPath): Promise<VersionJson> {
    return this.call(`${spaceUrl(space)}/mkdir`, { method: "POST", body: { path } });
  }

  // History

  /** Versions of a path, newest first, `limit` at most. */
  async *versions(space: string, path: RelPath, limit: number): AsyncGenerator<JournalJson> {
    let before: number | undefined;
    for (let left = limit; left > 0; ) {
      const query = { before, limit: Math.min(left, VERSIONS_PAGE) };
      const page = await this.call<{ versions: JournalJson[]; nextBefore?: number }>(
        pathUrl(space, "versions", path),
        { query },
      );
      yield* page.versions;
      left -= page.versions.length;
      before = page.nextBefore;
      if (before === undefined) return;
    }
  }

  /** Changes after a sequence, oldest first; what the caller may not read is left out. */
  async *journal(space: string, after: number): AsyncGenerator<JournalJson> {
    for (let from = after; ; ) {
      const query = { after: from, limit: JOURNAL_PAGE };
      const page = await this.call<JournalPage>(`${spaceUrl(space)}/journal`, { query });
      yield* page.records;
      if (page.after >= page.sequence || page.after <= from) return;
      from = page.after;
    }
  }

  restore(
    space: string,
    path: RelPath,
    to: string,
    options: { readonly dryRun: boolean; readonly message?: string | undefined },
  ): Promise<RestoreAnswer> {
    return this.call(`${spaceUrl(space)}/restore`, { method: "POST", body: { path, to, ...options } });
  }

  undo(space: string, runId: string): Promise<Pick<RestoreAnswer, "counts" | "notDone" | "notDoneCount">> {
    return this.call(`${spaceUrl(space)}/undo`, { method: "POST", body: { runId } });
  }

  createRestorePoint(space: string, name: string, at?: string): Promise<RestorePointJson> {
    return this.call(`${spaceUrl(space)}/restore-points`, { method: "POST", body: { name, at } });
  }

  async restorePoints(space: string): Promise<RestorePointJson[]> {
    const answer = await this.call<{ restorePoints: RestorePointJson[] }>(`${spaceUrl(space)}/restore-points`);
    return answer.restorePoints;
  }

  async deleteRestorePoint(space: string, name: string): Promise<void> {
    await this.#ask(`${spaceUrl(space)}/restore-points/${encodeURIComponent(name)}`, { method: "DELETE" });
  }

  // Agents, links, held plans

  async agents(): Promise<AgentJson[]> {
    return (await this.call<{ agents: AgentJson[] }>("/v1/agents")).agents;
  }

  async links(): Promise<LinkStateJson[]> {
    return (await this.call<{ links: LinkStateJson[] }>("/v1/links")).links;
  }

  /** As they were made, also those that no host has. */
  async linkDefinitions(): Promise<LinkJson[]> {
    return (await this.call<{ links: LinkJson[] }>("/v1/links/defined")).links;
  }

  createLink(link: NewLinkJson): Promise<LinkJson> {
    return this.call("/v1/links", { method: "POST", body: link });
  }

  updateLink(id: string, change: LinkChangeJson): Promise<LinkJson> {
    return this.call(`/v1/links/${percentEncode(id)}`, { method: "PATCH", body: change });
  }

  async removeLink(id: string): Promise<void> {
    await this.#ask(`/v1/links/${percentEncode(id)}`, { method: "DELETE" });
  }

  /** @param release undefined: the one before the one that is shown */
  rollbackLink(link: string, host: string, release: string | undefined): Promise<LinkStateJson> {
    const url = `/v1/links/${percentEncode(link)}/${percentEncode(host)}/rollback`;
    return this.call(url, { method: "POST", body: { release } });
  }

  async dependencies(link: string, host: string, project: string): Promise<Dependency[]> {
    const url = `/v1/links/${percentEncode(link)}/${percentEncode(host)}/dependencies?project=${encodeURIComponent(project)}`;
    return (await this.call<{ dependencies: Dependency[] }>(url)).dependencies;
  }

  resumeLink(link: string, host: string): Promise<LinkStateJson> {
    return this.call(`/v1/links/${percentEncode(link)}/${percentEncode(host)}/resume`, { method: "POST" });
  }

  async holds(): Promise<HoldJson[]> {
    return (await this.call<{ holds: HoldJson[] }>("/v1/holds")).holds;
  }

  approve(link: string, host: string, hash: string): Promise<HoldJson> {
    const url = `/v1/holds/${percentEncode(link)}/${percentEncode(host)}/approve`;
    return this.call(url, { method: "POST", body: { hash } });
  }

  // Jobs and schedules

  /** Newest first, `limit` at most. */
  async jobs(filter: JobListing, limit: number): Promise<JobJson[]> {
    const all: JobJson[] = [];
    for (let before: number | undefined; ; ) {
      const query = { ...filter, before, limit: Math.min(limit - all.length, JOBS_PAGE) };
      const page = await this.call<{ jobs: JobJson[]; nextBefore?: number }>("/v1/jobs", { query });
      all.push(...page.jobs);
      before = page.nextBefore;
      if (before === undefined || all.length >= limit) return all;
    }
  }

  job(id: number): Promise<JobJson> {
    return this.call(`/v1/jobs/${id}`);
  }

  submitJob(job: { kind: string; args: object; priority?: string | undefined }): Promise<JobJson> {
    return this.call("/v1/jobs", { method: "POST", body: job });
  }

  changeJob(id: number, change: "cancel" | "retry"): Promise<JobJson> {
    return this.call(`/v1/jobs/${id}/${change}`, { method: "POST" });
  }

  explainJob(id: number): Promise<ExplanationJson> {
    return this.call(`/v1/jobs/${id}/explain`);
  }

  async schedules(): Promise<ScheduleJson[]> {
    return (await this.call<{ schedules: ScheduleJson[] }>("/v1/schedules")).schedules;
  }

  putSchedule(name: string, settings: object): Promise<ScheduleJson> {
    return this.call(`/v1/schedules/${percentEncode(name)}`, { method: "PUT", body: settings });
  }

  runSchedule(name: string): Promise<JobJson> {
    return this.call(`/v1/schedules/${percentEncode(name)}/run`, { method: "POST" });
  }

  async removeSchedule(name: string): Promise<void> {
    await this.#ask(`/v1/schedules/${percentEncode(name)}`, { method: "DELETE" });
  }

  // Tokens and rights

  /** By id. */
  tokens(user?: string): AsyncGenerator<TokenJson> {
    return this.pages("/v1/tokens", "tokens", { user });
  }

  /** @param expires RFC 3339; undefined: never */
  createToken(
    user: string,
    name: string,
    options: { readonly expires?: string | undefined; readonly scopes?: readonly unknown[] | undefined } = {},
  ): Promise<{ token: TokenJson; value: string }> {
    return this.call("/v1/tokens", { method: "POST", body: { user, name, ...options } });
  }

  async revokeToken(id: string): Promise<void> {
    await this.#ask(`/v1/tokens/${percentEncode(id)}`, { method: "DELETE" });
  }

  /** By id. */
  joinTokens(): AsyncGenerator<JoinTokenJson> {
    return this.pages("/v1/join-tokens", "joinTokens", {});
  }

  createJoinToken(
    options: { labels: readonly string[]; uses?: number | undefined; expires?: string | undefined },
  ): Promise<{ joinToken: JoinTokenJson; value: string }> {
    return this.call("/v1/join-tokens", { method: "POST", body: options });
  }

  async revokeJoinToken(id: string): Promise<void> {
    await this.#ask(`/v1/join-tokens/${percentEncode(id)}`, { method: "DELETE" });
  }

  explain(
    question: { user: string; action: string; type: string; name: string; path?: string | undefined },
  ): Promise<{ allowed: boolean; reason: string }> {
    return this.call("/v1/access/explain", { method: "POST", body: question });
  }

  // The hub itself

  /** Lines of a backup or a check as they come. @throws {SynclineError} what the hub says when it fails */
  async *care(work: "backup" | "check", body: object): AsyncGenerator<CareLine> {
    const response = await this.#ask(`/v1/${work}`, { method: "POST", body });
    let text = "";
    let isOver = false;
    try {
      for await (const piece of (response.body ?? new ReadableStream()).pipeThrough(new TextDecoderStream())) {
        const lines = (text + piece).split("\n");
        text = lines.pop()!;
        for (const line of lines) {
          if (line === "") continue;
          const said = JSON.parse(line) as CareLine;
          isOver = said.type === "done";
          if (said.type === "failed") throw failedWork(said);
          yield said;
        }
      }
    } catch (error) {
      this.#options.signal.throwIfAborted();
      throw error instanceof SynclineError ? error : this.#lost(error);
    }
    if (!isOver) throw this.#lost("the answer broke off");
  }

  // ----------------------------------------------------------------

  /** All rows of a list, page by page. */
  async *pages<T>(path: string, rows: string, query: Record<string, string | undefined>): AsyncGenerator<T> {
    let after: string | undefined;
    do {
      const page: Record<string, unknown> = await this.call(path, { query: { ...query, after, limit: TOKENS_PAGE } });
      yield* page[rows] as T[];
      after = page["nextAfter"] as string | undefined;
    } while (after !== undefined);
  }

  /** @throws {SynclineError} what the hub says; LINK_LOST when it cannot be reached */
  async #ask(path: string, ask: Ask): Promise<Response> {
    const { url, token, ca, traceId, signal, program } = this.#options;
    const method = ask.method ?? "GET";
    const query = Object.entries(ask.query ?? {})
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => `${name}=${percentEncode(String(value))}`);
    const address = `${url}${path}${query.length === 0 ? "" : `?${query.join("&")}`}`;
    const hasJson = ask.body !== undefined;
    const init: BunFetchRequestInit = {
      method,
      signal,
      redirect: "manual",
      // What comes is what is stored: bytes are not unpacked on the way.
      decompress: false,
      headers: {
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        "user-agent": program,
        traceparent: traceparentOf({ traceId, spanId: traceId.slice(0, 16), sampled: true }),
        ...(hasJson ? { "content-type": "application/json" } : {}),
        ...ask.headers,
      },
      ...(hasJson ? { body: JSON.stringify(ask.body) } : {}),
      ...(ask.bytes === undefined ? {} : { body: ask.bytes }),
      ...(ca === undefined ? {} : { tls: { ca } }),
    };
    for (let attempt = 1; ; attempt++) {
      try {
        const response = await fetch(address, init);
        if (response.ok) return response;
        throw await refusal(response);
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof SynclineError) throw error;
        if (method !== "GET" || attempt === TRIES_MAX) throw this.#lost(error);
      }
    }
  }

  #lost(cause: unknown): SynclineError {
    return unreachable(this.#options.url, "ask hub", cause, {
      certificate: "--ca FILE names the hub's authority (ca.pem in its data directory)",
      otherwise: "is it running? --hub URL",
    });
  }
}

const spaceUrl = (space: string): string => `/v1/spaces/${percentEncode(space)}`;
const pathUrl = (space: string, what: string, path: RelPath): string =>
  `${spaceUrl(space)}/${what}/${encodeUrlPath(path)}`;

/** Codes of the API that the program has another word for. */
const CODES: Record<string, ErrorCode> = {
  PRECONDITION: "STALE",
  BUSY: "LIMIT",
  NAME: "USAGE",
  DIGEST: "CHUNK_DAMAGED",
  NOT_A_DIRECTORY: "STALE",
  NO_PARENT: "NOT_FOUND",
  NOT_EMPTY: "STALE",
  IS_A_DIRECTORY: "STALE",
  METHOD: "UNSUPPORTED",
  RANGE: "USAGE",
  REPEATED: "USAGE",
  MEDIA_TYPE: "USAGE",
};

function failedWork({ code, detail, hint }: CareLine): SynclineError {
  const known = String(code);
  return new SynclineError({
    code: CODES[known] ?? (known as ErrorCode),
    op: "ask hub",
    message: String(detail),
    hint: typeof hint === "string" ? hint : undefined,
  });
}

/** Of an answer that says what is wrong. */
const REFUSAL_BYTES_MAX = 1 << 20;

/** Where the hub has no next step to tell: those of people at a command line, by the hub's own code. */
const HINTS: Readonly<Record<string, string>> = {
  NOT_FOUND: "syncline ls SPACE[:PATH] lists what is there; syncline history SPACE:PATH tells what was",
  NO_PARENT: "syncline mkdir SPACE:PATH makes it",
  NOT_EMPTY: "look first: syncline ls; --recursive removes it with everything below it",
  EXISTS: "choose another name, or move what is there away: syncline mv",
  IS_A_DIRECTORY: "name a path below it",
  NAME: "choose another path",
  QUOTA: "remove something, or raise the limit: syncline space set SPACE --quota SIZE",
  DENIED: "syncline access explain USER ACTION TYPE:NAME tells which rule decides",
};

/** Of what is missing only paths are looked for in spaces. */
const hintFor = (code: string, path: string | undefined): string | undefined =>
  code === "NOT_FOUND" && path === undefined ? undefined : HINTS[code];

/** What a hub says when it refuses, to people who have given words to a command, and not fields to an API. */
export async function refusal(response: Response): Promise<SynclineError> {
  let problem: Partial<ProblemJson> = {};
  try {
    const value = await readBoundedJson(response, REFUSAL_BYTES_MAX);
    if (typeof value === "object" && value !== null) problem = value;
  } catch {
    // Not one of the hub's own answers; its status says what is known.
  }
  const code = problem.code ?? "INTERNAL";
  const isOfApi = problem.hint?.startsWith("GET /") === true;
  const message = isOfApi ? problem.detail?.replace(/^(body|query)\./, "") : problem.detail;
  return new SynclineError({
    code: CODES[code] ?? (code as ErrorCode),
    op: "ask hub",
    message: message ?? `the answer is ${response.status}, and not one of a hub`,
    hint: isOfApi ? "syncline help COMMAND tells what it takes" : (problem.hint ?? hintFor(code, problem.path)),
    path: problem.path,
    retryable: response.status === 503,
  });
}
