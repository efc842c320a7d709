/** A hub with agents: processes of their own on the loopback address, over TLS, durable as they are by default. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Running, residentBytes } from "./processes.ts";
import { PROGRAM } from "./syncline.ts";
import { WrongResult } from "./workload.ts";

const SPACE = "bench";
const TOKEN = Buffer.alloc(16, 7).toString("hex");
const JOIN_TOKEN = Buffer.alloc(16, 8).toString("hex");
/** Who signs in at doors that take passwords. */
export const DOOR_USER = "admin";
export const DOOR_PASSWORD = "a password of the bench";
const START_MS_MAX = 20_000;
/** A first copy of a million files, and more. */
const CATCH_UP_MS_MAX = 1_800_000;
/** Between two questions to the hub while something is waited for: its answers shall not be what is measured. */
const ASK_AGAIN_MS = 200;

const BOOTSTRAP = `
spaces: [{name: ${SPACE}}]
users: [{name: ${DOOR_USER}, roles: [admin], password: "${DOOR_PASSWORD}"}]
tokens: [{user: ${DOOR_USER}, value: "${TOKEN}"}]
joinTokens: [{value: "${JOIN_TOKEN}"}]
`;

/** What GET /v1/agents says of a link, as far as it is looked at. */
type LinkView = {
  readonly status: string;
  readonly lagMs: number;
  readonly state?: {
    readonly sequence: number;
    readonly problems: number;
    readonly conflicts: number;
    readonly error: { readonly message: string } | null;
  };
};
type AgentView = { readonly name: string; readonly links: readonly LinkView[] };

export class BenchHub implements AsyncDisposable {
  readonly #dir: string;
  readonly #url: string;
  /** As agents on other hosts call it. */
  readonly #syncUrl: string;
  readonly #ca: string;
  readonly #hub: Running;
  readonly #agents = new Map<string, Running>();

  private constructor(dir: string, url: string, syncUrl: string, ca: string, hub: Running) {
    this.#dir = dir;
    this.#url = url;
    this.#syncUrl = syncUrl;
    this.#ca = ca;
    this.#hub = hub;
  }

  /**
   * @param dir made when missing; holds all state of the hub and of its agents
   * @param syncHost address of the listener for agents
   * @param more options of the command
   */
  static async start(dir: string, syncHost = "127.0.0.1", more: readonly string[] = []): Promise<BenchHub> {
    mkdirSync(dir, { recursive: true });
    const bootstrap = join(dir, "bootstrap.yaml");
    writeFileSync(bootstrap, BOOTSTRAP, { mode: 0o600 });
    writeFileSync(join(dir, "join-token"), `${JOIN_TOKEN}\n`, { mode: 0o600 });
    const data = join(dir, "hub");
    const command = [PROGRAM, "hub", "--data", data, "--listen", "127.0.0.1:0", "--sync-listen", `${syncHost}:0`,
      "--tls", "always", "--bootstrap", bootstrap, "--json", ...more];
    const hub = new Running(command, { dir, name: "hub" });
    const said = (): string | undefined => /"type":"listening","url":"([^"]+)"/.exec(hub.output())?.[1];
    const url = await hub.until(said, "listening", START_MS_MAX);
    const sync = /"syncPort":(\d+)/.exec(hub.output())?.[1];
    return new BenchHub(dir, url, `syncline://${syncHost}:${sync}`, readFileSync(join(data, "ca.pem"), "utf8"), hub);
  }

  /**
   * Starts an agent that keeps `root` the same as the space, or as a part of it, and returns at once.
   *
   * @param root made when missing
   * @param prefix of the space
   * @param run what runs a command on another host, where the agent shall be
   */
  addAgent(name: string, root: string, prefix = "", run?: readonly string[]): void {
    mkdirSync(root, { recursive: true });
    const link = `${root}=${SPACE}${prefix === "" ? "" : `:${prefix}`},settle=immediate`;
    const hub = run === undefined ? this.#url : this.#syncUrl;
    const command = [...(run ?? []), PROGRAM, "agent", "--hub", hub, "--name", name, "--data", join(this.#dir, `agent-${name}`),
      "--join-token-file", join(this.#dir, "join-token"), "--accept-new", "--link", link, "--json"];
    this.#agents.set(name, new Running(command, { dir: this.#dir, name: `agent-${name}` }));
  }

  /** Waits until every agent is healthy and has what the space had when this was called, at least. */
  async caughtUp(): Promise<void> {
    const deadline = Date.now() + CATCH_UP_MS_MAX;
    for (;;) {
      this.#requireRunning();
      const { sequence } = await this.#json<{ sequence: number }>(`/v1/spaces/${SPACE}`);
      const { agents } = await this.#json<{ agents: AgentView[] }>("/v1/agents");
      if (agents.length === this.#agents.size && agents.every((agent) => isAt(agent, sequence))) return;
      if (Date.now() > deadline) throw new WrongResult(`agents did not catch up: ${JSON.stringify(agents).slice(0, 500)}`);
      await Bun.sleep(ASK_AGAIN_MS);
    }
  }

  #requireRunning(): void {
    for (const [name, agent] of this.#agents) {
      if (!agent.isRunning) throw new WrongResult(`agent ${name} has ended\n${agent.lastWords()}`);
    }
  }

  /** The largest lag that any link has now, in milliseconds. */
  async lagMs(): Promise<number> {
    const { agents } = await this.#json<{ agents: AgentView[] }>("/v1/agents");
    return Math.max(0, ...agents.flatMap(({ links }) => links.map(({ lagMs }) => lagMs)));
  }

  async entries(): Promise<number> {
    return (await this.#json<{ usage: { entries: number } }>(`/v1/spaces/${SPACE}`)).usage.entries;
  }

  get pid(): number {
    return this.#hub.pid;
  }

  /** Where a door is: the port behind "ftp". */
  doorPort(scheme: string): number {
    const port = new RegExp(`"${scheme}://[^"]*:(\\d+)"`).exec(this.#hub.output())?.[1];
    if (port === undefined) throw new WrongResult(`the hub has no door ${scheme}`);
    return Number(port);
  }

  residentBytes(): number {
    return residentBytes(this.#hub.pid);
  }

  /** Asks the API about the space and answers with the whole body. @throws {WrongResult} on any other status than 2xx */
  async ask(path: string, init: { readonly method?: string; readonly body?: Uint8Array<ArrayBuffer> } = {}): Promise<string> {
    return this.#ask(`/v1/spaces/${SPACE}/${path}`, init);
  }

  /** The same with JSON in both directions. */
  async post<T>(path: string, body: object): Promise<T> {
    const json = new TextEncoder().encode(JSON.stringify(body));
    return JSON.parse(await this.#ask(`/v1/spaces/${SPACE}/${path}`, { method: "POST", body: json }, "application/json")) as T;
  }

  /** A command of a person that speaks to the hub, as words. */
  command(words: readonly string[], url = this.#url): string[] {
    const token = join(this.#dir, "token");
    writeFileSync(token, TOKEN, { mode: 0o600 });
    return [PROGRAM, ...words, "--hub", url, "--token-file", token, "--ca", join(this.#dir, "hub", "ca.pem"), "--json"];
  }

  place(path: string): string {
    return `${SPACE}:${path}`;
  }

  get port(): number {
    return Number(new URL(this.#url).port);
  }

  async #json<T>(path: string): Promise<T> {
    return JSON.parse(await this.#ask(path, {})) as T;
  }

  async #ask(
    path: string,
    init: { readonly method?: string; readonly body?: Uint8Array<ArrayBuffer> },
    type?: string,
  ): Promise<string> {
    const headers = { authorization: `Bearer ${TOKEN}`, ...(type === undefined ? {} : { "content-type": type }) };
    const answer = await fetch(this.#url + path, { ...init, headers, tls: { ca: this.#ca } });
    const text = await answer.text();
    if (!answer.ok) throw new WrongResult(`${init.method ?? "GET"} ${path}: ${answer.status} ${text.slice(0, 300)}`);
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#agents.values()].map((agent) => agent[Symbol.asyncDispose]()));
    await this.#hub[Symbol.asyncDispose]();
  }
}

/** @throws {WrongResult} where waiting would help nothing */
function isAt({ name, links }: AgentView, sequence: number): boolean {
  const [link] = links;
  if (link?.state === undefined) return false;
  const { problems, conflicts, error } = link.state;
  if (["halted", "held"].includes(link.status)) {
    throw new WrongResult(`${name} is ${link.status}: ${problems} problems, ${conflicts} conflicts, ${error?.message ?? ""}`);
  }
  return link.status === "healthy" && link.state.sequence >= sequence;
}
