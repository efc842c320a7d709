/** What every command gets: its words, where to print, when to stop, and the program's own places. */
import type { Output } from "#cli/output.ts";
import type { Parsed } from "#cli/parse.ts";

export type Context = {
  readonly parsed: Parsed;
  readonly output: Output;
  readonly environment: Record<string, string | undefined>;
  /** Aborted by the first SIGINT or SIGTERM; commands then finish or roll back what they are at and return. */
  readonly signal: AbortSignal;
  /** From now on SIGHUP calls this and does not end the command. */
  readonly onHangup: (listener: () => void) => void;
  /** Made when first asked for. */
  readonly stateDir: () => string;
};

/** A command returns the exit code; what it throws is printed by main and becomes one. */
export type Command = (context: Context) => Promise<number>;
