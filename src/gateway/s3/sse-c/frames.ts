/**
 * The cipher of encrypted objects. A part (an object that is put whole is one) lies in the store as
 *
 *     salt (16 bytes) · frame · frame · …        each frame: up to 64 KiB encrypted, and a tag of 16 bytes
 *
 * HKDF makes a key for each part from the object's data key, the salt, and the part's number; frames are AES-256-GCM with
 * their position as the nonce, of which the last frame's has one more bit. So a frame can be read without those before it,
 * and what is flipped, cut off, put in another place, or taken from another part, object, or earlier try of the same part,
 * is not opened. That a part is there at all is known from the list of parts beside the object, which is the hub's: an
 * upload is completed without its key.
 */
import { createCipheriv, createDecipheriv, hkdfSync } from "node:crypto";
import type { DataKey } from "#gateway/s3/sse-c/data-key.ts";
import { FRAME_BYTES, FRAME_TAG_BYTES, storedPartBytes } from "#hub/encrypted-content.ts";
import { SynclineError } from "#model/error.ts";

/** Of a frame in the store, but for the last. */
export const STORED_FRAME_BYTES: number = FRAME_BYTES + FRAME_TAG_BYTES;
const ALGORITHM = "aes-256-gcm";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;

export type PartKey = Uint8Array;

/** @param number of the part, 1 to 10,000 */
export function partKey(dataKey: DataKey, salt: Uint8Array, number: number): PartKey {
  return new Uint8Array(hkdfSync("sha256", dataKey, salt, `syncline sse-c part ${number}`, KEY_BYTES));
}

function nonceOf(index: number, isLast: boolean): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  nonce[0] = isLast ? 1 : 0;
  new DataView(nonce.buffer).setUint32(8, index);
  return nonce;
}

/** Encrypts the bytes of one part as they come. */
export class PartEncrypter {
  readonly #key: PartKey;
  #salt: Uint8Array | undefined;
  /** What has come of the frame at hand. It may be the last one, so it waits until more comes. */
  readonly #frame = new Uint8Array(FRAME_BYTES);
  #filled = 0;
  #index = 0;

  /** @param salt 16 random bytes of this part alone */
  constructor(dataKey: DataKey, number: number, salt: Uint8Array) {
    this.#key = partKey(dataKey, salt, number);
    this.#salt = salt;
  }

  /** What goes into the store now; not a view of `bytes`. */
  push(bytes: Uint8Array): Uint8Array {
    const frames = Math.ceil((this.#filled + bytes.length) / FRAME_BYTES);
    const out = this.#room(Math.max(0, frames - 1) * STORED_FRAME_BYTES);
    for (let at = 0; at < bytes.length; ) {
      if (this.#filled === FRAME_BYTES) this.#seal(out, this.#frame, false);
      if (this.#filled === 0 && bytes.length - at > FRAME_BYTES) {
        // Whole frames are not copied together first.
        this.#seal(out, bytes.subarray(at, at + FRAME_BYTES), false);
        at += FRAME_BYTES;
        continue;
      }
      const part = bytes.subarray(at, at + FRAME_BYTES - this.#filled);
      this.#frame.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
    }
    return out.bytes.subarray(0, out.at);
  }

  /** The last of it. Nothing comes after. */
  end(): Uint8Array {
    const out = this.#room(this.#filled + FRAME_TAG_BYTES);
    this.#seal(out, this.#frame.subarray(0, this.#filled), true);
    return out.bytes.subarray(0, out.at);
  }

  #room(bytes: number): Room {
    const salt = this.#salt;
    const room = { bytes: new Uint8Array(bytes + (salt?.length ?? 0)), at: salt?.length ?? 0 };
    if (salt !== undefined) room.bytes.set(salt);
    this.#salt = undefined;
    return room;
  }

  #seal(room: Room, frame: Uint8Array, isLast: boolean): void {
    const cipher = createCipheriv(ALGORITHM, this.#key, nonceOf(this.#index++, isLast));
    for (const piece of [cipher.update(frame), cipher.final(), cipher.getAuthTag()]) {
      room.bytes.set(piece, room.at);
      room.at += piece.length;
    }
    this.#filled = 0;
  }
}

type Room = { readonly bytes: Uint8Array; at: number };

/** A part that is all in memory, as it lies in the store. */
export function encryptPart(dataKey: DataKey, number: number, salt: Uint8Array, bytes: Uint8Array): Uint8Array {
  const encrypter = new PartEncrypter(dataKey, number, salt);
  const stored = new Uint8Array(storedPartBytes(bytes.length));
  const first = encrypter.push(bytes);
  stored.set(first);
  stored.set(encrypter.end(), first.length);
  return stored;
}

/**
 * @param stored a frame as it lies in the store
 * @param into where the bytes go; the same number less 16
 * @throws {SynclineError} CHUNK_DAMAGED when it is not the one that was stored there
 */
export function openFrame(key: PartKey, index: number, isLast: boolean, stored: Uint8Array, into: Uint8Array): void {
  const end = stored.length - FRAME_TAG_BYTES;
  try {
    const cipher = createDecipheriv(ALGORITHM, key, nonceOf(index, isLast));
    cipher.setAuthTag(stored.subarray(end));
    const bytes = cipher.update(stored.subarray(0, end));
    cipher.final();
    into.set(bytes);
  } catch (cause) {
    throw damaged(cause);
  }
}

export function damaged(cause?: unknown): SynclineError {
  return new SynclineError({
    code: "CHUNK_DAMAGED",
    op: "decrypt",
    message: "the encrypted bytes are not those that were stored",
    hint: "syncline hub check --data DIR",
    cause,
  });
}
