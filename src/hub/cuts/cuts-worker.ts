/** The program of the thread that finds the chunks of large files and names them. It remembers nothing of any file. */
import { type CutAnswer, type CutOrder, carryOut } from "#hub/cuts/cut-order.ts";

export type Asked = { readonly ticket: number; readonly order: CutOrder };
export type Answered = { readonly ticket: number; readonly answer: CutAnswer };

declare const self: {
  onmessage: (event: { data: Asked }) => void;
  postMessage: (answered: Answered) => void;
};

/** Rooms that the other thread has let go of are here until this one has looked for garbage: behind so many orders, or at rest. */
const ORDERS_MAX = 64;
const REST_MS = 2_000;

let orders = 0;
let rest: ReturnType<typeof setTimeout> | undefined;

function collect(): void {
  orders = 0;
  Bun.gc(true);
}

self.onmessage = ({ data: { ticket, order } }) => {
  self.postMessage({ ticket, answer: carryOut(order) });
  if (++orders === ORDERS_MAX) collect();
  clearTimeout(rest);
  rest = setTimeout(collect, REST_MS);
};
