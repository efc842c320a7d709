/**
 * Where a system does not check and change in one step, somebody may write a file between our last look at it and the step
 * that takes its name. What had the name is kept, and looked at: an edit comes back, beside what has its place now.
 */
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import { rescueName } from "#sync/apply/apply-context.ts";
import { Summer } from "#sync/chunk/sum.ts";
import { type ForeignContext, problemFrom } from "#sync/foreign/foreign-context.ts";
import { type ForeignEntry, isExpected } from "#sync/foreign/foreign-files.ts";
import { type ForeignRecord, expectedOf, isFile } from "#sync/foreign/foreign-record.ts";

export type Displaced = {
  readonly path: RelPath;
  /** What the index knew to be there. */
  readonly before: ForeignRecord | undefined;
  readonly keptAs: RelPath | undefined;
  /** Tells the name of an edit from that of another one. */
  readonly tag: string;
};

/** Call after a change. What cannot be looked at now stays where it is kept. Rejects where the connection is lost. */
export async function bringBackLateEdit(context: ForeignContext, displaced: Displaced, signal: AbortSignal): Promise<void> {
  const { abilities, mark } = context;
  if (abilities.conditional || displaced.keptAs === undefined) return;
  try {
    const to = await bringBack(context, displaced, displaced.keptAs, signal);
    if (to !== undefined) mark(to);
  } catch (error) {
    // Throws what concerns the connection on. Anything else keeps it where it is: the change itself has been made.
    problemFrom(displaced.path, error);
  }
}

/** @returns where it is now; undefined when nobody had written it */
async function bringBack(
  context: ForeignContext,
  { path, before, tag }: Displaced,
  keptAs: RelPath,
  signal: AbortSignal,
): Promise<RelPath | undefined> {
  const { files } = context;
  const kept = await files.stat(keptAs, signal);
  if (kept === undefined || !isFile(before) || isExpected(kept, expectedOf(keptAs, before))) return undefined;
  if (!(await isWritten(context, kept, before, signal))) return undefined;
  const isFree = (await files.stat(path, signal)) === undefined;
  const to = isFree ? path : rescueName(parentOf(path), nameOf(path), tag);
  await files.rename(keptAs, to, signal);
  return to;
}

/** There are systems on which a rename changes the time: then the bytes tell. */
async function isWritten(context: ForeignContext, kept: ForeignEntry, before: ForeignRecord, signal: AbortSignal): Promise<boolean> {
  const { files, seeds, traffic } = context;
  if (kept.kind !== "file" || before.entry.kind !== "file" || kept.size !== before.entry.size) return true;
  const { sum } = before.entry;
  if (sum === undefined) return false;
  const summer = new Summer(seeds);
  for await (const part of files.read(kept.path, { expect: kept }, signal)) {
    traffic.received += part.length;
    summer.update(part);
  }
  return summer.digest() !== sum;
}
