/** JSON in rows: what cannot be read is nothing, and whoever asks has a shape that it must have. */

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
