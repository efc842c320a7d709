/** The destination of a transfer: asks for files, puts them together in the stage, and reports each. */
import { asError } from "#model/error.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { TransferItem, TransferResult } from "#sync/endpoint/endpoint.ts";
import { ByteReader, malformed } from "#sync/wire/bytes.ts";
import { giveBackBuffer } from "#sync/wire/buffer-pool.ts";
import type { Channel } from "#sync/wire/channel.ts";
import type { SumSeeds } from "#sync/chunk/sum.ts";
import { FsError, isCode } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import {
  ASKED_BYTES_MAX,
  FILES_ACTIVE_MAX,
  FILES_ASKED_MAX,
  PROBES_IN_VAIN_MAX,
  PROBE_ALWAYS_BYTES,
  WRITES_WAITING_MAX,
} from "#sync/transfer/limits.ts";
import type { Limit } from "#sync/transfer/line.ts";
import {
  ASK,
  BEGIN,
  CANCEL,
  CHOOSE,
  DATA,
  END,
  FAIL,
  OPS,
  encodeRequest,
  readAsk,
  readDataHeader,
  readEnd,
  readFail,
  readSize,
  startMessage,
} from "#sync/transfer/messages.ts";
import type { BaseFile } from "#sync/transfer/base.ts";
import { type How, ReceiveFile, problemAt, problemFrom } from "#sync/transfer/receive-file.ts";
import { answerRegions } from "#sync/transfer/signature.ts";
import type { StageArea } from "#sync/transfer/stage-area.ts";
import { abortError } from "#sync/transfer/supply.ts";

export type ReceiveContext = {
  readonly host: Host;
  readonly seeds: SumSeeds;
  readonly stage: StageArea;
  /** Leave runs of zeros as holes. */
  readonly sparse: boolean;
  /**
   * What arrives will be made durable where it is: large files may be written past the page cache, and the disk begins
   * with the others at once, so that the sync is short. Without, nothing is written before the kernel wants to.
   */
  readonly durable: boolean;
  /** Bandwidth limiter for what this side sends: hashes. */
  readonly limit: Limit;
  /**
   * Opens this side's own present file at a path, of an item or of its candidates, as its index knows it; undefined
   * when there is none or it is not a file. It need not stay the same: everything taken from it is verified. The transfer closes it.
   * Throws FsError.
   */
  readonly base: (path: RelPath) => BaseFile | undefined;
};

/** Pieces waiting to be read back and hashed before the next message is looked at. */
const BACKLOG_PIECES_MAX = 8;
/** Refusals that will meet every other file as well: the rest is not even asked for. */
const DISK_CODES = new Set(["ENOSPC", "EDQUOT", "EROFS", "EIO"]);

/**
 * Brings `items` into the stage over the channel. Every item gets exactly one result, in any order: the entry
 * that was staged, with the sum that was computed here from the staged bytes and agrees with the source's, or
 * a problem. When the disk is full the items that are left get that problem. Afterwards the channel has
 * ended.
 *
 * Rejects when the transfer as a whole cannot go on (PROTOCOL, LINK_LOST, `signal.reason`); items without a
 * result by then have none, and what was written of them is kept for the next run.
 */
export async function receiveFiles(
  context: ReceiveContext,
  channel: Channel,
  items: readonly TransferItem[],
  onResult: (result: TransferResult) => void,
  signal: AbortSignal,
): Promise<void> {
  const receive = new Receive(context, channel, items, onResult, signal);
  const onAbort = (): void => channel.fail(abortError(signal));
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    signal.throwIfAborted();
    await receive.run();
  } catch (error) {
    channel.fail(asError(error));
    await receive.keepAll();
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

class Receive {
  readonly #context: ReceiveContext;
  readonly #channel: Channel;
  readonly #items: readonly TransferItem[];
  readonly #onResult: (result: TransferResult) => void;
  readonly #turn: () => Promise<void>;
  readonly #files = new Map<number, ReceiveFile>();
  #nextItem = 0;
  #lastId = 0;
  #askedBytes = 0;
  /** The problem of the disk that ends everything. */
  #diskProblem: Problem | undefined;
  /** Signatures are made one after the other: it is the processor that they take. */
  #signing: Promise<void> = Promise.resolve();
  /** Files in a row whose candidates were of no use. */
  #probesInVain = 0;
  #writes = 0;
  #writeSettled: (() => void) | undefined;

  constructor(
    context: ReceiveContext,
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ) {
    this.#turn = () => context.host.clock.sleep(0, signal);
    this.#context = context;
    this.#channel = channel;
    this.#items = items;
    this.#onResult = onResult;
  }

  async run(): Promise<void> {
    await this.#askMore();
    while (this.#files.size > 0) {
      const message = await this.#channel.receive();
      if (message === undefined) throw malformed("it ended before its files");
      await this.#handle(message);
    }
    this.#channel.end();
    if ((await this.#channel.receive()) !== undefined) throw malformed("it goes on after its end");
  }

  /** After a failure: waits for what is under way and keeps what was written. */
  async keepAll(): Promise<void> {
    for (const file of this.#files.values()) {
      await file.settle();
      try {
        file.abandon(undefined, true);
      } catch (error) {
        // All are closed, and what broke off the transfer is what is told: a partial that the disk keeps is found again.
        if (!(error instanceof FsError)) throw error;
      }
    }
    this.#files.clear();
  }

  #send(message: Uint8Array): Promise<void> | void {
    const wait = this.#context.limit(message.length);
    if (wait === undefined) return this.#channel.send(message);
    return wait.then(() => this.#channel.send(message));
  }

  async #askMore(): Promise<void> {
    while (this.#nextItem < this.#items.length) {
      const item = this.#items[this.#nextItem]!;
      if (this.#diskProblem !== undefined) {
        this.#nextItem++;
        this.#reportProblem({ ...this.#diskProblem, path: item.path });
        continue;
      }
      const ahead = this.#files.size >= FILES_ACTIVE_MAX && this.#askedBytes + item.entry.size > ASKED_BYTES_MAX;
      if (ahead || this.#files.size >= FILES_ASKED_MAX) return;
      this.#nextItem++;
      await this.#ask(this.#hopeful(item), "delta");
    }
  }

  async #ask(item: TransferItem, how: How): Promise<void> {
    const { host, seeds, stage, sparse, durable, base } = this.#context;
    let file: ReceiveFile;
    try {
      const parts = { fs: host.fs, seeds, stage, sparse, durable, base, turn: this.#turn };
      file = await ReceiveFile.open(parts, item, this.#lastId + 1, how);
    } catch (error) {
      this.#reportProblem(this.#problemFrom(item.path, error));
      return;
    }
    this.#lastId++;
    this.#askedBytes += item.entry.size;
    this.#files.set(file.id, file);
    const { request } = file;
    await this.#send(encodeRequest(request));
    if (request.base === undefined && request.partial === undefined && request.candidates === undefined) return;
    this.#signLater(file, () => file.sign((message) => this.#send(message)));
  }

  #signLater(file: ReceiveFile, sign: () => Promise<void>): void {
    this.#signing = this.#signing.then(async () => {
      try {
        await sign();
      } catch (error) {
        await this.#signFailed(file, error);
      }
    });
  }

  /** The item with its candidates, unless those of many others were of no use. */
  #hopeful(item: TransferItem): TransferItem {
    if (this.#probesInVain < PROBES_IN_VAIN_MAX || item.entry.size >= PROBE_ALWAYS_BYTES) return item;
    return { path: item.path, entry: item.entry };
  }

  #choose(file: ReceiveFile, reader: ByteReader): void {
    file.choose(reader);
    this.#probesInVain = 0;
    this.#signLater(file, () => file.signChosen((message) => this.#send(message)));
  }

  async #begin(file: ReceiveFile, reader: ByteReader): Promise<void> {
    if (file.isUndecided) this.#probesInVain++;
    await file.begin(readSize(reader), reader.varint());
  }

  /** A base that cannot be read concerns its file; everything else ends the transfer through the channel. */
  async #signFailed(file: ReceiveFile, error: unknown): Promise<void> {
    try {
      await this.#giveUp(file, error, error instanceof FsError);
    } catch (failure) {
      this.#channel.fail(asError(failure));
    }
  }

  #problemFrom(path: RelPath, error: unknown): Problem {
    const problem = problemFrom(path, error);
    if (DISK_CODES.has(problem.code)) this.#diskProblem ??= problem;
    return problem;
  }

  /**
   * Nothing more is wanted of this file. That what is here cannot be read is no reason to fail: a bad sector in the base
   * or the partial, a candidate that another host has removed.
   */
  async #giveUp(file: ReceiveFile, error: unknown, isOfReading = isCode(error, "EIO")): Promise<void> {
    if (file.problem !== undefined) return;
    file.isToRetry = file.how === "delta" && isOfReading;
    file.problem = file.isToRetry ? problemFrom(file.path, error) : this.#problemFrom(file.path, error);
    await this.#send(startMessage(CANCEL, file.id).finish());
  }

  async #handle(message: Uint8Array): Promise<void> {
    if (message[0] === DATA) return this.#data(message);
    const reader = new ByteReader(message);
    const type = reader.u8();
    const file = this.#fileOf(reader.varint());
    if (type === FAIL) return this.#failed(file, reader);
    if (type === END) return this.#ended(file, reader);
    if (file.problem !== undefined) return;
    try {
      if (type === BEGIN) await this.#begin(file, reader);
      else if (type === CHOOSE) this.#choose(file, reader);
      else if (type === OPS) await file.ops(reader);
      else if (type === ASK) await this.#answer(file, reader);
      else throw malformed("an unknown message");
    } catch (error) {
      await this.#giveUp(file, error);
      return;
    }
    if (!reader.atEnd) throw malformed("it goes on after its end");
    if (type !== CHOOSE) await this.#holdBack(file);
  }

  #fileOf(id: number): ReceiveFile {
    const file = this.#files.get(id);
    if (file === undefined) throw malformed("a file that was not asked for");
    return file;
  }

  async #answer(file: ReceiveFile, reader: ByteReader): Promise<void> {
    if (file.base === undefined) throw malformed("a question about no base");
    const regions = readAsk(reader, file.base.size);
    await this.#send(await answerRegions(file.base, file.id, regions, this.#context.seeds));
  }

  async #data(message: Uint8Array): Promise<void> {
    const header = readDataHeader(message);
    const file = this.#fileOf(header.id);
    if (file.problem !== undefined) return;
    this.#writes++;
    file.data(header, message, () => {
      giveBackBuffer(message);
      this.#writes--;
      this.#writeSettled?.();
    });
    await this.#holdBack(file);
  }

  /** Bounds the memory of what is under way, and sees to failures of what was not awaited. */
  async #holdBack(file: ReceiveFile): Promise<void> {
    while (this.#writes >= WRITES_WAITING_MAX) {
      const settled = Promise.withResolvers<void>();
      this.#writeSettled = settled.resolve;
      await settled.promise;
    }
    const { assembly } = file;
    if (assembly.backlog > BACKLOG_PIECES_MAX) await assembly.catchUp(BACKLOG_PIECES_MAX);
    if (assembly.failure !== undefined) await this.#giveUp(file, assembly.failure);
  }

  async #failed(file: ReceiveFile, reader: ByteReader): Promise<void> {
    const failure = readFail(reader);
    await file.settle();
    if (file.isToRetry) return this.#again(file);
    const problem = file.problem ?? problemAt(file.path, failure);
    await this.#finish(file, () => file.abandon(problem, problem.code === "CHANGED"));
  }

  async #ended(file: ReceiveFile, reader: ByteReader): Promise<void> {
    const entry = readEnd(reader);
    await file.settle();
    if (file.isToRetry) return this.#again(file);
    const { problem } = file;
    if (problem !== undefined) return this.#finish(file, () => file.abandon(problem, false));
    let verified = false;
    try {
      verified = await file.verify(entry);
    } catch (error) {
      const found = this.#problemFrom(file.path, error);
      return this.#finish(file, () => file.abandon(found, false));
    }
    if (verified) return this.#finish(file, () => file.done(entry));
    if (file.how === "delta") return this.#again(file);
    const message = "the bytes that arrived are not those that the source read";
    const corrupt = problemAt(file.path, { code: "CORRUPT", message, transient: true });
    return this.#finish(file, () => file.abandon(corrupt, false));
  }

  /** A block was mistaken for another, or the base changed or cannot be read: once more, without taking anything from here. */
  async #again(file: ReceiveFile): Promise<void> {
    this.#remove(file);
    file.abandon(undefined, false);
    await this.#ask(file.item, "whole");
    await this.#askMore();
  }

  #remove(file: ReceiveFile): void {
    this.#files.delete(file.id);
    this.#askedBytes -= file.item.entry.size;
  }

  async #finish(file: ReceiveFile, close: () => TransferResult): Promise<void> {
    this.#remove(file);
    let result: TransferResult | undefined;
    try {
      result = close();
    } catch (error) {
      this.#reportProblem(this.#problemFrom(file.path, error));
    }
    if (result !== undefined) this.#onResult(result);
    await this.#askMore();
  }

  #reportProblem(problem: Problem): void {
    this.#onResult({ path: problem.path, problem, literalBytes: 0, reusedBytes: 0 });
  }
}
