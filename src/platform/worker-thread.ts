/** Threads of our own. Their programs are modules named `*-worker.ts`, which the build puts beside the main one. */

/** Where a finished executable keeps its modules, on Linux and macOS, and on Windows. */
const IN_EXECUTABLE = /^(\/\$bunfs\/root|B:[/\\]~BUN[/\\]root)/;

/** How many threads can work at the same time here. */
export function processors(): number {
  return navigator.hardwareConcurrency;
}

/**
 * Starts a module of src/ ("sync/verify/hash-worker.ts") as a worker. It does not keep the process alive.
 * @param onMessage what it posts
 * @param onEnd it does nothing any more: it has failed, also while it was loaded, ended without a word, or was ended. Once
 */
export function startWorker<T>(module: string, onMessage: (message: T) => void, onEnd: () => void): Worker {
  const embedded = IN_EXECUTABLE.exec(import.meta.dir)?.[0];
  // A path of its own and not "./…": what lies in the working directory must never be run.
  const built = `${embedded}/${module.replace(/\.ts$/, ".js")}`;
  const worker = new Worker(embedded === undefined ? new URL(`../${module}`, import.meta.url).href : built);
  worker.unref();
  let hasEnded = false;
  const ended = (): void => {
    if (hasEnded) return;
    hasEnded = true;
    onEnd();
  };
  worker.onmessage = ({ data }: MessageEvent<T>) => onMessage(data);
  worker.onerror = ended;
  worker.addEventListener("close", ended);
  return worker;
}
