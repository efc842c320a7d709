/** The program of the thread that sums: bytes come in shared memory, each slot is given back when it was read. */
import { type SumName, type Sums, SumsHasher } from "#hub/sums/sums.ts";

export type SumsOrder = { readonly id: number } & (
  | { readonly names: readonly SumName[]; readonly memory: SharedArrayBuffer }
  | { readonly from: number; readonly length: number }
  | { readonly end: true }
  | { readonly drop: true }
);
export type SumsAnswer = { readonly id: number } & ({ readonly from: number } | { readonly sums: Sums });

declare const self: {
  onmessage: (event: { data: SumsOrder }) => void;
  postMessage: (answer: SumsAnswer) => void;
};

const open = new Map<number, { readonly hasher: SumsHasher; readonly memory: SharedArrayBuffer }>();

self.onmessage = ({ data }) => {
  const { id } = data;
  if ("names" in data) {
    open.set(id, { hasher: new SumsHasher(data.names), memory: data.memory });
    return;
  }
  const stream = open.get(id);
  if (stream === undefined) return;
  if ("from" in data) {
    stream.hasher.update(new Uint8Array(stream.memory, data.from, data.length));
    self.postMessage({ id, from: data.from });
    return;
  }
  open.delete(id);
  if ("end" in data) self.postMessage({ id, sums: stream.hasher.digest() });
};
