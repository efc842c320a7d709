/**
 * Spans: what of one trace happened when, for collectors. Which traces are recorded is decided by the trace's id, so that
 * all parts of one decide alike without asking each other; what a caller wants traced is traced.
 */
import type { Random } from "#platform/host.ts";
import type { Span } from "#platform/span.ts";

/** Traces that callers asked for and that are remembered; the oldest go first. */
export const WANTED_MAX = 10_000;

export class Tracer {
  readonly #random: Random;
  readonly #sink: (span: Span) => void;
  readonly #ratio: () => number | undefined;
  readonly #wanted = new Set<string>();
  /** Requests that are at work, so that what they bring about hangs below them. */
  readonly #current = new Map<string, string>();

  /** @param ratio part of the traces that nobody asked for, 0..1; undefined: nothing is traced */
  constructor(random: Random, sink: (span: Span) => void, ratio: () => number | undefined) {
    this.#random = random;
    this.#sink = sink;
    this.#ratio = ratio;
  }

  newSpanId(): string {
    return this.#random.bytes(8).toHex();
  }

  /** A caller wants this trace recorded. */
  want(traceId: string): void {
    if (this.#ratio() === undefined) return;
    this.#wanted.add(traceId);
    if (this.#wanted.size > WANTED_MAX) this.#wanted.delete(this.#wanted.values().next().value!);
  }

  isRecorded(traceId: string): boolean {
    const ratio = this.#ratio();
    if (ratio === undefined) return false;
    // The last digits are the random ones in every generator that there is.
    return this.#wanted.has(traceId) || Number.parseInt(traceId.slice(-8), 16) < ratio * 2 ** 32;
  }

  /** What happens in this trace until the end is below this span. */
  enter(traceId: string, spanId: string): void {
    if (this.isRecorded(traceId)) this.#current.set(traceId, spanId);
  }

  leave(traceId: string): void {
    this.#current.delete(traceId);
  }

  /** The span that is at work in a trace; undefined: none. */
  current(traceId: string): string | undefined {
    return this.#current.get(traceId);
  }

  record(span: Span): void {
    if (this.isRecorded(span.traceId)) this.#sink(span);
  }
}
