/** What the session's own tests have in common. */
import { PRESERVE_DEFAULT } from "#model/entry.ts";
import type { SessionOptions } from "#sync/session/events.ts";

/** One two-way run that leaves conflicts, without brake and durability. */
export const PLAIN_OPTIONS: SessionOptions = {
  mode: "two-way-safe",
  conflict: "leave",
  delete: false,
  brake: undefined,
  approve: undefined,
  dryRun: false,
  watch: false,
  settle: "immediate",
  rescanMs: 60_000,
  deep: false,
  ignore: [],
  include: [],
  preserve: PRESERVE_DEFAULT,
  durable: "none",
  verifyReadBack: false,
  compress: "none",
  bytesPerSecond: undefined,
  verbose: false,
};
