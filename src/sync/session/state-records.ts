/** What of a pair's state is at rest beside trees and marks, as bytes: what is pending, and what is in flight. */
import type { Entry } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import { entryCodec } from "#sync/index/record-codecs.ts";
import type { Log, Store, Table } from "#sync/index/store.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";
import { readEntry, writeEntry } from "#sync/wire/entry-codec.ts";

/** What a side holds at a path where it differs from the ancestor. */
export type Held = { readonly state: "present"; readonly entry: Entry } | { readonly state: "absent" | "ignored" };

/** One change that was sent to a side and whose outcome is not recorded yet. */
export type InFlight = {
  readonly side: Side;
  readonly path: RelPath;
  readonly entry: Entry | undefined;
  /** A move from there, with everything that the ancestor has below; then `entry` says nothing. */
  readonly from?: RelPath | undefined;
};
/** Added to the side (0: alpha, 1: beta) of a move in its record. */
const IN_FLIGHT_MOVE = 2;

/** In-flight changes in one log record. */
const IN_FLIGHT_PER_RECORD = 2000;

const BOTH: readonly Side[] = ["alpha", "beta"];

type SavedPending = { readonly path: RelPath; readonly held: Held };

export function* savedPending(table: Table): Generator<SavedPending> {
  const bytes = table.get("all");
  if (bytes === undefined) return;
  const r = new ByteReader(bytes);
  while (!r.atEnd) {
    const path = r.string();
    const state = r.u8();
    const entry = readEntry(r);
    if (state === 1 && entry !== undefined) yield { path, held: { state: "present", entry } };
    else yield { path, held: { state: state === 2 ? "ignored" : "absent" } };
  }
}

/**
 * Is the ancestor all that is known of both sides, as last written, but for what both ignore, and for what one side alone
 * has and nobody can carry? Returns the ignored paths, of which (with what is below them) nobody knows anything; undefined
 * where something else differs.
 */
export function savedIgnored(store: Store): ReadonlySet<RelPath> | undefined {
  const ancestor = store.tree("ancestor", entryCodec);
  const seen = new Map<RelPath, number>();
  const uncarried = new Set<RelPath>();
  for (const side of BOTH) {
    for (const { path, held } of savedPending(store.table(`pending-${side}`))) {
      const isOther = held.state === "present" && held.entry.kind === "other";
      if (isOther && !uncarried.has(path) && ancestor.get(path) === undefined) uncarried.add(path);
      else if (held.state !== "ignored") return undefined;
      else seen.set(path, (seen.get(path) ?? 0) + 1);
    }
  }
  if ([...uncarried].some((path) => seen.has(path))) return undefined;
  for (const [path, sides] of seen) if (sides < BOTH.length && ancestor.get(path) !== undefined) return undefined;
  return new Set(seen.keys());
}

/** Inside a transaction. */
export function writePending(table: Table, pending: ReadonlyMap<RelPath, Held>): void {
  if (pending.size === 0) {
    if (table.get("all") !== undefined) table.delete("all");
    return;
  }
  const w = new ByteWriter();
  for (const [path, held] of pending) {
    w.string(path);
    w.u8(held.state === "present" ? 1 : held.state === "ignored" ? 2 : 0);
    writeEntry(w, held.state === "present" ? held.entry : undefined);
  }
  table.set("all", w.finish());
}

/** Inside a transaction. */
export function appendInFlight(log: Log, changes: readonly InFlight[]): void {
  for (let at = 0; at < changes.length; at += IN_FLIGHT_PER_RECORD) {
    const w = new ByteWriter();
    const part = changes.slice(at, at + IN_FLIGHT_PER_RECORD);
    w.varint(part.length);
    for (const { side, path, entry, from } of part) {
      w.u8((side === "beta" ? 1 : 0) + (from === undefined ? 0 : IN_FLIGHT_MOVE));
      w.string(path);
      if (from === undefined) writeEntry(w, entry);
      else w.string(from);
    }
    log.append(w.finish());
  }
}

export function* readInFlight(log: Log): Generator<InFlight> {
  for (const [, bytes] of log.since(log.first() - 1)) {
    const r = new ByteReader(bytes);
    for (let left = r.varint(); left > 0; left--) {
      const kind = r.u8();
      const side: Side = kind % IN_FLIGHT_MOVE === 1 ? "beta" : "alpha";
      const path = r.string();
      if (kind < IN_FLIGHT_MOVE) yield { side, path, entry: readEntry(r) };
      else yield { side, path, entry: undefined, from: r.string() };
    }
  }
}
