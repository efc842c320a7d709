/**
 * Who sends a body has a place that others wait for: a byte a second, or nothing, would keep it for ever. So what is
 * waited for must also come at some rate. Low, because there are lines that are slow: the runtime's own rule for
 * connections would cut whoever sends less than 16 KiB a second.
 */
import { SynclineError } from "#model/error.ts";

/** Time that is spent waiting for a sender, and the least that must come in it: 273 bytes a second. */
export const PACE_WINDOW_MS = 60_000;
export const PACE_BYTES_MIN = 16 << 10;
/** How often it is looked whether anything comes at all. */
const LOOK_MS = 15_000;

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

/** Where pieces come from, and how whoever waits for one is let go. */
export type PacedSource<T> = {
  readonly next: () => Promise<{ readonly done?: boolean | undefined; readonly value?: T | undefined }>;
  /** What waits in next() ends, somehow. */
  readonly giveUp: () => void;
};

/** @throws {SynclineError} LIMIT where too little comes, or nothing; what next() throws */
export async function* pacedPieces<T>(
  source: PacedSource<T>,
  sizeOf: (piece: T) => number,
  nowMs: () => number = () => performance.now(),
  lookMs = LOOK_MS,
): AsyncGenerator<T> {
  const pace = new Pace();
  let askedMs: number | undefined;
  let isSilent = false;
  const looking = setInterval(() => {
    if (askedMs === undefined || nowMs() - askedMs < PACE_WINDOW_MS) return;
    isSilent = true;
    source.giveUp();
  }, lookMs);
  looking.unref();
  try {
    for (;;) {
      askedMs = nowMs();
      const { done, value } = await source.next();
      const waitedMs = nowMs() - askedMs;
      askedMs = undefined;
      if (isSilent) throw tooSlow();
      if (done === true) return;
      pace.came(sizeOf(value!), waitedMs);
      yield value!;
    }
  } catch (error) {
    throw isSilent ? tooSlow() : error;
  } finally {
    clearInterval(looking);
  }
}

/** The pieces of a body. Leaving it early cancels the body. @throws {SynclineError} as pacedPieces() */
export async function* paced(
  body: ReadableStream<Uint8Array> | null,
  nowMs?: () => number,
  lookMs?: number,
): AsyncGenerator<Uint8Array> {
  if (body === null) return;
  const reader = body.getReader();
  const giveUp = (): Promise<void> => reader.cancel().catch(() => undefined);
  try {
    yield* pacedPieces({ next: () => reader.read(), giveUp: () => void giveUp() }, ({ length }) => length, nowMs, lookMs);
  } finally {
    await giveUp();
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
