/**
 * Bulk reads, writes and fsync on open descriptors through the runtime's thread pool, and node:fs errors as
 * ours.
 */
import { fsync, read, write, writev } from "node:fs";
import { type Fd, FsError } from "#platform/file-system.ts";

/** Most bytes asked of one system call; the kernel itself stops short of 2 GiB. */
export const IO_BYTES_MAX = 2 ** 30;
/** Bytes of one write: larger ones make the page cache look for larger blocks of memory, which can be much slower. */
const WRITE_BYTES = 512 << 10;

/** The FsError for what node:fs threw; anything else comes back as it is. */
export function asFsError(error: unknown, call: string, what = ""): unknown {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") return error;
  const code = error.code === "EOPNOTSUPP" ? "ENOTSUP" : error.code;
  // The runtime's own argument checks ("ERR_…") mean a name or number that no system call could take.
  return new FsError(code.startsWith("ERR_") ? "EINVAL" : code, call, what);
}

function isInterrupted(error: NodeJS.ErrnoException): boolean {
  return error.code === "EINTR";
}

export function readOffThread(fd: Fd, into: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let done = 0;
    const next = (): void => {
      const want = Math.min(into.length - done, IO_BYTES_MAX);
      if (want === 0) return resolve(done);
      read(fd, into, done, want, position + done, (error, count) => {
        if (error === null || error === undefined) {
          if (count === 0) return resolve(done);
          done += count;
        } else if (!isInterrupted(error)) return reject(asFsError(error, "read"));
        next();
      });
    };
    next();
  });
}

/** Reads with one system call. Resolves with the bytes that it gave, 0 when it was interrupted. */
export function readOnceOffThread(fd: Fd, into: Uint8Array, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, into, 0, into.length, position, (error, count) => {
      if (error === null || error === undefined) resolve(count);
      else if (isInterrupted(error)) resolve(0);
      else reject(asFsError(error, "read"));
    });
  });
}

export function writeOffThread(fd: Fd, bytes: Uint8Array, position: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let done = 0;
    const next = (): void => {
      const want = Math.min(bytes.length - done, WRITE_BYTES);
      if (want === 0) return resolve();
      write(fd, bytes, done, want, position + done, (error, count) => {
        if (error === null || error === undefined) {
          if (count === 0) return reject(new FsError("EIO", "write"));
          done += count;
        } else if (!isInterrupted(error)) return reject(asFsError(error, "write"));
        next();
      });
    };
    next();
  });
}

/** Writes `parts` one behind the other with one system call. Resolves with the bytes that it took, 0 when it was interrupted. */
export function writePartsOffThread(fd: Fd, parts: readonly Uint8Array[], position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    writev(fd, parts, position, (error, count) => {
      if (error === null || error === undefined) resolve(count);
      else if (isInterrupted(error)) resolve(0);
      else reject(asFsError(error, "write"));
    });
  });
}

/** A failed fsync is never tried again: the kernel has dropped the dirty pages and would report success. */
export function syncOffThread(fd: Fd): Promise<void> {
  return new Promise((resolve, reject) => {
    const next = (): void =>
      fsync(fd, (error) => {
        if (error === null || error === undefined) resolve();
        else if (isInterrupted(error)) next();
        else reject(asFsError(error, "sync"));
      });
    next();
  });
}
