/** The source of a transfer: answers one destination until that ends the channel. */
import type { FileEntry, Sum } from "#model/entry.ts";
import { SynclineError, asError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import { ByteReader, malformed } from "#sync/wire/bytes.ts";
import type { Channel } from "#sync/wire/channel.ts";
import { type CompressMode, Compressor } from "#sync/chunk/compress.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";
import type { Fd, Stat } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import { FILES_ACTIVE_MAX, FILES_ASKED_MAX } from "#sync/transfer/limits.ts";
import { Line, type Limit } from "#sync/transfer/line.ts";
import { BLOCKS, CANCEL, REQUEST, SUMS, readRequest } from "#sync/transfer/messages.ts";
import { SupplyFile } from "#sync/transfer/supply-file.ts";

export type SupplyContext = {
  readonly host: Host;
  /** Opens a file for reading by the host's file system; it is closed there. Throws FsError. */
  readonly open: (path: RelPath) => Fd | Promise<Fd>;
  /** What is at the path now. Throws FsError. */
  readonly look: (path: RelPath) => Stat | Promise<Stat>;
  /**
   * Bytes of an open file in a message, behind DATA_HEADER_BYTES, that goes out in the end and is nobody else's any more:
   * for what is in memory, which nobody copies then. Undefined: they have to be read. Rejects with FsError.
   */
  readonly take?: ((fd: Fd, position: number, length: number) => Promise<Uint8Array | undefined>) | undefined;
  readonly seeds: SumSeeds;
  readonly compress: CompressMode;
  /** Bandwidth limiter for what this side sends. */
  readonly limit: Limit;
  /**
   * The entry of a file as this side would report it with this stat: metadata as the session preserves it,
   * any sum. The transfer puts the size and the sum in.
   */
  readonly entryOf: (path: RelPath, stat: Stat) => FileEntry;
  /**
   * The sum of the file, where somebody else has proved it, asked when all of it was read and makeDurable() has resolved.
   * Undefined: it is made of what is read.
   */
  readonly knownSum?: ((path: RelPath) => Sum) | undefined;
  /** A file was read whole with this stat: its sum is known now. Returns what speaks against handing it out. */
  readonly learn: (path: RelPath, entry: FileEntry & { sum: Sum }, stat: Stat) => Problem | undefined;
  /** Resolves when a power loss can no longer take what this stat shows; rejects with FsError when it may. */
  readonly makeDurable: (path: RelPath, stat: Stat) => Promise<void>;
};

/**
 * Serves files to the other side of the channel. Files are read at most FILES_ACTIVE_MAX at a
 * time, each checked to be the same before and after (size, inode, times), and never written. Trouble with
 * one file is told to the other side and the rest goes on.
 *
 * Rejects with PROTOCOL when the peer breaks the rules, LINK_LOST when it is gone, `signal.reason` when
 * aborted; the channel has failed then.
 */
export async function supplyFiles(context: SupplyContext, channel: Channel, signal: AbortSignal): Promise<void> {
  const supply = new Supply(context, channel);
  const onAbort = (): void => channel.fail(abortError(signal));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    signal.throwIfAborted();
    await supply.serve();
    channel.end();
  } catch (error) {
    channel.fail(asError(error));
    await supply.stop(asError(error));
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** What the other side is told when this side is aborted. */
export function abortError(signal: AbortSignal): Error {
  if (signal.reason instanceof Error) return signal.reason;
  return new SynclineError({ code: "INTERRUPTED", op: "transfer", message: "the transfer was interrupted" });
}

class Supply {
  readonly #context: SupplyContext;
  readonly #channel: Channel;
  readonly #line: Line;
  /** Asked for and not finished: the active ones and those that wait for their turn. */
  readonly #files = new Map<number, SupplyFile>();
  readonly #queue: SupplyFile[] = [];
  readonly #active = new Set<Promise<void>>();
  #lastId = 0;

  constructor(context: SupplyContext, channel: Channel) {
    this.#context = context;
    this.#channel = channel;
    const { clock } = context.host;
    const compressor = new Compressor(context.compress, () => clock.monotonicMs());
    this.#line = new Line(channel, context.limit, compressor, context.seeds);
  }

  async serve(): Promise<void> {
    for (;;) {
      const message = await this.#channel.receive();
      if (message === undefined) break;
      this.#handle(message);
    }
    await Promise.all(this.#active);
  }

  /** Ends all work on files and waits for it, so that no descriptor is in use afterwards. */
  async stop(error: Error): Promise<void> {
    this.#queue.length = 0;
    for (const file of this.#files.values()) file.stop(error);
    await Promise.allSettled(this.#active);
  }

  #handle(message: Uint8Array): void {
    const reader = new ByteReader(message);
    const type = reader.u8();
    if (type === REQUEST) return this.#request(reader);
    const id = reader.varint();
    const file = this.#files.get(id);
    if (id === 0 || id > this.#lastId) throw malformed("a file that was not asked for");
    // The file is finished: this crossed its END or FAIL on the way.
    if (file === undefined) return;
    if (type === BLOCKS) file.receiveBlocks(reader);
    else if (type === SUMS) file.receiveSums(reader);
    else if (type === CANCEL) file.cancel();
    else throw malformed("an unknown message");
    if (!reader.atEnd) throw malformed("it goes on after its end");
  }

  #request(reader: ByteReader): void {
    const request = readRequest(reader);
    if (request.id !== this.#lastId + 1) throw malformed("an id out of order");
    if (this.#files.size >= FILES_ASKED_MAX) throw malformed("too many files at once");
    this.#lastId = request.id;
    const { host, open, look, take, entryOf, learn, makeDurable, knownSum } = this.#context;
    const parts = { fs: host.fs, open, look, take, line: this.#line, entryOf, learn, makeDurable, knownSum };
    const file = new SupplyFile(parts, request);
    this.#files.set(request.id, file);
    this.#queue.push(file);
    this.#startNext();
  }

  #startNext(): void {
    while (this.#active.size < FILES_ACTIVE_MAX && this.#queue.length > 0) {
      const file = this.#queue.shift()!;
      const work: Promise<void> = file.run().then(
        () => {
          this.#active.delete(work);
          this.#files.delete(file.id);
          this.#startNext();
        },
        // The channel is how serve() learns of it: it waits in receive().
        (error: unknown) => this.#channel.fail(asError(error)),
      );
      this.#active.add(work);
    }
  }
}
