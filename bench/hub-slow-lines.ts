/** Hosts behind slow and lossy lines, one of which changes files all the time. */
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BenchHub } from "./lib/hub.ts";
import { sayArrivals } from "./lib/latency.ts";
import { requireSameTrees } from "./lib/same-trees.ts";
import { SlowHost } from "./lib/slow-network.ts";
import { type Workload, scaled } from "./lib/workload.ts";

const HOSTS = 3;
const DELAY_MS = 20;
const LOSS = 0.01;
const SECONDS = 30;
/** Time between two edits of a host, and how many files it edits in turn. */
const PACES = [{ everyMs: 10, files: 50 }, { everyMs: 200, files: 20 }, { everyMs: 200, files: 20 }] as const;
const LOOK_EVERY_MS = 5;
const ASK_EVERY_MS = 500;
const ARRIVAL_MS_MAX = 60_000;

export const hubSlowLines: Workload = {
  name: "hub-slow-lines",
  title: "hub: three hosts behind 20 ms and 1 % loss each way, one edits 100 files a second, two 5 → readable on the two others",
  runs: 1,
  needs: [],
  rows: [
    {
      id: "hub-slow-lines/arrived", measure: "changes that arrived", unit: "%", statistic: "median", peer: undefined,
      bar: { of: "figure", min: 100 },
    },
    { id: "hub-slow-lines/p50", measure: "p50", unit: "ms", statistic: "median", peer: undefined, bar: undefined },
    { id: "hub-slow-lines/p99", measure: "p99", unit: "ms", statistic: "p99", peer: undefined, bar: undefined },
    { id: "hub-slow-lines/lag", measure: "largest lag told", unit: "ms", statistic: "max", peer: undefined, bar: undefined },
  ],
  async measure(context, runs) {
    const dir = join(context.dir, "hub-slow-lines");
    await using lines = new AsyncDisposableStack();
    const hosts: SlowHost[] = [];
    for (let at = 1; at <= HOSTS; at++) {
      const line = { delayMs: DELAY_MS, loss: LOSS, seed: at };
      hosts.push(lines.use(await SlowHost.start(at, context.dir, line)));
    }
    await using hub = await BenchHub.start(dir, hosts[0]!.gateway);
    const roots = hosts.map((host, at) => {
      const root = join(dir, `root-${at}`);
      hub.addAgent(`host-${at}`, root, "", host.prefix);
      return root;
    });
    await hub.caughtUp();
    const edits = new Edits(roots);
    const lags = await edits.during(scaled(context, SECONDS * 1000, 3000) * runs, () => hub.lagMs());
    await hub.caughtUp();
    for (const root of roots.slice(1)) requireSameTrees("hub", roots[0]!, root);
    const { arrivals, missing } = edits;
    sayArrivals(context, `${arrivals.length} arrivals, ${missing} missing`, arrivals);
    const arrived = (100 * arrivals.length) / (arrivals.length + missing);
    return [
      { id: "hub-slow-lines/arrived", ours: [arrived] },
      { id: "hub-slow-lines/p50", ours: arrivals },
      { id: "hub-slow-lines/p99", ours: arrivals },
      { id: "hub-slow-lines/lag", ours: lags },
    ];
  },
};

type Edit = { readonly number: number; readonly atMs: number };
type Awaited = { readonly file: string; readonly edits: Edit[] };

/** Writes numbers into files, and looks for them, or for later ones, on the other hosts. */
class Edits {
  readonly arrivals: number[] = [];
  readonly #roots: readonly string[];
  readonly #awaited: Awaited[];
  /** Host → file of it → where it is awaited. */
  readonly #files: readonly (readonly (readonly Awaited[])[])[];
  #number = 0;

  constructor(roots: readonly string[]) {
    this.#roots = roots;
    this.#files = PACES.map(({ files }, host) =>
      Array.from({ length: files }, (_, at) =>
        roots.filter((root) => root !== roots[host]).map((root): Awaited => ({ file: join(root, `host-${host}-${at}`), edits: [] })),
      ),
    );
    this.#awaited = this.#files.flat(2);
  }

  get missing(): number {
    return this.#awaited.reduce((sum, { edits }) => sum + edits.length, 0);
  }

  /** Edits for so long, then waits for what has not arrived. Returns what `ask` answered meanwhile. */
  async during(durationMs: number, ask: () => Promise<number>): Promise<number[]> {
    const timers = PACES.map(({ everyMs }, host) => {
      let turn = 0;
      return setInterval(() => this.#edit(host, turn++), everyMs);
    });
    const answers: number[] = [];
    const endMs = performance.now() + durationMs;
    let askMs = 0;
    for (;;) {
      const nowMs = performance.now();
      if (nowMs > endMs) for (const timer of timers) clearInterval(timer);
      this.#look();
      if ((nowMs > endMs && this.missing === 0) || nowMs > endMs + ARRIVAL_MS_MAX) return answers;
      if (nowMs > askMs) {
        askMs = nowMs + ASK_EVERY_MS;
        void ask().then((answer) => answers.push(answer));
      }
      await Bun.sleep(LOOK_EVERY_MS);
    }
  }

  #edit(host: number, turn: number): void {
    const { files } = PACES[host]!;
    const edit: Edit = { number: ++this.#number, atMs: performance.now() };
    for (const one of this.#files[host]![turn % files]!) one.edits.push(edit);
    writeFileSync(join(this.#roots[host]!, `host-${host}-${turn % files}`), `${edit.number}\n`);
  }

  #look(): void {
    for (const { file, edits } of this.#awaited) {
      if (edits.length === 0 || statSync(file, { throwIfNoEntry: false }) === undefined) continue;
      const shown = Number(readFileSync(file, "utf8"));
      const nowMs = performance.now();
      while (edits.length > 0 && edits[0]!.number <= shown) this.arrivals.push(nowMs - edits.shift()!.atMs);
    }
  }
}
