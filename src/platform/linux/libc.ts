/**
 * The C library through bun:ffi: a system call costs about 0.1 µs on top of the kernel's own time, and the
 * engine gets what node:fs does not offer (openat, renameat2, nanosecond times, xattrs, inotify).
 *
 * Calls return the C result; a negative one means that errno() holds the reason, to be read at once, before
 * any other call. errno belongs to the thread that opened the library: a Libc is not shared between threads.
 *
 * Calls that older C libraries lack go through syscall(2) with the architecture's number; x64 and arm64 also
 * differ in some open flags.
 */
import { FFIType, type Pointer, dlopen, read } from "bun:ffi";
import { constants } from "node:os";
import { FsError } from "#platform/file-system.ts";

/** glibc's name first, then musl's on both architectures. */
const LIBRARY_NAMES = ["libc.so.6", "libc.musl-x86_64.so.1", "libc.musl-aarch64.so.1"];

type Numbers = {
  getdents64: number;
  statx: number;
  renameat2: number;
  copyFileRange: number;
  preadv2: number;
  cachestat: number;
};
type Architecture = { directory: number; noFollow: number; direct: number; call: Numbers };

const ARCHITECTURES: Record<string, Architecture> = {
  x64: {
    directory: 0o200000,
    noFollow: 0o400000,
    direct: 0o40000,
    call: { getdents64: 217, statx: 332, renameat2: 316, copyFileRange: 326, preadv2: 327, cachestat: 451 },
  },
  arm64: {
    directory: 0o40000,
    noFollow: 0o100000,
    direct: 0o200000,
    call: { getdents64: 61, statx: 291, renameat2: 276, copyFileRange: 285, preadv2: 286, cachestat: 451 },
  },
};

/** Flags of open(2) that both architectures share. */
export const O_RDONLY = 0;
export const O_RDWR = 0o2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_NOCTTY = 0o400;
export const O_NONBLOCK = 0o4000;
export const O_ASYNC = 0o20000;
export const O_CLOEXEC = 0o2000000;
export const AT_FDCWD = -100;
export const AT_SYMLINK_NOFOLLOW = 0x100;
export const AT_REMOVEDIR = 0x200;
export const AT_NO_AUTOMOUNT = 0x800;
export const AT_EMPTY_PATH = 0x1000;
export const SEEK_SET = 0;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;
/** Processor time of the calling thread. */
export const CLOCK_THREAD_CPUTIME_ID = 3;
export const F_SETFL = 4;
export const F_SETOWN = 8;
export const F_DUPFD_CLOEXEC = 1030;

export const POSIX_FADV_WILLNEED = 3;

const EINTR = 4;
/** 64-bit arguments and results as plain numbers; every size and position here is below 2^53. */
const I64 = FFIType.i64_fast;
const U64 = FFIType.u64_fast;

/** Calls that go by number. */
function bindNumbered(library: string, call: Numbers) {
  // One symbol has one signature per dlopen, and a typed signature is faster than one that takes everything
  // as i64.
  const statx = dlopen(library, {
    syscall: { args: ["i32", "i32", "ptr", "i32", "u32", "ptr"], returns: "i32" },
  }).symbols.syscall;
  const getdents64 = dlopen(library, {
    syscall: { args: ["i32", "i32", "ptr", U64], returns: "i32" },
  }).symbols.syscall;
  const renameat2 = dlopen(library, {
    syscall: { args: ["i32", "i32", "ptr", "i32", "ptr", "u32"], returns: "i32" },
  }).symbols.syscall;
  const copyFileRange = dlopen(library, {
    syscall: { args: ["i32", "i32", "ptr", "i32", "ptr", U64, "u32"], returns: "i32" },
  }).symbols.syscall;
  // The position is two halves to the kernel; on 64-bit machines the first holds all of it.
  const preadv2 = dlopen(library, {
    syscall: { args: ["i32", "i32", "ptr", U64, I64, U64, "u32"], returns: "i32" },
  }).symbols.syscall;
  const cachestat = dlopen(library, {
    syscall: { args: ["i32", "i32", "ptr", "ptr", "u32"], returns: "i32" },
  }).symbols.syscall;
  return {
    statx: (dir: number, name: Pointer, flags: number, mask: number, into: Pointer): number =>
      statx(call.statx, dir, name, flags, mask, into),
    getdents64: (fd: number, into: Pointer, size: number): number =>
      getdents64(call.getdents64, fd, into, size),
    renameat2: (fromDir: number, from: Pointer, toDir: number, to: Pointer, flags: number): number =>
      renameat2(call.renameat2, fromDir, from, toDir, to, flags),
    copyFileRange: (from: number, fromAt: Pointer, to: number, toAt: Pointer, size: number): number =>
      copyFileRange(call.copyFileRange, from, fromAt, to, toAt, size, 0),
    preadv2: (fd: number, vector: Pointer, count: number, position: number, flags: number): number =>
      preadv2(call.preadv2, fd, vector, count, position, 0, flags),
    cachestat: (fd: number, range: Pointer, into: Pointer): number => cachestat(call.cachestat, fd, range, into, 0),
  };
}

function bind(library: string, architecture: Architecture) {
  const { symbols } = dlopen(library, {
    __errno_location: { args: [], returns: "ptr" },
    openat: { args: ["i32", "ptr", "i32", "u32"], returns: "i32" },
    close: { args: ["i32"], returns: "i32" },
    read: { args: ["i32", "ptr", U64], returns: "i32" },
    write: { args: ["i32", "ptr", U64], returns: "i32" },
    pread: { args: ["i32", "ptr", U64, I64], returns: "i32" },
    posix_fadvise: { args: ["i32", I64, I64, "i32"], returns: "i32" },
    pwrite: { args: ["i32", "ptr", U64, I64], returns: "i32" },
    lseek: { args: ["i32", I64, "i32"], returns: I64 },
    unlinkat: { args: ["i32", "ptr", "i32"], returns: "i32" },
    mkdirat: { args: ["i32", "ptr", "u32"], returns: "i32" },
    renameat: { args: ["i32", "ptr", "i32", "ptr"], returns: "i32" },
    linkat: { args: ["i32", "ptr", "i32", "ptr", "i32"], returns: "i32" },
    symlinkat: { args: ["ptr", "i32", "ptr"], returns: "i32" },
    readlinkat: { args: ["i32", "ptr", "ptr", U64], returns: "i32" },
    fchmod: { args: ["i32", "u32"], returns: "i32" },
    fchown: { args: ["i32", "u32", "u32"], returns: "i32" },
    fchownat: { args: ["i32", "ptr", "u32", "u32", "i32"], returns: "i32" },
    futimens: { args: ["i32", "ptr"], returns: "i32" },
    flock: { args: ["i32", "i32"], returns: "i32" },
    ftruncate: { args: ["i32", I64], returns: "i32" },
    syncfs: { args: ["i32"], returns: "i32" },
    sync_file_range: { args: ["i32", I64, I64, "u32"], returns: "i32" },
    fgetxattr: { args: ["i32", "ptr", "ptr", U64], returns: "i32" },
    fsetxattr: { args: ["i32", "ptr", "ptr", U64, "i32"], returns: "i32" },
    flistxattr: { args: ["i32", "ptr", U64], returns: "i32" },
    fremovexattr: { args: ["i32", "ptr"], returns: "i32" },
    fstatfs: { args: ["i32", "ptr"], returns: "i32" },
    fcntl: { args: ["i32", "i32", "i32"], returns: "i32" },
    getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
    getpeername: { args: ["i32", "ptr", "ptr"], returns: "i32" },
    getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
    shutdown: { args: ["i32", "i32"], returns: "i32" },
    getpagesize: { args: [], returns: "i32" },
    getrlimit: { args: ["i32", "ptr"], returns: "i32" },
    clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
    eventfd: { args: ["u32", "i32"], returns: "i32" },
    poll: { args: ["ptr", U64, "i32"], returns: "i32" },
    send: { args: ["i32", "ptr", U64, "i32"], returns: "i32" },
    recv: { args: ["i32", "ptr", U64, "i32"], returns: "i32" },
    inotify_init1: { args: ["i32"], returns: "i32" },
    inotify_add_watch: { args: ["i32", "ptr", "u32"], returns: "i32" },
    inotify_rm_watch: { args: ["i32", "i32"], returns: "i32" },
  });
  const errnoAt = symbols.__errno_location() as Pointer;
  return {
    ...symbols,
    ...bindNumbered(library, architecture.call),
    /** The file name under which this library was found, for a worker that must open it too. */
    library,
    O_DIRECTORY: architecture.directory,
    O_NOFOLLOW: architecture.noFollow,
    O_DIRECT: architecture.direct,
    errno: (): number => read.i32(errnoAt, 0),
    /** Did a signal interrupt the call that returned `result`, so that it must be made again? */
    interrupted: (result: number): boolean => result < 0 && read.i32(errnoAt, 0) === EINTR,
  };
}

export type Libc = ReturnType<typeof bind>;

/**
 * Opens the C library, or returns undefined where there is none that can be used (not Linux, other
 * processors).
 */
export function openLibc(): Libc | undefined {
  const architecture = process.platform === "linux" ? ARCHITECTURES[process.arch] : undefined;
  if (architecture === undefined) return undefined;
  for (const name of LIBRARY_NAMES) {
    try {
      return bind(name, architecture);
    } catch {
      // Not the C library of this system; the next name may be.
    }
  }
  return undefined;
}

const errnoNames = new Map<number, string>();
for (const [name, number] of Object.entries(constants.errno)) {
  if (name !== "EWOULDBLOCK" && name !== "EOPNOTSUPP") errnoNames.set(number, name);
}

export function errnoName(errno: number): string {
  return errnoNames.get(errno) ?? `E${errno}`;
}

/** Throws the FsError of the call that just failed. */
export function throwErrno(libc: Libc, call: string, what = ""): never {
  throw new FsError(errnoName(libc.errno()), call, what);
}
