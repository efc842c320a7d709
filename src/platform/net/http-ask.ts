/**
 * One HTTP request to a server that a person or a job named: nothing is followed, unpacked or waited for without end. The
 * body that is sent is whole in memory; that of the answer comes as it is read.
 */
import { type Reach, guardedAddress } from "#platform/net/guarded-address.ts";

/** Until the answer begins, for a request whose body is sent at `BYTES_PER_MS_MIN` at least. */
const ANSWER_MS_MAX = 60_000;
const BYTES_PER_MS_MIN = 10;
/** Between two pieces of an answer. */
const STALL_MS_MAX = 60_000;

export type HttpAsk = {
  readonly method: string;
  /** As it is to go out: everything that needs it is encoded. */
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | undefined;
  /** Authorities beside those of the system (PEM). */
  readonly ca?: string | undefined;
  /** Where the connection may go; undefined: anywhere, because a person at this host said so. */
  readonly reach?: Reach | undefined;
  readonly signal: AbortSignal;
};

export type HttpAnswer = {
  readonly status: number;
  readonly headers: Headers;
  /** Ends in time or rejects; a body that is not read must be dropped. */
  readonly body: AsyncIterable<Uint8Array>;
  readonly drop: () => void;
};

/** Rejects with the system's error when no answer begins, and with `signal.reason` when aborted. */
export async function askHttp(ask: HttpAsk): Promise<HttpAnswer> {
  const stop = new AbortController();
  const onAbort = (): void => stop.abort(ask.signal.reason);
  ask.signal.throwIfAborted();
  ask.signal.addEventListener("abort", onAbort, { once: true });
  const watch = new Stall(stop);
  watch.within(ANSWER_MS_MAX + (ask.body?.length ?? 0) / BYTES_PER_MS_MIN);
  const end = (): void => {
    watch.end();
    ask.signal.removeEventListener("abort", onAbort);
  };
  try {
    const guarded = ask.reach === undefined ? undefined : await guardedAddress(ask.url, ask.reach, stop.signal);
    const response = await fetch(guarded?.href ?? ask.url, {
      method: ask.method,
      headers: guarded === undefined ? ask.headers : { ...ask.headers, host: guarded.host },
      ...(ask.body === undefined ? {} : { body: ask.body as Uint8Array<ArrayBuffer> }),
      redirect: "manual",
      decompress: false,
      signal: stop.signal,
      // A connection of the pool might have been made for another name at this address.
      ...(guarded === undefined ? {} : { keepalive: false }),
      tls: { ...(ask.ca === undefined ? {} : { ca: ask.ca }), ...(guarded === undefined ? {} : { serverName: guarded.serverName }) },
    });
    const isEmpty = ask.method === "HEAD" || response.status === 204 || response.headers.get("content-length") === "0";
    const drop = (): void => {
      end();
      // An answer that has ended leaves its connection to the next request.
      if (!isEmpty) stop.abort();
    };
    return { status: response.status, headers: response.headers, body: pieces(response, watch, drop, end), drop };
  } catch (error) {
    end();
    throw ask.signal.aborted ? ask.signal.reason : error;
  }
}

/** Ends what waits too long. */
class Stall {
  readonly #stop: AbortController;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(stop: AbortController) {
    this.#stop = stop;
  }

  within(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#stop.abort(new Error("the server did not answer in time")), ms);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}

async function* pieces(response: Response, watch: Stall, drop: () => void, end: () => void): AsyncGenerator<Uint8Array> {
  let isWhole = false;
  try {
    watch.within(STALL_MS_MAX);
    for await (const piece of response.body ?? []) {
      // Whoever takes them may be slow: that is no fault of the server.
      watch.end();
      yield piece;
      watch.within(STALL_MS_MAX);
    }
    isWhole = true;
  } finally {
    if (isWhole) end();
    else drop();
  }
}
