/**
 * Large files on their way into a space. The whole pieces of a new file go straight into the store as they come in
 * order; anything else waits in the stage: a file that is built from others, what lies behind a hole, the last piece.
 *
 * A transfer that was cut off goes on from the chunks that it brought, which serve the next one as its base.
 *
 * Of large ones other links are told while they come (coming-files.ts).
 */
import type { ContentReader, ContentSink, Intake, NamedContent } from "#hub/space-service.ts";
import type { ChunkRecord } from "#hub/endpoint/chunk-record.ts";
import type { ComingFile } from "#hub/endpoint/coming-files.ts";
import { plainStat } from "#hub/endpoint/content-files.ts";
import { LeftWork } from "#hub/endpoint/left-work.ts";
import type { SpaceStage } from "#hub/endpoint/space-stage.ts";
import type { FileEntry, Sum } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";
import { type Fd, type FileSystem, FsError } from "#platform/file-system.ts";
import { PIECE_BYTES } from "#sync/chunk/sum.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";
import { FILES_ACTIVE_MAX } from "#sync/transfer/limits.ts";
import type { PartialFile, StageArea } from "#sync/transfer/stage-area.ts";

/** No real descriptor is ever so large, and those of content files are larger. */
const FIRST_FD = 1 << 29;
const FDS_END = 1 << 30;
/** A file with fewer whole pieces is staged: its last one may be most of it. */
const PIECES_MIN = 2;
/** Files that are being fed into the store at a time; each has buffers of a few megabytes. */
const FED_MAX = FILES_ACTIVE_MAX;
/**
 * The transfer sums each piece that it hands over, and compares the whole with its source; and the links of the space get
 * it while it comes, from memory.
 */
const FROM_TRANSFER = { isSummed: false, isReadSoon: false } as const;
/** What of a file may have to be sent again after the hub was killed. */
const RECORD_EVERY_BYTES = 16 << 20;

type Arriving = {
  readonly path: RelPath;
  readonly fd: Fd;
  readonly size: number;
  readonly intake: Intake;
  readonly record: ChunkRecord;
  sink: ContentSink;
  /** Bytes that the sink has: whole pieces from the beginning on. */
  fed: number;
  /** What did not come in order, each byte at its place. */
  rest: Fd | undefined;
  /** As other links are told of it. */
  coming: ComingFile | undefined;
  /** Once it is complete: what it is, when the store has all of it; undefined where its rest has gone. */
  named: Promise<NamedContent | undefined> | undefined;
};

/** Tells other links that a file is coming, where any is to be told. `stored` are its chunks so far. */
export type Announce = (path: RelPath, size: number, stored: () => readonly ManifestChunk[]) => ComingFile | undefined;

export class ArrivingFiles implements StageArea, AsyncDisposable {
  /** The file system that it was given, which also takes the descriptors that openPartial() gives. */
  readonly fs: FileSystem;
  readonly #stage: SpaceStage;
  readonly #intake: () => Intake;
  /** Sizes of the files that may be fed into the store. */
  readonly #expected = new Map<RelPath, number>();
  readonly #open = new Map<RelPath, Arriving>();
  /** Complete, and not named yet. */
  readonly #arrived = new Map<RelPath, Arriving>();
  /** Named, and neither committed nor given up. */
  readonly #named = new Map<RelPath, ComingFile>();
  readonly #announce: Announce;
  readonly #stop = new AbortController();
  /** What was let go of on the way becomes free. */
  readonly #left = new LeftWork();
  #next = FIRST_FD;

  constructor(fs: FileSystem, stage: SpaceStage, intake: () => Intake, announce: Announce) {
    this.fs = this.#serving(fs);
    this.#stage = stage;
    this.#intake = intake;
    this.#announce = announce;
  }

  /** What an earlier transfer brought of the file, as far as it is still there, protected by `intake`. */
  earlier(path: RelPath, intake: Intake): ContentReader | undefined {
    const chunks = this.#stage.recorded(path);
    const reader = chunks.length === 0 ? undefined : intake.part(chunks);
    return reader?.size === 0 ? undefined : reader;
  }

  /** Nothing is here that the file could be built from. */
  expect(path: RelPath, size: number): void {
    if (size >= PIECES_MIN * PIECE_BYTES && !this.#stage.hasPartial(path)) this.#expected.set(path, size);
  }

  /** All that was expected has come, or will not come. */
  expectNothing(): void {
    this.#expected.clear();
  }

  openPartial(path: RelPath, turn: () => Promise<void>): PartialFile | Promise<PartialFile> {
    this.#left.add(this.#forget(path));
    const size = this.#expected.get(path);
    if (size === undefined || this.#open.size >= FED_MAX) return this.#stage.area.openPartial(path, turn);
    const intake = this.#intake();
    const fd = this.#next++ as Fd;
    if (this.#next === FDS_END) this.#next = FIRST_FD;
    const record = this.#stage.record(path);
    const sink = intake.sink(size, FROM_TRANSFER);
    const file: Arriving = { path, fd, size, intake, record, sink, fed: 0, rest: undefined, coming: undefined, named: undefined };
    file.coming = this.#announce(path, size, () => file.sink.stored);
    this.#open.set(path, file);
    return { fd, size: 0 };
  }

  done(path: RelPath, entry: FileEntry): void {
    const file = this.#take(path);
    if (file !== undefined) this.#arrived.set(path, file);
    if (file === undefined || file.rest !== undefined) this.#stage.area.done(path, entry);
    if (file === undefined) return;
    file.named = this.#finish(file, entry.sum);
    file.named.catch(() => file.coming?.over(false));
    if (entry.sum !== undefined) file.coming?.isWhole(entry.sum);
  }

  /** What is behind the last chunk is in the store when it resolves, for those who read it before it is committed. */
  async #finish(file: Arriving, sum: Sum | undefined): Promise<NamedContent | undefined> {
    const { path, fed, sink, rest } = file;
    if (rest !== undefined && !(await this.#stage.read(path, fed, sink, this.#stop.signal))) return undefined;
    const named = await sink.end(sum);
    file.coming?.stored();
    return named;
  }

  keep(path: RelPath): void {
    const file = this.#take(path);
    if (file === undefined || file.rest !== undefined) this.#stage.area.keep(path);
    this.#giveUp(file);
  }

  drop(path: RelPath): void {
    const file = this.#take(path);
    if (file === undefined || file.rest !== undefined) this.#stage.area.drop(path);
    this.#giveUp(file);
    this.#stage.forgetRecord(path);
  }

  #giveUp(file: Arriving | undefined): void {
    file?.coming?.over(false);
    this.#left.add(file?.intake[Symbol.asyncDispose]());
  }

  /** Writes down what came of it. */
  #take(path: RelPath): Arriving | undefined {
    const file = this.#open.get(path);
    this.#open.delete(path);
    file?.record.update(file.sink.stored);
    file?.record[Symbol.dispose]();
    return file;
  }

  /**
   * Names the content that has arrived at the path, which `intake` protects then. Undefined when it is not there or not
   * whole. Once for each file.
   */
  async content(path: RelPath, size: number, intake: Intake, signal: AbortSignal): Promise<NamedContent | undefined> {
    const file = this.#arrived.get(path);
    this.#arrived.delete(path);
    if (file === undefined) {
      const sink = intake.sink(size);
      return (await this.#stage.read(path, 0, sink, signal)) ? sink.end() : undefined;
    }
    let isHeld = false;
    try {
      const named = await file.named;
      isHeld = named !== undefined && (await intake.hold(named.content));
      return isHeld ? named : undefined;
    } finally {
      if (!isHeld) file.coming?.over(false);
      else if (file.coming !== undefined) this.#named.set(path, file.coming);
      await file.intake[Symbol.asyncDispose]();
    }
  }

  /** What was named for the path is committed, or will not be. */
  settled(path: RelPath, isThere: boolean): void {
    this.#named.get(path)?.over(isThere);
    this.#named.delete(path);
  }

  /** Lets go of what has arrived and was not named; a later transfer goes on from it. Nothing may be under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    for (const path of [...this.#arrived.keys()]) await this.#forget(path);
    await this.#left.settled();
    for (const path of [...this.#named.keys()]) this.settled(path, false);
  }

  async #forget(path: RelPath): Promise<void> {
    const file = this.#arrived.get(path);
    this.#arrived.delete(path);
    await file?.named?.catch(() => undefined);
    file?.coming?.over(false);
    await file?.intake[Symbol.asyncDispose]();
  }

  #serving(real: FileSystem): FileSystem {
    const own = (fd: Fd): Arriving | undefined => {
      if (fd < FIRST_FD || fd >= FDS_END) return undefined;
      for (const file of this.#open.values()) if (file.fd === fd) return file;
      throw new FsError("EBADF", "use a file");
    };
    return {
      ...real,
      fstat: (fd) => {
        const file = own(fd);
        if (file === undefined) return real.fstat(fd);
        return plainStat(Math.max(file.fed, file.rest === undefined ? 0 : real.fstat(file.rest).size));
      },
      // Only of what did not come in order; whole pieces are never looked at again.
      readAsync: async (fd, into, position) => {
        const file = own(fd);
        if (file === undefined) return real.readAsync(fd, into, position);
        if (position < file.fed) throw new FsError("EINVAL", "read");
        return file.rest === undefined ? 0 : real.readAsync(file.rest, into, position);
      },
      write: (fd, bytes, position) => {
        const file = own(fd);
        real.write(file === undefined ? fd : this.#restOf(file), bytes, position);
      },
      writeAsync: (fd, bytes, position) => {
        const file = own(fd);
        return file === undefined ? real.writeAsync(fd, bytes, position) : this.#write(real, file, bytes, position);
      },
      truncate: (fd, size) => {
        const file = own(fd);
        if (file === undefined) return real.truncate(fd, size);
        if (size === 0) this.#startOver(file);
        if (size > file.fed || file.rest !== undefined) real.truncate(this.#restOf(file), size);
      },
    };
  }

  async #write(real: FileSystem, file: Arriving, bytes: Uint8Array, position: number): Promise<void> {
    const isNext = file.rest === undefined && position === file.fed && bytes.length === PIECE_BYTES;
    if (!isNext) return real.writeAsync(this.#restOf(file), bytes, position);
    file.coming?.arrived(bytes, position);
    try {
      await file.sink.write(bytes);
    } catch (error) {
      // What the disk says, so that it counts as what it is.
      throw error instanceof SynclineError && error.cause instanceof FsError ? error.cause : error;
    }
    file.fed += bytes.length;
    file.coming?.stored();
    if (file.fed % RECORD_EVERY_BYTES === 0) file.record.update(file.sink.stored);
  }

  #restOf(file: Arriving): Fd {
    return (file.rest ??= this.#stage.area.openFresh(file.path).fd);
  }

  /** The source reads the file anew. The chunks that came stay until nobody wants them. */
  #startOver(file: Arriving): void {
    file.coming?.over(false);
    file.coming = undefined;
    file.sink = file.intake.sink(file.size, FROM_TRANSFER);
    file.fed = 0;
  }
}
