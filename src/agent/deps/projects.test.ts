import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SynclineError } from "#model/error.ts";
import { openHost } from "#platform/host-bun.ts";
import { runGroup } from "#platform/net/child.ts";
import { ADMIN, AgentHub, linkTo, until } from "#testing/agent-hub.ts";
import { MANIFEST_BYTES_MAX } from "#agent/deps/manifests.ts";
import { Projects, RUNS_PER_HOUR_MAX, installedLines } from "#agent/deps/projects.ts";

const lock = (version: string, range = "^1.0.0"): string =>
  JSON.stringify({ lockfileVersion: 3, packages: { "": { dependencies: { a: range } }, "node_modules/a": { version, integrity: `sha512-${version}` } } });
const manifest = (range = "^1.0.0", more: object = {}): string => JSON.stringify({ name: "app", dependencies: { a: range }, ...more });

describe("projects whose dependencies are kept installed", () => {
  let dir: string;
  const path = process.env["PATH"];
  const stop = new AbortController();
  let running: Promise<void> | undefined;
  let end = new AbortController();

  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "syncline-deps-"));
    mkdirSync(join(dir, "bin"));
    mkdirSync(join(dir, "root/app"), { recursive: true });
    process.env["PATH"] = `${join(dir, "bin")}:${path}`;
    end = new AbortController();
  });
  afterEach(async () => {
    end.abort();
    await running;
    process.env["PATH"] = path;
    rmSync(dir, { recursive: true, force: true });
  });

  /** A program of that name that writes down how it was called, and does `script`. */
  const program = (name: string, script: string): void => {
    writeFileSync(join(dir, "bin", name), `#!/bin/sh\necho "$(basename "$PWD") $* scripts=$npm_config_ignore_scripts toolchain=$GOTOOLCHAIN" >> ${join(dir, "calls")}\n${script}\n`);
    chmodSync(join(dir, "bin", name), 0o755);
  };
  const calls = (): string[] => (existsSync(join(dir, "calls")) ? readFileSync(join(dir, "calls"), "utf8").trim().split("\n") : []);
  const put = (name: string, text: string): void => writeFileSync(join(dir, "root/app", name), text);

  function begin(names: readonly string[] = ["npm:app"], mayInstall = true): Projects {
    const projects = new Projects({
      host: openHost(), root: join(dir, "root"), projects: names, mayInstall, file: join(dir, "state/installed.json"), cache: join(dir, "state/npm"), link: "l",
      onChange: () => undefined, log: () => undefined,
    });
    running = projects.run(AbortSignal.any([stop.signal, end.signal]));
    return projects;
  }
  const phase = (projects: Projects): string => projects.states()[0]!.phase;

  test("[DEPS-10] what changes dependencies runs the command that belongs to it, once, and nothing else does", async () => {
    program("npm", 'mkdir -p node_modules; test "$1" = ci || echo \'{"lockfileVersion":3,"packages":{"":{"dependencies":{"a":"^2.0.0"}},"node_modules/a":{"version":"2.0.0"}}}\' > package-lock.json');
    put("package.json", manifest());
    put("package-lock.json", lock("1.0.0"));
    const projects = begin();
    await until("it is installed", () => projects.states()[0]!.installed);
    expect(calls()).toEqual(["app ci --ignore-scripts scripts=true toolchain=local"]);
    put("package.json", manifest("^1.0.0", { scripts: { test: "x" }, description: "other" }));
    projects.notice();
    await Bun.sleep(800);
    expect(calls()).toHaveLength(1);
    // The lock is of another manifest now: it is made anew, and that it was starts nothing.
    put("package.json", manifest("^2.0.0"));
    projects.notice();
    await until("it is installed again", () => projects.states()[0]!.installed && calls().length === 2);
    projects.notice();
    await Bun.sleep(800);
    expect(calls().map((line) => line.split(" ")[1])).toEqual(["ci", "install"]);
    expect(projects.list("npm:app")).toMatchObject([{ name: "a", version: "2.0.0" }]);
    end.abort();
    await running;
    // Another life knows what is installed.
    end = new AbortController();
    const again = begin();
    await until("it has looked", () => phase(again) === "idle");
    expect([again.states()[0]!.installed, calls().length]).toEqual([true, 2]);
  });

  test("[DEPS-22] a lock file that comes while the one before is installed is installed, too", async () => {
    const go = join(dir, "go");
    program("npm", `while test ! -e ${go}; do sleep 0.05; done`);
    put("package.json", manifest());
    put("package-lock.json", lock("1.0.0"));
    const projects = begin();
    await until("it runs", () => calls().length === 1);
    put("package-lock.json", lock("1.0.1"));
    writeFileSync(go, "");
    await until("it is installed", () => projects.states()[0]!.installed);
    expect(calls().map((line) => line.split(" ")[1])).toEqual(["ci", "ci"]);
  });

  test("[DEPS-11] without the host's leave nothing runs, and it says so; a manifest that is none is told", async () => {
    program("npm", "true");
    put("package.json", manifest());
    const projects = begin(["npm:app", "go:app"], false);
    await until("it has looked", () => projects.states().every((one) => one.phase !== "unknown"));
    expect(projects.states()).toMatchObject([{ phase: "idle", installed: false, error: expect.stringContaining("--allow-install") }, { phase: "absent" }]);
    put("package.json", "{");
    projects.notice();
    await until("it is told", () => phase(projects) === "failed");
    expect(calls()).toEqual([]);
    // No way out of the root.
    rmSync(join(dir, "root/app"), { recursive: true });
    symlinkSync(dir, join(dir, "root/app"));
    writeFileSync(join(dir, "package.json"), manifest());
    projects.notice();
    await until("it is not there", () => phase(projects) === "absent");
  });

  test("[DEPS-16] a command gets no secret of the agent, and nothing of the space says which programs it runs", async () => {
    process.env["SYNCLINE_TEST_SECRET"] = "hush";
    try {
      program("npm", `env > ${join(dir, "env")}`);
      put("package.json", manifest());
      put("package-lock.json", lock("1.0.0"));
      put(".npmrc", "git=./evil\nglobal=true\ncache=./evil\nlogs-dir=./evil\n//x/:_authToken=${SYNCLINE_TEST_SECRET}\n");
      const projects = begin();
      await until("it is installed", () => projects.states()[0]!.installed);
      const env = readFileSync(join(dir, "env"), "utf8").split("\n");
      expect(env.filter((line) => /SYNCLINE|hush/.test(line))).toEqual([]);
      expect(env).toContain(`PATH=${process.env["PATH"]}`);
      for (const line of ["npm_config_git=git", "npm_config_global=false", "npm_config_location=project"]) expect(env).toContain(line);
      // Nor where npm writes.
      const cache = join(dir, "state/npm");
      for (const line of [`npm_config_cache=${cache}`, `npm_config_logs_dir=${cache}/_logs`]) expect(env).toContain(line);
    } finally {
      delete process.env["SYNCLINE_TEST_SECRET"];
    }
  });

  test("[DEPS-12] what fails is told and tried again later, not at once", async () => {
    program("go", "echo 'no such module' >&2; exit 1");
    put("go.mod", "module x\nrequire a.b/c v1.0.0\n");
    put("go.sum", "a.b/c v1.0.0 h1:x=\n");
    const projects = begin(["go:app"]);
    await until("it waits", () => phase(projects) === "waiting");
    expect(projects.states()[0]).toMatchObject({ installed: false, count: 1, error: expect.stringContaining("no such module") });
    for (let at = 0; at < 3; at++) {
      projects.notice();
      await Bun.sleep(200);
    }
    expect(calls()).toEqual(["app mod download scripts=true toolchain=local"]);
  });

  test("[DEPS-17] a lock file that a command has left too large to be read is told, and the next manifest is installed", async () => {
    program("npm", `truncate -s ${MANIFEST_BYTES_MAX + 1} package-lock.json`);
    put("package.json", manifest());
    const projects = begin();
    await until("it is told", () => phase(projects) === "failed");
    expect(projects.states()[0]!.error).toContain("larger than");
    program("npm", "true");
    put("package-lock.json", lock("1.0.0"));
    projects.notice();
    await until("it is installed", () => projects.states()[0]!.installed);
  });

  test("[DEPS-13] a project that changes all the time is installed so often an hour at most", async () => {
    program("npm", "true");
    put("package.json", manifest());
    const projects = begin();
    for (let round = 0; phase(projects) !== "waiting"; round++) {
      put("package.json", manifest(`^${round}.0.0`));
      projects.notice();
      await until("it has run, or waits", () => calls().length > round || phase(projects) === "waiting");
    }
    expect(calls().length).toBe(RUNS_PER_HOUR_MAX);
  }, 60_000);

  test("[DEPS-14] what is told to end ends with all that it has started", async () => {
    const limit = new AbortController();
    const pids = join(dir, "pids");
    program("npm", `sleep 300 & echo $! > ${pids}; sleep 300`);
    const ended = runGroup("npm", [], { cwd: dir, inherited: /^PATH$/, environment: {} }, limit.signal);
    await until("both run", () => existsSync(pids) && readFileSync(pids, "utf8").trim() !== "");
    limit.abort(new SynclineError({ code: "INTERRUPTED", op: "test", message: "over" }));
    await expect(ended).rejects.toThrow("over");
    const pid = Number(readFileSync(pids, "utf8"));
    await until("the one in the background has gone", () => {
      try {
        return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
      } catch {
        return true;
      }
    });
  });

  test("[DEPS-15] agents report what their projects resolve to, and the hub asks for lists; what is installed stays on its host", async () => {
    await using hub = await AgentHub.start();
    program("npm", "mkdir -p node_modules/a; echo installed > node_modules/a/index.js");
    const [a, b] = [hub.folder("a"), hub.folder("b")];
    const links = (root: string) => [linkTo(root, "demo", { install: ["npm:app"] })];
    mkdirSync(join(a, "app"));
    writeFileSync(join(a, "app/package.json"), manifest());
    writeFileSync(join(a, "app/package-lock.json"), lock("1.0.0"));
    hub.agent("web1", links(a), { mayInstall: true });
    hub.agent("web2", links(b));
    const project = (name: string) => hub.agents.hosts(ADMIN).find((one) => one.name === name)?.links[0]?.state?.projects[0];
    await until("both tell", () => project("web1")?.installed === true && project("web2")?.set !== null && project("web2")?.set === project("web1")?.set);
    expect(project("web2")).toMatchObject({ installed: false, count: 1 });
    const link = hub.agents.host(ADMIN, "web2").links[0]!.link.id;
    expect(await hub.agents.dependencies(ADMIN, link, "web2", "npm:app")).toMatchObject([{ ecosystem: "npm", name: "a", version: "1.0.0" }]);
    expect(() => hub.agents.dependencies(ADMIN, link, "web2", "npm:other")).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
    writeFileSync(join(b, "app/package-lock.json"), lock("1.0.1"));
    await until("it is on both", () => project("web1")?.set === project("web2")?.set && readFileSync(join(a, "app/package-lock.json"), "utf8") === lock("1.0.1"));
    expect(existsSync(join(a, "app/node_modules/a/index.js"))).toBe(true);
    expect(existsSync(join(b, "app/node_modules"))).toBe(false);
    expect(installedLines(["npm:.", "npm:a*b", "go:x"])).toEqual(["/node_modules/", "/a\\*b/node_modules/"]);
  });
});
