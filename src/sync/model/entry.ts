/**
 * Entries: what one node of a root is, as far as synchronisation cares. Pure values, never mutated.
 * An entry holds what both sides can agree on; what only one disk knows (inode, ctime) is in the index.
 */
import type { RelPath } from "#model/path.ts";

/**
 * Identity of a file's bytes inside one session: 128 bits as 32 hex digits, from two XXH3-64 with the two secret
 * seeds of the session. It finds changes and damage at memory speed; being keyed it cannot be forged from outside.
 * It is not a content id: SHA-256 is used wherever bytes are named across sessions (chunk/).
 */
export type Sum = string;

/** Extended attributes by name; values are raw bytes as latin1 strings. Sorted by name. */
export type Xattrs = readonly (readonly [name: string, value: string])[];

/** Owner and group, present only when the session preserves them. Names win over numbers where both exist. */
export type Owner = { uid: number; gid: number; user?: string | undefined; group?: string | undefined };

export type FileEntry = {
  readonly kind: "file";
  readonly size: number;
  /** Permission bits, 0..0o7777. */
  readonly mode: number;
  readonly mtimeNs: bigint;
  /** Undefined: not hashed yet. Two files of which one has no sum can only be told apart by size. */
  readonly sum: Sum | undefined;
  readonly owner?: Owner | undefined;
  readonly xattrs?: Xattrs | undefined;
  /** Set on every member of a hard-link group except its leader: the leader's path (first in path order). */
  readonly linkTo?: RelPath | undefined;
};

export type DirEntry = {
  readonly kind: "dir";
  readonly mode: number;
  readonly owner?: Owner | undefined;
  readonly xattrs?: Xattrs | undefined;
};

export type SymlinkEntry = {
  readonly kind: "symlink";
  /** Target text, decoded like a name; never followed or interpreted. */
  readonly target: string;
  readonly owner?: Owner | undefined;
};

/** Seen on disk but never synchronised: devices, sockets, FIFOs. It blocks what would replace it. */
export type OtherEntry = { readonly kind: "other"; readonly what: string };

export type Entry = FileEntry | DirEntry | SymlinkEntry | OtherEntry;

/** Permissions of what comes from where there are none, or from who says nothing of them. */
export const FILE_MODE = 0o644;
export const DIR_MODE = 0o755;

/**
 * Permissions that a file keeps under new bytes, from those that it has: without set-id bits, which would lend the rights of
 * its owner to who has written the bytes.
 */
export function keptMode(mode: number): number {
  return mode & 0o1777;
}

/** Which metadata a session carries. What is not carried is neither compared nor set. */
export type Preserve = {
  readonly mode: boolean;
  readonly mtime: boolean;
  readonly owner: "none" | "name" | "number";
  readonly xattrs: boolean;
  readonly hardlinks: boolean;
  readonly symlinks: boolean;
  readonly sparse: boolean;
};

export const PRESERVE_DEFAULT: Preserve = {
  mode: true,
  mtime: true,
  owner: "none",
  xattrs: false,
  hardlinks: false,
  symlinks: true,
  sparse: true,
};

export const PRESERVE_ALL: Preserve = {
  mode: true,
  mtime: true,
  owner: "name",
  xattrs: true,
  hardlinks: true,
  symlinks: true,
  sparse: true,
};

export type Content = "same" | "differs" | "unknown";

/** Do two entries hold the same content? "unknown" only when sizes agree and a sum is missing. */
export function compareContent(a: Entry, b: Entry): Content {
  if (a === b) return "same";
  if (a.kind === "file" && b.kind === "file") {
    if (a.size !== b.size) return "differs";
    if (a.sum !== undefined && b.sum !== undefined) return a.sum === b.sum ? "same" : "differs";
    return a.size === 0 ? "same" : "unknown";
  }
  if (a.kind === "symlink" && b.kind === "symlink") return a.target === b.target ? "same" : "differs";
  if (a.kind === "other" && b.kind === "other") return a.what === b.what ? "same" : "differs";
  return a.kind === b.kind ? "same" : "differs";
}

function sameOwner(a: Owner | undefined, b: Owner | undefined, how: Preserve["owner"]): boolean {
  if (how === "none" || a === undefined || b === undefined) return true;
  if (how === "number") return a.uid === b.uid && a.gid === b.gid;
  const user = a.user !== undefined && b.user !== undefined ? a.user === b.user : a.uid === b.uid;
  const group = a.group !== undefined && b.group !== undefined ? a.group === b.group : a.gid === b.gid;
  return user && group;
}

function sameXattrs(a: Xattrs | undefined, b: Xattrs | undefined): boolean {
  if (a === b) return true;
  const x = a ?? [];
  const y = b ?? [];
  return x.length === y.length && x.every(([name, value], at) => y[at]![0] === name && y[at]![1] === value);
}

/** Is the metadata that the session carries the same? Entries of different kind never are. */
export function sameMetadata(a: Entry, b: Entry, preserve: Preserve): boolean {
  if (a.kind !== b.kind) return false;
  if (a.kind === "other" || b.kind === "other") return true;
  if (!sameOwner(a.owner, b.owner, preserve.owner)) return false;
  if (a.kind === "symlink" || b.kind === "symlink") return true;
  if (preserve.mode && a.mode !== b.mode) return false;
  if (preserve.xattrs && !sameXattrs(a.xattrs, b.xattrs)) return false;
  if (a.kind === "file" && b.kind === "file") {
    if (preserve.mtime && a.mtimeNs !== b.mtimeNs) return false;
    if (preserve.hardlinks && a.linkTo !== b.linkTo) return false;
  }
  return true;
}

/** Certainly the same content and metadata; a missing sum counts as different. Two absences are the same. */
export function sameEntry(a: Entry | undefined, b: Entry | undefined, preserve: Preserve): boolean {
  if (a === b) return true;
  if (a === undefined || b === undefined) return false;
  return compareContent(a, b) === "same" && sameMetadata(a, b, preserve);
}
