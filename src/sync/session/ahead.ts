/**
 * Brings large new files from one side into the stage of the other while they are still on their way into the first.
 * When such a file is there, and a plan wants it, its bytes are here already. It is a guess and nothing else: plans, and
 * what is agreed, know nothing of it; what comes to nothing is removed, and a file that was not brought is transferred.
 */
import type { FileEntry, Sum } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import { FsError } from "#platform/file-system.ts";
import { type ComingFiles, type ComingNews, type EarlyFiles, INLINE_BYTES_MAX } from "#sync/endpoint/endpoint.ts";
import type { Bandwidth } from "#sync/session/bandwidth.ts";
import { joinTransfer } from "#sync/session/join-transfer.ts";
import { memoryChannelPair } from "#sync/transport/memory-channel.ts";

/** Files that are brought, or wait for that, or for the plan that wants them; they are brought one at a time. */
export const AHEAD_FILES_MAX = 64;
/** Bytes of them together: as much as one group of changes brings. */
export const AHEAD_BYTES_MAX = 8 * 2 ** 30;

export type AheadOptions = {
  readonly coming: ComingFiles;
  readonly early: EarlyFiles;
  /** Is nothing known at the path on the side that would get the file, nor agreed on? */
  readonly isFree: (path: RelPath) => boolean;
  readonly bandwidth: Bandwidth | undefined;
};

type Brought = {
  readonly path: RelPath;
  readonly size: number;
  readonly stop: AbortController;
  /** What it must be to be of use; undefined until all of it has come. */
  sum: Sum | undefined;
  /** What was staged. */
  staged: Sum | undefined;
  /** While it is brought; never rejects. */
  bringing: Promise<void> | undefined;
  /** A change wants what is in the stage, whatever that is by now. */
  isTaken: boolean;
  /** It is there; the cycle that begins next sees it, and afterwards nobody wants it any more. */
  overIn: number | undefined;
};

export class Ahead {
  readonly #options: AheadOptions;
  readonly #signal: AbortSignal;
  readonly #files = new Map<RelPath, Brought>();
  readonly #watching: Promise<void>;
  #working: Promise<void> | undefined;
  #bytes = 0;
  #cycles = 0;
  /** Of ours, in what goes on by itself: the session meets it after its cycle. */
  #fault: { readonly error: unknown } | undefined;

  constructor(options: AheadOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
    // Where nothing is told any more, nothing is brought; the session goes on without.
    this.#watching = options.coming.watch((news) => this.#hear(news), signal).catch(() => undefined);
  }

  #hear(news: ComingNews): void {
    if (this.#signal.aborted) return;
    if (news.type === "begun") return this.#begin(news.path, news.size);
    const file = this.#files.get(news.path);
    if (file === undefined) return;
    if (news.type === "whole") file.sum = news.sum;
    else if (!news.isThere) this.#forget(file);
    else file.overIn = this.#cycles;
  }

  #begin(path: RelPath, size: number): void {
    const earlier = this.#files.get(path);
    if (earlier !== undefined) this.#forget(earlier);
    const isTooMuch = this.#files.size >= AHEAD_FILES_MAX || this.#bytes + size > AHEAD_BYTES_MAX;
    if (size <= INLINE_BYTES_MAX || isTooMuch || this.#files.has(path) || !this.#options.isFree(path)) return;
    const stop = new AbortController();
    const nothing = { sum: undefined, staged: undefined, bringing: undefined, isTaken: false, overIn: undefined };
    this.#files.set(path, { path, size, stop, ...nothing });
    this.#bytes += size;
    this.#working ??= this.#work()
      .catch((error: unknown) => {
        this.#fault ??= { error };
      })
      .finally(() => (this.#working = undefined));
  }

  async #work(): Promise<void> {
    for (;;) {
      const file = [...this.#files.values()].find((one) => one.bringing === undefined && one.staged === undefined);
      if (file === undefined || this.#signal.aborted) return;
      file.bringing = this.#bring(file);
      await file.bringing;
      file.bringing = undefined;
      // What could not be brought is transferred when it is there; what is left of it serves only who asked for it now.
      if (file.staged !== undefined || this.#files.get(file.path) !== file) continue;
      if (file.isTaken) this.#remove(file);
      else this.#drop(file);
    }
  }

  async #bring(file: Brought): Promise<void> {
    const { coming, early, bandwidth } = this.#options;
    const signal = AbortSignal.any([this.#signal, file.stop.signal]);
    let [supplyEnd, receiveEnd] = memoryChannelPair();
    if (bandwidth !== undefined) {
      [supplyEnd, receiveEnd] = [bandwidth.limit(supplyEnd, signal), bandwidth.limit(receiveEnd, signal)];
    }
    let staged: Sum | undefined;
    const receive = early.bring(receiveEnd, file.path, file.size, signal).then(({ entry }) => void (staged = entry?.sum));
    const supply = coming.supply(supplyEnd, signal);
    try {
      await joinTransfer(receive, supply, receiveEnd, supplyEnd);
      file.staged = staged;
    } catch {
      // Whatever it was, the transfer that follows meets it again and tells.
    }
  }

  /**
   * The file as it lies in the stage, for a change that wants it there now; undefined: it has to be transferred. Waits for
   * what is just being brought if it is that file. Afterwards nothing of the path is under way, and what is in the
   * stage belongs to who asked.
   */
  async take(path: RelPath, wanted: FileEntry): Promise<FileEntry | undefined> {
    const file = this.#files.get(path);
    if (file === undefined) return undefined;
    const isWanted = wanted.sum !== undefined && file.sum === wanted.sum && file.size === wanted.size;
    file.isTaken = true;
    if (!isWanted) file.stop.abort(new Error("another file is wanted there"));
    await file.bringing;
    if (this.#files.get(path) === file) this.#remove(file);
    return isWanted && file.staged === wanted.sum ? wanted : undefined;
  }

  /**
   * After each cycle: what was there before it began, and is still waiting for a plan, was not wanted.
   * @throws what ended the bringing, which would have nobody else to hear of it
   */
  cycled(): void {
    if (this.#fault !== undefined) throw this.#fault.error;
    for (const file of [...this.#files.values()]) {
      if (file.overIn !== undefined && file.overIn < this.#cycles) this.#forget(file);
    }
    this.#cycles++;
  }

  /** When the signal is aborted, before the sides are closed: nothing is under way afterwards, nor left in the stage. */
  async end(): Promise<void> {
    await Promise.all([this.#watching, this.#working]);
    for (const file of [...this.#files.values()]) this.#drop(file);
  }

  #remove(file: Brought): void {
    this.#files.delete(file.path);
    this.#bytes -= file.size;
  }

  #forget(file: Brought): void {
    // Until it has ended the path is its own.
    if (file.bringing === undefined) this.#drop(file);
    else file.stop.abort(new Error("it will not come"));
  }

  #drop(file: Brought): void {
    this.#remove(file);
    try {
      this.#options.early.drop(file.path);
    } catch (error) {
      // It stays as what a transfer that was cut off leaves.
      if (!(error instanceof FsError)) throw error;
    }
  }
}
