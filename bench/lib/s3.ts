/** A hub with its S3 door on a plain listener, nginx beside it, and a client that does as little as one can. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  EMPTY_SHA256,
  type Scope,
  canonicalQuery,
  canonicalRequest,
  scopeText,
  sign,
  signingKey,
  stringToSign,
} from "../../src/platform/net/aws-signature.ts";
import { Running, freePort, processorMs } from "./processes.ts";
import { PROGRAM } from "./syncline.ts";
import { WrongResult } from "./workload.ts";

export const BUCKET = "bench";
const ACCESS_KEY = "BENCHKEY";
const SECRET_KEY = "bench-secret-0123456789abcdef0123456789";
const START_MS_MAX = 60_000;

const BOOTSTRAP = `
spaces: [{name: ${BUCKET}}]
users: [{name: admin, roles: [admin]}]
s3Keys: [{user: admin, accessKey: ${ACCESS_KEY}, secretKey: ${SECRET_KEY}}]
`;

/** One request as it goes over the wire. */
export type Wire = Uint8Array<ArrayBuffer>;

const stampNow = (): string => `${new Date().toISOString().replaceAll(/[-:]/g, "").slice(0, 15)}Z`;

export class BenchS3 implements AsyncDisposable {
  readonly port: number;
  readonly #hub: Running;

  private constructor(hub: Running, port: number) {
    this.#hub = hub;
    this.port = port;
  }

  /** @param data directory of the hub, which may hold a space "bench" already */
  static async start(dir: string, data: string): Promise<BenchS3> {
    mkdirSync(dir, { recursive: true });
    const bootstrap = join(dir, "s3.yaml");
    writeFileSync(bootstrap, BOOTSTRAP, { mode: 0o600 });
    const listen = ["--listen", "127.0.0.1:0", "--sync-listen", "127.0.0.1:0", "--s3-listen", "127.0.0.1:0"];
    const hub = new Running([PROGRAM, "hub", "--data", data, ...listen, "--bootstrap", bootstrap, "--json"], { dir, name: "s3-hub" });
    const said = (): string | undefined => /"doors":\["http:\/\/127\.0\.0\.1:(\d+)"\]/.exec(hub.output())?.[1];
    return new BenchS3(hub, Number(await hub.until(said, "listening", START_MS_MAX)));
  }

  /** Of processor time since its start. */
  get processorMs(): number {
    return processorMs(this.#hub.pid);
  }

  /** A request, signed in its headers. @param key with its query */
  wire(method: string, key: string, body?: Wire): Wire {
    const time = stampNow();
    const scope: Scope = { accessKey: ACCESS_KEY, date: time.slice(0, 8), region: "local" };
    const payload = body === undefined ? EMPTY_SHA256 : Bun.SHA256.hash(body, "hex");
    const headers = new Map([["host", `127.0.0.1:${this.port}`], ["x-amz-content-sha256", payload], ["x-amz-date", time]]);
    const target = `/${BUCKET}${key}`;
    const [path = "", query = ""] = target.split("?");
    const names = [...headers.keys()];
    const canonical = canonicalRequest({ method, path, query: canonicalQuery(query), headers }, names, payload);
    const signature = sign(signingKey(SECRET_KEY, scope), stringToSign(time, scope, canonical));
    const credential = `Credential=${ACCESS_KEY}/${scopeText(scope)}, SignedHeaders=${names.join(";")}, Signature=${signature}`;
    const lines = [...headers].map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const length = body === undefined ? "" : `content-length: ${body.length}\r\n`;
    const head = Buffer.from(`${method} ${target} HTTP/1.1\r\n${lines}authorization: AWS4-HMAC-SHA256 ${credential}\r\n${length}\r\n`);
    return new Uint8Array(body === undefined ? head : Buffer.concat([head, body]));
  }

  /** An address that anybody may use for an hour. */
  presigned(method: string, key: string): string {
    const time = stampNow();
    const scope: Scope = { accessKey: ACCESS_KEY, date: time.slice(0, 8), region: "local" };
    const host = `127.0.0.1:${this.port}`;
    const path = `/${BUCKET}${key}`;
    const query =
      `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${encodeURIComponent(`${ACCESS_KEY}/${scopeText(scope)}`)}` +
      `&X-Amz-Date=${time}&X-Amz-Expires=3600&X-Amz-SignedHeaders=host`;
    const asked = { method, path, query: canonicalQuery(query), headers: new Map([["host", host]]) };
    const canonical = canonicalRequest(asked, ["host"], "UNSIGNED-PAYLOAD");
    return `http://${host}${path}?${query}&X-Amz-Signature=${sign(signingKey(SECRET_KEY, scope), stringToSign(time, scope, canonical))}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#hub[Symbol.asyncDispose]();
  }
}

/** nginx with one worker, serving a directory; what is put below /put/ is written there. */
export class BenchNginx implements AsyncDisposable {
  readonly port: number;
  readonly root: string;
  readonly #nginx: Running;

  private constructor(nginx: Running, port: number, root: string) {
    this.#nginx = nginx;
    this.port = port;
    this.root = root;
  }

  static async start(dir: string): Promise<BenchNginx> {
    const root = join(dir, "www");
    mkdirSync(join(root, "put"), { recursive: true });
    const port = freePort();
    const config = join(dir, "nginx.conf");
    // In one process: what it takes of the processor is the worker's.
    writeFileSync(config, `
${process.getuid?.() === 0 ? "user root;" : ""}
daemon off; master_process off; error_log ${join(dir, "nginx.err")}; pid ${join(dir, "nginx.pid")};
events { worker_connections 1024; }
http {
  access_log off; keepalive_requests 100000000; sendfile on; tcp_nopush on; client_max_body_size 0;
  client_body_temp_path ${join(dir, "nginx-body")};
  server { listen 127.0.0.1:${port}; root ${root}; location /put { dav_methods PUT; } }
}
`);
    const nginx = new Running(["nginx", "-c", config], { dir, name: "nginx" });
    const answers = async (): Promise<true | undefined> =>
      fetch(`http://127.0.0.1:${port}/`).then(() => true as const, () => undefined);
    await nginx.until(answers, "listening", START_MS_MAX);
    return new BenchNginx(nginx, port, root);
  }

  get processorMs(): number {
    return processorMs(this.#nginx.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#nginx[Symbol.asyncDispose]();
  }
}

/**
 * Sends requests over so many connections, each the next one when it has its answer; gives the seconds that all took.
 * @throws {WrongResult} for an answer that is not 200
 */
export async function exchange(port: number, requests: readonly Wire[], connections: number): Promise<number> {
  let next = 0;
  const began = Bun.nanoseconds();
  await Promise.all(Array.from({ length: Math.min(connections, requests.length) }, () => one(port, () => requests[next++])));
  return (Bun.nanoseconds() - began) / 1e9;
}

async function one(port: number, take: () => Wire | undefined): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let wanted = -1;
  let got = 0;
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data(own, bytes) {
        if (wanted < 0) {
          // Heads of answers come in one piece here: both servers write them at once.
          const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
          const length = /content-length: (\d+)/i.exec(text);
          if (!text.startsWith("HTTP/1.1 200") || length === null) reject(new WrongResult(text.slice(0, 300)));
          wanted = Number(length?.[1] ?? 0) + text.indexOf("\r\n\r\n") + 4;
          got = 0;
        }
        got += bytes.length;
        if (got < wanted) return;
        wanted = -1;
        const request = take();
        if (request === undefined) {
          // It may be told closed at once.
          resolve();
          own.end();
        } else own.write(request);
      },
      close: () => reject(new WrongResult("the connection was closed")),
      error: (_, error) => reject(error),
    },
  });
  const first = take();
  if (first === undefined) {
    resolve();
    socket.end();
  } else socket.write(first);
  await promise;
}
