/** Asks a side to answer for what it has told of: see Endpoint.vouch(). */
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";

/** Paths of one request. */
const PATHS_PER_CALL = 10_000;

/** @returns of which paths it is not certain that a power loss would leave them, and why */
export async function vouched(endpoint: Endpoint, paths: readonly RelPath[], signal: AbortSignal): Promise<Problem[]> {
  const failed: Problem[] = [];
  for (let at = 0; at < paths.length; at += PATHS_PER_CALL) {
    for (const one of await endpoint.vouch(paths.slice(at, at + PATHS_PER_CALL), signal)) failed.push(one);
  }
  return failed;
}
