/**
 * An Endpoint across a connection. Each call is a channel (remote-protocol.ts); file content flows ahead of the
 * answers, bounded by the channels' windows. What the other side answers is checked against what was asked.
 */
import type { Clock } from "#platform/host.ts";
import { SynclineError, asError } from "#model/error.ts";
import type { Sum } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import {
  type Application,
  type ApplyOp,
  type ComingFiles,
  type CommitReply,
  type Endpoint,
  type OpResult,
  type OnObserved,
  type OpenReply,
  type OpenRequest,
  type ReadItem,
  type RunChange,
  type RunRecord,
  type ScanRequest,
  type ScanSummary,
  type Traces,
  type TransferItem,
  type TransferResult,
} from "#sync/endpoint/endpoint.ts";
import {
  ITEMS,
  type Method,
  PROBLEMS,
  PROBLEMS_MAX,
  REPLY,
  type Tagged,
  bare,
  decodeComing,
  decodeCommitReply,
  decodeCount,
  decodeOpenReply,
  decodeScanSummary,
  decodeTraces,
  decodeScrubReply,
  encodeCommit,
  encodeCount,
  encodeOpenRequest,
  encodeRunId,
  encodeScanRequest,
  encodeTracesAsked,
  encodeScrubRequest,
  openMessage,
  readSum,
  unexpected,
} from "#sync/endpoint/remote-protocol.ts";
import {
  type Asked,
  askedOf,
  packOps,
  packPaths,
  packTransferItems,
  readObservation,
  readRun,
  readRunChange,
  unpack,
  unpackProblems,
  unpackReadItems,
  unpackResults,
  unpackTransferResults,
} from "#sync/endpoint/remote-protocol-items.ts";
import { type ByteReader, malformed } from "#sync/wire/bytes.ts";
import type { ScrubReply, ScrubRequest } from "#sync/scan/scrub.ts";
import type { Channel } from "#sync/wire/channel.ts";
import { TELLS_COMING, TELLS_TRACES, VOUCHES } from "#sync/wire/abilities.ts";
import { type Mux, linkLost } from "#sync/wire/mux.ts";
import type { MuxChannel } from "#sync/wire/mux-channel.ts";

/** How long a close waits for the other side to let go of its root. */
export const CLOSE_MS_MAX = 5000;
/** Runs, or changes of one run, in one answer; they are listed for people. */
const LISTED_MAX = 10_000_000;

export type RemoteOptions = {
  readonly label: string;
  readonly clock: Clock;
  /** Makes a connection, greeted and attached to the root. Called by each open(). */
  readonly connect: (signal: AbortSignal) => Promise<Mux>;
};

export class RemoteEndpoint implements Endpoint {
  readonly label: string;
  readonly #options: RemoteOptions;
  #mux: Mux | undefined;
  #application: RemoteApplication | undefined;
  #past = { sent: 0, received: 0 };

  constructor(options: RemoteOptions) {
    this.label = options.label;
    this.#options = options;
  }

  async open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply> {
    await this.close();
    this.#mux = await this.#options.connect(signal);
    return this.#call("open", signal, async (channel) => {
      await channel.send(encodeOpenRequest(request));
      return decodeOpenReply(await next(channel));
    });
  }

  async scan(
    request: ScanRequest,
    onBatch: OnObserved,
    signal: AbortSignal,
  ): Promise<ScanSummary> {
    return this.#call("scan", signal, async (channel) => {
      await channel.send(encodeScanRequest(request));
      const problems: Problem[] = [];
      for (;;) {
        const { tag, r } = await answer(channel, problems);
        if (tag === REPLY) return decodeScanSummary(r, problems);
        const more = onBatch(unpack(r, readObservation), problems);
        if (more !== undefined) await more;
      }
    });
  }

  async watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return;
    try {
      await this.#call("watch", signal, async (channel) => {
        for (;;) {
          const message = await channel.receive();
          if (message === undefined) return;
          if (message.length !== 1 || message[0] !== ITEMS) throw malformed("a message where a hint was expected");
          onDirty();
        }
      });
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  async sums(paths: readonly RelPath[], signal: AbortSignal): Promise<(Sum | Problem)[]> {
    if (paths.length === 0) return [];
    return this.#call("sums", signal, async (channel) => {
      const asking = sendAll(channel, packPaths(paths));
      const sums: (Sum | Problem)[] = [];
      while (sums.length < paths.length) {
        const { tag, r } = openMessage(await next(channel));
        if (tag !== ITEMS) throw unexpected(tag);
        unpack(r, (from) => sums.push(readSum(from, nthPath(paths, sums.length))));
      }
      await asking;
      return sums;
    });
  }

  async vouch(paths: readonly RelPath[], signal: AbortSignal): Promise<Problem[]> {
    if (paths.length === 0 || !this.#connection().abilities.has(VOUCHES)) return [];
    return this.#call("vouch", signal, async (channel) => {
      const asking = sendAll(channel, packPaths(paths));
      const problems: Problem[] = [];
      const { tag } = await answer(channel, problems);
      if (tag !== REPLY) throw unexpected(tag);
      await asking;
      const asked = new Set(paths);
      if (!problems.every(({ path }) => asked.has(path))) throw malformed("a problem of a path that nobody asked about");
      return problems;
    });
  }

  async scrub(request: ScrubRequest, signal: AbortSignal): Promise<ScrubReply> {
    return this.#call("scrub", signal, async (channel) => {
      await channel.send(encodeScrubRequest(request));
      return decodeScrubReply(await next(channel));
    });
  }

  async *read(paths: readonly RelPath[], signal: AbortSignal): AsyncGenerator<ReadItem[]> {
    if (paths.length === 0) return;
    using call = new Call(this.#connection(), "read", signal);
    const { channel } = call;
    const asking = sendAll(channel, packPaths(paths));
    let last = -1;
    for (;;) {
      const { tag, r } = openMessage(await next(channel));
      if (tag === REPLY) break;
      if (tag !== ITEMS) throw unexpected(tag);
      const items = unpackReadItems(r, paths, last);
      last = items.at(-1)?.index ?? last;
      yield items.map(({ item }) => item);
    }
    await asking;
    call.done();
  }

  async supply(local: Channel, signal: AbortSignal): Promise<void> {
    await this.#supply("supply", local, signal);
  }

  readonly #coming: ComingFiles = {
    watch: (onNews, signal) =>
      this.#call("coming", signal, async (channel) => {
        for (let message = await channel.receive(); message !== undefined; message = await channel.receive()) {
          onNews(decodeComing(message));
        }
      }).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      }),
    supply: (local, signal) => this.#supply("supply-coming", local, signal),
  };

  get coming(): ComingFiles | undefined {
    return this.#mux?.abilities.has(TELLS_COMING) === true ? this.#coming : undefined;
  }

  readonly #traces: Traces = {
    exchange: (asked, signal) =>
      this.#call("traces", signal, async (channel) => {
        await channel.send(encodeTracesAsked(asked));
        return decodeTraces(await next(channel));
      }),
  };

  get traces(): Traces | undefined {
    return this.#mux?.abilities.has(TELLS_TRACES) === true ? this.#traces : undefined;
  }

  async #supply(method: Method, local: Channel, signal: AbortSignal): Promise<void> {
    try {
      await this.#call(method, signal, async (channel) => {
        // The transfer is over when the source has ended its side, which it does after the other side's end.
        // A failure ends both channels, and is met by the other way.
        relay(local, channel).catch(() => undefined);
        await relay(channel, local);
      });
    } catch (error) {
      local.fail(asError(error));
      throw error;
    }
  }

  async receive(
    local: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ): Promise<void> {
    using data = new Call(this.#connection(), "data", signal);
    try {
      await this.#call("receive", signal, async (channel) => {
        relay(local, data.channel).catch((error: unknown) => channel.fail(asError(error)));
        const back = relay(data.channel, local);
        back.catch((error: unknown) => channel.fail(asError(error)));
        const asking = sendAll(channel, [...packTransferItems(items), encodeCount(data.channel.id)]);
        const open = new Set(items.keys());
        for (;;) {
          const { tag, r } = openMessage(await next(channel));
          if (tag === REPLY) break;
          if (tag !== ITEMS) throw unexpected(tag);
          for (const result of unpackTransferResults(r, items, open)) onResult(result);
        }
        if (open.size > 0) throw malformed("a transfer without a result for every file");
        await asking;
        await back;
        data.done();
      });
    } catch (error) {
      local.fail(asError(error));
      throw error;
    }
  }

  apply(runId: string, signal: AbortSignal): Application {
    this.#application?.finish();
    this.#application = new RemoteApplication(new Call(this.#connection(), "apply", signal), runId);
    return this.#application;
  }

  async runs(): Promise<RunRecord[]> {
    return this.#list("runs", bare(REPLY), readRun);
  }

  async runChanges(runId: string): Promise<RunChange[]> {
    return this.#list("run-changes", encodeRunId(runId), readRunChange);
  }

  async undo(runId: string, signal: AbortSignal): Promise<{ restored: number; problems: Problem[] }> {
    return this.#call("undo", signal, async (channel) => {
      await channel.send(encodeRunId(runId));
      const problems: Problem[] = [];
      const { tag, r } = await answer(channel, problems);
      if (tag !== REPLY) throw unexpected(tag);
      return { restored: decodeCount(r), problems };
    });
  }

  wireBytes(): { sent: number; received: number } {
    const now = this.#mux?.wireBytes;
    return { sent: this.#past.sent + (now?.sent ?? 0), received: this.#past.received + (now?.received ?? 0) };
  }

  /** Idempotent. Waits at most CLOSE_MS_MAX for the other side; open() may follow. */
  async close(): Promise<void> {
    const mux = this.#mux;
    if (mux === undefined) return;
    this.#application?.finish();
    this.#application = undefined;
    const timer = new AbortController();
    const patience = this.#options.clock.sleep(CLOSE_MS_MAX, timer.signal).catch(() => undefined);
    await Promise.race([this.#sayGoodbye(), patience]);
    timer.abort();
    this.#past = this.wireBytes();
    this.#mux = undefined;
    mux.close();
  }

  async #sayGoodbye(): Promise<void> {
    try {
      await this.#call("close", new AbortController().signal, async (channel) => {
        channel.end();
        await channel.receive();
      });
    } catch {
      // The connection is gone already: then the other side closes by itself.
    }
  }

  #connection(): Mux {
    if (this.#mux === undefined) throw linkLost(this.label, new Error("it is not open"));
    return this.#mux;
  }

  async #call<T>(method: Method, signal: AbortSignal, body: (channel: MuxChannel) => Promise<T>): Promise<T> {
    using call = new Call(this.#connection(), method, signal);
    const value = await body(call.channel);
    call.done();
    return value;
  }

  async #list<T>(method: Method, request: Uint8Array, read: (r: ByteReader) => T): Promise<T[]> {
    return this.#call(method, new AbortController().signal, async (channel) => {
      await channel.send(request);
      const all: T[] = [];
      for (;;) {
        const { tag, r } = openMessage(await next(channel));
        if (tag === REPLY) return all;
        if (tag !== ITEMS) throw unexpected(tag);
        for (const item of unpack(r, read)) all.push(item);
        if (all.length > LISTED_MAX) throw malformed("an endless list");
      }
    });
  }
}

/** One channel for one call: failed when the call ends before done(), or when its signal aborts. */
class Call implements Disposable {
  readonly channel: MuxChannel;
  readonly #signal: AbortSignal;
  readonly #abort = (): void => this.channel.fail(interrupted(this.#signal.reason));
  #done = false;

  constructor(mux: Mux, method: Method, signal: AbortSignal) {
    signal.throwIfAborted();
    this.#signal = signal;
    this.channel = mux.open(method);
    signal.addEventListener("abort", this.#abort, { once: true });
  }

  /** The call came to its end: nothing more is sent. */
  done(): void {
    this.#done = true;
    this.channel.end();
  }

  [Symbol.dispose](): void {
    this.#signal.removeEventListener("abort", this.#abort);
    if (!this.#done) this.channel.fail(interrupted(undefined));
  }
}

/** Changes in flight: pushes go out as fast as the window allows, and answers come only with a commit. */
class RemoteApplication implements Application {
  readonly #call: Call;
  #runId: string | undefined;
  #asked: Asked[] = [];

  constructor(call: Call, runId: string) {
    this.#call = call;
    this.#runId = runId;
  }

  async push(ops: readonly ApplyOp[]): Promise<void> {
    await this.#begin();
    const { channel } = this.#call;
    for (const op of ops) this.#asked.push(askedOf(op));
    for (const message of packOps(ops)) {
      const wait = channel.send(message, true);
      if (wait !== undefined) await wait;
    }
  }

  async commit(onResults: (results: OpResult[]) => void): Promise<CommitReply> {
    // At once, for what is pushed from here on belongs to the next.
    const asked = this.#asked;
    this.#asked = [];
    await this.#begin();
    const { channel } = this.#call;
    await channel.send(encodeCommit(asked.length));
    for (let at = 0; ; ) {
      const { tag, r } = openMessage(await next(channel));
      if (tag === REPLY) {
        if (at !== asked.length) throw malformed("a commit without a result for every change");
        return decodeCommitReply(r);
      }
      if (tag !== ITEMS) throw unexpected(tag);
      const results = unpackResults(r, asked, at);
      at += results.length;
      onResults(results);
    }
  }

  finish(): void {
    this.#call.done();
    this.#call[Symbol.dispose]();
  }

  async #begin(): Promise<void> {
    const runId = this.#runId;
    if (runId === undefined) return;
    this.#runId = undefined;
    await this.#call.channel.send(encodeRunId(runId));
  }
}

function interrupted(reason: unknown): Error {
  if (reason instanceof SynclineError) return reason;
  return new SynclineError({ code: "INTERRUPTED", op: "call", message: "the call was given up", cause: reason });
}

function nthPath(paths: readonly RelPath[], at: number): RelPath {
  const path = paths[at];
  if (path === undefined) throw malformed("an answer to nothing that was asked");
  return path;
}

/** The next message; an end in its place is a breach. */
async function next(channel: MuxChannel): Promise<Uint8Array> {
  const message = await channel.receive();
  if (message === undefined) throw malformed("an answer that broke off");
  return message;
}

/** The next message that is not a list of problems; those are collected. */
async function answer(channel: MuxChannel, problems: Problem[]): Promise<Tagged> {
  for (;;) {
    const tagged = openMessage(await next(channel));
    if (tagged.tag === ITEMS || tagged.tag === REPLY) return tagged;
    if (tagged.tag !== PROBLEMS) throw unexpected(tagged.tag);
    for (const problem of unpackProblems(tagged.r)) problems.push(problem);
    if (problems.length > PROBLEMS_MAX) throw malformed("too many problems");
  }
}

/** Sends a whole list while answers are read already; a failure shows there, too. */
function sendAll(channel: MuxChannel, messages: readonly Uint8Array[]): Promise<void> {
  const sending = (async () => {
    for (const message of messages) await channel.send(message);
    channel.end();
  })();
  sending.catch(() => undefined);
  return sending;
}

/** Passes messages on until the end, which it passes on as well; a failure ends both channels. */
async function relay(from: Channel, to: Channel): Promise<void> {
  try {
    for (;;) {
      const message = await from.receive();
      if (message === undefined) break;
      const wait = to.send(message, true);
      if (wait !== undefined) await wait;
    }
    to.end();
  } catch (error) {
    from.fail(asError(error));
    to.fail(asError(error));
    throw error;
  }
}

