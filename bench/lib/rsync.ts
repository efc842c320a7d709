/** rsync against its own daemon: plain, on a free port of the loopback address, with one writable module. */
import { mkdirSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { join } from "node:path";
import { Running, freePort, timed } from "./processes.ts";

const START_MS_MAX = 10_000;

export type Transfer = {
  readonly seconds: number;
  /** Sent and received, as the program counts them on its own side. */
  readonly wireBytes: number;
};

export class RsyncDaemon implements AsyncDisposable {
  /** What the module shows. */
  readonly dir: string;
  readonly #daemon: Running;
  readonly #port: number;
  readonly #logDir: string;

  private constructor(dir: string, daemon: Running, port: number, logDir: string) {
    this.dir = dir;
    this.#daemon = daemon;
    this.#port = port;
    this.#logDir = logDir;
  }

  /** @param dir made when missing: `dir`/files is served, the rest is the daemon's own */
  static async start(dir: string): Promise<RsyncDaemon> {
    const files = join(dir, "files");
    mkdirSync(files, { recursive: true });
    const port = freePort();
    const config = join(dir, "rsyncd.conf");
    // A daemon that root runs would write as nobody.
    const owner = process.getuid?.() === 0 ? ["uid = 0", "gid = 0"] : [];
    writeFileSync(config, [
      "use chroot = no", ...owner, `pid file = ${join(dir, "rsyncd.pid")}`,
      "[bench]", `path = ${files}`, "read only = no", "munge symlinks = no", "",
    ].join("\n"));
    const command = ["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", `--port=${port}`, `--config=${config}`];
    const daemon = new Running(command, { dir, name: "rsyncd" });
    await daemon.until(() => accepts(port), "listening", START_MS_MAX);
    return new RsyncDaemon(files, daemon, port, dir);
  }

  url(folder: string): string {
    return `rsync://127.0.0.1:${this.#port}/bench/${folder}/`;
  }

  /** Makes `folder` of the module like `source`, as `rsync -a` does. */
  async push(source: string, folder: string, options: readonly string[]): Promise<Transfer> {
    const command = ["rsync", "-a", "--stats", "--no-h", ...options, `${source}/`, this.url(folder)];
    const { seconds, output } = await timed(command, { dir: this.#logDir, name: "rsync" });
    return { seconds, wireBytes: statistic(output, "Total bytes sent") + statistic(output, "Total bytes received") };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#daemon[Symbol.asyncDispose]();
  }
}

function statistic(output: string, name: string): number {
  const match = new RegExp(`^${name}: (\\d+)$`, "m").exec(output);
  if (match === null) throw new Error(`rsync printed no "${name}":\n${output}`);
  return Number(match[1]);
}

function accepts(port: number): Promise<true | undefined> {
  return new Promise((done) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", () => done(undefined));
  });
}
