/** What the exit code tells a script. Documented in the help of `sync`. */
import { SynclineError } from "#model/error.ts";
import type { Summary } from "#sync/session/events.ts";

export const EXIT = {
  /** Both sides are the same; or the command did what it says. */
  same: 0,
  /** Some paths failed, differ or need attention. */
  problems: 1,
  /** Conflicts, a held plan or a halted session wait for a person. */
  decision: 2,
  /** It could not start, or broke off as a whole. */
  failed: 3,
  interrupted: 130,
} as const;

export function exitOfSummary(summary: Summary): number {
  switch (summary.result) {
    case "same":
      return EXIT.same;
    case "problems":
      return EXIT.problems;
    case "conflicts":
    case "held":
      return EXIT.decision;
    case "interrupted":
      return EXIT.interrupted;
    case "failed":
      return EXIT.failed;
    case "dry-run":
      if (summary.conflicts > 0 || summary.held) return EXIT.decision;
      return summary.problems > 0 ? EXIT.problems : EXIT.same;
  }
}

export function exitOfError(error: unknown): number {
  if (!(error instanceof SynclineError)) return EXIT.failed;
  if (error.code === "INTERRUPTED") return EXIT.interrupted;
  return error.code === "HALT" ? EXIT.decision : EXIT.failed;
}
