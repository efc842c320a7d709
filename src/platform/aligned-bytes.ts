/** Memory at addresses that a disk can read from by itself. */
import { ptr } from "bun:ffi";

/** What a disk, a file system or the processor may want addresses and positions to be multiples of. */
export const PAGE_BYTES = 4096;

/** Is the first byte at a multiple of PAGE_BYTES? Array buffers do not move. */
export function isAligned(bytes: Uint8Array): boolean {
  return ptr(bytes) % PAGE_BYTES === 0;
}

/** New memory of `length` bytes, at least one more than `at`, whose byte `at` is aligned; with arbitrary content. */
export function alignedBytes(length: number, at: number): Uint8Array {
  const room = new Uint8Array(Buffer.allocUnsafeSlow(length + PAGE_BYTES).buffer);
  const start = (PAGE_BYTES - ((ptr(room) + at) % PAGE_BYTES)) % PAGE_BYTES;
  return room.subarray(start, start + length);
}
