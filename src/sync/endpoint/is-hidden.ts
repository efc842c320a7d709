/** What a complete listing does not show has gone, or is out of sight. */
import type { RelPath } from "#model/path.ts";
import { FsError } from "#platform/file-system.ts";

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
