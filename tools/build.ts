/**
 * Makes the standalone executables in dist/. `npm run build` makes all, `npm run build -- linux-x64` only one.
 *
 * Each is the bundled program appended to the Bun runtime of its platform. Runtimes of other platforms come from the
 * same npm packages that `bun` itself is installed from, at the pinned version, checked by npm against the registry's
 * integrity hash, and are kept in node_modules/.cache.
 */
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

type Target = { name: string; file: string; bunTarget: string; runtimePackage: string; runtimeFile: string };

const TARGETS: readonly Target[] = [
  target("linux-x64", "bun-linux-x64", "bun"),
  target("linux-arm64", "bun-linux-aarch64", "bun"),
  target("darwin-arm64", "bun-darwin-aarch64", "bun"),
  target("windows-x64", "bun-windows-x64", "bun.exe"),
];

function target(name: string, runtimePackage: string, runtimeFile: string): Target {
  const suffix = name.startsWith("windows") ? ".exe" : "";
  return { name, file: `syncline-${name}${suffix}`, bunTarget: `bun-${name}`, runtimePackage, runtimeFile };
}

/** The platform that this runs on, as the targets are named. */
const HERE = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;

const root = resolve(import.meta.dir, "..");
const dist = join(root, "dist");
const cache = join(root, "node_modules", ".cache", "bun-runtimes");

/** Entry points beside main.ts: what is started as a worker must be in the bundle under its own name. */
function workers(): string[] {
  return [...new Bun.Glob("src/**/*-worker.ts").scanSync(root)].sort();
}

/** The file of one runtime: our own for this platform, otherwise fetched once. */
function runtimeOf(one: Target): string {
  if (one.name === HERE) return process.execPath;
  const kept = join(
    cache,
    `${one.runtimePackage}-${Bun.version}${one.runtimeFile === "bun.exe" ? ".exe" : ""}`,
  );
  if (existsSync(kept)) return kept;
  mkdirSync(cache, { recursive: true });
  const work = mkdtempSync(join(cache, "fetch-"));
  try {
    run(["npm", "pack", "--silent", `@oven/${one.runtimePackage}@${Bun.version}`], work);
    const [archive] = [...new Bun.Glob("*.tgz").scanSync(work)];
    if (archive === undefined) throw new Error(`npm pack left no archive of ${one.runtimePackage}`);
    run(["tar", "-xzf", archive], work);
    const file = join(work, "package", "bin", one.runtimeFile);
    chmodSync(file, 0o755);
    renameSync(file, kept);
    return kept;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function run(command: string[], cwd: string): void {
  const done = Bun.spawnSync(command, { cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  if (done.exitCode === 0) return;
  throw new Error(
    `${command.join(" ")} failed with ${done.exitCode}:\n${done.stderr.toString()}${done.stdout.toString()}`,
  );
}

function build(one: Target): void {
  const out = join(dist, one.file);
  const work = mkdtempSync(join(tmpdir(), "syncline-build-"));
  try {
    run(
      [
        process.execPath,
        "build",
        "--compile",
        "--minify",
        "--keep-names",
        // Parsing the whole program took longer than a run on a small directory: each command loads its own part, and
        // as bytecode where the result can be tried here.
        "--splitting",
        "--format=esm",
        ...(one.name === HERE ? ["--bytecode"] : []),
        "--sourcemap=none",
        `--target=${one.bunTarget}`,
        `--compile-executable-path=${runtimeOf(one)}`,
        // What lies in the working directory of a user must not change how the program runs.
        "--no-compile-autoload-dotenv",
        "--no-compile-autoload-bunfig",
        // An optional native add-on that ssh2 does without; the bundler would insist on its binary.
        "--external=cpu-features",
        `--outfile=${join(work, one.file)}`,
        "src/main.ts",
        ...workers(),
      ],
      root,
    );
    mkdirSync(dist, { recursive: true });
    copyFileSync(join(work, one.file), `${out}.new`);
    chmodSync(`${out}.new`, 0o755);
    renameSync(`${out}.new`, out);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Runs the executable of this platform, copied alone into an empty folder and with nothing of ours around it. */
function smokeTest(one: Target): void {
  const folder = mkdtempSync(join(tmpdir(), "syncline-smoke-"));
  try {
    const alone = join(folder, one.file);
    copyFileSync(join(dist, one.file), alone);
    const bytes = readFileSync(alone);
    for (const worker of workers()) {
      // As platform/worker-thread.ts names it.
      const name = worker.replace(/^src\//, "/$bunfs/root/").replace(/\.ts$/, ".js");
      if (!bytes.includes(name)) throw new Error(`there is no ${name} in the executable`);
    }
    const env = { PATH: "/usr/bin:/bin", HOME: folder };
    const version = (JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string })
      .version;
    const asked = Bun.spawnSync([alone, "version"], { cwd: folder, env, stdin: "ignore" });
    if (!asked.stdout.toString().startsWith(`syncline ${version} `))
      throw new Error(`version: ${asked.stderr.toString()}`);
    const demo = Bun.spawnSync([alone, "demo", "--once", "--dir", join(folder, "demo")], {
      cwd: folder,
      env,
      stdin: "ignore",
    });
    if (demo.exitCode !== 0)
      throw new Error(`demo ended with ${demo.exitCode}: ${demo.stderr.toString()}${demo.stdout.toString()}`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !TARGETS.some((one) => one.name === name));
if (unknown.length > 0) {
  console.error(
    `unknown target ${unknown.join(", ")}; there are ${TARGETS.map((one) => one.name).join(", ")}`,
  );
  process.exit(2);
}
for (const one of TARGETS.filter(({ name }) => wanted.length === 0 || wanted.includes(name))) {
  const startMs = performance.now();
  build(one);
  const here = one.name === HERE;
  if (here) smokeTest(one);
  const megabytes = Math.round(Bun.file(join(dist, one.file)).size / 1e6);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  console.log(`dist/${one.file}  ${megabytes} MB  ${seconds} s${here ? "  smoke test passed" : ""}`);
}
