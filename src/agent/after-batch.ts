/**
 * The host's command after a batch of a root that is changed in place. Which batch it is to run after is written down before
 * that is committed: whatever ends the session or the agent in between, or in the middle of the command, it runs then.
 */
import { newTraceId } from "#platform/trace-id.ts";
import { SynclineError } from "#model/error.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import type { Store } from "#sync/index/store.ts";
import { HOOK_CHANGES_MAX, type HookContext, type Told, runHook } from "#agent/hooks.ts";

const TABLE = "hook";
const OWED = "owed";

export type AfterBatchOptions = {
  readonly context: HookContext;
  /** Of the link's session. */
  readonly store: Store;
  /**
   * The command has failed, and what was committed is to be taken back: remembers, durably, which run that is. The session
   * ends then.
   */
  readonly takeBack: (runId: string, fault: string) => void;
};

export class AfterBatch {
  readonly #options: AfterBatchOptions;

  constructor(options: AfterBatchOptions) {
    this.#options = options;
  }

  get mayTakeBack(): boolean {
    const { after, onAfterFailure } = this.#options.context.hooks;
    return after !== undefined && onAfterFailure === "rollback";
  }

  /** Call before something of the run is committed. */
  owe(runId: string): void {
    const { store, context } = this.#options;
    if (context.hooks.after === undefined) return;
    store.transaction({ durable: true }, () => store.table(TABLE).set(OWED, Buffer.from(runId)));
  }

  /** @throws {SynclineError} HALT when it failed and the run is to be taken back */
  async run(runId: string, told: readonly Told[], count: number, traceId: string, signal: AbortSignal): Promise<void> {
    const { context, takeBack } = this.#options;
    const call = { when: "after", told, count, traceId, batch: { SYNCLINE_RUN_ID: runId } } as const;
    const fault = count === 0 ? undefined : await runHook(context, call, signal);
    if (fault !== undefined) {
      context.log("hook failed after a batch", { link: context.link, runId, traceId, reason: fault });
      if (this.mayTakeBack) {
        takeBack(runId, fault);
        this.#settle();
        // The session records nothing of it: what was committed is still on its way for it, and then is not there.
        throw takenBack(fault);
      }
    }
    this.#settle();
  }

  /** Runs it after a batch that an earlier session could not tell of. @throws {SynclineError} as run() */
  async runOwed(root: Pick<Endpoint, "runs" | "runChanges">, signal: AbortSignal): Promise<void> {
    const { context, store } = this.#options;
    const owed = store.table(TABLE).get(OWED);
    if (owed === undefined) return;
    const runId = Buffer.from(owed).toString();
    // Nothing of it came about, or it was taken back for a fault that could not be written down at once.
    const isStanding = (await root.runs()).some((run) => run.runId === runId && !run.undone);
    if (!isStanding) return this.#settle();
    const changes = await root.runChanges(runId);
    context.log("hook was cut off after a batch, and runs now", { link: context.link, runId, changes: changes.length });
    const told = changes.slice(0, HOOK_CHANGES_MAX).map(({ action, path, from }): Told => ({ action, path, from }));
    await this.run(runId, told, changes.length, newTraceId(context.random), signal);
  }

  /** To run it once more does no harm. */
  #settle(): void {
    const { store } = this.#options;
    store.transaction({ durable: false }, () => store.table(TABLE).delete(OWED));
  }
}

function takenBack(fault: string): SynclineError {
  return new SynclineError({ code: "HALT", op: "hook", message: `the command after a batch failed, so it is taken back: ${fault}` });
}
