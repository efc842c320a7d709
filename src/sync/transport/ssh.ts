/**
 * A remote root over the system's ssh, with nothing installed there: the matching executable is copied into the
 * user's cache when it is missing, and spoken to over the pipes of one more ssh command. All commands share one
 * authenticated connection, so a password is asked for once.
 *
 * A copy lies in a directory that is named by version and SHA-256, and gets there by a rename after it was verified.
 * Later connections look at that name, the size and the execute bit only: hashing a hundred megabytes takes longer
 * than most runs, and whoever can write to that directory can replace the login shell as well.
 */
import { SynclineError } from "#model/error.ts";
import { printablePath } from "#model/path.ts";
import type { Clock } from "#platform/host.ts";
import { type Child, type Finished, pathExists, privateTempDir, runChild, startChild } from "#platform/net/child.ts";
import { type BinaryPlatform, findBinary, identifyFile } from "#platform/net/own-binary.ts";
import { startClient } from "#sync/wire/greeting.ts";
import type { Mux } from "#sync/wire/mux.ts";

export type SshTarget = {
  readonly user: string | undefined;
  readonly host: string;
  readonly port: number | undefined;
};

export type SshOptions = {
  readonly target: SshTarget;
  /** Absolute path of the root there. */
  readonly path: string;
  /** The ssh program with options, as a person writes it in a shell; default "ssh". */
  readonly command: string | undefined;
  /** Version of this program, part of the cache's name. */
  readonly version: string;
  readonly program: string;
  readonly clock: Clock;
  /** A file of ours where hashes of executables are kept; undefined: they are computed each time. */
  readonly hashFile?: string | undefined;
  /** Where the executable of a platform is; undefined when it was not built. */
  readonly binaryFor?: ((platform: BinaryPlatform) => string | undefined) | undefined;
};

/** How often the control socket is looked for while ssh authenticates. */
const POLL_MS = 20;
/** The directory of copies, as the remote shell reads it. */
const CACHE = "$HOME/.cache/syncline";
/** Copies older than this go when a new one comes; one that is still wanted is then copied again. */
const COPY_DAYS = 60;
/** Digits of the hash in the name of a copy. */
const HASH_DIGITS = 16;
/** Exit status of our own remote commands. 255 is ssh's. */
const CORRUPT = 98;
const SSH_FAILED = 255;

/** Prints a file's SHA-256 with whichever tool there is. */
const SUM =
  'sum() { (sha256sum "$1" 2>/dev/null || shasum -a 256 "$1" 2>/dev/null || ' +
  'openssl dgst -sha256 -r "$1" 2>/dev/null) | cut -c1-64; }';

const PLATFORMS: Readonly<Record<string, BinaryPlatform>> = {
  "Linux x86_64": "linux-x64",
  "Linux amd64": "linux-x64",
  "Linux aarch64": "linux-arm64",
  "Linux arm64": "linux-arm64",
  "Darwin arm64": "darwin-arm64",
};

/**
 * @throws {SynclineError} LINK_LOST (ssh could not connect or authenticate), UNSUPPORTED (no executable for the
 * remote platform), DISK (the copy failed or arrived damaged), USAGE, PROTOCOL, VERSION, and what the remote refuses
 */
export async function connectOverSsh(options: SshOptions, signal: AbortSignal): Promise<Mux> {
  const connection = new SshConnection(options);
  try {
    await connection.start(signal);
    const { platform, copies } = await connection.probe(signal);
    const binary = connection.chooseBinary(platform);
    const { hash, size } = await identifyFile(binary, options.hashFile);
    const name = `${options.version}-${hash.slice(0, HASH_DIGITS)}`;
    const remote = `${CACHE}/${name}`;
    if (copies.get(name) !== size) await connection.upload(binary, platform, remote, hash, signal);
    return await connection.run(remote, signal);
  } catch (error) {
    connection.close();
    throw error;
  }
}

class SshConnection {
  readonly #options: SshOptions;
  readonly #label: string;
  readonly #command: string;
  readonly #args: readonly string[];
  readonly #temp = privateTempDir();
  #master: Child | undefined;

  constructor(options: SshOptions) {
    this.#options = options;
    const { user, host, port } = options.target;
    const destination = user === undefined ? host : `${user}@${host}`;
    this.#label = `ssh ${destination}`;
    const [command = "ssh", ...given] = splitWords(options.command ?? "ssh");
    this.#command = command;
    const control = ["-o", `ControlPath=${this.#socket}`, "-o", "ServerAliveInterval=20", "-T"];
    this.#args = [...given, ...control, ...(port === undefined ? [] : ["-p", String(port)]), "--", destination];
  }

  get #socket(): string {
    return `${this.#temp.path}/c`;
  }

  /** Opens the shared connection and waits until it is authenticated, however long a person takes to type. */
  async start(signal: AbortSignal): Promise<void> {
    const destination = this.#args.slice(-2);
    const options = this.#args.slice(0, -2);
    const args = [...options, "-N", "-o", "ControlMaster=yes", ...destination];
    this.#master = startChild(this.#label, this.#command, args);
    let ended: Error | undefined;
    this.#master.exited.then(
      (exit) => (ended = this.#unreachable(exit.stderr)),
      (error: Error) => (ended = this.#notStarted(error)),
    );
    while (!pathExists(this.#socket)) {
      await this.#options.clock.sleep(POLL_MS, signal);
      if (ended !== undefined) throw ended;
    }
  }

  /** What the other host is, and the sizes of the copies of this version that it has, by the names of their directories. */
  async probe(signal: AbortSignal): Promise<{ platform: BinaryPlatform; copies: Map<string, number> }> {
    const script =
      `for f in "${CACHE}/${this.#options.version}-"*/syncline; do ` +
      'if [ -x "$f" ]; then d="${f%/syncline}"; echo copy $(wc -c < "$f") "${d##*/}"; fi; done; uname -sm';
    const { stdout } = this.#checked(await this.#remote(script, undefined, signal), "ask for the platform");
    const lines = stdout.trim().split("\n");
    const uname = lines.pop() ?? "";
    const platform = PLATFORMS[uname];
    if (platform === undefined) throw this.#unsupported(uname);
    const copies = lines.flatMap((line) => {
      const [, size, name] = /^copy (\d+) (\S+)$/.exec(line) ?? [];
      return name === undefined ? [] : [[name, Number(size)] as const];
    });
    return { platform, copies: new Map(copies) };
  }

  chooseBinary(platform: BinaryPlatform): string {
    const path = (this.#options.binaryFor ?? findBinary)(platform);
    if (path !== undefined) return path;
    throw new SynclineError({
      code: "UNSUPPORTED",
      op: "start agent",
      message: `no syncline executable for ${platform} is at hand to copy to ${this.#label}`,
      hint: "run `npm run build` in the checkout, or put the file beside the syncline executable",
    });
  }

  async upload(binary: string, platform: string, remote: string, hash: string, signal: AbortSignal): Promise<void> {
    const script =
      `${SUM}; umask 077; d="${remote}"; t="$d/upload.$$"; mkdir -p "$d" && cat > "$t" || { rm -f "$t"; exit 1; }; ` +
      `if [ "$(sum "$t")" = ${hash} ]; then chmod 700 "$t" && mv -f "$t" "$d/syncline"; ` +
      `find "${CACHE}" -mindepth 1 -maxdepth 1 -type d -mtime +${COPY_DAYS} -exec rm -rf {} + 2>/dev/null || true; ` +
      `else rm -f "$t"; exit ${CORRUPT}; fi`;
    const finished = await this.#remote(script, binary, signal);
    if (finished.status === CORRUPT) {
      throw new SynclineError({
        code: "DISK",
        op: "copy agent",
        message: `the ${platform} executable arrived at ${this.#label} damaged, or cannot be verified there`,
        hint: "check free space in ~/.cache there, and that sha256sum, shasum or openssl is installed",
      });
    }
    this.#checked(finished, "copy the agent");
  }

  /** Starts the agent and greets it. From then on the connection lives as long as the mux. */
  async run(remote: string, signal: AbortSignal): Promise<Mux> {
    const { path, program, clock } = this.#options;
    const script = shell(`exec "${remote}/syncline" far-side`);
    const agent = startChild(this.#label, this.#command, [...this.#args, script]);
    try {
      const { mux } = await startClient(agent.transport, { root: path, token: "", program, clock }, signal);
      // Neither rejects.
      void mux.closed.then(() => {
        agent.kill();
        this.close();
      });
      return mux;
    } catch (error) {
      agent.kill();
      throw await this.#explained(error, agent);
    }
  }

  close(): void {
    this.#master?.kill();
    this.#temp[Symbol.dispose]();
  }

  #remote(script: string, inputPath: string | undefined, signal: AbortSignal): Promise<Finished> {
    return runChild(this.#command, [...this.#args, shell(script)], inputPath, signal);
  }

  #checked(finished: Finished, what: string): Finished {
    if (finished.status === 0) return finished;
    if (finished.status === SSH_FAILED) throw this.#unreachable(finished.stderr);
    const said = lastLine(finished.stderr) ?? `status ${finished.status ?? "unknown"}`;
    throw new SynclineError({
      code: "DISK",
      op: "start agent",
      message: `could not ${what} on ${this.#label}: ${said}`,
      hint: "check the home directory and the login shell there",
    });
  }

  /** A connection that broke in the greeting: what the agent said on its way out is the better reason. */
  async #explained(error: unknown, agent: Child): Promise<unknown> {
    if (!(error instanceof SynclineError) || error.code !== "LINK_LOST") return error;
    const exit = await agent.exited.catch(() => undefined);
    const said = exit === undefined ? undefined : lastLine(exit.stderr);
    if (said === undefined) return error;
    return new SynclineError({
      code: exit?.status === SSH_FAILED ? "LINK_LOST" : "PROTOCOL",
      op: "start agent",
      message: `the agent on ${this.#label} ended at once: ${said}`,
      retryable: exit?.status === SSH_FAILED,
      cause: error,
    });
  }

  #unreachable(stderr: string): SynclineError {
    const said = lastLine(stderr);
    const refused = said !== undefined && /permission denied|authentication|host key/i.test(said);
    return new SynclineError({
      code: refused ? "AUTH" : "LINK_LOST",
      op: "connect",
      message: `${this.#label} failed${said === undefined ? "" : `: ${said}`}`,
      hint: `try \`${this.#command} ${this.#options.target.host}\` by hand first; it must log in`,
      retryable: !refused,
    });
  }

  #notStarted(cause: Error): SynclineError {
    const message = `${this.#command} could not be started: ${cause.message}`;
    const hint = "install OpenSSH, or name it with --ssh";
    return new SynclineError({ code: "USAGE", op: "connect", message, hint, cause });
  }

  #unsupported(uname: string): SynclineError {
    return new SynclineError({
      code: "UNSUPPORTED",
      op: "start agent",
      message: `${this.#label} runs ${printablePath(uname.slice(0, 100))}, for which there is no syncline executable`,
      hint: "use `syncline serve` on another host that can reach the directory",
    });
  }
}

/** One argument for ssh. Scripts hold no single quote; any login shell hands them to sh unchanged. */
function shell(script: string): string {
  return `exec sh -c '${script}'`;
}

/** What a program said last, as a person may see it. */
export function lastLine(text: string): string | undefined {
  const line = text.trim().split("\n").at(-1)?.trim();
  return line === undefined || line === "" ? undefined : printablePath(line.slice(0, 300));
}

/** Splits a command as a shell would, with single and double quotes and backslashes. Throws USAGE. */
export function splitWords(command: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote = "";
  for (let at = 0; at < command.length; at++) {
    const char = command[at]!;
    if (char === "\\" && quote !== "'" && at + 1 < command.length) word = (word ?? "") + command[++at]!;
    else if (quote !== "" && char === quote) quote = "";
    else if (quote === "" && (char === "'" || char === '"')) [quote, word] = [char, word ?? ""];
    else if (quote === "" && /\s/.test(char)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else word = (word ?? "") + char;
  }
  if (quote !== "") {
    throw new SynclineError({ code: "USAGE", op: "ssh", message: `a quote is not closed in: ${command}` });
  }
  if (word !== undefined) words.push(word);
  return words;
}
