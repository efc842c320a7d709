/** Small commits for tests: what is in a file is a text, and its content's id is that text's. */
import type { Commit, CommitOutcome, MetaStore } from "#hub/meta/meta-store.ts";
import type { ContentRef, Expect, Origin, SpaceChange, SpaceId } from "#hub/space.ts";
import type { Entry, FileEntry } from "#model/entry.ts";
import { encodeName } from "#model/path.ts";
import { type ContentId, chunkIdOf } from "#sync/chunk/chunk-id.ts";

export const ORIGIN: Origin = {
  actor: "user:ann",
  host: "web1",
  traceId: "0123456789abcdef0123456789abcdef",
  cause: "edit",
  runId: undefined,
  message: undefined,
};
export const DIR: Entry = { kind: "dir", mode: 0o755 };

export const contentOf = (text: string): ContentRef => {
  const bytes = encodeName(text);
  return { id: chunkIdOf(bytes) as string as ContentId, size: bytes.length };
};
export const fileOf = (text: string, mtimeNs = 1n): FileEntry => ({
  kind: "file",
  size: encodeName(text).length,
  mode: 0o644,
  mtimeNs,
  sum: contentOf(text).id.slice(0, 32),
});
export const putFile = (path: string, text: string, expect: Expect = { kind: "any" }): SpaceChange => ({
  type: "put",
  path,
  expect,
  entry: fileOf(text),
  content: contentOf(text),
  makeParents: true,
});
export async function commitOne(
  store: MetaStore,
  space: SpaceId,
  changes: readonly SpaceChange[],
  more: Partial<Omit<Commit, "space" | "changes">> = {},
): Promise<CommitOutcome> {
  const commit = { space, changes, origin: ORIGIN, timeMs: 1000, atomic: false, ...more };
  return (await store.commit([commit], new Map()))[0]!;
}
