/**
 * A local directory as an endpoint. Holds the root, this session's index and log, the scanner, the watcher and the
 * stage; every method is a few lines that connect the rooms that do the work.
 */
import type { Sum } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, comparePaths } from "#model/path.ts";
import { Confined } from "#platform/confined.ts";
import { type Fd, isCode } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import { Applier } from "#sync/apply/applier.ts";
import { type ApplyContext, problem } from "#sync/apply/apply-context.ts";
import { whyNoFile } from "#sync/apply/held-places.ts";
import { NameSync } from "#sync/apply/name-sync.ts";
import { PartialFiles } from "#sync/apply/partial-files.ts";
import { closeArea, makeAreaDurable, openArea, removeStage } from "#sync/apply/private-area.ts";
import { pruneRuns } from "#sync/apply/prune-runs.ts";
import { forgetPartials, recover } from "#sync/apply/recover.ts";
import { RunJournal } from "#sync/apply/run-journal.ts";
import { undoRun } from "#sync/apply/undo.ts";
import { withDiskErrors } from "#sync/endpoint/disk-error.ts";
import { EarlyStage } from "#sync/endpoint/early-stage.ts";
import type {
  Application,
  Endpoint,
  OnObserved,
  OpenReply,
  OpenRequest,
  ReadItem,
  RunChange,
  RunRecord,
  ScanRequest,
  ScanSummary,
  SumSeeds,
  TransferItem,
  TransferResult,
} from "#sync/endpoint/endpoint.ts";
import { ObservationLog } from "#sync/endpoint/observation-log.ts";
import { FirstListing } from "#sync/endpoint/first-listing.ts";
import { refuseFiles } from "#sync/endpoint/refuse-files.ts";
import {
  type RootIdentity,
  type RootOptions,
  checkRoot,
  identifyRoot,
  openRootDir,
  parentOfMissingRoot,
} from "#sync/endpoint/root-identity.ts";
import { DirSource } from "#sync/endpoint/dir-source.ts";
import { RenewedPaths } from "#sync/endpoint/renewed-paths.ts";
import { SourceDurability } from "#sync/endpoint/source-durability.ts";
import { type IndexRecord, indexCodec } from "#sync/index/record-codecs.ts";
import type { Store, Table, Tree } from "#sync/index/store.ts";
import { IgnoreRules, filterText } from "#sync/scan/ignore.ts";
import { Scanner, runScan } from "#sync/scan/scanner.ts";
import type { Scrub, ScrubReply, ScrubRequest } from "#sync/scan/scrub.ts";
import type { BaseFile } from "#sync/transfer/base.ts";
import { receiveFiles } from "#sync/transfer/receive.ts";
import type { DirtyExtent, DirtyPaths } from "#sync/watch/dirty-set.ts";
import { RootWatcher } from "#sync/watch/watcher.ts";
import type { Channel } from "#sync/wire/channel.ts";

export type DirEndpointOptions = {
  readonly host: Host;
  /** Absolute path of the root. */
  readonly path: string;
  readonly label: string;
  /** Opens the state of this root under a name like "<rootId>/<sessionId>"; the endpoint closes it. */
  readonly openStore: (name: string) => Store;
  /** Removes the closed state of that name; for sessions that remember nothing. */
  readonly removeStore?: ((name: string) => void) | undefined;
  /** Text to a short hex digest. */
  readonly hash: (text: string) => string;
  /** Refuse to be changed, whatever a session asks for. */
  readonly readOnly?: boolean | undefined;
};

const SCAN_OF_NOTHING: ScanSummary = {
  seq: 0,
  epoch: "missing",
  problems: [],
  entries: 0,
  hashedBytes: 0,
  degraded: undefined,
};

type Opened = {
  readonly request: OpenRequest;
  readonly root: Confined;
  readonly rootOptions: RootOptions;
  readonly identity: RootIdentity;
  readonly store: Store;
  readonly meta: Table;
  readonly epoch: string;
  readonly index: Tree<IndexRecord>;
  readonly log: ObservationLog;
  readonly journal: RunJournal;
  readonly scanner: Scanner;
  readonly scrub: Scrub;
  readonly source: DirSource;
  readonly apply: ApplyContext | undefined;
  readonly timestampNs: bigint;
};

export class DirEndpoint implements Endpoint {
  readonly label: string;
  readonly #options: DirEndpointOptions;
  #opened: Opened | undefined;
  /** The root does not exist and must not be created now: it counts as empty. */
  #isMissing = false;
  #watcher: RootWatcher | undefined;
  #applier: Applier | undefined;
  /** Paths to look at again, when nothing is watched. */
  #marked = new Map<RelPath, DirtyExtent>();
  #changed: RelPath[] = [];
  #ignored = new Set<RelPath>();
  readonly #renewed = new RenewedPaths();
  /** While an index that holds nothing is filled for a controller that asks from the start. */
  #listing: FirstListing | undefined;

  constructor(options: DirEndpointOptions) {
    this.#options = options;
    this.label = options.label;
  }

  get #now(): Opened {
    if (this.#opened === undefined) throw new Error("endpoint is not open");
    return this.#opened;
  }

  open(request: OpenRequest, _signal: AbortSignal): Promise<OpenReply> {
    return withDiskErrors("open the root", this.label, () => this.#open(request));
  }

  async #open(request: OpenRequest): Promise<OpenReply> {
    const { host, path, hash } = this.#options;
    if (request.writable && this.#options.readOnly === true) throw readOnlyRoot(this.label);
    const rootOptions: RootOptions = { ...request, path };
    if (request.createRoot && !request.writable) {
      const parent = parentOfMissingRoot(host.fs, path);
      if (parent !== undefined) return this.#openMissing(request, parent);
    }
    const rootFd = openRootDir(host.fs, rootOptions);
    const root = new Confined(host.fs, rootFd);
    let store: Store | undefined;
    try {
      const identity = await identifyRoot(host.fs, rootFd, host.random, rootOptions);
      store = this.#options.openStore(this.#storeName(identity, request));
      const abilities = host.fs.abilities(rootFd, false);
      this.#opened = this.#assemble(request, root, rootOptions, identity, store, abilities);
      const { apply } = this.#opened;
      if (apply !== undefined) {
        await this.#makeAreaDurable(apply, this.#opened.meta);
        await recover(apply);
        pruneRuns(apply);
      }
      return {
        rootId: identity.rootId,
        epoch: this.#opened.epoch,
        lastSeq: this.#opened.log.last(),
        keptAfter: this.#opened.log.keptAfter(),
        hostName: host.hostName,
        platform: host.fs.platform,
        canWatch: host.watch !== undefined,
        caseSensitive: abilities.caseSensitive,
        timestampNs: abilities.timestampNs,
        filterHash: hash(filterText(request.ignore, request.include, request.preserve)),
        device: `${identity.stat.dev}:${identity.stat.ino}`,
        absolutePath: path,
      };
    } catch (error) {
      if (this.#opened?.apply !== undefined) closeArea(host.fs, this.#opened.apply);
      this.#opened = undefined;
      root[Symbol.dispose]();
      store?.close();
      throw error;
    }
  }

  #openMissing(request: OpenRequest, parent: Fd): OpenReply {
    const { host, path, hash } = this.#options;
    try {
      const { caseSensitive, timestampNs } = host.fs.abilities(parent, false);
      this.#isMissing = true;
      return {
        rootId: "missing",
        epoch: "missing",
        lastSeq: 0,
        keptAfter: 0,
        hostName: host.hostName,
        platform: host.fs.platform,
        canWatch: false,
        caseSensitive,
        timestampNs,
        filterHash: hash(filterText(request.ignore, request.include, request.preserve)),
        device: "missing",
        absolutePath: path,
      };
    } finally {
      host.fs.close(parent);
    }
  }

  /** Once for each trash. */
  async #makeAreaDurable({ host, root, trash, durable, store }: ApplyContext, meta: Table): Promise<void> {
    const made = Buffer.from(String(host.fs.fstat(trash).ino));
    if (durable === "none" || Buffer.from(meta.get("trash") ?? "").equals(made)) return;
    await makeAreaDurable(host.fs, root.root);
    store.transaction({ durable: false }, () => meta.set("trash", made));
  }

  #assemble(
    request: OpenRequest,
    root: Confined,
    rootOptions: RootOptions,
    identity: RootIdentity,
    store: Store,
    abilities: { timestampNs: bigint; caseSensitive: boolean },
  ): Opened {
    const { host } = this.#options;
    const meta = store.table("meta");
    const index = store.tree("index", indexCodec);
    const log = new ObservationLog(store.log("observed"), index);
    const journal = new RunJournal(store, () => host.clock.nowMs());
    const assertRoot = (): void => checkRoot(host.fs, identity, rootOptions);
    const { seeds, preserve } = request;
    const durability = new SourceDurability(host, root, abilities.timestampNs, store, request.durable !== "none");
    const scanner = new Scanner({
      host,
      root,
      rootDev: identity.stat.dev,
      index,
      links: store.table("links"),
      rules: new IgnoreRules(request.ignore, request.include),
      preserve,
      seeds,
      ...abilities,
      assertRoot,
      sink: {
        changed: (path, state) => this.#noteChange(path, state),
        renewed: (path, changed) => {
          if (durability.isYoung(changed)) this.#renewed.add(path);
        },
      },
      hook: {
        entering: (path, fd, ino) => this.#watcher?.entering(path, fd, ino),
        listed: (path) => this.#listing?.whole(path),
        dropped: (path) => this.#watcher?.dropped(path),
      },
    });
    const scrub = scanner.scrub(store, meta);
    const source = new DirSource({ host, label: this.label, request, root, store, index, log, scanner, durability });
    const base = { request, root, rootOptions, identity, store, meta, index, log, journal, scanner, scrub, source };
    // Nothing may fail after the area is open: its descriptors belong to what is returned.
    const epoch = this.#epoch(base, request.seeds);
    const { timestampNs } = abilities;
    const apply = request.writable ? this.#applyContext({ ...base, timestampNs, assertRoot }) : undefined;
    return { ...base, apply, epoch, timestampNs };
  }

  #applyContext(now: Omit<Opened, "apply" | "epoch"> & { assertRoot: () => void }): ApplyContext {
    const { host } = this.#options;
    const { request, root, store, index, journal, log, scanner, timestampNs, assertRoot } = now;
    const { seeds, preserve, durable, verifyReadBack } = request;
    let stageNames = 0;
    let trashNames = 0;
    return {
      host,
      root,
      ...openArea(host.fs, root.root, request.sessionId),
      store,
      index,
      journal,
      seeds,
      preserve,
      durable,
      verifyReadBack,
      names: new NameSync(host.fs, root.root),
      received: new Map(),
      nextTrashName: () => (trashNames++).toString(36),
      nextStageName: () => `s${(stageNames++).toString(36)}`,
      assertRoot,
      ignores: (path, isDir) => scanner.ignores(path, isDir),
      hasRules: (dir) => scanner.hasRules(dir),
      markDirty: (path) => this.#mark(path),
      awaitLeaving: (path) => this.#watcher?.awaitLeaving(path),
      replaced: (path) => scanner.forgetDamage(path),
      damaged: (path, damage) => scanner.noteDamage(path, damage),
      timestampNs,
      links: scanner.links,
      logPaths: (paths) => log.append(paths),
      lastSeq: () => log.last(),
    };
  }

  /**
   * Made anew when the index is. Other seeds than before mean a controller that lost its memory: every sum in the index
   * would look like damage to it, and it must hear of everything.
   */
  #epoch({ store, meta, index }: Pick<Opened, "store" | "meta" | "index">, seeds: SumSeeds): string {
    const seedsId = this.#options.hash(`seeds ${seeds.a} ${seeds.b}`);
    const known = meta.get("epoch");
    const knownSeeds = meta.get("seeds");
    if (known !== undefined && knownSeeds !== undefined && Buffer.from(knownSeeds).toString() === seedsId) {
      return Buffer.from(known).toString();
    }
    const epoch = Buffer.from(this.#options.host.random.bytes(8)).toString("hex");
    store.transaction({ durable: true }, () => {
      index.deleteSubtree("");
      const links = store.table("links");
      for (const [key] of [...links.entries()]) links.delete(key);
      const log = store.log("observed");
      if (log.last() > 0) log.trim(log.last());
      meta.set("epoch", Buffer.from(epoch));
      meta.set("seeds", Buffer.from(seedsId));
    });
    return epoch;
  }

  #noteChange(path: RelPath, state: IndexRecord | "ignored" | undefined): void {
    if (this.#listing !== undefined) {
      if (state !== undefined && state !== "ignored") this.#listing.add(path, state.entry);
      return;
    }
    this.#changed.push(path);
    if (state === "ignored") this.#ignored.add(path);
    else this.#ignored.delete(path);
  }

  #mark(path: RelPath): void {
    if (this.#watcher !== undefined) this.#watcher.mark(path);
    else this.#marked.set(path, "subtree");
  }

  // ---------------------------------------------------------------- scan and watch

  scan(
    request: ScanRequest,
    onBatch: OnObserved,
    signal: AbortSignal,
  ): Promise<ScanSummary> {
    if (this.#isMissing) return Promise.resolve(SCAN_OF_NOTHING);
    return withDiskErrors("scan", this.label, () => this.#scan(request, onBatch, signal));
  }

  async #scan(
    request: ScanRequest,
    onBatch: OnObserved,
    signal: AbortSignal,
  ): Promise<ScanSummary> {
    const { scanner, index, log, store, epoch, apply } = this.#now;
    const { preserve } = this.#now.request;
    const { clock } = this.#options.host;
    if (!log.reaches(request.since)) throw lostLog(this.label);
    // What is told counts as agreed where it is what was sent: a power loss that took it back would look like an edit.
    if (apply?.names.isDoubtful === true) await apply.names.everything();
    const dirty = this.#takeDirty();
    const full = request.extent === "full";
    if (full) this.#watcher?.beginPass();
    let logged = false;
    this.#listing = request.since === 0 && index.count() === 0 ? new FirstListing() : undefined;
    // Whoever remembers what this scan tells must know the log again from one that was put back to before it.
    const begin = (): void => {
      if (log.last() === 0) log.append([""]);
    };
    if (this.#listing !== undefined) store.transaction({ durable: true }, begin);
    const step = (work: () => boolean): boolean =>
      store.transaction({ durable: false }, () => {
        const more = work();
        // A controller that asks from the start gets the whole index: what this scan finds need not be logged.
        if (request.since !== 0 && this.#changed.length > 0) {
          log.append(this.#changed, this.#ignored);
          logged = true;
        }
        this.#changed = [];
        this.#ignored.clear();
        return more;
      });
    const turn = async (): Promise<void> => {
      // Which of several names leads the others is settled at the end.
      if (!preserve.hardlinks) for (const batch of this.#listing?.ready() ?? []) await onBatch(batch, []);
      await clock.sleep(0, signal);
    };
    const work = full ? ({ extent: "full", deep: request.deep } as const) : ({ extent: "dirty", dirty } as const);
    try {
      const outcome = await runScan(scanner, work, step, turn, signal);
      if (full) this.#watcher?.endPass();
      await this.#settleRenewed(signal);
      if (full && apply !== undefined) forgetPartials(apply);
      // The controller will remember this sequence durably; so must we, also what was told without being logged.
      if (logged || request.since === 0) {
        store.transaction({ durable: true }, begin);
      }
      const { problems, entries, hashedBytes } = outcome;
      const told = this.#listing?.rest(index.count()) ?? log.since(request.since);
      const last = this.#listing?.last ?? "";
      this.#listing = undefined;
      for (const batch of told) {
        const more = batch.filter(({ path }) => path !== "" && (last === "" || comparePaths(path, last) > 0));
        await onBatch(more, problems);
      }
      log.trim(request.acknowledged);
      return { seq: log.last(), epoch, problems, entries, hashedBytes, degraded: this.#watcher?.degraded };
    } catch (error) {
      this.#listing = undefined;
      this.#changed = [];
      this.#ignored.clear();
      this.#restoreDirty(dirty);
      throw error;
    }
  }

  async #settleRenewed(signal: AbortSignal): Promise<void> {
    const { log, source, store } = this.#now;
    const refused = await this.#renewed.settle((paths) => source.vouch(paths, signal), (paths) => this.#findAgain(paths));
    if (refused.length > 0) store.transaction({ durable: true }, () => log.append(refused));
  }

  /** The next scan, be it of another process, takes them for made anew once more. */
  #findAgain(paths: readonly RelPath[]): void {
    const { index, store } = this.#now;
    store.transaction({ durable: true }, () => {
      for (const path of paths) {
        const record = index.get(path);
        if (record !== undefined) index.set(path, { ...record, ctimeNs: 0n });
        this.#mark(path);
      }
    });
  }

  #takeDirty(): DirtyPaths {
    const marked = this.#marked;
    this.#marked = new Map();
    if (this.#watcher === undefined) return { paths: marked, all: false };
    const dirty = this.#watcher.take();
    return { paths: new Map([...marked, ...dirty.paths]), all: dirty.all };
  }

  #restoreDirty(dirty: DirtyPaths): void {
    if (this.#watcher !== undefined) this.#watcher.restore(dirty);
    else for (const [path, extent] of dirty.paths) this.#marked.set(path, extent);
  }

  async watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    const { scanner } = this.#now;
    const source = this.#options.host.watch;
    if (source === undefined) return aborted(signal);
    const ignores = (path: RelPath, isDir: boolean): boolean => scanner.ignores(path, isDir);
    this.#watcher = new RootWatcher({ source, ignores, onDirty });
    try {
      await aborted(signal);
    } finally {
      this.#watcher?.close();
      this.#watcher = undefined;
    }
  }

  // ---------------------------------------------------------------- content

  async sums(paths: readonly RelPath[], signal: AbortSignal): Promise<(Sum | Problem)[]> {
    if (this.#isMissing) return paths.map((path) => problem(path, "ENOENT", "the root does not exist", false));
    return this.#now.source.sums(paths, signal);
  }

  async vouch(paths: readonly RelPath[], signal: AbortSignal): Promise<Problem[]> {
    if (this.#isMissing) return [];
    return this.#renewed.vouch(paths, (others) => this.#now.source.vouch(others, signal));
  }

  scrub(request: ScrubRequest, _signal: AbortSignal): Promise<ScrubReply> {
    if (this.#isMissing) return Promise.resolve({ bytes: 0, busyMs: 0, found: false, waitMs: request.everyMs });
    return withDiskErrors("scrub", this.label, () => this.#now.scrub.step(request));
  }

  read(paths: readonly RelPath[], signal: AbortSignal): AsyncIterable<ReadItem[]> {
    return this.#now.source.read(paths, signal);
  }

  supply(channel: Channel, signal: AbortSignal): Promise<void> {
    return this.#now.source.supply(channel, signal);
  }

  async receive(
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { request } = this.#now;
    const apply = this.#writable();
    const { seeds, preserve } = request;
    const stage = new PartialFiles(apply);
    const { host } = this.#options;
    const base = (path: RelPath): BaseFile | undefined => this.#baseFile(path);
    const limit = (): undefined => undefined;
    const durable = request.durable !== "none";
    const context = { host, seeds, stage, base, limit, sparse: preserve.sparse, durable };
    const wanted = await refuseFiles(items, (path) => whyNoFile(apply, path), onResult);
    await withDiskErrors("receive", this.label, () => receiveFiles(context, channel, wanted, onResult, signal));
  }

  get early(): EarlyStage | undefined {
    const { apply } = this.#now;
    return apply === undefined ? undefined : new EarlyStage(this.label, apply);
  }

  /** Our own file at a path, to build a new one from; whatever is there now, since all of it is verified. */
  #baseFile(path: RelPath): BaseFile | undefined {
    const { root, index } = this.#now;
    if (index.get(path)?.entry.kind !== "file") return undefined;
    let fd: Fd | undefined;
    try {
      fd = root.openRead(path);
      return { fd, size: root.fs.fstat(fd).size };
    } catch (error) {
      if (fd !== undefined) root.fs.close(fd);
      if (isCode(error, "ENOENT", "ENOTDIR", "ELOOP", "EINVAL", "EACCES")) return undefined;
      throw error;
    }
  }

  // ---------------------------------------------------------------- changes

  #writable(): ApplyContext {
    const { apply } = this.#now;
    if (apply === undefined) throw readOnlyRoot(this.label);
    return apply;
  }

  apply(runId: string, signal: AbortSignal): Application {
    // A session has one application at a time; an earlier one that was never committed lets go of its files.
    this.#applier?.close();
    const applier = new Applier(this.#writable(), runId, signal);
    this.#applier = applier;
    return {
      push: (ops) => withDiskErrors("stage", this.label, () => applier.push(ops)),
      commit: (onResults) => withDiskErrors("apply", this.label, () => applier.commit(onResults)),
    };
  }

  async runs(): Promise<RunRecord[]> {
    return this.#now.journal.runs();
  }

  async runChanges(runId: string): Promise<RunChange[]> {
    return this.#now.journal.items(runId).map(({ path, action, from }) => ({ path, action, from: from || undefined }));
  }

  async undo(runId: string, _signal: AbortSignal): Promise<{ restored: number; problems: Problem[] }> {
    return withDiskErrors("undo", this.label, () => undoRun(this.#writable(), runId, `undo-${runId}`));
  }

  wireBytes(): { sent: number; received: number } {
    return { sent: 0, received: 0 };
  }

  async close(): Promise<void> {
    const now = this.#opened;
    if (now === undefined) return;
    this.#opened = undefined;
    this.#watcher?.close();
    this.#watcher = undefined;
    // Nothing may still be made in a stage that others may open, or remove, from now on.
    await this.#applier?.settled();
    this.#applier?.close();
    this.#applier = undefined;
    try {
      if (now.request.ephemeral === true) await this.#dropStage(now);
      else now.scrub.save();
    } finally {
      if (now.apply !== undefined) closeArea(this.#options.host.fs, now.apply);
      now.root[Symbol.dispose]();
      now.store.close();
      if (now.request.ephemeral === true) this.#options.removeStore?.(this.#storeName(now.identity, now.request));
    }
  }

  #storeName(identity: RootIdentity, request: OpenRequest): string {
    return `${identity.rootId}/${request.sessionId}`;
  }

  /** What broke off in the middle may have left the only copy of something in the stage; that goes to the trash. */
  async #dropStage({ apply, request }: Opened): Promise<void> {
    if (apply === undefined) return;
    await recover(apply);
    removeStage(this.#options.host.fs, apply.root.root, request.sessionId);
  }
}

function readOnlyRoot(label: string): SynclineError {
  return new SynclineError({
    code: "ROOT_READ_ONLY",
    op: "open root",
    message: `${label} is read-only`,
    hint: "use a one-way mode with the read-only side as alpha, or serve the root without ,ro",
  });
}

function lostLog(label: string): SynclineError {
  const message = `${label} no longer knows what changed since the last session`;
  return new SynclineError({ code: "STATE", op: "scan", message, hint: "run the same command again: it compares everything" });
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
}
