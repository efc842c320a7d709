/** One question over HTTP(S), for what has to be known before there is any trust. */

/** How long the whole of it may take. */
const ASK_MS_MAX = 15_000;

/**
 * The body of `GET url`. With https the certificate is not looked at: the caller judges the answer itself.
 * Rejects with the system's error, for another status than 200, and for a body of more than `bytesMax`.
 */
export async function getUnjudged(url: string, bytesMax: number, signal: AbortSignal): Promise<string> {
  const response = await fetch(url, {
    signal: AbortSignal.any([signal, AbortSignal.timeout(ASK_MS_MAX)]),
    redirect: "error",
    headers: { accept: "application/json" },
    tls: { rejectUnauthorized: false },
  });
  if (response.status !== 200) throw new Error(`HTTP status ${response.status}`);
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of response.body ?? []) {
    bytes += part.length;
    if (bytes > bytesMax) throw new Error(`more than ${bytesMax} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}
