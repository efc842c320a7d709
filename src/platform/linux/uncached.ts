/**
 * Reads and writes that pass by the page cache, with O_DIRECT. A page cache costs a copy and memory; in a virtual machine that
 * memory may have to be fetched from the host first, at several times the price of the transfer itself.
 */
import { ptr } from "bun:ffi";
import { PAGE_BYTES, isAligned } from "#platform/aligned-bytes.ts";
import { type Fd, FsError, isCode } from "#platform/file-system.ts";
import { heldAddress } from "#platform/held-address.ts";
import { AT_EMPTY_PATH, AT_FDCWD, type Libc, O_CLOEXEC, O_RDWR } from "#platform/linux/libc.ts";
import { readOnceOffThread, writePartsOffThread } from "#platform/portable/fd-io.ts";

const STATX_DIOALIGN = 0x2000;
// Places in struct statx, in words of four bytes.
const MASK = 0;
const MEMORY_ALIGN = 38;
const OFFSET_ALIGN = 39;

const stat = new Uint32Array(64);
const statAddress = heldAddress(stat);
/** The empty path that makes statx take the descriptor itself. */
const noName = new Uint8Array(1);

/**
 * Only where the kernel tells what it wants (since 6.1, of ext4, xfs and f2fs): others take the flag and then write as
 * ever, or each time wait for a server.
 */
function suits(libc: Libc, fd: Fd): boolean {
  if (libc.statx(fd, ptr(noName), AT_EMPTY_PATH, STATX_DIOALIGN, statAddress) < 0) return false;
  if ((stat[MASK]! & STATX_DIOALIGN) === 0) return false;
  return [stat[MEMORY_ALIGN]!, stat[OFFSET_ALIGN]!].every((align) => align > 0 && PAGE_BYTES % align === 0);
}

/** A second description of the file, because the flag belongs to all who share one. Undefined where that cannot be had. */
export function openUncached(libc: Libc, fd: Fd): Fd | undefined {
  if (!suits(libc, fd)) return undefined;
  const path = Buffer.from(`/proc/self/fd/${fd}\0`);
  const opened = libc.openat(AT_FDCWD, path, O_RDWR | libc.O_DIRECT | O_CLOEXEC, 0);
  return opened < 0 ? undefined : (opened as Fd);
}

/** See FileSystem.writeUncached. */
export async function writeUncached(fd: Fd, parts: readonly Uint8Array[], position: number): Promise<number> {
  if (!isWhole(position, parts)) return 0;
  return unlessRefused(writePartsOffThread(fd, parts, position));
}

/** See FileSystem.readUncached. */
export async function readUncached(fd: Fd, into: Uint8Array, position: number): Promise<number> {
  if (!isWhole(position, [into])) return 0;
  return unlessRefused(readOnceOffThread(fd, into, position));
}

function isWhole(position: number, parts: readonly Uint8Array[]): boolean {
  return position % PAGE_BYTES === 0 && parts.every((part) => part.length % PAGE_BYTES === 0 && isAligned(part));
}

async function unlessRefused(bytes: Promise<number>): Promise<number> {
  try {
    return await bytes;
  } catch (error) {
    if (error instanceof FsError && isCode(error, "EINVAL", "ENOTSUP")) return 0;
    throw error;
  }
}
