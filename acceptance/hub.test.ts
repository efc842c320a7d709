/** The real program as a hub, driven by curl, fetch and its own commands. */
import { describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { chmodSync, readFileSync, statSync } from "node:fs";
import { connect } from "node:net";
import { hostname } from "node:os";
import { PostgresServer } from "./postgres-server.ts";
import { type Done, PROGRAM, World } from "./harness.ts";
import type { SubprocessLike } from "./process.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const WAIT_MS_MAX = 30_000;
const KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl admin";

const BOOTSTRAP = `
spaces: [{name: demo, quotaBytes: 10GiB}]
users: [{name: admin, password: change-me, roles: [admin]}]
tokens: [{user: admin, value: ${TOKEN}}]
s3Keys: [{user: admin, accessKey: DEMOKEY, secretKey: demosecretdemosecretdemosecret12}]
sshKeys: [{user: admin, key: "${KEY}"}]
joinTokens: [{value: fedcba9876543210fedcba9876543210}]
links: [{host: web1, root: /srv/site, space: demo, prefix: site, mode: two-way-safe, settle: immediate}]
`;

type Hub = { readonly url: string; readonly child: SubprocessLike; readonly setupFile: string | undefined };

async function startHub(world: World, args: string[] = []): Promise<Hub> {
  const data = ["--data", world.path("data"), "--listen", "127.0.0.1:0", "--json"];
  const child = world.start([PROGRAM, "hub", ...data, ...args]);
  const line = await child.line((text) => text.includes('"type":"listening"'), WAIT_MS_MAX);
  const { url, setupFile } = JSON.parse(line) as { url: string; setupFile?: string };
  return { url, child, setupFile };
}

const bootstrapped = (world: World): Promise<Hub> =>
  startHub(world, ["--bootstrap", world.write("boot.yaml", BOOTSTRAP)]);

const ask = (url: string, init: RequestInit = {}): Promise<Response> =>
  fetch(url, { ...init, headers: { authorization: `Bearer ${TOKEN}`, ...(init.headers as Record<string, string>) } });

describe("a hub in a process of its own", () => {
  test("[HUB-1] is made by a bootstrap file, and made once", async () => {
    await using world = new World();
    const first = await bootstrapped(world);
    const made = first.child.output().split("\n").filter((line) => line.includes('"bootstrap"'));
    expect(made.map((line) => (JSON.parse(line) as { done: string; kind: string }).kind)).toEqual([
      "spaces", "users", "tokens", "s3Keys", "sshKeys", "joinTokens", "links",
    ]);
    expect(first.setupFile).toBeUndefined();
    first.child.kill("SIGTERM");
    expect(await first.child.exited).toBe(130);
    const second = await bootstrapped(world);
    expect(second.child.output()).toContain('"message":"bootstrap applied","made":0,"changed":0');
    expect(second.child.output()).not.toContain('"message":"bootstrap",');
  }, 60_000);

  test("[HUB-2] serves curl: ranges, conditions, a file of 64 MiB streamed both ways", async () => {
    await using world = new World();
    const { url } = await bootstrapped(world);
    const curl = async (...args: string[]): Promise<string> => {
      const done = await world.command(["curl", "-sS", "-H", `authorization: Bearer ${TOKEN}`, ...args]);
      expect(done.err).toBe("");
      return done.out;
    };
    const at = (path: string): string => `${url}/v1/spaces/demo/content/${path}`;
    const bytes = randomBytes(64 << 20);
    const file = world.write("large.bin", bytes);
    const code = ["-o", "/dev/null", "-w", "%{http_code}"];
    expect(await curl(...code, "-T", file, at("dir/large.bin"))).toBe("201");
    await curl("-o", world.path("back.bin"), at("dir/large.bin"));
    expect(Buffer.compare(readFileSync(world.path("back.bin")), bytes)).toBe(0);
    await curl("-o", world.path("part.bin"), "-r", "1000000-1999999", at("dir/large.bin"));
    expect(Buffer.compare(readFileSync(world.path("part.bin")), bytes.subarray(1_000_000, 2_000_000))).toBe(0);
    expect(await curl("-r", "0-0,-1", at("dir/large.bin"))).toContain("content-range: bytes 67108863-67108863/67108864");
    const put = [...code, "-X", "PUT", "--data-binary", "x"];
    expect(await curl(...put, "-H", "if-none-match: *", at("once"))).toBe("201");
    expect(await curl(...put, "-H", "if-none-match: *", at("once"))).toBe("412");
    expect(await curl(...put, `${at("once")}?sequence=1`)).toBe("409");
    expect(await curl(...code, "-H", "authorization: Bearer wrong", at("once"))).toBe("401");
  }, 120_000);

  test("[HUB-3] its own commands keep, show and bring back a file", async () => {
    await using world = new World();
    const { url } = await bootstrapped(world);
    const env = { SYNCLINE_HUB: url, SYNCLINE_TOKEN_FILE: world.write("token", `${TOKEN}\n`) };
    const run = async (...args: string[]): Promise<string> => {
      const done = await world.run(args, env);
      expect([args.join(" "), done.code, done.err]).toEqual([args.join(" "), 0, ""]);
      return done.out;
    };
    await run("space", "create", "site", "--quota", "1GiB");
    expect(await run("space", "list")).toMatch(/demo .*\nsite .*of 1.0 GiB/);
    const file = world.write("page.html", "one");
    chmodSync(file, 0o755);
    await run("put", file, "site:docs/page.html");
    world.write("page.html", "two");
    await run("put", file, "site:docs/page.html");
    expect(await run("history", "site:docs/page.html")).toMatch(/^#3 .*user:admin +replace.*\n#2 .*create/);
    expect(await run("ls", "site:docs")).toMatch(/^0755 +3 .*docs\/page.html\n1 entry\n$/);
    expect(await run("get", "site:docs/page.html", "-", "--at", "2")).toBe("one");
    await run("get", "site:docs/page.html", world.path("got.html"));
    expect(readFileSync(world.path("got.html"), "utf8")).toBe("two");
    expect(statSync(world.path("got.html")).mode & 0o777).toBe(0o755);
    expect(Math.floor(statSync(world.path("got.html")).mtimeMs)).toBe(Math.floor(statSync(file).mtimeMs));
    expect(await run("restore", "site:docs", "--to", "2", "--dry-run")).toBe("would be: 1 path put back, 0 paths removed\n");
    await run("restore", "site:docs", "--to", "2", "--message", "bad release");
    expect(await run("get", "site:docs/page.html", "-")).toBe("one");
    const whole = await world.run(["get", "site:docs", world.path("docs")], env);
    expect([whole.code, whole.err.split("\n")[0]]).toEqual([3, "error: site:docs is a directory"]);
    await run("mv", "site:docs/page.html", "site:index.html");
    await run("rm", "site:index.html");
    const gone = await world.run(["get", "site:index.html", "-"], env);
    expect([gone.code, gone.err.split("\n")[0]]).toEqual([3, "error: there is nothing at this path (index.html)"]);
    expect((await world.run(["space", "list", "--hub", "http://127.0.0.1:1"], env)).err).toContain("cannot be reached");
  }, 60_000);

  test("[CLI-127] its journal is shown, from its end or from a sequence on, and moments get names to go back to", async () => {
    await using world = new World();
    const { url } = await bootstrapped(world);
    const env = { SYNCLINE_HUB: url, SYNCLINE_TOKEN_FILE: world.write("token", `${TOKEN}\n`) };
    const run = async (...args: string[]): Promise<string> => (await world.run(args, env)).out;
    const sequences = async (...args: string[]): Promise<string> =>
      (await run("journal", ...args)).replace(/ .*/g, "").trim().replaceAll("\n", " ");
    const file = world.write("f", "one");
    for (const path of ["a/x", "b/x", "a/y"]) await run("put", file, `demo:${path}`);
    expect(await run("restore-point", "create", "demo", "before")).toContain("@before is demo at 5");
    await run("mv", "demo:a/y", "demo:b/y");
    expect(await sequences("demo")).toBe("#1 #2 #3 #4 #5 #6 #7");
    expect(await sequences("demo", "--limit", "2")).toBe("#6 #7");
    expect(await sequences("demo", "--after", "5")).toBe("#6 #7");
    expect(await sequences("demo:b")).toBe("#3 #4 #7");
    expect(await run("journal", "demo:b", "--limit", "1")).toMatch(/^#7 .*user:admin +move +3 B +a\/y → b\/y +upload\n$/);
    const records = (await run("journal", "demo", "--after", "0", "--json")).trim().split("\n");
    expect(records.map((line) => (JSON.parse(line) as { sequence: number }).sequence)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(await run("restore", "demo", "--to", "@before")).toContain("take it back: syncline restore demo --to 7");
    expect(await run("ls", "demo:a")).toContain("a/y");
    await run("restore", "demo", "--to", "7");
    expect(await run("ls", "demo:b")).toContain("b/y");
    expect(await run("restore-point", "list", "demo")).toMatch(/^@before +#5 /);
    await run("restore-point", "delete", "demo", "before");
    expect(await run("restore-point", "list", "demo")).toBe("0 restore points\n");
  }, 60_000);

  test("[HUB-4] nobody is locked out of a new hub: the set-up token makes the first user", async () => {
    await using world = new World();
    const { url, setupFile } = await startHub(world);
    expect(statSync(setupFile!).mode & 0o777).toBe(0o600);
    const token = readFileSync(setupFile!, "utf8").trim();
    const body = JSON.stringify({ token, user: "ann", password: "long enough" });
    const headers = { "content-type": "application/json" };
    const claimed = await fetch(`${url}/v1/setup`, { method: "POST", body, headers });
    expect(claimed.status).toBe(201);
    expect((await fetch(`${url}/v1/setup`, { method: "POST", body, headers })).status).toBe(401);
  }, 60_000);

  test("[HUB-5] one process at a time holds a data directory", async () => {
    await using world = new World();
    await startHub(world);
    const other = await world.run(["hub", "--data", world.path("data"), "--listen", "127.0.0.1:0"]);
    expect(other.code).toBe(3);
    expect(other.err).toContain("error:");
    expect(other.err).toContain("hint:");
  }, 60_000);

  test("[HUB-6] asked to end, it finishes what is at work and takes nothing new", async () => {
    await using world = new World();
    const { url, child } = await bootstrapped(world);
    const port = Number(new URL(url).port);
    const answer = Promise.withResolvers<string>();
    const socket = connect(port, "127.0.0.1");
    let text = "";
    socket.on("data", (bytes) => {
      text += bytes.toString("latin1");
      if (text.includes("\r\n\r\n")) answer.resolve(text);
    });
    socket.on("close", () => answer.resolve(text));
    const head = `PUT /v1/spaces/demo/content/slow HTTP/1.1\r\nhost: h\r\nauthorization: Bearer ${TOKEN}\r\ncontent-length: 600000\r\n\r\n`;
    socket.write(head + "x".repeat(300_000));
    await Bun.sleep(300);
    child.kill("SIGTERM");
    await child.line((line) => line.includes('"message":"ending"'), WAIT_MS_MAX);
    await expect(fetch(`${url}/health/live`)).rejects.toThrow();
    socket.write("x".repeat(300_000));
    expect((await answer.promise).split("\r\n")[0]).toBe("HTTP/1.1 201 Created");
    socket.destroy();
    expect(await child.exited).toBe(130);
    const again = await bootstrapped(world);
    expect((await (await ask(`${again.url}/v1/spaces/demo/content/slow`)).arrayBuffer()).byteLength).toBe(600_000);
  }, 60_000);

  test("[HUB-7] killed again and again under load it loses nothing that it acknowledged", async () => {
    await using world = new World();
    const acknowledged = new Map<string, string>();
    let wrote = 0;
    for (let life = 0; life < 4; life++) {
      const { url, child } = await bootstrapped(world);
      for (const [path, text] of [...acknowledged].slice(-200)) {
        expect([path, await (await ask(`${url}/v1/spaces/demo/content/${path}`)).text()]).toEqual([path, text]);
      }
      let isAlive = true;
      const underWay = new Set<string>();
      const writer = async (name: number): Promise<void> => {
        while (isAlive) {
          const path = `w${name}/${wrote++ % 500}`;
          const text = `${life} ${wrote} ${"x".repeat(1000)}`;
          underWay.add(path);
          const response = await ask(`${url}/v1/spaces/demo/content/${path}`, { method: "PUT", body: text });
          if (response.ok) acknowledged.set(path, text);
          await response.text();
          underWay.delete(path);
        }
      };
      // What is under way when it is killed may or may not be there: such paths are not looked at.
      const writers = Array.from({ length: 8 }, (_, name) => writer(name).catch(() => undefined));
      await Bun.sleep(700);
      child.kill("SIGKILL");
      await child.exited;
      isAlive = false;
      await Promise.all(writers);
      for (const path of underWay) acknowledged.delete(path);
    }
    const { url } = await bootstrapped(world);
    expect(acknowledged.size).toBeGreaterThan(100);
    for (const [path, text] of acknowledged) {
      const found = await (await ask(`${url}/v1/spaces/demo/content/${path}`)).text();
      expect([path, found]).toEqual([path, text]);
    }
  }, 120_000);

  test("[HUB-8] on a PostgreSQL server it does the same, and finds everything again", async () => {
    await using world = new World();
    await using server = await PostgresServer.start();
    const file = world.write("boot.yaml", BOOTSTRAP);
    const config = world.write("hub.yaml", `database: ${await server.database()}\nbootstrap: ${file}\n`);
    const first = await startHub(world, ["--config", config]);
    const put = (url: string, path: string, body: string): Promise<Response> =>
      ask(`${url}/v1/spaces/demo/content/${path}`, { method: "PUT", body });
    const names = Array.from({ length: 40 }, (_, at) => `many/${at}`);
    for (const made of await Promise.all(names.map((name) => put(first.url, name, name)))) expect(made.status).toBe(201);
    expect((await put(first.url, "many/0?sequence=1", "stale")).status).toBe(409);
    const headers = { "idempotency-key": "k", "content-type": "application/json" };
    const move = { method: "POST", headers, body: JSON.stringify({ from: "many/0", to: "moved" }) };
    for (let time = 0; time < 2; time++) expect((await ask(`${first.url}/v1/spaces/demo/move`, move)).status).toBe(200);
    first.child.kill("SIGKILL");
    await first.child.exited;
    const { url, child } = await startHub(world, ["--config", config]);
    expect(child.output()).toContain('"made":0,"changed":0');
    expect(await (await ask(`${url}/v1/spaces/demo/content/moved`)).text()).toBe("many/0");
    for (const name of names.slice(1)) {
      expect(await (await ask(`${url}/v1/spaces/demo/content/${name}`)).text()).toBe(name);
    }
  }, 120_000);

  test("[HUB-9] of a PostgreSQL database one hub is the keeper: another is told which, and no other directory takes its place", async () => {
    await using world = new World();
    await using server = await PostgresServer.start();
    const file = world.write("boot.yaml", BOOTSTRAP);
    const config = world.write("hub.yaml", `database: ${await server.database()}\nbootstrap: ${file}\n`);
    const first = await startHub(world, ["--config", config]);
    expect((await ask(`${first.url}/v1/spaces/demo/content/f`, { method: "PUT", body: "kept" })).status).toBe(201);
    const elsewhere = (): Promise<Done> =>
      world.run(["hub", "--data", world.path("elsewhere"), "--listen", "127.0.0.1:0", "--config", config]);
    const busy = await elsewhere();
    expect([busy.code, busy.err]).toEqual([3, expect.stringContaining(`a hub runs on this database already: ${hostname()}:${world.path("data")}`)]);
    expect(busy.err).toContain("hint: stop that one first");
    // Nobody has to wait for a hub that died in the same directory, nor for one that ended.
    first.child.kill("SIGKILL");
    await first.child.exited;
    const second = await startHub(world, ["--config", config]);
    expect(second.child.output()).not.toContain("waiting");
    second.child.kill("SIGTERM");
    expect(await second.child.exited).toBe(130);
    const check = ["hub", "check", "--config", config];
    const checked = await world.run([...check, "--data", world.path("data")]);
    expect([checked.code, checked.out]).toEqual([0, expect.stringContaining("all is what was written")]);
    const empty = await elsewhere();
    expect([empty.code, empty.err]).toEqual([3, expect.stringContaining("whose chunks and keys are not in this data directory")]);
    const { url, child } = await startHub(world, ["--config", config]);
    expect(child.output()).not.toContain("waiting");
    expect(await (await ask(`${url}/v1/spaces/demo/content/f`)).text()).toBe("kept");
    const running = await world.run([...check, "--deep", "--hub", url, "--token-file", world.write("token", TOKEN)]);
    expect([running.code, running.out]).toEqual([0, expect.stringContaining("all is what was written")]);
  }, 120_000);
});
