/** A hub with the SFTP door open, and a client that says exactly what a test wants to be said. */
import { once } from "node:events";
import type { Duplex } from "node:stream";
import ssh2 from "ssh2";
import type { Client } from "ssh2";
import { ApiLab, TOKENS } from "#gateway/api/api-fixture.ts";
import type { HubConfig } from "#config/hub-config.ts";
import { ANSWER, Fields, OPEN, PacketSplitter, PacketWriter, REQUEST, STATUS } from "#platform/net/sftp-wire.ts";

export const PASSWORDS = {
  admin: "admin has a password",
  reader: "reader has a password",
  writer: "writer has a password",
  stranger: "stranger has a password",
  boxed: "boxed has a password",
} as const;
export type Person = keyof typeof PASSWORDS;

/** People as in the tests of the API; boxed sees "in" of demo as the whole tree. */
const BOOTSTRAP = `
spaces: [{name: demo}, {name: other}, {name: small, quotaBytes: 1MiB, quotaEntries: 10}]
roles:
  - name: in-reader
    rules: [{effect: allow, resource: space, actions: [read], names: [demo], prefixes: [in]}]
  - name: in-writer
    rules: [{effect: allow, resource: space, actions: [read, write], names: [demo], prefixes: [in]}]
users:
  - {name: admin, roles: [admin], password: "${PASSWORDS.admin}"}
  - {name: reader, roles: [in-reader], password: "${PASSWORDS.reader}"}
  - {name: writer, roles: [in-writer], password: "${PASSWORDS.writer}"}
  - {name: boxed, roles: [in-writer], password: "${PASSWORDS.boxed}"}
  - {name: stranger, password: "${PASSWORDS.stranger}"}
tokens:
  - {user: admin, value: ${TOKENS.admin}}
`;

export class SftpLab implements AsyncDisposable {
  readonly api: ApiLab;
  readonly #clients: Client[] = [];

  private constructor(api: ApiLab) {
    this.api = api;
  }

  /** Over a hub that somebody else ends. */
  static over(api: ApiLab): SftpLab {
    return new SftpLab(api);
  }

  static async open(config: HubConfig = {}): Promise<SftpLab> {
    const all = { sftpListen: "127.0.0.1:0", sftpRoots: ["boxed=demo/in"], ...config };
    return new SftpLab(await ApiLab.open(all, BOOTSTRAP));
  }

  get port(): number {
    return Number(new URL(this.api.hub.doors.find((url) => url.startsWith("sftp"))!).port);
  }

  /** A connection that is signed in. Rejects when it is not let in. */
  async connect(username: string, proof: { password?: string; privateKey?: string }): Promise<Client> {
    const client = new ssh2.Client();
    this.#clients.push(client);
    const ready = once(client, "ready");
    // What comes after is for those who wait for it.
    client.on("error", () => undefined);
    client.connect({ host: "127.0.0.1", port: this.port, username, ...proof });
    await ready;
    return client;
  }

  async session(person: Person): Promise<TestSftp> {
    return this.signedIn(person, PASSWORDS[person]);
  }

  async signedIn(user: string, password: string): Promise<TestSftp> {
    const client = await this.connect(user, { password });
    const sftp = await TestSftp.over(client);
    await sftp.greet();
    return sftp;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) client.destroy();
    await this.api[Symbol.asyncDispose]();
  }
}

export type Answer = { readonly type: number; readonly fields: Fields };
const NO_ATTRS = 0;
const PIECE_BYTES = 100_000;

export class TestSftp {
  readonly client: Client;
  readonly #channel: Awaited<ReturnType<typeof openChannel>>;
  readonly #splitter = new PacketSplitter();
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #nextId = 1;
  #greeted = Promise.withResolvers<Answer>();
  /** Resolves when the server has ended the channel. */
  readonly ended: Promise<void>;
  extensions: Record<string, string> = {};

  private constructor(client: Client, channel: Awaited<ReturnType<typeof openChannel>>) {
    this.client = client;
    this.#channel = channel;
    channel.on("data", (bytes: Buffer) => this.#splitter.push(bytes, (packet) => this.#take(packet.slice())));
    this.ended = new Promise((resolve) => channel.on("close", () => resolve()));
  }

  static async over(client: Client): Promise<TestSftp> {
    return new TestSftp(client, await openChannel(client));
  }

  #take(packet: Uint8Array): void {
    const type = packet[0]!;
    if (type === ANSWER.version) return this.#greeted.resolve({ type, fields: new Fields(packet, 1) });
    const fields = new Fields(packet, 1);
    const id = fields.uint32();
    this.#waiting.get(id)?.({ type, fields });
    this.#waiting.delete(id);
  }

  raw(bytes: Uint8Array): void {
    this.#channel.write(bytes);
  }

  async greet(version = 3): Promise<void> {
    this.raw(new PacketWriter(REQUEST.init, undefined).uint32(version).finish());
    const { fields } = await this.#greeted.promise;
    fields.uint32();
    try {
      for (;;) this.extensions[fields.path()] = fields.path();
    } catch {
      // That was all.
    }
  }

  /** Sends a request and waits for its answer. */
  ask(type: keyof typeof REQUEST, fill: (packet: PacketWriter) => PacketWriter): Promise<Answer> {
    const id = this.#nextId++;
    const answer = new Promise<Answer>((resolve) => this.#waiting.set(id, resolve));
    this.raw(fill(new PacketWriter(REQUEST[type], id)).finish());
    return answer;
  }

  /** The status of a request, by number. */
  async status(type: keyof typeof REQUEST, fill: (packet: PacketWriter) => PacketWriter): Promise<number> {
    const answer = await this.ask(type, fill);
    return answer.type === ANSWER.status ? answer.fields.uint32() : STATUS.ok;
  }

  on(type: "remove" | "rmdir" | "stat" | "lstat" | "opendir" | "readlink", path: string): Promise<number> {
    return this.status(type, (packet) => packet.name(path));
  }

  mkdir(path: string): Promise<number> {
    return this.status("mkdir", (packet) => packet.name(path).uint32(NO_ATTRS));
  }

  rename(from: string, to: string): Promise<number> {
    return this.status("rename", (packet) => packet.name(from).name(to));
  }

  extended(name: string, fill: (packet: PacketWriter) => PacketWriter): Promise<number> {
    return this.status("extended", (packet) => fill(packet.text(name)));
  }

  symlink(target: string, path: string): Promise<number> {
    return this.status("symlink", (packet) => packet.name(target).name(path));
  }

  /** A handle, or the status that there is none. */
  async open(path: string, flags: number): Promise<string | number> {
    const { type, fields } = await this.ask("open", (packet) => packet.name(path).uint32(flags).uint32(NO_ATTRS));
    return type === ANSWER.handle ? fields.handle() : fields.uint32();
  }

  close(handle: string): Promise<number> {
    return this.status("close", (packet) => packet.text(handle));
  }

  /** In pieces that fit into packets; the first status that is not ok, or that. */
  async write(handle: string, offset: number, data: Uint8Array | string): Promise<number> {
    const bytes = typeof data === "string" ? Buffer.from(data) : data;
    for (let at = 0; at < Math.max(1, bytes.length); at += PIECE_BYTES) {
      const piece = bytes.subarray(at, at + PIECE_BYTES);
      const status = await this.status("write", (packet) => packet.text(handle).uint64(offset + at).bytes(piece));
      if (status !== STATUS.ok) return status;
    }
    return STATUS.ok;
  }

  /** Undefined at the end of the file; a number where it failed. */
  async read(handle: string, offset: number, length: number): Promise<Uint8Array | number> {
    const { type, fields } = await this.ask("read", (packet) => packet.text(handle).uint64(offset).uint32(length));
    return type === ANSWER.data ? fields.string(1 << 20) : fields.uint32();
  }

  /** Size, and what else is told of an entry. */
  async attrs(type: "stat" | "lstat" | "fstat", name: string) {
    const { fields } = await this.ask(type, (packet) => (type === "fstat" ? packet.text(name) : packet.name(name)));
    return fields.attrs();
  }

  /** Undefined where nothing is. */
  async sizeOf(path: string): Promise<number | undefined> {
    const { type, fields } = await this.ask("stat", (packet) => packet.name(path));
    return type === ANSWER.attrs ? fields.attrs().size : undefined;
  }

  /** Writes a whole file; the first status that is not ok, or that. */
  async put(path: string, text: string | Uint8Array): Promise<number> {
    const handle = await this.open(path, OPEN.write | OPEN.create | OPEN.truncate);
    if (typeof handle === "number") return handle;
    const status = await this.write(handle, 0, text);
    return (await this.close(handle)) || status;
  }

  /** The text of a whole small file, or a status. */
  async get(path: string): Promise<string | number> {
    const handle = await this.open(path, OPEN.read);
    if (typeof handle === "number") return handle;
    const bytes = await this.read(handle, 0, 200_000);
    await this.close(handle);
    return typeof bytes === "number" ? (bytes === STATUS.eof ? "" : bytes) : Buffer.from(bytes).toString();
  }

  async names(path: string): Promise<string[] | number> {
    const { type, fields } = await this.ask("opendir", (packet) => packet.name(path));
    if (type !== ANSWER.handle) return fields.uint32();
    const handle = fields.handle();
    const names: string[] = [];
    for (;;) {
      const answer = await this.ask("readdir", (packet) => packet.text(handle));
      if (answer.type !== ANSWER.name) break;
      for (let left = answer.fields.uint32(); left > 0; left--) {
        names.push(answer.fields.path());
        answer.fields.path();
        answer.fields.attrs();
      }
    }
    await this.close(handle);
    return names;
  }
}

function openChannel(client: Client) {
  return new Promise<Duplex>((resolve, reject) => {
    client.subsys("sftp", (error, channel) => (error === undefined ? resolve(channel) : reject(error)));
  });
}
