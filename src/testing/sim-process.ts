/**
 * One process's hold on a simulated disk: its descriptors, its death, and the places where a test can reach in. Base of
 * SimFs, which adds the calls themselves.
 */
import { FsError, type Fd } from "#platform/file-system.ts";
import type { SimDisk } from "#testing/sim-disk.ts";
import type { Dirent, Inode, SimEventType } from "#testing/sim-inode.ts";

/** Of a quick disk. */
const CALL_NS = 1_000;

/**
 * The end of a simulated process. Deliberately no FsError and no SynclineError: nothing in the engine may handle it,
 * and should something swallow it the next call throws it again.
 */
export class SimCrash extends Error {
  override readonly name = "SimCrash";
}

export type SimCallInfo = {
  /** Absolute path on the disk of what the call is about, by its first name. */
  readonly path: string;
  /** Does the call change or persist anything? Those are counted as effects. */
  readonly isEffect: boolean;
};

export type Handle = {
  readonly inode: Inode;
  readonly writable: boolean;
  /** The name it was opened by, for watches; undefined for a root. */
  readonly link: Dirent | undefined;
};

export class SimProcess {
  readonly disk: SimDisk;
  /** 0 may do everything; for others the owner's or others' permission bits hold. */
  readonly uid: number;
  /** Descriptors at most, as RLIMIT_NOFILE. */
  fdsMax = 1024;
  /** An errno name fails the call before it has any effect. */
  faults: ((call: string, info: SimCallInfo) => string | undefined) | undefined;
  /** Called before each effect with its number, from 1. Throw a SimCrash to end the process exactly there. */
  onEffect: ((count: number, call: string) => void) | undefined;
  /** Called before each call: lets another process, with its own SimFs on the same disk, act at that moment. */
  interleave: ((call: string) => void) | undefined;
  /** Effects so far. */
  effects = 0;
  /** Those of them that were more than a sync. */
  writes = 0;
  #isDead = false;
  #nextFd = 3;
  readonly #handles = new Map<number, Handle>();

  constructor(disk: SimDisk, uid: number) {
    this.disk = disk;
    this.uid = uid;
    disk.processes.add(this);
  }

  get isDead(): boolean {
    return this.#isDead;
  }

  /** Ends the process, as kill -9 does: descriptors close, everything written stays. Later calls throw SimCrash. */
  kill(): void {
    if (this.#isDead) return;
    this.#isDead = true;
    this.disk.processes.delete(this);
    for (const fd of this.#handles.keys()) this.dropHandle(fd);
  }

  /** Number of open descriptors. */
  openFds(): number {
    return this.#handles.size;
  }

  /** Paths of what is open, for the message of a failed leak check. */
  openPaths(): string[] {
    return [...this.#handles.values()].map(({ inode }) => inode.path());
  }

  /** What a descriptor stands for; for the other simulator parts. */
  inodeOf(fd: Fd): Inode {
    return this.handle(fd, "inodeOf").inode;
  }

  /**
   * Every call begins here: may die, may fail, gives others their turn.
   * @param at what the call is about, or the directory of `name`
   */
  protected enter(call: string, at: Fd | undefined, name: string | undefined, isEffect: boolean): void {
    this.#assertAlive();
    this.disk.clock.spend(this.disk.options.callNs ?? CALL_NS);
    this.disk.writeBack();
    this.disk.calls++;
    this.disk.trace?.(call, name);
    if (this.interleave !== undefined) {
      this.interleave(call);
      this.#assertAlive();
    }
    if (this.faults !== undefined) {
      const errno = this.faults(call, { path: this.#pathOf(at, name), isEffect });
      if (errno !== undefined) {
        if (errno === "EIO" && call === "sync" && at !== undefined) this.handle(at, call).inode.poisoned = true;
        if (errno === "EIO" && call === "syncAll") this.disk.poison();
        throw new FsError(errno, call, name);
      }
    }
    if (!isEffect) return;
    this.effects++;
    if (call !== "sync" && call !== "syncAll") this.writes++;
    if (this.onEffect !== undefined) this.#announceEffect(call);
    if (this.disk.readOnly && call !== "sync" && call !== "syncAll") throw new FsError("EROFS", call, name);
  }

  #announceEffect(call: string): void {
    try {
      this.onEffect?.(this.effects, call);
    } catch (error) {
      if (error instanceof SimCrash) this.kill();
      throw error;
    }
    this.#assertAlive();
  }

  protected open(inode: Inode, writable: boolean, link: Dirent | undefined, call: string): Fd {
    this.assertFdFree(call, link?.name);
    inode.opens++;
    const fd = this.#nextFd++;
    this.#handles.set(fd, { inode, writable, link });
    return fd as Fd;
  }

  protected assertFdFree(call: string, name: string | undefined): void {
    if (this.#handles.size >= this.fdsMax) throw new FsError("EMFILE", call, name);
  }

  protected handle(fd: Fd, call: string): Handle {
    const handle = this.#handles.get(fd);
    if (handle === undefined) throw new FsError("EBADF", call);
    return handle;
  }

  protected dropHandle(fd: number): void {
    const handle = this.handle(fd as Fd, "close");
    this.#handles.delete(fd);
    handle.inode.opens--;
    if (handle.inode.lock === handle) handle.inode.lock = undefined;
    if (handle.writable) this.tellFile(handle, "close-write");
    this.disk.release(handle.inode);
  }

  /** Tells those who watch the directory of an open file, and the watches of a directory itself. */
  protected tellFile(handle: Handle, type: SimEventType): void {
    const { inode, link } = handle;
    const isDir = inode.kind === "dir";
    const name = link !== undefined && inode.links.includes(link) ? link : inode.links[0];
    if (name !== undefined) this.disk.tell(name.dir, type, name.name, isDir);
    if (isDir) this.disk.tell(inode, type, "", true);
  }

  #assertAlive(): void {
    if (this.#isDead) throw new SimCrash("the simulated process has ended");
  }

  #pathOf(at: Fd | undefined, name: string | undefined): string {
    const base = at === undefined ? "" : this.#handles.get(at)?.inode.path() ?? "";
    return name === undefined || name.startsWith("/") ? base + (name ?? "") : `${base}/${name}`;
  }
}
