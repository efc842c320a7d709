/**
 * The real program, killed with SIGKILL at random moments while two writers change both sides without a pause. After
 * every kill each path is old or new and whole, nothing was deleted or changed that nobody deleted or changed, and
 * undisturbed runs end with both sides the same.
 *
 * SYNCLINE_KILLS sets how many (150), SYNCLINE_CRASH_SEED which (the moments themselves are those of the machine).
 */
import { describe, expect, test } from "bun:test";
import { SimRandom } from "#testing/sim-random.ts";
import { BusyTree, Violation } from "./busy-tree.ts";
import { type Done, PROGRAM, World, describeTree, eventually, freePort, summaryOf } from "./harness.ts";
import type { SubprocessLike } from "./process.ts";

const KILLS = Number(process.env["SYNCLINE_KILLS"] ?? "150");
const SEED = Number(process.env["SYNCLINE_CRASH_SEED"] ?? String(Date.now() % 1_000_000));
/** Kills between two undisturbed runs that must converge. */
const KILLS_PER_ROUND = 20;
/** Longest life of a program that is to be killed, in ms. */
const LIFE_MS_MAX = 250;
/** Longest life after it began to change something. */
const APPLYING_MS_MAX = 40;
/** Pause between two changes of the writers. */
const STEP_MS = 2;
/** Undisturbed runs until both sides are the same: one recovers and learns, none should need more than two. */
const RUNS_TO_CONVERGE = 2;
const OPTIONS = ["--json", "--max-delete", "none", "--settle", "immediate"];
const NEVER_SAID = /"type":"(conflict|hold)"|"code":"(INTERNAL|PROTOCOL|STATE|HALT|ROOT_[A-Z]+)"|\bat .*\.ts:\d+/;
const TEST_MS_MAX = 600_000;
const UNDONE_FILES = 4000;

class Rig implements AsyncDisposable {
  readonly world = new World();
  readonly random: SimRandom;
  readonly tree: BusyTree;
  readonly #words: readonly string[];
  #writing: ReturnType<typeof setInterval> | undefined;
  #round = 0;

  /** @param beta what the program calls the second side; its directory is b in any case */
  constructor(name: string, beta: string, link: readonly string[] = []) {
    this.random = new SimRandom(SEED).fork(name);
    const dirs = { alpha: this.world.path("a"), beta: this.world.path("b") };
    this.tree = new BusyTree(dirs, this.world.folder("outside"), this.random.fork("tree"));
    this.#words = ["sync", "a", beta, ...OPTIONS, ...link];
  }

  command(...more: string[]): string[] {
    return [PROGRAM, ...this.#words, ...more];
  }

  write(): void {
    this.#writing ??= setInterval(() => this.tree.step(), STEP_MS);
  }

  rest(): void {
    clearInterval(this.#writing);
    this.#writing = undefined;
  }

  /** Waits for a moment to kill: anywhere in its life, or soon after it began to change something. */
  async moment(child: SubprocessLike): Promise<void> {
    if (this.random.chance(0.4)) return Bun.sleep(this.random.int(LIFE_MS_MAX));
    const from = child.output().length;
    const deadline = Date.now() + LIFE_MS_MAX * 4;
    while (!child.output().slice(from).includes('"transferring"') && Date.now() < deadline) {
      if (await Promise.race([child.exited.then(() => true), Bun.sleep(1).then(() => false)])) return;
    }
    await Bun.sleep(this.random.int(APPLYING_MS_MAX));
  }

  /** After a kill: everything old or new, and nothing said that would tell of a doubt. */
  inspect(child: SubprocessLike): void {
    this.tree.check();
    this.heard(child.output());
  }

  heard(output: string): void {
    const bad = output.split("\n").find((line) => NEVER_SAID.test(line));
    if (bad !== undefined) throw new Violation(`it said: ${bad}`);
  }

  /** Undisturbed: the writers rest, and the program runs to its end. */
  async converge(): Promise<void> {
    this.rest();
    let done: Done | undefined;
    for (let run = 0; run < RUNS_TO_CONVERGE; run++) {
      done = await this.world.command(this.command());
      this.heard(done.out + done.err);
      if (done.code === 0) break;
    }
    expect(`${done!.code} ${done!.code === 0 ? "" : done!.out + done!.err}`).toBe("0 ");
    expect(summaryOf(done!)).toMatchObject({ result: "same", conflicts: 0, problems: 0 });
    this.tree.check(true);
    expect(await describeTree(this.world.path("b"))).toBe(await describeTree(this.world.path("a")));
  }

  /**
   * @param kill starts what is needed and ends it with SIGKILL; returns whether it was still alive to be killed
   * @param rest ends what `kill` left running, before an undisturbed run
   */
  async kills(count: number, kill: () => Promise<boolean>, rest?: () => Promise<void>): Promise<void> {
    try {
      await this.converge();
      for (let killed = 0; killed < count; ) {
        this.write();
        if (await kill()) killed++;
        if (++this.#round % KILLS_PER_ROUND !== 0) continue;
        await rest?.();
        await this.converge();
      }
      await rest?.();
      await this.converge();
    } catch (error) {
      if (error instanceof Error) error.message = `seed ${SEED}, round ${this.#round}: ${error.message}`;
      throw error;
    } finally {
      this.rest();
    }
  }

  async killSync(...more: string[]): Promise<boolean> {
    const child = this.world.start(this.command(...more));
    await this.moment(child);
    child.kill("SIGKILL");
    const alive = (await child.exited) === 137;
    this.inspect(child);
    return alive;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.rest();
    await this.world[Symbol.asyncDispose]();
  }
}

describe("killed with SIGKILL", () => {
  test(
    "[CRASH-1] a run between two local directories leaves each path old or new, and the next runs converge",
    async () => {
      await using rig = new Rig("local", "b");
      await rig.kills(Math.ceil(KILLS * 0.45), () => rig.killSync());
    },
    TEST_MS_MAX,
  );

  test(
    "[CRASH-4] a run that was killed is in the log, and what it has changed is taken back by its id",
    async () => {
      await using world = new World();
      const random = new SimRandom(SEED).fork("undo");
      for (let at = 0; at < UNDONE_FILES; at++) world.write(`a/d${at % 40}/f${at}`, `${at}`.repeat(200));
      const before = await describeTree(world.folder("b"));
      const child = world.start([PROGRAM, "sync", "a", "b", ...OPTIONS]);
      const begun = JSON.parse(await child.line((line) => line.includes('"type":"begin"'), 20_000)) as { runId: string };
      await Bun.sleep(random.int(LIFE_MS_MAX));
      child.kill("SIGKILL");
      await child.exited;
      const log = await world.command([PROGRAM, "log"]);
      expect(log.out).toMatch(new RegExp(`${begun.runId} .* (running, or killed|same)`));
      const undone = await world.command([PROGRAM, "undo", begun.runId]);
      expect(`${undone.code} ${undone.err}`).toBe("0 ");
      expect(await describeTree(world.path("b"))).toBe(before);
    },
    TEST_MS_MAX,
  );

  test(
    "[CRASH-2] so does a watching session",
    async () => {
      await using rig = new Rig("watch", "b");
      await rig.kills(Math.ceil(KILLS * 0.25), () => rig.killSync("--watch"));
    },
    TEST_MS_MAX,
  );

  test(
    "[CRASH-3] so does a client of a server, and the server itself while its client lives on",
    async () => {
      const port = await freePort();
      const link = ["--token-file", "token", "--accept-new"];
      await using rig = new Rig("tls", `syncline://127.0.0.1:${port}/data`, link);
      const { world, tree } = rig;
      const token = world.token();
      const args = ["--listen", `127.0.0.1:${port}`, "--root", "data=b", "--token-file", token, "--json"];
      const serve = async (): Promise<SubprocessLike> => {
        const child = world.start([PROGRAM, "serve", ...args], { SYNCLINE_STATE_DIR: world.path("far-state") });
        await child.line((line) => line.includes('"listening"'), 20_000);
        return child;
      };
      let server = await serve();
      await rig.kills(Math.ceil(KILLS * 0.2), () => rig.killSync(...(rig.random.chance(0.5) ? ["--watch"] : [])));
      let client: SubprocessLike | undefined;
      const killServer = async (): Promise<boolean> => {
        client ??= world.start(rig.command("--watch"));
        await rig.moment(client);
        server.kill("SIGKILL");
        await server.exited;
        rig.inspect(server);
        server = await serve();
        const arrived = [tree.signal("alpha"), tree.signal("beta")];
        const back = eventually("what each side wrote after the server came back", () => arrived.every((one) => one()));
        await back.catch((error: Error) => {
          throw new Violation(`${error.message}\n${client!.output().slice(-3000)}`);
        });
        rig.inspect(client);
        return true;
      };
      await rig.kills(Math.ceil(KILLS * 0.1), killServer, async () => {
        await client?.end();
        client = undefined;
      });
    },
    TEST_MS_MAX,
  );
});
