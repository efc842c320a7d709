/** An endpoint that passes every call on to another one; what looks at single calls, or adds to them, extends it. */
import type { Sum } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type {
  Application,
  ComingFiles,
  EarlyFiles,
  Endpoint,
  OnObserved,
  OpenReply,
  OpenRequest,
  ReadItem,
  RunChange,
  RunRecord,
  ScanRequest,
  ScanSummary,
  Traces,
  TransferItem,
  TransferResult,
} from "#sync/endpoint/endpoint.ts";
import type { ScrubReply, ScrubRequest } from "#sync/scan/scrub.ts";
import type { Channel } from "#sync/wire/channel.ts";

export class PassingEndpoint implements Endpoint {
  readonly label: string;
  protected readonly inner: Endpoint;

  constructor(inner: Endpoint) {
    this.inner = inner;
    this.label = inner.label;
  }

  open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply> {
    return this.inner.open(request, signal);
  }

  scan(
    request: ScanRequest,
    onBatch: OnObserved,
    signal: AbortSignal,
  ): Promise<ScanSummary> {
    return this.inner.scan(request, onBatch, signal);
  }

  watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    return this.inner.watch(onDirty, signal);
  }

  sums(paths: readonly RelPath[], signal: AbortSignal): Promise<(Sum | Problem)[]> {
    return this.inner.sums(paths, signal);
  }

  vouch(paths: readonly RelPath[], signal: AbortSignal): Promise<Problem[]> {
    return this.inner.vouch(paths, signal);
  }

  scrub(request: ScrubRequest, signal: AbortSignal): Promise<ScrubReply> {
    return this.inner.scrub(request, signal);
  }

  read(paths: readonly RelPath[], signal: AbortSignal): AsyncIterable<ReadItem[]> {
    return this.inner.read(paths, signal);
  }

  supply(channel: Channel, signal: AbortSignal): Promise<void> {
    return this.inner.supply(channel, signal);
  }

  get coming(): ComingFiles | undefined {
    return this.inner.coming;
  }

  get traces(): Traces | undefined {
    return this.inner.traces;
  }

  get early(): EarlyFiles | undefined {
    return this.inner.early;
  }

  receive(
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
    signal: AbortSignal,
  ): Promise<void> {
    return this.inner.receive(channel, items, onResult, signal);
  }

  apply(runId: string, signal: AbortSignal): Application {
    return this.inner.apply(runId, signal);
  }

  runs(): Promise<RunRecord[]> {
    return this.inner.runs();
  }

  runChanges(runId: string): Promise<RunChange[]> {
    return this.inner.runChanges(runId);
  }

  undo(runId: string, signal: AbortSignal): Promise<{ restored: number; problems: Problem[] }> {
    return this.inner.undo(runId, signal);
  }

  wireBytes(): { sent: number; received: number } {
    return this.inner.wireBytes();
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}
