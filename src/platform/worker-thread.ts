/** Threads of our own. Their programs are modules named `*-worker.ts`, which the build puts beside the main one. */

/** Where a finished executable keeps its modules, on Linux and macOS, and on Windows. */
const IN_EXECUTABLE = /^(\/\$bunfs\/root|B:[/\\]~BUN[/\\]root)/;

/** How many threads can work at the same time here. */
export function processors(): number {
  return navigator.hardwareConcurrency;
}

/**
 * Starts a module of src/ ("sync/verify/hash-worker.ts") as a worker. It does not keep the process alive. Trouble with
 * it, also while it is loaded, comes as its "error" event.
 */
export function startWorker(module: string): Worker {
  const embedded = IN_EXECUTABLE.exec(import.meta.dir)?.[0];
  // A path of its own and not "./…": what lies in the working directory must never be run.
  const built = `${embedded}/${module.replace(/\.ts$/, ".js")}`;
  const worker = new Worker(embedded === undefined ? new URL(`../${module}`, import.meta.url).href : built);
  worker.unref();
  return worker;
}
