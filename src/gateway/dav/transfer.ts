/**
 * COPY and MOVE. Inside a space no bytes are touched and all of it is one commit. Between two spaces a copy is one commit
 * of the other one, and a move takes the source away when that is there, unless it was changed meanwhile.
 */
import type { Intake } from "#hub/space-service.ts";
import type { SpaceChange, SpaceId, Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, isWithin } from "#model/path.ts";
import { commitAll } from "#gateway/api/outcome.ts";
import { ApiProblem } from "#gateway/api/problem.ts";
import { treeAt } from "#gateway/api/route.ts";
import { entryOfCopy } from "#gateway/api/routes-entries.ts";
import { Crossing } from "#gateway/dav/across.ts";
import { DavProblem } from "#gateway/dav/answer.ts";
import { type DavCall, type SpacePlace, depthOf, isShown, spacePlace, versionAt } from "#gateway/dav/call.ts";
import { hostsOf, membership, requireUnlocked, targetAt, underLocks } from "#gateway/dav/guard.ts";
import type { Touched } from "#gateway/dav/lock.ts";
import { hrefOf, placeOfUrl } from "#gateway/dav/place.ts";

/** Entries of one copy; larger collections are copied part by part. */
export const COPY_ENTRIES_MAX = 50_000;
const PAGE_ENTRIES = 5000;

type Transfer = {
  readonly from: SpacePlace;
  readonly to: SpacePlace;
  readonly fromSpace: SpaceId;
  readonly toSpace: SpaceId;
  /** The last change of the source's space before it was looked at. */
  readonly before: number;
  /** At the source. */
  readonly version: Version;
  /** At the destination; only where it may be replaced. */
  readonly there: Version | undefined;
};

export async function copy(call: DavCall): Promise<Response> {
  const transfer = await transferOf(call, "copy");
  const depth = depthOf(call, "infinity");
  if (depth === 1) throw new DavProblem(400, "Depth is 0 or infinity for COPY");
  await placeCopy(call, transfer, depth === "infinity");
  return answer(transfer);
}

async function placeCopy(call: DavCall, transfer: Transfer, isDeep: boolean): Promise<void> {
  const { from, to, fromSpace, toSpace } = transfer;
  await using intake = call.services.spaces.intake(call.who, to.space);
  const crossing = fromSpace === toSpace ? undefined : new Crossing(call, from.space, intake);
  const changes = clearing(transfer);
  for await (const one of sourceOf(call, transfer, isDeep)) {
    if (changes.length >= COPY_ENTRIES_MAX) {
      throw new DavProblem(507, `more than ${COPY_ENTRIES_MAX} entries are in this collection; copy what is in it one by one`);
    }
    changes.push(await copied(one, transfer, intake, crossing));
  }
  await done(call, transfer, membersOf(transfer), changes, intake);
}

async function moveAcross(call: DavCall, transfer: Transfer): Promise<void> {
  const { from, fromSpace, before } = transfer;
  const touched = [{ path: from.path, isTree: true }, ...membership(from)];
  await requireUnlocked(call, fromSpace, from, touched);
  await placeCopy(call, transfer, true);
  const expect = { kind: "unchangedSince", sequence: before } as const;
  const change: SpaceChange = { type: "remove", path: from.path, expect, recursive: true };
  try {
    await underLocks(call, fromSpace, from, touched, async (seen) => {
      await commitAll(call, from.space, [change], undefined, "precondition");
      await call.locks.removeWithin(fromSpace, from.path, seen);
    });
  } catch (error) {
    if (!(error instanceof ApiProblem) || error.code !== "PRECONDITION") throw error;
    throw new DavProblem(409, "the source was changed meanwhile: it is still there, and so is the copy");
  }
}

export async function move(call: DavCall): Promise<Response> {
  const transfer = await transferOf(call, "move");
  const { from, to } = transfer;
  if (transfer.version.entry?.kind === "dir" && depthOf(call, "infinity") !== "infinity") {
    throw new DavProblem(400, "a collection is moved with all that is in it: Depth is infinity");
  }
  if (transfer.fromSpace !== transfer.toSpace) {
    await moveAcross(call, transfer);
    return answer(transfer);
  }
  const { expect } = await targetAt(call, from);
  const change: SpaceChange = {
    type: "move",
    from: from.path,
    to: to.path,
    expect: expect.kind === "sequence" ? expect : { kind: "present" },
  };
  // Whatever was there goes first, since a move takes no place that is taken.
  const changes = [...(transfer.there === undefined ? [] : [removal(transfer.there)]), change];
  const touched = [{ path: from.path, isTree: true }, ...membership(from), ...membersOf(transfer)];
  await done(call, transfer, touched, changes, undefined);
  return answer(transfer);
}

const answer = ({ to, there, version }: Transfer): Response =>
  new Response(null, {
    status: there === undefined ? 201 : 204,
    headers: there === undefined ? { location: hrefOf(to, version.entry?.kind === "dir") } : {},
  });

/** What both ask for before anything is done. @throws {DavProblem} */
async function transferOf(call: DavCall, what: "copy" | "move"): Promise<Transfer> {
  const { services, who } = call;
  const from = spacePlace(call);
  const to = destinationOf(call);
  if (from.path === "" || to.path === "") throw new DavProblem(403, "a whole space is not copied or moved here");
  services.access.require(who, "read", treeAt(from.space, from.path));
  if (what === "move") services.access.require(who, "write", treeAt(from.space, from.path));
  services.access.require(who, "write", treeAt(to.space, to.path));
  const { id: fromSpace, sequence: before } = await services.spaces.space(who, from.space);
  const { id: toSpace } = await services.spaces.space(who, to.space);
  const ids = { from, to, fromSpace, toSpace, before };
  const { version } = await targetAt(call, from);
  if (version === undefined || !isShown(version)) {
    throw new SynclineError({ code: "NOT_FOUND", op: what, message: "there is nothing at this address" });
  }
  const isSame = fromSpace === toSpace;
  if (isSame && isWithin(to.path, from.path)) throw new DavProblem(403, "the destination is the source, or inside of it");
  if (isSame && isWithin(from.path, to.path)) throw new DavProblem(409, "the source is inside of what it would replace");
  const there = await versionAt(call, to);
  if (there?.entry === undefined) return { ...ids, version, there: undefined };
  if (!isShown(there)) throw new DavProblem(409, `a ${there.entry.kind} is there, which this door does not replace`);
  if (overwriteOf(call) === false) throw new DavProblem(412, "something is at the destination, and Overwrite is F");
  return { ...ids, version, there };
}

function destinationOf(call: DavCall): SpacePlace {
  const header = call.headers.get("destination");
  if (header === null) throw new DavProblem(400, "there is no Destination header");
  const found = placeOfUrl(header.trim(), hostsOf(call));
  if (found === undefined) throw new DavProblem(502, "the destination is on another server, or not below /dav/");
  if (found.place === undefined) throw new DavProblem(403, "the collection of all spaces cannot be replaced");
  return found.place;
}

function overwriteOf({ headers }: DavCall): boolean {
  const text = headers.get("overwrite")?.trim().toUpperCase() ?? "T";
  if (text !== "T" && text !== "F") throw new DavProblem(400, "Overwrite is T or F");
  return text === "T";
}

/** The destination, with what was in it, and the collection that it is in. */
function membersOf({ to, there }: Transfer): Touched[] {
  return [{ path: to.path, isTree: true }, ...(there === undefined ? membership(to) : [])];
}

const removal = ({ path, sequence }: Version): SpaceChange => ({
  type: "remove",
  path,
  expect: { kind: "sequence", sequence },
  recursive: true,
});

/** A file that takes the place of a file goes on with its history; all else begins anew. */
function clearing({ version, there }: Transfer): SpaceChange[] {
  const isInPlace = there?.entry?.kind === "file" && version.entry?.kind === "file";
  return there === undefined || isInPlace ? [] : [removal(there)];
}

async function* sourceOf({ services, who }: DavCall, { from, version }: Transfer, isDeep: boolean): AsyncGenerator<Version> {
  yield version;
  if (version.entry?.kind !== "dir" || !isDeep) return;
  for (let after: RelPath | undefined; ; ) {
    const request = { below: from.path, after, shallow: false, limit: PAGE_ENTRIES, at: undefined };
    const page = await services.spaces.list(who, from.space, request);
    yield* page;
    if (page.length < PAGE_ENTRIES) return;
    after = page.at(-1)!.path;
  }
}

/** Its content is held, so that the source may go meanwhile. Properties go along. */
async function copied(
  version: Version,
  { from, to, there }: Transfer,
  intake: Intake,
  crossing: Crossing | undefined,
): Promise<SpaceChange> {
  const entry = entryOfCopy(version.entry!);
  const brought = entry.kind === "file" ? await crossing?.bring(version) : undefined;
  const isHeld = brought !== undefined || (version.content !== undefined && (await intake.hold(version.content)));
  if (entry.kind === "file" && !isHeld) {
    throw new SynclineError({ code: "CHUNK_MISSING", op: "copy", path: version.path, message: "the bytes of this file are gone" });
  }
  const path = to.path + version.path.slice(from.path.length);
  const isInPlace = path === to.path && there?.entry?.kind === "file" && entry.kind === "file";
  return {
    type: "put",
    path,
    // What came to the destination since it was looked at is not replaced.
    expect: isInPlace ? { kind: "sequence", sequence: there.sequence } : { kind: "absent" },
    entry: entry.kind === "file" && brought !== undefined ? { ...entry, sum: brought.sum } : entry,
    content: brought?.content ?? version.content,
    attributes: version.attributes,
    makeParents: false,
  };
}

async function done(
  call: DavCall,
  { from, to, toSpace }: Transfer,
  touched: readonly Touched[],
  changes: readonly SpaceChange[],
  intake: Intake | undefined,
): Promise<void> {
  await underLocks(call, toSpace, to, touched, async (seen) => {
    await commitAll(call, to.space, changes, undefined, "precondition", intake);
    // What was at the destination is gone, and what is moved leaves its locks behind.
    if (changes.some(({ type }) => type === "remove")) await call.locks.removeWithin(toSpace, to.path, seen);
    if (changes.some(({ type }) => type === "move")) await call.locks.removeWithin(toSpace, from.path, seen);
  });
}
