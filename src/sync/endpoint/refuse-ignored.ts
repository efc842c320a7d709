/** Files that a side filters out are refused before a byte of them comes. */
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import { FsError } from "#platform/file-system.ts";
import type { TransferItem, TransferResult } from "#sync/endpoint/endpoint.ts";

/**
 * Answers for the items that the side ignores, and returns the others. Where something else stands in the place of a
 * directory above them, the other side cannot remember that they are ignored, and asks for them again in every session:
 * their bytes would come each time.
 */
export async function refuseIgnored(
  items: readonly TransferItem[],
  ignores: (path: RelPath, isDir: boolean) => boolean | Promise<boolean>,
  onResult: (result: TransferResult) => void,
): Promise<TransferItem[]> {
  const wanted: TransferItem[] = [];
  for (const item of items) {
    if (await ignores(item.path, false)) onResult(ignoredFile(item.path));
    else wanted.push(item);
  }
  return wanted;
}

/** The answer for a file that the side ignores. */
export function ignoredFile(path: RelPath): TransferResult {
  return { path, problem: ignoredProblem(path), literalBytes: 0, reusedBytes: 0 };
}

export function ignoredProblem(path: RelPath): Problem {
  return { path, side: "alpha", code: "IGNORED", message: "it is ignored on this side", transient: false };
}

/**
 * For a path that a side does not know: does it ignore it, so that nobody can say that it has gone? What is not there
 * either is ignored if it were as a directory, or as anything else.
 *
 * @param kind of what is there; throws where that cannot be told, and then nothing is known to be ignored
 */
export async function isHidden(
  path: RelPath,
  kind: () => string | undefined,
  ignores: (path: RelPath, isDir: boolean) => boolean | Promise<boolean>,
): Promise<boolean> {
  let found: string | undefined;
  try {
    found = kind();
  } catch (error) {
    if (!(error instanceof FsError)) throw error;
    return false;
  }
  if (found !== undefined) return ignores(path, found === "dir");
  return (await ignores(path, false)) || (await ignores(path, true));
}
