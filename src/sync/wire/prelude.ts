/**
 * What the two sides say before frames begin, in messages of fixed order and small size: both greet with the versions
 * they speak; the client names a root and shows its token; the server accepts or says why not. Nothing here allocates
 * by what the other side claims, and all of it has one deadline.
 */
import type { Clock } from "#platform/host.ts";
import { SynclineError } from "#model/error.ts";
import type { Transport } from "#platform/net/transport.ts";
import { printablePath } from "#model/path.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";
import { decodeError, encodeError } from "#sync/wire/frame.ts";
import { linkLost } from "#sync/wire/mux.ts";

/** Versions of frames and calls that this program speaks. */
export const PROTOCOL_VERSION_MIN = 2;
export const PROTOCOL_VERSION_MAX = 2;
/** Largest greeting, its magic included. */
export const GREETING_BYTES_MAX = 1024;
/** Largest attach message: a path, a token, and their lengths. */
export const ATTACH_BYTES_MAX = 8192;
/** Longest token. */
export const TOKEN_BYTES_MAX = 1024;
/** Largest answer to an attach. */
const ANSWER_BYTES_MAX = 4096;
/** From the first byte expected to the end of the prelude. */
export const PRELUDE_MS_MAX = 15_000;
/** Bytes held during the prelude; a side that sends more does not keep the order of the messages. */
const HELD_BYTES_MAX = 16 << 10;
/** How much of a wrong greeting an error message shows. */
const SHOWN_BYTES = 80;

const MAGIC = Buffer.from("SYNCLINE", "latin1");

export type Greeting = {
  readonly versionMin: number;
  readonly versionMax: number;
  /** The program and its version, for messages only: "syncline 0.1.0". */
  readonly program: string;
  /** Numbers of optional abilities (abilities.ts); unknown ones are ignored. */
  readonly capabilities: Uint8Array;
};

export type Attach = { readonly root: string; readonly token: string };
export type Attached = { readonly readOnly: boolean };

/** Reads the prelude's messages off a transport, then hands the transport on. */
export class Prelude {
  readonly #transport: Transport;
  readonly #stop = new AbortController();
  #held: Uint8Array = new Uint8Array(0);
  #failure: Error | undefined;
  #wake: (() => void) | undefined;

  constructor(transport: Transport, clock: Clock, signal: AbortSignal) {
    this.#transport = transport;
    transport.listen({
      onData: (bytes) => this.#arrived(bytes),
      onDrain: () => undefined,
      onClose: (error) => this.fail(linkLost(transport.label, error)),
    });
    const stop = this.#stop.signal;
    const late = (): void => this.fail(tooLate());
    clock.sleep(PRELUDE_MS_MAX, stop).then(late, () => undefined);
    const abort = (): void => this.fail(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true, signal: stop });
  }

  write(bytes: Uint8Array): void {
    this.#transport.write(bytes);
  }

  /** A message with a u16 length in front, of at most `bytesMax`. */
  async message(bytesMax: number): Promise<Uint8Array> {
    const head = await this.exactly(2);
    const length = head[0]! | (head[1]! << 8);
    if (length > bytesMax) throw protocolError(`a message of ${length} bytes where ${bytesMax} are allowed`);
    return this.exactly(length);
  }

  async exactly(count: number): Promise<Uint8Array> {
    while (this.#held.length < count) await this.#more();
    const bytes = this.#held.slice(0, count);
    this.#held = this.#held.slice(count);
    return bytes;
  }

  /** Reads the magic, and fails at the first byte that is not part of it: a banner may be shorter than the magic. */
  async magic(): Promise<void> {
    for (;;) {
      const count = Math.min(this.#held.length, MAGIC.length);
      if (!MAGIC.subarray(0, count).equals(this.#held.subarray(0, count))) throw notSyncline(this.#held);
      if (count === MAGIC.length) break;
      await this.#more();
    }
    await this.exactly(MAGIC.length);
  }

  /** Ends the prelude and returns what was read beyond it. Call right before the next listener is set. */
  finish(): Uint8Array {
    this.#stop.abort();
    if (this.#failure !== undefined) throw this.#failure;
    return this.#held;
  }

  fail(error: Error): void {
    this.#failure ??= error;
    this.#stop.abort();
    this.#wake?.();
  }

  async #more(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    // What came just before the end still counts: a refusal and the end of its connection often arrive together.
    await new Promise<void>((resolve) => (this.#wake = resolve));
    this.#wake = undefined;
  }

  #arrived(bytes: Uint8Array): void {
    if (this.#held.length + bytes.length > HELD_BYTES_MAX) {
      return this.fail(protocolError("the other side sent too much before it was asked"));
    }
    const held = new Uint8Array(this.#held.length + bytes.length);
    held.set(this.#held);
    held.set(bytes, this.#held.length);
    this.#held = held;
    this.#wake?.();
  }
}

/** A network that stands still for a while looks the same as a side that says nothing, so trying again may help. */
function tooLate(): SynclineError {
  return new SynclineError({
    code: "LINK_LOST",
    op: "greet",
    message: "the other side did not finish its greeting in time",
    hint: "check host and port, and that a syncline server answers there",
    retryable: true,
  });
}

function protocolError(message: string): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op: "greet", message });
}

function notSyncline(bytes: Uint8Array): SynclineError {
  const shown = printablePath(Buffer.from(bytes.subarray(0, SHOWN_BYTES)).toString("latin1"));
  return new SynclineError({
    code: "PROTOCOL",
    op: "greet",
    message: `the other side does not speak the syncline protocol; it said "${shown}"`,
    hint: "check host and port; over ssh, a login script of the remote shell must not print anything",
  });
}

function framed(w: ByteWriter): Uint8Array {
  const body = w.finish();
  const out = new Uint8Array(2 + body.length);
  out[0] = body.length & 255;
  out[1] = body.length >> 8;
  out.set(body, 2);
  return out;
}

export function encodeGreeting(greeting: Greeting): Uint8Array {
  const w = new ByteWriter();
  w.varint(greeting.versionMin);
  w.varint(greeting.versionMax);
  w.string(greeting.program);
  w.bytes(greeting.capabilities);
  return Buffer.concat([MAGIC, framed(w)]);
}

/** Later versions may append fields, so bytes left over are no error here and nowhere else. */
export function decodeGreeting(bytes: Uint8Array): Greeting {
  const r = new ByteReader(bytes);
  const greeting = { versionMin: r.varint(), versionMax: r.varint(), program: r.string(), capabilities: r.bytes() };
  if (greeting.versionMin > greeting.versionMax) throw protocolError("a version range that is none");
  return greeting;
}

/**
 * Sends our greeting, reads theirs and settles on the highest common version.
 * @throws {SynclineError} VERSION when there is none (the other side finds the same), PROTOCOL, LINK_LOST
 */
export async function greet(prelude: Prelude, own: Greeting): Promise<{ version: number; other: Greeting }> {
  prelude.write(encodeGreeting(own));
  await prelude.magic();
  const other = decodeGreeting(await prelude.message(GREETING_BYTES_MAX - MAGIC.length - 2));
  const version = Math.min(own.versionMax, other.versionMax);
  if (version >= Math.max(own.versionMin, other.versionMin)) return { version, other };
  const span = (side: Greeting): string => `${side.versionMin} to ${side.versionMax}`;
  throw new SynclineError({
    code: "VERSION",
    op: "greet",
    message:
      `no common protocol version: this is ${printablePath(own.program)} (${span(own)}), ` +
      `the other side is ${printablePath(other.program)} (${span(other)})`,
    hint: "install the same version of syncline on both hosts",
  });
}

export function encodeAttach(attach: Attach): Uint8Array {
  const w = new ByteWriter();
  w.string(attach.root);
  w.string(attach.token);
  return framed(w);
}

export function decodeAttach(bytes: Uint8Array): Attach {
  const r = new ByteReader(bytes);
  const attach = { root: r.string(), token: r.string() };
  if (!r.atEnd) throw protocolError("an attach message with something after its end");
  return attach;
}

export function encodeAnswer(answer: Attached | Error): Uint8Array {
  const w = new ByteWriter();
  w.bool(!(answer instanceof Error));
  if (answer instanceof Error) w.raw(encodeError(answer));
  else w.bool(answer.readOnly);
  return framed(w);
}

/** Throws the server's refusal. */
export function decodeAnswer(bytes: Uint8Array): Attached {
  const r = new ByteReader(bytes);
  if (!r.bool()) throw decodeError(r.raw(r.remaining));
  const attached = { readOnly: r.bool() };
  if (!r.atEnd) throw protocolError("an answer with something after its end");
  return attached;
}

export async function sendAttach(prelude: Prelude, attach: Attach): Promise<Attached> {
  prelude.write(encodeAttach(attach));
  return decodeAnswer(await prelude.message(ANSWER_BYTES_MAX));
}

export async function receiveAttach(prelude: Prelude): Promise<Attach> {
  return decodeAttach(await prelude.message(ATTACH_BYTES_MAX));
}
