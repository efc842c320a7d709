/** Ours: `syncline serve` on the loopback address, over TLS, and `syncline sync` towards it. */
import { existsSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { Running, processorMs, residentBytes, timed } from "./processes.ts";
import type { Transfer } from "./rsync.ts";
import { WrongResult } from "./workload.ts";

const ROOT = resolve(import.meta.dir, "..", "..");
const BUILT = join(ROOT, "dist", `syncline-${process.platform}-${process.arch}`);
const START_MS_MAX = 10_000;
/** A first scan of a million files, many times over. */
const WATCH_MS_MAX = 1_800_000;

/** The standalone executable when it is as new as the sources; otherwise the checkout. */
function chooseProgram(): string {
  if (!existsSync(BUILT)) return join(ROOT, "bin", "syncline");
  const builtMs = statSync(BUILT).mtimeMs;
  const sources = [...new Bun.Glob("src/**/*.ts").scanSync(ROOT)].filter((file) => !file.endsWith(".test.ts"));
  const stale = sources.some((file) => statSync(join(ROOT, file)).mtimeMs > builtMs);
  return stale ? join(ROOT, "bin", "syncline") : BUILT;
}

/** Chosen once: all runs are of one program, even if somebody edits the sources meanwhile. */
export const PROGRAM = chooseProgram();

type Summary = {
  readonly type: "summary";
  readonly result: string;
  readonly bytes: { readonly sent: number; readonly received: number };
};

/** A served destination and the client that brings `source` to it. */
export class SynclinePair implements AsyncDisposable {
  readonly destination: string;
  readonly #dir: string;
  readonly #server: Running;
  readonly #client: readonly string[];

  private constructor(dir: string, destination: string, server: Running, client: readonly string[]) {
    this.#dir = dir;
    this.destination = destination;
    this.#server = server;
    this.#client = client;
  }

  /**
   * @param dir holds the destination and all state of both programs; a pair that is opened again on the same
   * directory remembers what it knew
   */
  static async open(dir: string, source: string): Promise<SynclinePair> {
    const destination = join(dir, "files");
    mkdirSync(destination, { recursive: true });
    const tokenFile = join(dir, "token");
    if (!existsSync(tokenFile)) writeFileSync(tokenFile, `${Buffer.alloc(24, 7).toString("hex")}\n`, { mode: 0o600 });
    // A pair is known by its addresses, so a server that starts again keeps its port.
    const portFile = join(dir, "port");
    const wanted = existsSync(portFile) ? await Bun.file(portFile).text() : "0";
    const server = new Running(
      [PROGRAM, "serve", "--listen", `127.0.0.1:${wanted}`, "--root", `bench=${destination}`,
        "--token-file", tokenFile, "--state-dir", join(dir, "server-state"), "--json"],
      { dir, name: "serve" },
    );
    const said = (): string | undefined => /"listening".*?"port":(\d+)/.exec(server.output())?.[1];
    const port = await server.until(said, "listening", START_MS_MAX);
    writeFileSync(portFile, port);
    const client = [PROGRAM, "sync", source, `syncline://127.0.0.1:${port}/bench`, "--mode", "one-way-replica",
      "--delete", "--accept-new", "--token-file", tokenFile, "--state-dir", join(dir, "client-state"), "--json"];
    return new SynclinePair(dir, destination, server, client);
  }

  /** Makes the destination like the source, once. */
  async sync(): Promise<Transfer> {
    const { seconds, output } = await timed(this.#client, { dir: this.#dir, name: "sync" });
    const last = output.trimEnd().split("\n").at(-1) ?? "";
    const summary = JSON.parse(last) as Summary;
    if (summary.type !== "summary" || summary.result !== "same") throw new WrongResult(`syncline ended with ${last}`);
    return { seconds, wireBytes: summary.bytes.sent + summary.bytes.received };
  }

  /** Starts `--watch --settle immediate` and returns when its first cycle is over. */
  async watch(): Promise<Watching> {
    const command = [...this.#client, "--watch", "--settle", "immediate"];
    const client = new Running(command, { dir: this.#dir, name: "watch" });
    const said = (): true | undefined => (client.output().includes('"phase":"watching"') ? true : undefined);
    await client.until(said, "watching", WATCH_MS_MAX);
    return new Watching(client, this.#server);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server[Symbol.asyncDispose]();
  }
}

/** A running `syncline sync --watch` with its server. */
export class Watching implements AsyncDisposable {
  readonly #client: Running;
  readonly #server: Running;

  constructor(client: Running, server: Running) {
    this.#client = client;
    this.#server = server;
  }

  residentBytes(): { readonly client: number; readonly server: number } {
    return { client: residentBytes(this.#client.pid), server: residentBytes(this.#server.pid) };
  }

  /** Processor time of both processes since their start. */
  processorMs(): number {
    return processorMs(this.#client.pid) + processorMs(this.#server.pid);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client[Symbol.asyncDispose]();
  }
}
