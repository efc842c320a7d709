/**
 * A place on a foreign system as a side of a pair. What is known of it is remembered here, on the host where the command
 * runs; on the system itself lie a marker and what runs have displaced. It can do less than a directory: what it cannot
 * carry is left out of the session (carries) and said (notes), so that it makes no differences without end.
 */
import type { Preserve, Sum } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, isWithin } from "#model/path.ts";
import type { Host } from "#platform/host.ts";
import { RunJournal } from "#sync/apply/run-journal.ts";
import { sumOf } from "#sync/chunk/sum.ts";
import { Batch } from "#sync/endpoint/batch.ts";
import { withDiskErrors } from "#sync/endpoint/disk-error.ts";
import {
  type Application,
  type Endpoint,
  INLINE_BYTES_MAX,
  type OnObserved,
  type OpenReply,
  type OpenRequest,
  type ReadItem,
  type RunChange,
  type RunRecord,
  type ScanRequest,
  type ScanSummary,
  type TransferItem,
  type TransferResult,
} from "#sync/endpoint/endpoint.ts";
import { ObservationLog } from "#sync/endpoint/observation-log.ts";
import { ignoredHere } from "#sync/apply/held-places.ts";
import { isHidden } from "#sync/endpoint/is-hidden.ts";
import { refuseFiles } from "#sync/endpoint/refuse-files.ts";
import { ForeignApplication } from "#sync/foreign/foreign-application.ts";
import { type ForeignContext, eachParallel, foreignProblem, problemFrom } from "#sync/foreign/foreign-context.ts";
import { hashForeign, learnSum, readForeign } from "#sync/foreign/foreign-content.ts";
import type { Abilities, ForeignFiles } from "#sync/foreign/foreign-files.ts";
import { foreignNotes, narrowed } from "#sync/foreign/foreign-notes.ts";
import { ForeignPlaces } from "#sync/foreign/foreign-places.ts";
import { foreignCodec, isFile } from "#sync/foreign/foreign-record.ts";
import { type ForeignRoot, checkForeignRoot, foldsNames, identifyForeignRoot } from "#sync/foreign/foreign-root.ts";
import { ForeignScan, type ForeignScanOutcome } from "#sync/foreign/foreign-scan.ts";
import { ForeignSpool } from "#sync/foreign/foreign-spool.ts";
import { ForeignStage } from "#sync/foreign/foreign-stage.ts";
import { pruneForeignRuns, recoverForeign, undoForeign } from "#sync/foreign/foreign-undo.ts";
import type { Store, Table } from "#sync/index/store.ts";
import { IgnoreRules, filterText } from "#sync/scan/ignore.ts";
import type { ScrubReply, ScrubRequest } from "#sync/scan/scrub.ts";
import { receiveFiles } from "#sync/transfer/receive.ts";
import type { Channel } from "#sync/wire/channel.ts";

/** While watching, the tree is listed again after this long; twice as long each time that nothing had changed. */
const POLL_FIRST_MS = 10_000;
const POLL_LONGEST_MS = 300_000;
/** Files that read() holds ready at once. */
const READ_AHEAD_MAX = 16;

export type ForeignEndpointOptions = {
  readonly host: Host;
  /** Not connected yet. */
  readonly files: ForeignFiles;
  /** Names our partials, see partialName(). */
  readonly owner: string;
  /** What tells the place from all others: "ftp://host:21", "/srv/www". */
  readonly place: { readonly server: string; readonly path: string };
  readonly readOnly?: boolean | undefined;
  /** Opens the state of this root under a name like "<rootId>/<sessionId>"; the endpoint closes it. */
  readonly openStore: (name: string) => Store;
  /** Removes the closed state of that name; for sessions that remember nothing. */
  readonly removeStore: (name: string) => void;
  /** Absolute path of our own folder for stages, which exists. */
  readonly stageFolder: string;
  /** Text to a short hex digest. */
  readonly hash: (text: string) => string;
};

type Opened = {
  readonly request: OpenRequest;
  readonly context: ForeignContext;
  readonly stage: ForeignStage;
  readonly spool: ForeignSpool;
  readonly rules: IgnoreRules;
  readonly rootId: string;
  readonly bareId: string;
  readonly epoch: string;
};

const SCAN_OF_NOTHING: ScanSummary = {
  seq: 0,
  epoch: "missing",
  problems: [],
  entries: 0,
  hashedBytes: 0,
  degraded: undefined,
};

export class ForeignEndpoint implements Endpoint {
  readonly label: string;
  readonly #options: ForeignEndpointOptions;
  #abilities: Abilities | undefined;
  #opened: Opened | undefined;
  #isMissing = false;
  #isDue = false;
  #marked = new Set<RelPath>();
  /** What is unknown since the last full scan, or one that looked there. */
  #unknown: readonly Problem[] = [];
  #pollMs = POLL_FIRST_MS;
  #application: ForeignApplication | undefined;
  readonly #traffic = { sent: 0, received: 0 };

  constructor(options: ForeignEndpointOptions) {
    this.#options = options;
    this.label = options.files.label;
  }

  get #now(): Opened {
    if (this.#opened === undefined) throw new Error("endpoint is not open");
    return this.#opened;
  }

  async #connect(signal: AbortSignal): Promise<Abilities> {
    return (this.#abilities ??= await this.#options.files.connect(signal));
  }

  async carries(preserve: Preserve, writable: boolean, signal: AbortSignal): Promise<Preserve> {
    return narrowed(preserve, await this.#connect(signal), writable);
  }

  async open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply> {
    const { files, host, place, hash, readOnly } = this.#options;
    if (request.writable && readOnly === true) throw readOnlyRoot(this.label);
    let abilities = await this.#connect(signal);
    const bareId = hash(`${place.server} ${place.path}`);
    const newId = Buffer.from(host.random.bytes(16)).toString("hex");
    const root = await identifyForeignRoot(files, request, bareId, newId, signal);
    if (root === "missing") {
      this.#isMissing = true;
      return this.#reply(request, abilities, { rootId: "missing", caseSensitive: true }, { epoch: "missing", lastSeq: 0, keptAfter: 0 });
    }
    if (request.writable) abilities = (await files.tryWriting?.(root.area, signal)) ?? abilities;
    const caseSensitive = !(await foldsNames(files, root, signal));
    const store = this.#options.openStore(this.#storeName(root.rootId, request));
    let stage: ForeignStage | undefined;
    try {
      stage = new ForeignStage(host, this.#options.stageFolder, request.sessionId, request.seeds);
      const opened = this.#assemble(request, abilities, store, stage, root, bareId);
      if (request.writable) {
        await recoverForeign(opened.context, request.sessionId, signal);
        await pruneForeignRuns(opened.context, request.sessionId, signal);
      }
      this.#opened = opened;
      const { log } = opened.context;
      return this.#reply(request, abilities, { rootId: root.rootId, caseSensitive }, {
        epoch: opened.epoch,
        lastSeq: log.last(),
        keptAfter: log.keptAfter(),
      });
    } catch (error) {
      stage?.[Symbol.dispose]();
      store.close();
      throw error;
    }
  }

  #reply(
    request: OpenRequest,
    abilities: Abilities,
    root: Pick<OpenReply, "rootId" | "caseSensitive">,
    log: Pick<OpenReply, "epoch" | "lastSeq" | "keptAfter">,
  ): OpenReply {
    const { place, hash } = this.#options;
    return {
      ...root,
      ...log,
      hostName: place.server,
      platform: abilities.system,
      canWatch: true,
      timestampNs: abilities.timeResolutionNs === 0n ? 1n : abilities.timeResolutionNs,
      filterHash: hash(filterText(request.ignore, request.include, request.preserve)),
      device: `${place.server}${place.path}`,
      absolutePath: place.path,
      notes: foreignNotes(abilities, request.writable),
    };
  }

  #assemble(
    request: OpenRequest,
    abilities: Abilities,
    store: Store,
    stage: ForeignStage,
    root: ForeignRoot,
    bareId: string,
  ): Opened {
    const { host, files, owner } = this.#options;
    const index = store.tree("index", foreignCodec);
    const log = new ObservationLog(store.log("observed"), index);
    const { seeds, preserve } = request;
    const context: ForeignContext = {
      host,
      files,
      abilities,
      store,
      index,
      log,
      journal: new RunJournal(store, () => host.clock.nowMs()),
      seeds,
      preserve,
      owner,
      area: root.area,
      traffic: this.#traffic,
      assertRoot: (signal) => checkForeignRoot(files, root, bareId, signal),
      mark: (path) => this.#marked.add(path),
    };
    const epoch = this.#epoch(context, store.table("meta"));
    const spool = new ForeignSpool(context, stage.dir);
    const rules = new IgnoreRules(request.ignore, request.include);
    return { request, context, stage, spool, rules, rootId: root.rootId, bareId, epoch };
  }

  /** Made anew with the index; other seeds mean a controller that lost its memory, and every sum is worth nothing. */
  #epoch({ store, index, seeds }: ForeignContext, meta: Table): string {
    const seedsId = this.#options.hash(`seeds ${seeds.a} ${seeds.b}`);
    const known = meta.get("epoch");
    if (known !== undefined && Buffer.from(meta.get("seeds") ?? "").toString() === seedsId) return Buffer.from(known).toString();
    const epoch = Buffer.from(this.#options.host.random.bytes(8)).toString("hex");
    store.transaction({ durable: true }, () => {
      index.deleteSubtree("");
      const log = store.log("observed");
      if (log.last() > 0) log.trim(log.last());
      meta.set("epoch", Buffer.from(epoch));
      meta.set("seeds", Buffer.from(seedsId));
    });
    return epoch;
  }

  // ---------------------------------------------------------------- scan and watch

  async scan(request: ScanRequest, onBatch: OnObserved, signal: AbortSignal): Promise<ScanSummary> {
    if (this.#isMissing) return SCAN_OF_NOTHING;
    const { context, epoch, rules, rootId, bareId } = this.#now;
    const { log, store, index } = context;
    if (!log.reaches(request.since)) throw lostLog(this.label);
    const marked = [...this.#marked];
    this.#marked.clear();
    const wasDue = this.#isDue;
    this.#isDue = false;
    const before = log.last();
    // What may have passed by itself is looked at again, and what is unknown around a path that is.
    const isOpen = (one: Problem): boolean => one.transient || marked.some((path) => isWithin(path, one.path));
    const looked = [...new Set([...marked, ...this.#unknown.filter(isOpen).map(({ path }) => path)])];
    const isFull = request.extent === "full" || wasDue || looked.includes("");
    const how = { logs: request.since !== 0, sweeps: this.#now.request.writable };
    const scan = new ForeignScan(context, rules, how, signal);
    try {
      const whole = (): Promise<ForeignScanOutcome> => scan.full(request.deep, marked, rootId !== bareId);
      const { problems: found, hashedBytes } = isFull ? await whole() : await scan.some(looked, marked);
      const problems = (this.#unknown = isFull ? found : withoutRepeated(this.#unknown, looked, found));
      if (log.last() > before) this.#pollMs = POLL_FIRST_MS;
      // The controller will remember this sequence durably; so must we, also what was told without being logged.
      store.transaction({ durable: true }, () => (log.last() === 0 ? log.append([""]) : undefined));
      for (const batch of log.since(request.since)) {
        signal.throwIfAborted();
        await onBatch(batch.filter(({ path }) => path !== ""), problems);
      }
      log.trim(request.acknowledged);
      return { seq: log.last(), epoch, problems, entries: index.count(), hashedBytes, degraded: undefined };
    } catch (error) {
      for (const path of marked) this.#marked.add(path);
      this.#isDue ||= wasDue;
      throw error;
    }
  }

  /** Nobody tells of changes: the tree is listed again and again, the less often the longer nothing happens. */
  async watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options.host;
    for (;;) {
      await clock.sleep(this.#pollMs, signal).catch(() => undefined);
      if (signal.aborted) return;
      this.#pollMs = Math.min(POLL_LONGEST_MS, this.#pollMs * 2);
      this.#isDue = true;
      onDirty();
    }
  }

  // ---------------------------------------------------------------- content

  /** A foreign system answers for what it tells of; there is nothing that it could be asked to. */
  async vouch(): Promise<Problem[]> {
    return [];
  }

  async sums(paths: readonly RelPath[], signal: AbortSignal): Promise<(Sum | Problem)[]> {
    if (this.#isMissing) return paths.map(changed);
    const { context, rules } = this.#now;
    const scan = new ForeignScan(context, rules, { logs: false, sweeps: false }, signal);
    const answers: (Sum | Problem)[] = [];
    await eachParallel(paths.keys(), context.abilities.parallel, async (at) => {
      const path = paths[at]!;
      const record = context.index.get(path);
      try {
        const ignores = (one: RelPath, isDir: boolean): Promise<boolean> => scan.ignores(one, isDir);
        if (record === undefined && (await isHidden(path, () => undefined, ignores))) answers[at] = ignoredHere(path);
        else if (!isFile(record)) answers[at] = changed(path);
        else answers[at] = record.entry.sum ?? (await hashForeign(context, path, record, signal));
      } catch (error) {
        answers[at] = problemFrom(path, error);
        context.mark(path);
      }
    });
    return answers;
  }

  /** Nothing here knows what a foreign disk has lost; its own keepers look after it. */
  async scrub({ everyMs }: ScrubRequest): Promise<ScrubReply> {
    return { bytes: 0, busyMs: 0, found: false, waitMs: everyMs };
  }

  async *read(paths: readonly RelPath[], signal: AbortSignal): AsyncGenerator<ReadItem[]> {
    const ahead = Math.min(READ_AHEAD_MAX, this.#now.context.abilities.parallel);
    const reading: Promise<ReadItem>[] = [];
    const batch = new Batch<ReadItem>();
    let next = 0;
    for (let at = 0; at < paths.length; at++) {
      while (next < paths.length && next < at + ahead) {
        const one = this.#readOne(paths[next++]!, signal);
        one.catch(() => undefined);
        reading.push(one);
      }
      const item = await reading.shift()!;
      const full = batch.add(item, "bytes" in item ? item.bytes.length : 0);
      if (full !== undefined) yield full;
    }
    const rest = batch.take();
    if (rest !== undefined) yield rest;
  }

  async #readOne(path: RelPath, signal: AbortSignal): Promise<ReadItem> {
    const { context } = this.#now;
    const record = context.index.get(path);
    if (!isFile(record) || record.entry.size > INLINE_BYTES_MAX) {
      context.mark(path);
      return { path, problem: changed(path) };
    }
    try {
      const readMs = context.host.clock.nowMs();
      const bytes = new Uint8Array(record.entry.size);
      let at = 0;
      for await (const part of readForeign(context, path, record, signal)) {
        bytes.set(part, at);
        at += part.length;
      }
      const sum = sumOf(bytes, context.seeds);
      learnSum(context, path, record, sum, readMs);
      return { path, entry: { ...record.entry, sum }, bytes };
    } catch (error) {
      context.mark(path);
      return { path, problem: problemFrom(path, error) };
    }
  }

  supply(channel: Channel, signal: AbortSignal): Promise<void> {
    const { spool, request } = this.#now;
    return spool.supply(channel, request.compress, signal);
  }

  async receive(
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { context, stage, request, rules } = this.#now;
    const { host, seeds } = context;
    const none = (): undefined => undefined;
    // What is staged is read once and removed: holes are not worth it, and no disk needs to have it.
    const how = { host, seeds, stage: stage.area, base: none, limit: none, sparse: false, durable: false };
    if (!request.writable) throw readOnlyRoot(this.label);
    const scan = new ForeignScan(context, rules, { logs: false, sweeps: false }, signal);
    const places = new ForeignPlaces(context, scan, signal);
    const wanted = await refuseFiles(items, (path) => places.whyNoFile(path), onResult);
    await this.#staging(() => receiveFiles(how, channel, wanted, onResult, signal));
  }

  // ---------------------------------------------------------------- changes

  apply(runId: string, signal: AbortSignal): Application {
    const { context, stage, request, rules } = this.#now;
    if (!request.writable) throw readOnlyRoot(this.label);
    const scan = new ForeignScan(context, rules, { logs: false, sweeps: false }, signal);
    const { sessionId, verifyReadBack } = request;
    const application = new ForeignApplication({ context, stage, runId, sessionId, verifyReadBack, rules: scan, signal });
    this.#application = application;
    return {
      push: (ops) => this.#staging(() => application.push(ops)),
      commit: (onResults) => this.#staging(() => application.commit(onResults)),
    };
  }

  /** What the local disk refuses is no error of the system there. */
  #staging<T>(work: () => Promise<T>): Promise<T> {
    return withDiskErrors("keep what is on its way", this.#options.stageFolder, work);
  }

  async runs(): Promise<RunRecord[]> {
    return this.#now.context.journal.runs();
  }

  async runChanges(runId: string): Promise<RunChange[]> {
    const items = this.#now.context.journal.items(runId);
    return items.map(({ path, action, from }) => ({ path, action, from: from || undefined }));
  }

  async undo(runId: string, signal: AbortSignal): Promise<{ restored: number; problems: Problem[] }> {
    const { context, request } = this.#now;
    if (!request.writable) throw readOnlyRoot(this.label);
    await context.assertRoot(signal);
    return undoForeign(context, request.sessionId, runId, signal);
  }

  wireBytes(): { sent: number; received: number } {
    return { ...this.#traffic };
  }

  async close(): Promise<void> {
    const now = this.#opened;
    this.#opened = undefined;
    await this.#application?.close();
    await this.#options.files.close();
    if (now === undefined) return;
    const { context, stage, request, rootId } = now;
    if (request.ephemeral === true) stage.remove();
    stage[Symbol.dispose]();
    context.store.close();
    if (request.ephemeral === true) this.#options.removeStore(this.#storeName(rootId, request));
  }

  #storeName(rootId: string, request: OpenRequest): string {
    return `${rootId}/${request.sessionId}`;
  }
}

/** What is unknown after a look at some paths: what was found there, and what was unknown elsewhere. */
function withoutRepeated(before: readonly Problem[], looked: readonly RelPath[], found: readonly Problem[]): Problem[] {
  const elsewhere = before.filter(({ path }) => !looked.some((one) => isWithin(path, one)));
  return [...new Map([...elsewhere, ...found].map((one) => [one.path, one])).values()];
}

function changed(path: RelPath): Problem {
  return foreignProblem(path, "CHANGED", "it is not there any more as it was seen", true);
}

function readOnlyRoot(label: string): SynclineError {
  const hint = "use a one-way mode with this side as alpha";
  return new SynclineError({ code: "ROOT_READ_ONLY", op: "open root", message: `${label} is read-only`, hint });
}

function lostLog(label: string): SynclineError {
  const message = `${label} no longer knows what changed since the last session`;
  return new SynclineError({ code: "STATE", op: "scan", message, hint: "run the same command again: it compares everything" });
}
