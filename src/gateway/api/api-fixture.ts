/** A whole hub on a directory of its own, with people of every kind, for the tests of the door. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readBootstrap } from "#config/bootstrap.ts";
import type { HubConfig } from "#config/hub-config.ts";
import { openHost } from "#platform/host-bun.ts";
import { HubProcess } from "#cli/hub-process.ts";

/** Tokens by whom they belong to. */
export const TOKENS = {
  admin: "admin-0123456789abcdef0123456789abcdef",
  reader: "reader-0123456789abcdef0123456789abcdef",
  writer: "writer-0123456789abcdef0123456789abcdef",
  stranger: "stranger-0123456789abcdef0123456789abcdef",
} as const;

/** The reader and the writer see and change what is below "in" of the space "demo", the stranger has no role; nobody is the bystander. */
const BOOTSTRAP = `
spaces: [{name: demo}, {name: other}]
roles:
  - name: in-reader
    rules: [{effect: allow, resource: space, actions: [read], names: [demo], prefixes: [in]}]
  - name: in-writer
    rules: [{effect: allow, resource: space, actions: [read, write, restore], names: [demo], prefixes: [in]}]
users:
  - {name: admin, roles: [admin]}
  - {name: reader, roles: [in-reader]}
  - {name: writer, roles: [in-writer]}
  - {name: stranger}
  - {name: bystander}
tokens:
  - {user: admin, value: ${TOKENS.admin}}
  - {user: reader, value: ${TOKENS.reader}}
  - {user: writer, value: ${TOKENS.writer}}
  - {user: stranger, value: ${TOKENS.stranger}}
`;

export type Asked = {
  readonly method?: string;
  readonly token?: string | undefined;
  readonly headers?: Record<string, string>;
  readonly json?: unknown;
  readonly body?: NonNullable<BunFetchRequestInit["body"]>;
  readonly signal?: AbortSignal;
  readonly ca?: string;
};

export class ApiLab implements AsyncDisposable {
  readonly dir = mkdtempSync(join(tmpdir(), "syncline-api-"));
  readonly log: { message: string; fields: Readonly<Record<string, unknown>> }[] = [];
  hub!: HubProcess;
  /** How much later it is for the hub, by both of its clocks. */
  aheadMs = 0;

  /** @param bootstrap YAML; undefined: people of every kind; "": nobody */
  static async open(config: HubConfig = {}, bootstrap: string = BOOTSTRAP): Promise<ApiLab> {
    const lab = new ApiLab();
    await lab.start(config, bootstrap);
    return lab;
  }

  async start(config: HubConfig = {}, bootstrap: string = BOOTSTRAP): Promise<void> {
    const write = (message: string, fields: Readonly<Record<string, unknown>>): void => void this.log.push({ message, fields });
    const host = openHost();
    const { clock } = host;
    const nowMs = (): number => clock.nowMs() + this.aheadMs;
    const monotonicMs = (): number => clock.monotonicMs() + this.aheadMs;
    this.hub = await HubProcess.start({
      host: { ...host, clock: { nowMs, monotonicMs, sleep: clock.sleep } },
      dataDir: join(this.dir, "hub"),
      config: { listen: "127.0.0.1:0", ...config },
      bootstrap: bootstrap === "" ? undefined : readBootstrap(bootstrap, "test.yaml"),
      log: { info: write, error: write },
    });
  }

  /** As the administrator, unless another token is named; "" sends none. */
  ask(path: string, asked: Asked = {}): Promise<Response> {
    const token = asked.token ?? TOKENS.admin;
    const { json, body, ca } = asked;
    return fetch(`${this.hub.url}${path}`, {
      method: asked.method ?? "GET",
      headers: {
        ...(token === "" ? {} : { authorization: `Bearer ${token}` }),
        ...(json === undefined ? {} : { "content-type": "application/json" }),
        ...asked.headers,
      },
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      ...(body === undefined ? {} : { body }),
      ...(asked.signal === undefined ? {} : { signal: asked.signal }),
      ...(ca === undefined ? {} : { tls: { ca } }),
    });
  }

  async put(path: string, text: string, space = "demo"): Promise<{ sequence: number; etag: string }> {
    const response = await this.ask(`/v1/spaces/${space}/content/${path}`, { method: "PUT", body: text });
    if (!response.ok) throw new Error(await response.text());
    return (await response.json()) as { sequence: number; etag: string };
  }

  async text(path: string, space = "demo"): Promise<string> {
    return (await this.ask(`/v1/spaces/${space}/content/${path}`)).text();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
