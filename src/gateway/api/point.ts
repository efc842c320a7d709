/** From a point as it is written to one that the service takes. */
import type { Principal } from "#access/access.ts";
import { parsePoint } from "#hub/point-text.ts";
import type { Point } from "#hub/space.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import type { ApiServices } from "#gateway/api/route.ts";

type Asking = { readonly services: ApiServices; readonly who: Principal };

/** @throws {ApiProblem} NOT_FOUND for a restore point that is not there */
export async function pointAt({ services, who }: Asking, space: string, text: string): Promise<Point> {
  const point = parsePoint(text);
  if (!("restorePoint" in point)) return point;
  const points = await services.spaces.restorePoints(who, space);
  const found = points.find(({ name }) => name === point.restorePoint);
  if (found !== undefined) return { sequence: found.sequence };
  throw new ApiProblem(
    "NOT_FOUND",
    `the space has no restore point "${point.restorePoint}"`,
    `GET /v1/spaces/${space}/restore-points lists them`,
  );
}
