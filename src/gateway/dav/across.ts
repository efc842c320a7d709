/** COPY from one space to another: each space names content by seeds of its own, so bytes are read once more. */
import type { Intake, NamedContent } from "#hub/space-service.ts";
import type { Version } from "#hub/space.ts";
import { SynclineError } from "#model/error.ts";
import { DavProblem } from "#gateway/dav/answer.ts";
import type { DavCall } from "#gateway/dav/call.ts";

/** Bytes of one copy: what is read and hashed well within the time that a connection may be silent. */
export const ACROSS_BYTES_MAX = 4 * 2 ** 30;
const PIECE_BYTES = 1 << 20;

/** Brings files of one request over. */
export class Crossing {
  readonly #call: DavCall;
  readonly #space: string;
  readonly #intake: Intake;
  #bytes = 0;

  /** @param space where they are @param intake of where they come to */
  constructor(call: DavCall, space: string, intake: Intake) {
    this.#call = call;
    this.#space = space;
    this.#intake = intake;
  }

  /** @throws {DavProblem} 507, {SynclineError} CHUNK_MISSING */
  async bring(version: Version): Promise<NamedContent> {
    const { services, who } = this.#call;
    const size = version.content?.size ?? 0;
    this.#bytes += size;
    if (this.#bytes > ACROSS_BYTES_MAX) {
      throw new DavProblem(507, `more than ${ACROSS_BYTES_MAX} bytes would go to another space; copy it in parts`);
    }
    const reader = await services.spaces.open(who, this.#space, version);
    const sink = this.#intake.sink(size);
    for (let at = 0; at < size; ) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, size - at));
      const count = await reader.read(piece, at);
      if (count === 0) throw new SynclineError({ code: "CHUNK_MISSING", op: "copy", path: version.path, message: "its bytes are gone" });
      const full = sink.write(piece.subarray(0, count));
      if (full !== undefined) await full;
      at += count;
    }
    return sink.end();
  }
}
