/**
 * Agents on hosts that the hub reaches over bad lines: 20 ms each way with 1 % of the packets lost, a line that is cut
 * without anybody being told, and clocks that are a day off. Needs root, for namespaces of the network.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SlowHost } from "../bench/lib/slow-network.ts";
import { Fleet } from "./fleet.ts";
import { World } from "./harness.ts";

const LINE = { delayMs: 20, loss: 0.01 };
const DAY_MS = 86_400_000;
const TEST_MS_MAX = 300_000;
/** For how long they write, and how often. */
const WRITE_MS = 15_000;
const FAST_EVERY_MS = 10;
const SLOW_EVERY_MS = 150;
/** Longer than a host may be silent, shorter than TCP gives up. */
const CUT_MS = 40_000;

const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);

/** Someone who writes small files of his own, each again and again, and knows what he wrote last. */
class Writer {
  readonly written = new Map<string, string>();
  edits = 0;
  readonly #root: string;
  readonly #name: string;
  readonly #files: number;

  constructor(root: string, name: string, files: number) {
    this.#root = root;
    this.#name = name;
    this.#files = files;
  }

  step(): void {
    const path = `${this.#name}-${this.edits % this.#files}`;
    const content = `${this.#name} ${this.edits++}`;
    writeFileSync(join(this.#root, path), content);
    this.written.set(path, content);
  }

  hasArrived(root: string): boolean {
    return [...this.written].every(([path, content]) => text(join(root, path)) === content);
  }
}

/** As the faketime command would, but without a process of its own, which would outlive a kill. */
function otherClock(offset: string): string[] {
  const [library] = [...new Bun.Glob("/usr/lib/*/faketime/libfaketime.so.1").scanSync("/")];
  if (library === undefined) throw new Error("libfaketime is missing; run tools/provision");
  return ["env", `LD_PRELOAD=${library}`, `FAKETIME=${offset}`];
}

type Hosts = { readonly fleet: Fleet; readonly hosts: readonly SlowHost[] } & AsyncDisposable;

/** A hub, and an agent web1, web2 … behind each line. */
async function behindLines(count: number): Promise<Hosts> {
  const owned = new AsyncDisposableStack();
  try {
    const world = owned.use(new World());
    const hosts: SlowHost[] = [];
    for (let at = 1; at <= count; at++) hosts.push(owned.use(await SlowHost.start(at, world.dir, { ...LINE, seed: at })));
    // Its processes have to end before the lines do.
    const fleet = await Fleet.start({ world, syncHost: hosts[0]!.gateway });
    const hub = `syncline://${fleet.syncAddress}`;
    for (const [at, { prefix }] of hosts.entries()) fleet.startAgent(`web${at + 1}`, ["site"], { hub, prefix });
    await fleet.healthy(...hosts.map((_, at) => `web${at + 1}`));
    return { fleet, hosts, [Symbol.asyncDispose]: () => owned.disposeAsync() };
  } catch (error) {
    await owned.disposeAsync();
    throw error;
  }
}

describe("over bad lines", () => {
  test("[SLOW-1] three hosts behind 20 ms and 1 % loss, one with 100 edits a second: every change arrives, and the lag is told", async () => {
    await using slow = await behindLines(3);
    const { fleet, hosts } = slow;
    const names = ["web1", "web2", "web3"];
    const writers = names.map((name, at) => new Writer(fleet.root(name), name, at === 0 ? 50 : 10));
    const timers = writers.map((writer, at) => setInterval(() => writer.step(), at === 0 ? FAST_EVERY_MS : SLOW_EVERY_MS));
    const lags: number[] = [];
    for (const end = performance.now() + WRITE_MS; performance.now() < end; await Bun.sleep(200)) {
      for (const { links } of await fleet.agents()) lags.push(...links.map(({ lagMs }) => lagMs));
    }
    for (const timer of timers) clearInterval(timer);
    await fleet.until("everybody has what everybody wrote last", () =>
      names.every((name) => writers.every((writer) => writer.hasArrived(fleet.root(name)))),
    );
    await fleet.healthy(...names);
    await fleet.expectSame("site", ...names);
    expect(writers[0]!.edits).toBeGreaterThan(WRITE_MS / FAST_EVERY_MS / 2);
    expect(lags.every((lag) => lag >= 0)).toBe(true);
    expect(Math.max(...lags)).toBeGreaterThan(0);
    for (const { count } of hosts) expect(count.lost).toBeGreaterThan(2);
  }, TEST_MS_MAX);

  test("[SLOW-2] a line that is cut without a word: the host is shown silent, both sides go on, and nothing is lost", async () => {
    await using slow = await behindLines(2);
    const { fleet, hosts } = slow;
    const names = ["web1", "web2"];
    const writers = names.map((name) => new Writer(fleet.root(name), name, 20));
    const timers = writers.map((writer) => setInterval(() => writer.step(), SLOW_EVERY_MS));
    await fleet.until("changes flow", () => text(join(fleet.root("web2"), "web1-3")) !== undefined);
    hosts[1]!.cut();
    await Bun.sleep(1000);
    for (const name of names) writeFileSync(join(fleet.root(name), "both.txt"), `of ${name}`);
    await Bun.sleep(CUT_MS);
    const [one, two] = (await fleet.agents()).toSorted((a, b) => a.name.localeCompare(b.name));
    expect([one!.name, one!.status === "silent", two!.name, two!.status]).toEqual(["web1", false, "web2", "silent"]);
    hosts[1]!.mend();
    for (const timer of timers) clearInterval(timer);
    await fleet.until("everybody has what everybody wrote last", () =>
      names.every((name) => writers.every((writer) => writer.hasArrived(fleet.root(name)))),
    );
    await fleet.until("of what both wrote, both have both", () =>
      names.every((name) => {
        const root = fleet.root(name);
        const found = readdirSync(root).filter((file) => file.startsWith("both")).map((file) => text(join(root, file)));
        return found.length === 2 && found.includes("of web1") && found.includes("of web2");
      }),
    );
    await fleet.healthy(...names);
    await fleet.expectSame("site", ...names);
    expect(hosts[1]!.count.cut).toBeGreaterThan(10);
  }, TEST_MS_MAX);
});

describe("clocks", () => {
  test("[SLOW-3] hosts whose clocks are a day ahead and a day behind keep the same files, and their clocks are told", async () => {
    await using fleet = await Fleet.start();
    const names = ["web1", "web2", "web3"];
    for (const [at, off] of ["+1d", "-1d", undefined].entries()) {
      fleet.startAgent(names[at]!, ["site"], off === undefined ? {} : { prefix: otherClock(off) });
    }
    await fleet.healthy(...names);
    const writers = names.map((name) => new Writer(fleet.root(name), name, 10));
    for (let step = 0; step < 40; step++) {
      for (const writer of writers) writer.step();
      // All at once now and then: a conflict is decided by what was seen, not by whose clock is ahead.
      if (step % 10 === 0) for (const name of names) writeFileSync(join(fleet.root(name), `all-${step}`), `${name} ${step}`);
      await Bun.sleep(50);
    }
    await fleet.until("everybody has what everybody wrote last", () =>
      names.every((name) => writers.every((writer) => writer.hasArrived(fleet.root(name)))),
    );
    await fleet.healthy(...names);
    await fleet.until("of what all wrote, no content is lost", () => {
      const root = fleet.root("web3");
      return [0, 10, 20, 30].every((step) => {
        const found = readdirSync(root).filter((file) => new RegExp(`^all-${step}(\\D|$)`).test(file)).map((file) => text(join(root, file)));
        return names.every((name) => found.includes(`${name} ${step}`));
      });
    });
    await fleet.healthy(...names);
    await fleet.expectSame("site", ...names);
    // Restarted, a certificate of today has to pass with a clock of yesterday and of tomorrow.
    for (const name of names) {
      await fleet.kill(name);
      fleet.startAgain(name);
    }
    await fleet.healthy(...names);
    const skews = new Map((await fleet.agents()).map(({ name, clockSkewMs }) => [name, clockSkewMs ?? 0]));
    expect(skews.get("web1")! / DAY_MS).toBeCloseTo(1, 2);
    expect(skews.get("web2")! / DAY_MS).toBeCloseTo(-1, 2);
    expect(Math.abs(skews.get("web3")!)).toBeLessThan(DAY_MS / 100);
  }, TEST_MS_MAX);
});
