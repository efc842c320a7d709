/**
 * A space, or the part of one below a prefix, as a side of a session: what an agent's directory is kept the same with.
 * The journal is the observation log, a commit is the transition, and history is what displaced entries go to. Nothing
 * is remembered here between sessions but partial files of cut-off transfers.
 */
import { type TraceContext, newTraceId, traceContextOf } from "#platform/trace-id.ts";
import type { Principal } from "#access/access.ts";
import { ArrivingFiles } from "#hub/endpoint/arriving-files.ts";
import type { ComingFile, ComingFiles } from "#hub/endpoint/coming-files.ts";
import { ComingView } from "#hub/endpoint/coming-view.ts";
import { ContentFiles, plainStat, statOf } from "#hub/endpoint/content-files.ts";
import { LeftWork } from "#hub/endpoint/left-work.ts";
import { LinkView } from "#hub/endpoint/link-view.ts";
import { SpaceApplication } from "#hub/endpoint/space-application.ts";
import { SpacePlaces } from "#hub/endpoint/space-places.ts";
import { SpaceRules } from "#hub/endpoint/space-rules.ts";
import type { ViewDigests } from "#hub/endpoint/view-digest.ts";
import { observeAll, observeSince } from "#hub/endpoint/space-scan.ts";
import { SpaceStage } from "#hub/endpoint/space-stage.ts";
import { seedsOf } from "#hub/hub-spaces.ts";
import type { ContentReader, Intake, SpaceService } from "#hub/space-service.ts";
import type { Space, SpaceId, Version } from "#hub/space.ts";
import { DIR_MODE, type FileEntry, type Sum } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import { type RelPath, isWithin } from "#model/path.ts";
import { type Fd, FsError, type Stat } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import { ignoredHere } from "#sync/apply/held-places.ts";
import { Batch } from "#sync/endpoint/batch.ts";
import { refuseFiles } from "#sync/endpoint/refuse-files.ts";
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
  TRACES_TOLD_MAX,
  type Traces,
  type TransferItem,
  type TransferResult,
} from "#sync/endpoint/endpoint.ts";
import { isHidden } from "#sync/endpoint/is-hidden.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";
import { IgnoreRules, filterText } from "#sync/scan/ignore.ts";
import type { ScrubReply, ScrubRequest } from "#sync/scan/scrub.ts";
import type { BaseFile } from "#sync/transfer/base.ts";
import { receiveFiles } from "#sync/transfer/receive.ts";
import { supplyFiles } from "#sync/transfer/supply.ts";
import type { Channel } from "#sync/wire/channel.ts";

export type SpaceEndpointOptions = {
  readonly spaces: SpaceService;
  readonly who: Principal;
  readonly space: string;
  /** Which it was when somebody asked for this; undefined: whichever has the name. */
  readonly spaceId?: SpaceId | undefined;
  /** "" or a directory of the space. */
  readonly prefix: RelPath;
  readonly readOnly: boolean;
  readonly label: string;
  readonly hubId: string;
  readonly host: Host;
  /** Absolute path of the folder where links stage large files. */
  readonly stageFolder: string;
  /** Text to a short hex digest. */
  readonly hash: (text: string) => string;
  /** Of what links see; undefined where nobody compares. */
  readonly digests?: ViewDigests | undefined;
  /** Of the hub, for all of its links. */
  readonly coming: ComingFiles;
  /** Undefined: nobody traces. */
  readonly traces?: SpaceTraces | undefined;
};

/** What the hub's tracing has to do with a session. */
export interface SpaceTraces {
  /** What `work` commits belongs to the trace, below that span. */
  within<T>(trace: TraceContext, work: () => Promise<T>): Promise<T>;
  /** Of commits of the space after `after` up to `until` that others than `actor` made: their spans, the latest last. */
  since(space: string, actor: string, after: number, until: number, limit: number): string[];
}

/**
 * Entries below a prefix are counted so often at most, and exactly up to so many: the brake of a side does not hang on
 * the last one, and counting would cost more than most changes. A whole space knows its number.
 */
const COUNT_EVERY_MS = 10_000;
const COUNTED_MAX = 10_000;

/** Opens what a file may be built from; the transfer closes it. */
type OpenBase = () => BaseFile;

type Opened = {
  readonly request: OpenRequest;
  readonly view: LinkView;
  readonly rules: SpaceRules;
  readonly places: SpacePlaces;
  readonly stage: SpaceStage;
  readonly files: ContentFiles;
  readonly arriving: ArrivingFiles;
  readonly coming: ComingView;
  readonly lineage: string;
};

export class SpaceEndpoint implements Endpoint {
  readonly label: string;
  readonly #options: SpaceEndpointOptions;
  #opened: Opened | undefined;
  #application: SpaceApplication | undefined;
  /** The applications before it let go of what they had. */
  readonly #left = new LeftWork();
  readonly #seen = { sequence: 0 };
  /** Entries below the prefix as last counted, and when. */
  #entries = 0;
  #countedMs = Number.NEGATIVE_INFINITY;
  /** What the session commits belongs to. */
  #parent: TraceContext | undefined;

  constructor(options: SpaceEndpointOptions) {
    this.#options = options;
    this.label = options.label;
  }

  get #now(): Opened {
    if (this.#opened === undefined) throw new Error("endpoint is not open");
    return this.#opened;
  }

  async open(request: OpenRequest, _signal: AbortSignal): Promise<OpenReply> {
    const { spaces, who, hubId, host, hash, stageFolder, prefix, coming } = this.#options;
    if (request.writable && this.#options.readOnly) throw readOnlyLink(this.label);
    const space = await spaces.space(who, this.#options.space);
    if (this.#options.spaceId !== undefined) spaces.requireIs(space.name, this.#options.spaceId);
    if (request.writable && space.follows !== undefined) throw copyLink(this.label, space.name, space.follows.url);
    const seeds = seedsOf(space);
    if (request.seeds.a !== seeds.a || request.seeds.b !== seeds.b) throw wrongSeeds(this.label);
    const view = new LinkView(spaces, who, space, prefix);
    await this.#requirePrefix(view, request);
    const rules = new SpaceRules(view, new IgnoreRules(request.ignore, request.include));
    const stage = new SpaceStage(host, stageFolder, request.sessionId, seeds);
    const files = new ContentFiles(host.fs);
    const intake = (): Intake => view.spaces.intake(who, view.space);
    const announce = (path: RelPath, size: number, stored: () => readonly ManifestChunk[]): ComingFile | undefined =>
      coming.begin({ space: space.id, path: view.outer(path), size, by: this, stored, intake });
    const arriving = new ArrivingFiles(files.fs, stage, intake, announce);
    const { compress } = request;
    const comingView = new ComingView({ coming, space: space.id, view, rules, host, seeds, compress, self: this });
    const places = new SpacePlaces(view, rules);
    this.#opened = { request, view, rules, places, stage, files, arriving, coming: comingView, lineage: space.lineage };
    return this.#reply(space, hash(filterText(request.ignore, request.include, request.preserve)), hubId);
  }

  #reply(space: Space, filterHash: string, hubId: string): OpenReply {
    const { prefix, hash } = this.#options;
    return {
      rootId: hash(`${space.lineage}\0${prefix}`),
      epoch: space.lineage,
      lastSeq: space.sequence,
      keptAfter: 0,
      hostName: `hub ${hubId}`,
      platform: "space",
      canWatch: true,
      caseSensitive: true,
      timestampNs: 1n,
      filterHash,
      device: `${space.id}:${prefix}`,
      absolutePath: `/${space.name}/${prefix}`,
    };
  }

  /** A prefix that is gone counts like a root that is gone: never as a directory that was emptied. */
  async #requirePrefix(view: LinkView, request: OpenRequest): Promise<void> {
    if (view.prefix === "") return;
    const there = (await view.version(""))?.entry;
    if (there?.kind === "dir") return;
    const isNew = request.expectRootId === undefined && there === undefined;
    if (!isNew || !request.createRoot) throw missingPrefix(this.label, view.prefix);
    if (!request.writable) return;
    const entry = { kind: "dir", mode: DIR_MODE } as const;
    const change = {
      type: "put", path: view.prefix, expect: { kind: "absent" }, entry, content: undefined, makeParents: true,
    } as const;
    const traceId = this.#traceId();
    const commit = { changes: [change], intake: undefined, atomic: true, cause: "edit", traceId } as const;
    await view.spaces.commit(view.who, view.space, commit);
  }

  #traceId(): string {
    return newTraceId(this.#options.host.random);
  }

  // ---------------------------------------------------------------- scan and watch

  async scan(request: ScanRequest, onBatch: OnObserved, signal: AbortSignal): Promise<ScanSummary> {
    const { view, rules, lineage } = this.#now;
    await this.#requirePrefixStays(view);
    // First the sequence: what is committed while we list is told again next time, and nothing is missed.
    const { sequence, usage } = await view.spaces.space(view.who, view.space);
    if (request.since === 0) this.#entries = await observeAll(view, rules, onBatch, signal);
    else await observeSince(view, rules, request.since, onBatch, signal);
    this.#seen.sequence = sequence;
    const entries = view.prefix === "" ? usage.entries : await this.#count(view);
    return { seq: sequence, epoch: lineage, problems: [], entries, hashedBytes: 0, degraded: undefined };
  }

  async #count(view: LinkView): Promise<number> {
    const nowMs = this.#options.host.clock.monotonicMs();
    if (nowMs - this.#countedMs < COUNT_EVERY_MS) return this.#entries;
    this.#countedMs = nowMs;
    const counted = await view.spaces.count(view.who, view.space, view.prefix, COUNTED_MAX);
    this.#entries = counted < COUNTED_MAX ? counted : Math.max(counted, this.#entries);
    return this.#entries;
  }

  async #requirePrefixStays(view: LinkView): Promise<void> {
    if (view.prefix === "" || (await view.version(""))?.entry?.kind === "dir") return;
    // A session that only looks may stand before a prefix that is still to be made.
    if (this.#now.request.writable || this.#now.request.expectRootId !== undefined) {
      throw missingPrefix(this.label, view.prefix);
    }
  }

  async watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    const { view } = this.#now;
    view.spaces.watch(view.space, onDirty, signal);
    if (signal.aborted) return;
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
  }

  /**
   * The digest (wire/link-digest.ts) of what the link sees at a sequence; undefined where that has changed since, is
   * changing, or cannot be known.
   */
  async digestSince(sequence: number): Promise<string | undefined> {
    const now = this.#opened;
    const { digests, hash } = this.#options;
    if (now === undefined || digests === undefined) return undefined;
    const { view, request } = now;
    const space = await view.spaces.space(view.who, view.space);
    const since = await view.spaces.changedSince(view.who, view.space, view.prefix, sequence, 1);
    if (sequence > space.sequence || since.length > 0) return undefined;
    const filter = hash(filterText(request.ignore, request.include, request.preserve));
    const key = `${space.lineage} ${filter} ${view.prefix}`;
    return digests.at(key, view, new IgnoreRules(request.ignore, request.include), space.sequence);
  }

  /** As the trace is now: what is committed later may belong to another one. */
  #within(): <T>(work: () => Promise<T>) => Promise<T> {
    const { traces } = this.#options;
    const parent = this.#parent;
    return (work) => (traces === undefined || parent === undefined ? work() : traces.within(parent, work));
  }

  get traces(): Traces | undefined {
    const { traces, who } = this.#options;
    if (traces === undefined) return undefined;
    return {
      exchange: async ({ parent, after, until }) => {
        if (parent !== undefined) this.#parent = traceContextOf(parent);
        return after < until ? traces.since(this.#now.view.space, who.id, after, until, TRACES_TOLD_MAX) : [];
      },
    };
  }

  // ---------------------------------------------------------------- content

  get coming(): ComingView {
    return this.#now.coming;
  }

  async sums(paths: readonly RelPath[], signal: AbortSignal): Promise<(Sum | Problem)[]> {
    const answers: (Sum | Problem)[] = [];
    for (const path of paths) {
      signal.throwIfAborted();
      const { view, rules } = this.#now;
      const entry = (await view.version(path))?.entry;
      const isIgnored = await isHidden(path, () => entry?.kind, (one, isDir) => rules.ignores(one, isDir));
      if (isIgnored) answers.push(ignoredHere(path));
      else answers.push(entry?.kind === "file" && entry.sum !== undefined ? entry.sum : gone(path));
    }
    return answers;
  }

  /** What a space tells of was durable before anybody could see it. */
  async vouch(): Promise<Problem[]> {
    return [];
  }

  /** The hub scrubs its packs itself, for all spaces at once. */
  async scrub({ everyMs }: ScrubRequest): Promise<ScrubReply> {
    return { bytes: 0, busyMs: 0, found: false, waitMs: everyMs };
  }

  async *read(paths: readonly RelPath[], signal: AbortSignal): AsyncGenerator<ReadItem[]> {
    const batch = new Batch<ReadItem>();
    for (const path of paths) {
      signal.throwIfAborted();
      const item = await this.#readOne(path);
      const full = batch.add(item, "bytes" in item ? item.bytes.length : 0);
      if (full !== undefined) yield full;
    }
    const rest = batch.take();
    if (rest !== undefined) yield rest;
  }

  async #readOne(path: RelPath): Promise<ReadItem> {
    const { view } = this.#now;
    const version = await view.version(path);
    const entry = version?.entry;
    if (version === undefined || entry?.kind !== "file") return { path, problem: gone(path) };
    if (entry.size > INLINE_BYTES_MAX) return { path, problem: changed(path) };
    try {
      const content = await view.spaces.open(view.who, view.space, version);
      const bytes = new Uint8Array(content.size);
      await content.read(bytes, 0);
      return { path, entry, bytes };
    } catch (error) {
      return { path, problem: unreadable(path, error) };
    }
  }

  async supply(channel: Channel, signal: AbortSignal): Promise<void> {
    const { files, request } = this.#now;
    const host = { ...this.#options.host, fs: files.fs };
    const context = {
      host,
      seeds: request.seeds,
      compress: request.compress,
      limit: (): undefined => undefined,
      open: (path: RelPath) => this.#openContent(path),
      look: (path: RelPath) => this.#look(path),
      entryOf: (path: RelPath, stat: Stat) => this.#entryOf(path, stat),
      learn: (path: RelPath, entry: FileEntry) => this.#compare(path, entry),
      // What a space shows is committed, and so durable.
      makeDurable: () => Promise.resolve(),
    };
    try {
      await supplyFiles(context, channel, signal);
    } finally {
      // Of files whose transfer was cut off.
      this.#supplied.clear();
    }
  }

  /** Entries of the files that are being supplied, by path, as they were when they were opened. */
  readonly #supplied = new Map<RelPath, FileEntry>();

  async #openContent(path: RelPath): Promise<Fd> {
    const { view, files } = this.#now;
    const version = await this.#file(path);
    const isProved = version.entry.sum === undefined;
    const fd = files.open(await view.spaces.open(view.who, view.space, version, isProved), statOf(version));
    this.#supplied.set(path, version.entry);
    return fd;
  }

  async #look(path: RelPath): Promise<Stat> {
    return statOf(await this.#file(path));
  }

  async #file(path: RelPath): Promise<Version & { readonly entry: FileEntry }> {
    const version = await this.#now.view.version(path);
    const entry = version?.entry;
    if (version === undefined || entry?.kind !== "file") throw new FsError("ENOENT", "open", path);
    return { ...version, entry };
  }

  #entryOf(path: RelPath, stat: Stat): FileEntry {
    const { size, mode, mtimeNs } = stat;
    return this.#supplied.get(path) ?? { kind: "file", size, mode, mtimeNs, sum: undefined };
  }

  /** Is what was read what the version was committed with? Its chunks were not hashed one by one. */
  #compare(path: RelPath, read: FileEntry): Problem | undefined {
    const sum = this.#supplied.get(path)?.sum;
    this.#supplied.delete(path);
    return sum === undefined || sum === read.sum ? undefined : rotten(path);
  }

  async receive(
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const { request, arriving, view, places } = this.#now;
    const wanted = await refuseFiles(items, (path) => places.whyNoFile(path), onResult);
    await using held = view.spaces.intake(view.who, view.space);
    const bases = await this.#bases(wanted, held, signal);
    const context = {
      host: { ...this.#options.host, fs: arriving.fs },
      seeds: request.seeds,
      stage: arriving,
      base: (path: RelPath) => bases.get(path)?.(),
      limit: (): undefined => undefined,
      // A stage on the hub's disk is read at once, and removed: holes are not worth it, and the disk need not see it.
      sparse: false,
      durable: false,
    };
    try {
      await receiveFiles(context, channel, wanted, onResult, signal);
    } finally {
      arriving.expectNothing();
    }
  }

  /**
   * What new content may be built from, by path: files of the space, and what an earlier transfer of the same file had
   * brought when it was cut off. A file that has nothing of the kind goes straight into the store.
   */
  async #bases(items: readonly TransferItem[], held: Intake, signal: AbortSignal): Promise<Map<RelPath, OpenBase>> {
    const { view, arriving } = this.#now;
    const bases = new Map<RelPath, OpenBase>();
    for (const { path, entry, candidates } of items) {
      signal.throwIfAborted();
      const sources = [path, ...(candidates ?? [])];
      for (const from of sources) {
        const version = bases.has(from) ? undefined : await view.version(from);
        if (version?.entry?.kind === "file" && version.content !== undefined) bases.set(from, () => this.#baseFile(version));
      }
      const earlier = bases.has(path) ? undefined : arriving.earlier(path, held);
      if (earlier !== undefined) bases.set(path, () => this.#open(earlier, plainStat(earlier.size)));
      if (!sources.some((from) => bases.has(from))) arriving.expect(path, entry.size);
    }
    return bases;
  }

  #open(reader: ContentReader, stat: Stat): BaseFile {
    return { fd: this.#now.files.open(reader, stat), size: reader.size };
  }

  #baseFile(version: Version): BaseFile {
    const { view } = this.#now;
    let content: Promise<ContentReader> | undefined;
    const reader: ContentReader = {
      size: version.content!.size,
      read: async (into, position) => {
        content ??= view.spaces.open(view.who, view.space, version);
        return (await content).read(into, position);
      },
    };
    return this.#open(reader, statOf(version));
  }

  // ---------------------------------------------------------------- changes

  apply(runId: string, signal: AbortSignal): Application {
    const { view, places, stage, arriving, request } = this.#now;
    // A session has one application at a time; an earlier one that was never committed lets go of its content.
    this.#left.add(this.#application?.close());
    this.#application = new SpaceApplication({
      view, places, stage, arriving, preserve: request.preserve,
      seen: this.#seen, runId, traceId: this.#parent?.traceId ?? this.#traceId(), signal,
      within: this.#within(),
    });
    return this.#application;
  }

  /** The journal tells what was changed, by whom and in which run; it is not kept by link. */
  async runs(): Promise<RunRecord[]> {
    return [];
  }

  async runChanges(runId: string): Promise<RunChange[]> {
    const { view } = this.#now;
    const records = await view.spaces.journalOfRun(view.who, view.space, runId);
    // A run of another link of the space may lie elsewhere.
    const within = records.filter(({ path }) => path !== view.prefix && isWithin(path, view.prefix));
    return within.map(({ path, action, from }) => ({
      path: view.inner(path),
      action,
      from: from === undefined ? undefined : view.inner(from),
    }));
  }

  async undo(runId: string, _signal: AbortSignal): Promise<{ restored: number; problems: Problem[] }> {
    const { view } = this.#now;
    const results = await view.spaces.undoRun(view.who, view.space, runId, this.#traceId());
    const problems: Problem[] = [];
    for (const result of results) {
      if (result.status === "done") continue;
      const path = view.inner(result.path);
      problems.push(result.status === "stale" ? changed(path) : { ...changed(path), message: result.message });
    }
    return { restored: results.length - problems.length, problems };
  }

  wireBytes(): { sent: number; received: number } {
    return { sent: 0, received: 0 };
  }

  async close(): Promise<void> {
    const now = this.#opened;
    if (now === undefined) return;
    this.#opened = undefined;
    await this.#application?.close();
    this.#application = undefined;
    await this.#left.settled();
    await now.arriving[Symbol.asyncDispose]();
    now.stage[Symbol.dispose]();
  }
}

function gone(path: RelPath): Problem {
  return { path, side: "beta", code: "ENOENT", message: "it is no longer a file of the space", transient: true };
}

function changed(path: RelPath): Problem {
  return { path, side: "beta", code: "CHANGED", message: "it was changed since", transient: true };
}

function rotten(path: RelPath): Problem {
  const message = "its bytes at rest are not those that were committed; a scrub of the hub finds which";
  return { path, side: "beta", code: "CORRUPT", message, transient: false };
}

function unreadable(path: RelPath, error: unknown): Problem {
  if (!(error instanceof SynclineError)) throw error;
  const transient = error.code !== "CHUNK_DAMAGED" && error.code !== "CHUNK_MISSING";
  return { path, side: "beta", code: transient ? "EIO" : "CORRUPT", message: error.message, transient };
}

function readOnlyLink(label: string): SynclineError {
  return new SynclineError({
    code: "ROOT_READ_ONLY",
    op: "open link",
    message: `${label} may only be read`,
    hint: "give the host's role the right to write there, or use a one-way mode from the space",
  });
}

function copyLink(label: string, name: string, url: string): SynclineError {
  return new SynclineError({
    code: "ROOT_READ_ONLY",
    op: "open link",
    message: `${label} is a copy that follows ${url} and takes no changes of its own`,
    hint: `use a one-way mode from the space, link the directory at ${url}, or promote the copy: syncline space promote ${name}`,
  });
}

function wrongSeeds(label: string): SynclineError {
  return new SynclineError({
    code: "STATE",
    op: "open link",
    message: `the session names content by other seeds than ${label}`,
    hint: "the agent asks the hub for them when it begins a link; restart the agent",
  });
}

function missingPrefix(label: string, prefix: RelPath): SynclineError {
  return new SynclineError({
    code: "ROOT_MISSING",
    op: "open link",
    path: prefix,
    message: `${label}: the directory of the link is not in the space`,
    hint: "restore it (syncline restore), or make it anew; nothing was changed on the agent",
  });
}
