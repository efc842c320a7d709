/**
 * Which chunks a copy has a right to without that its source shows them: those of content that the copy itself refers to,
 * or referred to before, and those that the source sent for a page that was not imported then. All others its source
 * must send, also where they are in the store by another space: whoever knows the id of a chunk is not given its bytes
 * for that, nor told whether this hub has it.
 */
import type { FollowStore } from "#hub/followers/follow-store.ts";
import type { JournalRecord, SpaceId } from "#hub/space.ts";
import type { ChunkId, ContentId } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

export type Copy = {
  readonly space: SpaceId;
  /** A space that was the copy before, and whose content counts as its own. */
  readonly shares?: SpaceId | undefined;
};

/** Those among the chunks of the records' content, and of what the records replace. */
export async function ownChunks(
  store: FollowStore,
  { space, shares }: Copy,
  records: readonly JournalRecord[],
  manifests: ReadonlyMap<ContentId, Manifest>,
): Promise<ReadonlySet<ChunkId>> {
  const own = new Set<ChunkId>(await store.received(space));
  const add = (content: ContentId, manifest: Manifest | undefined): void => {
    if (manifest === undefined) own.add(content as string as ChunkId);
    for (const { id } of manifest?.chunks ?? []) own.add(id);
  };
  // An edit of a large file keeps most of its chunks.
  const replaced: number[] = [];
  const looked = new Set<ContentId>();
  for (const { content, previous } of records) {
    if (content === undefined || looked.has(content.id)) continue;
    looked.add(content.id);
    if (await isOwn(store, space, shares, content.id)) add(content.id, manifests.get(content.id));
    else if (previous > 0) replaced.push(previous);
  }
  const before = [...new Set((await store.contentAt(space, replaced)).values())];
  const theirs = await store.manifests(before);
  for (const content of before) add(content, theirs.get(content));
  return own;
}

async function isOwn(store: FollowStore, space: SpaceId, shares: SpaceId | undefined, content: ContentId): Promise<boolean> {
  return (await store.refers(space, content)) || (shares !== undefined && (await store.refers(shares, content)));
}

/** A chunk that a source asks for: it is given only one of content that the copy has from it. */
export async function isOwnChunk(
  store: FollowStore,
  { space, shares }: Copy,
  asked: { readonly id: ChunkId; readonly content: ContentId },
): Promise<boolean> {
  if (!(await isOwn(store, space, shares, asked.content))) return false;
  const manifest = (await store.manifests([asked.content])).get(asked.content);
  if (manifest === undefined) return asked.id === (asked.content as string);
  return manifest.chunks.some(({ id }) => id === asked.id);
}
