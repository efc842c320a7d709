/** The program of the thread that sums: bytes come in shared memory, and are given back in their order when they were read. */
import { type SumName, type Sums, SumsHasher } from "#hub/sums/sums.ts";
import { orderDone } from "#platform/worker-garbage.ts";

export type SumsOrder = { readonly id: number } & (
  | { readonly names: readonly SumName[] }
  | { readonly memory: SharedArrayBuffer; readonly from: number; readonly length: number }
  | { readonly end: true }
  | { readonly drop: true }
);
export type SumsAnswer = { readonly id: number } & ({ readonly read: true } | { readonly sums: Sums });

declare const self: {
  onmessage: (event: { data: SumsOrder }) => void;
  postMessage: (answer: SumsAnswer) => void;
};

const open = new Map<number, SumsHasher>();

self.onmessage = ({ data }) => {
  const { id } = data;
  if ("names" in data) {
    open.set(id, new SumsHasher(data.names));
    return;
  }
  const hasher = open.get(id);
  if (hasher === undefined) return;
  if ("memory" in data) {
    hasher.update(new Uint8Array(data.memory, data.from, data.length));
    self.postMessage({ id, read: true });
    orderDone();
    return;
  }
  open.delete(id);
  if ("end" in data) self.postMessage({ id, sums: hasher.digest() });
};
