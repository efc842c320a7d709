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
import type { Application, ApplyOp, CommitReply, Endpoint, OpResult } from "#sync/endpoint/endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
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
  readonly #takeBack: (runId: string, fault: string) => void;

  /**
   * @param takeBack a command after a commit has failed, and what was committed is to be taken back: remembers, durably,
   *   which run that is. The session ends then.
   */
  constructor(inner: Endpoint, context: HookContext, takeBack: (runId: string, fault: string) => void) {
    super(inner);
    this.#context = context;
    this.#takeBack = takeBack;
  }

  override apply(runId: string, signal: AbortSignal): Application {
    const open = (id: string): Application => this.inner.apply(id, signal);
    return new HookedApplication(open, runId, this.#context, this.#takeBack, signal);
  }
}

class HookedApplication implements Application {
  readonly #open: (runId: string) => Application;
  readonly #context: HookContext;
  readonly #takeBack: (runId: string, fault: string) => void;
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
    takeBack: (runId: string, fault: string) => void,
    signal: AbortSignal,
  ) {
    this.#open = open;
    this.#runId = runId;
    this.#context = context;
    this.#takeBack = takeBack;
    this.#signal = signal;
  }

  get #mayTakeBack(): boolean {
    const { after, onAfterFailure } = this.#context.hooks;
    return after !== undefined && onAfterFailure === "rollback";
  }

  async push(ops: readonly ApplyOp[]): Promise<void> {
    // Each commit is then a run of its own, so that taking it back takes nothing that was told as done.
    if (this.#mayTakeBack) await this.#committing;
    for (const op of ops) {
      this.#count++;
      if (this.#told.length < HOOK_CHANGES_MAX) this.#told.push(toldOf(op));
    }
    await this.#application().push(ops);
  }

  #application(): Application {
    if (this.#inner === undefined) {
      if (this.#mayTakeBack) this.#runId = Buffer.from(this.#context.random.bytes(RUN_ID_BYTES)).toString("hex");
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
    const { hooks, random, link, log } = this.#context;
    const told = this.#told.splice(0);
    const count = this.#count;
    this.#count = 0;
    const inner = this.#application();
    const call = { traceId: newTraceId(random), batch: { SYNCLINE_RUN_ID: this.#runId } };
    const before = await runHook(this.#context, { ...call, when: "before", told, count }, this.#signal);
    if (before !== undefined) throw stopped(before);
    const done = new Set<string>();
    const reply = await inner.commit((results) => {
      for (const { status, path } of results) if (status === "done") done.add(path);
      onResults(results);
    });
    if (this.#mayTakeBack) this.#inner = undefined;
    if (hooks.after !== undefined && done.size > 0) {
      const happened = told.filter(({ path }) => done.has(path));
      const fault = await runHook(this.#context, { ...call, when: "after", told: happened, count: done.size }, this.#signal);
      if (fault !== undefined) log("hook failed after a batch", { link, runId: this.#runId, traceId: call.traceId, reason: fault });
      if (fault !== undefined && this.#mayTakeBack) {
        this.#takeBack(this.#runId, fault);
        // The session records nothing of it: what was committed is still on its way for it, and then is not there.
        throw takenBack(fault);
      }
    }
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

function takenBack(fault: string): SynclineError {
  return new SynclineError({ code: "HALT", op: "hook", message: `the command after a batch failed, so it is taken back: ${fault}` });
}
