/**
 * Where large files arrive before they go into the store: a directory on the hub's disk for each link, so that a
 * transfer that was cut off goes on from what had come.
 */
import { ChunkRecord, readRecord, removeRecord } from "#hub/endpoint/chunk-record.ts";
import type { ContentSink } from "#hub/space-service.ts";
import type { RelPath } from "#model/path.ts";
import { Confined } from "#platform/confined.ts";
import { type Fd, type FileSystem, FsError, isCode } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import type { ReceivedFile } from "#sync/apply/apply-context.ts";
import { PartialFiles, partialName } from "#sync/apply/partial-files.ts";
import { openOrMakeDir } from "#sync/apply/private-area.ts";
import { PARTIAL_KEPT_MS } from "#sync/apply/recover.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";
import { PIECE_BYTES, type SumSeeds } from "#sync/chunk/sum.ts";

/** Before the name that the file itself has in the stage. */
const RECORD_PREFIX = "chunks-";

export class SpaceStage implements Disposable {
  readonly #fs: FileSystem;
  readonly #stage: Confined;
  readonly #received = new Map<RelPath, ReceivedFile>();
  readonly #seeds: SumSeeds;
  readonly area: PartialFiles;

  /**
   * @param folder absolute path of the hub's own folder for links, which exists
   * @param name of the link's directory in it
   */
  constructor(host: Host, folder: string, name: string, seeds: SumSeeds) {
    this.#fs = host.fs;
    this.#seeds = seeds;
    const parent = host.fs.openRoot(folder);
    try {
      this.#stage = new Confined(host.fs, openOrMakeDir(host.fs, parent, name));
    } finally {
      host.fs.close(parent);
    }
    this.area = new PartialFiles({ host, seeds, stage: this.#stage, received: this.#received });
    this.#dropOld(host.clock.nowMs() - PARTIAL_KEPT_MS);
  }

  /** What transfers left that nobody has gone on with. What cannot be removed now is met by the next session. */
  #dropOld(oldestMs: number): void {
    const fs = this.#fs;
    try {
      for (const { name } of fs.list(this.#stage.root)) {
        if (Number(fs.stat(this.#stage.root, name).mtimeNs / 1_000_000n) < oldestMs) fs.unlink(this.#stage.root, name);
      }
    } catch (error) {
      if (!(error instanceof FsError)) throw error;
    }
  }

  /** Did an earlier transfer leave bytes of the file here? */
  hasPartial(path: RelPath): boolean {
    try {
      this.#fs.stat(this.#stage.root, partialName(path, this.#seeds));
      return true;
    } catch (error) {
      if (isCode(error, "ENOENT")) return false;
      throw error;
    }
  }

  /** Begins to record the chunks of a file anew. */
  record(path: RelPath): ChunkRecord {
    return new ChunkRecord(this.#fs, this.#stage.root, this.#recordName(path));
  }

  recorded(path: RelPath): ManifestChunk[] {
    return readRecord(this.#fs, this.#stage.root, this.#recordName(path));
  }

  forgetRecord(path: RelPath): void {
    removeRecord(this.#fs, this.#stage.root, this.#recordName(path));
  }

  #recordName(path: RelPath): string {
    return RECORD_PREFIX + partialName(path, this.#seeds);
  }

  /**
   * Writes a file that has arrived, from `from` on, into the sink. False when there is none, or it is not whole: a
   * connection of the same link that was lost may still be ending, and drops what it has committed.
   */
  async read(path: RelPath, from: number, sink: ContentSink, signal: AbortSignal): Promise<boolean> {
    const received = this.#received.get(path);
    const fd = received === undefined ? undefined : this.#openRead(received.name);
    if (received === undefined || fd === undefined) return false;
    try {
      const buffer = new Uint8Array(PIECE_BYTES);
      for (let at = from; at < received.size; ) {
        signal.throwIfAborted();
        const count = await this.#fs.readAsync(fd, buffer.subarray(0, Math.min(buffer.length, received.size - at)), at);
        if (count === 0) return false;
        await sink.write(buffer.subarray(0, count));
        at += count;
      }
      return true;
    } finally {
      this.#fs.close(fd);
    }
  }

  #openRead(name: string): Fd | undefined {
    try {
      return this.#fs.openRead(this.#stage.root, name);
    } catch (error) {
      if (isCode(error, "ENOENT")) return undefined;
      throw error;
    }
  }

  /** Its bytes are in the store now, and committed. */
  drop(path: RelPath): void {
    this.forgetRecord(path);
    const received = this.#received.get(path);
    if (received === undefined) return;
    this.#received.delete(path);
    try {
      this.#fs.unlink(this.#stage.root, received.name);
    } catch (error) {
      if (!isCode(error, "ENOENT")) throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#stage[Symbol.dispose]();
  }
}
