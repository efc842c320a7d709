/**
 * What a local directory hands out to the other side: sums and bytes of files, and its word that what it has told of
 * outlives a power loss.
 */
import type { FileEntry, Sum } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Confined } from "#platform/confined.ts";
import type { Fd, Stat } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import { ignoredHere } from "#sync/apply/held-places.ts";
import { withDiskErrors } from "#sync/endpoint/disk-error.ts";
import type { OpenRequest, ReadItem } from "#sync/endpoint/endpoint.ts";
import { isHidden } from "#sync/endpoint/is-hidden.ts";
import { LearnedSums } from "#sync/endpoint/learned-sums.ts";
import type { ObservationLog } from "#sync/endpoint/observation-log.ts";
import { type ReadContext, hashPath, logicalMtimeNs, readBatches } from "#sync/endpoint/read-files.ts";
import { ReadAhead } from "#sync/endpoint/read-ahead.ts";
import type { HandedOut, SourceDurability } from "#sync/endpoint/source-durability.ts";
import type { IndexRecord } from "#sync/index/record-codecs.ts";
import type { Store, Tree } from "#sync/index/store.ts";
import { damageOf, damageProblem } from "#sync/scan/damage.ts";
import type { Scanner } from "#sync/scan/scanner.ts";
import { supplyFiles } from "#sync/transfer/supply.ts";
import type { Channel } from "#sync/wire/channel.ts";

export type DirSourceState = {
  readonly host: Host;
  readonly label: string;
  readonly request: Pick<OpenRequest, "seeds" | "compress">;
  readonly root: Confined;
  readonly store: Store;
  readonly index: Tree<IndexRecord>;
  readonly log: ObservationLog;
  readonly scanner: Scanner;
  readonly durability: SourceDurability;
};

export class DirSource {
  readonly #state: DirSourceState;
  readonly #learned: LearnedSums;

  constructor(state: DirSourceState) {
    this.#state = state;
    const { store, index, log, scanner } = state;
    this.#learned = new LearnedSums({ store, index, log, namesOf: (ino) => scanner.links.members(ino) });
  }

  get #reading(): ReadContext {
    const { root, index, request } = this.#state;
    const nowMs = (): number => this.#state.host.clock.nowMs();
    const learn: ReadContext["learn"] = (path, entry, stat, record) => this.#learned.learn(path, entry, stat, record);
    const learnPlain: ReadContext["learnPlain"] = (path, entry, stat) => this.#learned.learnPlain(path, entry, stat);
    return { root, index, seeds: request.seeds, nowMs, learn, learnPlain };
  }

  async sums(paths: readonly RelPath[], signal: AbortSignal): Promise<(Sum | Problem)[]> {
    const { durability } = this.#state;
    const handed: HandedOut[] = [];
    const context = this.#handingOut(handed);
    const answers: (Sum | Problem)[] = [];
    const ahead = new ReadAhead(context.root, paths);
    for (const [at, path] of paths.entries()) {
      signal.throwIfAborted();
      const onWait = (): void => ahead.waitedFor(at);
      answers.push((await this.#isHidden(path)) ? ignoredHere(path) : await hashPath(context, path, onWait));
    }
    const failed = await durability.begin(handed);
    await withDiskErrors("sync what was read", this.#state.label, () => durability.all());
    this.#learned.flush();
    return failed.size === 0 ? answers : answers.map((answer, at) => failed.get(paths[at]!) ?? answer);
  }

  async #isHidden(path: RelPath): Promise<boolean> {
    const { index, root, scanner } = this.#state;
    if (index.get(path) !== undefined) return false;
    return isHidden(path, () => root.statIfThere(path)?.kind, (one, isDir) => scanner.ignores(one, isDir));
  }

  /** As Endpoint.vouch(). */
  async vouch(paths: readonly RelPath[], signal: AbortSignal): Promise<Problem[]> {
    const { durability, root, label } = this.#state;
    signal.throwIfAborted();
    // Descriptors that a scan left open may lead to directories that were renamed since.
    root.clear();
    const failed = await durability.beginAt(paths);
    await withDiskErrors("sync what was told of", label, () => durability.all());
    return [...failed.values()];
  }

  /** The last batch is given when everything in all of them is durable here; see source-durability.ts. */
  async *read(paths: readonly RelPath[], signal: AbortSignal): AsyncGenerator<ReadItem[]> {
    const { durability } = this.#state;
    const handed: HandedOut[] = [];
    let last: ReadItem[] | undefined;
    for (const batch of readBatches(this.#handingOut(handed), paths)) {
      signal.throwIfAborted();
      if (last !== undefined) yield last;
      const failed = await durability.begin(handed.splice(0));
      last = failed.size === 0 ? batch : batch.map((item) => withProblem(item, failed.get(item.path)));
    }
    await withDiskErrors("sync what was read", this.#state.label, () => durability.all());
    this.#learned.flush();
    if (last !== undefined) yield last;
  }

  /** Collects the files that were read and may still be lost in a power loss. */
  #handingOut(handed: HandedOut[]): ReadContext {
    const { durability } = this.#state;
    const reading = this.#reading;
    const learn: ReadContext["learn"] = (path, entry, stat, record) => {
      this.#learned.learn(path, entry, stat, record);
      if (durability.isYoung(stat)) handed.push({ path, stat });
    };
    const learnPlain: ReadContext["learnPlain"] = (path, entry, stat) => {
      reading.learnPlain(path, entry, stat);
      if (durability.isYoung(stat)) handed.push({ path, stat });
    };
    return { ...reading, learn, learnPlain };
  }

  async supply(channel: Channel, signal: AbortSignal): Promise<void> {
    const { host, root, request, durability } = this.#state;
    const { seeds, compress } = request;
    const entryOf = (path: RelPath, stat: Stat): FileEntry => this.#entryOf(path, stat);
    const learn = (path: RelPath, entry: FileEntry & { sum: Sum }, stat: Stat): Problem | undefined => {
      const record = this.#state.index.get(path);
      const damage = record === undefined ? undefined : damageOf(record, stat, entry.sum, host.clock.nowMs());
      if (damage !== undefined) return damageProblem(path, damage);
      this.#learned.learn(path, entry, stat, record);
      return undefined;
    };
    const makeDurable = (path: RelPath, stat: Stat): Promise<void> => durability.one({ path, stat });
    const limit = (): undefined => undefined;
    const open = (path: RelPath): Fd => root.openRead(path);
    const look = (path: RelPath): Stat => root.stat(path);
    await supplyFiles({ host, open, look, seeds, compress, limit, entryOf, learn, makeDurable }, channel, signal);
    this.#learned.flush();
  }

  #entryOf(path: RelPath, stat: Stat): FileEntry {
    const record = this.#state.index.get(path);
    const { size, mode } = stat;
    const mtimeNs = record === undefined ? stat.mtimeNs : logicalMtimeNs(record, stat);
    const fresh: FileEntry = { kind: "file", size, mode, mtimeNs, sum: undefined };
    return record?.entry.kind === "file" ? { ...record.entry, ...fresh } : fresh;
  }
}

function withProblem(item: ReadItem, found: Problem | undefined): ReadItem {
  return found === undefined ? item : { path: item.path, problem: found };
}
