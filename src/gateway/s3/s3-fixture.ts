/** A whole hub with its S3 door, and requests signed in every way that there is, for the tests of the door. */
import { request as http } from "node:http";
import { request as https } from "node:https";
import { ApiLab } from "#gateway/api/api-fixture.ts";
import {
  EMPTY_SHA256, type Scope, canonicalQuery, canonicalRequest, scopeText, sha256Hex, sign, signingKey, stringToSign,
} from "#gateway/s3/sigv4.ts";
import type { HubConfig } from "#config/hub-config.ts";

export const SECRET = (name: string): string => `${name}-secret-0123456789abcdef0123456789`;

/** The reader and the writer see and change what is below "in" of "demo", the stranger nothing; the maker may make buckets. */
const BOOTSTRAP = `
spaces: [{name: demo}, {name: other}]
roles:
  - name: in-reader
    rules: [{effect: allow, resource: space, actions: [read], names: [demo], prefixes: [in]}]
  - name: in-writer
    rules: [{effect: allow, resource: space, actions: [read, write], names: [demo], prefixes: [in]}]
users:
  - {name: admin, roles: [admin]}
  - {name: reader, roles: [in-reader]}
  - {name: writer, roles: [in-writer]}
  - {name: stranger}
tokens: [{user: admin, value: admin-0123456789abcdef0123456789abcdef}]
s3Keys:
${["admin", "reader", "writer", "stranger"].map((user) => `  - {user: ${user}, accessKey: ${user}, secretKey: ${SECRET(user)}}`).join("\n")}
`;

export type S3Asked = {
  readonly method?: string;
  /** Whose key; undefined: the administrator's. */
  readonly as?: string;
  readonly secret?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Uint8Array;
  /** Undefined: the SHA-256 of the body. */
  readonly payload?: string;
  readonly timeMs?: number;
  readonly signs?: readonly string[];
};

const stamp = (ms: number): string => `${new Date(ms).toISOString().replaceAll(/[-:]/g, "").slice(0, 15)}Z`;

const splitTarget = (target: string): { path: string; query: string } => {
  const [path = "", query = ""] = target.split("?");
  return { path, query };
};

export class S3Lab implements AsyncDisposable {
  readonly api: ApiLab;

  private constructor(api: ApiLab) {
    this.api = api;
  }

  /** Over a hub that somebody else ends; its keys are as in the bootstrap file of this one. */
  static over(api: ApiLab): S3Lab {
    return new S3Lab(api);
  }

  static async open(config: HubConfig = {}): Promise<S3Lab> {
    return new S3Lab(await ApiLab.open({ s3Listen: "127.0.0.1:0", ...config }, BOOTSTRAP));
  }

  get url(): string {
    return this.api.hub.doors.find((url) => url.startsWith("http"))!;
  }

  get host(): string {
    return this.url.slice(this.url.indexOf("://") + 3);
  }

  /** Signed in the headers. */
  ask(target: string, asked: S3Asked = {}): Promise<Response> {
    const { method = "GET", as = "admin", secret = SECRET(as), body = "", timeMs = Date.now() } = asked;
    const { path, query } = splitTarget(target);
    const time = stamp(timeMs);
    const scope: Scope = { accessKey: as, date: time.slice(0, 8), region: "nowhere" };
    const payload = asked.payload ?? (body.length === 0 ? EMPTY_SHA256 : Bun.SHA256.hash(body, "hex"));
    const headers: Record<string, string> = {
      host: this.host,
      "x-amz-date": time,
      "x-amz-content-sha256": payload,
      ...asked.headers,
    };
    const signs = asked.signs ?? Object.keys(headers).filter((name) => name === "host" || name.startsWith("x-amz-")).sort();
    const canonical = canonicalRequest(
      { method, path, query: canonicalQuery(query), headers: new Map(Object.entries(headers)) }, signs, payload,
    );
    const signature = sign(signingKey(secret, scope), stringToSign(time, scope, canonical));
    const authorization =
      `AWS4-HMAC-SHA256 Credential=${as}/${scopeText(scope)}, SignedHeaders=${signs.join(";")}, Signature=${signature}`;
    return this.send(target, method, { authorization, ...headers }, body);
  }

  /** Signed in the query. */
  presigned(target: string, asked: S3Asked & { readonly seconds?: number } = {}): string {
    const { method = "GET", as = "admin", secret = SECRET(as), timeMs = Date.now(), seconds = 60 } = asked;
    const { path, query } = splitTarget(target);
    const time = stamp(timeMs);
    const scope: Scope = { accessKey: as, date: time.slice(0, 8), region: "nowhere" };
    const own =
      `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${encodeURIComponent(`${as}/${scopeText(scope)}`)}` +
      `&X-Amz-Date=${time}&X-Amz-Expires=${seconds}&X-Amz-SignedHeaders=host`;
    const all = query === "" ? own : `${query}&${own}`;
    const canonical = canonicalRequest(
      { method, path, query: canonicalQuery(all), headers: new Map([["host", this.host]]) }, ["host"], "UNSIGNED-PAYLOAD",
    );
    return `${path}?${all}&X-Amz-Signature=${sign(signingKey(secret, scope), stringToSign(time, scope, canonical))}`;
  }

  /** The target goes out as it is: fetch would put it in order first. */
  send(target: string, method: string, headers: Record<string, string>, body: string | Uint8Array = ""): Promise<Response> {
    const { promise, resolve, reject } = Promise.withResolvers<Response>();
    const { hostname, port, protocol } = new URL(this.url);
    const options = { hostname, port, method, path: target, headers, rejectUnauthorized: false, agent: false } as const;
    const hasBody = method !== "GET" && method !== "HEAD";
    const length = hasBody ? { "content-length": String(Buffer.byteLength(body)) } : {};
    const asked = (protocol === "https:" ? https : http)({ ...options, headers: { ...headers, ...length } }, (answer) => {
      const pieces: Uint8Array[] = [];
      answer.on("data", (piece: Uint8Array) => pieces.push(piece));
      answer.on("error", reject);
      answer.on("end", () => {
        const status = answer.statusCode!;
        const given = new Headers(Object.entries(answer.headers).map(([name, value]): [string, string] => [name, String(value)]));
        resolve(new Response(status === 204 || status === 304 ? null : Buffer.concat(pieces), { status, headers: given }));
      });
    });
    asked.on("error", reject);
    asked.end(hasBody ? body : undefined);
    return promise;
  }

  async put(key: string, text: string, more: S3Asked = {}): Promise<Response> {
    return this.ask(`/demo/${key}`, { method: "PUT", body: text, ...more });
  }

  /** Chunks signed one by one, as minio-go sends them. */
  async putInChunks(target: string, chunks: readonly string[], trailer: Record<string, string> | undefined, asked: S3Asked = {}): Promise<Response> {
    const { as = "admin", secret = SECRET(as) } = asked;
    const payload = `STREAMING-AWS4-HMAC-SHA256-PAYLOAD${trailer === undefined ? "" : "-TRAILER"}`;
    const timeMs = Date.now();
    const time = stamp(timeMs);
    const scope: Scope = { accessKey: as, date: time.slice(0, 8), region: "nowhere" };
    const key = signingKey(secret, scope);
    const headers: Record<string, string> = {
      host: this.host,
      "x-amz-date": time,
      "x-amz-content-sha256": payload,
      "x-amz-decoded-content-length": String(chunks.join("").length),
      "content-encoding": "aws-chunked",
      ...(trailer === undefined ? {} : { "x-amz-trailer": Object.keys(trailer).join(",") }),
      ...asked.headers,
    };
    const signs = Object.keys(headers).filter((name) => name === "host" || name.startsWith("x-amz-")).sort();
    const { path, query } = splitTarget(target);
    const canonical = canonicalRequest(
      { method: "PUT", path, query: canonicalQuery(query), headers: new Map(Object.entries(headers)) }, signs, payload,
    );
    let signature = sign(key, stringToSign(time, scope, canonical));
    const authorization =
      `AWS4-HMAC-SHA256 Credential=${as}/${scopeText(scope)}, SignedHeaders=${signs.join(";")}, Signature=${signature}`;
    let body = "";
    for (const chunk of [...chunks, ""]) {
      const text = `AWS4-HMAC-SHA256-PAYLOAD\n${time}\n${scopeText(scope)}\n${signature}\n${EMPTY_SHA256}\n${sha256Hex(chunk)}`;
      signature = sign(key, text);
      body += `${chunk.length.toString(16)};chunk-signature=${signature}\r\n${chunk}${chunk === "" && trailer !== undefined ? "" : "\r\n"}`;
    }
    if (trailer !== undefined) {
      const lines = Object.entries(trailer).map(([name, value]) => `${name}:${value}\n`).join("");
      const told = sign(key, `AWS4-HMAC-SHA256-TRAILER\n${time}\n${scopeText(scope)}\n${signature}\n${sha256Hex(lines)}`);
      body += `${lines.replaceAll("\n", "\r\n")}x-amz-trailer-signature:${told}\r\n\r\n`;
    }
    return this.send(target, "PUT", { authorization, ...headers }, body);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.api[Symbol.asyncDispose]();
  }
}

export async function codeOf(response: Response): Promise<string> {
  const text = await response.text();
  return `${response.status} ${/<Code>(.*?)<\/Code>/.exec(text)?.[1] ?? ""}`.trim();
}
