/**
 * The name under which the loser of a conflict is kept beside the winner: made here, and read here. It is all that says
 * what a file is, on every side and in every space that has it, so it has one shape.
 */
import { type RelPath, NAME_BYTES_MAX, encodeName, joinPath, nameOf, parentOf, shorten } from "#model/path.ts";
import type { Side } from "#model/plan.ts";

/** Names tried for one conflict copy before the conflict is left alone. */
export const COPY_NAMES_MAX = 32;
/** What every such name has in it. */
export const COPY_MARK = ".conflict-";
/** Bytes that shortening may leave unused, because characters are not cut: the longest has four. */
const SLACK_BYTES = 3;

const COPY_NAME = /^(.+)\.conflict-(alpha|beta)-[0-9a-f]{8}(?:-\d{1,2})?(\.[^.]*)?$/s;

/**
 * "dir/name.conflict-beta-1a2b3c4d.ext" for the loser of a conflict at "dir/name.ext". `attempt` above 1 adds a number
 * behind the digits. The stem is shortened where the name would be longer than a disk takes.
 * @param print at least 8 hex digits that name the content
 */
export function copyPath(path: RelPath, side: Side, print: string, attempt: number): RelPath {
  const name = nameOf(path);
  const dot = name.lastIndexOf(".");
  const number = attempt > 1 ? `-${attempt}` : "";
  const mark = `${COPY_MARK}${side}-${print.slice(0, 8)}${number}`;
  const room = NAME_BYTES_MAX - mark.length;
  // An ending so long that it leaves no room for the stem is no file type that anyone depends on; nor is the mark of a
  // copy, which would then be the last one in the name.
  const isType = dot > 0 && !COPY_NAME.test(name.slice(dot - 1));
  const hasEnding = isType && encodeName(name.slice(dot)).length <= room / 2;
  const ending = hasEnding ? name.slice(dot) : "";
  let stem = hasEnding ? name.slice(0, dot) : name;
  const stemRoom = room - encodeName(ending).length;
  if (encodeName(stem).length > stemRoom) stem = shorten(stem, stemRoom);
  return joinPath(parentOf(path), stem + mark + ending);
}

export type ConflictCopy = {
  /** Where the winner is; undefined: the name may have been shortened, and does not say. */
  readonly of: RelPath | undefined;
  /** Whose version it was. */
  readonly side: Side;
};

/** What a path says of itself when it is that of a conflict copy. */
export function conflictCopyOf(path: RelPath): ConflictCopy | undefined {
  const name = nameOf(path);
  const found = COPY_NAME.exec(name);
  if (found === null) return undefined;
  const [, stem, side, ending = ""] = found;
  const isWhole = encodeName(name).length < NAME_BYTES_MAX - SLACK_BYTES;
  return { of: isWhole ? joinPath(parentOf(path), stem! + ending) : undefined, side: side as Side };
}
