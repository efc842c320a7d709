/** The files that are on their way into a space as one link may know of them: new ones, that it may read and does not ignore. */
import { type ComingEvent, type ComingFile, type ComingFiles, type ComingReader, comingEntry } from "#hub/endpoint/coming-files.ts";
import { ContentFiles, plainStat } from "#hub/endpoint/content-files.ts";
import type { LinkView } from "#hub/endpoint/link-view.ts";
import type { SpaceRules } from "#hub/endpoint/space-rules.ts";
import type { Intake } from "#hub/space-service.ts";
import type { SpaceId } from "#hub/space.ts";
import type { Sum } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import { type RelPath, isWithin } from "#model/path.ts";
import { type Fd, FsError, type Stat } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import type { CompressMode } from "#sync/chunk/compress.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";
import type * as endpoint from "#sync/endpoint/endpoint.ts";
import { supplyFiles } from "#sync/transfer/supply.ts";
import type { Channel } from "#sync/wire/channel.ts";

export type ComingViewOptions = {
  readonly coming: ComingFiles;
  readonly space: SpaceId;
  readonly view: LinkView;
  readonly rules: SpaceRules;
  readonly host: Host;
  readonly seeds: SumSeeds;
  readonly compress: CompressMode;
  /** What this link brings itself is no news to it. */
  readonly self: object;
};

/** One that is being supplied. */
type Supplied = { readonly file: ComingFile; readonly stat: Stat; readonly intake: Intake; readonly reader: ComingReader };

export class ComingView implements endpoint.ComingFiles {
  readonly #options: ComingViewOptions;

  constructor(options: ComingViewOptions) {
    this.#options = options;
  }

  /** @throws what kept it from knowing whether a file may be told of: nothing more is told then */
  async watch(onNews: (news: endpoint.ComingNews) => void, signal: AbortSignal): Promise<void> {
    const { coming, space } = this.#options;
    const told = new Set<ComingFile>();
    const tell = async (file: ComingFile, event: ComingEvent): Promise<void> => {
      if (event.type === "begun" && (await this.#mayKnow(file))) told.add(file);
      if (signal.aborted || !told.has(file)) return;
      const path = this.#options.view.inner(file.source.path);
      if (event.type === "begun") onNews({ ...event, path, size: file.source.size });
      else onNews({ ...event, path });
      if (event.type === "over") told.delete(file);
    };
    const ended = Promise.withResolvers<void>();
    const failed = new AbortController();
    let last: Promise<void> = Promise.resolve();
    const next = (file: ComingFile, event: ComingEvent): void => {
      // One after the other, so that all of a file is told in order.
      last = last.then(() => tell(file, event));
      last.catch((error: unknown) => {
        failed.abort();
        ended.reject(error);
      });
    };
    coming.watch(space, next, AbortSignal.any([signal, failed.signal]));
    if (signal.aborted) return;
    signal.addEventListener("abort", () => ended.resolve(), { once: true });
    await ended.promise;
  }

  /** Is it new, below the link's prefix, not ignored, and may the host read it? */
  async #mayKnow({ source }: ComingFile): Promise<boolean> {
    const { view, rules, self } = this.#options;
    const { path, by } = source;
    if (by === self || path === view.prefix || !isWithin(path, view.prefix)) return false;
    try {
      const inner = view.inner(path);
      return (await view.version(inner))?.entry === undefined && !(await rules.ignores(inner, false));
    } catch (error) {
      // It may not read it, or the rules cannot be read: then it hears of the file when that is there.
      if (error instanceof SynclineError) return false;
      throw error;
    }
  }

  async supply(channel: Channel, signal: AbortSignal): Promise<void> {
    const { host, seeds, compress, coming } = this.#options;
    using place = coming.place();
    if (place === undefined) throw tooMany();
    const files = new ContentFiles(host.fs);
    const open = new Map<RelPath, Supplied>();
    const supplied = (path: RelPath): Supplied => {
      const one = open.get(path);
      if (one === undefined) throw new FsError("ENOENT", "open", path);
      return one;
    };
    const context = {
      host: { ...host, fs: files.fs },
      seeds,
      compress,
      limit: (): undefined => undefined,
      open: async (path: RelPath): Promise<Fd> => {
        // One file a call, so that nobody makes us hold much.
        const file = open.size === 0 ? await this.#find(path) : undefined;
        if (file === undefined) throw new FsError("ENOENT", "open", path);
        const intake = file.source.intake();
        const stat = { ...plainStat(file.source.size), ino: file.id };
        const reader = file.reader(intake, signal);
        open.set(path, { file, stat, intake, reader });
        return files.open(reader, stat);
      },
      look: (path: RelPath): Stat => supplied(path).stat,
      take: async (_fd: Fd, position: number, length: number): Promise<Uint8Array | undefined> => {
        const [only] = open.values();
        return only?.reader.take(position, length);
      },
      entryOf: (_path: RelPath, stat: Stat) => comingEntry(stat.size),
      // Whoever gets it compares it with what he was given.
      knownSum: (path: RelPath): Sum => supplied(path).file.sum!,
      learn: (): undefined => undefined,
      // What is told last is the sum: only of what has come, and was proved.
      makeDurable: (path: RelPath): Promise<void> => whole(supplied(path).file, signal),
    };
    try {
      await supplyFiles(context, channel, signal);
    } finally {
      for (const { reader, intake } of open.values()) {
        reader[Symbol.dispose]();
        await intake[Symbol.asyncDispose]();
      }
    }
  }

  async #find(path: RelPath): Promise<ComingFile | undefined> {
    const { coming, space, view } = this.#options;
    const file = coming.find(space, view.outer(path));
    return file !== undefined && (await this.#mayKnow(file)) ? file : undefined;
  }
}

/** Rejects with FsError where it will not come, or nobody waits for it any more. */
async function whole(file: ComingFile, signal: AbortSignal): Promise<void> {
  const left = Promise.withResolvers<never>();
  const leave = (): void => left.reject(new FsError("ESTALE", "read"));
  if (signal.aborted) leave();
  signal.addEventListener("abort", leave, { once: true });
  try {
    await Promise.race([file.whole, left.promise]);
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

function tooMany(): SynclineError {
  return new SynclineError({ code: "LIMIT", op: "supply", message: "too many links read files that are still coming" });
}
