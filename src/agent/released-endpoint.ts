/**
 * The link's own copy while releases are made of it: calls that would change it, or look at it, wait until the release
 * that is being made is whole, because it must be a picture of one moment.
 */
import { SynclineError } from "#model/error.ts";
import type { Sum } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type {
  Application,
  Endpoint,
  OnObserved,
  OpenReply,
  OpenRequest,
  ScanRequest,
  ScanSummary,
  TransferItem,
  TransferResult,
} from "#sync/endpoint/endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import type { Channel } from "#sync/wire/channel.ts";
import type { Publisher } from "#agent/publisher.ts";

type Sums = (paths: readonly RelPath[], signal: AbortSignal) => Promise<(Sum | Problem)[]>;

/** Makes releases of one session, one at a time. */
export class Shown {
  readonly #publisher: Publisher;
  readonly #signal: AbortSignal;
  readonly #onFailure: (error: unknown) => void;
  #sums: Sums | undefined;
  #making: Promise<void> = Promise.resolve();
  /** There may be something that is not shown: at first, and after each change. */
  #isBehind = true;
  #waiting = 0;
  #settled: string | undefined;

  /** @param onFailure ends the session: it begins anew some time later */
  constructor(publisher: Publisher, signal: AbortSignal, onFailure: (error: unknown) => void) {
    this.#publisher = publisher;
    this.#signal = signal;
    this.#onFailure = onFailure;
  }

  /** The endpoint that is open now; what files are is asked of it. */
  use(sums: Sums | undefined): void {
    this.#sums = sums;
  }

  /** The copy was changed, also by a cycle that broke off or left something undone. */
  changed(): void {
    this.#isBehind = true;
  }

  get isBehind(): boolean {
    return this.#isBehind;
  }

  /** What the root shows since the last release of this session; undefined while one is being made, and before the first. */
  get settled(): string | undefined {
    return this.#waiting === 0 ? this.#settled : undefined;
  }

  /** @param onShown called when all that the copy held is shown, and whether nothing more is to be */
  show(sequence: number, onShown: (isLast: boolean) => void): void {
    this.#isBehind = false;
    this.#waiting++;
    const before = this.#making;
    this.#making = this.#showAfter(before, sequence, onShown);
    this.#making.catch(() => undefined);
  }

  /** Where one fails nothing more of this session is shown. */
  async #showAfter(before: Promise<void>, sequence: number, onShown: (isLast: boolean) => void): Promise<void> {
    await before;
    try {
      this.#signal.throwIfAborted();
      await this.#show(sequence);
    } catch (error) {
      this.#onFailure(error);
      throw error;
    }
    onShown(--this.#waiting === 0);
  }

  async #show(sequence: number): Promise<void> {
    const sums = (paths: readonly RelPath[]): Promise<(Sum | Problem)[]> => {
      if (this.#sums === undefined) throw new SynclineError({ code: "INTERRUPTED", op: "make release", message: "the session has ended" });
      return this.#sums(paths, this.#signal);
    };
    this.#settled = await this.#publisher.publish({ sequence, sums }, this.#signal);
  }

  /** Resolves when no release is being made; rejects when one could not be made. */
  ready(): Promise<void> {
    return this.#making;
  }

  /** As ready, whatever came of it. */
  async idle(): Promise<void> {
    await this.#making.catch(() => undefined);
  }
}

export class ReleasedEndpoint extends PassingEndpoint {
  readonly #shown: Shown;

  constructor(inner: Endpoint, shown: Shown) {
    super(inner);
    this.#shown = shown;
  }

  override async open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply> {
    const reply = await this.inner.open(request, signal);
    this.#shown.use((paths, stop) => this.inner.sums(paths, stop));
    return reply;
  }

  override async scan(
    request: ScanRequest,
    onBatch: OnObserved,
    signal: AbortSignal,
  ): Promise<ScanSummary> {
    await this.#shown.ready();
    return this.inner.scan(request, onBatch, signal);
  }

  override async sums(paths: readonly RelPath[], signal: AbortSignal): Promise<(Sum | Problem)[]> {
    await this.#shown.ready();
    return this.inner.sums(paths, signal);
  }

  override async receive(
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#shown.ready();
    return this.inner.receive(channel, items, onResult, signal);
  }

  override apply(runId: string, signal: AbortSignal): Application {
    const inner = this.inner.apply(runId, signal);
    return {
      push: async (ops) => {
        await this.#shown.ready();
        return inner.push(ops);
      },
      commit: async (onResults) => {
        await this.#shown.ready();
        return inner.commit(onResults);
      },
    };
  }

  override async close(): Promise<void> {
    // It still reads what we would close.
    await this.#shown.idle();
    this.#shown.use(undefined);
    await this.inner.close();
  }
}
