/**
 * The changes that bring a tree from one state to another, for restore and for taking a run back. Pure: states in,
 * changes out.
 *
 * Removals come first, what is deepest before what holds it, so that nothing stands where something is to be put; then
 * what is put, directories before what is in them. Every change expects the version that was looked at, so that an edit
 * made meanwhile is never lost: it makes the change stale.
 */
import { ownAttributes, sameAttributes } from "#hub/attributes.ts";
import { compareContent, type Entry, PRESERVE_ALL, sameMetadata } from "#model/entry.ts";
import { type RelPath, compareBytes, encodeName } from "#model/path.ts";
import type { Expect, SpaceChange, Version } from "#hub/space.ts";

/** One path as it is and as it shall be; undefined is absence. */
export type Difference = {
  readonly path: RelPath;
  readonly now: Version | undefined;
  readonly wanted: Version | undefined;
};

function isSame(a: Version, b: Version): boolean {
  if (a.entry === undefined || b.entry === undefined) return a.entry === b.entry;
  if (a.entry.kind !== b.entry.kind || a.content?.id !== b.content?.id) return false;
  if (a.entry.kind !== "file" && compareContent(a.entry, b.entry) !== "same") return false;
  return sameMetadata(a.entry, b.entry, PRESERVE_ALL) && sameAttributes(ownAttributes(a.attributes), ownAttributes(b.attributes));
}

/** Of one path. Versions that say the same are no difference, whatever their numbers. */
export function differ(now: Version | undefined, wanted: Version | undefined): boolean {
  if (now === undefined || wanted === undefined) return !isAbsent(now) || !isAbsent(wanted);
  return !isSame(now, wanted);
}

/** Merges two listings in byte order into what differs. */
export async function* differences(
  now: AsyncIterable<Version>,
  then: AsyncIterable<Version>,
): AsyncGenerator<Difference> {
  const left = now[Symbol.asyncIterator]();
  const right = then[Symbol.asyncIterator]();
  let a = (await left.next()).value as Version | undefined;
  let b = (await right.next()).value as Version | undefined;
  while (a !== undefined || b !== undefined) {
    const order = a === undefined ? 1 : b === undefined ? -1 : compareBytes(encodeName(a.path), encodeName(b.path));
    if (order < 0) yield { path: a!.path, now: a, wanted: undefined };
    else if (order > 0) yield { path: b!.path, now: undefined, wanted: b };
    else if (!isSame(a!, b!)) yield { path: a!.path, now: a, wanted: b };
    if (order <= 0) a = (await left.next()).value as Version | undefined;
    if (order >= 0) b = (await right.next()).value as Version | undefined;
  }
}

const isAbsent = (version: Version | undefined): boolean => version?.entry === undefined;

/**
 * @param found in byte order of the paths
 * @returns the changes, and the files whose bytes retention has dropped: they cannot be brought back
 */
export function changesFor(found: readonly Difference[]): { changes: SpaceChange[]; lost: RelPath[] } {
  const removes: SpaceChange[] = [];
  const puts: SpaceChange[] = [];
  const lost: RelPath[] = [];
  for (const { path, now, wanted } of found) {
    const goes = !isAbsent(now) && (isAbsent(wanted) || now!.entry!.kind !== wanted!.entry!.kind);
    if (goes) removes.push({ type: "remove", path, expect: expected(now), recursive: false });
    if (isAbsent(wanted)) continue;
    if (wanted!.entry!.kind === "file" && wanted!.content === undefined) lost.push(path);
    else puts.push(put(wanted!, wanted!.entry!, goes ? { kind: "absent" } : expected(now)));
  }
  return { changes: [...removes.reverse(), ...puts], lost };
}

function expected(now: Version | undefined): Expect {
  return isAbsent(now) ? { kind: "absent" } : { kind: "sequence", sequence: now!.sequence };
}

function put({ path, content, attributes }: Version, entry: Entry, expect: Expect): SpaceChange {
  return { type: "put", path, expect, entry, content, attributes, makeParents: true };
}
