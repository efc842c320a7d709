/** What became of a change, as an answer or as the problem that it is. */
import type { Principal } from "#access/access.ts";
import type { CommitOutcome } from "#hub/meta/meta-store.ts";
import type { Intake } from "#hub/space-service.ts";
import type { ChangeResult, Expect, SpaceChange, Version } from "#hub/space.ts";
import type { RelPath } from "#model/path.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { type ApiServices, spaceAt } from "#gateway/api/route.ts";
import type { Trace } from "#gateway/api/trace.ts";
import { onceMore } from "#gateway/once-more.ts";
import type { Renew } from "#gateway/renewing.ts";
import { type VersionJson, versionJson } from "#gateway/api/shapes.ts";

/** What a change is answered with that found something else than it expected. */
const STALE: readonly string[] = ["EXISTS", "PRECONDITION", "STALE"];

type Asking = {
  readonly services: Pick<ApiServices, "spaces" | "access">;
  /** Who asks, by the rights of now. */
  readonly renew: Renew;
  readonly trace: Trace;
};

/** What the caller's conditions come to: what the commit expects, and how it is told that it expected wrongly. */
export type Condition = { readonly expect: Expect; readonly onStale: "conflict" | "precondition" };

/** From `?sequence=n`; 0 says that nothing is there. */
export function sequenceExpect(sequence: number | undefined): Expect | undefined {
  if (sequence === undefined) return undefined;
  return sequence === 0 ? { kind: "absent" } : { kind: "sequence", sequence };
}

/** That what was looked at is still there, and nothing else. */
export const unchanged = (there: Version | undefined): Exclude<Expect, { kind: "entry" }> =>
  there?.entry === undefined ? { kind: "absent" } : { kind: "sequence", sequence: there.sequence };

/**
 * Commits changes as one.
 * @param intake what new content of theirs came through; the commit makes it durable
 * @throws {ApiProblem} for the first that was not done
 */
export async function commitAll(
  { services, renew, trace }: Asking,
  space: string,
  changes: readonly SpaceChange[],
  message: string | undefined,
  onStale: Condition["onStale"],
  intake?: Intake,
): Promise<readonly Extract<ChangeResult, { status: "done" }>[]> {
  // What it commits may have come for long.
  const who = await renew();
  const outcome: CommitOutcome = await services.spaces.commit(who, space, {
    changes,
    intake,
    atomic: true,
    cause: "upload",
    traceId: trace.traceId,
    message,
  });
  return allDone({ services, who }, space, changes, outcome.results, onStale);
}

/**
 * The results of a commit that is all or nothing.
 * @throws {ApiProblem} for the first that says why it was not done
 */
export async function allDone(
  { services, who }: Pick<Asking, "services"> & { readonly who: Principal },
  space: string,
  changes: readonly SpaceChange[],
  results: readonly ChangeResult[],
  onStale: Condition["onStale"],
): Promise<readonly Extract<ChangeResult, { status: "done" }>[]> {
  const done: Extract<ChangeResult, { status: "done" }>[] = [];
  // The others were only not done because of it.
  const isCause = (result: ChangeResult): boolean => result.status !== "refused" || result.code !== "ATOMIC";
  for (const [at, result] of results.entries()) {
    if (result.status === "done") done.push(result);
    else if (!isCause(result) && results.some((one) => one.status !== "done" && isCause(one))) continue;
    else if (result.status === "refused") throw refused(result);
    else await throwStale({ services, who }, space, changes[at]!, result.version, onStale);
  }
  return done;
}

/** A version, for who has made it: what it keeps of the one before is told to those who may read that. */
export function madeJson(
  { services, who }: Pick<Asking, "services"> & { readonly who: Principal },
  space: string,
  version: Version,
): VersionJson {
  const told = versionJson(version);
  const mayRead = services.access.decide(who, "read", spaceAt(space, version.path)).allowed;
  return mayRead ? told : { ...told, mode: undefined, attributes: undefined };
}

export function refused(result: Extract<ChangeResult, { status: "refused" }>): ApiProblem {
  return new ApiProblem(result.code, result.message, undefined, { path: result.path });
}

/**
 * 404 where nothing is there to be changed, 412 for conditions of HTTP, 409 with both versions for sequences. Who may write
 * and not read is told that it was not done, and nothing of what is there.
 */
export async function throwStale(
  { services, who }: Pick<Asking, "services"> & { readonly who: Principal },
  space: string,
  change: { readonly expect: Expect } & ({ readonly path: RelPath } | { readonly from: RelPath }),
  current: Version | undefined,
  onStale: Condition["onStale"],
): Promise<never> {
  const path = "path" in change ? change.path : change.from;
  const there = current?.entry === undefined ? undefined : current;
  const maySee = there !== undefined && services.access.decide(who, "read", spaceAt(space, there.path)).allowed;
  const shown = maySee ? { current: versionJson(there) } : {};
  if (onStale === "precondition") {
    throw new ApiProblem("PRECONDITION", "the condition does not hold for what is there", undefined, { path, ...shown });
  }
  const { expect } = change;
  if (expect.kind === "absent") {
    throw new ApiProblem("EXISTS", "something is there already", undefined, { path, ...shown });
  }
  if (there === undefined && (expect.kind === "present" || expect.kind === "any")) {
    throw new ApiProblem("NOT_FOUND", "there is nothing at this path", undefined, { path });
  }
  const expected =
    expect.kind !== "sequence" || !maySee
      ? undefined
      : (await services.spaces.history(who, space, path, expect.sequence + 1, 1)).find(
          (record) => record.sequence === expect.sequence,
        );
  throw new ApiProblem(
    "STALE",
    "it was changed since that sequence",
    "merge with what is there, or send it again with the current sequence to override",
    { path, ...shown, ...(expected === undefined ? {} : { expected: versionJson(expected) }) },
  );
}

/**
 * Puts something in the place of what is there, and lays what is said of it over what stays of that: as it is at that moment,
 * since the bytes may have come for long.
 * @param expect whatever is there, or anything
 * @param look what is there
 * @param put makes it of what is there, if that is as it is told to expect
 */
export function putOver(
  expect: Expect,
  look: () => Promise<Version | undefined>,
  put: (there: Version | undefined, expected: Expect) => Promise<Version>,
): Promise<Version> {
  const attempt = async (isLast: boolean): Promise<Version> => {
    const there = await look();
    const isMissing = there?.entry === undefined && expect.kind === "present";
    return put(there, isLast || isMissing ? expect : unchanged(there));
  };
  return onceMore(attempt, (error) => error instanceof ApiProblem && STALE.includes(error.code));
}
