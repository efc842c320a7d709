/**
 * Makes durable what a side hands out. A file that was written a moment ago may be lost in a power loss although the
 * other side has stored it already; what comes back then is old (or nothing at all), and would be taken for a newer
 * change or a deletion and travel to the side that has the good copy (Syncthing #3711). So the source syncs such
 * files, with their names, before it vouches for them: a few one by one, many by one sync of the file system.
 */
import type { Problem } from "#model/observation.ts";
import { type RelPath, nameOf, parentOf } from "#model/path.ts";
import type { Confined } from "#platform/confined.ts";
import { type Fd, FsError, type Stat, isCode } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import { problemOf } from "#sync/apply/apply-context.ts";
import type { Store } from "#sync/index/store.ts";

/** Older changes are on the disk by themselves: Linux writes back after 30 s, and so do the others. */
const YOUNG_MS = 60_000;
/** The clock behind ctime ticks this coarsely, so a change right after a sync may be dated before it. */
const TICK_MS = 20;
/** The wall clock against the one that only runs: by less than this no date says that a change is older than it is. */
const JUMP_MS = 10_000;
/** Files synced one by one within a second; with more, one sync of the file system is cheaper. */
const SINGLE_SYNCS_MAX = 32;
const WINDOW_MS = 1000;
const NS_PER_MS = 1e6;
/** Some systems sync only what is open for writing, and what may not be read cannot be opened. */
const REFUSED = ["EPERM", "EACCES"];
/** The system knows no sync of it, or a read-only disk has nothing to sync. */
const NO_SYNC = ["EINVAL", "ENOTSUP", "EOPNOTSUPP", "EROFS"];
/** Somebody has changed what is at a path since it was looked at. */
const CHANGED = new Set(["ENOENT", "ENOTDIR", "ELOOP", "EISDIR", "ESTALE"]);

/**
 * In the table "meta" of a root's state: the start of the system, the time of day less the time since then, and when,
 * since then, it was found to be another than before.
 */
const CLOCKS = "clocks";

export type HandedOut = { readonly path: RelPath; readonly stat: Stat };

type FullSync = { readonly startedMs: number; readonly clockShiftMs: number; readonly outcome: Promise<void> };

/**
 * How long ago, at least, the wall clock was set, as far as what was written before it matters: by the dates of files nothing
 * can be told of it, those from before look as old as others that are. Where the root was not opened yet since the system
 * was started, it may have been set just now. Infinity where the system does not say.
 */
function unsetForMs(host: Host, store: Store): number {
  const uptime = host.uptime();
  if (uptime === undefined) return Infinity;
  const meta = store.table("meta");
  const shiftMs = Math.round(host.clock.nowMs() - uptime.ms);
  const [start, before, setAt] = Buffer.from(meta.get(CLOCKS) ?? []).toString().split(" ");
  const isKnown = start === uptime.start && Math.abs(shiftMs - Number(before)) < JUMP_MS;
  const setAtMs = isKnown ? Number(setAt) : Math.round(uptime.ms);
  const text = `${uptime.start} ${shiftMs} ${setAtMs}`;
  store.transaction({ durable: false }, () => meta.set(CLOCKS, Buffer.from(text)));
  return uptime.ms - setAtMs;
}

export class SourceDurability {
  readonly #host: Host;
  readonly #root: Confined;
  readonly #tickMs: number;
  readonly #enabled: boolean;
  /** The newest sync of the whole file system that has not failed. */
  #full: FullSync | undefined;
  #singles = 0;
  #windowStartMs = 0;
  /** Wall clock less running clock, before the last jump and after it. */
  #shiftMs: number;
  /** On the running clock. Of a jump before the root was opened: when that was found. */
  #jumpedAtMs = -Infinity;

  /**
   * @param timestampNs granularity of the disk's times
   * @param store of the root: what the clocks said when it was opened last
   */
  constructor(host: Host, root: Confined, timestampNs: bigint, store: Store, enabled: boolean) {
    this.#host = host;
    this.#root = root;
    this.#tickMs = Math.max(TICK_MS, Number(timestampNs) / NS_PER_MS);
    this.#enabled = enabled;
    this.#shiftMs = host.clock.nowMs() - host.clock.monotonicMs();
    if (enabled) this.#jumpedAtMs = host.clock.monotonicMs() - unsetForMs(host, store);
  }

  /** May a power loss now still take what was changed then? */
  isYoung({ ctimeNs }: Pick<Stat, "ctimeNs">): boolean {
    if (!this.#enabled) return false;
    return this.#hasJumped() || Number(ctimeNs) / NS_PER_MS > this.#host.clock.nowMs() - YOUNG_MS;
  }

  /**
   * One file that was read with this stat; resolves when it is durable under its path.
   * @throws {FsError} when the disk refused, ESTALE when another file is at the path by now
   */
  async one({ path, stat }: HandedOut): Promise<void> {
    if (!this.isYoung(stat)) return;
    await (this.#covering(stat) ?? (this.#mayBeSingle(1) ? this.#sync(path, stat) : this.#syncAll()));
  }

  /**
   * Many files. Those that are few are durable when this resolves, and what the disk refused is returned by path. For
   * those that are many a sync of everything is under way: await all() before vouching for them.
   */
  async begin(files: readonly HandedOut[]): Promise<Map<RelPath, Problem>> {
    const failed = new Map<RelPath, Problem>();
    const young = files.filter(({ stat }) => this.isYoung(stat) && this.#covering(stat) === undefined);
    if (young.length === 0) return failed;
    if (!this.#mayBeSingle(young.length)) {
      void this.#syncAll();
      return failed;
    }
    const syncs = young.map(async ({ path, stat }) => {
      try {
        await this.#sync(path, stat);
      } catch (error) {
        failed.set(path, problemOf(path, error));
      }
    });
    await Promise.all(syncs);
    return failed;
  }

  /**
   * As begin(), for whatever is at these paths. Of a directory or symlink it is the name that may be lost. Where nothing
   * is any more, it went a moment ago, perhaps with a directory that was renamed: then everything is synced, or a power
   * loss might bring that directory back without it. What is changed meanwhile, or cannot be looked at, is no failure
   * either, and the next scan tells of it: whoever was refused would bring over what is agreed by nobody, and could not
   * know its removal again.
   */
  async beginAt(paths: readonly RelPath[]): Promise<Map<RelPath, Problem>> {
    if (!this.#enabled) return new Map();
    const failed = new Map<RelPath, Problem>();
    const there: HandedOut[] = [];
    for (const path of paths) {
      const stat = this.#lookAt(path);
      if (stat !== undefined && stat !== "hidden") there.push({ path, stat });
    }
    if (there.length < paths.length) void this.#syncAll();
    let isChanged = false;
    for (const [path, found] of await this.begin(there)) {
      if (CHANGED.has(found.code)) isChanged = true;
      else failed.set(path, found);
    }
    if (isChanged) void this.#syncAll();
    return failed;
  }

  /** "hidden": the disk does not say what is there. */
  #lookAt(path: RelPath): Stat | "hidden" | undefined {
    try {
      return this.#root.statIfThere(path);
    } catch (error) {
      if (error instanceof FsError) return "hidden";
      throw error;
    }
  }

  /** @throws {FsError} when the sync of everything that began last has failed */
  async all(): Promise<void> {
    await this.#full?.outcome;
  }

  /** The sync of everything that began after this change was made. */
  #covering(stat: Stat): Promise<void> | undefined {
    const full = this.#full;
    if (full === undefined) return undefined;
    const { clock } = this.#host;
    // Dates from before and after a jump of the clock cannot be compared.
    const jumpedMs = Math.abs(clock.nowMs() - clock.monotonicMs() - full.clockShiftMs);
    const changedMs = Number(stat.ctimeNs) / NS_PER_MS;
    return jumpedMs < this.#tickMs && changedMs < full.startedMs - this.#tickMs ? full.outcome : undefined;
  }

  /** Was the wall clock set a moment ago? What was written just before looks old then, or new for ever. */
  #hasJumped(): boolean {
    const { clock } = this.#host;
    const [shiftMs, nowMs] = [clock.nowMs() - clock.monotonicMs(), clock.monotonicMs()];
    if (Math.abs(shiftMs - this.#shiftMs) >= JUMP_MS) [this.#shiftMs, this.#jumpedAtMs] = [shiftMs, nowMs];
    return nowMs - this.#jumpedAtMs < YOUNG_MS;
  }

  #mayBeSingle(count: number): boolean {
    const now = this.#host.clock.monotonicMs();
    if (now - this.#windowStartMs > WINDOW_MS) {
      this.#windowStartMs = now;
      this.#singles = 0;
    }
    this.#singles += count;
    return this.#singles <= SINGLE_SYNCS_MAX;
  }

  /** Need not be awaited: what comes of it is kept for all(). */
  #syncAll(): Promise<void> {
    return this.#keep(this.#host.clock.nowMs(), this.#host.fs.syncAll(this.#root.root));
  }

  /** Remembers a sync of everything; resolves when it and all before it have not failed. */
  #keep(startedMs: number, sync: Promise<void>): Promise<void> {
    const clockShiftMs = this.#host.clock.nowMs() - this.#host.clock.monotonicMs();
    // What an earlier one was told and forgot to repeat must not be lost: a disk reports a failed write once.
    const outcome = Promise.all([this.#full?.outcome, sync]).then(() => undefined);
    this.#full = { startedMs, clockShiftMs, outcome };
    // A failed one covers nothing. Whoever vouches for something awaits it and learns the reason.
    outcome.catch(() => undefined);
    return outcome;
  }

  /**
   * Everything, in place of one file or directory that is refused alone: it may not be opened, or only for reading.
   * @throws {FsError}
   */
  async #syncInstead(): Promise<void> {
    const startedMs = this.#host.clock.nowMs();
    const sync = this.#host.fs.syncAll(this.#root.root);
    try {
      await sync;
    } catch (error) {
      if (isCode(error, ...NO_SYNC)) return;
      // Nothing was tried, so nothing is told only once.
      if (isCode(error, ...REFUSED)) throw error;
    }
    await this.#keep(startedMs, sync);
  }

  /** What a file holds, the name, and the names of the directories above that are young themselves: at once. */
  async #sync(path: RelPath, stat: Stat): Promise<void> {
    // First what may throw, then what runs beside it: nothing may fail where nobody waits for it any more.
    const dirs = [parentOf(path)];
    for (let dir = dirs[0]!; dir !== "" && this.#isYoungDir(dir); dirs.push(dir)) dir = parentOf(dir);
    const syncs = stat.kind === "file" ? [this.#syncFd(() => this.#openSame(path, stat))] : [];
    for (const dir of dirs) {
      if (dir === "") syncs.push(this.#orInstead(() => this.#host.fs.sync(this.#root.root)));
      else syncs.push(this.#syncFd(() => this.#host.fs.openDir(this.#root.parent(dir), nameOf(dir))));
    }
    const settled = await Promise.allSettled(syncs);
    for (const one of settled) if (one.status === "rejected") throw one.reason;
  }

  /** Also where nobody may look. */
  #isYoungDir(dir: RelPath): boolean {
    const stat = this.#lookAt(dir);
    return stat === "hidden" || (stat !== undefined && this.isYoung(stat));
  }

  #openSame(path: RelPath, stat: Stat): Fd {
    if (this.#root.stat(path).ino !== stat.ino) throw new FsError("ESTALE", "sync", path);
    return this.#root.openRead(path);
  }

  /**
   * With a descriptor of its own: a cached one could be closed by others while the sync runs. Where it cannot be had, for
   * another reason than that somebody has changed what is there, nothing was tried, and a sync of everything does as well.
   */
  async #syncFd(open: () => Fd): Promise<void> {
    const { fs } = this.#host;
    let fd: Fd;
    try {
      fd = open();
    } catch (error) {
      if (!(error instanceof FsError) || CHANGED.has(error.code)) throw error;
      return this.#syncInstead();
    }
    try {
      await this.#orInstead(() => fs.sync(fd));
    } finally {
      fs.close(fd);
    }
  }

  async #orInstead(sync: () => Promise<void>): Promise<void> {
    try {
      await sync();
    } catch (error) {
      if (!isCode(error, ...REFUSED, ...NO_SYNC)) throw error;
      await this.#syncInstead();
    }
  }
}
