/**
 * Sums of long contents on a thread of their own: MD5 takes longer than everything else that is done with the bytes. One
 * thread for all; where it cannot work, or there is one processor, sums are computed here.
 */
import { processors, startWorker } from "#platform/worker-thread.ts";
import { type SumName, type Sums, SumsHasher } from "#hub/sums/sums.ts";
import type { SumsAnswer, SumsOrder } from "#hub/sums/sums-worker.ts";
import { SynclineError } from "#model/error.ts";

/** Bytes of one slot, and slots of a stream: so much of it waits for the thread. */
const SLOT_BYTES = 1 << 20;
const SLOTS = 4;

/** Sums of bytes that come in order. For one owner; digest() once, at the end. Given up without: it is forgotten. */
export interface SumsStream {
  /**
   * A promise where the thread cannot keep up: wait before the next. The bytes are the caller's again afterwards. Those in
   * shared memory are read where they lie, without a copy: leave them alone until it resolves, and wait for none of them
   * before the next.
   */
  update(bytes: Uint8Array): Promise<void> | void;
  /** @throws {SynclineError} INTERNAL when the thread has failed */
  digest(): Promise<Sums> | Sums;
}

let thread: SumsThread | undefined;

export function openSums(names: readonly SumName[]): SumsStream {
  if (processors() < 2 || thread?.isBroken === true) return new SumsHasher(names);
  thread ??= new SumsThread();
  return thread.open(names);
}

class SumsThread {
  readonly #worker: Worker;
  readonly #streams = new Map<number, WeakRef<Stream>>();
  /** Those of which something is there: an answer must find them, whoever waits for it. */
  readonly #busy = new Set<Stream>();
  /** What nobody has any more is forgotten there, too. */
  readonly #gone = new FinalizationRegistry<number>((id) => this.#drop(id));
  #next = 0;
  isBroken = false;

  constructor() {
    const answered = (answer: SumsAnswer): void => this.#streams.get(answer.id)?.deref()?.answered(answer);
    this.#worker = startWorker("hub/sums/sums-worker.ts", answered, () => this.#fail());
  }

  open(names: readonly SumName[]): Stream {
    const id = this.#next++;
    const send = (order: SumsOrder): void => {
      this.#busy.add(stream);
      this.#worker.postMessage(order);
    };
    const stream: Stream = new Stream(id, names, send, (isOver) => {
      this.#busy.delete(stream);
      if (isOver) this.#streams.delete(id);
    });
    stream.begin();
    this.#streams.set(id, new WeakRef(stream));
    this.#gone.register(stream, id);
    return stream;
  }

  #drop(id: number): void {
    if (!this.#streams.delete(id)) return;
    const order: SumsOrder = { id, drop: true };
    this.#worker.postMessage(order);
  }

  #fail(): void {
    this.isBroken = true;
    for (const stream of this.#streams.values()) stream.deref()?.fail();
    this.#streams.clear();
    this.#busy.clear();
  }
}

class Stream implements SumsStream {
  readonly #id: number;
  readonly #send: (order: SumsOrder) => void;
  /** Nothing of it is there any more, or nothing ever will be. */
  readonly #onRest: (isOver: boolean) => void;
  readonly #names: readonly SumName[];
  #isEnding = false;
  /** For bytes that lie elsewhere. */
  #memory: SharedArrayBuffer | undefined;
  readonly #free: number[] = Array.from({ length: SLOTS }, (_, at) => at * SLOT_BYTES);
  /** What the thread has not read yet, in order, and who hears that it has. */
  readonly #given: PromiseWithResolvers<void>[] = [];
  #slotFree: PromiseWithResolvers<void> | undefined;
  readonly #sums = Promise.withResolvers<Sums>();
  #failure: SynclineError | undefined;

  constructor(id: number, names: readonly SumName[], send: (order: SumsOrder) => void, onRest: (isOver: boolean) => void) {
    this.#id = id;
    this.#names = names;
    this.#send = send;
    this.#onRest = onRest;
    this.#sums.promise.catch(() => undefined);
  }

  begin(): void {
    this.#send({ id: this.#id, names: this.#names });
    this.#onRest(false);
  }

  update(bytes: Uint8Array): Promise<void> | void {
    if (this.#failure !== undefined) throw this.#failure;
    const { buffer, byteOffset, length } = bytes;
    if (buffer instanceof SharedArrayBuffer) return this.#give(buffer, byteOffset, length);
    if (bytes.length <= SLOT_BYTES && this.#free.length > 0) return this.#copy(bytes);
    return this.#giveAll(bytes);
  }

  async #giveAll(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += SLOT_BYTES) {
      while (this.#free.length === 0) {
        this.#slotFree = Promise.withResolvers();
        await this.#slotFree.promise;
        if (this.#failure !== undefined) throw this.#failure;
      }
      this.#copy(bytes.subarray(at, at + SLOT_BYTES));
    }
  }

  #copy(bytes: Uint8Array): void {
    const memory = (this.#memory ??= new SharedArrayBuffer(SLOT_BYTES * SLOTS));
    const from = this.#free.pop()!;
    new Uint8Array(memory, from, bytes.length).set(bytes);
    const freed = (): void => {
      this.#free.push(from);
      this.#slotFree?.resolve();
      this.#slotFree = undefined;
    };
    // Who waits for a slot hears of a failure by himself.
    this.#give(memory, from, bytes.length).then(freed, () => undefined);
  }

  #give(memory: SharedArrayBuffer, from: number, length: number): Promise<void> {
    const read = Promise.withResolvers<void>();
    this.#given.push(read);
    this.#send({ id: this.#id, memory, from, length });
    return read.promise;
  }

  digest(): Promise<Sums> {
    this.#isEnding = true;
    this.#send({ id: this.#id, end: true });
    return this.#sums.promise;
  }

  answered(answer: SumsAnswer): void {
    if ("read" in answer) {
      this.#given.shift()!.resolve();
      if (this.#given.length === 0 && !this.#isEnding) this.#onRest(false);
      return;
    }
    this.#onRest(true);
    this.#sums.resolve(answer.sums);
  }

  fail(): void {
    this.#failure = new SynclineError({
      code: "INTERNAL",
      op: "sum content",
      message: "the thread that computes sums has ended",
      hint: "send it again: sums are computed without it from now on",
    });
    this.#sums.reject(this.#failure);
    for (const { reject } of this.#given.splice(0)) reject(this.#failure);
    this.#slotFree?.resolve();
  }
}
