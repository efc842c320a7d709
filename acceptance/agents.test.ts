/**
 * The real program as a hub and agents on two hosts: what people do to the two directories, what kills, cuts off or fills
 * up, and that in the end everything that anybody wrote last is everywhere.
 *
 * SYNCLINE_STORM_MS sets how long the storm lasts, SYNCLINE_CRASH_SEED which it is (its moments are the machine's).
 */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SimRandom } from "#testing/sim-random.ts";
import { BusyTree } from "./busy-tree.ts";
import { Fleet } from "./fleet.ts";
import { World } from "./harness.ts";
import { Mounts } from "./mounts.ts";

const STORM_MS = Number(process.env["SYNCLINE_STORM_MS"] ?? "60000");
const SEED = Number(process.env["SYNCLINE_CRASH_SEED"] ?? String(Date.now() % 1_000_000));
/** Longest life of a process of the storm, and how long it stays away. */
const LIFE_MS_MAX = 3000;
const AWAY_MS_MAX = 1000;
/** Pause between two changes of the writers. */
const STEP_MS = 8;
/** With so many files that stay, no plan of the storm is one that the brake holds. */
const KEPT_FILES = 250;
/** Longer than any silence that hub and agents put up with. */
const FROZEN_MS = 90_000;
const TEST_MS_MAX = 300_000;
/** What none of them may ever say. */
const NEVER_SAID = /"code":"(INTERNAL|PROTOCOL|STATE|HALT)"|"message":"plan held"|"conflicts":[1-9]|\bat .*\.ts:\d+/;

const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);

/** Someone who writes through the API, over and over, and remembers what was acknowledged. */
class ApiWriter {
  readonly #fleet: Fleet;
  /** Number of the content that was acknowledged last, and of the last that was sent, by path. */
  readonly #paths = new Map<string, { acknowledged: number; sent: number }>();
  readonly #end = new AbortController();
  #running: Promise<unknown> | undefined;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
  }

  start(writers: number): void {
    this.#running = Promise.all(Array.from({ length: writers }, (_, at) => this.#write(at)));
  }

  async #write(writer: number): Promise<void> {
    for (let round = 1; !this.#end.signal.aborted; round++) {
      const path = `w${writer}/${round % 20}`;
      const numbers = this.#paths.get(path) ?? { acknowledged: 0, sent: 0 };
      this.#paths.set(path, numbers);
      numbers.sent = round;
      const body = `${round} ${"x".repeat(round % 5000)}`;
      const url = `/v1/spaces/docs/content/${path}`;
      const response = await this.#fleet.fetch(url, { method: "PUT", body }).catch(() => undefined);
      if (response?.ok === true) numbers.acknowledged = round;
      await response?.text().catch(() => undefined);
      await Bun.sleep(20);
    }
  }

  async stop(): Promise<void> {
    this.#end.abort();
    await this.#running;
  }

  /** @throws when a path below `dir` is older than what was acknowledged, or torn */
  check(dir: string): void {
    expect(this.#paths.size).toBeGreaterThan(10);
    for (const [path, { acknowledged, sent }] of this.#paths) {
      const found = text(join(dir, path));
      if (found === undefined && acknowledged === 0) continue;
      const round = Number(found?.split(" ")[0]);
      const isWhole = found === `${round} ${"x".repeat(round % 5000)}`;
      if (!isWhole || round < acknowledged || round > sent) {
        throw new Error(`${path}: ${String(found).slice(0, 40)} where ${acknowledged} was acknowledged`);
      }
    }
  }
}

function busyTree(fleet: Fleet, name: string): BusyTree {
  const dirs = { alpha: fleet.root("web1"), beta: fleet.root("web2") };
  const tree = new BusyTree(dirs, fleet.world.folder("outside"), new SimRandom(SEED).fork(name));
  for (const side of ["alpha", "beta"] as const) tree.keep(side, KEPT_FILES);
  return tree;
}

async function converged(fleet: Fleet, tree: BusyTree): Promise<void> {
  const arrived = [tree.signal("alpha"), tree.signal("beta")];
  await fleet.until("what was written last is on the other host", () => arrived.every((one) => one()));
  await fleet.healthy("web1", "web2");
  await fleet.until("both hosts show the newest of everything", () => {
    tree.check(true);
    return true;
  });
  await fleet.expectSame("site", "web1", "web2");
}

function expectNothingOdd(fleet: Fleet): void {
  for (const name of ["hub", "web1", "web2"]) {
    const odd = fleet.said(name).split("\n").find((line) => NEVER_SAID.test(line));
    expect([name, odd]).toEqual([name, undefined]);
  }
}

describe("a hub and agents as processes", () => {
  test("[AGENT-80] edits, renames, deletions and a file of 64 MiB go both ways, and the space has what they have", async () => {
    await using fleet = await Fleet.start();
    for (const name of ["web1", "web2"]) fleet.startAgent(name);
    const [a, b] = [fleet.root("web1"), fleet.root("web2")];
    await fleet.healthy("web1", "web2");
    writeFileSync(join(a, "index.html"), "<h1>Hello</h1>");
    mkdirSync(join(b, "docs/deep"), { recursive: true });
    for (let at = 0; at < 200; at++) writeFileSync(join(b, "docs/deep", `${at}`), `${at}`);
    await fleet.until("both are on both", () => text(join(b, "index.html")) === "<h1>Hello</h1>" && text(join(a, "docs/deep/199")) === "199");
    const large = [randomBytes(64 << 20), randomBytes(64 << 20)] as const;
    writeFileSync(join(a, "large-a"), large[0]);
    writeFileSync(join(b, "large-b"), large[1]);
    await fleet.healthy("web1", "web2");
    const is = (path: string, bytes: Buffer): boolean => existsSync(path) && readFileSync(path).equals(bytes);
    await fleet.until("the large files are on both", () => is(join(b, "large-a"), large[0]) && is(join(a, "large-b"), large[1]));
    // An edit in the middle, a rename of a folder, and deletions.
    large[0].write("edited", 30 << 20);
    writeFileSync(join(b, "large-a"), large[0]);
    renameSync(join(a, "docs/deep"), join(a, "moved"));
    rmSync(join(b, "index.html"));
    await fleet.until("all of it is on the other side", () =>
      is(join(a, "large-a"), large[0]) && text(join(b, "moved/7")) === "7" && !existsSync(join(b, "docs/deep")) && !existsSync(join(a, "index.html")),
    );
    await fleet.healthy("web1", "web2");
    await fleet.expectSame("site", "web1", "web2");
    expectNothingOdd(fleet);
  }, TEST_MS_MAX);

  test("[AGENT-81] a host that is removed is cut off for good, a wrong join token is refused, the others go on", async () => {
    await using fleet = await Fleet.start();
    for (const name of ["web1", "web2"]) fleet.startAgent(name);
    const [a, b] = [fleet.root("web1"), fleet.root("web2")];
    await fleet.healthy("web1", "web2");
    writeFileSync(join(a, "f"), "one");
    await fleet.until("it is on web2", () => text(join(b, "f")) === "one");
    const removed = await fleet.world.run(["agents", "remove", "web2", "--yes", "--hub", fleet.url, "--token-file", "token"]);
    expect([removed.code, removed.err]).toEqual([0, ""]);
    writeFileSync(join(a, "f"), "two");
    writeFileSync(join(b, "g"), "of a host that is gone");
    await fleet.process("web2").line((line) => line.includes('"hub cannot be reached"'), 30_000);
    await fleet.kill("web2");
    fleet.startAgain("web2");
    fleet.world.write("join", "not-the-token-of-this-hub-at-all");
    const stranger = ["agent", "--hub", fleet.url, "--name", "web3", "--data", "agent-web3", "--join-token-file", "join"];
    const refused = await fleet.world.run([...stranger, "--accept-new", "--link", `${fleet.world.folder("web3")}=site`]);
    expect(refused.code).toBe(3);
    expect(refused.err).toContain("error:");
    expect(refused.err).toContain("syncline join-token create");
    await fleet.until("web1 still speaks to the space", async () => (await (await fleet.fetch("/v1/spaces/site/content/f")).text()) === "two");
    await fleet.healthy("web1");
    expect(text(join(b, "f"))).toBe("one");
    expect(existsSync(join(a, "g"))).toBe(false);
    expect((await fleet.agents()).map(({ name }) => name)).toEqual(["web1"]);
  }, TEST_MS_MAX);

  test("[AGENT-82] a plan over the brake waits at the hub, and approved, exactly that plan is carried out", async () => {
    await using fleet = await Fleet.start();
    for (const name of ["web1", "web2"]) fleet.startAgent(name);
    const [a, b] = [fleet.root("web1"), fleet.root("web2")];
    for (let at = 0; at < 60; at++) writeFileSync(join(a, `f${at}`), `${at}`);
    await fleet.until("all files are on web2", () => existsSync(b) && readdirSync(b).length >= 61);
    await fleet.healthy("web1", "web2");
    // While it does not look, so that all of it is one plan.
    await fleet.kill("web1");
    for (let at = 0; at < 50; at++) rmSync(join(a, `f${at}`));
    fleet.startAgain("web1");
    type Hold = { link: string; host: string; plan: { hash: string; total: number } };
    let holds: Hold[] = [];
    await fleet.until("the plan waits", async () => {
      ({ holds } = await fleet.json<{ holds: Hold[] }>("/v1/holds"));
      return holds.length === 1;
    });
    const [held] = holds as [Hold];
    expect([held.host, held.plan.total]).toEqual(["web1", 50]);
    await fleet.until("the host is shown as held", async () => (await fleet.agents()).some((one) => one.status === "held"));
    const approve = ({ link, host, plan }: Hold): Promise<unknown> =>
      fleet.json(`/v1/holds/${link}/${host}/approve`, "POST", { hash: plan.hash });
    await expect(approve({ ...held, plan: { ...held.plan, hash: "0123456789ab" } })).rejects.toThrow("409");
    expect(readdirSync(b)).toHaveLength(61);
    await approve(held);
    // What was approved at one host needs no second approval at another.
    await fleet.until("it is carried out everywhere", () => readdirSync(b).length === 11);
    await fleet.healthy("web1", "web2");
    await fleet.expectSame("site", "web1", "web2");
    expect((await fleet.json<{ holds: Hold[] }>("/v1/holds")).holds).toEqual([]);
  }, TEST_MS_MAX);

  test("[AGENT-83] a hub whose disk is full loses nothing, says so, and goes on when there is room", async () => {
    await using world = new World();
    await using mounts = new Mounts(world);
    await mounts.tmpfs("hub", "size=40m");
    await using fleet = await Fleet.start({ world });
    for (const name of ["web1", "web2"]) fleet.startAgent(name);
    const [a, b] = [fleet.root("web1"), fleet.root("web2")];
    await fleet.healthy("web1", "web2");
    writeFileSync(join(a, "small"), "one");
    await fleet.until("there is room for a small one", () => text(join(b, "small")) === "one");
    for (let at = 0; at < 8; at++) {
      // Whole at once: half of a file that is being written would be a version like any other.
      writeFileSync(world.path("aside"), randomBytes(10_000_000));
      renameSync(world.path("aside"), join(a, `large-${at}`));
    }
    writeFileSync(join(b, "of-b"), randomBytes(3_000_000));
    await fleet.until("it is said that something is wrong", async () => {
      const agents = await fleet.agents().catch(() => []);
      return agents.some(({ name, status }) => name === "web1" && status !== "healthy" && status !== "behind" && status !== "starting");
    });
    const before = readdirSync(b).filter((name) => name.startsWith("large"));
    for (const name of before) expect([name, readFileSync(join(b, name)).equals(readFileSync(join(a, name)))]).toEqual([name, true]);
    expect(before.length).toBeLessThan(8);
    await mounts.remount("hub", "size=400m");
    await fleet.until("everything is everywhere", () => existsSync(join(a, "of-b")) && readdirSync(b).length === readdirSync(a).length);
    await fleet.healthy("web1", "web2");
    await fleet.expectSame("site", "web1", "web2");
    expect(text(join(a, "small"))).toBe("one");
  }, TEST_MS_MAX);
});

describe("commands for people", () => {
  test("[CLI-48] hosts join, are linked by label, changed, and their held plans approved; tokens work until revoked", async () => {
    await using fleet = await Fleet.start();
    const { world } = fleet;
    const env = { SYNCLINE_HUB: fleet.url, SYNCLINE_TOKEN_FILE: world.path("token") };
    const run = async (code: number, ...args: string[]): Promise<string> => {
      const done = await world.run(args, env);
      expect([args.join(" "), done.code, done.err]).toEqual([args.join(" "), code, code === 3 ? done.err : ""]);
      return code === 3 ? done.err : done.out;
    };
    world.write("join", await run(0, "join-token", "create", "--label", "role=web", "--uses", "1", "--expires", "1d", "--quiet"));
    fleet.startAgent("web1");
    await fleet.healthy("web1");
    expect(await run(0, "agents")).toMatch(/^web1  healthy  heard .*  1 link  syncline .*  role=web\n$/);
    expect(await run(0, "join-token", "list")).toContain("0 hosts");

    // A link for a label, which the host has, loses, and has again.
    const extra = world.path("extra");
    expect(await run(3, "link", "add", "extra=docs", "--label", "role=web")).toContain("does not begin with /");
    const [, id] = /^made ([0-9a-f]{16}):/.exec(await run(0, "link", "add", `${extra}=docs,settle=immediate`, "--label", "role=web"))!;
    await fleet.fetch("/v1/spaces/docs/content/hello", { method: "PUT", body: "hello" });
    await fleet.until("the link is kept", () => text(join(extra, "hello")) === "hello");
    await fleet.json("/v1/hosts/web1", "PATCH", { labels: ["role=db"] });
    expect(await run(0, "links", "web1")).not.toContain(id!);
    expect(await run(0, "links")).toMatch(new RegExp(`^${id} +role=web +no host +${extra} = docs$`, "m"));
    await fleet.json("/v1/hosts/web1", "PATCH", { labels: ["role=web"] });
    await fleet.until("it is kept again", async () => (await fleet.agents())[0]?.links.length === 2);
    await run(0, "link", "set", id!.slice(0, 8), "enabled=no", "ignore=*.tmp");
    await fleet.until("it is switched off", async () => (await run(0, "links")).includes("disabled"));
    const links = (await run(0, "links", "--json")).trimEnd().split("\n").map((line) => JSON.parse(line) as { link: { id: string; settings: object } });
    expect(links.find(({ link }) => link.id === id)?.link.settings).toMatchObject({ settle: "immediate", ignore: ["*.tmp"] });
    await run(0, "link", "remove", id!);
    expect(await run(0, "links")).not.toContain(id!);
    expect(text(join(extra, "hello"))).toBe("hello");

    const root = fleet.root("web1");
    for (let at = 0; at < 40; at++) writeFileSync(join(root, `f${at}`), `${at}`);
    await fleet.until("the space has them", async () => (await fleet.listing("site")).length === 40);
    await fleet.healthy("web1");
    expect(await run(0, "holds")).toBe("no plan waits\n");
    await fleet.kill("web1");
    for (let at = 0; at < 39; at++) rmSync(join(root, `f${at}`));
    fleet.startAgain("web1");
    await fleet.until("the plan waits", async () => (await fleet.agents())[0]?.status === "held");
    expect(await run(1, "agents", "--verbose")).toContain("a plan waits for a person");
    const holds = await run(2, "holds");
    expect(holds).toContain("39 of 40 entries of the space would be removed");
    const words = /^ {2}syncline (approve .*)$/m.exec(holds)![1]!.split(" ");
    expect(await run(3, ...words)).toContain("--yes");
    expect(await run(3, ...words.slice(0, -1), "0123456789ab", "--yes")).toContain("another plan is held");
    expect(await fleet.listing("site")).toHaveLength(40);
    await run(0, ...words, "--yes");
    await fleet.until("it is carried out", async () => (await fleet.listing("site")).length === 1);

    const value = (await run(0, "token", "create", "ann", "laptop", "--expires", "90d", "--quiet")).trim();
    const whoami = async (): Promise<number> =>
      (await fetch(`${fleet.url}/v1/whoami`, { headers: { authorization: `Bearer ${value}` } })).status;
    expect(await whoami()).toBe(200);
    const [, token] = /^([0-9a-f]+)  ann  laptop .*expires in 90 days$/m.exec(await run(0, "token", "list", "ann"))!;
    await run(0, "token", "revoke", token!);
    expect(await whoami()).toBe(401);
    expect(await run(0, "access", "explain", "ann", "write", "space:site:docs")).toStartWith("allowed: ");
    await run(3, "access", "explain", "ann", "write", "host:web1:docs");
    const deleted = await world.run(["space", "delete", "site"], env);
    const [left] = (await fleet.agents())[0]!.links;
    expect([deleted.code, deleted.err]).toEqual([0, expect.stringContaining(`wait until it is back: ${left!.link.id};`)]);
  }, TEST_MS_MAX);
});

/** At the same time: one of them mostly waits. */
describe.concurrent("what befalls them", () => {
  test("[AGENT-84] hub and agents killed again and again under load: all that was written last is everywhere", async () => {
    await using fleet = await Fleet.start();
    const tree = busyTree(fleet, "storm");
    for (const name of ["web1", "web2"]) fleet.startAgent(name, ["site", "docs"]);
    for (let at = 0; at < KEPT_FILES; at++) fleet.world.write(`web1/docs/kept/${at}`, `${at}`);
    await converged(fleet, tree);
    const writer = new ApiWriter(fleet);
    const random = new SimRandom(SEED).fork("kills");
    const writing = setInterval(() => tree.step(), STEP_MS);
    writer.start(2);
    let kills = 0;
    try {
      for (const end = performance.now() + STORM_MS; performance.now() < end; kills++) {
        await Bun.sleep(random.int(LIFE_MS_MAX));
        const name = random.pick(["hub", "web1", "web2"]);
        await fleet.kill(name);
        tree.check();
        await Bun.sleep(random.int(AWAY_MS_MAX));
        if (name === "hub") await fleet.startHub();
        else fleet.startAgain(name);
      }
    } catch (error) {
      if (error instanceof Error) error.message = `seed ${SEED}, after ${kills} kills: ${error.message}`;
      throw error;
    } finally {
      clearInterval(writing);
      await writer.stop();
    }
    await converged(fleet, tree);
    for (const name of ["web1", "web2"]) writer.check(fleet.root(name, "docs"));
    await fleet.expectSame("docs", "web1", "web2");
    expectNothingOdd(fleet);
  }, TEST_MS_MAX + STORM_MS);

  test("[AGENT-85] a hub that answers nothing for 90 s: edits go on, and are everywhere afterwards", async () => {
    await using fleet = await Fleet.start();
    const tree = busyTree(fleet, "frozen");
    const docs = ["web1", "web2"].map((name) => fleet.root(name, "docs"));
    for (const name of ["web1", "web2"]) fleet.startAgent(name, ["site", "docs"]);
    await converged(fleet, tree);
    fleet.process("hub").kill("SIGSTOP");
    const writing = setInterval(() => tree.step(), STEP_MS * 20);
    // What both have written is a conflict, whose loser is kept beside the winner.
    // Each comes whole: what is written where it is seen may be taken along while it is empty, and that is a loser, too.
    for (const [at, root] of docs.entries()) {
      const aside = join(fleet.world.folder(`aside-${at}`), "both.txt");
      writeFileSync(aside, `of ${at}`);
      renameSync(aside, join(root, "both.txt"));
    }
    await Bun.sleep(FROZEN_MS);
    clearInterval(writing);
    fleet.process("hub").kill("SIGCONT");
    await converged(fleet, tree);
    await fleet.until("both contents are on both hosts", () =>
      docs.every((root) => {
        const found = readdirSync(root).filter((name) => name.startsWith("both")).map((name) => text(join(root, name)));
        if (found.toSorted().join() !== "of 0,of 1") throw new Error(JSON.stringify(found));
        return true;
      }),
    );
    await fleet.healthy("web1", "web2");
    await fleet.expectSame("docs", "web1", "web2");
    expectNothingOdd(fleet);
  }, TEST_MS_MAX);
});
