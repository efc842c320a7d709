/**
 * Content that the hub keeps and cannot read: a client has sent the key along, the bytes were encrypted with it on their
 * way in, and the key was forgotten (SSE-C of S3, gateway/s3/sse-c). A version says so by one attribute, which goes with
 * the bytes. Whoever handles versions knows three things from here: that a version is such, how many bytes of the store
 * it takes (its entry has the size of what was encrypted), and the error that refuses to read it.
 *
 * The attribute is a text: "1", then what opens the content for who has the key (base64), then the parts that it was
 * encrypted in, then the checksums of what was encrypted, masked (gateway/s3/sse-c/data-key.ts).
 */
import type { Attributes } from "#hub/attributes.ts";
import type { Entry, FileEntry } from "#model/entry.ts";
import { SynclineError } from "#model/error.ts";
import type { RelPath } from "#model/path.ts";

export const ENCRYPTED = "content.sse-c";

/** A part in the store is a salt and then frames, each with a tag behind it; also nothing at all is one frame. */
export const PART_SALT_BYTES = 16;
export const FRAME_BYTES = 64 << 10;
export const FRAME_TAG_BYTES = 16;

/** Bytes of what opens the content: salt, print of the client's key, wrapped data key (data-key.ts). */
export const OPENER_BYTES = 80;
const PARTS_MAX = 10_000;
const PART_BYTES_MAX = 5 * 2 ** 30;
const VERSION = "1";

/** Numbers rise from part to part, 1 to 10,000; sizes are those of what was encrypted. */
export type EncryptedPart = { readonly number: number; readonly size: number };

export type Encryption = {
  readonly opener: Uint8Array;
  readonly parts: readonly EncryptedPart[];
  /** By the name of the checksum; the door's own text. */
  readonly sums: Readonly<Record<string, string>>;
};

/** Bytes of the store that a part takes. */
export function storedPartBytes(size: number): number {
  return PART_SALT_BYTES + size + FRAME_TAG_BYTES * Math.max(1, Math.ceil(size / FRAME_BYTES));
}

/** What storedPartBytes() was given. */
export function partBytes(stored: number): number {
  const frames = stored - PART_SALT_BYTES;
  return frames - FRAME_TAG_BYTES * Math.ceil(frames / (FRAME_BYTES + FRAME_TAG_BYTES));
}

/** Parts of one size with numbers without a gap; the number is that of the first. */
type Run = EncryptedPart & { readonly count: number };

/** "5242880x3,100"; a number before it where it is not the one behind the last: "7:100". */
function runsText(parts: readonly EncryptedPart[]): string {
  const runs: { number: string; size: number; count: number }[] = [];
  let next = 1;
  for (const { number, size } of parts) {
    const last = runs.at(-1);
    if (last !== undefined && last.size === size && number === next) last.count++;
    else runs.push({ number: number === next ? "" : `${number}:`, size, count: 1 });
    next = number + 1;
  }
  return runs.map(({ number, size, count }) => `${number}${size}${count === 1 ? "" : `x${count}`}`).join(",");
}

/** Undefined: it is no such text. */
function runsOf(text: string): Run[] | undefined {
  const runs: Run[] = [];
  let next = 1;
  for (const run of text.split(",")) {
    const match = /^(?:(\d{1,5}):)?(\d{1,10})(?:x(\d{1,5}))?$/.exec(run);
    const [number, size, count] = [Number(match?.[1] ?? next), Number(match?.[2]), Number(match?.[3] ?? 1)];
    const isRight = match !== null && number >= next && count >= 1 && number + count - 1 <= PARTS_MAX && size <= PART_BYTES_MAX;
    if (!isRight) return undefined;
    runs.push({ number, size, count });
    next = number + count;
  }
  return runs;
}

const partsOf = (runs: readonly Run[]): EncryptedPart[] =>
  runs.flatMap(({ number, size, count }) => Array.from({ length: count }, (_, at) => ({ number: number + at, size })));

export function encryptionText({ opener, parts, sums }: Encryption): string {
  const told = Object.entries(sums).map(([name, value]) => `${name}:${value}`);
  return [VERSION, opener.toBase64(), runsText(parts), ...told].join(" ");
}

type Parsed = Pick<Encryption, "opener" | "sums"> & { readonly runs: readonly Run[] };

function parsed(text: string): Parsed | undefined {
  const [version, opener = "", parts = "", ...told] = text.split(" ");
  if (version !== VERSION || !/^[A-Za-z0-9+/]{107}=$/.test(opener)) return undefined;
  const runs = runsOf(parts);
  const sums = told.map((one) => /^([a-z0-9]{1,16}):([A-Za-z0-9+/=-]{1,100})$/.exec(one));
  if (runs === undefined || sums.some((match) => match === null)) return undefined;
  try {
    const bytes = Uint8Array.fromBase64(opener, { lastChunkHandling: "strict" });
    if (bytes.length !== OPENER_BYTES) return undefined;
    return { opener: bytes, runs, sums: Object.fromEntries(sums.map((match) => [match![1]!, match![2]!])) };
  } catch {
    return undefined;
  }
}

/** Why a version cannot have these attributes; undefined: it can. */
export function encryptionFault(attributes: Attributes): string | undefined {
  const text = attributes[ENCRYPTED];
  return text === undefined || parsed(text) !== undefined ? undefined : `${ENCRYPTED} is not what an encrypted file says`;
}

type Described = { readonly attributes: Attributes };

/** Of a version whose attributes were decoded; undefined: it is not encrypted. */
export function encryptionOf({ attributes }: Described): Encryption | undefined {
  const text = attributes[ENCRYPTED];
  const found = text === undefined ? undefined : parsed(text);
  return found === undefined ? undefined : { opener: found.opener, parts: partsOf(found.runs), sums: found.sums };
}

export const isEncrypted = ({ attributes }: Described): boolean => attributes[ENCRYPTED] !== undefined;

/** Bytes of the store that a version takes; 0 for what has none. */
export function storedBytes(entry: Entry | undefined, attributes: Attributes): number {
  if (entry?.kind !== "file") return 0;
  const text = attributes[ENCRYPTED];
  const found = text === undefined ? undefined : parsed(text);
  return found === undefined ? entry.size : found.runs.reduce((sum, { size, count }) => sum + storedPartBytes(size) * count, 0);
}

/** Bytes of what was encrypted; undefined: nothing was. */
export function encryptedBytes({ attributes }: Described): number | undefined {
  const text = attributes[ENCRYPTED];
  const found = text === undefined ? undefined : parsed(text);
  return found?.runs.reduce((sum, { size, count }) => sum + size * count, 0);
}

/** Why a file with these attributes cannot have content of that size; undefined: it can. */
export function sizeFault(entry: FileEntry, attributes: Attributes, contentBytes: number): string | undefined {
  if (contentBytes !== storedBytes(entry, attributes)) return "the content has another size than the file";
  const isWhole = (encryptedBytes({ attributes }) ?? entry.size) === entry.size;
  return isWhole ? undefined : "the parts that were encrypted are not the file";
}

/** @throws {SynclineError} ENCRYPTED */
export function requireReadable({ attributes, path }: Described & { readonly path: RelPath }): void {
  if (attributes[ENCRYPTED] === undefined) return;
  throw new SynclineError({
    code: "ENCRYPTED",
    op: "read content",
    path,
    message: "the file is encrypted with a key that its client has and the hub has not (SSE-C)",
    hint: "read it over S3 with its key: aws s3api get-object --sse-customer-algorithm AES256 --sse-customer-key KEY",
  });
}
