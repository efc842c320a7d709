/** What flows through the door right now and has flowed: bounds long bodies and streams, and is counted for metrics. */
import type { Metrics } from "#gateway/api/metrics.ts";
import { ApiProblem } from "#gateway/api/problem.ts";

/** Long uploads at once; each holds a chunk or two of the largest size. */
export const UPLOADS_MAX = 64;
/** Event streams at once; each holds a connection and a page of records at most. */
export const EVENT_STREAMS_MAX = 1024;

export class Traffic {
  readonly #bytes: ReturnType<Metrics["counter"]>;
  #uploads = 0;
  #streams = 0;

  constructor(metrics: Metrics) {
    this.#bytes = metrics.counter("syncline_http_content_bytes_total", "Bytes of content taken in and given out");
    metrics.ask("syncline_http_uploads_active", "gauge", "Long uploads at work", () => [{ value: this.#uploads }]);
    metrics.ask("syncline_http_event_streams_active", "gauge", "Event streams that are open", () => [
      { value: this.#streams },
    ]);
  }

  count(direction: "in" | "out", bytes: number): void {
    this.#bytes.add(bytes, { direction });
  }

  /** A place for a long upload, until it is disposed. @throws {ApiProblem} BUSY */
  upload(): Disposable {
    if (this.#uploads >= UPLOADS_MAX) throw new ApiProblem("BUSY", `${UPLOADS_MAX} uploads are at work`);
    this.#uploads++;
    return { [Symbol.dispose]: () => void this.#uploads-- };
  }

  /** A place for a stream of events, until it is disposed. @throws {ApiProblem} BUSY */
  stream(): Disposable {
    if (this.#streams >= EVENT_STREAMS_MAX) {
      throw new ApiProblem("BUSY", `${EVENT_STREAMS_MAX} event streams are open`);
    }
    this.#streams++;
    return { [Symbol.dispose]: () => void this.#streams-- };
  }
}
