/**
 * A tree on an FTP server. Files are sent under a hidden name and renamed when the server has said that it has them and
 * tells the size they must have; nothing that has broken off is ever taken for whole.
 */
import { SynclineError } from "#model/error.ts";
import { type RelPath, joinPath, nameOf, parentOf } from "#model/path.ts";
import type { Clock, Random } from "#platform/host.ts";
import { addressText } from "#platform/net/address-text.ts";
import { ftpTimeText } from "#platform/net/ftp-time.ts";
import {
  type Abilities,
  type Expected,
  type ForeignEntry,
  type ForeignFiles,
  type ReadOptions,
  type RemoveOptions,
  type WriteOptions,
  isExpected,
  partialName,
} from "#sync/foreign/foreign-files.ts";
import type { FtpControl, FtpServer } from "#sync/foreign/ftp/ftp-control.ts";
import { incoming, sendBytes } from "#sync/foreign/ftp/ftp-data.ts";
import { FtpRefusal, lostConnection, notDone } from "#sync/foreign/ftp/ftp-errors.ts";
import { FtpListing, parentPath } from "#sync/foreign/ftp/ftp-listing.ts";
import { CONTROLS_MAX, FtpPool, TRIES_MAX } from "#sync/foreign/ftp/ftp-pool.ts";
import { mayTryAgain } from "#sync/foreign/try-again.ts";
import type { Listed } from "#sync/foreign/ftp/listings.ts";
import { quotedPath } from "#sync/foreign/ftp/replies.ts";
import { counted, stale, tidyRoot, unsupported } from "#sync/foreign/client-parts.ts";
import { settlePlacing } from "#sync/foreign/settle-placing.ts";

export type FtpFilesOptions = {
  readonly server: FtpServer;
  /** Absolute there, or "/~" and what is below the directory in which one is after the sign-in. */
  readonly root: string;
  /** Hex digits, for partialName(). */
  readonly owner: string;
  readonly clock: Clock;
  readonly random: Random;
};

const PAGE_ENTRIES = 1_000;
/** MFMT and MDTM take whole seconds. */
const NS_PER_SECOND = 1_000_000_000n;
const RANDOM_BYTES = 8;
/** Removing what is left of a write that failed may take so long, whatever became of the write's signal. */
const CLEAN_MS_MAX = 20_000;

export class FtpFiles implements ForeignFiles {
  readonly label: string;
  readonly #options: FtpFilesOptions;
  readonly #pool: FtpPool;
  readonly #listing: FtpListing;
  #root: string;
  /** How times are set: the command of RFC 3659's draft, or MDTM with two arguments. */
  #setsTimesBy: "MFMT" | "MDTM" | undefined;
  #canSkip = false;

  constructor(options: FtpFilesOptions) {
    const { server, root } = options;
    this.#options = options;
    const address = addressText(server.host, server.port);
    this.label = `${server.tls === "implicit" ? "ftps" : "ftp"}://${address}${root}`;
    this.#pool = new FtpPool(server, address, options.clock);
    this.#listing = new FtpListing(address);
    this.#root = tidyRoot(root);
  }

  async connect(signal: AbortSignal): Promise<Abilities> {
    return this.#on(signal, async (control) => {
      if (this.#root === "/~" || this.#root.startsWith("/~/")) {
        const home = await control.send("PWD");
        const path = home.code === 257 ? quotedPath(home) : undefined;
        if (path === undefined || !path.startsWith("/")) throw notDone(home, "find the home directory", undefined);
        this.#root = tidyRoot(path + this.#root.slice(2));
      }
      const { features } = control;
      this.#canSkip = features.get("REST")?.toUpperCase().includes("STREAM") ?? false;
      if (features.has("MFMT")) this.#setsTimesBy = "MFMT";
      else if (features.has("MDTM") && (await isVsftpd(control))) this.#setsTimesBy = "MDTM";
      const facts = features.get("MLST");
      const tellsTimes = facts === undefined ? features.has("MDTM") : /(?:^|;)modify\*?;/i.test(facts);
      return {
        system: "FTP",
        setsTimes: this.#setsTimesBy !== undefined,
        timeResolutionNs: tellsTimes ? NS_PER_SECOND : 0n,
        listsTimes: tellsTimes || facts !== undefined,
        renames: "atomic",
        replaces: true,
        directories: true,
        modes: false,
        symlinks: false,
        conditional: false,
        ranges: this.#canSkip,
        keeps: true,
        parallel: CONTROLS_MAX,
      };
    });
  }

  // ------------------------------------------------------- how calls are done

  /**
   * On a connection of its own for the time. It stays usable when the server only says no, and when the source or the taker
   * of the bytes fails: what the server says to that is waited for before anything else is heard.
   */
  #on<T>(signal: AbortSignal, work: (control: FtpControl) => Promise<T>): Promise<T> {
    return this.#pool.use(signal, work, (error) => !(error instanceof SynclineError) || isAnswer(error));
  }

  /** As #on, for what changes nothing: tried again. */
  #do<T>(signal: AbortSignal, work: (control: FtpControl) => Promise<T>): Promise<T> {
    return this.#pool.again(signal, () => this.#on(signal, work));
  }

  #path(path: RelPath): string {
    if (path === "") return this.#root;
    return this.#root === "/" ? `/${path}` : `${this.#root}/${path}`;
  }

  /** Work of which a refusal is explained. */
  async #explained<T>(control: FtpControl, op: string, path: string, work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw error instanceof FtpRefusal ? await this.#listing.explain(control, error, op, path) : error;
    }
  }

  #entry(path: RelPath, { kind, size, mtimeNs, target }: Listed): ForeignEntry {
    return { path, kind, size, mtimeNs, target };
  }

  async #look(control: FtpControl, path: RelPath): Promise<ForeignEntry | undefined> {
    const full = this.#path(path);
    try {
      const listed = await this.#explained(control, "look at", full, () => this.#listing.look(control, full));
      return listed === undefined ? undefined : this.#entry(path, listed);
    } catch (error) {
      if (error instanceof SynclineError && error.code === "NOT_FOUND") return undefined;
      throw error;
    }
  }

  // ------------------------------------------------------- reading

  async *list(dir: RelPath, signal: AbortSignal): AsyncGenerator<ForeignEntry[]> {
    const full = this.#path(dir);
    const all = await this.#do(signal, (control) =>
      this.#explained(control, "list", full, () => this.#listing.read(control, full)),
    );
    for (let at = 0; at < all.length; at += PAGE_ENTRIES) {
      const page = all.slice(at, at + PAGE_ENTRIES);
      yield page.map((listed) => this.#entry(joinPath(dir, listed.name), listed));
    }
  }

  stat(path: RelPath, signal: AbortSignal): Promise<ForeignEntry | undefined> {
    return this.#do(signal, (control) => this.#look(control, path));
  }

  /** A connection that breaks is replaced, and the file gone on with where it is still the same one. */
  async *read(path: RelPath, options: ReadOptions, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    let first: ForeignEntry | undefined = options.expect;
    let at = options.offset ?? 0;
    for (let tries = 1; ; tries++) {
      const begun: ForeignEntry = await this.#do(signal, (control) => this.#file(control, path, first));
      first ??= begun;
      try {
        for await (const piece of this.#stream(path, at, begun, signal)) {
          at += piece.length;
          tries = 1;
          yield piece;
        }
        return;
      } catch (error) {
        if (!mayTryAgain(error, tries, TRIES_MAX, signal)) throw error;
      }
    }
  }

  async #file(control: FtpControl, path: RelPath, expected: ForeignEntry | undefined): Promise<ForeignEntry> {
    const found = await this.#look(control, path);
    if (expected !== undefined && !isExpected(found, expected)) throw stale("read", path);
    if (found?.kind === "file") return found;
    const message = found === undefined ? "nothing is there" : `it is a ${found.kind}`;
    throw new SynclineError({ code: "NOT_FOUND", op: "read", path, message });
  }

  /** Bytes from `offset` on, to the end that the file had when it was looked at. */
  async *#stream(path: RelPath, offset: number, file: ForeignEntry, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    if (offset > file.size) throw stale("read", path);
    if (offset === file.size) return;
    const feed = new Feed();
    const running = this.#on(signal, async (control) => {
      const full = this.#path(path);
      const skip = this.#canSkip ? 0 : offset;
      await this.#explained(control, "read", full, async () => {
        const { data, done } = await control.begin(`RETR ${full}`, offset - skip);
        let count = offset - skip;
        for await (const piece of incoming(data, this.label)) {
          const start = Math.max(0, Math.min(piece.length, offset - count));
          count += piece.length;
          if (count > file.size) throw stale("read", path);
          if (start < piece.length) await feed.put(piece.subarray(start));
        }
        const said = await done();
        if (said.code >= 300) throw new FtpRefusal(said);
        if (count < file.size) throw lostConnection(this.label, new Error("the file ends before its end"));
      });
      await this.#file(control, path, file);
    });
    try {
      yield* feed.take(running);
    } finally {
      feed.stop();
    }
    await running;
  }

  // ------------------------------------------------------- writing

  async write(path: RelPath, bytes: AsyncIterable<Uint8Array>, options: WriteOptions, signal: AbortSignal): Promise<ForeignEntry> {
    const { owner, random } = this.#options;
    await this.#checkHidden(path, signal);
    const name = partialName(owner, Buffer.from(random.bytes(RANDOM_BYTES)).toString("hex"));
    const partial = parentOf(path) === "" ? name : `${parentOf(path)}/${name}`;
    let sent: number | undefined;
    try {
      return await this.#on(signal, async (control) => {
        const count = await this.#upload(control, partial, bytes, options, signal);
        await this.#checked(control, "write", path, options.expect);
        sent = count;
        return this.#place(control, partial, path, options);
      });
    } catch (error) {
      if (sent === undefined || isAnswer(error)) await this.#clean(partial);
      else if (error instanceof SynclineError && error.retryable) return this.#placedAfterAll(partial, path, sent, error);
      throw error;
    }
  }

  async #placedAfterAll(partial: RelPath, path: RelPath, count: number, cause: SynclineError): Promise<ForeignEntry> {
    const signal = AbortSignal.timeout(CLEAN_MS_MAX);
    const settle = (control: FtpControl): Promise<ForeignEntry | undefined> => {
      const placing = {
        look: (one: RelPath) => this.#look(control, one),
        rename: (from: RelPath, to: RelPath) => this.#rename(control, from, to),
        remove: (one: RelPath) => this.#said(control, `DELE ${this.#path(one)}`, "remove", this.#path(one)),
      };
      return settlePlacing(placing, partial, path, count);
    };
    const placed = await this.#on(signal, settle).catch(() => undefined);
    if (placed !== undefined) return placed;
    throw cause;
  }

  async #upload(
    control: FtpControl,
    partial: RelPath,
    bytes: AsyncIterable<Uint8Array>,
    { size, mtimeNs }: WriteOptions,
    signal: AbortSignal,
  ): Promise<number> {
    const full = this.#path(partial);
    const parent = parentPath(full);
    const count = await this.#explained(control, "write into", parent, async () => {
      const { data, done } = await control.begin(`STOR ${full}`);
      try {
        const sent = await sendBytes(data, counted(bytes, size, partial), this.label);
        const said = await done();
        if (said.code >= 400) throw new FtpRefusal(said);
        if (said.code >= 300 || sent === undefined) throw notDone(said, "write", partial, "PROTOCOL");
        return sent;
      } finally {
        data.destroy();
      }
    });
    signal.throwIfAborted();
    if (mtimeNs !== undefined && this.#setsTimesBy !== undefined) await control.send(this.#timeCommand(full, mtimeNs));
    const kept = await this.#look(control, partial);
    if (kept?.size === count) return count;
    const message = `the server has ${kept?.size ?? "none"} of the ${count} bytes that were sent to it`;
    throw new SynclineError({ code: "PROTOCOL", op: "write", path: partial, message, hint: "check the server's disk and quotas" });
  }

  #timeCommand(full: string, mtimeNs: bigint): string {
    const seconds = mtimeNs / NS_PER_SECOND - (mtimeNs % NS_PER_SECOND < 0n ? 1n : 0n);
    return `${this.#setsTimesBy} ${ftpTimeText(seconds * NS_PER_SECOND)} ${full}`;
  }

  /** @returns what is there. @throws {SynclineError} STALE, EXISTS for a directory that is to be replaced */
  async #checked(control: FtpControl, op: string, path: RelPath, expected: Expected | undefined): Promise<ForeignEntry | undefined> {
    const found = await this.#look(control, path);
    if (expected !== undefined && !isExpected(found, expected)) throw stale(op, path);
    if (found?.kind === "dir") throw new SynclineError({ code: "EXISTS", op, path, message: "a directory is there" });
    return found;
  }

  async #place(control: FtpControl, partial: RelPath, path: RelPath, options: WriteOptions): Promise<ForeignEntry> {
    const { keepAs } = options;
    const isKept = keepAs !== undefined && options.expect !== "absent" && (await this.#look(control, path)) !== undefined;
    if (isKept) await this.#rename(control, path, keepAs);
    try {
      await this.#rename(control, partial, path);
    } catch (error) {
      if (!isAnswer(error)) throw error;
      if (isKept) {
        await this.#rename(control, keepAs, path);
        throw error;
      }
      // What has come to an empty place meanwhile is somebody's.
      if (options.expect === "absent" && (await this.#look(control, path)) !== undefined) throw stale("write", path);
      await this.#replaceInTwo(control, partial, path, error);
    }
    const placed = await this.#look(control, path);
    if (placed?.kind === "file") return placed;
    throw stale("write", path);
  }

  /** For servers that rename onto nothing that is there: what is there steps aside, and back if that was not the reason. */
  async #replaceInTwo(control: FtpControl, partial: RelPath, path: RelPath, cause: unknown): Promise<void> {
    if ((await this.#look(control, path)) === undefined) throw cause;
    const aside = `${partial}-old`;
    await this.#rename(control, path, aside);
    try {
      await this.#rename(control, partial, path);
    } catch (error) {
      await this.#rename(control, aside, path);
      throw error;
    }
    await this.#said(control, `DELE ${this.#path(aside)}`, "remove", this.#path(aside));
  }

  async #rename(control: FtpControl, from: RelPath, to: RelPath): Promise<void> {
    const full = this.#path(from);
    const begun = await control.send(`RNFR ${full}`);
    if (begun.code !== 350) throw await this.#listing.explain(control, new FtpRefusal(begun), "rename", full);
    await this.#said(control, `RNTO ${this.#path(to)}`, "rename to", parentPath(this.#path(to)));
  }

  /** A command that answers with nothing but that it is done. */
  async #said(control: FtpControl, command: string, op: string, full: string): Promise<void> {
    const reply = await control.send(command);
    if (reply.code >= 300) throw await this.#listing.explain(control, new FtpRefusal(reply), op, full);
  }

  /** What a write has left is removed, if the server can be reached; if not, it is known by its name. */
  async #clean(partial: RelPath): Promise<void> {
    const signal = AbortSignal.timeout(CLEAN_MS_MAX);
    // There is no other of that name, so it may be said more than once.
    await this.#do(signal, (control) => control.send(`DELE ${this.#path(partial)}`)).catch(() => undefined);
  }

  /** What a server does not list would be taken for removed at the next look. */
  async #checkHidden(path: RelPath, signal: AbortSignal): Promise<void> {
    if (!nameOf(path).startsWith(".")) return;
    if (this.#listing.showsHidden === undefined) {
      for await (const page of this.list(parentOf(path), signal)) void page;
    }
    if (this.#listing.showsHidden === true) return;
    throw new SynclineError({
      code: "UNSUPPORTED",
      op: "write",
      path,
      message: "this FTP server does not list names that begin with a dot",
      hint: "leave them out with --ignore '.*', or let the server show hidden files",
    });
  }

  async remove(path: RelPath, { expect, keepAs }: RemoveOptions, signal: AbortSignal): Promise<void> {
    await this.#on(signal, async (control) => {
      const found = await this.#checked(control, "remove", path, expect);
      if (found === undefined) throw new SynclineError({ code: "NOT_FOUND", op: "remove", path, message: "nothing is there" });
      if (keepAs !== undefined) return this.#rename(control, path, keepAs);
      await this.#said(control, `DELE ${this.#path(path)}`, "remove", this.#path(path));
    });
  }

  async makeDir(path: RelPath, _mode: number | undefined, signal: AbortSignal): Promise<void> {
    await this.#checkHidden(path, signal);
    const full = this.#path(path);
    await this.#on(signal, async (control) => {
      const made = await control.send(`MKD ${full}`);
      if (made.code < 300) return;
      if ((await this.#look(control, path)) !== undefined) throw notDone(made, "make directory", path, "EXISTS");
      throw await this.#listing.explain(control, new FtpRefusal(made), "make directory", parentPath(full));
    });
  }

  async removeDir(path: RelPath, signal: AbortSignal): Promise<void> {
    const full = this.#path(path);
    await this.#on(signal, async (control) => {
      const removed = await control.send(`RMD ${full}`);
      if (removed.code < 300) return;
      const inside = await this.#explained(control, "remove directory", full, () => this.#listing.read(control, full));
      if (inside.length > 0) throw notDone(removed, "remove directory", path, "EXISTS");
      throw await this.#listing.explain(control, new FtpRefusal(removed), "remove directory", full);
    });
  }

  async rename(from: RelPath, to: RelPath, signal: AbortSignal, expect?: ForeignEntry): Promise<undefined> {
    await this.#checkHidden(to, signal);
    await this.#on(signal, async (control) => {
      const found = await this.#look(control, from);
      if (expect !== undefined && !isExpected(found, expect)) throw stale("rename", from);
      if (found === undefined) throw new SynclineError({ code: "NOT_FOUND", op: "rename", path: from, message: "nothing is there" });
      if ((await this.#look(control, to)) !== undefined) {
        throw new SynclineError({ code: "EXISTS", op: "rename", path: to, message: "something is there already" });
      }
      await this.#rename(control, from, to);
    });
  }

  async setTime(path: RelPath, mtimeNs: bigint, signal: AbortSignal, expect?: ForeignEntry): Promise<ForeignEntry> {
    if (this.#setsTimesBy === undefined) throw unsupported("set the time of", path, "this FTP server cannot set times");
    const full = this.#path(path);
    return this.#on(signal, async (control) => {
      if (expect !== undefined && !isExpected(await this.#look(control, path), expect)) throw stale("set the time of", path);
      await this.#said(control, this.#timeCommand(full, mtimeNs), "set the time of", full);
      const found = await this.#look(control, path);
      if (found === undefined) throw stale("set the time of", path);
      return found;
    });
  }

  async setMode(path: RelPath): Promise<void> {
    throw unsupported("set the mode of", path, "FTP has no permissions");
  }

  async makeSymlink(path: RelPath): Promise<void> {
    throw unsupported("make symlink", path, "FTP makes no symlinks");
  }

  async close(): Promise<void> {
    this.#pool.close();
  }
}

/** A hand-over of bytes from a connection to whoever reads, one piece at a time. */
class Feed {
  #piece: Uint8Array | undefined;
  #isStopped = false;
  #wake = Promise.withResolvers<void>();
  #taken = Promise.withResolvers<void>();

  /** Resolves when it was taken. Rejects when nobody wants any more. */
  async put(piece: Uint8Array): Promise<void> {
    if (this.#isStopped) throw new Error("nobody reads any more");
    this.#piece = piece;
    this.#taken = Promise.withResolvers<void>();
    this.#wake.resolve();
    await this.#taken.promise;
    if (this.#isStopped) throw new Error("nobody reads any more");
  }

  /** Until `running` is over; rejects as it does. */
  async *take(running: Promise<void>): AsyncGenerator<Uint8Array> {
    let isOver = false;
    const over = (): void => {
      isOver = true;
      this.#wake.resolve();
    };
    running.then(over, over);
    for (;;) {
      await this.#wake.promise;
      this.#wake = Promise.withResolvers<void>();
      const piece = this.#piece;
      this.#piece = undefined;
      if (piece !== undefined) {
        yield piece;
        this.#taken.resolve();
      }
      if (isOver) return;
    }
  }

  stop(): void {
    this.#isStopped = true;
    this.#taken.resolve();
  }
}

/** Errors that the server has given in an answer: the connection is as good as before. */
function isAnswer(error: unknown): boolean {
  const codes = ["NOT_FOUND", "EXISTS", "DENIED", "STALE", "DISK", "UNSUPPORTED"];
  return error instanceof SynclineError && codes.includes(error.code);
}

/** vsftpd sets times with MDTM and two arguments; others would look for a file of that name. */
async function isVsftpd(control: FtpControl): Promise<boolean> {
  if (/vsftpd/i.test(control.greeting)) return true;
  const status = await control.send("STAT");
  return status.code === 211 && /vsftpd/i.test(status.lines.join("\n"));
}
