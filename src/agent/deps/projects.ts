/**
 * The projects of a link whose dependencies are kept installed: after what a manifest says of dependencies has changed,
 * the command that belongs to it runs, one at a time for each project. What the command itself writes starts nothing
 * anew; what fails is tried again later and later, and nothing runs more often than RUNS_PER_HOUR_MAX.
 */
import { SynclineError, messageOf } from "#model/error.ts";
import { Confined } from "#platform/confined.ts";
import { isCode } from "#platform/file-system.ts";
import type { Host } from "#platform/host.ts";
import { runGroup } from "#platform/net/child.ts";
import { readPrivateFile, writePrivateFile } from "#platform/net/private-file.ts";
import { type Dependency, PROJECT, setHash } from "#hub/agents/dependencies.ts";
import type { ProjectState } from "#hub/agents/control.ts";
import { MANIFEST_BYTES_MAX, isLockOf, lockedPackages, moduleBlocks, packageBlocks, summedModules } from "#agent/deps/manifests.ts";
import type { AgentLog } from "#agent/link-context.ts";

/** Editors, and npm itself, write a manifest in several steps. */
const SETTLE_MS = 500;
export const RUNS_PER_HOUR_MAX = 12;
/** How often manifests are looked at without being told that something changed. */
const LOOK_MS = 10_000;
const MANIFESTS = { npm: ["package.json", "package-lock.json"], go: ["go.mod", "go.sum"] } as const;
const HOUR_MS = 3_600_000;
/** After a failure; doubles up to the longest. */
const AGAIN_FIRST_MS = 30_000;
const AGAIN_LONGEST_MS = 30 * 60_000;
export const INSTALL_MS_MAX = 15 * 60_000;
const SAID_CHARS_MAX = 300;
/**
 * What commands get of the agent's environment. An .npmrc of the space can send any variable to any registry, so there
 * must be none that is a secret.
 */
const INHERITED =
  /^(PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TMPDIR|XDG_\w+|GO[A-Z]+|\w+_proxy|SSL_CERT_\w+|NODE_EXTRA_CA_CERTS)$/i;
/**
 * A toolchain that a manifest names would be fetched, and run. For npm these win over an .npmrc of the space, which could
 * name a file of the space as the program that it takes for git, or have things installed for the whole host.
 */
const ENVIRONMENT = {
  GOTOOLCHAIN: "local",
  npm_config_ignore_scripts: "true",
  npm_config_git: "git",
  npm_config_global: "false",
  npm_config_location: "project",
  npm_config_script_shell: "/bin/sh",
  npm_config_node_options: "",
  npm_config_audit: "false",
  npm_config_fund: "false",
} as const;
/** Where npm writes beside the project, which an .npmrc of the space could put anywhere, the space included. */
const npmPlaces = (cache: string): Readonly<Record<string, string>> => ({
  npm_config_cache: cache,
  npm_config_logs_dir: `${cache}/_logs`,
  npm_config_logs_max: "10",
});

export type ProjectsOptions = {
  readonly host: Host;
  /** Absolute. */
  readonly root: string;
  /** "npm:DIR", "go:DIR". */
  readonly projects: readonly string[];
  /** Has the host itself allowed that commands run for it? */
  readonly mayInstall: boolean;
  /** Where it is remembered what is installed; absolute. */
  readonly file: string;
  /** Of npm, for all links of the host; absolute. */
  readonly cache: string;
  readonly link: string;
  readonly onChange: () => void;
  readonly log: AgentLog;
};

export class Projects {
  readonly #projects: readonly Project[];

  constructor(options: ProjectsOptions) {
    const memory = new Memory(options.file);
    this.#projects = [...new Set(options.projects)].map((name) => new Project(name, memory, options));
  }

  /** Something in the root may have changed. */
  notice(): void {
    for (const one of this.#projects) one.notice();
  }

  states(): ProjectState[] {
    return this.#projects.map(({ state }) => state);
  }

  /** @throws {SynclineError} NOT_FOUND, STATE, LIMIT */
  list(name: string): Dependency[] {
    const project = this.#projects.find((one) => one.name === name);
    if (project !== undefined) return project.list();
    throw new SynclineError({ code: "NOT_FOUND", op: "list dependencies", message: `the link has no project ${name.slice(0, 200)}` });
  }

  /** Until the signal; what runs then is ended. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#projects.map((one) => one.run(signal)));
  }
}

/** What each project was installed from, over restarts. */
class Memory {
  readonly #file: string;
  readonly #done: Map<string, string>;

  constructor(file: string) {
    this.#file = file;
    this.#done = new Map();
    try {
      const known = JSON.parse(readPrivateFile(file) ?? "{}") as Record<string, unknown>;
      for (const [name, hash] of Object.entries(known)) if (typeof hash === "string") this.#done.set(name, hash);
    } catch {
      // Then it is installed once more.
    }
  }

  get(name: string): string | undefined {
    return this.#done.get(name);
  }

  set(name: string, hash: string): void {
    this.#done.set(name, hash);
    writePrivateFile(this.#file, JSON.stringify(Object.fromEntries(this.#done)));
  }
}

/** What the files of a project say now. */
type Facts = {
  /** Of what a person writes, and of that with what is resolved. */
  readonly blocks: string;
  readonly whole: string;
  readonly list: readonly Dependency[];
  readonly command: readonly [string, ...string[]];
  /** The command resolves nothing: it installs what is written down, and leaves that as it is. */
  readonly isExact: boolean;
};

class Project {
  readonly name: string;
  readonly #kind: string;
  readonly #dir: string;
  readonly #memory: Memory;
  readonly #options: ProjectsOptions;
  #state: ProjectState;
  #wake: (() => void) | undefined;
  #noticed = true;
  #failures = 0;
  /** Monotonic: not before; and when the last runs began. */
  #notBefore = 0;
  #runs: number[] = [];

  constructor(name: string, memory: Memory, options: ProjectsOptions) {
    const groups = PROJECT.exec(name)!.groups!;
    this.name = name;
    this.#kind = groups["kind"]!;
    this.#dir = groups["dir"] === "." ? "" : groups["dir"]!;
    this.#memory = memory;
    this.#options = options;
    this.#state = { project: name, phase: "unknown", set: null, count: 0, installed: false, error: null };
  }

  get state(): ProjectState {
    return this.#state;
  }

  notice(): void {
    this.#noticed = true;
    this.#wake?.();
  }

  list(): Dependency[] {
    return [...(this.#facts()?.list ?? [])];
  }

  #become(change: Partial<ProjectState>): void {
    const before = JSON.stringify(this.#state);
    this.#state = { ...this.#state, ...change };
    if (JSON.stringify(this.#state) !== before) this.#options.onChange();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options.host;
    while (!signal.aborted) {
      if (this.#noticed) {
        this.#noticed = false;
        await clock.sleep(SETTLE_MS, signal).catch(() => undefined);
        if (this.#noticed) continue;
      }
      if (signal.aborted) return;
      const seen = this.#signature();
      const waitMs = await this.#look(signal);
      const endMs = clock.monotonicMs() + (waitMs ?? Number.POSITIVE_INFINITY);
      // What the link ignores, or what changes while it stands still, nobody tells of.
      while (!signal.aborted && !this.#noticed && clock.monotonicMs() < endMs && this.#signature() === seen) {
        await this.#sleep(Math.min(LOOK_MS, endMs - clock.monotonicMs()), signal);
      }
    }
  }

  async #sleep(ms: number, signal: AbortSignal): Promise<void> {
    const wake = new AbortController();
    this.#wake = () => wake.abort();
    await this.#options.host.clock.sleep(ms, AbortSignal.any([signal, wake.signal])).catch(() => undefined);
    this.#wake = undefined;
  }

  /** Of the manifests as they lie there, without reading them. */
  #signature(): string {
    const { fs } = this.#options.host;
    try {
      using tree = new Confined(fs, fs.openRoot(this.#options.root));
      const stats = MANIFESTS[this.#kind as "npm"].map((name) => tree.statIfThere(this.#dir === "" ? name : `${this.#dir}/${name}`));
      return stats.map((stat) => (stat === undefined ? "none" : `${stat.ino} ${stat.size} ${stat.mtimeNs} ${stat.ctimeNs}`)).join();
    } catch (error) {
      return String(error);
    }
  }

  /** Looks at the files, and installs what they say. Returns when to look again at the latest; undefined: when noticed. */
  async #look(signal: AbortSignal): Promise<number | undefined> {
    try {
      const facts = this.#facts();
      if (facts === undefined) {
        this.#become({ phase: "absent", set: null, count: 0, installed: false, error: null });
        return undefined;
      }
      const installed = this.#memory.get(this.name) === facts.whole;
      const shown = { set: setHash(facts.list), count: facts.list.length, installed };
      if (!installed && this.#options.mayInstall) return await this.#installInTurn(facts, shown, signal);
      const refusal = "the host does not allow that commands run for it: start its agent with --allow-install";
      this.#become({ ...shown, phase: "idle", error: installed ? null : refusal });
    } catch (error) {
      // Of the manifests, also as a command has left them, or of writing down what was installed.
      this.#become({ phase: "failed", set: null, count: 0, installed: false, error: reasonOf(error) });
    }
    return undefined;
  }

  async #installInTurn(facts: Facts, shown: Partial<ProjectState>, signal: AbortSignal): Promise<number | undefined> {
    const now = this.#options.host.clock.monotonicMs();
    this.#runs = this.#runs.filter((ms) => ms > now - HOUR_MS);
    const full = this.#runs.length < RUNS_PER_HOUR_MAX ? 0 : this.#runs[0]! + HOUR_MS - now;
    const waitMs = Math.max(full, this.#notBefore - now);
    if (waitMs > 0) {
      this.#become({ ...shown, phase: "waiting" });
      return waitMs;
    }
    this.#runs.push(now);
    this.#become({ ...shown, phase: "running", error: null });
    await this.#install(facts, signal);
    // What came of it is looked at right away: the manifest may have changed meanwhile.
    if (!signal.aborted) this.#noticed = true;
    return undefined;
  }

  async #install({ blocks, whole, command, isExact }: Facts, signal: AbortSignal): Promise<void> {
    const { host, root, link, log } = this.#options;
    const limit = AbortSignal.timeout(INSTALL_MS_MAX);
    const cwd = this.#dir === "" ? root : `${root}/${this.#dir}`;
    const [program, ...args] = command;
    let fault: string | undefined;
    try {
      const environment = { ...ENVIRONMENT, ...npmPlaces(this.#options.cache) };
      const given = { cwd, inherited: INHERITED, environment };
      const { status, stderr } = await runGroup(program, args, given, AbortSignal.any([signal, limit]));
      if (status !== 0) fault = `${command.join(" ")}: status ${status ?? "none"}: ${stderr.trim().slice(-SAID_CHARS_MAX)}`;
    } catch (error) {
      if (signal.aborted) return;
      fault = `${command.join(" ")}: ${limit.aborted ? `no end within ${INSTALL_MS_MAX / 60_000} min` : String(error)}`;
    }
    log("dependencies installed", { link, project: this.name, command: command.join(" "), fault: fault ?? "" });
    if (fault !== undefined) {
      this.#notBefore = host.clock.monotonicMs() + Math.min(AGAIN_LONGEST_MS, AGAIN_FIRST_MS * 2 ** Math.min(this.#failures++, 16));
      this.#become({ phase: "failed", error: fault.slice(0, 500) });
      return;
    }
    this.#failures = 0;
    this.#notBefore = 0;
    const after = this.#facts();
    // What it wrote itself is done; what came from elsewhere meanwhile is not.
    const isSame = isExact ? after?.whole === whole : after?.blocks === blocks;
    if (after !== undefined && isSame) this.#memory.set(this.name, after.whole);
  }

  /** Undefined: there is no such project. @throws {SynclineError} STATE, LIMIT; FsError */
  #facts(): Facts | undefined {
    const { fs } = this.#options.host;
    using tree = new Confined(fs, fs.openRoot(this.#options.root));
    const read = (name: string): string | undefined => readText(tree, this.#dir === "" ? name : `${this.#dir}/${name}`);
    if (this.#kind === "go") {
      const [manifest, sums] = [read("go.mod"), read("go.sum")];
      if (manifest === undefined) return undefined;
      const blocks = moduleBlocks(manifest);
      const list = sums === undefined ? [] : summedModules(sums);
      return { blocks, list, whole: `${blocks} ${setHash(list)}`, command: ["go", "mod", "download"], isExact: false };
    }
    const [manifest, lock] = [read("package.json"), read("package-lock.json")];
    if (manifest === undefined) return undefined;
    const blocks = packageBlocks(manifest);
    const list = lock === undefined ? [] : lockedPackages(lock);
    const isExact = lock !== undefined && isLockOf(lock, manifest);
    const command = ["npm", isExact ? "ci" : "install", "--ignore-scripts"] as const;
    return { blocks, list, whole: `${blocks} ${setHash(list)}`, command, isExact };
  }
}

function readText(tree: Confined, path: string): string | undefined {
  let fd;
  try {
    fd = tree.openRead(path);
  } catch (error) {
    if (isCode(error, "ENOENT", "ENOTDIR", "ELOOP", "EINVAL")) return undefined;
    throw error;
  }
  try {
    const { size } = tree.fs.fstat(fd);
    if (size > MANIFEST_BYTES_MAX) {
      const message = `${path} is larger than ${MANIFEST_BYTES_MAX} bytes`;
      throw new SynclineError({ code: "LIMIT", op: "read dependencies", path, message });
    }
    const bytes = new Uint8Array(size);
    return Buffer.from(bytes.subarray(0, tree.fs.read(fd, bytes, 0))).toString("utf8");
  } finally {
    tree.fs.close(fd);
  }
}

const reasonOf = (error: unknown): string => messageOf(error).slice(0, 500);

/** What installing makes, which belongs to the host alone: lines for ignore rules. */
export function installedLines(projects: readonly string[]): string[] {
  return projects.flatMap((name) => {
    const { kind, dir } = PROJECT.exec(name)!.groups!;
    if (kind !== "npm") return [];
    const place = dir === "." ? "" : `/${dir!.replaceAll(/[\\*?[\]!# ]/g, "\\$&")}`;
    return [`${place}/node_modules/`];
  });
}
