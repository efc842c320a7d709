/** History: versions of a path, the journal, going back to a point, taking a run back. */
import * as z from "zod";
import type { Principal } from "#access/access.ts";
import { differences } from "#hub/restore.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { ChangeResult, JournalRecord, Point, Version } from "#hub/space.ts";
import { messageOf } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { holding, streamOf } from "#gateway/api/bytes-body.ts";
import { pointAt } from "#gateway/api/point.ts";
import { type AnyRoute, json, route, spaceAt, treeAt } from "#gateway/api/route.ts";
import {
  JOURNAL_JSON,
  PATH_OR_ALL,
  POINT_TEXT,
  RESULT_JSON,
  SEQUENCE,
  SPACE_NAME_TEXT,
  journalJson,
  resultJson,
  whole,
} from "#gateway/api/shapes.ts";

/** Records of one page. */
export const RECORDS_MAX = 1000;
/** Paths that were not restored which one answer names; the rest is counted. */
const RESULTS_SHOWN_MAX = 1000;
/** Entries compared at once for a dry run. */
const PAGE_ROWS = 5000;
const NEWEST = Number.MAX_SAFE_INTEGER;

const BY_NAME = z.object({ space: SPACE_NAME_TEXT });
const LIMIT = whole(1, RECORDS_MAX).default(100);
const COUNTS = z.object({ put: SEQUENCE, removed: SEQUENCE }).meta({ id: "RestoreCounts" });

export const HISTORY_ROUTES: readonly AnyRoute[] = [
  route({
    id: "version.list",
    method: "GET",
    path: "/v1/spaces/{space}/versions/{path...}",
    summary: "Versions of a path, newest first",
    allowed: ({ params, path }) => [{ action: "read", resource: spaceAt(params.space, path) }],
    params: BY_NAME,
    query: z.strictObject({ before: whole(1, NEWEST).optional(), limit: LIMIT }),
    answers: {
      200: {
        description: "A page",
        schema: z.object({
          versions: z.array(JOURNAL_JSON),
          nextBefore: SEQUENCE.optional().describe("Absent: there are no older ones"),
        }),
      },
    },
    async handle({ services, who, params, query, path }) {
      const { before, limit } = query;
      const found = await services.spaces.history(who, params.space, path, before, limit + 1);
      const shown = found.slice(0, limit);
      return json(200, {
        versions: shown.map(journalJson),
        ...(found.length > limit ? { nextBefore: shown.at(-1)!.sequence } : {}),
      });
    },
  }),
  route({
    id: "journal.list",
    method: "GET",
    path: "/v1/spaces/{space}/journal",
    summary: "Committed changes after a sequence, in order",
    allowed: "visible",
    params: BY_NAME,
    query: z.strictObject({ after: whole(0, NEWEST).default(0), limit: LIMIT }),
    answers: {
      200: {
        description: "A page; what the caller may not read is left out",
        schema: z.object({
          records: z.array(JOURNAL_JSON),
          after: SEQUENCE.describe("Ask on from here"),
          sequence: SEQUENCE.describe("Of the last change of the space"),
        }),
      },
    },
    async handle({ services, who, params, query }) {
      const { sequence } = await services.spaces.space(who, params.space);
      const records = await services.spaces.journal(who, params.space, query.after, query.limit);
      return json(200, { records: records.map(journalJson), after: pageEnd(query, sequence), sequence });
    },
  }),
  route({
    id: "journal.export",
    method: "GET",
    path: "/v1/spaces/{space}/journal.ndjson",
    summary: "The journal after a sequence as one stream, a record a line, up to what is committed when it begins",
    allowed: "visible",
    params: BY_NAME,
    query: z.strictObject({ after: whole(0, NEWEST).default(0) }),
    answers: { 200: { description: "The records", media: "application/x-ndjson" } },
    async handle({ services, who, params, query, trace, traffic }) {
      const { sequence } = await services.spaces.space(who, params.space);
      const lines = exportLines(services.spaces, who, params.space, query.after, sequence);
      const stream = streamOf(holding(traffic.download(), lines), (error) =>
        services.log.error("journal export broke off", {
          traceId: trace.traceId,
          error: messageOf(error),
        }),
      );
      return new Response(stream, { headers: { "content-type": "application/x-ndjson" } });
    },
  }),
  route({
    id: "space.restore",
    method: "POST",
    path: "/v1/spaces/{space}/restore",
    summary: "Bring a path and everything below it to the state of a point, as new changes",
    allowed: ({ params, body }) => [
      { action: "restore", resource: treeAt(params.space, body.path) },
      { action: "write", resource: treeAt(params.space, body.path) },
      { action: "read", resource: treeAt(params.space, body.path) },
    ],
    params: BY_NAME,
    body: z.strictObject({
      path: PATH_OR_ALL,
      to: POINT_TEXT,
      dryRun: z.boolean().default(false).describe("Only count"),
      message: z.string().max(1000).optional(),
    }),
    answers: {
      200: {
        description: "What was done, or would be",
        schema: z.object({
          dryRun: z.boolean(),
          counts: COUNTS,
          before: SEQUENCE.optional(),
          after: SEQUENCE.optional(),
          notDone: z.array(RESULT_JSON).describe("Paths that were changed meanwhile, or cannot be brought back"),
          notDoneCount: SEQUENCE,
        }),
      },
    },
    async handle(call) {
      const { services, who, params, body, trace } = call;
      const { space } = params;
      const to = await pointAt(call, space, body.to);
      if (body.dryRun) {
        const counts = await countRestore(services.spaces, who, space, body.path, to);
        return json(200, { dryRun: true, counts, notDone: [], notDoneCount: 0 });
      }
      const request = { cause: "restore", traceId: trace.traceId, message: body.message } as const;
      const outcome = await services.spaces.restore(who, space, body.path, to, request);
      return json(200, { dryRun: false, ...summary(outcome.results), before: outcome.before, after: outcome.after });
    },
  }),
  route({
    id: "space.undo",
    method: "POST",
    path: "/v1/spaces/{space}/undo",
    summary: "Take back what a run changed; what was changed since is left alone and named",
    // Which paths a run touched is known to the journal alone: the service decides on each of them.
    allowed: "visible",
    params: BY_NAME,
    body: z.strictObject({ runId: z.string().min(1).max(100) }),
    answers: {
      200: {
        description: "What was done",
        schema: z.object({ counts: COUNTS, notDone: z.array(RESULT_JSON), notDoneCount: SEQUENCE }),
      },
    },
    async handle({ services, who, params, body, trace }) {
      const results = await services.spaces.undoRun(who, params.space, body.runId, trace.traceId);
      return json(200, summary(results));
    },
  }),
];

/** Sequences have no gaps, so a page ends where it was asked to, however much of it the caller may see. */
function pageEnd(query: { after: number; limit: number }, sequence: number): number {
  return Math.max(query.after, Math.min(query.after + query.limit, sequence));
}

function summary(results: readonly ChangeResult[]) {
  const counts = { put: 0, removed: 0 };
  const notDone: ReturnType<typeof resultJson>[] = [];
  let notDoneCount = 0;
  for (const result of results) {
    if (result.status === "done") {
      if (result.version.entry === undefined) counts.removed++;
      else counts.put++;
    } else if (++notDoneCount <= RESULTS_SHOWN_MAX) notDone.push(resultJson(result));
  }
  return { counts, notDone, notDoneCount };
}

async function* exportLines(
  spaces: SpaceService,
  who: Principal,
  space: string,
  after: number,
  until: number,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  for (let at = after; at < until; at = Math.min(until, at + RECORDS_MAX)) {
    const limit = Math.min(RECORDS_MAX, until - at);
    const records: JournalRecord[] = await spaces.journal(who, space, at, limit);
    if (records.length > 0) {
      yield encoder.encode(records.map((record) => `${JSON.stringify(journalJson(record))}\n`).join(""));
    }
  }
}

async function countRestore(spaces: SpaceService, who: Principal, space: string, below: RelPath, to: Point) {
  const counts = { put: 0, removed: 0 };
  const count = (wanted: Version | undefined): void => {
    if (wanted?.entry === undefined) counts.removed++;
    else counts.put++;
  };
  if (below !== "") {
    const now = await spaces.version(who, space, below);
    const wanted = await spaces.version(who, space, below, to);
    const isThere = now?.entry !== undefined || wanted?.entry !== undefined;
    if (isThere && now?.sequence !== wanted?.sequence) count(wanted);
  }
  const found = differences(walk(spaces, who, space, below, undefined), walk(spaces, who, space, below, to));
  for await (const { wanted } of found) count(wanted);
  return counts;
}

async function* walk(
  spaces: SpaceService,
  who: Principal,
  space: string,
  below: RelPath,
  at: Point | undefined,
): AsyncGenerator<Version> {
  let after: RelPath | undefined;
  for (;;) {
    const page = await spaces.list(who, space, { below, after, shallow: false, limit: PAGE_ROWS, at });
    yield* page;
    if (page.length < PAGE_ROWS) return;
    after = page.at(-1)!.path;
  }
}
