/**
 * Finds the chunks of large files, and names them, on a thread of its own: both take longer than all else that a hub does
 * with the bytes. They lie in shared memory, so that nothing is copied for it: who asks leaves them alone until the answer.
 */
import { type CutAnswer, type CutOrder, carryOut } from "#hub/cuts/cut-order.ts";
import type { Answered, Asked } from "#hub/cuts/cuts-worker.ts";
import { SynclineError } from "#model/error.ts";
import { processors, startWorker } from "#platform/worker-thread.ts";

/** What carries out orders, one after the other. */
export type Cuts = {
  /** @throws {SynclineError} INTERNAL when the thread has failed */
  cut(order: CutOrder): Promise<CutAnswer>;
};

/** On the thread that asks: for what is done before another one has heard of it, and where there is no other. */
export const CUTS_HERE: Cuts = { cut: async (order) => carryOut(order) };

export class CutsThread implements Cuts {
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
    const answered = ({ ticket, answer }: Answered): void => {
      this.#waiting.get(ticket)?.resolve(answer);
      this.#waiting.delete(ticket);
    };
    return startWorker("hub/cuts/cuts-worker.ts", answered, () => this.#fail());
  }

  /** It will do nothing any more. */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  cut(order: CutOrder): Promise<CutAnswer> {
    const answer = Promise.withResolvers<CutAnswer>();
    if (this.#isBroken) answer.reject(threadEnded());
    else {
      const asked: Asked = { ticket: this.#next++, order };
      this.#waiting.set(asked.ticket, answer);
      this.#worker ??= this.#start();
      this.#worker.postMessage(asked);
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
