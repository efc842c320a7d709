/** A directory of a space as one file. */
import * as z from "zod";
import { messageOf } from "#model/error.ts";
import { ARCHIVE_FORMATS, type Archive, archiveOf } from "#gateway/archive/archive.ts";
import { holding, streamOf } from "#gateway/api/bytes-body.ts";
import { dispositionOf } from "#gateway/api/content-bytes.ts";
import { type AnyRoute, type Call, route, treeAt } from "#gateway/api/route.ts";
import { SPACE_NAME_TEXT } from "#gateway/api/shapes.ts";
import type { Flow } from "#gateway/api/traffic.ts";

const BY_NAME = z.object({ space: SPACE_NAME_TEXT });
const QUERY = z.strictObject({ format: z.enum(ARCHIVE_FORMATS).default("zip") });
const ANSWERS = { 200: { description: "The archive, made while it is sent", media: "application/octet-stream" } };

type Ask = Call<z.infer<typeof BY_NAME>, z.infer<typeof QUERY>, undefined>;

export const ARCHIVE_ROUTES: readonly AnyRoute[] = [
  route({
    id: "archive.space",
    method: "GET",
    path: "/v1/spaces/{space}/archive",
    summary: "All of a space as zip or tar, as it is when it is asked for",
    allowed: ({ params }) => [{ action: "read", resource: treeAt(params.space, "") }],
    params: BY_NAME,
    query: QUERY,
    answers: ANSWERS,
    handle: getArchive,
  }),
  route({
    id: "archive.get",
    method: "GET",
    path: "/v1/spaces/{space}/archive/{path...}",
    summary: "A directory, or a file, as zip or tar; symlinks are in it as such",
    allowed: ({ params, path }) => [{ action: "read", resource: treeAt(params.space, path) }],
    params: BY_NAME,
    query: QUERY,
    answers: ANSWERS,
    handle: getArchive,
  }),
];

async function getArchive(call: Ask): Promise<Response> {
  const { services, who, params, query, path } = call;
  const archive = await archiveOf(services.spaces, who, params.space, path, query.format);
  if (call.request.method === "HEAD") return new Response(null, { headers: headersOf(archive) });
  return sendArchive(archive, call.traffic, (error) =>
    services.log.error("archive broke off", {
      traceId: call.trace.traceId,
      error: messageOf(error),
    }),
  );
}

const headersOf = ({ name, type }: Archive): Record<string, string> => ({
  "content-type": type,
  "content-disposition": dispositionOf(name, "attachment"),
  "cache-control": "private, no-cache",
});

/**
 * Sends it as the client takes it; nothing is read any more when the client has gone.
 * @throws {ApiProblem} BUSY
 */
export function sendArchive(archive: Archive, traffic: Flow, onError: (error: unknown) => void): Response {
  const place = traffic.download();
  const counted = async function* (): AsyncGenerator<Uint8Array> {
    for await (const piece of archive.pieces) {
      traffic.count("out", piece.length);
      yield piece;
    }
  };
  return new Response(streamOf(holding(place, counted()), onError), { headers: headersOf(archive) });
}
