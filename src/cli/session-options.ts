/** From what was given on the command line to the options of a session, with the defaults that help promises. */
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { Brake, ScrubOptions, SessionOptions } from "#sync/session/events.ts";
import type { Given } from "#cli/parse.ts";
import { usage } from "#cli/values.ts";

/** Never reached; a plan that empties a side is held all the same. */
export const NO_BRAKE: Brake = { count: Number.MAX_SAFE_INTEGER, percent: undefined };
const RESCAN_MS_DEFAULT = 5 * 60_000;

/** As --settle and --rescan-every, which may come from the environment, it says nothing of a run that does not watch. */
function scrubOptions(given: Given): ScrubOptions | undefined {
  const everyMs = given["scrub-every"];
  if (everyMs === undefined || given.watch !== true) return undefined;
  return { everyMs, bytesPerSecond: given["scrub-rate"] };
}

/** @throws {SynclineError} USAGE for options that contradict each other */
export function sessionOptions(given: Given): SessionOptions {
  const mode = given.mode ?? "two-way-safe";
  if (given.delete === true && !mode.startsWith("one-way")) {
    throw usage(
      `--delete belongs to the one-way modes; ${mode} carries removals over in any case`,
      "leave it out, or add --mode one-way-replica",
    );
  }
  if (given.watch === true && (given["dry-run"] === true || given.approve !== undefined)) {
    throw usage(
      `--watch does not go with ${given.approve === undefined ? "--dry-run" : "--approve"}`,
      "run it once without --watch first",
    );
  }
  const brake = given["max-delete"];
  return {
    mode,
    conflict: given.conflict ?? "leave",
    delete: given.delete ?? false,
    brake: brake === "none" ? NO_BRAKE : brake,
    approve: given.approve,
    dryRun: given["dry-run"] ?? false,
    watch: given.watch ?? false,
    settle: given.settle ?? "throttle",
    rescanMs: given["rescan-every"] ?? RESCAN_MS_DEFAULT,
    deep: given.rescan ?? false,
    scrub: scrubOptions(given),
    ignore: given.exclude ?? [],
    include: given.include ?? [],
    preserve: given.preserve ?? PRESERVE_DEFAULT,
    durable: given.durable ?? "batch",
    verifyReadBack: given.verify !== undefined,
    compress: given.compress ?? "auto",
    bytesPerSecond: given.bwlimit,
    verbose: given.verbose ?? false,
  };
}
