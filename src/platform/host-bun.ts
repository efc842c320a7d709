/** The real outside world: this machine's file system, clock, random numbers and change notification. */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { hostname, uptime as systemUptime } from "node:os";
import type { Clock, Host, Random, Uptime } from "#platform/host.ts";
import { InotifySource } from "#platform/linux/inotify.ts";
import { openLibc } from "#platform/linux/libc.ts";
import { LinuxFileSystem } from "#platform/linux/linux-file-system.ts";
import { LinuxOpenSockets } from "#platform/linux/linux-open-sockets.ts";
import type { OpenSockets } from "#platform/open-sockets.ts";
import { PortableFileSystem } from "#platform/portable/portable-file-system.ts";

/** The longest a timer of the runtime can run, some 24 days; beyond it one would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  sleep(ms, signal) {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      const timer = setTimeout(() => {
        signal.removeEventListener("abort", abort);
        resolve();
      }, Math.min(ms, TIMER_MS_MAX));
      const abort = (): void => {
        clearTimeout(timer);
        reject(signal.reason);
      };
      signal.addEventListener("abort", abort, { once: true });
    });
  },
};

export const systemRandom: Random = {
  bytes: (count) => new Uint8Array(randomBytes(count)),
};

/** What is shorter is hashed in less time than it takes to hand it over. */
const HASHED_ELSEWHERE_BYTES_MIN = 16 << 10;

async function sha256(bytes: Uint8Array): Promise<Uint8Array> {
  if (bytes.length < HASHED_ELSEWHERE_BYTES_MIN) return Bun.SHA256.hash(bytes as Uint8Array<ArrayBuffer>) as Uint8Array;
  // Copies the bytes before it returns.
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));
}

const START_FILE = "/proc/sys/kernel/random/boot_id";

/** Undefined where the file is not there: not Linux, or a bare chroot. */
function systemStart(): string | undefined {
  try {
    return readFileSync(START_FILE, "latin1").trim();
  } catch {
    return undefined;
  }
}

const collectGarbage = (): void => {
  Bun.gc(true);
};

/** Undefined where connections cannot be told: not Linux, or no /proc. */
export function openSockets(): OpenSockets | undefined {
  const libc = existsSync("/proc/self/fd") ? openLibc() : undefined;
  return libc === undefined ? undefined : new LinuxOpenSockets(libc);
}

/**
 * Linux gets everything; other systems, and Linux without a usable C library, get the portable file system
 * and no watching. One host per process is enough: it holds buffers, not files.
 */
export function openHost(): Host {
  const libc = openLibc();
  const start = systemStart();
  const uptime = (): Uptime | undefined => (start === undefined ? undefined : { start, ms: systemUptime() * 1000 });
  const rest = { clock: systemClock, random: systemRandom, hostName: hostname(), uptime, sha256, collectGarbage };
  if (libc === undefined) return { ...rest, fs: new PortableFileSystem(), watch: undefined };
  // A directory is watched through its descriptor's link in /proc, which a bare chroot may lack.
  const watch = existsSync("/proc/self/fd") ? new InotifySource(libc) : undefined;
  return { ...rest, fs: new LinuxFileSystem(libc), watch };
}
