/** Setting and reading the metadata that a session preserves, always on an open descriptor. */
import type { Entry, Owner, Preserve, Xattrs } from "#model/entry.ts";
import type { Fd, FileSystem, Stat } from "#platform/file-system.ts";

/** Mode of new files and directories when the session does not carry modes. */
const FILE_MODE = 0o644;
const DIR_MODE = 0o755;

export function modeFor(entry: Entry, preserve: Preserve): number {
  if (entry.kind === "file") return preserve.mode ? entry.mode : FILE_MODE;
  return entry.kind === "dir" && preserve.mode ? entry.mode : DIR_MODE;
}

/** Numbers to give to chown, by name first where the session maps names. */
export function ownerIds(fs: FileSystem, owner: Owner, how: Preserve["owner"]): { uid: number; gid: number } {
  const byName = how === "name";
  const uid = byName && owner.user !== undefined ? fs.userId(owner.user) : undefined;
  const gid = byName && owner.group !== undefined ? fs.groupId(owner.group) : undefined;
  return { uid: uid ?? owner.uid, gid: gid ?? owner.gid };
}

function setXattrs(fs: FileSystem, fd: Fd, wanted: Xattrs): void {
  const keep = new Set(wanted.map(([name]) => name));
  for (const [name] of fs.getXattrs(fd)) if (!keep.has(name)) fs.removeXattr(fd, name);
  for (const [name, value] of wanted) fs.setXattr(fd, name, Buffer.from(value, "latin1"));
}

/**
 * Gives a freshly created file or directory its metadata. The mode was already given at creation, so it is set
 * again only after chown, which clears set-id bits. mtime comes last because everything before it may move it.
 */
export function setCreatedMetadata(fs: FileSystem, fd: Fd, entry: Entry, preserve: Preserve): void {
  if (entry.kind === "symlink" || entry.kind === "other") return;
  if (preserve.owner !== "none" && entry.owner !== undefined) {
    const { uid, gid } = ownerIds(fs, entry.owner, preserve.owner);
    fs.chown(fd, uid, gid);
    fs.chmod(fd, modeFor(entry, preserve));
  }
  if (preserve.xattrs && entry.xattrs !== undefined) setXattrs(fs, fd, entry.xattrs);
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
