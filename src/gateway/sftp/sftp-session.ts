/**
 * One client's SFTP session on a channel: takes its requests in the order in which they came, and answers. Only reads
 * overlap: everything else sees what was asked for before it, as on a disk. A file that is being written is seen by its
 * own session under its name; others see it when it is closed.
 */
import { SynclineError } from "#model/error.ts";
import type { Principal } from "#access/access.ts";
import type { HubAccess } from "#access/hub-access.ts";
import type { SpaceService } from "#hub/space-service.ts";
import type { Upload } from "#hub/uploads/upload.ts";
import type { Clock } from "#platform/host.ts";
import type { SshChannel } from "#platform/net/ssh-listener.ts";
import {
  makeDirectory,
  makeSymlink,
  moveEntry,
  removeEntry,
  requireSameOwner,
  setAttrs,
} from "#gateway/sftp/changes.ts";
import { EXTENSIONS, answerExtension, isExtension } from "#gateway/sftp/extensions.ts";
import {
  ANSWER,
  DATA_BYTES_MAX,
  OPEN,
  PacketSplitter,
  PacketWriter,
  STATUS,
  type Status,
  type WantedAttrs,
} from "#platform/net/sftp-wire.ts";
import { type Request, dataPacket, finishData, readRequest, statusPacket } from "#gateway/sftp/packets.ts";
import { type DirHandle, Handles } from "#gateway/sftp/handles.ts";
import { failed, statusOf } from "#gateway/sftp/status.ts";
import { type Node, type Place, type Tree, canonicalPath, notDirectory, notThere } from "#gateway/sftp/tree.ts";
import { attrsOf, longName } from "#gateway/sftp/view.ts";
import { WriteHandle, type WriteParts } from "#gateway/sftp/write-handle.ts";

const VERSION = 3;
/** Bytes of requests that wait for their turn, before the client is told to wait. */
const QUEUE_BYTES_MAX = 4 << 20;
const QUEUE_REQUESTS_MAX = 1_024;
/** Reads that are at work at a time. */
const READS_MAX = 4;
/** Bytes of names in one answer. */
const NAMES_BYTES = 64 << 10;
const PARTIAL_MODE = 0o600;

export type SessionParts = {
  readonly tree: Tree;
  readonly who: () => Principal;
  readonly access: HubAccess;
  readonly spaces: SpaceService;
  readonly write: WriteParts;
  readonly clock: Clock;
  readonly traceId: () => string;
  /** Of the disk that the hub is on. */
  readonly disk: () => { readonly freeBytes: number; readonly totalBytes: number };
  /** Parents of what a user is bound to may be missing. */
  readonly makeParents: boolean;
  readonly touch: () => void;
  readonly count: (direction: "in" | "out", bytes: number) => void;
  /** An error of ours. */
  readonly onFault: (error: unknown) => void;
};

export class SftpSession {
  readonly parts: SessionParts;
  readonly handles: Handles;
  readonly #channel: SshChannel;
  readonly #splitter = new PacketSplitter();
  readonly #queue: { readonly request: Request; readonly bytes: number }[] = [];
  #queuedBytes = 0;
  #isPaused = false;
  #isRunning = false;
  #isOver = false;
  #isGreeted = false;
  /** Resolves when the client takes more. */
  #room: PromiseWithResolvers<void> | undefined;
  readonly #reads = new Set<Promise<void>>();
  #lastRead: Promise<void> = Promise.resolve();
  #done = Promise.withResolvers<void>();

  constructor(channel: SshChannel, parts: SessionParts) {
    this.#channel = channel;
    this.parts = parts;
    this.handles = new Handles();
    channel.listen({
      onData: (bytes) => this.#data(bytes),
      onDrain: () => {
        this.#room?.resolve();
        this.#room = undefined;
      },
      onEnd: () => this.#close(),
    });
  }

  /** Resolves when the channel is over and everything that was not closed is given up. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  /** Whether something is under way for the client. */
  get isBusy(): boolean {
    return this.#isRunning || this.handles.writing > 0;
  }

  #data(bytes: Uint8Array): void {
    if (this.#isOver) return;
    this.parts.touch();
    try {
      this.#splitter.push(bytes, (packet) => {
        const request = readRequest(packet);
        this.#queue.push({ request, bytes: packet.length });
        this.#queuedBytes += packet.length;
      });
    } catch (error) {
      // After a length that is none nothing can be made sense of any more.
      this.#queue.push({ request: { type: "other", id: 0, isMalformed: true }, bytes: 0 });
      this.#isOver = true;
      if (!(error instanceof SynclineError)) this.parts.onFault(error);
    }
    if (!this.#isPaused && (this.#queuedBytes > QUEUE_BYTES_MAX || this.#queue.length > QUEUE_REQUESTS_MAX)) {
      this.#isPaused = true;
      this.#channel.pause();
    }
    if (!this.#isRunning) void this.#run();
  }

  /** What was asked for before the end is still done: a close that nobody waits for is a commit. */
  #close(): void {
    this.#isOver = true;
    if (!this.#isRunning) void this.#end();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    try {
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
        this.#queuedBytes -= next.bytes;
        await this.#room?.promise;
        await this.#handle(next.request);
        if (this.#isPaused && this.#queuedBytes <= QUEUE_BYTES_MAX / 2 && this.#queue.length <= QUEUE_REQUESTS_MAX / 2) {
          this.#isPaused = false;
          this.#channel.resume();
        }
      }
    } catch (error) {
      // Nobody waits for this: where nothing can be answered any more the session is over.
      this.parts.onFault(error);
      this.#isOver = true;
      this.#queue.length = 0;
    }
    // In the same turn in which nothing was found in the queue, or what comes next would wait for ever.
    this.#isRunning = false;
    if (this.#isOver) await this.#end();
  }

  async #end(): Promise<void> {
    try {
      await Promise.all(this.#reads);
      for (const error of await this.handles.discardAll()) {
        // What the hub refuses to keep for later is lost to nobody: it was never acknowledged as a file.
        if (!(error instanceof SynclineError)) this.parts.onFault(error);
      }
      this.#channel.end();
    } catch (error) {
      this.parts.onFault(error);
    }
    this.#done.resolve();
  }

  send(packet: Uint8Array): void {
    if (!this.#channel.write(packet) && this.#room === undefined) this.#room = Promise.withResolvers();
  }

  status(id: number, status: Status, message = ""): void {
    this.send(statusPacket(id, status, message));
  }

  #failure(id: number, error: unknown): Uint8Array {
    const known = statusOf(error);
    if (known === undefined) this.parts.onFault(error);
    return statusPacket(id, known?.status ?? STATUS.failure, known?.message ?? "an error of the server; its log tells more");
  }

  async #handle(request: Request): Promise<void> {
    if (request.type === "init") return this.#init(request.version);
    if (request.type === "other") {
      if (request.isMalformed) return this.status(request.id, STATUS.badMessage, "malformed packet");
      return this.status(request.id, STATUS.unsupported, "not supported");
    }
    if (!this.#isGreeted) return this.status(request.id, STATUS.badMessage, "the first packet says the version");
    try {
      if (request.type === "read") await this.#startRead(request);
      else await this.#answer(request);
    } catch (error) {
      const isMalformed = request.type === "extended" && error instanceof RangeError;
      if (isMalformed) this.status(request.id, STATUS.badMessage, "malformed packet");
      else this.send(this.#failure(request.id, error));
    }
  }

  #init(version: number): void {
    if (this.#isGreeted || version < VERSION) {
      this.#isOver = true;
      this.#queue.length = 0;
      return;
    }
    this.#isGreeted = true;
    const packet = new PacketWriter(ANSWER.version, undefined).uint32(VERSION);
    for (const [name, value] of Object.entries(EXTENSIONS)) packet.text(name).text(value);
    this.send(packet.finish());
  }

  async #answer(request: Exclude<Request, { type: "init" | "other" | "read" }>): Promise<void> {
    const { id } = request;
    switch (request.type) {
      case "open":
        return this.#open(request);
      case "close":
        await this.handles.close(request.handle);
        return this.status(id, STATUS.ok);
      case "write": {
        const { handle } = this.handles.writer(request.handle);
        await handle.write(request.offset, request.data);
        this.parts.count("in", request.data.length);
        return this.status(id, STATUS.ok);
      }
      case "lstat":
      case "stat":
        return this.#attrs(id, await this.#findShown(request.path, request.type === "stat"));
      case "fstat":
        return this.#attrs(id, this.handles.node(request.handle));
      case "setstat":
        await this.set(request.path, request.attrs, true);
        return this.status(id, STATUS.ok);
      case "fsetstat":
        await this.#setHandle(request.handle, request.attrs);
        return this.status(id, STATUS.ok);
      case "opendir":
        return this.#openDir(id, request.path);
      case "readdir":
        return this.#readDir(id, this.handles.dir(request.handle));
      case "realpath":
        return this.#names(id, [{ name: canonicalPath(request.path), long: canonicalPath(request.path), attrs: undefined }]);
      case "readlink": {
        const { entry } = await this.find(request.path, false);
        if (entry.kind !== "symlink") throw failed("this is no symlink");
        return this.#names(id, [{ name: entry.target, long: entry.target, attrs: undefined }]);
      }
      case "extended":
        if (!isExtension(request.name)) return this.status(id, STATUS.unsupported, "not supported");
        return answerExtension(this, id, request.name, request.body);
      default:
        await this.#change(request);
        return this.status(id, STATUS.ok);
    }
  }

  async #change(request: Extract<Request, { type: "remove" | "rmdir" | "mkdir" | "rename" | "symlink" }>): Promise<void> {
    const { tree, makeParents } = this.parts;
    const by = this.parts.write;
    switch (request.type) {
      case "remove":
        return this.#remove(request.path);
      case "rmdir":
        return removeEntry(by, () => tree.find(request.path, false), "dir");
      case "mkdir":
        return makeDirectory(by, await tree.target(request.path), request.attrs.mode, makeParents);
      case "symlink":
        return makeSymlink(by, await tree.target(request.path), request.target, makeParents);
      case "rename":
        return this.rename(request.from, request.to, false);
    }
  }

  // ---------------------------------------------------------------- what is there

  /** As the tree has it, with files of this session that are not closed yet. */
  async look(text: string, isFollowed: boolean): Promise<Node | undefined> {
    const { tree } = this.parts;
    const node = await tree.look(text, isFollowed);
    if (this.handles.writing === 0) return node;
    const place = node === undefined ? await tree.target(text).catch(() => undefined) : node.place;
    const writing = place === undefined ? undefined : this.handles.writingAt(place);
    return writing === undefined ? node : { place, entry: writing.entry, version: node?.version };
  }

  async find(text: string, isFollowed: boolean): Promise<Node> {
    const node = await this.look(text, isFollowed);
    if (node === undefined) throw notThere(text);
    return node;
  }

  /**
   * As find; of a file whose upload was broken off, what has come of it: clients that go on with one ask for its size.
   * It is shown to who has sent it, and until somebody changes the file.
   */
  async #findShown(text: string, isFollowed: boolean): Promise<Node> {
    const node = await this.look(text, isFollowed);
    const place = node?.place ?? (await this.parts.tree.target(text).catch(() => undefined));
    const isWritten = node !== undefined && node.version === undefined;
    const partial = place === undefined || isWritten ? undefined : await this.#partialAt(place, node);
    if (partial === undefined) {
      if (node === undefined) throw notThere(text);
      return node;
    }
    const mtimeNs = BigInt(partial.createdMs) * 1_000_000n;
    const entry = { kind: "file", size: partial.received, mode: PARTIAL_MODE, mtimeNs, sum: undefined } as const;
    return { place, entry, version: node?.version };
  }

  async #partialAt(place: NonNullable<Place>, node: Node | undefined): Promise<Upload | undefined> {
    const { access, who, write } = this.parts;
    if (place.path === "" || (node !== undefined && node.entry.kind !== "file")) return undefined;
    if (!access.decide(who(), "write", { type: "space", space: place.space, path: place.path }).allowed) return undefined;
    return write.partials.find(who(), place, node?.version === undefined ? undefined : { version: node.version });
  }

  #attrs(id: number, node: Node): void {
    this.send(new PacketWriter(ANSWER.attrs, id).attrs(attrsOf(node)).finish());
  }

  #names(id: number, names: readonly { name: string; long: string; attrs: undefined }[]): void {
    const packet = new PacketWriter(ANSWER.name, id).uint32(names.length);
    for (const { name, long } of names) packet.name(name).name(long).uint32(0);
    this.send(packet.finish());
  }

  // ---------------------------------------------------------------- directories

  async #openDir(id: number, path: string): Promise<void> {
    const node = await this.parts.tree.find(path, true);
    if (node.entry.kind !== "dir") throw notDirectory();
    const dir: DirHandle = { type: "dir", node, listing: this.parts.tree.list(node), waiting: [], at: 0 };
    // What may not be listed is refused here, where clients look for it.
    dir.waiting = (await dir.listing.next()) ?? [];
    this.#sendHandle(id, this.handles.add(dir));
  }

  #sendHandle(id: number, handle: string): void {
    this.send(new PacketWriter(ANSWER.handle, id).text(handle).finish());
  }

  async #readDir(id: number, dir: DirHandle): Promise<void> {
    if (dir.at === dir.waiting.length) {
      dir.waiting = (await dir.listing.next()) ?? [];
      dir.at = 0;
    }
    if (dir.waiting.length === 0) return this.status(id, STATUS.eof);
    const packet = new PacketWriter(ANSWER.name, id, NAMES_BYTES).uint32(0);
    const countAt = packet.length - 4;
    const nowMs = this.parts.clock.nowMs();
    let count = 0;
    while (dir.at < dir.waiting.length && packet.length < NAMES_BYTES) {
      const { name, node } = dir.waiting[dir.at++]!;
      packet.name(name).name(longName(name, node, nowMs)).attrs(attrsOf(node));
      count++;
    }
    packet.setUint32(countAt, count);
    this.send(packet.finish());
  }

  // ---------------------------------------------------------------- files

  async #open({ id, path, flags, attrs }: Extract<Request, { type: "open" }>): Promise<void> {
    const isWrite = (flags & (OPEN.write | OPEN.append)) !== 0 || (flags & OPEN.truncate) !== 0;
    this.handles.requireRoom(isWrite);
    if (isWrite) return this.#sendHandle(id, await this.#openWrite(path, flags, attrs, true));
    const isMade = (flags & OPEN.create) !== 0 && (await this.look(path, true)) === undefined;
    if (isMade) return this.#sendHandle(id, await this.#openWrite(path, flags | OPEN.read, attrs, false));
    const { tree, spaces, who } = this.parts;
    const node = await tree.find(path, true);
    if (node.entry.kind === "dir") throw failed("this is a directory");
    if (node.entry.kind !== "file" || node.version === undefined || node.place === undefined) throw failed("this is no file");
    const reader = await spaces.open(who(), node.place.space, node.version);
    this.#sendHandle(id, this.handles.add({ type: "read", node: { ...node, version: node.version }, reader }));
  }

  /** @param mayResume it may be the upload that was broken off which is gone on with */
  async #openWrite(path: string, flags: number, attrs: WantedAttrs, mayResume: boolean): Promise<string> {
    const { tree, access, who, write, makeParents } = this.parts;
    const node = await this.#lookForWrite(path);
    const [isNew, isCut, isRead] = [OPEN.exclusive, OPEN.truncate, OPEN.read].map((flag) => (flags & flag) !== 0);
    const isMade = (flags & OPEN.create) !== 0;
    if (node !== undefined && isNew && isMade) throw failed("it is there already");
    if (node?.entry.kind === "dir") throw failed("this is a directory");
    if (node?.entry.kind === "symlink") throw failed("this symlink leads nowhere");
    const place = node?.place ?? (await tree.target(path));
    access.require(who(), "write", { type: "space", space: place.space, path: place.path });
    const isResumed = mayResume && !isCut && !isRead && !isNew && this.handles.writingAt(place) === undefined;
    const partial = isResumed ? await this.#partialAt(place, node) : undefined;
    if (node === undefined && partial === undefined && !isMade) throw notThere(path);
    const version = node?.version;
    const isKept = node !== undefined && !isCut;
    const isTied = isKept && version !== undefined && partial === undefined;
    const handle = await WriteHandle.open(write, {
      place,
      version,
      isKept,
      partial,
      expect: isNew ? { kind: "absent" } : isTied ? { kind: "sequence", sequence: version.sequence } : { kind: "any" },
      mode: attrs.mode,
      roomBytes: await this.#roomFor(place, node),
      isRead: isRead === true,
      makeParents,
    });
    return this.handles.add({ type: "write", handle, isRead: isRead === true });
  }

  /** What is there, for those who may see it; who may write but not look makes files without. */
  async #lookForWrite(path: string): Promise<Node | undefined> {
    try {
      const node = await this.look(path, true);
      return node ?? (await this.parts.tree.look(path, false));
    } catch (error) {
      if (error instanceof SynclineError && error.code === "DENIED") return undefined;
      throw error;
    }
  }

  /** Bytes that the quota leaves for a file; the commit decides, this ends what cannot come to one. */
  async #roomFor(place: NonNullable<Place>, old: Node | undefined): Promise<number> {
    const { settings, usage } = await this.parts.spaces.space(this.parts.who(), place.space);
    if (settings.quotaBytes === undefined) return Number.MAX_SAFE_INTEGER;
    const replaced = old?.entry.kind === "file" && old.version !== undefined ? old.entry.size : 0;
    return Math.max(0, settings.quotaBytes - usage.bytes + replaced);
  }

  /**
   * Begins a read once there is room for it; the next request does not wait for its end. Answers leave in the order of
   * the requests: OpenSSH's scp cuts a file off behind the first that comes early.
   */
  async #startRead(request: Extract<Request, { type: "read" }>): Promise<void> {
    const open = this.handles.readable(request.handle);
    const length = Math.min(request.length, DATA_BYTES_MAX);
    const { id, offset } = request;
    if (open.type === "write") {
      const packet = await this.#dataOf(id, length, open.handle.entry.size - offset, (room) => open.handle.read(room, offset));
      return this.send(packet);
    }
    const { reader } = open;
    const filled = this.#dataOf(id, length, reader.size - offset, (room) => reader.read(room, offset));
    const before = this.#lastRead;
    const settled: Promise<void> = filled
      .catch((error: unknown) => this.#failure(id, error))
      .then(async (packet) => {
        await before;
        this.send(packet);
      })
      .catch((error: unknown) => this.parts.onFault(error))
      .finally(() => this.#reads.delete(settled));
    this.#lastRead = settled;
    this.#reads.add(settled);
    if (this.#reads.size >= READS_MAX) await Promise.race(this.#reads);
  }

  /** The answer to a read. */
  async #dataOf(id: number, wanted: number, left: number, fill: (room: Uint8Array) => Promise<number>): Promise<Uint8Array> {
    const length = Math.min(wanted, Math.max(0, left));
    const { packet, room } = dataPacket(length);
    const count = length === 0 ? 0 : await fill(room);
    if (count === 0) return statusPacket(id, STATUS.eof, "");
    this.parts.count("out", count);
    return finishData(packet, id, count);
  }

  // ---------------------------------------------------------------- changes

  async set(path: string, attrs: WantedAttrs, isFollowed: boolean): Promise<void> {
    const node = await this.find(path, isFollowed);
    const writing = node.place === undefined ? undefined : this.handles.writingAt(node.place);
    if (writing !== undefined) {
      requireSameOwner(node.entry, attrs);
      return writing.set(attrs);
    }
    if (attrs.size === undefined) return setAttrs(this.parts.write, () => this.find(path, isFollowed), attrs);
    requireSameOwner(node.entry, attrs);
    if (node.entry.kind !== "file") throw failed("only files have a size");
    const handle = this.handles.writer(await this.#openWrite(path, OPEN.write, attrs, false));
    try {
      await handle.handle.set(attrs);
    } finally {
      await this.handles.close(handle.name);
    }
  }

  async #setHandle(name: string, attrs: WantedAttrs): Promise<void> {
    const open = this.handles.get(name);
    if (open.type === "write") {
      requireSameOwner(open.handle.entry, attrs);
      return open.handle.set(attrs);
    }
    const { place } = open.node;
    if (attrs.size !== undefined || place === undefined) throw failed("this handle is not open for writing");
    const at = this.parts.tree.textOf(place);
    await setAttrs(this.parts.write, () => this.parts.tree.find(at, false), attrs);
  }

  async #remove(path: string): Promise<void> {
    const node = await this.look(path, false);
    const place = node?.place ?? (await this.parts.tree.target(path));
    const writing = this.handles.writingAt(place);
    const partial = await this.#partialAt(place, node);
    if (partial !== undefined) await this.parts.write.partials.forget(this.parts.who(), place);
    const isThere = node !== undefined && (node.version !== undefined || writing === undefined);
    if (isThere) await removeEntry(this.parts.write, () => this.parts.tree.find(path, false), "file");
    if (node === undefined && partial === undefined) throw notThere(path);
    writing?.remove();
  }

  async rename(from: string, to: string, isReplaced: boolean): Promise<void> {
    const { tree, write } = this.parts;
    const node = await this.find(from, false);
    const target = await tree.target(to);
    const writing = node.place === undefined ? undefined : this.handles.writingAt(node.place);
    if (writing === undefined || node.version !== undefined) {
      const there = await tree.look(to, false);
      const moved = await moveEntry(write, node, target, there, isReplaced);
      writing?.move(target, moved);
      return;
    }
    if (node.place?.space !== target.space) throw failed("a space cannot be left by a rename");
    if (!isReplaced && (await this.look(to, false)) !== undefined) throw failed("something has this name already");
    writing.move(target, undefined);
  }
}
