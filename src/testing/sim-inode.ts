/** What a simulated disk is made of. Values of the simulator alone: processes see them through SimFs. */
import { encodeName } from "#model/path.ts";
import type { FileKind, Stat } from "#platform/file-system.ts";
import { SimContent } from "#testing/sim-content.ts";

/** What a power loss spares of one inode: its bytes and metadata as of the last sync. Never mutated. */
export type Image = {
  readonly content: SimContent | undefined;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly xattrs: ReadonlyMap<string, Uint8Array>;
};

/** A name in a directory. Never mutated: a rename makes a new one, so that an undo can put the old one back. */
export type Dirent = { readonly dir: Inode; readonly name: string; readonly inode: Inode };

/** Who looks at a directory: gets what inotify would tell of it. */
export type DirWatch = {
  tell(type: SimEventType, name: string, isDir: boolean, cookie: number): void;
};

export type SimEventType =
  | "create"
  | "modify"
  | "close-write"
  | "attrib"
  | "delete"
  | "moved-from"
  | "moved-to"
  | "delete-self"
  | "move-self"
  | "unmount";

const NO_XATTRS: ReadonlyMap<string, Uint8Array> = new Map();

export class Inode {
  readonly kind: FileKind;
  readonly ino: bigint;
  readonly dev: number;
  /** Symlinks only. */
  readonly target: string;
  mode: number;
  uid = 0;
  gid = 0;
  mtimeNs: bigint;
  ctimeNs: bigint;
  /** Replaced, never mutated: images share it. */
  xattrs: ReadonlyMap<string, Uint8Array> = NO_XATTRS;
  /** Files only. Shared with `durable` right after a sync; mutable() separates them. */
  content: SimContent | undefined;
  /** Directories only, by the disk's lookup key. */
  readonly entries: Map<string, Dirent> | undefined;
  /** The root of the disk or of something mounted: it has no name and cannot be removed. */
  isTop = false;
  /** Directories among the entries. */
  subdirs = 0;
  /** All names of it; one for a directory, none once removed and for a top. */
  readonly links: Dirent[] = [];
  /** The stat as last given out: scans ask far more often than anything changes. Whoever changes anything clears it. */
  seen: Stat | undefined;
  /** Open descriptors of all processes. */
  opens = 0;
  /** Undefined until the first sync. */
  durable: Image | undefined;
  /** Number of the disk's call that changed it last. */
  touchedAt = 0;
  /** The same, in milliseconds of the monotonic clock. */
  changedAtMs = 0;
  /** Something differs from `durable`. */
  dirty = true;
  /** A sync failed with EIO: the kernel has forgotten which pages were dirty, later syncs lie. */
  poisoned = false;
  /** The content that a sync since then claimed to have made durable. */
  feigned: SimContent | undefined;
  /** The content that a power loss left under the stat of another: only a deep run can find it. */
  misstated: SimContent | undefined;
  numberFreed = false;
  /** Had another inode its number before? */
  numberReused = false;
  /** The descriptor that holds the exclusive lock. */
  lock: object | undefined;
  /** Every use of it fails with this errno. */
  refusal: string | undefined;
  /** The root of what is mounted over this directory, and the reverse. */
  cover: Inode | undefined;
  covers: Inode | undefined;
  watches: DirWatch[] | undefined;

  constructor(kind: FileKind, ino: bigint, dev: number, mode: number, nowNs: bigint, target = "") {
    this.kind = kind;
    this.ino = ino;
    this.dev = dev;
    this.mode = mode;
    this.mtimeNs = nowNs;
    this.ctimeNs = nowNs;
    this.target = target;
    this.content = kind === "file" ? new SimContent() : undefined;
    this.entries = kind === "dir" ? new Map() : undefined;
  }

  /** The content, for changing it. */
  mutable(): SimContent {
    if (this.content === undefined) throw new Error("not a file");
    if (this.durable?.content === this.content) this.content = this.content.clone();
    return this.content;
  }

  image(): Image {
    return {
      content: this.content,
      mode: this.mode,
      uid: this.uid,
      gid: this.gid,
      mtimeNs: this.mtimeNs,
      ctimeNs: this.ctimeNs,
      xattrs: this.xattrs,
    };
  }

  restoreMetadata(image: Image): void {
    this.seen = undefined;
    this.mode = image.mode;
    this.uid = image.uid;
    this.gid = image.gid;
    this.mtimeNs = image.mtimeNs;
    this.ctimeNs = image.ctimeNs;
    this.xattrs = image.xattrs;
  }

  /** Is it a directory that was removed while someone had it open? */
  isRemoved(): boolean {
    return this.links.length === 0 && !this.isTop;
  }

  nlink(): number {
    if (this.entries === undefined) return this.links.length;
    return this.isRemoved() ? 0 : 2 + this.subdirs;
  }

  size(): number {
    if (this.content !== undefined) return this.content.size;
    if (this.kind === "symlink") return encodeName(this.target).length;
    return this.entries !== undefined ? 4096 : 0;
  }

  /** The same object until something of it changes; see `seen`. */
  stat(): Stat {
    return (this.seen ??= this.#makeStat());
  }

  #makeStat(): Stat {
    return {
      kind: this.kind,
      mode: this.mode,
      nlink: this.nlink(),
      uid: this.uid,
      gid: this.gid,
      size: this.size(),
      allocatedBytes: this.content?.allocatedBytes() ?? 0,
      mtimeNs: this.mtimeNs,
      ctimeNs: this.ctimeNs,
      ino: this.ino,
      dev: this.dev,
    };
  }

  /** Absolute path by its first name, through mounts; for messages and fault plans. */
  path(): string {
    const link = this.links[0];
    if (link !== undefined) return `${link.dir.path()}/${link.name}`;
    return this.covers?.path() ?? "";
  }
}
