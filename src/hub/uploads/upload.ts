/**
 * Uploads: files on their way into a space that outlive connections and the hub's process. A user begins one for a path;
 * its bytes come as numbered parts, in any order and each replaceable, or as a stream whose offset grows; at the end it is
 * completed, which writes metadata alone, or aborted, or it expires.
 *
 * - What counts is what rows say: a part or an offset is in a row only when its chunks survive a power loss. After a crash
 *   of the hub the rows are the truth, and whatever else had come is sent again.
 * - Chunks that rows name are not pruned. When an upload has ended they go with the next prunes, unless a version has them.
 * - An upload belongs to the user that began it. Everybody else is told that there is none. The right to write at its path
 *   is asked for at every step, and by the commit.
 * - Completing is idempotent: asked again, also after a crash in the middle, it gives what it came to the first time.
 */
import type { Principal } from "#access/access.ts";
import type { Attributes } from "#hub/attributes.ts";
import type { ReadInto } from "#hub/cuts/file-cutter.ts";
import { storedPartBytes } from "#hub/encrypted-content.ts";
import type { VersionLock } from "#hub/locks.ts";
import type { ContentReader, Intake } from "#hub/space-service.ts";
import type { ChangeResult, Expect } from "#hub/space.ts";
import type { SumName, Sums } from "#hub/sums/sums.ts";
import type { RelPath } from "#model/path.ts";

/** Parts are numbered 1 to this. */
export const PART_NUMBER_MAX = 10_000;
/** Bytes of one part, and of one upload. */
export const PART_BYTES_MAX = 5 * 2 ** 30;
export const UPLOAD_BYTES_MAX = 5 * 2 ** 40;
/** The same as they are stored: a door may encrypt them (encrypted-content.ts), which takes some more. */
export const STORED_PART_BYTES_MAX: number = storedPartBytes(PART_BYTES_MAX);
export const STORED_UPLOAD_BYTES_MAX: number = PART_NUMBER_MAX * storedPartBytes(UPLOAD_BYTES_MAX / PART_NUMBER_MAX);
/** Open uploads of one user, and of all. */
export const USER_UPLOADS_MAX = 10_000;
export const UPLOADS_MAX = 100_000;
/** An upload that nobody touches is dropped after this, unless its door asks for another time. */
export const UPLOAD_EXPIRY_MS = 7 * 24 * 3_600_000;
export const UPLOAD_EXPIRY_MS_MAX = 30 * 24 * 3_600_000;
/** What a completed upload came to is known for this long. */
export const UPLOAD_KNOWN_MS = 24 * 3_600_000;
/**
 * Parts and streams that take bytes at a time; others wait. Each may hold 24 MiB where bytes come faster than the store takes
 * them. A stream over a slow line has its place for as long as the line takes.
 */
export const UPLOADS_WRITING_MAX = 64;
/** Of those of one user, who may let them hang. */
export const USER_WRITING_MAX = 32;
/**
 * What has come of a stream that goes on becomes durable when it is this much, and this long after the last time; or so much
 * whenever that was. Twice as much may have to be sent again after a crash, and 12 MiB that are being cut.
 */
export const STREAM_COMMIT_BYTES = 16 << 20;
export const STREAM_COMMIT_MS = 500;
export const STREAM_COMMIT_BYTES_MAX = 64 << 20;
/** Characters of what a door keeps with an upload. */
export const NOTE_CHARS_MAX = 16 << 10;
/** Rows of one page. */
export const UPLOAD_PAGE_MAX = 1000;

/** 32 hex digits, random. */
export type UploadId = string;
export type UploadKind = "parts" | "stream";

/** Who uploads, through which door ("s3", "tus"): each door sees the uploads that it has begun, and no others. */
export type Uploader = { readonly who: Principal; readonly door: string };

/** What an endpoint saw is no condition of a door. */
export type UploadExpect = Exclude<Expect, { readonly kind: "entry" }>;

export type NewUpload = {
  readonly space: string;
  readonly path: RelPath;
  readonly kind: UploadKind;
  /** Bytes that will come in all; undefined: not known yet. They are counted against the quota from now on. */
  readonly size?: number | undefined;
  readonly attributes?: Attributes | undefined;
  /** Permission bits; undefined: as the file that is there, or 0644. */
  readonly mode?: number | undefined;
  /** Undefined: the time at which it is completed. */
  readonly mtimeNs?: bigint | undefined;
  /** What must hold when it is completed. */
  readonly expect?: UploadExpect | undefined;
  readonly expiryMs?: number | undefined;
  /** For the door's own use. */
  readonly note?: string | undefined;
};

export type Upload = {
  readonly id: UploadId;
  readonly space: string;
  readonly path: RelPath;
  readonly kind: UploadKind;
  readonly size: number | undefined;
  /** Of a stream: its offset. Of parts: their bytes together. */
  readonly received: number;
  readonly attributes: Attributes | undefined;
  readonly expect: UploadExpect;
  readonly createdMs: number;
  /** By the clock of the hub; later with each part or append. */
  readonly expiresMs: number;
  readonly note: string;
  /** Of the version that it became; undefined while it is open. */
  readonly sequence: number | undefined;
  /** That was asked to complete it last, by its number. */
  readonly job: number | undefined;
};

/** What a version number says, as clients give it: 0 is nothing at all. */
export function uploadExpect(sequence: number | undefined): UploadExpect | undefined {
  if (sequence === undefined) return undefined;
  return sequence === 0 ? { kind: "absent" } : { kind: "sequence", sequence };
}

export type Part = {
  readonly number: number;
  readonly size: number;
  /** Those that were asked for when it was written. */
  readonly sums: Sums;
  readonly timeMs: number;
};

/** Takes the bytes of one part. Disposed of without commit(): the part is as it was before. */
export interface PartSink extends AsyncDisposable {
  /** A promise where the store cannot keep up: wait before the next. The bytes are the caller's again afterwards. */
  write(bytes: Uint8Array): Promise<void> | void;
  /** Nothing comes after it. What has come is not in the upload yet. */
  end(): Promise<{ readonly size: number; readonly sums: Sums }>;
  /**
   * Durable when it resolves.
   * @param more sums that are kept with the part beside those that were asked for
   * @throws {SynclineError} NOT_FOUND when the upload has ended meanwhile, DISK, QUOTA, LIMIT
   */
  commit(more?: Sums): Promise<Part>;
}

/**
 * Takes bytes of a stream from its offset on. They become durable on the way, STREAM_COMMIT_BYTES or more at a time, while
 * the next come; so does what has come when it is disposed of, however it ended. Of one that is `whole` nothing counts before
 * commit(), and nothing ever when it is disposed of without.
 */
export interface AppendSink extends AsyncDisposable {
  /** As of a part. @throws {SynclineError} INTERRUPTED when another append has taken its place, LIMIT past the size */
  write(bytes: Uint8Array): Promise<void> | void;
  /**
   * As write(), of bytes that `read` puts where they belong, without a copy: it is given room, and tells how many bytes it has
   * put at its beginning. What is due by their number is done with the next write().
   * @returns how many; 0 where that cannot be now: write() tells why, or waits
   */
  fill(read: ReadInto): number;
  /** Nothing comes after it. Of the bytes of this append. */
  end(): Promise<Sums>;
  /** All that came is durable when it resolves; gives the new offset. */
  commit(): Promise<number>;
}

export type Completed = {
  /** "done", or why not: the upload stays open then. */
  readonly result: ChangeResult;
  /** False: it had been completed before. */
  readonly isFirst: boolean;
};

export type Completion = {
  readonly traceId: string;
  /** Of kind "parts": those that make the file, ascending; undefined: all. Others are dropped. */
  readonly parts?: readonly number[] | undefined;
  /** Instead of what was said at the beginning. */
  readonly attributes?: Attributes | undefined;
  readonly expect?: UploadExpect | undefined;
  readonly mode?: number | undefined;
  readonly mtimeNs?: bigint | undefined;
  /** Sums of the whole that the door knows for certain. */
  readonly sums?: Sums | undefined;
  readonly lock?: VersionLock | undefined;
  /** As of a change (space.ts). */
  readonly keepsKind?: true | undefined;
  /** As of a change (space.ts); undefined: where nothing was said of the permissions. */
  readonly keepsMode?: boolean | undefined;
  readonly message?: string | undefined;
};

export type UploadPage = {
  /** Of paths. */
  readonly prefix?: string | undefined;
  readonly after?: { readonly path: RelPath; readonly id: UploadId } | undefined;
  readonly limit: number;
};

export type PartOptions = {
  /** When it is known: what is too much is refused before it comes. */
  readonly size?: number | undefined;
  readonly sums?: readonly SumName[] | undefined;
};

export type AppendOptions = {
  /** All of it counts, or nothing. */
  readonly whole?: boolean | undefined;
  /** Of the bytes of this append. */
  readonly sums?: readonly SumName[] | undefined;
};

/** What a part is by its bytes, before anything of it is sent. */
export type Print = { readonly number: number; readonly size: number; readonly sha256: string };

/**
 * Parts that need not be sent by who proves to have them: HMAC-SHA-256 with the nonce as the key, over the text of
 * proofHead() and then the bytes of the part from `start` on.
 */
export type Challenge = {
  /** Hex. */
  readonly nonce: string;
  readonly parts: readonly { readonly number: number; readonly start: number; readonly length: number }[];
};
export type Proof = { readonly number: number; readonly mac: string };

export const proofHead = ({ number, sha256 }: Print, start: number): string => `syncline part ${number} ${sha256} ${start}\n`;

/** Prints of one offer. */
export const PRINTS_MAX = 1000;

export interface Uploads {
  /** @throws {SynclineError} SPACE_UNKNOWN, DENIED (also for a copy), USAGE, QUOTA, LIMIT */
  create(by: Uploader, wanted: NewUpload): Promise<Upload>;
  /** Also one that is complete, for a while. @throws {SynclineError} NOT_FOUND, DENIED; so do all others */
  get(by: Uploader, id: UploadId): Promise<Upload>;
  /** Open ones of a space, by path and id, in byte order. */
  list(by: Uploader, space: string, page: UploadPage): Promise<Upload[]>;
  /** Of one that was begun without. @throws {SynclineError} USAGE when another size is known, or more has come, QUOTA */
  setSize(by: Uploader, id: UploadId, size: number): Promise<Upload>;
  setNote(by: Uploader, id: UploadId, note: string): Promise<Upload>;
  /** A job is to complete it, if it is still open. */
  setJob(by: Uploader, id: UploadId, job: number): Promise<Upload>;
  abort(by: Uploader, id: UploadId): Promise<void>;

  /** By number. */
  parts(by: Uploader, id: UploadId, after: number, limit: number): Promise<Part[]>;
  /** @throws {SynclineError} USAGE for a stream or another number, LIMIT, QUOTA */
  part(by: Uploader, id: UploadId, number: number, options?: PartOptions): Promise<PartSink>;

  /**
   * Which of these parts the space has already, in files that the caller may read: those are to be proved, all others
   * sent. Of what others may read alone nothing is said.
   */
  offer(by: Uploader, id: UploadId, prints: readonly Print[]): Promise<Challenge>;
  /**
   * Takes over the parts of the last offer that are proved; gives their numbers. The others are to be sent.
   * @throws {SynclineError} STALE when the challenge is another one, or too old
   */
  prove(by: Uploader, id: UploadId, nonce: string, proofs: readonly Proof[]): Promise<number[]>;

  /**
   * An append that is under way for the same upload is told to end, and what it has counts, before this one begins.
   * @throws {SynclineError} STALE when the offset is another by then, USAGE for parts, CHUNK_MISSING
   */
  append(by: Uploader, id: UploadId, offset: number, options?: AppendOptions): Promise<AppendSink>;

  /**
   * What has come of a stream and is durable; `intake` protects it from now on, also when the upload ends.
   * @throws {SynclineError} USAGE for parts, CHUNK_MISSING
   */
  read(by: Uploader, id: UploadId, intake: Intake): Promise<ContentReader>;

  /**
   * One that the space refuses stays open.
   * @throws {SynclineError} STALE when bytes or parts are lacking, CHUNK_MISSING when the parts that it names have to be
   * sent again
   */
  complete(by: Uploader, id: UploadId, completion: Completion): Promise<Completed>;
  /**
   * Makes one file of several streams of the same user, space and door that have come whole, in order. They stay. What
   * the space refuses leaves nothing.
   */
  join(
    by: Uploader,
    wanted: NewUpload,
    streams: readonly UploadId[],
    completion: Completion,
  ): Promise<Completed & { readonly upload: Upload }>;
}
