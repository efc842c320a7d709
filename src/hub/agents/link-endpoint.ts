/**
 * The space's endpoint as one link sees it: passes every call on, and looks at what goes by. It remembers how far the
 * agent has stored what came, by its own acknowledgements. An agent that comes back knowing less was restored from a
 * backup: its files are then old, not new, and it is told to compare everything instead of sending them as edits.
 */
import type { Observation, Problem } from "#model/observation.ts";
import type { Sum } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import type {
  Application,
  Endpoint,
  OpenReply,
  OpenRequest,
  ReadItem,
  RunChange,
  RunRecord,
  ScanRequest,
  ScanSummary,
  TransferItem,
  TransferResult,
} from "#sync/endpoint/endpoint.ts";
import type { Channel } from "#sync/wire/channel.ts";
import type { LinkMark } from "#hub/agents/registry.ts";

/** Acknowledgements are written at most this often, and when the link closes. */
const MARK_SAVE_MS = 30_000;

export type LinkEndpointOptions = {
  readonly inner: Endpoint;
  readonly loadMark: () => Promise<LinkMark | undefined>;
  readonly saveMark: (mark: LinkMark) => Promise<void>;
  /** The space has something new for the link. */
  readonly onTold: () => void;
  /** The link asks for it. */
  readonly onAsked: () => void;
  /** The agent was found to know less than it did. */
  readonly onRestored: (known: number, acknowledged: number) => void;
  readonly monotonicMs: () => number;
};

export class LinkEndpoint implements Endpoint {
  readonly label: string;
  readonly #options: LinkEndpointOptions;
  readonly #inner: Endpoint;
  #mark: LinkMark | undefined;
  #isMarkSaved = true;
  #savedMono = Number.NEGATIVE_INFINITY;
  #saving: Promise<void> = Promise.resolve();
  #firstScan = true;

  constructor(options: LinkEndpointOptions) {
    this.#options = options;
    this.#inner = options.inner;
    this.label = options.inner.label;
  }

  async open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply> {
    const reply = await this.#inner.open(request, signal);
    const known = await this.#options.loadMark();
    const isSame = known !== undefined && known.session === request.sessionId && known.epoch === reply.epoch;
    this.#mark = isSame ? known : { session: request.sessionId, epoch: reply.epoch, acknowledged: 0 };
    this.#firstScan = true;
    // A controller that has seen less than was acknowledged finds that it cannot go on from there.
    const acknowledged = Math.min(this.#mark.acknowledged, reply.lastSeq);
    return { ...reply, keptAfter: Math.max(reply.keptAfter, acknowledged) };
  }

  async scan(
    request: ScanRequest,
    onBatch: (batch: Observation[]) => void | Promise<void>,
    signal: AbortSignal,
  ): Promise<ScanSummary> {
    this.#options.onAsked();
    if (this.#firstScan && request.since < this.#mark!.acknowledged) {
      this.#options.onRestored(request.since, this.#mark!.acknowledged);
    }
    this.#firstScan = false;
    this.#acknowledged(request.acknowledged);
    return this.#inner.scan(request, onBatch, signal);
  }

  #acknowledged(sequence: number): void {
    const mark = this.#mark!;
    if (sequence <= mark.acknowledged) return;
    this.#mark = { ...mark, acknowledged: sequence };
    this.#isMarkSaved = false;
    const now = this.#options.monotonicMs();
    if (now - this.#savedMono < MARK_SAVE_MS) return;
    this.#savedMono = now;
    this.#save();
  }

  #save(): void {
    if (this.#isMarkSaved || this.#mark === undefined) return;
    this.#isMarkSaved = true;
    const mark = this.#mark;
    // One that could not be written only makes a restored agent look less restored; the link goes on.
    this.#saving = this.#saving.then(() => this.#options.saveMark(mark)).catch(() => undefined);
  }

  watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    return this.#inner.watch(() => {
      this.#options.onTold();
      onDirty();
    }, signal);
  }

  sums(paths: readonly RelPath[], signal: AbortSignal): Promise<(Sum | Problem)[]> {
    return this.#inner.sums(paths, signal);
  }

  read(paths: readonly RelPath[], signal: AbortSignal): AsyncIterable<ReadItem[]> {
    return this.#inner.read(paths, signal);
  }

  supply(channel: Channel, signal: AbortSignal): Promise<void> {
    return this.#inner.supply(channel, signal);
  }

  receive(
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ): Promise<void> {
    return this.#inner.receive(channel, items, onResult, signal);
  }

  apply(runId: string, signal: AbortSignal): Application {
    return this.#inner.apply(runId, signal);
  }

  runs(): Promise<RunRecord[]> {
    return this.#inner.runs();
  }

  runChanges(runId: string): Promise<RunChange[]> {
    return this.#inner.runChanges(runId);
  }

  undo(runId: string, signal: AbortSignal): Promise<{ restored: number; problems: Problem[] }> {
    return this.#inner.undo(runId, signal);
  }

  wireBytes(): { sent: number; received: number } {
    return this.#inner.wireBytes();
  }

  async close(): Promise<void> {
    this.#options.onAsked();
    this.#save();
    await this.#saving;
    await this.#inner.close();
  }
}
