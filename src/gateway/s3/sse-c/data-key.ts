/**
 * The key that an object is encrypted with: drawn for each object, and kept beside it under the client's own key.
 *
 * From the client's key and a random salt HKDF makes two values: one wraps the data key (AES-256-GCM; with a salt for each
 * object no nonce is ever used twice), the other is the print by which the client's key is known again. Both are of no use
 * to who has the database and not the key. A data key of each object's own also means that the same bytes look different
 * each time: nobody sees that two objects are equal, and nothing is stored only once.
 */
import { createCipheriv, createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import type { CustomerKey } from "#gateway/s3/sse-c/customer-key.ts";
import { OPENER_BYTES } from "#hub/encrypted-content.ts";
import { assert } from "#model/error.ts";
import type { Random } from "#platform/host.ts";

const SALT_BYTES = 16;
const PRINT_BYTES = 16;
const KEY_BYTES = 32;
const TAG_BYTES = 16;
const NONCE = new Uint8Array(12);

/** 32 bytes. In memory while a request is answered. */
export type DataKey = Uint8Array;

function derived({ key }: CustomerKey, salt: Uint8Array): { wrapping: Uint8Array; print: Uint8Array } {
  const bytes = new Uint8Array(hkdfSync("sha256", key, salt, "syncline sse-c key 1", KEY_BYTES + PRINT_BYTES));
  return { wrapping: bytes.subarray(0, KEY_BYTES), print: bytes.subarray(KEY_BYTES) };
}

/** A data key for a new object, and what opens it for who has the client's key. */
export function newDataKey(key: CustomerKey, random: Random): { dataKey: DataKey; opener: Uint8Array } {
  const dataKey = random.bytes(KEY_BYTES);
  const salt = random.bytes(SALT_BYTES);
  const { wrapping, print } = derived(key, salt);
  const cipher = createCipheriv("aes-256-gcm", wrapping, NONCE);
  const wrapped = Buffer.concat([cipher.update(dataKey), cipher.final(), cipher.getAuthTag()]);
  const opener = new Uint8Array(Buffer.concat([salt, print, wrapped]));
  assert(opener.length === OPENER_BYTES, "an opener has one length");
  return { dataKey, opener };
}

/** Undefined: the client's key is another one, or what was kept is damaged. */
export function openDataKey(key: CustomerKey, opener: Uint8Array): DataKey | undefined {
  const { wrapping, print } = derived(key, opener.subarray(0, SALT_BYTES));
  const wrappedAt = SALT_BYTES + PRINT_BYTES;
  if (!timingSafeEqual(print, opener.subarray(SALT_BYTES, wrappedAt))) return undefined;
  try {
    const cipher = createDecipheriv("aes-256-gcm", wrapping, NONCE);
    cipher.setAuthTag(opener.subarray(OPENER_BYTES - TAG_BYTES));
    return new Uint8Array(Buffer.concat([cipher.update(opener.subarray(wrappedAt, OPENER_BYTES - TAG_BYTES)), cipher.final()]));
  } catch {
    return undefined;
  }
}

/**
 * A checksum of what was encrypted, as it is kept: without the key it says nothing. The same call takes the mask off.
 * @param hex of the checksum @param of another text for each thing that has checksums: its ETag
 */
export function masked(dataKey: DataKey, of: string, name: string, hex: string): string {
  const bytes = Uint8Array.fromHex(hex);
  const mask = createHmac("sha256", dataKey).update(`syncline sse-c sum ${name} ${of}`).digest();
  return bytes.map((byte, at) => byte ^ mask[at]!).toHex();
}
