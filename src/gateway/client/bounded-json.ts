/** JSON from a hub that may be anybody: no more of it is taken into memory than was agreed on. */
import { boundedBody } from "#gateway/bounded-body.ts";

/**
 * Undefined where it is no JSON.
 * @throws {Error} when there are more bytes than `bytesMax`; what reading the answer throws
 */
export async function readBoundedJson(response: Response, bytesMax: number): Promise<unknown> {
  const tooMany = (): Error => new Error(`the answer has more than ${bytesMax} bytes`);
  const bytes = await boundedBody(response.body, bytesMax, tooMany);
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as unknown;
  } catch {
    return undefined;
  }
}
