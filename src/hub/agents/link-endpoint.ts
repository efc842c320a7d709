/**
 * The space's endpoint as one link sees it: passes every call on, and looks at what goes by. It remembers how far the
 * agent has stored what came, by its own acknowledgements. An agent that comes back knowing less was restored from a
 * backup: its files are then old, not new, and it is told to compare everything instead of sending them as edits.
 */
import type { Observation } from "#model/observation.ts";
import type { Endpoint, OpenReply, OpenRequest, ScanRequest, ScanSummary } from "#sync/endpoint/endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
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

export class LinkEndpoint extends PassingEndpoint {
  readonly #options: LinkEndpointOptions;
  #mark: LinkMark | undefined;
  #isMarkSaved = true;
  #savedMono = Number.NEGATIVE_INFINITY;
  #saving: Promise<void> = Promise.resolve();
  #firstScan = true;

  constructor(options: LinkEndpointOptions) {
    super(options.inner);
    this.#options = options;
  }

  override async open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply> {
    const reply = await this.inner.open(request, signal);
    const known = await this.#options.loadMark();
    const isSame = known !== undefined && known.session === request.sessionId && known.epoch === reply.epoch;
    this.#mark = isSame ? known : { session: request.sessionId, epoch: reply.epoch, acknowledged: 0 };
    this.#firstScan = true;
    // A controller that has seen less than was acknowledged finds that it cannot go on from there.
    const acknowledged = Math.min(this.#mark.acknowledged, reply.lastSeq);
    return { ...reply, keptAfter: Math.max(reply.keptAfter, acknowledged) };
  }

  override async scan(
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
    return this.inner.scan(request, onBatch, signal);
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

  override watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    return this.inner.watch(() => {
      this.#options.onTold();
      onDirty();
    }, signal);
  }

  override async close(): Promise<void> {
    this.#options.onAsked();
    this.#save();
    await this.#saving;
    await this.inner.close();
  }
}
