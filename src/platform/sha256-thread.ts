/**
 * SHA-256 of shared memory on a thread of its own, without a copy: what the runtime hashes on its own threads it copies
 * first, which takes nearly as long as to hash it. Where the thread cannot work it is hashed here.
 */
import type { HashAnswer, HashOrder, HashPlace } from "#platform/sha256-worker.ts";
import { processors, startWorker } from "#platform/worker-thread.ts";

const SHA256_BYTES = 32;

type Waiting = { readonly bytes: Uint8Array<SharedArrayBuffer>; readonly done: (hash: Uint8Array) => void };

export function sha256Here(bytes: Uint8Array): Uint8Array {
  return Bun.SHA256.hash(bytes as Uint8Array<ArrayBuffer>, new Uint8Array(SHA256_BYTES)) as Uint8Array;
}

class Sha256Thread {
  readonly #worker = startWorker("platform/sha256-worker.ts");
  /** What is asked for in one turn goes together. */
  #asked: Waiting[] = [];
  readonly #sent = new Map<number, readonly Waiting[]>();
  #next = 0;
  #isBroken = false;

  constructor() {
    this.#worker.onmessage = ({ data }: MessageEvent<HashAnswer>) => this.#answered(data);
    this.#worker.onerror = () => this.#fail();
  }

  hash(bytes: Uint8Array<SharedArrayBuffer>): Promise<Uint8Array> {
    if (this.#isBroken) return Promise.resolve(sha256Here(bytes));
    if (this.#asked.length === 0) queueMicrotask(() => this.#send());
    return new Promise((done) => this.#asked.push({ bytes, done }));
  }

  #send(): void {
    const asked = this.#asked;
    this.#asked = [];
    if (this.#isBroken) return compute(asked);
    const places = asked.map(({ bytes }): HashPlace => ({ memory: bytes.buffer, from: bytes.byteOffset, length: bytes.length }));
    const order: HashOrder = { id: this.#next++, places };
    this.#sent.set(order.id, asked);
    this.#worker.postMessage(order);
  }

  #answered({ id, hashes }: HashAnswer): void {
    const asked = this.#sent.get(id) ?? [];
    this.#sent.delete(id);
    for (const [at, { done }] of asked.entries()) done(hashes.subarray(at * SHA256_BYTES, (at + 1) * SHA256_BYTES));
  }

  #fail(): void {
    this.#isBroken = true;
    for (const asked of this.#sent.values()) compute(asked);
    this.#sent.clear();
  }
}

function compute(asked: readonly Waiting[]): void {
  for (const { bytes, done } of asked) done(sha256Here(bytes));
}

let thread: Sha256Thread | undefined;

/** The bytes must stay as they are until it resolves. */
export function sha256Shared(bytes: Uint8Array<SharedArrayBuffer>): Promise<Uint8Array> {
  if (processors() < 2) return Promise.resolve(sha256Here(bytes));
  return (thread ??= new Sha256Thread()).hash(bytes);
}
