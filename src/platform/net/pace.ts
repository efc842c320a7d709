/**
 * Who sends a body has a place that others wait for, and the timeouts of connections hold only where nothing moves: a
 * byte a second would keep it for ever. So what is waited for must also come at some rate.
 */
import { SynclineError } from "#model/error.ts";

/** Time that is spent waiting for a sender, and the least that must come in it: 273 bytes a second. */
export const PACE_WINDOW_MS = 60_000;
export const PACE_BYTES_MIN = 16 << 10;

/** Counts time in which the sender was waited for; what the hub itself needs is not the sender's. */
export class Pace {
  #waitedMs = 0;
  #bytes = 0;

  /** @throws {SynclineError} LIMIT when too little has come */
  came(bytes: number, waitedMs: number): void {
    this.#waitedMs += waitedMs;
    this.#bytes += bytes;
    if (this.#waitedMs < PACE_WINDOW_MS) return;
    if (this.#bytes < PACE_BYTES_MIN) throw tooSlow();
    this.#waitedMs = 0;
    this.#bytes = 0;
  }
}

/** The pieces of a body. Leaving it early cancels the body. @throws {SynclineError} LIMIT; what reading throws */
export async function* paced(
  body: ReadableStream<Uint8Array> | null,
  nowMs: () => number = () => performance.now(),
): AsyncGenerator<Uint8Array> {
  const pace = new Pace();
  let askedMs = nowMs();
  for await (const piece of body ?? []) {
    pace.came(piece.length, nowMs() - askedMs);
    yield piece;
    askedMs = nowMs();
  }
}

function tooSlow(): SynclineError {
  return new SynclineError({
    code: "LIMIT",
    op: "take body",
    message: `less than ${PACE_BYTES_MIN} bytes came in ${PACE_WINDOW_MS / 1000} s`,
    hint: "send it over a better line, or in parts that can be gone on with",
  });
}
