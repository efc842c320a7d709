/**
 * Parts that need not be sent, because the space has them in a file that the uploader may read. A hash alone is no key:
 * the uploader shows that it has the bytes, by an HMAC over a stretch that nobody could know before. What somebody may not
 * read does not exist for them: it is answered as if nobody had it, and has to be sent.
 */
import { timingSafeEqual } from "node:crypto";
import type { Access, Principal } from "#access/access.ts";
import type { StoreIntake } from "#hub/content.ts";
import type { MetaStore } from "#hub/meta/meta-store.ts";
import type { Space } from "#hub/space.ts";
import { type Challenge, type Print, type Proof, type UploadId, proofHead } from "#hub/uploads/upload.ts";
import { otherChallenge } from "#hub/uploads/upload-errors.ts";
import type { PartRow, PrintRow, UploadRow, UploadRows } from "#hub/uploads/upload-rows.ts";
import type { Clock, Random } from "#platform/host.ts";
import type { ChunkId, ContentId } from "#sync/chunk/chunk-id.ts";
import type { ManifestChunk } from "#sync/chunk/manifest.ts";

const NONCE_BYTES = 32;
/** Of each part that has to be shown. */
const PROOF_BYTES = 4096;
/** How long a challenge can be answered, and how many are known; a new one takes the place of the oldest. */
const CHALLENGE_MS = 10 * 60_000;
const CHALLENGES_MAX = 1000;

type Open = {
  readonly nonce: Uint8Array;
  readonly untilMs: number;
  readonly parts: ReadonlyMap<number, Print & { readonly start: number; readonly length: number }>;
};

/** Of one call: each content is looked up once. */
type Known = Map<ContentId, Promise<readonly ManifestChunk[] | undefined>>;

export type PartPrintsOptions = {
  readonly rows: UploadRows;
  readonly meta: MetaStore;
  readonly access: Access;
  readonly clock: Clock;
  readonly random: Random;
};

export class PartPrints {
  readonly #options: PartPrintsOptions;
  readonly #open = new Map<UploadId, Open>();

  constructor(options: PartPrintsOptions) {
    this.#options = options;
  }

  async offer(who: Principal, { id }: UploadRow, space: Space, prints: readonly Print[]): Promise<Challenge> {
    const { random, clock } = this.#options;
    const known: Known = new Map();
    const parts = new Map<number, Print & { start: number; length: number }>();
    for (const print of prints) {
      if ((await this.#find(who, space, print, known)) === undefined) continue;
      const length = Math.min(PROOF_BYTES, print.size);
      parts.set(print.number, { ...print, length, start: this.#below(print.size - length + 1) });
    }
    const nonce = random.bytes(NONCE_BYTES);
    this.#open.delete(id);
    if (this.#open.size >= CHALLENGES_MAX) this.#open.delete(this.#open.keys().next().value!);
    if (parts.size > 0) this.#open.set(id, { nonce, untilMs: clock.monotonicMs() + CHALLENGE_MS, parts });
    const shown = [...parts.values()].map(({ number, start, length }) => ({ number, start, length }));
    return { nonce: nonce.toHex(), parts: shown };
  }

  /** A whole number from 0 up to `end`, without it. */
  #below(end: number): number {
    const bytes = this.#options.random.bytes(8);
    return Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0) % BigInt(end));
  }

  /** @throws {SynclineError} STALE */
  async proved(
    who: Principal,
    { id }: UploadRow,
    space: Space,
    intake: StoreIntake,
    nonce: string,
    proofs: readonly Proof[],
  ): Promise<PartRow[]> {
    const { clock } = this.#options;
    const open = this.#open.get(id);
    this.#open.delete(id);
    if (open === undefined || open.nonce.toHex() !== nonce || open.untilMs < clock.monotonicMs()) throw otherChallenge();
    const known: Known = new Map();
    const parts: PartRow[] = [];
    for (const { number, mac } of proofs) {
      const asked = open.parts.get(number);
      const found = asked === undefined ? undefined : await this.#find(who, space, asked, known);
      if (found === undefined || !intake.has(found.chunks).every(Boolean)) continue;
      const bytes = new Uint8Array(asked!.length);
      await intake.part(found.chunks).read(bytes, asked!.start);
      const right = new Bun.CryptoHasher("sha256", open.nonce).update(proofHead(asked!, asked!.start)).update(bytes).digest();
      const given = Buffer.from(mac, "hex");
      if (given.length !== right.length || !timingSafeEqual(given, right)) continue;
      const { size, sha256 } = asked!;
      parts.push({ number, size, sums: { sha256 }, timeMs: clock.nowMs(), chunks: found.chunks, leaves: found.row.leaves });
    }
    return parts;
  }

  /** The part, if it is in a file of the space that the caller may read. */
  async #find(
    who: Principal,
    space: Space,
    { sha256, size }: Print,
    known: Known,
  ): Promise<{ row: PrintRow; chunks: readonly ManifestChunk[] } | undefined> {
    const row = await this.#options.rows.print(space.id, sha256);
    if (row === undefined || row.size !== size) return undefined;
    let of = known.get(row.content);
    if (of === undefined) known.set(row.content, (of = this.#readable(who, space, row.content)));
    const chunks = (await of)?.slice(row.start, row.start + row.count);
    // Content of one chunk has no manifest, and is the part.
    if (chunks?.length === 0) return { row, chunks: [{ id: row.content as string as ChunkId, length: size }] };
    return chunks?.reduce((sum, { length }) => sum + length, 0) === size ? { row, chunks } : undefined;
  }

  /** Its chunks; none where there is no manifest. Undefined: the caller may read no file that has it. */
  async #readable(who: Principal, space: Space, content: ContentId): Promise<readonly ManifestChunk[] | undefined> {
    const { rows, meta, access } = this.#options;
    const paths = await rows.pathsOf(space.id, content);
    const mayRead = (path: string): boolean => access.decide(who, "read", { type: "space", space: space.name, path }).allowed;
    if (!paths.some(mayRead)) return undefined;
    return (await meta.manifest(content))?.chunks ?? [];
  }
}
