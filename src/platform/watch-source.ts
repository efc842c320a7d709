/** Raw change notification of an operating system: inotify, or the simulator's. Hints only. */
import type { Fd } from "#platform/file-system.ts";

export type WatchEvent = {
  /** The watch it belongs to; -1 for an overflow of the kernel's queue. */
  readonly wd: number;
  /** Name inside the watched directory; "" for the directory itself. */
  readonly name: string;
  readonly isDir: boolean;
  /** Pairs a moved-from with its moved-to; 0 for none. */
  readonly cookie: number;
  readonly type:
    | "create"
    | "modify"
    | "close-write"
    | "attrib"
    | "delete"
    | "moved-from"
    | "moved-to"
    | "delete-self"
    | "move-self"
    | "unmount"
    | "gone" // the watch itself has ended (IN_IGNORED)
    | "overflow";
};

export interface WatchSource {
  /** Opens an independent queue. `onEvents` gets batches in kernel order, never re-entrantly. */
  open(onEvents: (events: WatchEvent[]) => void): Watcher;
}

export interface Watcher {
  /** Watches one directory, not below it. The same inode gives the same number. Throws FsError (ENOSPC: limit). */
  add(dir: Fd): number;
  remove(wd: number): void;
  close(): void;
}
