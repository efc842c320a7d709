/**
 * Processes that a benchmark times or keeps running. Their output goes to files, so that the measuring process has
 * nothing to do while they work. Whatever is still running when the benchmark ends is ended, by its own id.
 */
import { closeSync, openSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const END_MS_MAX = 10_000;
const POLL_MS = 20;
/** Of the output that is quoted in messages. */
const QUOTE_LINES_MAX = 3;
const QUOTE_CHARS_MAX = 300;

const running = new Set<Running>();

export type ProcessOptions = {
  /** Where the output files go and what they are called. */
  readonly dir: string;
  readonly name: string;
  readonly env?: Readonly<Record<string, string>> | undefined;
};

export class Running implements AsyncDisposable {
  readonly pid: number;
  readonly exited: Promise<number>;
  readonly #child: Bun.Subprocess;
  readonly #command: string;
  readonly #outFile: string;
  readonly #errFile: string;

  constructor(command: readonly string[], options: ProcessOptions) {
    this.#command = command.join(" ");
    this.#outFile = join(options.dir, `${options.name}.out`);
    this.#errFile = join(options.dir, `${options.name}.err`);
    const { PATH = "/usr/bin:/bin" } = process.env;
    // Opened here, because what an earlier process wrote must not show through below a shorter output.
    const stdout = openSync(this.#outFile, "w");
    const stderr = openSync(this.#errFile, "w");
    try {
      this.#child = Bun.spawn([...command], {
        cwd: options.dir,
        env: { PATH, HOME: options.dir, LC_ALL: "C.UTF-8", ...options.env },
        stdin: "ignore", stdout, stderr,
      });
    } finally {
      closeSync(stdout);
      closeSync(stderr);
    }
    this.pid = this.#child.pid;
    this.exited = this.#child.exited;
    running.add(this);
    void this.exited.then(() => running.delete(this));
  }

  output(): string {
    return readFileSync(this.#outFile, "utf8");
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null;
  }

  /** What it said last on either stream, for messages. */
  lastWords(): string {
    const last = (text: string): string[] => text.trimEnd().split("\n").slice(-QUOTE_LINES_MAX);
    return [...last(this.output()), ...last(readFileSync(this.#errFile, "utf8"))]
      .filter((line) => line !== "").map((line) => line.slice(0, QUOTE_CHARS_MAX)).join("\n");
  }

  /** Waits until `ready` returns something; fails when the process ends or the time is over. */
  async until<T>(ready: () => T | undefined | Promise<T | undefined>, what: string, waitMs: number): Promise<T> {
    const deadline = Date.now() + waitMs;
    for (;;) {
      const found = await ready();
      if (found !== undefined) return found;
      if (this.#child.exitCode !== null || Date.now() > deadline) {
        throw new Error(`${this.#command}: ${what} did not happen\n${this.lastWords()}`);
      }
      await Bun.sleep(POLL_MS);
    }
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.kill("SIGTERM");
    const ended = await Promise.race([this.exited.then(() => true), Bun.sleep(END_MS_MAX).then(() => false)]);
    if (!ended) this.kill("SIGKILL");
    await this.exited;
  }
}

/** Ends at once what a benchmark that was interrupted left running. */
export function killAll(): void {
  for (const one of running) one.kill("SIGKILL");
}

export type Finished = { readonly seconds: number; readonly output: string };

/** Runs a command to its end and times it, from before its start until its exit is known. Fails on a non-zero exit. */
export async function timed(command: readonly string[], options: ProcessOptions): Promise<Finished> {
  const began = Bun.nanoseconds();
  const child = new Running(command, options);
  const code = await child.exited;
  const seconds = (Bun.nanoseconds() - began) / 1e9;
  if (code !== 0) throw new Error(`${command.join(" ")} ended with ${code}\n${child.lastWords()}`);
  return { seconds, output: child.output() };
}

/** A short helper command; returns its output. Fails on a non-zero exit. */
export function helper(...command: string[]): string {
  const done = Bun.spawnSync(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  if (done.exitCode !== 0) throw new Error(`${command.join(" ")} ended with ${done.exitCode}\n${done.stderr.toString()}`);
  return done.stdout.toString();
}

/** Everything dirty reaches the disks, so that no run pays for the writes of the one before it. */
export function syncDisks(): void {
  helper("sync");
}

/** What was read of the disks is forgotten, as after a start of the machine. Needs root. */
export function forgetDisks(): void {
  syncDisks();
  writeFileSync("/proc/sys/vm/drop_caches", "3");
}

/** A TCP port of the loopback address that nobody listens on now. */
export function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => undefined } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

/** Resident memory in bytes. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  if (match === null) throw new Error(`process ${pid} has no VmRSS`);
  return Number(match[1]) * 1024;
}

/** A process and all that it has started, in bytes; what they share is counted once. */
export function proportionalBytes(pid: number): number {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = read(`/proc/${name}/stat`)?.replace(/^.*\) \S+ /s, "").split(" ")[0];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  let bytes = 0;
  for (const one of parents.keys()) {
    let above: number | undefined = one;
    while (above !== undefined && above !== pid) above = parents.get(above);
    if (above === undefined) continue;
    bytes += Number(/^Pss:\s+(\d+) kB$/m.exec(read(`/proc/${one}/smaps_rollup`) ?? "")?.[1] ?? 0) * 1024;
  }
  return bytes;
}

/** Undefined: the process has ended meanwhile. */
function read(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

/** Milliseconds of processor time that all living threads have used. The kernel counts nanoseconds. */
export function processorMs(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const [used = "0"] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ");
    nanoseconds += Number(used);
  }
  return nanoseconds / 1e6;
}
