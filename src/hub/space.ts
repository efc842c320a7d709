/**
 * What a space is: plain values that the rooms of the hub, its doors and its agents speak.
 *
 * A space is a tree of entries. Every change of one path has its own sequence, in the order in which the changes were
 * committed: 1, 2, 3 … without gaps, for the life of the space. The journal is all of them; a version is the state that
 * one of them gave to a path.
 */
import type { Attributes } from "#hub/attributes.ts";
import type { LifecycleRule } from "#hub/lifecycle/rules.ts";
import type { SpaceLock, VersionLock } from "#hub/locks.ts";
import type { Entry } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type { ContentId } from "#sync/chunk/chunk-id.ts";

export type SpaceId = number & { readonly __spaceId: unique symbol };

/** 1 to 63 of a–z, 0–9, "-" and ".", beginning and ending with a letter or digit: also a bucket's and a host's name. */
export const SPACE_NAME = /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/;

export type Retention = {
  /** Old versions of a path to keep at most; undefined: no limit. The current one is never counted. */
  readonly versions: number | undefined;
  /** Old versions are kept this long after they were replaced; undefined: for ever. */
  readonly ageMs: number | undefined;
};

export type SpaceSettings = {
  /** Undefined: no limit. Bytes are those of the current files, before deduplication. */
  readonly quotaBytes: number | undefined;
  readonly quotaEntries: number | undefined;
  readonly retention: Retention;
  /** gitignore-style lines that links of this space begin with. */
  readonly ignore: readonly string[];
  /** What doors keep with the space: short texts by name, as attributes of a version are. */
  readonly doors?: Attributes | undefined;
  /** Versions can be locked, and new ones may be at once. */
  readonly lock?: SpaceLock | undefined;
  /** What becomes of entries and versions with time. */
  readonly lifecycle?: readonly LifecycleRule[] | undefined;
};

export const SETTINGS_DEFAULT: SpaceSettings = {
  quotaBytes: undefined,
  quotaEntries: undefined,
  retention: { versions: undefined, ageMs: undefined },
  ignore: [],
};

export type Space = {
  readonly id: SpaceId;
  readonly name: string;
  readonly createdMs: number;
  /** Since when it is deleted; it can be brought back until the grace period ends. */
  readonly deletedMs: number | undefined;
  readonly settings: SpaceSettings;
  /** Made once. A hub that was restored from a backup makes a new one, so that followers compare everything. */
  readonly lineage: string;
  /** Two seeds of XXH3 by which all endpoints of this space name content (model/entry.ts, Sum); 16 bytes. */
  readonly seeds: Uint8Array;
  /** Of the last change; 0 for a new space. */
  readonly sequence: number;
  readonly usage: { readonly bytes: number; readonly entries: number };
  /** Whose copy it is: it takes no changes but those of its source. Undefined: it is written to here. */
  readonly follows?: FollowedSource | undefined;
};

/** A space of another hub: the address of that hub, and the space's name there. */
export type FollowedSource = { readonly url: string; readonly source: string };

/** One file's bytes in the store. */
export type ContentRef = { readonly id: ContentId; readonly size: number };

/** How often each hub has changed a path: hub id → that hub's sequence. Compared pointwise. */
export type VersionVector = Readonly<Record<string, number>>;

/** The state that one change gave to a path. */
export type Version = {
  readonly path: RelPath;
  readonly sequence: number;
  /** Undefined: the path was removed (a tombstone). */
  readonly entry: Entry | undefined;
  /** Of a file; undefined for all else, and for a version whose content retention has dropped. */
  readonly content: ContentRef | undefined;
  /** What doors keep with it; of a tombstone none (hub/attributes.ts). */
  readonly attributes: Attributes;
  readonly vector: VersionVector;
};

export type Cause = "edit" | "upload" | "undo" | "restore" | "rollout" | "conflict" | "repair" | "purge" | "lifecycle";

/** Who changed something, from where and why; the same for all changes of one commit. */
export type Origin = {
  /** Name of the user or agent: "user:ann", "agent:web1". */
  readonly actor: string;
  /** The host it happened on, when the actor is not one. */
  readonly host: string | undefined;
  /** 32 hex digits (W3C trace context). */
  readonly traceId: string;
  readonly cause: Cause;
  /** The run of a link's session, for undo. */
  readonly runId: string | undefined;
  readonly message: string | undefined;
};

export type JournalAction = "create" | "replace" | "metadata" | "remove" | "move";

/** One change of one path, as it was committed. */
export type JournalRecord = Version & {
  readonly action: JournalAction;
  /** Where the entry came from, with "move". The removal of `from` has a record of its own, directly before. */
  readonly from: RelPath | undefined;
  /** Sequence of the version that it replaced; 0 when there was none. */
  readonly previous: number;
  readonly timeMs: number;
  /** Commits are numbered by the sequence of their first change. */
  readonly commit: number;
  readonly origin: Origin;
  /** Somebody has taken this version away for good. */
  readonly isPurged?: boolean | undefined;
};

/** What must still be true at a path for a change to be made there. */
export type Expect =
  /** Whatever is there. */
  | { readonly kind: "any" }
  /** Nothing is there. */
  | { readonly kind: "absent" }
  /** Anything, but not nothing. */
  | { readonly kind: "present" }
  /** The current version has this sequence. */
  | { readonly kind: "sequence"; readonly sequence: number }
  /** Something is there, and neither it nor anything below it was changed after this sequence by another commit. */
  | { readonly kind: "unchangedSince"; readonly sequence: number }
  /** The current entry is certainly the same content and metadata (or absent), as an endpoint saw it. */
  | { readonly kind: "entry"; readonly entry: Entry | undefined };

export type SpaceChange =
  | {
      readonly type: "put";
      readonly path: RelPath;
      readonly expect: Expect;
      readonly entry: Entry;
      /** Required for files: bytes that the store has (through a pin that is still held). */
      readonly content: ContentRef | undefined;
      /** All that the version has. Undefined: what is there stays, as far as it is not of other bytes. */
      readonly attributes?: Attributes | undefined;
      /** Make missing directories above the path. */
      readonly makeParents: boolean;
      /** For the new version, in a space that keeps locks; what it does not say is as the space has it. */
      readonly lock?: VersionLock | undefined;
      /**
       * What is said of the version is other, not the version: it keeps the sequence that it is known by, and its lock. Where
       * other bytes are there it is a new version all the same.
       */
      readonly isSameVersion?: true;
      /** A directory never takes the place of a file, nor a file that of a directory that has nothing in it. */
      readonly keepsKind?: true | undefined;
      /**
       * The permissions are those of a file that is made anew: one that is there keeps its own, but for set-id bits under other
       * bytes. And a directory that is there stays all that it is.
       */
      readonly keepsMode?: boolean | undefined;
    }
  | {
      readonly type: "remove";
      readonly path: RelPath;
      readonly expect: Expect;
      /** A directory goes with everything in it; otherwise only when it is empty. */
      readonly recursive: boolean;
      /** Also where a tombstone is: another one takes its place. */
      readonly marksAgain?: true | undefined;
    }
  | {
      /** A file or a directory with everything in it; `to` must not exist. */
      readonly type: "move";
      readonly from: RelPath;
      readonly to: RelPath;
      readonly expect: Expect;
    };

export type ChangeResult =
  | { readonly status: "done"; readonly path: RelPath; readonly version: Version }
  /** Something else is there; the current version, when there is one. Nothing was changed. */
  | { readonly status: "stale"; readonly path: RelPath; readonly version: Version | undefined }
  | { readonly status: "refused"; readonly path: RelPath; readonly code: RefusalCode; readonly message: string };

export type RefusalCode =
  | "NOT_A_DIRECTORY" // something on the way is no directory
  | "NO_PARENT" // the directory above is missing
  | "NOT_EMPTY"
  | "IS_A_DIRECTORY" // a file cannot take the place of a directory that is not empty
  | "QUOTA"
  | "NAME" // the path cannot be used
  | "CONTENT" // no entry that a space keeps, or a file without content that is there
  | "ATOMIC"; // another change of the same atomic commit was not done

/** A moment in the life of a space: after a sequence, or at a time (the last change not after it). */
export type Point = { readonly sequence: number } | { readonly timeMs: number };

export type RestorePoint = {
  readonly space: SpaceId;
  readonly name: string;
  readonly sequence: number;
  readonly timeMs: number;
  readonly actor: string;
};
