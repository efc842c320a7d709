/** What passes between CreateThread and its worker. */
import { NEW_FILES_BYTES_MAX, NEW_FILES_MAX } from "#platform/file-system.ts";

/** Numbers of a file in `words`: its directory's descriptor, mode, length, and whether a time is to be set. */
export const WORDS_EACH = 4;
/** Numbers of a file in `longs`, when it is made: inode, ctime and mtime in nanoseconds; before, the last is the mtime wanted. */
export const LONGS_EACH = 3;
const WORDS_AT = NEW_FILES_BYTES_MAX;
const LONGS_AT = WORDS_AT + NEW_FILES_MAX * WORDS_EACH * 4;

/** Memory that both threads share for the files of one call: bytes one behind the other, and numbers for each. */
export class CreateRoom {
  readonly memory: SharedArrayBuffer;
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly longs: BigInt64Array;

  constructor(memory = new SharedArrayBuffer(LONGS_AT + NEW_FILES_MAX * LONGS_EACH * 8)) {
    this.memory = memory;
    this.bytes = new Uint8Array(memory, 0, NEW_FILES_BYTES_MAX);
    this.words = new Int32Array(memory, WORDS_AT, NEW_FILES_MAX * WORDS_EACH);
    this.longs = new BigInt64Array(memory, LONGS_AT, NEW_FILES_MAX * LONGS_EACH);
  }
}

/** Told once and first. */
export type CreateSetup = { readonly umask: number };
/** `names` are joined by "/", which none of them has. */
export type CreateOrder = { readonly id: number; readonly memory: SharedArrayBuffer; readonly names: string; readonly count: number };
/** Which files were not made, and the errno's name for each; all others were. */
export type CreateAnswer = { readonly id: number; readonly failed: readonly (readonly [at: number, code: string])[] };
