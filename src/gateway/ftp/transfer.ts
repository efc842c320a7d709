/** What all transfers have in common: reply 150, the data connection, what moves over it, its end, exactly one last reply. */
import type { TcpConnection } from "#platform/net/tcp-server.ts";
import { Pace } from "#platform/net/pace.ts";
import { mustBeSecure } from "#gateway/ftp/account-commands.ts";
import { Deflating } from "#gateway/ftp/deflate.ts";
import { FtpRefusal, replyLine } from "#gateway/ftp/reply.ts";
import type { FtpSession, Transfer } from "#gateway/ftp/session.ts";

/** What is told in the log and while it runs. */
export type TransferAbout = {
  readonly name: string;
  readonly direction: "in" | "out";
  /** Of reply 150. */
  readonly text: string;
};

/** How a transfer tells what it does. */
export type Moved = {
  readonly signal: AbortSignal;
  /** So many bytes went over the data connection; a promise where the user's rate makes it wait. */
  by(bytes: number): Promise<void> | undefined;
  /** The data connection is gone. */
  broken(error: Error | undefined): void;
  /** From here on the client has nothing to do: it is no stall. */
  committing(isSo: boolean): void;
};

/** @throws {FtpRefusal} 426 when the connection is gone */
async function delivered(written: Promise<void> | undefined): Promise<void> {
  if (written === undefined) return;
  await written.catch(() => {
    throw brokenOff();
  });
}

export function brokenOff(): FtpRefusal {
  return new FtpRefusal(426, "The data connection broke off");
}

/**
 * Opens the data connection that was arranged and lets `work` use it. When that fails, or the transfer is aborted, the
 * connection is cut, so that nobody takes a part for the whole, unless `work` has ended it.
 *
 * @returns the last reply
 * @throws {FtpRefusal} the last reply of a transfer that failed, or why it did not begin; other errors as they come
 */
export async function runTransfer(
  session: FtpSession,
  { name, direction, text }: TransferAbout,
  work: (connection: TcpConnection, moved: Moved) => Promise<string>,
): Promise<string> {
  const { shared, channel } = session;
  if (!channel.isArranged) throw new FtpRefusal(425, "Send PASV, EPSV, PORT or EPRT first");
  if (!session.isDataPrivate && mustBeSecure(session)) throw new FtpRefusal(522, "Data connections must be private here: send PROT P");
  using _place = shared.traffic.begin(direction);
  const abort = new AbortController();
  const transfer: Transfer = { name, direction, bytes: 0, movedMs: shared.clock.monotonicMs(), isCommitting: false, abort };
  let isDone = false;
  let connection: TcpConnection | undefined;
  const cut = (): void => {
    if (connection?.isEnding !== true) connection?.destroy();
  };
  abort.signal.addEventListener("abort", cut, { once: true });
  try {
    session.begin(transfer);
    const announce = (): Promise<void> => session.send(replyLine(150, text));
    connection = await channel.open(session.protection, shared.clock, abort.signal, announce);
    transfer.movedMs = shared.clock.monotonicMs();
    const reply = await work(connection, movedOf(session, transfer));
    isDone = true;
    return reply;
  } catch (error) {
    throw abort.signal.aborted ? abort.signal.reason : error;
  } finally {
    session.endTransfer();
    if (!isDone) cut();
    shared.traffic.ended(direction, isDone);
  }
}

function movedOf(session: FtpSession, transfer: Transfer): Moved {
  const { shared, signedIn } = session;
  const { direction, abort } = transfer;
  const user = signedIn!.who.name;
  const pace = new Pace();
  return {
    signal: abort.signal,
    by(bytes) {
      const waitedMs = shared.clock.monotonicMs() - transfer.movedMs;
      // Nothing moves where a client takes nothing; one that sends a byte now and then would never be a stall.
      if (direction === "in") inPace(pace, bytes, waitedMs, abort);
      transfer.bytes += bytes;
      transfer.movedMs = shared.clock.monotonicMs();
      shared.traffic.count(direction, bytes);
      return shared.bandwidth.take(user, direction, bytes, abort.signal);
    },
    broken: () => abort.abort(brokenOff()),
    committing(isSo) {
      transfer.isCommitting = isSo;
      transfer.movedMs = shared.clock.monotonicMs();
    },
  };
}

function inPace(pace: Pace, bytes: number, waitedMs: number, abort: AbortController): void {
  try {
    pace.came(bytes, waitedMs);
  } catch (error) {
    abort.abort(error);
  }
}

/** Where the bytes of a transfer go, as its mode has them. */
export interface DataOut extends Disposable {
  /** Calls may overlap; the bytes are the caller's again when it resolves. @throws {FtpRefusal} 426 */
  write(bytes: Uint8Array): Promise<void>;
  /** All of it has gone, and the connection ends in order. */
  end(): Promise<void>;
}

export function dataOut({ deflateLevel }: FtpSession, connection: TcpConnection, moved: Moved): DataOut {
  const send = async (bytes: Uint8Array): Promise<void> => {
    moved.signal.throwIfAborted();
    await delivered(connection.writeElsewhere(bytes));
    await moved.by(bytes.length);
  };
  if (deflateLevel === undefined) {
    return { write: send, end: async () => connection.end(), [Symbol.dispose]: () => undefined };
  }
  const deflating = new Deflating(deflateLevel, send);
  return {
    write: (bytes) => deflating.write(bytes),
    async end() {
      await deflating.end();
      connection.end();
    },
    [Symbol.dispose]: () => deflating[Symbol.dispose](),
  };
}

/** What takes the bytes of a transfer; a promise where it cannot keep up. */
export type Taker = {
  take(bytes: Uint8Array): Promise<void> | undefined;
  /** What else has come may be put where it belongs, behind what was taken; with a copy less. */
  more?(): Promise<void> | undefined;
};

/** Hands on what comes, as fast as `taker` lets it, until the client ends. True: it has ended its stream in order. */
export function receive(connection: TcpConnection, taker: Taker): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<boolean>();
  /** What came before the one before it was taken: bounded, because the connection is paused meanwhile. */
  const waiting: Uint8Array[] = [];
  let isTaking = false;
  let end: boolean | undefined;
  const drain = async (first: Promise<void>): Promise<void> => {
    isTaking = true;
    connection.pause();
    await first;
    for (let bytes = waiting.shift(); bytes !== undefined; bytes = waiting.shift()) await taker.take(bytes);
    isTaking = false;
    if (end !== undefined) resolve(end);
    else connection.resume();
  };
  connection.listen({
    onData(bytes) {
      if (isTaking) {
        waiting.push(bytes);
        return;
      }
      const full = taker.take(bytes) ?? taker.more?.();
      if (full !== undefined) drain(full).catch(reject);
    },
    onEnd(isWhole) {
      end = isWhole;
      if (!isTaking) resolve(isWhole);
    },
    onClose() {
      if (end === undefined) reject(brokenOff());
    },
  });
  return promise;
}
