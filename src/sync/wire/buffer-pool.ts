/**
 * Large message buffers, used again and again. A fresh megabyte costs as much in page faults as copying it does; a
 * warm one is still in the cache.
 *
 * Whoever owns a message may give its buffer back when nobody looks at it any more; forgetting to do so only costs
 * the next user an allocation. Giving back what is still in use corrupts data, so it is done in few places only:
 * where a message has been sent, and where its bytes have been written to the disk.
 */
import { alignedBytes } from "#platform/aligned-bytes.ts";
import { MESSAGE_BYTES_MAX } from "#sync/wire/channel.ts";

/** Smaller messages are allocated as they come: the allocator keeps those warm itself. */
const POOLED_BYTES_MIN = 128 << 10;
/** Buffers kept for the next use, for the whole process. */
const FREE_MAX = 16;

/** Place in a pooled message whose address is aligned: a body behind a header of this length goes to a disk as it is. */
export const BODY_AT = 32;

const free: Uint8Array[] = [];
/** Every buffer that was ever pooled, by its memory. */
const pooled = new WeakMap<ArrayBufferLike, Uint8Array>();
/** How many owners a buffer has beyond the first. */
const others = new WeakMap<Uint8Array, number>();

/** A buffer of exactly `length` bytes with arbitrary content, at most MESSAGE_BYTES_MAX. */
export function takeBuffer(length: number): Uint8Array {
  if (length < 1024) return new Uint8Array(length);
  if (length < POOLED_BYTES_MIN) return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer);
  return (free.pop() ?? makeSlot()).subarray(0, length);
}

/**
 * The message whose bytes from `before` on `body` are, with one owner more: its buffer is free when each has given it
 * back. Undefined where they are not in a pooled one.
 */
export function shareMessage(body: Uint8Array, before: number): Uint8Array | undefined {
  const slot = pooled.get(body.buffer);
  if (slot === undefined || slot.byteOffset + before !== body.byteOffset) return undefined;
  others.set(slot, (others.get(slot) ?? 0) + 1);
  return slot.subarray(0, before + body.length);
}

/** An owner of the message is done with it. Anything that did not come whole from takeBuffer() is ignored. */
export function giveBackBuffer(message: Uint8Array): void {
  const slot = pooled.get(message.buffer);
  if (slot?.byteOffset !== message.byteOffset) return;
  const owners = others.get(slot) ?? 0;
  if (owners > 0) others.set(slot, owners - 1);
  else if (free.length < FREE_MAX) free.push(slot);
}

function makeSlot(): Uint8Array {
  const slot = alignedBytes(MESSAGE_BYTES_MAX, BODY_AT);
  pooled.set(slot.buffer, slot);
  return slot;
}
