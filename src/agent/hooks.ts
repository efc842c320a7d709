/**
 * Commands of the host around each batch of changes that comes from the space: one before anything of it is visible,
 * which stops the batch when it fails, and one after. They are the host's own: a hub cannot set them.
 */
import { SynclineError } from "#model/error.ts";
import { nameOfChange } from "#model/plan.ts";
import type { Random } from "#platform/host.ts";
import { runShell } from "#platform/net/child.ts";
import type { Application, ApplyOp, CommitReply, Endpoint, OpResult } from "#sync/endpoint/endpoint.ts";
import { PassingEndpoint } from "#sync/endpoint/passing-endpoint.ts";
import type { AgentLog } from "#agent/link-runner.ts";

/** Changes that a command is told of; SYNCLINE_CHANGES says how many there are. */
export const HOOK_CHANGES_MAX = 100_000;
/** What a command said that is logged. */
const SAID_CHARS_MAX = 1000;

export type Hooks = {
  /** Lines of the system's shell. */
  readonly before: string | undefined;
  readonly after: string | undefined;
  readonly timeoutMs: number;
};

export type HookContext = {
  readonly hooks: Hooks;
  readonly link: string;
  readonly root: string;
  readonly space: string;
  readonly random: Random;
  readonly log: AgentLog;
};

export class HookedEndpoint extends PassingEndpoint {
  readonly #context: HookContext;

  constructor(inner: Endpoint, context: HookContext) {
    super(inner);
    this.#context = context;
  }

  override apply(runId: string, signal: AbortSignal): Application {
    return new HookedApplication(this.inner.apply(runId, signal), runId, this.#context, signal);
  }
}

/** A change as a command reads it: one JSON value a line. */
type Told = { readonly action: string; readonly path: string; readonly from?: string | undefined };

class HookedApplication implements Application {
  readonly #inner: Application;
  readonly #runId: string;
  readonly #context: HookContext;
  readonly #signal: AbortSignal;
  #told: Told[] = [];
  #count = 0;

  constructor(inner: Application, runId: string, context: HookContext, signal: AbortSignal) {
    this.#inner = inner;
    this.#runId = runId;
    this.#context = context;
    this.#signal = signal;
  }

  async push(ops: readonly ApplyOp[]): Promise<void> {
    for (const op of ops) {
      this.#count++;
      if (this.#told.length < HOOK_CHANGES_MAX) this.#told.push(toldOf(op));
    }
    await this.#inner.push(ops);
  }

  async commit(onResults: (results: OpResult[]) => void): Promise<CommitReply> {
    const { hooks, random, link, log } = this.#context;
    const traceId = Buffer.from(random.bytes(16)).toString("hex");
    const told = this.#told.splice(0);
    const count = this.#count;
    this.#count = 0;
    if (hooks.before !== undefined) {
      const fault = await this.#run("before", hooks.before, told, count, traceId);
      if (fault !== undefined) throw stopped(fault);
    }
    const done = new Set<string>();
    const reply = await this.#inner.commit((results) => {
      for (const { status, path } of results) if (status === "done") done.add(path);
      onResults(results);
    });
    if (hooks.after !== undefined && done.size > 0) {
      const happened = told.filter(({ path }) => done.has(path));
      const fault = await this.#run("after", hooks.after, happened, done.size, traceId);
      // What has happened is recorded as such; the command's trouble is for people.
      if (fault !== undefined) log("hook failed after a batch", { link, runId: this.#runId, traceId, reason: fault });
    }
    return reply;
  }

  /** Why it failed; undefined when it did not. */
  async #run(when: string, line: string, told: readonly Told[], count: number, traceId: string): Promise<string | undefined> {
    const { hooks, link, root, space, log } = this.#context;
    const environment = {
      SYNCLINE_HOOK: when,
      SYNCLINE_TRACE_ID: traceId,
      SYNCLINE_RUN_ID: this.#runId,
      SYNCLINE_LINK: link,
      SYNCLINE_ROOT: root,
      SYNCLINE_SPACE: space,
      SYNCLINE_CHANGES: String(count),
    };
    const input = told.map((one) => `${JSON.stringify(one)}\n`).join("");
    const limit = AbortSignal.timeout(hooks.timeoutMs);
    try {
      const { status, stderr } = await runShell(line, { input, environment }, AbortSignal.any([this.#signal, limit]));
      log("hook has run", { link, when, runId: this.#runId, traceId, status: status ?? "killed" });
      return status === 0 ? undefined : `status ${status ?? "none"}: ${stderr.trim().slice(-SAID_CHARS_MAX)}`;
    } catch (error) {
      this.#signal.throwIfAborted();
      return limit.aborted ? `no end within ${hooks.timeoutMs} ms` : String(error);
    }
  }
}

function toldOf(op: ApplyOp): Told {
  if (op.type === "move") return { action: "move", path: op.move.to, from: op.move.from };
  return { action: nameOfChange(op.change), path: op.change.path };
}

function stopped(fault: string): SynclineError {
  return new SynclineError({
    code: "HALT",
    op: "hook",
    message: `the command before a batch failed, so nothing of it was carried over: ${fault}`,
    hint: "see what --hook-before does; the batch is tried again",
  });
}
