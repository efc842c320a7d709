/** Sums that are learned while files are read for the other side, kept so that nobody needs to hash them again. */
import type { FileEntry, Sum } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type { Stat } from "#platform/file-system.ts";
import type { ObservationLog } from "#sync/endpoint/observation-log.ts";
import type { IndexRecord } from "#sync/index/record-codecs.ts";
import { setRecords } from "#sync/index/set-records.ts";
import type { Store, Tree } from "#sync/index/store.ts";

/** What is learned is written to the state in transactions of this many paths. */
const PER_TRANSACTION = 2000;

/** Where it is kept. */
export type LearnedState = {
  readonly store: Store;
  readonly index: Tree<IndexRecord>;
  readonly log: Pick<ObservationLog, "append">;
  /** Names of a file of several. */
  readonly namesOf: (ino: bigint) => Iterable<RelPath>;
};

export class LearnedSums {
  readonly #state: LearnedState;
  #learned: { path: RelPath; record: IndexRecord }[] = [];
  /** Handed out as something else than the index holds. */
  #unscanned: RelPath[] = [];

  constructor(state: LearnedState) {
    this.#state = state;
  }

  /**
   * Keeps the sum under the stat that belongs to it. An edit that no scan has seen is told by the next one whatever it
   * finds: the controller knows of the edit, and to the index alone its end would be no news.
   */
  learn(path: RelPath, entry: FileEntry, stat: Stat, record: IndexRecord | undefined): void {
    if (record === undefined) return;
    const known = record.entry;
    const isScanned = record.ino === stat.ino && record.ctimeNs === stat.ctimeNs;
    if (!isScanned || known.kind !== "file" || known.size !== entry.size) this.#unscanned.push(path);
    else if (known.sum !== entry.sum) this.#add(path, { ...record, entry: { ...known, sum: entry.sum } }, stat);
    this.#flushMany();
  }

  /** As learn, where the record said the same as the stat and had nothing more to say. */
  learnPlain(path: RelPath, entry: FileEntry, stat: Stat): void {
    this.#add(path, { entry, ino: stat.ino, ctimeNs: stat.ctimeNs, racy: false }, stat);
    this.#flushMany();
  }

  #add(path: RelPath, record: IndexRecord & { entry: FileEntry }, { nlink }: Stat): void {
    this.#learned.push({ path, record });
    if (nlink > 1) this.#addNames(path, record, record.entry.sum);
  }

  /** The bytes of a file of several names are asked for by one of them; their damage must show under all. */
  #addNames(path: RelPath, { ino, ctimeNs }: IndexRecord, sum: Sum | undefined): void {
    const { index, namesOf } = this.#state;
    for (const name of namesOf(ino)) {
      const other = name === path ? undefined : index.get(name);
      if (other?.entry.kind !== "file" || other.ino !== ino || other.ctimeNs !== ctimeNs || other.entry.sum !== undefined) continue;
      this.#learned.push({ path: name, record: { ...other, entry: { ...other.entry, sum } } });
    }
  }

  #flushMany(): void {
    if (this.#learned.length + this.#unscanned.length >= PER_TRANSACTION) this.flush();
  }

  flush(): void {
    const learned = this.#learned;
    const unscanned = this.#unscanned;
    if (learned.length + unscanned.length === 0) return;
    this.#learned = [];
    this.#unscanned = [];
    const { store, index, log } = this.#state;
    store.transaction({ durable: unscanned.length > 0 }, () => {
      setRecords(index, learned);
      if (unscanned.length > 0) log.append(unscanned);
    });
  }
}
