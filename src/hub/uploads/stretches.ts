/** Stretches of a file, one behind the other, as one file. */
import type { ContentReader } from "#hub/space-service.ts";
import { CHUNK_LIMITS_JOINED, type ChunkLimits } from "#sync/chunk/fastcdc.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";
import { LEAF_BYTES, PIECE_BYTES, Summer, type SumSeeds, piecesIn, sumOf, sumOfLeaves } from "#sync/chunk/sum.ts";

/** A part, or a whole stream: its leaves are of pieces counted from its own beginning, and may lack a last one that is short. */
export type Run = { readonly size: number; readonly leaves: Uint8Array };

/**
 * The sum of the file that runs make. Its pieces are PIECE_BYTES long from the beginning of the file on: where every run but
 * the last consists of whole pieces, their leaves are those of the file. Otherwise all of it is read, once.
 * @param read of the whole file
 */
export async function sumOfRuns(runs: readonly Run[], read: ContentReader, seeds: SumSeeds): Promise<string> {
  const { size } = read;
  const filled = runs.filter((run) => run.size > 0);
  if (filled.slice(0, -1).some((run) => run.size % PIECE_BYTES !== 0)) return sumByReading(read, seeds);
  const leaves = filled.map((run) => run.leaves);
  const known = leaves.reduce((sum, { length }) => sum + length / LEAF_BYTES, 0);
  if (known < piecesIn(size)) {
    const last = new Uint8Array(size % PIECE_BYTES);
    await read.read(last, size - last.length);
    leaves.push(Uint8Array.fromHex(sumOf(last, seeds)));
  }
  return sumOfLeaves(new Uint8Array(Buffer.concat(leaves)), size, seeds);
}

async function sumByReading(read: ContentReader, seeds: SumSeeds): Promise<string> {
  const summer = new Summer(seeds);
  const piece = new Uint8Array(Math.min(PIECE_BYTES, read.size));
  for (let at = 0; at < read.size; ) {
    const count = await read.read(piece, at);
    summer.update(piece.subarray(0, count));
    at += count;
  }
  return summer.digest();
}

/** What a manifest of these chunks says of how they were made. */
export function limitsOf(chunks: readonly ManifestChunk[], made: ChunkLimits): ChunkLimits {
  const isMade = chunks.every(
    ({ length }, at) => length <= made.maxBytes && (length >= made.minBytes || at === chunks.length - 1),
  );
  return isMade ? made : CHUNK_LIMITS_JOINED;
}
