/**
 * Answers the calls of a RemoteEndpoint on a real one. The caller is not trusted: every request is checked when it is
 * decoded, calls that must not overlap are put in a line, a read-only root refuses what would change it, and what a
 * caller may make us hold is bounded.
 */
import { SynclineError, asError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Application, Endpoint, OnObserved, OpenReply, OpenRequest, TransferItem } from "#sync/endpoint/endpoint.ts";
import {
  ITEMS,
  type Method,
  REPLY,
  bare,
  decodeCount,
  decodeOpenRequest,
  decodeRunId,
  decodeScanRequest,
  decodeTracesAsked,
  decodeScrubRequest,
  encodeComing,
  encodeCommitReply,
  encodeCount,
  encodeOpenReply,
  encodeScanSummary,
  encodeTraces,
  encodeScrubReply,
  openMessage,
  unexpected,
  writeSum,
} from "#sync/endpoint/remote-protocol.ts";
import {
  type Asked,
  askedOf,
  pack,
  packObservations,
  packProblems,
  packReadItems,
  packResults,
  packRunChanges,
  packRuns,
  packTransferResult,
  readOp,
  unpack,
  unpackPaths,
  unpackTransferItems,
} from "#sync/endpoint/remote-protocol-items.ts";
import { giveBackBuffer } from "#sync/wire/buffer-pool.ts";
import { malformed } from "#sync/wire/bytes.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";

/** Files of one transfer call, all of which are held until it ends. */
export const TRANSFER_ITEMS_MAX = 2_000_000;
/** News of files that are coming which may wait for a caller that does not read. */
const COMING_WAITING_MAX = 1024;
/** Changes between two commits. */
export const COMMIT_OPS_MAX = 2_000_000;

export type EndpointServerOptions = {
  readonly endpoint: Endpoint;
  /** Refuse whatever would change the root. */
  readonly readOnly: boolean;
  /** May the caller have the root directory created? */
  readonly mayCreateRoot: boolean;
  /** A last look at what was opened; throws to refuse it. */
  readonly onOpened?: ((reply: OpenReply) => void) | undefined;
  /** A call broke the protocol or asked for what it may not have. */
  readonly onRefused?: ((error: SynclineError, method: string) => void) | undefined;
};

type Handler = (channel: MuxChannel) => Promise<void>;

/** Runs tasks one after the other; a task that failed stops nobody. */
class Line {
  #tail: Promise<unknown> = Promise.resolve();

  run<T>(signal: AbortSignal, task: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(() => {
      signal.throwIfAborted();
      return task();
    });
    this.#tail = result.catch(() => undefined);
    return result;
  }
}

export class EndpointServer {
  readonly #options: EndpointServerOptions;
  readonly #endpoint: Endpoint;
  /** Calls that change or look at the whole state, and calls that supply content: each kind in its own line. */
  readonly #main = new Line();
  readonly #supply = new Line();
  readonly #vouches = new Line();
  readonly #comingSupply = new Line();
  readonly #data = new Map<number, MuxChannel>();
  readonly #handlers: Record<Method, Handler>;
  #opened = false;
  #writable = false;
  #closing: Promise<void> | undefined;

  constructor(options: EndpointServerOptions) {
    this.#options = options;
    this.#endpoint = options.endpoint;
    this.#handlers = {
      open: (channel) => this.#main.run(channel.signal, () => this.#open(channel)),
      scan: (channel) => this.#main.run(channel.signal, () => this.#scan(channel)),
      watch: (channel) => this.#watch(channel),
      sums: (channel) => this.#main.run(channel.signal, () => this.#sums(channel)),
      vouch: (channel) => this.#vouches.run(channel.signal, () => this.#vouch(channel)),
      scrub: (channel) => this.#main.run(channel.signal, () => this.#scrub(channel)),
      read: (channel) => this.#supply.run(channel.signal, () => this.#read(channel)),
      supply: (channel) => this.#supply.run(channel.signal, () => this.#endpoint.supply(channel, channel.signal)),
      coming: (channel) => this.#coming(channel),
      "supply-coming": (channel) => this.#supplyComing(channel),
      traces: (channel) => this.#traces(channel),
      receive: (channel) => this.#receive(channel),
      data: (channel) => this.#hold(channel),
      apply: (channel) => this.#apply(channel),
      runs: (channel) => this.#main.run(channel.signal, () => this.#runs(channel)),
      "run-changes": (channel) => this.#main.run(channel.signal, () => this.#runChanges(channel)),
      undo: (channel) => this.#main.run(channel.signal, () => this.#undo(channel)),
      close: (channel) => this.#goodbye(channel),
    };
  }

  /** Takes a channel that the other side opened; every outcome is reported on that channel. */
  handle(channel: MuxChannel): void {
    void this.#serve(channel);
  }

  /**
   * Closes the endpoint when the call that is being done has ended: a commit under way is finished, not torn apart.
   * Idempotent; call it when the connection has ended, however it ended.
   */
  close(): Promise<void> {
    this.#closing ??= this.#main.run(new AbortController().signal, () => this.#endpoint.close());
    return this.#closing;
  }

  /** Never rejects: the channel fails. */
  async #serve(channel: MuxChannel): Promise<void> {
    try {
      const { method } = channel;
      if (!this.#isMethod(method)) throw malformed("a call of an unknown kind");
      if (this.#closing !== undefined && method !== "close") throw malformed("a call after the last one");
      if (!this.#opened && method !== "open" && method !== "close") throw malformed("a call before the root is open");
      await this.#handlers[method](channel);
      if (method !== "data") channel.end();
    } catch (error) {
      this.#fail(channel, error);
    }
  }

  #fail(channel: MuxChannel, error: unknown): void {
    // The caller's own giving up comes back here, too, and is no news to it.
    if (channel.failure === undefined) this.#refuse(channel, asError(error));
  }

  #refuse(channel: MuxChannel, reason: Error): void {
    channel.fail(reason);
    if (reason instanceof SynclineError && (reason.code === "PROTOCOL" || reason.code === "ROOT_READ_ONLY")) {
      this.#options.onRefused?.(reason, channel.method);
    }
  }

  #isMethod(method: string): method is Method {
    return Object.hasOwn(this.#handlers, method);
  }

  #mayWrite(): void {
    if (this.#writable) return;
    throw readOnly(this.#endpoint.label);
  }

  async #open(channel: MuxChannel): Promise<void> {
    const asked = decodeOpenRequest(await next(channel));
    if (asked.writable && this.#options.readOnly) throw readOnly(this.#endpoint.label);
    const request: OpenRequest = { ...asked, createRoot: asked.createRoot && this.#options.mayCreateRoot };
    if (this.#opened) throw malformed("a second open");
    const reply = await this.#endpoint.open(request, channel.signal);
    this.#options.onOpened?.(reply);
    this.#opened = true;
    this.#writable = request.writable;
    await channel.send(encodeOpenReply(reply));
  }

  async #scan(channel: MuxChannel): Promise<void> {
    const request = decodeScanRequest(await next(channel));
    let told = false;
    const tell = async (problems: readonly Problem[]): Promise<void> => {
      if (told || problems.length === 0) return;
      told = true;
      await sendAll(channel, packProblems(problems));
    };
    const onBatch: OnObserved = async (batch, problems) => {
      await tell(problems);
      await sendAll(channel, packObservations(batch));
    };
    const summary = await this.#endpoint.scan(request, onBatch, channel.signal);
    await tell(summary.problems);
    await channel.send(encodeScanSummary(summary));
  }

  async #watch(channel: MuxChannel): Promise<void> {
    let waiting = false;
    let isOver = false;
    const onDirty = (): void => {
      if (isOver || waiting || channel.failure !== undefined) return;
      // While one hint cannot leave, the next ones say nothing new.
      const sent = channel.send(bare(ITEMS));
      if (sent === undefined) return;
      waiting = true;
      sent.then(
        () => (waiting = false),
        () => undefined,
      );
    };
    await this.#endpoint.watch(onDirty, channel.signal).finally(() => (isOver = true));
  }

  async #coming(channel: MuxChannel): Promise<void> {
    const { coming } = this.#endpoint;
    if (coming === undefined) return;
    const stop = new AbortController();
    const signal = AbortSignal.any([channel.signal, stop.signal]);
    let waiting = 0;
    await coming.watch((news) => {
      if (signal.aborted) return;
      const sent = channel.send(encodeComing(news));
      if (sent === undefined) return;
      // Who does not take what it asked for is told no more.
      if (++waiting > COMING_WAITING_MAX) return stop.abort();
      sent.then(() => waiting--, () => undefined);
    }, signal);
  }

  /** Beside all other calls, for it waits for what others bring. Who asks again has given up the one that is ending still. */
  async #supplyComing(channel: MuxChannel): Promise<void> {
    const { coming } = this.#endpoint;
    if (coming === undefined) throw malformed("a call for what is not told of");
    await this.#comingSupply.run(channel.signal, () => coming.supply(channel, channel.signal));
  }

  async #traces(channel: MuxChannel): Promise<void> {
    const asked = decodeTracesAsked(await next(channel));
    const told = this.#endpoint.traces?.exchange(asked, channel.signal);
    await channel.send(encodeTraces((await told) ?? []));
  }

  async #scrub(channel: MuxChannel): Promise<void> {
    const request = decodeScrubRequest(await next(channel));
    await channel.send(encodeScrubReply(await this.#endpoint.scrub(request, channel.signal)));
  }

  async #sums(channel: MuxChannel): Promise<void> {
    for await (const paths of pathLists(channel)) {
      const sums = await this.#endpoint.sums(paths, channel.signal);
      await sendAll(channel, pack(ITEMS, sums, (sum) => (typeof sum === "string" ? 17 : 16_384), writeSum));
    }
  }

  /** Beside a scan and a reading: what is told in a first copy is vouched for before the scan has ended. */
  async #vouch(channel: MuxChannel): Promise<void> {
    for await (const paths of pathLists(channel)) {
      await sendAll(channel, packProblems(await this.#endpoint.vouch(paths, channel.signal)));
    }
    await channel.send(bare(REPLY));
  }

  async #read(channel: MuxChannel): Promise<void> {
    let before = 0;
    for await (const paths of pathLists(channel)) {
      let at = 0;
      for await (const batch of this.#endpoint.read(paths, channel.signal)) {
        const indexed = batch.map((item) => {
          // Answers keep the order of the paths but may leave some out.
          while (at < paths.length && paths[at] !== item.path) at++;
          return { index: before + at, item };
        });
        await sendAll(channel, packReadItems(indexed));
      }
      before += paths.length;
    }
    await channel.send(bare(REPLY));
  }

  /** A transfer's data channel waits here for the `receive` that names it. */
  async #hold(channel: MuxChannel): Promise<void> {
    this.#data.set(channel.id, channel);
    channel.signal.addEventListener("abort", () => this.#data.delete(channel.id), { once: true });
  }

  async #receive(channel: MuxChannel): Promise<void> {
    this.#mayWrite();
    const items: TransferItem[] = [];
    const index = new Map<RelPath, number>();
    let data: MuxChannel | undefined;
    while (data === undefined) {
      const { tag, r } = openMessage(await next(channel));
      if (tag === REPLY) {
        const id = decodeCount(r);
        data = this.#data.get(id);
        this.#data.delete(id);
        if (data === undefined) throw malformed("a transfer without its data channel");
      } else if (tag === ITEMS) {
        for (const item of unpackTransferItems(r)) {
          if (index.has(item.path)) throw malformed("a path twice in one transfer");
          index.set(item.path, items.length);
          items.push(item);
        }
        if (items.length > TRANSFER_ITEMS_MAX) throw tooMany("files in one transfer");
      } else {
        throw unexpected(tag);
      }
    }
    await this.#transfer(channel, data, items, index);
  }

  async #transfer(
    channel: MuxChannel,
    data: MuxChannel,
    items: readonly TransferItem[],
    index: ReadonlyMap<RelPath, number>,
  ): Promise<void> {
    try {
      const sends = new Sends(channel);
      await this.#main.run(channel.signal, () =>
        this.#endpoint.receive(
          data,
          items,
          (result) => {
            const at = index.get(result.path);
            if (at !== undefined) sends.send(packTransferResult(at, result));
          },
          channel.signal,
        ),
      );
      await sends.done();
      await channel.send(bare(REPLY));
      data.end();
    } catch (error) {
      data.fail(asError(error));
      throw error;
    }
  }

  async #apply(channel: MuxChannel): Promise<void> {
    this.#mayWrite();
    const first = await channel.receive();
    // A caller may prepare an application and then have nothing to push.
    if (first === undefined) return;
    const application = this.#endpoint.apply(decodeRunId(first), channel.signal);
    let asked: Asked[] = [];
    let committing: Promise<void> | undefined;
    for (;;) {
      const message = await channel.receive();
      if (message === undefined) return committing;
      const { tag, r } = openMessage(message);
      if (tag === ITEMS) {
        const ops = unpack(r, readOp);
        for (const op of ops) asked.push(askedOf(op));
        if (asked.length > COMMIT_OPS_MAX) throw tooMany("changes in one commit");
        // A commit has the line to itself until it ends, and lets the next changes be staged meanwhile.
        if (committing !== undefined) await application.push(ops);
        else await this.#main.run(channel.signal, () => application.push(ops));
        // The bytes are in the stage, and the ops were views of the message.
        giveBackBuffer(message);
      } else if (tag === REPLY) {
        if (decodeCount(r) !== asked.length) throw malformed("a commit that does not fit what was pushed");
        const committed = asked;
        asked = [];
        await committing;
        // What is pushed before it has begun would become part of it.
        const begun = Promise.withResolvers<void>();
        committing = this.#main
          .run(channel.signal, () => {
            const ending = this.#commit(channel, application, committed).finally(() => (committing = undefined));
            begun.resolve();
            return ending;
          })
          .catch((error: unknown) => this.#fail(channel, error))
          .finally(begun.resolve);
        await begun.promise;
      } else {
        throw unexpected(tag);
      }
    }
  }

  async #commit(channel: MuxChannel, application: Application, asked: readonly Asked[]): Promise<void> {
    const sends = new Sends(channel);
    let at = 0;
    const reply = await application.commit((results) => {
      sends.send(packResults(results, asked, at));
      at += results.length;
    });
    await sends.done();
    await channel.send(encodeCommitReply(reply));
  }

  async #runs(channel: MuxChannel): Promise<void> {
    await next(channel);
    await sendAll(channel, packRuns(await this.#endpoint.runs()));
    await channel.send(bare(REPLY));
  }

  async #runChanges(channel: MuxChannel): Promise<void> {
    const runId = decodeRunId(await next(channel));
    await sendAll(channel, packRunChanges(await this.#endpoint.runChanges(runId)));
    await channel.send(bare(REPLY));
  }

  async #undo(channel: MuxChannel): Promise<void> {
    this.#mayWrite();
    const runId = decodeRunId(await next(channel));
    const { restored, problems } = await this.#endpoint.undo(runId, channel.signal);
    await sendAll(channel, packProblems(problems));
    await channel.send(encodeCount(restored));
  }

  async #goodbye(channel: MuxChannel): Promise<void> {
    await this.close();
    channel.end();
  }
}

/** Messages sent from a callback that cannot wait: what goes wrong is told by done(). */
class Sends {
  readonly #channel: MuxChannel;
  #last: Promise<void> | undefined;

  constructor(channel: MuxChannel) {
    this.#channel = channel;
  }

  send(messages: readonly Uint8Array[]): void {
    if (this.#channel.failure !== undefined) return;
    for (const message of messages) {
      this.#last = this.#channel.send(message) ?? undefined;
      this.#last?.catch(() => undefined);
    }
  }

  /** Messages keep their order, so the last one speaks for all. */
  async done(): Promise<void> {
    if (this.#channel.failure !== undefined) throw this.#channel.failure;
    await this.#last;
  }
}

async function* pathLists(channel: MuxChannel): AsyncGenerator<RelPath[]> {
  for (;;) {
    const message = await channel.receive();
    if (message === undefined) return;
    const { tag, r } = openMessage(message);
    if (tag !== ITEMS) throw unexpected(tag);
    yield unpackPaths(r);
  }
}

async function next(channel: MuxChannel): Promise<Uint8Array> {
  const message = await channel.receive();
  if (message === undefined) throw malformed("a request that broke off");
  return message;
}

async function sendAll(channel: MuxChannel, messages: readonly Uint8Array[]): Promise<void> {
  for (const message of messages) {
    const wait = channel.send(message);
    if (wait !== undefined) await wait;
  }
}

function tooMany(what: string): SynclineError {
  return new SynclineError({ code: "LIMIT", op: "call", message: `too many ${what}` });
}

function readOnly(label: string): SynclineError {
  return new SynclineError({
    code: "ROOT_READ_ONLY",
    op: "open root",
    message: `${label} is served read-only`,
    hint: "sync from it with a one-way mode, or serve the root without `,ro`",
  });
}
