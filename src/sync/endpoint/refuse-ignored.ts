/** Files that a side filters out are refused before a byte of them comes. */
import type { RelPath } from "#model/path.ts";
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
  const message = "it is ignored on this side";
  const problem = { path, side: "alpha", code: "IGNORED", message, transient: false } as const;
  return { path, problem, literalBytes: 0, reusedBytes: 0 };
}
