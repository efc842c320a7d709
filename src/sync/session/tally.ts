/**
 * What a session has done since it began: over all its connections, also those that broke, and with rounds that were cut
 * off. A cycle's summary tells what came since the one before; the last summary tells all of it.
 */
import type { Clock } from "#platform/host.ts";
import type { Endpoint } from "#sync/endpoint/endpoint.ts";
import type { Result, Summary } from "#sync/session/events.ts";

export type WireBytes = { readonly sent: number; readonly received: number };

export class Tally {
  readonly #clock: Clock;
  readonly #startMs: number;
  /** Of connections that have ended. */
  #closed: WireBytes = { sent: 0, received: 0 };
  #connected: readonly Endpoint[] = [];
  /** What summaries have told of already. */
  #told: WireBytes = { sent: 0, received: 0 };
  #runId = "";
  #changes = 0;
  #healed = 0;
  readonly #bytes = { scanned: 0, literal: 0, reused: 0, sent: 0, received: 0 };

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#startMs = clock.monotonicMs();
  }

  /** Bytes from here on, greeting and opening among them, are those of these endpoints as well. */
  connect(endpoints: readonly Endpoint[]): void {
    this.#connected = endpoints;
  }

  /** Call when the endpoints are closed. */
  disconnect(): void {
    this.#closed = this.#wire();
    this.#connected = [];
  }

  #wire(): WireBytes {
    let { sent, received } = this.#closed;
    for (const endpoint of this.#connected) {
      const own = endpoint.wireBytes();
      sent += own.sent;
      received += own.received;
    }
    return { sent, received };
  }

  /** Bytes on the wire since the last call. */
  takeWire(): WireBytes {
    const now = this.#wire();
    const before = this.#told;
    this.#told = now;
    return { sent: now.sent - before.sent, received: now.received - before.received };
  }

  /** Adds a summary that was told. */
  add({ runId, changes, healed, bytes }: Summary): void {
    if (runId !== "") this.#runId = runId;
    this.#changes += changes;
    this.#healed += healed;
    for (const key of ["scanned", "literal", "reused", "sent", "received"] as const) this.#bytes[key] += bytes[key];
  }

  /** All of it. @param last the summary that knows how things stand; undefined when there was none */
  total(last: Summary | undefined, result: Result): Summary {
    const rest = this.takeWire();
    this.#bytes.sent += rest.sent;
    this.#bytes.received += rest.received;
    const { files = 0, planned = 0, held = false, conflicts = 0, problems = 0 } = last ?? {};
    const seconds = Math.round(this.#clock.monotonicMs() - this.#startMs) / 1000;
    const changes = this.#changes;
    return {
      type: "summary",
      result,
      runId: this.#runId,
      files,
      changes,
      healed: this.#healed,
      planned,
      held,
      conflicts,
      problems,
      bytes: { ...this.#bytes },
      seconds,
    };
  }
}
