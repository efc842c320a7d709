/**
 * Traces (W3C trace context): the id of one that begins here, found in the log, the journal and the audit of all it causes, and
 * how a span of it is named to others.
 */
import type { Random } from "#platform/host.ts";

/** 32 hex digits. */
export function newTraceId(random: Random): string {
  return random.bytes(16).toHex();
}

export type TraceContext = {
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  /** Whoever began it records it. */
  readonly sampled: boolean;
};

export function traceparentOf({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}

/** @param text that is known to be as traceparentOf() writes it */
export function traceContextOf(text: string): TraceContext {
  const [, traceId, spanId, flags] = text.split("-");
  return { traceId: traceId!, spanId: spanId!, sampled: isSampled(flags!) };
}

/** @param flags two hex digits */
export const isSampled = (flags: string): boolean => (Number.parseInt(flags, 16) & 1) === 1;
