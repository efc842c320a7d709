/**
 * Shared memory that the thread which made it has let go of stays until the other one has looked for garbage as well, and
 * that one makes too little of its own to look by itself.
 */

/** Looked for behind so many orders, or at rest. */
const ORDERS_MAX = 64;
const REST_MS = 2_000;

let orders = 0;
let rest: ReturnType<typeof setTimeout> | undefined;

function collect(): void {
  orders = 0;
  Bun.gc(true);
}

/** The program of a thread says it behind each order with shared memory. */
export function orderDone(): void {
  if (++orders === ORDERS_MAX) collect();
  clearTimeout(rest);
  rest = setTimeout(collect, REST_MS);
}
