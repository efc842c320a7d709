/**
 * Finds the chunks of large files, and names them, on a thread of its own: both take longer than all else that a hub does
 * with the bytes. A buffer that goes there is out of reach here until it comes back, so nobody writes into what is being
 * named.
 */
import type { CutAnswer, CutOrder } from "#hub/cuts/cuts-worker.ts";
import { SynclineError } from "#model/error.ts";
import { processors, startWorker } from "#platform/worker-thread.ts";

export class CutsThread {
  readonly #worker: Worker;
  readonly #waiting = new Map<number, PromiseWithResolvers<CutAnswer>>();
  #next = 0;
  #isBroken = false;

  private constructor() {
    this.#worker = startWorker("hub/cuts/cuts-worker.ts");
    this.#worker.onmessage = ({ data }: MessageEvent<CutAnswer>) => {
      this.#waiting.get(data.ticket)?.resolve(data);
      this.#waiting.delete(data.ticket);
    };
    this.#worker.onerror = () => this.#fail();
  }

  /** Undefined where there is one processor. */
  static start(): CutsThread | undefined {
    return processors() < 2 ? undefined : new CutsThread();
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
