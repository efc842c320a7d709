/**
 * A tree of files on a system that knows nothing of us: an FTP or SFTP server, a bucket. What every client of such a
 * system promises, and what it may be unable to do; foreign-contract.ts holds each implementation to it, and
 * foreign-endpoint.ts makes a side of a pair of it.
 *
 * Paths are relative to the root that the address named, "" is the root itself. An implementation uses the bytes of a name
 * as they are (encodeName) and refuses, with UNSUPPORTED, a path that its protocol cannot say.
 *
 * Every call but close() rejects with a SynclineError of one of these codes:
 * NOT_FOUND · EXISTS (something is there that should not be; a directory that is not empty) · DENIED (rights) ·
 * AUTH (who we are was not accepted) · TRUST (certificate or host key) · STALE (it is not what was expected) ·
 * LINK_LOST, retryable (the connection, a time-out, the server asks to come back later) · DISK (full, or over a quota) ·
 * UNSUPPORTED · PROTOCOL (an answer that makes no sense) · INTERRUPTED (the signal). Retries of single commands that
 * changed nothing are the implementation's own, with a named maximum; a change whose outcome is not known is LINK_LOST and
 * never repeated blindly.
 *
 * Calls may overlap up to `Abilities.parallel`; more wait inside, for a connection or their turn. After LINK_LOST the next
 * call connects anew.
 */
import type { RelPath } from "#model/path.ts";

export type ForeignEntry = {
  /** From the root. */
  readonly path: RelPath;
  /** `other` is never synchronised: devices, and what the client cannot make sense of. */
  readonly kind: "file" | "dir" | "symlink" | "other";
  /** Bytes of a file; 0 for all else. */
  readonly size: number;
  /** The file's own time, as exact as the system tells it; undefined where it tells none. */
  readonly mtimeNs?: bigint | undefined;
  /** Permission bits 0..0o7777, where the system has such. */
  readonly mode?: number | undefined;
  /** What a symlink says, where it can be read. */
  readonly target?: string | undefined;
  /** Changes whenever the content does, whoever writes (an ETag with a version id). Undefined: the system has no such thing. */
  readonly tag?: string | undefined;
};

/** What this system, as it answered this time, can do. */
export type Abilities = {
  /** For people: "FTP", "SFTP", "S3". */
  readonly system: string;
  /** A file keeps the mtime it is given (MFMT, SETSTAT, metadata of an object). */
  readonly setsTimes: boolean;
  /** Grain of the times it tells; 0n: it tells none. */
  readonly timeResolutionNs: bigint;
  /** Listings tell all that stat() does. False: mtime comes from stat() alone (a bucket). */
  readonly listsTimes: boolean;
  /** `atomic`: file or directory, in one step · `copies`: single files, by copy and removal · `none`. */
  readonly renames: "atomic" | "copies" | "none";
  /** rename() may replace a file in one step. */
  readonly replaces: boolean;
  /**
   * False: a directory is what the names of files begin with. It is there while one does, or while the mark is there that
   * makeDir() leaves and removeDir() takes away; makeDir() of one that is there already only leaves the mark.
   */
  readonly directories: boolean;
  /** makeDir() and setMode() set permission bits, and listings tell them. */
  readonly modes: boolean;
  /** makeSymlink() works and listings tell targets. */
  readonly symlinks: boolean;
  /** Expectations are checked by the system itself, in the step that changes. False: just before it. */
  readonly conditional: boolean;
  /** read() begins at an offset without reading what comes before. */
  readonly ranges: boolean;
  /** What is replaced can be kept (`keepAs`). */
  readonly keeps: boolean;
  /** Calls at once that are of use; at least 1. */
  readonly parallel: number;
};

/** `absent`: nothing may be there · an entry: this file, told apart by tag where there is one, else by size and mtime. */
export type Expected = ForeignEntry | "absent";

export type ReadOptions = {
  /** Bytes to pass over; 0 where not given. */
  readonly offset?: number | undefined;
  /** Rejects with STALE when something else is there, also when it changes while it is read, as far as can be seen. */
  readonly expect?: ForeignEntry | undefined;
};

export type WriteOptions = {
  /** When known; fewer or more bytes than this reject and change nothing. */
  readonly size?: number | undefined;
  /** Time to give it; passed over where times are not set. */
  readonly mtimeNs?: bigint | undefined;
  /** Permission bits to give it; passed over where there are none. */
  readonly mode?: number | undefined;
  /** Undefined: whatever is there is replaced. Checked just before the new file takes its place, else STALE. */
  readonly expect?: Expected | undefined;
  /**
   * Where what is replaced is kept, a path whose directory exists: by a copy made before, or, where the system cannot
   * copy, by a rename just before the new one takes the name, taken back if that fails. Only with `Abilities.keeps`.
   */
  readonly keepAs?: RelPath | undefined;
};

export type RemoveOptions = {
  readonly expect?: ForeignEntry | undefined;
  /** As in WriteOptions. */
  readonly keepAs?: RelPath | undefined;
};

export interface ForeignFiles {
  /** For people, without any secret: "sftp://host/srv/www". */
  readonly label: string;
  /** Connects and signs in; before all other calls, once. The root need not exist: stat("") says, makeDir("") makes it. */
  connect(signal: AbortSignal): Promise<Abilities>;
  /**
   * Where only trying tells what the system can do when it is written: tries below `dir`, a directory of ours that is
   * there, and leaves nothing. Called once, for sides that are written.
   */
  tryWriting?(dir: RelPath, signal: AbortSignal): Promise<Abilities>;
  /**
   * What is in a directory, "." and ".." left out, in no order; NOT_FOUND where there is no such directory. Complete, or
   * rejects: never only a part. Names that cannot be names here are told as they are, and left by the caller, as
   * partials are (isPartialName).
   */
  list(dir: RelPath, signal: AbortSignal): AsyncIterable<ForeignEntry[]>;
  /** Undefined when nothing is there. Symlinks are not followed where the system can tell them. */
  stat(path: RelPath, signal: AbortSignal): Promise<ForeignEntry | undefined>;
  /** A file's bytes, to their end: a stream that breaks off before rejects. */
  read(path: RelPath, options: ReadOptions, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Puts a file, whole or not at all: written under a partialName() in the same directory and renamed, or what the system
   * has for it; of a write that fails nothing stays. The directory exists. An error of `bytes` rejects as it is. Memory is
   * bounded whatever the size.
   * @returns what is there now, as stat() would tell it
   */
  write(
    path: RelPath,
    bytes: AsyncIterable<Uint8Array>,
    options: WriteOptions,
    signal: AbortSignal,
  ): Promise<ForeignEntry>;
  /** Removes a file or symlink. NOT_FOUND when nothing is there. */
  remove(path: RelPath, options: RemoveOptions, signal: AbortSignal): Promise<void>;
  /** Its parent exists. EXISTS when anything is there (but see `Abilities.directories`). */
  makeDir(path: RelPath, mode: number | undefined, signal: AbortSignal): Promise<void>;
  /** EXISTS when it is not empty, NOT_FOUND when it is not there. */
  removeDir(path: RelPath, signal: AbortSignal): Promise<void>;
  /**
   * Never replaces: EXISTS when anything is at `to`, as far as the system can tell. UNSUPPORTED for what it cannot rename.
   * @param expect as for a removal, of a file
   * @returns where a file is renamed by a copy, what that is; undefined: it is the same as before
   */
  rename(from: RelPath, to: RelPath, signal: AbortSignal, expect?: ForeignEntry): Promise<ForeignEntry | undefined>;
  /** UNSUPPORTED where times are not set. @param expect as for a removal @returns what is there now */
  setTime(path: RelPath, mtimeNs: bigint, signal: AbortSignal, expect?: ForeignEntry): Promise<ForeignEntry>;
  /** UNSUPPORTED where there are no modes. */
  setMode(path: RelPath, mode: number, signal: AbortSignal): Promise<void>;
  /** UNSUPPORTED where there are no symlinks. EXISTS when anything is there. */
  makeSymlink(path: RelPath, target: string, signal: AbortSignal): Promise<void>;
  /** Lets go of everything; never rejects, may be called twice and during other calls, which then reject. */
  close(): Promise<void>;
}

const PARTIAL_PREFIX = ".syncline-part-";

/**
 * Name under which a file is written before it is whole.
 * @param owner hex digits that name the pair or job; whoever has the same one may remove what a crash left
 * @param random hex digits, another for each file
 */
export function partialName(owner: string, random: string): string {
  return `${PARTIAL_PREFIX}${owner}-${random}`;
}

/** Is it a partial, anybody's or only that of `owner`? Partials are never synchronised. */
export function isPartialName(name: string, owner?: string): boolean {
  return name.startsWith(owner === undefined ? PARTIAL_PREFIX : `${PARTIAL_PREFIX}${owner}-`);
}

/** Is what is there what was expected? By tag where both have one, else by kind, size and, where both have it, time. */
export function isExpected(found: ForeignEntry | undefined, expected: Expected): boolean {
  if (expected === "absent" || found === undefined) return expected === "absent" && found === undefined;
  if (found.kind !== expected.kind || found.size !== expected.size) return false;
  if (found.tag !== undefined && expected.tag !== undefined) return found.tag === expected.tag;
  if (found.target !== undefined && expected.target !== undefined && found.target !== expected.target) return false;
  return found.mtimeNs === undefined || expected.mtimeNs === undefined || found.mtimeNs === expected.mtimeNs;
}
