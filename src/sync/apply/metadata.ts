/** Setting and reading the metadata that a session preserves, always on an open descriptor. */
import { DIR_MODE, type Entry, FILE_MODE, type Owner, type Preserve, type Xattrs } from "#model/entry.ts";
import { isCarried } from "#sync/scan/observer.ts";
import { type Fd, type FileSystem, type Stat, isCode } from "#platform/file-system.ts";

export function modeFor(entry: Entry, preserve: Preserve): number {
  if (entry.kind === "file") return preserve.mode ? entry.mode : FILE_MODE;
  return entry.kind === "dir" && preserve.mode ? entry.mode : DIR_MODE;
}

/**
 * Mode in which an entry is made, before it is complete and has its owner: never more than it shall permit in the end.
 * Set-id bits come last, because until then they would lend out the rights of whoever runs us; and a group's bits mean
 * another group as long as the owner is not set.
 */
export function creationMode(entry: Entry, preserve: Preserve): number {
  const setsOwner = preserve.owner !== "none" && entry.kind !== "other" && entry.owner !== undefined;
  return modeFor(entry, preserve) & (setsOwner ? 0o700 : 0o777);
}

/** Numbers to give to chown, by name first where the session maps names. */
export function ownerIds(fs: FileSystem, owner: Owner, how: Preserve["owner"]): { uid: number; gid: number } {
  const byName = how === "name";
  const uid = byName && owner.user !== undefined ? fs.userId(owner.user) : undefined;
  const gid = byName && owner.group !== undefined ? fs.groupId(owner.group) : undefined;
  return { uid: uid ?? owner.uid, gid: gid ?? owner.gid };
}

/** Labels and what else the system itself keeps in attributes are not ours to remove. */
function setXattrs(fs: FileSystem, fd: Fd, wanted: Xattrs): void {
  const keep = new Set(wanted.map(([name]) => name));
  for (const [name] of attributesOf(fs, fd)) if (isCarried(name) && !keep.has(name)) fs.removeXattr(fd, name);
  for (const [name, value] of wanted) fs.setXattr(fd, name, Buffer.from(value, "latin1"));
}

function attributesOf(fs: FileSystem, fd: Fd): ReturnType<FileSystem["getXattrs"]> {
  try {
    return fs.getXattrs(fd);
  } catch (error) {
    if (isCode(error, "ENOTSUP", "EOPNOTSUPP", "ENOSYS")) return [];
    throw error;
  }
}

/**
 * Gives a file or directory that was made with creationMode its metadata. The mode is set again only where that left
 * something out, and after chown, which clears set-id bits. mtime comes last because everything before it may move it.
 */
export function setCreatedMetadata(fs: FileSystem, fd: Fd, entry: Entry, preserve: Preserve): void {
  if (entry.kind === "symlink" || entry.kind === "other") return;
  if (preserve.owner !== "none" && entry.owner !== undefined) {
    const { uid, gid } = ownerIds(fs, entry.owner, preserve.owner);
    fs.chown(fd, uid, gid);
  }
  const mode = modeFor(entry, preserve);
  if (mode !== creationMode(entry, preserve)) fs.chmod(fd, mode);
  // Also where it has none: a directory's default ACL may have given it some.
  if (preserve.xattrs) setXattrs(fs, fd, entry.xattrs ?? []);
  if (entry.kind === "file" && preserve.mtime) fs.setMtime(fd, entry.mtimeNs);
}

/** Changes an existing entry's metadata from what `stat` shows to what `entry` wants. */
export function changeMetadata(fs: FileSystem, fd: Fd, stat: Stat, entry: Entry, preserve: Preserve): void {
  if (entry.kind === "symlink" || entry.kind === "other") return;
  let { mode } = stat;
  if (preserve.owner !== "none" && entry.owner !== undefined) {
    const { uid, gid } = ownerIds(fs, entry.owner, preserve.owner);
    if (uid !== stat.uid || gid !== stat.gid) {
      fs.chown(fd, uid, gid);
      mode = -1;
    }
  }
  if (preserve.mode && entry.mode !== mode) fs.chmod(fd, entry.mode);
  if (preserve.xattrs) setXattrs(fs, fd, entry.xattrs ?? []);
  if (entry.kind === "file" && preserve.mtime && entry.mtimeNs !== stat.mtimeNs) fs.setMtime(fd, entry.mtimeNs);
}

/** Gives a new file all metadata of another one, whatever a session carries. */
export function copyMetadata(fs: FileSystem, from: Fd, to: Fd): void {
  const { uid, gid, mode, mtimeNs } = fs.fstat(from);
  const made = fs.fstat(to);
  if (made.uid !== uid || made.gid !== gid) fs.chown(to, uid, gid);
  fs.chmod(to, mode);
  const carried = attributesOf(fs, from).filter(([name]) => isCarried(name));
  setXattrs(fs, to, carried.map(([name, value]): [string, string] => [name, Buffer.from(value).toString("latin1")]));
  fs.setMtime(to, mtimeNs);
}
