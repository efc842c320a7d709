/**
 * What acceptance tests share: the real program in processes of its own, folders that go away, a real OpenSSH server,
 * and trees to compare. Every process started here is ended here, by its own id.
 */
import { type SubprocessLike, startProcess } from "./process.ts";
import { randomInt } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

export const ROOT = resolve(import.meta.dir, "..");
const BUILT = join(ROOT, "dist", `syncline-${process.platform}-${process.arch}`);

/** Is there this standalone executable, and is it of this source? An old one would test what nobody has any more. */
export function builtIsCurrent(built: string): boolean {
  if (!existsSync(built)) return false;
  const builtMs = statSync(built).mtimeMs;
  return [...new Bun.Glob("src/**/*.ts").scanSync(ROOT)].every((file) => statSync(join(ROOT, file)).mtimeMs <= builtMs);
}

export const isBuilt = builtIsCurrent(BUILT);
/** The standalone executable when it is current, the checkout otherwise; a CI run must have built it. */
export const PROGRAM = isBuilt ? BUILT : join(ROOT, "bin", "syncline");
if (!isBuilt && process.env["CI"] === "true") throw new Error(`${BUILT} is missing or older than the source`);

/** Longest wait for anything to happen; tests end as soon as it has. */
const WAIT_MS_MAX = 30_000;

export type Done = { code: number; out: string; err: string };

/** One test's world: a folder with a state directory in it, and what has to be ended. */
export class World implements AsyncDisposable {
  readonly dir: string;
  readonly state: string;
  readonly #processes: SubprocessLike[] = [];

  constructor() {
    this.dir = mkdtempSync(join(tmpdir(), "syncline-acceptance-"));
    this.state = join(this.dir, "state");
  }

  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  /** Makes a directory in this world. */
  folder(name: string): string {
    mkdirSync(this.path(name), { recursive: true });
    return this.path(name);
  }

  /** Writes a file in this world; its directory is made. */
  write(name: string, content: string | Uint8Array): string {
    mkdirSync(join(this.path(name), ".."), { recursive: true });
    writeFileSync(this.path(name), content);
    return this.path(name);
  }

  environment(more: Record<string, string> = {}): Record<string, string> {
    const { PATH = "/usr/bin:/bin" } = process.env;
    return {
      PATH: `${PATH}:/usr/sbin`,
      HOME: this.dir,
      SYNCLINE_STATE_DIR: this.state,
      LC_ALL: "C.UTF-8",
      ...more,
    };
  }

  /** Runs the program to its end. */
  async run(args: string[], more: Record<string, string> = {}): Promise<Done> {
    return this.command([PROGRAM, ...args], { env: more });
  }

  async command(
    command: string[],
    options: { cwd?: string; env?: Record<string, string> } = {},
  ): Promise<Done> {
    const child = Bun.spawn(command, {
      cwd: options.cwd ?? this.dir,
      env: this.environment(options.env),
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    return { code, out, err };
  }

  /** Starts a process that runs until the test ends. */
  start(command: string[], more: Record<string, string> = {}): SubprocessLike {
    const child = startProcess(command, this.dir, this.environment(more));
    this.#processes.push(child);
    return child;
  }

  /** Serves roots over TLS on a free port. */
  async serve(args: string[]): Promise<{ port: number; fingerprint: string; child: SubprocessLike }> {
    const child = this.start([PROGRAM, "serve", "--listen", "127.0.0.1:0", "--json", ...args]);
    const line = await child.line((text) => text.includes('"listening"'), WAIT_MS_MAX);
    const { port, fingerprint } = JSON.parse(line) as { port: number; fingerprint: string };
    return { port, fingerprint, child };
  }

  /** Makes a token and returns its file. */
  token(name = "token"): string {
    return this.write(
      name,
      `${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64")}\n`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#processes) await child.end();
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** The summary of a run with --json: its last line. */
export function summaryOf(done: Done): {
  result: string;
  files: number;
  changes: number;
  conflicts: number;
  problems: number;
} {
  const last = done.out.trimEnd().split("\n").at(-1) ?? "";
  if (!last.startsWith("{")) throw new Error(`no summary, exit ${done.code}: ${done.err}${done.out}`);
  return JSON.parse(last) as ReturnType<typeof summaryOf>;
}

/** Waits until `check` gives something other than undefined or false. */
export async function eventually<T>(what: string, check: () => T | undefined | false): Promise<T> {
  const deadline = Date.now() + WAIT_MS_MAX;
  for (;;) {
    const value = check();
    if (value !== undefined && value !== false) return value;
    if (Date.now() > deadline) throw new Error(`in vain waited for: ${what}`);
    await Bun.sleep(5);
  }
}

/**
 * Every entry of a tree with kind, permissions, nanosecond time, link target and SHA-256, as the system's own tools see
 * it, so that our reading of a tree is not compared with itself.
 */
export async function describeTree(dir: string): Promise<string> {
  const script = `cd "$1" && find . -mindepth 1 -path ./.syncline -prune -o -printf '%y %m %P\\0' | LC_ALL=C sort -z &&
    find . -path ./.syncline -prune -o -type f -printf '%T@ %s %P\\0' | LC_ALL=C sort -z -k3 &&
    find . -path ./.syncline -prune -o -type l -printf '%l %P\\0' | LC_ALL=C sort -z &&
    find . -path ./.syncline -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 -r sha256sum -z`;
  const child = Bun.spawn(["bash", "-c", `set -o pipefail; ${script}`, "describe", dir], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err, code] = await Promise.all([
    new Response(child.stdout).bytes(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(err);
  return Buffer.from(out).toString("latin1").replaceAll("\0", "\n");
}

/** Below the ports that connections leave from, so that none of them takes it before the one who asked listens. */
const PORTS = { first: 10_240, count: 20_000 };
const PORT_TRIES_MAX = 100;

export async function freePort(): Promise<number> {
  for (let tries = 0; tries < PORT_TRIES_MAX; tries++) {
    const port = PORTS.first + randomInt(PORTS.count);
    const server = createServer();
    const isFree = await new Promise<boolean>((settled) => {
      server.once("error", () => settled(false));
      server.listen(port, "127.0.0.1", () => settled(true));
    });
    if (!isFree) continue;
    await new Promise((closed) => server.close(closed));
    return port;
  }
  throw new Error("no port");
}

export type SshServer = { readonly address: string; readonly ssh: string; readonly server: SubprocessLike };

/** A real sshd on loopback with keys of its own; ends with the world. */
export async function startSshd(world: World): Promise<SshServer> {
  const dir = world.folder("sshd");
  const port = await freePort();
  for (const name of ["host_key", "user_key"]) {
    await world.command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", join(dir, name)]);
  }
  writeFileSync(join(dir, "authorized_keys"), readFileSync(join(dir, "user_key.pub")), { mode: 0o600 });
  writeFileSync(
    join(dir, "config"),
    [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${dir}/host_key`,
      `AuthorizedKeysFile ${dir}/authorized_keys`,
      `PidFile ${dir}/pid`,
      "UsePAM no",
      "StrictModes no",
      "PasswordAuthentication no",
      "PermitRootLogin yes",
      "Subsystem sftp internal-sftp",
      // The far side keeps its cache and state in this world, too.
      `SetEnv HOME=${world.dir} SYNCLINE_STATE_DIR=${world.path("far-state")}`,
      "",
    ].join("\n"),
  );
  // Privilege separation wants this directory; a package that was only unpacked has not made it.
  if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true });
  const sshd = Bun.which("sshd", { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin` });
  if (sshd === null) throw new Error("sshd is missing; run tools/provision");
  const child = world.start([sshd, "-D", "-e", "-f", join(dir, "config")]);
  await child.line((text) => text.includes("Server listening"), WAIT_MS_MAX);
  const options = [
    "IdentitiesOnly=yes",
    "StrictHostKeyChecking=no",
    `UserKnownHostsFile=${dir}/known`,
    "LogLevel=ERROR",
  ];
  return {
    address: `${Bun.spawnSync(["id", "-un"]).stdout.toString().trim()}@127.0.0.1:${port}`,
    server: child,
    ssh: `ssh -F none -i ${dir}/user_key ${options.map((option) => `-o ${option}`).join(" ")}`,
  };
}
