/** Entries: what is at a path and below it, and the changes that move no bytes. */
import * as z from "zod";
import type { Intake } from "#hub/space-service.ts";
import type { SpaceChange, Version } from "#hub/space.ts";
import { DIR_MODE, type Entry } from "#model/entry.ts";
import { type RelPath, decodeName, encodeName, isWithin, pathFault } from "#model/path.ts";
import { commitAll, sequenceExpect } from "#gateway/api/outcome.ts";
import { pointAt } from "#gateway/api/point.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { type AnyRoute, json, route, spaceAt, treeAt } from "#gateway/api/route.ts";
import { notThere } from "#gateway/api/routes-spaces.ts";
import {
  FLAG,
  MODE,
  PATH,
  POINT_TEXT,
  SEQUENCE,
  SPACE_NAME_TEXT,
  VERSION_JSON,
  parseMode,
  versionJson,
  whole,
} from "#gateway/api/shapes.ts";

/** Entries of one page. */
export const ENTRIES_MAX = 10_000;
const ENTRIES_DEFAULT = 1000;
/** Entries that one copy of a directory takes; larger ones are copied directory by directory. */
export const COPY_ENTRIES_MAX = 10_000;

const BY_NAME = z.object({ space: SPACE_NAME_TEXT });
const MESSAGE = z.string().max(1000).optional().describe("Kept in the journal");

/** Where the next page begins; opaque to callers. */
export const cursorOf = (path: RelPath): string => Buffer.from(encodeName(path)).toString("base64url");

/** @throws {ApiProblem} USAGE */
export function readCursor(cursor: string): string {
  const path = decodeName(Buffer.from(cursor, "base64url"));
  if (pathFault(path) === undefined) return path;
  throw new ApiProblem("USAGE", "query.cursor: not one of ours", "leave it out to begin anew");
}

const PAGE = z.object({
  entries: z.array(VERSION_JSON),
  nextCursor: z.string().optional().describe("Absent: this was the last page"),
});

const CHANGED = { description: "Done", schema: VERSION_JSON };

export const ENTRY_ROUTES: readonly AnyRoute[] = [
  route({
    id: "entry.list",
    method: "GET",
    path: "/v1/spaces/{space}/entries",
    summary: "Entries below a path, in byte order, now or at a point",
    allowed: "visible",
    params: BY_NAME,
    query: z.strictObject({
      below: z
        .string()
        .refine((path) => pathFault(path, true) === undefined, "no path that can be used")
        .default("")
        .describe('"" is the whole space'),
      shallow: FLAG.default(false).describe("Direct children only"),
      at: POINT_TEXT.optional(),
      cursor: z.string().min(1).max(8192).optional(),
      limit: whole(1, ENTRIES_MAX).default(ENTRIES_DEFAULT),
    }),
    answers: { 200: { description: "A page", schema: PAGE } },
    async handle(call) {
      const { services, who, params, query } = call;
      const at = query.at === undefined ? undefined : await pointAt(call, params.space, query.at);
      // One more than asked for tells whether there is another page.
      const found = await services.spaces.list(who, params.space, {
        below: query.below,
        after: query.cursor === undefined ? undefined : readCursor(query.cursor),
        shallow: query.shallow,
        limit: Math.min(query.limit + 1, ENTRIES_MAX),
        at,
      });
      const isFull = found.length > query.limit || found.length === ENTRIES_MAX;
      const shown = found.slice(0, query.limit);
      return json(200, {
        entries: shown.map(versionJson),
        ...(isFull ? { nextCursor: cursorOf(shown.at(-1)!.path) } : {}),
      });
    },
  }),
  route({
    id: "entry.get",
    method: "GET",
    path: "/v1/spaces/{space}/entries/{path...}",
    summary: "What is at a path, now or at a point",
    allowed: ({ params, path }) => [{ action: "read", resource: spaceAt(params.space, path) }],
    params: BY_NAME,
    query: z.strictObject({ at: POINT_TEXT.optional() }),
    answers: { 200: { description: "The version", schema: VERSION_JSON } },
    async handle(call) {
      const { services, who, params, query, path } = call;
      const at = query.at === undefined ? undefined : await pointAt(call, params.space, query.at);
      const version = await services.spaces.version(who, params.space, path, at);
      if (version?.entry === undefined) throw notThere(path);
      return json(200, versionJson(version));
    },
  }),
  route({
    id: "entry.mkdir",
    method: "POST",
    path: "/v1/spaces/{space}/mkdir",
    summary: "Make a directory",
    allowed: ({ params, body }) => [{ action: "write", resource: spaceAt(params.space, body.path) }],
    params: BY_NAME,
    body: z.strictObject({
      path: PATH,
      mode: MODE.optional(),
      parents: z.boolean().default(true).describe("Make missing directories above, too"),
      message: MESSAGE,
    }),
    answers: { 201: CHANGED },
    async handle(call) {
      const { params, body } = call;
      const mode = body.mode === undefined ? DIR_MODE : parseMode(body.mode);
      const change: SpaceChange = {
        type: "put",
        path: body.path,
        expect: { kind: "absent" },
        entry: { kind: "dir", mode },
        content: undefined,
        makeParents: body.parents,
      };
      const [done] = await commitAll(call, params.space, [change], body.message, "conflict");
      return json(201, versionJson(done!.version));
    },
  }),
  route({
    id: "entry.move",
    method: "POST",
    path: "/v1/spaces/{space}/move",
    summary: "Move a file or a directory with everything in it; nothing may be at the new place",
    allowed: ({ params, body }) => [
      { action: "read", resource: treeAt(params.space, body.from) },
      { action: "write", resource: treeAt(params.space, body.from) },
      { action: "write", resource: treeAt(params.space, body.to) },
    ],
    params: BY_NAME,
    body: z.strictObject({
      from: PATH,
      to: PATH,
      sequence: SEQUENCE.optional().describe("Only if this is the version that is moved"),
      message: MESSAGE,
    }),
    answers: { 200: CHANGED },
    async handle(call) {
      const { params, body } = call;
      const expect = sequenceExpect(body.sequence) ?? { kind: "present" };
      const change: SpaceChange = { type: "move", from: body.from, to: body.to, expect };
      const [done] = await commitAll(call, params.space, [change], body.message, "conflict");
      return json(200, versionJson(done!.version));
    },
  }),
  route({
    id: "entry.copy",
    method: "POST",
    path: "/v1/spaces/{space}/copy",
    summary: "Copy a file or a directory, as it is or was; no bytes are moved, nothing may be at the new place",
    allowed: ({ params, body }) => [
      { action: "read", resource: treeAt(params.space, body.from) },
      { action: "write", resource: treeAt(params.space, body.to) },
    ],
    params: BY_NAME,
    body: z.strictObject({ from: PATH, to: PATH, at: POINT_TEXT.optional(), message: MESSAGE }),
    answers: {
      201: { description: "Done", schema: z.object({ version: VERSION_JSON, entries: z.int() }) },
    },
    async handle(call) {
      const { services, who, params, body } = call;
      const { space } = params;
      if (isWithin(body.to, body.from)) throw new ApiProblem("NAME", "a directory cannot be copied into itself");
      const at = body.at === undefined ? undefined : await pointAt(call, space, body.at);
      const top = await services.spaces.version(who, space, body.from, at);
      if (top?.entry === undefined) throw notThere(body.from);
      const limit = COPY_ENTRIES_MAX;
      const request = { below: body.from, after: undefined, shallow: false, limit, at };
      const inside = top.entry.kind === "dir" ? await services.spaces.list(who, space, request) : [];
      if (inside.length >= COPY_ENTRIES_MAX) {
        throw new ApiProblem(
          "LIMIT",
          `more than ${COPY_ENTRIES_MAX} entries are below ${body.from}`,
          "copy the directories in it one by one",
        );
      }
      await using intake = services.spaces.intake(who, space);
      const changes: SpaceChange[] = [];
      for (const version of [top, ...inside]) changes.push(await copied(version, body.from, body.to, intake));
      const [done] = await commitAll(call, space, changes, body.message, "conflict", intake);
      return json(201, { version: versionJson(done!.version), entries: changes.length });
    },
  }),
];

/** A copy is a file of its own, also where the original has other names. */
export function entryOfCopy(entry: Entry): Entry {
  if (entry.kind !== "file" || entry.linkTo === undefined) return entry;
  const { linkTo: _linkTo, ...own } = entry;
  return own;
}

/** Its content is held, so that the old version may go meanwhile. */
async function copied(version: Version, from: string, to: string, intake: Intake): Promise<SpaceChange> {
  const path = to + version.path.slice(from.length);
  const isHeld = version.content !== undefined && (await intake.hold(version.content));
  if (version.entry!.kind === "file" && !isHeld) {
    throw new ApiProblem("CHUNK_MISSING", "retention has dropped the bytes of this version", undefined, {
      path: version.path,
    });
  }
  return {
    type: "put",
    path,
    expect: { kind: "absent" },
    entry: entryOfCopy(version.entry!),
    content: version.content,
    attributes: version.attributes,
    makeParents: path === to,
  };
}
