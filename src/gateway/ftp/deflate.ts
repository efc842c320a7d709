/**
 * MODE Z (draft-preston-ftpext-deflate): what goes over a data connection is one zlib stream, which says by its end and its
 * checksum that it is whole. Both ways work in the runtime's thread pool, a piece at a time: whoever sends a stream that
 * becomes a thousand times as long waits for each of its pieces to be taken.
 *
 * A direction holds what zlib needs (48 KiB in, 264 KiB out), one piece of each side, and two that wait.
 */
import { type Deflate, type Inflate, createDeflate, createInflate } from "node:zlib";
import { FtpRefusal } from "#gateway/ftp/reply.ts";

export const DEFLATE_LEVEL_MIN = 0;
export const DEFLATE_LEVEL_MAX = 9;
export const DEFLATE_LEVEL_DEFAULT = 6;
/** Bytes that come out of zlib at once. */
const PIECE_BYTES = 64 << 10;

/** Gets what comes out, in order; the next waits for its promise. */
type Take = (bytes: Uint8Array) => Promise<void> | undefined;

async function pump(stream: Deflate | Inflate, take: Take): Promise<void> {
  for await (const piece of stream) {
    const full = take(piece as Uint8Array);
    if (full !== undefined) await full;
  }
}

/** Resolves when zlib has read the bytes, or reads no more: a stream that has ended or failed says nothing of what waits. */
function fed(stream: Deflate | Inflate, bytes: Uint8Array, over: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  stream.write(bytes, () => resolve());
  return Promise.race([promise, over]);
}

/** Bytes of a file, or of a listing, on their way out. */
export class Deflating implements Disposable {
  readonly #stream: Deflate;
  readonly #over: Promise<void>;

  constructor(level: number, send: Take) {
    this.#stream = createDeflate({ level, chunkSize: PIECE_BYTES });
    this.#over = pump(this.#stream, send);
    this.#over.catch(() => undefined);
  }

  /** The bytes are the caller's again when it resolves. Calls may overlap. @throws what `send` has thrown */
  write(bytes: Uint8Array): Promise<void> {
    return fed(this.#stream, bytes, this.#over);
  }

  /** All of it has been sent when it resolves. */
  async end(): Promise<void> {
    this.#stream.end();
    await this.#over;
  }

  [Symbol.dispose](): void {
    this.#stream.destroy();
  }
}

/** What came was no such stream: nothing of it is to be believed. */
export class NotDeflated extends FtpRefusal {
  constructor() {
    super(551, "What came is not compressed as MODE Z has it");
  }
}

/** Bytes of a file on their way in. */
export class Inflating implements Disposable {
  readonly #stream: Inflate;
  readonly #over: Promise<void>;
  #pushed = 0;
  #isEnding = false;

  constructor(take: Take) {
    this.#stream = createInflate({ chunkSize: PIECE_BYTES });
    this.#over = pump(this.#stream, take).catch((error: unknown) => {
      throw this.#told(error);
    });
    this.#over.catch(() => undefined);
  }

  /** Resolves when there is room for more. @throws {NotDeflated}, and what `take` has thrown */
  async write(bytes: Uint8Array): Promise<void> {
    this.#pushed += bytes.length;
    await fed(this.#stream, bytes, this.#over);
  }

  /**
   * Nothing comes after it, and all was taken when it resolves.
   * @throws {FtpRefusal} 426 when the stream has not ended yet; NotDeflated also for bytes behind its end
   */
  async end(): Promise<void> {
    this.#isEnding = true;
    this.#stream.end();
    await this.#over;
    if (this.#stream.bytesWritten < this.#pushed) throw new NotDeflated();
  }

  #told(error: unknown): unknown {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code === "Z_BUF_ERROR" && this.#isEnding) return new FtpRefusal(426, "The compressed stream was cut: it has not come to its end");
    return typeof code === "string" && code.startsWith("Z_") ? new NotDeflated() : error;
  }

  [Symbol.dispose](): void {
    this.#stream.destroy();
  }
}
