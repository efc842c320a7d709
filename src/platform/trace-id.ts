/** The id of a trace that begins here (W3C trace context): found in the log, the journal and the audit of all it causes. */
import type { Random } from "#platform/host.ts";

/** 32 hex digits. */
export function newTraceId(random: Random): string {
  return random.bytes(16).toHex();
}
