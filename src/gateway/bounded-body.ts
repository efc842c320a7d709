/** A body in memory. */
import { paced } from "#platform/net/pace.ts";

/**
 * The bytes of a body from somebody who may be anybody, all in memory. Leaving it early cancels the body.
 * @throws what `tooMany` makes, when there are more than `bytesMax`; what reading throws
 */
export async function boundedBody(
  body: ReadableStream<Uint8Array> | null,
  bytesMax: number,
  tooMany: () => Error,
): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let total = 0;
  for await (const piece of paced(body)) {
    total += piece.length;
    if (total > bytesMax) throw tooMany();
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}
