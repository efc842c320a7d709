/** The program of the thread that hashes what lies in shared memory. */

/** Each with where it lies; the answer has their hashes in the same order, one behind the other. */
export type HashOrder = { readonly id: number; readonly places: readonly HashPlace[] };
export type HashPlace = { readonly memory: SharedArrayBuffer; readonly from: number; readonly length: number };
export type HashAnswer = { readonly id: number; readonly hashes: Uint8Array };

declare const self: {
  onmessage: (event: { data: HashOrder }) => void;
  postMessage: (answer: HashAnswer) => void;
};

const SHA256_BYTES = 32;

self.onmessage = ({ data: { id, places } }) => {
  const hashes = new Uint8Array(SHA256_BYTES * places.length);
  for (const [at, { memory, from, length }] of places.entries()) {
    const bytes = new Uint8Array(memory, from, length);
    Bun.SHA256.hash(bytes, hashes.subarray(at * SHA256_BYTES, (at + 1) * SHA256_BYTES));
  }
  self.postMessage({ id, hashes });
};
