/** Bodies of bytes: from memory when they are small, as a stream that reads on only as the client takes it otherwise. */
import type { ContentReader } from "#hub/space-service.ts";
import type { Range } from "#gateway/api/conditions.ts";
import type { Flow } from "#gateway/api/traffic.ts";

/** Up to here an answer is made in memory; only such answers can carry Content-Length (platform/net/http-server.ts). */
const WHOLE_BYTES_MAX = 512 << 10;
/** Read at once of a longer one. */
const PIECE_BYTES = 512 << 10;

const lengthOf = (part: Range | Uint8Array): number => (part instanceof Uint8Array ? part.length : part.end - part.start);

/**
 * The ranges of a content, with bytes of ours between them, in order. What goes wrong after the head was sent breaks
 * the connection off, so that nobody takes a part for the whole.
 *
 * @throws {ApiProblem} BUSY when too many long answers are at work
 */
export async function bytesBody(
  reader: ContentReader,
  parts: readonly (Range | Uint8Array)[],
  traffic: Flow,
  onError: (error: unknown) => void,
): Promise<Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>> {
  const onPiece = (bytes: number): void => traffic.count("out", bytes);
  const total = parts.reduce((sum, part) => sum + lengthOf(part), 0);
  if (total > WHOLE_BYTES_MAX) return streamOf(holding(traffic.download(), pieces(reader, parts, onPiece)), onError);
  const whole = new Uint8Array(total);
  let at = 0;
  for await (const piece of pieces(reader, parts, onPiece)) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

/** Gives the place back when the source has ended, or nobody wants more of it. */
export async function* holding(place: Disposable, source: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  using _place = place;
  yield* source;
}

async function* pieces(
  reader: ContentReader,
  parts: readonly (Range | Uint8Array)[],
  onPiece: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  for (const part of parts) {
    if (part instanceof Uint8Array) {
      yield part;
      continue;
    }
    for (let at = part.start; at < part.end; ) {
      const piece = new Uint8Array(Math.min(PIECE_BYTES, part.end - at));
      const count = await reader.read(piece, at);
      onPiece(count);
      if (count === 0) throw new Error("the content is shorter than it was");
      yield count === piece.length ? piece : piece.subarray(0, count);
      at += count;
    }
  }
}

/** Reads on only when the client has taken what it was given. */
export function streamOf(
  source: AsyncGenerator<Uint8Array>,
  onError: (error: unknown) => void,
): ReadableStream<Uint8Array> {
  let isGone = false;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const next = await source.next();
          // The client may have gone while it was waited for.
          if (isGone) return;
          if (next.done === true) controller.close();
          else controller.enqueue(next.value);
        } catch (error) {
          if (isGone) return;
          onError(error);
          controller.error(error);
        }
      },
      async cancel() {
        isGone = true;
        await source.return(undefined);
      },
    },
    { highWaterMark: 1 },
  );
}
