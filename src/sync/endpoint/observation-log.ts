/**
 * Which paths changed, by sequence: what a controller has not heard of yet. Records hold paths only; what is there now
 * is in the index, so a path that changed twice is told once.
 */
import type { Entry } from "#model/entry.ts";
import type { Observation } from "#model/observation.ts";
import { type RelPath, comparePaths, nameOf } from "#model/path.ts";
import { BATCH_ITEMS_MAX } from "#sync/endpoint/endpoint.ts";
import type { Log, Tree } from "#sync/index/store.ts";
import { IGNORE_FILE } from "#sync/scan/ignore.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";

/** Paths in one log record. */
const PATHS_PER_RECORD = 2000;

/** What is needed of an endpoint's index. */
type Indexed = Pick<Tree<{ readonly entry: Entry }>, "get" | "walk">;

export class ObservationLog {
  readonly #log: Log;
  readonly #index: Indexed;

  constructor(log: Log, index: Indexed) {
    this.#log = log;
    this.#index = index;
  }

  last(): number {
    return this.#log.last();
  }

  /** Everything after this sequence can be told. */
  keptAfter(): number {
    return this.#log.first() - 1;
  }

  /** Call in the transaction that changes the index. */
  append(paths: readonly RelPath[], ignored: ReadonlySet<RelPath> = new Set()): void {
    for (let at = 0; at < paths.length; at += PATHS_PER_RECORD) {
      const w = new ByteWriter();
      for (const path of paths.slice(at, at + PATHS_PER_RECORD)) {
        w.string(path);
        w.bool(ignored.has(path));
      }
      this.#log.append(w.finish());
    }
  }

  /** Can everything after `seq` still be told from the log? */
  reaches(seq: number): boolean {
    return seq === 0 || (seq >= this.keptAfter() && seq <= this.#log.last());
  }

  trim(upTo: number): void {
    if (upTo >= this.#log.first()) this.#log.trim(Math.min(upTo, this.#log.last()));
  }

  /**
   * Everything after `since`, in path order; 0 lists the whole index. What was ignored in between is told as ignored
   * before what it is now: what was below it went out of sight with it, and has no record of its own here. Ignore files
   * that changed after something was ignored are told once more at the end: it may be gone by now, and not be ignored.
   */
  *since(since: number): Generator<Observation[]> {
    let batch: Observation[] = [];
    for (const one of since === 0 ? this.#all() : this.#changed(since)) {
      batch.push(one);
      if (batch.length < BATCH_ITEMS_MAX) continue;
      yield batch;
      batch = [];
    }
    if (batch.length > 0) yield batch;
  }

  *#all(): Generator<Observation> {
    for (const [path, record] of this.#index.walk("")) yield { state: "present", path, entry: record.entry };
  }

  *#changed(since: number): Generator<Observation> {
    const ignored = new Map<RelPath, boolean>();
    const hidden = new Set<RelPath>();
    const laterRules = new Set<RelPath>();
    for (const [, bytes] of this.#log.since(since)) {
      const r = new ByteReader(bytes);
      const hasHidden = hidden.size > 0;
      while (!r.atEnd) {
        const path = r.string();
        const isIgnored = r.bool();
        ignored.set(path, isIgnored);
        if (isIgnored) hidden.add(path);
        if (hasHidden && nameOf(path) === IGNORE_FILE) laterRules.add(path);
      }
    }
    const paths = [...ignored.keys()];
    let sorted = true;
    for (let at = 1; at < paths.length && sorted; at++) sorted = comparePaths(paths[at - 1]!, paths[at]!) < 0;
    for (const path of [...(sorted ? paths : paths.sort(comparePaths)), ...laterRules]) {
      const record = this.#index.get(path);
      if (hidden.has(path)) yield { state: "ignored", path };
      if (record !== undefined) yield { state: "present", path, entry: record.entry };
      else if (ignored.get(path) !== true) yield { state: "absent", path };
    }
  }
}
