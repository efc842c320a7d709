/**
 * Commands of the host around each batch of changes that comes from the space: one before anything of it is visible,
 * which stops the batch when it fails, and one after, which may take it back. They are the host's own: a hub cannot set
 * them.
 */
import { newTraceId } from "#platform/trace-id.ts";
import { SynclineError } from "#model/error.ts";
import { nameOfChange } from "#model/plan.ts";
import type { Random } from "#platform/host.ts";
import { runShell } from "#platform/net/child.ts";
import type { Application, ApplyOp, CommitReply, Endpoint, OpResult, OpenReply, OpenRequest } from "#sync/endpoint/endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import type { AfterBatch } from "#agent/after-batch.ts";
import type { AgentLog } from "#agent/link-context.ts";

/** Changes that a command is told of; SYNCLINE_CHANGES says how many there are. */
export const HOOK_CHANGES_MAX = 100_000;
/** What a command said that is logged. */
const SAID_CHARS_MAX = 1000;
/** Bytes of a run's id. */
const RUN_ID_BYTES = 6;

export type Hooks = {
  /** Lines of the system's shell. */
  readonly before: string | undefined;
  readonly after: string | undefined;
  readonly timeoutMs: number;
  /** When the one after a batch fails: only say so, or take the batch back and pause the link. */
  readonly onAfterFailure: "report" | "rollback";
};

export type HookContext = {
  readonly hooks: Hooks;
  readonly link: string;
  readonly root: string;
  readonly space: string;
  readonly random: Random;
  readonly log: AgentLog;
};

/** A change as a command reads it: one JSON value a line. */
export type Told = { readonly action: string; readonly path: string; readonly from?: string | undefined };

/** What one command is about. */
export type HookCall = {
  readonly when: "before" | "after";
  readonly told: readonly Told[];
  /** All changes, also those that are not told one by one. */
  readonly count: number;
  readonly traceId: string;
  /** Named to the command and in the log: the run, or the release. */
  readonly batch: { readonly SYNCLINE_RUN_ID: string } | { readonly SYNCLINE_RELEASE: string };
};

/** Why the command failed; undefined when it did not, or there is none. Rejects with the signal's reason. */
export async function runHook(context: HookContext, call: HookCall, signal: AbortSignal): Promise<string | undefined> {
  const { hooks, link, root, space, log } = context;
  const { when, told, count, traceId, batch } = call;
  const line = hooks[when];
  if (line === undefined) return undefined;
  const environment = {
    SYNCLINE_HOOK: when,
    SYNCLINE_TRACE_ID: traceId,
    ...batch,
    SYNCLINE_LINK: link,
    SYNCLINE_ROOT: root,
    SYNCLINE_SPACE: space,
    SYNCLINE_CHANGES: String(count),
  };
  const input = told.map((one) => `${JSON.stringify(one)}\n`).join("");
  const limit = AbortSignal.timeout(hooks.timeoutMs);
  try {
    const { status, stderr } = await runShell(line, { input, environment }, AbortSignal.any([signal, limit]));
    log("hook has run", { link, when, batch: Object.values(batch)[0] ?? "", traceId, status: status ?? "killed" });
    return status === 0 ? undefined : `status ${status ?? "none"}: ${stderr.trim().slice(-SAID_CHARS_MAX)}`;
  } catch (error) {
    signal.throwIfAborted();
    return limit.aborted ? `no end within ${hooks.timeoutMs} ms` : String(error);
  }
}

/** Runs the commands around each commit of a root that is changed in place. */
export class HookedEndpoint extends PassingEndpoint {
  readonly #context: HookContext;
  readonly #after: AfterBatch;

  constructor(inner: Endpoint, context: HookContext, after: AfterBatch) {
    super(inner);
    this.#context = context;
    this.#after = after;
  }

  override async open(request: OpenRequest, signal: AbortSignal): Promise<OpenReply> {
    const reply = await this.inner.open(request, signal);
    await this.#after.runOwed(this.inner, signal);
    return reply;
  }

  override apply(runId: string, signal: AbortSignal): Application {
    const open = (id: string): Application => this.inner.apply(id, signal);
    return new HookedApplication(open, runId, this.#context, this.#after, signal);
  }
}

class HookedApplication implements Application {
  readonly #open: (runId: string) => Application;
  readonly #context: HookContext;
  readonly #after: AfterBatch;
  readonly #signal: AbortSignal;
  #runId: string;
  #inner: Application | undefined;
  #told: Told[] = [];
  #count = 0;
  #committing: Promise<unknown> = Promise.resolve();

  constructor(
    open: (runId: string) => Application,
    runId: string,
    context: HookContext,
    after: AfterBatch,
    signal: AbortSignal,
  ) {
    this.#open = open;
    this.#runId = runId;
    this.#context = context;
    this.#after = after;
    this.#signal = signal;
  }

  async push(ops: readonly ApplyOp[]): Promise<void> {
    // Each commit is then a run of its own, so that taking it back takes nothing that was told as done.
    if (this.#after.mayTakeBack) await this.#committing;
    for (const op of ops) {
      this.#count++;
      if (this.#told.length < HOOK_CHANGES_MAX) this.#told.push(toldOf(op));
    }
    await this.#application().push(ops);
  }

  #application(): Application {
    if (this.#inner === undefined) {
      if (this.#after.mayTakeBack) this.#runId = Buffer.from(this.#context.random.bytes(RUN_ID_BYTES)).toString("hex");
      this.#inner = this.#open(this.#runId);
    }
    return this.#inner;
  }

  commit(onResults: (results: OpResult[]) => void): Promise<CommitReply> {
    const committing = this.#commit(onResults);
    this.#committing = committing.catch(() => undefined);
    return committing;
  }

  async #commit(onResults: (results: OpResult[]) => void): Promise<CommitReply> {
    const told = this.#told.splice(0);
    const count = this.#count;
    this.#count = 0;
    const inner = this.#application();
    const runId = this.#runId;
    const traceId = newTraceId(this.#context.random);
    const call = { when: "before", told, count, traceId, batch: { SYNCLINE_RUN_ID: runId } } as const;
    const before = await runHook(this.#context, call, this.#signal);
    if (before !== undefined) throw stopped(before);
    this.#after.owe(runId);
    const done = new Set<string>();
    const reply = await inner.commit((results) => {
      for (const { status, path } of results) if (status === "done") done.add(path);
      onResults(results);
    });
    if (this.#after.mayTakeBack) this.#inner = undefined;
    await this.#after.run(runId, told.filter(({ path }) => done.has(path)), done.size, traceId, this.#signal);
    return reply;
  }
}

function toldOf(op: ApplyOp): Told {
  if (op.type === "move") return { action: "move", path: op.move.to, from: op.move.from };
  return { action: nameOfChange(op.change), path: op.change.path };
}

export function stopped(fault: string): SynclineError {
  return new SynclineError({
    code: "HALT",
    op: "hook",
    message: `the command before a batch failed, so nothing of it was carried over: ${fault}`,
    hint: "see what --hook-before does; the batch is tried again",
  });
}
