/** Syncthing: two instances of their own, that know only each other and speak only over the loopback address. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Running, freePort, helper } from "./processes.ts";

const FOLDER = "bench";
const API_KEY = "bench-only-key-of-a-loopback-instance";
/** Seconds that its watcher collects changes for; 10 is the default and 1 the least. */
const WATCHER_DELAY_S = 1;
const START_MS_MAX = 1_200_000;
const ASK_MS_MAX = 5000;

type Node = {
  readonly home: string;
  readonly id: string;
  readonly apiPort: number;
  readonly port: number;
  readonly path: string;
};
type FolderStatus = { readonly state: string; readonly globalFiles: number; readonly needTotalItems: number };

export class Syncthing implements AsyncDisposable {
  readonly destination: string;
  readonly #running: readonly Running[];
  readonly #source: Node;

  private constructor(destination: string, running: readonly Running[], source: Node) {
    this.destination = destination;
    this.#running = running;
    this.#source = source;
  }

  /**
   * Returns when both have indexed the folder, agree, and are idle.
   *
   * @param destination best a copy of `source` already: a first copy with Syncthing takes minutes
   * @param files that the folder holds
   */
  static async start(dir: string, source: string, destination: string, files: number): Promise<Syncthing> {
    const nodes = [makeNode(join(dir, "a"), source), makeNode(join(dir, "b"), destination)] as const;
    for (const node of nodes) writeFileSync(join(node.home, "config.xml"), configuration(node, nodes));
    const running = nodes.map((node) =>
      new Running(["syncthing", "serve", "--home", node.home, "--no-browser", "--no-restart", "--no-default-folder"],
        // Without its monitor there is one process to end.
        { dir: node.home, name: "syncthing", env: { STMONITORED: "yes", STNOUPGRADE: "1" } }));
    const syncthing = new Syncthing(destination, running, nodes[0]);
    try {
      for (const [at, node] of nodes.entries()) {
        await running[at]!.until(() => settled(node, nodes, files), "agreement with the other side", START_MS_MAX);
      }
      return syncthing;
    } catch (error) {
      await syncthing[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The source looks at its folder now, instead of when its watcher has collected enough. */
  async scanSource(): Promise<void> {
    const { apiPort } = this.#source;
    const answer = await fetch(`http://127.0.0.1:${apiPort}/rest/db/scan?folder=${FOLDER}`, {
      method: "POST", headers: { "X-API-Key": API_KEY },
    });
    if (!answer.ok) throw new Error(`syncthing did not scan: ${answer.status} ${await answer.text()}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#running.map((one) => one[Symbol.asyncDispose]()));
  }
}

function makeNode(home: string, path: string): Node {
  mkdirSync(home, { recursive: true });
  mkdirSync(join(path, ".stfolder"), { recursive: true });
  writeFileSync(join(path, ".stignore"), ".syncline\n");
  helper("syncthing", "generate", "--home", home, "--no-default-folder", "--skip-port-probing");
  const id = helper("syncthing", "serve", "--home", home, "--device-id").trim();
  return { home, id, path, apiPort: freePort(), port: freePort() };
}

function configuration(self: Node, nodes: readonly Node[]): string {
  const members = nodes.map(({ id }) => `    <device id="${id}"></device>`);
  const devices = nodes.map(({ id, port }) =>
    `  <device id="${id}" name="${port}"><address>tcp://127.0.0.1:${port}</address></device>`);
  return [
    `<configuration version="35">`,
    `  <folder id="${FOLDER}" label="" path="${self.path}" type="sendreceive" rescanIntervalS="3600"`,
    `      fsWatcherEnabled="true" fsWatcherDelayS="${WATCHER_DELAY_S}" ignorePerms="false" autoNormalize="true">`,
    `    <filesystemType>basic</filesystemType>`,
    ...members,
    `  </folder>`,
    ...devices,
    `  <gui enabled="true" tls="false"><address>127.0.0.1:${self.apiPort}</address><apikey>${API_KEY}</apikey></gui>`,
    `  <options>`,
    `    <listenAddress>tcp://127.0.0.1:${self.port}</listenAddress>`,
    ...["globalAnnounceEnabled", "localAnnounceEnabled", "relaysEnabled", "natEnabled", "startBrowser", "setLowPriority",
      "crashReportingEnabled", "announceLANAddresses"].map((name) => `    <${name}>false</${name}>`),
    `    <reconnectionIntervalS>1</reconnectionIntervalS>`,
    `    <urAccepted>-1</urAccepted>`,
    `    <autoUpgradeIntervalH>0</autoUpgradeIntervalH>`,
    `  </options>`,
    `</configuration>`,
    "",
  ].join("\n");
}

/** True when this side has everything, and knows that the other has. */
async function settled(node: Node, nodes: readonly Node[], files: number): Promise<true | undefined> {
  const other = nodes.find((one) => one !== node)!;
  const status = await ask<FolderStatus>(node, `/rest/db/status?folder=${FOLDER}`);
  if (status?.state !== "idle" || status.globalFiles < files || status.needTotalItems > 0) return undefined;
  const completion = await ask<{ completion: number; needItems: number }>(
    node, `/rest/db/completion?folder=${FOLDER}&device=${other.id}`);
  const connections = await ask<{ connections: Record<string, { connected: boolean }> }>(node, "/rest/system/connections");
  const linked = connections?.connections[other.id]?.connected === true;
  return linked && completion?.completion === 100 && completion.needItems === 0 ? true : undefined;
}

/** Undefined while it does not answer yet. */
async function ask<T>(node: Node, path: string): Promise<T | undefined> {
  try {
    const answer = await fetch(`http://127.0.0.1:${node.apiPort}${path}`, {
      headers: { "X-API-Key": API_KEY }, signal: AbortSignal.timeout(ASK_MS_MAX),
    });
    return answer.ok ? (await answer.json()) as T : undefined;
  } catch {
    return undefined;
  }
}
