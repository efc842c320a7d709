/** Files that cannot come to their place are refused before a byte of them comes. */
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { TransferItem, TransferResult } from "#sync/endpoint/endpoint.ts";

/**
 * Answers for the items that the side refuses, and returns the others. Where something else stands in the place of a
 * file, or of a directory above it, the other side cannot remember that it is refused, and asks for it again in every
 * session: its bytes would come each time.
 */
export async function refuseFiles(
  items: readonly TransferItem[],
  refusal: (path: RelPath) => Problem | undefined | Promise<Problem | undefined>,
  onResult: (result: TransferResult) => void,
): Promise<TransferItem[]> {
  const wanted: TransferItem[] = [];
  for (const item of items) {
    const problem = await refusal(item.path);
    if (problem === undefined) wanted.push(item);
    else onResult({ path: item.path, problem, literalBytes: 0, reusedBytes: 0 });
  }
  return wanted;
}

