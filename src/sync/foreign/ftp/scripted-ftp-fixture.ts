/** A small FTP server that answers as it should, until a test lets one of its commands do something else. */
import { once } from "node:events";
import { type Server, type Socket, createServer } from "node:net";

/** The reply without its line end, or nothing where it was sent already, or never is. */
type Answer = string | undefined | Promise<string | undefined>;
export type Command = (argument: string, talk: Talk) => Answer;

export class Talk {
  readonly control: Socket;
  readonly server: ScriptedFtp;
  from: string | undefined;
  rest = 0;
  #data: Promise<Socket> | undefined;

  constructor(server: ScriptedFtp, control: Socket) {
    this.server = server;
    this.control = control;
  }

  say(text: string): void {
    this.control.write(`${text}\r\n`, "latin1");
  }

  /** A port for the next data connection. */
  async listen(): Promise<number> {
    const listener = createServer({ allowHalfOpen: true });
    this.#data = new Promise((resolve) => {
      listener.once("connection", (socket) => {
        listener.close();
        resolve(socket.on("error", () => undefined));
      });
    });
    listener.listen(0, "127.0.0.1");
    await once(listener, "listening");
    return (listener.address() as { port: number }).port;
  }

  /** Says 150 and hands out the data connection. */
  begin(): Promise<Socket> {
    this.say("150 here it comes");
    return this.#data!;
  }

  async send(bytes: string | Buffer): Promise<void> {
    const data = await this.begin();
    data.end(bytes);
    data.resume();
    await new Promise((closed) => data.once("close", closed));
  }

  async receive(): Promise<Buffer> {
    const data = await this.begin();
    const pieces: Buffer[] = [];
    for await (const piece of data) pieces.push(piece as Buffer);
    data.end();
    return Buffer.concat(pieces);
  }
}

export class ScriptedFtp implements AsyncDisposable {
  /** By absolute path; all of them are in the directory "/top". */
  readonly files = new Map<string, Buffer>();
  readonly commands: Record<string, Command>;
  /** Every command that came, with its argument. */
  readonly said: string[] = [];
  features = ["MLST type*;size*;", "REST STREAM", "SIZE", "UTF8"];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  port = 0;

  private constructor() {
    this.commands = { ...COMMANDS };
    this.#server = createServer((socket) => this.#meet(socket));
  }

  static async open(): Promise<ScriptedFtp> {
    const server = new ScriptedFtp();
    server.#server.listen(0, "127.0.0.1");
    await once(server.#server, "listening");
    server.port = (server.#server.address() as { port: number }).port;
    return server;
  }

  #meet(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => undefined).on("close", () => this.#sockets.delete(socket));
    const talk = new Talk(this, socket);
    let rest = "";
    let turn = Promise.resolve();
    socket.on("data", (bytes: Buffer) => {
      const lines = (rest + bytes.toString("latin1")).split("\r\n");
      rest = lines.pop()!;
      for (const line of lines) turn = turn.then(() => this.#answer(line, talk));
    });
    talk.say("220 ready");
  }

  async #answer(line: string, talk: Talk): Promise<void> {
    const [, verb = "", argument = ""] = /^(\S+) ?(.*)$/.exec(line) ?? [];
    this.said.push(line);
    const answer = await (this.commands[verb] ?? (() => "502 unknown"))(argument, talk);
    if (answer !== undefined && !talk.control.destroyed) talk.say(answer);
  }

  listing(dir: string): string {
    if (dir === "/") return "type=dir; top\r\n";
    const below = [...this.files].filter(([path]) => path.startsWith(`${dir}/`));
    return below.map(([path, bytes]) => `type=file;size=${bytes.length}; ${path.slice(path.lastIndexOf("/") + 1)}\r\n`).join("");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }
}

const COMMANDS: Record<string, Command> = {
  USER: () => "331 password",
  PASS: () => "230 in",
  FEAT: (_, { server }) => `211-Features:\r\n${server.features.map((one) => ` ${one}\r\n`).join("")}211 End`,
  TYPE: () => "200 ok",
  OPTS: () => "200 ok",
  NOOP: () => "200 ok",
  CWD: () => "250 there",
  QUIT: () => "221 bye",
  EPSV: async (_, talk) => `229 come (|||${await talk.listen()}|)`,
  REST: (argument, talk) => {
    talk.rest = Number(argument);
    return "350 go on";
  },
  MLST: (argument, { server }) => {
    const bytes = server.files.get(argument);
    return bytes === undefined ? "550 No such file" : `250-Begin\r\n type=file;size=${bytes.length}; ${argument}\r\n250 End`;
  },
  MLSD: async (argument, talk) => {
    await talk.send(talk.server.listing(argument));
    return "226 done";
  },
  RETR: async (argument, talk) => {
    const bytes = talk.server.files.get(argument)!.subarray(talk.rest);
    talk.rest = 0;
    await talk.send(bytes);
    return "226 done";
  },
  STOR: async (argument, talk) => {
    talk.server.files.set(argument, await talk.receive());
    return "226 done";
  },
  DELE: (argument, { server }) => (server.files.delete(argument) ? "250 gone" : "550 No such file"),
  RNFR: (argument, talk) => {
    talk.from = argument;
    return talk.server.files.has(argument) ? "350 to what" : "550 No such file";
  },
  RNTO: (argument, talk) => {
    talk.server.files.set(argument, talk.server.files.get(talk.from!)!);
    talk.server.files.delete(talk.from!);
    return "250 done";
  },
};
