/** What flows through the door right now and has flowed: bounds long bodies and streams, and is counted for metrics. */
import type { Metrics } from "#gateway/api/metrics.ts";
import { ApiProblem } from "#gateway/api/problem.ts";

/** Long uploads at once; each holds a chunk or two of the largest size. */
export const UPLOADS_MAX = 64;
/** Answers that are longer than memory is given for, at once; each holds a piece or two. */
export const DOWNLOADS_MAX = 256;
/** Event streams at once; each holds a connection and a page of records at most. */
export const EVENT_STREAMS_MAX = 1024;

/** What bodies of bytes need of it; shares count for themselves, too. */
export type Flow = Pick<Traffic, "count" | "download" | "upload">;

type Kind = "uploads" | "downloads" | "event streams";

export class Traffic {
  readonly #bytes: ReturnType<Metrics["counter"]>;
  readonly #places: Record<Kind, number> = { uploads: 0, downloads: 0, "event streams": 0 };

  constructor(metrics: Metrics) {
    this.#bytes = metrics.counter("syncline_http_content_bytes_total", "Bytes of content taken in and given out");
    metrics.ask("syncline_http_streams_active", "gauge", "Bodies and event streams that flow", () =>
      Object.entries(this.#places).map(([name, value]) => ({ labels: { kind: name.replace(" ", "_") }, value })),
    );
  }

  count(direction: "in" | "out", bytes: number): void {
    this.#bytes.add(bytes, { direction });
  }

  /** A place for a long upload, until it is disposed. @throws {ApiProblem} BUSY */
  upload(): Disposable {
    return this.#take("uploads", UPLOADS_MAX);
  }

  /** A place for a long answer, until it is disposed. @throws {ApiProblem} BUSY */
  download(): Disposable {
    return this.#take("downloads", DOWNLOADS_MAX);
  }

  /** A place for a stream of events, until it is disposed. @throws {ApiProblem} BUSY */
  events(): Disposable {
    return this.#take("event streams", EVENT_STREAMS_MAX);
  }

  #take(kind: Kind, max: number): Disposable {
    if (this.#places[kind] >= max) throw new ApiProblem("BUSY", `${max} ${kind} are at work`);
    this.#places[kind]++;
    let isHeld = true;
    return {
      [Symbol.dispose]: () => {
        if (isHeld) this.#places[kind]--;
        isHeld = false;
      },
    };
  }
}
