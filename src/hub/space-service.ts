/**
 * The contract that every door, agent and command goes through. It holds the rules: who may, what a commit needs,
 * quotas, what restore means. Doors translate and hold none. hub-spaces.ts implements it.
 *
 * A commit is durable before it resolves, chunks first and then rows, in the order of its sequences. Calls may overlap;
 * commits of one space are serialised and grouped.
 */
import type { Principal } from "#access/access.ts";
import type { Sum } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type {
  Cause,
  ChangeResult,
  ContentRef,
  JournalRecord,
  Point,
  RestorePoint,
  Space,
  SpaceChange,
  SpaceId,
  SpaceSettings,
  Version,
} from "#hub/space.ts";
import type { FreshChunk } from "#store/chunk-store.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";
import type { SumName, Sums } from "#hub/sums/sums.ts";
import type { CommitOutcome, CopiesRequest, ListRequest } from "#hub/meta/meta-store.ts";
import type { ConflictsPage, Decision } from "#hub/space-conflicts.ts";

/** What a caller says of its commit; actor comes from the principal. */
export type CommitRequest = {
  readonly changes: readonly SpaceChange[];
  /** What content of the changes came through, or is held by; undefined when none of them has content. */
  readonly intake: Intake | undefined;
  readonly atomic: boolean;
  readonly cause: Cause;
  readonly traceId: string;
  readonly host?: string | undefined;
  readonly runId?: string | undefined;
  readonly message?: string | undefined;
  /** The caller knows of no other that writes now: it waits for this one's answer before it sends more. */
  readonly isAlone?: boolean | undefined;
};

/** Content that is in the store: what a change refers to, and its sum under the space's seeds. */
export type NamedContent = {
  readonly content: ContentRef;
  readonly sum: string;
  /** Those that were asked for; they are kept with the content by the commit that puts it. */
  readonly sums: Sums;
};

/** What else is to be computed of content while its bytes pass. */
export type ContentOptions = {
  readonly sums?: readonly SumName[] | undefined;
  /** False: of a file above 1 MiB whose sum the caller will know when it ends, and has from the very bytes that he writes. */
  readonly isSummed?: boolean | undefined;
  /** False: who wants it soon has it from elsewhere than the store. */
  readonly isReadSoon?: boolean | undefined;
};

/** Takes the bytes of one file, in order, and names them. Given up without end(): nothing refers to what was written. */
export interface ContentSink {
  /** A promise where the store cannot keep up: wait before the next. The bytes are the caller's again afterwards. */
  write(bytes: Uint8Array): Promise<void> | void;
  /** Nothing comes after it. @param sum of all, for a sink that does not make it */
  end(sum?: Sum): Promise<NamedContent>;
  /** The chunks that are in the store so far, in order: what a later sink could go on from. */
  readonly stored: readonly ManifestChunk[];
}

/**
 * Brings content into the store for one commit. What comes out of it stays protected from pruning until it is disposed,
 * which must be after the commit. One may be used for many files; its sinks may be used side by side.
 */
export interface Intake extends AsyncDisposable {
  /** A file that is all in memory. */
  store(bytes: Uint8Array, options?: ContentOptions): Promise<NamedContent>;
  /** @param sizeHint bytes that will come, when they are known: very large files are split into larger chunks */
  sink(sizeHint?: number, options?: ContentOptions): ContentSink;
  /**
   * Protects content that a version had, so that a change may refer to it whatever becomes of that version meanwhile.
   * False: retention has dropped it, or a chunk of it is missing; nothing may refer to it then.
   */
  hold(content: ContentRef): Promise<boolean>;
  /**
   * What an earlier sink had stored when it was given up, as far as it is still there without a gap; protected from now
   * on. For who kept `stored` himself, and never for what a caller says: an id gives no right to read.
   * @param isProved false: the caller compares a sum of the whole; as SpaceService.open()
   */
  part(chunks: readonly ManifestChunk[], isProved?: boolean): ContentReader;
  /**
   * All that came through it survives a power loss when this resolves; a commit calls it. Rejects, now and ever after,
   * when something of it was lost to the disk: a new intake has to be taken, and everything sent again.
   * @param onBegun called once at most, when the disk is at work and this thread has time for other things
   * @throws {SynclineError} DISK, CHUNK_DAMAGED
   */
  flush(onBegun?: () => void): Promise<void>;
  /** What flush() would have to make durable, where it is so little that it goes with the rows of a commit instead. */
  fresh(): readonly FreshChunk[] | undefined;
}

/** Random access to the bytes of one content; each chunk is verified when it is read. */
export interface ContentReader {
  readonly size: number;
  /** Fills `into` from `position` on; returns the bytes read, fewer only at the end. Calls may overlap. */
  read(into: Uint8Array, position: number): Promise<number>;
}

/** What is also read from one end to the other, for who sends it on. */
export interface ContentSource extends ContentReader {
  /**
   * Each chunk of what stream() gives was compared with its id, now or before by this process. False: by the CRC of its
   * record alone, for who compares the sum of the whole.
   */
  readonly isProved: boolean;
  /**
   * The bytes [start, end), in pieces of up to 4 MiB: views, not to be changed, of memory that is used again. A piece is
   * free when the one behind the next is asked for.
   */
  stream(start: number, end: number): AsyncGenerator<Uint8Array, void>;
}

/** One thing that happened, for those who listen. */
export type SpaceEvent = { readonly space: string; readonly before: number; readonly after: number };

export interface SpaceService {
  // Spaces (manage; listed are those that the principal may read something of)
  createSpace(who: Principal, name: string, settings?: Partial<SpaceSettings>): Promise<Space>;
  spaces(who: Principal): Promise<Space[]>;
  /** @throws {SynclineError} SPACE_UNKNOWN, also when the principal may read nothing of it */
  space(who: Principal, name: string): Promise<Space>;
  /**
   * Spaces are called by name, and a name may become another's. Whoever is at work for long asks in the very turn of each
   * call. @throws {SynclineError} SPACE_UNKNOWN when the name is not that space's any more
   */
  requireIs(name: string, id: SpaceId): void;
  /** Which space has the name now, deleted or not; asks for no rights. */
  idOf(name: string): SpaceId | undefined;
  updateSpace(who: Principal, name: string, change: { name?: string; settings?: Partial<SpaceSettings> }): Promise<Space>;
  /**
   * It disappears at once and can be brought back until the grace period ends; then prune erases it.
   * @throws {SynclineError} DENIED while it holds what is locked, or anything where only an empty one is to go
   */
  deleteSpace(who: Principal, name: string, how?: { readonly onlyEmpty: boolean }): Promise<void>;
  undeleteSpace(who: Principal, name: string): Promise<Space>;

  // Reading
  version(who: Principal, space: string, path: RelPath, at?: Point): Promise<Version | undefined>;
  /** A page of present entries that the principal may read, in byte order. */
  list(who: Principal, space: string, request: ListRequest): Promise<Version[]>;
  history(who: Principal, space: string, path: RelPath, before: number | undefined, limit: number): Promise<JournalRecord[]>;
  journal(who: Principal, space: string, after: number, limit: number): Promise<JournalRecord[]>;
  /** What a run changed, by sequence. */
  journalOfRun(who: Principal, space: string, runId: string): Promise<JournalRecord[]>;
  /** Present entries below a path, counted up to `max`. */
  count(who: Principal, space: string, below: RelPath, max: number): Promise<number>;
  /** Current versions, tombstones too, at and below a path, that changed after a sequence. */
  changedSince(who: Principal, space: string, below: RelPath, sequence: number, limit: number): Promise<Version[]>;
  /**
   * @param isProved false: the caller reads all of it and compares the sum of the version's entry; then chunks are not
   * hashed one by one
   * @throws {SynclineError} CHUNK_MISSING for content that retention has dropped; ENCRYPTED
   */
  open(who: Principal, space: string, version: Version, isProved?: boolean): Promise<ContentSource>;
  /** As open(), of encrypted content as it is stored: for the door that is sent the key (encrypted-content.ts). */
  openEncrypted(who: Principal, space: string, version: Version): Promise<ContentSource>;

  /**
   * What is known of the content of a version, as far as doors have computed it. Of `wanted` what is lacking is computed
   * now, by reading the content once, and kept.
   * @throws {SynclineError} CHUNK_MISSING for content that retention has dropped; ENCRYPTED
   */
  sums(who: Principal, space: string, version: Version, wanted?: readonly SumName[]): Promise<Sums>;

  // Writing
  /** It is for this space, whatever its name is later: a commit to another is refused with SPACE_UNKNOWN. */
  intake(who: Principal, space: string): Intake;
  commit(who: Principal, space: string, request: CommitRequest): Promise<CommitOutcome>;
  /** Brings a path (with everything below it; "" is all) to the state of a point, as one new commit. */
  restore(
    who: Principal,
    space: string,
    below: RelPath,
    to: Point,
    request: Omit<CommitRequest, "changes" | "atomic" | "intake">,
  ): Promise<CommitOutcome>;
  /** Conflict copies that the caller may read, with what is at the path now. At most `limit`, and fewer where it may. */
  conflicts(who: Principal, space: string, request: CopiesRequest): Promise<ConflictsPage>;
  /** How many conflict copies there are that the caller may read, counted up to `max`. */
  conflictCount(who: Principal, space: string, max: number): Promise<number>;
  /**
   * Carries out what somebody decided about a conflict copy, as one commit of a run of its own.
   * @throws {SynclineError} NOT_FOUND, USAGE, STALE when one of the two was changed since; what the commit is told is in
   * its results
   */
  resolveConflict(
    who: Principal,
    space: string,
    decision: Decision,
    request: Pick<CommitRequest, "traceId" | "message">,
  ): Promise<{ readonly runId: string; readonly changes: readonly SpaceChange[]; readonly outcome: CommitOutcome }>;
  /** Takes back what a run changed; paths changed since are left alone and reported as stale. */
  undoRun(who: Principal, space: string, runId: string, traceId: string): Promise<ChangeResult[]>;

  // Restore points
  createRestorePoint(who: Principal, space: string, name: string, at?: Point): Promise<RestorePoint>;
  restorePoints(who: Principal, space: string): Promise<RestorePoint[]>;
  deleteRestorePoint(who: Principal, space: string, name: string): Promise<void>;

  /** Calls back after each commit of a space, soon and coalesced, until the signal; "*" is all of them. */
  watch(space: string, onEvent: (event: SpaceEvent) => void, signal: AbortSignal): void;
}
