/** Sums of files, or of a part of one, for clients that compare. */
import type { ContentReader } from "#hub/space-service.ts";
import { FtpRefusal } from "#gateway/ftp/reply.ts";

export const HASH_NAMES = ["SHA-256", "SHA-512", "SHA-1", "MD5", "CRC32"] as const;
export type HashName = (typeof HASH_NAMES)[number];

/** Sums that are computed at a time; more are refused, because each reads at the speed of the disk. */
export const HASHES_MAX = 4;
const PIECE_BYTES = 512 << 10;

export function isHashName(name: string): name is HashName {
  return (HASH_NAMES as readonly string[]).includes(name);
}

const ALGORITHMS = { "SHA-256": "sha256", "SHA-512": "sha512", "SHA-1": "sha1", MD5: "md5" } as const;

type Hasher = { update(bytes: Uint8Array): void; digest(): string };

function hasherOf(name: HashName): Hasher {
  if (name !== "CRC32") {
    const hasher = new Bun.CryptoHasher(ALGORITHMS[name]);
    return { update: (bytes) => void hasher.update(bytes), digest: () => hasher.digest("hex") };
  }
  let crc = 0;
  return {
    update: (bytes) => void (crc = Bun.hash.crc32(bytes, crc)),
    digest: () => crc.toString(16).padStart(8, "0"),
  };
}

export class Hashes {
  #running = 0;

  /** @throws {FtpRefusal} 450 when too many are computed, 451 when the content is shorter; signal.reason */
  async of(reader: ContentReader, name: HashName, start: number, end: number, signal: AbortSignal): Promise<string> {
    if (this.#running >= HASHES_MAX) throw new FtpRefusal(450, "Too many sums are being computed; try again");
    this.#running++;
    try {
      const hasher = hasherOf(name);
      const piece = new Uint8Array(Math.min(PIECE_BYTES, end - start));
      for (let at = start; at < end; ) {
        signal.throwIfAborted();
        const count = await reader.read(piece.subarray(0, Math.min(piece.length, end - at)), at);
        if (count === 0) throw new FtpRefusal(451, "The content is shorter than it was");
        hasher.update(piece.subarray(0, count));
        at += count;
      }
      return hasher.digest();
    } finally {
      this.#running--;
    }
  }
}
