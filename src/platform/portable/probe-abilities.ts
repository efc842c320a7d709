/**
 * Finds out what a directory's file system can store by trying it on probe files, which are always removed.
 * Works through the FileSystem interface, so every implementation may use it.
 */
import type { Fd, FileSystem, FileSystemAbilities } from "#platform/file-system.ts";
import { FsError, isCode } from "#platform/file-system.ts";

/** Tries for a free probe name; a leftover or another process may have taken one. */
const NAME_TRIES_MAX = 16;
/** Owners to give the probe to; a user and a group leave at least one that is neither. */
const OTHER_IDS = [65534, 65533, 65532];
/** An odd second and no zero digit, so that every granularity below shows. */
const PROBE_MTIME_NS = 1_000_000_001_123_456_789n;
/** ns, 100 ns (NTFS), µs, ms, 10 ms (exFAT), s, 2 s (FAT). */
const GRANULARITIES_NS = [1n, 100n, 1_000n, 1_000_000n, 10_000_000n, 1_000_000_000n, 2_000_000_000n];

let probes = 0;

/** Names it has not tried before; `process.pid` keeps two processes apart. */
function createProbe(fs: FileSystem, dir: Fd): { name: string; fd: Fd } {
  for (let tries = 0; tries < NAME_TRIES_MAX; tries++) {
    const name = `.syncline-probe-${process.pid}-${probes++}-a`;
    try {
      return { name, fd: fs.create(dir, name, 0o600) };
    } catch (error) {
      if (!isCode(error, "EEXIST")) throw error;
    }
  }
  throw new FsError("EEXIST", "probe");
}

/** Did it work? An FsError is the answer no; anything else is a fault of ours. */
function succeeds(attempt: () => void): boolean {
  try {
    attempt();
    return true;
  } catch (error) {
    if (error instanceof FsError) return false;
    throw error;
  }
}

/** Throws FsError when not even a file can be created in `dir`. */
export function probeAbilities(fs: FileSystem, dir: Fd, confined: boolean): FileSystemAbilities {
  const { name, fd } = createProbe(fs, dir);
  const made = [name];
  const attempt = (suffix: string, make: (probeName: string) => void): boolean => {
    const probeName = `${name}-${suffix}`;
    return succeeds(() => {
      make(probeName);
      made.push(probeName);
    });
  };
  try {
    const own = fs.fstat(fd);
    const otherId = OTHER_IDS.find((id) => id !== own.uid && id !== own.gid)!;
    const kept = (change: () => void, check: () => boolean): boolean => succeeds(change) && check();
    return {
      timestampNs: probeGranularity(fs, fd),
      symlinks: attempt("l", (probeName) => fs.symlink("target", dir, probeName)),
      hardlinks: attempt("h", (probeName) => fs.link(dir, name, dir, probeName)),
      xattrs: succeeds(() => fs.setXattr(fd, "user.syncline.probe", Uint8Array.of(1))),
      modes: kept(
        () => fs.chmod(fd, 0o751),
        () => fs.fstat(fd).mode === 0o751,
      ),
      owners: kept(
        () => fs.chown(fd, otherId, otherId),
        () => fs.fstat(fd).uid === otherId,
      ),
      caseSensitive: !succeeds(() => fs.stat(dir, name.toUpperCase())),
      confined,
    };
  } finally {
    fs.close(fd);
    for (const probeName of made) fs.unlink(dir, probeName);
  }
}

function probeGranularity(fs: FileSystem, fd: Fd): bigint {
  if (!succeeds(() => fs.setMtime(fd, PROBE_MTIME_NS))) return 1_000_000_000n;
  const got = fs.fstat(fd).mtimeNs;
  return GRANULARITIES_NS.find((unit) => (PROBE_MTIME_NS / unit) * unit === got) ?? GRANULARITIES_NS.at(-1)!;
}
