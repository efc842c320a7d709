/** Bytes over a data connection of FTP, in either direction: kept up with, and with an end that is known to be one. */
import type { TcpConnection } from "#platform/net/tcp-server.ts";
import { lostConnection } from "#sync/foreign/ftp/ftp-errors.ts";

/** A data connection on which nothing has moved for so long is given up. */
export const STALL_MS_MAX = 60_000;
/** The same for what was written and is still on its way when the last byte was. */
const END_MS_MAX = 120_000;
/** Bytes that have come and were not taken yet; the server is made to wait then. */
const AHEAD_BYTES_MAX = 1 << 20;

/**
 * What the server sends. Returns whether it has ended in order: under TLS a cut looks like an end otherwise.
 * @throws {SynclineError} LINK_LOST when it breaks or stalls
 */
export async function* incoming(data: TcpConnection, label: string): AsyncGenerator<Uint8Array, boolean> {
  let pieces: Uint8Array[] = [];
  let bytes = 0;
  let end: { readonly isWhole: boolean } | { readonly error: Error | undefined } | undefined;
  let wake = Promise.withResolvers<void>();
  data.listen({
    onData(piece) {
      pieces.push(piece);
      bytes += piece.length;
      if (bytes > AHEAD_BYTES_MAX) data.pause();
      wake.resolve();
    },
    onEnd(isWhole) {
      end ??= { isWhole };
      wake.resolve();
    },
    onClose(error) {
      end ??= { error };
      wake.resolve();
    },
  });
  try {
    for (;;) {
      const taken = pieces;
      pieces = [];
      bytes = 0;
      for (const piece of taken) yield piece;
      if (pieces.length > 0) continue;
      if (end !== undefined) break;
      wake = Promise.withResolvers<void>();
      data.resume();
      await moved(wake.promise, label);
    }
    // TypeScript does not see that the handlers have set it.
    const ended = end as { isWhole: boolean } | { error: Error | undefined };
    if ("isWhole" in ended) return ended.isWhole;
    throw lostConnection(label, ended.error ?? new Error("the data connection was cut"));
  } finally {
    data.destroy();
  }
}

/**
 * Sends all bytes and ends in order. Errors of `bytes` are rejected with as they are.
 * @returns how many they were; undefined when the server has ended first, and will say why
 */
export async function sendBytes(
  data: TcpConnection,
  bytes: AsyncIterable<Uint8Array>,
  label: string,
): Promise<number | undefined> {
  let count = 0;
  let isGone = false;
  const ended = (): void => {
    isGone = true;
  };
  // Nothing is to come; an end is the server's refusal to take more.
  data.listen({ onData: () => undefined, onEnd: ended, onClose: ended });
  try {
    for await (const piece of bytes) {
      if (isGone) return undefined;
      count += piece.length;
      if (!(await sent(data, piece, label))) return undefined;
    }
    if (isGone) return undefined;
    // What the system still holds of it may take its time; whoever waits for the last reply ends it.
    data.end(END_MS_MAX);
    return count;
  } catch (error) {
    data.destroy();
    throw error;
  }
}

async function sent(data: TcpConnection, piece: Uint8Array, label: string): Promise<boolean> {
  const taken = data.write(piece);
  if (taken === undefined) return true;
  const done = taken.then(() => true, () => false);
  return moved(done, label);
}

/** @throws {SynclineError} LINK_LOST when nothing moves */
async function moved<T>(what: Promise<T>, label: string): Promise<T> {
  const stalled = Promise.withResolvers<never>();
  const timer = setTimeout(() => stalled.reject(lostConnection(label, new Error("the data connection stands still"))), STALL_MS_MAX);
  try {
    return await Promise.race([what, stalled.promise]);
  } finally {
    clearTimeout(timer);
  }
}
