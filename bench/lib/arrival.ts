/** How long a small file takes from one side to the other. */
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SimRandom } from "#testing/sim-random.ts";
import { helper } from "./processes.ts";
import { WrongResult } from "./workload.ts";

/** Time between two looks. Short against what is measured, and long enough to leave the processor to the programs. */
const LOOK_EVERY_MS = 0.1;
const ARRIVAL_MS_MAX = 60_000;
const PROBE_BYTES = 100;

const pause = new Int32Array(new SharedArrayBuffer(4));

/** Writes small files into random folders of a root, one at a time, and waits for each on the other side. */
export class ArrivalProbe {
  readonly #source: string;
  readonly #folders: readonly string[];
  readonly #random: SimRandom;
  readonly #name: string;
  /** Paths of the files that it made. */
  readonly #made: string[] = [];

  /** @param name in the names of the files: two probes of one root must differ */
  constructor(name: string, source: string, folders: readonly string[], seed: number) {
    this.#name = name;
    this.#source = source;
    this.#folders = folders;
    this.#random = new SimRandom(seed);
  }

  /** How many it has made. */
  get files(): number {
    return this.#made.length;
  }

  /**
   * Writes a new file. Milliseconds from before the file is opened for writing until the other side reads it complete.
   * Blocks: nothing else runs in this process meanwhile. The answer is up to a tenth of a millisecond too large.
   *
   * @throws {WrongResult} when it does not arrive in time
   */
  next(destination: string): number {
    const folder = this.#folders[this.#random.int(this.#folders.length)]!;
    const path = join(folder, `probe-${this.#name}-${this.#made.length}.txt`);
    this.#made.push(path);
    return this.#write(path, [destination]);
  }

  /** As next(), but writes over a file that it has made, until the last of the destinations has it. */
  edit(destinations: readonly string[]): number {
    return this.#write(this.#made[this.#random.int(this.#made.length)]!, destinations);
  }

  #write(path: string, destinations: readonly string[]): number {
    const words = `${path} ${this.#random.uint32()} `;
    const content = Buffer.from(words.padEnd(PROBE_BYTES, "x").slice(-PROBE_BYTES));
    let missing = destinations.map((destination) => join(destination, path));
    const began = Bun.nanoseconds();
    writeFileSync(join(this.#source, path), content);
    for (;;) {
      missing = missing.filter((file) => !holds(file, content));
      const elapsedMs = (Bun.nanoseconds() - began) / 1e6;
      if (missing.length === 0) return elapsedMs;
      if (elapsedMs > ARRIVAL_MS_MAX) throw new WrongResult(`${path} did not arrive in ${ARRIVAL_MS_MAX / 1000} s`);
      Atomics.wait(pause, 0, 0, LOOK_EVERY_MS);
    }
  }

  /** A random time up to `longestMs`, so that samples do not keep step with anybody's timer. */
  async rest(longestMs: number): Promise<void> {
    await Bun.sleep(longestMs * this.#random.real());
  }
}

function holds(file: string, content: Buffer): boolean {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat?.size !== content.length) return false;
  try {
    return readFileSync(file).equals(content);
  } catch (error) {
    // Some programs remove the old file before the new one takes its name.
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return false;
    throw error;
  }
}

/** A copy of a root to start from, metadata included. */
export function copyTree(source: string, destination: string): void {
  mkdirSync(destination, { recursive: true });
  helper("cp", "-a", `${source}/.`, destination);
}
