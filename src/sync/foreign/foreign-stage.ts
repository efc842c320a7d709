/** Where content waits on the local disk until it is put on the foreign system, and where large files arrive. */
import { type Entry, type FileEntry, type Sum } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import { Confined } from "#platform/confined.ts";
import { type Fd, isCode } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import type { ReceivedFile } from "#sync/apply/apply-context.ts";
import { PartialFiles } from "#sync/apply/partial-files.ts";
import { openOrMakeDir, removeTree } from "#sync/apply/private-area.ts";
import { PIECE_BYTES, type SumSeeds, Summer } from "#sync/chunk/sum.ts";
import type { StageArea } from "#sync/transfer/stage-area.ts";

/** Content in the stage: a file of its own, or a stretch of one that holds many. */
export type StagedContent = { readonly fd: Fd; readonly at: number; readonly size: number; readonly release: () => void };

export class ForeignStage implements Disposable {
  readonly #host: Host;
  readonly #folder: string;
  readonly #name: string;
  readonly dir: Confined;
  readonly #received = new Map<RelPath, ReceivedFile>();
  /** Takes what receiveFiles() brings. */
  readonly area: StageArea;
  #bundles = 0;

  /**
   * @param folder absolute path of our own folder for stages, which exists
   * @param name of this session's directory in it
   */
  constructor(host: Host, folder: string, name: string, seeds: SumSeeds) {
    this.#host = host;
    this.#folder = folder;
    this.#name = name;
    const parent = host.fs.openRoot(folder);
    try {
      this.dir = new Confined(host.fs, openOrMakeDir(host.fs, parent, name));
    } finally {
      host.fs.close(parent);
    }
    this.area = new PartialFiles({ host, seeds, stage: this.dir, received: this.#received });
  }

  /** What receiveFiles() has brought for the path; undefined when it is not there. Released, it is gone. */
  received(path: RelPath, entry: FileEntry): StagedContent | undefined {
    const file = this.#received.get(path);
    if (file === undefined || file.size !== entry.size || (entry.sum !== undefined && file.sum !== entry.sum)) return undefined;
    const { fs } = this.#host;
    let fd: Fd;
    try {
      fd = fs.openRead(this.dir.root, file.name);
    } catch (error) {
      if (isCode(error, "ENOENT")) return undefined;
      throw error;
    }
    const release = (): void => {
      fs.close(fd);
      this.#received.delete(path);
      try {
        fs.unlink(this.dir.root, file.name);
      } catch (error) {
        if (!isCode(error, "ENOENT")) throw error;
      }
    };
    return { fd, at: 0, size: file.size, release };
  }

  bundle(): Bundle {
    const name = `bundle-${(this.#bundles++).toString(36)}`;
    this.#unlinkLeftover(name);
    const fd = this.#host.fs.create(this.dir.root, name, 0o600);
    this.#host.fs.unlink(this.dir.root, name);
    return new Bundle(this.#host, fd);
  }

  #unlinkLeftover(name: string): void {
    try {
      this.#host.fs.unlink(this.dir.root, name);
    } catch (error) {
      if (!isCode(error, "ENOENT")) throw error;
    }
  }

  /** Forgets what is in it, for a session that remembers nothing. */
  remove(): void {
    const parent = this.#host.fs.openRoot(this.#folder);
    try {
      removeTree(this.#host.fs, parent, this.#name);
    } finally {
      this.#host.fs.close(parent);
    }
  }

  [Symbol.dispose](): void {
    this.dir[Symbol.dispose]();
  }
}

/** Many small contents in one file without a name, which goes with it. */
export class Bundle implements Disposable {
  readonly #host: Host;
  readonly #fd: Fd;
  #end = 0;

  constructor(host: Host, fd: Fd) {
    this.#host = host;
    this.#fd = fd;
  }

  add(bytes: Uint8Array): StagedContent {
    const at = this.#end;
    this.#host.fs.write(this.#fd, bytes, at);
    this.#end += bytes.length;
    return { fd: this.#fd, at, size: bytes.length, release: () => undefined };
  }

  /** Adds a stream, and returns its sum with it. */
  async addAll(parts: AsyncIterable<Uint8Array>, seeds: SumSeeds): Promise<StagedContent & { readonly sum: Sum }> {
    const at = this.#end;
    const summer = new Summer(seeds);
    for await (const part of parts) {
      summer.update(part);
      await this.#host.fs.writeAsync(this.#fd, part, this.#end);
      this.#end += part.length;
    }
    return { fd: this.#fd, at, size: this.#end - at, release: () => undefined, sum: summer.digest() };
  }

  [Symbol.dispose](): void {
    this.#host.fs.close(this.#fd);
  }
}

/** The bytes of staged content. A buffer that was given out stays as it is. */
export async function* stagedBytes({ fs }: Pick<Host, "fs">, { fd, at, size }: StagedContent): AsyncGenerator<Uint8Array> {
  for (let done = 0; done < size; ) {
    const buffer = new Uint8Array(Math.min(PIECE_BYTES, size - done));
    const count = await fs.readAsync(fd, buffer, at + done);
    if (count === 0) throw new Error("invariant broken: staged content became shorter");
    yield buffer.subarray(0, count);
    done += count;
  }
}

/** Does the entry hold these bytes, as far as both are known? */
export function hasSum(entry: Entry | undefined, sum: Sum): boolean {
  return entry?.kind === "file" && (entry.sum === undefined || entry.sum === sum);
}
