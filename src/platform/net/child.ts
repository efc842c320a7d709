/** Child processes: one that is talked to through its pipes, and one that runs to its end. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, createReadStream, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { StreamTransport, childOutput } from "#platform/net/stream-transport.ts";
import type { Transport } from "#platform/net/transport.ts";

/** Output of a finished child that is kept; what it printed beyond is dropped. */
export const OUTPUT_BYTES_MAX = 64 << 10;
/** Between asking a child to end and making it. */
const KILL_GRACE_MS = 2000;

export type Exit = {
  /** Exit status; undefined when a signal ended it. */
  readonly status: number | undefined;
  readonly stderr: string;
};

export type Child = {
  readonly transport: Transport;
  /** Resolves when it is gone. Rejects when it could not be started (code ENOENT). */
  readonly exited: Promise<Exit>;
  kill(): void;
};

/** Keeps the last bytes of a stream that a person may have to read. */
function collect(stream: NodeJS.ReadableStream | null): () => string {
  let kept = Buffer.alloc(0);
  stream?.on("data", (bytes: Uint8Array) => {
    const all = Buffer.concat([kept, bytes]);
    kept = all.subarray(Math.max(0, all.length - OUTPUT_BYTES_MAX));
  });
  return () => kept.toString("utf8");
}

function exitOf(child: ChildProcess, stderr: () => string): Promise<Exit> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status) => resolve({ status: status ?? undefined, stderr: stderr() }));
  });
}

function killer(child: ChildProcess): () => void {
  return () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), KILL_GRACE_MS);
    timer.unref();
    child.once("close", () => clearTimeout(timer));
  };
}

/** Starts a program and speaks with it over its standard input and output. It shares the terminal for questions. */
export function startChild(label: string, command: string, args: readonly string[]): Child {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
  const exited = exitOf(child, collect(child.stderr));
  const transport = new StreamTransport(label, childOutput(child.stdout), child.stdin);
  exited.catch((error: Error) => transport.cut(error));
  return { transport, exited, kill: killer(child) };
}

export type Finished = Exit & { readonly stdout: string };

/**
 * Runs a program to its end, with the file `inputPath` (or nothing) as its standard input. Rejects when it cannot be
 * started, when the file cannot be read, or with `signal.reason`.
 */
export async function runChild(
  command: string,
  args: readonly string[],
  inputPath: string | undefined,
  signal: AbortSignal,
): Promise<Finished> {
  signal.throwIfAborted();
  const child = spawn(command, args, { stdio: [inputPath === undefined ? "ignore" : "pipe", "pipe", "pipe"] });
  return finish(child, signal, async (stdin) => {
    if (inputPath !== undefined) await pipeline(createReadStream(inputPath), stdin);
  });
}

export type ShellOptions = {
  readonly input: string;
  /** Beside what we have ourselves. */
  readonly environment: Readonly<Record<string, string>>;
};

/** As runChild, for a line of the system's shell that gets `input`: with `signal` all that it has started ends, too. */
export async function runShell(line: string, options: ShellOptions, signal: AbortSignal): Promise<Finished> {
  signal.throwIfAborted();
  const env = { ...process.env, ...options.environment };
  // What it starts holds its output open, and would be waited for long after the shell itself has ended.
  const child = spawn("/bin/sh", ["-c", line], { stdio: ["pipe", "pipe", "pipe"], detached: true, env });
  return finish(child, signal, (stdin) => pipeline(Readable.from([options.input]), stdin), groupKiller(child));
}

export type GroupOptions = {
  readonly cwd: string;
  /** Names of variables of ours that it gets, too. */
  readonly inherited: RegExp;
  readonly environment: Readonly<Record<string, string>>;
};

/** As runChild, without input and in a process group of its own: with `signal` all that it has started ends, too. */
export async function runGroup(
  command: string,
  args: readonly string[],
  { cwd, inherited, environment }: GroupOptions,
  signal: AbortSignal,
): Promise<Finished> {
  signal.throwIfAborted();
  const ours = Object.entries(process.env).filter(([name]) => inherited.test(name));
  const env = { ...Object.fromEntries(ours), ...environment };
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], detached: true, cwd, env });
  return finish(child, signal, () => Promise.resolve(), groupKiller(child));
}

function groupKiller(child: ChildProcess): () => void {
  const kill = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // Nobody of it is left.
    }
  };
  return () => {
    kill("SIGTERM");
    // Its leader may have ended and left others behind that hold its output open.
    const timer = setTimeout(() => kill("SIGKILL"), KILL_GRACE_MS);
    timer.unref();
    child.once("close", () => clearTimeout(timer));
  };
}

async function finish(
  child: ChildProcess,
  signal: AbortSignal,
  feed: (stdin: NodeJS.WritableStream) => Promise<void>,
  kill: () => void = killer(child),
): Promise<Finished> {
  const stdout = collect(child.stdout);
  const exited = exitOf(child, collect(child.stderr));
  // Met below: one that could not be started takes nothing, which may be noticed later.
  exited.catch(() => undefined);
  signal.addEventListener("abort", kill, { once: true });
  try {
    // A child that ends early breaks the pipe; its exit status then says more than the broken pipe.
    if (child.stdin !== null) await feed(child.stdin).catch(() => undefined);
    const exit = await exited;
    signal.throwIfAborted();
    return { ...exit, stdout: stdout() };
  } finally {
    signal.removeEventListener("abort", kill);
  }
}

/** Is there anything under this name? For the sockets and files that a child makes. */
export function pathExists(path: string): boolean {
  return existsSync(path);
}

/** A directory that only we can enter, gone with dispose, which never throws. */
export function privateTempDir(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), "syncline-"));
  chmodSync(path, 0o700);
  const remove = (): void => {
    try {
      rmSync(path, { recursive: true, force: true });
    } catch {
      // An empty directory in the system's place for such: no reason to fail what it was for.
    }
  };
  return { path, [Symbol.dispose]: remove };
}
