/**
 * Where large files arrive before they go into the store: a directory on the hub's disk for each link, so that a
 * transfer that was cut off goes on from what had come.
 */
import type { ContentSink } from "#hub/space-service.ts";
import type { RelPath } from "#model/path.ts";
import { Confined } from "#platform/confined.ts";
import { type FileSystem, isCode } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import type { ReceivedFile } from "#sync/apply/apply-context.ts";
import { PartialFiles } from "#sync/apply/partial-files.ts";
import { openOrMakeDir } from "#sync/apply/private-area.ts";
import { PIECE_BYTES, type SumSeeds } from "#sync/chunk/sum.ts";
import type { StageArea } from "#sync/transfer/stage-area.ts";

export class SpaceStage implements Disposable {
  readonly #fs: FileSystem;
  readonly #stage: Confined;
  readonly #received = new Map<RelPath, ReceivedFile>();
  readonly area: StageArea;

  /**
   * @param folder absolute path of the hub's own folder for links, which exists
   * @param name of the link's directory in it
   */
  constructor(host: Host, folder: string, name: string, seeds: SumSeeds) {
    this.#fs = host.fs;
    const parent = host.fs.openRoot(folder);
    try {
      this.#stage = new Confined(host.fs, openOrMakeDir(host.fs, parent, name));
    } finally {
      host.fs.close(parent);
    }
    this.area = new PartialFiles({ host, seeds, stage: this.#stage, received: this.#received });
  }

  /** Writes a file that has arrived into the sink. False when there is none, or it is not whole. */
  async read(path: RelPath, sink: ContentSink, signal: AbortSignal): Promise<boolean> {
    const received = this.#received.get(path);
    if (received === undefined) return false;
    const fd = this.#fs.openRead(this.#stage.root, received.name);
    try {
      const buffer = new Uint8Array(PIECE_BYTES);
      for (let at = 0; at < received.size; ) {
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

  /** Its bytes are in the store now, and committed. */
  drop(path: RelPath): void {
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
