/**
 * The public door of shares: /s/SECRET. Whoever has the address is nobody in particular; what they do is done as the
 * share's maker, within what the share lets happen. Browsers get a page, programs get JSON and bytes. Content is always
 * handed out to be saved, never to be shown as a page of this hub.
 */
import type { Principal } from "#access/access.ts";
import type { Actor } from "#access/audit.ts";
import { requireReadable } from "#hub/encrypted-content.ts";
import { type Share, isOver, isUsedUp, mayDownload, mayUpload } from "#hub/shares/share.ts";
import type { SpaceChange, Version } from "#hub/space.ts";
import { FILE_MODE } from "#model/entry.ts";
import { SynclineError, messageOf } from "#model/error.ts";
import { type RelPath, NAME_BYTES_MAX, decodeName, encodeName, joinPath, nameOf, pathFault, shorten } from "#model/path.ts";
import { ARCHIVE_FORMATS, type ArchiveFormat, archiveOf } from "#gateway/archive/archive.ts";
import { parseRanges, rangeApplies, readCondition } from "#gateway/api/conditions.ts";
import { sendVersion, storeBody } from "#gateway/api/content-bytes.ts";
import { commitAll } from "#gateway/api/outcome.ts";
import { ApiProblem, problemOf } from "#gateway/api/problem.ts";
import { type ApiServices, json } from "#gateway/api/route.ts";
import { sendArchive } from "#gateway/api/routes-archive.ts";
import { fileTimeText, parseFileTime } from "#gateway/api/shapes.ts";
import type { Trace } from "#gateway/api/trace.ts";
import { traceparentOf } from "#platform/trace-id.ts";
import { decodeUrlPath, parseQuery, percentDecode, splitUrl } from "#gateway/api/url-path.ts";
import { type FrontRow, isAtOrBelow } from "#gateway/front.ts";
import { FIXED_HEADERS } from "#gateway/http-work.ts";
import { Credits, type Taken } from "#gateway/shares/credits.ts";
import { PAGE_POLICY, passwordPage, sharePage, wordsPage } from "#gateway/shares/page.ts";
import { SHARE_SCRIPT, SHARE_STYLE } from "#gateway/shares/page-assets.ts";
import { ShareFlows } from "#gateway/shares/share-flow.ts";
import { ShareKeys } from "#gateway/shares/share-keys.ts";
import { boundedBody } from "#gateway/bounded-body.ts";
import { isTrouble, troubleText } from "#gateway/trouble.ts";

const PREFIX = "/s";
/** Entries of one page. */
const PAGE_ENTRIES = 1000;
/** Names that are tried for a file whose name is taken. */
const NAMES_MAX = 100;
const ALLOW = "GET, HEAD, PUT, POST";

export type ShareServices = Pick<
  ApiServices,
  "spaces" | "access" | "shares" | "clock" | "random" | "log" | "publicUrl" | "work" | "traffic"
>;

/** One request for something of a share that is open. */
type Use = {
  readonly request: Request;
  readonly headers: Headers;
  readonly share: Share;
  readonly who: Principal;
  readonly secret: string;
  /** "/s/SECRET". */
  readonly root: string;
  /** Names below the share's path. */
  readonly names: readonly string[];
  readonly query: Readonly<Record<string, string>>;
  readonly address: string;
  readonly trace: Trace;
  readonly by: Actor & { readonly address: string };
};

export class ShareDoor {
  readonly #services: ShareServices;
  readonly #credits: Credits;
  readonly #flows: ShareFlows;
  readonly #keys: ShareKeys;

  constructor(services: ShareServices) {
    this.#services = services;
    this.#credits = new Credits(services.clock);
    this.#keys = new ShareKeys(services.access, services.clock);
    this.#flows = new ShareFlows(services.shares, services.traffic, (error) =>
      services.log.error("share not counted", { error: messageOf(error) }),
    );
  }

  /** Its row of the main listener's front. */
  get row(): FrontRow {
    return {
      takes: (path) => isAtOrBelow(path, PREFIX),
      handle: (request, address) =>
        this.#services.work.answer(
          request,
          (trace) => this.#measured(request, address, trace),
          (error, trace) => this.#refuse(request, trace, error),
        ),
    };
  }

  #measured(request: Request, address: string, trace: Trace): Promise<Response> {
    const { method } = request;
    const isKnown = ALLOW.includes(method);
    const name = { id: `share.${isKnown ? method.toLowerCase() : "other"}`, method, path: `${PREFIX}/{secret}/{path...}` };
    return this.#services.work.measured(
      request,
      trace,
      name,
      () => this.#answer(request, address, trace),
      (error) => this.#refuse(request, trace, error),
    );
  }

  async #answer(request: Request, address: string, trace: Trace): Promise<Response> {
    const { path, search } = splitUrl(request.url);
    const [, , secret = "", ...rest] = path.split("/");
    if (secret === "-") return asset(rest.join("/"));
    if (!ALLOW.split(", ").includes(request.method)) {
      throw new ApiProblem("METHOD", `this address takes ${ALLOW}`, undefined, {}, { allow: ALLOW });
    }
    const shown = percentDecode(secret);
    const open = await this.#services.shares.open(shown);
    if (open === undefined) throw nowhere();
    const names = rest.filter((segment, at) => segment !== "" || at < rest.length - 1);
    const below = names.length === 0 ? "" : decodeUrlPath(names.join("/"));
    const by = { id: `share:${open.share.id}`, address, traceId: trace.traceId };
    const use: Use = {
      ...open,
      secret: shown,
      request,
      headers: request.headers,
      root: `${PREFIX}/${secret}`,
      names: below === "" ? [] : below.split("/"),
      query: parseQuery(search),
      address,
      trace,
      by,
    };
    if (request.method === "POST") return this.#unlock(use, path);
    if (!(await this.#isUnlocked(use))) return this.#askPassword(use, path, 401, undefined);
    return closed(request.method === "PUT" ? await this.#put(use) : await this.#get(use));
  }

  // ---------------------------------------------------------------- the password

  async #isUnlocked({ share, headers, by }: Use): Promise<boolean> {
    if (share.password === undefined || this.#keys.opens(share, headers, this.#isSecure)) return true;
    const pair = /^Basic +([A-Za-z0-9+/=]{1,2000})$/i.exec(headers.get("authorization") ?? "")?.[1];
    if (pair === undefined) return false;
    const text = Buffer.from(pair, "base64").toString("utf8");
    await this.#services.shares.checkPassword(share, text.slice(text.indexOf(":") + 1), by);
    return true;
  }

  get #isSecure(): boolean {
    return this.#services.publicUrl().startsWith("https:");
  }

  /** What the form of the page sends. */
  async #unlock(use: Use, path: string): Promise<Response> {
    const { share, request } = use;
    const given = await passwordIn(request);
    try {
      await this.#services.shares.checkPassword(share, given, use.by);
    } catch (error) {
      if (!(error instanceof SynclineError) || error.code !== "AUTH") throw error;
      const { message, hint, retryable } = error;
      return this.#askPassword(use, path, retryable ? 429 : 401, retryable ? `${message}: ${hint}` : message);
    }
    const headers = { location: path, "set-cookie": this.#keys.cookie(share, use.root, this.#isSecure) };
    return closed(new Response(null, { status: 303, headers }));
  }

  #askPassword({ headers }: Use, path: string, status: number, trouble: string | undefined): Response {
    if (wantsPage(headers)) return page(passwordPage(path, trouble), status);
    const challenge = { "www-authenticate": 'Basic realm="share", charset="UTF-8"' };
    const hint = "send it as the password of Basic authentication, with any user name";
    const error = new ApiProblem("AUTH", "this share has a password", hint);
    const { headers: more, ...problem } = problemOf(error);
    return closed(new Response(JSON.stringify(problem), { status, headers: { "content-type": PROBLEM, ...more, ...challenge } }));
  }

  // ---------------------------------------------------------------- reading

  async #get(use: Use): Promise<Response> {
    const { share, who, names, query, headers } = use;
    const path = [share.path, ...names].filter((part) => part !== "").join("/");
    if (!mayDownload(share)) {
      if (names.length > 0) throw nowhere();
      return this.#tell(use, path, undefined, [], undefined);
    }
    const version = path === "" ? undefined : await this.#services.spaces.version(who, share.space, path);
    const kind = path === "" ? "dir" : version?.entry?.kind;
    if (kind !== "dir" && kind !== "file") throw nowhere();
    if (query["archive"] !== undefined) return this.#archive(use, path);
    if (kind === "dir") return this.#list(use, path);
    // Below a directory a file is itself, and so it is to programs; people get to see first what they are given.
    const isAsked = names.length > 0 || query["download"] !== undefined || !(wantsPage(headers) || wantsJson(headers));
    return isAsked ? this.#download(use, version!) : this.#tell(use, path, version, [], undefined);
  }

  async #list(use: Use, path: RelPath): Promise<Response> {
    const { share, who, query } = use;
    const request = { below: path, after: afterOf(query["after"], path), shallow: true, limit: PAGE_ENTRIES, at: undefined };
    const found = await this.#services.spaces.list(who, share.space, request);
    const more = found.length < PAGE_ENTRIES ? undefined : Buffer.from(encodeName(nameOf(found.at(-1)!.path))).toString("base64url");
    const shown = found.filter(({ entry }) => entry?.kind === "file" || entry?.kind === "dir");
    return this.#tell(use, path, undefined, shown, more);
  }

  #tell(use: Use, path: RelPath, file: Version | undefined, entries: readonly Version[], more: string | undefined): Response {
    const { share, root, names, headers } = use;
    const title = share.path === "" ? share.space : nameOf(share.path);
    if (wantsPage(headers)) {
      const shown = { share, root, names, title, file, entries, more, isUsedUp: isUsedUp(share) };
      return page(sharePage(shown), isUsedUp(share) && !mayUpload(share) ? 410 : 200);
    }
    const told = {
      name: path === "" ? share.space : nameOf(path),
      kind: file === undefined ? "dir" : "file",
      allows: share.kind,
      ...(share.note === "" ? {} : { note: share.note }),
      ...(share.expiresMs === undefined ? {} : { expires: new Date(share.expiresMs).toISOString() }),
      ...(share.downloadsMax === undefined ? {} : { downloadsLeft: Math.max(0, share.downloadsMax - share.downloads) }),
      ...(file === undefined ? {} : described(file)),
      ...(file === undefined && mayDownload(share) ? { entries: entries.map(named) } : {}),
      ...(more === undefined ? {} : { next: more }),
    };
    return json(isUsedUp(share) && !mayUpload(share) ? 410 : 200, told, { "cache-control": "no-store" });
  }

  async #download(use: Use, version: Version): Promise<Response> {
    const { share, who, request, headers, trace, by } = use;
    // Before it counts as a download.
    requireReadable(version);
    const isSent = request.method === "GET" && readCondition(headers, version) === "send";
    const taken = isSent ? await this.#counted(use, version) : undefined;
    const flow = this.#flows.open(share, (bytes) => taken?.sent(bytes));
    try {
      const { services, space } = { services: this.#services, space: share.space };
      return await sendVersion({ services, who, request, headers, trace, traffic: flow, space }, version, "attachment");
    } catch (error) {
      if (taken?.forget() === true) await this.#services.shares.notBegun(share, version.path, by);
      throw error;
    } finally {
      flow.settle();
    }
  }

  /** @throws {SynclineError} when there were all downloads */
  async #counted({ share, headers, address, by }: Use, version: Version): Promise<Taken> {
    const size = version.entry?.kind === "file" ? version.entry.size : 0;
    const content = version.content?.id ?? "";
    const ranges = rangeApplies(headers, version) ? parseRanges(headers.get("range"), size) : undefined;
    const bytes = ranges === undefined ? size : ranges.reduce((sum, { start, end }) => sum + end - start, 0);
    // Programs ask for several ranges at once: that is one download, whose first range is still being counted.
    if (ranges !== undefined) await this.#credits.counted(share.id, address, content);
    const going = ranges === undefined ? undefined : this.#credits.continue(share.id, address, content, bytes);
    return going ?? this.#credits.count(share.id, address, content, size, bytes, () => this.#countOne(share, version.path, by));
  }

  async #countOne(share: Share, path: RelPath, by: Actor): Promise<void> {
    if (await this.#services.shares.download(share, path, by)) return;
    throw new SynclineError({ code: "CHUNK_MISSING", op: "download", message: "it has been downloaded as often as it may be" });
  }

  async #archive(use: Use, path: RelPath): Promise<Response> {
    const { share, who, query, request, by, trace } = use;
    const format = query["archive"] as ArchiveFormat;
    if (!ARCHIVE_FORMATS.includes(format)) throw new ApiProblem("USAGE", "an archive is zip or tar");
    const archive = await archiveOf(this.#services.spaces, who, share.space, path, format);
    if (request.method === "HEAD") return new Response(null, { headers: { "content-type": archive.type } });
    const flow = this.#flows.open(share, () => undefined);
    await this.#countOne(share, path, by);
    const onError = (error: unknown): void =>
      this.#services.log.error("archive broke off", { traceId: trace.traceId, error: messageOf(error) });
    try {
      return sendArchive(archive, flow, onError);
    } catch (error) {
      await this.#services.shares.notBegun(share, path, by);
      throw error;
    }
  }

  // ---------------------------------------------------------------- uploading

  /** Never over something that is there: whose name is taken gets another. */
  async #put(use: Use): Promise<Response> {
    const { share, who, names, headers, request, by } = use;
    if (!mayUpload(share)) throw new ApiProblem("METHOD", "nothing can be put here", undefined, {}, { allow: "GET, HEAD" });
    if (names.length === 0) throw new ApiProblem("USAGE", "give the file a name: PUT /s/SECRET/NAME");
    if (headers.has("content-range")) throw new ApiProblem("USAGE", "a file is put as a whole");
    const mtime = headers.get("x-syncline-mtime");
    const mtimeNs = mtime === null ? BigInt(this.#services.clock.nowMs()) * 1_000_000n : parseFileTime(mtime);
    await using intake = this.#services.spaces.intake(who, share.space);
    const flow = this.#flows.open(share, () => undefined);
    const { content, sum } = await storeBody({ who, request, headers, traffic: flow, space: share.space }, intake);
    const renew = (): Promise<Principal> => this.#stillBy(use);
    const message = `through share ${share.id}${share.note === "" ? "" : `: ${share.note}`}`;
    for (let at = 1; at <= NAMES_MAX; at++) {
      const name = [...names.slice(0, -1), numbered(names.at(-1)!, at)].join("/");
      const path = joinPath(share.path, name);
      if (pathFault(path) !== undefined) throw new ApiProblem("NAME", "this name cannot be used");
      const entry = { kind: "file", size: content.size, mode: FILE_MODE, mtimeNs, sum } as const;
      const change: SpaceChange = { type: "put", path, expect: { kind: "absent" }, entry, content, makeParents: true };
      try {
        await commitAll({ services: this.#services, renew, trace: use.trace }, share.space, [change], message, "conflict", intake);
      } catch (error) {
        if (error instanceof ApiProblem && error.code === "EXISTS") continue;
        throw withoutPath(error);
      }
      await this.#services.shares.uploaded(share, path, content.size, by);
      return json(201, { name, size: content.size });
    }
    throw new ApiProblem("EXISTS", "too many files have this name", "give it another one");
  }

  /** For whom bytes are stored that may have come for long; a share whose time has ended meanwhile takes them still. */
  async #stillBy({ secret, share, who }: Use): Promise<Principal> {
    const open = await this.#services.shares.open(secret);
    if (open === undefined && !isOver(share, this.#services.clock.nowMs())) throw nowhere();
    return open?.who ?? who;
  }

  // ---------------------------------------------------------------- refusing

  #refuse(request: Request, trace: Trace, error: unknown): Response {
    const shown = error instanceof SynclineError && (error.code === "DENIED" || error.code === "SPACE_UNKNOWN") ? nowhere() : error;
    const { headers, path: _path, hint, ...problem } = problemOf(shown);
    if (isTrouble(problem.status, problem.code)) {
      this.#services.log.error("request failed", { traceId: trace.traceId, route: "share", code: problem.code, error: troubleText(error) });
    }
    const traceHeaders = { ...Object.fromEntries(FIXED_HEADERS), traceparent: traceparentOf(trace) };
    if (wantsPage(request.headers) && request.method !== "PUT") {
      const answer = page(wordsPage(problem.title, problem.detail), problem.status);
      for (const [name, value] of Object.entries({ ...headers, traceparent: traceparentOf(trace) })) answer.headers.set(name, value);
      return answer;
    }
    const body = JSON.stringify({ ...problem, ...(hint === undefined ? {} : { hint }), traceId: trace.traceId });
    return closed(new Response(body, { status: problem.status, headers: { "content-type": PROBLEM, ...traceHeaders, ...headers } }));
  }
}

const PROBLEM = "application/problem+json";

/** The same for an address that never was, and for one that is dead for whatever reason. */
const nowhere = (): SynclineError =>
  new SynclineError({ code: "NOT_FOUND", op: "open share", message: "this address leads nowhere, or does not any more" });

/** Where in the space it is, is not for who has an address. */
function withoutPath(error: unknown): unknown {
  if (error instanceof ApiProblem && error.code === "QUOTA") return new ApiProblem("QUOTA", "there is no room for it");
  if (error instanceof ApiProblem) return new ApiProblem(error.code, error.message.replace(/"[^"]*"/g, "something"));
  return error;
}

const wantsPage = (headers: Headers): boolean => /\btext\/html\b/i.test(headers.get("accept") ?? "");
const wantsJson = (headers: Headers): boolean => /\bapplication\/json\b/i.test(headers.get("accept") ?? "");

/** The address is a secret: it goes to no other site, into no search engine, and into no cache. */
function closed(response: Response): Response {
  response.headers.set("referrer-policy", "no-referrer");
  response.headers.set("x-robots-tag", "noindex");
  return response;
}

function page(html: string, status: number): Response {
  const type = { "content-type": "text/html; charset=utf-8", "x-content-type-options": "nosniff" };
  const headers = { ...type, "cache-control": "no-store", "content-security-policy": PAGE_POLICY };
  return closed(new Response(html, { status, headers }));
}

function asset(name: string): Response {
  const cached = { "cache-control": "public, max-age=3600" };
  const text = name === "share.css" ? SHARE_STYLE : name === "share.js" ? SHARE_SCRIPT : undefined;
  if (text === undefined) throw nowhere();
  const type = name.endsWith(".css") ? "text/css" : "text/javascript";
  return new Response(text, { headers: { "content-type": `${type}; charset=utf-8`, ...cached } });
}

const named = (version: Version): Record<string, unknown> => ({ name: nameOf(version.path), ...described(version) });

function described(version: Version): Record<string, unknown> {
  const { entry, content } = version;
  if (entry?.kind !== "file") return { kind: "dir" };
  const etag = content === undefined ? {} : { etag: `"${content.id}"` };
  return { kind: "file", size: entry.size, mtime: fileTimeText(entry.mtimeNs), ...etag };
}

function afterOf(cursor: string | undefined, path: RelPath): RelPath | undefined {
  if (cursor === undefined) return undefined;
  const after = joinPath(path, decodeName(Buffer.from(cursor, "base64url")));
  if (pathFault(after) !== undefined) throw new ApiProblem("USAGE", "after: not one of ours");
  return after;
}

/** "a.txt", "a (2).txt"; shortened where a name would be longer than a disk takes. */
function numbered(name: string, at: number): string {
  if (at === 1) return name;
  const number = ` (${at})`;
  const room = NAME_BYTES_MAX - number.length;
  const dot = name.lastIndexOf(".");
  const bytesOf = (text: string): number => encodeName(text).length;
  // An ending that leaves no room for the rest says nothing of what the file is.
  const ending = dot > 0 && bytesOf(name.slice(dot)) <= room / 2 ? name.slice(dot) : "";
  const stem = name.slice(0, name.length - ending.length);
  return shorten(stem, room - bytesOf(ending)) + number + ending;
}

/** Bytes of the password form. */
const FORM_BYTES_MAX = 8 << 10;

async function passwordIn(request: Request): Promise<string> {
  const tooLong = (): ApiProblem => new ApiProblem("LIMIT", "the form is too long");
  const bytes = await boundedBody(request.body, FORM_BYTES_MAX, tooLong);
  return new URLSearchParams(bytes.toString("utf8")).get("password") ?? "";
}
