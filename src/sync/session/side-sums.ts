/**
 * Asks the sides for sums of files, and takes the answers into the session's state. A scan gives none for what is large or
 * was only touched, because most of it is never compared; who must tell two contents apart asks here for those alone.
 */
import type { Preserve, Sum } from "#model/entry.ts";
import type { Problem } from "#model/observation.ts";
import type { RelPath } from "#model/path.ts";
import type { Side } from "#model/plan.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import type { SessionState } from "#sync/session/state.ts";

/** Paths hashed by one request. */
const SUMS_PER_CALL = 1000;

export type SumsContext = {
  readonly state: SessionState;
  readonly endpoints: Readonly<Record<Side, Endpoint>>;
  readonly preserve: Preserve;
  readonly signal: AbortSignal;
};

export class SideSums {
  readonly #context: SumsContext;
  #hashedBytes = 0;

  constructor(context: SumsContext) {
    this.#context = context;
  }

  /** What the sides have read for it until now. */
  get hashedBytes(): number {
    return this.#hashedBytes;
  }

  /**
   * Of files that `side` was seen to hold.
   *
   * @param unread gets those that could not be read
   */
  async learn(side: Side, paths: readonly RelPath[], unread: Map<RelPath, Problem>): Promise<void> {
    const { endpoints, signal } = this.#context;
    for (let at = 0; at < paths.length; at += SUMS_PER_CALL) {
      const part = paths.slice(at, at + SUMS_PER_CALL);
      const answers = await endpoints[side].sums(part, signal);
      part.forEach((path, one) => this.#take(side, path, answers[one], unread));
    }
  }

  #take(side: Side, path: RelPath, answer: Sum | Problem | undefined, unread: Map<RelPath, Problem>): void {
    const { state, preserve } = this.#context;
    const held = state.held(side, path);
    if (typeof answer === "string" && held.state === "present" && held.entry.kind === "file") {
      this.#hashedBytes += held.entry.size;
      state.observe(side, path, { state: "present", entry: { ...held.entry, sum: answer } }, preserve);
    } else if (answer !== undefined && typeof answer !== "string") unread.set(path, { ...answer, side });
  }
}
