/** Large files into a hub and out of it, while everybody is killed in the middle. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { PROGRAM, World, freePort } from "./harness.ts";
import type { SubprocessLike } from "./process.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const WAIT_MS_MAX = 30_000;
const MIB = 1 << 20;
const PART_BYTES = 8 * MIB;
const SIZE = 192 * MIB;
const BOOTSTRAP = `
spaces: [{name: demo}]
users: [{name: admin, password: change-me, roles: [admin]}]
tokens: [{user: admin, value: ${TOKEN}}]
`;

class Lab implements AsyncDisposable {
  readonly world = new World();
  readonly url: string;
  readonly #port: number;
  readonly #token: string;
  hub!: SubprocessLike;

  private constructor(port: number) {
    this.#port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.#token = this.world.write("token", TOKEN);
  }

  static async open(): Promise<Lab> {
    const lab = new Lab(await freePort());
    await lab.begin();
    return lab;
  }

  async begin(): Promise<void> {
    const listen = ["--listen", `127.0.0.1:${this.#port}`, "--bootstrap", this.world.write("boot.yaml", BOOTSTRAP)];
    this.hub = this.world.start([PROGRAM, "hub", "--data", this.world.path("data"), "--json", ...listen]);
    await this.hub.line((text) => text.includes('"type":"listening"'), WAIT_MS_MAX);
  }

  args(...words: string[]): string[] {
    return [PROGRAM, ...words, "--hub", this.url, "--token-file", this.#token, "--json"];
  }

  /** Resolves when the hub has so many bytes of the upload to a path. */
  async received(path: string, bytes: number): Promise<string> {
    for (;;) {
      const response = await fetch(`${this.url}/v1/spaces/demo/uploads?prefix=${path}`, { headers: { authorization: `Bearer ${TOKEN}` } });
      const { uploads } = (await response.json()) as { uploads: { id: string; received: number }[] };
      if ((uploads[0]?.received ?? 0) >= bytes) return uploads[0]!.id;
      await Bun.sleep(20);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.world[Symbol.asyncDispose]();
  }
}

const sentOf = (out: string): number => (JSON.parse(out.split("\n").find((line) => line.includes('"type":"put"'))!) as { sent: number }).sent;

describe("a large file and a hub", () => {
  test("[LARGE-1] a hub that is killed in the middle costs a put the parts that were under way, and nothing else", async () => {
    await using lab = await Lab.open();
    const bytes = randomBytes(SIZE);
    const file = lab.world.write("large.bin", bytes);
    const put = lab.world.start(lab.args("put", file, "demo:large.bin"));
    await lab.received("large.bin", 4 * PART_BYTES);
    lab.hub.kill("SIGKILL");
    await lab.hub.exited;
    await lab.begin();
    expect(await put.exited).toBe(0);
    // Those under way may have come twice: each part that counts was sent once by this command.
    expect(sentOf(put.output())).toBe(SIZE);
    const got = await lab.world.command(lab.args("get", "demo:large.bin", lab.world.path("back.bin")));
    expect(got.code).toBe(0);
    expect(Buffer.compare(readFileSync(lab.world.path("back.bin")), bytes)).toBe(0);
  }, 120_000);

  test("[LARGE-2] a put that was killed goes on, a second one sends nothing, a get that was killed goes on", async () => {
    await using lab = await Lab.open();
    const bytes = randomBytes(SIZE);
    const file = lab.world.write("large.bin", bytes);
    const killed = lab.world.start(lab.args("put", file, "demo:large.bin"));
    await lab.received("large.bin", 4 * PART_BYTES);
    killed.kill("SIGKILL");
    await killed.exited;
    const again = await lab.world.command(lab.args("put", file, "demo:large.bin"));
    expect([again.code, again.err]).toEqual([0, ""]);
    expect(sentOf(again.out)).toBeLessThanOrEqual(SIZE - 4 * PART_BYTES);
    const second = await lab.world.command(lab.args("put", file, "demo:other.bin"));
    expect([second.code, sentOf(second.out)]).toEqual([0, 0]);
    const target = lab.world.path("out/back.bin");
    lab.world.write("out/beside", "");
    const getting = lab.world.start(lab.args("get", "demo:other.bin", target));
    const partOf = () => readdirSync(lab.world.path("out")).filter((name) => /\.part(\.json)?$/.test(name));
    while (!partOf().some((name) => name.endsWith(".json") && readFileSync(lab.world.path(`out/${name}`), "utf8").includes('"bytes":6'))) {
      await Bun.sleep(5);
    }
    getting.kill("SIGKILL");
    await getting.exited;
    const got = await lab.world.command(lab.args("get", "demo:other.bin", target));
    expect(got.code).toBe(0);
    expect(Buffer.compare(readFileSync(target), bytes)).toBe(0);
    expect(partOf()).toEqual([]);
  }, 120_000);

  test("[LARGE-3] what was accepted is stored, once, also when the hub is killed at once", async () => {
    await using lab = await Lab.open();
    const bytes = randomBytes(40 * MIB);
    const put = await lab.world.command(lab.args("put", "--async", lab.world.write("large.bin", bytes), "demo:later/large.bin"));
    expect([put.code, put.err]).toEqual([0, ""]);
    const { job } = JSON.parse(put.out.split("\n").find((line) => line.includes('"type":"accepted"'))!) as { job: number };
    lab.hub.kill("SIGKILL");
    await lab.hub.exited;
    await lab.begin();
    const stateOf = async (): Promise<string> => (await lab.world.command(lab.args("jobs", "show", String(job)))).out;
    while (!/"state":"(done|failed)"/.test(await stateOf())) await Bun.sleep(50);
    expect(await stateOf()).toContain('"state":"done"');
    for (const [format, ...unpack] of [["tar", "tar", "-xf"], ["zip", "unzip", "-q"]] as const) {
      const archive = lab.world.path(`later.${format}`);
      expect((await lab.world.command(lab.args("get", "--archive", format, "demo:later", archive))).code).toBe(0);
      const into = lab.world.folder(format);
      expect((await lab.world.command([...unpack, archive], { cwd: into })).code).toBe(0);
      expect(Buffer.compare(readFileSync(join(into, "later", "large.bin")), bytes)).toBe(0);
    }
  }, 60_000);
});
