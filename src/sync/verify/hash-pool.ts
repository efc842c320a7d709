/**
 * Hashes many files on all processors and gives the sums in the order in which they were asked for. The first files are
 * hashed here, because threads cost more than they save for a few; then each thread gets batches of paths. Batches in
 * all hands are bounded, so are paths in one. A thread that fails gives its work back, and the rest is done here.
 */
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Confined } from "#platform/confined.ts";
import { processors, startWorker } from "#platform/worker-thread.ts";
import { FileHasher, type Hashed } from "#sync/verify/hash-tree.ts";
import type { BatchAnswer, BatchOrder, RootOrder } from "#sync/verify/hash-worker.ts";

/** Threads at most; beyond them the disk, or the main thread that lists and writes, is what limits. */
const THREADS_MAX = 8;
/** Bytes hashed here before threads are started: less takes no longer than their start. */
const FIRST_BYTES = 32 << 20;
/** Files smaller than this on average are hashed here: opening them and handing them over is most of the work. */
const AVERAGE_BYTES_MIN = 16 << 10;
/** Files that the average is taken over, roughly; it follows a tree from small files to large ones. */
const AVERAGE_OVER = 64;
/** Paths of one batch at most, and bytes that it should have about, by what files had so far. */
const BATCH_PATHS_MAX = 64;
const BATCH_BYTES = 4 << 20;
/** Batches that each thread has: one that it works on, and one that waits. */
const BATCHES_PER_THREAD = 2;

export type PathSum<T> = { readonly item: T; readonly hashed: Hashed | Problem | undefined };

export class HashPool implements Disposable {
  readonly #here: FileHasher;
  readonly #root: Confined;
  readonly #rootPath: string;
  readonly #threadsMax: number;
  /** The last work that is done here. */
  #lastHere: Promise<unknown> = Promise.resolve();
  #threads: HashThread[] | undefined;
  /** What was hashed so far. */
  #bytes = 0;
  /** Size of the last files, on average. */
  #average = 0;

  /** `rootPath` is the absolute path under which a thread finds `root` again. */
  constructor(root: Confined, rootPath: string, threads = Math.min(processors(), THREADS_MAX)) {
    this.#root = root;
    this.#rootPath = rootPath;
    this.#here = new FileHasher(root);
    this.#threadsMax = threads;
  }

  /**
   * The items in their order with the sum of the file at `pathOf`, or why there is none; without a path, without a sum.
   * One call at a time. Rejects with `signal.reason`.
   */
  async *inOrder<T>(
    items: AsyncIterable<T> | Iterable<T>,
    pathOf: (item: T) => RelPath | undefined,
    signal: AbortSignal,
  ): AsyncGenerator<PathSum<T>> {
    const underWay: Promise<PathSum<T>[]>[] = [];
    let batch: T[] = [];
    const hand = (): void => {
      const work = this.#hash(batch, pathOf, signal);
      // Whoever takes it up learns of a failure; nobody does when the caller stops before.
      work.catch(() => undefined);
      underWay.push(work);
      batch = [];
    };
    for await (const item of items) {
      signal.throwIfAborted();
      if (underWay.length + batch.length === 0 && !this.#isWorthThreads()) {
        const path = pathOf(item);
        const hashed = path === undefined ? undefined : await this.#here.hash(path, signal);
        this.#note(hashed);
        yield { item, hashed };
        continue;
      }
      batch.push(item);
      if (batch.length < this.#batchPaths()) continue;
      hand();
      while (underWay.length >= this.#batchesMax()) yield* this.#count(await underWay.shift()!);
    }
    if (batch.length > 0) hand();
    for (const work of underWay) yield* this.#count(await work);
  }

  [Symbol.dispose](): void {
    for (const thread of this.#threads ?? []) thread.stop();
    this.#threads = [];
  }

  #batchPaths(): number {
    if (!this.#isWorthThreads()) return 1;
    return Math.max(1, Math.min(BATCH_PATHS_MAX, Math.floor(BATCH_BYTES / this.#average)));
  }

  #batchesMax(): number {
    return this.#isWorthThreads() ? this.#threadsMax * BATCHES_PER_THREAD : 1;
  }

  #isWorthThreads(): boolean {
    return this.#threadsMax > 1 && this.#bytes >= FIRST_BYTES && this.#average >= AVERAGE_BYTES_MIN;
  }

  #count<T>(sums: PathSum<T>[]): PathSum<T>[] {
    for (const { hashed } of sums) this.#note(hashed);
    return sums;
  }

  #note(hashed: Hashed | Problem | undefined): void {
    if (hashed === undefined || "code" in hashed) return;
    this.#bytes += hashed.size;
    this.#average += (hashed.size - this.#average) / AVERAGE_OVER;
  }

  async #hash<T>(
    items: readonly T[],
    pathOf: (item: T) => RelPath | undefined,
    signal: AbortSignal,
  ): Promise<PathSum<T>[]> {
    const paths = items.map(pathOf);
    const wanted = paths.filter((path) => path !== undefined);
    const sums = (await this.#thread()?.hash(wanted, signal)) ?? (await this.#hashHere(wanted, signal));
    let next = 0;
    return items.map((item, at) => ({ item, hashed: paths[at] === undefined ? undefined : sums[next++] }));
  }

  /** Calls wait for each other: there is one pair of buffers. */
  #hashHere(paths: readonly RelPath[], signal: AbortSignal): Promise<(Hashed | Problem)[]> {
    const work = this.#lastHere.then(async () => {
      const sums: (Hashed | Problem)[] = [];
      for (const path of paths) sums.push(await this.#here.hash(path, signal));
      return sums;
    });
    this.#lastHere = work.catch(() => undefined);
    return work;
  }

  /** The thread with the least to do; undefined when the work is better done here. */
  #thread(): HashThread | undefined {
    if (!this.#isWorthThreads()) return undefined;
    this.#threads ??= Array.from({ length: this.#threadsMax }, () => new HashThread(this.#root, this.#rootPath));
    let least: HashThread | undefined;
    for (const thread of this.#threads) {
      if (!thread.isBroken && (least === undefined || thread.load < least.load)) least = thread;
    }
    return least;
  }
}

/** One worker, answering in the order of its batches. */
class HashThread {
  readonly #worker: Worker;
  readonly #waiting: ((sums: readonly (Hashed | Problem)[] | undefined) => void)[] = [];
  isBroken = false;

  constructor(root: Confined, path: string) {
    const { dev, ino } = root.fs.fstat(root.root);
    const answered = (answer: BatchAnswer): void => {
      if ("sums" in answer) this.#waiting.shift()?.(answer.sums);
      else this.stop();
    };
    this.#worker = startWorker("sync/verify/hash-worker.ts", answered, () => this.stop());
    const order: RootOrder = { path, dev, ino };
    this.#worker.postMessage(order);
  }

  /** Batches that it has not answered. */
  get load(): number {
    return this.#waiting.length;
  }

  /** Undefined when the thread cannot do it. Rejects with `signal.reason`, whatever the thread goes on with. */
  async hash(paths: readonly RelPath[], signal: AbortSignal): Promise<readonly (Hashed | Problem)[] | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly (Hashed | Problem)[] | undefined>();
    const abort = (): void => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    this.#waiting.push(resolve);
    this.#worker.ref();
    const order: BatchOrder = { paths };
    this.#worker.postMessage(order);
    try {
      return await promise;
    } finally {
      signal.removeEventListener("abort", abort);
      if (this.load === 0) this.#worker.unref();
    }
  }

  stop(): void {
    this.isBroken = true;
    this.#worker.terminate();
    for (const resolve of this.#waiting.splice(0)) resolve(undefined);
  }
}
