/**
 * An Endpoint that keeps its files in a Map: enough of the contract to test what carries calls from one host to
 * another. Transfers are plain: the receiver sends a path, the supplier answers with its bytes.
 */
import type { Entry, FileEntry, Sum } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { Observation, Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import {
  type Application,
  type ApplyOp,
  BATCH_ITEMS_MAX,
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
  type TransferItem,
  type TransferResult,
} from "#sync/endpoint/endpoint.ts";
import type { ScrubReply, ScrubRequest } from "#sync/scan/scrub.ts";
import type { Channel } from "#sync/wire/channel.ts";

export const SUM: Sum = "00112233445566778899aabbccddeeff";

export function fileEntry(size: number, more: Partial<FileEntry> = {}): FileEntry {
  return { kind: "file", size, mode: 0o644, mtimeNs: 1_700_000_000_123_456_789n, sum: SUM, ...more };
}

type Stored = { readonly entry: Entry; readonly bytes: Uint8Array | undefined };

export class MemoryEndpoint implements Endpoint {
  readonly label: string;
  readonly files = new Map<RelPath, Stored>();
  readonly staged = new Map<RelPath, Uint8Array>();
  readonly problems: Problem[] = [];
  /** What happened, in order, for tests that look at it. */
  readonly calls: string[] = [];
  device = "1:2";
  opened: OpenRequest | undefined;
  isClosed = false;
  onDirty: (() => void) | undefined;

  constructor(label = "memory") {
    this.label = label;
  }

  put(path: RelPath, text: string): void {
    const bytes = Buffer.from(text);
    this.files.set(path, { entry: fileEntry(bytes.length), bytes: new Uint8Array(bytes) });
  }

  text(path: RelPath): string | undefined {
    const bytes = this.files.get(path)?.bytes;
    return bytes === undefined ? undefined : Buffer.from(bytes).toString();
  }

  async open(request: OpenRequest): Promise<OpenReply> {
    this.calls.push("open");
    this.opened = request;
    return {
      rootId: "root-1",
      epoch: "epoch-1",
      lastSeq: this.files.size,
      keptAfter: 0,
      hostName: "host",
      platform: "memory",
      canWatch: true,
      caseSensitive: true,
      timestampNs: 1n,
      filterHash: "filter",
      device: this.device,
      absolutePath: "/memory",
    };
  }

  async scan(
    request: ScanRequest,
    onBatch: OnObserved,
    signal: AbortSignal,
  ): Promise<ScanSummary> {
    this.calls.push(`scan ${request.extent} ${request.since}`);
    const all = [...this.files].map(([path, { entry }]): Observation => ({ state: "present", path, entry }));
    for (let at = 0; at < all.length; at += BATCH_ITEMS_MAX) {
      signal.throwIfAborted();
      await onBatch(all.slice(at, at + BATCH_ITEMS_MAX), this.problems);
    }
    const { size } = this.files;
    return { seq: size, epoch: "epoch-1", problems: this.problems, entries: size, hashedBytes: 0, degraded: undefined };
  }

  async watch(onDirty: () => void, signal: AbortSignal): Promise<void> {
    this.onDirty = onDirty;
    await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve(), { once: true }));
    this.onDirty = undefined;
  }

  async sums(paths: readonly RelPath[]): Promise<(Sum | Problem)[]> {
    return paths.map((path) => (this.files.has(path) ? SUM : missing(path)));
  }

  async vouch(paths: readonly RelPath[]): Promise<Problem[]> {
    this.calls.push(`vouch ${paths.length}`);
    return this.problems.filter(({ path }) => paths.includes(path));
  }

  async scrub({ everyMs, bytesMax }: ScrubRequest): Promise<ScrubReply> {
    this.calls.push(`scrub ${everyMs} ${bytesMax}`);
    const pass = { startedMs: 1_700_000_000_000.5, files: this.files.size, bytes: 7, damaged: 1 };
    return { bytes: 7, busyMs: 3, found: true, waitMs: everyMs, pass: bytesMax === 0 ? undefined : pass };
  }

  async *read(paths: readonly RelPath[]): AsyncGenerator<ReadItem[]> {
    for (let at = 0; at < paths.length; at += 100) {
      yield paths.slice(at, at + 100).map((path): ReadItem => {
        const file = this.files.get(path);
        if (file?.entry.kind !== "file" || file.bytes === undefined) return { path, problem: missing(path) };
        return { path, entry: file.entry, bytes: file.bytes };
      });
    }
  }

  async supply(channel: Channel): Promise<void> {
    for (;;) {
      const asked = await channel.receive();
      if (asked === undefined) return channel.end();
      await channel.send(this.files.get(Buffer.from(asked).toString())?.bytes ?? new Uint8Array(0));
    }
  }

  async receive(
    channel: Channel,
    items: readonly TransferItem[],
    onResult: (result: TransferResult) => void,
  ): Promise<void> {
    for (const { path, entry } of items) {
      await channel.send(Buffer.from(path));
      const bytes = await channel.receive();
      if (bytes === undefined) throw new SynclineError({ code: "LINK_LOST", op: "receive", message: "no content" });
      this.staged.set(path, bytes);
      onResult({ path, entry: { ...entry, size: bytes.length }, literalBytes: bytes.length, reusedBytes: 0 });
    }
    channel.end();
  }

  apply(runId: string): Application {
    this.calls.push(`apply ${runId}`);
    let pushed: ApplyOp[] = [];
    return {
      push: async (ops) => {
        pushed.push(...ops);
      },
      commit: async (onResults) => {
        const seqBefore = this.files.size;
        const results = pushed.map((op) => this.#perform(op));
        pushed = [];
        for (let at = 0; at < results.length; at += 3000) onResults(results.slice(at, at + 3000));
        return { seqBefore, seqAfter: seqBefore + results.length };
      },
    };
  }

  #perform(op: ApplyOp): OpResult {
    if (op.type === "move") {
      const { from, to } = op.move;
      const stored = this.files.get(from);
      if (stored === undefined) return { path: to, status: "failed", entry: undefined, problem: missing(to) };
      this.files.delete(from);
      this.files.set(to, stored);
      return { path: to, status: "done", entry: stored.entry };
    }
    const { change, bytes } = op;
    if (change.new === undefined) this.files.delete(change.path);
    else this.files.set(change.path, { entry: change.new, bytes: bytes ?? this.staged.get(change.path) });
    return { path: change.path, status: "done", entry: change.new };
  }

  async runs(): Promise<RunRecord[]> {
    return [{ runId: "run-1", startedMs: 1_700_000_000_000, changes: 2, undone: false }];
  }

  async runChanges(runId: string): Promise<RunChange[]> {
    return [{ path: `of/${runId}`, action: "move", from: "old" }, { path: "b", action: "create" }];
  }

  async undo(runId: string): Promise<{ restored: number; problems: Problem[] }> {
    this.calls.push(`undo ${runId}`);
    return { restored: 3, problems: [missing("gone")] };
  }

  wireBytes(): { sent: number; received: number } {
    return { sent: 0, received: 0 };
  }

  async close(): Promise<void> {
    this.isClosed = true;
  }
}

function missing(path: RelPath): Problem {
  return { path, side: "alpha", code: "ENOENT", message: "no such file or directory", transient: true };
}
