/**
 * The space of another hub as its follower sees it. gateway/client/follow-client.ts asks over HTTP; following.ts answers
 * for this hub's own spaces.
 */
import type { KeptPoint, LostChunk, PastLineage } from "#hub/followers/follow-store.ts";
import type { Mark } from "#hub/meta/marks.ts";
import type { JournalRecord, SpaceSettings } from "#hub/space.ts";
import type { RelPath } from "#model/path.ts";
import type { ChunkId, ContentId } from "#sync/chunk/chunk-id.ts";
import type { Manifest } from "#sync/chunk/manifest.ts";

/** Records of one page; fewer where their manifests are large. */
export const PAGE_RECORDS_MAX = 2000;
/** Longest that a page is waited for. */
export const WAIT_MS_MAX = 25_000;
/** Chunks asked for at once, and their bytes together. */
export const CHUNKS_MAX = 256;
export const CHUNK_REQUEST_BYTES = 8 << 20;
/** Sequences asked about at once. */
export const SEQUENCES_MAX = 2000;
/** Entries of a range that are told one by one instead of cutting it further; parts of a range that is cut. */
export const LEAVES_MAX = 256;
export const PARTS = 16;
/** Lost chunks that a page asks for. */
export const WANTED_MAX = 64;

export type SourceFacts = {
  readonly hubId: string;
  readonly lineage: string;
  readonly sequence: number;
  readonly past: readonly PastLineage[];
  readonly seeds: Uint8Array;
  readonly settings: SpaceSettings;
  readonly points: readonly KeptPoint[];
  /** Another one whenever settings or restore points are others. */
  readonly tag: string;
};

export type SourcePage = {
  readonly lineage: string;
  /** Of the last change that is there. */
  readonly sequence: number;
  readonly tag: string;
  readonly records: readonly JournalRecord[];
  readonly manifests: ReadonlyMap<ContentId, Manifest>;
  /** Chunks that the source has lost, and asks its follower for. */
  readonly wanted: readonly LostChunk[];
  /** The number of what was said last of a version (meta/marks.ts); undefined: nothing was. */
  readonly marks?: number | undefined;
};

export type SourceMarks = {
  /** Of the space when they were read: they are about changes up to it. */
  readonly sequence: number;
  /** By number. A page; an empty one is the end. */
  readonly marks: readonly Mark[];
};

/** Of paths from `from` on and before `to`; undefined: to the end. */
export type PathRange = { readonly from: RelPath; readonly to: RelPath | undefined };
export type RangeDigest = PathRange & { readonly count: number; readonly digest: string };
export type LeafDigest = { readonly path: RelPath; readonly sequence: number; readonly digest: string };

export type DigestAnswer = {
  readonly lineage: string;
  readonly sequence: number;
  readonly count: number;
  readonly digest: string;
  /** Of a range of at most LEAVES_MAX entries, when details were asked for. */
  readonly leaves?: readonly LeafDigest[] | undefined;
  /** Of a larger one: it, cut into about PARTS. */
  readonly parts?: readonly RangeDigest[] | undefined;
};

export type WantedContent = { readonly content: ContentId; readonly chunks: readonly ChunkId[] };

export interface FollowSource {
  facts(signal: AbortSignal): Promise<SourceFacts>;
  /** Records after a sequence; waits up to `waitMs` while there are none. Ends with a commit unless that is too large. */
  page(after: number, waitMs: number, signal: AbortSignal): Promise<SourcePage>;
  /** Calls back for each chunk in turn, verified against its id; undefined: the source does not have it. */
  chunks(
    wanted: readonly WantedContent[],
    onChunk: (id: ChunkId, bytes: Uint8Array | undefined) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void>;
  /** A chunk that the source asked for. */
  give(id: ChunkId, bytes: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Which of these versions have lost their content there. */
  dropped(sequences: readonly number[], signal: AbortSignal): Promise<number[]>;
  /** What was said of versions after a number. */
  marks(after: number, signal: AbortSignal): Promise<SourceMarks>;
  digest(at: number, range: PathRange, detail: boolean, signal: AbortSignal): Promise<DigestAnswer>;
  /** Versions of one path after `after` and up to `until`, oldest first. A page; an empty one is the end. */
  history(
    path: RelPath,
    after: number,
    until: number,
    signal: AbortSignal,
  ): Promise<Pick<SourcePage, "records" | "manifests">>;
}
