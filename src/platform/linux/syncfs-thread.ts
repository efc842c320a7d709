/**
 * syncfs off the main thread. It may take seconds, and neither node:fs nor the thread pool offers it, so one
 * worker makes the call. It starts with the first use and does not keep the process alive while it is idle.
 */
import { FsError } from "#platform/file-system.ts";
import { F_DUPFD_CLOEXEC, type Libc, errnoName, throwErrno } from "#platform/linux/libc.ts";

/**
 * The worker's program. A string, because a worker file would have to be named as a second entry point to
 * every build of a single executable.
 */
function workerProgram(library: string): string {
  return `
    import { dlopen, read } from "bun:ffi";
    const { symbols } = dlopen(${JSON.stringify(library)}, {
      syncfs: { args: ["i32"], returns: "i32" },
      __errno_location: { args: [], returns: "ptr" },
    });
    const errnoAt = symbols.__errno_location();
    self.onmessage = ({ data }) => {
      let errno;
      do errno = symbols.syncfs(data.fd) < 0 ? read.i32(errnoAt, 0) : 0;
      while (errno === 4);
      postMessage({ id: data.id, errno });
    };`;
}

type Answer = { id: number; errno: number };
type Waiting = { fd: number; resolve: () => void; reject: (error: Error) => void };

export class SyncfsThread {
  readonly #libc: Libc;
  readonly #waiting = new Map<number, Waiting>();
  #worker: Worker | undefined;
  /** Set when the worker could not run here; calls then block. */
  #broken = false;
  #nextId = 1;

  constructor(libc: Libc) {
    this.#libc = libc;
  }

  /**
   * Makes the file system that holds `fd` durable. Rejects with FsError when any of its data could not be
   * written.
   */
  run(fd: number): Promise<void> {
    // A descriptor of its own: the caller may close `fd` and its number may come to mean another disk
    // meanwhile.
    const held = this.#libc.fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (held < 0) throwErrno(this.#libc, "sync file system");
    return new Promise((resolve, reject) => {
      const id = this.#nextId++;
      this.#waiting.set(id, { fd: held, resolve, reject });
      if (this.#broken) {
        this.#settle(id, this.#blocking(held));
        return;
      }
      const worker = (this.#worker ??= this.#start());
      worker.ref();
      worker.postMessage({ id, fd: held });
    });
  }

  #start(): Worker {
    const source = new Blob([workerProgram(this.#libc.library)], { type: "text/javascript" });
    const worker = new Worker(URL.createObjectURL(source));
    worker.onmessage = ({ data }: MessageEvent<Answer>) => this.#settle(data.id, data.errno);
    worker.onerror = () => this.#breakDown();
    return worker;
  }

  #breakDown(): void {
    this.#broken = true;
    this.#worker?.terminate();
    this.#worker = undefined;
    for (const [id, { fd }] of this.#waiting) this.#settle(id, this.#blocking(fd));
  }

  #blocking(fd: number): number {
    let result: number;
    do result = this.#libc.syncfs(fd);
    while (this.#libc.interrupted(result));
    return result < 0 ? this.#libc.errno() : 0;
  }

  #settle(id: number, errno: number): void {
    const call = this.#waiting.get(id);
    if (call === undefined) return;
    this.#waiting.delete(id);
    this.#libc.close(call.fd);
    if (this.#waiting.size === 0) this.#worker?.unref();
    if (errno === 0) call.resolve();
    else call.reject(new FsError(errnoName(errno), "sync file system"));
  }
}
