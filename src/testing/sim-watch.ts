/** Change notification of a simulated disk, as inotify gives it: late, in batches, and bounded. */
import { type Fd, FsError } from "#platform/file-system.ts";
import type { WatchEvent, WatchSource, Watcher } from "#platform/watch-source.ts";
import type { SimFs } from "#testing/sim-fs.ts";
import type { DirWatch, Inode } from "#testing/sim-inode.ts";
import type { SimRandom } from "#testing/sim-random.ts";

export type SimWatchOptions = {
  /** Draws delays; without it events come at the next turn. */
  readonly random?: SimRandom;
  /** Longest time from a change to its delivery. */
  readonly delayMs?: number;
  /** Events waiting at most; more are lost and an overflow says so. As fs.inotify.max_queued_events. */
  readonly queueMax?: number;
  /** Watches at most; more fail with ENOSPC. As fs.inotify.max_user_watches. */
  readonly watchesMax?: number;
  /** True loses the event without a word. No kernel should; network file systems do. */
  readonly drop?: (event: WatchEvent) => boolean;
};

const QUEUE_MAX_DEFAULT = 16_384;
const OVERFLOW: WatchEvent = { wd: -1, name: "", isDir: false, cookie: 0, type: "overflow" };

export class SimWatchSource implements WatchSource {
  readonly #fs: SimFs;
  readonly #options: SimWatchOptions;

  /** @param fs the process that watches: its death ends every watcher */
  constructor(fs: SimFs, options: SimWatchOptions = {}) {
    this.#fs = fs;
    this.#options = options;
  }

  open(onEvents: (events: WatchEvent[]) => void): Watcher {
    return new SimWatcher(this.#fs, this.#options, onEvents);
  }
}

class SimWatcher implements Watcher {
  readonly #fs: SimFs;
  readonly #options: SimWatchOptions;
  readonly #onEvents: (events: WatchEvent[]) => void;
  readonly #byWd = new Map<number, { inode: Inode; watch: DirWatch }>();
  readonly #wds = new Map<Inode, number>();
  #nextWd = 1;
  #queue: WatchEvent[] = [];
  #isScheduled = false;
  #isClosed = false;

  constructor(fs: SimFs, options: SimWatchOptions, onEvents: (events: WatchEvent[]) => void) {
    this.#fs = fs;
    this.#options = options;
    this.#onEvents = onEvents;
  }

  add(dir: Fd): number {
    const inode = this.#fs.inodeOf(dir);
    if (inode.entries === undefined) throw new FsError("ENOTDIR", "watch");
    if (inode.refusal !== undefined) throw new FsError(inode.refusal, "watch");
    const known = this.#wds.get(inode);
    if (known !== undefined) return known;
    if (this.#byWd.size >= (this.#options.watchesMax ?? Infinity)) throw new FsError("ENOSPC", "watch");
    const wd = this.#nextWd++;
    const watch: DirWatch = {
      tell: (type, name, isDir, cookie) => {
        this.#put({ wd, name, isDir, cookie, type });
        // A dead process has closed everything by now.
        if ((type === "delete-self" || type === "unmount") && this.#byWd.has(wd)) this.#end(wd);
      },
    };
    (inode.watches ??= []).push(watch);
    this.#byWd.set(wd, { inode, watch });
    this.#wds.set(inode, wd);
    return wd;
  }

  remove(wd: number): void {
    if (this.#byWd.has(wd)) this.#end(wd);
  }

  close(): void {
    this.#isClosed = true;
    this.#queue = [];
    for (const wd of this.#byWd.keys()) this.#forget(wd);
  }

  #end(wd: number): void {
    this.#forget(wd);
    this.#put({ wd, name: "", isDir: true, cookie: 0, type: "gone" });
  }

  #forget(wd: number): void {
    const { inode, watch } = this.#byWd.get(wd)!;
    inode.watches = inode.watches!.filter((other) => other !== watch);
    if (inode.watches.length === 0) inode.watches = undefined;
    this.#byWd.delete(wd);
    this.#wds.delete(inode);
  }

  #put(event: WatchEvent): void {
    if (this.#fs.isDead) this.close();
    if (this.#isClosed || this.#options.drop?.(event) === true) return;
    const last = this.#queue.at(-1);
    if (last !== undefined && isSame(last, event)) return;
    const queueMax = this.#options.queueMax ?? QUEUE_MAX_DEFAULT;
    if (this.#queue.length < queueMax) this.#queue.push(event);
    else if (this.#queue.length === queueMax) this.#queue.push(OVERFLOW);
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    const delayMs = (this.#options.random?.real() ?? 0) * (this.#options.delayMs ?? 0);
    this.#fs.disk.clock.after(delayMs, () => this.#deliver());
  }

  #deliver(): void {
    this.#isScheduled = false;
    if (this.#isClosed || this.#fs.isDead || this.#queue.length === 0) return;
    const events = this.#queue;
    this.#queue = [];
    this.#onEvents(events);
  }
}

/** The kernel merges an event with an equal one at the end of the queue. */
function isSame(a: WatchEvent, b: WatchEvent): boolean {
  return a.wd === b.wd && a.type === b.type && a.name === b.name && a.cookie === b.cookie && a.isDir === b.isDir;
}
