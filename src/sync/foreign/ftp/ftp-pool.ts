/**
 * Control connections to one FTP server: a few at most, since each moves one file at a time; one of them is kept alive while
 * nothing is to be done. Servers let only so many in: when one more is refused, those that there are have to do.
 */
import { SynclineError } from "#model/error.ts";
import type { Clock } from "#platform/host.ts";
import { FtpControl, type FtpServer } from "#sync/foreign/ftp/ftp-control.ts";
import { lostConnection } from "#sync/foreign/ftp/ftp-errors.ts";

/** Control connections at a time. Servers for many people allow a handful from one address. */
export const CONTROLS_MAX = 4;
/** A connection at rest is asked for a sign of life, or ended, after this much to twice of it. */
export const KEEP_ALIVE_MS = 20_000;
/** Tries of what changes nothing, and of a connection. */
export const TRIES_MAX = 4;
/** Pause before the second try; doubles with each. */
const PAUSE_MS = 500;

type Resting = { readonly control: FtpControl; isTired: boolean };

export class FtpPool {
  readonly #server: FtpServer;
  readonly #label: string;
  readonly #clock: Clock;
  readonly #resting: Resting[] = [];
  readonly #waiting: (() => void)[] = [];
  readonly #working = new Set<FtpControl>();
  /** Connections that there are, or are being made. */
  #count = 0;
  #most = CONTROLS_MAX;
  /** It was reached, and let us in. */
  #isKnown = false;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #closed = new AbortController();

  constructor(server: FtpServer, label: string, clock: Clock) {
    this.#server = server;
    this.#label = label;
    this.#clock = clock;
    this.#timer = setInterval(() => this.#tend(), KEEP_ALIVE_MS);
    this.#timer.unref();
  }

  /**
   * Does work on a connection that nobody else uses meanwhile. When it fails the connection is not used again, unless the
   * server has only said no (`isUsable`). The signal ends the connection.
   */
  async use<T>(signal: AbortSignal, work: (control: FtpControl) => Promise<T>, isUsable: (error: unknown) => boolean): Promise<T> {
    const either = AbortSignal.any([signal, this.#closed.signal]);
    const control = await this.#take(either);
    const stop = (): void => control.destroy(either.reason);
    either.addEventListener("abort", stop, { once: true });
    this.#working.add(control);
    try {
      const result = await work(control);
      this.#give(control);
      return result;
    } catch (error) {
      if (!control.isClosed && isUsable(error)) this.#give(control);
      else this.#drop(control, error);
      throw error;
    } finally {
      this.#working.delete(control);
      either.removeEventListener("abort", stop);
    }
  }

  /** Work that changes nothing is tried again when the connection fails, or the server asks to come back later. */
  async again<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof SynclineError) || !error.retryable || tries === TRIES_MAX || this.#closed.signal.aborted) throw error;
        await this.#clock.sleep(PAUSE_MS << (tries - 1), AbortSignal.any([signal, this.#closed.signal]));
      }
    }
  }

  async #take(signal: AbortSignal): Promise<FtpControl> {
    for (;;) {
      signal.throwIfAborted();
      const rested = this.#resting.pop();
      if (rested !== undefined) {
        if (await this.#isAlive(rested)) return rested.control;
        this.#drop(rested.control, undefined);
        continue;
      }
      if (this.#count < this.#most) {
        const made = await this.#open(signal);
        if (made !== undefined) return made;
      } else await this.#turn(signal);
    }
  }

  /** Undefined: the server wants no more than there are. */
  async #open(signal: AbortSignal): Promise<FtpControl | undefined> {
    this.#count++;
    const isOnly = this.#count === 1;
    const open = (): Promise<FtpControl> => FtpControl.open(this.#server, signal);
    try {
      // Whether a server can be reached at all is for the caller to try again.
      const control = await (isOnly && this.#isKnown ? this.again(signal, open) : open());
      this.#isKnown = true;
      return control;
    } catch (error) {
      this.#count--;
      this.#wake();
      const isRefused = error instanceof SynclineError && (error.code === "LINK_LOST" || error.code === "AUTH");
      if (signal.aborted || !isRefused || this.#count === 0) throw error;
      this.#most = this.#count;
      return undefined;
    }
  }

  async #isAlive({ control, isTired }: Resting): Promise<boolean> {
    if (control.isClosed) return false;
    if (!isTired) return true;
    return control.send("NOOP").then(({ code }) => code < 400, () => false);
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const go = (): void => {
        signal.removeEventListener("abort", stop);
        resolve();
      };
      const stop = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1);
        reject(signal.reason);
      };
      this.#waiting.push(go);
      signal.addEventListener("abort", stop, { once: true });
    });
  }

  #wake(): void {
    this.#waiting.shift()?.();
  }

  #give(control: FtpControl): void {
    if (control.isClosed || this.#closed.signal.aborted) return this.#drop(control, undefined);
    this.#resting.push({ control, isTired: false });
    this.#wake();
  }

  #drop(control: FtpControl, error: unknown): void {
    control.destroy(error);
    this.#count--;
    // One that was lost may be made again, and one more than were let in before.
    if (this.#count === 0) this.#most = CONTROLS_MAX;
    this.#wake();
  }

  #tend(): void {
    for (const rested of this.#resting.splice(0)) {
      if (!rested.isTired) {
        rested.isTired = true;
        this.#resting.push(rested);
      } else if (this.#count > 1) {
        rested.control.quit();
        this.#count--;
      } else void this.#stir(rested);
    }
  }

  /** Never rejects: a connection that does not answer is dropped. */
  async #stir(rested: Resting): Promise<void> {
    if (!(await this.#isAlive(rested))) return this.#drop(rested.control, undefined);
    this.#give(rested.control);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#closed.abort(lostConnection(this.#label, new Error("it was closed")));
    for (const { control } of this.#resting.splice(0)) control.quit();
    for (const control of this.#working) control.destroy(this.#closed.signal.reason);
  }
}
