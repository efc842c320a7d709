/**
 * What runs did to a root, kept for undo and for recovery. Before a group of changes is placed its items are
 * written durably as an intent; afterwards what really happened is written as the run's record. After a crash the
 * intent says which names in the stage may hold displaced content that must reach the trash.
 */
import type { Entry } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type { ChangeName } from "#model/plan.ts";
import { readEntry, writeEntry } from "#sync/wire/entry-codec.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";
import type { RunRecord } from "#sync/endpoint/endpoint.ts";
import type { Store, Table } from "#sync/index/store.ts";

export type RunAction = ChangeName | "move";
/** In the order of their numbers in the records. */
const ACTIONS: readonly RunAction[] = ["create", "replace", "metadata", "remove", "move", "heal"];

export type RunItem = {
  readonly path: RelPath;
  readonly action: RunAction;
  /** Old path of a move. */
  readonly from: RelPath;
  /** Name in the run's trash that holds, or will hold, the displaced entry; "" for none. */
  readonly trash: string;
  /** Name in the stage from which the new entry was placed; "" for none. */
  readonly stage: string;
  readonly old: Entry | undefined;
  readonly oldIno: bigint;
  readonly new: Entry | undefined;
  readonly newIno: bigint;
};

/** Items in one stored record; bounds the memory of reading a run back. */
const ITEMS_PER_RECORD = 1000;

function encodeItems(items: readonly RunItem[]): Uint8Array {
  const w = new ByteWriter();
  w.varint(items.length);
  for (const item of items) {
    w.u8(ACTIONS.indexOf(item.action));
    w.string(item.path);
    w.string(item.from);
    w.string(item.trash);
    w.string(item.stage);
    writeEntry(w, item.old);
    w.i64(item.oldIno);
    writeEntry(w, item.new);
    w.i64(item.newIno);
  }
  return w.finish();
}

function decodeItems(bytes: Uint8Array): RunItem[] {
  const r = new ByteReader(bytes);
  const items: RunItem[] = [];
  for (let left = r.varint(); left > 0; left--) {
    items.push({
      action: ACTIONS[r.u8()] ?? "metadata",
      path: r.string(),
      from: r.string(),
      trash: r.string(),
      stage: r.string(),
      old: readEntry(r),
      oldIno: r.i64(),
      new: readEntry(r),
      newIno: r.i64(),
    });
  }
  return items;
}

const key = (runId: string, part: number): string => `${runId}/${part.toString().padStart(8, "0")}`;

/** The mode that a directory had before a run lent it another, see lent-mode.ts. */
export type LentMode = { readonly mode: number; readonly ino: bigint };

export class RunJournal {
  readonly #intents: Table;
  readonly #intentTimes: Table;
  readonly #items: Table;
  readonly #runs: Table;
  readonly #lentModes: Table;
  readonly #nowMs: () => number;

  constructor(store: Store, nowMs: () => number) {
    this.#nowMs = nowMs;
    this.#intents = store.table("intent");
    this.#intentTimes = store.table("intent-time");
    this.#items = store.table("run-item");
    this.#runs = store.table("run");
    this.#lentModes = store.table("lent-mode");
  }

  /** Call inside a durable transaction. Returns what to clear when the outcome is recorded. */
  addIntent(runId: string, items: readonly RunItem[]): string[] {
    const w = new ByteWriter();
    // The end of this millisecond: what was staged in it came before.
    w.varint(Math.max(0, Math.floor(this.#nowMs()) + 1));
    this.#intentTimes.set(runId, w.finish());
    return addParts(this.#intents, runId, items);
  }

  /** When the last intent of a run was written, by the wall clock: everything it places was staged before. */
  intentMs(runId: string): number {
    const bytes = this.#intentTimes.get(runId);
    return bytes === undefined ? 0 : new ByteReader(bytes).varint();
  }

  /** Earlier intents of the same run may still wait for recovery: only the given ones go. */
  clearIntent(keys: readonly string[]): void {
    for (const name of keys) this.#intents.delete(name);
  }

  clearIntentsOf(runId: string): void {
    this.clearIntent([...this.#intents.entries(`${runId}/`)].map(([name]) => name));
  }

  /** Intents that a crash left behind, by run. */
  openIntents(): Map<string, RunItem[]> {
    const out = new Map<string, RunItem[]>();
    for (const [name, bytes] of this.#intents.entries()) {
      const runId = name.slice(0, name.indexOf("/"));
      const items = out.get(runId) ?? [];
      for (const item of decodeItems(bytes)) items.push(item);
      out.set(runId, items);
    }
    return out;
  }

  /** Call inside a durable transaction, before the mode is changed. */
  addLentMode(dir: RelPath, { mode, ino }: LentMode): void {
    const w = new ByteWriter();
    w.varint(mode);
    w.i64(ino);
    this.#lentModes.set(dir, w.finish());
  }

  lentMode(dir: RelPath): LentMode | undefined {
    const bytes = this.#lentModes.get(dir);
    return bytes === undefined ? undefined : decodeLentMode(bytes);
  }

  *lentModes(): Iterable<[RelPath, LentMode]> {
    for (const [dir, bytes] of this.#lentModes.entries()) yield [dir, decodeLentMode(bytes)];
  }

  /** Call when all of them have been given back. */
  clearLentModes(): void {
    for (const [dir] of [...this.#lentModes.entries()]) this.#lentModes.delete(dir);
  }

  addItems(runId: string, startedMs: number, items: readonly RunItem[]): void {
    if (items.length === 0) return;
    const before = this.run(runId);
    addParts(this.#items, runId, items);
    this.#setRun({ runId, startedMs, changes: (before?.changes ?? 0) + items.length, undone: false });
  }

  items(runId: string): RunItem[] {
    const out: RunItem[] = [];
    for (const [, bytes] of this.#items.entries(`${runId}/`)) for (const item of decodeItems(bytes)) out.push(item);
    return out;
  }

  run(runId: string): RunRecord | undefined {
    const bytes = this.#runs.get(runId);
    return bytes === undefined ? undefined : decodeRun(runId, bytes);
  }

  runs(): RunRecord[] {
    return [...this.#runs.entries()].map(([runId, bytes]) => decodeRun(runId, bytes));
  }

  setUndone(runId: string): void {
    const run = this.run(runId);
    if (run !== undefined) this.#setRun({ ...run, undone: true });
  }

  forget(runId: string): void {
    for (const [name] of [...this.#items.entries(`${runId}/`)]) this.#items.delete(name);
    this.#intentTimes.delete(runId);
    this.#runs.delete(runId);
  }

  #setRun(run: RunRecord): void {
    const w = new ByteWriter();
    w.varint(run.startedMs);
    w.varint(run.changes);
    w.bool(run.undone);
    this.#runs.set(run.runId, w.finish());
  }
}

function decodeLentMode(bytes: Uint8Array): LentMode {
  const r = new ByteReader(bytes);
  return { mode: r.varint(), ino: BigInt.asUintN(64, r.i64()) };
}

function decodeRun(runId: string, bytes: Uint8Array): RunRecord {
  const r = new ByteReader(bytes);
  return { runId, startedMs: r.varint(), changes: r.varint(), undone: r.bool() };
}

function addParts(table: Table, runId: string, items: readonly RunItem[]): string[] {
  const keys: string[] = [];
  let part = 0;
  for (const [name] of table.entries(`${runId}/`)) part = Number(name.slice(runId.length + 1)) + 1;
  for (let at = 0; at < items.length; at += ITEMS_PER_RECORD) {
    const name = key(runId, part++);
    table.set(name, encodeItems(items.slice(at, at + ITEMS_PER_RECORD)));
    keys.push(name);
  }
  return keys;
}
