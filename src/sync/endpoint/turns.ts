/**
 * Turns by priority among endpoints that are used at the same time: while one of a higher priority is at work, the
 * others wait before each of their steps. Each wait is bounded, so that however busy the first ones are, the last one
 * comes forward, too: one step every GIVE_WAY_MS.
 */
import { asError } from "#model/error.ts";
import type { Sum } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import type {
  Application,
  ComingFiles,
  EarlyFiles,
  Endpoint,
  OnObserved,
  ReadItem,
  ScanRequest,
  ScanSummary,
  TransferItem,
  TransferResult,
} from "#sync/endpoint/endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import type { Channel } from "#sync/wire/channel.ts";

/** Longest wait before one step: a batch, or a message of a transfer. */
export const GIVE_WAY_MS = 200;

type Waiting = { readonly priority: number; readonly wake: AbortController };

export class Turns {
  readonly #clock: Clock;
  /** Calls under way, by priority. */
  readonly #busy = new Map<number, number>();
  readonly #waiting = new Set<Waiting>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A call of that priority is under way, until the function that is returned is called (once). */
  begin(priority: number): () => void {
    this.#busy.set(priority, (this.#busy.get(priority) ?? 0) + 1);
    return () => {
      const left = this.#busy.get(priority)! - 1;
      if (left > 0) this.#busy.set(priority, left);
      else this.#busy.delete(priority);
      for (const one of this.#waiting) if (!this.#mustWait(one.priority)) one.wake.abort();
    };
  }

  #mustWait(priority: number): boolean {
    for (const other of this.#busy.keys()) if (other > priority) return true;
    return false;
  }

  /** Undefined: go on at once. Otherwise resolves when no higher one is at work, or GIVE_WAY_MS have passed; never rejects. */
  giveWay(priority: number): Promise<void> | undefined {
    return this.#mustWait(priority) ? this.#wait(priority) : undefined;
  }

  async #wait(priority: number): Promise<void> {
    const one = { priority, wake: new AbortController() };
    this.#waiting.add(one);
    await this.#clock.sleep(GIVE_WAY_MS, one.wake.signal).catch(() => undefined);
    this.#waiting.delete(one);
  }
}

/** An endpoint whose calls take their turns. */
export class TurnEndpoint extends PassingEndpoint {
  readonly #turns: Turns;
  readonly #priority: number;

  constructor(inner: Endpoint, turns: Turns, priority: number) {
    super(inner);
    this.#turns = turns;
    this.#priority = priority;
  }

  async #call<T>(work: () => Promise<T>): Promise<T> {
    const end = this.#turns.begin(this.#priority);
    try {
      await this.#turns.giveWay(this.#priority);
      return await work();
    } finally {
      end();
    }
  }

  override scan(
    request: ScanRequest,
    onBatch: OnObserved,
    signal: AbortSignal,
  ): Promise<ScanSummary> {
    const inTurn: OnObserved = async (batch, problems) => {
      await this.#turns.giveWay(this.#priority);
      await onBatch(batch, problems);
    };
    return this.#call(() => this.inner.scan(request, inTurn, signal));
  }

  override sums(paths: readonly RelPath[], signal: AbortSignal): Promise<(Sum | Problem)[]> {
    return this.#call(() => this.inner.sums(paths, signal));
  }

  override vouch(paths: readonly RelPath[], signal: AbortSignal): Promise<Problem[]> {
    return this.#call(() => this.inner.vouch(paths, signal));
  }

  override async *read(paths: readonly RelPath[], signal: AbortSignal): AsyncGenerator<ReadItem[]> {
    const end = this.#turns.begin(this.#priority);
    try {
      for await (const batch of this.inner.read(paths, signal)) {
        await this.#turns.giveWay(this.#priority);
        yield batch;
      }
    } finally {
      end();
    }
  }

  override supply(channel: Channel, signal: AbortSignal): Promise<void> {
    return this.#call(() => this.inner.supply(this.#inTurn(channel), signal));
  }

  override get coming(): ComingFiles | undefined {
    const { coming } = this.inner;
    if (coming === undefined) return undefined;
    return {
      watch: (onNews, signal) => coming.watch(onNews, signal),
      supply: (channel, signal) => coming.supply(this.#inTurn(channel), signal),
    };
  }

  override get early(): EarlyFiles | undefined {
    const { early } = this.inner;
    if (early === undefined) return undefined;
    return {
      bring: (channel, path, size, signal) => early.bring(this.#inTurn(channel), path, size, signal),
      drop: (path) => early.drop(path),
    };
  }

  #inTurn(channel: Channel): Channel {
    return new TurnChannel(channel, this.#turns, this.#priority);
  }

  override receive(
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#call(() => this.inner.receive(this.#inTurn(channel), items, onResult, signal));
  }

  override apply(runId: string, signal: AbortSignal): Application {
    const inner = this.inner.apply(runId, signal);
    return {
      push: (ops) => this.#call(() => inner.push(ops)),
      commit: (onResults) => this.#call(() => inner.commit(onResults)),
    };
  }
}

/** Messages leave, and are taken, in their order. */
class TurnChannel implements Channel {
  readonly #inner: Channel;
  readonly #turns: Turns;
  readonly #priority: number;
  /** Of the newest message that had to wait; nothing follows one that was lost. */
  #last: Promise<void> | undefined;

  constructor(inner: Channel, turns: Turns, priority: number) {
    this.#inner = inner;
    this.#turns = turns;
    this.#priority = priority;
  }

  send(message: Uint8Array, isGiven?: boolean): ReturnType<Channel["send"]> {
    const wait = this.#turns.giveWay(this.#priority);
    if (wait === undefined && this.#last === undefined) return this.#inner.send(message, isGiven);
    const sent = Promise.all([this.#last, wait]).then(() => this.#inner.send(message, isGiven));
    const last: Promise<void> = sent.then(() => {
      if (this.#last === last) this.#last = undefined;
    });
    this.#last = last;
    // Told to the sender, to all who send behind it, and at the end to the other side.
    last.catch(() => undefined);
    return sent;
  }

  async receive(): Promise<Uint8Array | undefined> {
    const wait = this.#turns.giveWay(this.#priority);
    if (wait !== undefined) await wait;
    return this.#inner.receive();
  }

  end(): void {
    if (this.#last === undefined) return this.#inner.end();
    this.#last.then(
      () => this.#inner.end(),
      (error: unknown) => this.#inner.fail(asError(error)),
    );
  }

  fail(error: Error): void {
    this.#inner.fail(error);
  }
}
