/** Bytes of a request on their way into the store, encrypted: what the client says of them is about what was sent. */
import type { Algorithm } from "#gateway/s3/checksums.ts";
import { type DataKey, masked } from "#gateway/s3/sse-c/data-key.ts";
import { PartEncrypter, encryptPart } from "#gateway/s3/sse-c/frames.ts";
import { PART_SALT_BYTES } from "#hub/encrypted-content.ts";
import { NO_SUMS, type SumName, type Sums } from "#hub/sums/sums.ts";
import { type SumsStream, openSums } from "#hub/sums/sums-thread.ts";
import type { Random } from "#platform/host.ts";

/** What one part is encrypted with. */
export type PartCipher = { readonly dataKey: DataKey; readonly number: number; readonly salt: Uint8Array };

/** The number of the only part of an object that is put whole. */
export const WHOLE_PART = 1;

export function partCipher(dataKey: DataKey, number: number, random: Random): PartCipher {
  return { dataKey, number, salt: random.bytes(PART_SALT_BYTES) };
}

export function encrypted({ dataKey, number, salt }: PartCipher, bytes: Uint8Array): Uint8Array {
  return encryptPart(dataKey, number, salt, bytes);
}

/** Checksums of what was sent, as they are kept with a part. @param etag of the part */
export function maskedSums({ dataKey }: PartCipher, etag: string, names: readonly Algorithm[], sums: Sums): Sums {
  return Object.fromEntries(names.map((name) => [name, masked(dataKey, etag, name, sums[name]!)]));
}

type Sink = { write(bytes: Uint8Array): Promise<void> | void };

/** Before a sink of the store, which sees only what is encrypted; the sums are of what comes. */
export class EncryptingSink {
  readonly #sink: Sink;
  readonly #encrypter: PartEncrypter;
  readonly #sums: SumsStream | undefined;
  #size = 0;

  constructor(sink: Sink, { dataKey, number, salt }: PartCipher, sums: readonly SumName[]) {
    this.#sink = sink;
    this.#encrypter = new PartEncrypter(dataKey, number, salt);
    this.#sums = sums.length === 0 ? undefined : openSums(sums);
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#size += bytes.length;
    const full = this.#sums?.update(bytes);
    if (full !== undefined) await full;
    const stored = this.#encrypter.push(bytes);
    if (stored.length > 0) await this.#sink.write(stored);
  }

  /** Nothing comes after it. The sink is the caller's to end. */
  async end(): Promise<{ readonly size: number; readonly sums: Sums }> {
    await this.#sink.write(this.#encrypter.end());
    return { size: this.#size, sums: (await this.#sums?.digest()) ?? NO_SUMS };
  }
}
