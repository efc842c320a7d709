/** Sums of whole contents that clients verify or show: computed while bytes pass, where a door asks for them. */
import { Crc } from "#hub/sums/crc.ts";
import { ByteReader, ByteWriter, malformed } from "#sync/wire/bytes.ts";

/** Digits of each, in hex. By the place in this table they stand in rows: new ones come last. */
const DIGITS = { md5: 32, sha1: 40, sha256: 64, sha512: 128, crc32: 8, crc32c: 8, crc64nvme: 16 } as const;
export type SumName = keyof typeof DIGITS;
export const SUM_NAMES = Object.keys(DIGITS) as readonly SumName[];

/** Lower-case hex by name; of CRCs the most significant digit first. */
export type Sums = Readonly<Partial<Record<SumName, string>>>;

export const NO_SUMS: Sums = Object.freeze({});

type Hasher = { readonly name: SumName; update(bytes: Uint8Array): void; digest(): string };

function hasherOf(name: SumName): Hasher {
  if (name === "crc32") {
    let crc = 0;
    const update = (bytes: Uint8Array): void => void (crc = Bun.hash.crc32(bytes, crc));
    return { name, update, digest: () => crc.toString(16).padStart(8, "0") };
  }
  if (name === "crc32c" || name === "crc64nvme") {
    const crc = new Crc(name);
    return { name, update: (bytes) => crc.update(bytes), digest: () => crc.digest() };
  }
  const hasher = new Bun.CryptoHasher(name);
  return { name, update: (bytes) => void hasher.update(bytes), digest: () => hasher.digest("hex") };
}

/** Several sums of the same bytes, in one pass. For one owner; digest() once, at the end. */
export class SumsHasher {
  readonly #hashers: readonly Hasher[];

  constructor(names: readonly SumName[]) {
    this.#hashers = [...new Set(names)].map(hasherOf);
  }

  update(bytes: Uint8Array): void {
    for (const hasher of this.#hashers) hasher.update(bytes);
  }

  digest(): Sums {
    return Object.fromEntries(this.#hashers.map((hasher) => [hasher.name, hasher.digest()]));
  }
}

/** Is this what a sum of that name can be? */
export function isSum(name: SumName, text: string): boolean {
  return text.length === DIGITS[name] && /^[0-9a-f]+$/.test(text);
}

export function encodeSums(sums: Sums): Uint8Array {
  const writer = new ByteWriter();
  for (const [number, name] of SUM_NAMES.entries()) {
    const sum = sums[name];
    if (sum === undefined) continue;
    writer.u8(number);
    writer.raw(Uint8Array.fromHex(sum));
  }
  return writer.finish();
}

/** @throws {SynclineError} PROTOCOL */
export function decodeSums(bytes: Uint8Array): Sums {
  const reader = new ByteReader(bytes);
  const sums: Partial<Record<SumName, string>> = {};
  while (!reader.atEnd) {
    const name = SUM_NAMES[reader.u8()];
    if (name === undefined) throw malformed("a sum of another kind");
    sums[name] = reader.raw(DIGITS[name] / 2).toHex();
  }
  return sums;
}
