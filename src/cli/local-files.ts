/**
 * The few files the command line itself reads and writes: tokens, certificates, the register of runs, the folders of
 * the demonstration. What is synchronised never goes through here.
 */
import {
  appendFileSync,
  closeSync,
  createWriteStream,
  existsSync,
  fchmodSync,
  fstatSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { homedir, tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { SynclineError } from "#model/error.ts";

/** Tokens and PEM files are small; anything larger is a mistake. */
const SMALL_FILE_BYTES_MAX = 1 << 20;

/**
 * Text of a small file that an option named.
 *
 * @throws {SynclineError} USAGE when it cannot be read or is larger than SMALL_FILE_BYTES_MAX
 */
export function readSmallFile(option: string, file: string): string {
  return readNamed(`--${option}`, file);
}

function readNamed(what: string, file: string): string {
  try {
    if (statSync(file).size > SMALL_FILE_BYTES_MAX) throw new Error("the file is too large");
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new SynclineError({
      code: "USAGE",
      op: "read file",
      path: file,
      message: `${what}: ${reasonOf(cause)}`,
      hint: `check the path and permissions of ${file}`,
      cause,
    });
  }
}

/** The same of a file that an operand named; "-" is standard input. @param what the command, for the error */
export async function readSmallFileOrInput(what: string, file: string): Promise<string> {
  if (file !== "-") return readNamed(what, file);
  const text = await Bun.stdin.text();
  if (Buffer.byteLength(text) <= SMALL_FILE_BYTES_MAX) return text;
  const message = `${what}: standard input is too large`;
  throw new SynclineError({ code: "USAGE", op: "read file", message, hint: `at most ${SMALL_FILE_BYTES_MAX} bytes` });
}

/** The tokens of a file: one a line, blank lines and lines beginning with "#" are skipped. At least one. */
export function readTokens(option: string, file: string): string[] {
  const tokens = readSmallFile(option, file)
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  if (tokens.length > 0) return tokens;
  throw new SynclineError({
    code: "USAGE",
    op: "read token",
    path: file,
    message: `--${option}: ${file} holds no token`,
    hint: `head -c 32 /dev/urandom | base64 > ${file} && chmod 600 ${file}`,
  });
}

/** What went wrong, without Node's repetition of the path. */
function reasonOf(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const code = "code" in cause ? cause.code : undefined;
  if (code === "ENOENT") return "there is no such file";
  if (code === "EACCES") return "permission denied";
  return cause.message;
}

/**
 * Where indexes, keys and records are kept: `given`, else SYNCLINE_STATE_DIR (which the option table reads),
 * else XDG_STATE_HOME/syncline, else ~/.local/state/syncline. Absolute; made with mode 0700 when missing.
 */
export function stateDirectory(
  given: string | undefined,
  environment: Record<string, string | undefined>,
): string {
  const dir = given === undefined ? defaultStateDirectory(environment) : resolve(given);
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    return dir;
  } catch (cause) {
    throw new SynclineError({
      code: "STATE",
      op: "make state directory",
      path: dir,
      message: `the state directory ${dir} cannot be made: ${reasonOf(cause)}`,
      hint: "choose another one with --state-dir DIR",
      cause,
    });
  }
}

const INSTALLATION = "installation";

/**
 * Random id of this state directory (32 hex digits), made at the first call and then kept. Servers tell by it two hosts
 * apart that synchronise the same path with the same root.
 *
 * @param candidate used when there is none yet
 * @throws {SynclineError} STATE when the file holds something else
 */
export function installationId(stateDir: string, candidate: string): string {
  const file = join(makeFolder(stateDir), INSTALLATION);
  if (!existsSync(file)) {
    const draft = `${file}.${process.pid}`;
    writeFileSync(draft, `${candidate}\n`, { mode: 0o600 });
    try {
      // A link appears with its whole content, and of two processes that start at once one wins for both.
      linkSync(draft, file);
      rmSync(draft);
    } catch {
      // Either the other process was first, or the file system has no hard links.
      if (existsSync(file)) rmSync(draft);
      else renameSync(draft, file);
    }
  }
  const id = readFileSync(file, "utf8").trim();
  if (/^[0-9a-f]{32}$/.test(id)) return id;
  throw new SynclineError({
    code: "STATE",
    op: "read installation id",
    path: file,
    message: `${file} is damaged`,
    hint: `remove ${file}: pairs with remote sides are then compared anew; nothing is deleted`,
  });
}

function defaultStateDirectory(environment: Record<string, string | undefined>): string {
  const xdg = environment["XDG_STATE_HOME"];
  // The specification of XDG says to ignore a relative path.
  if (xdg?.startsWith("/") === true) return join(xdg, "syncline");
  const home = environment["HOME"];
  // An empty HOME happens in containers and service units; a private place beats a folder in the working directory.
  const base = home === undefined || home === "" ? homedir() : home;
  return base === ""
    ? join(tmpdir(), `syncline-${process.getuid?.() ?? 0}`)
    : join(base, ".local", "state", "syncline");
}

/** Makes a directory for files of ours, readable by nobody else; returns it. */
export function makeFolder(dir: string): string {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  return dir;
}

/** Makes a directory and writes small files into it; existing files are left alone. */
export function seedFolder(dir: string, files: Readonly<Record<string, string>>): void {
  mkdirSync(dir, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    const file = join(dir, name);
    mkdirSync(join(file, ".."), { recursive: true });
    if (!existsSync(file)) writeFileSync(file, text);
  }
}

/** Can files be made in `dir`? Makes the directory when it is missing. */
export function canWrite(dir: string): boolean {
  const probe = join(dir, `.probe-${process.pid}`);
  try {
    mkdirSync(dir, { recursive: true });
    writeFileSync(probe, "");
    rmSync(probe);
    return true;
  } catch {
    return false;
  }
}

export function isThere(file: string): boolean {
  return existsSync(file);
}

/** Text of a file, or undefined when it is not there (yet). Other failures throw. */
export function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR"))
      return undefined;
    throw error;
  }
}

/** One directory under two paths, as a bind mount makes it? */
export function isSameDirectory(a: string, b: string): boolean {
  try {
    const [one, other] = [a, b].map((path) => statSync(path, { bigint: true }));
    return one!.ino === other!.ino && one!.dev === other!.dev;
  } catch {
    // What cannot be looked at is for whoever opens it to explain.
    return false;
  }
}

/**
 * Appends one line in a single write, so that lines of processes that run at once do not mix. The end of the last one may be
 * missing, as a full disk or a loss of power leaves it: then this one begins with a line feed, or it were lost with that.
 */
export function appendLine(file: string, line: string): void {
  const fd = openSync(file, "a+", 0o600);
  try {
    const last = Buffer.from("\n");
    readSync(fd, last, 0, 1, Math.max(fstatSync(fd).size - 1, 0));
    appendFileSync(fd, `${last.toString("latin1") === "\n" ? "" : "\n"}${line}\n`);
  } finally {
    closeSync(fd);
  }
}

export function writeText(file: string, text: string): void {
  writeFileSync(file, text);
}

/** Removes files that may or may not be there, and the directory of the first when nothing is left in it. */
export function removeFiles(files: readonly [string, ...string[]]): void {
  for (const file of files) rmSync(file, { force: true });
  try {
    rmdirSync(dirname(files[0]));
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (code !== "ENOTEMPTY" && code !== "EEXIST" && code !== "ENOENT") throw error;
  }
}

/**
 * Writes what comes into a file that only its owner may read, made or overwritten; on the disk when this resolves.
 * @returns how many bytes; rejects with the system's error
 */
export async function writePrivately(file: string, pieces: AsyncIterable<Uint8Array>): Promise<number> {
  const fd = openSync(file, "w", 0o600);
  // One that was there may be open to others; what is no file (a pipe, /dev/stdout) is not ours to close to them.
  if (fstatSync(fd).isFile()) fchmodSync(fd, 0o600);
  const sink = createWriteStream(file, { fd, flush: true });
  const done = Promise.withResolvers<void>();
  sink.on("error", done.reject).on("close", () => done.resolve());
  // Met with the next piece, or at the end: what comes may be waited for meanwhile.
  done.promise.catch(() => undefined);
  let bytes = 0;
  for await (const piece of pieces) {
    bytes += piece.length;
    if (!sink.write(piece)) await Promise.race([new Promise((go) => sink.once("drain", go)), done.promise]);
  }
  sink.end();
  await done.promise;
  return bytes;
}
