/** Methods that change nothing: OPTIONS, PROPFIND, GET, HEAD. */
import type { Space, Version } from "#hub/space.ts";
import { messageOf } from "#model/error.ts";
import { nameOf, printablePath } from "#model/path.ts";
import { holding, streamOf } from "#gateway/api/bytes-body.ts";
import { sendVersion } from "#gateway/api/content-bytes.ts";
import { DavProblem, MULTI_STATUS_HEAD, MULTI_STATUS_TAIL, XML_TYPE } from "#gateway/dav/answer.ts";
import { type DavCall, type Resource, depthOf, existing, isShown, readXml } from "#gateway/dav/call.ts";
import { type PropContext, type PropRequest, propRequestOf, propResponse } from "#gateway/dav/properties.ts";

/** Entries that are read at once for a listing. */
const PAGE_ENTRIES = 1000;
/** A listing of everything below a collection has fewer entries than this; larger ones are asked for level by level. */
export const INFINITE_ENTRIES_MAX = 10_000;
/** Names that a collection shows to who reads it as if it was a file. */
const SHOWN_NAMES_MAX = 1000;

/** PROPFIND: what is told is read page by page, and read on only as the client takes it. */
export async function propFind(call: DavCall): Promise<Response> {
  const request = propRequestOf(await readXml(call));
  const depth = depthOf(call, "infinity");
  const resource = await existing(call);
  const { headers, traffic, services, trace } = call;
  const isMinimal = /\breturn=minimal\b/i.test(headers.get("prefer") ?? "") || headers.get("brief")?.trim() === "t";
  const isPaged = depth !== 0 && resource.isCollection;
  if (depth === "infinity") await requireFinite(call, resource);
  const pieces = responses(call, resource, depth !== 0, depth === "infinity", request, isMinimal);
  const answer = { status: 207, headers: { "content-type": XML_TYPE, "cache-control": "no-cache" } };
  if (!isPaged) {
    let text = "";
    for await (const piece of pieces) text += piece;
    return new Response(text, answer);
  }
  const encoder = new TextEncoder();
  const encoded = async function* (): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) yield encoder.encode(piece);
  };
  const body = streamOf(holding(traffic.download(), encoded()), (error) =>
    services.log.error("listing broke off", { traceId: trace.traceId, error: messageOf(error) }),
  );
  return new Response(body, answer);
}

async function requireFinite(call: DavCall, { place }: Resource): Promise<void> {
  const tooMany = (): DavProblem =>
    new DavProblem(403, "there is too much below this collection; list it level by level", "<D:propfind-finite-depth/>");
  if (place === undefined) throw tooMany();
  const { services, who } = call;
  const request = { below: place.path, after: undefined, shallow: false, limit: INFINITE_ENTRIES_MAX, at: undefined };
  if ((await services.spaces.list(who, place.space, request)).length >= INFINITE_ENTRIES_MAX) throw tooMany();
}

async function* responses(
  call: DavCall,
  resource: Resource,
  withInside: boolean,
  isDeep: boolean,
  request: PropRequest,
  isMinimal: boolean,
): AsyncGenerator<string> {
  const { place, space } = resource;
  const context: PropContext = { call, locks: space === undefined ? [] : await call.locks.ofSpace(space.id) };
  yield MULTI_STATUS_HEAD + (await propResponse(resource, request, context, isMinimal));
  if (withInside && resource.isCollection) {
    const inside = place === undefined ? spacesIn(call) : entriesIn(call, space!, place.path, isDeep);
    for await (const page of inside) {
      let text = "";
      for (const one of page) text += await propResponse(one, request, context, isMinimal);
      yield text;
    }
  }
  yield MULTI_STATUS_TAIL;
}

async function* spacesIn({ services, who }: DavCall): AsyncGenerator<Resource[]> {
  const spaces = await services.spaces.spaces(who);
  yield spaces.map((space) => ({ place: { space: space.name, path: "" }, space, version: undefined, isCollection: true }));
}

async function* entriesIn(call: DavCall, space: Space, below: string, isDeep: boolean): AsyncGenerator<Resource[]> {
  const { services, who } = call;
  for (let after: string | undefined; ; ) {
    const request = { below, after, shallow: !isDeep, limit: PAGE_ENTRIES, at: undefined };
    const page: Version[] = await services.spaces.list(who, space.name, request);
    yield page.filter(isShown).map((version) => ({
      place: { space: space.name, path: version.path },
      space,
      version,
      isCollection: version.entry?.kind === "dir",
    }));
    if (page.length < PAGE_ENTRIES) return;
    after = page.at(-1)!.path;
  }
}

/** GET and HEAD. A collection has no content; its names are shown to people who come with a browser. */
export async function get(call: DavCall): Promise<Response> {
  const resource = await existing(call);
  const { place, version } = resource;
  if (!resource.isCollection) return sendVersion({ ...call, space: place!.space }, version!, "inline");
  if (call.request.method === "HEAD") return new Response(null, { headers: { "content-type": TEXT_TYPE } });
  const names = await namesIn(call, resource);
  const more = names.length > SHOWN_NAMES_MAX ? "…\n" : "";
  const text = names.slice(0, SHOWN_NAMES_MAX).map((name) => `${name}\n`).join("") + more;
  return new Response(text, { headers: { "content-type": TEXT_TYPE, "cache-control": "no-cache" } });
}

const TEXT_TYPE = "text/plain; charset=utf-8";

async function namesIn({ services, who }: DavCall, { place }: Resource): Promise<string[]> {
  if (place === undefined) return (await services.spaces.spaces(who)).map(({ name }) => `${name}/`);
  const request = { below: place.path, after: undefined, shallow: true, limit: SHOWN_NAMES_MAX + 1, at: undefined };
  const found = await services.spaces.list(who, place.space, request);
  return found.filter(isShown).map(({ path, entry }) => printablePath(nameOf(path)) + (entry?.kind === "dir" ? "/" : ""));
}

