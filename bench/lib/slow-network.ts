/**
 * Hosts behind slow lines: network namespaces of this machine, each with one line (slow-link.ts) to the rest of it. Needs
 * root and /dev/net/tun. Nothing in here reaches any other machine.
 */
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export type LineOptions = {
  readonly delayMs: number;
  /** Part of the packets that are lost, each way: 0 to 1. */
  readonly loss: number;
  readonly seed: number;
};

export type LineCount = {
  readonly carried: number;
  readonly lost: number;
  readonly cut: number;
  readonly overflowed: number;
};

type Line = Bun.Subprocess<"ignore", "pipe", "inherit">;

const READY_MS_MAX = 10_000;

export class SlowHost implements AsyncDisposable {
  /** Put before a command that runs on this host. */
  readonly prefix: readonly string[];
  /** How this side of the machine is reached from the host. */
  readonly gateway: string;
  readonly #namespace: string;
  readonly #line: Line;
  readonly #cutFile: string;
  #said = "";

  private constructor(namespace: string, gateway: string, line: Line, cutFile: string) {
    this.prefix = ["ip", "netns", "exec", namespace];
    this.gateway = gateway;
    this.#namespace = namespace;
    this.#line = line;
    this.#cutFile = cutFile;
    void this.#listen();
  }

  /**
   * @param number 1 to 60, of this host among those of the process
   * @param dir where a small file may lie
   * @throws where the machine does not let it
   */
  static async start(number: number, dir: string, { delayMs, loss, seed }: LineOptions): Promise<SlowHost> {
    // Other processes may do the same at the same time.
    const name = `sl${(process.pid % 100_000).toString(36)}${number}`;
    const network = `10.${100 + (process.pid % 100)}.${Math.floor(process.pid / 100) % 250}`;
    const [gateway, address] = [`${network}.${number * 4 + 1}`, `${network}.${number * 4 + 2}`];
    const cutFile = join(dir, `${name}.cut`);
    const script = join(import.meta.dir, "slow-link.ts");
    const words = [name, delayMs, loss, seed].map(String);
    const line = Bun.spawn([process.execPath, script, ...words, cutFile], { stdin: "ignore", stdout: "pipe", stderr: "inherit" });
    const host = new SlowHost(name, gateway, line, cutFile);
    try {
      for (const end = performance.now() + READY_MS_MAX; !host.#said.includes("ready"); await Bun.sleep(5)) {
        if (line.exitCode !== null || performance.now() > end) throw new Error("the line did not start; it needs root");
      }
      ip("netns", "add", name);
      ip("link", "set", `${name}-a`, "netns", name);
      ip("addr", "add", `${gateway}/30`, "dev", `${name}-h`);
      ip("link", "set", `${name}-h`, "up");
      ip("-n", name, "addr", "add", `${address}/30`, "dev", `${name}-a`);
      ip("-n", name, "link", "set", `${name}-a`, "up");
      ip("-n", name, "link", "set", "lo", "up");
      ip("-n", name, "route", "add", "default", "via", gateway);
      return host;
    } catch (error) {
      await host[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #listen(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const piece of this.#line.stdout) this.#said = (this.#said + decoder.decode(piece, { stream: true })).slice(-1000);
  }

  /** From now on nothing passes, and nobody is told. */
  cut(): void {
    writeFileSync(this.#cutFile, "");
  }

  mend(): void {
    rmSync(this.#cutFile, { force: true });
  }

  /** As of half a second ago. */
  get count(): LineCount {
    const last = this.#said.split("\n").slice(0, -1).findLast((line) => line.includes("carried"));
    return JSON.parse(last ?? '{"carried":0,"lost":0,"cut":0,"overflowed":0}') as LineCount;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#line.kill("SIGKILL");
    await this.#line.exited;
    this.mend();
    if (existsSync(`/run/netns/${this.#namespace}`)) ip("netns", "del", this.#namespace);
  }
}

function ip(...words: string[]): void {
  const done = Bun.spawnSync(["ip", ...words], { env: { PATH: "/usr/sbin:/sbin:/usr/bin:/bin" } });
  if (!done.success) throw new Error(`ip ${words.join(" ")}: ${done.stderr.toString().trim()}`);
}
