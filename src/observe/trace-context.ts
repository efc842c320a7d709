/** Which trace the code that runs now belongs to, without handing it through every call: for the lines of the log. */
import { AsyncLocalStorage } from "node:async_hooks";

const current = new AsyncLocalStorage<string>();

/** Everything that `work` brings about, now and later, belongs to the trace. */
export function inTrace<T>(traceId: string, work: () => T): T {
  return current.run(traceId, work);
}

/** Undefined: no trace has brought this about. */
export function traceIdNow(): string | undefined {
  return current.getStore();
}
