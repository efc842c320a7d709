/** What becomes of the memory that a socket's bytes come in. */

/**
 * Nobody looks at them any more. Left to the collector they would wait for it, and what comes next would get memory that
 * nobody has touched: a page fault for each 4 KiB, half of what receiving them costs the kernel. A part of a buffer is
 * left alone: others may have the rest.
 */
export function letGo(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (buffer instanceof ArrayBuffer && bytes.length === buffer.byteLength) buffer.transfer(0);
}
