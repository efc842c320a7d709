/** The runs of a pair as the controller remembers them, newest last: what `syncline log` lists. */
import type { Store } from "#sync/index/store.ts";
import type { Summary } from "#sync/session/events.ts";

/** Runs remembered; older ones are forgotten with their undo information. */
export const RUNS_MAX = 1000;

export type RunEntry = { readonly runId: string; readonly atMs: number; readonly summary: Summary };

const key = (number: number): string => number.toString().padStart(12, "0");

export function addRun(store: Store, summary: Summary, nowMs: number): void {
  const table = store.table("runs");
  const keys = [...table.entries()].map(([name]) => name);
  const last = keys.at(-1);
  const text = JSON.stringify({ runId: summary.runId, atMs: Math.floor(nowMs), summary });
  store.transaction({ durable: false }, () => {
    table.set(key(last === undefined ? 1 : Number(last) + 1), Buffer.from(text));
    for (const old of keys.slice(0, Math.max(0, keys.length + 1 - RUNS_MAX))) table.delete(old);
  });
}

export function listRuns(store: Store): RunEntry[] {
  return [...store.table("runs").entries()].map(([, bytes]) => JSON.parse(Buffer.from(bytes).toString()) as RunEntry);
}
