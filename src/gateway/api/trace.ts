/** W3C trace context (level 1): one trace id from a client through the hub to the journal. */
import { newTraceId } from "#platform/trace-id.ts";
import type { Random } from "#platform/host.ts";

export type Trace = {
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits: this request's own span. */
  readonly spanId: string;
  /** The caller's span; undefined: the trace begins here. */
  readonly parentId: string | undefined;
  readonly sampled: boolean;
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
  return { traceId: match[2]!, spanId, parentId: match[3]!, sampled: (Number.parseInt(match[4]!, 16) & 1) === 1 };
}

export function traceparentOf(trace: Trace): string {
  return `00-${trace.traceId}-${trace.spanId}-${trace.sampled ? "01" : "00"}`;
}
