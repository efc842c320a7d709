/** One thing that happened within a trace, as collectors are told of it. */

export type SpanKind = "internal" | "server" | "consumer";

export type Span = {
  /** 32 hex digits. */
  readonly traceId: string;
  /** 16 hex digits. */
  readonly spanId: string;
  readonly parentId: string | undefined;
  readonly name: string;
  readonly kind: SpanKind;
  /** Wall clock. */
  readonly beganMs: number;
  readonly endedMs: number;
  readonly isError: boolean;
  readonly attributes: Readonly<Record<string, string | number | undefined>>;
};
