/** The real program making releases: killed while it makes them, gone back with, and a command after a batch that fails. */
import { describe, expect, test } from "bun:test";
import { existsSync, lstatSync, mkdirSync, readFileSync, readdirSync, readlinkSync, realpathSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SimRandom } from "#testing/sim-random.ts";
import { Fleet } from "./fleet.ts";

const SEED = Number(process.env["SYNCLINE_CRASH_SEED"] ?? String(Date.now() % 1_000_000));
const TEST_MS_MAX = 300_000;
/** Small, so that one commit of the source has all of them. */
const FILES = 1500;
const ROUNDS = 5;
const KILLS = 4;
/** Longest life of an agent that is to be killed while it makes a release. */
const LIFE_MS_MAX = 1500;

const text = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, "utf8") : undefined);
const RELEASE = "settle=immediate,mode=one-way-replica,from=space,apply=release,keep=2";

/** The generation of every file in the release that is shown; what is torn, or a mixture, is none. */
function generation(root: string): number {
  const dir = realpathSync(root);
  const found = new Set<string>();
  for (const name of readdirSync(join(dir, "files"))) found.add(readFileSync(join(dir, "files", name), "utf8").split("\n")[0]!);
  expect([...found]).toHaveLength(1);
  expect(readdirSync(join(dir, "files"))).toHaveLength(FILES);
  return Number([...found][0]);
}

describe("releases", () => {
  test("[RELEASE-20] killed at any moment while it makes one, the root shows the old release or the new one, whole", async () => {
    await using fleet = await Fleet.start();
    const random = new SimRandom(SEED).fork("releases");
    const source = fleet.root("web0");
    const root = join(fleet.world.folder("web1"), "live");
    const fill = (round: number): void => {
      for (let at = 0; at < FILES; at++) writeFileSync(join(source, "files", `${at}`), `${round}\n${"x".repeat(at)}`);
    };
    mkdirSync(join(source, "files"), { recursive: true });
    fill(0);
    // Against the brake: fewer than half of all change.
    mkdirSync(join(source, "kept"));
    for (let at = 0; at < FILES + 100; at++) writeFileSync(join(source, "kept", `${at}`), `${at}`);
    fleet.startAgent("web0");
    fleet.startAgentWith("web1", ["--link", `${root}=site,${RELEASE}`]);
    await fleet.until("the first is shown", () => existsSync(join(root, "files")) && generation(root) === 0);
    await fleet.healthy("web0", "web1");
    let kills = 0;
    for (let round = 1; round <= ROUNDS; round++) {
      // While nobody looks, so that all of it is one change.
      await fleet.kill("web0");
      fill(round);
      fleet.startAgain("web0");
      for (let at = 0; at < KILLS; at++, kills++) {
        await Bun.sleep(random.int(LIFE_MS_MAX));
        await fleet.kill("web1");
        expect([round - 1, round]).toContain(generation(root));
        expect(lstatSync(root).isSymbolicLink()).toBe(true);
        fleet.startAgain("web1");
      }
      await fleet.until(`round ${round} is shown (seed ${SEED})`, () => generation(root) === round);
      await fleet.healthy("web1");
    }
    expect(kills).toBe(ROUNDS * KILLS);
    const left = readdirSync(`${root}.releases`).filter((name) => !/^r\d{6}-/.test(name));
    expect(left).toEqual(["work"]);
  }, TEST_MS_MAX);

  test("[RELEASE-21] people see releases, go back and on: at the hub and on the host", async () => {
    await using fleet = await Fleet.start();
    const { world } = fleet;
    const env = { SYNCLINE_HUB: fleet.url, SYNCLINE_TOKEN_FILE: world.path("token") };
    const run = async (code: number, ...args: string[]): Promise<string> => {
      const done = await world.run(args, env);
      expect([args.join(" "), done.code, done.err]).toEqual([args.join(" "), code, code === 3 ? done.err : ""]);
      return code === 3 ? done.err : done.out;
    };
    const root = join(world.folder("web1"), "live");
    fleet.startAgentWith("web1", ["--link", `${root}=site,${RELEASE}`]);
    const put = (body: string): Promise<Response> => fleet.fetch("/v1/spaces/site/content/f", { method: "PUT", body });
    for (const body of ["one", "two"]) {
      await put(body);
      await fleet.until("it is shown", () => text(join(root, "f")) === body);
    }
    await fleet.healthy("web1");
    const [, id] = /^([0-9a-f]{16})/.exec(await run(0, "links"))!;
    await fleet.until("the hub knows it", async () => (await run(0, "release", "list", id!, "web1")).includes(`→  ${readlinkSync(root).split("/")[1]}`));
    expect(await run(0, "release", "rollback", id!.slice(0, 6), "web1")).toContain("web1 shows r0000");
    expect(text(join(root, "f"))).toBe("one");
    expect(await run(1, "agents", "-v")).toMatch(/paused[^]*it stands still: syncline link resume/);
    await put("three");
    await Bun.sleep(1500);
    expect(text(join(root, "f"))).toBe("one");
    await run(0, "link", "resume", id!);
    await fleet.until("it goes on", () => text(join(root, "f")) === "three");
    await fleet.healthy("web1");
    // On the host, while the hub is away.
    await fleet.kill("hub");
    const list = await run(0, "release", "list", root);
    const [name] = /r\d{6}-\S+/.exec(list.split("\n").findLast((line) => line.includes("r0") && !line.startsWith("→"))!)!;
    expect(await run(0, "release", "rollback", root, name)).toContain("release resume");
    expect(text(join(root, "f"))).not.toBe("three");
    expect(await run(3, "release", "rollback", root, "r999999-20260101T000000Z-s1")).toContain("has no release");
    expect(await run(3, "release", "list", world.folder("other"))).toContain("no releases");
    await run(0, "release", "resume", root);
    await fleet.startHub();
    await fleet.until("it goes on", () => text(join(root, "f")) === "three");
    await fleet.healthy("web1");
    expect(await run(3, "link", "add", "/srv/x=site,apply=release", "--host", "web1")).toContain("one-way-replica");
  }, TEST_MS_MAX);

  test("[PAUSE-20] a failing command after a batch takes it back on its host alone, until a person lets it go on", async () => {
    await using fleet = await Fleet.start();
    const bad = fleet.world.path("bad");
    const [a, b] = [fleet.root("web0"), fleet.root("web1")];
    fleet.startAgent("web0");
    mkdirSync(b, { recursive: true });
    fleet.startAgentWith("web1", ["--link", `${b}=site,settle=immediate`, "--hook-after", `test ! -e ${bad}`, "--hook-failure", "rollback"]);
    await fleet.healthy("web0", "web1");
    writeFileSync(join(a, "f"), "one");
    await fleet.until("it is on both", () => text(join(b, "f")) === "one");
    await fleet.until("it is agreed", async () => (await fleet.agents()).every(({ links }) => (links[0]!.state as unknown as { files: number }).files === 1));
    writeFileSync(bad, "");
    writeFileSync(join(a, "f"), "two");
    await fleet.until("it is paused", async () => (await fleet.agents()).some(({ name, status }) => name === "web1" && status === "paused"));
    await fleet.until("it is taken back", () => text(join(b, "f")) === "one");
    await fleet.kill("web1");
    fleet.startAgain("web1");
    await Bun.sleep(2000);
    expect([text(join(a, "f")), text(join(b, "f"))]).toEqual(["two", "one"]);
    rmSync(bad);
    const [link] = (await fleet.agents()).find(({ name }) => name === "web1")!.links;
    await fleet.json(`/v1/links/${link!.link.id}/web1/resume`, "POST");
    await fleet.until("it is there", () => text(join(b, "f")) === "two");
    await fleet.healthy("web0", "web1");
    expect(statSync(join(b, "f")).isFile()).toBe(true);
  }, TEST_MS_MAX);
});

describe("an agent's configuration", () => {
  test("[CONF-20] is a file that options win over, checked, and read anew on SIGHUP; what is wrong keeps what was right", async () => {
    await using fleet = await Fleet.start();
    const { world } = fleet;
    const [a, b] = [world.folder("conf/a"), world.folder("conf/b")];
    const file = (links: string): unknown => world.write("agent.yaml", `hub: ${fleet.url}\nname: conf1\nlinks: [${links}]\n`);
    const check = async (): Promise<string> => {
      const done = await world.run(["config", "check", "agent", "--config", "agent.yaml"]);
      return `${done.code} ${done.out}${done.err}`;
    };
    file(`{root: ${a}, space: site, settle: immediate}, {root: ${b}, space: docs, settle: soon}`);
    expect(await check()).toMatch(/^3 [^]*agent\.yaml:3:\d+: links\[1\]\.settle/);
    file(`{root: ${a}, space: site, settle: immediate}`);
    expect(await check()).toMatch(/^0 nothing to complain about/);
    fleet.startAgentWith("web1", ["--config", "agent.yaml"]);
    await fleet.healthy("web1");
    await fleet.fetch("/v1/spaces/site/content/f", { method: "PUT", body: "one" });
    await fleet.until("it is there", () => text(join(a, "f")) === "one");
    file("{root: nowhere}");
    fleet.process("web1").kill("SIGHUP");
    await fleet.process("web1").line((line) => line.includes("kept as it was") && line.includes("agent.yaml:3"), 20_000);
    file(`{root: ${a}, space: site, settle: immediate}, {root: ${b}, space: docs, settle: immediate}`);
    fleet.process("web1").kill("SIGHUP");
    await fleet.process("web1").line((line) => line.includes("configuration read anew"), 20_000);
    await fleet.fetch("/v1/spaces/docs/content/g", { method: "PUT", body: "two" });
    await fleet.until("the new link is kept", () => text(join(b, "g")) === "two");
    await fleet.healthy("web1");
    expect((await fleet.agents())[0]!.links).toHaveLength(2);
  }, TEST_MS_MAX);
});

describe("dependencies", () => {
  test("[DEPS-21] are installed by the real npm where the host allows it, and compared over hosts", async () => {
    await using fleet = await Fleet.start();
    const { world } = fleet;
    const env = { SYNCLINE_HUB: fleet.url, SYNCLINE_TOKEN_FILE: world.path("token") };
    const deps = async (...args: string[]): Promise<string> => {
      const { code, out, err } = await world.run(["deps", ...args], env);
      return `${code}\n${out}${err}`;
    };
    const roots = ["web1", "web2", "web3"].map((name) => fleet.root(name));
    for (const [at, root] of roots.entries()) {
      mkdirSync(join(root, "app/lib"), { recursive: true });
      const own = at === 2 ? ",ignore=package-lock.json" : "";
      const may = at === 0 ? ["--allow-install"] : [];
      fleet.startAgentWith(`web${at + 1}`, ["--link", `${root}=site,settle=immediate,install=npm:app${own}`, ...may]);
    }
    await fleet.healthy("web1", "web2", "web3");
    const lock = (version: string): string =>
      JSON.stringify({ name: "app", lockfileVersion: 3, packages: { "": { name: "app", dependencies: { lib: "file:lib" } }, lib: { version }, "node_modules/lib": { resolved: "lib", link: true } } });
    writeFileSync(join(roots[0]!, "app/lib/package.json"), JSON.stringify({ name: "lib", version: "1.0.0", scripts: { postinstall: "touch ran" } }));
    writeFileSync(join(roots[0]!, "app/package-lock.json"), lock("1.0.0"));
    writeFileSync(join(roots[0]!, "app/package.json"), JSON.stringify({ name: "app", dependencies: { lib: "file:lib" } }));
    await fleet.until("npm has installed it", () => existsSync(join(roots[0]!, "app/node_modules/lib/package.json")));
    expect(existsSync(join(roots[0]!, "app/lib/ran"))).toBe(false);
    const other = { lockfileVersion: 3, packages: { "": { dependencies: {} }, "node_modules/left": { version: "1.3.0", integrity: "sha512-x" } } };
    await fleet.until("web2 and web3 have the manifest", () => roots.every((root) => existsSync(join(root, "app/package.json"))));
    writeFileSync(join(roots[2]!, "app/package-lock.json"), JSON.stringify(other));
    await fleet.until("web3 differs", async () => (await deps("diff")).includes("web3 against"));
    const told = await deps("diff");
    expect(told).toMatch(/^1\nsite npm:app\n {2}web3 against web1, web2\n {4}extra +left 1\.3\.0\n/);
    expect(await deps("list", "web2")).toContain("--allow-install");
    expect(readdirSync(join(roots[1]!, "app")).toSorted()).toEqual(["lib", "package-lock.json", "package.json"]);
  }, TEST_MS_MAX);
});
