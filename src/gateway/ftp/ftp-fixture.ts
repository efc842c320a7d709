/** A whole hub with the FTP door open, and a client that says exactly what a test tells it to. */
import { once } from "node:events";
import { type Server, type Socket, connect, createServer } from "node:net";
import { type TLSSocket, connect as secure } from "node:tls";
import type { HubConfig } from "#config/hub-config.ts";
import { ApiLab } from "#gateway/api/api-fixture.ts";

export const PASSWORD = "correct horse";

/** The reader and the writer see and change what is below "in" of the space "demo"; the stranger has no role. */
export const FTP_BOOTSTRAP = `
spaces: [{name: demo}, {name: other}, {name: tiny, quotaBytes: 1000}]
roles:
  - name: in-reader
    rules: [{effect: allow, resource: space, actions: [read], names: [demo], prefixes: [in/deep]}]
  - name: in-writer
    rules: [{effect: allow, resource: space, actions: [read, write], names: [demo], prefixes: [in]}]
users:
  - {name: admin, roles: [admin], password: ${PASSWORD}}
  - {name: reader, roles: [in-reader], password: ${PASSWORD}}
  - {name: writer, roles: [in-writer], password: ${PASSWORD}}
  - {name: stranger, password: ${PASSWORD}}
tokens: [{user: admin, value: admin-0123456789abcdef0123456789abcdef}]
`;

export class FtpLab implements AsyncDisposable {
  readonly api: ApiLab;
  readonly port: number;
  readonly securePort: number;
  readonly #clients: FtpClient[] = [];

  private constructor(api: ApiLab) {
    this.api = api;
    const [port = 0, securePort = 0] = api.hub.doors.filter((url) => url.startsWith("ftp")).map((url) => Number(new URL(url).port || 0));
    this.port = port;
    this.securePort = securePort;
  }

  /** Over a hub that somebody else ends. */
  static over(api: ApiLab): FtpLab {
    return new FtpLab(api);
  }

  static async open(config: HubConfig = {}): Promise<FtpLab> {
    const doors = { ftpListen: "127.0.0.1:0", ftpsListen: "127.0.0.1:0" };
    return new FtpLab(await ApiLab.open({ ...doors, ...config }, FTP_BOOTSTRAP));
  }

  /** A client that has read the greeting. @param from the address that it connects from */
  async client(from = "127.0.0.1", opening = ""): Promise<FtpClient> {
    const client = await FtpClient.connect(this.port, from, opening);
    this.#clients.push(client);
    return client;
  }

  async signedIn(user = "admin"): Promise<FtpClient> {
    const client = await this.client();
    await client.signIn(user);
    await client.say("TYPE I");
    return client;
  }

  /** Bytes of a file as the API gives them; undefined: it is not there. */
  async bytes(path: string): Promise<Buffer | undefined> {
    const [, space, ...names] = path.split("/");
    const response = await this.api.ask(`/v1/spaces/${space}/content/${names.map(encodeURIComponent).join("/")}`);
    return response.status === 404 ? undefined : Buffer.from(await response.arrayBuffer());
  }

  async put(path: string, body: string | Buffer): Promise<void> {
    const [, space, ...names] = path.split("/");
    const url = `/v1/spaces/${space}/content/${names.map(encodeURIComponent).join("/")}`;
    const response = await this.api.ask(url, { method: "PUT", body });
    if (!response.ok) throw new Error(`PUT ${path}: ${response.status}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await this.api[Symbol.asyncDispose]();
  }
}

export class FtpClient {
  readonly from: string;
  #control: Socket | TLSSocket;
  /** Secures data connections too. */
  isDataSecure = false;
  /** For data connections; undefined: a new TLS session each. */
  ticket: Buffer | undefined;
  #text = "";
  #wake: (() => void) | undefined;
  isClosed = false;

  private constructor(control: Socket, from: string) {
    this.#control = control;
    this.from = from;
    this.#hear(control);
  }

  static async connect(port: number, from: string, opening: string): Promise<FtpClient> {
    const control = connect({ host: "127.0.0.1", port, localAddress: from });
    const client = new FtpClient(control, from);
    if (opening !== "") control.write(opening, "latin1");
    await client.reply();
    return client;
  }

  #hear(control: Socket): void {
    control.on("data", (data: Buffer) => {
      this.#text += data.toString("latin1");
      this.#wake?.();
    });
    control.on("error", () => undefined);
    control.on("close", () => {
      this.isClosed = true;
      this.#wake?.();
    });
  }

  /** The next reply, whole, without its last line end; "" when the server has hung up. */
  async reply(): Promise<string> {
    for (;;) {
      const match = /^(\d{3})(?: [^\n]*\n|-(?:[^]*?\n)\1 [^\n]*\n)/.exec(this.#text);
      if (match !== null) {
        this.#text = this.#text.slice(match[0].length);
        return match[0].trimEnd();
      }
      if (this.isClosed) return "";
      await new Promise<void>((wake) => (this.#wake = wake));
    }
  }

  async say(line: string): Promise<string> {
    this.write(`${line}\r\n`);
    return this.reply();
  }

  /** The code of the reply. */
  async code(line: string): Promise<number> {
    return Number((await this.say(line)).slice(0, 3));
  }

  write(text: string): void {
    this.#control.write(text, "latin1");
  }

  async signIn(user: string, password = PASSWORD): Promise<string> {
    await this.say(`USER ${user}`);
    return this.say(`PASS ${password}`);
  }

  /** AUTH TLS, and what makes data connections private. */
  async secure(more: object = {}): Promise<void> {
    await this.say("AUTH TLS");
    const plain = this.#control;
    plain.removeAllListeners("data");
    plain.removeAllListeners("close");
    const control = secure({ socket: plain, rejectUnauthorized: false, ...more });
    control.on("session", (ticket: Buffer) => (this.ticket ??= ticket));
    this.#control = control;
    this.#hear(control);
    await once(control, "secureConnect");
    await this.say("PBSZ 0");
    await this.say("PROT P");
    this.isDataSecure = true;
  }

  /** A data connection by EPSV, not used yet. */
  async passive(from = this.from): Promise<Socket> {
    const data = connect({ host: "127.0.0.1", port: await this.#port(), localAddress: from, allowHalfOpen: true });
    data.on("error", () => undefined);
    await once(data, "connect");
    return data;
  }

  /** What a command sends over the data connection, and its last reply. */
  async receive(command: string): Promise<{ bytes: Buffer; reply: string }> {
    const port = await this.#port();
    const first = await this.say(command);
    if (!first.startsWith("150")) return { bytes: Buffer.alloc(0), reply: first };
    const stream = this.#data(port);
    const pieces: Buffer[] = [];
    stream.on("data", (piece: Buffer) => pieces.push(piece));
    const ended = new Promise<void>((done) => stream.on("end", () => done()).on("close", () => done()));
    const reply = await this.reply();
    await ended;
    stream.destroy();
    return { bytes: Buffer.concat(pieces), reply };
  }

  async #port(): Promise<number> {
    return Number(/\|\|\|(\d+)\|/.exec(await this.say("EPSV"))?.[1]);
  }

  /** Connected once the command was answered, which is when the server begins a handshake. */
  #data(port: number): Socket | TLSSocket {
    const to = { host: "127.0.0.1", port, localAddress: this.from };
    const session = this.ticket === undefined ? {} : { session: this.ticket };
    const stream = this.isDataSecure ? secure({ ...to, rejectUnauthorized: false, ...session }) : connect({ ...to, allowHalfOpen: true });
    stream.on("error", () => undefined);
    return stream;
  }

  /** Sends bytes by a command, ends in order, and gives its last reply. */
  async send(command: string, bytes: string | Uint8Array): Promise<string> {
    const port = await this.#port();
    const first = await this.say(command);
    if (!first.startsWith("150")) return first;
    const data = this.#data(port);
    data.end(bytes);
    const reply = await this.reply();
    data.destroy();
    return reply;
  }

  /** Begins to send; the test goes on with the connection. */
  async begin(command: string, bytes: string | Uint8Array): Promise<Socket> {
    const data = await this.passive();
    const first = await this.say(command);
    if (!first.startsWith("150")) throw new Error(first);
    data.write(bytes);
    return data;
  }

  destroy(): void {
    this.#control.destroy();
  }
}

/** A server of the client's own, for active mode. */
export async function activeServer(): Promise<{ server: Server; port: number; connection: Promise<Socket> }> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const connection = once(server, "connection").then(([socket]) => socket as Socket);
  return { server, port: (server.address() as { port: number }).port, connection };
}
