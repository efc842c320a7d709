/**
 * A key of the hub's own in a file beside the database, not in it: what has to be read again (secret keys of S3) is
 * sealed with it, and what must not be forged (the head of the audit log) is marked with it. Who has a copy of the
 * database alone can do neither.
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import { SynclineError, messageOf } from "#model/error.ts";
import type { Random } from "#platform/host.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";

const HEAD = "syncline seal key 1 ";
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export class SealKey {
  readonly #sealing: Buffer;
  readonly #marking: Buffer;
  readonly #random: Random;

  /** @param key 32 random bytes */
  constructor(key: Uint8Array, random: Random) {
    const derive = (use: string): Buffer => Buffer.from(hkdfSync("sha256", key, new Uint8Array(0), `syncline ${use}`, KEY_BYTES));
    this.#sealing = derive("seal");
    this.#marking = derive("mark");
    this.#random = random;
  }

  /**
   * Reads the key file, or makes it (mode 0600) when there is none.
   * @throws {SynclineError} STATE when it is not readable as one: it is never replaced, because what was sealed is lost
   * without it
   */
  static open(file: string, random: Random): SealKey {
    try {
      const text = readPrivateFile(file);
      if (text === undefined) {
        const key = random.bytes(KEY_BYTES);
        writePrivateFile(file, `${HEAD}${Buffer.from(key).toString("base64")}\n`);
        return new SealKey(key, random);
      }
      const key = Buffer.from(text.startsWith(HEAD) ? text.slice(HEAD.length).trim() : "", "base64");
      if (key.length !== KEY_BYTES) throw new Error("it does not hold a key");
      return new SealKey(key, random);
    } catch (cause) {
      throw new SynclineError({
        code: "STATE",
        op: "read seal key",
        path: file,
        message: `the hub's seal key cannot be used: ${messageOf(cause)}`,
        hint: `restore ${file} from the hub's backup; without it the S3 keys must be made anew`,
        cause,
      });
    }
  }

  /** AES-256-GCM with a random nonce: nonce, ciphertext, tag. `purpose` must be the same to open it again. */
  seal(text: string, purpose: string): Uint8Array {
    const nonce = this.#random.bytes(NONCE_BYTES);
    const cipher = createCipheriv("aes-256-gcm", this.#sealing, nonce);
    cipher.setAAD(Buffer.from(purpose));
    return new Uint8Array(Buffer.concat([nonce, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]));
  }

  /** @throws {SynclineError} STATE when it was sealed with another key or for another purpose, or is damaged */
  open(sealed: Uint8Array, purpose: string): string {
    try {
      const tagAt = sealed.length - TAG_BYTES;
      const cipher = createDecipheriv("aes-256-gcm", this.#sealing, sealed.subarray(0, NONCE_BYTES));
      cipher.setAAD(Buffer.from(purpose));
      cipher.setAuthTag(sealed.subarray(tagAt));
      return Buffer.concat([cipher.update(sealed.subarray(NONCE_BYTES, tagAt)), cipher.final()]).toString("utf8");
    } catch (cause) {
      throw new SynclineError({
        code: "STATE",
        op: "open sealed key",
        message: "a sealed key is damaged or was sealed with another key file",
        hint: "restore the hub's seal key from its backup, or make this key anew",
        cause,
      });
    }
  }

  /** HMAC-SHA256: nobody without the key file can make it. */
  mark(text: string): Uint8Array {
    return new Uint8Array(createHmac("sha256", this.#marking).update(text).digest());
  }

  isMark(mark: Uint8Array, text: string): boolean {
    return sameBytes(mark, this.mark(text));
  }
}

/** Constant in time for one length. */
export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}
