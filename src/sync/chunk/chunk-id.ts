/** Names of bytes that hold everywhere and for ever, unlike a Sum: SHA-256, in lower-case hex. */
import { encodeName } from "#model/path.ts";

/** SHA-256 of a chunk's plain bytes, 64 hex digits. */
export type ChunkId = string & { readonly __chunkId: unique symbol };
/** Identity of a whole file's bytes; see contentIdOf. */
export type ContentId = string & { readonly __contentId: unique symbol };

export const ID_BYTES = 32;

/** Keeps a list of ids from ever having the name of a chunk with the same bytes. */
const CONTENT_DOMAIN = encodeName("syncline content 1\n");

const digest = new Uint8Array(ID_BYTES);

export function chunkIdOf(bytes: Uint8Array): ChunkId {
  Bun.SHA256.hash(bytes, digest);
  return digest.toHex() as ChunkId;
}

/** The id that a chunk with this SHA-256 has. */
export function chunkIdFrom(sha256: Uint8Array): ChunkId {
  return sha256.toHex() as ChunkId;
}

/**
 * The id of a file by its chunks' ids in order: the only chunk's own, or SHA-256 over the domain tag and all
 * ids as bytes. A file without chunks is empty and has the id of an empty chunk. The same bytes split by
 * other limits have another id: limits belong to a manifest.
 */
export function contentIdOf(chunkIds: readonly ChunkId[]): ContentId {
  const [only] = chunkIds;
  if (chunkIds.length < 2) return (only ?? chunkIdOf(new Uint8Array(0))) as string as ContentId;
  const hasher = new Bun.SHA256();
  hasher.update(CONTENT_DOMAIN);
  const id = new Uint8Array(ID_BYTES);
  for (const chunkId of chunkIds) {
    id.setFromHex(chunkId);
    hasher.update(id);
  }
  hasher.digest(digest);
  return digest.toHex() as ContentId;
}

export function isChunkId(text: string): text is ChunkId {
  return /^[0-9a-f]{64}$/.test(text);
}
