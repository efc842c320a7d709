/**
 * The real program as two hubs of which one follows the other: killed at any moment, promoted, led back, and healed from
 * each other and from an agent.
 */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Fleet, TOKEN } from "./fleet.ts";
import { PROGRAM, World, freePort } from "./harness.ts";
import type { SubprocessLike } from "./process.ts";

const STORM_MS = 20_000;
const LIFE_MS_MAX = 2500;
const WRITERS = 4;
const START_MS_MAX = 30_000;
const WAIT_MS_MAX = 90_000;
/** What neither hub may ever say. */
const NEVER_SAID = /"code":"(INTERNAL|PROTOCOL|STATE|HALT)"|space differs|\bat .*\.ts:\d+/;

type SpaceJson = { sequence: number; lineage: string; follows?: object };
type FollowJson = { space: string; well: boolean; phase: string; sequence: number; error?: object };

/** One hub: its directory, its port, and its process while it runs. */
class Hub {
  readonly name: string;
  readonly url: string;
  readonly #world: World;
  readonly #args: string[];
  child: SubprocessLike | undefined;
  said = "";

  private constructor(world: World, name: string, port: number, bootstrap: string) {
    this.#world = world;
    this.name = name;
    this.url = `http://127.0.0.1:${port}`;
    world.write(`${name}.yaml`, bootstrap);
    const data = ["--data", world.path(name), "--listen", `127.0.0.1:${port}`, "--sync-listen", "127.0.0.1:0"];
    this.#args = [PROGRAM, "hub", ...data, "--bootstrap", `${name}.yaml`, "--follow-sources", "private", "--json"];
  }

  static async start(world: World, name: string, more: string): Promise<Hub> {
    const people = `users: [{name: ann, roles: [admin]}]\ntokens: [{user: ann, value: ${TOKEN}}]\n`;
    const hub = new Hub(world, name, await freePort(), people + more);
    await hub.start();
    return hub;
  }

  async start(): Promise<void> {
    this.child = this.#world.start(this.#args);
    await this.child.line((text) => text.includes('"type":"listening"'), START_MS_MAX);
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    const child = this.child!;
    child.kill(signal);
    await child.exited;
    this.said += child.output();
  }

  ask(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(`${this.url}${path}`, { ...init, headers: { authorization: `Bearer ${TOKEN}`, ...(init.headers as object) } });
  }

  async json<T>(path: string, init: RequestInit = {}): Promise<T> {
    const response = await this.ask(path, init);
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }

  /** @returns the sequence; undefined where nobody answered */
  async put(path: string, body: string | Uint8Array<ArrayBuffer>): Promise<number | undefined> {
    const response = await this.ask(`/v1/spaces/demo/content/${path}`, { method: "PUT", body }).catch(() => undefined);
    const text = await response?.text().catch(() => undefined);
    return response?.ok === true && text !== undefined ? (JSON.parse(text) as { sequence: number }).sequence : undefined;
  }

  async text(path: string, space = "demo"): Promise<string> {
    return (await this.ask(`/v1/spaces/${space}/content/${path}`)).text();
  }

  space(): Promise<SpaceJson> {
    return this.json("/v1/spaces/demo");
  }

  digest(): Promise<{ digest: string; sequence: number; count: number }> {
    return this.json("/v1/spaces/demo/digest");
  }

  async command(...words: string[]): Promise<{ code: number; out: string; err: string }> {
    return this.#world.command([PROGRAM, ...words, "--hub", this.url, "--token-file", "token"]);
  }

  /** Flips bits all over the packs of a hub that does not run. */
  rot(): void {
    const chunks = join(this.#world.path(this.name), "chunks");
    for (const name of readdirSync(chunks).filter((one) => one.endsWith(".pack"))) flipBits(join(chunks, name));
  }
}

function flipBits(pack: string): void {
  const bytes = readFileSync(pack);
  for (let at = 100_000; at < bytes.length - 1000; at += 400_000) bytes[at]! ^= 4;
  writeFileSync(pack, bytes);
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + WAIT_MS_MAX;
  let last: unknown = "";
  while (performance.now() < end) {
    try {
      if (await isSo()) return;
    } catch (error) {
      last = error;
    }
    await Bun.sleep(100);
  }
  throw new Error(`never: ${what} ${String(last)}`);
}

const isWell = async (copy: Hub): Promise<boolean> =>
  (await copy.json<{ follows: FollowJson[] }>("/v1/follows")).follows.some(({ space, well }) => space === "demo" && well);

async function pair(world: World): Promise<{ source: Hub; copy: Hub }> {
  world.write("token", TOKEN);
  const source = await Hub.start(world, "source", "spaces: [{name: demo}]\n");
  const copy = await Hub.start(world, "copy", `follow: [{space: demo, from: "${source.url}", token: ${TOKEN}}]\n`);
  await until("the copy follows", () => isWell(copy));
  return { source, copy };
}

async function whole(source: Hub, copy: Hub): Promise<void> {
  await until("the copy is whole", async () => {
    const [here, there] = [await copy.digest(), await source.digest()];
    return here.sequence === there.sequence && here.digest === there.digest && (await isWell(copy));
  });
}

/** Puts, over and over; content by path as it was acknowledged last, and what may have been put after it. */
class Writers {
  readonly acknowledged = new Map<string, { text: string; sequence: number }>();
  readonly maybe = new Map<string, string>();
  #isOver = false;
  readonly #running: Promise<unknown>;

  constructor(hub: Hub) {
    this.#running = Promise.all(Array.from({ length: WRITERS }, (_, at) => this.#write(hub, at)));
  }

  async #write(hub: Hub, writer: number): Promise<void> {
    for (let round = 0; !this.#isOver; round++) {
      const path = `w${writer}/${round % 25}`;
      const text = `${writer} ${round} ${"x".repeat((round * 977) % 40_000)}`;
      this.maybe.set(path, text);
      const sequence = await hub.put(path, text);
      if (sequence === undefined) await Bun.sleep(50);
      else {
        this.acknowledged.set(path, { text, sequence });
        this.maybe.delete(path);
      }
    }
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await this.#running;
  }
}

describe("two hubs of which one follows the other", () => {
  test("[FOLLOW-20] killed at any moment, both of them, the copy is its source in the end, and nothing acknowledged is lost", async () => {
    await using world = new World();
    const { source, copy } = await pair(world);
    const writers = new Writers(source);
    const end = performance.now() + STORM_MS;
    for (let kills = 0; performance.now() < end; kills++) {
      await Bun.sleep(200 + Math.random() * LIFE_MS_MAX);
      const victim = kills % 2 === 0 ? copy : source;
      await victim.end("SIGKILL");
      await victim.start();
    }
    await writers.end();
    await whole(source, copy);
    expect(writers.acknowledged.size).toBeGreaterThan(20);
    for (const [path, { text }] of writers.acknowledged) {
      const there = await copy.text(path);
      expect(there === text || there === writers.maybe.get(path)).toBe(true);
    }
    const compared = await copy.command("space", "compare", "demo");
    expect([compared.code, compared.out]).toEqual([0, expect.stringContaining("the same as its source")]);
    for (const hub of [source, copy]) {
      await hub.end("SIGTERM");
      expect(hub.said).not.toMatch(NEVER_SAID);
      const check = await world.command([PROGRAM, "hub", "check", "--deep", "--data", world.path(hub.name)]);
      expect([check.code, check.err]).toEqual([0, ""]);
    }
  }, 240_000);

  test("[FOLLOW-21] promoted after its source died, it has all that it had followed, says what is missing, and leads the old source back", async () => {
    await using world = new World();
    const { source, copy } = await pair(world);
    const writers = new Writers(source);
    await Bun.sleep(3000);
    await source.end("SIGKILL");
    await writers.end();
    const { sequence } = await copy.space();
    const refused = await copy.ask("/v1/spaces/demo/content/no", { method: "PUT", body: "no" });
    expect([refused.status, await refused.text()]).toEqual([403, expect.stringContaining("space promote demo")]);
    const promoted = await copy.command("space", "promote", "demo");
    expect([promoted.code, promoted.out]).toEqual([0, expect.stringContaining(`after sequence ${sequence}`)]);
    for (const [path, { text, sequence: at }] of writers.acknowledged) {
      if (at > sequence) continue;
      expect(await copy.text(path)).toBe(text);
    }
    expect(await copy.put("after", "promotion")).toBe(sequence + 1);
    await source.start();
    const alone = await source.put("alone", "nobody else has this");
    const led = await source.command("space", "follow", "demo", "--from", copy.url, "--source-token-file", "token");
    expect([led.code, led.out]).toEqual([0, expect.stringContaining(`kept whole in demo.diverged-${alone}`)]);
    await whole(copy, source);
    expect(await source.text("after")).toBe("promotion");
    expect(await source.text("alone", `demo.diverged-${alone}`)).toBe("nobody else has this");
  }, 240_000);

  test("[REPAIR-5] damaged packs of the source are healed from the copy, and those of the copy from the source", async () => {
    await using world = new World();
    const { source, copy } = await pair(world);
    for (let at = 0; at < 8; at++) await source.put(`large${at}`, randomBytes(1_000_000));
    await whole(source, copy);
    for (const hub of [source, copy]) {
      await hub.end("SIGTERM");
      hub.rot();
      await hub.start();
      await until("they have found each other", () => isWell(copy));
      const found = await hub.command("hub", "check", "--deep");
      expect([found.code, found.out]).toEqual([1, expect.stringContaining("missing or damaged")]);
      await until("all is healed", async () => {
        const metrics = await (await hub.ask("/metrics")).text();
        return /^syncline_store_lost_chunks 0$/m.test(metrics) && /^syncline_store_repaired_chunks [1-9]/m.test(metrics);
      });
      const after = await hub.command("hub", "check", "--deep");
      expect([after.code, after.err]).toEqual([0, ""]);
    }
  }, 240_000);
});

describe("a hub with an agent", () => {
  test("[REPAIR-6] damaged packs are healed from an agent that has the files", async () => {
    await using fleet = await Fleet.start();
    fleet.startAgent("web1");
    await fleet.healthy("web1");
    mkdirSync(join(fleet.root("web1"), "d"));
    for (let at = 0; at < 5; at++) writeFileSync(join(fleet.root("web1"), "d", `large${at}`), randomBytes(1_500_000));
    await fleet.until("it is at the hub", async () =>
      (await fleet.json<{ entries: unknown[] }>("/v1/spaces/site/entries?below=d")).entries.length === 5,
    );
    await fleet.healthy("web1");
    const hub = fleet.process("hub");
    hub.kill("SIGTERM");
    await hub.exited;
    const chunks = join(fleet.dataDir, "chunks");
    for (const name of readdirSync(chunks).filter((one) => one.endsWith(".pack"))) flipBits(join(chunks, name));
    await fleet.startHub();
    await fleet.healthy("web1");
    const ask = ["--hub", fleet.url, "--token-file", "token"];
    const found = await fleet.world.command([PROGRAM, "hub", "check", "--deep", ...ask]);
    expect([found.code, found.out]).toEqual([1, expect.stringContaining("missing or damaged")]);
    await fleet.until("all is healed", async () =>
      /^syncline_store_lost_chunks 0$/m.test(await (await fleet.fetch("/metrics")).text()),
    );
    const after = await fleet.world.command([PROGRAM, "hub", "check", "--deep", ...ask]);
    expect([after.code, after.err]).toEqual([0, ""]);
  }, 240_000);
});
