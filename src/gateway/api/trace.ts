/** W3C trace context (level 1): one trace id from a client through the hub to the journal. */
import { type TraceContext, isSampled, newTraceId } from "#platform/trace-id.ts";
import type { Random } from "#platform/host.ts";

/** The span is this request's own. */
export type Trace = TraceContext & {
  /** The caller's span; undefined: the trace begins here. */
  readonly parentId: string | undefined;
};

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Goes on with the caller's trace, or begins one where its header is missing or no trace context. */
export function traceOf(header: string | null, random: Random): Trace {
  const spanId = random.bytes(8).toHex();
  const match = header === null ? null : TRACEPARENT.exec(header.trim());
  const isUsable =
    match !== null &&
    match[1] !== "ff" &&
    (match[1] !== "00" || match[5] === undefined) &&
    !/^0+$/.test(match[2]!) &&
    !/^0+$/.test(match[3]!);
  if (!isUsable) return { traceId: newTraceId(random), spanId, parentId: undefined, sampled: false };
  return { traceId: match[2]!, spanId, parentId: match[3]!, sampled: isSampled(match[4]!) };
}
