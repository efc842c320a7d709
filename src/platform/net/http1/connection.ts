/**
 * One connection of an HTTP/1.1 server: requests one after the other, each answered before the next is looked at.
 * Answers have their exact length; one that cannot be finished cuts the connection, so that nobody takes a part for the
 * whole.
 */
import type { Socket } from "bun";
import type { Gather } from "#platform/net/http1/gather.ts";
import { type RequestHead, HEAD_BYTES_MAX, parseHead } from "#platform/net/http1/head.ts";
import { type Framing, framingOf } from "#platform/net/http1/incoming.ts";
import { IncomingBody, type RequestBody } from "#platform/net/http1/request-body.ts";
import { ELSEWHERE_BYTES_MIN, SocketOutlet } from "#platform/net/send-thread.ts";

/** A head must be complete this long after its first byte. */
const HEAD_MS_MAX = 30_000;
/** A connection on which nothing moves is closed. Seconds, as the runtime counts. */
export const IDLE_SECONDS = 75;
/** Bytes of a body that nobody wants, which are still taken so that the connection stays usable. */
const UNWANTED_BYTES_MAX = 1 << 20;
/** How long a connection that will be closed still takes what comes, so that the answer is not lost to a reset. */
const LINGER_MS = 1_000;
/** Bytes behind a request that is at work; then the socket is not read from. */
const AHEAD_BYTES_MAX = 64 << 10;
/** Up to here head and body of an answer go out in one write. */
const JOINED_BYTES_MAX = 64 << 10;
/** Up to here an answer waits for those of other connections that are made in the same turn of the event loop. */
const GATHERED_BYTES_MAX = 8 << 10;
/** Of a piece that goes out on another thread: a client that takes less while a connection may stand still is cut off. */
const PART_BYTES = 512 << 10;

export type Http1Request = RequestHead & {
  /** The client's. */
  readonly address: string;
  readonly body: RequestBody;
};

/** Pieces are sent as the client takes them. The next is asked for meanwhile: a piece's bytes are free when the one after the next is. */
export type Streamed = { readonly length: number; readonly pieces: AsyncGenerator<Uint8Array, void> };

export type Http1Answer = {
  readonly status: number;
  /** Content-Length follows from the body; only an answer to HEAD says it itself. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array | Streamed | undefined;
};

/** What connections share. */
export type ConnectionParts = {
  /** Where it rejects, the connection is cut. */
  readonly handle: (request: Http1Request) => Promise<Http1Answer>;
  readonly nowMs: () => number;
  readonly gather: Gather;
  /** A request has ended: true while the connection may take another. */
  readonly mayStay: () => boolean;
  /** No TLS: large pieces may be copied into sockets on another thread. */
  readonly isPlain: boolean;
};

const REASONS: Readonly<Record<number, string>> = {
  200: "OK", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently", 303: "See Other", 304: "Not Modified",
  400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed", 409: "Conflict", 411: "Length Required",
  412: "Precondition Failed", 416: "Range Not Satisfiable", 417: "Expectation Failed", 431: "Header Fields Too Large",
  500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable", 507: "Insufficient Storage",
};

const END_OF_HEAD = Buffer.from("\r\n\r\n");
const CONTINUE = Buffer.from("HTTP/1.1 100 Continue\r\n\r\n");

type Current = { readonly head: RequestHead; readonly framing: Framing; readonly body: IncomingBody };

export class Connection {
  readonly #socket: Socket<Connection | undefined>;
  readonly #parts: ConnectionParts;
  readonly #address: string;
  /** Bytes of a head that is not complete, or behind the request at work. */
  #ahead: Uint8Array = new Uint8Array(0);
  #headBeganMs = 0;
  #restsSinceMs: number;
  #current: Current | undefined;
  #unwantedBytes = 0;
  /** What the socket has not taken yet. */
  #backlog: Uint8Array | undefined;
  #drained: PromiseWithResolvers<void> | undefined;
  /** From the first large piece on; null where there can be none. */
  #outlet: SocketOutlet | null | undefined;
  /** Nothing more is read: it ends as soon as what was written is out. */
  #isEnding = false;
  #isGone = false;

  constructor(socket: Socket<Connection | undefined>, parts: ConnectionParts) {
    this.#socket = socket;
    this.#parts = parts;
    this.#address = socket.remoteAddress;
    this.#restsSinceMs = parts.nowMs();
    socket.setNoDelay(true);
    socket.timeout(IDLE_SECONDS);
  }

  /** A request has come, and its answer has not gone. */
  get isAtWork(): boolean {
    return this.#current !== undefined;
  }

  /** Since when none has been at work, where none is. A head that never comes to its end is none. */
  get restsSinceMs(): number {
    return this.#restsSinceMs;
  }

  /** Between two requests. */
  get isIdle(): boolean {
    return this.#current === undefined && this.#ahead.length === 0;
  }

  data(bytes: Uint8Array): void {
    if (this.#isGone) return;
    this.#socket.timeout(IDLE_SECONDS);
    if (this.#isEnding) return this.#throwAway(bytes.length);
    const current = this.#current;
    if (current === undefined || current.framing.done) this.#keepAhead(bytes);
    else this.#feed(current, bytes);
    if (this.#current === undefined) this.#next();
  }

  #throwAway(count: number): void {
    this.#unwantedBytes += count;
    if (this.#unwantedBytes > UNWANTED_BYTES_MAX) this.cut();
  }

  #keepAhead(bytes: Uint8Array): void {
    if (this.#ahead.length === 0) {
      this.#ahead = bytes;
      this.#headBeganMs = this.#parts.nowMs();
    } else this.#ahead = Buffer.concat([this.#ahead, bytes]);
    if (this.#current !== undefined && this.#ahead.length > AHEAD_BYTES_MAX) this.#socket.pause();
  }

  #feed(current: Current, bytes: Uint8Array): void {
    let taken: number;
    try {
      taken = current.framing.push(bytes, (piece) => current.body.push(piece));
    } catch (error) {
      current.body.fail(error instanceof Error ? error : new Error("a body that is not well formed"));
      this.#isEnding = true;
      return;
    }
    if (current.framing.done) current.body.end();
    if (taken < bytes.length) this.#keepAhead(bytes.subarray(taken));
  }

  /** Begins the next request, when its head is there. */
  #next(): void {
    const ahead = this.#ahead;
    if (ahead.length === 0 || this.#isEnding) return;
    const end = Buffer.from(ahead.buffer, ahead.byteOffset, ahead.length).indexOf(END_OF_HEAD);
    if (end > HEAD_BYTES_MAX || (end < 0 && ahead.length > HEAD_BYTES_MAX)) return this.#refuse(431, "the head is too long");
    if (end < 0) {
      if (this.#parts.nowMs() - this.#headBeganMs > HEAD_MS_MAX) this.cut();
      return;
    }
    const head = parseHead(Buffer.from(ahead.buffer, ahead.byteOffset, end).toString("latin1"));
    if ("why" in head) return this.#refuse(head.status, head.why);
    this.#ahead = new Uint8Array(0);
    this.#begin(head, ahead.subarray(end + END_OF_HEAD.length));
  }

  #begin(head: RequestHead, rest: Uint8Array): void {
    const length = head.framing === "chunked" ? undefined : head.framing;
    let waits = head.waitsForLeave;
    const giveLeave = (): void => {
      if (waits && !this.#isGone) this.#socket.write(CONTINUE);
      waits = false;
    };
    const body = new IncomingBody(length, {
      onFirstRead: giveLeave,
      pause: () => this.#socket.pause(),
      resume: () => this.#socket.resume(),
    }, this.#parts.nowMs);
    const current: Current = { head, framing: framingOf(head.framing), body };
    this.#current = current;
    // Nobody will read what is empty. But clients that are built on botocore take an answer without leave for one that came
    // in its place, and read the next answer of the connection wrong.
    if (current.framing.done) giveLeave();
    if (rest.length > 0) {
      if (current.framing.done) this.#keepAhead(rest);
      else this.#feed(current, rest);
    }
    const { method, target, headers, framing, keepAlive, waitsForLeave } = head;
    const request = { method, target, headers, framing, keepAlive, waitsForLeave, address: this.#address, body };
    this.#parts.handle(request).then(
      (answer) => this.#answer(current, answer),
      () => this.cut(),
    );
  }

  async #answer(current: Current, answer: Http1Answer): Promise<void> {
    const { head, body, framing } = current;
    // A client that waits for leave may or may not send its body behind a refusal: nobody could tell what comes next.
    const isInDoubt = !framing.done && (head.waitsForLeave ? !body.wasRead : isTooLong(head.framing));
    const stays = head.keepAlive && !isInDoubt && !this.#isEnding && this.#parts.mayStay();
    body.discard();
    try {
      await this.#send(head.method, answer, stays);
      if (stays) await this.#restOf(current);
    } catch {
      this.cut();
    }
    this.#current = undefined;
    this.#restsSinceMs = this.#parts.nowMs();
    if (this.#isGone) return;
    if (!stays || this.#isEnding) return this.#linger();
    this.#socket.timeout(IDLE_SECONDS);
    if (this.#ahead.length > AHEAD_BYTES_MAX) this.#socket.resume();
    this.#next();
  }

  /** The next request comes behind the body, wanted or not. */
  async #restOf({ framing, body }: Current): Promise<void> {
    // It is thrown away as it comes, and is short, or the connection would not stay.
    if (!framing.done) await body.read();
  }

  async #send(method: string, { status, headers, body }: Http1Answer, stays: boolean): Promise<void> {
    const hasBody = method !== "HEAD" && status !== 204 && status !== 304;
    const lines = [`HTTP/1.1 ${status} ${REASONS[status] ?? "Other"}`];
    for (const [name, value] of headers) lines.push(`${name}: ${value}`);
    if (hasBody) lines.push(`content-length: ${body?.length ?? 0}`);
    if (!stays) lines.push("connection: close");
    const head = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
    if (!hasBody || body === undefined || body.length === 0) {
      if (body !== undefined && "pieces" in body) await body.pieces.return();
      return this.#write(head);
    }
    if (body instanceof Uint8Array && body.length <= JOINED_BYTES_MAX) {
      const joined = Buffer.concat([head, body]);
      return joined.length > GATHERED_BYTES_MAX ? this.#write(joined) : this.#parts.gather.add(() => this.#write(joined));
    }
    await this.#write(head);
    return body instanceof Uint8Array ? this.#write(body) : this.#stream(body);
  }

  async #stream({ length, pieces }: Streamed): Promise<void> {
    let sent = 0;
    try {
      let coming = pieces.next();
      for (;;) {
        const { value, done } = await coming;
        if (done === true) break;
        coming = pieces.next();
        // It is waited for in the next turn.
        coming.catch(() => undefined);
        sent += value.length;
        await this.#writePiece(value);
      }
    } finally {
      await pieces.return();
    }
    if (sent !== length) throw new Error("the content is not as long as it was said to be");
  }

  /** As #write, on another thread where that can be. */
  #writePiece(bytes: Uint8Array): Promise<void> | void {
    if (!this.#parts.isPlain || this.#isGone || bytes.length < ELSEWHERE_BYTES_MIN) return this.#write(bytes);
    this.#outlet ??= SocketOutlet.of((this.#socket as { fd?: unknown }).fd, this.#socket.remotePort) ?? null;
    return this.#outlet === null ? this.#write(bytes) : this.#writeElsewhere(this.#outlet, bytes);
  }

  /** Resolves, too, when the thread has nothing of it any more: nothing else is written before. */
  async #writeElsewhere(outlet: SocketOutlet, bytes: Uint8Array): Promise<void> {
    const parts: Promise<void>[] = [];
    for (let at = 0; at < bytes.length; at += PART_BYTES) {
      const taken = outlet.write(bytes.subarray(at, at + PART_BYTES)).then(() => this.#moved());
      parts.push(taken);
    }
    await Promise.all(parts);
  }

  #moved(): void {
    if (!this.#isGone) this.#socket.timeout(IDLE_SECONDS);
  }

  /** Resolves when the socket has taken all of it. */
  #write(bytes: Uint8Array): Promise<void> | void {
    if (this.#isGone) throw new Error("the client has gone");
    const taken = Math.max(0, this.#socket.write(bytes));
    if (taken === bytes.length) return;
    this.#backlog = bytes.subarray(taken);
    this.#drained = Promise.withResolvers();
    return this.#drained.promise;
  }

  drain(): void {
    this.#socket.timeout(IDLE_SECONDS);
    const backlog = this.#backlog;
    if (backlog === undefined || this.#isGone) return;
    const taken = Math.max(0, this.#socket.write(backlog));
    this.#backlog = taken === backlog.length ? undefined : backlog.subarray(taken);
    if (this.#backlog !== undefined) return;
    this.#drained?.resolve();
    this.#drained = undefined;
  }

  /** Nothing has moved for long: a client that is waited for, unless it is we who are at work. */
  idle(): void {
    const current = this.#current;
    const isTaken = this.#backlog === undefined && this.#outlet?.isIdle !== false;
    const isOurs = current !== undefined && isTaken && (current.framing.done || !current.body.isAwaited);
    if (isOurs) this.#socket.timeout(IDLE_SECONDS);
    else this.cut();
  }

  #refuse(status: number, why: string): void {
    const body = Buffer.from(`${why}\n`);
    this.#isEnding = true;
    this.#ahead = new Uint8Array(0);
    const headers = [["content-type", "text/plain"]] as const;
    this.#send("GET", { status, headers, body }, false).then(() => this.#linger()).catch(() => this.cut());
  }

  #linger(): void {
    this.#isEnding = true;
    this.#socket.shutdown();
    const timer = setTimeout(() => this.cut(), LINGER_MS);
    timer.unref();
  }

  /** No more requests; ends when the one at work has its answer. */
  retire(): void {
    if (this.isIdle) this.cut();
  }

  /** Ends it at once. */
  cut(): void {
    if (this.#isGone) return;
    this.closed();
    this.#socket.terminate();
  }

  closed(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#outlet?.close();
    const error = new Error("the client has gone");
    this.#current?.body.fail(error);
    this.#drained?.promise.catch(() => undefined);
    this.#drained?.reject(error);
    this.#drained = undefined;
    this.#backlog = undefined;
  }
}

/** Is it not worth to take a body that nobody wants? */
function isTooLong(framing: number | "chunked"): boolean {
  return framing === "chunked" || framing > UNWANTED_BYTES_MAX;
}
