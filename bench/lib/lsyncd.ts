/** lsyncd: inotify and an rsync run for what it collected, here towards an rsync daemon. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Running } from "./processes.ts";
import { RsyncDaemon } from "./rsync.ts";

const START_MS_MAX = 300_000;
/** Seconds that lsyncd collects changes for: what the comparison is defined with. */
const DELAY_S = 1;

export class Lsyncd implements AsyncDisposable {
  readonly destination: string;
  readonly #daemon: RsyncDaemon;
  readonly #lsyncd: Running;

  private constructor(destination: string, daemon: RsyncDaemon, lsyncd: Running) {
    this.destination = destination;
    this.#daemon = daemon;
    this.#lsyncd = lsyncd;
  }

  /** Returns when its first rsync run is over and it watches. The copy of an earlier start in `dir` is kept. */
  static async start(dir: string, source: string): Promise<Lsyncd> {
    mkdirSync(dir, { recursive: true });
    const daemon = await RsyncDaemon.start(join(dir, "rsync"));
    const config = join(dir, "lsyncd.conf.lua");
    const log = join(dir, "lsyncd.log");
    // The first run is over when the log says so, and an older log says so already.
    rmSync(log, { force: true });
    writeFileSync(config, [
      `settings { nodaemon = true, logfile = ${quoted(log)}, statusFile = ${quoted(join(dir, "status"))} }`,
      "sync {",
      "  default.rsync,",
      `  source = ${quoted(source)},`,
      `  target = ${quoted(daemon.url("copy"))},`,
      `  delay = ${DELAY_S},`,
      `  exclude = { ".syncline" },`,
      "  rsync = { archive = true },",
      "}",
      "",
    ].join("\n"));
    const lsyncd = new Running(["lsyncd", "-nodaemon", config], { dir, name: "lsyncd" });
    await lsyncd.until(() => (isReady(log) ? true : undefined), "its first run", START_MS_MAX);
    return new Lsyncd(join(daemon.dir, "copy"), daemon, lsyncd);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lsyncd[Symbol.asyncDispose]();
    await this.#daemon[Symbol.asyncDispose]();
  }
}

function isReady(log: string): boolean {
  return existsSync(log) && /startup of .* finished/i.test(readFileSync(log, "utf8"));
}

/** A Lua string. */
function quoted(text: string): string {
  return JSON.stringify(text);
}
