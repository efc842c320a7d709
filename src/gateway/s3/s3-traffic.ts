/** What flows through the door right now and has flowed: bounds long bodies, and is counted for metrics. */
import type { Metrics } from "#gateway/api/metrics.ts";
import { S3Error } from "#gateway/s3/s3-error.ts";

/** Uploads at once that are longer than memory is given for; each holds a few chunks. */
export const UPLOADS_MAX = 128;
/** Long answers at once; each holds a piece or two. */
export const DOWNLOADS_MAX = 512;

type Kind = "uploads" | "downloads";

export class S3Traffic {
  readonly #bytes = { in: 0, out: 0 };
  readonly #requests: ReturnType<Metrics["histogram"]>;
  readonly #places: Record<Kind, number> = { uploads: 0, downloads: 0 };

  constructor(metrics: Metrics) {
    metrics.ask("syncline_s3_content_bytes_total", "counter", "Bytes of objects taken in and given out", () =>
      Object.entries(this.#bytes).map(([direction, value]) => ({ labels: { direction }, value })),
    );
    this.#requests = metrics.histogram("syncline_s3_request_seconds", "Time until the head of the answer, by operation and outcome");
    metrics.ask("syncline_s3_streams_active", "gauge", "Long bodies that flow", () =>
      Object.entries(this.#places).map(([kind, value]) => ({ labels: { kind }, value })),
    );
  }

  count(direction: "in" | "out", bytes: number): void {
    this.#bytes[direction] += bytes;
  }

  answered(operation: string, status: number, seconds: number): void {
    const outcome = status < 400 ? "ok" : status < 500 ? "refused" : "failed";
    this.#requests.observe(seconds, { operation, outcome });
  }

  /** @throws {S3Error} SlowDown when all places are taken */
  require(kind: Kind): void {
    const most = kind === "uploads" ? UPLOADS_MAX : DOWNLOADS_MAX;
    if (this.#places[kind] >= most) throw new S3Error("SlowDown", `${most} ${kind} are at work`);
  }

  /** A place for a long body, until it is disposed; ask require() before. */
  take(kind: Kind): Disposable {
    this.#places[kind]++;
    return { [Symbol.dispose]: () => void this.#places[kind]-- };
  }
}
