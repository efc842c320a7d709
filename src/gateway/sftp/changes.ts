/** Changes of entries that move no bytes: each is one commit. */
import type { Principal } from "#access/access.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { SpaceChange, Version } from "#hub/space.ts";
import { DIR_MODE, type Entry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { WantedAttrs } from "#platform/net/sftp-wire.ts";
import { onceMore } from "#gateway/once-more.ts";
import { failed, unsupported } from "#gateway/sftp/status.ts";
import { type Found, type Node, type Place, notDirectory } from "#gateway/sftp/tree.ts";
import { requireDone } from "#gateway/sftp/write-handle.ts";

/** Longest text of a symlink that a space keeps; Linux PATH_MAX. */
const TARGET_CHARS_MAX = 4096;
const NS = 1_000_000_000n;

export type Changing = { readonly spaces: SpaceService; readonly who: () => Principal; readonly traceId: () => string };
type At = NonNullable<Place>;

async function commit({ spaces, who, traceId }: Changing, space: string, changes: readonly SpaceChange[]): Promise<Version> {
  const request = { changes, intake: undefined, atomic: true, cause: "upload", traceId: traceId() } as const;
  return requireDone((await spaces.commit(who(), space, request)).results);
}

/** A node that can be changed at all. @throws {SynclineError} DENIED for spaces and for what is shown only on the way */
export function requireChangeable(node: Node): Found & { readonly version: Version } {
  if (node.place !== undefined && node.version !== undefined) return { ...node, place: node.place, version: node.version };
  const message = "this directory is not changed through this door";
  throw new SynclineError({ code: "DENIED", op: "change", message, hint: "it is a space, or leads to what you may read" });
}

export async function makeDirectory(by: Changing, { space, path }: At, mode: number | undefined, makeParents: boolean): Promise<void> {
  const entry: Entry = { kind: "dir", mode: mode ?? DIR_MODE };
  const change = { type: "put", path, expect: { kind: "absent" }, entry, content: undefined, makeParents } as const;
  await commit(by, space, [change]);
}

export async function makeSymlink(by: Changing, { space, path }: At, target: string, makeParents: boolean): Promise<void> {
  if (target === "" || target.length > TARGET_CHARS_MAX || target.includes("\0")) throw failed("a symlink leads somewhere");
  const entry: Entry = { kind: "symlink", target };
  const change = { type: "put", path, expect: { kind: "absent" }, entry, content: undefined, makeParents } as const;
  await commit(by, space, [change]);
}

const isStale = (error: unknown): boolean => error instanceof SynclineError && error.code === "STALE";

/** A file or a symlink, or an empty directory: what is found, and nothing of another kind that has come in its place. */
export function removeEntry(by: Changing, find: () => Promise<Node>, kind: "file" | "dir"): Promise<void> {
  const attempt = async (): Promise<void> => {
    const { place, version, entry } = requireChangeable(await find());
    if (kind === "dir" && entry.kind !== "dir") throw notDirectory();
    if (kind === "file" && entry.kind === "dir") throw failed("this is a directory");
    const expect = { kind: "sequence", sequence: version.sequence } as const;
    await commit(by, place.space, [{ type: "remove", path: place.path, expect, recursive: false }]);
  };
  return onceMore(attempt, isStale);
}

/**
 * @param there what is at the new place; it goes where `isReplaced`, as POSIX has it
 * @returns the entry at its new place
 */
export async function moveEntry(by: Changing, node: Node, to: At, there: Node | undefined, isReplaced: boolean): Promise<Version> {
  const { place, version, entry } = requireChangeable(node);
  if (place.space !== to.space) throw unsupported("a space cannot be left by a rename: copy it, then remove it");
  if (place.path === to.path) return version;
  const changes: SpaceChange[] = [];
  if (there !== undefined) {
    const old = requireChangeable(there);
    if (!isReplaced) throw failed("something has this name already");
    if (entry.kind === "dir" && old.entry.kind !== "dir") throw notDirectory();
    if (entry.kind !== "dir" && old.entry.kind === "dir") throw failed("a directory has this name");
    const expect = { kind: "sequence", sequence: old.version.sequence } as const;
    changes.push({ type: "remove", path: to.path, expect, recursive: false });
  }
  const expect = { kind: "sequence", sequence: version.sequence } as const;
  changes.push({ type: "move", from: place.path, to: to.path, expect });
  return commit(by, place.space, changes);
}

/**
 * Owners are kept as agents told them: asking for the one that is there changes nothing, another is refused.
 * @throws {SynclineError} UNSUPPORTED
 */
export function requireSameOwner(entry: Entry, { owner }: WantedAttrs): void {
  if (owner === undefined) return;
  const shown = entry.kind === "other" ? undefined : entry.owner;
  if (shown !== undefined && shown.uid === owner.uid && shown.gid === owner.gid) return;
  throw unsupported("owners are not changed through this door");
}

/**
 * Sets mode and time of what is there. Directories and symlinks have no time of their own here, and symlinks no mode:
 * setting them does nothing.
 */
export function setAttrs(by: Changing, find: () => Promise<Node>, wanted: WantedAttrs): Promise<void> {
  const attempt = async (): Promise<void> => {
    const node = await find();
    requireSameOwner(node.entry, wanted);
    const entry = withAttrs(node.entry, wanted);
    if (entry !== node.entry) await putEntry(by, requireChangeable(node), entry);
  };
  return onceMore(attempt, isStale);
}

function withAttrs(entry: Entry, { mode, mtimeSeconds }: WantedAttrs): Entry {
  if (entry.kind === "dir") return mode === undefined || mode === entry.mode ? entry : { ...entry, mode };
  if (entry.kind !== "file") return entry;
  const mtimeNs = mtimeSeconds === undefined ? entry.mtimeNs : BigInt(mtimeSeconds) * NS;
  // Seconds are all that the client can say: a finer time that is the same so far stays.
  const isSameTime = mtimeNs === entry.mtimeNs - (entry.mtimeNs % NS);
  const isSameMode = mode === undefined || mode === entry.mode;
  if (isSameMode && (mtimeSeconds === undefined || isSameTime)) return entry;
  return { ...entry, mode: mode ?? entry.mode, mtimeNs: isSameTime ? entry.mtimeNs : mtimeNs };
}

async function putEntry({ spaces, who, traceId }: Changing, node: Found & { readonly version: Version }, entry: Entry): Promise<void> {
  const { space, path } = node.place;
  const { content, sequence } = node.version;
  await using intake = spaces.intake(who(), space);
  if (content !== undefined && !(await intake.hold(content))) {
    throw new SynclineError({ code: "STALE", op: "set attributes", message: "its bytes are gone" });
  }
  const expect = { kind: "sequence", sequence } as const;
  const change = { type: "put", path, expect, entry, content, makeParents: false } as const;
  const request = { changes: [change], intake, atomic: true, cause: "upload", traceId: traceId() } as const;
  requireDone((await spaces.commit(who(), space, request)).results);
}
