/**
 * A tree on an SFTP server. Files are written under a hidden name, made durable where the server can, and renamed; what
 * OpenSSH has beside the protocol makes that one step, and its plain rename never replaces.
 */
import { SynclineError } from "#model/error.ts";
import { type RelPath, joinPath, parentOf } from "#model/path.ts";
import type { Random } from "#platform/host.ts";
import { KIND_MASK, PERMISSION_MASK, kindOfMode } from "#platform/kind-bits.ts";
import { addressText } from "#platform/net/address-text.ts";
import { OPEN, STATUS } from "#platform/net/sftp-wire.ts";
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
import { counted, stale, tidyRoot, unsupported } from "#sync/foreign/client-parts.ts";
import { settlePlacing } from "#sync/foreign/settle-placing.ts";
import { type SftpChannel, SftpRefusal } from "#sync/foreign/sftp/sftp-channel.ts";
import { SftpConnection, type SftpLink, type SftpServer } from "#sync/foreign/sftp/sftp-connection.ts";
import { isRefusal, sftpError } from "#sync/foreign/sftp/sftp-errors.ts";
import { isLost, mayTryAgain } from "#sync/foreign/try-again.ts";
import {
  type Attrs,
  NO_ATTRS,
  WRITE_NEW,
  attrsOf,
  closeQuietly,
  done,
  extended,
  handleAttrs,
  handleOf,
  listDirectory,
  nameOf,
  open,
  readRange,
  writeAll,
} from "#sync/foreign/sftp/sftp-requests.ts";

export type SftpFilesOptions = {
  readonly server: SftpServer;
  /** Absolute there, or "/~" and what is below the directory in which one is after the sign-in. */
  readonly root: string;
  /** Hex digits, for partialName(). */
  readonly owner: string;
  readonly random: Random;
};

/** Calls that hold a file or a directory open there at a time; more wait. */
export const CALLS_MAX = 8;
/** Tries of what changes nothing. */
const TRIES_MAX = 3;
const PAGE_ENTRIES = 1_000;
const RANDOM_BYTES = 8;
/** Removing what is left of a write that failed may take so long, whatever became of the write's signal. */
const CLEAN_MS_MAX = 20_000;
const NS_PER_SECOND = 1_000_000_000n;
const SECONDS_END = 2n ** 32n;

const POSIX_RENAME = "posix-rename@openssh.com";
const HARDLINK = "hardlink@openssh.com";
const FSYNC = "fsync@openssh.com";
const STATVFS = "statvfs@openssh.com";
const LSETSTAT = "lsetstat@openssh.com";

export class SftpFiles implements ForeignFiles {
  readonly label: string;
  readonly #options: SftpFilesOptions;
  readonly #connection: SftpConnection;
  readonly #turns: (() => void)[] = [];
  #calls = 0;
  #root: string;

  constructor(options: SftpFilesOptions) {
    const { user, host, port } = options.server.target;
    this.#options = options;
    const address = port === undefined ? host : addressText(host, port);
    this.label = `sftp://${user === undefined ? "" : `${user}@`}${address}${options.root}`;
    this.#connection = new SftpConnection(options.server);
    this.#root = tidyRoot(options.root);
  }

  async connect(signal: AbortSignal): Promise<Abilities> {
    const { channel } = await this.#connection.link(signal);
    if (this.#root === "/~" || this.#root.startsWith("/~/")) {
      this.#root = tidyRoot((await nameOf(channel, "realpath", ".")) + this.#root.slice(2));
    }
    return {
      system: "SFTP",
      setsTimes: true,
      timeResolutionNs: NS_PER_SECOND,
      listsTimes: true,
      renames: "atomic",
      replaces: channel.extensions.has(POSIX_RENAME),
      directories: true,
      modes: true,
      symlinks: true,
      conditional: false,
      ranges: true,
      keeps: true,
      parallel: CALLS_MAX,
    };
  }

  // ------------------------------------------------------- how calls are done

  #path(path: RelPath): string {
    if (path === "") return this.#root;
    return this.#root === "/" ? `/${path}` : `${this.#root}/${path}`;
  }

  /** Refusals become errors that name the path. The signal ends waiting; what was asked for may still be done there. */
  async #on<T>(op: string, path: RelPath, signal: AbortSignal, work: (link: SftpLink) => Promise<T>): Promise<T> {
    const aborted = Promise.withResolvers<never>();
    aborted.promise.catch(() => undefined);
    const stop = (): void => aborted.reject(signal.reason);
    const link = await this.#connection.link(signal);
    signal.addEventListener("abort", stop, { once: true });
    try {
      return await Promise.race([work(link), aborted.promise]);
    } catch (error) {
      throw sftpError(error, op, path, this.#path(path));
    } finally {
      signal.removeEventListener("abort", stop);
    }
  }

  /** As #on, for what changes nothing: tried again over a new connection. */
  async #do<T>(op: string, path: RelPath, signal: AbortSignal, work: (link: SftpLink) => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#on(op, path, signal, work);
      } catch (error) {
        if (!mayTryAgain(error, tries, TRIES_MAX, signal)) throw error;
      }
    }
  }

  /** Waits for one of the places of those who hold something open there; to be given back. */
  async #place(signal: AbortSignal): Promise<Disposable> {
    while (this.#calls >= CALLS_MAX) {
      const turn = Promise.withResolvers<void>();
      const stop = (): void => turn.reject(signal.reason);
      this.#turns.push(turn.resolve);
      signal.addEventListener("abort", stop, { once: true });
      try {
        await turn.promise;
      } catch (error) {
        // Its turn may have come in the same moment, and is the next one's then.
        const at = this.#turns.indexOf(turn.resolve);
        if (at < 0) this.#turns.shift()?.();
        else this.#turns.splice(at, 1);
        throw error;
      } finally {
        signal.removeEventListener("abort", stop);
      }
    }
    this.#calls++;
    return {
      [Symbol.dispose]: () => {
        this.#calls--;
        this.#turns.shift()?.();
      },
    };
  }

  async #entry(channel: SftpChannel, path: RelPath, attrs: Attrs, longName = ""): Promise<ForeignEntry> {
    const entry = entryOf(path, attrs, longName);
    if (entry.kind !== "symlink") return entry;
    try {
      return { ...entry, target: await nameOf(channel, "readlink", this.#path(path)) };
    } catch (error) {
      if (error instanceof SftpRefusal) return entry;
      throw error;
    }
  }

  async #look({ channel }: SftpLink, path: RelPath): Promise<ForeignEntry | undefined> {
    try {
      return await this.#entry(channel, path, await attrsOf(channel, "lstat", this.#path(path)));
    } catch (error) {
      if (isRefusal(error, STATUS.noSuchFile)) return undefined;
      throw error;
    }
  }

  // ------------------------------------------------------- reading

  async *list(dir: RelPath, signal: AbortSignal): AsyncGenerator<ForeignEntry[]> {
    const all = await this.#do("list", dir, signal, async (link) => {
      using _place = await this.#place(signal);
      return listDirectory(link.channel, this.#path(dir));
    });
    const named = all.filter(({ name }) => name !== "." && name !== "..");
    for (let at = 0; at < named.length; at += PAGE_ENTRIES) {
      const page = named.slice(at, at + PAGE_ENTRIES);
      yield await this.#do("list", dir, signal, ({ channel }) =>
        Promise.all(page.map(({ name, attrs, longName }) => this.#entry(channel, childPath(dir, name), attrs, longName))),
      );
    }
  }

  stat(path: RelPath, signal: AbortSignal): Promise<ForeignEntry | undefined> {
    return this.#do("look at", path, signal, (link) => this.#look(link, path));
  }

  /** A connection that breaks is replaced, and the file gone on with where it is still the same one. */
  async *read(path: RelPath, options: ReadOptions, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    using _place = await this.#place(signal);
    let first: ForeignEntry | undefined = options.expect;
    let at = options.offset ?? 0;
    for (let tries = 1; ; tries++) {
      try {
        const link = await this.#connection.link(signal);
        const file: ForeignEntry = await this.#file(link, path, first);
        first ??= file;
        for await (const piece of this.#pieces(link, path, at, file, signal)) {
          at += piece.length;
          tries = 1;
          yield piece;
        }
        return;
      } catch (error) {
        if (!mayTryAgain(error, tries, TRIES_MAX, signal)) throw sftpError(error, "read", path, this.#path(path));
      }
    }
  }

  async #file(link: SftpLink, path: RelPath, expected: ForeignEntry | undefined): Promise<ForeignEntry> {
    const found = await this.#look(link, path);
    if (expected !== undefined && !isExpected(found, expected)) throw stale("read", path);
    if (found?.kind === "file") return found;
    const message = found === undefined ? "nothing is there" : `it is a ${found.kind}`;
    throw new SynclineError({ code: "NOT_FOUND", op: "read", path, message });
  }

  async *#pieces(link: SftpLink, path: RelPath, offset: number, file: ForeignEntry, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    if (offset > file.size) throw stale("read", path);
    const { channel } = link;
    const handle = await open(channel, this.#path(path), OPEN.read);
    try {
      // What was opened may be another one than what was looked at.
      if (!isExpected(entryOf(path, await handleAttrs(channel, handle)), file)) throw stale("read", path);
      for await (const piece of readRange(link, handle, offset, file.size)) {
        signal.throwIfAborted();
        yield piece;
      }
      await this.#file(link, path, file);
    } catch (error) {
      throw isRefusal(error, STATUS.eof) ? stale("read", path) : error;
    } finally {
      // Not waited for: who breaks off has no time. It never rejects.
      void closeQuietly(channel, handle);
    }
  }

  // ------------------------------------------------------- writing

  async write(path: RelPath, bytes: AsyncIterable<Uint8Array>, options: WriteOptions, signal: AbortSignal): Promise<ForeignEntry> {
    using _place = await this.#place(signal);
    const name = partialName(this.#options.owner, Buffer.from(this.#options.random.bytes(RANDOM_BYTES)).toString("hex"));
    const partial = childPath(parentOf(path), name);
    let sent: number | undefined;
    try {
      return await this.#on("write", path, signal, async (link) => {
        const count = await this.#upload(link, partial, bytes, options, signal);
        const found = await this.#checked(link, "write", path, options.expect);
        signal.throwIfAborted();
        sent = count;
        await this.#settle(link, partial, path, found, options.keepAs);
        const placed = await this.#look(link, path);
        if (placed?.kind !== "file") throw stale("write", path);
        return placed;
      });
    } catch (error) {
      if (sent !== undefined && isLost(error)) return this.#placedAfterAll(partial, path, sent, error);
      if (sent === undefined || error instanceof SynclineError) await this.#clean(partial);
      throw error;
    }
  }

  async #upload(
    link: SftpLink,
    partial: RelPath,
    bytes: AsyncIterable<Uint8Array>,
    { size, mode, mtimeNs }: WriteOptions,
    signal: AbortSignal,
  ): Promise<number> {
    const { channel } = link;
    const handle = await open(channel, this.#path(partial), WRITE_NEW, { ...NO_ATTRS, mode });
    let count: number;
    try {
      count = await writeAll(link, handle, counted(bytes, size, partial), signal);
      const mtimeSeconds = mtimeNs === undefined ? undefined : secondsOf(mtimeNs);
      if (mode !== undefined || mtimeSeconds !== undefined) {
        await done(channel, "fsetstat", (packet) => handleOf(packet, handle).wantedAttrs({ ...NO_ATTRS, mode, mtimeSeconds }));
      }
      if (channel.extensions.has(FSYNC)) await extended(channel, FSYNC, (packet) => handleOf(packet, handle));
    } catch (error) {
      await closeQuietly(channel, handle);
      throw isRefusal(error, STATUS.failure) ? await this.#refusedBytes(channel, partial, error) : error;
    }
    const { size: kept } = await handleAttrs(channel, handle);
    // A file system across a network may refuse at the end what it had taken.
    await done(channel, "close", (packet) => handleOf(packet, handle));
    if (kept === count) return count;
    const message = `the server has ${kept ?? "none"} of the ${count} bytes that were sent to it`;
    throw new SynclineError({ code: "PROTOCOL", op: "write", path: partial, message, hint: "check the server's disk and quotas" });
  }

  /** The one word for failures says nothing of a full disk; the file system does. */
  async #refusedBytes(channel: SftpChannel, partial: RelPath, error: unknown): Promise<unknown> {
    const isFull = await this.#hasNoRoom(channel).catch(() => false);
    if (!isFull) return error;
    const message = "the disk of the SFTP server is full";
    return new SynclineError({ code: "DISK", op: "write", path: partial, message, hint: "make room there", cause: error });
  }

  async #hasNoRoom(channel: SftpChannel): Promise<boolean> {
    if (!channel.extensions.has(STATVFS)) return false;
    const { fields } = await channel.ask("extended", (packet) => packet.text(STATVFS).name(this.#root));
    // Block size, fragment size, blocks, free blocks, and those that are for everybody; then files alike.
    const [, , , , room] = channel.read(fields, (all) => Array.from({ length: 5 }, () => all.uint64()));
    return room === 0n;
  }

  /** @returns what is there. @throws {SynclineError} STALE, EXISTS for a directory that is to be replaced */
  async #checked(link: SftpLink, op: string, path: RelPath, expected: Expected | undefined): Promise<ForeignEntry | undefined> {
    const found = await this.#look(link, path);
    if (expected !== undefined && !isExpected(found, expected)) throw stale(op, path);
    if (found?.kind === "dir") throw new SynclineError({ code: "EXISTS", op, path, message: "a directory is there" });
    return found;
  }

  /** The whole file takes its name. */
  async #settle(
    link: SftpLink,
    partial: RelPath,
    path: RelPath,
    found: ForeignEntry | undefined,
    keepAs: RelPath | undefined,
  ): Promise<void> {
    const { channel } = link;
    if (found === undefined) return this.#move(link, partial, path, "STALE");
    if (!channel.extensions.has(POSIX_RENAME)) return this.#replaceInTwo(link, partial, path, keepAs);
    // A second name for what is there, so that its first one is never without a file.
    const isLinked = keepAs !== undefined && (await this.#link(channel, path, keepAs));
    if (keepAs !== undefined && !isLinked) return this.#replaceInTwo(link, partial, path, keepAs);
    await extended(channel, POSIX_RENAME, (packet) => packet.name(this.#path(partial)).name(this.#path(path)));
  }

  async #link(channel: SftpChannel, from: RelPath, to: RelPath): Promise<boolean> {
    try {
      await extended(channel, HARDLINK, (packet) => packet.name(this.#path(from)).name(this.#path(to)));
      return true;
    } catch (error) {
      if (error instanceof SftpRefusal) return false;
      throw error;
    }
  }

  /** For servers that rename onto nothing that is there: what is there steps aside, and back if the new one cannot come. */
  async #replaceInTwo(link: SftpLink, partial: RelPath, path: RelPath, keepAs: RelPath | undefined): Promise<void> {
    const aside = keepAs ?? `${partial}-old`;
    await this.#move(link, path, aside, "EXISTS");
    try {
      await this.#move(link, partial, path, "STALE");
    } catch (error) {
      await this.#move(link, aside, path, "STALE");
      throw error;
    }
    if (keepAs === undefined) await done(link.channel, "remove", (packet) => packet.name(this.#path(aside)));
  }

  /** A rename that replaces nothing. @param code of the error where something is there */
  async #move(link: SftpLink, from: RelPath, to: RelPath, code: "STALE" | "EXISTS"): Promise<void> {
    try {
      await done(link.channel, "rename", (packet) => packet.name(this.#path(from)).name(this.#path(to)));
    } catch (error) {
      throw await this.#taken(link, error, "rename", to, code);
    }
  }

  /** A failure that is one because the name is taken says so. */
  async #taken(link: SftpLink, error: unknown, op: string, path: RelPath, code: "STALE" | "EXISTS" = "EXISTS"): Promise<unknown> {
    const isTaken = isRefusal(error, STATUS.failure) && (await this.#look(link, path)) !== undefined;
    return isTaken ? sftpError(error, op, path, this.#path(path), code) : error;
  }

  async #placedAfterAll(partial: RelPath, path: RelPath, count: number, cause: unknown): Promise<ForeignEntry> {
    const signal = AbortSignal.timeout(CLEAN_MS_MAX);
    const placed = await this.#on("write", path, signal, (link) =>
      settlePlacing(
        {
          look: (one) => this.#look(link, one),
          rename: (from, to) => this.#move(link, from, to, "STALE"),
          remove: (one) => done(link.channel, "remove", (packet) => packet.name(this.#path(one))),
        },
        partial,
        path,
        count,
      ),
    ).catch(() => undefined);
    if (placed !== undefined) return placed;
    throw cause;
  }

  /** What a write has left is removed, if the server can be reached; if not, it is known by its name. */
  async #clean(partial: RelPath): Promise<void> {
    const remove = ({ channel }: SftpLink): Promise<void> => done(channel, "remove", (packet) => packet.name(this.#path(partial)));
    await this.#do("remove", partial, AbortSignal.timeout(CLEAN_MS_MAX), remove).catch(() => undefined);
  }

  async remove(path: RelPath, { expect, keepAs }: RemoveOptions, signal: AbortSignal): Promise<void> {
    await this.#on("remove", path, signal, async (link) => {
      const found = await this.#checked(link, "remove", path, expect);
      if (found === undefined) throw new SynclineError({ code: "NOT_FOUND", op: "remove", path, message: "nothing is there" });
      if (keepAs !== undefined) return this.#move(link, path, keepAs, "EXISTS");
      await done(link.channel, "remove", (packet) => packet.name(this.#path(path)));
    });
  }

  async makeDir(path: RelPath, mode: number | undefined, signal: AbortSignal): Promise<void> {
    await this.#on("make directory", path, signal, async (link) => {
      const full = this.#path(path);
      try {
        await done(link.channel, "mkdir", (packet) => packet.name(full).wantedAttrs({ ...NO_ATTRS, mode }));
      } catch (error) {
        throw await this.#taken(link, error, "make directory", path);
      }
      // The server's mask has been taken off.
      if (mode !== undefined) await done(link.channel, "setstat", (packet) => packet.name(full).wantedAttrs({ ...NO_ATTRS, mode }));
    });
  }

  async removeDir(path: RelPath, signal: AbortSignal): Promise<void> {
    await this.#on("remove directory", path, signal, async ({ channel }) => {
      try {
        await done(channel, "rmdir", (packet) => packet.name(this.#path(path)));
      } catch (error) {
        if (!isRefusal(error, STATUS.failure)) throw error;
        const inside = await listDirectory(channel, this.#path(path));
        const isEmpty = inside.every(({ name }) => name === "." || name === "..");
        throw isEmpty ? error : sftpError(error, "remove directory", path, this.#path(path), "EXISTS");
      }
    });
  }

  async rename(from: RelPath, to: RelPath, signal: AbortSignal, expect?: ForeignEntry): Promise<undefined> {
    await this.#on("rename", from, signal, async (link) => {
      if (expect !== undefined && !isExpected(await this.#look(link, from), expect)) throw stale("rename", from);
      if ((await this.#look(link, to)) !== undefined) {
        throw new SynclineError({ code: "EXISTS", op: "rename", path: to, message: "something is there already" });
      }
      await this.#move(link, from, to, "EXISTS");
    });
  }

  async setTime(path: RelPath, mtimeNs: bigint, signal: AbortSignal, expect?: ForeignEntry): Promise<ForeignEntry> {
    const mtimeSeconds = secondsOf(mtimeNs);
    if (mtimeSeconds === undefined) throw unsupported("set the time of", path, "SFTP has times from 1970 to 2106");
    return this.#on("set the time of", path, signal, async (link) => {
      const { channel } = link;
      if (expect !== undefined && !isExpected(await this.#look(link, path), expect)) throw stale("set the time of", path);
      const full = this.#path(path);
      const wanted = { ...NO_ATTRS, mtimeSeconds };
      if (channel.extensions.has(LSETSTAT)) await extended(channel, LSETSTAT, (packet) => packet.name(full).wantedAttrs(wanted));
      else await done(channel, "setstat", (packet) => packet.name(full).wantedAttrs(wanted));
      const found = await this.#look(link, path);
      if (found === undefined) throw stale("set the time of", path);
      return found;
    });
  }

  async setMode(path: RelPath, mode: number, signal: AbortSignal): Promise<void> {
    await this.#on("set the mode of", path, signal, ({ channel }) =>
      done(channel, "setstat", (packet) => packet.name(this.#path(path)).wantedAttrs({ ...NO_ATTRS, mode })),
    );
  }

  async makeSymlink(path: RelPath, target: string, signal: AbortSignal): Promise<void> {
    await this.#on("make symlink", path, signal, async (link) => {
      try {
        // In the order of OpenSSH, which all servers have by now; the draft has it the other way round.
        await done(link.channel, "symlink", (packet) => packet.name(target).name(this.#path(path)));
      } catch (error) {
        throw await this.#taken(link, error, "make symlink", path);
      }
    });
  }

  async close(): Promise<void> {
    this.#connection.close();
  }
}

/** For servers that tell permissions without the kind: the first letter of what `ls -l` would say. */
const LETTERS: Readonly<Record<string, ForeignEntry["kind"]>> = { "-": "file", d: "dir", l: "symlink" };

function entryOf(path: RelPath, attrs: Attrs, longName = ""): ForeignEntry {
  const bits = attrs.mode ?? 0;
  const kind = (bits & KIND_MASK) === 0 ? (LETTERS[longName[0] ?? ""] ?? "other") : kindOf(bits);
  if (kind === "file" && attrs.size === undefined) {
    throw new SynclineError({ code: "PROTOCOL", op: "look at", path, message: "the SFTP server tells no size of a file" });
  }
  return {
    path,
    kind,
    size: kind === "file" ? attrs.size! : 0,
    mtimeNs: kind === "file" && attrs.mtimeSeconds !== undefined ? BigInt(attrs.mtimeSeconds) * NS_PER_SECOND : undefined,
    mode: attrs.mode === undefined || kind === "symlink" ? undefined : attrs.mode & PERMISSION_MASK,
  };
}

function kindOf(mode: number): ForeignEntry["kind"] {
  const kind = kindOfMode(mode);
  return kind === "file" || kind === "dir" || kind === "symlink" ? kind : "other";
}

/** @throws {SynclineError} PROTOCOL for what is no name */
function childPath(dir: RelPath, name: string): RelPath {
  if (name !== "" && !name.includes("/") && !name.includes("\0")) return joinPath(dir, name);
  const message = `the server lists a name that is none: ${JSON.stringify(name.slice(0, 100))}`;
  throw new SynclineError({ code: "PROTOCOL", op: "list", path: dir, message });
}

/** The whole seconds of a time, where the protocol has it. */
function secondsOf(mtimeNs: bigint): number | undefined {
  if (mtimeNs < 0n || mtimeNs >= SECONDS_END * NS_PER_SECOND) return undefined;
  return Number(mtimeNs / NS_PER_SECOND);
}
