/**
 * What two sides agree on, as one number that both can compute: how many entries there are, and the sum (modulo 2^64) of
 * a hash of each. Of a file it holds path, size and sum, of a symlink the target; modes, times and owners are left out,
 * because not every side carries them.
 */
import type { Entry } from "#model/entry.ts";
import type { RelPath } from "#model/path.ts";
import { ByteWriter } from "#sync/wire/bytes.ts";

const WORD = (1n << 64n) - 1n;
const writer = new ByteWriter();

export class LinkDigest {
  #count = 0;
  #sum = 0n;

  /** False: the content of a file is not known, and so neither is a digest. */
  add(path: RelPath, entry: Entry): boolean {
    const hash = hashOf(path, entry);
    if (hash === undefined) return false;
    this.#count++;
    this.#sum = (this.#sum + hash) & WORD;
    return true;
  }

  /** Takes out what was added. */
  remove(path: RelPath, entry: Entry): boolean {
    const hash = hashOf(path, entry);
    if (hash === undefined) return false;
    this.#count--;
    this.#sum = (this.#sum - hash) & WORD;
    return true;
  }

  /** 32 hex digits. */
  text(): string {
    return this.#count.toString(16).padStart(16, "0") + this.#sum.toString(16).padStart(16, "0");
  }
}

function hashOf(path: RelPath, entry: Entry): bigint | undefined {
  writer.reset();
  writer.string(path);
  writer.string(entry.kind);
  if (entry.kind === "file") {
    if (entry.sum === undefined) return undefined;
    writer.varint(entry.size);
    writer.string(entry.sum);
  } else if (entry.kind === "symlink") writer.string(entry.target);
  return BigInt(Bun.hash.xxHash3(writer.view()));
}
