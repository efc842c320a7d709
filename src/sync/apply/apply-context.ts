/** What applying needs of an open endpoint; made once per open. */
import type { Preserve } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import { NAME_BYTES_MAX, type RelPath, encodeName, joinPath } from "#model/path.ts";
import type { Durable, SumSeeds } from "#sync/endpoint/endpoint.ts";
import type { IndexRecord } from "#sync/index/record-codecs.ts";
import type { Store, Tree } from "#sync/index/store.ts";
import type { Damage } from "#sync/scan/damage.ts";
import type { LinkGroups } from "#sync/scan/link-groups.ts";
import type { Confined } from "#platform/confined.ts";
import { type Fd, FsError, describeErrno } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import type { NameSync } from "#sync/apply/name-sync.ts";
import type { RunJournal } from "#sync/apply/run-journal.ts";

export type ApplyContext = {
  readonly host: Host;
  readonly root: Confined;
  /** This session's directory in the stage, and the directory of all trash. */
  readonly stage: Confined;
  readonly trash: Fd;
  readonly store: Store;
  readonly index: Tree<IndexRecord>;
  readonly journal: RunJournal;
  readonly seeds: SumSeeds;
  readonly preserve: Preserve;
  readonly durable: Durable;
  readonly verifyReadBack: boolean;
  /** Large files that receive() has staged: path → name in the stage and what is in it. */
  readonly received: Map<RelPath, ReceivedFile>;
  /** A name in the stage that was not used since the stage was cleared. */
  readonly nextStageName: () => string;
  /** A name in a run's trash; unique while this endpoint is open, and no run lives longer. */
  readonly nextTrashName: () => string;
  /** Throws ROOT_IDENTITY when the root is no longer the one that was opened. */
  readonly assertRoot: () => void;
  /** Is the path filtered out on this side? What is ignored is never touched. */
  readonly ignores: (path: RelPath, isDir: boolean) => boolean;
  /** Do any rules hold in the directory? */
  readonly hasRules: (dir: RelPath) => boolean;
  /** The path turned out different from the index: look at it in the next dirty scan. */
  readonly markDirty: (path: RelPath) => void;
  /** Something ignored at the path, or in it, is in the way: as markDirty when any of that has gone. */
  readonly awaitLeaving: (path: RelPath) => void;
  /** What was at the path is in the trash now: what was known of its damage says nothing any more. */
  readonly replaced: (path: RelPath) => void;
  /** What was found when the file was read: the next scan tells of it. */
  readonly damaged: (path: RelPath, damage: Damage) => void;
  readonly names: NameSync;
  /** Granularity of the times that the disk stores. */
  readonly timestampNs: bigint;
  /** Names that share an inode: a write through one of them is looked for under all. */
  readonly links: LinkGroups;
  /** Records own writes in the observation log; returns the sequences before and after. */
  readonly logPaths: (paths: readonly RelPath[]) => void;
  readonly lastSeq: () => number;
};

export type ReceivedFile = { readonly name: string; readonly sum: string; readonly size: number };

/** ctime and mtime closer than this may hide a later write in the same clock tick (git calls it racily clean). */
export const RACY_NS = 20_000_000n;

/** Longer endings than this are no file types; they are not kept. */
const RESCUE_ENDING_BYTES_MAX = 40;

/** Failures that may pass by themselves, so that the next cycle tries again. */
const TRANSIENT = new Set(["EAGAIN", "EBUSY", "EMFILE", "ENFILE", "ETXTBSY", "ENOSPC", "EDQUOT", "ESTALE", "EINTR"]);

/**
 * A problem from whatever was thrown while handling one path. Only operating system refusals become problems; a
 * programming error or a simulated crash passes on. The controller puts the right side in.
 */
export function problemOf(path: RelPath, error: unknown): Problem {
  if (!(error instanceof FsError)) throw error;
  const message = `cannot ${error.call}: ${describeErrno(error.code)}`;
  return { path, side: "alpha", code: error.code, message, transient: TRANSIENT.has(error.code) };
}

export function problem(path: RelPath, code: string, message: string, transient: boolean): Problem {
  return { path, side: "alpha", code, message, transient };
}

/** Name beside `path` under which content that lost a race is kept visible. */
export function rescueName(dir: RelPath, name: string, tag: string): RelPath {
  const dot = name.lastIndexOf(".");
  const ending = dot > 0 && encodeName(name.slice(dot)).length <= RESCUE_ENDING_BYTES_MAX ? name.slice(dot) : "";
  const mark = `.late-edit-${tag}${ending}`;
  let stem = name.slice(0, name.length - ending.length);
  // Whole characters go, so that half of one does not become another name.
  while (encodeName(stem + mark).length > NAME_BYTES_MAX) stem = [...stem].slice(0, -1).join("");
  return joinPath(dir, stem + mark);
}
