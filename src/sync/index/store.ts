/**
 * State at rest: ordered trees of records, small tables and append-only logs, with transactions.
 * `sqlite-store.ts` is the real one, `memory-store.ts` the simulator's; `store-contract.ts` runs on both.
 *
 * All calls are synchronous and belong to one owner. Values passed in are not kept by reference after the call.
 */
import type { RelPath } from "#model/path.ts";
import type { PackedRecords } from "#sync/index/packed-records.ts";

export type Codec<R> = {
  encode(record: R): Uint8Array;
  decode(bytes: Uint8Array): R;
};

/**
 * A map from paths to records, kept by directory: reading one directory or changing one entry costs by the size of
 * that directory's page, never of the tree. A record may exist without its parents having one.
 */
export interface Tree<R> {
  get(path: RelPath): R | undefined;
  set(path: RelPath, record: R): void;
  /** Removes one record; what is below it stays. */
  delete(path: RelPath): void;
  /** Direct children of `dir` in compareNames order. The array is the caller's. */
  children(dir: RelPath): { name: string; record: R }[];
  /** As children(), each decoded only when it is asked for. */
  packed(dir: RelPath): PackedRecords<R>;
  /**
   * The direct children of `dir` that are nearest to `name` in compareNames order: at most `limit` before it and
   * `limit` from it on. Costs by what is returned, whatever the size of the directory.
   */
  childrenAround(dir: RelPath, name: string, limit: number): { name: string; record: R }[];
  /** Replaces all direct children of `dir` at once (in compareNames order); faster than single calls. */
  setChildren(dir: RelPath, children: readonly { name: string; record: R }[]): void;
  /** Sets direct children of `dir`, in compareNames order and each once, and leaves the others; faster than single calls. */
  setSome(dir: RelPath, children: readonly { name: string; record: R }[]): void;
  /** `path` and everything below it, depth-first in comparePaths order. Do not modify while iterating. */
  walk(path: RelPath): Iterable<[RelPath, R]>;
  /** Removes `path` and everything below it; returns how many records went. */
  deleteSubtree(path: RelPath): number;
  /** Renames `from` and everything below it to `to`, which must not exist. */
  moveSubtree(from: RelPath, to: RelPath): void;
  /** Number of records. */
  count(): number;
}

export interface Table {
  get(key: string): Uint8Array | undefined;
  set(key: string, value: Uint8Array): void;
  delete(key: string): void;
  /** In key order (by UTF-16 code units of ASCII keys). */
  entries(prefix?: string): Iterable<[string, Uint8Array]>;
}

/** Append-only, numbered from 1 without reuse, even after trim and reopening. */
export interface Log {
  append(record: Uint8Array): number;
  /** Number of the last record ever appended; 0 when none. */
  last(): number;
  /** Number of the first record still kept, or last()+1. */
  first(): number;
  since(after: number): Iterable<[number, Uint8Array]>;
  /** Forgets records up to and including `upTo`. */
  trim(upTo: number): void;
}

export interface Store {
  tree<R>(name: string, codec: Codec<R>): Tree<R>;
  table(name: string): Table;
  log(name: string): Log;
  /**
   * Runs `body` atomically: after a crash all of it is there or none. Nested calls join the outer one.
   * `durable: true` returns only when it survives power loss; `false` keeps order (a later durable transaction makes
   * all earlier ones durable) but may be lost. When `body` throws everything is undone and the error passes on.
   */
  transaction<T>(options: { durable: boolean }, body: () => T): T;
  close(): void;
}
