/** What must be true before a request changes something: its conditions, and the locks on what it changes. */
import type { Expect, SpaceId, Version } from "#hub/space.ts";
import { isWithin, parentOf } from "#model/path.ts";
import { spaceAt } from "#gateway/api/route.ts";
import { tagMatches } from "#gateway/api/conditions.ts";
import { unchanged } from "#gateway/api/outcome.ts";
import { DavPartial, DavProblem, lockedBy } from "#gateway/dav/answer.ts";
import { type DavCall, type SpacePlace, etagAt, mayRead, versionAt } from "#gateway/dav/call.ts";
import { type IfList, type IfState, ifHolds, parseIf } from "#gateway/dav/if-header.ts";
import { type Lock, type Touched, covers, locksInTheWay } from "#gateway/dav/lock.ts";
import { type Place, hrefOf, placeOfUrl } from "#gateway/dav/place.ts";
import { httpDateMs, passedSeconds } from "#platform/net/http-date.ts";

/** The lists of the If header. @throws {DavProblem} 400 */
export function ifListsOf(headers: Headers): readonly IfList[] {
  const header = headers.get("if");
  if (header === null) return [];
  const lists = parseIf(header);
  if (lists === undefined) throw new DavProblem(400, "the If header is not well formed, or too long");
  return lists;
}

/** @throws {DavProblem} 412 unless one of the lists holds */
export async function requireIf(call: DavCall, lists: readonly IfList[]): Promise<void> {
  if (lists.length === 0 || (await ifHolds(lists, (tag) => stateOf(call, tag)))) return;
  throw new DavProblem(412, "no list of the If header holds");
}

/** What is elsewhere, or may not be seen, has no state. */
async function stateOf(call: DavCall, tag: string | undefined): Promise<IfState | undefined> {
  const found = tag === undefined ? { place: call.place } : placeOfUrl(tag, hostsOf(call));
  const place: Place = found?.place;
  if (place === undefined || !call.services.access.reaches(call.who, "read", place.space, place.path)) return undefined;
  const space = await call.services.spaces.space(call.who, place.space);
  const locks = (await call.locks.ofSpace(space.id)).filter((lock) => covers(lock, place.path));
  const version = place.path === "" ? undefined : await versionAt(call, place);
  return { tokens: new Set(locks.map(({ token }) => token)), etag: etagAt(version) };
}

/** What this server is called in URLs of its clients. */
export function hostsOf({ headers, services }: DavCall): string[] {
  const names = [headers.get("host"), services.publicUrl().replace(/^https?:\/\//i, "").replace(/\/.*$/, "")];
  return names.filter((name) => name !== null).map((name) => name.toLowerCase().replace(/:(80|443)$/, ""));
}

/** What is there, as far as the caller may know it, and what a commit must still find. */
export type Target = { readonly version: Version | undefined; readonly expect: Expect };

/**
 * Looks at If-Match, If-None-Match and If-Unmodified-Since. Who may write and not read makes changes without looking.
 * @throws {DavProblem} 412
 */
export async function targetAt(call: DavCall, place: SpacePlace): Promise<Target> {
  const { headers } = call;
  const match = headers.get("if-match");
  const none = headers.get("if-none-match");
  const since = headers.get("if-unmodified-since");
  const isConditional = match !== null || none !== null || since !== null || headers.has("if");
  const version = mayRead(call, place) || isConditional ? await versionAt(call, place) : undefined;
  const there = version?.entry === undefined ? undefined : version;
  const etag = etagAt(there);
  const isFailed =
    (match !== null && (there === undefined || !tagMatches(match, etag, false))) ||
    (none !== null && there !== undefined && tagMatches(none, etag, true)) ||
    (match === null && since !== null && isChangedSince(there, since));
  if (isFailed) throw new DavProblem(412, "the condition does not hold for what is there");
  return { version: there, expect: isConditional ? unchanged(there) : { kind: "any" } };
}

function isChangedSince(version: Version | undefined, date: string): boolean {
  if (version?.entry?.kind !== "file") return false;
  return passedSeconds(version.entry.mtimeNs) > httpDateMs(date) / 1000;
}

/** Something is made at a path, or goes from it: what it is in changes, too. */
export function membership(place: SpacePlace): Touched[] {
  return [{ path: parentOf(place.path), isTree: false }];
}

/**
 * Makes a change under the locks as they are now, which it is given; who takes one meanwhile is told when it has ended.
 * @throws {DavProblem} 423, {DavPartial} when only what is below is locked
 */
export function underLocks<T>(
  call: DavCall,
  space: SpaceId,
  place: SpacePlace,
  touched: readonly Touched[],
  work: (seen: readonly Lock[]) => Promise<T>,
): Promise<T> {
  return call.locks.changing(space, async () => work(await requireUnlocked(call, space, place, touched)));
}

/** @returns all locks of the space @throws {DavProblem} 423, {DavPartial} */
export async function requireUnlocked(
  call: DavCall,
  space: SpaceId,
  place: SpacePlace,
  touched: readonly Touched[],
): Promise<readonly Lock[]> {
  const seen = await call.locks.ofSpace(space);
  const locks = locksInTheWay(seen, touched, call.tokens, call.who.id);
  if (locks.length === 0) return seen;
  const href = (path: string): string => hrefOf({ space: place.space, path }, false);
  const own = hrefOf(place, false);
  const isBelowOnly = locks.every(({ path }) => path !== place.path && isWithin(path, place.path));
  if (!isBelowOnly) throw lockedBy([...new Set(locks.map(({ path }) => href(path)))]);
  const paths = [...new Set(locks.map(({ path }) => path))];
  throw new DavPartial([
    ...paths.map((path) => ({ href: href(path), status: 423, condition: "<D:lock-token-submitted/>" })),
    { href: own, status: 424 },
  ]);
}

/** @throws {SynclineError} DENIED */
export function requireWrite({ services, who }: DavCall, { space, path }: SpacePlace): void {
  services.access.require(who, "write", spaceAt(space, path));
}
