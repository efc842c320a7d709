/** The program of the thread that finds the chunks of large files and names them. It remembers nothing of any file. */
import { type CutAnswer, type CutOrder, carryOut } from "#hub/cuts/cut-order.ts";
import { orderDone } from "#platform/worker-garbage.ts";

export type Asked = { readonly ticket: number; readonly order: CutOrder };
export type Answered = { readonly ticket: number; readonly answer: CutAnswer };

declare const self: {
  onmessage: (event: { data: Asked }) => void;
  postMessage: (answered: Answered) => void;
};

self.onmessage = ({ data: { ticket, order } }) => {
  self.postMessage({ ticket, answer: carryOut(order) });
  orderDone();
};
