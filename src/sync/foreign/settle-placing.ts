/** What a connection that was lost in the last steps of a write has left, put in order over another one. */
import type { RelPath } from "#model/path.ts";
import type { ForeignEntry } from "#sync/foreign/foreign-files.ts";

export type Placing = {
  /** Undefined: nothing is there. */
  look(path: RelPath): Promise<ForeignEntry | undefined>;
  rename(from: RelPath, to: RelPath): Promise<void>;
  remove(path: RelPath): Promise<void>;
};

/**
 * A whole file of `count` bytes was on its way from `partial` to `path`, perhaps when the old one had left it. What is found
 * tells how far it came: the way is gone to its end where nothing has the name, because nothing would be taken for removed.
 * @returns what is there when it is the new one; undefined when it is not, or that cannot be told
 */
export async function settlePlacing(
  placing: Placing,
  partial: RelPath,
  path: RelPath,
  count: number,
): Promise<ForeignEntry | undefined> {
  const left = await placing.look(partial);
  let found = await placing.look(path);
  if (left !== undefined) {
    if (found !== undefined) {
      await placing.remove(partial);
      return undefined;
    }
    await placing.rename(partial, path);
    found = await placing.look(path);
  }
  return found?.kind === "file" && found.size === count ? found : undefined;
}
