/**
 * Files of a space as descriptors, beside those of the real disk, so that the transfer of large files (sync/transfer)
 * reads them like any other: as the source, and as the base that a new version is built from.
 */
import type { ContentReader } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";
import { boundFileSystem } from "#platform/bound-file-system.ts";
import { type Fd, type FileSystem, FsError, type Stat } from "#platform/file-system.ts";

/** No real descriptor is ever so large. */
const FIRST_FD = 1 << 30;

type OpenContent = { readonly reader: ContentReader; readonly stat: Stat };

export class ContentFiles {
  /** The real file system, which also takes the descriptors that open() gives. */
  readonly fs: FileSystem;
  readonly #open = new Map<Fd, OpenContent>();
  #next = FIRST_FD;

  constructor(real: FileSystem) {
    const stored = (fd: Fd): OpenContent | undefined => (fd >= FIRST_FD ? this.#opened(fd) : undefined);
    this.fs = {
      ...boundFileSystem(real),
      close: (fd) => (fd >= FIRST_FD ? void this.#open.delete(fd) : real.close(fd)),
      fstat: (fd) => stored(fd)?.stat ?? real.fstat(fd),
      readAsync: (fd, into, position) => stored(fd)?.reader.read(into, position) ?? real.readAsync(fd, into, position),
      read: (fd, into, position) => {
        if (stored(fd) !== undefined) throw new FsError("EINVAL", "read");
        return real.read(fd, into, position);
      },
      dataRange: (fd, position, size) => {
        if (stored(fd) === undefined) return real.dataRange(fd, position, size);
        return position >= size ? undefined : { start: position, end: size };
      },
      // Whoever copies reads and writes then, as between two file systems.
      copyRange: (source, sourcePosition, target, targetPosition, length) => {
        if (stored(source) !== undefined) throw new FsError("EXDEV", "copy");
        return real.copyRange(source, sourcePosition, target, targetPosition, length);
      },
    };
  }

  /** Close it through `fs`. */
  open(reader: ContentReader, stat: Stat): Fd {
    const fd = this.#next++ as Fd;
    this.#open.set(fd, { reader, stat });
    return fd;
  }

  #opened(fd: Fd): OpenContent {
    const open = this.#open.get(fd);
    if (open === undefined) throw new FsError("EBADF", "use a file");
    return open;
  }
}

/** A version never changes, so its sequence is all that identifies it. */
export function statOf({ entry, sequence }: Version): Stat {
  if (entry?.kind !== "file") throw new FsError("EINVAL", "stat");
  const { size, mode, mtimeNs } = entry;
  return { ...plainStat(size), mode, mtimeNs, ctimeNs: mtimeNs, ino: BigInt(sequence) };
}

/** Of bytes that are no version. */
export function plainStat(size: number): Stat {
  return {
    kind: "file", mode: 0o600, nlink: 1, uid: 0, gid: 0, size, allocatedBytes: size, mtimeNs: 0n, ctimeNs: 0n, ino: 0n, dev: 0,
  };
}
