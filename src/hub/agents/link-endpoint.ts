/**
 * The space's endpoint as one link sees it: passes every call on, and looks at what goes by. It remembers how far the
 * agent has stored what came, by its own acknowledgements. An agent that comes back knowing less was restored from a
 * backup: its files are then old, not new, and it is told to compare everything instead of sending them as edits.
 */
import type { Observation } from "#model/observation.ts";
import type { Endpoint, OpenReply, OpenRequest, ScanRequest, ScanSummary } from "#sync/endpoint/endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import type { LinkMark } from "#hub/agents/registry.ts";

export type LinkEndpointOptions = {
  readonly inner: Endpoint;
  readonly mark: () => LinkMark | undefined;
  readonly setMark: (mark: LinkMark) => void;
  /** The space has something new for the link. */
  readonly onTold: () => void;
  /** The link asks for it. */
  readonly onAsked: () => void;
  /** The agent was found to know less than it did. */
  readonly onRestored: (known: number, acknowledged: number) => void;
};

export class LinkEndpoint extends PassingEndpoint {
  readonly #options: LinkEndpointOptions;
  #session: Pick<LinkMark, "session" | "epoch"> | undefined;
  #isFirstScan = true;

  constructor(options: LinkEndpointOptions) {
    super(options.inner);
    this.#options = options;
  }

  override async open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply> {
    const reply = await this.inner.open(request, signal);
    const known = this.#options.mark();
    this.#session = { session: request.sessionId, epoch: reply.epoch };
    const isSame = known?.session === request.sessionId && known.epoch === reply.epoch;
    if (!isSame) this.#options.setMark({ ...this.#session, acknowledged: 0 });
    this.#isFirstScan = true;
    // A controller that has seen less than was acknowledged finds that it cannot go on from there.
    const acknowledged = isSame ? Math.min(known.acknowledged, reply.lastSeq) : 0;
    return { ...reply, keptAfter: Math.max(reply.keptAfter, acknowledged) };
  }

  override async scan(
    request: ScanRequest,
    onBatch: (batch: Observation[]) => void | Promise<void>,
    signal: AbortSignal,
  ): Promise<ScanSummary> {
    this.#options.onAsked();
    const known = this.#options.mark()?.acknowledged ?? 0;
    if (this.#isFirstScan && request.since < known) this.#options.onRestored(request.since, known);
    this.#isFirstScan = false;
    this.#options.setMark({ ...this.#session!, acknowledged: request.acknowledged });
    return this.inner.scan(request, onBatch, signal);
  }

  override watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    return this.inner.watch(() => {
      this.#options.onTold();
      onDirty();
    }, signal);
  }

  override async close(): Promise<void> {
    this.#options.onAsked();
    await this.inner.close();
  }
}
