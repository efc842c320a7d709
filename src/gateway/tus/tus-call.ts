/** One request of tus, and what is refused in its own way. */
import type { Principal } from "#access/access.ts";
import type { RelPath } from "#model/path.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import type { ApiServices } from "#gateway/api/route.ts";
import type { Trace } from "#gateway/api/trace.ts";
import type { Renew } from "#gateway/renewing.ts";

export const TUS_PREFIX = "/v1/tus";

export type TusServices = Pick<ApiServices, "access" | "uploads" | "work" | "traffic" | "log" | "clock">;

/** One request, of somebody who is known. */
export type TusCall = {
  readonly services: TusServices;
  readonly headers: Headers;
  readonly request: Request;
  readonly who: Principal;
  readonly renew: Renew;
  readonly trace: Trace;
  readonly space: string;
  /** Behind the space: a directory or file with POST, an upload's id with all else. */
  readonly rest: RelPath;
};

/** An answer with a status that only this protocol has, or has in another place. */
export class TusProblem extends ApiProblem {
  readonly status: number;

  constructor(status: number, code: ApiProblem["code"], message: string, hint?: string) {
    super(code, message, hint);
    this.status = status;
  }
}
