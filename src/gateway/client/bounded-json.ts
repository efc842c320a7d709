/** JSON from a hub that may be anybody: no more of it is taken into memory than was agreed on. */

/**
 * Undefined where it is no JSON.
 * @throws {Error} when there are more bytes than `bytesMax`; what reading the answer throws
 */
export async function readBoundedJson(response: Response, bytesMax: number): Promise<unknown> {
  const pieces: Uint8Array[] = [];
  let total = 0;
  // Leaving the loop cancels the answer.
  for await (const piece of response.body ?? []) {
    total += piece.length;
    if (total > bytesMax) throw new Error(`the answer has more than ${bytesMax} bytes`);
    pieces.push(piece);
  }
  try {
    return JSON.parse(new TextDecoder().decode(Buffer.concat(pieces))) as unknown;
  } catch {
    return undefined;
  }
}
