/**
 * Finds the chunks of large files, and names them, on a thread of its own: both take longer than all else that a hub does
 * with the bytes. A buffer that goes there is out of reach here until it comes back, so nobody writes into what is being
 * named.
 */
import type { CutAnswer, CutOrder } from "#hub/cuts/cuts-worker.ts";
import { SynclineError } from "#model/error.ts";
import { processors, startWorker } from "#platform/worker-thread.ts";

export class CutsThread {
  /** From the first file on: a hub that gets no large ones has no need of its memory. */
  #worker: Worker | undefined;
  readonly #waiting = new Map<number, PromiseWithResolvers<CutAnswer>>();
  #next = 0;
  #isBroken = false;

  private constructor() {
    // Made where it can be of use.
  }

  /** Undefined where there is one processor. */
  static make(): CutsThread | undefined {
    return processors() < 2 ? undefined : new CutsThread();
  }

  #start(): Worker {
    const worker = startWorker("hub/cuts/cuts-worker.ts");
    worker.onmessage = ({ data }: MessageEvent<CutAnswer>) => {
      this.#waiting.get(data.ticket)?.resolve(data);
      this.#waiting.delete(data.ticket);
    };
    worker.onerror = () => this.#fail();
    // It may also end without a word.
    worker.addEventListener("close", () => this.#fail());
    return worker;
  }

  /** It will do nothing any more. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** The buffer is the thread's until it answers. @throws {SynclineError} INTERNAL when the thread has failed */
  cut(order: Omit<CutOrder, "ticket">): Promise<CutAnswer> {
    const ticket = this.#next++;
    const answer = Promise.withResolvers<CutAnswer>();
    if (this.#isBroken) answer.reject(threadEnded());
    else {
      this.#waiting.set(ticket, answer);
      this.#worker ??= this.#start();
      this.#worker.postMessage({ ...order, ticket }, [order.buffer]);
    }
    return answer.promise;
  }

  #fail(): void {
    this.#isBroken = true;
    for (const { reject } of this.#waiting.values()) reject(threadEnded());
    this.#waiting.clear();
  }
}

function threadEnded(): SynclineError {
  return new SynclineError({
    code: "INTERNAL",
    op: "cut content",
    message: "the thread that cuts files into chunks has ended",
    hint: "send it again: files are cut without it from now on",
    retryable: true,
  });
}
