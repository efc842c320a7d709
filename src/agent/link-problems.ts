/** Names the problems of a link in the agent's log: each when it is new, since cycles repeat what has not changed. */
import type { Problem } from "#model/observation.ts";
import type { Side } from "#model/plan.ts";
import type { SessionEvent } from "#sync/session/events.ts";
import type { AgentLog } from "#agent/link-context.ts";

/** New problems of one cycle that are named; the others are counted. */
const NAMED_MAX = 20;
/** Problems of one cycle that are known again in the next; others are counted only. */
const KNOWN_MAX = 10_000;
const REASON_CHARS_MAX = 500;

export class LinkProblems {
  readonly #link: string;
  readonly #log: AgentLog;
  #before: ReadonlySet<string> = new Set();
  #now = new Set<string>();
  #named = 0;
  #unnamed = 0;
  #degraded = "";

  constructor(link: string, log: AgentLog) {
    this.#link = link;
    this.#log = log;
  }

  /** The problems of a cycle come before it. */
  event(event: SessionEvent, spaceSide: Side): void {
    if (event.type === "problem") return this.#problem(event.problem, spaceSide);
    if (event.type === "degraded") return this.#unwatched(`${placeOf(event.side, spaceSide)}: ${event.reason}`);
    if (event.type === "cycle") this.#end(event.summary.result);
  }

  #problem({ path, side, code, message }: Problem, spaceSide: Side): void {
    const key = `${side} ${path} ${code}`;
    if (this.#now.has(key)) return;
    if (this.#now.size < KNOWN_MAX) this.#now.add(key);
    if (this.#before.has(key)) return;
    if (this.#named++ >= NAMED_MAX) {
      this.#unnamed++;
      return;
    }
    const reason = message.slice(0, REASON_CHARS_MAX);
    this.#log("problem", { link: this.#link, at: placeOf(side, spaceSide), path: path === "" ? "." : path, code, reason });
  }

  #unwatched(reason: string): void {
    if (reason === this.#degraded) return;
    this.#degraded = reason;
    this.#log("link is not told of all changes and looks at everything more often", { link: this.#link, reason });
  }

  #end(result: string): void {
    if (this.#unnamed > 0) this.#log("more problems, which are not named", { link: this.#link, problems: this.#unnamed });
    // A cycle that broke off knows of some at most.
    const isWhole = result !== "interrupted" && result !== "failed";
    if (isWhole && this.#before.size > 0 && this.#now.size === 0) this.#log("problems are over", { link: this.#link });
    this.#before = isWhole ? this.#now : new Set([...this.#before, ...this.#now].slice(0, KNOWN_MAX));
    this.#now = new Set();
    this.#named = 0;
    this.#unnamed = 0;
  }
}

const placeOf = (side: Side, spaceSide: Side): string => (side === spaceSide ? "space" : "host");
