/** A hub and agents as processes of the real program, on ports that stay theirs over every restart. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PROGRAM, World, describeTree, freePort } from "./harness.ts";
import type { SubprocessLike } from "./process.ts";

export const TOKEN = "0123456789abcdef0123456789abcdef";
export const JOIN_TOKEN = "fedcba9876543210fedcba9876543210";

/** The file of README.md, and a second space. */
const BOOTSTRAP = `
spaces: [{name: site, quotaBytes: 10GiB}, {name: docs}]
users: [{name: ann, roles: [admin]}]
tokens: [{user: ann, value: ${TOKEN}}]
joinTokens: [{value: ${JOIN_TOKEN}}]
`;

/** Longest wait for a process to say that it is there, and for anything to come about. */
const START_MS_MAX = 30_000;
const WAIT_MS_MAX = 90_000;
const LOOK_MS = 50;
/** Files of a space that are read at once. */
const READERS = 16;
const PAGE_ROWS = 1000;

/** Lines of a difference that are shown. */
const SHOWN_MAX = 20;

export type FleetOptions = {
  /** Whose owner ends it; without one the fleet has its own. */
  readonly world?: World;
  /** Address that the sync listener is at, for agents on other hosts. */
  readonly syncHost?: string;
  /** More words of the hub's first start. */
  readonly hub?: readonly string[];
};

export type AgentHost = {
  /** What the agent calls the hub. */
  readonly hub?: string;
  /** A command that runs the agent's. */
  readonly prefix?: readonly string[];
};

type Row = { path: string; kind: string; size?: number; mode?: string; mtime?: string; target?: string };
export type LinkJson = {
  link: { id: string; root: string; space: string };
  host: string;
  status: string;
  lagMs: number;
  state?: { conflicts: number; problems: number; holdHash: string | null };
};
export type AgentJson = { name: string; status: string; clockSkewMs?: number; links: LinkJson[] };

export class Fleet implements AsyncDisposable {
  readonly world: World;
  /** Where the hub keeps all it has. */
  readonly dataDir: string;
  readonly #ports: { readonly api: number; readonly sync: number };
  /** What each name was started with. */
  readonly #agentArgs = new Map<string, string[]>();
  readonly #running = new Map<string, SubprocessLike>();
  /** What they said in lives that are over. */
  readonly #said = new Map<string, string>();

  readonly #ownsWorld: boolean;

  /** Where the sync listener is, for agents that are not on this host. */
  readonly syncAddress: string;

  private constructor({ world: given, syncHost = "127.0.0.1" }: FleetOptions, ports: { api: number; sync: number }) {
    const world = given ?? new World();
    this.world = world;
    this.#ownsWorld = given === undefined;
    this.syncAddress = `${syncHost}:${ports.sync}`;
    this.dataDir = world.path("hub");
    this.#ports = ports;
    world.write("join", JOIN_TOKEN);
    world.write("token", TOKEN);
    world.write("hub.yaml", BOOTSTRAP);
  }

  static async start(options: FleetOptions = {}): Promise<Fleet> {
    const fleet = new Fleet(options, { api: await freePort(), sync: await freePort() });
    await fleet.startHub(...(options.hub ?? []));
    return fleet;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#ports.api}`;
  }

  async startHub(...more: string[]): Promise<void> {
    const listen = ["--listen", `127.0.0.1:${this.#ports.api}`, "--sync-listen", this.syncAddress];
    const child = this.world.start([PROGRAM, "hub", "--data", this.dataDir, ...listen, "--bootstrap", "hub.yaml", "--json", ...more]);
    this.#running.set("hub", child);
    await child.line((text) => text.includes('"type":"listening"'), START_MS_MAX);
  }

  /** Directory of a host that follows a space. */
  root(name: string, space = "site"): string {
    return this.world.path(name, space);
  }

  /** @param spaces each has a directory of its own, root(name, space) */
  startAgent(name: string, spaces: readonly string[] = ["site"], at: AgentHost = {}): SubprocessLike {
    for (const space of spaces) mkdirSync(this.root(name, space), { recursive: true });
    const links = spaces.flatMap((space) => ["--link", `${this.root(name, space)}=${space},settle=immediate`]);
    return this.startAgentWith(name, links, at);
  }

  /** @param links options that say what it links */
  startAgentWith(name: string, links: readonly string[], { hub = this.url, prefix = [] }: AgentHost = {}): SubprocessLike {
    const data = this.world.path(`agent-${name}`);
    const join = ["--join-token-file", "join", "--accept-new"];
    this.#agentArgs.set(name, [...prefix, PROGRAM, "agent", "--hub", hub, "--name", name, "--data", data, ...join, ...links, "--json"]);
    return this.startAgain(name);
  }

  /** As it was started before. */
  startAgain(name: string): SubprocessLike {
    const child = this.world.start(this.#agentArgs.get(name)!);
    this.#running.set(name, child);
    return child;
  }

  process(name: string): SubprocessLike {
    return this.#running.get(name)!;
  }

  /** Everything that this one has said, in all its lives. */
  said(name: string): string {
    return (this.#said.get(name) ?? "") + this.process(name).output();
  }

  async kill(name: string): Promise<void> {
    const child = this.process(name);
    child.kill("SIGKILL");
    await child.exited;
    this.#said.set(name, (this.#said.get(name) ?? "") + child.output());
  }

  fetch(path: string, init: RequestInit = {}): Promise<Response> {
    const headers = { authorization: `Bearer ${TOKEN}`, ...(init.headers as Record<string, string>) };
    return fetch(`${this.url}${path}`, { ...init, headers });
  }

  async json<T>(path: string, method = "GET", body?: unknown): Promise<T> {
    const headers = { "content-type": "application/json" };
    const init = body === undefined ? { method } : { method, headers, body: JSON.stringify(body) };
    const response = await this.fetch(path, init);
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return (response.status === 204 ? undefined : await response.json()) as T;
  }

  async agents(): Promise<AgentJson[]> {
    return (await this.json<{ agents: AgentJson[] }>("/v1/agents")).agents;
  }

  /** Waits until the hub shows these hosts as healthy. */
  async healthy(...names: string[]): Promise<void> {
    await this.until(`${names.join(", ")} are healthy`, async () => {
      const agents = await this.agents();
      return names.every((name) => agents.some((one) => one.name === name && one.status === "healthy" && one.links.length > 0));
    });
  }

  /** Waits; what does not come about is told with what everybody said last. */
  async until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    const end = performance.now() + WAIT_MS_MAX;
    let last: unknown;
    for (;;) {
      try {
        if (await isSo()) return;
      } catch (error) {
        last = error;
      }
      if (performance.now() > end) break;
      await Bun.sleep(LOOK_MS);
    }
    const state = await this.agents().then((all) => JSON.stringify(all), String);
    const said = [...this.#running.keys()].map((name) => `--- ${name}\n${this.said(name).slice(-2500)}`);
    throw new Error([`in vain waited for: ${what} (${String(last)})`, state, ...said].join("\n"));
  }

  /** What is in a space, in the form of describe(). */
  async listing(space: string): Promise<string[]> {
    const rows: Row[] = [];
    for (let cursor: string | undefined = ""; cursor !== undefined; ) {
      const more: string = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const page: { entries: Row[]; nextCursor?: string } = await this.json(
        `/v1/spaces/${space}/entries?limit=${PAGE_ROWS}${more}`,
      );
      rows.push(...page.entries);
      cursor = page.nextCursor;
    }
    const lines: string[] = [];
    const reader = async (): Promise<void> => {
      for (let row = rows.pop(); row !== undefined; row = rows.pop()) lines.push(await this.#described(space, row));
    };
    await Promise.all(Array.from({ length: READERS }, reader));
    return lines.toSorted();
  }

  async #described(space: string, { path, kind, mode, mtime, target }: Row): Promise<string> {
    const bits = Number.parseInt(mode ?? "0", 8).toString(8);
    if (kind === "dir") return `d ${bits} ${path}`;
    if (kind === "symlink") return `l ${target} ${path}`;
    const url = `/v1/spaces/${space}/content/${path.split("/").map(encodeURIComponent).join("/")}`;
    const response = await this.fetch(url);
    if (!response.ok) throw new Error(`${url}: ${response.status} ${await response.text()}`);
    return `f ${bits} ${timeOf(mtime!)} ${hashOf(await response.bytes())} ${path}`;
  }

  /** The hosts' trees are the same to the last nanosecond, and are what the space lists. */
  async expectSame(space: string, ...names: string[]): Promise<void> {
    const [first, ...others] = names;
    const tree = await describeTree(this.root(first!, space));
    for (const name of others) same(`${name} and ${first}`, await describeTree(this.root(name, space)), tree);
    same(`the space and ${first}`, (await this.listing(space)).join("\n"), (await this.#onDisk(first!, space)).join("\n"));
  }

  async #onDisk(name: string, space: string): Promise<string[]> {
    const root = this.root(name, space);
    const format = ["-printf", "%y %m %P\\0%l\\0%T@\\0"];
    const find = ["find", ".", "-mindepth", "1", "-path", "./.syncline", "-prune", "-o", ...format];
    const words = (await this.world.command(find, { cwd: root })).out.split("\0").slice(0, -1);
    const lines: string[] = [];
    for (let at = 0; at < words.length; at += 3) lines.push(diskLine(root, words.slice(at, at + 3) as [string, string, string]));
    return lines.toSorted();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // A process that was stopped does not end.
    for (const child of this.#running.values()) child.kill("SIGCONT");
    if (this.#ownsWorld) await this.world[Symbol.asyncDispose]();
  }
}

function diskLine(root: string, [head, target, time]: [string, string, string]): string {
  const [, kind, bits, path] = /^(.) (\d+) ([^]*)$/.exec(head)!;
  if (kind === "d") return `d ${bits} ${path}`;
  if (kind === "l") return `l ${target} ${path}`;
  const [seconds, digits = ""] = time.split(".");
  return `f ${bits} ${seconds}.${digits.slice(0, 9)} ${hashOf(readFileSync(join(root, path!)))} ${path}`;
}

/** "1763962163.000000001" of a time as the API writes it. */
function timeOf(text: string): string {
  const [moment = "", digits = ""] = text.replace("Z", "").split(".");
  return `${Date.parse(`${moment}Z`) / 1000}.${digits.padEnd(9, "0")}`;
}

const hashOf = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

function same(what: string, found: string, wanted: string): void {
  if (found === wanted) return;
  const a = found.split("\n");
  const b = wanted.split("\n");
  const only = (mine: string[], others: string[], sign: string): string[] => {
    const known = new Set(others);
    return mine.filter((line) => !known.has(line)).slice(0, SHOWN_MAX).map((line) => `${sign} ${line}`);
  };
  throw new Error([`${what} differ`, ...only(a, b, "+"), ...only(b, a, "-")].join("\n"));
}
