/** How far a session has consumed one of its sides, and of which life of that side. */
import type { Side } from "#model/plan.ts";
import type { Store, Table } from "#sync/index/store.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";

export type SideMark = { readonly rootId: string; readonly epoch: string; readonly seq: number; readonly filterHash: string };

/** How far `side` was consumed when the state of a pair was last written; undefined before its first scan. */
export function savedMark(store: Store, side: Side): SideMark | undefined {
  return readMark(store.table("meta"), `mark-${side}`);
}

/** How far `side` was consumed when changes were sent whose outcome was not written since; undefined where it was. */
export function plannedMark(store: Store, side: Side): SideMark | undefined {
  return readMark(store.table("meta"), `planned-${side}`);
}

/** Inside a transaction. */
export function writeMark(meta: Table, name: string, { rootId, epoch, seq, filterHash }: SideMark): void {
  const w = new ByteWriter();
  w.string(rootId);
  w.string(epoch);
  w.varint(seq);
  w.string(filterHash);
  meta.set(name, w.finish());
}

function readMark(meta: Table, name: string): SideMark | undefined {
  const bytes = meta.get(name);
  if (bytes === undefined) return undefined;
  const r = new ByteReader(bytes);
  return { rootId: r.string(), epoch: r.string(), seq: r.varint(), filterHash: r.string() };
}
