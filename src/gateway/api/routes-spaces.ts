/** Spaces: list, make, look at, change, remove, bring back; and their restore points. */
import * as z from "zod";
import { SETTINGS_DEFAULT } from "#hub/space.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { pointAt } from "#gateway/api/point.ts";
import { type AnyRoute, json, nothing, route, spaceAt } from "#gateway/api/route.ts";
import {
  POINT_TEXT,
  RESTORE_POINT_JSON,
  SETTINGS_JSON,
  SPACE_JSON,
  SPACE_NAME_TEXT,
  mergeSettings,
  restorePointJson,
  spaceJson,
} from "#gateway/api/shapes.ts";

const BY_NAME = z.object({ space: SPACE_NAME_TEXT });
const BY_POINT = z.object({ space: SPACE_NAME_TEXT, name: z.string().min(1).max(100) });
const managed = ({ params }: { params: { space: string } }) =>
  [{ action: "manage", resource: spaceAt(params.space, "") }] as const;

export const SPACE_ROUTES: readonly AnyRoute[] = [
  route({
    id: "space.list",
    method: "GET",
    path: "/v1/spaces",
    summary: "Spaces of which the caller may read something",
    allowed: "known",
    answers: { 200: { description: "By name", schema: z.object({ spaces: z.array(SPACE_JSON) }) } },
    async handle({ services, who }) {
      return json(200, { spaces: (await services.spaces.spaces(who)).map(spaceJson) });
    },
  }),
  route({
    id: "space.create",
    method: "POST",
    path: "/v1/spaces",
    summary: "Make a space",
    allowed: ({ body }) => [{ action: "manage", resource: spaceAt(body.name, "") }],
    body: z.strictObject({ name: SPACE_NAME_TEXT, settings: SETTINGS_JSON.optional() }),
    answers: { 201: { description: "It is there", schema: SPACE_JSON } },
    async handle({ services, who, body }) {
      const settings = body.settings === undefined ? undefined : mergeSettings(body.settings, SETTINGS_DEFAULT);
      const space = await services.spaces.createSpace(who, body.name, settings);
      return json(201, spaceJson(space), { location: `/v1/spaces/${space.name}` });
    },
  }),
  route({
    id: "space.get",
    method: "GET",
    path: "/v1/spaces/{space}",
    summary: "One space",
    allowed: "visible",
    params: BY_NAME,
    answers: { 200: { description: "The space", schema: SPACE_JSON } },
    async handle({ services, who, params }) {
      return json(200, spaceJson(await services.spaces.space(who, params.space)));
    },
  }),
  route({
    id: "space.update",
    method: "PATCH",
    path: "/v1/spaces/{space}",
    summary: "Rename a space, or change its settings; what is not named stays",
    allowed: managed,
    params: BY_NAME,
    body: z.strictObject({ name: SPACE_NAME_TEXT.optional(), settings: SETTINGS_JSON.optional() }),
    answers: { 200: { description: "The space as it is now", schema: SPACE_JSON } },
    async handle({ services, who, params, body }) {
      const { settings } = await services.spaces.space(who, params.space);
      const space = await services.spaces.updateSpace(who, params.space, {
        ...(body.name === undefined ? {} : { name: body.name }),
        ...(body.settings === undefined ? {} : { settings: mergeSettings(body.settings, settings) }),
      });
      return json(200, spaceJson(space));
    },
  }),
  route({
    id: "space.delete",
    method: "DELETE",
    path: "/v1/spaces/{space}",
    summary: "Remove a space; it can be brought back until the grace period ends",
    allowed: managed,
    params: BY_NAME,
    answers: { 204: { description: "It is gone" } },
    async handle({ services, who, params }) {
      await services.spaces.deleteSpace(who, params.space);
      return nothing();
    },
  }),
  route({
    id: "space.undelete",
    method: "POST",
    path: "/v1/spaces/{space}/undelete",
    summary: "Bring a removed space back",
    allowed: managed,
    params: BY_NAME,
    answers: { 200: { description: "The space", schema: SPACE_JSON } },
    async handle({ services, who, params }) {
      return json(200, spaceJson(await services.spaces.undeleteSpace(who, params.space)));
    },
  }),
  route({
    id: "restorePoint.list",
    method: "GET",
    path: "/v1/spaces/{space}/restore-points",
    summary: "Restore points of a space",
    allowed: ({ params }) => [{ action: "read", resource: spaceAt(params.space, "") }],
    params: BY_NAME,
    answers: {
      200: { description: "All of them", schema: z.object({ restorePoints: z.array(RESTORE_POINT_JSON) }) },
    },
    async handle({ services, who, params }) {
      const points = await services.spaces.restorePoints(who, params.space);
      return json(200, { restorePoints: points.map(restorePointJson) });
    },
  }),
  route({
    id: "restorePoint.create",
    method: "POST",
    path: "/v1/spaces/{space}/restore-points",
    summary: "Give a moment a name; its versions are kept whatever retention says",
    allowed: ({ params }) => [{ action: "restore", resource: spaceAt(params.space, "") }],
    params: BY_NAME,
    body: z.strictObject({ name: z.string().min(1).max(100), at: POINT_TEXT.optional() }),
    answers: { 201: { description: "It is there", schema: RESTORE_POINT_JSON } },
    async handle(call) {
      const { services, who, params, body } = call;
      const at = body.at === undefined ? undefined : await pointAt(call, params.space, body.at);
      const point = await services.spaces.createRestorePoint(who, params.space, body.name, at);
      return json(201, restorePointJson(point));
    },
  }),
  route({
    id: "restorePoint.delete",
    method: "DELETE",
    path: "/v1/spaces/{space}/restore-points/{name}",
    summary: "Forget a restore point; the versions of its moment fall under retention again",
    allowed: managed,
    params: BY_POINT,
    answers: { 204: { description: "It is gone" } },
    async handle({ services, who, params }) {
      await services.spaces.deleteRestorePoint(who, params.space, params.name);
      return nothing();
    },
  }),
];

/** For routes whose answer is about one path that is not there. */
export const notThere = (path: string): ApiProblem =>
  new ApiProblem("NOT_FOUND", "there is nothing at this path", undefined, { path });
