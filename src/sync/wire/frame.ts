/**
 * Frames: what crosses the wire. A header of nine bytes (channel u32, type u8, payload length u32, little-endian) and
 * the payload. Channel 0 is the connection itself.
 */
import type { ErrorCode } from "#model/error.ts";
import { SynclineError } from "#model/error.ts";
import { ByteReader, ByteWriter } from "#sync/wire/bytes.ts";
import { takeBuffer } from "#sync/wire/buffer-pool.ts";
import { MESSAGE_BYTES_MAX } from "#sync/wire/channel.ts";

export const HEADER_BYTES = 9;

/** Begins a channel; the payload is its method. */
export const OPEN = 1;
/** One whole message of a channel. */
export const DATA = 2;
/** The receiver took so many bytes (u32) off its queue: the sender may send as many more. */
export const CREDIT = 3;
/** No more messages from this side of the channel. */
export const END = 4;
/** Ends a channel (or, on channel 0, the connection) with an error. */
export const FAIL = 5;
export const PING = 6;
export const PONG = 7;

/** Longest method name. */
export const METHOD_BYTES_MAX = 32;
/** Longest encoded error; longer texts are cut. */
export const FAIL_BYTES_MAX = 4096;

/** Payload lengths by frame type: [least, most]. */
const PAYLOAD_BYTES: readonly (readonly [number, number])[] = [
  [0, -1],
  [1, METHOD_BYTES_MAX],
  [0, MESSAGE_BYTES_MAX],
  [4, 4],
  [0, 0],
  [1, FAIL_BYTES_MAX],
  [0, 0],
  [0, 0],
];

export function protocolError(message: string): SynclineError {
  return new SynclineError({ code: "PROTOCOL", op: "read frame", message });
}

/** What a FrameReader tells its owner. */
export type FrameSink = {
  /** A header came; false skips the payload without storing it. May throw to end the connection. */
  header(channel: number, type: number, length: number): boolean;
  /** The whole payload; the sink owns it and may give it back to the buffer pool. */
  frame(channel: number, type: number, payload: Uint8Array): void;
};

/** Cuts a byte stream into frames, copying every payload byte once. Holds at most one unfinished payload. */
export class FrameReader {
  readonly #sink: FrameSink;
  readonly #header = new Uint8Array(HEADER_BYTES);
  readonly #fields = new DataView(this.#header.buffer);
  #headerFill = 0;
  #payload: Uint8Array | undefined;
  #payloadFill = 0;
  #skip = 0;

  constructor(sink: FrameSink) {
    this.#sink = sink;
  }

  /** Takes the next bytes; they are free again afterwards. Throws SynclineError PROTOCOL, then it is unusable. */
  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, bytes.length - at);
        this.#skip -= skipped;
        at += skipped;
      } else if (this.#payload !== undefined) {
        at += this.#fill(this.#payload, bytes, at);
      } else {
        const count = Math.min(HEADER_BYTES - this.#headerFill, bytes.length - at);
        for (let index = 0; index < count; index++) this.#header[this.#headerFill + index] = bytes[at + index]!;
        this.#headerFill += count;
        at += count;
        if (this.#headerFill === HEADER_BYTES) this.#begin();
      }
    }
  }

  #begin(): void {
    this.#headerFill = 0;
    const channel = this.#fields.getUint32(0, true);
    const type = this.#header[4]!;
    const length = this.#fields.getUint32(5, true);
    const limits = PAYLOAD_BYTES[type];
    if (limits === undefined || length < limits[0] || length > limits[1]) {
      throw protocolError(`a frame of type ${type} with ${length} bytes`);
    }
    if (!this.#sink.header(channel, type, length)) {
      this.#skip = length;
    } else if (length === 0) {
      this.#sink.frame(channel, type, new Uint8Array(0));
    } else {
      this.#payload = takeBuffer(length);
      this.#payloadFill = 0;
    }
  }

  #fill(payload: Uint8Array, bytes: Uint8Array, at: number): number {
    const count = Math.min(payload.length - this.#payloadFill, bytes.length - at);
    payload.set(at === 0 && count === bytes.length ? bytes : bytes.subarray(at, at + count), this.#payloadFill);
    this.#payloadFill += count;
    if (this.#payloadFill === payload.length) {
      this.#payload = undefined;
      this.#sink.frame(this.#fields.getUint32(0, true), this.#header[4]!, payload);
    }
    return count;
  }
}

export function writeHeader(into: Uint8Array, at: number, channel: number, type: number, length: number): void {
  into[at] = channel;
  into[at + 1] = channel >>> 8;
  into[at + 2] = channel >>> 16;
  into[at + 3] = channel >>> 24;
  into[at + 4] = type;
  into[at + 5] = length;
  into[at + 6] = length >>> 8;
  into[at + 7] = length >>> 16;
  into[at + 8] = length >>> 24;
}

/** A whole frame in one array; for small frames. */
export function frameBytes(channel: number, type: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  writeHeader(frame, 0, channel, type, payload.length);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** The codes that may cross the wire, as a table so that the compiler keeps it complete. */
const CODES: Record<ErrorCode, true> = {
  USAGE: true,
  ROOT_MISSING: true,
  ROOT_IDENTITY: true,
  ROOT_OVERLAP: true,
  ROOT_READ_ONLY: true,
  ROOT_UNKNOWN: true,
  ROOT_BUSY: true,
  AUTH: true,
  DENIED: true,
  SPACE_UNKNOWN: true,
  EXISTS: true,
  NOT_FOUND: true,
  STALE: true,
  QUOTA: true,
  CHUNK_MISSING: true,
  CHUNK_DAMAGED: true,
  ENCRYPTED: true,
  TRUST: true,
  LINK_LOST: true,
  PROTOCOL: true,
  VERSION: true,
  LIMIT: true,
  STATE: true,
  DISK: true,
  HALT: true,
  INTERRUPTED: true,
  UNSUPPORTED: true,
  INTERNAL: true,
};

function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(CODES, text);
}

/** Longest text of an error's message or hint on the wire, in UTF-16 units; three bytes each at most. */
const TEXT_LENGTH_MAX = 400;

/** An error for the other side: code, texts and path, never a stack or a cause. */
export function encodeError(error: Error): Uint8Array {
  const w = new ByteWriter();
  const known = error instanceof SynclineError ? error : undefined;
  w.string(known?.code ?? "INTERNAL");
  w.bool(known?.retryable ?? false);
  for (const text of [known?.op ?? "call", error.message, known?.hint ?? "", known?.path ?? ""]) {
    w.string(text.slice(0, TEXT_LENGTH_MAX).toWellFormed());
  }
  return w.finish();
}

/** Throws PROTOCOL when the bytes are no error; a code of a later version becomes INTERNAL. */
export function decodeError(bytes: Uint8Array): SynclineError {
  const r = new ByteReader(bytes);
  const code = r.string();
  const retryable = r.bool();
  const [op = "", message = "", hint = "", path = ""] = [r.string(), r.string(), r.string(), r.string()];
  if (!r.atEnd) throw protocolError("an error with something after its end");
  return new SynclineError({
    code: isErrorCode(code) ? code : "INTERNAL",
    op,
    message,
    hint: hint === "" ? undefined : hint,
    path: path === "" ? undefined : path,
    retryable,
  });
}
