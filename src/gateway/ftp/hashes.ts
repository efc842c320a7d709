/** Sums of files, or of a part of one, for clients that compare. Those of whole files are kept by the hub. */
import type { ContentReader } from "#hub/space-service.ts";
import { type SumName, SumsHasher } from "#hub/sums/sums.ts";
import { FtpRefusal } from "#gateway/ftp/reply.ts";

/** By the name that FTP has for it. */
const SUMS = { "SHA-256": "sha256", "SHA-512": "sha512", "SHA-1": "sha1", MD5: "md5", CRC32: "crc32" } as const;
export type HashName = keyof typeof SUMS;
export const HASH_NAMES = Object.keys(SUMS) as readonly HashName[];

/** Sums that are asked for at a time; more are refused, because each may read a file at the speed of the disk. */
export const HASHES_MAX = 16;
const PIECE_BYTES = 512 << 10;

export function isHashName(name: string): name is HashName {
  return Object.hasOwn(SUMS, name);
}

export const sumNameOf = (name: HashName): SumName => SUMS[name];

export class Hashes {
  #running = 0;

  /** @throws {FtpRefusal} 450 when too many are asked for; what `work` throws */
  async limited(work: () => Promise<string>): Promise<string> {
    if (this.#running >= HASHES_MAX) throw new FtpRefusal(450, "Too many sums are being computed; try again");
    this.#running++;
    try {
      return await work();
    } finally {
      this.#running--;
    }
  }
}

/** @throws {FtpRefusal} 451 when the content is shorter; signal.reason */
export async function sumOfRange(
  reader: ContentReader,
  name: HashName,
  { start, end }: { readonly start: number; readonly end: number },
  signal: AbortSignal,
): Promise<string> {
  const sum = sumNameOf(name);
  const hasher = new SumsHasher([sum]);
  const piece = new Uint8Array(Math.min(PIECE_BYTES, end - start));
  for (let at = start; at < end; ) {
    signal.throwIfAborted();
    const count = await reader.read(piece.subarray(0, Math.min(piece.length, end - at)), at);
    if (count === 0) throw new FtpRefusal(451, "The content is shorter than it was");
    hasher.update(piece.subarray(0, count));
    at += count;
  }
  return hasher.digest()[sum]!;
}
