/** Conflicts: losers that lie beside their winners in a space, those that links have left open, and deciding about them. */
import * as z from "zod";
import { KEEPS, LEFT_CONFLICT, LEFT_TAG } from "#hub/agents/left-conflicts.ts";
import { CONFLICTS_MAX, type SpaceConflict } from "#hub/space-conflicts.ts";
import { conflictCopyOf } from "#model/conflict-copy.ts";
import { allDone } from "#gateway/api/outcome.ts";
import { type AnyRoute, type Wanted, actorOf, json, nothing, route, treeAt } from "#gateway/api/route.ts";
import { cursorOf, readCursor } from "#gateway/api/routes-entries.ts";
import { PATH, PATH_OR_ALL, SEQUENCE, SPACE_NAME_TEXT, VERSION_JSON, versionJson, whole } from "#gateway/api/shapes.ts";

const BY_NAME = z.object({ space: SPACE_NAME_TEXT });
const NAME = z.string().min(1).max(255);

const CONFLICT = z
  .object({
    path: z.string().nullable().describe("Where the winner is, or was; null: the copy's name is too long to say"),
    copy: VERSION_JSON.describe("The loser"),
    current: VERSION_JSON.optional().describe("What is at the path now; absent: nothing, or not to be read"),
    lost: z
      .object({ sequence: SEQUENCE, time: z.iso.datetime(), actor: z.string(), host: z.string().optional() })
      .describe("The change that made what the copy holds"),
  })
  .meta({ id: "Conflict" });

const LEFT = z
  .object({
    link: z.string(),
    host: z.string(),
    path: z.string().describe("In the space"),
    ...LEFT_CONFLICT.pick({ reason: true, tag: true }).shape,
    onHost: LEFT_CONFLICT.shape.host.describe("null: nothing is there"),
    inSpace: LEFT_CONFLICT.shape.space,
  })
  .meta({ id: "LeftConflict" });

const UNANSWERED = z.object({ link: z.string(), host: z.string(), conflicts: z.int(), reason: z.string() });

export type ConflictJson = z.infer<typeof CONFLICT>;
export type LeftConflictJson = z.infer<typeof LEFT>;
export type UnansweredJson = z.infer<typeof UNANSWERED>;

const PAGE = z.object({
  conflicts: z.array(CONFLICT),
  sequence: SEQUENCE.describe("Of the space: with it a decision says what was seen"),
  nextCursor: z.string().optional().describe("Absent: this was the last page"),
  left: z.array(LEFT).describe("On the first page: those that links have left open, asked of their agents now"),
  unanswered: z.array(UNANSWERED).describe("Links that have some, and could not be asked"),
});

function conflictJson({ path, copy, current, lost }: SpaceConflict): ConflictJson {
  const { sequence, timeMs, origin } = lost;
  return {
    path: path ?? null,
    copy: versionJson(copy),
    ...(current === undefined ? {} : { current: versionJson(current) }),
    lost: {
      sequence,
      time: new Date(timeMs).toISOString(),
      actor: origin.actor,
      ...(origin.host === undefined ? {} : { host: origin.host }),
    },
  };
}

export const CONFLICT_ROUTES: readonly AnyRoute[] = [
  route({
    id: "conflict.list",
    method: "GET",
    path: "/v1/spaces/{space}/conflicts",
    summary: "Conflicts of a space that the caller may read: copies that lie beside their winners, and those that links left open",
    allowed: "visible",
    params: BY_NAME,
    query: z.strictObject({
      below: PATH_OR_ALL.default(""),
      cursor: z.string().min(1).max(8192).optional(),
      limit: whole(1, CONFLICTS_MAX).default(100),
    }),
    answers: { 200: { description: "A page; one may be empty where the caller may read only parts", schema: PAGE } },
    async handle({ services, who, params, query }) {
      const { below, cursor, limit } = query;
      const after = cursor === undefined ? undefined : readCursor(cursor);
      const { conflicts, next, sequence } = await services.spaces.conflicts(who, params.space, { below, after, limit });
      const none = { left: [], unanswered: [] };
      const { left, unanswered } = after === undefined ? await services.agents.leftConflicts(who, params.space, below) : none;
      return json(200, {
        conflicts: conflicts.map(conflictJson),
        sequence,
        ...(next === undefined ? {} : { nextCursor: cursorOf(next) }),
        left: left.map(({ link, host, path, conflict }) => {
          const { reason, tag, host: onHost, space: inSpace } = conflict;
          return { link, host, path, reason, tag, onHost, inSpace };
        }),
        unanswered,
      });
    },
  }),
  route({
    id: "conflict.resolve",
    method: "POST",
    path: "/v1/spaces/{space}/conflicts/resolve",
    summary: "Decide about a conflict copy: keep what is there, let the copy take its place, or give the copy a name of its own",
    allowed: ({ params, body }) => {
      const of = conflictCopyOf(body.copy)?.of;
      const paths = [body.copy, ...(of === undefined ? [] : [of]), ...(body.as === undefined ? [] : [body.as])];
      return paths.flatMap((path): Wanted[] => [
        { action: "read", resource: treeAt(params.space, path) },
        { action: "write", resource: treeAt(params.space, path) },
      ]);
    },
    params: BY_NAME,
    body: z.strictObject({
      copy: PATH.describe("The conflict copy"),
      keep: z.enum(KEEPS),
      as: PATH.optional().describe("With both: its new name; otherwise one that says whose it was"),
      sequence: SEQUENCE.optional().describe("Of the space when it was looked at: what was changed since is left alone (409)"),
      message: z.string().max(1000).optional().describe("Kept in the journal"),
    }),
    answers: {
      200: {
        description: "Done, as one commit that can be taken back by its run",
        schema: z.object({ runId: z.string(), before: SEQUENCE, after: SEQUENCE }),
      },
    },
    async handle({ services, who, params, body, trace }) {
      const { copy, keep, as, sequence, message } = body;
      const decision = { copy, keep, as, seen: sequence };
      const { traceId } = trace;
      const { runId, changes, outcome } = await services.spaces.resolveConflict(who, params.space, decision, { traceId, message });
      await allDone({ services, who }, params.space, changes, outcome.results, "conflict");
      return json(200, { runId, before: outcome.before, after: outcome.after });
    },
  }),
  route({
    id: "link.resolve",
    method: "POST",
    path: "/v1/links/{id}/{name}/conflicts/resolve",
    summary: "Decide about a conflict that the link {id} has left open on the host {name}; its next session carries it out",
    allowed: "known",
    params: z.object({ id: NAME, name: NAME }),
    body: z.strictObject({
      path: PATH.describe("In the space"),
      tag: LEFT_TAG.describe("Of the conflict as it was listed; another one by now is left alone (409)"),
      keep: z.enum(KEEPS).describe("current: what the space has; copy: what the host has; both: the loser beside the winner"),
    }),
    answers: { 204: { description: "The agent has taken it" } },
    async handle(call) {
      const { services, who, params, body } = call;
      await services.agents.resolveLeft(who, params.id, params.name, body);
      const event = { action: "link.resolve", resource: `link:${params.id}`, outcome: "done" } as const;
      await services.access.audit.append(actorOf(call), { ...event, details: { host: params.name, path: body.path, keep: body.keep } });
      return nothing();
    },
  }),
];
