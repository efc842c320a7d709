/** COPY and MOVE inside a space: what is moved is said, no bytes are touched, and all of it is one commit. */
import type { Intake } from "#hub/space-service.ts";
import type { SpaceChange, SpaceId, Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, isWithin } from "#model/path.ts";
import { commitAll } from "#gateway/api/outcome.ts";
import { treeAt } from "#gateway/api/route.ts";
import { DavProblem } from "#gateway/dav/answer.ts";
import { type DavCall, type SpacePlace, depthOf, isShown, spacePlace, versionAt } from "#gateway/dav/call.ts";
import { hostsOf, membership, targetAt, underLocks } from "#gateway/dav/guard.ts";
import type { Touched } from "#gateway/dav/lock.ts";
import { hrefOf, placeOfUrl } from "#gateway/dav/place.ts";

/** Entries of one copy; larger collections are copied part by part. */
export const COPY_ENTRIES_MAX = 50_000;
const PAGE_ENTRIES = 5000;

type Transfer = {
  readonly from: SpacePlace;
  readonly to: SpacePlace;
  readonly space: SpaceId;
  /** At the source. */
  readonly version: Version;
  /** At the destination; only where it may be replaced. */
  readonly there: Version | undefined;
};

export async function copy(call: DavCall): Promise<Response> {
  const transfer = await transferOf(call, "copy");
  const { to } = transfer;
  const depth = depthOf(call, "infinity");
  if (depth === 1) throw new DavProblem(400, "Depth is 0 or infinity for COPY");
  await using intake = call.services.spaces.intake(call.who, to.space);
  const changes = clearing(transfer);
  for await (const one of sourceOf(call, transfer, depth === "infinity")) {
    if (changes.length >= COPY_ENTRIES_MAX) {
      throw new DavProblem(507, `more than ${COPY_ENTRIES_MAX} entries are in this collection; copy what is in it one by one`);
    }
    changes.push(await copied(one, transfer, intake));
  }
  await done(call, transfer, membersOf(transfer), changes, intake);
  return answer(transfer);
}

export async function move(call: DavCall): Promise<Response> {
  const transfer = await transferOf(call, "move");
  const { from, to } = transfer;
  if (transfer.version.entry?.kind === "dir" && depthOf(call, "infinity") !== "infinity") {
    throw new DavProblem(400, "a collection is moved with all that is in it: Depth is infinity");
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
  if (from.space !== to.space) throw new DavProblem(502, "between two spaces, get what is wanted and put it");
  if (from.path === "" || to.path === "") throw new DavProblem(403, "a whole space is not copied or moved here");
  services.access.require(who, "read", treeAt(from.space, from.path));
  if (what === "move") services.access.require(who, "write", treeAt(from.space, from.path));
  services.access.require(who, "write", treeAt(to.space, to.path));
  const { id } = await services.spaces.space(who, from.space);
  const { version } = await targetAt(call, from);
  if (version === undefined || !isShown(version)) {
    throw new SynclineError({ code: "NOT_FOUND", op: what, message: "there is nothing at this address" });
  }
  if (isWithin(to.path, from.path)) throw new DavProblem(403, "the destination is the source, or inside of it");
  if (isWithin(from.path, to.path)) throw new DavProblem(409, "the source is inside of what it would replace");
  const there = await versionAt(call, to);
  if (there?.entry === undefined) return { from, to, space: id, version, there: undefined };
  if (!isShown(there)) throw new DavProblem(409, `a ${there.entry.kind} is there, which this door does not replace`);
  if (overwriteOf(call) === false) throw new DavProblem(412, "something is at the destination, and Overwrite is F");
  return { from, to, space: id, version, there };
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
async function copied(version: Version, { from, to, there }: Transfer, intake: Intake): Promise<SpaceChange> {
  const isHeld = version.content !== undefined && (await intake.hold(version.content));
  if (version.entry!.kind === "file" && !isHeld) {
    throw new SynclineError({ code: "CHUNK_MISSING", op: "copy", path: version.path, message: "the bytes of this file are gone" });
  }
  const path = to.path + version.path.slice(from.path.length);
  const isInPlace = path === to.path && there?.entry?.kind === "file" && version.entry!.kind === "file";
  return {
    type: "put",
    path,
    // What came to the destination since it was looked at is not replaced.
    expect: isInPlace ? { kind: "sequence", sequence: there.sequence } : { kind: "absent" },
    entry: version.entry!,
    content: version.content,
    attributes: version.attributes,
    makeParents: false,
  };
}

async function done(
  call: DavCall,
  { from, to, space }: Transfer,
  touched: readonly Touched[],
  changes: readonly SpaceChange[],
  intake: Intake | undefined,
): Promise<void> {
  await underLocks(call, space, to, touched, async () => {
    await commitAll(call, to.space, changes, undefined, "precondition", intake);
    // What was at the destination is gone, and what is moved leaves its locks behind.
    if (changes.some(({ type }) => type === "remove")) await call.locks.removeWithin(space, to.path);
    if (changes.some(({ type }) => type === "move")) await call.locks.removeWithin(space, from.path);
  });
}
