/** A process that runs beside a test, with its output line by line. */

/** Output kept for waiting and for error messages. */
const OUTPUT_CHARS_MAX = 1 << 20;
const END_MS_MAX = 5000;

export type SubprocessLike = {
  readonly pid: number;
  /** The first line of output, of either stream, that satisfies `wanted`; what came before the call counts. */
  line(wanted: (text: string) => boolean, waitMs: number): Promise<string>;
  output(): string;
  kill(signal: NodeJS.Signals): void;
  readonly exited: Promise<number>;
  /** SIGTERM, and SIGKILL when that is not enough. */
  end(): Promise<void>;
};

export function startProcess(command: string[], cwd: string, env: Record<string, string>): SubprocessLike {
  const child = Bun.spawn(command, { cwd, env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  let text = "";
  let wake = Promise.withResolvers<void>();
  const read = async (stream: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const piece of stream) {
      text = (text + decoder.decode(piece, { stream: true })).slice(-OUTPUT_CHARS_MAX);
      wake.resolve();
      wake = Promise.withResolvers<void>();
    }
  };
  const reading = Promise.all([read(child.stdout), read(child.stderr)]);
  return {
    pid: child.pid,
    exited: child.exited,
    output: () => text,
    kill: (signal) => child.kill(signal),
    async line(wanted, waitMs) {
      const deadline = Date.now() + waitMs;
      for (;;) {
        const found = text.split("\n").slice(0, -1).find(wanted);
        if (found !== undefined) return found;
        const left = deadline - Date.now();
        if (left <= 0 || child.exitCode !== null)
          throw new Error(`${command.join(" ")} never said it:\n${text}`);
        await Promise.race([wake.promise, Bun.sleep(left), child.exited]);
      }
    },
    async end() {
      if (child.exitCode === null) child.kill("SIGTERM");
      const ended = await Promise.race([
        child.exited.then(() => true),
        Bun.sleep(END_MS_MAX).then(() => false),
      ]);
      if (!ended) child.kill("SIGKILL");
      await child.exited;
      await reading;
    },
  };
}
